//! IQ1_S: weights in eights, each eight one of 2048 ternary points, shifted a little up or down.
//!
//! ```text
//! scale: f16 | 32 bytes of points | 8 u16: 3 upper bits for each of 4 points, 3 bits of scale, the shift's sign
//! ```
//! 256 weights, `scale * (2 * s + 1) * (ternary + shift)`, a scale and a shift of 1/8 or -1/8 per 32. To stay with
//! integers, [`Quantized::integers`] gives 8 times the bracket, and [`Quantized::scales`] an 8th of the rest.

use super::float16::{read_f16, write_f16};
use super::grid::{self, Finder, Grid, LEVELS_1, ZERO_1};
use super::search::weights;
use super::{Format, Quantized, decode_groups, meets_integers};
use crate::ops::integers::{Lanes, Sign, half, part};
use crate::simd::Isa;

/// The 2048 points (also in [`super::iq1_m`]).
pub static GRID: Grid<2048, 8> = Grid::new(
    concat!(
        r"#$$$$$%'$&$'($$*'$&$''$&$&#($$$#'(&$&$&$$$#)($$*'$&$''$&$'(('&$$&$$%%$$&$-$$*(((&&#1((($##*$$*$&&##$",
        r"##$$$$$$$+%$$$$##$0&.$($$$%#&$(($&-$&$''$&$'(&*'$&$''$&$'($&'#(*#%($&.$$$('$&$''$&$'((%%'$$$$''$&$,#",
        r"$&'#($(&$&$#%.$$'%($$$$$$$&$&(&######$$&**$($2$$*''$&$$$&$*($$*(&$'#$#%&'%##$$$##$&$$(&$%#$##$$#%&$&",
        r"$$##$$$$$$$$##'####$#$$##$$$##$$##$##$##$$($##*##$$&&$##$$$%###%$#$##(%%$*&.&*($$$$&$$##$$$(($,0$$&$",
        r"%)##$&$##$##&&*%#$$&&$+))$)$$$$$$&&$((&%,$&$''$$$$'((%%'$&$''$$$$'($&()#&($$$$##*''$(('$$%'$&$'(&$((",
        r"'$$%'$&$'*$$(*##$&$$$(*($&%%.((($&$&$#%&$$,$%#$$$$$$('$'(((('#('$&*,$&$''$&$'($,'$&$,$&$*%$&(,$&$($$",
        r"$(''$'#'$&$,$&$'(&$('$&$''$&$'(&*.&$$$$$$2&%&&#$$$&$##$$&$($$$$##$#'$$$$$&$$'##-($$*(,$&&&+',(.%+($$",
        r"$$##'#$$$$&$$$$'#(%#$&$$##$$&&$$##$$#$####%$##$&##$&$##$#'$$$%%'#$$$$&$$$$%##$#$&$$&%&&#($$*(%&')'$&",
        r"$&$$$(($$$((%#%#%#$&$$&&&$####$$$$#%($&$##&$$$22$$($$&&0,($##$&$&$$&$&$&$##$($*$($%#&$($##$$####$&##",
        r"$$$##$$########$$##$&$($##$$&&$&($&$$*$&$$##$&$+'$$%#&+#($####%%$$$$##$###$#####$####$$($$$##$%$#&$#",
        r"###$$#####$#$$##$$#######$##########$#####$$#%###$####%$##$$###$##%$#$#$#######%%#############$$#%&$",
        r"####$%&%$###'##$$&$&)'$$$$####$$##)'$$$$&(%#$&$$##$(($##$$########$$##$%%%%$####(*%)&#&#$($#%%###&$$",
        r"$$)%$##$$.*$$(*(&##$$$$$%/*($$$&$(#%$(%%%#$(#%&'%$(&$.&$-#&*##%/(&*1#$#%$&$$$$$$$$##$##$$*#%$$####$$",
        r"$&($$$%#$0##$$#$##$%$##$)$#$%#$#%$##''(''##$&$$$$###$#&$%$$&&$##$%$%1$((,$&$((('*'$(&($$$$#%##&$##$$",
        r"&&%#''($#%.&#/$&$&$$&#%))%$(&$&$,$&$''#$$$('$&$''$&$'($$$(($&$$$###'$$(%'$$('$&$''$&$-$&('$&$''$&$/&",
        r".$)%&$$&0&.(&$&($$#%$&$##$#'##$$$$$$$$$*0&$(($&##&%#$&%'()&($&$''$&$$%($&(%$$&$''$&$'#'$$*($$$$$$&$$",
        r",,$('$&$''$&$'($$/$&$''$&$'(&##((&$($$*#'($$$(($$$$&$$$$$$$&'#$##$&$*$($$&$$$(($&(*$$$$$$*$(*$-%$$&&",
        r"$*&*$$####$##$*$(##$&($&$$##$##$%%%#$$##$$########$$##$%%$&####$##$$$$$$(&%$'$($#%#$#$($'#&#%##*$$(,",
        r"$((&&$$#%&#+(&$(*$$$$$$$##$$&$$$$$$##$&$#%$$($$&$&*++*$$$&$&.($##/$&$''$&$'($$$-$&$''$&$'%%$$$#1$%%$",
        r"$$$,'$%$/&$#)&&$'(&$('$&$''$&$3(($(%#$$$%###(>$$$$$*$&$($##$(&$$##$&$$2(&%$%*$%%$##%$.&&#$%$$&$&$,$&",
        r"$-$$$-$&$''$&$'*&%%(*&&$&$-'/$&$,$&$-$$/$&$''$&$",
    ),
    LEVELS_1,
);
/// The largest level, ternary 1.
pub(super) const REACH: f32 = 8.0;
/// Where the points' lower bytes begin.
pub const POINTS: usize = 2;
/// Where the words of upper bits, scales and shifts begin.
pub const WORDS: usize = 34;

