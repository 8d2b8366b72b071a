//! Texts to vectors that are near each other where the texts mean the same.
//!
//! An [`Embedder`] is a model, its tokenizer and what is wanted of them. It is shared by any number of threads, none of
//! which waits for another: whoever embeds brings buffers of its own, a [`Worker`], or lets [`Embedder::embed`] make
//! them for one call.
//!
//! Texts of different lengths go through the model in one batch, one behind the other. Matrices see a list of tokens
//! and do not care whose they are; attention keeps every token to its own text. So nothing is padded, and no vector
//! depends on what else was in the batch.
//!
//! ```
//! # fn nearness(file: motelm_core::gguf::File) -> motelm_core::Result<f32> {
//! use motelm_core::embed::{Embedder, Options, similarity};
//!
//! let embedder = Embedder::new(&file, Options::default())?;
//! let query = embedder.task("query")?.prompt("Which planet is red?");
//! let vectors = embedder.embed(&[query.as_str(), "title: none | text: Mars looks red."])?;
//! Ok(similarity(vectors.of(0), vectors.of(1)))
//! # }
//! ```

mod tasks;

use alloc::format;
use alloc::vec::Vec;
use core::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::gguf::{File, Value};
use crate::model::Model;
use crate::model::plan::Head;
use crate::ops::elementwise::l2_normalize;
use crate::session::{self, Session};
use crate::tokenizer::{Encode, Tokenizer};

pub use crate::model::plan::Pooling;
pub use tasks::Task;

/// What is wanted of a model's vectors.
#[derive(Clone, Default)]
pub struct Options {
    /// How token vectors become one; `None`: as the file says.
    pub pooling: Option<Pooling>,
    /// Elements to keep of each vector, for models that put what matters most in front (Kusupati et al., Matryoshka
    /// representation learning, 2022); `None`: all.
    pub dim: Option<usize>,
    /// The length of the vectors.
    pub length: Length,
    /// Tokens of a text that are read, its special ones included; 0: as many as the model was trained with.
    pub max_tokens: usize,
    /// How the model is run. `batch` tokens are worked on together, or as many as the longest text has; `context` means
    /// nothing here.
    pub session: session::Options,
}

/// The length of vectors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Length {
    /// 1, so that products are cosines. A reranker's scores stay as they are.
    #[default]
    Unit,
    /// As the model makes them.
    AsIs,
}

/// A model that makes vectors of texts. Cloning costs reference counts.
#[derive(Clone)]
pub struct Embedder {
    model: Model,
    tokenizer: Tokenizer,
    options: Options,
    pooling: Pooling,
    max_tokens: usize,
}

/// A text's tokens, and how many did not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// What the model reads.
    pub ids: Vec<u32>,
    /// How many tokens were left out at the end of the text.
    pub dropped: usize,
}

impl Embedder {
    /// Opens the model in `file`.
    ///
    /// # Errors
    /// As [`Model::new`] and [`Tokenizer::new`], and as [`Embedder::of`].
    pub fn new(file: &File, options: Options) -> Result<Self> {
        Self::of(Model::new(file)?, Tokenizer::new(file)?, options)
    }

    /// An embedder of a model that is open.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a model that generates text and does not say how to pool, and for options that it
    /// cannot follow.
    pub fn of(model: Model, tokenizer: Tokenizer, options: Options) -> Result<Self> {
        let plan = model.plan();
        let wrong = |what| Err(Error::new(ErrorKind::Argument, what));
        let Some(pooling) = options.pooling.or_else(|| pooling_of(&model)) else {
            return wrong(format!(
                "architecture `{}` generates text; to embed with it, choose a pooling",
                plan.arch
            ));
        };
        if pooling == Pooling::Rank && !matches!(&plan.head, Head::Embedding { classifier: Some(_), .. }) {
            return wrong("the model has no classifier, so it cannot rank".into());
        }
        if (tokenizer.len() as usize) > plan.n_vocab {
            return wrong(format!("{} tokens; the model has {}", tokenizer.len(), plan.n_vocab));
        }
        let max_tokens = match options.max_tokens {
            0 => plan.context,
            n => n.min(plan.context),
        };
        let embedder = Self { pooling, max_tokens, options, tokenizer, model };
        let full = embedder.full_dim();
        match embedder.options.dim {
            Some(dim) if dim == 0 || dim > full => {
                wrong(format!("{dim} elements of vectors that have {full}"))
            }
            _ => Ok(embedder),
        }
    }

