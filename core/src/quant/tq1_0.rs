//! TQ1_0: ternary weights, five to a byte.
//!
//! ```text
//! 32 bytes: 5 x 32 weights | 16 bytes: 5 x 16 weights | 4 bytes: 4 x 4 weights | scale: f16
//! ```
//! 256 weights, `scale * (digit - 1)`. A byte stands for a fraction of one, `byte / 256`, written in base three: its
//! digits come out at the top when it is multiplied by three again and again. Like bits, digits lie in planes: the
//! first digits of all bytes of a run are neighbours, then the second digits, and so on.

use super::float16::{read_f16, write_f16};
use super::ternary::{block_scale, codes};
use super::{Format, Quantized, decode_groups, meets_ternary};
use crate::ops::integers::{Lanes, Sign, half, part};
use crate::ops::ternary::Ternary;
use crate::simd::Isa;

/// The runs of bytes: where each begins, its length, and how many digits its bytes hold.
pub const RUNS: [(usize, usize, usize); 3] = [(0, 32, 5), (32, 16, 5), (48, 4, 4)];
/// Where the scale lies.
pub const OUTER: usize = 52;

/// Ternary, 1.69 bits per weight.
#[derive(Debug, Clone, Copy)]
pub struct TQ1_0;

impl Format for TQ1_0 {
    meets_ternary!();

    const ID: u32 = 34;
    const BLOCK: usize = 256;
    const BYTES: usize = 54;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    #[inline(always)]
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let scale = block_scale(x, importance);
        let mut digits = [0; 256];
        codes(x, scale, &mut digits);
        let mut rest = &digits[..];
        for (start, len, count) in RUNS {
            let (planes, behind) = rest.split_at(len * count);
            rest = behind;
            for (i, byte) in out[start..start + len].iter_mut().enumerate() {
                // Four digits leave the fifth at zero. The fraction is rounded up, so that no digit comes out short.
                let digit = |plane: usize| if plane < count { u16::from(planes[plane * len + i]) } else { 0 };
                let number = (0..5).fold(0, |number, plane| number * 3 + digit(plane));
                *byte = (number * 256).div_ceil(243) as u8;
            }
        }
        write_f16(out, OUTER, scale);
    }
}

impl Quantized for TQ1_0 {
    const GROUP: usize = 256;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        let mut rest = q;
        for (start, len, count) in RUNS {
            let (planes, behind) = rest.split_at_mut(len * count);
            rest = behind;
            let mut power = 1u8;
            for plane in planes.chunks_exact_mut(len) {
                for (q, &byte) in plane.iter_mut().zip(&block[start..start + len]) {
                    let digit = (u16::from(byte.wrapping_mul(power)) * 3) >> 8;
                    *q = digit as i8 - 1;
                }
                power = power.wrapping_mul(3);
            }
        }
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        scale[0] = read_f16(block, OUTER);
        min[0] = 0.0;
    }
}

impl Ternary for TQ1_0 {}

impl Lanes for TQ1_0 {
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
        let block = &blocks[0];
        let [(first, ..), (second, ..), (third, ..)] = RUNS;
        if i < 5 {
            return isa.digits(isa.load_bytes(part(block, first)), &POWERS[i]);
        }
        // Two planes of the second run each, in the end its last and all four of the third.
        let mut bytes = [0; 32];
        let (low, high) = bytes.split_at_mut(16);
        low.copy_from_slice(part::<u8, 16>(block, second));
        if i < 7 {
            high.copy_from_slice(part::<u8, 16>(block, second));
        } else {
            for four in high.as_chunks_mut().0 {
                *four = *part::<u8, 4>(block, third);
            }
        }
        isa.digits(isa.load_bytes(&bytes), &POWERS[i])
    }
}

/// What the pairs of bytes of each 32 weights are multiplied by: powers of three, by the planes that they are from.
const POWERS: [[u16; 16]; 8] = {
    let mut powers = [[1; 16]; 8];
    let mut i = 0;
    while i < 8 {
        let mut pair = 0;
        while pair < 16 {
            let plane = match i {
                0..5 => i,
                5 | 6 => 2 * (i - 5) + pair / 8,
                _ if pair < 8 => 4,
                _ => (pair - 8) / 2,
            };
            powers[i][pair] = 3u16.pow(plane as u32);
            pair += 1;
        }
        i += 1;
    }
    powers
};
