//! Mirostat (Basu et al. 2021, <https://arxiv.org/abs/2007.14966>): sampling that holds the surprise of the text at
//! `tau` bits. `mu`, the largest surprise allowed, goes down when the text was more surprising than that, and up when
//! it was less.

use alloc::vec::Vec;

use super::candidates::{Candidate, Softmax, by_logit, top_k};
use super::options::Mirostat;
use crate::order::{sort, split};

/// How many of the best candidates the first version estimates the Zipf exponent from.
const ESTIMATED: usize = 100;

#[derive(Debug, Clone, PartialEq)]
pub struct State {
    version: Mirostat,
    tau: f32,
    eta: f32,
    mu: f32,
}

impl State {
    pub fn new(version: Mirostat, tau: f32, eta: f32) -> Self {
        Self { version, tau, eta, mu: 2.0 * tau }
    }

    pub fn reset(&mut self) {
        self.mu = 2.0 * self.tau;
    }

    /// Removes what would surprise too much.
    pub fn truncate(&self, candidates: &mut Vec<Candidate>, n_vocab: usize) {
        match self.version {
            Mirostat::Off => {}
            Mirostat::V1 => self.truncate_by_zipf(candidates, n_vocab),
            Mirostat::V2 => self.truncate_by_surprise(candidates),
        }
    }

    /// Learns from the choice; `candidates` are what it was chosen from.
    pub fn learn(&mut self, candidates: &[Candidate], chosen: &Candidate) {
        let error = bits(Softmax::of(candidates), chosen) - self.tau;
        // Candidates have a probability above 0, if barely; a huge learning rate must not make `mu` a NaN.
        let mu = self.mu - self.eta * error;
        if mu.is_finite() {
            self.mu = mu;
        }
    }

    /// The `k` of the paper's equation 9, from the estimated exponent `s` of Zipf's law.
    fn truncate_by_zipf(&self, candidates: &mut Vec<Candidate>, n_vocab: usize) {
        let mut best = candidates.len().min(ESTIMATED);
        if best < candidates.len() {
            split(candidates, best, &by_logit);
        }
        sort(&mut candidates[..best], &by_logit);
        let (mut products, mut squares) = (0.0, 0.0);
        for (pair, rank) in candidates[..best].windows(2).zip(1u16..) {
            let step = libm::logf(f32::from(rank + 1) / f32::from(rank));
            products += step * (pair[0].logit - pair[1].logit);
            squares += step * step;
        }
        let s = products / squares;
        let epsilon = s - 1.0;
        let share = epsilon * libm::exp2f(self.mu) / (1.0 - libm::powf(n_vocab as f32, -epsilon));
        // A conversion from float saturates, and is 0 for NaN (one candidate, or an exponent of exactly 1).
        best = libm::powf(share, 1.0 / s) as usize;
        top_k(candidates, best);
    }

    fn truncate_by_surprise(&self, candidates: &mut Vec<Candidate>) {
        let softmax = Softmax::of(candidates);
        if candidates.iter().any(|candidate| bits(softmax, candidate) <= self.mu) {
            candidates.retain(|candidate| bits(softmax, candidate) <= self.mu);
        } else {
            top_k(candidates, 1);
        }
    }
}

/// The surprise of a candidate, in bits.
fn bits(softmax: Softmax, candidate: &Candidate) -> f32 {
    (softmax.surprise(candidate) / core::f64::consts::LN_2) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn halves(n: u32) -> Vec<Candidate> {
        // Probabilities 1/2, 1/4, 1/8, ... of which the last occurs twice: surprises of 1, 2, 3, ... bits.
        (0..n)
            .map(|id| Candidate { id, logit: -((id + 1).min(n - 1) as f32) * core::f32::consts::LN_2 })
            .collect()
    }

    #[test]
    fn the_second_version_cuts_at_mu_bits() {
        let mut candidates = halves(8);
        State::new(Mirostat::V2, 1.75, 0.1).truncate(&mut candidates, 8);
        assert_eq!(candidates.iter().map(|c| c.id).collect::<Vec<_>>(), [0, 1, 2]);
        State::new(Mirostat::V2, 0.1, 0.1).truncate(&mut candidates, 8);
        assert_eq!(candidates.iter().map(|c| c.id).collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn the_first_version_inverts_zipfs_law() {
        // Logits -2 ln(rank) are Zipf's law with s = 2, so k = sqrt(2^mu / (1 - 1/n)); with mu = 6, n = 1000: 8.004.
        let zipf = |n: u32| (0..n).map(|id| Candidate { id, logit: -2.0 * libm::logf((id + 1) as f32) });
        let mut candidates: Vec<_> = zipf(1000).collect();
        State::new(Mirostat::V1, 3.0, 0.1).truncate(&mut candidates, 1000);
        assert_eq!(candidates.iter().map(|c| c.id).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
        let mut single: Vec<_> = zipf(1).collect();
        State::new(Mirostat::V1, 3.0, 0.1).truncate(&mut single, 1);
        assert_eq!(single.len(), 1);
    }

    #[test]
    fn mu_follows_the_error() {
        let mut state = State::new(Mirostat::V2, 2.0, 0.5);
        let candidates = halves(4);
        // One bit where two were wanted: mu rises from 4 by half a bit.
        state.learn(&candidates, &candidates[0]);
        assert!((state.mu - 4.5).abs() < 1e-5, "{}", state.mu);
        state.learn(&candidates, &candidates[3]);
        assert!((state.mu - 4.0).abs() < 1e-5, "{}", state.mu);
        state.reset();
        assert_eq!(state, State::new(Mirostat::V2, 2.0, 0.5));
    }
}
