//! NVFP4: floats of 4 bits, with floats of 8 bits as scales.
//!
//! ```text
//! 4 scales of a byte | 32 bytes of nibbles        64 weights, a scale per 16
//! ```
//! The nibbles are those of [`super::mxfp4`], in [`planes`] 8 wide. A scale has four bits of exponent and three of
//! fraction, and no sign (the top bit means nothing). A file may bring one more scale per tensor, as a tensor of its own.

use super::mxfp4::LEVELS;
use super::search::{Table, farthest, inverse};
use super::{Format, Quantized, decode_groups, meets_integers, planes};
use crate::ops::integers::{Lanes, Sign, part};
use crate::simd::Isa;

/// Where the nibbles begin; before them come the scales.
pub const NIBBLES: usize = 4;

/// 4-bit floats, an 8-bit float per 16.
#[derive(Debug, Clone, Copy)]
pub struct NVFP4;

/// Half of the float that a scale's byte stands for; the byte of all ones means zero.
#[inline]
pub const fn half_scale(byte: u8) -> f32 {
    let (exponent, fraction) = ((byte >> 3 & 15) as u32, (byte & 7) as f32);
    if byte == 0x7f {
        0.0
    } else if exponent == 0 {
        fraction * f32::from_bits((127 - 10) << 23)
    } else {
        (8.0 + fraction) * f32::from_bits((exponent + 127 - 11) << 23)
    }
}

/// [`half_scale`] of every byte.
static HALF_SCALES: [f32; 256] = {
    let mut scales = [0.0; 256];
    let mut byte = 0;
    while byte < scales.len() {
        scales[byte] = half_scale(byte as u8);
        byte += 1;
    }
    scales
};

impl Format for NVFP4 {
    meets_integers!();

    const ID: u32 = 40;
    const BLOCK: usize = 64;
    const BYTES: usize = 36;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    /// Tries the scales around the one that takes the largest magnitude to the largest level.
    #[inline(always)]
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        out.fill(0);
        let (scales, nibbles) = out.split_at_mut(NIBBLES);
        let mut codes = [0; 64];
        for (group, x) in x.chunks_exact(Self::GROUP).enumerate() {
            let wanted = farthest(x).abs() / 12.0;
            let near = (0..0x7e).find(|&byte| half_scale(byte) >= wanted).unwrap_or(0x7e);
            let mut least = f32::INFINITY;
            for byte in near.saturating_sub(5)..=(near + 5).min(0x7e) {
                let scale = half_scale(byte);
                let inverse = inverse(scale);
                let tried: [u8; 16] = core::array::from_fn(|i| Table(&LEVELS).code(x[i] * inverse));
                let error = x.iter().zip(tried).enumerate().fold(0.0, |sum, (i, (&x, code))| {
                    let off = x - scale * f32::from(LEVELS[usize::from(code)]);
                    sum + importance.map_or(1.0, |weights| weights[group * Self::GROUP + i]) * off * off
                });
                if error < least {
                    least = error;
                    scales[group] = byte;
                    codes[group * Self::GROUP..][..Self::GROUP].copy_from_slice(&tried);
                }
            }
        }
        planes::pack::<4, 8>(&codes, 0, nibbles);
    }
}

impl Quantized for NVFP4 {
    const GROUP: usize = 16;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        planes::unpack::<4, 8>(&block[NIBBLES..], q);
        q.iter_mut().for_each(|q| *q = LEVELS[*q as usize & 15]);
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        for (scale, &byte) in scale.iter_mut().zip(&block[..NIBBLES]) {
            *scale = half_scale(byte);
        }
        min.fill(0.0);
    }
}

impl Lanes for NVFP4 {
    type Block = [u8; Self::BYTES];
    const SIGN: Sign = Sign::Signed;
    const BITS: u32 = 8;
    const OFFSET: Option<i32> = Some(0);

    #[inline(always)]
    fn blocks(row: &[u8]) -> &[Self::Block] {
        row.as_chunks().0
    }

    #[inline(always)]
    fn factors<I: Isa>(isa: I, blocks: &[Self::Block], at: usize) -> (I::F32x8, I::F32x8) {
        let mut scales = [0.0; 8];
        for (scales, block) in scales.as_chunks_mut::<4>().0.iter_mut().zip(blocks.iter().skip(2 * at)) {
            for (scale, byte) in scales.iter_mut().zip(&block[..NIBBLES]) {
                *scale = HALF_SCALES[usize::from(*byte)];
            }
        }
        (isa.load(&scales), isa.zero())
    }

    #[inline(always)]
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32 {
        // A row may end within the four vectors that share scales; there, any bytes will do.
        let block = &blocks[(i / 2).min(blocks.len() - 1)];
        // Of two runs of 8 bytes the low nibbles, then the high ones.
        let low = 0x0f0f_0f0f_0f0f_0f0f;
        let [a, b] = [0, 8].map(|at| u64::from_le_bytes(*part(block, NIBBLES + 16 * (i % 2) + at)));
        isa.lookup(&LEVELS, isa.join([a & low, a >> 4 & low, b & low, b >> 4 & low]))
    }
}
