//! x86-64 with AVX2 and the byte dot products of AVX-512 brought to its registers: Intel since Alder Lake (2021), AMD
//! since Zen 5 (2024).

use super::{Avx2, Isa, Kernel};
use crate::ops::eight;
use crate::ops::integers::Lanes;
use crate::ops::matmul::Rows;
use crate::ops::ternary::{self, Ternary};
use core::arch::x86_64::*;

/// Proof that the processor has AVX-VNNI, and all that [`Avx2`] proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AvxVnni(Avx2);

impl AvxVnni {
    /// The proof, without proof of the part beyond AVX2.
    ///
    /// # Safety
    /// The processor must have AVX-VNNI.
    pub const unsafe fn new_unchecked(avx2: Avx2) -> Self {
        Self(avx2)
    }
}

macro_rules! vnni {
    ($($body:tt)*) => {
        // SAFETY: an `AvxVnni` exists only where these instructions do; they work on registers alone.
        unsafe { $($body)* }
    };
}

impl Isa for AvxVnni {
    type F32x8 = __m256;
    type I32x8 = __m256i;
    type I8x32 = __m256i;

    like_the_level_below!();
    like_the_level_below! {
        fn spread(bits: u32, value: u8) -> Self::I8x32;
        fn negate(v: Self::I8x32, signs: u32) -> Self::I8x32;
    }

    #[inline(always)]
    fn enter<K: Kernel>(self, kernel: K) -> K::Output {
        #[target_feature(enable = "avxvnni,avx2,fma,f16c")]
        fn marked<K: Kernel>(isa: AvxVnni, kernel: K) -> K::Output {
            kernel.run(isa)
        }
        vnni!(marked(self, kernel))
    }

    #[inline(always)]
    fn dot_u7(self, w: __m256i, x: __m256i) -> __m256i {
        vnni!(_mm256_dpbusd_avx_epi32(_mm256_setzero_si256(), w, x))
    }

    #[inline(always)]
    fn dot_i8(self, w: __m256i, x: __m256i) -> __m256i {
        // As with AVX2: |w| * (x * sign w).
        vnni!(self.dot_u7(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)))
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
