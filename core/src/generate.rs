//! Text, a bounded step at a time: session, sampler and tokenizer put together.
//!
//! A [`Generator`] holds what a generation needs beside those three, which its caller keeps and passes to every step:
//! so one session can serve many generations, and cancelling one is not calling it again.

use alloc::string::String;
use alloc::vec::Vec;
use core::mem;

use crate::error::{Error, ErrorKind, Result};
use crate::sample::{Candidate, Sampler, log_probs};
use crate::session::{Budget, Progress, Session};
use crate::tokenizer::{ShowControl, Stream, Tokenizer};

/// What ends a generation.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Tokens to generate.
    pub max_tokens: usize,
    /// Tokens that end it; they are not part of the text.
    pub stop_ids: Vec<u32>,
    /// Texts that end it, wherever in tokens they begin and end; they are not part of the text.
    pub stop_strings: Vec<String>,
    /// What the model's own end-of-generation tokens do.
    pub end: End,
    /// What a full context does.
    pub full: Full,
    /// How many of the likeliest tokens to report at each step, with the chosen one's log-probability.
    pub log_probs: Option<usize>,
    /// Whether control tokens show in the text.
    pub show: ShowControl,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_tokens: usize::MAX,
            stop_ids: Vec::new(),
            stop_strings: Vec::new(),
            end: End::Stops,
            full: Full::Stops,
            log_probs: None,
            show: ShowControl::default(),
        }
    }
}

/// What the model's own end-of-generation tokens do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// End the generation.
    Stops,
    /// Nothing: the text goes on.
    Ignored,
}

/// What a full context does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Ends the generation.
    Stops,
    /// Drops half of the tokens after the first `keep`, and works the others off anew ([`Session::shift`]).
    Shifts {
        /// Tokens at the start that stay.
        keep: usize,
    },
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The model said this token, one of its own end-of-generation tokens.
    EndOfGeneration(u32),
    /// The model said this token, one of [`Limits::stop_ids`].
    StopId(u32),
    /// The text reached this entry of [`Limits::stop_strings`].
    StopString(usize),
    /// [`Limits::max_tokens`] are generated.
    MaxTokens,
    /// The context has no room for another token.
    ContextFull,
}

/// What one step brought.
#[derive(Debug, PartialEq)]
pub enum Step<'a> {
    /// So many tokens are still to be worked off: of the prompt, or the last one where the budget has fewer layers
    /// than the model.
    Prefill {
        /// At least 1.
        pending: usize,
    },
    /// A token.
    Token {
        /// Its id.
        id: u32,
        /// The text that is certain now; empty while it could still become a stop string or half a character.
        text: &'a str,
    },
    /// The end, again at every further step.
    Done {
        /// What was held back.
        text: &'a str,
        /// Why.
        stop: Stop,
    },
}

/// A generation in progress.
#[derive(Debug)]
pub struct Generator {
    limits: Limits,
    stream: Stream,
    /// Tokens generated so far.
    generated: usize,
    /// The last one, which the session has not seen yet.
    next: Option<u32>,
    /// Text that could still become a stop string.
    held: String,
    /// Text of this step.
    text: String,
    done: Option<Stop>,
    log_prob: f32,
    top: Vec<Candidate>,
    reused: usize,
}

impl Generator {
    /// Begins a generation after `prompt`, the whole text so far in tokens. What the session already holds of its
    /// beginning is used again. The sampler starts anew and hears the prompt.
    ///
    /// # Errors
    /// [`ErrorKind::ContextFull`] when the prompt does not fit, [`ErrorKind::Argument`] when it is empty or has a
    /// token that is not in the vocabulary; the session then holds what it shares with the prompt.
    pub fn start(
        session: &mut Session,
        sampler: &mut Sampler,
        prompt: &[u32],
        limits: Limits,
    ) -> Result<Self> {
        if prompt.is_empty() {
            return Err(Error::new(ErrorKind::Argument, "an empty prompt; it needs at least one token"));
        }
        let shared = session.tokens().iter().zip(prompt).take_while(|(a, b)| a == b).count();
        // The last token is worked off again: its logits are what the first step needs.
        let reused = session.rewind(shared.min(prompt.len() - 1));
        session.push(&prompt[reused..])?;
        sampler.reset();
        prompt.iter().for_each(|&token| sampler.accept(token));
        Ok(Self {
            stream: Stream::new(limits.show),
            limits,
            generated: 0,
            next: None,
            held: String::new(),
            text: String::new(),
            done: None,
            log_prob: 0.0,
            top: Vec::new(),
            reused,
        })
    }

