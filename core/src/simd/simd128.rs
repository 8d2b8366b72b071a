//! WebAssembly's 128-bit vectors: two hold each vector type.

use core::hint::black_box;

use super::narrow::{Narrow, ProductsKernel};
use super::side_by_side::{AnyDotsKernel, Dots, DotsKernel, SideBySide, WideDots};
use super::wasm::*;
use super::{Isa, Kernel};
use crate::ops::activations::Split;
use crate::ops::fours::Fours;
use crate::ops::integers::Lanes;
use crate::ops::matmul::Rows;
use crate::ops::ternary::{self, Ternary};
use crate::ops::{eight, narrow};
use crate::quant::float16;

/// 128-bit vectors. A module that has them does not load without them, so the type itself is the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Simd128;

pub(super) type Pair = [v128; 2];

#[inline(always)]
fn both(a: Pair, b: Pair, f: impl Fn(v128, v128) -> v128) -> Pair {
    [f(a[0], b[0]), f(a[1], b[1])]
}

#[inline(always)]
fn each(v: Pair, f: impl Fn(v128) -> v128) -> Pair {
    [f(v[0]), f(v[1])]
}

/// 16 bytes.
#[inline(always)]
pub(super) fn load(bytes: &[u8]) -> v128 {
    let bytes: &[u8; 16] = bytes.first_chunk().expect("16 bytes");
    // SAFETY: 16 bytes are read of 16; any alignment will do.
    unsafe { v128_load(bytes.as_ptr().cast()) }
}

/// Eight 16-bit numbers from anywhere. Joined outside of vectors: the compiler would set them byte by byte, each of
/// which waits for the one before.
#[inline(always)]
fn eight(x: [u16; 8]) -> v128 {
    let four = |a: u16, b: u16, c: u16, d: u16| {
        u64::from(a) | u64::from(b) << 16 | u64::from(c) << 32 | u64::from(d) << 48
    };
    u64x2(four(x[0], x[1], x[2], x[3]), four(x[4], x[5], x[6], x[7]))
}

/// The bits of every byte, as bytes: 0xff where the bit is set. To compare with a bit in each byte takes constants that
/// compilers make anew every time, and they invert what is equal to get what is not.
static SPREAD: [u64; 256] = {
    let mut bytes = [0; 256];
    let mut i = 0;
    while i < 8 * 256 {
        if i / 8 >> (i % 8) & 1 == 1 {
            bytes[i / 8] |= 0xff << (8 * (i % 8));
        }
        i += 1;
    }
    bytes
};

/// Four floats.
#[inline(always)]
fn load_floats(x: &[f32]) -> v128 {
    let x: &[f32; 4] = x.first_chunk().expect("4 floats");
    // SAFETY: 16 bytes are read of 16.
    unsafe { v128_load(x.as_ptr().cast()) }
}

/// What [`widen_finite`] needs: the places of sign, exponent and fraction, and 2^112.
#[inline(always)]
fn widening() -> Pair {
    [u32x4_splat(0x8fff_e000), f32x4_splat(f32::from_bits((127 + 112) << 23))]
}

/// Four halves, in the upper halves of 32-bit lanes, as floats. What is infinite or no number becomes a number from 65536.
#[inline(always)]
fn widen_finite(upper: v128, [places, power]: Pair) -> v128 {
    // Bits move to a float's places, and copies of the sign go. That leaves the exponent 112 too low.
    f32x4_mul(v128_and(i32x4_shr(upper, 3), places), power)
}

/// The same, exactly.
#[inline(always)]
fn widen(upper: v128) -> v128 {
    let finite = widen_finite(upper, widening());
    let special = f32x4_ge(f32x4_abs(finite), f32x4_splat(65536.0));
    v128_or(finite, v128_and(special, u32x4_splat(0x7f80_0000)))
}

/// Eight 16-bit lanes as upper halves of 32-bit lanes.
#[inline(always)]
fn upper_halves(v: v128) -> Pair {
    let zero = i16x8_splat(0);
    [i16x8_shuffle::<0, 8, 1, 9, 2, 10, 3, 11>(zero, v), i16x8_shuffle::<4, 12, 5, 13, 6, 14, 7, 15>(zero, v)]
}

