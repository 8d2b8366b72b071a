//! The tokens still in the race, and the samplers that thin them out.
//!
//! A candidate is a token and its logit; probabilities are computed where they are needed, for a softmax is fixed by
//! its maximum and its sum. Logits here are finite: [`gather`] leaves out minus infinity and NaN, and what a sampler
//! computes is clamped by [`finite`].
//!
//! The result may not depend on the target or on the sort's inner workings, so every function leaves the candidates
//! in an order that its own definition fixes: either as they were, or sorted by a total order.

use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::order::{Order, sort, split};

/// A token and its logit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// The token.
    pub id: u32,
    /// Its unnormalised log-probability (natural logarithm).
    pub logit: f32,
}

/// The best first; equals by id.
pub fn by_logit(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

/// A logit as a model gave it: NaN is minus infinity, plus infinity the largest number, and zero has no sign.
pub fn clean(logit: f32) -> f32 {
    if logit.is_nan() { f32::NEG_INFINITY } else { logit.min(f32::MAX) + 0.0 }
}

/// A computed logit, clamped to the finite numbers; NaN is the smallest.
pub fn finite(logit: f32) -> f32 {
    if logit.is_nan() { f32::MIN } else { logit.clamp(f32::MIN, f32::MAX) }
}

/// How many candidates [`gather`] needs room for.
pub fn gather_capacity(n_vocab: usize, limit: usize) -> usize {
    limit.saturating_mul(2).saturating_add(BLOCK).min(n_vocab)
}

/// Logits looked at together: most blocks hold nothing of interest, and a loop without exits finds that out fast.
const BLOCK: usize = 64;

/// Collects the `limit` best of `logits`, where `edited` (by id) replaces some of them and `allowed` has the last
/// word. Sorted when there were more than `limit`, else by id.
///
/// The candidates are kept in a heap of at most `2 limit + 64`, thinned to `limit` whenever it is full; the worst of
/// those is the bar that a later logit has to pass.
pub fn gather(
    logits: &[f32],
    edited: &[Candidate],
    allowed: impl Fn(u32) -> bool,
    limit: usize,
    out: &mut Vec<Candidate>,
) {
    out.clear();
    let room = gather_capacity(logits.len(), limit);
    let mut bar = f32::NEG_INFINITY;
    let mut edited = edited.iter().peekable();
    for (block, start) in logits.chunks(BLOCK).zip((0u32..).step_by(BLOCK)) {
        let end = start + block.len() as u32;
        let plain = edited.peek().is_none_or(|next| next.id >= end);
        if plain && !block.iter().fold(false, |any, &logit| any | (logit > bar)) {
            continue;
        }
        if out.len() + block.len() > room && out.len() > limit {
            split(out, limit, &by_logit);
            out.truncate(limit);
            bar = out[limit - 1].logit;
        }
        for (&logit, id) in block.iter().zip(start..) {
            let logit = edited.next_if(|next| next.id == id).map_or_else(|| clean(logit), |next| next.logit);
            if logit > bar && allowed(id) {
                out.push(Candidate { id, logit });
            }
        }
    }
    if out.len() > limit {
        top_k(out, limit);
    } else {
        sort(out, &|a, b| a.id.cmp(&b.id));
    }
}

/// What turns logits into probabilities: `p = exp(logit - max) / sum`.
#[derive(Debug, Clone, Copy)]
pub struct Softmax {
    max: f32,
    sum: f64,
}

impl Softmax {
    pub fn of(candidates: &[Candidate]) -> Self {
        let max = candidates.iter().fold(f32::MIN, |max, candidate| max.max(candidate.logit));
        let sum = candidates.iter().map(|candidate| f64::from(libm::expf(candidate.logit - max))).sum();
        Self { max, sum }
    }

    /// The probability, from 0 to 1.
    pub fn p(self, candidate: &Candidate) -> f64 {
        f64::from(libm::expf(candidate.logit - self.max)) / self.sum
    }

    /// The surprise: the negative natural logarithm of the probability.
    pub fn surprise(self, candidate: &Candidate) -> f64 {
        libm::log(self.sum) - (f64::from(candidate.logit) - f64::from(self.max))
    }

    /// The expected surprise.
    fn entropy(self, candidates: &[Candidate]) -> f64 {
        let log_sum = libm::log(self.sum);
        candidates
            .iter()
            .map(|candidate| {
                (self.p(candidate), log_sum - (f64::from(candidate.logit) - f64::from(self.max)))
            })
            .filter(|&(p, _)| p > 0.0)
            .map(|(p, surprise)| p * surprise)
            .sum()
    }
}

/// Keeps the `k` best, sorted.
pub fn top_k(candidates: &mut Vec<Candidate>, k: usize) {
    let k = k.max(1);
    if k < candidates.len() {
        split(candidates, k, &by_logit);
        candidates.truncate(k);
    }
    sort(candidates, &by_logit);
}

/// Nucleus sampling (Holtzman et al. 2019): the best until they hold the share `p`, sorted.
pub fn top_p(candidates: &mut Vec<Candidate>, p: f32, min_keep: usize) {
    let softmax = Softmax::of(candidates);
    let mut held = 0.0;
    keep_until(candidates, &by_logit, |kept, candidate| {
        held += softmax.p(candidate);
        held >= f64::from(p) && kept >= min_keep
    });
}

/// Locally typical sampling (Meister et al. 2022): those of nearly the expected surprise, until they hold more than
/// the share `p`; sorted by their distance from it.
pub fn typical_p(candidates: &mut Vec<Candidate>, p: f32, min_keep: usize) {
    let softmax = Softmax::of(candidates);
    let entropy = softmax.entropy(candidates);
    let center = libm::log(softmax.sum) + f64::from(softmax.max) - entropy;
    let distance = |candidate: &Candidate| (center - f64::from(candidate.logit)).abs();
    let mut held = 0.0;
    keep_until(
        candidates,
        &|a, b| distance(a).total_cmp(&distance(b)).then_with(|| by_logit(a, b)),
        |kept, candidate| {
            held += softmax.p(candidate);
            held > f64::from(p) && kept >= min_keep
        },
    );
}

/// Keeps the first candidates in `order`, up to the one of which `enough(number kept, candidate)` is true.
///
/// Sorts no more than it has to: the nucleus of a large vocabulary is mostly a few dozen tokens.
fn keep_until(
    candidates: &mut Vec<Candidate>,
    order: Order<'_, Candidate>,
    mut enough: impl FnMut(usize, &Candidate) -> bool,
) {
    let mut sorted = 0;
    for i in 0..candidates.len() {
        if i == sorted {
            sorted = (sorted * 8).max(64).min(candidates.len());
            let rest = &mut candidates[i..];
            if sorted - i < rest.len() {
                split(rest, sorted - i, order);
            }
            sort(&mut rest[..sorted - i], order);
        }
        if enough(i + 1, &candidates[i]) {
            candidates.truncate(i + 1);
            return;
        }
    }
}

/// Keeps those at least `p` times as probable as the best (Nguyen et al. 2024), in the order they were.
pub fn min_p(candidates: &mut Vec<Candidate>, p: f32, min_keep: usize) {
    let max = candidates.iter().fold(f32::MIN, |max, candidate| max.max(candidate.logit));
    let bar = max + libm::logf(p);
    let passing = candidates.iter().filter(|candidate| candidate.logit >= bar).count();
    if passing >= min_keep {
        candidates.retain(|candidate| candidate.logit >= bar);
    } else {
        top_k(candidates, min_keep);
    }
}

/// Keeps logits within `n` standard deviations of the best (Tang et al. 2024), in the order they were.
pub fn top_n_sigma(candidates: &mut Vec<Candidate>, n: f32) {
    let count = candidates.len() as f64;
    let mean = candidates.iter().map(|candidate| f64::from(candidate.logit)).sum::<f64>() / count;
    let deviations = candidates.iter().map(|candidate| f64::from(candidate.logit) - mean);
    let sigma = libm::sqrt(deviations.map(|deviation| deviation * deviation).sum::<f64>() / count);
    let max = candidates.iter().fold(f32::MIN, |max, candidate| max.max(candidate.logit));
    let bar = f64::from(max) - f64::from(n) * sigma;
    candidates.retain(|candidate| f64::from(candidate.logit) >= bar);
}

/// Exclude top choices: of the candidates at least `threshold` probable, only the least probable stays.
pub fn xtc(candidates: &mut Vec<Candidate>, threshold: f32, min_keep: usize) {
    let softmax = Softmax::of(candidates);
    let is_top = |candidate: &Candidate| softmax.p(candidate) >= f64::from(threshold);
    let tops = candidates.iter().filter(|candidate| is_top(candidate)).count();
    let last = candidates.iter().filter(|candidate| is_top(candidate)).max_by(|a, b| by_logit(a, b)).copied();
    if let Some(last) = last
        && candidates.len() - (tops - 1) >= min_keep
    {
        candidates.retain(|candidate| candidate.id == last.id || !is_top(candidate));
    }
}

/// Divides the logits; 0 or less keeps only the best.
pub fn temperature(candidates: &mut Vec<Candidate>, temperature: f32) {
    if temperature <= 0.0 {
        top_k(candidates, 1);
    } else {
        candidates.iter_mut().for_each(|candidate| candidate.logit = finite(candidate.logit / temperature));
    }
}

/// A temperature between `center - range` (at least 0) and `center + range`: the more even the distribution, the
/// hotter, by the power `exponent` of its entropy over the largest possible one.
pub fn dynamic_temperature(candidates: &mut Vec<Candidate>, center: f32, range: f32, exponent: f32) {
    if candidates.len() < 2 {
        return;
    }
    let entropy = Softmax::of(candidates).entropy(candidates) / libm::log(candidates.len() as f64);
    let low = (center - range).max(0.0);
    let high = finite(center + range);
    temperature(candidates, low + (high - low) * libm::powf(entropy as f32, exponent));
}

/// The candidate at the share `unit` (0 to 1, excluded) of the probability, counted in the order they stand.
pub fn at_share(candidates: &[Candidate], unit: f64) -> Option<&Candidate> {
    let softmax = Softmax::of(candidates);
    let target = unit * softmax.sum;
    let mut passed = 0.0;
    let hit = candidates.iter().find(|candidate| {
        passed += f64::from(libm::expf(candidate.logit - softmax.max));
        passed > target
    });
    hit.or(candidates.last())
}
