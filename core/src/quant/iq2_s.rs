//! IQ2_S: weights in eights, each eight one of 1024 points of a grid, with signs.
//!
//! ```text
//! scale: f16 | 32 bytes of points | 32 bytes of signs | 8 bytes: upper 2 bits of the points | 8 bytes of scales
//! ```
//! 256 weights, `scale * (s + 0.5) / 4 * level`, a 4-bit scale per 16. Upper bits and scales lie low bits first. Here
//! every sign has its own bit. See [`super::grid`].

use super::float16::{read_f16, write_f16};
use super::grid::{self, Finder, Grid, LEVELS_2, Signs};
use super::search::weights;
use super::{Format, Quantized, decode_groups, meets_integers, planes};
use crate::ops::integers::{Lanes, Sign, half, part};
use crate::simd::Isa;

/// The 1024 points.
pub static GRID: Grid<1024, 8> = Grid::new(
    concat!(
        r"#$$$$$$$$$$$$&$$$$$$$&$$$$$$$&$(&&$$$$$$$$&$($$$&$$$$&$&$($$($($$$&$(*$$$$$&0&&&**$$$$$$$&$$$$$$$$$$",
        r"$$$$$($$$$&$&$($$$$$$$$$&$&$$$$$$$&$($$$&$(,$$$$&0&$&$(,$(4$$$&$$$$&&$$$$$$$$&$(&*0$$($$$&*&$&$(,*4,",
        r"$*&$,D.$$$$$$$&$$&$$$&$$$$$$$&$$&&$&$($$$$$$$$$$$$&$$$$$$$&$($$$&$2$&$&($(&($2$(4$$$&$$$$&$&$$$$$$$&",
        r"$($$$&$(,$$$$$$$&$($$$&$(,$(4&$&$(,$(4<$$$$$&$&*$$$&$(,$:$$$&$(,$(28,(40J$$$&$$$$&&$$($$*(*&0$$($$(*",
        r"$$($(,$(4*.&$&(:$2&$$$$&$&$($$$&$(,$(4&$&$(,$(0&>$(42H&($2$(<4$$(\8.>.$6$$$$$$$$$$$&$$$$$$$$$$$($(&$",
        r"&$($$$&$$$$$$($$$$$$$&$($$$&$(,$($$$((&$&$(,$:$$$$$$$$$$$$&$$$$$$$&$($$$&$(,$$$$$$$&$($$$&$(*$$(4$$$",
        r"&$(,$(48($&$$$$&$($$$&$(.(4$$$&$(,$(400$(4X$$$&$$$$$$$&$$$$$$$&$($$$&$2$$$$$$$&$($$$&$(,$(4&$&$(,$(2",
        r"$>$$$$$$$&$($$$&$(,$(4$$$&$(,$(4>$(0&X$$$&$(,$(*,>$(4X2L6&$$&$$$&$(&$&$(.(4$$$&$(,$(420(40B*&$&$(,$(",
        r"4>$(4*202d2$(J6.<vN*$$$&$&$&($($$$&*&($2$&$$$$&$($$$&$2$(2$&&$$2$(P$$$$$$$&*$$$&$(,$(4$$$&$(,$(4*6$(",
        r"2$X&($2$(H*$:8V8$.4*$&$$$$(($$$&$(,$(4&($2$(*H$(4T&$$$&$(,$(400$(4L&*B2D$(0&V$D&~14&&&*($$(H(>8D(.&$",
        r"@&$2&$(4D0(2~-V2TP6>$,$&F6",
    ),
    LEVELS_2,
);
/// Where the points' lower bytes begin.
pub const POINTS: usize = 2;
/// Where the signs begin.
pub const SIGNS: usize = 34;
/// Where the points' upper bits begin.
pub const UPPER: usize = 66;
/// Where the scales begin.
pub const SCALES: usize = 74;

/// Grid points with signs, 2.56 bits per weight.
#[derive(Debug, Clone, Copy)]
pub struct IQ2_S;

impl Format for IQ2_S {
    meets_integers!();

    const ID: u32 = 22;
    const BLOCK: usize = 256;
    const BYTES: usize = 82;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    #[inline(always)]
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let multipliers: [f32; 16] = core::array::from_fn(|s| grid::quarters(s as u8));
        let finder = Finder::new(&GRID);
        let snap =
            |x: &[f32], weights: &[f32], scale, q: &mut [i8]| finder.snap(Signs::Free, x, weights, scale, q);
        let found = grid::search(x, weights(importance), Self::GROUP, GRID.reach(), &multipliers, snap);
        out.fill(0);
        write_f16(out, 0, found.scale);
        let mut upper = [0; 32];
        for (i, q) in found.q.chunks_exact(8).enumerate() {
            let point = GRID.index(q);
            out[POINTS + i] = point as u8;
            out[SIGNS + i] = grid::signs_of(q);
            upper[i] = (point >> 8) as u8;
        }
        planes::pack::<2, 1>(&upper, 0, &mut out[UPPER..SCALES]);
        planes::pack::<4, 1>(&found.scales[..16], 0, &mut out[SCALES..]);
    }
}

impl Quantized for IQ2_S {
    const GROUP: usize = 16;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        let mut upper = [0; 32];
        planes::unpack::<2, 1>(&block[UPPER..SCALES], &mut upper);
        for (i, q) in q.chunks_exact_mut(8).enumerate() {
            GRID.point(u16::from(block[POINTS + i]) | (upper[i] as u16) << 8, q);
            grid::apply_signs(block[SIGNS + i], q);
        }
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        grid::nibble_scales(read_f16(block, 0), &block[SCALES..], grid::quarters, scale);
        min.fill(0.0);
    }
}

impl Lanes for IQ2_S {
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
        let block = &blocks[0];
        let scales = grid::eight_nibbles(*part(block, SCALES + 4 * at));
        (grid::between(isa, scales, isa.mul(half(isa, block, 0), isa.splat(0.25))), isa.zero())
    }

    #[inline(always)]
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32 {
        let block = &blocks[0];
        let (points, upper): (&[u8; 4], usize) = (part(block, POINTS + 4 * i), block[UPPER + i].into());
        let index = [0, 1, 2, 3].map(|j| usize::from(points[j]) | (upper << (8 - 2 * j) & 0x300));
        isa.negate(GRID.points(isa, index), u32::from_le_bytes(*part(block, SIGNS + 4 * i)))
    }
}
