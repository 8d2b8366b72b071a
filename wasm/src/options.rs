//! How to generate, as JavaScript says it.

use motelm_core::{generate, sample};
use wasm_bindgen::prelude::*;

/// How to generate. A new one has the engine's defaults.
#[wasm_bindgen(getter_with_clone)]
#[derive(Debug, Clone)]
pub struct Options {
    /// At most this many tokens.
    #[wasm_bindgen(js_name = maxTokens)]
    pub max_tokens: usize,
    /// Texts that end it; they are not part of the result.
    pub stop: Vec<String>,
    /// Fixes every random choice; a whole number.
    pub seed: f64,
    /// Divides the logits; 0 takes the most probable token.
    pub temperature: f32,
    /// Keeps this many most probable tokens; 0 is off.
    #[wasm_bindgen(js_name = topK)]
    pub top_k: usize,
    /// Keeps the most probable tokens that hold this share of the probability; 1 is off.
    #[wasm_bindgen(js_name = topP)]
    pub top_p: f32,
    /// Keeps tokens at least this share as probable as the best one; 0 is off.
    #[wasm_bindgen(js_name = minP)]
    pub min_p: f32,
    /// Divides the logits of recent tokens; 1 is off.
    #[wasm_bindgen(js_name = repeatPenalty)]
    pub repeat_penalty: f32,
}

#[wasm_bindgen]
impl Options {
    /// The defaults.
    #[wasm_bindgen(constructor)]
    pub fn new() -> Self {
        let sample::Options { seed, temperature, top_k, top_p, min_p, repeat_penalty, .. } =
            sample::Options::default();
        Self {
            max_tokens: 256,
            stop: Vec::new(),
            seed: seed as f64,
            temperature,
            top_k,
            top_p,
            min_p,
            repeat_penalty,
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

impl Options {
    pub(crate) fn sampling(&self) -> sample::Options {
        sample::Options {
            seed: self.seed as u64,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repeat_penalty: self.repeat_penalty,
            ..Default::default()
        }
    }

    pub(crate) fn limits(&self) -> generate::Limits {
        generate::Limits {
            max_tokens: self.max_tokens,
            stop_strings: self.stop.clone(),
            ..Default::default()
        }
    }
}
