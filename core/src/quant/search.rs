//! Finding scales: what the encoders share.

/// The nearest integer, halves away from zero; saturates, and NaN becomes 0.
#[inline]
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
pub(super) fn farthest(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |far: f32, &x| if x.abs() > far.abs() { x } else { far })
}

/// The lowest and the highest value.
pub(super) fn extremes(x: &[f32]) -> (f32, f32) {
    x.iter().fold((f32::MAX, f32::MIN), |(low, high), &x| (low.min(x), high.max(x)))
}

/// `1 / x`, or 0 for 0.
pub(super) fn inverse(x: f32) -> f32 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
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
}
