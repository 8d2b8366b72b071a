//! MoteLM on a machine with an operating system: memory maps, threads, CPU detection.
//!
//! ```
//! use motelm::Pool;
//! use motelm_core::generate::{Generator, Limits, Step};
//! use motelm_core::sample::{self, Sampler};
//! use motelm_core::session::Options;
//! use motelm_core::tokenizer::Encode;
//! use motelm_core::{Model, Session, Tokenizer};
//! use std::sync::Arc;
//!
//! let file = motelm::bundled(); // or motelm::open("model.gguf")?
//! let (model, tokenizer) = (Model::new(&file)?, Tokenizer::new(&file)?);
//! let exec = Arc::new(Pool::default());
//! let mut session = Session::new(&model, Options { level: motelm::cpu::detect(), exec, ..Options::default() })?;
//! let mut sampler = Sampler::new(&sample::Options::greedy(), model.plan().n_vocab)?;
//!
//! let prompt = tokenizer.encode("Once upon a time", Encode::default());
//! let limits = Limits { max_tokens: 4, ..Limits::default() };
//! let mut generator = Generator::start(&mut session, &mut sampler, &prompt, limits)?;
//! let mut story = String::new();
//! loop {
//!     match generator.step(&mut session, &mut sampler, &tokenizer, 512)? {
//!         Step::Prefill { .. } => {}
//!         Step::Token { text, .. } => story += text,
//!         Step::Done { text, .. } => break story += text,
//!     }
//! }
//! assert_eq!(story, " there lived a king");
//! # Ok::<(), motelm_core::Error>(())
//! ```
#![deny(unsafe_code)]

pub mod cpu;
pub mod machine;
mod mmap;
mod open;
pub mod quantize;
pub mod shapes;

pub use motelm_pool::Pool;
pub use open::{BUNDLED_NAME, OpenError, bundled, files, open, read};

/// The README's example compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
