//! Finding scales: what the encoders share.
//!
//! A scale decides which integers its values round to, and those integers decide which scale fits best. So the search
//! tries a range of scales around the obvious one (largest value to largest integer), rounds with each, and takes the
//! scale that fits the integers best in the least squares sense. Formats that squeeze the scales of many groups into
//! small integers repeat this one level up: choose integers for the scales, fit the outer scale to the outcome, again.
//!
//! What counts is the squared error, weighted by importance where the caller gives weights.

use super::float16::{f16_to_f32, f32_to_f16};
use super::{MAX_BLOCK, MAX_GROUPS};

/// How many scales the search tries on either side of the obvious one.
const STEPS: i32 = 12;
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

/// Adds up `terms` of every value and its weight.
///
/// In lanes, as one sum after the other would leave the processor waiting; groups are whole lanes.
#[inline(always)]
fn sums<const N: usize>(x: &[f32], weights: &[f32], terms: impl Fn(f32, f32) -> [f32; N]) -> [f32; N] {
    const LANES: usize = 8;
    let mut sums = [[0.0; LANES]; N];
    for (x, weights) in x.chunks_exact(LANES).zip(weights.chunks_exact(LANES)) {
        for lane in 0..LANES {
            let terms = terms(x[lane], weights[lane]);
            for (sums, term) in sums.iter_mut().zip(terms) {
                sums[lane] += term;
            }
        }
    }
    sums.map(|lanes| lanes.iter().sum())
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

impl Range {
    #[inline(always)]
    fn integer(self, x: f32) -> i32 {
        self.nearest(x) as i32
    }
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

/// The scale with which `scale * q` comes closest to `x`; it may be negative.
#[inline(always)]
pub(super) fn symmetric(x: &[f32], weights: &[f32], levels: impl Levels) -> f32 {
    let far = farthest(x);
    let [low, high] = levels.ends();
    // A tenth of an integer among few of them, one part in a hundred among many.
    let step = ((high - low) / 200.0).max(0.1);
    let (mut best, mut most) = (0.0, 0.0);
    for end in [low, high] {
        for i in -STEPS..=STEPS {
            let inverse = (end + step * i as f32) / far;
            let [xq, qq] = sums(x, weights, |x, weight| {
                let q = levels.nearest(x * inverse);
                [weight * x * q, weight * q * q]
            });
            // With the best scale, xq / qq, the squared error is the sum of squares less this.
            let explained = xq * xq / qq;
            if explained > most {
                (best, most) = (xq / qq, explained);
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
    let mut best = (0.0, -low);
    let mut least = error(x, weights, best, high);
    for i in -STEPS..=STEPS {
        let inverse = (high as f32 + 0.1 * i as f32) / (top - low);
        let [w, wx, wq, wxq, wqq] = sums(x, weights, |x, weight| {
            let q = integers.nearest((x - low) * inverse);
            [weight, weight * x, weight * q, weight * x * q, weight * q * q]
        });
        let scale = (w * wxq - wx * wq) / (w * wqq - wq * wq);
        let mut fit = (scale, (scale * wq - wx) / w);
        // Values that all round to the same integer leave the fit undefined.
        if lowest == Lowest::AtMostZero && (fit.1 < 0.0 || !fit.0.is_finite()) {
            fit = (wxq / wqq, 0.0);
        }
        let error = error(x, weights, fit, high);
        if fit.0 > 0.0 && error < least {
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

/// The weighted squared error of rounding with this scale and minimum.
#[inline(always)]
fn error(x: &[f32], weights: &[f32], (scale, min): (f32, f32), high: i32) -> f32 {
    let inverse = inverse(scale);
    let integers = Range { low: 0, high };
    let [error] = sums(x, weights, |x, weight| {
        let off = x - (scale * integers.nearest((x + min) * inverse) - min);
        [weight * off * off]
    });
    error
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
    let mut block = Symmetric {
        scale: half(farthest(&wanted) / scale_range.low as f32),
        scales: [0; MAX_GROUPS],
        q: [0; MAX_BLOCK],
    };
    let mut best = block.clone();
    let mut least = f32::INFINITY;
    for _ in 0..PASSES {
        let (mut sum, mut xq, mut qq) = (0.0, 0.0, 0.0);
        for (i, (x, weights)) in x.chunks(group).zip(weights.chunks(group)).enumerate() {
            let near = scale_range.integer(wanted[i] * inverse(block.scale));
            let mut group_least = f32::INFINITY;
            for outer in (near - 1).max(scale_range.low)..=(near + 1).min(scale_range.high) {
                let scale = block.scale * outer as f32;
                let inverse = inverse(scale);
                let [error] = sums(x, weights, |x, weight| {
                    let off = x - scale * levels.nearest(x * inverse);
                    [weight * off * off]
                });
                if error < group_least {
                    group_least = error;
                    block.scales[i] = outer as i8;
                }
            }
            sum += group_least;
            let outer = f32::from(block.scales[i]);
            let inverse = inverse(block.scale * outer);
            for (j, (&x, &weight)) in x.iter().zip(weights).enumerate() {
                let q = levels.nearest(x * inverse);
                block.q[i * group + j] = q as i8;
                let q = outer * q;
                xq += weight * x * q;
                qq += weight * q * q;
            }
        }
        if sum < least {
            least = sum;
            best = block.clone();
        }
        let fit = half(xq / qq);
        if !fit.is_finite() || fit == block.scale {
            break;
        }
        block.scale = fit;
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
    let mut block = Affine {
        scale: half(largest(|wanted| wanted.0)),
        min: half(largest(|wanted| wanted.1)),
        scales: [0; MAX_GROUPS],
        mins: [0; MAX_GROUPS],
        q: [0; MAX_BLOCK],
    };
    let integers = Range { low: 0, high };
    let near = |x: f32| {
        let near = round(x).clamp(0, outer_high);
        (near - 1).max(0)..=(near + 1).min(outer_high)
    };
    let mut best = block.clone();
    let mut least = f32::INFINITY;
    for _ in 0..PASSES {
        // x is fitted with scale * a - min * b.
        let [mut sum, mut aa, mut ab, mut bb, mut xa, mut xb] = [0.0; 6];
        for (i, (x, weights)) in x.chunks(group).zip(weights.chunks(group)).enumerate() {
            let mut group_least = f32::INFINITY;
            for scale in near(wanted[i].0 * inverse(block.scale)) {
                for min in near(wanted[i].1 * inverse(block.min)) {
                    let candidate = (block.scale * scale as f32, block.min * min as f32);
                    let error = error(x, weights, candidate, high);
                    if error < group_least {
                        group_least = error;
                        (block.scales[i], block.mins[i]) = (scale as u8, min as u8);
                    }
                }
            }
            sum += group_least;
            let (scale, b) = (f32::from(block.scales[i]), f32::from(block.mins[i]));
            let inverse = inverse(block.scale * scale);
            for (j, (&x, &weight)) in x.iter().zip(weights).enumerate() {
                let q = integers.nearest((x + block.min * b) * inverse);
                block.q[i * group + j] = q as u8;
                let a = scale * q;
                aa += weight * a * a;
                ab += weight * a * b;
                bb += weight * b * b;
                xa += weight * x * a;
                xb += weight * x * b;
            }
        }
        if sum < least {
            least = sum;
            best = block.clone();
        }
        let determinant = aa * bb - ab * ab;
        let fit = if bb == 0.0 {
            (half(xa / aa), 0.0)
        } else {
            (half((xa * bb - xb * ab) / determinant), half((xa * ab - xb * aa) / determinant))
        };
        let usable = |x: f32| x.is_finite() && x >= 0.0;
        if !usable(fit.0) || !usable(fit.1) || fit == (block.scale, block.min) {
            break;
        }
        (block.scale, block.min) = fit;
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
