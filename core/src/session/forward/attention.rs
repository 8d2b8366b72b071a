//! Mixers that attend: projections, rotation, cache, heads.

use super::{Pass, apply, weights};
use crate::cache::{Cache, LayerCache};
use crate::model::plan::{Attention, KvShape, Latent, LatentQuery, QkNorm, Qkv};
use crate::ops::attention::{Positions, Queries, attend};
use crate::ops::matmul::{Cx, matmul};
use crate::ops::norm::normalize;
use crate::ops::rope::rotate;
use crate::session::buffers::Buffers;

impl Pass<'_> {
    /// `o = attention(h)`
    pub(super) fn attention(&mut self, attention: &Attention) {
        self.project(attention, true);
        self.keep_projected(attention);
        let n = self.positions.n;
        let q_dim = attention.q_dim();
        let q_norm = match &attention.qk_norm {
            QkNorm::None => None,
            QkNorm::PerHead { q, .. } => Some((q, attention.head_dim)),
            QkNorm::Whole { q, .. } => Some((q, q_dim)),
        };
        let (cx, model) = (&self.cx, self.model);
        let Buffers { q, attended, scratch, o, angles, activations, .. } = &mut *self.buffers;
        let q = &mut q[..n * q_dim];
        if let Some((norm, group)) = q_norm {
            normalize(cx, weights(model, norm), q_dim, group, q);
        }
        if let Some((rope, at)) = self.rope {
            rotate(cx, rope.pairs, &angles[at..], rope.n_pairs(), attention.head_dim, q_dim, q);
        }
        let attended = &mut attended[..n * q_dim];
        let queries = Queries {
            n_heads: attention.n_heads,
            scale: attention.scale,
            softcap: attention.softcap,
            alibi: attention.alibi,
            sinks: attention.sinks.map(|sinks| model.vector(sinks)),
        };
        attend_by_text(cx, &queries, rows(self.cache), self.texts, q, attended, scratch);
        if let Some(norm) = &attention.sub_norm {
            normalize(cx, weights(model, norm), q_dim, q_dim, attended);
        }
        apply(cx, model, activations, attended, [(&attention.out, &mut o[..n * attention.out.n_out])]);
    }

    /// What [`Self::attention`] leaves in the cache, alone.
    pub(super) fn keep_attention(&mut self, attention: &Attention) {
        self.project(attention, false);
        self.keep_projected(attention);
    }

    /// `q, k, v = projections(h)`; `q` only where it is wanted or made with the others.
    fn project(&mut self, attention: &Attention, queries: bool) {
        let (n, width) = (self.positions.n, self.width());
        let (q_dim, kv_dim) = (attention.q_dim(), attention.kv_dim());
        let Buffers { h, q, k, v, fused, activations, .. } = &mut *self.buffers;
        let h = &h[..width];
        let (q, k, v) = (&mut q[..n * q_dim], &mut k[..n * kv_dim], &mut v[..n * kv_dim]);
        match &attention.qkv {
            Qkv::Separate { q: wq, k: wk, v: wv } if queries => {
                apply(&self.cx, self.model, activations, h, [(wq, q), (wk, k), (wv, v)]);
            }
            Qkv::Separate { k: wk, v: wv, .. } => {
                apply(&self.cx, self.model, activations, h, [(wk, k), (wv, v)]);
            }
            Qkv::Fused(qkv) => {
                let fused = &mut fused[..n * qkv.n_out];
                apply(&self.cx, self.model, activations, h, [(qkv, &mut *fused)]);
                for (i, row) in fused.chunks_exact(qkv.n_out).enumerate() {
                    q[i * q_dim..][..q_dim].copy_from_slice(&row[..q_dim]);
                    k[i * kv_dim..][..kv_dim].copy_from_slice(&row[q_dim..][..kv_dim]);
                    v[i * kv_dim..][..kv_dim].copy_from_slice(&row[q_dim + kv_dim..]);
                }
            }
        }
    }

    /// Makes `k` ready and writes it into the cache, with `v`.
    fn keep_projected(&mut self, attention: &Attention) {
        let (n, kv_dim) = (self.positions.n, attention.kv_dim());
        let k_norm = match &attention.qk_norm {
            QkNorm::None => None,
            QkNorm::PerHead { k, .. } => Some((k, attention.head_dim)),
            QkNorm::Whole { k, .. } => Some((k, kv_dim)),
        };
        let cx = &self.cx;
        let Buffers { k, v, angles, .. } = &mut *self.buffers;
        let (k, v) = (&mut k[..n * kv_dim], &v[..n * kv_dim]);
        if let Some((norm, group)) = k_norm {
            normalize(cx, weights(self.model, norm), kv_dim, group, k);
        }
        if let Some((rope, at)) = self.rope {
            rotate(cx, rope.pairs, &angles[at..], rope.n_pairs(), attention.head_dim, kv_dim, k);
        }
        rows(self.cache).write(cx.level, self.positions.first, k, v);
    }

    /// `o = latent(h)`
    pub(super) fn latent(&mut self, latent: &Latent) {
        self.latent_queries(latent);
        self.keep_latent(latent);
        let n = self.positions.n;
        let (n_heads, rank) = (latent.n_heads, latent.rank);
        let (key_dim, value) = (latent.key_dim(), latent.value);
        let (cx, model) = (&self.cx, self.model);
        let Buffers { q, attended, scratch, fused, head, head_out, o, angles, activations, .. } =
            &mut *self.buffers;
        let q = &mut q[..n * n_heads * key_dim];
        if let Some((rope, at)) = self.rope {
            rotate(cx, rope.pairs, &angles[at..], rope.n_pairs(), key_dim, n_heads * key_dim, q);
        }
        let attended = &mut attended[..n * n_heads * rank];
        let queries = Queries { n_heads, scale: latent.scale, softcap: None, alibi: None, sinks: None };
        attend_by_text(cx, &queries, rows(self.cache), self.texts, q, attended, scratch);
        let values = &mut fused[..n * n_heads * value];
        let (head, head_out) = (&mut head[..n * rank], &mut head_out[..n * value]);
        for h in 0..n_heads {
            let from = attended.chunks_exact(rank).skip(h).step_by(n_heads);
            head.chunks_exact_mut(rank).zip(from).for_each(|(to, from)| to.copy_from_slice(from));
            let w = model.expert(latent.value_up, h, n_heads);
            matmul(cx, &w, &activations.prepare(cx, head, rank, [w.dtype()]), head_out);
            let to = values.chunks_exact_mut(value).skip(h).step_by(n_heads);
            to.zip(head_out.chunks_exact(value)).for_each(|(to, from)| to.copy_from_slice(from));
        }
        apply(cx, model, activations, values, [(&latent.out, &mut o[..n * latent.out.n_out])]);
    }

    /// `q`: for each head the part that will rotate, then the other, taken into the latent space.
    fn latent_queries(&mut self, latent: &Latent) {
        let (n, width) = (self.positions.n, self.width());
        let (n_heads, plain, rotated, rank) = (latent.n_heads, latent.plain, latent.rope.dims, latent.rank);
        let (query_dim, key_dim) = (latent.query_dim(), latent.key_dim());
        let (cx, model) = (&self.cx, self.model);
        let Buffers { h, q, fused, low_rank, head, head_out, activations, .. } = &mut *self.buffers;
        let queries = &mut fused[..n * n_heads * query_dim];
        match &latent.q {
            LatentQuery::Direct(w) => apply(cx, model, activations, &h[..width], [(w, &mut *queries)]),
            LatentQuery::LowRank { down, norm, up } => {
                let low_rank = &mut low_rank[..n * down.n_out];
                apply(cx, model, activations, &h[..width], [(down, &mut *low_rank)]);
                normalize(cx, weights(model, norm), down.n_out, down.n_out, low_rank);
                apply(cx, model, activations, low_rank, [(up, &mut *queries)]);
            }
        }
        let q = &mut q[..n * n_heads * key_dim];
        let (head, head_out) = (&mut head[..n * plain], &mut head_out[..n * rank]);
        for h in 0..n_heads {
            let from = queries.chunks_exact(query_dim).skip(h).step_by(n_heads);
            head.chunks_exact_mut(plain).zip(from).for_each(|(to, from)| to.copy_from_slice(&from[..plain]));
            let w = model.expert(latent.key_up, h, n_heads);
            matmul(cx, &w, &activations.prepare(cx, head, plain, [w.dtype()]), head_out);
            let to = q.chunks_exact_mut(key_dim).skip(h).step_by(n_heads);
            to.zip(head_out.chunks_exact(rank)).for_each(|(to, from)| to[rotated..].copy_from_slice(from));
        }
        for (to, from) in q.chunks_exact_mut(key_dim).zip(queries.chunks_exact(query_dim)) {
            to[..rotated].copy_from_slice(&from[plain..]);
        }
    }

    /// What [`Self::latent`] leaves in the cache, alone: the key that rotates, then the normalised latent vector.
    pub(super) fn keep_latent(&mut self, latent: &Latent) {
        let (n, width) = (self.positions.n, self.width());
        let (rotated, rank, key_dim) = (latent.rope.dims, latent.rank, latent.key_dim());
        let (cx, model) = (&self.cx, self.model);
        let Buffers { h, k, v, head, angles, activations, .. } = &mut *self.buffers;
        let (k, projected, latents) = (&mut k[..n * key_dim], &mut v[..n * key_dim], &mut head[..n * rank]);
        apply(cx, model, activations, &h[..width], [(&latent.kv, &mut *projected)]);
        for (to, from) in latents.chunks_exact_mut(rank).zip(projected.chunks_exact(key_dim)) {
            to.copy_from_slice(&from[..rank]);
        }
        normalize(cx, weights(model, &latent.kv_norm), rank, rank, latents);
        let from = projected.chunks_exact(key_dim).zip(latents.chunks_exact(rank));
        for (to, (projected, latent)) in k.chunks_exact_mut(key_dim).zip(from) {
            to[..rotated].copy_from_slice(&projected[rank..]);
            to[rotated..].copy_from_slice(latent);
        }
        if let Some((rope, at)) = self.rope {
            rotate(cx, rope.pairs, &angles[at..], rope.n_pairs(), key_dim, key_dim, k);
        }
        rows(self.cache).write(cx.level, self.positions.first, k, &[]);
    }
}

/// Every text's tokens attend to that text alone.
fn attend_by_text(
    cx: &Cx<'_>,
    queries: &Queries<'_>,
    cache: &LayerCache,
    texts: &[Positions],
    mut q: &[f32],
    mut out: &mut [f32],
    scratch: &mut [f32],
) {
    let KvShape { key, value, .. } = *cache.shape();
    for &text in texts {
        let of_text = |width: usize| text.n * queries.n_heads * width;
        let (text_q, next_q) = q.split_at(of_text(key));
        let (text_out, next_out) = out.split_at_mut(of_text(value));
        attend(cx, queries, cache, text, text_q, text_out, scratch);
        (q, out) = (next_q, next_out);
    }
}

/// The rows of a layer that attends.
fn rows(cache: &mut Cache) -> &mut LayerCache {
    match cache {
        Cache::Rows(rows) => rows,
        Cache::State(_) => unreachable!("the cache was made for the mixer"),
    }
}
