//! Finding scales: what the encoders share.
//!
//! A scale decides which integers its values round to, and those integers decide which scale fits best. So the search
//! tries a range of scales around the obvious one (largest value to largest integer), rounds with each, and takes the
//! scale that fits the integers best in the least squares sense. Formats that squeeze the scales of many groups into
//! small integers repeat this one level up: choose integers for the scales, fit the outer scale to the outcome, again.
//!
//! What counts is the squared error, weighted by importance where the caller gives weights. The candidates for a scale
//! lie side by side in arrays: every value meets all of them in a plain loop, which the compiler turns into vectors.

use super::float16::{f16_to_f32, f32_to_f16};
use super::{MAX_BLOCK, MAX_GROUPS};

/// How many scales the search tries around the obvious one: whole vectors of any width.
const CANDIDATES: usize = 24;
/// How many integers the search tries around a group's best scale.
const NEAR: usize = 8;
/// How often outer scales are fitted.
const PASSES: usize = 3;

/// The weights to use, one per value: all the same when nobody knows better.
#[inline(always)]
pub(super) fn weights(importance: Option<&[f32]>) -> &[f32] {
    importance.unwrap_or(&[1.0; MAX_BLOCK])
}

/// The nearest integer, halves away from zero; saturates, and NaN becomes 0.
#[inline(always)]
pub(super) const fn round(x: f32) -> i32 {
    let whole = x as i32;
    let rest = x - whole as f32;
    if rest >= 0.5 {
        whole.saturating_add(1)
    } else if rest <= -0.5 {
        whole.saturating_sub(1)
    } else {
        whole
    }
}

/// The value farthest from zero, with its sign; the first of them.
#[inline(always)]
pub(super) fn farthest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |far: f32, &x| if x.abs() > far.abs() { x } else { far })
}

/// The lowest and the highest value.
#[inline(always)]
fn extremes(x: &[f32]) -> (f32, f32) {
    x.iter().fold((f32::MAX, f32::MIN), |(low, high), &x| (low.min(x), high.max(x)))
}

/// `1 / x`, or 0 for 0.
#[inline(always)]
pub(super) fn inverse(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}

/// What `x` becomes when it goes through an IEEE half.
#[inline(always)]
fn half(x: f32) -> f32 {
    f16_to_f32(f32_to_f16(x))
}

/// The integers that a weight may become.
pub(super) trait Levels: Copy {
    /// The lowest and the highest.
    fn ends(self) -> [f32; 2];

    /// The nearest to `x`.
    fn nearest(self, x: f32) -> f32;
}

/// All integers from one to another, both included, and both small.
#[derive(Clone, Copy)]
pub(super) struct Range {
    pub low: i32,
    pub high: i32,
}

impl Levels for Range {
    #[inline(always)]
    fn ends(self) -> [f32; 2] {
        [self.low as f32, self.high as f32]
    }

    /// Halves go to the even neighbour; NaN to the low end.
    #[inline(always)]
    fn nearest(self, x: f32) -> f32 {
        // Numbers of this size have no room for a fraction: the addition rounds it away.
        const NO_FRACTION: f32 = 12_582_912.0;
        let [low, high] = self.ends();
        (x.max(low).min(high) + NO_FRACTION) - NO_FRACTION
    }
}

