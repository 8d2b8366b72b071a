//! Q2_0: ternary weights and a fourth value.
//!
//! ```text
//! scale: f16 | 16 bytes of 2-bit integers, the lowest first        64 weights, scale * (q - 1)
//! ```

use super::float16::{read_f16, write_f16};
use super::search::{Range, inverse, round, symmetric, weights};
use super::{Format, Quantized, decode_groups, meets_integers, planes};
use crate::ops::integers::{Lanes, Sign, part};
use crate::simd::Isa;

/// Where the integers begin.
pub const INTEGERS: usize = 2;

/// 2 bits, one scale per 64.
#[derive(Debug, Clone, Copy)]
pub struct Q2_0;

/// Eight integers of 2 bits as bytes.
#[inline(always)]
const fn eight_pairs(bits: u16) -> u64 {
    let bits = bits as u64;
    let bits = (bits | bits << 24) & 0xff_0000_00ff;
    let bits = (bits | bits << 12) & 0x000f_000f_000f_000f;
    (bits | bits << 6) & 0x0303_0303_0303_0303
}

impl Format for Q2_0 {
    meets_integers!();

    const ID: u32 = 42;
    const BLOCK: usize = 64;
    const BYTES: usize = 18;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    /// The search uses all four values, on the side that needs them: the scale may be negative.
    #[inline(always)]
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        out.fill(0);
        let scale = write_f16(out, 0, symmetric(x, weights(importance), Range { low: -1, high: 2 }));
        let inverse = inverse(scale);
        let q: [u8; 64] = core::array::from_fn(|i| (round(x[i] * inverse).clamp(-1, 2) + 1) as u8);
        planes::pack::<2, 1>(&q, 0, &mut out[INTEGERS..]);
    }
}

impl Quantized for Q2_0 {
    const GROUP: usize = 64;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        planes::unpack::<2, 1>(&block[INTEGERS..], q);
        q.iter_mut().for_each(|q| *q -= 1);
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        scale[0] = read_f16(block, 0);
        min[0] = 0.0;
    }
}

impl Lanes for Q2_0 {
    type Block = [u8; Self::BYTES];
    const SIGN: Sign = Sign::Unsigned;
    const BITS: u32 = 2;
    const OFFSET: Option<i32> = Some(1);

    #[inline(always)]
    fn blocks(row: &[u8]) -> &[Self::Block] {
        row.as_chunks().0
    }

    #[inline(always)]
    fn factors<I: Isa>(isa: I, blocks: &[Self::Block], _: usize) -> (I::F32x8, I::F32x8) {
        let mut scales = [0.0; 8];
        for (scales, block) in scales.as_chunks_mut::<2>().0.iter_mut().zip(blocks) {
            *scales = [read_f16(block, 0); 2];
        }
        let scale = isa.load(&scales);
        (scale, scale)
    }

    #[inline(always)]
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32 {
        let bits = u64::from_le_bytes(*part(&blocks[i / 2], INTEGERS + 8 * (i % 2)));
        let eight = |at: u32| eight_pairs((bits >> at) as u16);
        isa.join([eight(0), eight(16), eight(32), eight(48)])
    }
}
