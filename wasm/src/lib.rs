//! What JavaScript sees of the engine. Nothing is decided here: each item calls the engine and translates.
//!
//! ```text
//! Head::read    what the beginning of a file says: enough to describe it and to plan its memory
//! Loader        takes bytes in pieces and puts them where they stay; finish() is the Model
//! Model         tokenizer, chat template, descriptions; makes Sessions and Embedders
//! Session       a text in progress: start, step by step, probe, save and restore
//! Embedder      vectors of texts, batch by batch
//! work          what other threads call, in the build that has threads
//! ```
//! Options and descriptions cross as objects, tokens as `Uint32Array`, vectors as `Float32Array`. Errors
//! arrive as JavaScript `Error`s whose `code` is the engine's [`ErrorKind`](motelm_core::ErrorKind), or `Template`
//! where a model has no chat template; what renders them is a module of its own, in `chat/`. What has a `free` gives all its memory back to the module when it is called.
#![forbid(unsafe_code)]

mod describe;
mod embed;
mod error;
mod load;
mod model;
mod object;
mod options;
mod session;
mod threads;

pub use embed::Embedder;
pub use error::Failure;
pub use load::{Head, Loader};
pub use model::Model;
pub use session::{Did, Session};
pub use threads::{set_threads, work};

use wasm_bindgen::prelude::*;

/// The instructions that this build uses: `simd128` or `relaxed`.
#[wasm_bindgen]
pub fn level() -> String {
    motelm_core::simd::Level::baseline().name().into()
}
