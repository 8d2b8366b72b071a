//! IQ3_S: weights in fours, each four one of 512 points of a grid, with signs.
//!
//! ```text
//! scale: f16 | 64 bytes of points | 8 bytes: their ninth bits | 32 bytes of signs | 4 bytes of scales, 4 bits each
//! ```
//! 256 weights, `scale * (2 * s + 1) * level`, a scale per 32. Ninth bits and scales lie low bits first. See
//! [`super::grid`].

use super::float16::{read_f16, write_f16};
use super::grid::{self, Finder, Grid, LEVELS_3_S, Signs};
use super::search::weights;
use super::{Format, Quantized, decode_groups, meets_integers, planes};
use crate::ops::integers::{Lanes, Sign, half, part};
use crate::simd::Isa;

/// The 512 points.
pub static GRID: Grid<512, 4> = Grid::new(
    concat!(
        r"###%$###$$$#&('$%$$$'$)%%###$&#&%%&$&)/&'(#&$#%%%&%&(%$$$/%*(&%$)$%(&$/$&%-&$%((%(1,$.$&'(&$1'-%$031",
        r")$$.$&'/&6##$&#$$$#$)%$0$%+(#$%$&')%()$0($,%$#&((%,%,)%%#%((#&'3(-$'$/$)&$&7)%()$1I&%/$=$'$).&3(*#$$",
        r"$#$$$%$&#$)$$%$/#%$%$(%&%%&%():%%,$')$,&,%&$%&+$'$)(0-(+%)%&;%)'+/#-/*$',>&6&/$-'<)$$$%)$$'$%$,(*$$)",
        r"'$/2,&$,(,$.;)&'$&#+$&(0*('&)3(&/)$-',,/55B$/$-E&((&%%))2,'$$)('((&6$''&,'1%(.'$'$)&E$4-#;.$,C;36:'-",
        r"-(;(&(0&%%.('$$')+B(+,'(/9'#1/'.((%.,.F.5$YB$0Y$$.$722)?84(-'(*.'1W010%;67=K$W&%+$.$.(2)-1$>%&(%)3;:",
        r"%08&(':L2B9I",
    ),
    LEVELS_3_S,
);
/// Where the points' lower bytes begin.
pub const POINTS: usize = 2;
/// Where the points' ninth bits begin.
pub const NINTHS: usize = 66;
/// Where the signs begin.
pub const SIGNS: usize = 74;
/// Where the scales begin.
pub const SCALES: usize = 106;

/// Grid points with signs, 3.44 bits per weight.
#[derive(Debug, Clone, Copy)]
pub struct IQ3_S;

/// What a scale's 4 bits multiply the outer scale with.
#[inline]
fn odd(scale: u8) -> f32 {
    f32::from(2 * scale + 1)
}

impl Format for IQ3_S {
    meets_integers!();

    const ID: u32 = 21;
    const BLOCK: usize = 256;
    const BYTES: usize = 110;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    #[inline(always)]
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let multipliers: [f32; 16] = core::array::from_fn(|s| odd(s as u8));
        let finder = Finder::new(&GRID);
        let snap =
            |x: &[f32], weights: &[f32], scale, q: &mut [i8]| finder.snap(Signs::Free, x, weights, scale, q);
        let found = grid::search(x, weights(importance), Self::GROUP, GRID.reach(), &multipliers, snap);
        out.fill(0);
        write_f16(out, 0, found.scale);
        let mut ninths = [0; 64];
        for (i, q) in found.q.chunks_exact(4).enumerate() {
            let point = GRID.index(q);
            out[POINTS + i] = point as u8;
            ninths[i] = (point >> 8) as u8;
        }
        planes::pack::<1, 1>(&ninths, 0, &mut out[NINTHS..SIGNS]);
        for (signs, q) in out[SIGNS..SCALES].iter_mut().zip(found.q.chunks_exact(8)) {
            *signs = grid::signs_of(q);
        }
        planes::pack::<4, 1>(&found.scales[..8], 0, &mut out[SCALES..]);
    }
}

impl Quantized for IQ3_S {
    const GROUP: usize = 32;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        let mut ninths = [0; 64];
        planes::unpack::<1, 1>(&block[NINTHS..SIGNS], &mut ninths);
        for (i, q) in q.chunks_exact_mut(4).enumerate() {
            GRID.point(u16::from(block[POINTS + i]) | (ninths[i] as u16) << 8, q);
        }
        for (q, &signs) in q.chunks_exact_mut(8).zip(&block[SIGNS..SCALES]) {
            grid::apply_signs(signs, q);
        }
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        grid::nibble_scales(read_f16(block, 0), &block[SCALES..], odd, scale);
        min.fill(0.0);
    }
}

impl Lanes for IQ3_S {
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
        let scales = grid::eight_nibbles(*part(block, SCALES));
        (grid::between(isa, scales, isa.mul(half(isa, block, 0), isa.splat(2.0))), isa.zero())
    }

    #[inline(always)]
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32 {
        let block = &blocks[0];
        let (points, ninths): (&[u8; 8], usize) = (part(block, POINTS + 8 * i), block[NINTHS + i].into());
        let index = [0, 1, 2, 3, 4, 5, 6, 7].map(|j| usize::from(points[j]) | (ninths << (8 - j) & 0x100));
        isa.negate(GRID.points(isa, index), u32::from_le_bytes(*part(block, SIGNS + 4 * i)))
    }
}
