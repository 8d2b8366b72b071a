//! A model's architecture as data: what to compute, in which order, with which tensors.
//!
//! An architecture's file in [`crate::arch`] turns metadata into a [`Plan`]; the forward pass interprets it and
//! never learns the architecture's name. Nothing here assumes a CPU. Tensors appear as positions in
//! [`crate::gguf::File::tensors`].

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

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
    },
}

/// How an encoder's token vectors become one (`ARCH.pooling_type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// The average over all tokens.
    Mean,
    /// The first token's.
    Cls,
    /// The last token's.
    Last,
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

/// The half of a block that looks at other positions. State-space layers would be another variant.
#[derive(Debug, Clone, PartialEq)]
pub enum Mixer {
    /// Multi-head attention, grouped or not.
    Attention(Box<Attention>),
}

/// `out(sub_norm(softmax(softcap(scale * q k) + mask) v))`.
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Width of a query or key head.
    pub head_dim: usize,
    /// The projections.
    pub qkv: Qkv,
    /// Normalisation of queries and keys before the rotation.
    pub qk_norm: QkNorm,
    /// Rotary positions; none on some layers of some models.
    pub rope: Option<Rope>,
    /// Who sees whom.
    pub mask: Mask,
    /// Multiplies `q k`.
    pub scale: f32,
    /// `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// BitNet's norm before the output projection.
    pub sub_norm: Option<Norm>,
    /// The output projection.
    pub out: Linear,
}

impl Attention {
    /// Width of all queries.
    pub fn q_dim(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Width of all keys, and of all values.
    pub fn kv_dim(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }
}

/// The projections to queries, keys and values.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs)]
pub enum Qkv {
    Separate {
        q: Linear,
        k: Linear,
        v: Linear,
    },
    /// One matrix whose rows are all queries, then all keys, then all values.
    Fused(Linear),
}

/// Normalisation of queries and keys.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs)]
pub enum QkNorm {
    None,
    /// Every head by itself; the weights hold one head, or all of them.
    PerHead {
        q: Norm,
        k: Norm,
    },
    /// The whole projection as one vector.
    Whole {
        q: Norm,
        k: Norm,
    },
}

/// Which positions `j` a token at position `i` attends to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// `j <= i`.
    Causal,
    /// `0 <= i - j < window`.
    Sliding(usize),
    /// All (encoders).
    Full,
    /// `|i - j| <= window / 2` (encoders).
    SlidingBothWays(usize),
}

impl Mask {
    /// The first position that a token at position `i` attends to.
    pub fn oldest_seen(self, i: usize) -> usize {
        match self {
            Self::Causal | Self::Full => 0,
            Self::Sliding(window) => (i + 1).saturating_sub(window),
            Self::SlidingBothWays(window) => i.saturating_sub(window / 2),
        }
    }
}

/// Rotary position embedding (Su et al., 2021) with its extensions to longer contexts.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Which elements of a head form a pair.
    pub pairs: RopePairs,
    /// Leading elements of a head that rotate; even.
    pub dims: usize,
    /// Pair `i` of `dims / 2` rotates by `position * base^(-2i / dims)`, before scaling.
    pub base: f32,
    /// The extension to longer contexts.
    pub scaling: RopeScaling,
}

/// Which elements of a head form a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RopePairs {
    /// `2i` and `2i + 1` (files of the LLaMA kind hold permuted Q and K for it).
    Interleaved,
    /// `i` and `i + dims / 2` (GPT-NeoX and most others).
    Halves,
}

/// How rotations stretch to contexts longer than the first training's.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Positions divided by a factor.
    Linear {
        /// At least 1 in practice.
        factor: f32,
    },
    /// Each pair's frequency divided by an element of a tensor (LLaMA 3).
    Factors(TensorId),
    /// YaRN (Peng et al., 2023), with llama.cpp's rounding of the correction range.
    Yarn {
        /// How much longer than the original.
        factor: f32,
        /// Tokens of context before the extension.
        original_context: usize,
        /// Pairs that rotate more often than this over the original context keep their frequency.
        beta_fast: f32,
        /// Pairs that rotate less often than this are interpolated.
        beta_slow: f32,
        /// Multiplies the rotated vectors, on top of YaRN's own `1 + 0.1 ln(factor)`.
        attention_factor: f32,
    },
    /// Phi-3's: one set of factors for sessions within the original context, one for longer ones.
    Long {
        /// Divisors of the frequencies within the original context.
        short: TensorId,
        /// Divisors of the frequencies in longer sessions.
        long: TensorId,
        /// Tokens of context before the extension.
        original_context: usize,
        /// Multiplies the rotated vectors.
        attention_factor: f32,
    },
}

