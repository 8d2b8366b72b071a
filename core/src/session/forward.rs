//! The forward pass: interprets the plan, a batch of tokens at a time.

mod attention;
mod ffn;
mod recurrent;

use core::ops::Range;

use super::buffers::Buffers;
use super::{Blind, Observer, Session};
use crate::cache::Cache;
use crate::model::Model;
use crate::model::plan::{Ffn, Head, Layer, Linear, Mixer, Norm, Plan, Wiring};
use crate::ops::activations::Activations;
use crate::ops::attention::Positions;
use crate::ops::elementwise::{add_rows, add_scaled, add_to_rows, map};
use crate::ops::functions::Softcap;
use crate::ops::matmul::{Cx, Input, Matrix, matmuls};
use crate::ops::norm::{NormWeights, normalize, normalize_into};
use crate::ops::rope::RopeTable;

impl Session {
    /// Works off the next pending tokens, those of `texts`, which lie behind each other; `buffers.x` then holds their
    /// stream after the last block.
    pub(super) fn run_batch(&mut self, texts: &[Positions], observer: &mut dyn Observer) {
        self.begin_batch(texts, observer);
        self.run_layers(texts, 0..self.layer_caches.len(), observer);
        self.finish_batch(count(texts), observer);
    }

    /// The stream of the next tokens, those of `texts`, before the first block.
    pub(super) fn begin_batch(&mut self, texts: &[Positions], observer: &mut dyn Observer) {
        let model = self.model.clone();
        let first = self.done;
        let exec = &self.options.exec;
        self.team.begins(if count(texts) == 1 && exec.width() > 1 { exec.now() } else { None });
        self.embed_tokens(model.plan(), texts);
        let mut angles = 0;
        for rope in &self.ropes {
            for text in texts {
                let len = 2 * rope.n_pairs() * text.n;
                rope.fill(text.first - text.start, &mut self.buffers.angles[angles..angles + len]);
                angles += len;
            }
        }
        observer.residual(0, first, &self.buffers.x[..count(texts) * model.plan().dim]);
    }

    /// Sends the stream of the tokens of `texts` through some blocks.
    pub(super) fn run_layers(
        &mut self,
        texts: &[Positions],
        layers: Range<usize>,
        observer: &mut dyn Observer,
    ) {
        let model = self.model.clone();
        let (first, n) = (self.done, count(texts));
        for i in layers {
            self.pass(&model, i, texts, n).layer(&model.plan().layers[i]);
            observer.residual(i + 1, first, &self.buffers.x[..n * model.plan().dim]);
        }
    }

    /// Sends the stream of the next `n` tokens through the last block, as far as it is of use: of all but the last token
    /// that is only what later tokens will attend to, unless somebody watches.
    pub(super) fn run_last_layer(&mut self, n: usize) {
        let model = self.model.clone();
        let (i, dim) = (self.layer_caches.len() - 1, model.plan().dim);
        let layer = &model.plan().layers[i];
        let others = n - 1;
        if others == 0 || !layer.mixer.attends() || model.is_watched() {
            return self.run_layers(&[self.next(n)], i..i + 1, &mut Blind);
        }
        self.pass(&model, i, &[self.next(others)], n).keep(layer);
        let last = Positions { first: self.done + others, ..self.next(1) };
        self.buffers.x.copy_within(others * dim..n * dim, 0);
        self.pass(&model, i, &[last], n).layer(layer);
        self.buffers.x.copy_within(..dim, others * dim);
    }

    /// Block `i` at work on some texts, whose stream begins `buffers.x`, of a batch of `n` tokens.
    fn pass<'a>(&'a mut self, model: &'a Model, i: usize, texts: &'a [Positions], n: usize) -> Pass<'a> {
        let Positions { start, first, .. } = texts[0];
        let angles = |rope: &RopeTable, tokens: usize| 2 * rope.n_pairs() * tokens;
        Pass {
            cx: self.options.cx(self.team.is_alone()),
            model,
            positions: Positions { start, first, n: count(texts) },
            texts,
            rope: self.layer_ropes[i].map(|r| {
                let rope = &self.ropes[r];
                let others: usize = self.ropes[..r].iter().map(|other| angles(other, n)).sum();
                (rope, others + angles(rope, first - self.done))
            }),
            cache: &mut self.caches[self.layer_caches[i]],
            buffers: &mut self.buffers,
        }
    }

    /// The `n` tokens have passed all blocks.
    pub(super) fn finish_batch(&mut self, n: usize, observer: &mut dyn Observer) {
        let model = self.model.clone();
        let plan = model.plan();
        let first = self.done;
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
    fn embed_tokens(&mut self, plan: &Plan, texts: &[Positions]) {
        let embed = &plan.embed;
        let (tokens, dim) = (self.model.table(embed.tokens), plan.dim);
        let Buffers { x, h, .. } = &mut self.buffers;
        let places =
            texts.iter().flat_map(|text| (text.first..text.first + text.n).map(|at| (at, at - text.start)));
        for ((at, position), x) in places.zip(x.chunks_exact_mut(dim)) {
            tokens.row(self.tokens[at] as usize, x);
            if embed.scale != 1.0 {
                x.iter_mut().for_each(|x| *x *= embed.scale);
            }
            for (table, row) in [(embed.positions, position), (embed.types, 0)] {
                if let Some(table) = table {
                    self.model.table(table).row(row, &mut h[..dim]);
                    add_scaled(x, 1.0, &h[..dim]);
                }
            }
        }
        if let Some(norm) = &embed.norm {
            let cx = self.options.cx(self.team.is_alone());
            normalize(&cx, weights(&self.model, norm), dim, dim, &mut x[..count(texts) * dim]);
        }
    }

    /// Final norm and output projection of one row of the batch, into `buffers.logits`.
    pub(super) fn logits_of_row(&mut self, row: usize) {
        let model = self.model.clone();
        let plan = model.plan();
        let Head::Logits { linear, scale, softcap: cap } = &plan.head else {
            unreachable!("only language models have logits");
        };
        let cx = self.options.cx(self.team.is_alone());
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
            map(&cx, Softcap(cap), logits);
        }
        if let Some(found) = self.team.ends(self.options.exec.now()) {
            self.options.exec.remember(found);
        }
    }
}

