//! The engine: GGUF language models from byte slices, on anything that has an allocator.
//!
//! A token's way, in order: [`bytes::Bytes`] hold the file, [`gguf::File`] checks it once.
#![no_std]
#![deny(unsafe_code)]
extern crate alloc;

pub mod arch;
pub mod bytes;
mod cache;
pub mod error;
pub mod exec;
pub mod gguf;
pub mod model;
pub mod ops;
pub mod quant;
pub mod sample;
pub mod session;
pub mod simd;
pub mod tokenizer;

pub use bytes::Bytes;
pub use cache::KvType;
pub use error::{At, Error, ErrorKind, Result};
pub use model::Model;
pub use session::Session;
pub use tokenizer::Tokenizer;
