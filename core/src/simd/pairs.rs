//! Products of 16-bit numbers, which every WebAssembly engine has: the way of modules without relaxed SIMD, and of
//! weights with signs where relaxed products saturate.

use super::narrow::Products;
use super::side_by_side::Dots;
use super::simd128::{Pair, Simd128, load, store, transpose};
use super::wasm::*;

/// Dot products of two 16-bit numbers, to which bytes are widened as they are read.
pub(super) struct Pairs;

impl Dots<Simd128> for Pairs {
    const TERNARY_TOKENS: usize = 4;

    /// Pairs (16-bit lanes) of eight rows side by side.
    #[inline(always)]
    fn side_by_side(_: Simd128, rows: [&[u8; 32]; 8], flip: u8, to: &mut [[u8; 32]; 8]) {
        let flip = u8x16_splat(flip);
        for (half, to) in to.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            let to = to.as_flattened_mut();
            // Pairs of two rows side by side, then of four, then of eight.
            let mut twos = [flip; 8];
            for i in 0..4 {
                let (a, b) = (load(&rows[2 * i][16 * half..]), load(&rows[2 * i + 1][16 * half..]));
                twos[2 * i] = i16x8_shuffle::<0, 8, 1, 9, 2, 10, 3, 11>(a, b);
                twos[2 * i + 1] = i16x8_shuffle::<4, 12, 5, 13, 6, 14, 7, 15>(a, b);
            }
            for part in 0..2 {
                // Four times two rows, of pairs `4 * part` and following.
                let rows = [twos[part], twos[2 + part], twos[4 + part], twos[6 + part]];
                for (i, pairs) in transpose(rows).into_iter().enumerate() {
                    store(v128_xor(pairs, flip), &mut to[64 * part + 16 * i..]);
                }
            }
        }
    }

    /// Pairs in even places, and then those in odd ones.
    #[inline(always)]
    fn rearrange(_: Simd128, quads: &mut [[u8; 32]; 8]) {
        for quads in quads {
            let (a, b) = (load(quads), load(&quads[16..]));
            let even = i16x8_shuffle::<0, 2, 4, 6, 8, 10, 12, 14>(a, b);
            let odd = i16x8_shuffle::<1, 3, 5, 7, 9, 11, 13, 15>(a, b);
            store(even, quads);
            store(odd, &mut quads[16..]);
        }
    }

    #[inline(always)]
    fn dots<const TOKENS: usize, const QUADS: usize>(
        _: Simd128,
        w: &[[u8; 32]; QUADS],
        x: [&[[u8; 4]; QUADS]; TOKENS],
    ) -> [[v128; 2]; TOKENS] {
        let mut sums = [[i32x4_splat(0); 2]; TOKENS];
        for (i, w) in w.as_chunks::<2>().0.iter().enumerate() {
            let w = w.as_flattened();
            let mut eight = [i16x8_splat(0); TOKENS];
            for t in 0..TOKENS {
                eight[t] = load_widened(&x[t].as_flattened()[8 * i..]);
            }
            sums = pair::<TOKENS, 0>(w, eight, sums);
            sums = pair::<TOKENS, 1>(&w[16..], eight, sums);
            sums = pair::<TOKENS, 2>(&w[32..], eight, sums);
            sums = pair::<TOKENS, 3>(&w[48..], eight, sums);
        }
        sums
    }
}

impl Products<Simd128> for Pairs {
    #[inline(always)]
    fn of_32(w: Pair, x: &[u8; 32], flip: u8) -> v128 {
        let [low, high] = Self::of_16(w, x, flip);
        i32x4_add(low, high)
    }

    #[inline(always)]
    fn of_16(w: Pair, x: &[u8; 32], _: u8) -> Pair {
        let sixteen = |w: v128, x: &[u8]| {
            let low = i32x4_dot_i16x8(i16x8_extend_low_i8x16(w), load_widened(x));
            let high = i32x4_dot_i16x8(i16x8_extend_high_i8x16(w), load_widened(&x[8..]));
            i32x4_add(low, high)
        };
        [sixteen(w[0], x), sixteen(w[1], &x[16..])]
    }

    #[inline(always)]
    fn of_fours<const N: usize>(
        w: impl Fn(usize, usize) -> Pair,
        bits: u32,
        x: &[u8; 32],
        _: u8,
        start: i32,
    ) -> [v128; N] {
        // Bytes in even places and in odd ones, as 16-bit numbers.
        let signed = |v: v128| [i16x8_shr(i16x8_shl(v, 8), 8), i16x8_shr(v, 8)];
        let small = |v: v128| [v128_and(v, u16x8_splat(0xff)), u16x8_shr(v, 8)];
        let x = [signed(load(x)), signed(load(&x[16..]))];
        let mut sums = [i32x4_splat(start); N];
        for_each_quad!(V => for n in 0..N {
            let w = w(n, V);
            for half in 0..2 {
                let w = if bits < 8 { small(w[half]) } else { signed(w[half]) };
                let x = x[half].map(splat_lane::<V>);
                let products = i32x4_add(i32x4_dot_i16x8(w[0], x[0]), i32x4_dot_i16x8(w[1], x[1]));
                sums[n] = i32x4_add(sums[n], products);
            }
        });
        sums
    }
}

/// Does something for quads 0 to 3 of 16 bytes, whose number has to be a constant.
macro_rules! for_each_quad {
    ($V:ident => $do:stmt) => {{
        {
            const $V: usize = 0;
            $do
        }
        {
            const $V: usize = 1;
            $do
        }
        {
            const $V: usize = 2;
            $do
        }
        {
            const $V: usize = 3;
            $do
        }
    }};
}
pub(super) use for_each_quad;

/// One of four 32-bit lanes, four times.
#[inline(always)]
pub(super) fn splat_lane<const LANE: usize>(v: v128) -> v128 {
    i32x4_shuffle::<LANE, LANE, LANE, LANE>(v, v)
}

/// Two weights of eight rows meet activations `2 * PAIR` and the next of every token.
#[inline(always)]
fn pair<const TOKENS: usize, const PAIR: usize>(
    w: &[u8],
    x: [v128; TOKENS],
    mut sums: [[v128; 2]; TOKENS],
) -> [[v128; 2]; TOKENS] {
    let w = [load_widened(w), load_widened(&w[8..])];
    for t in 0..TOKENS {
        let x = splat_lane::<PAIR>(x[t]);
        for four in 0..2 {
            sums[t][four] = i32x4_add(i32x4_dot_i16x8(w[four], x), sums[t][four]);
        }
    }
    sums
}

/// Eight signed bytes as 16-bit numbers.
#[inline(always)]
pub(super) fn load_widened(x: &[u8]) -> v128 {
    let x: &[u8; 8] = x.first_chunk().expect("8 bytes");
    // SAFETY: 8 bytes are read of 8; any alignment will do.
    unsafe { i16x8_load_extend_i8x8(x.as_ptr().cast()) }
}
