//! The engine: GGUF language models from byte slices, on anything that has an allocator.
//!
//! A token's way, in order:
//!
//! 1. [`Bytes`] hold the file wherever it is: mapped, in memory, in flash.
//! 2. [`gguf::File`] checks it once; from then on it is trusted.
//! 3. [`arch`] reads metadata and tensor names into a [`model::plan::Plan`], and [`Model`] is the plan with weights.
//! 4. [`Tokenizer`] turns text into tokens.
//! 5. [`Session`] works them off: [`ops`] on the formats of [`quant`] through the vectors of [`simd`], in pieces that
//!    an [`exec::Executor`] runs.
//! 6. [`sample::Sampler`] picks the next token from the logits.
//! 7. [`generate::Generator`] goes round 5 and 6, and gives text in whole characters.
//!
//! [`embed::Embedder`] is the other way out: texts to vectors, several in one pass.
//!
//! No step reaches back, and none needs more than an allocator.
#![no_std]
#![cfg_attr(target_arch = "wasm64", feature(simd_wasm64))] // the same vectors; stable only where addresses have 32 bits
#![deny(unsafe_code)]
extern crate alloc;

pub mod arch;
pub mod bytes;
mod cache;
pub mod embed;
pub mod error;
pub mod exec;
pub mod generate;
pub mod gguf;
pub mod model;
pub mod ops;
mod order;
pub mod quant;
pub mod sample;
pub mod session;
pub mod simd;
pub mod tokenizer;

pub use bytes::Bytes;
pub use cache::{KvType, LayerCache};
pub use embed::Embedder;
pub use error::{At, Error, ErrorKind, Result};
pub use model::Model;
pub use session::Session;
pub use tokenizer::Tokenizer;
