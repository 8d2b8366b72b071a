//! Texts to vectors: whole texts in one batch, each of which attends to itself alone, and what their tokens come to.

use alloc::format;
use alloc::vec::Vec;

use super::buffers::Buffers;
use super::forward::{apply, weights};
use super::{Blind, Observer, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::model::plan::{Classifier, Head, Linear, Pooling};
use crate::ops::attention::Positions;
use crate::ops::elementwise::{add_scaled, l2_normalize};
use crate::ops::norm::normalize;

impl Session {
    /// Drops what was there and makes one vector of `tokens`, pooled as the file says: normalised, unless it is the
    /// score of a reranker.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] when the model is no encoder, pools nothing, or there are no tokens,
    /// [`ErrorKind::ContextFull`] when they exceed a batch.
    pub fn embed(&mut self, tokens: &[u32]) -> Result<&[f32]> {
        self.embed_observed(tokens, &mut Blind)
    }

    /// [`Session::embed`], watched.
    ///
    /// # Errors
    /// As [`Session::embed`].
    pub fn embed_observed(&mut self, tokens: &[u32], observer: &mut dyn Observer) -> Result<&[f32]> {
        let pooling = match &self.model.plan().head {
            Head::Embedding { pooling: Pooling::None, .. } => {
                let what = "the model makes a vector of each token, and none of a text";
                return Err(Error::new(ErrorKind::Argument, what));
            }
            Head::Embedding { pooling, .. } => *pooling,
            Head::Logits { .. } => {
                let what = "the model generates text; it makes no embeddings";
                return Err(Error::new(ErrorKind::Argument, what));
            }
        };
        let texts = self.begin_texts(&[tokens])?;
        self.run_batch(&texts, observer);
        self.normalize_batch(tokens.len());
        let width = self.pool(texts[0], pooling);
        let vector = &mut self.buffers.last[..width];
        if pooling != Pooling::Rank {
            l2_normalize(vector);
        }
        Ok(vector)
    }

    /// Drops what was there, works off several texts in one batch, and appends their vectors to `out`: one for each,
    /// or with [`Pooling::None`] one for each token. They are not normalised yet, and no text's depends on the others.
    /// Returns the width of a vector.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for an empty text, for several where the model keeps a state, and for
    /// [`Pooling::Rank`] without a classifier; [`ErrorKind::ContextFull`] when they exceed a batch.
    pub(crate) fn embed_texts(
        &mut self,
        texts: &[&[u32]],
        pooling: Pooling,
        out: &mut Vec<f32>,
    ) -> Result<usize> {
        let model = self.model.clone();
        let plan = model.plan();
        if pooling == Pooling::Rank && !matches!(&plan.head, Head::Embedding { classifier: Some(_), .. }) {
            return Err(Error::new(ErrorKind::Argument, "the model has no classifier, so it cannot rank"));
        }
        if texts.len() > 1 && !plan.packs() {
            let what = "the model keeps a state of what it has read; it takes one text at a time";
            return Err(Error::new(ErrorKind::Argument, what));
        }
        let places = self.begin_texts(texts)?;
        let n = self.tokens.len();
        self.run_batch(&places, &mut Blind);
        self.normalize_batch(n);
        if pooling == Pooling::None {
            out.extend_from_slice(&self.buffers.x[..n * plan.dim]);
            return Ok(plan.dim);
        }
        let mut width = 0;
        for text in places {
            width = self.pool(text, pooling);
            out.extend_from_slice(&self.buffers.last[..width]);
        }
        Ok(width)
    }

    /// Forgets all tokens and takes those of `texts` instead. Returns where they lie.
    fn begin_texts(&mut self, texts: &[&[u32]]) -> Result<Vec<Positions>> {
        self.clear();
        let (batch, n) = (self.options.batch, texts.iter().map(|tokens| tokens.len()).sum::<usize>());
        if n > batch {
            let what = format!("{n} tokens; a text is read as a whole, in a batch of {batch} at most");
            return Err(Error::new(ErrorKind::ContextFull, what));
        }
        let mut places = Vec::with_capacity(texts.len());
        for tokens in texts {
            let start = self.tokens.len();
            if tokens.is_empty() {
                self.clear();
                return Err(Error::new(ErrorKind::Argument, "a text without tokens; expected at least 1"));
            }
            let plan = self.model.plan();
            if plan.embed.positions.is_some() && tokens.len() > plan.context {
                let (n, most) = (tokens.len(), plan.context);
                let what =
                    format!("a text of {n} tokens; the model has learned positions for {most} and no more");
                self.clear();
                return Err(Error::new(ErrorKind::ContextFull, what));
            }
            self.push(tokens)?;
            places.push(Positions { start, first: start, n: tokens.len() });
        }
        Ok(places)
    }

    /// The final norm over the batch's `n` rows, which stay in `buffers.x`.
    fn normalize_batch(&mut self, n: usize) {
        let plan = self.model.plan();
        if let Some(norm) = &plan.norm {
            let x = &mut self.buffers.x[..n * plan.dim];
            normalize(&self.options.cx(false), weights(&self.model, norm), plan.dim, plan.dim, x);
        }
    }

    /// Makes one vector of a text's rows, in the beginning of `buffers.last`, and returns its width.
    fn pool(&mut self, text: Positions, pooling: Pooling) -> usize {
        let model = self.model.clone();
        let plan = model.plan();
        let dim = plan.dim;
        let cx = self.options.cx(false);
        let Buffers { x, last, dense, activations, .. } = &mut self.buffers;
        let x = &x[text.first * dim..][..text.n * dim];
        let pooled = &mut last[..dim];
        match pooling {
            Pooling::Cls | Pooling::Rank => pooled.copy_from_slice(&x[..dim]),
            Pooling::None => unreachable!("tokens keep their vectors"),
            Pooling::Last => pooled.copy_from_slice(&x[(text.n - 1) * dim..]),
            Pooling::Mean => {
                pooled.fill(0.0);
                x.chunks_exact(dim).for_each(|x| add_scaled(pooled, 1.0 / text.n as f32, x));
            }
            Pooling::Max => {
                pooled.copy_from_slice(&x[..dim]);
                for x in x.chunks_exact(dim) {
                    pooled.iter_mut().zip(x).for_each(|(most, x)| *most = most.max(*x));
                }
            }
        }
        let Head::Embedding { dense: layers, classifier, .. } = &plan.head else { return dim };
        let mut through = |linear: &Linear, last: &mut [f32]| {
            let (input, output) = (&last[..linear.n_in], &mut dense[..linear.n_out]);
            apply(&cx, &model, activations, input, [(linear, &mut *output)]);
            last[..linear.n_out].copy_from_slice(output);
            linear.n_out
        };
        match classifier {
            Some(Classifier { dense, out }) if pooling == Pooling::Rank => {
                let mut width = dim;
                if let Some(linear) = dense {
                    width = through(linear, last);
                    last[..width].iter_mut().for_each(|x| *x = libm::tanhf(*x));
                }
                out.iter().fold(width, |_, linear| through(linear, last))
            }
            _ => layers.iter().fold(dim, |_, linear| through(linear, last)),
        }
    }
}
