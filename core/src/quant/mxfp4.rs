//! MXFP4: floats of 4 bits, with a power of two as scale.
//!
//! ```text
//! exponent: u8 | 16 bytes of nibbles        32 weights, 2^(exponent - 128) * LEVELS[nibble]
//! ```
//! A nibble is a sign, two bits of exponent and one of fraction; [`LEVELS`] are those floats doubled, so that they are
//! integers, and the scale is halved for it. Nibbles lie in [`planes`] 16 wide.
//! Source: OCP Microscaling Formats specification 1.0.

use super::search::{Table, farthest};
use super::{Format, Quantized, decode_groups, meets_integers, planes};
use crate::ops::integers::{Lanes, Sign, part};
use crate::simd::Isa;

/// Twice what a nibble stands for (also in [`super::nvfp4`]).
pub const LEVELS: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];
/// Where the nibbles begin; before them comes the exponent.
pub const NIBBLES: usize = 1;

/// 4-bit floats, a power of two per 32.
#[derive(Debug, Clone, Copy)]
pub struct MXFP4;

/// Half of the power of two that an exponent stands for. The two lowest are subnormal.
#[inline]
pub const fn half_power(exponent: u8) -> f32 {
    f32::from_bits(if exponent < 2 { 0x0020_0000 << exponent } else { (exponent as u32 - 1) << 23 })
}

/// The codes for `x` under a scale, and their weighted squared error.
#[inline(always)]
fn codes(x: &[f32], importance: Option<&[f32]>, exponent: u8) -> ([u8; 32], f32) {
    let scale = half_power(exponent);
    let codes: [u8; 32] = core::array::from_fn(|i| Table(&LEVELS).code(x[i] / scale));
    let error = x.iter().zip(codes).enumerate().fold(0.0, |sum, (i, (&x, code))| {
        let off = x - scale * f32::from(LEVELS[usize::from(code)]);
        sum + importance.map_or(1.0, |weights| weights[i]) * off * off
    });
    (codes, error)
}

impl Format for MXFP4 {
    meets_integers!();

    const ID: u32 = 39;
    const BLOCK: usize = 32;
    const BYTES: usize = 17;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    /// The largest magnitude's exponent becomes 4-bit floats' largest, as the specification suggests; with importance,
    /// its neighbours are tried too.
    #[inline(always)]
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        const LARGEST_EXPONENT: u8 = 2;
        let biased = (farthest(x).abs().to_bits() >> 23) as u8;
        let mut exponent = biased.saturating_sub(LARGEST_EXPONENT);
        let (mut best, mut least) = codes(x, importance, exponent);
        if importance.is_some() {
            for near in [exponent.saturating_sub(1), exponent + 1] {
                let (codes, error) = codes(x, importance, near);
                if error < least {
                    (best, least, exponent) = (codes, error, near);
                }
            }
        }
        out.fill(0);
        out[0] = exponent;
        planes::pack::<4, 16>(&best, 0, &mut out[NIBBLES..]);
    }
}

impl Quantized for MXFP4 {
    const GROUP: usize = 32;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        planes::unpack::<4, 16>(&block[NIBBLES..], q);
        q.iter_mut().for_each(|q| *q = LEVELS[*q as usize & 15]);
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        scale[0] = half_power(block[0]);
        min[0] = 0.0;
    }
}

impl Lanes for MXFP4 {
    type Block = [u8; Self::BYTES];
    const SIGN: Sign = Sign::Signed;
    const BITS: u32 = 8;
    const OFFSET: Option<i32> = Some(0);

    #[inline(always)]
    fn blocks(row: &[u8]) -> &[Self::Block] {
        row.as_chunks().0
    }

    #[inline(always)]
    fn factors<I: Isa>(isa: I, blocks: &[Self::Block], _: usize) -> (I::F32x8, I::F32x8) {
        let mut scale = [0.0; 8];
        for (scale, block) in scale.iter_mut().zip(blocks) {
            *scale = half_power(block[0]);
        }
        (isa.load(&scale), isa.zero())
    }

    #[inline(always)]
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32 {
        isa.lookup(&LEVELS, isa.nibbles(part(&blocks[i], NIBBLES)))
    }
}
