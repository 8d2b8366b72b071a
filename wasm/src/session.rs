//! A text in progress.

use js_sys::{Array, Object};
use motelm_core::Tokenizer;
use motelm_core::generate::{Generator, Step, Stop};
use motelm_core::sample::{Candidate, Sampler};
use motelm_core::session::{Budget, Progress};
use wasm_bindgen::prelude::*;

use crate::error::{Failure, Result};
use crate::object::object;
use crate::options;

/// Tokens, what the model made of them, and the generation that goes on.
#[wasm_bindgen]
pub struct Session {
    session: motelm_core::Session,
    tokenizer: Tokenizer,
    generation: Option<(Generator, Sampler)>,
    /// What the last step brought.
    text: String,
    token: Option<u32>,
    pending: usize,
    stop: Option<String>,
}

/// What [`Session::step`] did.
#[wasm_bindgen]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Did {
    /// Worked on tokens, of which `pending` are left: of the prompt, or the last one where `layers` were few.
    Prefill,
    /// Chose a `token`; `text` is what became certain, which may be empty.
    Token,
    /// Ended, with the last `text`; `stop` says why.
    Done,
}

impl Session {
    pub(crate) fn new(session: motelm_core::Session, tokenizer: Tokenizer) -> Self {
        Self {
            session,
            tokenizer,
            generation: None,
            text: String::new(),
            token: None,
            pending: 0,
            stop: None,
        }
    }
}

#[wasm_bindgen]
impl Session {
    /// Begins to continue `prompt`, the whole text so far, which ends what was generated before. What the session
    /// already holds of its beginning is used again. Returns how many tokens that are.
    ///
    /// `options`: `{ maxTokens, seed, temperature, topK, topP, minP, repeatPenalty, stop, stopIds, logitBias, ... }`.
    ///
    /// # Errors
    /// Options out of range, or a prompt that is empty or does not fit.
    pub fn start(&mut self, prompt: &[u32], options: &JsValue) -> Result<usize> {
        self.cancel();
        let (sampling, limits) = options::generation(options, &self.tokenizer)?;
        let mut sampler = Sampler::new(&sampling, self.session.model().plan().n_vocab)?;
        let generator = Generator::start(&mut self.session, &mut sampler, prompt, limits)?;
        let reused = generator.reused();
        self.generation = Some((generator, sampler));
        Ok(reused)
    }

    /// Does a bounded piece of work: takes at most `tokens` of the prompt, or the one for a new token, through at most
    /// `layers` layers. What is left of them is for the next steps, so few layers at a time cost no speed.
    ///
    /// # Errors
    /// `Argument` when nothing was started.
    pub fn step(&mut self, tokens: usize, layers: usize) -> Result<Did> {
        let budget = Budget { tokens, layers };
        let Some((generator, sampler)) = &mut self.generation else {
            return Err(Failure::argument("no generation was started, or it has ended"));
        };
        (self.token, self.pending) = (None, 0);
        self.text.clear();
        Ok(match generator.step(&mut self.session, sampler, &self.tokenizer, budget)? {
            Step::Prefill { pending } => {
                self.pending = pending;
                Did::Prefill
            }
            Step::Token { id, text } => {
                self.text.push_str(text);
                self.token = Some(id);
                Did::Token
            }
            Step::Done { text, stop } => {
                self.text.push_str(text);
                self.stop = Some(stop_name(stop).into());
                self.generation = None;
                Did::Done
            }
        })
    }

    /// Text that became certain in the last step.
    #[wasm_bindgen(getter)]
    pub fn text(&self) -> String {
        self.text.clone()
    }

    /// The token that the last step chose.
    #[wasm_bindgen(getter)]
    pub fn token(&self) -> Option<u32> {
        self.token
    }

    /// Tokens of the prompt that are left after the last step.
    #[wasm_bindgen(getter)]
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Why the last generation ended: `end`, `stop`, `length` or `context`.
    #[wasm_bindgen(getter)]
    pub fn stop(&self) -> Option<String> {
        self.stop.clone()
    }

    /// `{ logProb, top: [[token, logProb], ...] }` of the last token, where `logProbs` was asked for.
    #[wasm_bindgen(js_name = logProbs)]
    pub fn log_probs(&self) -> Option<Object> {
        let (log_prob, top) = self.generation.as_ref()?.0.log_probs()?;
        let pair = |candidate: &Candidate| Array::of2(&candidate.id.into(), &candidate.logit.into());
        let top: Array = top.iter().map(pair).collect();
        Some(object([("logProb", log_prob.into()), ("top", top.into())]))
    }

    /// Ends the generation; the session keeps what it holds.
    pub fn cancel(&mut self) {
        self.generation = None;
        (self.token, self.pending, self.stop) = (None, 0, None);
        self.text.clear();
    }

    /// Tokens that fit.
    #[wasm_bindgen(getter)]
    pub fn context(&self) -> usize {
        self.session.context()
    }

    /// The tokens so far.
    pub fn tokens(&self) -> Vec<u32> {
        self.session.tokens().to_vec()
    }

    /// Forgets all tokens.
    pub fn clear(&mut self) {
        self.cancel();
        self.session.clear();
    }

    /// The logits that follow `tokens`, the whole text so far. Ends a generation.
    ///
    /// # Errors
    /// No tokens, too many, or ids out of range.
    pub fn probe(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.cancel();
        if tokens.is_empty() {
            return Err(Failure::argument("no tokens; their logits are asked for"));
        }
        let held = self.session.tokens().iter().zip(tokens).take_while(|(a, b)| a == b).count();
        let held = self.session.rewind(held.min(tokens.len() - 1));
        self.session.push(&tokens[held..])?;
        loop {
            if let Progress::Ready(logits) = self.session.step(usize::MAX)? {
                return Ok(logits.to_vec());
            }
        }
    }

    /// The session as bytes, to go on later.
    pub fn save(&self) -> Vec<u8> {
        self.session.save()
    }

    /// Replaces its content by what [`Session::save`] returned, for the same model.
    ///
    /// # Errors
    /// `State` for other bytes, `ContextFull` when they do not fit; then it is as it was.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<()> {
        self.cancel();
        Ok(self.session.restore(bytes)?)
    }
}

fn stop_name(stop: Stop) -> &'static str {
    match stop {
        Stop::EndOfGeneration(_) => "end",
        Stop::StopId(_) | Stop::StopString(_) => "stop",
        Stop::MaxTokens => "length",
        Stop::ContextFull => "context",
    }
}
