//! A conversation with a model: the tokens so far, their keys and values, and the buffers of the forward pass.
//!
//! A session allocates everything when it is made and nothing afterwards. Tokens are pushed, then worked off by
//! [`Session::step`], a bounded amount at a time, so that whoever has the thread keeps control; [`Session::forward`]
//! does both at once.

mod buffers;
mod embed;
mod forward;
mod state;
mod team;

use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::cache::{Cache, KvType};
use crate::error::{Error, ErrorKind, Result};
use crate::exec::{Executor, Inline};
use crate::model::Model;
use crate::model::plan::{Kept, Mask, Plan};
use crate::ops::attention::Positions;
use crate::ops::matmul::{Cx, Precision};
use crate::ops::rope::RopeTable;
use crate::simd::Level;
use buffers::{Buffers, Sizes};
use team::Team;

pub use buffers::Memory;

/// Context of sessions that do not ask for one, unless the model was trained with less.
const DEFAULT_CONTEXT: usize = 4096;

/// What a session is made for.
#[derive(Clone)]
pub struct Options {
    /// Tokens that fit; 0: as many as the model was trained with, at most 4096.
    pub context: usize,
    /// Tokens of a prompt that are worked on together, at least 1. More is faster up to some hundreds, and takes
    /// memory. An encoder needs its whole text in one batch.
    pub batch: usize,
    /// How keys and values are stored.
    pub kv: KvType,
    /// How closely products follow the file.
    pub precision: Precision,
    /// The instructions to use.
    pub level: Level,
    /// Who runs the pieces.
    pub exec: Arc<dyn Executor + Send + Sync>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            context: 0,
            batch: 512,
            kv: KvType::default(),
            precision: Precision::default(),
            level: Level::baseline(),
            exec: Arc::new(Inline),
        }
    }
}

/// Looks into the forward pass, for comparison with other engines.
pub trait Observer {
    /// The residual stream of tokens from position `first`, rows of the model's width: before the first block
    /// (`stage` 0), after block `stage - 1`, and after the final norm.
    fn residual(&mut self, stage: usize, first: usize, rows: &[f32]) {
        let _ = (stage, first, rows);
    }

    /// Whether [`Observer::logits`] wants every position, not only the last.
    fn wants_logits(&self) -> bool {
        false
    }

    /// The logits at `position`.
    fn logits(&mut self, position: usize, logits: &[f32]) {
        let _ = (position, logits);
    }
}

/// Looks at nothing.
struct Blind;

impl Observer for Blind {}

/// How much one [`Session::step`] does at most; a number means so many tokens, through all layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Tokens that are worked on together, at least 1 and no more than a batch.
    pub tokens: usize,
    /// Layers that a batch passes in this step, at least 1; the logits count as one more. What is left of the batch
    /// is for the next steps. So a step is short even where a batch takes seconds, and nothing is lost by it. Models
    /// with recurrent layers pass all of them at once.
    pub layers: usize,
}

impl From<usize> for Budget {
    fn from(tokens: usize) -> Self {
        Self { tokens, layers: usize::MAX }
    }
}

/// A batch between two steps.
#[derive(Debug, Clone, Copy)]
struct UnderWay {
    /// Its tokens, the first ones pending.
    n: usize,
    /// The layers that it has passed.
    layers: usize,
}

/// How far [`Session::step`] got.
#[derive(Debug, PartialEq)]
pub enum Progress<'a> {
    /// So many pushed tokens are still to be worked off.
    Pending(usize),
    /// All are done: the logits that follow the last token, one per token of the vocabulary.
    Ready(&'a mut [f32]),
}

/// A sequence of tokens and what the model made of it.
pub struct Session {
    model: Model,
    options: Options,
    /// Tokens pushed; the first `done` of them are in the caches.
    tokens: Vec<u32>,
    done: usize,
    under_way: Option<UnderWay>,
    /// What layers keep, and for each layer which one is its own.
    caches: Vec<Cache>,
    layer_caches: Vec<usize>,
    /// Rotations of the plan, and for each layer which one is its own.
    ropes: Vec<RopeTable>,
    layer_ropes: Vec<Option<usize>>,
    buffers: Buffers,
    team: Team,
}

