//! What all architectures need while they turn metadata into a plan: typed hyper-parameters, claimed tensors.

mod rope;

use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::error::{Error, ErrorKind, Result};
use crate::gguf::{File, Value};
use crate::model::plan::{
    Activation, Attention, Classifier, Embed, Experts, Ffn, Head, Layer, Linear, Mask, Mixer, Mlp, Norm,
    NormKind, Plan, Pooling, QkNorm, Qkv, Rope, RouterWeights, Routing, Stacked, TensorId, Up, Wiring,
};

/// Whether a linear layer adds a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bias {
    /// Never; one in the file is a surplus tensor.
    None,
    /// Always.
    Required,
    /// When the file has it.
    Optional,
}

/// Reads one file's hyper-parameters and claims its tensors.
pub(super) struct Builder<'a> {
    file: &'a File,
    arch: &'a str,
    claimed: Vec<bool>,
    /// Width of the residual stream.
    pub(super) dim: usize,
    /// Epsilon of all norms.
    eps: f32,
    norm_kind: NormKind,
}

/// How a block is planned, by its number. (Behind a pointer: what walks along the blocks is compiled once.)
pub(super) type PlanLayer<'f, 'a> = &'f dyn Fn(&mut Builder<'a>, usize) -> Result<Layer>;

/// No size is larger than this, so that sums of a few of them and products with small numbers fit 32 bits.
const MAX_SIZE: usize = 1 << 28;

/// Sizes of a model's attention.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heads {
    pub(super) n_heads: usize,
    pub(super) n_kv_heads: usize,
    pub(super) head_dim: usize,
}

impl<'a> Builder<'a> {
    pub(super) fn new(file: &'a File, arch: &'a str) -> Self {
        let claimed = vec![false; file.tensors().len()];
        Self { file, arch, claimed, dim: 0, eps: 0.0, norm_kind: NormKind::Rms }
    }

    /// Reads what every architecture has: the width, and the norms' epsilon.
    pub(super) fn begin(&mut self, norm_kind: NormKind) -> Result<()> {
        self.dim = self.required("embedding_length")?;
        self.norm_kind = norm_kind;
        self.eps = self.required_f32(match norm_kind {
            NormKind::Rms => "attention.layer_norm_rms_epsilon",
            NormKind::Layer => "attention.layer_norm_epsilon",
        })?;
        // What other models of the same names do, and no plan here.
        for name in ["attention.max_alibi_bias", "attention.clamp_kqv", "attention.temperature_scale"] {
            if let Some(found) = self.factor(name)? {
                return Err(self.wrong(name, format!("found {found}; this is not supported")));
            }
        }
        if !(0.0..1.0).contains(&self.eps) {
            let what = format!("found an epsilon of {}, expected 0 to 1", self.eps);
            return Err(
                Error::new(ErrorKind::Malformed, what).at_key(self.key("attention.layer_norm_rms_epsilon"))
            );
        }
        Ok(())
    }

