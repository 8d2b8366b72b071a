//! IQ1_M: as [`super::iq1_s`], with scales per 16 weights and shifts per eight.
//!
//! ```text
//! 32 bytes of points | 16 bytes: for each point 3 upper bits and the shift's sign | 4 u16: 4 scales of 3 bits, and
//! above them 4 bits of the outer scale (f16), the lowest in the first
//! ```

use super::float16::{f16_to_f32, f32_to_f16};
use super::grid;
use super::iq1_s::{GRID, odd_eighths};
use super::search::weights;
use super::{Format, Quantized, decode_groups, planes};

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

impl Format for IQ1_M {
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
        let snap =
            |x: &[f32], weights: &[f32], scale, q: &mut [i8]| GRID.snap_shifted(8, x, weights, scale, q);
        let found = grid::search(x, weights(importance), Self::GROUP, GRID.reach(), &multipliers, snap);
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
            q.iter_mut().for_each(|q| *q += shift);
        }
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        let words = words(block);
        let outer =
            f16_to_f32(words.iter().enumerate().fold(0, |outer, (i, word)| outer | (word >> 12) << (4 * i)));
        for (group, scale) in scale.iter_mut().enumerate() {
            *scale = outer * odd_eighths((words[group / 4] >> (3 * (group % 4)) & 7) as u8);
        }
        min.fill(0.0);
    }
}
