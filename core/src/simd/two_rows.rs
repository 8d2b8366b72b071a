//! Dot products of ternary weights with a lane for two of eight rows, on 128-bit vectors that have no products of bytes.

use super::pairs::load_widened;
use super::side_by_side::Dots;
use super::simd128::{Simd128, load, store, transpose};
use super::wasm::*;

/// Dot products of two 16-bit numbers, each of which holds the weights of two rows, at most 3: the second row's are
/// moved up, so that its sums lie above those of the first.
pub(super) struct TwoRows;

/// How far. The first row's sums of 8 products (`8 * 3 * 127` fits, with a sign) stay below, and the second row's
/// weights are still positive.
const UP: u32 = 13;

impl Dots<Simd128> for TwoRows {
    const TERNARY_TOKENS: usize = 4;

    /// Pairs of weights of four rows, each with one of the other four.
    #[inline(always)]
    fn side_by_side(_: Simd128, rows: [&[u8; 32]; 8], _: u8, to: &mut [[u8; 32]; 8]) {
        for (eight, to) in to.as_flattened_mut().as_chunks_mut::<64>().0.iter_mut().enumerate() {
            let mut both = [i16x8_splat(0); 4];
            for i in 0..4 {
                let second = i16x8_shl(load_widened(&rows[i + 4][8 * eight..]), UP);
                both[i] = v128_or(load_widened(&rows[i][8 * eight..]), second);
            }
            for (i, pairs) in transpose(both).into_iter().enumerate() {
                store(pairs, &mut to[16 * i..]);
            }
        }
    }

    #[inline(always)]
    fn dots<const TOKENS: usize, const QUADS: usize>(
        _: Simd128,
        w: &[[u8; 32]; QUADS],
        x: [&[[u8; 4]; QUADS]; TOKENS],
    ) -> [[v128; 2]; TOKENS] {
        let mut first = [i32x4_splat(0); TOKENS];
        let mut all = [i32x4_splat(0); TOKENS];
        for (i, w) in w.as_chunks::<2>().0.iter().enumerate() {
            let w = w.as_flattened();
            let w = [load(w), load(&w[16..]), load(&w[32..]), load(&w[48..])];
            for t in 0..TOKENS {
                let x = load_widened(&x[t].as_flattened()[8 * i..]);
                let low = i32x4_add(
                    i32x4_dot_i16x8(w[0], i32x4_shuffle::<0, 0, 0, 0>(x, x)),
                    i32x4_dot_i16x8(w[1], i32x4_shuffle::<1, 1, 1, 1>(x, x)),
                );
                let high = i32x4_add(
                    i32x4_dot_i16x8(w[2], i32x4_shuffle::<2, 2, 2, 2>(x, x)),
                    i32x4_dot_i16x8(w[3], i32x4_shuffle::<3, 3, 3, 3>(x, x)),
                );
                let sums = i32x4_add(low, high);
                all[t] = i32x4_add(all[t], sums);
                first[t] = i32x4_add(first[t], i32x4_shr(i32x4_shl(sums, 32 - UP), 32 - UP));
            }
        }
        let mut out = [[i32x4_splat(0); 2]; TOKENS];
        for t in 0..TOKENS {
            out[t] = [first[t], i32x4_shr(i32x4_sub(all[t], first[t]), UP)];
        }
        out
    }
}
