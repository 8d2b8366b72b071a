//! Operations that look at one element at a time, and softmax.

use super::matmul::{Cx, Precision};
use crate::exec::for_chunks;
use crate::model::plan::Activation;
use crate::quant::float16::{f16_to_f32, f32_to_f16};

/// Elements that one task takes.
const CHUNK: usize = 4096;

/// `hidden = act(hidden)`, in place.
pub(crate) fn activate(cx: &Cx<'_>, activation: Activation, hidden: &mut [f32]) {
    let function = function(cx, activation);
    for_chunks(cx.exec_for(hidden.len()), hidden, CHUNK, |_, hidden| {
        hidden.iter_mut().for_each(|x| *x = function(*x));
    });
}

/// `up = act(gate) * up`, or what the activation makes of both, in place.
pub(crate) fn gate(cx: &Cx<'_>, activation: Activation, gate: &[f32], up: &mut [f32]) {
    let function = function(cx, activation);
    for_chunks(cx.exec_for(up.len()), up, CHUNK, |i, up| {
        let gate = &gate[i * CHUNK..][..up.len()];
        up.iter_mut().zip(gate).for_each(|(up, &gate)| *up = function(gate) * beside(activation, *up));
    });
}

/// `out = act(gate) * up` where each row of `both` is a gate of `hidden` elements and then as many of `up`.
pub(crate) fn gate_fused(cx: &Cx<'_>, activation: Activation, both: &[f32], hidden: usize, out: &mut [f32]) {
    let function = function(cx, activation);
    for_chunks(cx.exec_for(out.len()), out, hidden, |row, out| {
        let (gate, up) = both[2 * row * hidden..][..2 * hidden].split_at(hidden);
        for ((out, &gate), &up) in out.iter_mut().zip(gate).zip(up) {
            *out = function(gate) * beside(activation, up);
        }
    });
}

/// The function of an activation.
fn function(cx: &Cx<'_>, activation: Activation) -> fn(f32) -> f32 {
    match (activation, cx.precision) {
        (Activation::Silu, _) => silu,
        (Activation::GeluTanh, Precision::Fast) => gelu_tanh,
        (Activation::GeluTanh, Precision::Exact) => gelu_tanh_of_ggml,
        (Activation::GeluErf, _) => |x| 0.5 * x * (1.0 + libm::erff(x * core::f32::consts::FRAC_1_SQRT_2)),
        (Activation::ReluSquared, _) => |x| {
            let positive = x.max(0.0);
            positive * positive
        },
        (Activation::SiluClamped, _) => |x| {
            let x = x.min(LIMIT);
            x * sigmoid(1.702 * x)
        },
    }
}

/// gpt-oss keeps gates below this, and what they multiply within as much of 0.
const LIMIT: f32 = 7.0;

/// What a gate multiplies, made of the up projection.
fn beside(activation: Activation, up: f32) -> f32 {
    match activation {
        Activation::SiluClamped => up.clamp(-LIMIT, LIMIT) + 1.0,
        Activation::Silu | Activation::GeluTanh | Activation::GeluErf | Activation::ReluSquared => up,
    }
}

fn gelu_tanh(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    0.5 * x * (1.0 + libm::tanhf(SQRT_2_OVER_PI * (x + 0.044715 * x * x * x)))
}

/// ggml's CPU backend takes GELU from a table over half-precision arguments. [`Precision::Exact`] exists to compare
/// an engine's numbers with that one's, so it rounds at the same two places; this alone is 4e-3 in Gemma's logits.
fn gelu_tanh_of_ggml(x: f32) -> f32 {
    let half = |x| f16_to_f32(f32_to_f16(x));
    half(gelu_tanh(half(x)))
}

/// `x * sigmoid(x)`.
pub(crate) fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

/// `1 / (1 + exp(-x))`.
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + libm::expf(-x))
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

/// `cap * tanh(x / cap)`.
pub(crate) fn softcap(cap: f32, x: f32) -> f32 {
    cap * libm::tanhf(x / cap)
}

/// Probabilities out of scores, in place.
pub(crate) fn softmax(x: &mut [f32]) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for x in x.iter_mut() {
        *x = libm::expf(*x - max);
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
