//! Products of 16-bit numbers, which every WebAssembly engine has: the way of modules without relaxed SIMD, and of
//! weights with signs where relaxed products saturate.

use core::hint::black_box;
use core::ptr;

use super::narrow::{Products, quads};
use super::side_by_side::WideDots;
use super::simd128::{Pair, Simd128, load, store, transpose};
use super::wasm::*;
use crate::ops::activations::{Split, TOGETHER, Wide32};

/// Dot products of two 16-bit numbers, to which bytes are widened: before they meet several tokens, as they are read for
/// one.
pub(super) struct Pairs;

impl WideDots<Simd128> for Pairs {
    #[inline(always)]
    fn side_by_side(_: Simd128, rows: [&[u8; 32]; 8], to: &mut [[u8; 32]; 8]) {
        quads_side_by_side(rows, 0, to);
    }

    /// From the last quads to the first, since those of eight rows become two pairs of as many bytes each.
    #[inline(always)]
    fn widen(_: Simd128, pairs: &mut [[u8; 32]], quads: usize, starts: &mut [[u8; 32]]) {
        for i in (0..pairs.len() / 2).rev() {
            let quads = [load(&pairs[i]), load(&pairs[i][16..])];
            for (four, quads) in quads.into_iter().enumerate() {
                let (low, high) = (i16x8_extend_low_i8x16(quads), i16x8_extend_high_i8x16(quads));
                store(i32x4_shuffle::<0, 2, 4, 6>(low, high), &mut pairs[2 * i][16 * four..]);
                store(i32x4_shuffle::<1, 3, 5, 7>(low, high), &mut pairs[2 * i + 1][16 * four..]);
            }
        }
        for (group, start) in pairs.chunks_exact(2 * quads).zip(starts) {
            let mut sum = [i32x4_splat(0); 2];
            for [low, high] in group.as_chunks().0 {
                for four in 0..2 {
                    let products = i32x4_dot_i16x8(load(&low[16 * four..]), load(&high[16 * four..]));
                    sum[four] = i32x4_sub(sum[four], products);
                }
            }
            store(sum[0], start);
            store(sum[1], &mut start[16..]);
        }
    }

    /// Half as many products as numbers that meet, after Winograd (1968): `w0 x0 + w2 x2` is `(w0 + x2) (w2 + x0)` without
    /// `w0 w2`, of which the start is made, and without `x0 x2`, and so are `w1 x1 + w3 x3`. Here additions are the cheaper
    /// half of the work.
    #[inline(always)]
    fn dots<const QUADS: usize, T>(
        _: Simd128,
        start: &[u8; 32],
        w: &[[[u8; 32]; 2]; QUADS],
        half: usize,
        x: &[Wide32],
        to: &mut [T],
        mut each: impl FnMut(&Wide32, [[v128; 2]; TOGETHER], &mut T),
    ) {
        let w = w.as_ptr().cast::<u8>();
        // What the compiler does not know it keeps in a register, instead of many addresses.
        let step = black_box(8 * TOGETHER);
        let mut to = to.iter_mut();
        for x in x {
            // With `zip` elements would have a number, which becomes two addresses each time.
            let Some(to) = to.next() else { break };
            let mut sums = [[load(start), load(&start[16..])]; TOGETHER];
            for (sums, products) in sums.iter_mut().zip(x.known::<QUADS>(half).0.products) {
                *sums = sums.map(|start| i32x4_sub(start, i32x4_splat(products)));
            }
            let mut at = ptr::from_ref(x).cast::<u8>().wrapping_add(step * (Wide32::HEADS + half * QUADS));
            let end = at.wrapping_add(step * QUADS);
            let mut is_last = |i: usize| {
                // SAFETY: there are as many quads of weights as of activations, of which this one is not behind the last.
                unsafe { add_quad(w.add(64 * i), at, i, &mut sums) };
                at = at.wrapping_add(step);
                at == end
            };
            // Quads are parted by branches: V8 keeps sums on the stack where it sees several at once.
            let four = is_last(0) || is_last(1) || is_last(2) || is_last(3);
            let _ = four || is_last(4) || is_last(5) || is_last(6) || is_last(7);
            each(x, sums, to);
        }
    }
}