/// Shifted ternary grid points, 1.56 bits per weight.
#[derive(Debug, Clone, Copy)]
pub struct IQ1_S;

/// An 8th of what a scale's 3 bits multiply the outer scale with (also in [`super::iq1_m`]).
#[inline]
pub(super) fn odd_eighths(scale: u8) -> f32 {
    f32::from(2 * scale + 1) * 0.125
}

/// The word of a group.
#[inline]
fn word(block: &[u8], group: usize) -> u16 {
    u16::from_le_bytes([block[WORDS + 2 * group], block[WORDS + 2 * group + 1]])
}

impl Format for IQ1_S {
    meets_integers!();

    const ID: u32 = 19;
    const BLOCK: usize = 256;
    const BYTES: usize = 50;

    #[inline(always)]
    fn decode(block: &[u8], out: &mut [f32]) {
        decode_groups::<Self>(block, out);
    }

    #[inline(always)]
    fn encode(x: &[f32], importance: Option<&[f32]>, out: &mut [u8]) {
        let multipliers: [f32; 8] = core::array::from_fn(|s| odd_eighths(s as u8));
        let finder = Finder::new(&GRID);
        let snap =
            |x: &[f32], weights: &[f32], scale, q: &mut [i8]| finder.snap_shifted(32, x, weights, scale, q);
        let found = grid::search(x, weights(importance), Self::GROUP, REACH, &multipliers, snap);
        write_f16(out, 0, found.scale);
        let (points, words) = out[POINTS..].split_at_mut(WORDS - POINTS);
        for (group, word) in words.chunks_exact_mut(2).enumerate() {
            let mut bits = u16::from(found.scales[group]) << 12;
            for (i, q) in found.q[32 * group..][..32].chunks_exact(8).enumerate() {
                let (point, down) = GRID.index_shifted(q);
                points[4 * group + i] = point as u8;
                bits |= (point >> 8) << (3 * i) | u16::from(down) << 15;
            }
            word.copy_from_slice(&bits.to_le_bytes());
        }
    }
}

impl Quantized for IQ1_S {
    const GROUP: usize = 32;

    #[inline]
    fn integers(block: &[u8], q: &mut [i8]) {
        for (group, q) in q.chunks_exact_mut(32).enumerate() {
            let word = word(block, group);
            let shift = if word >> 15 == 0 { 1 } else { -1 };
            for (i, q) in q.chunks_exact_mut(8).enumerate() {
                let upper = word >> (3 * i) & 7;
                GRID.point(u16::from(block[POINTS + 4 * group + i]) | upper << 8, q);
                q.iter_mut().for_each(|q| *q += shift - ZERO_1);
            }
        }
    }

    #[inline]
    fn scales(block: &[u8], scale: &mut [f32], min: &mut [f32]) {
        let outer = read_f16(block, 0);
        for (group, scale) in scale.iter_mut().enumerate() {
            *scale = outer * odd_eighths((word(block, group) >> 12 & 7) as u8);
        }
        min.fill(0.0);
    }
}

impl Lanes for IQ1_S {
    type Block = [u8; Self::BYTES];
    const SIGN: Sign = Sign::Unsigned;
    const BITS: u32 = 5;
    /// Levels begin at 0 instead of -[`ZERO_1`], and shifts are 0 and 2.
    const OFFSET: Option<i32> = Some(9);

    #[inline(always)]
    fn blocks(row: &[u8]) -> &[Self::Block] {
        row.as_chunks().0
    }

    #[inline(always)]
    fn factors<I: Isa>(isa: I, blocks: &[Self::Block], _: usize) -> (I::F32x8, I::F32x8) {
        let block = &blocks[0];
        let mut scales = [0; 8];
        for (group, scale) in scales.iter_mut().enumerate() {
            *scale = (word(block, group) >> 12 & 7) as u8;
        }
        let scale = grid::between(isa, scales, isa.mul(half(isa, block, 0), isa.splat(0.25)));
        (scale, isa.mul(scale, isa.splat(9.0)))
    }

    #[inline(always)]
    fn quants<I: Isa>(isa: I, blocks: &[Self::Block], i: usize) -> I::I8x32 {
        let (points, word): (&[u8; 4], _) =
            (part(&blocks[0], POINTS + 4 * i), usize::from(word(&blocks[0], i)));
        let index = [0, 1, 2, 3].map(|j| usize::from(points[j]) | (word >> (3 * j) & 7) << 8);
        isa.or(GRID.points(isa, index), isa.splat_bytes(if word >> 15 == 0 { 2 } else { 0 }))
    }
}
