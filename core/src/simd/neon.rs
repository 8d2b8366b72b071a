//! 64-bit Arm with NEON, which practically every such processor has: two registers hold each vector type.

use super::{Isa, Kernel};
use crate::ops::eight;
use crate::ops::integers::Lanes;
use crate::ops::matmul::Rows;
use crate::ops::ternary::{self, Ternary};
use core::arch::aarch64::*;

/// NEON. It exists only in programs that are compiled for it, so the type itself is the proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neon;

macro_rules! neon {
    ($($body:tt)*) => {
        // SAFETY: this module is compiled only where the whole program may use NEON; memory is reached through
        // references of just the length that is read or written.
        unsafe { $($body)* }
    };
}

type F32x8 = [float32x4_t; 2];
type I32x8 = [int32x4_t; 2];
type I8x32 = [uint8x16_t; 2];

/// Sums of four products each, of 16 bytes.
#[inline(always)]
fn dot(w: int8x16_t, x: int8x16_t) -> int32x4_t {
    neon! {
        // Two products fit 16 bits: 2 * 128 * 127. Multiplying the upper halves by `vmull_high` would leave each sum
        // with products from both halves of the 16 bytes, which is as good: only the 16 count.
        let products = vmlal_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), vget_high_s8(w), vget_high_s8(x));
        vpaddlq_s16(products)
    }
}

/// Four rows of four numbers become columns.
#[inline(always)]
fn transpose([a, b, c, d]: [float32x4_t; 4]) -> [float32x4_t; 4] {
    neon! {
        let pairs = |a, b| {
            let (low, high) = (vzip1q_f32(a, b), vzip2q_f32(a, b));
            (vreinterpretq_f64_f32(low), vreinterpretq_f64_f32(high))
        };
        let ((ab, ab2), (cd, cd2)) = (pairs(a, b), pairs(c, d));
        [vzip1q_f64(ab, cd), vzip2q_f64(ab, cd), vzip1q_f64(ab2, cd2), vzip2q_f64(ab2, cd2)]
            .map(|column| vreinterpretq_f32_f64(column))
    }
}

impl Isa for Neon {
    type F32x8 = F32x8;
    type I32x8 = I32x8;
    type I8x32 = I8x32;

    #[inline(always)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }

    #[inline(always)]
    fn splat(self, x: f32) -> F32x8 {
        neon!([vdupq_n_f32(x); 2])
    }

    #[inline(always)]
    fn splat2(self, low: f32, high: f32) -> F32x8 {
        neon!([vdupq_n_f32(low), vdupq_n_f32(high)])
    }

    #[inline(always)]
    fn double(self, x: &[f32; 4]) -> F32x8 {
        neon! {
            let x = vld1q_f32(x.as_ptr());
            [vzip1q_f32(x, x), vzip2q_f32(x, x)]
        }
    }

    #[inline(always)]
    fn load(self, x: &[f32; 8]) -> F32x8 {
        let (low, high) = x.split_at(4);
        neon!([vld1q_f32(low.as_ptr()), vld1q_f32(high.as_ptr())])
    }

    #[inline(always)]
    fn store(self, v: F32x8, to: &mut [f32; 8]) {
        let (low, high) = to.split_at_mut(4);
        neon! {
            vst1q_f32(low.as_mut_ptr(), v[0]);
            vst1q_f32(high.as_mut_ptr(), v[1]);
        }
    }

    #[inline(always)]
    fn add(self, a: F32x8, b: F32x8) -> F32x8 {
        neon!([vaddq_f32(a[0], b[0]), vaddq_f32(a[1], b[1])])
    }

    #[inline(always)]
    fn mul(self, a: F32x8, b: F32x8) -> F32x8 {
        neon!([vmulq_f32(a[0], b[0]), vmulq_f32(a[1], b[1])])
    }

    #[inline(always)]
    fn mul_add(self, a: F32x8, b: F32x8, c: F32x8) -> F32x8 {
        neon!([vfmaq_f32(c[0], a[0], b[0]), vfmaq_f32(c[1], a[1], b[1])])
    }

    #[inline(always)]
    fn neg_mul_add(self, a: F32x8, b: F32x8, c: F32x8) -> F32x8 {
        neon!([vfmsq_f32(c[0], a[0], b[0]), vfmsq_f32(c[1], a[1], b[1])])
    }

    #[inline(always)]
    fn max_abs(self, a: F32x8, b: F32x8) -> F32x8 {
        // This maximum of NaN and anything is NaN.
        neon! {
            let max = |a, b| vmaxq_f32(vabsq_f32(a), vabsq_f32(b));
            [max(a[0], b[0]), max(a[1], b[1])]
        }
    }

    #[inline(always)]
    fn div(self, a: F32x8, b: F32x8) -> F32x8 {
        neon!([vdivq_f32(a[0], b[0]), vdivq_f32(a[1], b[1])])
    }

