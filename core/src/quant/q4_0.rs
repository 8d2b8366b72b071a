//! Q4_0: 4 bits per weight around zero.
//!
//! ```text
//! scale: f16 | 16 bytes of nibbles        32 weights, scale * (nibble - 8)
//! ```
//! Nibbles lie in [`planes`] 16 wide: byte `i` holds weight `i` and, above it, weight `16 + i`.

use core::array;

use super::float16::{read_f16, write_f16};
use super::search::{Range, farthest, inverse, symmetric};
use super::{Format, Quantized, decode_groups, meets_integers, planes};
use crate::ops::fours::{Fours, SCALES};
use crate::ops::integers::{Lanes, Sign, halves, part};
use crate::simd::Isa;

/// Where the nibbles begin.
pub const NIBBLES: usize = 2;

/// 4 bits, one scale per 32.
#[derive(Debug, Clone, Copy)]
pub struct Q4_0;

impl Format for Q4_0 {
    meets_integers!();

    const ID: u32 = 2;
    const BLOCK: usize = 32;
    const BYTES: usize = 18;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    /// The value farthest from zero becomes -8, whatever its sign: the side that reaches farther gets the extra step.
    /// With importance, the scale is searched.
    #[inline(always)]
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let scale = match importance {
            None => farthest(x) / -8.0,
            Some(weights) => symmetric(x, weights, Range { low: -8, high: 7 }),
        };
        out.fill(0);
        write_f16(out, 0, scale);
        let inverse = inverse(scale);
        // The reference adds 8.5 and cuts, which rounds halves up: not what `round` does below zero.
        let q = array::from_fn(|i| ((x[i] * inverse + 8.5) as u8).min(15));
        planes::pack::<4, 16>(&q as &[u8; 32], 0, &mut out[NIBBLES..]);
    }
}

impl Quantized for Q4_0 {
    const GROUP: usize = 32;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        planes::unpack::<4, 16>(&block[NIBBLES..], q);
        q.iter_mut().for_each(|q| *q -= 8);
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        scale[0] = read_f16(block, 0);
        min[0] = 0.0;
    }
}

impl Lanes for Q4_0 {
    type Block = [u8; Self::BYTES];
    const SIGN: Sign = Sign::Unsigned;
    const BITS: u32 = 4;
    const OFFSET: Option<i32> = Some(8);

    #[inline(always)]
    fn blocks(row: &[u8]) -> &[Self::Block] {
        row.as_chunks().0
    }

    #[inline(always)]
    fn factors<I: Isa>(isa: I, blocks: &[Self::Block], _: usize) -> (I::F32x8, I::F32x8) {
        let scale = halves::<I, _, 0>(isa, blocks);
        (scale, isa.mul(scale, isa.splat(8.0)))
    }

    #[inline(always)]
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32 {
        isa.nibbles(part(&blocks[i], NIBBLES))
    }
}

impl Fours for Q4_0 {
    #[inline(always)]
    fn quads<I: Isa>(isa: I, four: &[u8], v: usize) -> I::I8x32 {
        isa.nibbles(part(four, SCALES + 16 * v))
    }
}
