//! What recurrent layers do token by token: convolutions over the last positions, and the selective scan.

use super::elementwise::softplus;
use super::functions::{Silu, one};
use super::matmul::Cx;
use crate::model::plan::{Conv, StateSpace};
use crate::simd::{Isa, Kernel};

/// `x = conv(x)` for one token. `state` holds the inputs of the positions before, the oldest first, a row of all
/// channels each, and takes this one's.
pub(crate) fn convolve(conv: &Conv, weight: &[f32], bias: Option<&[f32]>, state: &mut [f32], x: &mut [f32]) {
    let Conv { taps, width, .. } = *conv;
    for (channel, (x, weight)) in x.iter_mut().zip(weight.chunks_exact(taps)).enumerate() {
        let past = state.get_mut(channel..).unwrap_or_default();
        let mut sum = bias.map_or(0.0, |bias| bias[channel]) + weight[taps - 1] * *x;
        for (k, weight) in weight[..taps - 1].iter().enumerate() {
            sum += weight * past[k * width];
            // One step back in time: the next position's value, or this token's.
            past[k * width] = if k + 2 < taps { past[(k + 1) * width] } else { *x };
        }
        *x = sum;
    }
}

/// What a scan multiplies with, an element per head.
#[derive(Clone, Copy)]
pub(crate) struct ScanWeights<'a> {
    pub(crate) dt_bias: &'a [f32],
    pub(crate) decay: &'a [f32],
    pub(crate) skip: &'a [f32],
}

/// The selective scan over a batch. `rows`: what the layer's input projection returned, with `x`, `b` and `c` already
/// convolved and activated; `state`: a row of `space.state` for every element of `x`; `out`: `y * silu(z)`, tokens x
/// `space.inner`.
pub(crate) fn scan(
    cx: &Cx<'_>,
    space: &StateSpace,
    weights: ScanWeights<'_>,
    rows: &[f32],
    state: &mut [f32],
    out: &mut [f32],
) {
    let per_head = space.head_dim() * space.state;
    for (head, state) in state.chunks_exact_mut(per_head).enumerate() {
        cx.level.run(Head { space, weights, head, rows, state, out });
    }
}

/// One head, all tokens of a batch.
struct Head<'a> {
    space: &'a StateSpace,
    weights: ScanWeights<'a>,
    head: usize,
    rows: &'a [f32],
    state: &'a mut [f32],
    out: &'a mut [f32],
}

impl Kernel for Head<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { space, weights, head, .. } = self;
        let (inner, width, head_dim) = (space.inner, space.state, space.head_dim());
        let group = head / (space.n_heads / space.n_groups);
        let (bias, decay, skip) = (weights.dt_bias[head], weights.decay[head], weights.skip[head]);
        for (row, out) in self.rows.chunks_exact(space.input.n_out).zip(self.out.chunks_exact_mut(inner)) {
            let (z, row) = row.split_at(inner);
            let (x, row) = row.split_at(inner);
            let (b, row) = row.split_at(space.n_groups * width);
            let (c, dt) = row.split_at(space.n_groups * width);
            let (b, c) = (&b[group * width..][..width], &c[group * width..][..width]);
            let (z, x) = (&z[head * head_dim..][..head_dim], &x[head * head_dim..][..head_dim]);
            let dt = softplus(dt[head] + bias);
            let keep = libm::expf(dt * decay);
            let out = &mut out[head * head_dim..][..head_dim];
            for ((state, out), (x, z)) in self.state.chunks_exact_mut(width).zip(out).zip(x.iter().zip(z)) {
                state.iter_mut().for_each(|s| *s *= keep);
                isa.axpy_f32(dt * x, b, state);
                *out = (isa.dot_f32(state, c) + skip * x) * one(Silu, *z);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_convolution_remembers_what_it_sees() {
        // Two channels, three taps.
        let conv = Conv { taps: 3, width: 2, weight: 0, bias: None };
        let weight = [1.0, 10.0, 100.0, 0.0, 0.0, 1.0];
        let mut state = [0.0; 4];
        let mut outputs = alloc::vec::Vec::new();
        for x in [1.0, 2.0, 3.0, 4.0] {
            let mut row = [x, -x];
            convolve(&conv, &weight, Some(&[0.5, 0.0]), &mut state, &mut row);
            outputs.push(row);
        }
        assert_eq!(outputs, [[100.5, -1.0], [210.5, -2.0], [321.5, -3.0], [432.5, -4.0]]);
        assert_eq!(state, [3.0, -3.0, 4.0, -4.0]);
    }

    #[test]
    fn a_convolution_of_one_tap_needs_no_state() {
        let conv = Conv { taps: 1, width: 2, weight: 0, bias: None };
        let mut row = [1.0, 2.0];
        convolve(&conv, &[3.0, 4.0], None, &mut [], &mut row);
        assert_eq!(row, [3.0, 8.0]);
    }
}