/// To memory.
#[inline(always)]
pub(super) fn store(v: v128, to: &mut [u8]) {
    let to: &mut [u8; 16] = to.first_chunk_mut().expect("16 bytes");
    // SAFETY: 16 bytes are written of 16; any alignment will do.
    unsafe { v128_store(to.as_mut_ptr().cast(), v) }
}

/// Four rows of four 32-bit lanes become four columns.
#[inline(always)]
pub(super) fn transpose(rows: [v128; 4]) -> [v128; 4] {
    let [a, b, c, d] = rows;
    let (ab, cd) = (i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<0, 4, 1, 5>(c, d));
    let (ab_high, cd_high) = (i32x4_shuffle::<2, 6, 3, 7>(a, b), i32x4_shuffle::<2, 6, 3, 7>(c, d));
    [
        i64x2_shuffle::<0, 2>(ab, cd),
        i64x2_shuffle::<1, 3>(ab, cd),
        i64x2_shuffle::<0, 2>(ab_high, cd_high),
        i64x2_shuffle::<1, 3>(ab_high, cd_high),
    ]
}

/// The products of signed bytes, summed by fours in some order; `x` is at least -127.
#[inline(always)]
fn dot_signed(w: v128, x: v128) -> v128 {
    // Two products fit 16 bits: 2 * 128 * 127. Which of the 16 bytes meet in a sum does not matter.
    let products = i16x8_add(i16x8_extmul_low_i8x16(w, x), i16x8_extmul_high_i8x16(w, x));
    i32x4_extadd_pairwise_i16x8(products)
}

/// What a module does that may not use relaxed SIMD.
#[cfg(not(target_feature = "relaxed-simd"))]
mod plain {
    use super::Simd128;
    use crate::ops::activations::Split;
    use crate::simd::narrow::ProductsKernel;
    use crate::simd::pairs::Pairs;
    use crate::simd::side_by_side::{AnyDotsKernel, DotsKernel};
    use crate::simd::two_rows::TwoRows;
    use crate::simd::wasm::*;

    /// Up to 127, unsigned and signed bytes are the same.
    pub(super) use super::dot_signed as dot_unsigned;

    #[inline(always)]
    pub fn mul_add(a: v128, b: v128, c: v128) -> v128 {
        f32x4_add(f32x4_mul(a, b), c)
    }

    /// `c - a * b`
    #[inline(always)]
    pub fn neg_mul_add(a: v128, b: v128, c: v128) -> v128 {
        f32x4_sub(c, f32x4_mul(a, b))
    }

    #[inline(always)]
    pub fn lookup(table: v128, index: v128) -> v128 {
        u8x16_swizzle(table, index)
    }

    /// To nearest even.
    #[inline(always)]
    pub fn round(v: v128) -> v128 {
        i32x4_trunc_sat_f32x4(f32x4_nearest(v))
    }

    #[inline(always)]
    pub fn with_dots<K: AnyDotsKernel<Simd128>>(_signed: bool, _bits: u32, kernel: K) -> K::Output {
        kernel.run_wide::<Pairs>()
    }

    /// [`crate::simd::Isa::split`]: of each 16 those in even places as 16-bit numbers, and those in odd ones.
    pub fn split(x: &[u8; 32]) -> Split {
        let mut parts = [[0; 32]; 2];
        for (part, x) in parts.iter_mut().zip(x.as_chunks::<16>().0) {
            let (even, odd) = part.as_chunks_mut::<2>().0.split_at_mut(8);
            for (i, x) in x.as_chunks::<2>().0.iter().enumerate() {
                [even[i], odd[i]] = x.map(|x| i16::from(x as i8).to_le_bytes());
            }
        }
        Split { parts, negative: 0 }
    }

    #[inline(always)]
    pub fn with_ternary_dots<K: DotsKernel<Simd128>>(kernel: K) -> K::Output {
        kernel.run::<TwoRows>(0)
    }