/// The half of a block that looks at its own position.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs)]
pub enum Ffn {
    Dense(Mlp),
    Experts(Box<Experts>),
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
    /// Stacked gate projections, `[dim, hidden, n_experts]`.
    pub gate: TensorId,
    /// Stacked up projections, `[dim, hidden, n_experts]`.
    pub up: TensorId,
    /// Stacked down projections, `[hidden, dim, n_experts]`.
    pub down: TensorId,
    /// The nonlinearity.
    pub activation: Activation,
    /// An FFN that works on every token, and the projection whose sigmoid weighs it.
    pub shared: Option<(Mlp, Linear)>,
}

/// How router scores become the weights of the chosen experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Routing {
    /// Softmax over all experts.
    Softmax,
    /// Softmax over the chosen ones.
    SoftmaxOfChosen,
}

/// `y = W x + b`.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// `[n_in, n_out]` in the file's order: `n_out` rows of `n_in`.
    pub weight: TensorId,
    /// `n_out` values.
    pub bias: Option<TensorId>,
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

    /// Calls `f` for every tensor that is a vector of weights (norms, biases, rotation factors), not a matrix.
    pub(crate) fn for_each_vector(&self, f: &mut impl FnMut(TensorId)) {
        let mut linears: Vec<&Linear> = Vec::new();
        let mut norms: Vec<&Norm> = self.norm.iter().chain(&self.embed.norm).collect();
        match &self.head {
            Head::Logits { linear, .. } => linears.push(linear),
            Head::Embedding { dense, .. } => linears.extend(dense),
        }
        for layer in &self.layers {
            layer.parts(&mut linears, &mut norms);
            let Mixer::Attention(attention) = &layer.mixer;
            match attention.rope.as_ref().map(|rope| &rope.scaling) {
                Some(RopeScaling::Factors(factors)) => f(*factors),
                Some(RopeScaling::Long { short, long, .. }) => {
                    f(*short);
                    f(*long);
                }
                _ => {}
            }
        }
        linears.iter().filter_map(|linear| linear.bias).for_each(&mut *f);
        for norm in norms {
            f(norm.weight);
            norm.bias.into_iter().for_each(&mut *f);
        }
    }
}

impl Layer {
    /// Collects the layer's linear maps and norms.
    fn parts<'a>(&'a self, linears: &mut Vec<&'a Linear>, norms: &mut Vec<&'a Norm>) {
        let Mixer::Attention(attention) = &self.mixer;
        match &attention.qkv {
            Qkv::Separate { q, k, v } => linears.extend([q, k, v]),
            Qkv::Fused(qkv) => linears.push(qkv),
        }
        linears.push(&attention.out);
        norms.extend(&attention.sub_norm);
        match &attention.qk_norm {
            QkNorm::None => {}
            QkNorm::PerHead { q, k } | QkNorm::Whole { q, k } => norms.extend([q, k]),
        }
        match &self.ffn {
            Ffn::Dense(mlp) => mlp.parts(linears, norms),
            Ffn::Experts(experts) => {
                linears.push(&experts.router);
                if let Some((mlp, gate)) = &experts.shared {
                    mlp.parts(linears, norms);
                    linears.push(gate);
                }
            }
        }
        match &self.wiring {
            Wiring::Sequential { mixer_pre, mixer_post, ffn_pre, ffn_post } => {
                norms.extend([mixer_pre, mixer_post, ffn_pre, ffn_post].into_iter().flatten());
            }
            Wiring::Parallel { mixer_pre, ffn_pre } => {
                norms.push(mixer_pre);
                norms.extend(ffn_pre);
            }
            Wiring::PostNorm { after_mixer, after_ffn } => norms.extend([after_mixer, after_ffn]),
        }
    }
}

impl Mlp {
    fn parts<'a>(&'a self, linears: &mut Vec<&'a Linear>, norms: &mut Vec<&'a Norm>) {
        match &self.up {
            Up::Plain(up) | Up::GatedFused(up) => linears.push(up),
            Up::Gated { gate, up } => linears.extend([gate, up]),
        }
        linears.push(&self.down);
        norms.extend(&self.sub_norm);
    }
}
