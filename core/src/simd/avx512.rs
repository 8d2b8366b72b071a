//! x86-64 with AVX-512 and its byte dot products: Intel servers since Cascade Lake (2019), AMD since Zen 4 (2022).
//!
//! Eight lanes stay in 256-bit registers, of which there are twice as many, and bytes meet in one instruction
//! (`vpdpbusd`) instead of three. The 512-bit registers carry [`Wide`]: sixteen rows side by side.

use super::{Avx2, Avx512Bf16, Cells, CellsKernel, Isa, Kernel, Wide, WideKernel};
use crate::ops::floats::Floats;
use crate::ops::integers::Lanes;
use crate::ops::matmul::Rows;
use crate::ops::ternary::{self, Ternary};
use crate::ops::{float_panel, panel};
use core::arch::x86_64::*;

/// Proof that the processor has AVX-512 F, BW, DQ, VL and VNNI, and all that [`Avx2`] proves; and whether it has BF16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Avx512(Avx2, bool);

impl Avx512 {
    /// The proof, without proof of the part beyond AVX2.
    ///
    /// # Safety
    /// The processor must have AVX-512 F, BW, DQ, VL and VNNI, and the operating system must save their registers.
    pub const unsafe fn new_unchecked(avx2: Avx2) -> Self {
        Self(avx2, false)
    }

    /// The same with products of bfloats.
    ///
    /// # Safety
    /// The processor must have AVX-512 BF16.
    pub const unsafe fn with_bf16(self) -> Self {
        Self(self.0, true)
    }

    /// The products of bfloats, if they are there.
    pub(super) const fn bf16(self) -> Option<Avx512Bf16> {
        match self.1 {
            // SAFETY: whoever set this has promised it.
            true => Some(unsafe { Avx512Bf16::new_unchecked(self) }),
            false => None,
        }
    }
}

macro_rules! avx512 {
    ($($body:tt)*) => {
        // SAFETY: an `Avx512` exists only where these instructions do; memory is reached through references of just
        // the length that is read or written.
        unsafe { $($body)* }
    };
}

impl Isa for Avx512 {
    type F32x8 = __m256;
    type I32x8 = __m256i;
    type I8x32 = __m256i;

    const REGISTERS: usize = 32;

    #[inline(always)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        fn marked<K: Kernel>(isa: Avx512, kernel: K) -> K::Output {
            kernel.run(isa)
        }
        avx512!(marked(self, kernel))
    }

    like_the_level_below!();

    #[inline(always)]
    fn spread(self, bits: u32, value: u8) -> __m256i {
        avx512!(_mm256_maskz_set1_epi8(bits, value as i8))
    }

    #[inline(always)]
    fn negate(self, v: __m256i, signs: u32) -> __m256i {
        avx512!(_mm256_mask_sub_epi8(v, signs, _mm256_setzero_si256(), v))
    }

    #[inline(always)]
    fn dot_u7(self, w: __m256i, x: __m256i) -> __m256i {
        avx512!(_mm256_dpbusd_epi32(_mm256_setzero_si256(), w, x))
    }

    #[inline(always)]
    fn dot_i8(self, w: __m256i, x: __m256i) -> __m256i {
        // As with AVX2: |w| * (x * sign w).
        avx512!(self.dot_u7(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)))
    }

    #[inline(always)]
    fn dot_u2(self, w: [__m256i; 4], x: &[[u8; 32]; 4], sum: __m256i) -> __m256i {
        // From zero each time: the next four need not wait for these.
        let mut products = self.dot_u7(w[0], self.load_bytes(&x[0]));
        products = avx512!(_mm256_dpbusd_epi32(products, w[1], self.load_bytes(&x[1])));
        products = avx512!(_mm256_dpbusd_epi32(products, w[2], self.load_bytes(&x[2])));
        products = avx512!(_mm256_dpbusd_epi32(products, w[3], self.load_bytes(&x[3])));
        self.add_i32(sum, products)
    }

    #[inline(always)]
    fn ternary_tokens<F: Ternary>(self, rows: Rows<'_, '_>) {
        ternary::wide::tokens::<F, Self>(self, rows);
    }

    #[inline(always)]
    fn tokens<F: Lanes>(self, rows: Rows<'_, '_>) {
        panel::tokens::<F, Self>(self, rows);
    }

    #[inline(always)]
    fn float_tokens<F: Floats>(self, rows: Rows<'_, '_>) {
        // Also two: a text's numbers should not depend on how many others come with it.
        match self.bf16() {
            Some(bf16) if F::BFLOATS && rows.x.may_round => float_panel::tokens::<F, _>(bf16, rows),
            _ => float_panel::tokens::<F, _>(self, rows),
        }
    }
}

impl Wide for Avx512 {
    type F32x16 = __m512;
    type I32x16 = __m512i;

