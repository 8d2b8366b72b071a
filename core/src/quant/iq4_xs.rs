//! IQ4_XS: 4 bits per weight that choose from uneven levels, with 6-bit scales.
//!
//! ```text
//! scale: f16 | 2 bytes: upper bits of the scales | 4 bytes: their nibbles | 128 bytes of nibbles
//! ```
//! 256 weights, `(scale * (s - 32)) * LEVELS[nibble]`, a scale per 32, with the levels of [`super::iq4_nl`]. The
//! weights' nibbles lie in [`planes`] 16 wide; the 8 scales lie one after the other, low bits first.

use super::float16::{read_f16, write_f16};
use super::iq4_nl::LEVELS;
use super::search::{Range, Table, symmetric_groups, weights};
use super::{Format, Quantized, decode_groups, meets_integers, planes};
use crate::ops::integers::{Lanes, Sign, half, part};
use crate::simd::Isa;

/// Where the upper bits of the scales begin.
pub const SCALES_HIGH: usize = 2;
/// Where the nibbles of the scales begin.
pub const SCALES: usize = 4;
/// Where the weights' nibbles begin.
pub const NIBBLES: usize = 8;

/// 4 bits with uneven levels, a scale per 32.
#[derive(Debug, Clone, Copy)]
pub struct IQ4_XS;

/// The 8 scales of a block, to be multiplied with the outer one.
#[inline]
pub fn group_scales(block: &[u8]) -> [i8; 8] {
    let mut scales = [0; 8];
    planes::unpack::<4, 1>(&block[SCALES..NIBBLES], &mut scales);
    planes::unpack_upper::<2, 1>(&block[SCALES_HIGH..SCALES], 4, &mut scales);
    scales.map(|scale| scale - 32)
}

impl Format for IQ4_XS {
    meets_integers!();

    const ID: u32 = 23;
    const BLOCK: usize = 256;
    const BYTES: usize = 136;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    #[inline(always)]
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let scale_range = Range { low: -32, high: 31 };
        let found = symmetric_groups(x, weights(importance), Self::GROUP, Table(&LEVELS), scale_range);
        let scales = found.scales.map(|scale| (scale + 32) as u8);
        let codes = found.q.map(|level| Table(&LEVELS).code(level.into()));
        out.fill(0);
        write_f16(out, 0, found.scale);
        planes::pack::<4, 1>(&scales[..8], 0, &mut out[SCALES..NIBBLES]);
        planes::pack::<2, 1>(&scales[..8], 4, &mut out[SCALES_HIGH..SCALES]);
        planes::pack::<4, 16>(&codes, 0, &mut out[NIBBLES..]);
    }
}

impl Quantized for IQ4_XS {
    const GROUP: usize = 32;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        planes::unpack::<4, 16>(&block[NIBBLES..], q);
        q.iter_mut().for_each(|q| *q = LEVELS[*q as usize & 15]);
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        let outer = read_f16(block, 0);
        for (out, scale) in scale.iter_mut().zip(group_scales(block)) {
            *out = outer * f32::from(scale);
        }
        min.fill(0.0);
    }
}

impl Lanes for IQ4_XS {
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
        let scale = isa.float_i8(group_scales(&blocks[0]));
        (isa.mul(scale, half(isa, &blocks[0], 0)), isa.zero())
    }

    #[inline(always)]
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32 {
        isa.lookup(&LEVELS, isa.nibbles(part(&blocks[0], NIBBLES + 16 * i)))
    }
}
