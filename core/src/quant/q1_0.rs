//! Q1_0: a sign per weight.
//!
//! ```text
//! scale: f16 | 16 bytes of bits, the lowest first        128 weights, scale * (2 * bit - 1)
//! ```

use super::float16::{read_f16, write_f16};
use super::search::weights;
use super::{Format, Quantized, decode_groups, meets_integers, planes};
use crate::ops::integers::{Lanes, Sign, part};
use crate::simd::Isa;

/// Where the bits begin.
pub const BITS: usize = 2;

/// 1 bit, one scale per 128.
#[derive(Debug, Clone, Copy)]
pub struct Q1_0;

impl Format for Q1_0 {
    meets_integers!();

    const ID: u32 = 41;
    const BLOCK: usize = 128;
    const BYTES: usize = 18;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    /// Of all scales, the mean magnitude fits best.
    #[inline(always)]
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let (sum, total) = x
            .iter()
            .zip(weights(importance))
            .fold((0.0, 0.0), |(sum, total), (x, weight)| (sum + weight * x.abs(), total + weight));
        out.fill(0);
        write_f16(out, 0, if total == 0.0 { 0.0 } else { sum / total });
        let bits: [u8; 128] = core::array::from_fn(|i| u8::from(x[i] >= 0.0));
        planes::pack::<1, 1>(&bits, 0, &mut out[BITS..]);
    }
}

impl Quantized for Q1_0 {
    const GROUP: usize = 128;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        planes::unpack::<1, 1>(&block[BITS..], q);
        q.iter_mut().for_each(|q| *q = 2 * *q - 1);
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        scale[0] = read_f16(block, 0);
        min[0] = 0.0;
    }
}

impl Lanes for Q1_0 {
    type Block = [u8; Self::BYTES];
    const SIGN: Sign = Sign::Unsigned;
    const BITS: u32 = 1;
    const OFFSET: Option<i32> = None;

    #[inline(always)]
    fn blocks(row: &[u8]) -> &[Self::Block] {
        row.as_chunks().0
    }

    #[inline(always)]
    fn factors<I: Isa>(isa: I, blocks: &[Self::Block], _: usize) -> (I::F32x8, I::F32x8) {
        let scale = |i: usize| blocks.get(i).map_or(0.0, |block| read_f16(block, 0));
        let scale = isa.splat2(scale(0), scale(1));
        (isa.add(scale, scale), scale)
    }

    #[inline(always)]
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32 {
        isa.spread(u32::from_le_bytes(*part(&blocks[i / 4], BITS + 4 * (i % 4))), 1)
    }
}
