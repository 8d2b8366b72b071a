//! A model's architecture as data: what to compute, in which order, with which tensors.
//!
//! An architecture's file in [`crate::arch`] turns metadata into a [`Plan`]; the forward pass interprets it and
//! never learns the architecture's name. Nothing here assumes a CPU. Tensors appear as positions in
//! [`crate::gguf::File::tensors`].

mod mixer;

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use crate::gguf::File;
use crate::order::sort_few;

pub use mixer::{
    Attention, Conv, Kept, KvShape, Latent, LatentQuery, Mask, Mixer, QkNorm, Qkv, Rope, RopePairs,
    RopeScaling, ShortConv, StateSpace, Values,
};

/// Position of a tensor in the file's table.
pub type TensorId = usize;

/// A whole model.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// `general.architecture`, for people; nothing decides by it.
    pub arch: String,
    /// Rows of the token embedding.
    pub n_vocab: usize,
    /// Width of the residual stream (`embedding_length`).
    pub dim: usize,
    /// Tokens of context the model was trained with.
    pub context: usize,
    /// Token ids to residual stream.
    pub embed: Embed,
    /// The blocks, in order.
    pub layers: Vec<Layer>,
    /// After the last block; BERT has none.
    pub norm: Option<Norm>,
    /// Residual stream to output.
    pub head: Head,
}

/// Token ids to residual stream: `norm(scale * tokens[id] + positions[p] + types[0])`.
#[derive(Debug, Clone, PartialEq)]
pub struct Embed {
    /// `[dim, n_vocab]`.
    pub tokens: TensorId,
    /// Gemma multiplies by `sqrt(dim)`, Granite by a factor of its own.
    pub scale: f32,
    /// Learned positions, `[dim, n_positions]`.
    pub positions: Option<TensorId>,
    /// BERT's segment embedding; segment 0 is added.
    pub types: Option<TensorId>,
    /// BERT normalises the sum.
    pub norm: Option<Norm>,
}

/// Residual stream to output.
#[derive(Debug, Clone, PartialEq)]
pub enum Head {
    /// A language model: `softcap(scale * linear(x))`.
    Logits {
        /// `[dim, n_vocab]`; the token embedding when tied.
        linear: Linear,
        /// Multiplies the logits.
        scale: f32,
        /// `cap * tanh(logit / cap)`.
        softcap: Option<f32>,
    },
    /// An encoder: token vectors are pooled, then passed through dense layers, then L2-normalised.
    Embedding {
        /// How token vectors become one.
        pooling: Pooling,
        /// EmbeddingGemma's two.
        dense: Vec<Linear>,
        /// A reranker's.
        classifier: Option<Classifier>,
    },
}

/// From a reranker's pooled vector to its score, or to several: `out(tanh(dense(x)))`, either of which may be missing.
#[derive(Debug, Clone, PartialEq)]
pub struct Classifier {
    /// `cls`, as wide as the residual stream.
    pub dense: Option<Linear>,
    /// `cls.output`, a row for each score.
    pub out: Option<Linear>,
}

impl Classifier {
    /// Both layers.
    pub fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.dense.iter().chain(&self.out)
    }
}

/// How token vectors become one (`ARCH.pooling_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Not at all: a vector for every token.
    None,
    /// The average over all tokens.
    Mean,
    /// The first token's.
    Cls,
    /// The last token's.
    Last,
    /// The greatest of all tokens, element by element. No file says so; callers may.
    Max,
    /// The first token's, which the classifier makes a score of.
    Rank,
}

impl Pooling {
    /// What `ARCH.pooling_type` means by a number.
    pub fn from_id(id: u64) -> Option<Self> {
        Some(match id {
            0 => Self::None,
            1 => Self::Mean,
            2 => Self::Cls,
            3 => Self::Last,
            4 => Self::Rank,
            _ => return None,
        })
    }
}

/// A block of the residual stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Looks at other positions.
    pub mixer: Mixer,
    /// Looks at its own position.
    pub ffn: Ffn,
    /// How both join the residual stream.
    pub wiring: Wiring,
    /// Granite multiplies what it adds to the stream.
    pub residual_scale: f32,
}

