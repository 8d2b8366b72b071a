//! WebAssembly's 128-bit vectors: two hold each vector type.

use super::{Isa, Kernel};
use core::arch::wasm32::*;

/// 128-bit vectors. A module that has them does not load without them, so the type itself is the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Simd128;

type Pair = [v128; 2];

#[inline(always)]
fn both(a: Pair, b: Pair, f: impl Fn(v128, v128) -> v128) -> Pair {
    [f(a[0], b[0]), f(a[1], b[1])]
}

/// 16 bytes.
#[inline(always)]
fn load(bytes: &[u8]) -> v128 {
    let bytes: &[u8; 16] = bytes.first_chunk().expect("16 bytes");
    // SAFETY: 16 bytes are read of 16; any alignment will do.
    unsafe { v128_load(bytes.as_ptr().cast()) }
}

/// Four floats.
#[inline(always)]
fn load_floats(x: &[f32]) -> v128 {
    let x: &[f32; 4] = x.first_chunk().expect("4 floats");
    // SAFETY: 16 bytes are read of 16.
    unsafe { v128_load(x.as_ptr().cast()) }
}

/// Four halves, in 32-bit lanes, as floats: their bits move to a float's places, which leaves the exponent 112 too low.
#[inline(always)]
fn widen(halves: v128) -> v128 {
    let sign = u32x4_shl(v128_and(halves, u32x4_splat(0x8000)), 16);
    let magnitude = u32x4_shl(v128_and(halves, u32x4_splat(0x7fff)), 13);
    let finite = f32x4_mul(magnitude, f32x4_splat(f32::from_bits((127 + 112) << 23)));
    let special = v128_and(u32x4_ge(magnitude, u32x4_splat(0x7c00 << 13)), u32x4_splat(0x7f80_0000));
    v128_or(v128_or(finite, special), sign)
}

/// Sums of four products each, of 16 bytes.
#[inline(always)]
fn dot(w: v128, x: v128) -> v128 {
    // Two products fit 16 bits: 2 * 128 * 127. Which of the 16 bytes meet in a sum does not matter.
    let products = i16x8_add(i16x8_extmul_low_i8x16(w, x), i16x8_extmul_high_i8x16(w, x));
    i32x4_extadd_pairwise_i16x8(products)
}

impl Isa for Simd128 {
    type F32x8 = Pair;
    type I32x8 = Pair;
    type I8x32 = Pair;

    #[inline(always)]
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
        self.add(self.mul(a, b), c)
    }

    #[inline(always)]
    fn neg_mul_add(self, a: Pair, b: Pair, c: Pair) -> Pair {
        both(c, self.mul(a, b), |a, b| f32x4_sub(a, b))
    }

    #[inline(always)]
    fn max_abs(self, a: Pair, b: Pair) -> Pair {
        // This maximum of NaN and anything is NaN.
        both(a, b, |a, b| f32x4_max(f32x4_abs(a), f32x4_abs(b)))
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
        let four = f32x4_add(v[0], v[1]);
        let two = f32x4_add(four, i32x4_shuffle::<2, 3, 0, 1>(four, four));
        f32x4_extract_lane::<0>(two) + f32x4_extract_lane::<1>(two)
    }

    #[inline(always)]
    fn widen_f16(self, bits: [u16; 8]) -> Pair {
        let bits = u16x8(bits[0], bits[1], bits[2], bits[3], bits[4], bits[5], bits[6], bits[7]);
        [widen(u32x4_extend_low_u16x8(bits)), widen(u32x4_extend_high_u16x8(bits))]
    }

    #[inline(always)]
    fn narrow_f16(self, v: Pair) -> [u16; 8] {
        self.to_array(v).map(crate::quant::float16::f32_to_f16)
    }

    #[inline(always)]
    fn widen_bf16(self, bits: [u16; 8]) -> Pair {
        let bits = u16x8(bits[0], bits[1], bits[2], bits[3], bits[4], bits[5], bits[6], bits[7]);
        [u32x4_shl(u32x4_extend_low_u16x8(bits), 16), u32x4_shl(u32x4_extend_high_u16x8(bits), 16)]
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
        v.map(|v| f32x4_convert_i32x4(v))
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
        [v128_and(x, u8x16_splat(15)), u8x16_shr(x, 4)]
    }

    #[inline(always)]
    fn field(self, v: Pair, shift: u32, mask: u8) -> Pair {
        v.map(|v| v128_and(u8x16_shr(v, shift), u8x16_splat(mask)))
    }

    #[inline(always)]
    fn raise(self, v: Pair, mask: u8, shift: u32) -> Pair {
        v.map(|v| u8x16_shl(v128_and(v, u8x16_splat(mask)), shift))
    }

    #[inline(always)]
    fn or(self, a: Pair, b: Pair) -> Pair {
        both(a, b, |a, b| v128_or(a, b))
    }

    #[inline(always)]
    fn spread(self, bits: u32, value: u8) -> Pair {
        // Every byte gets the byte that its bit is in, and is `value` where its bit of it is set.
        let bits = u32x4_splat(bits);
        let bit = u64x2_splat(0x8040_2010_0804_0201);
        let low = i8x16_shuffle::<0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1>(bits, bits);
        let high = i8x16_shuffle::<2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3>(bits, bits);
        [low, high].map(|bytes| v128_and(u8x16_eq(v128_and(bytes, bit), bit), u8x16_splat(value)))
    }

    #[inline(always)]
    fn lookup(self, table: &[i8; 16], index: Pair) -> Pair {
        let table = load(&table.map(|entry| entry as u8));
        index.map(|index| u8x16_swizzle(table, index))
    }

    #[inline(always)]
    fn round(self, v: [Pair; 4]) -> Pair {
        let narrow = |v: Pair| {
            let [low, high] = v.map(|v| i32x4_trunc_sat_f32x4(f32x4_nearest(v)));
            i16x8_narrow_i32x4(low, high)
        };
        [i8x16_narrow_i16x8(narrow(v[0]), narrow(v[1])), i8x16_narrow_i16x8(narrow(v[2]), narrow(v[3]))]
    }

    #[inline(always)]
    fn add_i32(self, a: Pair, b: Pair) -> Pair {
        both(a, b, |a, b| i32x4_add(a, b))
    }

    #[inline(always)]
    fn dot_u7(self, w: Pair, x: Pair) -> Pair {
        // Up to 127, unsigned and signed bytes are the same.
        both(w, x, dot)
    }

    #[inline(always)]
    fn dot_i8(self, w: Pair, x: Pair) -> Pair {
        both(w, x, dot)
    }
}

/// Four rows of four numbers become columns.
#[inline(always)]
fn transpose([a, b, c, d]: [v128; 4]) -> [v128; 4] {
    let (ab, cd) = (i32x4_shuffle::<0, 4, 1, 5>(a, b), i32x4_shuffle::<0, 4, 1, 5>(c, d));
    let (ab2, cd2) = (i32x4_shuffle::<2, 6, 3, 7>(a, b), i32x4_shuffle::<2, 6, 3, 7>(c, d));
    [
        i32x4_shuffle::<0, 1, 4, 5>(ab, cd),
        i32x4_shuffle::<2, 3, 6, 7>(ab, cd),
        i32x4_shuffle::<0, 1, 4, 5>(ab2, cd2),
        i32x4_shuffle::<2, 3, 6, 7>(ab2, cd2),
    ]
}
