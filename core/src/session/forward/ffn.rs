//! The half of a block that looks at its own position: dense, or a mixture of experts.

use super::{Pass, apply, weights};
use crate::model::plan::{Experts, Linear, Mlp, RouterWeights, Stacked, Up};
use crate::ops::elementwise::{activate, add_scaled, add_to_rows, gate, gate_fused, softmax};
use crate::ops::functions::{Sigmoid, one};
use crate::ops::matmul::{matmul, matmuls};
use crate::ops::norm::normalize;
use crate::session::buffers::Buffers;

impl Pass<'_> {
    /// `o = mlp(h)`
    pub(super) fn mlp(&mut self, mlp: &Mlp) {
        let (n, width) = (self.positions.n, self.width());
        let (cx, model) = (&self.cx, self.model);
        let Buffers { h, o, gate: gate_buffer, up, fused, activations, .. } = &mut *self.buffers;
        let (h, up) = (&h[..width], &mut up[..n * mlp.hidden]);
        match &mlp.up {
            Up::Plain(w) => {
                apply(cx, model, activations, h, [(w, &mut *up)]);
                activate(cx, mlp.activation, up);
            }
            Up::Gated { gate: w_gate, up: w_up } => {
                let gates = &mut gate_buffer[..n * mlp.hidden];
                apply(cx, model, activations, h, [(w_gate, &mut *gates), (w_up, &mut *up)]);
                gate(cx, mlp.activation, gates, up);
            }
            Up::GatedFused(w) => {
                let both = &mut fused[..n * w.n_out];
                apply(cx, model, activations, h, [(w, &mut *both)]);
                gate_fused(cx, mlp.activation, both, mlp.hidden, up);
            }
        }
        if let Some(norm) = &mlp.sub_norm {
            normalize(cx, weights(model, norm), mlp.hidden, mlp.hidden, up);
        }
        apply(cx, model, activations, up, [(&mlp.down, &mut o[..n * mlp.down.n_out])]);
    }

    /// `o = experts(h)`
    pub(super) fn experts(&mut self, experts: &Experts) {
        let width = self.width();
        match &experts.shared {
            None => self.buffers.o[..width].fill(0.0),
            Some(shared) => {
                self.mlp(&shared.mlp);
                if let Some(gate) = &shared.gate {
                    self.weigh_shared(gate);
                }
            }
        }
        self.route(experts);
        for expert in 0..experts.n_experts {
            self.expert(experts, expert);
        }
    }

    /// Multiplies the shared expert's output by the sigmoid of a projection of `h`.
    fn weigh_shared(&mut self, shared_gate: &Linear) {
        let (n, dim, width) = (self.positions.n, self.dim(), self.width());
        let Buffers { h, o, router, activations, .. } = &mut *self.buffers;
        let scores = &mut router[..n];
        apply(&self.cx, self.model, activations, &h[..width], [(shared_gate, &mut *scores)]);
        for (o, score) in o[..width].chunks_exact_mut(dim).zip(scores) {
            let weight = one(Sigmoid, *score);
            o.iter_mut().for_each(|x| *x *= weight);
        }
    }

    /// Chooses every token's experts and their weights.
    fn route(&mut self, experts: &Experts) {
        let (n, width) = (self.positions.n, self.width());
        let Buffers { h, router, chosen, chosen_weight, activations, .. } = &mut *self.buffers;
        let scores = &mut router[..n * experts.n_experts];
        apply(&self.cx, self.model, activations, &h[..width], [(&experts.router, &mut *scores)]);
        let bias = experts.routing.choice_bias.map(|bias| self.model.vector(bias));
        let rows = scores.chunks_exact_mut(experts.n_experts);
        let chosen =
            chosen.chunks_exact_mut(experts.n_used).zip(chosen_weight.chunks_exact_mut(experts.n_used));
        for (scores, (chosen, weights)) in rows.zip(chosen) {
            choose(experts, bias, scores, chosen, weights);
        }
    }

    /// Lets one expert work on the tokens that chose it, and adds what it returns to `o`.
    fn expert(&mut self, experts: &Experts, expert: usize) {
        let (n, dim) = (self.positions.n, self.dim());
        let (cx, model) = (&self.cx, self.model);
        let Buffers {
            h,
            o,
            gate: gate_buffer,
            up,
            chosen,
            chosen_weight,
            gathered,
            expert_out,
            origin,
            activations,
            ..
        } = &mut *self.buffers;
        let mut tokens = 0;
        for (i, &choice) in chosen[..n * experts.n_used].iter().enumerate() {
            if choice as usize == expert {
                let token = i / experts.n_used;
                gathered[tokens * dim..][..dim].copy_from_slice(&h[token * dim..][..dim]);
                origin[tokens] = i as u32;
                tokens += 1;
            }
        }
        if tokens == 0 {
            return;
        }
        let [w_gate, w_up, w_down] = [experts.gate, experts.up, experts.down]
            .map(|w| model.expert(w.weight, expert, experts.n_experts));
        let finish = |stacked: &Stacked, rows: &mut [f32]| {
            if let Some(scale) = stacked.scale {
                let scale = model.vector(scale)[expert];
                rows.iter_mut().for_each(|x| *x *= scale);
            }
            if let Some(bias) = stacked.bias {
                let bias = model.vector(bias);
                let width = bias.len() / experts.n_experts;
                add_to_rows(rows, &bias[expert * width..][..width]);
            }
        };
        let (gates, up) = (&mut gate_buffer[..tokens * experts.hidden], &mut up[..tokens * experts.hidden]);
        let input = activations.prepare(cx, &gathered[..tokens * dim], dim, [w_gate.dtype(), w_up.dtype()]);
        matmuls(cx, &[w_gate, w_up], &input, [&mut *gates, &mut *up]);
        finish(&experts.gate, gates);
        finish(&experts.up, up);
        gate(cx, experts.activation, gates, up);
        let out = &mut expert_out[..tokens * dim];
        let input = activations.prepare(cx, up, experts.hidden, [w_down.dtype()]);
        matmul(cx, &w_down, &input, out);
        finish(&experts.down, out);
        for (row, &i) in out.chunks_exact(dim).zip(&*origin) {
            let token = i as usize / experts.n_used;
            add_scaled(&mut o[token * dim..][..dim], chosen_weight[i as usize], row);
        }
    }
}

