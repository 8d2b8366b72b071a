//! The forward pass: interprets the plan, a batch of tokens at a time.

use super::buffers::Buffers;
use super::{Observer, Session};
use crate::cache::LayerCache;
use crate::model::Model;
use crate::model::plan::{
    Attention, Experts, Ffn, Head, Layer, Linear, Mixer, Mlp, Norm, Plan, Pooling, QkNorm, Qkv, Routing, Up,
    Wiring,
};
use crate::ops::activations::Activations;
use crate::ops::attention::{Positions, attend};
use crate::ops::elementwise::{
    activate, add_scaled, add_to_rows, gate, gate_fused, l2_normalize, sigmoid, softcap, softmax,
};
use crate::ops::matmul::{Cx, Input, Matrix, matmul};
use crate::ops::norm::{NormWeights, normalize};
use crate::ops::rope::{RopeTable, rotate};

impl Session {
    /// Works off the next `n` pending tokens; `buffers.x` then holds their stream after the last block.
    pub(super) fn run_batch(&mut self, n: usize, observer: &mut dyn Observer) {
        let model = self.model.clone();
        let plan = model.plan();
        let first = self.done;
        self.embed_tokens(plan, first, n);
        let mut angles = 0;
        for rope in &self.ropes {
            let len = 2 * rope.n_pairs() * n;
            rope.fill(first, &mut self.buffers.angles[angles..angles + len]);
            angles += len;
        }
        let width = n * plan.dim;
        observer.residual(0, first, &self.buffers.x[..width]);
        for (i, layer) in plan.layers.iter().enumerate() {
            let cx = self.options.cx();
            let mut pass = Pass {
                cx,
                model: &model,
                positions: Positions { first, n },
                rope: self.layer_ropes[i].map(|r| {
                    let skipped: usize = self.ropes[..r].iter().map(|rope| 2 * rope.n_pairs() * n).sum();
                    (&self.ropes[r], skipped)
                }),
                cache: &mut self.caches[i],
                buffers: &mut self.buffers,
            };
            pass.layer(layer);
            observer.residual(i + 1, first, &self.buffers.x[..width]);
        }
        self.done += n;
        if observer.wants_logits() && !plan.is_encoder() {
            for row in 0..n {
                self.logits_of_row(row);
                observer.residual(plan.layers.len() + 1, first + row, &self.buffers.last[..plan.dim]);
                observer.logits(first + row, &self.buffers.logits);
            }
        }
    }

    /// `x = norm(scale * tokens[id] + positions[p] + types[0])`
    fn embed_tokens(&mut self, plan: &Plan, first: usize, n: usize) {
        let embed = &plan.embed;
        let (tokens, dim) = (self.model.table(embed.tokens), plan.dim);
        let Buffers { x, h, .. } = &mut self.buffers;
        for (i, x) in x[..n * dim].chunks_exact_mut(dim).enumerate() {
            tokens.row(self.tokens[first + i] as usize, x);
            if embed.scale != 1.0 {
                x.iter_mut().for_each(|x| *x *= embed.scale);
            }
            for (table, row) in [(embed.positions, first + i), (embed.types, 0)] {
                if let Some(table) = table {
                    self.model.table(table).row(row, &mut h[..dim]);
                    add_scaled(x, 1.0, &h[..dim]);
                }
            }
        }
        if let Some(norm) = &embed.norm {
            let cx = self.options.cx();
            normalize(&cx, weights(&self.model, norm), dim, dim, &mut x[..n * dim]);
        }
    }

    /// Final norm and output projection of one row of the batch, into `buffers.logits`.
    pub(super) fn logits_of_row(&mut self, row: usize) {
        let model = self.model.clone();
        let plan = model.plan();
        let Head::Logits { linear, scale, softcap: cap } = &plan.head else {
            unreachable!("only language models have logits");
        };
        let cx = self.options.cx();
        let Buffers { x, last, logits, activations, .. } = &mut self.buffers;
        let last = &mut last[..plan.dim];
        last.copy_from_slice(&x[row * plan.dim..][..plan.dim]);
        if let Some(norm) = &plan.norm {
            normalize(&cx, weights(&model, norm), plan.dim, plan.dim, last);
        }
        apply(&cx, &model, activations, last, [(linear, &mut logits[..])]);
        if *scale != 1.0 {
            logits.iter_mut().for_each(|x| *x *= scale);
        }
        if let Some(cap) = *cap {
            logits.iter_mut().for_each(|x| *x = softcap(cap, *x));
        }
    }

