//! What was said already, and the penalties for saying it again.

use alloc::vec::Vec;

use super::candidates::{Candidate, finite};
use super::options::Options;
use crate::order::sort_few;

/// The last tokens, in a ring.
#[derive(Debug, Clone)]
pub struct History {
    ring: Vec<u32>,
    capacity: usize,
    /// Where the oldest token lies once the ring is full.
    oldest: usize,
}

impl History {
    pub fn new(capacity: usize) -> Self {
        Self { ring: Vec::with_capacity(capacity), capacity, oldest: 0 }
    }

    pub fn push(&mut self, token: u32) {
        if self.ring.len() < self.capacity {
            self.ring.push(token);
        } else if self.capacity > 0 {
            self.ring[self.oldest] = token;
            self.oldest = (self.oldest + 1) % self.capacity;
        }
    }

    pub fn clear(&mut self) {
        self.ring.clear();
        self.oldest = 0;
    }

    /// The tokens, the newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = u32> {
        let (newer, older) = (&self.ring[..self.oldest], &self.ring[self.oldest..]);
        newer.iter().rev().chain(older.iter().rev()).copied()
    }
}

/// Repeat (Keskar et al. 2019, with llama.cpp's correction for negative logits), presence and frequency penalties.
#[derive(Debug, Clone)]
pub struct Penalties {
    last_n: usize,
    repeat: f32,
    presence: f32,
    frequency: f32,
    /// The window, sorted.
    window: Vec<u32>,
}

impl Penalties {
    /// Whether the options penalise anything.
    pub fn is_active(options: &Options) -> bool {
        let idle = options.repeat_penalty == 1.0
            && options.presence_penalty == 0.0
            && options.frequency_penalty == 0.0;
        !idle && options.repeat_last_n > 0
    }

    pub fn new(options: &Options) -> Self {
        Self {
            last_n: options.repeat_last_n,
            repeat: options.repeat_penalty,
            presence: options.presence_penalty,
            frequency: options.frequency_penalty,
            window: Vec::with_capacity(options.repeat_last_n),
        }
    }

    /// How many past tokens it looks at.
    pub fn reach(&self) -> usize {
        self.last_n
    }

    pub fn apply(&mut self, history: &History, candidates: &mut [Candidate]) {
        self.window.clear();
        self.window.extend(history.newest_first().take(self.last_n));
        sort_few(&mut self.window, |a, b| a < b);
        for Candidate { id, logit } in candidates.iter_mut().filter(|c| c.logit > f32::NEG_INFINITY) {
            let rest = &self.window[self.window.partition_point(|token| token < id)..];
            let count = rest.partition_point(|token| token == id);
            if count > 0 {
                let damped = if *logit <= 0.0 { *logit * self.repeat } else { *logit / self.repeat };
                *logit = finite(finite(damped) - finite(count as f32 * self.frequency + self.presence));
            }
        }
    }
}

/// DRY ("don't repeat yourself", by p-e-w; <https://github.com/oobabooga/text-generation-webui/pull/5677>).
///
/// If the last `n` tokens also stand somewhere earlier, and there a token followed, then that token would continue a
/// repetition: it loses `multiplier * base^(n - allowed_length)`. The lengths of all repetitions come from the
/// Z-function of the reversed window, in linear time. A breaker ends the window for the purpose of counting `n`.
#[derive(Debug, Clone)]
pub struct Dry {
    last_n: usize,
    multiplier: f32,
    base: f32,
    allowed_length: usize,
    /// The largest exponent that does not overflow.
    max_exponent: usize,
    /// Sorted, so that all with the same first token are neighbours.
    breakers: Vec<Vec<u32>>,
    /// The window, the newest token first.
    window: Vec<u32>,
    /// `z[k]`: how many tokens from the newest on equal those from `k` on.
    z: Vec<usize>,
    /// Tokens that would continue a repetition, with its length so far; sorted by token.
    repeats: Vec<(u32, usize)>,
}

impl Dry {
    /// Whether the options penalise anything.
    pub fn is_active(options: &Options) -> bool {
        options.dry_multiplier > 0.0 && options.dry_last_n > 0
    }