    #[inline(always)]
    fn min(self, a: F32x8, b: F32x8) -> F32x8 {
        // The instruction for it would make NaN of NaN.
        neon! {
            let min = |a, b| vbslq_f32(vcltq_f32(a, b), a, b);
            [min(a[0], b[0]), min(a[1], b[1])]
        }
    }

    #[inline(always)]
    fn max(self, a: F32x8, b: F32x8) -> F32x8 {
        neon! {
            let max = |a, b| vbslq_f32(vcgtq_f32(a, b), a, b);
            [max(a[0], b[0]), max(a[1], b[1])]
        }
    }

    #[inline(always)]
    fn zero_below(self, v: F32x8, x: F32x8, least: f32) -> F32x8 {
        neon! {
            let zero = |v, x| vbslq_f32(vcltq_f32(x, vdupq_n_f32(least)), vdupq_n_f32(0.0), v);
            [zero(v[0], x[0]), zero(v[1], x[1])]
        }
    }

    #[inline(always)]
    fn times_power_of_2(self, v: F32x8, n: F32x8) -> F32x8 {
        neon! {
            let times = |v, n| {
                let exponent = vshlq_n_s32::<23>(vreinterpretq_s32_f32(n));
                vreinterpretq_f32_s32(vaddq_s32(vreinterpretq_s32_f32(v), exponent))
            };
            [times(v[0], n[0]), times(v[1], n[1])]
        }
    }

