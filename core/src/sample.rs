//! Logits to token: the sampler chain of llama.cpp, in its order and with its meanings.
//!
//! [`Sampler::pick`] goes three steps. Penalties change the logits of a few tokens: those that have a bias or were
//! said lately, so only these are touched. Then the candidates are gathered in one scan over the vocabulary; when the
//! chain begins with top-k (as it does by default), no more than a few dozen ever leave the scan. The rest of the
//! chain thins out and reshapes the candidates, and a random number picks one.
//!
//! The same seed gives the same tokens on every target: the random numbers are 32-bit integer arithmetic
//! ([`random`]), exponentials and logarithms come from `libm` rather than from the platform, and sums run in an order
//! that is part of the definition. A [`Sampler`] is a value: a clone of it continues with the same tokens.
//!
//! Where llama.cpp sets a logit to minus infinity, the candidate is removed here; both can never be picked.

mod candidates;
mod history;
mod mirostat;
mod options;
pub mod random;

use alloc::vec::Vec;

pub use candidates::Candidate;
pub use options::{Mirostat, Options, SamplerKind};

use crate::error::Result;
use crate::order::{sort, sorted_below};
use candidates::{at_share, by_logit, clean, gather, gather_capacity};
use history::{Dry, History, Penalties};
use random::Random;

/// Chooses tokens; see the [module](self).
#[derive(Debug, Clone)]
pub struct Sampler {
    options: Options,
    n_vocab: usize,
    /// The links of the chain that do something, the first `edits` of which are penalties.
    chain: Vec<SamplerKind>,
    edits: usize,
    /// How many candidates leave the scan.
    limit: usize,
    penalties: Option<Penalties>,
    dry: Option<Dry>,
    mirostat: mirostat::State,
    random: Random,
    history: History,
    /// Tokens whose logits may differ from the model's, by id.
    edited: Vec<Candidate>,
    candidates: Vec<Candidate>,
}

impl Sampler {
    /// A sampler for logits of `n_vocab` tokens. Allocates all it will ever need.
    ///
    /// # Errors
    /// As [`Options::validate`].
    pub fn new(options: &Options, n_vocab: usize) -> Result<Self> {
        options.validate(n_vocab)?;
        let mut options = options.clone();
        let biases = &options.logit_bias;
        let by_token = sorted_below(biases.len(), &|a, b| biases[a].0.cmp(&biases[b].0).then(a.cmp(&b)));
        options.logit_bias = by_token.into_iter().map(|i| biases[i as usize]).collect();
        let chain = active_chain(&options, n_vocab);
        let uses = |kind| chain.contains(&kind);
        let penalties = uses(SamplerKind::Penalties).then(|| Penalties::new(&options));
        let dry = uses(SamplerKind::Dry).then(|| Dry::new(&options));
        let reach = penalties.as_ref().map_or(0, Penalties::reach).max(dry.as_ref().map_or(0, Dry::reach));
        let edits = chain.iter().take_while(|kind| is_edit(**kind)).count();
        let limit = match chain.get(edits) {
            Some(SamplerKind::TopK) => options.top_k,
            Some(SamplerKind::Temperature) if is_greedy(&options) => 1,
            _ => n_vocab,
        };
        Ok(Self {
            n_vocab,
            edits,
            limit,
            mirostat: mirostat::State::new(options.mirostat, options.mirostat_tau, options.mirostat_eta),
            random: Random::new(options.seed),
            history: History::new(reach),
            edited: Vec::with_capacity(options.logit_bias.len() + if edits > 0 { reach } else { 0 }),
            candidates: Vec::with_capacity(gather_capacity(n_vocab, limit)),
            penalties,
            dry,
            chain,
            options,
        })
    }

    /// Remembers a token of the text, prompt tokens too, for the penalties. Ids outside the vocabulary are ignored.
    pub fn accept(&mut self, token: u32) {
        if (token as usize) < self.n_vocab {
            self.history.push(token);
        }
    }