    /// One normalised vector of the batch's `n` rows.
    pub(super) fn pool(&mut self, pooling: Pooling, dense_layers: &[Linear], n: usize) -> &[f32] {
        let model = self.model.clone();
        let plan = model.plan();
        let dim = plan.dim;
        let cx = self.options.cx();
        let Buffers { x, last, dense, activations, .. } = &mut self.buffers;
        let x = &mut x[..n * dim];
        if let Some(norm) = &plan.norm {
            normalize(&cx, weights(&model, norm), dim, dim, x);
        }
        let pooled = &mut last[..dim];
        match pooling {
            Pooling::Cls => pooled.copy_from_slice(&x[..dim]),
            Pooling::Last => pooled.copy_from_slice(&x[(n - 1) * dim..]),
            Pooling::Mean => {
                pooled.fill(0.0);
                x.chunks_exact(dim).for_each(|x| add_scaled(pooled, 1.0 / n as f32, x));
            }
        }
        let mut width = dim;
        for linear in dense_layers {
            let out = &mut dense[..linear.n_out];
            apply(&cx, &model, activations, &last[..linear.n_in], [(linear, &mut *out)]);
            width = linear.n_out;
            last[..width].copy_from_slice(out);
        }
        l2_normalize(&mut last[..width]);
        &last[..width]
    }
}

/// One layer at work on one batch.
struct Pass<'a> {
    cx: Cx<'a>,
    model: &'a Model,
    positions: Positions,
    /// The layer's rotation, and where its angles begin.
    rope: Option<(&'a RopeTable, usize)>,
    cache: &'a mut LayerCache,
    buffers: &'a mut Buffers,
}