/// Those that 4-bit codes stand for.
#[derive(Clone, Copy)]
pub(super) struct Table(pub &'static [i8; 16]);

impl Table {
    /// The code whose level is nearest; the first of them.
    #[inline(always)]
    pub fn code(self, x: f32) -> u8 {
        let mut best = (0, f32::INFINITY);
        for (code, &level) in self.0.iter().enumerate() {
            let distance = (f32::from(level) - x).abs();
            if distance < best.1 {
                best = (code as u8, distance);
            }
        }
        best.0
    }
}

impl Levels for Table {
    #[inline(always)]
    fn ends(self) -> [f32; 2] {
        let [lowest, highest] = [self.0.iter().min(), self.0.iter().max()];
        [lowest, highest].map(|end| f32::from(*end.expect("16 levels")))
    }

    /// As [`Table::code`], without the code: a loop of choices that vectorises.
    #[inline(always)]
    fn nearest(self, x: f32) -> f32 {
        let mut best = (f32::INFINITY, f32::from(self.0[0]));
        for &level in self.0 {
            let level = f32::from(level);
            let distance = (level - x).abs();
            best = if distance < best.0 { (distance, level) } else { best };
        }
        best.1
    }
}

/// What candidates for a scale make of some values: for each, the sums that a fit needs and the error without one.
struct Tried<const C: usize> {
    xq: [f32; C],
    qq: [f32; C],
    error: [f32; C],
}

/// Rounds with each of the scales and adds up. Candidates lie side by side, so that plain loops over them are vectors
/// whatever the instructions are, and each one's sums are added in the same order everywhere.
#[inline(always)]
fn try_scales<const C: usize>(
    x: &[f32],
    weights: &[f32],
    scales: &[f32; C],
    levels: impl Levels,
) -> Tried<C> {
    let inverses = scales.map(inverse);
    let mut tried = Tried { xq: [0.0; C], qq: [0.0; C], error: [0.0; C] };
    for (&x, &weight) in x.iter().zip(weights) {
        for c in 0..C {
            let q = levels.nearest(x * inverses[c]);
            let off = x - scales[c] * q;
            tried.xq[c] += weight * x * q;
            tried.qq[c] += weight * q * q;
            tried.error[c] += weight * off * off;
        }
    }
    tried
}

/// The scale with which `scale * q` comes closest to `x`; it may be negative.
#[inline(always)]
pub(super) fn symmetric(x: &[f32], weights: &[f32], levels: impl Levels) -> f32 {
    let far = farthest(x);
    let [low, high] = levels.ends();
    // A tenth of an integer among few of them, one part in a hundred among many.
    let step = ((high - low) / 200.0).max(0.1);
    let (mut best, mut most) = (0.0, 0.0);
    for end in [low, high] {
        let inverses: [f32; CANDIDATES] =
            core::array::from_fn(|c| (end + step * (c as f32 - (CANDIDATES / 2) as f32)) / far);
        let (mut xq, mut qq) = ([0.0; CANDIDATES], [0.0; CANDIDATES]);
        for (&x, &weight) in x.iter().zip(weights) {
            let wx = weight * x;
            for c in 0..CANDIDATES {
                let q = levels.nearest(x * inverses[c]);
                xq[c] += wx * q;
                qq[c] += weight * q * q;
            }
        }
        for c in 0..CANDIDATES {
            // With the best scale, xq / qq, the squared error is the sum of squares less this.
            let explained = xq[c] * xq[c] / qq[c];
            if explained > most {
                (best, most) = (xq[c] / qq[c], explained);
            }
        }
    }
    best
}

/// Where `affine` may put the lowest value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lowest {
    Anywhere,
    /// At zero or below, where formats store how far below.
    AtMostZero,
}

/// The scale and the minimum with which `scale * q - min` comes closest to `x`, for `q` from 0 to `high`.
#[inline(always)]
fn affine(x: &[f32], weights: &[f32], high: i32, lowest: Lowest) -> (f32, f32) {
    let integers = Range { low: 0, high };
    let (mut low, top) = extremes(x);
    if lowest == Lowest::AtMostZero {
        low = low.min(0.0);
    }
    let inverses: [f32; CANDIDATES] =
        core::array::from_fn(|c| (high as f32 + 0.1 * (c as f32 - (CANDIDATES / 2) as f32)) / (top - low));
    let (mut wq, mut wxq, mut wqq) = ([0.0; CANDIDATES], [0.0; CANDIDATES], [0.0; CANDIDATES]);
    let [mut w, mut wx] = [0.0; 2];
    for (&x, &weight) in x.iter().zip(weights) {
        let weighted = weight * x;
        w += weight;
        wx += weighted;
        let above = x - low;
        for c in 0..CANDIDATES {
            let q = integers.nearest(above * inverses[c]);
            let weighted_q = weight * q;
            wq[c] += weighted_q;
            wxq[c] += weighted * q;
            wqq[c] += weighted_q * q;
        }
    }
    let mut best = (0.0, -low);
    // The squared error less the sum of squares, which is the same for all.
    let mut least = w * low * low - 2.0 * low * wx;
    for c in 0..CANDIDATES {
        let (wq, wxq, wqq) = (wq[c], wxq[c], wqq[c]);
        let scale = (w * wxq - wx * wq) / (w * wqq - wq * wq);
        let mut fit = (scale, (scale * wq - wx) / w);
        // Values that all round to the same integer leave the fit undefined.
        if lowest == Lowest::AtMostZero && (fit.1 < 0.0 || !fit.0.is_finite()) {
            fit = (wxq / wqq, 0.0);
        }
        let (scale, min) = fit;
        let error = scale * (scale * wqq - 2.0 * wxq - 2.0 * min * wq) + min * (min * w + 2.0 * wx);
        if scale > 0.0 && error < least {
            (best, least) = (fit, error);
        }
    }
    best
}

