//! Mixers: the half of a block that looks at other positions.

use alloc::boxed::Box;

use super::{Linear, Norm, Parts, TensorId};

/// The half of a block that looks at other positions.
#[derive(Debug, Clone, PartialEq)]
pub enum Mixer {
    /// Multi-head attention, grouped or not.
    Attention(Box<Attention>),
    /// Attention over one low-rank vector per position.
    Latent(Box<Latent>),
    /// A short convolution between two gates.
    ShortConv(Box<ShortConv>),
    /// A selective state space.
    StateSpace(Box<StateSpace>),
}

/// What a mixer keeps of the positions it has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Keys and values of each.
    Rows(KvShape),
    /// One state for all of them, of so many elements. It cannot go back.
    State(usize),
}

/// The shape of a position's keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KvShape {
    /// Key heads, and value heads.
    pub n_heads: usize,
    /// Width of a key head.
    pub key: usize,
    /// Width of a value head.
    pub value: usize,
    /// Where the values are.
    pub values: Values,
    /// Who will look at them.
    pub mask: Mask,
}

/// Where a position's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Values {
    /// Beside its keys.
    Separate,
    /// They are the last elements of its keys.
    LastOfKeys,
}

impl KvShape {
    /// Elements of a position's keys.
    pub fn key_width(&self) -> usize {
        self.n_heads * self.key
    }

    /// Elements of a position's values, beside its keys.
    pub fn value_width(&self) -> usize {
        match self.values {
            Values::Separate => self.n_heads * self.value,
            Values::LastOfKeys => 0,
        }
    }
}

impl From<Attention> for Mixer {
    fn from(attention: Attention) -> Self {
        Self::Attention(Box::new(attention))
    }
}

impl Mixer {
    /// What it keeps of the positions it has seen.
    pub fn kept(&self) -> Kept {
        match self {
            Self::Attention(attention) => Kept::Rows(KvShape {
                n_heads: attention.n_kv_heads,
                key: attention.head_dim,
                value: attention.head_dim,
                values: Values::Separate,
                mask: attention.mask,
            }),
            Self::Latent(latent) => Kept::Rows(KvShape {
                n_heads: 1,
                key: latent.key_dim(),
                value: latent.rank,
                values: Values::LastOfKeys,
                mask: Mask::Causal,
            }),
            Self::ShortConv(conv) => Kept::State(conv.conv.state()),
            Self::StateSpace(space) => Kept::State(space.conv.state() + space.inner * space.state),
        }
    }

    /// Whether it keeps rows of each position, and looks at those of others.
    pub fn attends(&self) -> bool {
        matches!(self.kept(), Kept::Rows(_))
    }

    /// How it rotates, if it does.
    pub fn rope(&self) -> Option<&Rope> {
        match self {
            Self::Attention(attention) => attention.rope.as_ref(),
            Self::Latent(latent) => Some(&latent.rope),
            Self::ShortConv(_) | Self::StateSpace(_) => None,
        }
    }

    pub(super) fn parts<'a>(&'a self, parts: &mut Parts<'a>) {
        match self {
            Self::Attention(attention) => attention.parts(parts),
            Self::Latent(latent) => latent.parts(parts),
            Self::ShortConv(conv) => {
                parts.linears.extend([&conv.input, &conv.out]);
                conv.conv.parts(parts);
            }
            Self::StateSpace(space) => {
                parts.linears.extend([&space.input, &space.out]);
                parts.norms.push(&space.norm);
                space.conv.parts(parts);
                parts.vectors.extend([space.dt_bias, space.decay, space.skip]);
            }
        }
        match self.rope().map(|rope| &rope.scaling) {
            Some(RopeScaling::Factors(factors)) => parts.vectors.push(*factors),
            Some(RopeScaling::Long { short, long, .. }) => parts.vectors.extend([short, long]),
            _ => {}
        }
    }
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
    /// ALiBi: scores fall with the distance of two tokens, in each head at another rate, from `2^-(alibi / n)` for the
    /// first of `n` heads down to `2^-alibi` for the last.
    pub alibi: Option<f32>,
    /// gpt-oss: a score per query head that takes its share of the softmax and adds nothing, `[n_heads]`.
    pub sinks: Option<TensorId>,
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

    fn parts<'a>(&'a self, parts: &mut Parts<'a>) {
        match &self.qkv {
            Qkv::Separate { q, k, v } => parts.linears.extend([q, k, v]),
            Qkv::Fused(qkv) => parts.linears.push(qkv),
        }
        parts.linears.push(&self.out);
        parts.norms.extend(&self.sub_norm);
        match &self.qk_norm {
            QkNorm::None => {}
            QkNorm::PerHead { q, k } | QkNorm::Whole { q, k } => parts.norms.extend([q, k]),
        }
        parts.vectors.extend(self.sinks);
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

