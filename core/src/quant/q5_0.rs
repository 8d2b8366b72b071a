//! Q5_0: 5 bits per weight around zero.
//!
//! ```text
//! scale: f16 | fifth bits: u32 | 16 bytes of nibbles        32 weights, scale * (nibble + 16 * fifth - 16)
//! ```
//! Nibbles lie in [`planes`] 16 wide; bit `i` of the word belongs to weight `i`.

use core::array;

use super::float16::{read_f16, write_f16};
use super::search::{Range, farthest, inverse, symmetric};
use super::{Format, Quantized, decode_groups, meets_integers, planes};
use crate::ops::fours::{Fours, SCALES};
use crate::ops::integers::{Lanes, Sign, halves, part};
use crate::simd::Isa;

/// Where the word of fifth bits lies.
pub const FIFTHS: usize = 2;
/// Where the nibbles begin.
pub const NIBBLES: usize = 6;

/// 5 bits, one scale per 32.
#[derive(Debug, Clone, Copy)]
pub struct Q5_0;

/// Writes the 32 integers 0 to 31 whose fifth bits, and then nibbles, begin at `at` (also in [`super::q5_1`]).
#[inline]
pub(super) fn unpack(block: &[u8], at: usize, q: &mut [i8]) {
    planes::unpack::<4, 16>(&block[at + 4..], q);
    planes::unpack_upper::<1, 1>(&block[at..at + 4], 4, q);
}

/// The reverse of [`unpack`].
pub(super) fn pack(q: &[u8; 32], at: usize, out: &mut [u8]) {
    out[at..].fill(0);
    planes::pack::<1, 1>(q, 4, &mut out[at..at + 4]);
    planes::pack::<4, 16>(q, 0, &mut out[at + 4..]);
}

impl Format for Q5_0 {
    meets_integers!();

    const ID: u32 = 6;
    const BLOCK: usize = 32;
    const BYTES: usize = 22;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    /// As [`super::q4_0`]: the value farthest from zero becomes -16, or the scale is searched.
    #[inline(always)]
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let scale = match importance {
            None => farthest(x) / -16.0,
            Some(weights) => symmetric(x, weights, Range { low: -16, high: 15 }),
        };
        write_f16(out, 0, scale);
        let inverse = inverse(scale);
        let q = array::from_fn(|i| ((x[i] * inverse + 16.5) as u8).min(31));
        pack(&q, FIFTHS, out);
    }
}

impl Quantized for Q5_0 {
    const GROUP: usize = 32;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        unpack(block, FIFTHS, q);
        q.iter_mut().for_each(|q| *q -= 16);
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        scale[0] = read_f16(block, 0);
        min[0] = 0.0;
    }
}

impl Lanes for Q5_0 {
    type Block = [u8; Self::BYTES];
    const SIGN: Sign = Sign::Unsigned;
    const BITS: u32 = 5;
    const OFFSET: Option<i32> = Some(16);

    #[inline(always)]
    fn blocks(row: &[u8]) -> &[Self::Block] {
        row.as_chunks().0
    }

    #[inline(always)]
    fn factors<I: Isa>(isa: I, blocks: &[Self::Block], _: usize) -> (I::F32x8, I::F32x8) {
        let scale = halves::<I, _, 0>(isa, blocks);
        (scale, isa.mul(scale, isa.splat(16.0)))
    }

    #[inline(always)]
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32 {
        let fifths = u32::from_le_bytes(*part(&blocks[i], FIFTHS));
        isa.or(isa.nibbles(part(&blocks[i], NIBBLES)), isa.spread(fifths, 16))
    }
}

impl Fours for Q5_0 {
    #[inline(always)]
    fn quads<I: Isa>(isa: I, four: &[u8], v: usize) -> I::I8x32 {
        let fifths = isa.nibbles(part(four, SCALES));
        isa.or(isa.nibbles(part(four, SCALES + 16 + 16 * v)), isa.raise(fifths, 1 << v, 4 - v as u32))
    }
}