    pub fn new(options: &Options) -> Self {
        let mut breakers = options.dry_breakers.clone();
        sort_few(&mut breakers, |a, b| a < b);
        let max_exponent = if options.dry_base > 1.000_001 {
            (libm::logf(f32::MAX) / libm::logf(options.dry_base)) as usize
        } else {
            usize::MAX
        };
        Self {
            last_n: options.dry_last_n,
            multiplier: options.dry_multiplier,
            base: options.dry_base,
            allowed_length: options.dry_allowed_length,
            max_exponent,
            breakers,
            window: Vec::with_capacity(options.dry_last_n),
            z: Vec::with_capacity(options.dry_last_n),
            repeats: Vec::with_capacity(options.dry_last_n),
        }
    }

    /// How many past tokens it looks at.
    pub fn reach(&self) -> usize {
        self.last_n
    }

    pub fn apply(&mut self, history: &History, candidates: &mut [Candidate]) {
        self.find_repeats(history);
        for Candidate { id, logit } in candidates.iter_mut().filter(|c| c.logit > f32::NEG_INFINITY) {
            // The longest repetition of a token stands last among its equals.
            let end = self.repeats.partition_point(|(token, _)| token <= id);
            if let Some(&(token, length)) = self.repeats[..end].last()
                && token == *id
                && self.breakers_from(*id).first().is_none_or(|shortest| shortest.len() > 1)
            {
                let exponent = (length - self.allowed_length).min(self.max_exponent);
                let penalty = self.multiplier * libm::powf(self.base, exponent as f32);
                *logit = finite(*logit - finite(penalty));
            }
        }
    }

    fn find_repeats(&mut self, history: &History) {
        self.repeats.clear();
        self.window.clear();
        self.window.extend(history.newest_first().take(self.last_n));
        let longest = self.distance_to_breaker();
        if self.window.len() <= self.allowed_length || longest < self.allowed_length {
            return;
        }
        z_function(&self.window, &mut self.z);
        for k in 1..self.window.len() {
            let length = self.z[k].min(longest);
            if length >= self.allowed_length {
                self.repeats.push((self.window[k - 1], length));
            }
        }
        sort_few(&mut self.repeats, |a, b| a < b);
    }

    /// How many tokens stand after the last breaker; all when there is none.
    fn distance_to_breaker(&self) -> usize {
        for i in 0..self.window.len() {
            let follows = |breaker: &&Vec<u32>| {
                breaker.len() <= i + 1
                    && breaker.iter().zip(self.window[..=i].iter().rev()).all(|(a, b)| a == b)
            };
            let matching = self.breakers_from(self.window[i]).iter().filter(follows);
            if let Some(length) = matching.map(Vec::len).max() {
                return i + 1 - length;
            }
        }
        self.window.len()
    }

    /// The breakers that begin with `head`, the shortest first.
    fn breakers_from(&self, head: u32) -> &[Vec<u32>] {
        let start = self.breakers.partition_point(|breaker| breaker[0] < head);
        let rest = &self.breakers[start..];
        &rest[..rest.partition_point(|breaker| breaker[0] == head)]
    }
}