/// How a block's two halves join the residual stream `x`.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs)] // the fields are the names in the formulas
pub enum Wiring {
    /// `x += mixer_post(mixer(mixer_pre(x)))`, then `x += ffn_post(ffn(ffn_pre(x)))`.
    Sequential {
        mixer_pre: Option<Norm>,
        mixer_post: Option<Norm>,
        ffn_pre: Option<Norm>,
        ffn_post: Option<Norm>,
    },
    /// `x += mixer(mixer_pre(x)) + ffn(ffn_pre(x))`; the FFN shares the mixer's norm when it has none.
    Parallel { mixer_pre: Norm, ffn_pre: Option<Norm> },
    /// BERT: `x = after_mixer(x + mixer(x))`, then `x = after_ffn(x + ffn(x))`.
    PostNorm { after_mixer: Norm, after_ffn: Norm },
}

/// The half of a block that looks at its own position.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs)]
pub enum Ffn {
    /// Mamba's blocks are all mixer.
    None,
    Dense(Box<Mlp>),
    Experts(Box<Experts>),
}

impl From<Mlp> for Ffn {
    fn from(mlp: Mlp) -> Self {
        Self::Dense(Box::new(mlp))
    }
}

impl From<Experts> for Ffn {
    fn from(experts: Experts) -> Self {
        Self::Experts(Box::new(experts))
    }
}

/// `down(sub_norm(act(gate(x)) * up(x)))`, or without a gate `down(act(up(x)))`.
#[derive(Debug, Clone, PartialEq)]
pub struct Mlp {
    /// Width of the hidden vector.
    pub hidden: usize,
    /// The projections to it.
    pub up: Up,
    /// The nonlinearity.
    pub activation: Activation,
    /// BitNet's norm before the last projection.
    pub sub_norm: Option<Norm>,
    /// Back to the residual stream.
    pub down: Linear,
}

/// The projections into an FFN.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs)]
pub enum Up {
    Plain(Linear),
    Gated {
        gate: Linear,
        up: Linear,
    },
    /// One matrix whose rows are the gate's, then the up projection's.
    GatedFused(Linear),
}

/// Nonlinearities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.
    GeluTanh,
    /// `x / 2 * (1 + erf(x / sqrt(2)))`.
    GeluErf,
    /// `max(x, 0)^2`.
    ReluSquared,
    /// gpt-oss, with a gate `g` and beside it `u`: `g * sigmoid(1.702 g) * (u + 1)`, where `g` is at most 7 and `u` at
    /// most 7 from 0.
    SiluClamped,
}

/// A mixture of experts: a router picks some FFNs per token.
#[derive(Debug, Clone, PartialEq)]
pub struct Experts {
    /// Scores of the experts, `[dim, n_experts]`.
    pub router: Linear,
    /// How many there are.
    pub n_experts: usize,
    /// How many work on a token.
    pub n_used: usize,
    /// How scores become weights.
    pub routing: Routing,
    /// Width of an expert's hidden vector.
    pub hidden: usize,
    /// `[dim, hidden, n_experts]`.
    pub gate: Stacked,
    /// `[dim, hidden, n_experts]`.
    pub up: Stacked,
    /// `[hidden, dim, n_experts]`.
    pub down: Stacked,
    /// The nonlinearity.
    pub activation: Activation,
    /// An FFN that works on every token.
    pub shared: Option<Shared>,
}

/// A linear map for each expert, in one tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stacked {
    /// `[n_in, n_out, n_experts]`.
    pub weight: TensorId,
    /// `[n_out, n_experts]`.
    pub bias: Option<TensorId>,
    /// One number for each expert, as in [`Linear`].
    pub scale: Option<TensorId>,
}

/// An FFN that works on every token beside the chosen experts.
#[derive(Debug, Clone, PartialEq)]
pub struct Shared {
    /// The FFN.
    pub mlp: Mlp,
    /// The projection whose sigmoid weighs it; without it, it counts whole.
    pub gate: Option<Linear>,
}

/// How a router's scores become the weights of the experts it chooses, those with the highest.
#[derive(Debug, Clone, PartialEq)]
pub struct Routing {
    /// Scores to weights.
    pub weights: RouterWeights,
    /// Added to the weights to choose by, and only then, `[n_experts]`.
    pub choice_bias: Option<TensorId>,
    /// Multiplies the weights.
    pub scale: f32,
}

/// How a score becomes a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouterWeights {
    /// Softmax over all experts.
    Softmax,
    /// Softmax over the chosen ones.
    SoftmaxOfChosen,
    /// `sigmoid(score)`.
    Sigmoid,
    /// `sigmoid(score)`, divided by the sum over the chosen ones.
    SigmoidOfChosen,
}

/// `y = scale * W x + b`.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// `[n_in, n_out]` in the file's order: `n_out` rows of `n_in`.
    pub weight: TensorId,
    /// `n_out` values.
    pub bias: Option<TensorId>,
    /// One number, where the file holds weights without their scale.
    pub scale: Option<TensorId>,
    /// Columns.
    pub n_in: usize,
    /// Rows.
    pub n_out: usize,
}