impl Session {
    /// Allocates a session.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for options that the model cannot follow, [`ErrorKind::Memory`] when there is not
    /// enough of it.
    pub fn new(model: &Model, options: Options) -> Result<Self> {
        let options = resolve(model.plan(), options)?;
        let plan = model.plan();
        let (sizes, _) = Sizes::of_session(plan, &options)?;
        let ropes = buffers::ropes(plan);
        let mut layer_ropes = Vec::new();
        let (kept, layer_caches) = kept(plan);
        for layer in &plan.layers {
            layer_ropes.push(layer.mixer.rope().and_then(|own| ropes.iter().position(|rope| *rope == own)));
        }
        let cache = |kept| Cache::new(options.kv, kept, |mask| capacity(mask, &options));
        let caches = kept.into_iter().map(cache).collect::<Result<_>>()?;
        let ropes = ropes.into_iter().map(|rope| RopeTable::new(model, rope, options.context)).collect();
        let buffers = sizes.allocate()?;
        let mut tokens = Vec::new();
        tokens.try_reserve_exact(options.context).map_err(|_| {
            Error::new(ErrorKind::Memory, format!("no memory for a context of {} tokens", options.context))
        })?;
        let team = Team::remembered(options.exec.remembered());
        Ok(Self {
            model: model.clone(),
            options,
            tokens,
            done: 0,
            under_way: None,
            caches,
            layer_caches,
            ropes,
            layer_ropes,
            buffers,
            team,
        })
    }

    /// The model that this is a session of.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Tokens that fit in total.
    pub fn context(&self) -> usize {
        self.options.context
    }

    /// All tokens so far, pending ones included.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Appends tokens, to be worked off by [`Session::step`].
    ///
    /// # Errors
    /// [`ErrorKind::ContextFull`] when they do not fit, [`ErrorKind::Argument`] when one is not in the vocabulary.
    /// Then none is appended.
    pub fn push(&mut self, tokens: &[u32]) -> Result<()> {
        let n_vocab = self.model.plan().n_vocab;
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= n_vocab) {
            let what = format!("token {token} is not in the vocabulary of {n_vocab}");
            return Err(Error::new(ErrorKind::Argument, what));
        }
        let (used, context) = (self.tokens.len(), self.options.context);
        if tokens.len() > context - used {
            let what =
                format!("{} tokens do not fit a context of {context} with {used} in use", tokens.len());
            return Err(Error::new(ErrorKind::ContextFull, what));
        }
        self.tokens.extend_from_slice(tokens);
        Ok(())
    }

    /// Works off pending tokens, at most as many as `budget` says, or a part of the layers for them.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] when no token is pending, or the model is an encoder.
    pub fn step(&mut self, budget: impl Into<Budget>) -> Result<Progress<'_>> {
        let budget = budget.into();
        let n_layers = self.layer_caches.len();
        let pending = self.pending()?;
        let UnderWay { n, layers } = match self.under_way.take() {
            Some(under_way) => under_way,
            None => {
                let n = pending.min(budget.tokens.max(1)).min(self.options.batch);
                self.begin_batch(&[self.next(n)], &mut Blind);
                UnderWay { n, layers: 0 }
            }
        };
        let recurrent = self.caches.iter().any(|cache| matches!(cache, Cache::State(_)));
        let allowed = if recurrent { usize::MAX } else { budget.layers.max(1) };
        let until = n_layers.min(layers.saturating_add(allowed));
        self.run_layers(&[self.next(n)], layers..until.min(n_layers.saturating_sub(1)), &mut Blind);
        if until == n_layers && layers < until {
            self.run_last_layer(n);
        }
        let reaches_logits = allowed > until - layers;
        if until < n_layers || (n == pending && !reaches_logits) {
            self.under_way = Some(UnderWay { n, layers: until });
            return Ok(Progress::Pending(pending));
        }
        self.finish_batch(n, &mut Blind);
        if n < pending {
            return Ok(Progress::Pending(pending - n));
        }
        self.logits_of_row(n - 1);
        Ok(Progress::Ready(&mut self.buffers.logits))
    }

    /// [`Session::step`] by whole batches, watched. A batch under way starts again.
    ///
    /// # Errors
    /// As [`Session::step`].
    pub fn step_observed(&mut self, budget: usize, observer: &mut dyn Observer) -> Result<Progress<'_>> {
        let pending = self.pending()?;
        self.under_way = None;
        let n = pending.min(budget.max(1)).min(self.options.batch);
        self.run_batch(&[self.next(n)], observer);
        if n < pending {
            return Ok(Progress::Pending(pending - n));
        }
        if !observer.wants_logits() {
            self.logits_of_row(n - 1);
        }
        Ok(Progress::Ready(&mut self.buffers.logits))
    }

    /// The next `n` tokens, of one text from position 0 on.
    fn next(&self, n: usize) -> Positions {
        Positions { start: 0, first: self.done, n }
    }

    /// The number of tokens to be worked off.
    fn pending(&self) -> Result<usize> {
        let what = match self.tokens.len() - self.done {
            _ if self.model.plan().is_encoder() => "an encoder has no logits; embed instead",
            0 => "no token to work on",
            pending => return Ok(pending),
        };
        Err(Error::new(ErrorKind::Argument, what))
    }

    /// Appends tokens and works off all that are pending. Returns the logits that follow the last.
    ///
    /// # Errors
    /// As [`Session::push`] and [`Session::step`].
    pub fn forward(&mut self, tokens: &[u32]) -> Result<&mut [f32]> {
        self.push(tokens)?;
        while let Progress::Pending(_) = self.step(usize::MAX)? {}
        Ok(&mut self.buffers.logits)
    }

    /// [`Session::forward`], watched: every token passes all layers.
    ///
    /// # Errors
    /// As [`Session::forward`].
    pub fn forward_observed(&mut self, tokens: &[u32], observer: &mut dyn Observer) -> Result<&mut [f32]> {
        self.push(tokens)?;
        while let Progress::Pending(_) = self.step_observed(usize::MAX, observer)? {}
        Ok(&mut self.buffers.logits)
    }

    /// Forgets all tokens.
    pub fn clear(&mut self) {
        self.rewind(0);
    }

    /// Forgets all tokens but the first `n`, or all where a layer cannot go back there: windowed layers no longer hold
    /// what came long before, recurrent ones hold only what the tokens worked off came to. Returns how many are left;
    /// the caller pushes the rest again.
    pub fn rewind(&mut self, n: usize) -> usize {
        let n = n.min(self.tokens.len());
        let n = self.truncate_caches(n);
        self.tokens.truncate(n);
        n
    }

    /// Makes room when the context is full: keeps the first `keep` tokens and the later half of the others, and
    /// queues what follows the first dropped one to be worked off anew, so that the result is what a session of just
    /// these tokens has. Returns how many tokens were dropped.
    pub fn shift(&mut self, keep: usize) -> usize {
        let keep = keep.min(self.tokens.len());
        let dropped = (self.tokens.len() - keep).div_ceil(2);
        self.truncate_caches(keep);
        self.tokens.drain(keep..keep + dropped);
        dropped
    }

    /// Keeps what the layers hold of the first `n` tokens, or nothing where one cannot go back there. Returns how many
    /// tokens are still good.
    fn truncate_caches(&mut self, n: usize) -> usize {
        let good = self.caches.iter().all(|cache| cache.can_go_to(n, self.done));
        let n = if good { n } else { 0 };
        // What layers have of a batch under way is written again.
        self.under_way = None;
        if n == 0 {
            self.caches.iter_mut().for_each(Cache::clear);
        }
        self.done = self.done.min(n);
        n
    }
}

