//! IQ3_XXS: weights in fours, each four one of 256 points of a grid, with signs for eight.
//!
//! ```text
//! scale: f16 | 64 bytes of points | 8 u32: 7 sign bits for each of 4 eights, and 4 bits of scale on top
//! ```
//! 256 weights, `scale * (s + 0.5) / 2 * level`, a scale per 32. See [`super::grid`].

use super::float16::{read_f16, write_f16};
use super::grid::{self, Finder, Grid, LEVELS_3_XXS, Signs};
use super::search::weights;
use super::{Format, Quantized, decode_groups, meets_integers};
use crate::ops::integers::{Lanes, Sign, half, part};
use crate::simd::Isa;

/// The 256 points.
pub static GRID: Grid<256, 4> = Grid::new(
    concat!(
        r"#$$'$&#$)+;$&$'$)&%$)-.*$$')$)$&,(0&(#$-E56'-.$&(52U96&$702$'$)$'$$-#:$))$Q$'$))D($0+/2-&EJ&45.o0B$)",
        r"$'$&%+A$$%$))=&#*$)(#$/#/6)&N&C0:6,=g$-9>)$)$7/'($0+-$=$'/7214_15((.=A47J76-0$.&o61#2(3@AG-C07o%$0T9",
        r"9*(29A0B*K?-&E*9qN0T2$0?B@GF(hCGSJ0T$$#42N,L='8/07C2A$4f",
    ),
    LEVELS_3_XXS,
);
/// Where the points begin.
pub const POINTS: usize = 2;
/// Where the words of signs and scales begin.
pub const WORDS: usize = 66;

/// Grid points with signs, 3.06 bits per weight.
#[derive(Debug, Clone, Copy)]
pub struct IQ3_XXS;

/// The word of signs and scale of a group.
#[inline]
fn word(block: &[u8], group: usize) -> u32 {
    let word = &block[WORDS + 4 * group..];
    u32::from_le_bytes([word[0], word[1], word[2], word[3]])
}

/// What a scale's 4 bits multiply the outer scale with.
#[inline]
fn halves(scale: u8) -> f32 {
    (f32::from(scale) + 0.5) * 0.5
}

impl Format for IQ3_XXS {
    meets_integers!();

    const ID: u32 = 18;
    const BLOCK: usize = 256;
    const BYTES: usize = 98;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    #[inline(always)]
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let multipliers: [f32; 16] = core::array::from_fn(|s| halves(s as u8));
        let finder = Finder::new(&GRID);
        let snap =
            |x: &[f32], weights: &[f32], scale, q: &mut [i8]| finder.snap(Signs::Even, x, weights, scale, q);
        let found = grid::search(x, weights(importance), Self::GROUP, GRID.reach(), &multipliers, snap);
        write_f16(out, 0, found.scale);
        for (point, q) in out[POINTS..WORDS].iter_mut().zip(found.q.chunks_exact(4)) {
            *point = GRID.index(q) as u8;
        }
        for (group, out) in out[WORDS..].chunks_exact_mut(4).enumerate() {
            let eights = found.q[32 * group..][..32].chunks_exact(8).enumerate();
            let word = eights.fold(u32::from(found.scales[group]) << 28, |word, (i, q)| {
                word | u32::from(grid::signs_of(q) & 127) << (7 * i)
            });
            out.copy_from_slice(&word.to_le_bytes());
        }
    }
}

impl Quantized for IQ3_XXS {
    const GROUP: usize = 32;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        for (q, &point) in q.chunks_exact_mut(4).zip(&block[POINTS..WORDS]) {
            GRID.point(point.into(), q);
        }
        for (group, q) in q.chunks_exact_mut(32).enumerate() {
            for (i, q) in q.chunks_exact_mut(8).enumerate() {
                grid::apply_signs(grid::even_signs((word(block, group) >> (7 * i)) as u8 & 127), q);
            }
        }
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        let outer = read_f16(block, 0);
        for (group, scale) in scale.iter_mut().enumerate() {
            *scale = outer * halves((word(block, group) >> 28) as u8);
        }
        min.fill(0.0);
    }
}

impl Lanes for IQ3_XXS {
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
        let block = &blocks[0];
        let mut scales = [0; 8];
        for (group, scale) in scales.iter_mut().enumerate() {
            *scale = (word(block, group) >> 28) as u8;
        }
        (grid::between(isa, scales, isa.mul(half(isa, block, 0), isa.splat(0.5))), isa.zero())
    }

    #[inline(always)]
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32 {
        let points: &[u8; 8] = part(&blocks[0], POINTS + 8 * i);
        let levels = GRID.points(isa, points.map(usize::from));
        isa.negate(levels, grid::even_signs_of_four(word(&blocks[0], i)))
    }
}
