//! Grids: weights that are quantised several at a time.
//!
//! Where a weight has fewer than about three bits, it pays to look at eight (or four) of them together: of all vectors
//! of small levels only some thousand are likely, and a format keeps a list of those, its grid. A block stores the
//! indices of points, and apart from them the signs. The levels lie away from zero, so every weight has a sign. Some
//! formats store seven of eight signs and let the eighth make the number of minuses even.
//!
//! A grid is a fact of its format; it was chosen once by statistics of real weights and follows no rule. What the
//! files hold is the set of points alone, for their order is the numeric one: read a point's levels as digits of a
//! number, the first one lowest. The number's distance to the point before is written as a character: `#` is the next
//! number, `$` skips one, and so on; `~` skips 91 and stands for no point.
//! Source: the tables of the reference implementation (ggml), which lists the points themselves.

use super::float16::{f16_to_f32, f32_to_f16};
use super::search::inverse;
use super::{MAX_BLOCK, MAX_GROUPS};
use crate::simd::Isa;

/// The levels of grids with three of them, by digit.
pub const LEVELS_2: &[u8] = &[8, 25, 43];
/// The levels of IQ3_XXS, by digit.
pub const LEVELS_3_XXS: &[u8] = &[4, 12, 20, 28, 36, 44, 52, 62];
/// The levels of IQ3_S, by digit.
pub const LEVELS_3_S: &[u8] = &[1, 3, 5, 7, 9, 11, 13, 15];
/// The levels of IQ1_S and IQ1_M, by digit: 8 times -1, 0, 1, and [`ZERO_1`] more.
pub const LEVELS_1: &[u8] = &[0, 8, 16];
/// The level among [`LEVELS_1`] that means 0.
pub const ZERO_1: i8 = 8;

/// `POINTS` points of `DIMS` levels each.
#[derive(Debug)]
pub struct Grid<const POINTS: usize, const DIMS: usize> {
    /// The levels of each point.
    points: [[u8; DIMS]; POINTS],
    levels: &'static [u8],
}

impl<const POINTS: usize, const DIMS: usize> Grid<POINTS, DIMS> {
    /// Reads the distances between the points' numbers.
    ///
    /// # Panics
    /// When there are not `POINTS` of them: at compile time, as grids are statics.
    pub(super) const fn new(distances: &str, levels: &'static [u8]) -> Self {
        let distances = distances.as_bytes();
        let base = levels.len();
        let mut points = [[0; DIMS]; POINTS];
        let (mut at, mut next, mut n) = (0, 0, 0);
        while at < distances.len() {
            next += (distances[at] - b'#') as usize;
            if distances[at] != b'~' {
                let (mut rest, mut dim) = (next, 0);
                while dim < DIMS {
                    points[n][dim] = levels[rest % base];
                    rest /= base;
                    dim += 1;
                }
                n += 1;
                next += 1;
            }
            at += 1;
        }
        assert!(n == POINTS, "a grid has as many points as it says");
        Self { points, levels }
    }

    /// Writes the levels of a point; `index` counts modulo `POINTS`.
    #[inline]
    pub fn point(&self, index: u16, q: &mut [i8]) {
        let point = self.points[usize::from(index) % POINTS];
        q.iter_mut().zip(point).for_each(|(q, level)| *q = level as i8);
    }

    /// The largest level.
    pub(super) fn reach(&self) -> f32 {
        f32::from(self.levels[self.levels.len() - 1])
    }

    /// The index of the point with these levels, whatever their signs.
    pub(super) fn index(&self, q: &[i8]) -> u16 {
        self.index_of(|dim| q[dim].unsigned_abs())
    }

    /// The index of a ternary point that was shifted, and whether it was shifted down.
    pub(super) fn index_shifted(&self, q: &[i8]) -> (u16, bool) {
        // Shifted up, they are -7, 1 and 9; down, -9, -1 and 7.
        let down = q[0] & 7 == 7;
        let shift = if down { -1 } else { 1 };
        (self.index_of(|dim| (q[dim] - shift + ZERO_1) as u8), down)
    }

    fn index_of(&self, level: impl Fn(usize) -> u8) -> u16 {
        let point = core::array::from_fn(level);
        self.points.iter().position(|&p| p == point).unwrap_or(0) as u16
    }
}

