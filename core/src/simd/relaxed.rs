//! What [`super::Simd128`] does better where a module may use relaxed SIMD.
//!
//! The relaxed dot products multiply signed bytes with bytes of 7 bits. Beyond 7 bits the second operand means one of
//! three things, depending on the processor under the browser: an unsigned byte (AVX-VNNI), an unsigned byte whose
//! products saturate by twos at 16 bits (SSSE3, AVX2), a signed byte (Arm). [`eighth_bit`] looks which.

use super::narrow::{Products, ProductsKernel, quads};
use super::pairs::{Pairs, load_repeated, quads_side_by_side};
use super::side_by_side::{AnyDotsKernel, Dots, DotsKernel};
use super::simd128::{Pair, Simd128, load};
use super::wasm::*;
use crate::ops::activations::Split;

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

/// [`super::Isa::dot_u7`], for half of the bytes.
#[inline(always)]
pub(super) fn dot_unsigned(w: v128, x: v128) -> v128 {
    dot_add(w, x, i32x4_splat(0))
}

/// [`super::Isa::dot_u2`]
#[inline(always)]
pub(super) fn dot_u2(w: [Pair; 4], x: &[[u8; 32]; 4], mut sum: Pair) -> Pair {
    // The same every time, so the compiler asks once.
    let saturates = eighth_bit() == EighthBit::Saturates;
    for half in 0..2 {
        let x = |i: usize| load(&x[i][16 * half..]);
        if saturates {
            // Sums of two products fit 16 bits four times: 4 * 2 * 3 * 127.
            let pairs = |i: usize| i16x8_relaxed_dot_i8x16_i7x16(x(i), w[i][half]);
            let four = i16x8_add(i16x8_add(pairs(0), pairs(1)), i16x8_add(pairs(2), pairs(3)));
            sum[half] = i32x4_add(sum[half], i32x4_extadd_pairwise_i16x8(four));
        } else {
            for i in 0..4 {
                sum[half] = dot_add(w[i][half], x(i), sum[half]);
            }
        }
    }
    sum
}

/// What the highest bit of a dot product's second operand means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum EighthBit {
    Unsigned,
    /// And a processor that has no dot products, so that one is made of several instructions.
    Saturates,
    Sign,
}

#[inline(always)]
fn eighth_bit() -> EighthBit {
    match i32x4_extract_lane::<0>(dot_add(u8x16_splat(255), i8x16_splat(127), i32x4_splat(0))) {
        129_540 => EighthBit::Unsigned,
        -508 => EighthBit::Sign,
        _ => EighthBit::Saturates,
    }
}

/// The way to multiply that suits the processor under the browser.
enum Way {
    Quads { flip: u8 },
    Pairs,
    FoldedBy8,
    FoldedBy2,
}

#[inline(always)]
fn way(signed: bool, bits: u32) -> Way {
    match eighth_bit() {
        EighthBit::Unsigned => Way::Quads { flip: if signed { 0x80 } else { 0 } },
        EighthBit::Sign => Way::Quads { flip: 0 },
        EighthBit::Saturates if signed => Way::Pairs,
        EighthBit::Saturates if bits <= 4 => Way::FoldedBy8,
        EighthBit::Saturates => Way::FoldedBy2,
    }
}

/// [`super::SideBySide::with_dots`]
#[inline(always)]
pub(super) fn with_dots<K: AnyDotsKernel<Simd128>>(signed: bool, bits: u32, kernel: K) -> K::Output {
    match way(signed, bits) {
        Way::Quads { flip } => kernel.run::<Quads>(flip),
        Way::Pairs => kernel.run_wide::<Pairs>(),
        Way::FoldedBy8 => kernel.run::<Folded<8>>(0),
        Way::FoldedBy2 => kernel.run::<Folded<2>>(0),
    }
}