    #[inline(always)]
    fn transpose(self, rows: [F32x8; 8]) -> [F32x8; 8] {
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
    fn sum(self, v: F32x8) -> f32 {
        neon!(vaddvq_f32(vaddq_f32(v[0], v[1])))
    }

    #[inline(always)]
    fn widen_f16(self, bits: [u16; 8]) -> F32x8 {
        neon! {
            let bits = vld1q_u16(bits.as_ptr());
            let low = vreinterpret_f16_u16(vget_low_u16(bits));
            let high = vreinterpret_f16_u16(vget_high_u16(bits));
            [vcvt_f32_f16(low), vcvt_f32_f16(high)]
        }
    }

    #[inline(always)]
    fn splat_f16(self, bits: u16) -> F32x8 {
        neon!([vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))); 2])
    }

    #[inline(always)]
    fn narrow_f16(self, v: F32x8) -> [u16; 8] {
        let mut bits = [0; 8];
        neon! {
            let low = vreinterpret_u16_f16(vcvt_f16_f32(v[0]));
            let high = vreinterpret_u16_f16(vcvt_f16_f32(v[1]));
            vst1q_u16(bits.as_mut_ptr(), vcombine_u16(low, high));
        }
        bits
    }

    #[inline(always)]
    fn widen_bf16(self, bits: [u16; 8]) -> F32x8 {
        neon! {
            let bits = vld1q_u16(bits.as_ptr());
            let low = vshll_n_u16::<16>(vget_low_u16(bits));
            let high = vshll_n_u16::<16>(vget_high_u16(bits));
            [vreinterpretq_f32_u32(low), vreinterpretq_f32_u32(high)]
        }
    }

    #[inline(always)]
    fn float_u8(self, x: [u8; 8]) -> F32x8 {
        neon! {
            let x = vmovl_u8(vld1_u8(x.as_ptr()));
            let (low, high) = (vmovl_u16(vget_low_u16(x)), vmovl_u16(vget_high_u16(x)));
            [vcvtq_f32_u32(low), vcvtq_f32_u32(high)]
        }
    }

    #[inline(always)]
    fn float_i8(self, x: [i8; 8]) -> F32x8 {
        neon! {
            let x = vmovl_s8(vld1_s8(x.as_ptr()));
            let (low, high) = (vmovl_s16(vget_low_s16(x)), vmovl_s16(vget_high_s16(x)));
            [vcvtq_f32_s32(low), vcvtq_f32_s32(high)]
        }
    }

    #[inline(always)]
    fn float_i32(self, v: I32x8) -> F32x8 {
        neon!([vcvtq_f32_s32(v[0]), vcvtq_f32_s32(v[1])])
    }

    #[inline(always)]
    fn load_bytes(self, x: &[u8; 32]) -> I8x32 {
        let (low, high) = x.split_at(16);
        neon!([vld1q_u8(low.as_ptr()), vld1q_u8(high.as_ptr())])
    }

    #[inline(always)]
    fn splat_bytes(self, x: u8) -> I8x32 {
        neon!([vdupq_n_u8(x); 2])
    }

    #[inline(always)]
    fn store_bytes(self, v: I8x32, to: &mut [u8; 32]) {
        let (low, high) = to.split_at_mut(16);
        neon! {
            vst1q_u8(low.as_mut_ptr(), v[0]);
            vst1q_u8(high.as_mut_ptr(), v[1]);
        }
    }

    #[inline(always)]
    fn nibbles(self, x: &[u8; 16]) -> I8x32 {
        neon! {
            let x = vld1q_u8(x.as_ptr());
            [vandq_u8(x, vdupq_n_u8(15)), vshrq_n_u8::<4>(x)]
        }
    }

    #[inline(always)]
    fn field(self, v: I8x32, shift: u32, mask: u8) -> I8x32 {
        // A shift by a negative number goes right; constant after inlining.
        neon! {
            let (shift, mask) = (vdupq_n_s8(-(shift as i8)), vdupq_n_u8(mask));
            [vandq_u8(vshlq_u8(v[0], shift), mask), vandq_u8(vshlq_u8(v[1], shift), mask)]
        }
    }

    #[inline(always)]
    fn raise(self, v: I8x32, mask: u8, shift: u32) -> I8x32 {
        neon! {
            let (shift, mask) = (vdupq_n_s8(shift as i8), vdupq_n_u8(mask));
            [vshlq_u8(vandq_u8(v[0], mask), shift), vshlq_u8(vandq_u8(v[1], mask), shift)]
        }
    }

    #[inline(always)]
    fn or(self, a: I8x32, b: I8x32) -> I8x32 {
        neon!([vorrq_u8(a[0], b[0]), vorrq_u8(a[1], b[1])])
    }

    #[inline(always)]
    fn spread(self, bits: u32, value: u8) -> I8x32 {
        // Every byte gets the byte that its bit is in, and is `value` where its bit of it is set.
        const BIT: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
        let [a, b, c, d] = bits.to_le_bytes();
        neon! {
            let (bit, value) = (vld1q_u8(BIT.as_ptr()), vdupq_n_u8(value));
            let low = vcombine_u8(vdup_n_u8(a), vdup_n_u8(b));
            let high = vcombine_u8(vdup_n_u8(c), vdup_n_u8(d));
            [vandq_u8(vtstq_u8(low, bit), value), vandq_u8(vtstq_u8(high, bit), value)]
        }
    }

    #[inline(always)]
    fn join(self, [a, b, c, d]: [u64; 4]) -> I8x32 {
        neon! {
            let pair = |low, high| vreinterpretq_u8_u64(vcombine_u64(vcreate_u64(low), vcreate_u64(high)));
            [pair(a, b), pair(c, d)]
        }
    }

    #[inline(always)]
    fn negate(self, v: I8x32, signs: u32) -> I8x32 {
        let minus = self.spread(signs, 0xff);
        neon!([vsubq_u8(veorq_u8(v[0], minus[0]), minus[0]), vsubq_u8(veorq_u8(v[1], minus[1]), minus[1])])
    }

    #[inline(always)]
    fn lookup(self, table: &[i8; 16], index: I8x32) -> I8x32 {
        neon! {
            let table = vreinterpretq_u8_s8(vld1q_s8(table.as_ptr()));
            [vqtbl1q_u8(table, index[0]), vqtbl1q_u8(table, index[1])]
        }
    }

    #[inline(always)]
    fn round(self, v: [F32x8; 4]) -> I8x32 {
        neon! {
            let narrow = |v: F32x8| {
                vcombine_s16(vqmovn_s32(vcvtnq_s32_f32(v[0])), vqmovn_s32(vcvtnq_s32_f32(v[1])))
            };
            let bytes = |a, b| vreinterpretq_u8_s8(vcombine_s8(vqmovn_s16(a), vqmovn_s16(b)));
            [bytes(narrow(v[0]), narrow(v[1])), bytes(narrow(v[2]), narrow(v[3]))]
        }
    }

    #[inline(always)]
    fn add_i32(self, a: I32x8, b: I32x8) -> I32x8 {
        neon!([vaddq_s32(a[0], b[0]), vaddq_s32(a[1], b[1])])
    }

    #[inline(always)]
    fn dot_u7(self, w: I8x32, x: I8x32) -> I32x8 {
        // Up to 127, unsigned and signed bytes are the same.
        self.dot_i8(w, x)
    }

    #[inline(always)]
    fn dot_i8(self, w: I8x32, x: I8x32) -> I32x8 {
        neon! {
            let signed = |v| vreinterpretq_s8_u8(v);
            [dot(signed(w[0]), signed(x[0])), dot(signed(w[1]), signed(x[1]))]
        }
    }

    #[inline(always)]
    fn tokens<F: Lanes>(self, rows: Rows<'_, '_>) {
        eight::tokens::<F, Self>(self, rows);
    }

    #[inline(always)]
    fn ternary_tokens<F: Ternary>(self, rows: Rows<'_, '_>) {
        ternary::eight::tokens::<F, Self>(self, rows);
    }
}
