//! MoteLM on a machine with an operating system: memory maps, threads, CPU detection.

pub mod cpu;
mod pool;
mod sync;

pub use pool::Pool;