    #[inline(always)]
    pub fn with_products<K: ProductsKernel<Simd128>>(_signed: bool, _bits: u32, kernel: K) -> K::Output {
        kernel.run::<Pairs>(0)
    }
}

#[cfg(target_feature = "relaxed-simd")]
use super::relaxed as best;
#[cfg(not(target_feature = "relaxed-simd"))]
use plain as best;

impl Isa for Simd128 {
    type F32x8 = Pair;
    type I32x8 = Pair;
    type I8x32 = Pair;

    const REGISTERS: usize = 8;

    #[inline(never)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Pair {
        [f32x4_splat(x); 2]
    }

    #[inline(always)]
    fn splat2(self, low: f32, high: f32) -> Pair {
        [f32x4_splat(low), f32x4_splat(high)]
    }

    #[inline(always)]
    fn double(self, x: &[f32; 4]) -> Pair {
        let x = load_floats(x);
        [i32x4_shuffle::<0, 0, 1, 1>(x, x), i32x4_shuffle::<2, 2, 3, 3>(x, x)]
    }

    #[inline(always)]
    fn load(self, x: &[f32; 8]) -> Pair {
        [load_floats(&x[..4]), load_floats(&x[4..])]
    }

    #[inline(always)]
    fn store(self, v: Pair, to: &mut [f32; 8]) {
        let to = to.as_mut_ptr().cast::<v128>();
        // SAFETY: twice 16 bytes are written of 32.
        unsafe {
            v128_store(to, v[0]);
            v128_store(to.add(1), v[1]);
        }
    }

    #[inline(always)]
    fn add(self, a: Pair, b: Pair) -> Pair {
        both(a, b, |a, b| f32x4_add(a, b))
    }

    #[inline(always)]
    fn mul(self, a: Pair, b: Pair) -> Pair {
        both(a, b, |a, b| f32x4_mul(a, b))
    }

    #[inline(always)]
    fn mul_add(self, a: Pair, b: Pair, c: Pair) -> Pair {
        [best::mul_add(a[0], b[0], c[0]), best::mul_add(a[1], b[1], c[1])]
    }

    #[inline(always)]
    fn neg_mul_add(self, a: Pair, b: Pair, c: Pair) -> Pair {
        [best::neg_mul_add(a[0], b[0], c[0]), best::neg_mul_add(a[1], b[1], c[1])]
    }

    #[inline(always)]
    fn max_abs(self, a: Pair, b: Pair) -> Pair {
        // The bits of non-negative floats order as integers do, with NaN above infinity; `f32x4.max`, which keeps NaN too,
        // takes x86 eight instructions.
        both(a, b, |a, b| i32x4_max(f32x4_abs(a), f32x4_abs(b)))
    }

    #[inline(always)]
    fn div(self, a: Pair, b: Pair) -> Pair {
        both(a, b, |a, b| f32x4_div(a, b))
    }

    #[inline(always)]
    fn min(self, a: Pair, b: Pair) -> Pair {
        // `a < b ? a : b`
        both(a, b, |a, b| f32x4_pmin(b, a))
    }

    #[inline(always)]
    fn max(self, a: Pair, b: Pair) -> Pair {
        // `b < a ? a : b`
        both(a, b, |a, b| f32x4_pmax(b, a))
    }

    #[inline(always)]
    fn zero_below(self, v: Pair, x: Pair, least: f32) -> Pair {
        both(v, x, |v, x| v128_andnot(v, f32x4_lt(x, f32x4_splat(least))))
    }

    #[inline(always)]
    fn times_power_of_2(self, v: Pair, n: Pair) -> Pair {
        both(v, n, |v, n| i32x4_add(v, i32x4_shl(n, 23)))
    }

    #[inline(always)]
    fn transpose(self, rows: [Pair; 8]) -> [Pair; 8] {
        let mut columns = rows;
        for half in 0..2 {
            let rows = |i: usize| [rows[i][half], rows[i + 1][half], rows[i + 2][half], rows[i + 3][half]];
            let (low, high) = (transpose(rows(0)), transpose(rows(4)));
            for i in 0..4 {
                columns[4 * half + i] = [low[i], high[i]];
            }
        }
        columns
    }

    #[inline(always)]
    fn sum(self, v: Pair) -> f32 {
        self.sum_narrow(f32x4_add(v[0], v[1]))
    }

    #[inline(always)]
    fn widen_f16(self, bits: [u16; 8]) -> Pair {
        each(upper_halves(eight(bits)), widen)
    }

    #[inline(always)]
    fn decode_f16(self, halves: &[[u8; 2]], to: &mut [f32]) {
        assert_eq!(halves.len(), to.len());
        // Engines make constants anew wherever they are used, but not what the compiler does not know.
        let (widening, special) = (each(widening(), black_box), black_box(u16x8_splat(0x7c00)));
        let ((x, _), (to, to_rest)) = (halves.as_flattened().as_chunks::<16>(), to.as_chunks_mut::<8>());
        for (x, to) in x.iter().zip(to) {
            let x = load(x);
            let upper = upper_halves(x);
            let floats = if v128_any_true(i16x8_eq(v128_and(x, special), special)) {
                each(upper, widen)
            } else {
                each(upper, |upper| widen_finite(upper, widening))
            };
            self.store(floats, to);
        }
        for (x, to) in halves[x.len() * 8..].iter().zip(to_rest) {
            *to = float16::f16_to_f32(u16::from_le_bytes(*x));
        }
    }

    #[inline(always)]
    fn narrow_f16(self, v: Pair) -> [u16; 8] {
        self.to_array(v).map(float16::f32_to_f16)
    }

    #[inline(always)]
    fn widen_bf16(self, bits: [u16; 8]) -> Pair {
        upper_halves(eight(bits))
    }

    #[inline(always)]
    fn float_u8(self, x: [u8; 8]) -> Pair {
        let x = u16x8_extend_low_u8x16(u64x2(u64::from_le_bytes(x), 0));
        [f32x4_convert_u32x4(u32x4_extend_low_u16x8(x)), f32x4_convert_u32x4(u32x4_extend_high_u16x8(x))]
    }

    #[inline(always)]
    fn float_i8(self, x: [i8; 8]) -> Pair {
        let x = i16x8_extend_low_i8x16(u64x2(u64::from_le_bytes(x.map(|x| x as u8)), 0));
        [f32x4_convert_i32x4(i32x4_extend_low_i16x8(x)), f32x4_convert_i32x4(i32x4_extend_high_i16x8(x))]
    }

    #[inline(always)]
    fn float_i32(self, v: Pair) -> Pair {
        each(v, |v| f32x4_convert_i32x4(v))
    }

    #[inline(always)]
    fn load_bytes(self, x: &[u8; 32]) -> Pair {
        [load(&x[..16]), load(&x[16..])]
    }

    #[inline(always)]
    fn splat_bytes(self, x: u8) -> Pair {
        [u8x16_splat(x); 2]
    }

    #[inline(always)]
    fn store_bytes(self, v: Pair, to: &mut [u8; 32]) {
        let to = to.as_mut_ptr().cast::<v128>();
        // SAFETY: twice 16 bytes are written of 32.
        unsafe {
            v128_store(to, v[0]);
            v128_store(to.add(1), v[1]);
        }
    }

    #[inline(always)]
    fn nibbles(self, x: &[u8; 16]) -> Pair {
        let x = load(x);
        [v128_and(x, u8x16_splat(15)), v128_and(u16x8_shr(x, 4), u8x16_splat(15))]
    }

    #[inline(always)]
    fn field(self, v: Pair, shift: u32, mask: u8) -> Pair {
        // Bits that come in from the next byte are masked away; shifts of bytes are made of several instructions.
        each(v, |v| v128_and(u16x8_shr(v, shift), u8x16_splat(mask)))
    }

    #[inline(always)]
    fn raise(self, v: Pair, mask: u8, shift: u32) -> Pair {
        each(v, |v| u16x8_shl(v128_and(v, u8x16_splat(mask)), shift))
    }

    #[inline(always)]
    fn or(self, a: Pair, b: Pair) -> Pair {
        both(a, b, |a, b| v128_or(a, b))
    }

    #[inline(always)]
    fn spread(self, bits: u32, value: u8) -> Pair {
        let [a, b, c, d] = bits.to_le_bytes().map(|byte| SPREAD[usize::from(byte)]);
        each(self.join([a, b, c, d]), |bytes| v128_and(bytes, u8x16_splat(value)))
    }

    #[inline(always)]
    fn join(self, [a, b, c, d]: [u64; 4]) -> Pair {
        [u64x2(a, b), u64x2(c, d)]
    }

    #[inline(always)]
    fn negate(self, v: Pair, signs: u32) -> Pair {
        both(v, self.spread(signs, 0xff), |v, minus| i8x16_sub(v128_xor(v, minus), minus))
    }

    #[inline(always)]
    fn lookup(self, table: &[i8; 16], index: Pair) -> Pair {
        let table = load(&table.map(|entry| entry as u8));
        each(index, |index| best::lookup(table, index))
    }

    #[inline(always)]
    fn digits(self, v: Pair, powers: &[u16; 16]) -> Pair {
        let powers = powers.as_chunks::<8>().0;
        let digits = |v: v128, power: &[u16; 8]| {
            let [power, three] = [eight(*power), i16x8_splat(3)];
            // Bytes of even places are low in their pair; those of odd places are alone there when the others are gone.
            let even = v128_and(i16x8_mul(v, power), i16x8_splat(0xff));
            let odd = u16x8_shr(i16x8_mul(v128_and(v, u16x8_splat(0xff00)), power), 8);
            let even = u16x8_shr(i16x8_mul(even, three), 8);
            v128_or(even, v128_and(i16x8_mul(odd, three), u16x8_splat(0xff00)))
        };
        [digits(v[0], &powers[0]), digits(v[1], &powers[1])]
    }

    #[inline(always)]
    fn round(self, v: [Pair; 4]) -> Pair {
        let narrow = |v: Pair| {
            let [low, high] = each(v, best::round);
            i16x8_narrow_i32x4(low, high)
        };
        [i8x16_narrow_i16x8(narrow(v[0]), narrow(v[1])), i8x16_narrow_i16x8(narrow(v[2]), narrow(v[3]))]
    }

    #[inline(always)]
    fn add_i32(self, a: Pair, b: Pair) -> Pair {
        both(a, b, |a, b| i32x4_add(a, b))
    }

    #[cfg(target_feature = "relaxed-simd")]
    #[inline(always)]
    fn dot_u2(self, w: [Pair; 4], x: &[[u8; 32]; 4], sum: Pair) -> Pair {
        best::dot_u2(w, x, sum)
    }

    #[inline(always)]
    fn dot_u7(self, w: Pair, x: Pair) -> Pair {
        both(w, x, best::dot_unsigned)
    }

    #[inline(always)]
    fn dot_i8(self, w: Pair, x: Pair) -> Pair {
        both(w, x, dot_signed)
    }

    #[inline(always)]
    fn tokens<F: Lanes>(self, rows: Rows<'_, '_>) {
        eight::tokens::<F, Self>(self, rows);
    }

    #[inline(always)]
    fn widens(self, signed: bool) -> bool {
        // How many bits there are without signs does not matter here.
        self.with_dots(signed, 6, IsWide)
    }

    #[inline(always)]
    fn split(self, x: &[u8; 32]) -> Split {
        best::split(x)
    }

    #[inline(always)]
    fn widen(self, x: &[u8; 32]) -> ([[[u8; 8]; 4]; 2], [i32; 2]) {
        let (mut wide, mut products) = ([[[0; 8]; 4]; 2], [0; 2]);
        for half in 0..2 {
            let x = load(&x[16 * half..]);
            let two_quads = [i16x8_extend_low_i8x16(x), i16x8_extend_high_i8x16(x)];
            // Every product twice.
            let [a, b] = two_quads.map(|x| i32x4_dot_i16x8(x, i32x4_shuffle::<1, 0, 3, 2>(x, x)));
            let sums = i32x4_add(a, b);
            products[half] = i32x4_extract_lane::<0>(sums) + i32x4_extract_lane::<2>(sums);
            for (x, to) in two_quads.into_iter().zip(wide[half].as_flattened_mut().chunks_exact_mut(16)) {
                store(x, to);
            }
        }
        (wide, products)
    }

    #[inline(always)]
    fn ternary_tokens<F: Ternary>(self, rows: Rows<'_, '_>) {
        ternary::eight::tokens::<F, Self>(self, rows);
    }

    #[inline(always)]
    fn one_token<F: Lanes>(self, rows: Rows<'_, '_>) {
        narrow::one_token::<F, Self>(self, rows);
    }

    #[inline(always)]
    fn fours<F: Fours>(self, rows: Rows<'_, '_>) {
        match rows.x.tokens() {
            1 => narrow::fours::<F, Self>(self, rows),
            _ => eight::fours::<F, Self>(self, rows),
        }
    }
}