/// [`super::SideBySide::with_ternary_dots`]
#[inline(always)]
pub(super) fn with_ternary_dots<K: DotsKernel<Simd128>>(kernel: K) -> K::Output {
    match eighth_bit() {
        EighthBit::Saturates => kernel.run::<Folded<32>>(0),
        EighthBit::Unsigned | EighthBit::Sign => kernel.run::<Quads>(0),
    }
}

/// [`super::Narrow::with_products`]
#[inline(always)]
pub(super) fn with_products<K: ProductsKernel<Simd128>>(signed: bool, bits: u32, kernel: K) -> K::Output {
    match way(signed, bits) {
        Way::Quads { flip } => kernel.run::<Quads>(flip),
        Way::Pairs => kernel.run::<Signs>(0),
        Way::FoldedBy8 | Way::FoldedBy2 => kernel.run::<Folded<2>>(0),
    }
}

/// Dot products of four bytes, added up by one instruction.
struct Quads;

impl Dots<Simd128> for Quads {
    const TERNARY_TOKENS: usize = 4;

    #[inline(always)]
    fn side_by_side(_: Simd128, rows: [&[u8; 32]; 8], flip: u8, to: &mut [[u8; 32]; 8]) {
        quads_side_by_side(rows, flip, to);
    }

    #[inline(always)]
    fn rearrange(_: Simd128, _: &mut [[u8; 32]; 8]) {}

    #[inline(always)]
    fn dots<const TOKENS: usize, const QUADS: usize>(
        _: Simd128,
        w: &[[u8; 32]; QUADS],
        x: [&[[u8; 4]; QUADS]; TOKENS],
    ) -> [[v128; 2]; TOKENS] {
        let mut sums = [[i32x4_splat(0); 2]; TOKENS];
        // A loop of its own for every quad: unrolled, sums would be finished one after the other, in a chain each.
        for (j, w) in w.iter().enumerate() {
            for t in 0..TOKENS {
                let x = load_repeated(&x[t][j]);
                for four in 0..2 {
                    sums[t][four] = dot_add(load(&w[16 * four..]), x, sums[t][four]);
                }
            }
        }
        sums
    }
}

impl Products<Simd128> for Quads {
    type Activations = [u8; 32];

    #[inline(always)]
    fn of_32(w: Pair, x: &[u8; 32], flip: u8) -> v128 {
        let low = dot_add(v128_xor(w[0], u8x16_splat(flip)), load(x), i32x4_splat(0));
        dot_add(v128_xor(w[1], u8x16_splat(flip)), load(&x[16..]), low)
    }

    #[inline(always)]
    fn of_16(w: Pair, x: &[u8; 32], flip: u8) -> Pair {
        [
            dot_add(v128_xor(w[0], u8x16_splat(flip)), load(x), i32x4_splat(0)),
            dot_add(v128_xor(w[1], u8x16_splat(flip)), load(&x[16..]), i32x4_splat(0)),
        ]
    }

    #[inline(always)]
    fn of_fours<const N: usize>(
        w: impl Fn(usize, usize) -> Pair,
        _: u32,
        x: &[u8; 32],
        flip: u8,
        start: i32,
    ) -> [v128; N] {
        let mut sums = [i32x4_splat(start); N];
        for v in quads() {
            for (half, x) in repeated(x, v).into_iter().enumerate() {
                for n in 0..N {
                    sums[n] = dot_add(v128_xor(w(n, v)[half], u8x16_splat(flip)), x, sums[n]);
                }
            }
        }
        sums
    }
}

/// Weights with signs meet what is positive of the activations, and what is negative, neither of which has an eighth
/// bit. The difference is a sum of two products, which fits 16 bits: `2 * 128 * 127`.
struct Signs;

impl Products<Simd128> for Signs {
    type Activations = Split;

    #[inline(always)]
    fn of_32(w: Pair, x: &[u8; 32], flip: u8) -> v128 {
        let [low, high] = Self::of_16(w, x, flip);
        i32x4_add(low, high)
    }

