//! Vectors as arrays, in plain Rust: the level that every processor has, and the oracle of the others.

use super::{Isa, Kernel};
use crate::quant::float16::{bf16_to_f32, f16_to_f32, f32_to_f16};
use core::array::from_fn;

/// Plain Rust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scalar;

impl Isa for Scalar {
    type F32x8 = [f32; 8];
    type I32x8 = [i32; 8];
    type I8x32 = [u8; 32];

    #[inline(always)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; 8] {
        [x; 8]
    }

    #[inline(always)]
    fn splat2(self, low: f32, high: f32) -> [f32; 8] {
        [low, low, low, low, high, high, high, high]
    }

    #[inline(always)]
    fn double(self, x: &[f32; 4]) -> [f32; 8] {
        from_fn(|i| x[i / 2])
    }

    #[inline(always)]
    fn load(self, x: &[f32; 8]) -> [f32; 8] {
        *x
    }

    #[inline(always)]
    fn store(self, v: [f32; 8], to: &mut [f32; 8]) {
        *to = v;
    }

    #[inline(always)]
    fn add(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn mul(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        from_fn(|i| a[i] * b[i])
    }

    #[inline(always)]
    fn mul_add(self, a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        from_fn(|i| a[i] * b[i] + c[i])
    }

    #[inline(always)]
    fn neg_mul_add(self, a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        from_fn(|i| c[i] - a[i] * b[i])
    }

    #[inline(always)]
    fn max_abs(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        // The bits of non-negative floats order as integers do, with NaN above infinity.
        from_fn(|i| f32::from_bits(a[i].abs().to_bits().max(b[i].abs().to_bits())))
    }

    #[inline(always)]
    fn div(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        from_fn(|i| a[i] / b[i])
    }

    #[inline(always)]
    fn min(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn max(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }

    #[inline(always)]
    fn zero_below(self, v: [f32; 8], x: [f32; 8], least: f32) -> [f32; 8] {
        from_fn(|i| if x[i] < least { 0.0 } else { v[i] })
    }

    #[inline(always)]
    fn times_power_of_2(self, v: [f32; 8], n: [f32; 8]) -> [f32; 8] {
        from_fn(|i| f32::from_bits(v[i].to_bits().wrapping_add(n[i].to_bits() << 23)))
    }

    #[inline(always)]
    fn sum(self, v: [f32; 8]) -> f32 {
        let [a, b, c, d]: [f32; 4] = from_fn(|i| v[i] + v[i + 4]);
        (a + c) + (b + d)
    }

    #[inline(always)]
    fn widen_f16(self, bits: [u16; 8]) -> [f32; 8] {
        bits.map(f16_to_f32)
    }

    #[inline(always)]
    fn narrow_f16(self, v: [f32; 8]) -> [u16; 8] {
        v.map(f32_to_f16)
    }

    #[inline(always)]
    fn widen_bf16(self, bits: [u16; 8]) -> [f32; 8] {
        bits.map(bf16_to_f32)
    }

    #[inline(always)]
    fn float_u8(self, x: [u8; 8]) -> [f32; 8] {
        x.map(f32::from)
    }

    #[inline(always)]
    fn float_i8(self, x: [i8; 8]) -> [f32; 8] {
        x.map(f32::from)
    }

    #[inline(always)]
    fn float_i32(self, v: [i32; 8]) -> [f32; 8] {
        v.map(|x| x as f32)
    }

    #[inline(always)]
    fn load_bytes(self, x: &[u8; 32]) -> [u8; 32] {
        *x
    }

    #[inline(always)]
    fn splat_bytes(self, x: u8) -> [u8; 32] {
        [x; 32]
    }

    #[inline(always)]
    fn store_bytes(self, v: [u8; 32], to: &mut [u8; 32]) {
        *to = v;
    }

    #[inline(always)]
    fn nibbles(self, x: &[u8; 16]) -> [u8; 32] {
        from_fn(|i| if i < 16 { x[i] & 15 } else { x[i - 16] >> 4 })
    }

    #[inline(always)]
    fn field(self, v: [u8; 32], shift: u32, mask: u8) -> [u8; 32] {
        v.map(|x| (x >> shift) & mask)
    }

    #[inline(always)]
    fn raise(self, v: [u8; 32], mask: u8, shift: u32) -> [u8; 32] {
        v.map(|x| (x & mask) << shift)
    }

    #[inline(always)]
    fn or(self, a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        from_fn(|i| a[i] | b[i])
    }

    #[inline(always)]
    fn spread(self, bits: u32, value: u8) -> [u8; 32] {
        from_fn(|i| if bits >> i & 1 == 1 { value } else { 0 })
    }

    #[inline(always)]
    fn join(self, x: [u64; 4]) -> [u8; 32] {
        from_fn(|i| x[i / 8].to_le_bytes()[i % 8])
    }

    #[inline(always)]
    fn negate(self, v: [u8; 32], signs: u32) -> [u8; 32] {
        from_fn(|i| if signs >> i & 1 == 1 { v[i].wrapping_neg() } else { v[i] })
    }

    #[inline(always)]
    fn lookup(self, table: &[i8; 16], index: [u8; 32]) -> [u8; 32] {
        index.map(|i| table[usize::from(i & 15)] as u8)
    }

    #[inline(always)]
    fn round(self, v: [[f32; 8]; 4]) -> [u8; 32] {
        // Adding 1.5 * 2^23 leaves no room for a fraction, so the sum is rounded to an integer, ties to even.
        const ROUND: f32 = 12_582_912.0;
        from_fn(|i| (v[i / 8][i % 8] + ROUND - ROUND) as i8 as u8)
    }

    #[inline(always)]
    fn add_i32(self, a: [i32; 8], b: [i32; 8]) -> [i32; 8] {
        from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn dot_u7(self, w: [u8; 32], x: [u8; 32]) -> [i32; 8] {
        from_fn(|i| (4 * i..4 * i + 4).map(|j| i32::from(w[j]) * i32::from(x[j] as i8)).sum())
    }

    #[inline(always)]
    fn dot_i8(self, w: [u8; 32], x: [u8; 32]) -> [i32; 8] {
        from_fn(|i| (4 * i..4 * i + 4).map(|j| i32::from(w[j] as i8) * i32::from(x[j] as i8)).sum())
    }
}
