//! The buffers of the forward pass, and how many bytes a session takes.

use alloc::vec::Vec;

use super::{Options, capacity, kept, resolve};
use crate::cache::{Cache, zeroed};
use crate::error::{Error, ErrorKind, Result};
use crate::model::Model;
use crate::model::plan::{Classifier, Ffn, Head, Kept, LatentQuery, Mixer, Mlp, Plan, Qkv, Rope, Up};
use crate::ops::activations::Activations;
use crate::ops::attention::Scratch;

/// Bytes that a session allocates, beside the model itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Keys and values, and the states of recurrent layers.
    pub kv: u64,
    /// Everything else: activations, logits, the list of tokens.
    pub buffers: u64,
}

impl Memory {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.kv.saturating_add(self.buffers)
    }
}

impl Model {
    /// [`Plan::memory`] of this model's plan.
    ///
    /// # Errors
    /// As [`Plan::memory`].
    pub fn memory(&self, options: &Options) -> Result<Memory> {
        self.plan().memory(options)
    }
}

impl Plan {
    /// The bytes that [`super::Session::new`] allocates for these options. Nothing is allocated to find out, and no
    /// weights are needed.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] for options that the model cannot follow, [`ErrorKind::Memory`] when it is more than
    /// the address space.
    pub fn memory(&self, options: &Options) -> Result<Memory> {
        Ok(Sizes::of_session(self, &resolve(self, options.clone())?)?.1)
    }
}

impl Sizes {
    /// The buffers of a session with these resolved options, and what they take together with everything else.
    pub(super) fn of_session(plan: &Plan, options: &Options) -> Result<(Self, Memory)> {
        let mut kv: u64 = 0;
        for kept in kept(plan).0 {
            if let Kept::Rows(shape) = kept {
                options.kv.check(shape)?;
            }
            let bytes = Cache::bytes(options.kv, kept, |mask| capacity(mask, options));
            kv = bytes.and_then(|bytes| kv.checked_add(bytes)).ok_or_else(too_large)?;
        }
        let sizes = Self::new(plan, options).ok_or_else(too_large)?;
        let tokens = options.context as u64 * size_of::<u32>() as u64;
        let buffers = sizes.bytes().and_then(|bytes| bytes.checked_add(tokens)).ok_or_else(too_large)?;
        let memory = Memory { kv, buffers };
        if memory.total() > isize::MAX as u64 {
            return Err(too_large());
        }
        Ok((sizes, memory))
    }
}

/// The rotations of a plan, each once: layers that rotate alike share a table of angles.
pub(super) fn ropes(plan: &Plan) -> Vec<&Rope> {
    let mut ropes = Vec::new();
    for rope in plan.layers.iter().filter_map(|layer| layer.mixer.rope()) {
        if !ropes.contains(&rope) {
            ropes.push(rope);
        }
    }
    ropes
}

fn too_large() -> Error {
    Error::new(
        ErrorKind::Memory,
        "the session would not fit the address space; try a smaller context or batch",
    )
}

