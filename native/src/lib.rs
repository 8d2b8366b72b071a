//! MoteLM on a machine with an operating system: memory maps, threads, CPU detection.

pub mod cpu;
mod pool;

pub use pool::Pool;
