//! Q4_1: 4 bits per weight above a minimum.
//!
//! ```text
//! scale: f16 | lowest: f16 | 16 bytes of nibbles        32 weights, scale * nibble + lowest
//! ```
//! Nibbles lie as in [`super::q4_0`].

use core::array;

use super::float16::{read_f16, write_f16};
use super::search::{inverse, range_or_search};
use super::{Format, Quantized, decode_groups, meets_integers, planes};
use crate::ops::integers::{Lanes, Sign, halves, part};
use crate::simd::Isa;

/// Where the nibbles begin.
pub const NIBBLES: usize = 4;

/// 4 bits, one scale and one minimum per 32.
#[derive(Debug, Clone, Copy)]
pub struct Q4_1;

impl Format for Q4_1 {
    meets_integers!();

    const ID: u32 = 3;
    const BLOCK: usize = 32;
    const BYTES: usize = 20;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }
    /// The lowest value becomes 0 and the highest 15; with importance, both ends are searched.
    #[inline(always)]
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let (scale, min) = range_or_search(x, importance, 15);
        out.fill(0);
        write_f16(out, 0, scale);
        write_f16(out, 2, -min);
        let inverse = inverse(scale);
        let q = array::from_fn(|i| (((x[i] + min) * inverse + 0.5) as u8).min(15));
        planes::pack::<4, 16>(&q as &[u8; 32], 0, &mut out[NIBBLES..]);
    }
}

impl Quantized for Q4_1 {
    const GROUP: usize = 32;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        planes::unpack::<4, 16>(&block[NIBBLES..], q);
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        scale[0] = read_f16(block, 0);
        min[0] = -read_f16(block, 2);
    }
}

impl Lanes for Q4_1 {
    type Block = [u8; Self::BYTES];
    const SIGN: Sign = Sign::Unsigned;
    const BITS: u32 = 4;
    const OFFSET: Option<i32> = None;

    #[inline(always)]
    fn blocks(row: &[u8]) -> &[Self::Block] {
        row.as_chunks().0
    }

    #[inline(always)]
    fn factors<I: Isa>(isa: I, blocks: &[Self::Block], _: usize) -> (I::F32x8, I::F32x8) {
        (halves::<I, _, 0>(isa, blocks), isa.neg(halves::<I, _, 2>(isa, blocks)))
    }

    #[inline(always)]
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32 {
        isa.nibbles(part(&blocks[i], NIBBLES))
    }
}
