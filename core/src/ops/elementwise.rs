//! Operations that look at one element at a time, and softmax.

use super::matmul::{Cx, Precision};
use crate::exec::for_chunks;
use crate::model::plan::Activation;
use crate::quant::float16::{f16_to_f32, f32_to_f16};
use crate::simd::{Isa, Kernel};

/// Elements that one task takes.
const CHUNK: usize = 4096;

/// Elements of a gate that are worked on between its two factors.
const BLOCK: usize = 64;

/// `hidden = act(hidden)`, in place.
pub(crate) fn activate(cx: &Cx<'_>, activation: Activation, hidden: &mut [f32]) {
    for_chunks(cx.exec_for(hidden.len()), hidden, CHUNK, |_, x| {
        cx.level.run(Activate { activation, precision: cx.precision, x });
    });
}

/// `up = act(gate) * up`, or what the activation makes of both, in place.
pub(crate) fn gate(cx: &Cx<'_>, activation: Activation, gate: &[f32], up: &mut [f32]) {
    for_chunks(cx.exec_for(up.len()), up, CHUNK, |i, up| {
        let gate = &gate[i * CHUNK..][..up.len()];
        cx.level.run(Gate { activation, precision: cx.precision, gate, up });
    });
}

/// `out = act(gate) * up` where each row of `both` is a gate of `hidden` elements and then as many of `up`.
pub(crate) fn gate_fused(cx: &Cx<'_>, activation: Activation, both: &[f32], hidden: usize, out: &mut [f32]) {
    for_chunks(cx.exec_for(out.len()), out, hidden, |row, out| {
        let (gate, up) = both[2 * row * hidden..][..2 * hidden].split_at(hidden);
        out.copy_from_slice(up);
        cx.level.run(Gate { activation, precision: cx.precision, gate, up: out });
    });
}

/// `x = act(x)`: loops over functions without branches, which the compiler turns into vectors.
struct Activate<'a> {
    activation: Activation,
    precision: Precision,
    x: &'a mut [f32],
}

impl Kernel for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, _: I) {
        match (self.activation, self.precision) {
            (Activation::Silu, _) => each(self.x, silu),
            (Activation::GeluTanh, Precision::Fast) => each(self.x, gelu_tanh),
            (Activation::GeluTanh, Precision::Exact) => each(self.x, gelu_tanh_of_ggml),
            (Activation::GeluErf, _) => each(self.x, gelu_erf),
            (Activation::ReluSquared, _) => each(self.x, relu_squared),
            (Activation::SiluClamped, _) => each(self.x, silu_clamped),
        }
    }
}

#[inline(always)]
fn each(x: &mut [f32], function: impl Fn(f32) -> f32) {
    for x in x {
        *x = function(*x);
    }
}

/// `up = act(gate) * up`.
struct Gate<'a> {
    activation: Activation,
    precision: Precision,
    gate: &'a [f32],
    up: &'a mut [f32],
}

impl Kernel for Gate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { activation, precision, gate, up } = self;
        let mut acted = [0.0; BLOCK];
        for (gate, up) in gate.chunks(BLOCK).zip(up.chunks_mut(BLOCK)) {
            let acted = &mut acted[..gate.len()];
            acted.copy_from_slice(gate);
            isa.enter(Activate { activation, precision, x: acted });
            for (up, acted) in up.iter_mut().zip(acted) {
                *up = *acted * beside(activation, *up);
            }
        }
    }
}

/// gpt-oss keeps gates below this, and what they multiply within as much of 0.
const LIMIT: f32 = 7.0;

/// What a gate multiplies, made of the up projection.
#[inline(always)]
fn beside(activation: Activation, up: f32) -> f32 {
    match activation {
        Activation::SiluClamped => up.clamp(-LIMIT, LIMIT) + 1.0,
        Activation::Silu | Activation::GeluTanh | Activation::GeluErf | Activation::ReluSquared => up,
    }
}

/// `x * (1 + tanh(u)) / 2`, which is `x * sigmoid(2 u)`.
#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    const SQRT_8_OVER_PI: f32 = 1.595_769;
    x * sigmoid(SQRT_8_OVER_PI * (x + 0.044715 * x * x * x))
}

#[inline(always)]
fn gelu_erf(x: f32) -> f32 {
    0.5 * x * (1.0 + libm::erff(x * core::f32::consts::FRAC_1_SQRT_2))
}

#[inline(always)]
fn relu_squared(x: f32) -> f32 {
    let positive = x.max(0.0);
    positive * positive
}

#[inline(always)]
fn silu_clamped(x: f32) -> f32 {
    let x = x.min(LIMIT);
    x * sigmoid(1.702 * x)
}

/// ggml's CPU backend takes GELU from a table over half-precision arguments. [`Precision::Exact`] exists to compare
/// an engine's numbers with that one's, so it rounds at the same two places; this alone is 4e-3 in Gemma's logits.
#[inline(always)]
fn gelu_tanh_of_ggml(x: f32) -> f32 {
    let half = |x| f16_to_f32(f32_to_f16(x));
    half(gelu_tanh(half(x)))
}

/// `x * sigmoid(x)`.
#[inline(always)]
pub(crate) fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