    #[inline(always)]
    fn enter_wide<K: WideKernel>(self, kernel: K) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        fn marked<K: WideKernel>(isa: Avx512, kernel: K) {
            kernel.run(isa);
        }
        avx512!(marked(self, kernel));
    }

    #[inline(always)]
    fn splat_wide(self, x: f32) -> __m512 {
        avx512!(_mm512_set1_ps(x))
    }

    #[inline(always)]
    fn load_wide(self, x: &[f32; 16]) -> __m512 {
        avx512!(_mm512_loadu_ps(x.as_ptr()))
    }

    #[inline(always)]
    fn store_wide(self, v: __m512, to: &mut [f32; 16]) {
        avx512!(_mm512_storeu_ps(to.as_mut_ptr(), v));
    }

    #[inline(always)]
    fn add_wide(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_add_ps(a, b))
    }

    #[inline(always)]
    fn mul_wide(self, a: __m512, b: __m512) -> __m512 {
        avx512!(_mm512_mul_ps(a, b))
    }

    #[inline(always)]
    fn mul_add_wide(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        avx512!(_mm512_fmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn neg_mul_add_wide(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        avx512!(_mm512_fnmadd_ps(a, b, c))
    }

    #[inline(always)]
    fn splat_i32_wide(self, x: i32) -> __m512i {
        avx512!(_mm512_set1_epi32(x))
    }

    #[inline(always)]
    fn float_i32_wide(self, v: __m512i) -> __m512 {
        avx512!(_mm512_cvtepi32_ps(v))
    }

    #[inline(always)]
    fn load_quads(self, x: &[u8; 64]) -> __m512i {
        avx512!(_mm512_loadu_si512(x.as_ptr().cast()))
    }

    #[inline(always)]
    fn dot_quads(self, w: __m512i, x: &[u8; 4], sum: __m512i) -> __m512i {
        avx512!(_mm512_dpbusd_epi32(sum, w, _mm512_set1_epi32(i32::from_le_bytes(*x))))
    }

    #[inline(always)]
    fn quads_side_by_side(self, rows: [__m256i; 16], flip: u8, to: &mut [[u8; 64]; 8]) {
        let columns = transpose(rows);
        for i in 0..8 {
            avx512! {
                let column = _mm512_xor_si512(columns[i], _mm512_set1_epi8(flip as i8));
                _mm512_storeu_si512(to[i].as_mut_ptr().cast(), column);
            }
        }
    }

    #[inline(always)]
    fn floats_side_by_side(self, rows: [__m256; 16], to: &mut [[f32; 16]; 8]) {
        let mut bits = avx512!([_mm256_setzero_si256(); 16]);
        for i in 0..16 {
            bits[i] = avx512!(_mm256_castps_si256(rows[i]));
        }
        let columns = transpose(bits);
        for i in 0..8 {
            avx512!(_mm512_storeu_si512(to[i].as_mut_ptr().cast(), columns[i]));
        }
    }
}

impl Cells for Avx512 {
    type Isa = Self;

    const WEIGHTS: usize = 1;

    #[inline(always)]
    fn isa(self) -> Self {
        self
    }

    #[inline(always)]
    fn enter_cells<K: CellsKernel<Self>>(self, kernel: K) {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        fn marked<K: CellsKernel<Avx512>>(cells: Avx512, kernel: K) {
            kernel.run(cells);
        }
        avx512!(marked(self, kernel));
    }

    #[inline(always)]
    fn side_by_side<F: Floats>(self, rows: [&[u8]; 16], to: &mut [[u8; 64]; 8]) {
        let mut bits = avx512!([_mm256_setzero_si256(); 16]);
        for i in 0..16 {
            let floats = F::load(self, &F::eights(rows[i]).0[0]);
            bits[i] = avx512!(_mm256_castps_si256(floats));
        }
        self.quads_side_by_side(bits, 0, to);
    }

    #[inline(always)]
    fn activations<'a>(self, x: &'a [f32], _: &'a mut [[u8; 4]]) -> &'a [[u8; 4]] {
        // SAFETY: a float is four bytes, which any alignment suits.
        unsafe { core::slice::from_raw_parts(x.as_ptr().cast(), x.len()) }
    }

    #[inline(always)]
    fn mul_add_cells(self, w: __m512i, x: __m512i, sum: __m512) -> __m512 {
        avx512!(_mm512_fmadd_ps(_mm512_castsi512_ps(w), _mm512_castsi512_ps(x), sum))
    }
}

/// Sixteen rows of eight 32-bit numbers become eight columns of sixteen. Only for functions that hold an [`Avx512`].
#[inline(always)]
fn transpose(rows: [__m256i; 16]) -> [__m512i; 8] {
    avx512! {
        let zero = _mm512_setzero_si512();
        // Row `i` and, above it, row `8 + i`: from here on every half of a register is transposed by itself.
        let (mut pairs, mut fours, mut columns) = ([zero; 8], [zero; 8], [zero; 8]);
        for i in 0..8 {
            pairs[i] = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(rows[i]), rows[8 + i]);
        }
        // In each 128 bits, numbers `j` and `j + 1` of two rows, then number `j` of four rows.
        let mut twos = [zero; 8];
        for i in 0..4 {
            twos[2 * i] = _mm512_unpacklo_epi32(pairs[2 * i], pairs[2 * i + 1]);
            twos[2 * i + 1] = _mm512_unpackhi_epi32(pairs[2 * i], pairs[2 * i + 1]);
        }
        for i in 0..2 {
            for j in 0..2 {
                fours[4 * i + 2 * j] = _mm512_unpacklo_epi64(twos[4 * i + j], twos[4 * i + 2 + j]);
                fours[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(twos[4 * i + j], twos[4 * i + 2 + j]);
            }
        }
        // `fours[j]` holds numbers `j` and `j + 4` of rows 0 to 3 (and 8 to 11), `fours[4 + j]` those of the others.
        let low = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
        let high = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
        for j in 0..4 {
            columns[j] = _mm512_permutex2var_epi64(fours[j], low, fours[4 + j]);
            columns[4 + j] = _mm512_permutex2var_epi64(fours[j], high, fours[4 + j]);
        }
        columns
    }
}