/// One token's experts and their weights, out of its scores, which are used up.
fn choose(
    experts: &Experts,
    bias: Option<&[f32]>,
    scores: &mut [f32],
    chosen: &mut [u32],
    weights: &mut [f32],
) {
    match experts.routing.weights {
        RouterWeights::Softmax | RouterWeights::SoftmaxOfChosen => softmax(scores),
        RouterWeights::Sigmoid | RouterWeights::SigmoidOfChosen => {
            scores.iter_mut().for_each(|score| *score = one(Sigmoid, *score));
        }
    }
    let bias = |i: usize| bias.map_or(0.0, |bias| bias[i]);
    scores.iter_mut().enumerate().for_each(|(i, score)| {
        // Broken weights make NaN and infinities; they must not make the same expert be chosen twice.
        *score = (*score + bias(i)).max(f32::MIN);
    });
    for (slot, weight) in chosen.iter_mut().zip(weights.iter_mut()) {
        let mut best = 0;
        for (i, score) in scores.iter().enumerate() {
            if *score > scores[best] {
                best = i;
            }
        }
        (*slot, *weight) = (best as u32, scores[best] - bias(best));
        scores[best] = f32::NEG_INFINITY;
    }
    let scale = match experts.routing.weights {
        RouterWeights::Softmax | RouterWeights::Sigmoid => 1.0,
        RouterWeights::SoftmaxOfChosen | RouterWeights::SigmoidOfChosen => 1.0 / weights.iter().sum::<f32>(),
    };
    weights.iter_mut().for_each(|weight| *weight *= scale * experts.routing.scale);
}
