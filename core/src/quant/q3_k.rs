//! Q3_K: 3 bits per weight around zero, with 6-bit scales.
//!
//! ```text
//! 32 bytes of third bits | 64 bytes of 2-bit integers | 12 bytes of scales | scale: f16
//! ```
//! 256 weights, `(scale * (s - 32)) * (q - 4)`. Both parts of the integers lie in [`planes`] 32 wide. Of the 16 scales
//! (one per 16 weights) the low 4 bits lie in 8 bytes as planes 8 wide, and the high 2 bits in 4 bytes as planes 4 wide.

use super::float16::{read_f16, write_f16};
use super::search::{Range, symmetric_groups, weights};
use super::{Format, Quantized, decode_groups, meets_integers, planes};
use crate::ops::integers::{Lanes, Sign, half, part};
use crate::simd::Isa;

/// Where the two low bits begin; before them come the third bits.
pub const LOW: usize = 32;
/// Where the low bits of the scales begin.
pub const SCALES: usize = 96;
/// Where the high bits of the scales begin.
pub const SCALES_HIGH: usize = 104;
/// Where the outer scale lies.
pub const OUTER: usize = 108;

/// 3 bits, a scale per 16.
#[derive(Debug, Clone, Copy)]
pub struct Q3_K;

/// The 16 scales of a block, to be multiplied with the outer one.
#[inline]
pub fn group_scales(block: &[u8]) -> [i8; 16] {
    let mut scales = [0; 16];
    planes::unpack::<4, 8>(&block[SCALES..SCALES_HIGH], &mut scales);
    planes::unpack_upper::<2, 4>(&block[SCALES_HIGH..OUTER], 4, &mut scales);
    scales.map(|scale| scale - 32)
}

impl Format for Q3_K {
    meets_integers!();

    const ID: u32 = 11;
    const BLOCK: usize = 256;
    const BYTES: usize = 110;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    #[inline(always)]
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let range = Range { low: -4, high: 3 };
        let scale_range = Range { low: -32, high: 31 };
        let found = symmetric_groups(x, weights(importance), Self::GROUP, range, scale_range);
        let q = found.q.map(|q| (q + 4) as u8);
        let scales = found.scales.map(|scale| (scale + 32) as u8);
        out.fill(0);
        planes::pack::<1, 32>(&q, 2, &mut out[..LOW]);
        planes::pack::<2, 32>(&q, 0, &mut out[LOW..SCALES]);
        planes::pack::<4, 8>(&scales[..16], 0, &mut out[SCALES..SCALES_HIGH]);
        planes::pack::<2, 4>(&scales[..16], 4, &mut out[SCALES_HIGH..OUTER]);
        write_f16(out, OUTER, found.scale);
    }
}

impl Quantized for Q3_K {
    const GROUP: usize = 16;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        planes::unpack::<2, 32>(&block[LOW..SCALES], q);
        planes::unpack_upper::<1, 32>(&block[..LOW], 2, q);
        q.iter_mut().for_each(|q| *q -= 4);
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        let outer = read_f16(block, OUTER);
        for (out, scale) in scale.iter_mut().zip(group_scales(block)) {
            *out = outer * f32::from(scale);
        }
        min.fill(0.0);
    }
}

impl Lanes for Q3_K {
    type Block = [u8; Self::BYTES];
    const SIGN: Sign = Sign::Unsigned;
    const BITS: u32 = 3;
    const OFFSET: Option<i32> = Some(4);

    #[inline(always)]
    fn blocks(row: &[u8]) -> &[Self::Block] {
        row.as_chunks().0
    }

    #[inline(always)]
    fn factors<I: Isa>(isa: I, blocks: &[Self::Block], at: usize) -> (I::F32x8, I::F32x8) {
        let scale = isa.float_i8(*part(&group_scales(&blocks[0]), 8 * at));
        let scale = isa.mul(scale, half(isa, &blocks[0], OUTER));
        (scale, isa.mul(scale, isa.splat(4.0)))
    }

    #[inline(always)]
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32 {
        let block = &blocks[0];
        let four = isa.load_bytes(part(block, LOW + 32 * (i / 4)));
        let third = isa.field(isa.load_bytes(part(block, 0)), i as u32, 1);
        isa.or(isa.field(four, 2 * (i % 4) as u32, 3), isa.raise(third, 1, 2))
    }
}
