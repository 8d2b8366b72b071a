//! Q5_K: 5 bits per weight, with 6-bit scales and minima.
//!
//! ```text
//! scale: f16 | min: f16 | 12 bytes of scales and minima | 32 bytes of fifth bits | 128 bytes of nibbles
//! ```
//! 256 weights, `(scale * s) * q - (min * m)`, as [`super::q4_k`] with one more bit; both parts of the integers lie in
//! [`planes`] 32 wide.

use super::float16::write_f16;
use super::q4_k::{OUTER, SCALES, lane_factors, pack_group_scales, scales_and_mins};
use super::search::{affine_groups, weights};
use super::{Format, Quantized, decode_groups, meets_integers, planes};
use crate::ops::integers::{Lanes, Sign, part};
use crate::simd::Isa;

/// Where the fifth bits begin.
pub const FIFTHS: usize = 16;
/// Where the nibbles begin.
pub const NIBBLES: usize = 48;

/// 5 bits, a scale and a minimum per 32.
#[derive(Debug, Clone, Copy)]
pub struct Q5_K;

impl Format for Q5_K {
    meets_integers!();

    const ID: u32 = 13;
    const BLOCK: usize = 256;
    const BYTES: usize = 176;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    #[inline(always)]
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let found = affine_groups(x, weights(importance), Self::GROUP, 31, 63);
        out.fill(0);
        write_f16(out, OUTER, found.scale);
        write_f16(out, OUTER + 2, found.min);
        pack_group_scales(&found.scales, &found.mins, &mut out[SCALES..]);
        planes::pack::<1, 32>(&found.q, 4, &mut out[FIFTHS..NIBBLES]);
        planes::pack::<4, 32>(&found.q, 0, &mut out[NIBBLES..]);
    }
}

impl Quantized for Q5_K {
    const GROUP: usize = 32;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        planes::unpack::<4, 32>(&block[NIBBLES..], q);
        planes::unpack_upper::<1, 32>(&block[FIFTHS..NIBBLES], 4, q);
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        scales_and_mins(block, scale, min);
    }
}

impl Lanes for Q5_K {
    type Block = [u8; Self::BYTES];
    const SIGN: Sign = Sign::Unsigned;
    const BITS: u32 = 5;
    const OFFSET: Option<i32> = None;

    #[inline(always)]
    fn blocks(row: &[u8]) -> &[Self::Block] {
        row.as_chunks().0
    }

    #[inline(always)]
    fn factors<I: Isa>(isa: I, blocks: &[Self::Block], _: usize) -> (I::F32x8, I::F32x8) {
        lane_factors(isa, &blocks[0])
    }

    #[inline(always)]
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32 {
        let two = isa.load_bytes(part(&blocks[0], NIBBLES + 32 * (i / 2)));
        let fifth = isa.field(isa.load_bytes(part(&blocks[0], FIFTHS)), i as u32, 1);
        isa.or(isa.field(two, 4 * (i % 2) as u32, 15), isa.raise(fifth, 1, 4))
    }
}