    /// Picks the next token. `logits` has one value per token of the vocabulary.
    ///
    /// NaN counts as minus infinity, plus infinity as the largest number. If no token has a probability, the lowest
    /// id is picked. The result is not [accepted](Self::accept) by itself.
    pub fn pick(&mut self, logits: &[f32]) -> u32 {
        self.pick_where(logits, |_| true).unwrap_or(0)
    }

    /// Picks among the tokens whose bit is set: token `t` is bit `t % 32` of `allowed[t / 32]`, and words that are
    /// absent allow nothing. This is where a grammar constrains the text.
    ///
    /// `None` when no token of the vocabulary is allowed. If none of the allowed has a probability, the lowest of
    /// them is picked.
    pub fn pick_allowed(&mut self, logits: &[f32], allowed: &[u32]) -> Option<u32> {
        self.pick_where(logits, |id| {
            allowed.get(id as usize / 32).is_some_and(|word| word >> (id % 32) & 1 == 1)
        })
    }

    fn pick_where(&mut self, logits: &[f32], allowed: impl Fn(u32) -> bool) -> Option<u32> {
        let logits = &logits[..logits.len().min(self.n_vocab)];
        self.edit(logits);
        gather(logits, &self.edited, &allowed, self.limit, &mut self.candidates);
        self.thin_out();
        let unit = if self.candidates.len() > 1 { self.random.unit() } else { 0.0 };
        let Some(&chosen) = at_share(&self.candidates, unit) else {
            return (0..self.n_vocab as u32).find(|&id| allowed(id));
        };
        if self.options.mirostat != Mirostat::Off {
            self.mirostat.learn(&self.candidates, &chosen);
        }
        Some(chosen.id)
    }

    /// Forgets the text and starts the random numbers anew.
    pub fn reset(&mut self) {
        self.history.clear();
        self.mirostat.reset();
        self.random = Random::new(self.options.seed);
    }

    /// The seed that the random numbers began with.
    pub fn seed(&self) -> u64 {
        self.options.seed
    }

    /// The options, as they were given (the bias sorted by token).
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Bias and leading penalties: collects the tokens concerned and changes their logits.
    fn edit(&mut self, logits: &[f32]) {
        self.edited.clear();
        let raw = |id: u32| logits.get(id as usize).map(|&logit| Candidate { id, logit: clean(logit) });
        self.edited.extend(self.options.logit_bias.iter().filter_map(|&(id, _)| raw(id)));
        if self.edits > 0 {
            self.edited.extend(self.history.newest_first().filter_map(raw));
        }
        sort(&mut self.edited, &|a, b| a.id.cmp(&b.id));
        self.edited.dedup_by_key(|candidate| candidate.id);
        for &(id, bias) in &self.options.logit_bias {
            if let Ok(i) = self.edited.binary_search_by_key(&id, |candidate| candidate.id) {
                self.edited[i].logit = clean(self.edited[i].logit + bias);
            }
        }
        for kind in &self.chain[..self.edits] {
            penalise(*kind, &mut self.penalties, &mut self.dry, &self.history, &mut self.edited);
        }
    }

    /// The chain after the leading penalties.
    fn thin_out(&mut self) {
        let (options, candidates) = (&self.options, &mut self.candidates);
        if candidates.is_empty() {
            return;
        }
        let min_keep = options.min_keep;
        for kind in &self.chain[self.edits..] {
            match kind {
                SamplerKind::Penalties | SamplerKind::Dry => {
                    penalise(*kind, &mut self.penalties, &mut self.dry, &self.history, candidates);
                }
                SamplerKind::TopNSigma => candidates::top_n_sigma(candidates, options.top_n_sigma),
                SamplerKind::TopK => candidates::top_k(candidates, options.top_k),
                SamplerKind::TypicalP => candidates::typical_p(candidates, options.typical_p, min_keep),
                SamplerKind::TopP => candidates::top_p(candidates, options.top_p, min_keep),
                SamplerKind::MinP => candidates::min_p(candidates, options.min_p, min_keep),
                SamplerKind::Xtc => {
                    if candidates.len() > 1 && self.random.unit() <= f64::from(options.xtc_probability) {
                        candidates::xtc(candidates, options.xtc_threshold, min_keep);
                    }
                }
                SamplerKind::Temperature if is_dynamic(options) => candidates::dynamic_temperature(
                    candidates,
                    options.temperature,
                    options.dynatemp_range,
                    options.dynatemp_exponent,
                ),
                SamplerKind::Temperature => candidates::temperature(candidates, options.temperature),
            }
        }
        self.mirostat.truncate(candidates, self.n_vocab);
    }
}