/// Adds the products of a quad of weights of every row and one of every token. Each time another token comes `first`, so
/// that one for which V8 has no register does not wait for its last sum.
///
/// # Safety
/// At `w` lie 64 bytes, at `x` 32.
#[inline(always)]
unsafe fn add_quad(w: *const u8, x: *const u8, first: usize, sums: &mut [[v128; 2]; TOGETHER]) {
    // SAFETY: 64 bytes are read of 64; any alignment will do.
    let w = unsafe { [0, 16, 32, 48].map(|at| v128_load(w.add(at).cast())) };
    for t in 0..TOGETHER {
        let t = (t + first) % TOGETHER;
        // SAFETY: twice 4 bytes are read of 8 for every token; any alignment will do.
        let x = unsafe { [8 * t, 8 * t + 4].map(|at| v128_load32_splat(x.add(at).cast())) };
        for four in 0..2 {
            let products = i32x4_dot_i16x8(i16x8_add(w[four], x[1]), i16x8_add(w[2 + four], x[0]));
            sums[t][four] = i32x4_add(products, sums[t][four]);
        }
    }
}

impl Products<Simd128> for Pairs {
    type Activations = Split;

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
        x: &Split,
        _: u8,
        start: i32,
    ) -> [v128; N] {
        let signed = |w: v128| [i16x8_shr(i16x8_shl(w, 8), 8), i16x8_shr(w, 8)];
        let small = |w: v128| [v128_and(w, u16x8_splat(0xff)), u16x8_shr(w, 8)];
        let mut sums = [i32x4_splat(start); N];
        for v in quads() {
            for half in 0..2 {
                let (even, odd) = x.parts[half].as_chunks().0.split_at(4);
                let x = [load_repeated(&even[v]), load_repeated(&odd[v])];
                for n in 0..N {
                    let w = w(n, v)[half];
                    let w = if bits < 8 { small(w) } else { signed(w) };
                    let products = i32x4_add(i32x4_dot_i16x8(w[0], x[0]), i32x4_dot_i16x8(w[1], x[1]));
                    sums[n] = i32x4_add(products, sums[n]);
                }
            }
        }
        sums
    }
}

/// Four bytes, four times.
#[inline(always)]
pub(super) fn load_repeated(four: &[u8; 4]) -> v128 {
    // SAFETY: 4 bytes are read of 4; any alignment will do.
    unsafe { v128_load32_splat(four.as_ptr().cast()) }
}

/// Eight signed bytes as 16-bit numbers.
#[inline(always)]
pub(super) fn load_widened(x: &[u8]) -> v128 {
    let x: &[u8; 8] = x.first_chunk().expect("8 bytes");
    // SAFETY: 8 bytes are read of 8; any alignment will do.
    unsafe { i16x8_load_extend_i8x8(x.as_ptr().cast()) }
}

/// Quads (32-bit lanes) of eight rows side by side.
#[inline(always)]
pub(super) fn quads_side_by_side(rows: [&[u8; 32]; 8], flip: u8, to: &mut [[u8; 32]; 8]) {
    let flip = u8x16_splat(flip);
    for (half, to) in to.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        for four in 0..2 {
            let [a, b, c, d] = [4 * four, 4 * four + 1, 4 * four + 2, 4 * four + 3];
            let row = |row: usize| load(&rows[row][16 * half..]);
            for (quads, to) in transpose([row(a), row(b), row(c), row(d)]).into_iter().zip(&mut *to) {
                store(v128_xor(quads, flip), &mut to[16 * four..]);
            }
        }
    }
}
