//! Q4_1: 4 bits per weight above a minimum.
//!
//! ```text
//! scale: f16 | lowest: f16 | 16 bytes of nibbles        32 weights, scale * nibble + lowest
//! ```
//! Nibbles lie as in [`super::q4_0`].

use super::float16::{read_f16, write_f16};
use super::search::{extremes, inverse};
use super::{Format, Quantized, decode_groups};

/// Where the nibbles begin.
pub const NIBBLES: usize = 4;

/// 4 bits, one scale and one minimum per 32.
#[derive(Debug, Clone, Copy)]
pub struct Q4_1;

impl Format for Q4_1 {
    const ID: u32 = 3;
    const BLOCK: usize = 32;
    const BYTES: usize = 20;

    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let _ = importance;
        let (lowest, highest) = extremes(x);
        let scale = (highest - lowest) / 15.0;
        write_f16(out, 0, scale);
        write_f16(out, 2, lowest);
        let inverse = inverse(scale);
        let nibble = |x: f32| (((x - lowest) * inverse + 0.5) as u8).min(15);
        let (low, high) = x.split_at(16);
        for ((out, &low), &high) in out[NIBBLES..].iter_mut().zip(low).zip(high) {
            *out = nibble(low) | nibble(high) << 4;
        }
    }
}

impl Quantized for Q4_1 {
    const GROUP: usize = 32;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        let (low, high) = q.split_at_mut(16);
        for ((&byte, low), high) in block[NIBBLES..].iter().zip(low).zip(high) {
            *low = (byte & 15) as i8;
            *high = (byte >> 4) as i8;
        }
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        scale[0] = read_f16(block, 0);
        min[0] = -read_f16(block, 2);
    }
}
