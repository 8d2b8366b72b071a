//! IQ1_M: as [`super::iq1_s`], with scales per 16 weights and shifts per eight.
//!
//! ```text
//! 32 bytes of points | 16 bytes: for each point 3 upper bits and the shift's sign | 4 u16: 4 scales of 3 bits, and
//! above them 4 bits of the outer scale (f16), the lowest in the first
//! ```

use super::float16::{f16_to_f32, f32_to_f16};
use super::grid::{self, Finder};
use super::iq1_s::{GRID, REACH, odd_eighths};
use super::search::weights;
use super::{Format, Quantized, decode_groups, meets_integers, planes};
use crate::ops::integers::{Lanes, Sign, part};
use crate::simd::Isa;

/// Where the points' upper bits and the shifts begin; before them come the points' lower bytes.
pub const UPPER: usize = 32;
/// Where the words of scales begin.
pub const WORDS: usize = 48;

/// Shifted ternary grid points, 1.75 bits per weight.
#[derive(Debug, Clone, Copy)]
pub struct IQ1_M;

/// The four words of scales.
#[inline]
fn words(block: &[u8]) -> [u16; 4] {
    core::array::from_fn(|i| u16::from_le_bytes([block[WORDS + 2 * i], block[WORDS + 2 * i + 1]]))
}

/// The outer scale's bits, of which every word has four.
#[inline]
fn outer([a, b, c, d]: [u16; 4]) -> u16 {
    a >> 12 | b >> 12 << 4 | c >> 12 << 8 | d >> 12 << 12
}

impl Format for IQ1_M {
    meets_integers!();

    const ID: u32 = 29;
    const BLOCK: usize = 256;
    const BYTES: usize = 56;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    #[inline(always)]
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let multipliers: [f32; 8] = core::array::from_fn(|s| odd_eighths(s as u8));
        let finder = Finder::new(&GRID);
        let snap =
            |x: &[f32], weights: &[f32], scale, q: &mut [i8]| finder.snap_shifted(8, x, weights, scale, q);
        let found = grid::search(x, weights(importance), Self::GROUP, REACH, &multipliers, snap);
        out.fill(0);
        let mut upper = [0; 32];
        for (i, q) in found.q.chunks_exact(8).enumerate() {
            let (point, down) = GRID.index_shifted(q);
            out[i] = point as u8;
            upper[i] = (point >> 8) as u8 | u8::from(down) << 3;
        }
        planes::pack::<4, 1>(&upper, 0, &mut out[UPPER..WORDS]);
        let outer = f32_to_f16(found.scale);
        for (i, word) in out[WORDS..].chunks_exact_mut(2).enumerate() {
            let scales = found.scales[4 * i..][..4].iter().enumerate();
            let bits = scales.fold((outer >> (4 * i)) << 12, |bits, (j, &s)| bits | u16::from(s) << (3 * j));
            word.copy_from_slice(&bits.to_le_bytes());
        }
    }
}

impl Quantized for IQ1_M {
    const GROUP: usize = 16;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        let mut upper = [0; 32];
        planes::unpack::<4, 1>(&block[UPPER..WORDS], &mut upper);
        for (i, q) in q.chunks_exact_mut(8).enumerate() {
            let shift = if upper[i] & 8 == 0 { 1 } else { -1 };
            GRID.point(u16::from(block[i]) | (upper[i] as u16 & 7) << 8, q);
            q.iter_mut().for_each(|q| *q += shift - grid::ZERO_1);
        }
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        let words = words(block);
        let outer = f16_to_f32(outer(words));
        for (group, scale) in scale.iter_mut().enumerate() {
            *scale = outer * odd_eighths((words[group / 4] >> (3 * (group % 4)) & 7) as u8);
        }
        min.fill(0.0);
    }
}

impl Lanes for IQ1_M {
    type Block = [u8; Self::BYTES];
    const SIGN: Sign = Sign::Unsigned;
    const BITS: u32 = 5;
    /// As [`super::iq1_s`].
    const OFFSET: Option<i32> = Some(9);

    #[inline(always)]
    fn blocks(row: &[u8]) -> &[Self::Block] {
        row.as_chunks().0
    }

    #[inline(always)]
    fn factors<I: Isa>(isa: I, blocks: &[Self::Block], at: usize) -> (I::F32x8, I::F32x8) {
        let words = words(&blocks[0]);
        let mut scales = [0; 8];
        for (group, scale) in scales.iter_mut().enumerate() {
            *scale = (words[2 * at + group / 4] >> (3 * (group % 4)) & 7) as u8;
        }
        let outer = isa.splat_f16(outer(words));
        let scale = grid::between(isa, scales, isa.mul(outer, isa.splat(0.25)));
        (scale, isa.mul(scale, isa.splat(9.0)))
    }

    #[inline(always)]
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32 {
        let block = &blocks[0];
        let points: &[u8; 4] = part(block, 4 * i);
        let upper = usize::from(u16::from_le_bytes(*part(block, UPPER + 2 * i)));
        let index = [0, 1, 2, 3].map(|j| usize::from(points[j]) | (upper >> (4 * j) & 7) << 8);
        // Every eight has a shift of its own, up where the bit is not set.
        let up = |j: usize| if upper >> (4 * j + 3) & 1 == 0 { 0x0202_0202_0202_0202 } else { 0 };
        isa.or(GRID.points(isa, index), isa.join([up(0), up(1), up(2), up(3)]))
    }
}
