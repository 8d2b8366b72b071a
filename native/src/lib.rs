//! MoteLM on a machine with an operating system: memory maps, threads, CPU detection.

pub mod cpu;
mod pool;
mod sync;

pub use pool::Pool;

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
