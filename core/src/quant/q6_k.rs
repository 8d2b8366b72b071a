//! Q6_K: 6 bits per weight around zero, with 8-bit scales.
//!
//! ```text
//! 128 bytes of nibbles | 64 bytes of upper bits, 2 each | 16 signed bytes of scales | scale: f16
//! ```
//! 256 weights, `(scale * s) * (q - 32)`, a scale per 16. The nibbles lie in [`planes`] 64 wide, the upper bits in
//! planes 32 wide.

use super::float16::{read_f16, write_f16};
use super::search::{Range, symmetric_groups, weights};
use super::{Format, Quantized, decode_groups, meets_integers, planes};
use crate::ops::integers::{Lanes, OneToken, Sign, half, part};
use crate::simd::Isa;

/// Where the upper bits begin; before them come the nibbles.
pub const UPPER: usize = 128;
/// Where the scales begin.
pub const SCALES: usize = 192;
/// Where the outer scale lies.
pub const OUTER: usize = 208;

/// 6 bits, a scale per 16.
#[derive(Debug, Clone, Copy)]
pub struct Q6_K;

impl Format for Q6_K {
    meets_integers!();

    const ID: u32 = 14;
    const BLOCK: usize = 256;
    const BYTES: usize = 210;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    #[inline(always)]
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let range = Range { low: -32, high: 31 };
        let scale_range = Range { low: -128, high: 127 };
        let found = symmetric_groups(x, weights(importance), Self::GROUP, range, scale_range);
        let q = found.q.map(|q| (q + 32) as u8);
        out.fill(0);
        planes::pack::<4, 64>(&q, 0, &mut out[..UPPER]);
        planes::pack::<2, 32>(&q, 4, &mut out[UPPER..SCALES]);
        for (out, scale) in out[SCALES..OUTER].iter_mut().zip(found.scales) {
            *out = scale as u8;
        }
        write_f16(out, OUTER, found.scale);
    }
}

impl Quantized for Q6_K {
    const GROUP: usize = 16;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        planes::unpack::<4, 64>(&block[..UPPER], q);
        planes::unpack_upper::<2, 32>(&block[UPPER..SCALES], 4, q);
        q.iter_mut().for_each(|q| *q -= 32);
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        let outer = read_f16(block, OUTER);
        for (out, &scale) in scale.iter_mut().zip(&block[SCALES..OUTER]) {
            *out = outer * f32::from(scale as i8);
        }
        min.fill(0.0);
    }
}

impl Lanes for Q6_K {
    type Block = [u8; Self::BYTES];
    const SIGN: Sign = Sign::Unsigned;
    const BITS: u32 = 6;
    const OFFSET: Option<i32> = Some(32);
    const ONE_TOKEN: OneToken = OneToken::Blocks;

    #[inline(always)]
    fn blocks(row: &[u8]) -> &[Self::Block] {
        row.as_chunks().0
    }

    #[inline(always)]
    fn factors<I: Isa>(isa: I, blocks: &[Self::Block], at: usize) -> (I::F32x8, I::F32x8) {
        let scale = isa.float_i8(part::<_, 8>(&blocks[0], SCALES + 8 * at).map(|scale| scale as i8));
        let scale = isa.mul(scale, half(isa, &blocks[0], OUTER));
        (scale, isa.mul(scale, isa.splat(32.0)))
    }

    #[inline(always)]
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32 {
        // Vectors 0 and 1 are the low nibbles of 64 bytes, 2 and 3 the high ones; all four share 32 bytes of upper bits.
        let (block, half) = (&blocks[0], i / 4);
        let nibbles = isa.load_bytes(part(block, 64 * half + 32 * (i % 2)));
        let upper = isa.load_bytes(part(block, UPPER + 32 * half));
        let upper = isa.field(upper, 2 * (i % 4) as u32, 3);
        isa.or(isa.field(nibbles, 4 * (i % 4 / 2) as u32, 15), isa.raise(upper, 3, 4))
    }
}
