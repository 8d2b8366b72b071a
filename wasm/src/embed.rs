//! Texts to vectors.

use core::ops::Range;
use std::vec::IntoIter;

use js_sys::{Float32Array, Reflect};
use motelm_core::embed::{self, Pooling, Tokens, Worker};
use wasm_bindgen::prelude::*;

use crate::error::{Failure, Result};
use crate::object::{list, shown};

/// Makes vectors of texts, a batch of them at a time: take texts, then step until none is left.
#[wasm_bindgen]
pub struct Embedder {
    embedder: embed::Embedder,
    worker: Worker,
    texts: Vec<Tokens>,
    batches: IntoIter<Range<usize>>,
}

impl Embedder {
    pub(crate) fn new(embedder: embed::Embedder) -> Self {
        Self { worker: embedder.worker(), embedder, texts: Vec::new(), batches: Vec::new().into_iter() }
    }

    /// Returns, text by text, how many tokens are read and how many did not fit.
    fn take(&mut self, texts: Vec<Tokens>) -> Vec<u32> {
        self.batches = self.worker.batches(&texts).into_iter();
        self.texts = texts;
        self.texts.iter().flat_map(|text| [text.ids.len() as u32, text.dropped as u32]).collect()
    }
}

#[wasm_bindgen]
impl Embedder {
    /// Takes texts, instead of what was there: each is a text or `{ title, text }`. They are read
    /// as `task` says, one of [`Embedder::tasks`]. Returns two numbers for each: tokens that are read, and tokens that
    /// did not fit.
    ///
    /// # Errors
    /// `Argument` for a task that the model does not know.
    pub fn texts(&mut self, texts: &JsValue, task: Option<String>) -> Result<Vec<u32>> {
        let task = task.map(|name| self.embedder.task(&name)).transpose()?;
        let prompt = |value: &JsValue| {
            let field = |name: &str| Reflect::get(value, &name.into()).ok()?.as_string();
            let text = field("text").or_else(|| value.as_string())?;
            Some(match (field("title"), task) {
                (None, None) => text,
                (Some(title), None) => format!("{title}\n{text}"),
                (None, Some(task)) => task.prompt(&text),
                (Some(title), Some(task)) => task.prompt_titled(&title, &text),
            })
        };
        let tokens = |text: &JsValue| match prompt(text) {
            Some(prompt) => Ok(self.embedder.tokens(&prompt)),
            None => Err(Failure::argument(format!("{}; expected a text or {{ title, text }}", shown(text)))),
        };
        let expected = || Failure::argument(format!("{}; expected a list of texts", shown(texts)));
        let texts = list(texts, Some).ok_or_else(expected)?;
        let texts = texts.iter().map(tokens).collect::<Result<_>>()?;
        Ok(self.take(texts))
    }

    /// Takes a query with each of several documents, as a reranker reads them; of their vectors the first element is
    /// the score. Returns the same as [`Embedder::texts`].
    ///
    /// # Errors
    /// `Argument` when the model is no reranker.
    pub fn pairs(&mut self, query: &str, documents: Vec<String>) -> Result<Vec<u32>> {
        if self.embedder.pooling() != Pooling::Rank {
            return Err(Failure::argument("the model makes vectors; it does not rank"));
        }
        let pairs = documents.iter().map(|document| self.embedder.pair(query, document)).collect();
        Ok(self.take(pairs))
    }

    /// Works off a batch. Returns a vector for each of its texts, or without pooling the vectors of all its tokens as
    /// one; nothing when all texts have theirs.
    ///
    /// # Errors
    /// `Memory` when there is not enough of it.
    pub fn step(&mut self) -> Result<Option<Vec<Float32Array>>> {
        let Some(batch) = self.batches.next() else { return Ok(None) };
        let made = self.worker.embed_tokens(&self.texts[batch])?;
        Ok(Some((0..made.texts().len()).map(|text| made.of(text).into()).collect()))
    }

    /// Tokens of a text that are read.
    #[wasm_bindgen(getter, js_name = maxTokens)]
    pub fn max_tokens(&self) -> usize {
        self.embedder.max_tokens()
    }

    /// Names of what the model can be told that a vector is for.
    #[wasm_bindgen(getter)]
    pub fn tasks(&self) -> Vec<String> {
        self.embedder.tasks().iter().map(|task| task.name.into()).collect()
    }
}
