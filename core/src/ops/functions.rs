//! Functions of eight numbers at once: without branches and tables, the same steps on every instruction set.

use crate::simd::{Isa, Scalar};

/// A function that is applied lane by lane.
pub(crate) trait Function: Copy + Sync {
    /// Its values.
    fn of<I: Isa>(self, isa: I, x: I::F32x8) -> I::F32x8;
}

/// A function of one number.
#[inline(always)]
pub(crate) fn one(function: impl Function, x: f32) -> f32 {
    // The other lanes are computed for nobody, so the compiler leaves them out.
    function.of(Scalar, [x; 8])[0]
}

/// `e^x`, at most 3e-7 of itself away between -86.6 and 88.3; below that 0, above it what it is there. NaN stays.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`, so `e^x = 2^n e^r`, and `e^r = 1 + r + r^2 p(r)` with the polynomial of fourth
/// degree that is closest (within 1.1e-8).
#[derive(Clone, Copy)]
pub(crate) struct Exp;

impl Function for Exp {
    #[inline(always)]
    fn of<I: Isa>(self, isa: I, x: I::F32x8) -> I::F32x8 {
        const LOWEST: f32 = -86.6;
        const HIGHEST: f32 = 88.3;
        // Adding this leaves the nearest integer in the low bits of the sum.
        const ROUND: f32 = 12_582_912.0;
        // Two parts of ln 2, the first with so few bits that its products with `n` are exact.
        const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
        const P: [f32; 5] = [0.5, 0.166_665_76, 0.041_666_463, 0.008_363_205, 0.001_393_368_8];
        let splat = |x| isa.splat(x);
        let within = isa.min(splat(HIGHEST), isa.max(splat(LOWEST), x));
        let n = isa.mul_add(within, splat(core::f32::consts::LOG2_E), splat(ROUND));
        let whole = isa.add(n, splat(-ROUND));
        let r = isa.neg_mul_add(whole, splat(LN_2[0]), within);
        let r = isa.neg_mul_add(whole, splat(LN_2[1]), r);
        let p = isa.mul_add(splat(P[4]), r, splat(P[3]));
        let p = isa.mul_add(p, r, splat(P[2]));
        let p = isa.mul_add(p, r, splat(P[1]));
        let p = isa.mul_add(p, r, splat(P[0]));
        let e = isa.add(isa.mul_add(p, isa.mul(r, r), r), splat(1.0));
        isa.zero_below(isa.times_power_of_2(e, n), x, LOWEST)
    }
}

/// `1 / (1 + e^-x)`, at most 1.5e-7 away.
#[derive(Clone, Copy)]
pub(crate) struct Sigmoid;

impl Function for Sigmoid {
    #[inline(always)]
    fn of<I: Isa>(self, isa: I, x: I::F32x8) -> I::F32x8 {
        times_sigmoid(isa, isa.splat(1.0), x)
    }
}

/// `x * sigmoid(y)`
#[inline(always)]
fn times_sigmoid<I: Isa>(isa: I, x: I::F32x8, y: I::F32x8) -> I::F32x8 {
    isa.div(x, isa.add(isa.splat(1.0), Exp.of(isa, isa.neg(y))))
}

/// `x * sigmoid(x)`
#[derive(Clone, Copy)]
pub(crate) struct Silu;

impl Function for Silu {
    #[inline(always)]
    fn of<I: Isa>(self, isa: I, x: I::F32x8) -> I::F32x8 {
        times_sigmoid(isa, x, x)
    }
}

/// `x * (1 + tanh(u)) / 2` with `u = sqrt(2 / pi) (x + 0.044715 x^3)`, which is `x * sigmoid(2 u)`.
#[derive(Clone, Copy)]
pub(crate) struct GeluTanh;

