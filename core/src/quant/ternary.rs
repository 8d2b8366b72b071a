//! What the ternary formats share: finding the scale of weights that become -1, 0 or 1.

use super::search::{Range, farthest, inverse, round, symmetric};

/// The scale of one block. The largest magnitude, as the reference does it (ternary weights come back exactly); with
/// importance, the scale that fits best.
#[inline(always)]
pub(super) fn block_scale(x: &[f32], importance: Option<&[f32]>) -> f32 {
    match importance {
        None => farthest(x).abs(),
        Some(weights) => symmetric(x, weights, Range { low: -1, high: 1 }),
    }
}

/// `x / scale` as one of 0, 1, 2, which stand for -1, 0, 1.
#[inline(always)]
pub(super) fn codes(x: &[f32], scale: f32, codes: &mut [u8]) {
    let inverse = inverse(scale);
    for (code, &x) in codes.iter_mut().zip(x) {
        *code = (round(x * inverse).clamp(-1, 1) + 1) as u8;
    }
}