fn penalise(
    kind: SamplerKind,
    penalties: &mut Option<Penalties>,
    dry: &mut Option<Dry>,
    history: &History,
    candidates: &mut [Candidate],
) {
    match (kind, penalties, dry) {
        (SamplerKind::Penalties, Some(penalties), _) => penalties.apply(history, candidates),
        (SamplerKind::Dry, _, Some(dry)) => dry.apply(history, candidates),
        _ => {}
    }
}

fn is_edit(kind: SamplerKind) -> bool {
    matches!(kind, SamplerKind::Penalties | SamplerKind::Dry)
}

fn is_dynamic(options: &Options) -> bool {
    options.dynatemp_range > 0.0 && options.mirostat == Mirostat::Off
}

fn is_greedy(options: &Options) -> bool {
    options.temperature <= 0.0 && !is_dynamic(options)
}

/// The links that do something, given the options.
fn active_chain(options: &Options, n_vocab: usize) -> Vec<SamplerKind> {
    if options.mirostat != Mirostat::Off {
        return [SamplerKind::Temperature].into();
    }
    // What only removes improbable candidates makes no difference to the most probable one.
    let thins = !(is_greedy(options) && options.samplers.contains(&SamplerKind::Temperature));
    let is_active = |kind: &SamplerKind| match kind {
        SamplerKind::Penalties => Penalties::is_active(options),
        SamplerKind::Dry => Dry::is_active(options),
        SamplerKind::TopNSigma => thins && options.top_n_sigma > 0.0,
        SamplerKind::TopK => thins && (1..n_vocab).contains(&options.top_k),
        SamplerKind::TypicalP => options.typical_p < 1.0,
        SamplerKind::TopP => thins && options.top_p < 1.0,
        SamplerKind::MinP => thins && options.min_p > 0.0,
        SamplerKind::Xtc => options.xtc_probability > 0.0 && options.xtc_threshold <= 0.5,
        SamplerKind::Temperature => options.temperature != 1.0 || is_dynamic(options),
    };
    options.samplers.iter().copied().filter(is_active).collect()
}

/// The log-probability (natural logarithm) of `token` in the model's own distribution, the softmax of `logits`
/// before any sampler; minus infinity for a token outside the vocabulary.
///
/// `top` receives the `n` most probable tokens, the best first, their `logit` being the log-probability. It grows to
/// at most `2 n + 64`, and not at all when it has that capacity.
pub fn log_probs(logits: &[f32], token: u32, n: usize, top: &mut Vec<Candidate>) -> f32 {
    let max = logits.iter().fold(f32::MIN, |max, &logit| max.max(clean(logit)));
    let sum: f64 = logits.iter().map(|&logit| f64::from(libm::expf(clean(logit) - max))).sum();
    let log_sum = libm::log(sum);
    let log_prob = |logit: f32| (f64::from(logit) - f64::from(max) - log_sum) as f32;
    top.clear();
    if n > 0 {
        gather(logits, &[], |_| true, n, top);
        sort(top, &by_logit);
        top.iter_mut().for_each(|candidate| candidate.logit = log_prob(candidate.logit));
    }
    match logits.get(token as usize).copied().map(clean) {
        Some(logit) if logit > f32::NEG_INFINITY => log_prob(logit),
        _ => f32::NEG_INFINITY,
    }
}

#[cfg(test)]
mod tests;
