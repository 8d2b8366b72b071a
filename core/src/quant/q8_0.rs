//! Q8_0: a signed byte per weight.
//!
//! ```text
//! scale: f16 | 32 signed bytes        32 weights, scale * byte
//! ```

use super::float16::{read_f16, write_f16};
use super::search::{farthest, inverse, round};
use super::{Format, Quantized, decode_groups, meets_integers};
use crate::ops::fours::{Fours, SCALES};
use crate::ops::integers::{Lanes, Sign, halves, part};
use crate::simd::Isa;

/// Where the bytes begin.
pub const BYTES_AT: usize = 2;

/// 8 bits, one scale per 32.
#[derive(Debug, Clone, Copy)]
pub struct Q8_0;

impl Format for Q8_0 {
    meets_integers!();

    const ID: u32 = 8;
    const BLOCK: usize = 32;
    const BYTES: usize = 34;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    /// Importance changes nothing here: at 8 bits the rounding is all there is.
    #[inline(always)]
    fn encode(x: &[f32], _: Option<&[f32]>, out: &mut [u8]) {
        let scale = farthest(x).abs() / 127.0;
        write_f16(out, 0, scale);
        let inverse = inverse(scale);
        for (out, &x) in out[BYTES_AT..].iter_mut().zip(x) {
            *out = round(x * inverse).clamp(-127, 127) as i8 as u8;
        }
    }
}

impl Quantized for Q8_0 {
    const GROUP: usize = 32;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        for (q, &byte) in q.iter_mut().zip(&block[BYTES_AT..]) {
            *q = byte as i8;
        }
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        scale[0] = read_f16(block, 0);
        min[0] = 0.0;
    }
}

impl Lanes for Q8_0 {
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
        (halves::<I, _, 0>(isa, blocks), isa.zero())
    }

    #[inline(always)]
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32 {
        isa.load_bytes(part(&blocks[i], BYTES_AT))
    }
}

impl Fours for Q8_0 {
    #[inline(always)]
    fn quads<I: Isa>(isa: I, four: &[u8], v: usize) -> I::I8x32 {
        isa.load_bytes(part(four, SCALES + 32 * v))
    }
}
