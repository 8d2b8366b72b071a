//! What a layer is made of.

pub mod activations;
pub mod matmul;