/// A grid for whoever searches it.
pub(super) struct Finder<const POINTS: usize, const DIMS: usize> {
    grid: &'static Grid<POINTS, DIMS>,
    /// The digits of each point, the first in the lowest bits.
    digits: [u16; POINTS],
}

impl<const POINTS: usize, const DIMS: usize> Finder<POINTS, DIMS> {
    /// Bits per digit: 8 digits of 2 bits or 4 digits of 4.
    const BITS: usize = 16 / DIMS;

    /// Little beside the search of a block. Kept with the grid, digits would be 9 KB of a module that finds nothing.
    pub(super) fn new(grid: &'static Grid<POINTS, DIMS>) -> Self {
        let digit = |level| grid.levels.iter().position(|&known| known == level).unwrap_or(0);
        let digits = |point: &[u8; DIMS]| {
            let digits = point.iter().enumerate().map(|(dim, &level)| digit(level) << (dim * Self::BITS));
            digits.sum::<usize>() as u16
        };
        Self { grid, digits: core::array::from_fn(|i| digits(&grid.points[i])) }
    }

    /// The point nearest to `x` under a scale, and the weighted squared error.
    ///
    /// All points are looked at, but not all their digits: what the digits of either byte of a point cost together is
    /// tabulated first, so that a point costs two looks.
    fn nearest(&self, x: &[f32; DIMS], weights: &[f32], scale: f32, shift: f32) -> (u16, f32) {
        let mut costs = [[0.0; 256]; 2];
        for (dim, (x, weight)) in x.iter().zip(weights).enumerate() {
            let costs = &mut costs[dim / (DIMS / 2)];
            let bit = dim % (DIMS / 2) * Self::BITS;
            for (digit, &level) in self.grid.levels.iter().enumerate().rev() {
                let off = x - scale * (f32::from(level) + shift);
                let (below, same) = costs.split_at_mut(digit << bit);
                // Digit 0 comes last and adds to the bytes of the dimensions before in their own place.
                for i in 0..1 << bit {
                    let before = if digit == 0 { same[i] } else { below[i] };
                    same[i] = before + weight * off * off;
                }
            }
        }
        let mut best = (0, f32::INFINITY);
        for (index, &digits) in self.digits.iter().enumerate() {
            let cost = costs[0][usize::from(digits & 255)] + costs[1][usize::from(digits >> 8)];
            if cost < best.1 {
                best = (index as u16, cost);
            }
        }
        best
    }

    /// Takes each `DIMS` values to a point with signs, and returns the weighted squared error.
    pub(super) fn snap(&self, signs: Signs, x: &[f32], weights: &[f32], scale: f32, q: &mut [i8]) -> f32 {
        let mut error = 0.0;
        for ((x, weights), q) in x.chunks_exact(8).zip(weights.chunks_exact(8)).zip(q.chunks_exact_mut(8)) {
            let mut minus: [bool; 8] = core::array::from_fn(|i| x[i] < 0.0);
            if signs == Signs::Even && minus.iter().filter(|&&minus| minus).count() % 2 == 1 {
                // One sign must be wrong: the one that matters least.
                let matters = |i: &usize| weights[*i] * x[*i].abs();
                if let Some(least) = (0..8).min_by(|a, b| matters(a).total_cmp(&matters(b))) {
                    minus[least] = !minus[least];
                }
            }
            for at in (0..8).step_by(DIMS) {
                let x = core::array::from_fn(|i| if minus[at + i] { -x[at + i] } else { x[at + i] });
                let (index, cost) = self.nearest(&x, &weights[at..], scale, 0.0);
                error += cost;
                self.grid.point(index, &mut q[at..at + DIMS]);
            }
            for (q, minus) in q.iter_mut().zip(minus) {
                *q = if minus { -*q } else { *q };
            }
        }
        error
    }

