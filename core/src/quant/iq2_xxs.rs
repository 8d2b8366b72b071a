//! IQ2_XXS: weights in eights, each eight one of 256 points of a grid, with signs.
//!
//! ```text
//! scale: f16 | 8 times: 4 bytes of points, then a u32: 7 sign bits for each point, and 4 bits of scale on top
//! ```
//! 256 weights, `scale * (s + 0.5) / 4 * level`, a scale per 32. See [`super::grid`] for points and signs.

use super::float16::{read_f16, write_f16};
use super::grid::{self, Finder, Grid, LEVELS_2, Signs};
use super::search::weights;
use super::{Format, Quantized, decode_groups, meets_integers};
use crate::ops::integers::{Lanes, Sign, half};
use crate::simd::Isa;

/// The 256 points.
pub static GRID: Grid<256, 8> = Grid::new(
    concat!(
        r"#$$$$$$($&$$$((&$($(.*$(&0@..$4F<$(,$($&.,$(.($&.06$,:$4@4(&$(.&$($8::Z,h$(,*4.(&0(.4*,R,T(.&.6LBD0f",
        r"$(4><&fPN$(82*$T*R$r$(40J>6~':.R~EV$((&$((*&,$(44>*&:*:*,@(.F28,^t$(4&TL&,ZB4(&($F(:<Phr$:lHL,(B^^p(",
        r"4:@JZ@F&x$P~M~~B$(6>>..bj$(&04FBD864Htzl(.(P8J\T6,z~{N~YD8@l~'~~tR",
    ),
    LEVELS_2,
);

/// Grid points with signs, 2.06 bits per weight.
#[derive(Debug, Clone, Copy)]
pub struct IQ2_XXS;

/// The 4 points' indices, and the word of signs and scale, of a group.
#[inline]
fn parts(block: &[u8], group: usize) -> (&[u8], u32) {
    let (points, word) = block[2 + 8 * group..][..8].split_at(4);
    (points, u32::from_le_bytes([word[0], word[1], word[2], word[3]]))
}

impl Format for IQ2_XXS {
    meets_integers!();

    const ID: u32 = 16;
    const BLOCK: usize = 256;
    const BYTES: usize = 66;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    #[inline(always)]
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let multipliers: [f32; 16] = core::array::from_fn(|s| grid::quarters(s as u8));
        let finder = Finder::new(&GRID);
        let snap =
            |x: &[f32], weights: &[f32], scale, q: &mut [i8]| finder.snap(Signs::Even, x, weights, scale, q);
        let found = grid::search(x, weights(importance), Self::GROUP, GRID.reach(), &multipliers, snap);
        write_f16(out, 0, found.scale);
        for (group, out) in out[2..].chunks_exact_mut(8).enumerate() {
            let mut word = u32::from(found.scales[group]) << 28;
            for (i, q) in found.q[32 * group..][..32].chunks_exact(8).enumerate() {
                out[i] = GRID.index(q) as u8;
                word |= u32::from(grid::signs_of(q) & 127) << (7 * i);
            }
            out[4..].copy_from_slice(&word.to_le_bytes());
        }
    }
}

impl Quantized for IQ2_XXS {
    const GROUP: usize = 32;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        for (group, q) in q.chunks_exact_mut(32).enumerate() {
            let (points, word) = parts(block, group);
            for (i, (q, &point)) in q.chunks_exact_mut(8).zip(points).enumerate() {
                GRID.point(point.into(), q);
                grid::apply_signs(grid::even_signs((word >> (7 * i)) as u8 & 127), q);
            }
        }
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        let outer = read_f16(block, 0);
        for (group, scale) in scale.iter_mut().enumerate() {
            *scale = outer * grid::quarters((parts(block, group).1 >> 28) as u8);
        }
        min.fill(0.0);
    }
}

impl Lanes for IQ2_XXS {
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
            *scale = (parts(block, group).1 >> 28) as u8;
        }
        (grid::between(isa, scales, isa.mul(half(isa, block, 0), isa.splat(0.25))), isa.zero())
    }

    #[inline(always)]
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32 {
        let (points, signs) = parts(&blocks[0], i);
        let levels = GRID.points(isa, [0, 1, 2, 3].map(|i| points[i].into()));
        isa.negate(levels, grid::even_signs_of_four(signs))
    }
}
