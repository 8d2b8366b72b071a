//! IQ4_NL: 4 bits per weight that choose from uneven levels.
//!
//! ```text
//! scale: f16 | 16 bytes of nibbles        32 weights, scale * LEVELS[nibble]
//! ```
//! The levels lie closer together near zero, where most weights are. Nibbles lie in [`planes`] 16 wide.

use super::float16::{read_f16, write_f16};
use super::search::{Table, inverse, symmetric, weights};
use super::{Format, Quantized, decode_groups, meets_integers, planes};
use crate::ops::integers::{Lanes, Sign, halves, part};
use crate::simd::Isa;

/// What a nibble stands for (also in [`super::iq4_xs`]).
pub const LEVELS: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/// Where the nibbles begin.
pub const NIBBLES: usize = 2;

/// 4 bits with uneven levels, one scale per 32.
#[derive(Debug, Clone, Copy)]
pub struct IQ4_NL;

impl Format for IQ4_NL {
    meets_integers!();

    const ID: u32 = 20;
    const BLOCK: usize = 32;
    const BYTES: usize = 18;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    #[inline(always)]
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        out.fill(0);
        let scale = write_f16(out, 0, symmetric(x, weights(importance), Table(&LEVELS)));
        let inverse = inverse(scale);
        let codes: [u8; 32] = core::array::from_fn(|i| Table(&LEVELS).code(x[i] * inverse));
        planes::pack::<4, 16>(&codes, 0, &mut out[NIBBLES..]);
    }
}

impl Quantized for IQ4_NL {
    const GROUP: usize = 32;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        planes::unpack::<4, 16>(&block[NIBBLES..], q);
        q.iter_mut().for_each(|q| *q = LEVELS[*q as usize & 15]);
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        scale[0] = read_f16(block, 0);
        min[0] = 0.0;
    }
}

impl Lanes for IQ4_NL {
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
        (halves::<I, _, 0>(isa, blocks), isa.zero())
    }

    #[inline(always)]
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32 {
        isa.lookup(&LEVELS, isa.nibbles(part(&blocks[i], NIBBLES)))
    }
}
