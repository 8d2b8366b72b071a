//! Products of bfloats, which some processors with AVX-512 have too: Intel's since Cooper Lake (2020) and Sapphire
//! Rapids (2023), AMD's since Zen 4 (2022). One instruction does two multiply-adds in each lane.

use super::{Avx512, Cells, CellsKernel, Isa, Wide};
use crate::ops::floats::Floats;
use core::arch::x86_64::*;

/// Proof that the processor has AVX-512 BF16, and all that [`Avx512`] proves.
#[derive(Clone, Copy, Debug)]
pub struct Avx512Bf16(Avx512);

impl Avx512Bf16 {
    /// The proof, without proof of the part beyond [`Avx512`].
    ///
    /// # Safety
    /// The processor must have AVX-512 BF16.
    pub(super) const unsafe fn new_unchecked(avx512: Avx512) -> Self {
        Self(avx512)
    }
}

macro_rules! bf16 {
    ($($body:tt)*) => {
        // SAFETY: an `Avx512Bf16` exists only where these instructions do; memory is reached through references of just
        // the length that is read or written.
        unsafe { $($body)* }
    };
}

impl Cells for Avx512Bf16 {
    type Isa = Avx512;

    const WEIGHTS: usize = 2;

    #[inline(always)]
    fn isa(self) -> Avx512 {
        self.0
    }

    #[inline(always)]
    fn enter_cells<K: CellsKernel<Self>>(self, kernel: K) {
        #[target_feature(enable = "avx512bf16,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")]
        fn marked<K: CellsKernel<Avx512Bf16>>(cells: Avx512Bf16, kernel: K) {
            kernel.run(cells);
        }
        bf16!(marked(self, kernel));
    }

    #[inline(always)]
    fn side_by_side<F: Floats>(self, rows: [&[u8]; 16], to: &mut [[u8; 64]; 8]) {
        let mut pairs = [self.0.splat_bytes(0); 16];
        for (pairs, row) in pairs.iter_mut().zip(rows) {
            *pairs = self.0.load_bytes(row.first_chunk().expect("eight pairs"));
        }
        self.0.quads_side_by_side(pairs, 0, to);
    }

    #[inline(always)]
    fn activations<'a>(self, x: &'a [f32], to: &'a mut [[u8; 4]]) -> &'a [[u8; 4]] {
        let (whole, rest) = x.as_chunks::<32>();
        for (x, to) in whole.iter().zip(to.as_chunks_mut().0) {
            round(self, x, to);
        }
        if !rest.is_empty() {
            let (mut x, mut last) = ([0.0; 32], [[0; 4]; 16]);
            x[..rest.len()].copy_from_slice(rest);
            round(self, &x, &mut last);
            let to = &mut to[whole.len() * 16..][..rest.len().div_ceil(2)];
            to.copy_from_slice(&last[..to.len()]);
        }
        &to[..x.len().div_ceil(2)]
    }

    #[inline(always)]
    fn mul_add_cells(self, w: __m512i, x: __m512i, sum: __m512) -> __m512 {
        bf16! {
            // The same bits by another name.
            let (w, x) = (core::mem::transmute::<__m512i, __m512bh>(w), core::mem::transmute::<__m512i, __m512bh>(x));
            _mm512_dpbf16_ps(sum, w, x)
        }
    }
}

/// 32 floats as pairs of bfloats, to nearest even.
#[inline(always)]
fn round(_: Avx512Bf16, x: &[f32; 32], to: &mut [[u8; 4]; 16]) {
    bf16! {
        let (low, high) = (_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x.as_ptr().add(16)));
        let pairs = core::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
        _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs);
    }
}