/// Tokens of some texts.
fn count(texts: &[Positions]) -> usize {
    texts.iter().map(|text| text.n).sum()
}

/// One layer at work on one batch.
struct Pass<'a> {
    cx: Cx<'a>,
    model: &'a Model,
    /// The batch.
    positions: Positions,
    /// The same cut into texts, which do not see each other.
    texts: &'a [Positions],
    /// The layer's rotation, and where its angles begin.
    rope: Option<(&'a RopeTable, usize)>,
    cache: &'a mut Cache,
    buffers: &'a mut Buffers,
}

impl Pass<'_> {
    fn layer(&mut self, layer: &Layer) {
        match &layer.wiring {
            Wiring::Sequential { mixer_pre, mixer_post, ffn_pre, ffn_post } => {
                self.read_stream(mixer_pre.as_ref());
                self.mixer(&layer.mixer);
                self.add_to_stream(mixer_post.as_ref(), layer.residual_scale);
                if layer.ffn == Ffn::None {
                    return;
                }
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

    /// What the layer's cache is to have of the batch, and nothing else.
    fn keep(&mut self, layer: &Layer) {
        self.read_stream(match &layer.wiring {
            Wiring::Sequential { mixer_pre, .. } => mixer_pre.as_ref(),
            Wiring::Parallel { mixer_pre, .. } => Some(mixer_pre),
            Wiring::PostNorm { .. } => None,
        });
        match &layer.mixer {
            Mixer::Attention(attention) => self.keep_attention(attention),
            Mixer::Latent(latent) => self.keep_latent(latent),
            Mixer::ShortConv(_) | Mixer::StateSpace(_) => unreachable!("a state is not kept by position"),
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
        let Buffers { x, h, .. } = &mut *self.buffers;
        match norm {
            Some(norm) => {
                normalize_into(&self.cx, weights(self.model, norm), dim, &x[..width], &mut h[..width])
            }
            None => h[..width].copy_from_slice(&x[..width]),
        }
    }

    /// `x += scale * norm(o)`
    fn add_to_stream(&mut self, norm: Option<&Norm>, scale: f32) {
        let (dim, width) = (self.dim(), self.width());
        let Buffers { x, o, .. } = &mut *self.buffers;
        let (x, o) = (&mut x[..width], &mut o[..width]);
        if let Some(norm) = norm {
            normalize(&self.cx, weights(self.model, norm), dim, dim, o);
        }
        add_rows(&self.cx, scale, o, dim, x);
    }

    /// `x = norm(x)`
    fn normalize_stream(&mut self, norm: &Norm) {
        let (dim, width) = (self.dim(), self.width());
        normalize(&self.cx, weights(self.model, norm), dim, dim, &mut self.buffers.x[..width]);
    }

    /// `o = mixer(h)`
    fn mixer(&mut self, mixer: &Mixer) {
        match mixer {
            Mixer::Attention(attention) => self.attention(attention),
            Mixer::Latent(latent) => self.latent(latent),
            Mixer::ShortConv(conv) => self.short_conv(conv),
            Mixer::StateSpace(space) => self.state_space(space),
        }
    }

    /// `o = ffn(h)`
    fn ffn(&mut self, ffn: &Ffn) {
        let width = self.width();
        match ffn {
            Ffn::None => self.buffers.o[..width].fill(0.0),
            Ffn::Dense(mlp) => self.mlp(mlp),
            Ffn::Experts(experts) => self.experts(experts),
        }
    }
}

/// `out = scale * W x + b` for several maps that read the same rows, which are made ready once.
pub(super) fn apply<const N: usize>(
    cx: &Cx<'_>,
    model: &Model,
    activations: &mut Activations,
    x: &[f32],
    mut maps: [(&Linear, &mut [f32]); N],
) {
    let matrices: [Matrix<'_>; N] = core::array::from_fn(|i| model.matrix(maps[i].0));
    let input: Input<'_> = activations.prepare(cx, x, maps[0].0.n_in, matrices.iter().map(Matrix::dtype));
    matmuls(cx, &matrices, &input, maps.each_mut().map(|(_, out)| &mut **out));
    for (linear, out) in maps {
        if let Some(scale) = linear.scale {
            let scale = model.vector(scale)[0];
            out.iter_mut().for_each(|x| *x *= scale);
        }
        if let Some(bias) = linear.bias {
            add_to_rows(out, model.vector(bias));
        }
    }
}

/// A norm of the plan with its weights.
pub(super) fn weights<'a>(model: &'a Model, norm: &Norm) -> NormWeights<'a> {
    NormWeights {
        kind: norm.kind,
        weight: model.vector(norm.weight),
        bias: norm.bias.map(|bias| model.vector(bias)),
        eps: norm.eps,
    }
}
