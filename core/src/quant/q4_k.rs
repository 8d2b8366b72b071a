//! Q4_K: 4 bits per weight, with 6-bit scales and minima.
//!
//! ```text
//! scale: f16 | min: f16 | 12 bytes of scales and minima | 128 bytes of nibbles
//! ```
//! 256 weights, `(scale * s) * q - (min * m)`; the nibbles lie in [`planes`] 32 wide. See [`group_scales`] for the
//! 8 scales and minima, one per 32 weights.

use super::float16::{read_f16, write_f16};
use super::search::{affine_groups, weights};
use super::{Format, Quantized, decode_groups, meets_integers, planes};
use crate::ops::integers::{Lanes, OneToken, Sign, half, part};
use crate::simd::Isa;

/// Where the outer scale lies, and behind it the outer minimum.
pub const OUTER: usize = 0;
/// Where the 12 bytes of scales and minima begin.
pub const SCALES: usize = 4;
/// Where the nibbles begin.
pub const NIBBLES: usize = 16;

/// 4 bits, a scale and a minimum per 32.
#[derive(Debug, Clone, Copy)]
pub struct Q4_K;

/// The 8 scales and the 8 minima of a block, 0 to 63, from their 12 bytes (also in [`super::q5_k`]).
///
/// Bytes 0 to 3 hold scales 0 to 3 in their low 6 bits, bytes 4 to 7 the minima 0 to 3. Bytes 8 to 11 hold the low
/// 4 bits of scales 4 to 7 and, above them, of minima 4 to 7; their high 2 bits are the high bits of bytes 0 to 7.
#[inline]
pub fn group_scales(bytes: &[u8]) -> ([u8; 8], [u8; 8]) {
    let [a, b, both] = [0, 4, 8].map(|at| u32::from_le_bytes(*part(bytes, at)));
    let eight = |low: u32, high: u32| (u64::from(high) << 32 | u64::from(low)).to_le_bytes();
    let scales = eight(a & 0x3f3f_3f3f, both & 0x0f0f_0f0f | a >> 2 & 0x3030_3030);
    let mins = eight(b & 0x3f3f_3f3f, both >> 4 & 0x0f0f_0f0f | b >> 2 & 0x3030_3030);
    (scales, mins)
}

/// The reverse of [`group_scales`].
pub(super) fn pack_group_scales(scales: &[u8], mins: &[u8], bytes: &mut [u8]) {
    for i in 0..4 {
        bytes[i] = scales[i] | (scales[4 + i] >> 4) << 6;
        bytes[4 + i] = mins[i] | (mins[4 + i] >> 4) << 6;
        bytes[8 + i] = scales[4 + i] & 15 | mins[4 + i] << 4;
    }
}

/// [`Quantized::scales`] of a block that begins with the outer scales and the 12 bytes.
#[inline]
pub(super) fn scales_and_mins(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
    let (outer_scale, outer_min) = (read_f16(block, OUTER), read_f16(block, OUTER + 2));
    let (scales, mins) = group_scales(&block[SCALES..]);
    for i in 0..8 {
        scale[i] = outer_scale * f32::from(scales[i]);
        min[i] = outer_min * f32::from(mins[i]);
    }
}

/// [`Lanes::factors`] of such a block.
#[inline(always)]
pub(super) fn lane_factors<I: Isa>(isa: I, block: &[u8]) -> (I::F32x8, I::F32x8) {
    let (scales, mins) = group_scales(&block[SCALES..]);
    let (outer_scale, outer_min) = (half(isa, block, OUTER), half(isa, block, OUTER + 2));
    (isa.mul(isa.float_u8(scales), outer_scale), isa.mul(isa.float_u8(mins), outer_min))
}

impl Format for Q4_K {
    meets_integers!();

    const ID: u32 = 12;
    const BLOCK: usize = 256;
    const BYTES: usize = 144;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    #[inline(always)]
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let found = affine_groups(x, weights(importance), Self::GROUP, 15, 63);
        out.fill(0);
        write_f16(out, OUTER, found.scale);
        write_f16(out, OUTER + 2, found.min);
        pack_group_scales(&found.scales, &found.mins, &mut out[SCALES..]);
        planes::pack::<4, 32>(&found.q, 0, &mut out[NIBBLES..]);
    }
}

impl Quantized for Q4_K {
    const GROUP: usize = 32;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        planes::unpack::<4, 32>(&block[NIBBLES..], q);
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        scales_and_mins(block, scale, min);
    }
}

impl Lanes for Q4_K {
    type Block = [u8; Self::BYTES];
    const SIGN: Sign = Sign::Unsigned;
    const BITS: u32 = 4;
    const OFFSET: Option<i32> = None;
    const ONE_TOKEN: OneToken = OneToken::Blocks;

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
        isa.field(two, 4 * (i % 2) as u32, 15)
    }
}