impl Function for GeluTanh {
    #[inline(always)]
    fn of<I: Isa>(self, isa: I, x: I::F32x8) -> I::F32x8 {
        const SQRT_8_OVER_PI: f32 = 1.595_769;
        let factor =
            isa.mul_add(isa.mul(x, x), isa.splat(0.044715 * SQRT_8_OVER_PI), isa.splat(SQRT_8_OVER_PI));
        times_sigmoid(isa, x, isa.mul(x, factor))
    }
}

/// ggml's CPU backend takes GELU from a table over half-precision arguments. [`super::matmul::Precision::Exact`] exists
/// to compare an engine's numbers with that one's, so it rounds at the same two places; this alone is 4e-3 in Gemma's
/// logits.
#[derive(Clone, Copy)]
pub(crate) struct GeluTanhOfGgml;

impl Function for GeluTanhOfGgml {
    #[inline(always)]
    fn of<I: Isa>(self, isa: I, x: I::F32x8) -> I::F32x8 {
        let x = isa.widen_f16(isa.narrow_f16(x));
        isa.widen_f16(isa.narrow_f16(GeluTanh.of(isa, x)))
    }
}

/// `x * (1 + erf(x / sqrt(2))) / 2`, at most 1.5e-7 times `max(1, |x|)` away: the tail by formula 7.1.26 of Abramowitz
/// and Stegun, mirrored below zero.
#[derive(Clone, Copy)]
pub(crate) struct GeluErf;

impl Function for GeluErf {
    #[inline(always)]
    fn of<I: Isa>(self, isa: I, x: I::F32x8) -> I::F32x8 {
        const A: [f32; 5] = [0.254_829_6, -0.284_496_74, 1.421_413_7, -1.453_152, 1.061_405_4];
        let splat = |x| isa.splat(x);
        let size = isa.max_abs(x, x);
        let z = isa.mul(size, splat(core::f32::consts::FRAC_1_SQRT_2));
        let t = isa.div(splat(1.0), isa.mul_add(z, splat(0.327_591_1), splat(1.0)));
        let p = isa.mul_add(splat(A[4]), t, splat(A[3]));
        let p = isa.mul_add(p, t, splat(A[2]));
        let p = isa.mul_add(p, t, splat(A[1]));
        let p = isa.mul_add(p, t, splat(A[0]));
        let tail = isa.mul(isa.mul(p, t), Exp.of(isa, isa.neg(isa.mul(z, z))));
        isa.neg_mul_add(isa.mul(size, splat(0.5)), tail, isa.max(splat(0.0), x))
    }
}

/// `max(x, 0)^2`
#[derive(Clone, Copy)]
pub(crate) struct ReluSquared;

impl Function for ReluSquared {
    #[inline(always)]
    fn of<I: Isa>(self, isa: I, x: I::F32x8) -> I::F32x8 {
        let positive = isa.max(isa.zero(), x);
        isa.mul(positive, positive)
    }
}

/// gpt-oss keeps gates below this, and what they multiply within as much of 0.
pub(crate) const LIMIT: f32 = 7.0;

/// `x * sigmoid(1.702 x)` of `x`, at most [`LIMIT`].
#[derive(Clone, Copy)]
pub(crate) struct SiluClamped;

impl Function for SiluClamped {
    #[inline(always)]
    fn of<I: Isa>(self, isa: I, x: I::F32x8) -> I::F32x8 {
        let x = isa.min(isa.splat(LIMIT), x);
        times_sigmoid(isa, x, isa.mul(x, isa.splat(1.702)))
    }
}

/// `max(-LIMIT, min(LIMIT, x)) + 1`: what a [`SiluClamped`] gate multiplies.
#[derive(Clone, Copy)]
pub(crate) struct ClampedAndOne;

impl Function for ClampedAndOne {
    #[inline(always)]
    fn of<I: Isa>(self, isa: I, x: I::F32x8) -> I::F32x8 {
        isa.add(isa.min(isa.splat(LIMIT), isa.max(isa.splat(-LIMIT), x)), isa.splat(1.0))
    }
}