/// `z[k]` is the length of the longest common prefix of `text` and `text[k..]` (Gusfield 1997); `z[0]` is 0 here.
fn z_function(text: &[u32], z: &mut Vec<usize>) {
    z.clear();
    z.resize(text.len(), 0);
    // text[left..right] is the match that reaches furthest so far.
    let (mut left, mut right) = (0, 0);
    for k in 1..text.len() {
        let mut n = if k < right { z[k - left].min(right - k) } else { 0 };
        while k + n < text.len() && text[n] == text[k + n] {
            n += 1;
        }
        if k + n > right {
            (left, right) = (k, k + n);
        }
        z[k] = n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn history(capacity: usize, tokens: &[u32]) -> History {
        let mut history = History::new(capacity);
        tokens.iter().for_each(|&token| history.push(token));
        history
    }

    fn logits_after(n: u32, mut apply: impl FnMut(&mut [Candidate])) -> Vec<f32> {
        let mut candidates: Vec<_> = (0..n).map(|id| Candidate { id, logit: 1.0 }).collect();
        apply(&mut candidates);
        candidates.iter().map(|candidate| candidate.logit).collect()
    }

    #[test]
    fn the_ring_forgets_the_oldest() {
        for (tokens, expected) in [(&[1, 2][..], &[2, 1][..]), (&[1, 2, 3, 4, 5], &[5, 4, 3])] {
            assert_eq!(history(3, tokens).newest_first().collect::<Vec<_>>(), expected);
        }
        assert_eq!(history(0, &[1]).newest_first().count(), 0);
    }

    #[test]
    fn penalties_follow_their_definitions() {
        let options = Options {
            repeat_penalty: 2.0,
            presence_penalty: 0.25,
            frequency_penalty: 0.5,
            repeat_last_n: 3,
            ..Options::default()
        };
        let mut penalties = Penalties::new(&options);
        let mut candidates = [4.0, -4.0, 1.0, f32::NEG_INFINITY].map(|logit| Candidate { id: 0, logit });
        candidates.iter_mut().zip(0..).for_each(|(candidate, id)| candidate.id = id);
        // Token 2 has left the window of three; 0 occurred once, 1 twice, and 3 (banned) not at all.
        penalties.apply(&history(8, &[2, 1, 0, 1]), &mut candidates);
        assert_eq!(
            candidates.map(|c| c.logit),
            [4.0 / 2.0 - 0.75, -4.0 * 2.0 - 1.25, 1.0, f32::NEG_INFINITY]
        );
        assert!(Penalties::is_active(&options) && !Penalties::is_active(&Options::default()));
    }

    #[test]
    fn z_counts_common_prefixes() {
        let mut z = Vec::new();
        z_function(&[1, 1, 2, 1, 1, 2, 1, 3], &mut z);
        assert_eq!(z, [0, 1, 0, 4, 1, 0, 1, 0]);
        z_function(&[5; 6], &mut z);
        assert_eq!(z, [0, 5, 4, 3, 2, 1]);
        z_function(&[], &mut z);
        assert_eq!(z, []);
    }

    fn dry(breakers: &[&[u32]]) -> Dry {
        Dry::new(&Options {
            dry_multiplier: 0.5,
            dry_base: 2.0,
            dry_allowed_length: 2,
            dry_last_n: 16,
            dry_breakers: breakers.iter().map(|breaker| breaker.to_vec()).collect(),
            ..Options::default()
        })
    }

    #[test]
    fn dry_punishes_what_would_continue_a_repetition() {
        // a b c c b c y a b c: after "a b c" came c (3 repeated), after "c" b (1, allowed), after "b c" y (2).
        let tokens = [0, 1, 2, 2, 1, 2, 3, 0, 1, 2];
        let penalised = logits_after(5, |c| dry(&[]).apply(&history(16, &tokens), c));
        assert_eq!(penalised, [1.0, 1.0, 1.0 - 0.5 * 2.0, 1.0 - 0.5, 1.0]);
        // A breaker at the newest b leaves one token, c, to count: less than what is allowed.
        let broken = logits_after(5, |c| dry(&[&[1]]).apply(&history(16, &tokens), c));
        assert_eq!(broken, [1.0; 5]);
        // A breaker of two tokens that ends before "b c" limits the repetition to two.
        let limited = logits_after(5, |c| dry(&[&[3, 0]]).apply(&history(16, &tokens), c));
        assert_eq!(limited, [1.0, 1.0, 0.5, 0.5, 1.0]);
        // A breaker of one token is itself never punished, here y; nor does it count when its rest is missing.
        let spared = logits_after(5, |c| dry(&[&[3], &[2, 4]]).apply(&history(16, &tokens), c));
        assert_eq!(spared, [1.0, 1.0, 0.0, 1.0, 1.0]);
    }

    #[test]
    fn dry_never_overflows() {
        let mut dry = Dry::new(&Options {
            dry_multiplier: 1e30,
            dry_base: 1e9,
            dry_allowed_length: 0,
            dry_last_n: 64,
            ..Options::default()
        });
        let penalised = logits_after(2, |c| dry.apply(&history(64, &vec![1; 64]), c));
        assert_eq!(penalised, [1.0, f32::MIN]);
    }
}
