//! What a layer is made of.

pub mod activations;
pub(crate) mod decoded;
pub(crate) mod floats;
pub(crate) mod integers;
pub mod matmul;