    /// Works off as much of the prompt as `budget` says, or generates one token (or takes a part of the layers for it).
    ///
    /// # Errors
    /// As [`Session::step`].
    pub fn step(
        &mut self,
        session: &mut Session,
        sampler: &mut Sampler,
        tokenizer: &Tokenizer,
        budget: impl Into<Budget>,
    ) -> Result<Step<'_>> {
        self.text.clear();
        if let Some(stop) = self.done {
            return Ok(Step::Done { text: &self.text, stop });
        }
        if self.generated >= self.limits.max_tokens {
            return Ok(self.finish(Stop::MaxTokens));
        }
        if let Some(token) = self.next {
            match self.push(session, token) {
                Ok(()) => self.next = None,
                Err(error) if error.kind == ErrorKind::ContextFull => {
                    return Ok(self.finish(Stop::ContextFull));
                }
                Err(error) => return Err(error),
            }
        }
        let logits = match session.step(budget)? {
            Progress::Pending(pending) => return Ok(Step::Prefill { pending }),
            Progress::Ready(logits) => logits,
        };
        let id = sampler.pick(logits);
        if let Some(n) = self.limits.log_probs {
            self.log_prob = log_probs(logits, id, n, &mut self.top);
        }
        sampler.accept(id);
        if self.limits.end == End::Stops && tokenizer.is_eog(id) {
            return Ok(self.finish(Stop::EndOfGeneration(id)));
        }
        if self.limits.stop_ids.contains(&id) {
            return Ok(self.finish(Stop::StopId(id)));
        }
        self.generated += 1;
        self.next = Some(id);
        self.held.push_str(self.stream.push(tokenizer, id));
        if let Some(stop) = self.release() {
            self.done = Some(stop);
            return Ok(Step::Done { text: &self.text, stop });
        }
        Ok(Step::Token { id, text: &self.text })
    }

    /// Log-probability of the last token before sampling, and the likeliest tokens with theirs, when
    /// [`Limits::log_probs`] asks for them.
    pub fn log_probs(&self) -> Option<(f32, &[Candidate])> {
        self.limits.log_probs.map(|_| (self.log_prob, &*self.top))
    }

    /// Tokens generated so far.
    pub fn generated(&self) -> usize {
        self.generated
    }

    /// Tokens of the prompt that the session held already.
    pub fn reused(&self) -> usize {
        self.reused
    }

    fn push(&self, session: &mut Session, token: u32) -> Result<()> {
        if let Full::Shifts { keep } = self.limits.full
            && session.tokens().len() == session.context()
        {
            // A prefix that fills the context would leave nothing to drop.
            session.shift(keep.min(session.context() / 2));
        }
        session.push(&[token])
    }

    /// Moves what cannot be part of a stop string any more from `held` to `text`.
    fn release(&mut self) -> Option<Stop> {
        let stops = self.limits.stop_strings.iter().filter(|stop| !stop.is_empty());
        let found = self.limits.stop_strings.iter().enumerate().filter(|(_, stop)| !stop.is_empty());
        let found = found.filter_map(|(i, stop)| Some((self.held.find(stop.as_str())?, i))).min();
        if let Some((at, i)) = found {
            self.text.push_str(&self.held[..at]);
            self.held.clear();
            return Some(Stop::StopString(i));
        }
        let kept = stops.map(|stop| overlap(&self.held, stop)).max().unwrap_or(0);
        let certain = self.held.len() - kept;
        self.text.push_str(&self.held[..certain]);
        self.held.drain(..certain);
        None
    }

    /// Ends the generation with all text that was held back.
    fn finish(&mut self, stop: Stop) -> Step<'_> {
        self.done = Some(stop);
        self.text.push_str(&mem::take(&mut self.held));
        self.text.push_str(self.stream.finish());
        Step::Done { text: &self.text, stop }
    }
}

/// Length of the longest end of `text` that is a proper beginning of `stop`.
fn overlap(text: &str, stop: &str) -> usize {
    let starts = stop.char_indices().map(|(at, _)| at).rev();
    starts
        .filter(|&len| len <= text.len())
        .find(|&len| text.as_bytes().ends_with(&stop.as_bytes()[..len]))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_are_whole_characters() {
        for (text, stop, expected) in [
            ("abc", "cde", 1),
            ("abc", "bcd", 2),
            ("abc", "abc", 0),
            ("ab", "abc", 2),
            ("x", "abc", 0),
            ("", "a", 0),
            ("aaa", "aab", 2),
            ("e\u{301}", "\u{301}x", 2),
            ("ö", "öö", 2),
        ] {
            assert_eq!(overlap(text, stop), expected, "{text} {stop}");
        }
    }
}