    /// Takes each `DIMS` values to a point that is shifted by 1 or -1, the same way for `span` values, and returns the
    /// weighted squared error.
    pub(super) fn snap_shifted(
        &self,
        span: usize,
        x: &[f32],
        weights: &[f32],
        scale: f32,
        q: &mut [i8],
    ) -> f32 {
        let mut error = 0.0;
        for ((x, weights), q) in x.chunks(span).zip(weights.chunks(span)).zip(q.chunks_mut(span)) {
            let mut least = f32::INFINITY;
            for shift in [1, -1] {
                let mut tried = [0; 32];
                let mut cost = 0.0;
                for (at, x) in x.chunks_exact(DIMS).enumerate().map(|(i, x)| (i * DIMS, x)) {
                    let x = core::array::from_fn(|i| x[i]);
                    let (index, more) = self.nearest(&x, &weights[at..], scale, f32::from(shift - ZERO_1));
                    cost += more;
                    self.grid.point(index, &mut tried[at..at + DIMS]);
                }
                if cost < least {
                    least = cost;
                    q.iter_mut().zip(tried).for_each(|(q, tried)| *q = tried + shift - ZERO_1);
                }
            }
            error += least;
        }
        error
    }
}

impl<const POINTS: usize> Grid<POINTS, 8> {
    /// The levels of four points; indices count modulo `POINTS`.
    #[inline(always)]
    pub(super) fn points<I: Isa>(&self, isa: I, index: [usize; 4]) -> I::I8x32 {
        let point = |i: usize| u64::from_le_bytes(self.points[index[i] % POINTS]);
        isa.join([point(0), point(1), point(2), point(3)])
    }
}

impl<const POINTS: usize> Grid<POINTS, 4> {
    /// The levels of eight points; indices count modulo `POINTS`.
    #[inline(always)]
    pub(super) fn points<I: Isa>(&self, isa: I, index: [usize; 8]) -> I::I8x32 {
        let point = |i: usize| u64::from(u32::from_le_bytes(self.points[index[i] % POINTS]));
        let pair = |i: usize| point(i) | point(i + 1) << 32;
        isa.join([pair(0), pair(2), pair(4), pair(6)])
    }
}

/// Which signs a format can store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signs {
    /// Any.
    Free,
    /// An even number of minuses in every eight.
    Even,
}

/// Eight sign bits out of seven: the eighth makes their number even.
#[inline]
pub const fn even_signs(seven: u8) -> u8 {
    seven | ((seven.count_ones() as u8 & 1) << 7)
}

/// [`even_signs`] of four times seven sign bits, which follow each other.
#[inline(always)]
pub(super) const fn even_signs_of_four(bits: u32) -> u32 {
    let sevens = bits & 0x7f | (bits & 0x3f80) << 1 | (bits & 0x1f_c000) << 2 | (bits & 0xfe0_0000) << 3;
    // Halves of a byte onto each other, until its lowest bit is the sum of all.
    let sums = sevens ^ sevens >> 4;
    let sums = sums ^ sums >> 2;
    let sums = sums ^ sums >> 1;
    sevens | (sums & 0x0101_0101) << 7
}

/// Turns the integers whose sign bits are set.
#[inline]
pub fn apply_signs(signs: u8, q: &mut [i8]) {
    for (i, q) in q.iter_mut().enumerate() {
        *q = if signs >> i & 1 == 0 { *q } else { -*q };
    }
}

/// The reverse of [`apply_signs`].
pub(super) fn signs_of(q: &[i8]) -> u8 {
    q.iter().enumerate().fold(0, |signs, (i, &q)| signs | u8::from(q < 0) << i)
}

/// What the 4 bits of a scale multiply the outer scale with, in the formats of two bits.
#[inline]
pub(super) fn quarters(scale: u8) -> f32 {
    (f32::from(scale) + 0.5) * 0.25
}

/// Scales of 4 bits each, low bits first.
#[inline]
pub(super) fn nibble_scales(outer: f32, bytes: &[u8], multiplier: fn(u8) -> f32, scale: &mut [f32]) {
    for (group, scale) in scale.iter_mut().enumerate() {
        *scale = outer * multiplier(bytes[group / 2] >> (4 * (group % 2)) & 15);
    }
}