    /// Vectors of texts, as they are: [`Task::prompt`] puts in front what models want there.
    ///
    /// # Errors
    /// [`ErrorKind::Memory`] when there is not enough of it.
    pub fn embed<T: AsRef<str>>(&self, texts: &[T]) -> Result<Embeddings> {
        self.worker().embed(texts)
    }

    /// How well each document answers the query, of a reranker: its first score, larger is better.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] when the model is none, [`ErrorKind::Memory`] when there is not enough of it.
    pub fn rank<T: AsRef<str>>(&self, query: &str, documents: &[T]) -> Result<Vec<f32>> {
        if self.pooling != Pooling::Rank {
            return Err(Error::new(ErrorKind::Argument, "the model makes vectors; it does not rank"));
        }
        let pairs: Vec<Tokens> =
            documents.iter().map(|document| self.pair(query, document.as_ref())).collect();
        let scores = self.worker().embed_tokens(&pairs)?;
        Ok((0..pairs.len()).map(|i| scores.of(i)[0]).collect())
    }

    /// Buffers to embed with again and again.
    pub fn worker(&self) -> Worker {
        Worker { embedder: self.clone(), session: None }
    }

    /// A text's tokens: all, or those that fit, with the token that texts end with behind them.
    pub fn tokens(&self, text: &str) -> Tokens {
        self.cut(self.tokenizer.encode(text, Encode::default()))
    }

    /// The tokens of a query and a document, as rerankers read them.
    pub fn pair(&self, query: &str, document: &str) -> Tokens {
        self.cut(self.tokenizer.encode_pair(query, document))
    }

    fn cut(&self, mut ids: Vec<u32>) -> Tokens {
        let dropped = ids.len().saturating_sub(self.max_tokens);
        let last = ids.last().copied();
        ids.truncate(self.max_tokens);
        if dropped > 0 && self.tokenizer.adds_eos() {
            ids.pop();
            ids.extend(last);
        }
        Tokens { ids, dropped }
    }

    /// What the model can be told that a vector is for; none for models without such prompts.
    pub fn tasks(&self) -> &'static [Task] {
        tasks::of(&self.model)
    }

    /// The task of this name, in upper or lower case.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] with the names that there are.
    pub fn task(&self, name: &str) -> Result<Task> {
        tasks::find(&self.model, name)
    }

    /// Elements of a vector.
    pub fn dim(&self) -> usize {
        self.options.dim.unwrap_or_else(|| self.full_dim())
    }

    fn full_dim(&self) -> usize {
        let plan = self.model.plan();
        match (&plan.head, self.pooling) {
            (_, Pooling::None) | (Head::Logits { .. }, _) => plan.dim,
            (Head::Embedding { classifier: Some(classifier), .. }, Pooling::Rank) => {
                classifier.linears().last().map_or(plan.dim, |linear| linear.n_out)
            }
            (Head::Embedding { dense, .. }, _) => dense.last().map_or(plan.dim, |linear| linear.n_out),
        }
    }

    /// Tokens of a text that are read.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// How token vectors become one.
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Cuts a vector the model made and gives it its length.
    fn finish<'a>(&self, vector: &'a mut [f32]) -> &'a [f32] {
        let vector = &mut vector[..self.dim()];
        if self.options.length == Length::Unit && self.pooling != Pooling::Rank {
            l2_normalize(vector);
        }
        vector
    }
}

/// How the file says that a model pools.
fn pooling_of(model: &Model) -> Option<Pooling> {
    let plan = model.plan();
    match &plan.head {
        Head::Embedding { pooling, .. } => Some(*pooling),
        Head::Logits { .. } => {
            let id = model.file().get(&format!("{}.pooling_type", plan.arch)).and_then(Value::as_u64)?;
            Pooling::from_id(id).filter(|pooling| *pooling != Pooling::None)
        }
    }
}

/// An embedder at work on one thread, with buffers that grow to what the longest text needs.
pub struct Worker {
    embedder: Embedder,
    session: Option<Session>,
}

impl Worker {
    /// As [`Embedder::embed`].
    ///
    /// # Errors
    /// [`ErrorKind::Memory`] when there is not enough of it.
    pub fn embed<T: AsRef<str>>(&mut self, texts: &[T]) -> Result<Embeddings> {
        let tokens: Vec<Tokens> = texts.iter().map(|text| self.embedder.tokens(text.as_ref())).collect();
        self.embed_tokens(&tokens)
    }