/// Looks whether dot products are [wide](WideDots).
struct IsWide;

impl DotsKernel<Simd128> for IsWide {
    type Output = bool;

    #[inline(always)]
    fn run<D: Dots<Simd128>>(self, _: u8) -> bool {
        false
    }
}

impl AnyDotsKernel<Simd128> for IsWide {
    #[inline(always)]
    fn run_wide<D: WideDots<Simd128>>(self) -> bool {
        true
    }
}

impl SideBySide for Simd128 {
    #[inline(always)]
    fn with_dots<K: AnyDotsKernel<Self>>(self, signed: bool, bits: u32, kernel: K) -> K::Output {
        best::with_dots(signed, bits, kernel)
    }

    #[inline(always)]
    fn with_ternary_dots<K: DotsKernel<Self>>(self, kernel: K) -> K::Output {
        best::with_ternary_dots(kernel)
    }
}

impl Narrow for Simd128 {
    type F32x4 = v128;
    type I32x4 = v128;

    #[inline(always)]
    fn halves(self, v: Pair) -> Pair {
        v
    }

    #[inline(always)]
    fn splat_narrow(self, x: f32) -> v128 {
        f32x4_splat(x)
    }

    #[inline(always)]
    fn four_halves(self, bits: &[u8; 8]) -> v128 {
        // SAFETY: 8 bytes are read of 8; any alignment will do.
        let halves = unsafe { v128_load64_zero(bits.as_ptr().cast()) };
        widen_finite(upper_halves(halves)[0], widening())
    }