/// Declares the buffers once: their sizes, their sum, their allocation.
macro_rules! buffers {
    ($($(#[$doc:meta])* $name:ident: $element:ty,)*) => {
        /// Elements of each buffer.
        pub(super) struct Sizes { $($name: usize,)* activations: (usize, usize) }

        /// The buffers, by the names of the field. Rows are tokens of a batch.
        pub(super) struct Buffers {
            $($(#[$doc])* pub(super) $name: Vec<$element>,)*
            /// The values that integer weights meet.
            pub(super) activations: Activations,
        }

        impl Sizes {
            fn bytes(&self) -> Option<u64> {
                let mut bytes = Activations::bytes(self.activations.0, self.activations.1)? as u64;
                $(bytes = bytes.checked_add((self.$name as u64).checked_mul(size_of::<$element>() as u64)?)?;)*
                Some(bytes)
            }

            pub(super) fn allocate(&self) -> Result<Buffers> {
                Ok(Buffers {
                    $($name: zeroed(self.$name)?,)*
                    activations: Activations::new(self.activations.0, self.activations.1),
                })
            }
        }
    };
}

buffers! {
    /// The residual stream.
    x: f32,
    /// What a half of a block reads: the stream, normalised.
    h: f32,
    /// What a half of a block adds to the stream.
    o: f32,
    /// Queries.
    q: f32,
    /// Keys.
    k: f32,
    /// Values.
    v: f32,
    /// The output of projections that are stored as one: queries, keys and values; gate and up; a recurrent mixer's.
    fused: f32,
    /// What the heads return, or a recurrent mixer.
    attended: f32,
    /// What attention's tasks have to themselves.
    scratch: f32,
    /// Low-rank queries.
    low_rank: f32,
    /// The rows of one head of latent attention, gathered.
    head: f32,
    /// What they become on the way into the latent space or out of it.
    head_out: f32,
    /// An FFN's gate.
    gate: f32,
    /// An FFN's hidden vector.
    up: f32,
    /// Router scores of all experts.
    router: f32,
    /// Experts of each token.
    chosen: u32,
    /// Their weights.
    chosen_weight: f32,
    /// The rows that one expert works on, gathered.
    gathered: f32,
    /// What it returns for them.
    expert_out: f32,
    /// Where they come from: positions in `chosen`.
    origin: u32,
    /// Cosines and sines of each rotation.
    angles: f32,
    /// One position's logits.
    logits: f32,
    /// One position's stream after the final norm, or the vector of an encoder.
    last: f32,
    /// The other of two vectors that an encoder's dense layers, or its classifier's, pass on.
    dense: f32,
}

impl Sizes {
    fn new(plan: &Plan, options: &Options) -> Option<Self> {
        let mut widths = Widths { input: plan.dim, ..Widths::default() };
        for layer in &plan.layers {
            widths.add_mixer(&layer.mixer, options.batch);
            widths.add_ffn(&layer.ffn);
        }
        let rows = |width: usize| options.batch.checked_mul(width);
        let (logits, dense) = match &plan.head {
            Head::Logits { .. } => (plan.n_vocab, 0),
            Head::Embedding { dense, classifier, .. } => {
                let linears = dense.iter().chain(classifier.iter().flat_map(Classifier::linears));
                (0, linears.map(|linear| linear.n_out).max().unwrap_or(0))
            }
        };
        widths.input = widths.input.max(dense);
        Some(Self {
            x: rows(plan.dim)?,
            h: rows(plan.dim)?,
            o: rows(plan.dim)?,
            q: rows(widths.q)?,
            k: rows(widths.kv)?,
            v: rows(widths.kv)?,
            fused: rows(widths.fused)?,
            attended: rows(widths.attended)?,
            scratch: widths.scratch.checked_mul(options.exec.width())?,
            low_rank: rows(widths.low_rank)?,
            head: rows(widths.head)?,
            head_out: rows(widths.head)?,
            gate: rows(widths.gate)?,
            up: rows(widths.hidden)?,
            router: rows(widths.experts)?,
            chosen: rows(widths.used)?,
            chosen_weight: rows(widths.used)?,
            gathered: if widths.experts > 0 { rows(plan.dim)? } else { 0 },
            expert_out: if widths.experts > 0 { rows(plan.dim)? } else { 0 },
            origin: if widths.experts > 0 { options.batch } else { 0 },
            angles: rows(ropes(plan).iter().map(|rope| rope.dims / 2 * 2).sum())?,
            logits,
            last: plan.dim.max(dense),
            dense,
            activations: (options.batch, widths.input),
        })
    }
}

/// The widest rows of each kind in any layer.
#[derive(Default)]
struct Widths {
    input: usize,
    q: usize,
    kv: usize,
    fused: usize,
    attended: usize,
    scratch: usize,
    low_rank: usize,
    head: usize,
    gate: usize,
    hidden: usize,
    experts: usize,
    used: usize,
}

impl Widths {
    fn add_mixer(&mut self, mixer: &Mixer, batch: usize) {
        match mixer {
            Mixer::Attention(attention) => {
                self.add_scratch(attention.n_heads, mixer, batch);
                self.q = self.q.max(attention.q_dim());
                self.kv = self.kv.max(attention.kv_dim());
                self.add_attended(attention.q_dim());
                if let Qkv::Fused(qkv) = &attention.qkv {
                    self.fused = self.fused.max(qkv.n_out);
                }
            }
            Mixer::Latent(latent) => {
                self.add_scratch(latent.n_heads, mixer, batch);
                self.q = self.q.max(latent.n_heads * latent.key_dim());
                self.kv = self.kv.max(latent.key_dim());
                self.add_attended(latent.n_heads * latent.rank);
                self.fused = self.fused.max(latent.n_heads * latent.query_dim().max(latent.value));
                self.head = self.head.max(latent.plain).max(latent.rank).max(latent.value);
                if let LatentQuery::LowRank { down, .. } = &latent.q {
                    self.low_rank = self.low_rank.max(down.n_out);
                }
                self.input = self.input.max(self.head).max(self.low_rank).max(latent.out.n_in);
            }
            Mixer::ShortConv(conv) => {
                self.fused = self.fused.max(conv.input.n_out);
                self.add_attended(conv.conv.width);
            }
            Mixer::StateSpace(space) => {
                self.fused = self.fused.max(space.input.n_out);
                self.add_attended(space.inner);
            }
        }
    }

    fn add_scratch(&mut self, n_heads: usize, mixer: &Mixer, batch: usize) {
        if let Kept::Rows(shape) = mixer.kept() {
            let len = Scratch::new(n_heads, &shape, batch).floats();
            self.scratch = self.scratch.max(len.unwrap_or(usize::MAX));
        }
    }

    fn add_attended(&mut self, width: usize) {
        self.attended = self.attended.max(width);
        self.input = self.input.max(width);
    }

    fn add_ffn(&mut self, ffn: &Ffn) {
        match ffn {
            Ffn::None => {}
            Ffn::Dense(mlp) => self.add_mlp(mlp),
            Ffn::Experts(experts) => {
                self.add_hidden(experts.hidden);
                self.gate = self.gate.max(experts.hidden);
                self.experts = self.experts.max(experts.n_experts);
                self.used = self.used.max(experts.n_used);
                if let Some(shared) = &experts.shared {
                    self.add_mlp(&shared.mlp);
                }
            }
        }
    }

    fn add_mlp(&mut self, mlp: &Mlp) {
        self.add_hidden(mlp.hidden);
        match &mlp.up {
            Up::Plain(_) => {}
            Up::Gated { .. } => self.gate = self.gate.max(mlp.hidden),
            Up::GatedFused(both) => self.fused = self.fused.max(both.n_out),
        }
    }

    fn add_hidden(&mut self, hidden: usize) {
        self.hidden = self.hidden.max(hidden);
        self.input = self.input.max(hidden);
    }
}
