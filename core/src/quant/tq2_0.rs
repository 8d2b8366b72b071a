//! TQ2_0: ternary weights, four to a byte.
//!
//! ```text
//! 64 bytes of 2-bit integers | scale: f16
//! ```
//! 256 weights, `scale * (q - 1)`; the integers lie in [`planes`] 32 wide.

use super::float16::{read_f16, write_f16};
use super::ternary::{block_scale, codes};
use super::{Format, Quantized, decode_groups, meets_ternary, planes};
use crate::ops::integers::{Lanes, Sign, half, part};
use crate::ops::ternary::Ternary;
use crate::simd::Isa;

/// Where the scale lies; before it come the integers.
pub const OUTER: usize = 64;

/// Ternary, 2.06 bits per weight.
#[derive(Debug, Clone, Copy)]
pub struct TQ2_0;

impl Format for TQ2_0 {
    meets_ternary!();

    const ID: u32 = 35;
    const BLOCK: usize = 256;
    const BYTES: usize = 66;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    #[inline(always)]
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let scale = block_scale(x, importance);
        let mut q = [0; 256];
        codes(x, scale, &mut q);
        out.fill(0);
        planes::pack::<2, 32>(&q, 0, &mut out[..OUTER]);
        write_f16(out, OUTER, scale);
    }
}

impl Quantized for TQ2_0 {
    const GROUP: usize = 256;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        planes::unpack::<2, 32>(&block[..OUTER], q);
        q.iter_mut().for_each(|q| *q -= 1);
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        scale[0] = read_f16(block, OUTER);
        min[0] = 0.0;
    }
}

impl Ternary for TQ2_0 {}

impl Lanes for TQ2_0 {
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
        let scale = half(isa, &blocks[0], OUTER);
        (scale, scale)
    }

    #[inline(always)]
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32 {
        isa.field(isa.load_bytes(part(&blocks[0], 32 * (i / 4))), 2 * (i % 4) as u32, 3)
    }
}