    #[inline(always)]
    fn store_narrow(self, v: v128, to: &mut [f32; 4]) {
        // SAFETY: 16 bytes are written of 16.
        unsafe { v128_store(to.as_mut_ptr().cast(), v) }
    }

    #[inline(always)]
    fn add_narrow(self, a: v128, b: v128) -> v128 {
        f32x4_add(a, b)
    }

    #[inline(always)]
    fn sub_narrow(self, a: v128, b: v128) -> v128 {
        f32x4_sub(a, b)
    }

    #[inline(always)]
    fn mul_narrow(self, a: v128, b: v128) -> v128 {
        f32x4_mul(a, b)
    }

    #[inline(always)]
    fn mul_add_narrow(self, a: v128, b: v128, c: v128) -> v128 {
        best::mul_add(a, b, c)
    }

    #[inline(always)]
    fn sum_narrow(self, v: v128) -> f32 {
        let two = f32x4_add(v, i32x4_shuffle::<2, 3, 0, 1>(v, v));
        f32x4_extract_lane::<0>(two) + f32x4_extract_lane::<1>(two)
    }

    #[inline(always)]
    fn float_i32_narrow(self, v: v128) -> v128 {
        f32x4_convert_i32x4(v)
    }

    #[inline(always)]
    fn with_products<K: ProductsKernel<Self>>(self, signed: bool, bits: u32, kernel: K) -> K::Output {
        best::with_products(signed, bits, kernel)
    }
}
