//! What a layer is made of.

pub mod activations;
pub mod attention;
pub(crate) mod decoded;
#[cfg(any(
    target_arch = "x86_64",
    all(target_arch = "aarch64", target_feature = "neon"),
    target_feature = "simd128"
))]
pub(crate) mod eight;
pub mod elementwise;
#[cfg(target_arch = "x86_64")]
pub(crate) mod float_panel;
pub(crate) mod floats;
pub(crate) mod fours;
pub(crate) mod functions;
pub(crate) mod integers;
pub mod matmul;
#[cfg(target_feature = "simd128")]
pub(crate) mod narrow;
pub mod norm;
#[cfg(target_arch = "x86_64")]
pub(crate) mod panel;
pub(crate) mod recurrent;
pub mod rope;
pub(crate) mod ternary;