/// Multi-head latent attention (DeepSeek-V2, 2024), with the projections out of the latent vector absorbed: a
/// position keeps one vector `c` of `rank` elements and one rotated key, which all heads share. Head `h` scores it by
/// `scale * (key_up[h] q . c + rotated q . rotated key)` and returns `value_up[h]` times the weighted sum of the `c`.
#[derive(Debug, Clone, PartialEq)]
pub struct Latent {
    /// Query heads.
    pub n_heads: usize,
    /// Width of the latent vector.
    pub rank: usize,
    /// Elements of a query head that do not rotate; they come first.
    pub plain: usize,
    /// Width of a head's output.
    pub value: usize,
    /// The projection to queries, heads of `plain + rope.dims`.
    pub q: LatentQuery,
    /// The projection to the latent vector and, behind it, the key that rotates.
    pub kv: Linear,
    /// Over the latent vector.
    pub kv_norm: Norm,
    /// A head's unrotated query into the latent space, `[plain, rank, n_heads]`.
    pub key_up: TensorId,
    /// A head's output out of the latent space, `[rank, value, n_heads]`.
    pub value_up: TensorId,
    /// Rotates the other part of queries and keys, all of `dims`.
    pub rope: Rope,
    /// Multiplies the scores.
    pub scale: f32,
    /// The output projection.
    pub out: Linear,
}

/// How latent attention makes its queries.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs)]
pub enum LatentQuery {
    Direct(Linear),
    /// `up(norm(down(x)))`
    LowRank {
        down: Linear,
        norm: Norm,
        up: Linear,
    },
}

impl Latent {
    /// Width of a query head after absorption, and of the key that all heads share.
    pub fn key_dim(&self) -> usize {
        self.rope.dims + self.rank
    }

    /// Width of a query head before absorption.
    pub fn query_dim(&self) -> usize {
        self.plain + self.rope.dims
    }

    fn parts<'a>(&'a self, parts: &mut Parts<'a>) {
        match &self.q {
            LatentQuery::Direct(q) => parts.linears.push(q),
            LatentQuery::LowRank { down, norm, up } => {
                parts.linears.extend([down, up]);
                parts.norms.push(norm);
            }
        }
        parts.linears.extend([&self.kv, &self.out]);
        parts.norms.push(&self.kv_norm);
    }
}

/// LFM2's gated convolution: `b, c, x = input(h)`, then `out(c * conv(b * x))`.
#[derive(Debug, Clone, PartialEq)]
pub struct ShortConv {
    /// To `b`, `c` and `x`, each as wide as the convolution.
    pub input: Linear,
    /// Over the last positions.
    pub conv: Conv,
    /// Back to the residual stream.
    pub out: Linear,
}

/// A causal convolution of each channel by itself: `y[t] = bias + sum over k of weight[k] * x[t - taps + 1 + k]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    /// How many positions it sees, its own included.
    pub taps: usize,
    /// Channels.
    pub width: usize,
    /// `[taps, width]`.
    pub weight: TensorId,
    /// `[width]`.
    pub bias: Option<TensorId>,
}

impl Conv {
    /// Elements that it remembers: the inputs of the positions before.
    pub fn state(&self) -> usize {
        (self.taps - 1) * self.width
    }

    fn parts(&self, parts: &mut Parts<'_>) {
        parts.vectors.push(self.weight);
        parts.vectors.extend(self.bias);
    }
}

/// Mamba 2's selective state space (Dao and Gu, 2024). `z, xbc, dt = input(h)`; `x, b, c = silu(conv(xbc))`;
/// `dt = softplus(dt + dt_bias)`. Each head has a matrix `s` of a row for every element of `x`:
/// `s = exp(dt * decay) * s + dt * x b`, then `y = s c + skip * x`. At last `out(norm(y * silu(z)))`.
#[derive(Debug, Clone, PartialEq)]
pub struct StateSpace {
    /// Width of `z`, `x` and `y`.
    pub inner: usize,
    /// Width of `b` and `c`: columns of a head's state.
    pub state: usize,
    /// Heads, which cut `x` and `y` into equal parts.
    pub n_heads: usize,
    /// Neighbouring heads share `b` and `c`; the norm is over a group by itself. Divides `n_heads`.
    pub n_groups: usize,
    /// To `z`, `x`, `b` and `c` of every group, and `dt` of every head.
    pub input: Linear,
    /// Over `x`, `b` and `c`.
    pub conv: Conv,
    /// `[n_heads]`
    pub dt_bias: TensorId,
    /// `[n_heads]`, below 0.
    pub decay: TensorId,
    /// `[n_heads]`
    pub skip: TensorId,
    /// Over each group, with weights for all.
    pub norm: Norm,
    /// Back to the residual stream.
    pub out: Linear,
}

impl StateSpace {
    /// Width of a head's part of `x` and `y`.
    pub fn head_dim(&self) -> usize {
        self.inner / self.n_heads
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
