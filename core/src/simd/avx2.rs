//! x86-64 with AVX2, FMA and F16C: every processor since about 2013 to 2015. One register holds each vector type.

use super::{Isa, Kernel};
use crate::ops::eight;
use crate::ops::integers::Lanes;
use crate::ops::matmul::Rows;
use crate::ops::ternary::{self, Ternary};
use core::arch::x86_64::*;

/// Proof that the processor has AVX2, FMA and F16C.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx2(());

impl Avx2 {
    /// The proof, without proof.
    ///
    /// # Safety
    /// The processor must have AVX2, FMA and F16C, and the operating system must save their registers.
    pub const unsafe fn new_unchecked() -> Self {
        Self(())
    }
}

macro_rules! avx2 {
    ($($body:tt)*) => {
        // SAFETY: an `Avx2` exists only where these instructions do; memory is reached through references of just the
        // length that is read or written.
        unsafe { $($body)* }
    };
}

impl Isa for Avx2 {
    type F32x8 = __m256;
    type I32x8 = __m256i;
    type I8x32 = __m256i;

    #[inline(always)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx2,fma,f16c")]
        fn marked<K: Kernel>(isa: Avx2, kernel: K) -> K::Output {
            kernel.run(isa)
        }
        avx2!(marked(self, kernel))
    }

    #[inline(always)]
    fn prefetch(self, at: *const u8) {
        // A hint, which never faults, whatever the address.
        avx2!(_mm_prefetch::<_MM_HINT_T0>(at.cast()));
    }

    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        avx2!(_mm256_set1_ps(x))
    }

    #[inline(always)]
    fn splat2(self, low: f32, high: f32) -> __m256 {
        avx2!(_mm256_set_m128(_mm_set1_ps(high), _mm_set1_ps(low)))
    }

    #[inline(always)]
    fn double(self, x: &[f32; 4]) -> __m256 {
        avx2! {
            let x = _mm256_castps128_ps256(_mm_loadu_ps(x.as_ptr()));
            _mm256_permutevar8x32_ps(x, _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3))
        }
    }

    #[inline(always)]
    fn load(self, x: &[f32; 8]) -> __m256 {
        avx2!(_mm256_loadu_ps(x.as_ptr()))
    }

    #[inline(always)]
    fn store(self, v: __m256, to: &mut [f32; 8]) {
        avx2!(_mm256_storeu_ps(to.as_mut_ptr(), v));
    }

    #[inline(always)]
    fn add(self, a: __m256, b: __m256) -> __m256 {
        avx2!(_mm256_add_ps(a, b))
    }

    #[inline(always)]
    fn mul(self, a: __m256, b: __m256) -> __m256 {
        avx2!(_mm256_mul_ps(a, b))
    }

    #[inline(always)]
    fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        avx2!(_mm256_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn neg_mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
        avx2!(_mm256_fnmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn max_abs(self, a: __m256, b: __m256) -> __m256 {
        // The bits of non-negative floats order as integers do, with NaN above infinity; `maxps` would lose NaN.
        avx2! {
            let magnitude = _mm256_set1_epi32(0x7fff_ffff);
            let a = _mm256_and_si256(_mm256_castps_si256(a), magnitude);
            let b = _mm256_and_si256(_mm256_castps_si256(b), magnitude);
            _mm256_castsi256_ps(_mm256_max_epi32(a, b))
        }
    }

    #[inline(always)]
    fn div(self, a: __m256, b: __m256) -> __m256 {
        avx2!(_mm256_div_ps(a, b))
    }

    #[inline(always)]
    fn min(self, a: __m256, b: __m256) -> __m256 {
        avx2!(_mm256_min_ps(a, b))
    }

    #[inline(always)]
    fn max(self, a: __m256, b: __m256) -> __m256 {
        avx2!(_mm256_max_ps(a, b))
    }

    #[inline(always)]
    fn zero_below(self, v: __m256, x: __m256, least: f32) -> __m256 {
        avx2!(_mm256_andnot_ps(_mm256_cmp_ps::<_CMP_LT_OQ>(x, _mm256_set1_ps(least)), v))
    }

    #[inline(always)]
    fn times_power_of_2(self, v: __m256, n: __m256) -> __m256 {
        avx2! {
            let exponent = _mm256_slli_epi32::<23>(_mm256_castps_si256(n));
            _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(v), exponent))
        }
    }

    #[inline(always)]
    fn sum(self, v: __m256) -> f32 {
        avx2! {
            let v = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
        }
    }

    #[inline(always)]
    fn transpose(self, rows: [__m256; 8]) -> [__m256; 8] {
        let (mut pairs, mut fours, mut columns) = (rows, rows, rows);
        for i in 0..4 {
            avx2! {
                pairs[2 * i] = _mm256_unpacklo_ps(rows[2 * i], rows[2 * i + 1]);
                pairs[2 * i + 1] = _mm256_unpackhi_ps(rows[2 * i], rows[2 * i + 1]);
            }
        }
        for i in 0..2 {
            for j in 0..2 {
                let (a, b) = (pairs[4 * i + j], pairs[4 * i + 2 + j]);
                avx2! {
                    fours[4 * i + 2 * j] = _mm256_shuffle_ps::<0b01_00_01_00>(a, b);
                    fours[4 * i + 2 * j + 1] = _mm256_shuffle_ps::<0b11_10_11_10>(a, b);
                }
            }
        }
        // `fours[j]` holds numbers `j` and `j + 4` of rows 0 to 3, `fours[4 + j]` those of the others.
        for j in 0..4 {
            avx2! {
                columns[j] = _mm256_permute2f128_ps::<0x20>(fours[j], fours[4 + j]);
                columns[4 + j] = _mm256_permute2f128_ps::<0x31>(fours[j], fours[4 + j]);
            }
        }
        columns
    }

    #[inline(always)]
    fn widen_f16(self, bits: [u16; 8]) -> __m256 {
        avx2!(_mm256_cvtph_ps(_mm_loadu_si128(bits.as_ptr().cast())))
    }

    #[inline(always)]
    fn splat_f16(self, bits: u16) -> __m256 {
        avx2!(_mm256_cvtph_ps(_mm_set1_epi16(bits as i16)))
    }

    #[inline(always)]
    fn narrow_f16(self, v: __m256) -> [u16; 8] {
        let mut bits = [0u16; 8];
        avx2! {
            let halves = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(v);
            _mm_storeu_si128(bits.as_mut_ptr().cast(), halves);
        }
        bits
    }

    #[inline(always)]
    fn widen_bf16(self, bits: [u16; 8]) -> __m256 {
        avx2! {
            let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(bits.as_ptr().cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
        }
    }

    #[inline(always)]
    fn float_u8(self, x: [u8; 8]) -> __m256 {
        avx2!(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(i64::from_le_bytes(x)))))
    }

    #[inline(always)]
    fn float_i8(self, x: [i8; 8]) -> __m256 {
        let bits = i64::from_le_bytes(x.map(|x| x as u8));
        avx2!(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_cvtsi64_si128(bits))))
    }

    #[inline(always)]
    fn float_i32(self, v: __m256i) -> __m256 {
        avx2!(_mm256_cvtepi32_ps(v))
    }

    #[inline(always)]
    fn load_bytes(self, x: &[u8; 32]) -> __m256i {
        avx2!(_mm256_loadu_si256(x.as_ptr().cast()))
    }

    #[inline(always)]
    fn splat_bytes(self, x: u8) -> __m256i {
        avx2!(_mm256_set1_epi8(x as i8))
    }

    #[inline(always)]
    fn store_bytes(self, v: __m256i, to: &mut [u8; 32]) {
        avx2!(_mm256_storeu_si256(to.as_mut_ptr().cast(), v));
    }

    #[inline(always)]
    fn nibbles(self, x: &[u8; 16]) -> __m256i {
        avx2! {
            let x = _mm_loadu_si128(x.as_ptr().cast());
            let both = _mm256_set_m128i(_mm_srli_epi16::<4>(x), x);
            _mm256_and_si256(both, _mm256_set1_epi8(15))
        }
    }

    #[inline(always)]
    fn field(self, v: __m256i, shift: u32, mask: u8) -> __m256i {
        // Constant after inlining, and then a shift by an immediate. Bits that come from the next byte are masked.
        avx2! {
            let v = _mm256_srl_epi16(v, _mm_cvtsi32_si128(shift as i32));
            _mm256_and_si256(v, _mm256_set1_epi8(mask as i8))
        }
    }

    #[inline(always)]
    fn raise(self, v: __m256i, mask: u8, shift: u32) -> __m256i {
        avx2! {
            let v = _mm256_and_si256(v, _mm256_set1_epi8(mask as i8));
            _mm256_sll_epi16(v, _mm_cvtsi32_si128(shift as i32))
        }
    }

    #[inline(always)]
    fn or(self, a: __m256i, b: __m256i) -> __m256i {
        avx2!(_mm256_or_si256(a, b))
    }

    #[inline(always)]
    fn spread(self, bits: u32, value: u8) -> __m256i {
        avx2! {
            // Every byte gets the byte that its bit is in, and keeps its bit of it.
            let source = _mm256_setr_epi64x(0, 0x0101_0101_0101_0101, 0x0202_0202_0202_0202, 0x0303_0303_0303_0303);
            let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
            let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(bits as i32), source);
            let set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
            _mm256_and_si256(set, _mm256_set1_epi8(value as i8))
        }
    }

    #[inline(always)]
    fn join(self, x: [u64; 4]) -> __m256i {
        let [mut a, mut b, mut c, mut d] = x;
        // Kept apart in registers: of numbers out of a table the compiler would make one gathering load, which takes
        // several times as long.
        // SAFETY: no instruction at all.
        unsafe {
            core::arch::asm!(
                "/* {0} {1} {2} {3} */",
                inout(reg) a, inout(reg) b, inout(reg) c, inout(reg) d,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        avx2!(_mm256_setr_epi64x(a as i64, b as i64, c as i64, d as i64))
    }

    #[inline(always)]
    fn negate(self, v: __m256i, signs: u32) -> __m256i {
        let minus = self.spread(signs, 0xff);
        avx2!(_mm256_sub_epi8(_mm256_xor_si256(v, minus), minus))
    }

    #[inline(always)]
    fn lookup(self, table: &[i8; 16], index: __m256i) -> __m256i {
        avx2! {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(table.as_ptr().cast()));
            _mm256_shuffle_epi8(table, index)
        }
    }

    #[inline(always)]
    fn round(self, v: [__m256; 4]) -> __m256i {
        avx2! {
            let low = _mm256_packs_epi32(_mm256_cvtps_epi32(v[0]), _mm256_cvtps_epi32(v[1]));
            let high = _mm256_packs_epi32(_mm256_cvtps_epi32(v[2]), _mm256_cvtps_epi32(v[3]));
            // Packing works in each half of a register; this puts the fours back in order.
            let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
            _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order)
        }
    }

    #[inline(always)]
    fn add_i32(self, a: __m256i, b: __m256i) -> __m256i {
        avx2!(_mm256_add_epi32(a, b))
    }

    #[inline(always)]
    fn digits(self, v: __m256i, powers: &[u16; 16]) -> __m256i {
        avx2! {
            // A byte in the upper half of 16 bits stays a byte when it is multiplied, and what the digit is made of is
            // the upper half of the next product.
            let powers = _mm256_loadu_si256(powers.as_ptr().cast());
            let three = _mm256_set1_epi16(3);
            let even = _mm256_mulhi_epu16(_mm256_mullo_epi16(_mm256_slli_epi16::<8>(v), powers), three);
            let odd = _mm256_and_si256(v, _mm256_set1_epi16(0xff00_u16 as i16));
            let odd = _mm256_mulhi_epu16(_mm256_mullo_epi16(odd, powers), three);
            _mm256_or_si256(even, _mm256_slli_epi16::<8>(odd))
        }
    }

    #[inline(always)]
    fn dot_u2(self, w: [__m256i; 4], x: &[[u8; 32]; 4], sum: __m256i) -> __m256i {
        avx2! {
            // Pairs of products and their sums stay in 16 bits: 4 * 2 * 3 * 127 fits.
            let first = _mm256_maddubs_epi16(w[0], self.load_bytes(&x[0]));
            let second = _mm256_maddubs_epi16(w[1], self.load_bytes(&x[1]));
            let third = _mm256_maddubs_epi16(w[2], self.load_bytes(&x[2]));
            let fourth = _mm256_maddubs_epi16(w[3], self.load_bytes(&x[3]));
            let pairs = _mm256_add_epi16(_mm256_add_epi16(first, second), _mm256_add_epi16(third, fourth));
            _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        }
    }

    #[inline(always)]
    fn dot_u7(self, w: __m256i, x: __m256i) -> __m256i {
        // Pairs of products are summed in 16 bits: 2 * 127 * 127 fits.
        avx2!(_mm256_madd_epi16(_mm256_maddubs_epi16(w, x), _mm256_set1_epi16(1)))
    }

    #[inline(always)]
    fn dot_i8(self, w: __m256i, x: __m256i) -> __m256i {
        // The instruction wants one unsigned side, so the signs move over: |w| * (x * sign w). 2 * 128 * 127 fits.
        avx2!(self.dot_u7(_mm256_sign_epi8(w, w), _mm256_sign_epi8(x, w)))
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
