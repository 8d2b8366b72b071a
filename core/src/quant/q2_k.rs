//! Q2_K: 2 bits per weight, with 4-bit scales and minima.
//!
//! ```text
//! 16 bytes: scale | min << 4, one per 16 weights | 64 bytes of 2-bit integers | scale: f16 | min: f16
//! ```
//! 256 weights, `(scale * s) * q - (min * m)`; the integers lie in [`planes`] 32 wide.

use super::float16::{read_f16, write_f16};
use super::search::{affine_groups, weights};
use super::{Format, Quantized, decode_groups, meets_integers, planes};
use crate::ops::integers::{Lanes, Sign, half, part};
use crate::simd::Isa;

/// Where the 2-bit integers begin; before them come the scales and minima.
pub const INTEGERS: usize = 16;
/// Where the outer scale lies, and behind it the outer minimum.
pub const OUTER: usize = 80;

/// 2 bits, a scale and a minimum per 16.
#[derive(Debug, Clone, Copy)]
pub struct Q2_K;

impl Format for Q2_K {
    meets_integers!();

    const ID: u32 = 10;
    const BLOCK: usize = 256;
    const BYTES: usize = 84;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    #[inline(always)]
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let found = affine_groups(x, weights(importance), Self::GROUP, 3, 15);
        out.fill(0);
        for (out, (scale, min)) in out[..INTEGERS].iter_mut().zip(found.scales.iter().zip(found.mins)) {
            *out = scale | min << 4;
        }
        planes::pack::<2, 32>(&found.q, 0, &mut out[INTEGERS..OUTER]);
        write_f16(out, OUTER, found.scale);
        write_f16(out, OUTER + 2, found.min);
    }
}

impl Quantized for Q2_K {
    const GROUP: usize = 16;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        planes::unpack::<2, 32>(&block[INTEGERS..OUTER], q);
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        let (outer_scale, outer_min) = (read_f16(block, OUTER), read_f16(block, OUTER + 2));
        for ((&byte, scale), min) in block[..INTEGERS].iter().zip(scale).zip(min) {
            *scale = outer_scale * f32::from(byte & 15);
            *min = outer_min * f32::from(byte >> 4);
        }
    }
}

impl Lanes for Q2_K {
    type Block = [u8; Self::BYTES];
    const SIGN: Sign = Sign::Unsigned;
    const BITS: u32 = 2;
    const OFFSET: Option<i32> = None;

    #[inline(always)]
    fn blocks(row: &[u8]) -> &[Self::Block] {
        row.as_chunks().0
    }

    #[inline(always)]
    fn factors<I: Isa>(isa: I, blocks: &[Self::Block], at: usize) -> (I::F32x8, I::F32x8) {
        // The scales and minima of 8 groups of 16: half a block's.
        let block = &blocks[0];
        let both = u64::from_le_bytes(*part(block, 8 * at));
        let nibbles = u64::from_le_bytes([15; 8]);
        let scale = isa.float_u8((both & nibbles).to_le_bytes());
        let min = isa.float_u8((both >> 4 & nibbles).to_le_bytes());
        (isa.mul(scale, half(isa, block, OUTER)), isa.mul(min, half(isa, block, OUTER + 2)))
    }

    #[inline(always)]
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32 {
        let four = isa.load_bytes(part(&blocks[0], INTEGERS + 32 * (i / 4)));
        isa.field(four, 2 * (i % 4) as u32, 3)
    }
}
