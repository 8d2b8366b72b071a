//! IQ2_XS: weights in eights, each eight one of 512 points of a grid, with signs.
//!
//! ```text
//! scale: f16 | 32 u16: 9 bits of point, 7 sign bits | 8 bytes of scales, 4 bits each
//! ```
//! 256 weights, `scale * (s + 0.5) / 4 * level`, a scale per 16, low bits first. See [`super::grid`].

use super::float16::{read_f16, write_f16};
use super::grid::{self, Finder, Grid, LEVELS_2, Signs};
use super::search::weights;
use super::{Format, Quantized, decode_groups, meets_integers, planes};
use crate::ops::integers::{Lanes, Sign, half, part};
use crate::simd::Isa;

/// The 512 points.
pub static GRID: Grid<512, 8> = Grid::new(
    concat!(
        r"#$$$$$$$$$$$$&$$$$$$$&$($$$&$&$,$$$$$$$$$$($$$&$((&$(4$$$&$(,$(&0*6$$$$$$$&$($$$&$$&,$(4$$$&$(,$(,*>",
        r"$(0&$>:$$$$$$(&($((.4*$$(4>(64(N&,$$$$$$$&$($$$&$(*$$(4$$$&$(,$(4.$0$$&44F$$$&$(,$&$.(>$(4X.8R$($2.6",
        r"8&PfL$$$$$$$(,$(44,$(4(2B6D:&$(2$X>,B.2^&($,860\.:.H&$6$$$$$$$&$($$$$$$(&($(4$$$&$(,$(4&2*$($0$X$$$&",
        r"$&$,$(4.2$(.(N,*8(P$(4&**D,6(2Bp$$$&$((&$(4>$(&0$V@T$$(,*4,4*(R(JB8*.2*D>,$~5:$(4.*.6$~-0@20n4&NzVTb",
        r"D*D$$$&$(*$$(4$8$$$$&4,(H4F$2(&$($$0426@P6H>(28,$8*~'D(*,&$(402:6>l66&<((bH$N|JH^BF$&$,*PP(D&$&6>4FJ",
        r"~W66,$&R((X$P$H2",
    ),
    LEVELS_2,
);
/// Where the scales begin.
pub const SCALES: usize = 66;

/// Grid points with signs, 2.31 bits per weight.
#[derive(Debug, Clone, Copy)]
pub struct IQ2_XS;

impl Format for IQ2_XS {
    meets_integers!();

    const ID: u32 = 17;
    const BLOCK: usize = 256;
    const BYTES: usize = 74;

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
        out.fill(0);
        write_f16(out, 0, found.scale);
        for (out, q) in out[2..SCALES].chunks_exact_mut(2).zip(found.q.chunks_exact(8)) {
            let word = GRID.index(q) | u16::from(grid::signs_of(q)) << 9;
            out.copy_from_slice(&word.to_le_bytes());
        }
        planes::pack::<4, 1>(&found.scales[..16], 0, &mut out[SCALES..]);
    }
}

impl Quantized for IQ2_XS {
    const GROUP: usize = 16;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        for (q, word) in q.chunks_exact_mut(8).zip(block[2..SCALES].chunks_exact(2)) {
            let word = u16::from_le_bytes([word[0], word[1]]);
            GRID.point(word & 511, q);
            grid::apply_signs(grid::even_signs((word >> 9) as u8), q);
        }
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        grid::nibble_scales(read_f16(block, 0), &block[SCALES..], grid::quarters, scale);
        min.fill(0.0);
    }
}

impl Lanes for IQ2_XS {
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
        let words = u64::from_le_bytes(*part(&blocks[0], 2 + 8 * i));
        let levels = GRID.points(isa, [0, 16, 32, 48].map(|bit| (words >> bit) as usize & 511));
        // The upper 7 bits of every word, next to each other.
        let sevens = words >> 9 & 0x007f_007f_007f_007f;
        let sevens = (sevens | sevens >> 9) & 0x0000_3fff_0000_3fff;
        isa.negate(levels, grid::even_signs_of_four((sevens | sevens >> 18) as u32))
    }
}