impl Pass<'_> {
    fn layer(&mut self, layer: &Layer) {
        match &layer.wiring {
            Wiring::Sequential { mixer_pre, mixer_post, ffn_pre, ffn_post } => {
                self.read_stream(mixer_pre.as_ref());
                self.mixer(&layer.mixer);
                self.add_to_stream(mixer_post.as_ref(), layer.residual_scale);
                self.read_stream(ffn_pre.as_ref());
                self.ffn(&layer.ffn);
                self.add_to_stream(ffn_post.as_ref(), layer.residual_scale);
            }
            Wiring::Parallel { mixer_pre, ffn_pre } => {
                self.read_stream(Some(mixer_pre));
                self.mixer(&layer.mixer);
                // The FFN reads the stream as it was before attention adds to it.
                if ffn_pre.is_some() {
                    self.read_stream(ffn_pre.as_ref());
                }
                self.add_to_stream(None, layer.residual_scale);
                self.ffn(&layer.ffn);
                self.add_to_stream(None, layer.residual_scale);
            }
            Wiring::PostNorm { after_mixer, after_ffn } => {
                self.read_stream(None);
                self.mixer(&layer.mixer);
                self.add_to_stream(None, layer.residual_scale);
                self.normalize_stream(after_mixer);
                self.read_stream(None);
                self.ffn(&layer.ffn);
                self.add_to_stream(None, layer.residual_scale);
                self.normalize_stream(after_ffn);
            }
        }
    }

    fn dim(&self) -> usize {
        self.model.plan().dim
    }

    /// Elements of the batch's stream.
    fn width(&self) -> usize {
        self.positions.n * self.dim()
    }

    /// `h = norm(x)`
    fn read_stream(&mut self, norm: Option<&Norm>) {
        let (dim, width) = (self.dim(), self.width());
        let h = &mut self.buffers.h[..width];
        h.copy_from_slice(&self.buffers.x[..width]);
        if let Some(norm) = norm {
            normalize(&self.cx, weights(self.model, norm), dim, dim, h);
        }
    }

    /// `x += scale * norm(o)`
    fn add_to_stream(&mut self, norm: Option<&Norm>, scale: f32) {
        let (dim, width) = (self.dim(), self.width());
        let o = &mut self.buffers.o[..width];
        if let Some(norm) = norm {
            normalize(&self.cx, weights(self.model, norm), dim, dim, o);
        }
        add_scaled(&mut self.buffers.x[..width], scale, o);
    }

    /// `x = norm(x)`
    fn normalize_stream(&mut self, norm: &Norm) {
        let (dim, width) = (self.dim(), self.width());
        normalize(&self.cx, weights(self.model, norm), dim, dim, &mut self.buffers.x[..width]);
    }

    /// `o = mixer(h)`
    fn mixer(&mut self, mixer: &Mixer) {
        let Mixer::Attention(attention) = mixer;
        self.project(attention);
        let n = self.positions.n;
        let (q_dim, kv_dim, head_dim) = (attention.q_dim(), attention.kv_dim(), attention.head_dim);
        let (cx, model) = (&self.cx, self.model);
        let Buffers { q, k, v, attended, o, angles, activations, .. } = &mut *self.buffers;
        let (q, k, v) = (&mut q[..n * q_dim], &mut k[..n * kv_dim], &v[..n * kv_dim]);
        match &attention.qk_norm {
            QkNorm::None => {}
            QkNorm::PerHead { q: q_norm, k: k_norm } => {
                normalize(cx, weights(model, q_norm), q_dim, head_dim, q);
                normalize(cx, weights(model, k_norm), kv_dim, head_dim, k);
            }
            QkNorm::Whole { q: q_norm, k: k_norm } => {
                normalize(cx, weights(model, q_norm), q_dim, q_dim, q);
                normalize(cx, weights(model, k_norm), kv_dim, kv_dim, k);
            }
        }
        if let Some((rope, at)) = self.rope {
            let angles = &angles[at..];
            rotate(cx, rope.pairs, angles, rope.n_pairs(), head_dim, q_dim, q);
            rotate(cx, rope.pairs, angles, rope.n_pairs(), head_dim, kv_dim, k);
        }
        self.cache.write(cx.level, self.positions.first, k, v);
        let attended = &mut attended[..n * q_dim];
        attend(cx, attention, self.cache, self.positions, q, attended);
        if let Some(norm) = &attention.sub_norm {
            normalize(cx, weights(model, norm), q_dim, q_dim, attended);
        }
        apply(cx, model, activations, attended, [(&attention.out, &mut o[..n * attention.out.n_out])]);
    }

    /// `q, k, v = projections(h)`
    fn project(&mut self, attention: &Attention) {
        let (n, width) = (self.positions.n, self.width());
        let (q_dim, kv_dim) = (attention.q_dim(), attention.kv_dim());
        let Buffers { h, q, k, v, fused, activations, .. } = &mut *self.buffers;
        let (q, k, v) = (&mut q[..n * q_dim], &mut k[..n * kv_dim], &mut v[..n * kv_dim]);
        match &attention.qkv {
            Qkv::Separate { q: wq, k: wk, v: wv } => {
                apply(&self.cx, self.model, activations, &h[..width], [(wq, q), (wk, k), (wv, v)]);
            }
            Qkv::Fused(qkv) => {
                let fused = &mut fused[..n * qkv.n_out];
                apply(&self.cx, self.model, activations, &h[..width], [(qkv, &mut *fused)]);
                for (i, row) in fused.chunks_exact(qkv.n_out).enumerate() {
                    q[i * q_dim..][..q_dim].copy_from_slice(&row[..q_dim]);
                    k[i * kv_dim..][..kv_dim].copy_from_slice(&row[q_dim..][..kv_dim]);
                    v[i * kv_dim..][..kv_dim].copy_from_slice(&row[q_dim + kv_dim..]);
                }
            }
        }
    }

    /// `o = ffn(h)`
    fn ffn(&mut self, ffn: &Ffn) {
        match ffn {
            Ffn::Dense(mlp) => self.mlp(mlp),
            Ffn::Experts(experts) => self.experts(experts),
        }
    }

    fn mlp(&mut self, mlp: &Mlp) {
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

    fn experts(&mut self, experts: &Experts) {
        let width = self.width();
        match &experts.shared {
            None => self.buffers.o[..width].fill(0.0),
            Some((mlp, shared_gate)) => {
                self.mlp(mlp);
                self.weigh_shared(shared_gate);
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
            let weight = sigmoid(*score);
            o.iter_mut().for_each(|x| *x *= weight);
        }
    }

    /// Chooses every token's experts and their weights.
    fn route(&mut self, experts: &Experts) {
        let (n, width) = (self.positions.n, self.width());
        let Buffers { h, router, chosen, chosen_weight, activations, .. } = &mut *self.buffers;
        let scores = &mut router[..n * experts.n_experts];
        apply(&self.cx, self.model, activations, &h[..width], [(&experts.router, &mut *scores)]);
        let rows = scores.chunks_exact_mut(experts.n_experts);
        let chosen =
            chosen.chunks_exact_mut(experts.n_used).zip(chosen_weight.chunks_exact_mut(experts.n_used));
        for (scores, (chosen, weights)) in rows.zip(chosen) {
            softmax(scores);
            // Broken weights make NaN; they must not make the same expert be chosen twice.
            scores.iter_mut().filter(|score| score.is_nan()).for_each(|score| *score = 0.0);
            for (slot, weight) in chosen.iter_mut().zip(weights.iter_mut()) {
                let mut best = 0;
                for (i, score) in scores.iter().enumerate() {
                    if *score > scores[best] {
                        best = i;
                    }
                }
                (*slot, *weight) = (best as u32, scores[best]);
                // Probabilities are never below zero: not chosen again.
                scores[best] = -1.0;
            }
            if experts.routing == Routing::SoftmaxOfChosen {
                let sum: f32 = weights.iter().sum();
                weights.iter_mut().for_each(|weight| *weight /= sum);
            }
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
        let [w_gate, w_up, w_down] =
            [experts.gate, experts.up, experts.down].map(|id| model.expert(id, expert, experts.n_experts));
        let (gates, up) = (&mut gate_buffer[..tokens * experts.hidden], &mut up[..tokens * experts.hidden]);
        let input = activations.prepare(cx, &gathered[..tokens * dim], dim, [w_gate.dtype(), w_up.dtype()]);
        matmul(cx, &w_gate, &input, gates);
        matmul(cx, &w_up, &input, up);
        gate(cx, experts.activation, gates, up);
        let out = &mut expert_out[..tokens * dim];
        let input = activations.prepare(cx, up, experts.hidden, [w_down.dtype()]);
        matmul(cx, &w_down, &input, out);
        for (row, &i) in out.chunks_exact(dim).zip(&*origin) {
            let token = i as usize / experts.n_used;
            add_scaled(&mut o[token * dim..][..dim], chosen_weight[i as usize], row);
        }
    }
}

/// `out = W x + b` for several maps that read the same rows, which are made ready once.
fn apply<const N: usize>(
    cx: &Cx<'_>,
    model: &Model,
    activations: &mut Activations,
    x: &[f32],
    maps: [(&Linear, &mut [f32]); N],
) {
    let matrices: [Matrix<'_>; N] = core::array::from_fn(|i| model.matrix(maps[i].0));
    let input: Input<'_> = activations.prepare(cx, x, maps[0].0.n_in, matrices.iter().map(Matrix::dtype));
    for (matrix, (linear, out)) in matrices.iter().zip(maps) {
        matmul(cx, matrix, &input, out);
        if let Some(bias) = linear.bias {
            add_to_rows(out, model.vector(bias));
        }
    }
}

/// A norm of the plan with its weights.
fn weights<'a>(model: &'a Model, norm: &Norm) -> NormWeights<'a> {
    NormWeights {
        kind: norm.kind,
        weight: model.vector(norm.weight),
        bias: norm.bias.map(|bias| model.vector(bias)),
        eps: norm.eps,
    }
}
