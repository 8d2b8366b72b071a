//! Rotary position embedding: frequencies of a plan's [`Rope`], and the rotation of heads.

use alloc::vec::Vec;

use super::matmul::Cx;
use crate::exec::for_chunks;
use crate::model::Model;
use crate::model::plan::{Rope, RopePairs, RopeScaling};

/// A rotation made ready for a session.
#[derive(Debug, Clone)]
pub(crate) struct RopeTable {
    pub(crate) pairs: RopePairs,
    /// Radians per position of each pair.
    frequencies: Vec<f32>,
    /// Multiplies the rotated elements.
    magnitude: f32,
}

impl RopeTable {
    /// The table for sessions of up to `context` tokens.
    pub(crate) fn new(model: &Model, rope: &Rope, context: usize) -> Self {
        let plain = (0..rope.dims / 2)
            .map(|i| libm::pow(f64::from(rope.base), -2.0 * i as f64 / rope.dims as f64) as f32);
        let divided = |factors: &[f32]| plain.clone().zip(factors).map(|(f, factor)| f / factor).collect();
        let (frequencies, magnitude) = match &rope.scaling {
            RopeScaling::None => (plain.collect(), 1.0),
            RopeScaling::Linear { factor } => (plain.map(|f| f / factor).collect(), 1.0),
            RopeScaling::Factors(factors) => (divided(model.vector(*factors)), 1.0),
            RopeScaling::Long { short, long, original_context, attention_factor } => {
                let factors = if context > *original_context { long } else { short };
                (divided(model.vector(*factors)), *attention_factor)
            }
            RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, attention_factor } => {
                // The pair that rotates `beta` times over the original context.
                let pair = |beta: f32| {
                    let rotations = *original_context as f32 / (beta * core::f32::consts::TAU);
                    rope.dims as f32 * libm::logf(rotations) / (2.0 * libm::logf(rope.base))
                };
                let low = libm::floorf(pair(*beta_fast)).max(0.0);
                let high = libm::ceilf(pair(*beta_slow)).min(rope.dims as f32 - 1.0);
                let mixed = plain.enumerate().map(|(i, f)| {
                    // 0: the pair keeps its frequency; 1: it is interpolated.
                    let ramp = ((i as f32 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
                    f / factor * ramp + f * (1.0 - ramp)
                });
                (mixed.collect(), attention_factor * (1.0 + 0.1 * libm::logf(*factor)))
            }
        };
        Self { pairs: rope.pairs, frequencies, magnitude }
    }

    /// Pairs that rotate.
    pub(crate) fn n_pairs(&self) -> usize {
        self.frequencies.len()
    }

    /// Writes cosine and sine of every pair for the positions from `first`, a row of `2 * n_pairs` each.
    pub(crate) fn fill(&self, first: usize, rows: &mut [f32]) {
        for (i, row) in rows.chunks_exact_mut(2 * self.n_pairs()).enumerate() {
            let (cos, sin) = row.split_at_mut(self.n_pairs());
            for ((cos, sin), frequency) in cos.iter_mut().zip(sin).zip(&self.frequencies) {
                let (s, c) = libm::sincosf((first + i) as f32 * frequency);
                (*cos, *sin) = (c * self.magnitude, s * self.magnitude);
            }
        }
    }
}

/// Rotates every head of `head_dim` in `x`, tokens of `row` elements. `angles`: for each token the cosines of `n_pairs`
/// angles, then their sines.
pub fn rotate(
    cx: &Cx<'_>,
    pairs: RopePairs,
    angles: &[f32],
    n_pairs: usize,
    head_dim: usize,
    row: usize,
    x: &mut [f32],
) {
    for_chunks(cx.exec_for(x.len()), x, row, |token, x| {
        let (cos, sin) = angles[token * 2 * n_pairs..][..2 * n_pairs].split_at(n_pairs);
        for head in x.chunks_exact_mut(head_dim) {
            match pairs {
                RopePairs::Interleaved => {
                    let pairs = head.as_chunks_mut::<2>().0;
                    for (([a, b], c), s) in pairs.iter_mut().zip(cos).zip(sin) {
                        (*a, *b) = (*a * c - *b * s, *a * s + *b * c);
                    }
                }
                RopePairs::Halves => {
                    let (a, b) = head.split_at_mut(n_pairs);
                    for (((a, b), c), s) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                        (*a, *b) = (*a * c - *b * s, *a * s + *b * c);
                    }
                }
            }
        }
    });
}
