//! The engine: GGUF language models from byte slices, on anything that has an allocator.
//!
//! A token's way, in order: [`bytes::Bytes`] hold the file, [`gguf::File`] checks it once.
#![no_std]
#![deny(unsafe_code)]
extern crate alloc;

pub mod bytes;
pub mod error;
pub mod exec;
pub mod gguf;
pub mod ops;
pub mod quant;
pub mod sample;
pub mod simd;
pub mod tokenizer;

pub use bytes::Bytes;
pub use error::{At, Error, ErrorKind, Result};
pub use tokenizer::Tokenizer;
