//! Operations that look at one element at a time, and softmax.

use super::functions::{
    ClampedAndOne, Exp, Function, GeluErf, GeluTanh, GeluTanhOfGgml, ReluSquared, Same, Silu, SiluClamped,
    one,
};
use super::matmul::{Cx, Precision};
use crate::exec::for_chunks;
use crate::model::plan::Activation;
use crate::simd::{Isa, Kernel};

/// Elements that one task takes.
const CHUNK: usize = 4096;

/// `hidden = act(hidden)`, in place.
pub fn activate(cx: &Cx<'_>, activation: Activation, hidden: &mut [f32]) {
    for_chunks(cx.exec_for(hidden.len()), hidden, CHUNK, |_, x| {
        cx.level.run(Activate { activation, precision: cx.precision, x });
    });
}

/// `up = act(gate) * up`, or what the activation makes of both, in place.
pub fn gate(cx: &Cx<'_>, activation: Activation, gate: &[f32], up: &mut [f32]) {
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

/// `x = f(x)`, in place.
pub(crate) fn map(cx: &Cx<'_>, function: impl Function, x: &mut [f32]) {
    for_chunks(cx.exec_for(x.len()), x, CHUNK, |_, x| cx.level.run(Map { function, x }));
}

struct Map<'a, F> {
    function: F,
    x: &'a mut [f32],
}

impl<F: Function> Kernel for Map<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let (eights, rest) = self.x.as_chunks_mut::<8>();
        for x in eights {
            isa.store(self.function.of(isa, isa.load(x)), x);
        }
        let mut last = filled(rest);
        last = isa.to_array(self.function.of(isa, isa.load(&last)));
        rest.copy_from_slice(&last[..rest.len()]);
    }
}

/// `x = act(x)`.
struct Activate<'a> {
    activation: Activation,
    precision: Precision,
    x: &'a mut [f32],
}

impl Kernel for Activate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let x = self.x;
        match (self.activation, self.precision) {
            (Activation::Silu, _) => isa.enter(Map { function: Silu, x }),
            (Activation::GeluTanh, Precision::Fast) => isa.enter(Map { function: GeluTanh, x }),
            (Activation::GeluTanh, Precision::Exact) => isa.enter(Map { function: GeluTanhOfGgml, x }),
            (Activation::GeluErf, _) => isa.enter(Map { function: GeluErf, x }),
            (Activation::ReluSquared, _) => isa.enter(Map { function: ReluSquared, x }),
            (Activation::SiluClamped, _) => isa.enter(Map { function: SiluClamped, x }),
        }
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
        let Self { gate, up, .. } = self;
        match (self.activation, self.precision) {
            (Activation::Silu, _) => isa.enter(Multiply { of_gate: Silu, gate, of_up: Same, up }),
            (Activation::GeluTanh, Precision::Fast) => {
                isa.enter(Multiply { of_gate: GeluTanh, gate, of_up: Same, up });
            }
            (Activation::GeluTanh, Precision::Exact) => {
                isa.enter(Multiply { of_gate: GeluTanhOfGgml, gate, of_up: Same, up });
            }
            (Activation::GeluErf, _) => isa.enter(Multiply { of_gate: GeluErf, gate, of_up: Same, up }),
            (Activation::ReluSquared, _) => {
                isa.enter(Multiply { of_gate: ReluSquared, gate, of_up: Same, up });
            }
            (Activation::SiluClamped, _) => {
                isa.enter(Multiply { of_gate: SiluClamped, gate, of_up: ClampedAndOne, up });
            }
        }
    }
}

/// `up = of_gate(gate) * of_up(up)`.
struct Multiply<'a, F, G> {
    of_gate: F,
    gate: &'a [f32],
    of_up: G,
    up: &'a mut [f32],
}

impl<F: Function, G: Function> Kernel for Multiply<'_, F, G> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { of_gate, of_up, .. } = self;
        let (gates, last_gate) = self.gate.as_chunks::<8>();
        let (ups, last_up) = self.up.as_chunks_mut::<8>();
        for (gate, up) in gates.iter().zip(ups) {
            let product = isa.mul(of_gate.of(isa, isa.load(gate)), of_up.of(isa, isa.load(up)));
            isa.store(product, up);
        }
        let (gate, up) = (isa.load(&filled(last_gate)), isa.load(&filled(last_up)));
        let product = isa.to_array(isa.mul(of_gate.of(isa, gate), of_up.of(isa, up)));
        last_up.copy_from_slice(&product[..last_up.len()]);
    }
}

/// Less than eight numbers, and zeros.
#[inline(always)]
fn filled(rest: &[f32]) -> [f32; 8] {
    let mut last = [0.0; 8];
    last[..rest.len()].copy_from_slice(rest);
    last
}

/// `ln(1 + exp(x))`.
pub(crate) fn softplus(x: f32) -> f32 {
    if x > 20.0 { x } else { libm::log1pf(libm::expf(x)) }
}

/// `x += scale * y`.
pub(crate) fn add_scaled(x: &mut [f32], scale: f32, y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += scale * y);
}

/// `x += scale * y`, rows of `row` elements each, by several threads if that pays.
pub(crate) fn add_rows(cx: &Cx<'_>, scale: f32, y: &[f32], row: usize, x: &mut [f32]) {
    for_chunks(cx.exec_for(x.len()), x, row, |i, x| {
        add_scaled(x, scale, &y[i * row..][..row]);
    });
}

/// Adds `bias` to every row of `x`.
pub(crate) fn add_to_rows(x: &mut [f32], bias: &[f32]) {
    x.chunks_exact_mut(bias.len()).for_each(|x| add_scaled(x, 1.0, bias));
}

/// Probabilities out of scores, in place.
pub(crate) fn softmax(x: &mut [f32]) {
    let max = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for x in x.iter_mut() {
        *x = one(Exp, *x - max);
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