/// The scale and the minimum that put the lowest value at 0 and the highest at `high`; with importance, [`affine`]'s.
#[inline(always)]
pub(super) fn range_or_search(x: &[f32], importance: Option<&[f32]>, high: i32) -> (f32, f32) {
    if let Some(weights) = importance {
        return affine(x, weights, high, Lowest::Anywhere);
    }
    let (lowest, highest) = extremes(x);
    ((highest - lowest) / high as f32, -lowest)
}

/// A block of `scale * scales[group] * q`.
#[derive(Clone)]
pub(super) struct Symmetric {
    /// The outer scale; an IEEE half.
    pub scale: f32,
    pub scales: [i8; MAX_GROUPS],
    pub q: [i8; MAX_BLOCK],
}

/// Integers for `x` in groups of `group`, and integers for the groups' scales.
#[inline(always)]
pub(super) fn symmetric_groups(
    x: &[f32],
    weights: &[f32],
    group: usize,
    levels: impl Levels,
    scale_range: Range,
) -> Symmetric {
    let mut wanted = [0.0; MAX_GROUPS];
    for (wanted, (x, weights)) in wanted.iter_mut().zip(x.chunks(group).zip(weights.chunks(group))) {
        *wanted = symmetric(x, weights, levels);
    }
    let mut outer = half(farthest(&wanted) / scale_range.low as f32);
    let (mut best_outer, mut best_scales) = (outer, [0; MAX_GROUPS]);
    let mut least = f32::INFINITY;
    for _ in 0..PASSES {
        let mut scales = [0; MAX_GROUPS];
        let (mut sum, mut xq, mut qq) = (0.0, 0.0, 0.0);
        for (i, (x, weights)) in x.chunks(group).zip(weights.chunks(group)).enumerate() {
            let near = scale_range.nearest(wanted[i] * inverse(outer));
            let around: [f32; NEAR] =
                core::array::from_fn(|c| scale_range.nearest(near + (c as f32 - (NEAR / 2) as f32)));
            let tried = try_scales(x, weights, &around.map(|scale| outer * scale), levels);
            let c = least_of(&tried.error);
            scales[i] = around[c] as i8;
            sum += tried.error[c];
            xq += around[c] * tried.xq[c];
            qq += around[c] * around[c] * tried.qq[c];
        }
        if sum < least {
            (least, best_outer, best_scales) = (sum, outer, scales);
        }
        let fit = half(xq / qq);
        if !fit.is_finite() || fit == outer {
            break;
        }
        outer = fit;
    }
    let mut q = [0; MAX_BLOCK];
    for (i, (q, x)) in q.chunks_mut(group).zip(x.chunks(group)).enumerate() {
        let inverse = inverse(best_outer * f32::from(best_scales[i]));
        for (q, x) in q.iter_mut().zip(x) {
            *q = levels.nearest(x * inverse) as i8;
        }
    }
    Symmetric { scale: best_outer, scales: best_scales, q }
}

/// The place of the least; the first of them, and not of a NaN.
#[inline(always)]
fn least_of(errors: &[f32]) -> usize {
    let mut best = 0;
    for (c, error) in errors.iter().enumerate() {
        if *error < errors[best] || errors[best].is_nan() {
            best = c;
        }
    }
    best
}

/// A block of `scale * scales[group] * q - min * mins[group]`.
#[derive(Clone)]
pub(super) struct Affine {
    /// The outer scale; an IEEE half.
    pub scale: f32,
    /// The outer minimum; an IEEE half.
    pub min: f32,
    pub scales: [u8; MAX_GROUPS],
    pub mins: [u8; MAX_GROUPS],
    pub q: [u8; MAX_BLOCK],
}

