//! I2_S: BitNet's ternary weights, four to a byte, with one scale for the whole tensor.
//!
//! ```text
//! 32 bytes of 2-bit integers, for each 128 weights of the tensor | tail: scale: f32, 28 bytes of zeros
//! ```
//! Weights are `scale * (q - 1)`. The integers lie in planes 32 wide, but from the high bits down. The type belongs to
//! Microsoft's fork of the reference; the mainline knows nothing of it.

use super::ternary::codes;
use super::{Format, Quantized, decode_groups, meets_ternary};
use crate::ops::integers::{Lanes, Sign};
use crate::ops::ternary::Ternary;
use crate::simd::Isa;

/// Ternary, 2 bits per weight.
#[derive(Debug, Clone, Copy)]
pub struct I2_S;

impl Format for I2_S {
    meets_ternary!();

    const ID: u32 = 36;
    const BLOCK: usize = 128;
    const BYTES: usize = 32;
    const TAIL: usize = 32;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    #[inline(always)]
    fn encode(x: &[f32], _: Option<&[f32]>, out: &mut [u8]) {
        let mut q = [0; 128];
        codes(x, 1.0, &mut q);
        for (i, byte) in out.iter_mut().enumerate() {
            *byte = q[i] << 6 | q[32 + i] << 4 | q[64 + i] << 2 | q[96 + i];
        }
    }

    fn read_tail(tail: &[u8]) -> f32 {
        f32::from_le_bytes([tail[0], tail[1], tail[2], tail[3]])
    }

    /// Begins with the mean magnitude, which is how BitNet trains, and then alternates: which weights are nearer to
    /// the scale than to zero, and what is their mean? Weights that are ternary already come back exactly.
    fn write_tail(x: &[f32], tail: &mut [u8]) -> f32 {
        let mean_above = |threshold: f32| {
            let above = x.iter().map(|x| f64::from(x.abs())).filter(|&x| x > f64::from(threshold));
            let (sum, n) = above.fold((0.0, 0u32), |(sum, n), x| (sum + x, n + 1));
            if n == 0 { 0.0 } else { (sum / f64::from(n)) as f32 }
        };
        let mut scale = mean_above(-1.0);
        for _ in 0..12 {
            let better = mean_above(scale / 2.0);
            if better == scale {
                break;
            }
            scale = better;
        }
        tail.fill(0);
        tail[..4].copy_from_slice(&scale.to_le_bytes());
        scale
    }
}

impl Quantized for I2_S {
    const GROUP: usize = 128;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        for (plane, q) in q.chunks_exact_mut(32).enumerate() {
            for (q, byte) in q.iter_mut().zip(block) {
                *q = (byte >> (6 - 2 * plane) & 3) as i8 - 1;
            }
        }
    }

    /// 1: the scale is the tensor's.
    #[inline]
    fn scales(_: &[u8], scale: &mut [f32], min: &mut [f32]) {
        scale[0] = 1.0;
        min[0] = 0.0;
    }
}

impl Ternary for I2_S {}

impl Lanes for I2_S {
    type Block = [u8; Self::BYTES];
    const SIGN: Sign = Sign::Unsigned;
    const BITS: u32 = 2;
    const OFFSET: Option<i32> = Some(1);

    #[inline(always)]
    fn blocks(row: &[u8]) -> &[Self::Block] {
        row.as_chunks().0
    }

    #[inline(always)]
    fn factors<I: Isa>(isa: I, _: &[Self::Block], _: usize) -> (I::F32x8, I::F32x8) {
        (isa.splat(1.0), isa.splat(1.0))
    }

    #[inline(always)]
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32 {
        isa.field(isa.load_bytes(&blocks[i / 4]), 6 - 2 * (i % 4) as u32, 3)
    }
}
