//! Qwen 2, 2.5 and 3, dense and with experts.

use alloc::format;

use super::builder::{Bias, Builder, pre_norm};
use crate::error::Result;
use crate::model::plan::{Activation, Attention, Ffn, NormKind, Plan, RopePairs, RouterWeights, Shared};

/// Qwen 2 and 2.5: biases on queries, keys and values.
pub(super) fn qwen2(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Rms)?;
    builder.causal(&|builder, i| {
        let attention = attention_with_biases(builder, i)?;
        let ffn = Ffn::from(builder.gated(i, Activation::Silu, Bias::None)?);
        pre_norm(builder, i, attention, ffn)
    })
}

/// Qwen 1.5 and 2 MoE: routed experts whose weights are not renormalised, and a gated shared expert.
pub(super) fn qwen2moe(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Rms)?;
    builder.causal(&|builder, i| {
        let attention = attention_with_biases(builder, i)?;
        let mut experts = builder.experts(i, RouterWeights::Softmax, Bias::None)?;
        let hidden = match builder.size("expert_shared_feed_forward_length")? {
            Some(hidden) => hidden,
            None => builder.required("feed_forward_length")?,
        };
        let mlp = builder.shared_expert(i, hidden)?;
        let gate = builder.linear(&format!("blk.{i}.ffn_gate_inp_shexp"), builder.dim, 1, Bias::None)?;
        experts.shared = Some(Shared { mlp, gate: Some(gate) });
        pre_norm(builder, i, attention, Ffn::from(experts))
    })
}

fn attention_with_biases(builder: &mut Builder<'_>, layer: usize) -> Result<Attention> {
    let heads = builder.heads()?;
    let rope = builder.rope(RopePairs::Halves, heads.head_dim)?;
    builder.attention(layer, heads, Some(rope), Bias::Required, Bias::Optional)
}

/// Qwen 3: queries and keys normalised per head instead of biased.
pub(super) fn qwen3(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Rms)?;
    builder.causal(&|builder, i| {
        let attention = attention_with_norms(builder, i)?;
        let ffn = Ffn::from(builder.gated(i, Activation::Silu, Bias::None)?);
        pre_norm(builder, i, attention, ffn)
    })
}

/// Qwen 3 MoE: weights of the chosen experts add up to 1, no shared expert.
pub(super) fn qwen3moe(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Rms)?;
    builder.causal(&|builder, i| {
        let attention = attention_with_norms(builder, i)?;
        let ffn = Ffn::from(builder.experts(i, RouterWeights::SoftmaxOfChosen, Bias::None)?);
        pre_norm(builder, i, attention, ffn)
    })
}

fn attention_with_norms(builder: &mut Builder<'_>, layer: usize) -> Result<Attention> {
    let heads = builder.heads()?;
    let rope = builder.rope(RopePairs::Halves, heads.head_dim)?;
    let mut attention = builder.attention(layer, heads, Some(rope), Bias::Optional, Bias::Optional)?;
    attention.qk_norm = builder.qk_norm_per_head(layer, heads.head_dim)?;
    Ok(attention)
}