    /// Vectors of texts that are tokens already.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for a token that is not in the vocabulary, [`ErrorKind::ContextFull`] for a text of more
    /// tokens than the model has positions for, [`ErrorKind::Memory`] when there is not enough of it.
    pub fn embed_tokens(&mut self, texts: &[Tokens]) -> Result<Embeddings> {
        let embedder = self.embedder.clone();
        let mut embeddings = Embeddings { dim: embedder.dim(), data: Vec::new(), texts: Vec::new() };
        let mut made = Vec::new();
        for batch in self.batches(texts) {
            let ids: Vec<&[u32]> = texts[batch.clone()].iter().map(|text| &*text.ids).collect();
            // A text without a token has a vector of zeros: there is nothing to attend to.
            let some: Vec<&[u32]> = ids.into_iter().filter(|ids| !ids.is_empty()).collect();
            made.clear();
            let mut width = embedder.full_dim();
            if !some.is_empty() {
                let session = self.session(some.iter().map(|ids| ids.len()).sum())?;
                width = session.embed_texts(&some, embedder.pooling, &mut made)?;
            }
            let mut vectors = made.chunks_exact_mut(width);
            for text in &texts[batch] {
                let first = embeddings.data.len();
                let rows = if embedder.pooling == Pooling::None { text.ids.len() } else { 1 };
                for _ in 0..rows {
                    let vector = if text.ids.is_empty() { None } else { vectors.next() };
                    match vector {
                        Some(vector) => embeddings.data.extend_from_slice(embedder.finish(vector)),
                        None => embeddings.data.resize(first + embeddings.dim, 0.0),
                    }
                }
                let place = first..embeddings.data.len();
                embeddings.texts.push(Embedded { place, tokens: text.ids.len(), dropped: text.dropped });
            }
        }
        Ok(embeddings)
    }

    /// Texts that are worked off together: as many as a batch holds, or one.
    pub fn batches(&self, texts: &[Tokens]) -> Vec<Range<usize>> {
        let plan = self.embedder.model.plan();
        let most = match plan.packs() {
            true if plan.is_encoder() => self.embedder.options.session.batch,
            true => self.embedder.options.session.batch.min(plan.context),
            false => 0,
        };
        let mut batches: Vec<Range<usize>> = Vec::new();
        let mut used = 0;
        for (i, text) in texts.iter().enumerate() {
            match batches.last_mut() {
                Some(last) if used + text.ids.len() <= most => {
                    last.end = i + 1;
                    used += text.ids.len();
                }
                _ => {
                    batches.push(i..i + 1);
                    used = text.ids.len();
                }
            }
        }
        batches
    }

    /// A session with room for a batch of `n` tokens.
    fn session(&mut self, n: usize) -> Result<&mut Session> {
        let room = self.session.as_ref().map_or(0, Session::context);
        if room < n {
            // What was too small goes before its successor comes.
            self.session = None;
        }
        match &mut self.session {
            Some(session) => Ok(session),
            none => {
                let options = self.embedder.options.session.clone();
                let room = (2 * room).min(options.batch).max(n);
                let options = session::Options { context: room, batch: room, ..options };
                Ok(none.insert(Session::new(&self.embedder.model, options)?))
            }
        }
    }
}

/// Vectors of texts, one behind the other.
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    dim: usize,
    data: Vec<f32>,
    texts: Vec<Embedded>,
}

/// What became of one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Embedded {
    place: Range<usize>,
    /// Tokens that were read.
    pub tokens: usize,
    /// Tokens at its end that were not.
    pub dropped: usize,
}

impl Embeddings {
    /// Elements of a vector.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// What became of each text.
    pub fn texts(&self) -> &[Embedded] {
        &self.texts
    }

    /// A text's vector; with [`Pooling::None`] those of all its tokens.
    ///
    /// # Panics
    /// When there is no such text.
    pub fn of(&self, text: usize) -> &[f32] {
        &self.data[self.texts[text].place.clone()]
    }

    /// All vectors.
    pub fn vectors(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.data.chunks_exact(self.dim)
    }

    /// All elements.
    pub fn into_flat(self) -> Vec<f32> {
        self.data
    }
}

/// The cosine of the angle between two vectors; 0 when one of them is all zeros.
///
/// # Panics
/// When their lengths differ.
pub fn similarity(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len(), "elements of two vectors");
    let sum = |products: &mut dyn Iterator<Item = f64>| products.sum::<f64>();
    let product = sum(&mut a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)));
    let squares = [a, b].map(|x| sum(&mut x.iter().map(|&x| f64::from(x) * f64::from(x))));
    let length = libm::sqrt(squares[0] * squares[1]);
    if length > 0.0 { (product / length) as f32 } else { 0.0 }
}