/// A normalisation with learned weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Norm {
    /// Which mean is taken out.
    pub kind: NormKind,
    /// Multiplies the result.
    pub weight: TensorId,
    /// Added to the result.
    pub bias: Option<TensorId>,
    /// Added to the mean square, or to the variance.
    pub eps: f32,
}

/// Which normalisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// `x / sqrt(mean(x^2) + eps)`.
    Rms,
    /// `(x - mean(x)) / sqrt(var(x) + eps)`.
    Layer,
}

impl Plan {
    /// Whether the model pools token vectors instead of predicting tokens.
    pub fn is_encoder(&self) -> bool {
        matches!(self.head, Head::Embedding { .. })
    }

    /// Whether several texts can be worked off side by side: no layer carries a state from token to token.
    pub fn packs(&self) -> bool {
        self.layers.iter().all(|layer| matches!(layer.mixer.kept(), Kept::Rows(_)))
    }

    /// Bytes that the numbers take which [`Model::new`](crate::Model::new) decodes: norms, biases, rotation factors.
    pub fn vector_bytes(&self, file: &File) -> u64 {
        let mut ids = Vec::new();
        self.for_each_vector(&mut |id| ids.push(id));
        sort_few(&mut ids, |a, b| a < b);
        ids.dedup();
        ids.iter().map(|&id| file.tensors()[id].elements() as u64 * size_of::<f32>() as u64).sum()
    }

    /// Calls `f` for every tensor that is read as numbers (norms, biases, rotation factors), not multiplied with.
    pub(crate) fn for_each_vector(&self, f: &mut impl FnMut(TensorId)) {
        let mut parts = Parts::default();
        parts.norms.extend(self.norm.iter().chain(&self.embed.norm));
        match &self.head {
            Head::Logits { linear, .. } => parts.linears.push(linear),
            Head::Embedding { dense, classifier, .. } => {
                parts.linears.extend(dense);
                parts.linears.extend(classifier.iter().flat_map(Classifier::linears));
            }
        }
        self.layers.iter().for_each(|layer| layer.parts(&mut parts));
        parts.vectors.into_iter().for_each(&mut *f);
        parts.linears.iter().flat_map(|linear| [linear.bias, linear.scale]).flatten().for_each(&mut *f);
        for norm in parts.norms {
            f(norm.weight);
            norm.bias.into_iter().for_each(&mut *f);
        }
    }
}

/// The pieces of a plan that have weights.
#[derive(Default)]
struct Parts<'a> {
    linears: Vec<&'a Linear>,
    norms: Vec<&'a Norm>,
    /// Tensors that are read as numbers, beside those of the others.
    vectors: Vec<TensorId>,
}

impl Layer {
    fn parts<'a>(&'a self, parts: &mut Parts<'a>) {
        self.mixer.parts(parts);
        match &self.ffn {
            Ffn::None => {}
            Ffn::Dense(mlp) => mlp.parts(parts),
            Ffn::Experts(experts) => experts.parts(parts),
        }
        match &self.wiring {
            Wiring::Sequential { mixer_pre, mixer_post, ffn_pre, ffn_post } => {
                parts.norms.extend([mixer_pre, mixer_post, ffn_pre, ffn_post].into_iter().flatten());
            }
            Wiring::Parallel { mixer_pre, ffn_pre } => {
                parts.norms.push(mixer_pre);
                parts.norms.extend(ffn_pre);
            }
            Wiring::PostNorm { after_mixer, after_ffn } => parts.norms.extend([after_mixer, after_ffn]),
        }
    }
}

impl Mlp {
    fn parts<'a>(&'a self, parts: &mut Parts<'a>) {
        match &self.up {
            Up::Plain(up) | Up::GatedFused(up) => parts.linears.push(up),
            Up::Gated { gate, up } => parts.linears.extend([gate, up]),
        }
        parts.linears.push(&self.down);
        parts.norms.extend(&self.sub_norm);
    }
}

impl Experts {
    fn parts<'a>(&'a self, parts: &mut Parts<'a>) {
        parts.linears.push(&self.router);
        parts.vectors.extend(self.routing.choice_bias);
        let stacked = [self.gate, self.up, self.down].into_iter();
        parts.vectors.extend(stacked.flat_map(|stacked| [stacked.bias, stacked.scale]).flatten());
        if let Some(shared) = &self.shared {
            shared.mlp.parts(parts);
            parts.linears.extend(&shared.gate);
        }
    }
}