    #[inline(always)]
    fn of_16(w: Pair, x: &[u8; 32], _: u8) -> Pair {
        let sixteen = |w: v128, x: v128| {
            let zero = i8x16_splat(0);
            let (plus, minus) = (i8x16_max(x, zero), i8x16_max(i8x16_sub(zero, x), zero));
            let products =
                i16x8_sub(i16x8_relaxed_dot_i8x16_i7x16(w, plus), i16x8_relaxed_dot_i8x16_i7x16(w, minus));
            i32x4_extadd_pairwise_i16x8(products)
        };
        [sixteen(w[0], load(x)), sixteen(w[1], load(&x[16..]))]
    }

    /// Here weights take the activations' signs: `|x|` meets `w` or, where `x` is negative, `-w - 1`. What that makes too
    /// little is the same for all rows.
    #[inline(always)]
    fn of_fours<const N: usize>(
        w: impl Fn(usize, usize) -> Pair,
        _: u32,
        x: &Split,
        _: u8,
        start: i32,
    ) -> [v128; N] {
        let [sizes, signs] = &x.parts;
        let mut sums = [i32x4_splat(start - x.negative); N];
        for v in quads() {
            let (sizes, signs) = (repeated(sizes, v), repeated(signs, v));
            for half in 0..2 {
                for n in 0..N {
                    let w = v128_xor(w(n, v)[half], signs[half]);
                    let pairs = i16x8_relaxed_dot_i8x16_i7x16(w, sizes[half]);
                    sums[n] = i32x4_add(i32x4_dot_i16x8(pairs, i16x8_splat(1)), sums[n]);
                }
            }
        }
        sums
    }
}

/// [`super::Isa::split`]: magnitudes, and where numbers are negative.
pub(super) fn split(x: &[u8; 32]) -> Split {
    let sizes = x.map(|x| (x as i8).unsigned_abs());
    let signs = x.map(|x| (x as i8 >> 7) as u8);
    Split { parts: [sizes, signs], negative: x.iter().map(|&x| i32::from(x as i8).min(0)).sum() }
}

/// The four bytes of quad `v` of either half, four times.
#[inline(always)]
fn repeated(x: &[u8; 32], v: usize) -> Pair {
    let quads: &[[u8; 4]] = x.as_chunks().0;
    [load_repeated(&quads[v]), load_repeated(&quads[4 + v])]
}

/// Sums of two products in 16 bits, added up there `N` at a time before they are widened: 32 for weights of up to 2 bits
/// (`32 * 2 * 3 * 127` fits), 8 for weights of up to 4, 2 for weights of up to 6.
struct Folded<const N: usize>;

impl<const N: usize> Dots<Simd128> for Folded<N> {
    const TERNARY_TOKENS: usize = 4;

    #[inline(always)]
    fn side_by_side(_: Simd128, rows: [&[u8; 32]; 8], flip: u8, to: &mut [[u8; 32]; 8]) {
        quads_side_by_side(rows, flip, to);
    }