/// Integers 0 to `high` for `x` in groups of `group`, and integers 0 to `outer_high` for their scales and minima.
#[inline(always)]
pub(super) fn affine_groups(x: &[f32], weights: &[f32], group: usize, high: i32, outer_high: i32) -> Affine {
    let mut wanted = [(0.0, 0.0); MAX_GROUPS];
    for (wanted, (x, weights)) in wanted.iter_mut().zip(x.chunks(group).zip(weights.chunks(group))) {
        *wanted = affine(x, weights, high, Lowest::AtMostZero);
    }
    let largest = |of: fn(&(f32, f32)) -> f32| wanted.iter().map(of).fold(0.0, f32::max) / outer_high as f32;
    let (mut outer, mut outer_min) = (half(largest(|wanted| wanted.0)), half(largest(|wanted| wanted.1)));
    let mut best = Affine {
        scale: outer,
        min: outer_min,
        scales: [0; MAX_GROUPS],
        mins: [0; MAX_GROUPS],
        q: [0; MAX_BLOCK],
    };
    let integers = Range { low: 0, high };
    let outers = Range { low: 0, high: outer_high };
    let mut least = f32::INFINITY;
    for _ in 0..PASSES {
        let (mut scales, mut mins) = ([0; MAX_GROUPS], [0; MAX_GROUPS]);
        // x is fitted with outer * a - outer_min * b.
        let [mut sum, mut aa, mut ab, mut bb, mut xa, mut xb] = [0.0; 6];
        for (i, (x, weights)) in x.chunks(group).zip(weights.chunks(group)).enumerate() {
            let near = [wanted[i].0 * inverse(outer), wanted[i].1 * inverse(outer_min)];
            let near = near.map(|near| outers.nearest(near));
            // Four scales with four minima.
            let scale: [f32; 16] = core::array::from_fn(|c| outers.nearest(near[0] + (c % 4) as f32 - 1.0));
            let min: [f32; 16] = core::array::from_fn(|c| outers.nearest(near[1] + (c / 4) as f32 - 1.0));
            let (by, less) = (scale.map(|scale| outer * scale), min.map(|min| outer_min * min));
            let inverses = by.map(inverse);
            let (mut wq, mut wxq, mut wqq, mut error) = ([0.0; 16], [0.0; 16], [0.0; 16], [0.0; 16]);
            let [mut w, mut wx] = [0.0; 2];
            for (&x, &weight) in x.iter().zip(weights) {
                let weighted = weight * x;
                w += weight;
                wx += weighted;
                for c in 0..16 {
                    let q = integers.nearest((x + less[c]) * inverses[c]);
                    let off = x - (by[c] * q - less[c]);
                    error[c] += weight * off * off;
                    let weighted_q = weight * q;
                    wq[c] += weighted_q;
                    wxq[c] += weighted * q;
                    wqq[c] += weighted_q * q;
                }
            }
            let c = least_of(&error);
            let (a, b) = (scale[c], min[c]);
            (scales[i], mins[i]) = (a as u8, b as u8);
            sum += error[c];
            aa += a * a * wqq[c];
            ab += a * b * wq[c];
            bb += b * b * w;
            xa += a * wxq[c];
            xb += b * wx;
        }
        if sum < least {
            least = sum;
            best = Affine { scale: outer, min: outer_min, scales, mins, q: best.q };
        }
        let determinant = aa * bb - ab * ab;
        let fit = if bb == 0.0 {
            (half(xa / aa), 0.0)
        } else {
            (half((xa * bb - xb * ab) / determinant), half((xa * ab - xb * aa) / determinant))
        };
        let usable = |x: f32| x.is_finite() && x >= 0.0;
        if !usable(fit.0) || !usable(fit.1) || fit == (outer, outer_min) {
            break;
        }
        (outer, outer_min) = fit;
    }
    for (i, (q, x)) in best.q.chunks_mut(group).zip(x.chunks(group)).enumerate() {
        let inverse = inverse(best.scale * f32::from(best.scales[i]));
        let less = best.min * f32::from(best.mins[i]);
        for (q, x) in q.iter_mut().zip(x) {
            *q = integers.nearest((x + less) * inverse) as u8;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_round_away_from_zero() {
        for (x, nearest) in [(0.5, 1), (-0.5, -1), (0.499_999_97, 0), (2.5, 3), (-2.4, -2), (f32::NAN, 0)] {
            assert_eq!(round(x), nearest, "{x}");
        }
        assert_eq!(round(f32::INFINITY), i32::MAX);
        assert_eq!(round(-1e30), i32::MIN);
    }

    #[test]
    fn exact_values_are_found() {
        let x: [f32; 16] = core::array::from_fn(|i| (i as f32 - 8.0) * 0.25);
        let scale = symmetric(&x, &[1.0; 16], Range { low: -8, high: 7 });
        assert!((scale - 0.25).abs() < 1e-6, "{scale}");
        let x: [f32; 16] = core::array::from_fn(|i| i as f32 * 0.5 - 3.0);
        let (scale, min) = affine(&x, &[1.0; 16], 15, Lowest::AtMostZero);
        assert!((scale - 0.5).abs() < 1e-6 && (min - 3.0).abs() < 1e-5, "{scale} {min}");
    }
}
