//! Softmax attention over cached keys and values.
//!
//! Scores are made and used a block at a time with a running maximum (Milakov and Gimelshein, 2018), so the work
//! needs no buffer that grows with the context. One task is one head of one token.

use core::ops::Range;

use super::elementwise::{exp, softcap};
use super::matmul::Cx;
use crate::cache::LayerCache;
use crate::exec::for_chunks;
use crate::model::plan::Mask;
use crate::simd::{Isa, Kernel};

/// Scores that are made before they are used.
const BLOCK: usize = 64;

/// Which tokens attend: neighbours of one text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Positions {
    /// Where their text begins, of which there may be several behind each other.
    pub(crate) start: usize,
    /// The first token's position.
    pub(crate) first: usize,
    /// How many tokens.
    pub(crate) n: usize,
}

impl Positions {
    /// The positions that the token `i` of these sees.
    fn seen_by(self, mask: Mask, i: usize) -> Range<usize> {
        let at = self.first + i;
        let end = match mask {
            Mask::Causal | Mask::Sliding(_) => at + 1,
            Mask::Full => self.first + self.n,
            Mask::SlidingBothWays(window) => (at + window / 2 + 1).min(self.first + self.n),
        };
        mask.oldest_seen(at).max(self.start)..end
    }
}

/// What query heads do with scores.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Queries<'a> {
    pub(crate) n_heads: usize,
    pub(crate) scale: f32,
    pub(crate) softcap: Option<f32>,
    /// A score of each head that has no value.
    pub(crate) sinks: Option<&'a [f32]>,
}

/// `out = softmax(scale q k) v` for every head of every token. `q`: tokens x heads of the cache's key width; `out`:
/// tokens x heads of its value width. The cache already holds the tokens' keys and values.
pub(crate) fn attend(
    cx: &Cx<'_>,
    queries: &Queries<'_>,
    cache: &LayerCache,
    positions: Positions,
    q: &[f32],
    out: &mut [f32],
) {
    let shape = cache.shape();
    let heads_per_group = queries.n_heads / shape.n_heads;
    let work = q.len().saturating_mul(positions.first - positions.start + positions.n);
    for_chunks(cx.exec_for(work), out, shape.value, |i, out| {
        let (token, head) = (i / queries.n_heads, i % queries.n_heads);
        cx.level.run(Head {
            q: &q[i * shape.key..][..shape.key],
            kv_head: head / heads_per_group,
            seen: positions.seen_by(shape.mask, token),
            scale: queries.scale,
            softcap: queries.softcap,
            sink: queries.sinks.map(|sinks| sinks[head]),
            cache,
            out,
        });
    });
}

/// One head of one token.
struct Head<'a> {
    q: &'a [f32],
    kv_head: usize,
    seen: Range<usize>,
    scale: f32,
    softcap: Option<f32>,
    sink: Option<f32>,
    cache: &'a LayerCache,
    out: &'a mut [f32],
}

impl Kernel for Head<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        self.out.fill(0.0);
        let mut scores = [0.0; BLOCK];
        let (mut max, mut sum) = self.sink.map_or((f32::NEG_INFINITY, 0.0), |sink| (sink, 1.0));
        for start in self.seen.clone().step_by(BLOCK) {
            let block = start..(start + BLOCK).min(self.seen.end);
            let scores = &mut scores[..block.len()];
            self.cache.key_dots(isa, start, self.kv_head, self.q, scores);
            for score in scores.iter_mut() {
                let s = self.scale * *score;
                *score = self.softcap.map_or(s, |cap| softcap(cap, s));
            }
            let new_max = scores.iter().copied().fold(max, f32::max);
            let correction = libm::expf(max - new_max);
            if correction != 1.0 {
                sum *= correction;
                self.out.iter_mut().for_each(|x| *x *= correction);
            }
            max = new_max;
            for score in scores.iter_mut() {
                *score = exp(*score - max);
            }
            sum += scores.iter().sum::<f32>();
            self.cache.add_values(isa, start, self.kv_head, scores, self.out);
        }
        let scale = 1.0 / sum;
        self.out.iter_mut().for_each(|x| *x *= scale);
    }
}