    #[inline(always)]
    fn rearrange(_: Simd128, _: &mut [[u8; 32]; 8]) {}

    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "one index into several arrays reads best here")]
    fn dots<const TOKENS: usize, const QUADS: usize>(
        _: Simd128,
        w: &[[u8; 32]; QUADS],
        x: [&[[u8; 4]; QUADS]; TOKENS],
    ) -> [[v128; 2]; TOKENS] {
        let mut sums = [[i32x4_splat(0); 2]; TOKENS];
        if N == 2 {
            for (j, w) in w.as_chunks::<2>().0.iter().enumerate() {
                for t in 0..TOKENS {
                    let (even, odd) = (load_repeated(&x[t][2 * j]), load_repeated(&x[t][2 * j + 1]));
                    for four in 0..2 {
                        let products = i16x8_add(
                            i16x8_relaxed_dot_i8x16_i7x16(even, load(&w[0][16 * four..])),
                            i16x8_relaxed_dot_i8x16_i7x16(odd, load(&w[1][16 * four..])),
                        );
                        sums[t][four] = i32x4_add(i32x4_extadd_pairwise_i16x8(products), sums[t][four]);
                    }
                }
            }
            return sums;
        }
        for from in (0..QUADS).step_by(N) {
            let mut pairs = [[i16x8_splat(0); 2]; TOKENS];
            for j in from..QUADS.min(from + N) {
                for t in 0..TOKENS {
                    let x = load_repeated(&x[t][j]);
                    for four in 0..2 {
                        let products = i16x8_relaxed_dot_i8x16_i7x16(x, load(&w[j][16 * four..]));
                        pairs[t][four] = i16x8_add(products, pairs[t][four]);
                    }
                }
            }
            for t in 0..TOKENS {
                for four in 0..2 {
                    let pairs = i32x4_extadd_pairwise_i16x8(pairs[t][four]);
                    sums[t][four] = i32x4_add(pairs, sums[t][four]);
                }
            }
        }
        sums
    }
}

impl<const N: usize> Products<Simd128> for Folded<N> {
    type Activations = [u8; 32];

    #[inline(always)]
    fn of_32(w: Pair, x: &[u8; 32], _: u8) -> v128 {
        let low = i16x8_relaxed_dot_i8x16_i7x16(load(x), w[0]);
        let high = i16x8_relaxed_dot_i8x16_i7x16(load(&x[16..]), w[1]);
        i32x4_extadd_pairwise_i16x8(i16x8_add(low, high))
    }

    #[inline(always)]
    fn of_16(w: Pair, x: &[u8; 32], _: u8) -> Pair {
        [
            i32x4_extadd_pairwise_i16x8(i16x8_relaxed_dot_i8x16_i7x16(load(x), w[0])),
            i32x4_extadd_pairwise_i16x8(i16x8_relaxed_dot_i8x16_i7x16(load(&x[16..]), w[1])),
        ]
    }

    #[inline(always)]
    fn of_fours<const M: usize>(
        w: impl Fn(usize, usize) -> Pair,
        bits: u32,
        x: &[u8; 32],
        _: u8,
        start: i32,
    ) -> [v128; M] {
        let mut sums = [i32x4_splat(start); M];
        let mut pairs = [i16x8_splat(0); M];
        for v in quads() {
            // Fifth bits are at places that have to be constants.
            match v {
                _ if bits <= 4 => add_quads(&w, x, v, &mut pairs),
                0 => add_quads(&w, x, 0, &mut pairs),
                1 => add_quads(&w, x, 1, &mut pairs),
                2 => add_quads(&w, x, 2, &mut pairs),
                _ => add_quads(&w, x, 3, &mut pairs),
            }
            // Eight sums of two products of 4 bits fit 16 bits, four of 5 bits.
            if bits > 4 && v == 1 {
                for n in 0..M {
                    sums[n] = i32x4_add(i32x4_dot_i16x8(pairs[n], i16x8_splat(1)), sums[n]);
                    pairs[n] = i16x8_splat(0);
                }
            }
        }
        for n in 0..M {
            sums[n] = i32x4_add(i32x4_dot_i16x8(pairs[n], i16x8_splat(1)), sums[n]);
        }
        sums
    }
}

/// Adds sums of two products, of quads `v` and `v + 4`, for [`Folded`].
#[inline(always)]
fn add_quads<const M: usize>(
    w: &impl Fn(usize, usize) -> Pair,
    x: &[u8; 32],
    v: usize,
    pairs: &mut [v128; M],
) {
    for (half, x) in repeated(x, v).into_iter().enumerate() {
        for n in 0..M {
            pairs[n] = i16x8_add(i16x8_relaxed_dot_i8x16_i7x16(x, w(n, v)[half]), pairs[n]);
        }
    }
}
