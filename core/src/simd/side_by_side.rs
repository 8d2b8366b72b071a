//! What eight rows as lanes ask of an instruction set, beside [`Isa`].

use super::Isa;
use crate::ops::activations::{TOGETHER, Wide32};

/// An instruction set with dot products of a lane for each of eight rows.
pub trait SideBySide: Isa {
    /// Runs a kernel with the fastest dot products for weights that have a sign, or else have no more than `bits` bits,
    /// at most 6; inside a function marked for this instruction set.
    fn with_dots<K: AnyDotsKernel<Self>>(self, signed: bool, bits: u32, kernel: K) -> K::Output;

    /// The same for weights of at most 3, of which many products are added up.
    fn with_ternary_dots<K: DotsKernel<Self>>(self, kernel: K) -> K::Output;
}

/// Work that needs dot products.
pub trait DotsKernel<I: SideBySide> {
    /// What the work returns.
    type Output;

    /// Does the work; `flip` is what every weight is to be xored with before the dot products meet it. Must be
    /// `#[inline(always)]`, like every generic function that it calls.
    fn run<D: Dots<I>>(self, flip: u8) -> Self::Output;
}

/// The same where numbers of 16 bits may be faster than bytes.
pub trait AnyDotsKernel<I: SideBySide>: DotsKernel<I> {
    /// Does the work with those. Must be `#[inline(always)]`, like every generic function that it calls.
    fn run_wide<D: WideDots<I>>(self) -> Self::Output;
}

/// A way to multiply bytes: weights with activations, which are at least -127.
pub trait Dots<I: Isa> {
    /// How many tokens suit the registers where nothing but the dot products needs them: 4 or 8.
    const TERNARY_TOKENS: usize;

    /// Lays 32 bytes of each of eight rows side by side, in the order that [`Dots::dots`] takes, each byte `^ flip`.
    fn side_by_side(isa: I, rows: [&[u8; 32]; 8], flip: u8, to: &mut [[u8; 32]; 8]);

    /// The same for weights of which each 32 bytes are a quad of every row already, xored with `flip`.
    #[inline(always)]
    fn rearrange(isa: I, quads: &mut [[u8; 32]; 8]) {
        let mut rows = [[0; 32]; 8];
        for (i, quads) in quads.iter().enumerate() {
            for (row, quad) in rows.iter_mut().zip(quads.as_chunks::<4>().0) {
                row[4 * i..][..4].copy_from_slice(quad);
            }
        }
        Self::side_by_side(isa, rows.each_ref(), 0, quads);
    }

    /// The products of weights of every row, in `QUADS` fours (4 or 8, or 64 of ternary ones), and as many activations of
    /// every token, summed in a lane for each row.
    fn dots<const TOKENS: usize, const QUADS: usize>(
        isa: I,
        w: &[[u8; 32]; QUADS],
        x: [&[[u8; 4]; QUADS]; TOKENS],
    ) -> [I::I32x8; TOKENS];
}

/// A way to multiply numbers of 16 bits: weights with activations, which both were bytes.
pub trait WideDots<I: Isa> {
    /// Lays 32 bytes of each of eight rows side by side: by quads, of every row one.
    fn side_by_side(isa: I, rows: [&[u8; 32]; 8], to: &mut [[u8; 32]; 8]);

    /// Makes 16-bit numbers of the bytes that lie side by side in the first half of `pairs`, the first two of each quad
    /// before the last two. For every `quads` of them also tells where the sums of [`WideDots::dots`] start.
    fn widen(isa: I, pairs: &mut [[u8; 32]], quads: usize, starts: &mut [[u8; 32]]);

    /// The products of `w`, `QUADS` fours of every row (4 or 8), and as many activations: all that an element of `x` has,
    /// or those of `half`. Sums have a lane for each row and begin at `start`. `each` is told those of one element after the
    /// other, with the element of `to` in the same place.
    fn dots<const QUADS: usize, T>(
        isa: I,
        start: &[u8; 32],
        w: &[[[u8; 32]; 2]; QUADS],
        half: usize,
        x: &[Wide32],
        to: &mut [T],
        each: impl FnMut(&Wide32, [I::I32x8; TOGETHER], &mut T),
    );
}
