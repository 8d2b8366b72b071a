//! Dot products with a lane for each of eight rows on 256-bit registers: quads, four neighbouring bytes of a row, side
//! by side.

use super::side_by_side::{AnyDotsKernel, Dots, DotsKernel, SideBySide};
use super::{Avx2, AvxVnni, Isa};
use core::arch::x86_64::*;

macro_rules! avx2 {
    ($($body:tt)*) => {
        // SAFETY: an `Avx2` or `AvxVnni` exists only where these instructions do; memory is reached through references
        // of just the length that is read or written.
        unsafe { $($body)* }
    };
}

#[target_feature(enable = "avx2,fma,f16c")]
fn with_avx2<D: Dots<Avx2>, K: DotsKernel<Avx2>>(kernel: K) -> K::Output {
    kernel.run::<D>(0)
}

#[target_feature(enable = "avxvnni,avx2,fma,f16c")]
fn with_avx_vnni<K: DotsKernel<AvxVnni>>(kernel: K, flip: u8) -> K::Output {
    kernel.run::<Quads>(flip)
}

impl SideBySide for Avx2 {
    #[inline(always)]
    fn with_dots<K: AnyDotsKernel<Self>>(self, signed: bool, bits: u32, kernel: K) -> K::Output {
        match bits {
            _ if signed => avx2!(with_avx2::<Quads, K>(kernel)),
            ..=4 => avx2!(with_avx2::<Folded<8>, K>(kernel)),
            _ => avx2!(with_avx2::<Folded<2>, K>(kernel)),
        }
    }

    #[inline(always)]
    fn with_ternary_dots<K: DotsKernel<Self>>(self, kernel: K) -> K::Output {
        avx2!(with_avx2::<Folded<32>, K>(kernel))
    }
}

impl SideBySide for AvxVnni {
    #[inline(always)]
    fn with_dots<K: AnyDotsKernel<Self>>(self, signed: bool, _: u32, kernel: K) -> K::Output {
        // The instruction wants unsigned weights, so signed ones are moved up by 128.
        avx2!(with_avx_vnni(kernel, if signed { 0x80 } else { 0 }))
    }

    #[inline(always)]
    fn with_ternary_dots<K: DotsKernel<Self>>(self, kernel: K) -> K::Output {
        avx2!(with_avx_vnni(kernel, 0))
    }
}

/// Sums of two products in 16 bits, added up there `N` at a time before they are widened: 32 for weights of up to 2 bits
/// (`32 * 2 * 3 * 127` fits), 8 for weights of up to 4, 2 for weights of up to 6.
struct Folded<const N: usize>;

impl<const N: usize> Dots<Avx2> for Folded<N> {
    const TERNARY_TOKENS: usize = 8;

    #[inline(always)]
    fn side_by_side(isa: Avx2, rows: [&[u8; 32]; 8], flip: u8, to: &mut [[u8; 32]; 8]) {
        quads_side_by_side(isa, rows, flip, to);
    }

    #[inline(always)]
    fn dots<const TOKENS: usize, const QUADS: usize>(
        isa: Avx2,
        w: &[[u8; 32]; QUADS],
        x: [&[[u8; 4]; QUADS]; TOKENS],
    ) -> [__m256i; TOKENS] {
        avx2! {
            let mut sums = [_mm256_setzero_si256(); TOKENS];
            for from in (0..QUADS).step_by(N) {
                let mut pairs = [_mm256_setzero_si256(); TOKENS];
                for j in from..QUADS.min(from + N) {
                    let w = isa.load_bytes(&w[j]);
                    for t in 0..TOKENS {
                        pairs[t] = _mm256_add_epi16(pairs[t], _mm256_maddubs_epi16(w, splat(x[t][j])));
                    }
                }
                for t in 0..TOKENS {
                    sums[t] = isa.add_i32(sums[t], _mm256_madd_epi16(pairs[t], _mm256_set1_epi16(1)));
                }
            }
            sums
        }
    }
}

/// Sums of four products, added up in 32 bits at once.
struct Quads;

/// How they are added up.
trait AddDot: Isa<F32x8 = __m256, I32x8 = __m256i, I8x32 = __m256i> {
    /// `sum` and the products of weights, signed or not as the instruction wants them, with activations, by fours.
    fn add_dot(self, w: __m256i, x: __m256i, sum: __m256i) -> __m256i;
}

/// Signed weights: the instruction wants one unsigned side, so the signs move over, `|w| * (x * sign w)`.
impl AddDot for Avx2 {
    #[inline(always)]
    fn add_dot(self, w: __m256i, x: __m256i, sum: __m256i) -> __m256i {
        self.add_i32(sum, self.dot_i8(w, x))
    }
}

/// Unsigned weights.
impl AddDot for AvxVnni {
    #[inline(always)]
    fn add_dot(self, w: __m256i, x: __m256i, sum: __m256i) -> __m256i {
        avx2!(_mm256_dpbusd_avx_epi32(sum, w, x))
    }
}

impl<I: AddDot> Dots<I> for Quads {
    const TERNARY_TOKENS: usize = 8;

    #[inline(always)]
    fn side_by_side(isa: I, rows: [&[u8; 32]; 8], flip: u8, to: &mut [[u8; 32]; 8]) {
        quads_side_by_side(isa, rows, flip, to);
    }

    #[inline(always)]
    fn dots<const TOKENS: usize, const QUADS: usize>(
        isa: I,
        w: &[[u8; 32]; QUADS],
        x: [&[[u8; 4]; QUADS]; TOKENS],
    ) -> [__m256i; TOKENS] {
        let mut sums = [avx2!(_mm256_setzero_si256()); TOKENS];
        for j in 0..QUADS {
            let w = isa.load_bytes(&w[j]);
            for t in 0..TOKENS {
                sums[t] = isa.add_dot(w, avx2!(splat(x[t][j])), sums[t]);
            }
        }
        sums
    }
}

/// Four activations in every lane.
///
/// # Safety
/// The processor must have AVX2.
#[inline(always)]
unsafe fn splat(quad: [u8; 4]) -> __m256i {
    // SAFETY: as the caller promises.
    unsafe { _mm256_set1_epi32(i32::from_le_bytes(quad)) }
}

/// Quads (32-bit lanes) of eight rows side by side.
#[inline(always)]
fn quads_side_by_side<I: Isa<F32x8 = __m256, I8x32 = __m256i>>(
    isa: I,
    rows: [&[u8; 32]; 8],
    flip: u8,
    to: &mut [[u8; 32]; 8],
) {
    avx2! {
        let flip = isa.splat_bytes(flip);
        let mut quads = [_mm256_setzero_ps(); 8];
        for (quads, row) in quads.iter_mut().zip(rows) {
            *quads = _mm256_castsi256_ps(_mm256_xor_si256(isa.load_bytes(row), flip));
        }
        for (quads, to) in isa.transpose(quads).into_iter().zip(to) {
            isa.store_bytes(_mm256_castps_si256(quads), to);
        }
    }
}