impl Options {
    /// With all threads, or with the caller's alone.
    fn cx(&self, alone: bool) -> Cx<'_> {
        let exec: &dyn Executor = if alone { &Inline } else { &*self.exec };
        Cx { level: self.level, exec, precision: self.precision }
    }
}

/// Fills in defaults and checks the options against the model.
fn resolve(plan: &Plan, mut options: Options) -> Result<Options> {
    if options.context == 0 {
        options.context = plan.context.min(DEFAULT_CONTEXT);
    }
    if options.batch == 0 {
        return Err(Error::new(ErrorKind::Argument, "a batch of 0 tokens; expected at least 1"));
    }
    if plan.embed.positions.is_some() && !plan.is_encoder() && options.context > plan.context {
        let what = format!(
            "a context of {}; the model has learned positions for {} and no more",
            options.context, plan.context
        );
        return Err(Error::new(ErrorKind::Argument, what));
    }
    options.batch = options.batch.min(options.context);
    Ok(options)
}

/// Positions that a layer's cache holds.
fn capacity(mask: Mask, options: &Options) -> usize {
    match mask {
        Mask::Causal | Mask::Full | Mask::SlidingBothWays(_) => options.context,
        // While a batch is written, its first token still needs the window before it.
        Mask::Sliding(window) => window.saturating_add(options.batch).min(options.context),
    }
}

/// What a session keeps, and for each layer which of these is its own. An encoder never comes back to a token, so its
/// layers share what one of them is done with.
fn kept(plan: &Plan) -> (Vec<Kept>, Vec<usize>) {
    let mut all: Vec<Kept> = Vec::new();
    let of_layers = plan.layers.iter().map(|layer| {
        let kept = layer.mixer.kept();
        let shared = all.iter().position(|other| *other == kept).filter(|_| plan.is_encoder());
        shared.unwrap_or_else(|| {
            all.push(kept);
            all.len() - 1
        })
    });
    let of_layers = of_layers.collect();
    (all, of_layers)
}