/// `1 / (1 + exp(-x))`.
#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `e^x`, at most 3e-7 of itself away where it is a normal number; 0 below, infinite above. There is no branch and no
/// table: a loop over it becomes vectors.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`, so `e^x = 2^n e^r`; the series of `e^r` ends after the seventh power, whose
/// successors add less than 6e-9.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // Adding this leaves the nearest integer in the low bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    // Two parts of ln 2, the first with so few bits that its products with `n` are exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    const LOWEST: f32 = -87.3;
    const HIGHEST: f32 = 88.7;
    let n = x.clamp(LOWEST, HIGHEST) * core::f32::consts::LOG2_E + ROUND;
    let whole = n - ROUND;
    let r = x.clamp(LOWEST, HIGHEST) - whole * LN_2[0] - whole * LN_2[1];
    let series = r / 5040.0 + 1.0 / 720.0;
    let series = series * r + 1.0 / 120.0;
    let series = series * r + 1.0 / 24.0;
    let series = series * r + 1.0 / 6.0;
    let series = series * r + 0.5;
    let series = series * r * r + r + 1.0;
    // 2^n in two factors: n is up to 128.
    let half = (n.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32) >> 1;
    let rest = (n.to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32).wrapping_sub(half);
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) as u32) << 23);
    let e = series * power(half) * power(rest);
    let e = if x < LOWEST { 0.0 } else { e };
    if x > HIGHEST { f32::INFINITY } else { e }
}

/// `ln(1 + exp(x))`.
pub(crate) fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { libm::log1pf(libm::expf(x)) }
}

/// `x += scale * y`.
pub(crate) fn add_scaled(x: &mut [f32], scale: f32, y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += scale * y);
}

/// Adds `bias` to every row of `x`.
pub(crate) fn add_to_rows(x: &mut [f32], bias: &[f32]) {
    x.chunks_exact_mut(bias.len()).for_each(|x| add_scaled(x, 1.0, bias));
}

/// `cap * tanh(x / cap)`, at most 3e-7 times the cap away. `tanh(x)` is `2 sigmoid(2 x) - 1`.
#[inline(always)]
pub(crate) fn softcap(cap: f32, x: f32) -> f32 {
    cap * (2.0 * sigmoid(2.0 / cap * x) - 1.0)
}

/// Probabilities out of scores, in place.
pub(crate) fn softmax(x: &mut [f32]) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for x in x.iter_mut() {
        *x = exp(*x - max);
        sum += *x;
    }
    x.iter_mut().for_each(|x| *x /= sum);
}

/// Scales `x` to length 1; a vector of zeros stays.
pub(crate) fn l2_normalize(x: &mut [f32]) {
    let sum: f64 = x.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    if sum > 0.0 {
        let scale = (1.0 / libm::sqrt(sum)) as f32;
        x.iter_mut().for_each(|x| *x *= scale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Inline;
    use crate::simd::Level;

    #[test]
    fn activations_at_points_known_by_definition() {
        let close = |activation, x, expected: f32| {
            let cx = Cx { level: Level::baseline(), exec: &Inline, precision: Precision::Fast };
            let mut hidden = [x];
            activate(&cx, activation, &mut hidden);
            assert!((hidden[0] - expected).abs() < 1e-6, "{activation:?} {x}: {hidden:?} {expected}");
        };
        close(Activation::Silu, 1.0, 0.731_058_6);
        close(Activation::Silu, -200.0, 0.0);
        close(Activation::GeluTanh, 1.0, 0.841_192);
        close(Activation::GeluErf, 1.0, 0.841_344_7);
        close(Activation::GeluErf, -1.0, -0.158_655_3);
        close(Activation::ReluSquared, 3.0, 9.0);
        close(Activation::ReluSquared, -3.0, 0.0);
        close(Activation::SiluClamped, 1.0, 0.845_795_8);
        close(Activation::SiluClamped, 100.0, 6.999_953);
    }

    #[test]
    fn exp_is_as_close_as_it_says() {
        for i in -87_290..=88_690 {
            let x = i as f32 / 1000.0;
            let exact = libm::exp(f64::from(x));
            let error = (f64::from(exp(x)) / exact - 1.0).abs();
            assert!(error <= 3e-7, "e^{x}: {} is {error:e} away", exp(x));
        }
        assert_eq!([exp(0.0), exp(-88.0), exp(f32::NEG_INFINITY)], [1.0, 0.0, 0.0]);
        assert_eq!([exp(88.8), exp(f32::INFINITY)], [f32::INFINITY; 2]);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn clamped_gates_multiply_one_more() {
        let cx = Cx { level: Level::baseline(), exec: &Inline, precision: Precision::Fast };
        let mut up = [0.0, 100.0, -100.0];
        gate(&cx, Activation::SiluClamped, &[1.0; 3], &mut up);
        [1.0, 8.0, -6.0]
            .iter()
            .zip(up)
            .for_each(|(x, up)| assert!((x * 0.845_795_8 - up).abs() < 1e-5, "{up}"));
    }

    #[test]
    fn softplus_at_points_known_by_definition() {
        for (x, expected) in [(0.0, core::f32::consts::LN_2), (30.0, 30.0), (-30.0, 9.357_623e-14)] {
            assert!((softplus(x) / expected - 1.0).abs() < 1e-6, "{x}");
        }
    }

    #[test]
    fn softmax_is_stable_and_adds_up() {
        let mut x = [1000.0, 1000.0, -1000.0];
        softmax(&mut x);
        assert_eq!(x, [0.5, 0.5, 0.0]);
    }
}