    // --- hyper-parameters ---

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.arch)
    }

    fn missing(&self, name: &str) -> Error {
        Error::new(ErrorKind::Missing, "the architecture needs this key").at_key(self.key(name))
    }

    /// A complaint about the value of `ARCH.name`.
    pub(super) fn wrong(&self, name: &str, what: String) -> Error {
        Error::new(ErrorKind::Unsupported, what).at_key(self.key(name))
    }

    /// The size at `ARCH.name`, at least 1, when the file has it. Where files give a value per layer, all must agree.
    pub(super) fn size(&self, name: &str) -> Result<Option<usize>> {
        let key = self.key(name);
        let value = match self.file.get(&key) {
            None => return Ok(None),
            Some(Value::Array(array)) => {
                let mut values = array.iter().map(Value::as_u64);
                let first = values.next().flatten();
                if !values.all(|value| value == first) {
                    return Err(self.wrong(name, String::from("layers of different sizes are not supported")));
                }
                first
            }
            Some(value) => value.as_u64(),
        };
        match value.and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=MAX_SIZE).contains(n)) {
            Some(n) => Ok(Some(n)),
            None => {
                let found = self.file.get(&key).expect("found above");
                let what = format!("found {found}, expected a size from 1 to {MAX_SIZE}");
                Err(Error::new(ErrorKind::Malformed, what).at_key(key))
            }
        }
    }

    /// The size at `ARCH.name`, at least 1.
    pub(super) fn required(&self, name: &str) -> Result<usize> {
        self.size(name)?.ok_or_else(|| self.missing(name))
    }

    /// The number at `ARCH.name`; 0 when the file does not have it or says 0.
    pub(super) fn size_or_zero(&self, name: &str) -> Result<usize> {
        match self.file.get(&self.key(name)).and_then(Value::as_u64) {
            Some(0) => Ok(0),
            _ => Ok(self.size(name)?.unwrap_or(0)),
        }
    }

    /// One layer's number at `ARCH.name`, where files may give one for all or an array; 0 is allowed.
    pub(super) fn size_of_layer(&self, name: &str, layer: usize) -> Result<usize> {
        let value = match self.file.get(&self.key(name)).ok_or_else(|| self.missing(name))? {
            Value::Array(array) => array.iter().nth(layer),
            value => Some(value),
        };
        let size = value.and_then(|value| value.as_u64()).and_then(|n| usize::try_from(n).ok());
        size.filter(|&n| n <= MAX_SIZE).ok_or_else(|| {
            let what = format!("found no size from 0 to {MAX_SIZE} for layer {layer}");
            Error::new(ErrorKind::Malformed, what).at_key(self.key(name))
        })
    }

    /// The product of sizes, told as a lie of `ARCH.name` when it is beyond all reason.
    pub(super) fn product(&self, name: &str, sizes: &[usize]) -> Result<usize> {
        let product = sizes.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
        product
            .filter(|&n| n <= MAX_SIZE)
            .ok_or_else(|| self.wrong(name, format!("{sizes:?} multiply to more than {MAX_SIZE}")))
    }

    /// Refuses a number other than `expected` at `ARCH.name`; absent is as good.
    pub(super) fn only(&self, name: &str, expected: usize) -> Result<()> {
        match self.size(name)? {
            Some(found) if found != expected => {
                Err(self.wrong(name, format!("found {found}, only {expected} is supported")))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn f32(&self, name: &str) -> Result<Option<f32>> {
        self.file.f32(&self.key(name))
    }

    fn required_f32(&self, name: &str) -> Result<f32> {
        self.f32(name)?.ok_or_else(|| self.missing(name))
    }

    /// A factor that must be above 0, when the file has it; 0 counts as absent.
    pub(super) fn factor(&self, name: &str) -> Result<Option<f32>> {
        match self.f32(name)? {
            Some(x) if x < 0.0 => Err(self.wrong(name, format!("found {x}, expected a positive factor"))),
            found => Ok(found.filter(|&x| x != 0.0)),
        }
    }

    pub(super) fn bool(&self, name: &str) -> Result<Option<bool>> {
        self.file.bool(&self.key(name))
    }

    pub(super) fn str(&self, name: &str) -> Result<Option<&'a str>> {
        self.file.str(&self.key(name))
    }

    /// Number of blocks. Their tensors are looked up one by one, so a lie is found at the first missing one.
    pub(super) fn n_layers(&self) -> Result<usize> {
        self.required("block_count")
    }

    /// Head counts and width: `attention.key_length`, or else the residual stream's share.
    pub(super) fn heads(&self) -> Result<Heads> {
        self.heads_with(self.size("attention.head_count_kv")?)
    }

    /// [`Builder::heads`] of a layer with so many groups, or as many as heads.
    pub(super) fn heads_with(&self, n_kv_heads: Option<usize>) -> Result<Heads> {
        let n_heads = self.required("attention.head_count")?;
        let n_kv_heads = n_kv_heads.unwrap_or(n_heads);
        if !n_heads.is_multiple_of(n_kv_heads) {
            let what = format!("{n_heads} query heads do not divide into {n_kv_heads} groups");
            return Err(self.wrong("attention.head_count_kv", what));
        }
        let head_dim = match self.size("attention.key_length")? {
            Some(length) => length,
            None if self.dim.is_multiple_of(n_heads) => self.dim / n_heads,
            None => {
                let what = format!("{n_heads} heads do not divide a width of {}", self.dim);
                return Err(self.wrong("attention.head_count", what));
            }
        };
        if let Some(value_length) = self.size("attention.value_length")?
            && value_length != head_dim
        {
            let what = format!("values of {value_length} beside keys of {head_dim} are not supported");
            return Err(self.wrong("attention.value_length", what));
        }
        self.product("attention.key_length", &[n_heads, head_dim])?;
        Ok(Heads { n_heads, n_kv_heads, head_dim })
    }

    // --- tensors ---

    /// Names of the tensors that nobody asked for.
    pub(super) fn unclaimed(&self) -> impl Iterator<Item = &str> {
        let tensors = self.file.tensors().iter().zip(&self.claimed);
        tensors.filter(|(_, claimed)| !**claimed).map(|(tensor, _)| tensor.name.as_str())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.file.tensor_index(name).is_some()
    }

    /// Claims a tensor of exactly this shape (fastest dimension first; trailing ones may be spelled out or not).
    pub(super) fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<TensorId> {
        let Some(id) = self.file.tensor_index(name) else {
            let what = format!("missing; architecture `{}` needs it, of shape {shape:?}", self.arch);
            return Err(Error::new(ErrorKind::Missing, what).at_tensor(name));
        };
        let tensor = &self.file.tensors()[id];
        let mut expected = [1; 4];
        expected[..shape.len()].copy_from_slice(shape);
        if tensor.shape != expected {
            let what = format!("found shape {:?}, expected {shape:?}", tensor.dims());
            return Err(Error::new(ErrorKind::Shape, what).at_tensor(name));
        }
        self.claimed[id] = true;
        Ok(id)
    }

    /// Claims a tensor when the file has it.
    pub(super) fn maybe(&mut self, name: &str, shape: &[usize]) -> Result<Option<TensorId>> {
        if self.has(name) { self.tensor(name, shape).map(Some) } else { Ok(None) }
    }

    /// Claims a table of any number of rows as wide as the residual stream, when the file has it.
    pub(super) fn rows_of_width(&mut self, name: &str) -> Result<Option<TensorId>> {
        let rows = self.file.tensor(name).map_or(1, |tensor| tensor.shape[1]);
        self.maybe(name, &[self.dim, rows])
    }

    /// `name.weight` of `n_out` rows of `n_in`, `name.bias`, and `name.scale` where the file has it.
    pub(super) fn linear(&mut self, name: &str, n_in: usize, n_out: usize, bias: Bias) -> Result<Linear> {
        let weight = self.tensor(&format!("{name}.weight"), &[n_in, n_out])?;
        let bias = self.bias(name, &[n_out], bias)?;
        let scale = self.maybe(&format!("{name}.scale"), &[1])?;
        Ok(Linear { weight, bias, scale, n_in, n_out })
    }

    /// `name.bias`
    fn bias(&mut self, name: &str, shape: &[usize], bias: Bias) -> Result<Option<TensorId>> {
        let name = format!("{name}.bias");
        match bias {
            Bias::None => Ok(None),
            Bias::Required => self.tensor(&name, shape).map(Some),
            Bias::Optional => self.maybe(&name, shape),
        }
    }

    /// The normalisation `name` over `width` elements; layer norms may have a bias.
    pub(super) fn norm(&mut self, name: &str, width: usize) -> Result<Norm> {
        self.norm_of_shape(name, &[width])
    }

    /// The normalisation `name` of `n_heads` heads of `width`, each with weights of its own.
    pub(super) fn norm_of_heads(&mut self, name: &str, width: usize, n_heads: usize) -> Result<Norm> {
        self.norm_of_shape(name, &[width, n_heads])
    }

    fn norm_of_shape(&mut self, name: &str, shape: &[usize]) -> Result<Norm> {
        let weight = self.tensor(&format!("{name}.weight"), shape)?;
        let bias = match self.norm_kind {
            NormKind::Rms => None,
            NormKind::Layer => self.maybe(&format!("{name}.bias"), shape)?,
        };
        Ok(Norm { kind: self.norm_kind, weight, bias, eps: self.eps })
    }

    /// The normalisation `blk.layer.name` over the residual stream.
    pub(super) fn block_norm(&mut self, layer: usize, name: &str) -> Result<Norm> {
        self.norm(&format!("blk.{layer}.{name}"), self.dim)
    }

    // --- parts ---

    /// The token embedding, unscaled; also says how many tokens there are: as many as the file's tokenizer has.
    pub(super) fn embed(&mut self) -> Result<(Embed, usize)> {
        let name = "token_embd.weight";
        let tokens = self.file.array("tokenizer.ggml.tokens")?.map(|tokens| tokens.len());
        let rows = self.file.tensor(name).map_or(1, |tensor| tensor.shape[1]);
        let n_vocab = tokens.filter(|&tokens| tokens > 0).unwrap_or(rows);
        let tokens = self.tensor(name, &[self.dim, n_vocab])?;
        Ok((Embed { tokens, scale: 1.0, positions: None, types: None, norm: None }, n_vocab))
    }

    /// The output projection, or the token embedding where the file has none.
    pub(super) fn logits(&mut self, embed: &Embed, n_vocab: usize) -> Result<Head> {
        let linear = if self.has("output.weight") {
            self.linear("output", self.dim, n_vocab, Bias::Optional)?
        } else {
            Linear { weight: embed.tokens, bias: None, scale: None, n_in: self.dim, n_out: n_vocab }
        };
        Ok(Head::Logits { linear, scale: 1.0, softcap: None })
    }

    /// A language model around its blocks: embedding, `layer(builder, index)` for each block, final norm, head.
    pub(super) fn causal(&mut self, layer: PlanLayer<'_, 'a>) -> Result<Plan> {
        self.causal_with_norm("output_norm", layer)
    }

    /// [`Builder::causal`] with another name of the final norm.
    pub(super) fn causal_with_norm(&mut self, norm: &str, layer: PlanLayer<'_, 'a>) -> Result<Plan> {
        if self.bool("attention.causal")? == Some(false) {
            let what = format!("found false; as an encoder, `{}` is not supported", self.arch);
            return Err(self.wrong("attention.causal", what));
        }
        let (embed, n_vocab) = self.embed()?;
        let layers = (0..self.n_layers()?).map(|i| layer(self, i)).collect::<Result<_>>()?;
        let norm = Some(self.norm(norm, self.dim)?);
        let head = self.logits(&embed, n_vocab)?;
        Ok(Plan {
            arch: self.arch.into(),
            n_vocab,
            dim: self.dim,
            context: self.required("context_length")?,
            embed,
            layers,
            norm,
            head,
        })
    }

    /// An encoder around its blocks: embedding, `layer(builder, index)` for each block, pooling.
    pub(super) fn encoder(&mut self, layer: PlanLayer<'_, 'a>) -> Result<Plan> {
        let (embed, n_vocab) = self.embed()?;
        let layers = (0..self.n_layers()?).map(|i| layer(self, i)).collect::<Result<_>>()?;
        let classifier = self.classifier()?;
        let id = self.size_or_zero("pooling_type")?;
        let pooling = Pooling::from_id(id as u64)
            .ok_or_else(|| self.wrong("pooling_type", format!("found {id}, expected 0 to 4")))?;
        if pooling == Pooling::Rank && classifier.is_none() {
            let what = String::from("found 4 (rank), but the file has no classifier, `cls` or `cls.output`");
            return Err(self.wrong("pooling_type", what));
        }
        Ok(Plan {
            arch: self.arch.into(),
            n_vocab,
            dim: self.dim,
            context: self.required("context_length")?,
            embed,
            layers,
            norm: None,
            head: Head::Embedding { pooling, dense: Vec::new(), classifier },
        })
    }

    /// A reranker's classifier: `cls`, `cls.output`, or both.
    fn classifier(&mut self) -> Result<Option<Classifier>> {
        let dim = self.dim;
        let labels = self.file.tensor("cls.output.weight").map_or(1, |tensor| tensor.shape[1]);
        let mut linear = |name: &str, n_out| {
            let has = self.has(&format!("{name}.weight"));
            has.then(|| self.linear(name, dim, n_out, Bias::Optional)).transpose()
        };
        let classifier = Classifier { dense: linear("cls", dim)?, out: linear("cls.output", labels)? };
        Ok(Some(classifier).filter(|classifier| classifier.linears().next().is_some()))
    }

    /// Attention of the usual names: `attn_q`, `attn_k`, `attn_v` or a fused `attn_qkv`, and `attn_output`.
    /// Causal with the file's window, scaled by `1 / sqrt(head_dim)`, nothing normalised.
    pub(super) fn attention(
        &mut self,
        layer: usize,
        Heads { n_heads, n_kv_heads, head_dim }: Heads,
        rope: Option<Rope>,
        bias: Bias,
        out_bias: Bias,
    ) -> Result<Attention> {
        let (q_dim, kv_dim) = (n_heads * head_dim, n_kv_heads * head_dim);
        let name = |part: &str| format!("blk.{layer}.{part}");
        let qkv = if self.has(&name("attn_qkv.weight")) {
            Qkv::Fused(self.linear(&name("attn_qkv"), self.dim, q_dim + 2 * kv_dim, bias)?)
        } else {
            Qkv::Separate {
                q: self.linear(&name("attn_q"), self.dim, q_dim, bias)?,
                k: self.linear(&name("attn_k"), self.dim, kv_dim, bias)?,
                v: self.linear(&name("attn_v"), self.dim, kv_dim, bias)?,
            }
        };
        Ok(Attention {
            n_heads,
            n_kv_heads,
            head_dim,
            qkv,
            qk_norm: QkNorm::None,
            rope,
            mask: self.causal_mask()?,
            scale: 1.0 / libm::sqrtf(head_dim as f32),
            softcap: None,
            alibi: None,
            sinks: None,
            sub_norm: None,
            out: self.linear(&name("attn_output"), q_dim, self.dim, out_bias)?,
        })
    }

    /// Norms `attn_q_norm` and `attn_k_norm` of one head each.
    pub(super) fn qk_norm_per_head(&mut self, layer: usize, head_dim: usize) -> Result<QkNorm> {
        Ok(QkNorm::PerHead {
            q: self.norm(&format!("blk.{layer}.attn_q_norm"), head_dim)?,
            k: self.norm(&format!("blk.{layer}.attn_k_norm"), head_dim)?,
        })
    }

    /// An FFN with separate `ffn_gate` and `ffn_up`.
    pub(super) fn gated(&mut self, layer: usize, activation: Activation, bias: Bias) -> Result<Mlp> {
        let hidden = self.required("feed_forward_length")?;
        self.gated_named(
            ["ffn_gate", "ffn_up", "ffn_down"].map(|part| format!("blk.{layer}.{part}")),
            hidden,
            activation,
            bias,
        )
    }

    /// An FFN with separate gate and up projections of the given names.
    pub(super) fn gated_named(
        &mut self,
        [gate, up, down]: [String; 3],
        hidden: usize,
        activation: Activation,
        bias: Bias,
    ) -> Result<Mlp> {
        Ok(Mlp {
            hidden,
            up: Up::Gated {
                gate: self.linear(&gate, self.dim, hidden, bias)?,
                up: self.linear(&up, self.dim, hidden, bias)?,
            },
            activation,
            sub_norm: None,
            down: self.linear(&down, hidden, self.dim, bias)?,
        })
    }

    /// An FFN whose `ffn_up` has the gate's rows first.
    pub(super) fn gated_fused(&mut self, layer: usize, activation: Activation, bias: Bias) -> Result<Mlp> {
        let hidden = self.required("feed_forward_length")?;
        let name = |part: &str| format!("blk.{layer}.ffn_{part}");
        Ok(Mlp {
            hidden,
            up: Up::GatedFused(self.linear(&name("up"), self.dim, 2 * hidden, bias)?),
            activation,
            sub_norm: None,
            down: self.linear(&name("down"), hidden, self.dim, bias)?,
        })
    }

    /// An FFN without a gate: `ffn_up`, `ffn_down`.
    pub(super) fn plain(&mut self, layer: usize, activation: Activation, bias: Bias) -> Result<Mlp> {
        let hidden = self.required("feed_forward_length")?;
        Ok(Mlp {
            hidden,
            up: Up::Plain(self.linear(&format!("blk.{layer}.ffn_up"), self.dim, hidden, bias)?),
            activation,
            sub_norm: None,
            down: self.linear(&format!("blk.{layer}.ffn_down"), hidden, self.dim, bias)?,
        })
    }

    /// A mixture of experts, `ffn_gate_inp` and stacked `ffn_{gate,up,down}_exps`, without a shared one. `bias` is
    /// about all of them.
    pub(super) fn experts(&mut self, layer: usize, weights: RouterWeights, bias: Bias) -> Result<Experts> {
        let (n_experts, n_used) = (self.required("expert_count")?, self.required("expert_used_count")?);
        if n_used > n_experts {
            return Err(
                self.wrong("expert_used_count", format!("{n_used} of {n_experts} experts cannot be used"))
            );
        }
        let (function, norm) = match weights {
            RouterWeights::Softmax => (1, false),
            RouterWeights::SoftmaxOfChosen => (1, true),
            RouterWeights::Sigmoid => (2, false),
            RouterWeights::SigmoidOfChosen => (2, true),
        };
        self.only("expert_gating_func", function)?;
        if self.bool("expert_weights_norm")?.is_some_and(|found| found != norm) {
            let what = format!("found {}, which is not how `{}` weighs experts", !norm, self.arch);
            return Err(self.wrong("expert_weights_norm", what));
        }
        let scale = self.factor("expert_weights_scale")?.unwrap_or(1.0);
        let hidden = match self.size("expert_feed_forward_length")? {
            Some(hidden) => hidden,
            None => self.required("feed_forward_length")?,
        };
        let name = |part: &str| format!("blk.{layer}.ffn_{part}");
        Ok(Experts {
            router: self.linear(&name("gate_inp"), self.dim, n_experts, bias)?,
            n_experts,
            n_used,
            routing: Routing { weights, choice_bias: None, scale },
            hidden,
            gate: self.stacked(&name("gate_exps"), [self.dim, hidden, n_experts], bias)?,
            up: self.stacked(&name("up_exps"), [self.dim, hidden, n_experts], bias)?,
            down: self.stacked(&name("down_exps"), [hidden, self.dim, n_experts], bias)?,
            activation: Activation::Silu,
            shared: None,
        })
    }

    /// The FFN beside the experts: `ffn_{gate,up,down}_shexp`.
    pub(super) fn shared_expert(&mut self, layer: usize, hidden: usize) -> Result<Mlp> {
        let names = ["gate", "up", "down"].map(|part| format!("blk.{layer}.ffn_{part}_shexp"));
        self.gated_named(names, hidden, Activation::Silu, Bias::None)
    }

    fn stacked(&mut self, name: &str, [n_in, n_out, n]: [usize; 3], bias: Bias) -> Result<Stacked> {
        let weight = self.tensor(&format!("{name}.weight"), &[n_in, n_out, n])?;
        let scale = self.maybe(&format!("{name}.scale"), &[n])?;
        Ok(Stacked { weight, bias: self.bias(name, &[n_out, n], bias)?, scale })
    }

    /// A causal mask, sliding where the file gives a window.
    fn causal_mask(&self) -> Result<Mask> {
        Ok(match self.size_or_zero("attention.sliding_window")? {
            0 => Mask::Causal,
            window => Mask::Sliding(window),
        })
    }
}

/// The usual block: norm before the mixer, norm before the FFN.
pub(super) fn pre_norm(
    builder: &mut Builder<'_>,
    layer: usize,
    mixer: impl Into<Mixer>,
    ffn: Ffn,
) -> Result<Layer> {
    Ok(Layer {
        mixer: mixer.into(),
        ffn,
        wiring: Wiring::Sequential {
            mixer_pre: Some(builder.block_norm(layer, "attn_norm")?),
            mixer_post: None,
            ffn_pre: Some(builder.block_norm(layer, "ffn_norm")?),
            ffn_post: None,
        },
        residual_scale: 1.0,
    })
}
