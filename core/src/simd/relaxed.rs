//! What [`super::Simd128`] does better where a module may use relaxed SIMD.
//!
//! The relaxed dot product multiplies signed bytes with bytes of 7 bits. Beyond 7 bits the second operand means one of
//! three things, depending on the processor under the browser: an unsigned byte (AVX-VNNI), an unsigned byte whose
//! products saturate by twos at 16 bits (SSSE3, AVX2), a signed byte (Arm). [`signed_weights`] looks which.

use super::narrow::SignedWeights;
use core::arch::wasm32::*;

#[inline(always)]
pub(super) fn mul_add(a: v128, b: v128, c: v128) -> v128 {
    f32x4_relaxed_madd(a, b, c)
}

/// `c - a * b`
#[inline(always)]
pub(super) fn neg_mul_add(a: v128, b: v128, c: v128) -> v128 {
    f32x4_relaxed_nmadd(a, b, c)
}

/// `index` is below 16.
#[inline(always)]
pub(super) fn lookup(table: v128, index: v128) -> v128 {
    i8x16_relaxed_swizzle(table, index)
}

/// To nearest even, of what fits.
#[inline(always)]
pub(super) fn round(v: v128) -> v128 {
    i32x4_relaxed_trunc_f32x4(f32x4_nearest(v))
}

/// To the lanes of `sum` adds the products of `x`, signed, and `w`, at most 127, by fours.
#[inline(always)]
pub(super) fn dot_add(w: v128, x: v128, sum: v128) -> v128 {
    i32x4_relaxed_dot_i8x16_i7x16_add(x, w, sum)
}

/// Sums of four products each, of signed `w` and signed `x` (at least -127).
///
/// `|w| * (x * sign w)`: where `|w|` is 128, two products still fit 16 bits, so that only processors that take the
/// second operand for signed get it wrong; no encoder writes that value.
#[inline(always)]
pub(super) fn dot_signed_add(w: v128, x: v128, sum: v128) -> v128 {
    let negative = i8x16_lt(w, i8x16_splat(0));
    dot_add(i8x16_abs(w), i8x16_sub(v128_xor(x, negative), negative), sum)
}

/// What the second operand of a dot product means on this machine.
#[inline(always)]
pub(super) fn signed_weights() -> SignedWeights {
    match i32x4_extract_lane::<0>(dot_add(u8x16_splat(255), i8x16_splat(127), i32x4_splat(0))) {
        129_540 => SignedWeights::MovedUp,
        -508 => SignedWeights::Plain,
        _ => SignedWeights::Slow,
    }
}

/// To the sums of every token adds the products of weights of eight rows, quads side by side.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "one index into several arrays reads best here")]
pub(super) fn dots<const TOKENS: usize, const SIGNED: bool>(
    w: &[[u8; 32]],
    x: [&[u8]; TOKENS],
    sums: &mut [[v128; 2]; TOKENS],
) {
    assert!(x.iter().all(|x| x.len() == 4 * w.len()), "as many activations as weights");
    let mut acc = *sums;
    let x = x.map(<[u8]>::as_ptr);
    // A loop of its own for every quad: unrolled, sums would be finished one after the other, in a chain each.
    for (j, w) in w.iter().enumerate() {
        let w = [super::simd128::load(&w[..16]), super::simd128::load(&w[16..])];
        for t in 0..TOKENS {
            // SAFETY: 4 bytes are read at `4 * j`, which the assertion makes part of the activations.
            let x = unsafe { v128_load32_splat(x[t].add(4 * j).cast()) };
            for four in 0..2 {
                acc[t][four] = if SIGNED {
                    dot_signed_add(w[four], x, acc[t][four])
                } else {
                    dot_add(w[four], x, acc[t][four])
                };
            }
        }
    }
    *sums = acc;
}

/// Quads (32-bit lanes) of eight rows side by side.
#[inline(always)]
pub(super) fn side_by_side(rows: [[v128; 2]; 8], flip: u8, to: &mut [[u8; 32]; 8]) {
    let flip = u8x16_splat(flip);
    for (half, to) in to.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        for four in 0..2 {
            let [a, b, c, d] = [4 * four, 4 * four + 1, 4 * four + 2, 4 * four + 3];
            let rows = [rows[a][half], rows[b][half], rows[c][half], rows[d][half]];
            for (quads, to) in super::simd128::transpose(rows).into_iter().zip(&mut *to) {
                super::simd128::store(v128_xor(quads, flip), &mut to[16 * four..]);
            }
        }
    }
}