/// The number itself.
#[derive(Clone, Copy)]
pub(crate) struct Same;

impl Function for Same {
    #[inline(always)]
    fn of<I: Isa>(self, _: I, x: I::F32x8) -> I::F32x8 {
        x
    }
}

/// `cap * tanh(x / cap)`, at most 3e-7 times the cap away: `tanh(x)` is `2 sigmoid(2 x) - 1`.
#[derive(Clone, Copy)]
pub(crate) struct Softcap(pub(crate) f32);

impl Function for Softcap {
    #[inline(always)]
    fn of<I: Isa>(self, isa: I, x: I::F32x8) -> I::F32x8 {
        let sigmoid = Sigmoid.of(isa, isa.mul(x, isa.splat(2.0 / self.0)));
        isa.mul_add(sigmoid, isa.splat(2.0 * self.0), isa.splat(-self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simd::{Kernel, Level};

    struct Call<F>(F, f32);

    impl<F: Function> Kernel for Call<F> {
        type Output = f32;

        #[inline(always)]
        fn run<I: Isa>(self, isa: I) -> f32 {
            isa.to_array(self.0.of(isa, isa.splat(self.1)))[7]
        }
    }

    /// Compares with a function in double precision, on the portable level and the compiler's own; `size` tells what
    /// an error is a share of.
    fn check(
        function: impl Function,
        exact: impl Fn(f64) -> f64,
        range: [f32; 2],
        error: f64,
        size: impl Fn(f64, f64) -> f64,
    ) {
        for level in [Level::Scalar, Level::baseline()] {
            for i in 0..=20_000 {
                let x = range[0] + (range[1] - range[0]) * (i as f32 / 20_000.0);
                let (found, expected) = (f64::from(level.run(Call(function, x))), exact(f64::from(x)));
                let share = (found - expected).abs() / size(f64::from(x), expected);
                assert!(share <= error, "{} of {x}: {found}, not {expected}: {share:e}", level.name());
            }
        }
    }

    #[test]
    fn exp_is_as_close_as_it_says() {
        check(Exp, libm::exp, [-86.6, 88.3], 3e-7, |_, e| e);
        assert_eq!([0.0, -87.0, f32::NEG_INFINITY].map(|x| one(Exp, x)), [1.0, 0.0, 0.0]);
        assert_eq!(one(Exp, f32::INFINITY), one(Exp, 88.3));
        assert!(one(Exp, f32::NAN).is_nan());
    }

    #[test]
    fn the_others_are_as_close_as_they_say() {
        let sigmoid = |x: f64| 1.0 / (1.0 + libm::exp(-x));
        let gelu_erf = |x: f64| 0.5 * x * (1.0 + libm::erf(x * core::f64::consts::FRAC_1_SQRT_2));
        let gelu_tanh =
            |x: f64| x * sigmoid(libm::sqrt(8.0 / core::f64::consts::PI) * (x + 0.044715 * x * x * x));
        let larger = |x: f64, _| x.abs().max(1.0);
        check(Sigmoid, sigmoid, [-100.0, 100.0], 1.5e-7, |_, _| 1.0);
        check(Silu, |x| x * sigmoid(x), [-20.0, 20.0], 1.5e-7, larger);
        check(GeluTanh, gelu_tanh, [-10.0, 10.0], 3e-7, larger);
        check(GeluErf, gelu_erf, [-10.0, 10.0], 2.5e-7, larger);
        for cap in [1.0, 30.0, 50.0] {
            let exact = |x: f64| f64::from(cap) * libm::tanh(x / f64::from(cap));
            check(Softcap(cap), exact, [-200.0, 200.0], 3e-7, |_, _| f64::from(cap));
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        fn stays(function: impl Function) {
            assert!(one(function, f32::NAN).is_nan());
        }
        stays(Silu);
        stays(GeluTanh);
        stays(GeluErf);
        stays(ReluSquared);
        stays(SiluClamped);
        stays(Softcap(2.0));
    }
}