/// Eight scales of 4 bits each, low bits first.
#[inline(always)]
pub(super) fn eight_nibbles(bytes: [u8; 4]) -> [u8; 8] {
    let bits = u64::from(u32::from_le_bytes(bytes));
    let bits = (bits | bits << 16) & 0xffff_0000_ffff;
    let bits = (bits | bits << 8) & 0xff_00ff_00ff_00ff;
    ((bits | bits << 4) & 0x0f0f_0f0f_0f0f_0f0f).to_le_bytes()
}

/// Eight scales: `(s + 0.5) * step`.
#[inline(always)]
pub(super) fn between<I: Isa>(isa: I, scales: [u8; 8], step: I::F32x8) -> I::F32x8 {
    isa.mul_add(isa.float_u8(scales), step, isa.mul(step, isa.splat(0.5)))
}

/// A block of `scale * multipliers[scales[group]] * q`.
#[derive(Clone)]
pub(super) struct Found {
    /// The outer scale; an IEEE half.
    pub scale: f32,
    pub scales: [u8; MAX_GROUPS],
    pub q: [i8; MAX_BLOCK],
}

/// Finds scales for the groups of a block, and points with `snap`.
///
/// A group's largest magnitude would fall on `reach`, the largest level, if nothing else counted; but with so few levels
/// most weights gain when the largest is cut. So groups first choose a scale from a range below that, each on its own,
/// and then from what the outer scale offers, as [`super::search`] does it.
pub(super) fn search(
    x: &[f32],
    weights: &[f32],
    group: usize,
    reach: f32,
    multipliers: &[f32],
    snap: impl Fn(&[f32], &[f32], f32, &mut [i8]) -> f32,
) -> Found {
    const CUTS: [f32; 6] = [1.05, 0.95, 0.85, 0.75, 0.65, 0.55];
    const PASSES: usize = 2;
    let groups = || x.chunks(group).zip(weights.chunks(group)).enumerate();
    let mut q = [0; MAX_BLOCK];
    let mut wanted = [0.0f32; MAX_GROUPS];
    for (i, (x, weights)) in groups() {
        let largest = x.iter().fold(0.0, |largest: f32, x| largest.max(x.abs()));
        let mut least = f32::INFINITY;
        for cut in CUTS {
            let scale = cut * largest / reach;
            let error = snap(x, weights, scale, &mut q[..group]);
            if error < least {
                (least, wanted[i]) = (error, scale);
            }
        }
    }
    let top = multipliers[multipliers.len() - 1];
    let mut block = Found {
        scale: f16_to_f32(f32_to_f16(wanted.iter().copied().fold(0.0, f32::max) / top)),
        scales: [0; MAX_GROUPS],
        q: [0; MAX_BLOCK],
    };
    // Whatever happens to the numbers, the integers must be points: those of a group of zeros.
    for (i, (_, weights)) in groups() {
        snap(&[0.0; MAX_BLOCK][..group], weights, 1.0, &mut block.q[i * group..][..group]);
    }
    let mut best = block.clone();
    let mut least = f32::INFINITY;
    for _ in 0..PASSES {
        let (mut sum, mut xq, mut qq) = (0.0, 0.0, 0.0);
        for (i, (x, weights)) in groups() {
            let target = wanted[i] * inverse(block.scale);
            let near = multipliers.partition_point(|&multiplier| multiplier < target);
            let mut group_least = f32::INFINITY;
            let around = near.saturating_sub(2)..(near + 2).min(multipliers.len());
            for (s, multiplier) in around.clone().zip(&multipliers[around]) {
                let error = snap(x, weights, block.scale * multiplier, &mut q[..group]);
                if error < group_least {
                    group_least = error;
                    block.scales[i] = s as u8;
                    block.q[i * group..][..group].copy_from_slice(&q[..group]);
                }
            }
            sum += group_least;
            let multiplier = multipliers[usize::from(block.scales[i])];
            for ((&x, &weight), &q) in x.iter().zip(weights).zip(&block.q[i * group..]) {
                let q = multiplier * f32::from(q);
                xq += weight * x * q;
                qq += weight * q * q;
            }
        }
        if sum < least {
            least = sum;
            best = block.clone();
        }
        let fit = f16_to_f32(f32_to_f16(xq / qq));
        if !fit.is_finite() || fit <= 0.0 || fit == block.scale {
            break;
        }
        block.scale = fit;
    }
    best
}
