//! GPT-2 and the models that grew from it: GPT-NeoX, StarCoder 2, StableLM.

use alloc::format;

use super::builder::{Bias, Builder, pre_norm};
use crate::error::Result;
use crate::model::plan::{Activation, Ffn, Layer, Mixer, NormKind, Plan, QkNorm, RopePairs, Wiring};

/// GPT-2: learned positions, biases everywhere.
pub(super) fn gpt2(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Layer)?;
    let heads = builder.heads()?;
    let mut plan = builder.causal(&|builder, i| {
        let attention = builder.attention(i, heads, None, Bias::Required, Bias::Required)?;
        let ffn = Ffn::from(builder.plain(i, Activation::GeluTanh, Bias::Required)?);
        pre_norm(builder, i, attention, ffn)
    })?;
    plan.embed.positions = Some(builder.tensor("position_embd.weight", &[builder.dim, plan.context])?);
    Ok(plan)
}

/// GPT-NeoX and Pythia: attention and FFN side by side, each under its own norm (or one after the other).
pub(super) fn gptneox(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Layer)?;
    let heads = builder.heads()?;
    let parallel = builder.bool("use_parallel_residual")?.unwrap_or(true);
    builder.causal(&|builder, i| {
        let rope = builder.rope(RopePairs::Halves, heads.head_dim)?;
        let attention = builder.attention(i, heads, Some(rope), Bias::Required, Bias::Required)?;
        let ffn = Ffn::from(builder.plain(i, Activation::GeluErf, Bias::Required)?);
        if !parallel {
            return pre_norm(builder, i, attention, ffn);
        }
        Ok(Layer {
            mixer: Mixer::Attention(attention.into()),
            ffn,
            wiring: Wiring::Parallel {
                mixer_pre: builder.block_norm(i, "attn_norm")?,
                ffn_pre: Some(builder.block_norm(i, "ffn_norm")?),
            },
            residual_scale: 1.0,
        })
    })
}

/// StarCoder 2: GPT-2's block with rotation and grouped heads.
pub(super) fn starcoder2(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Layer)?;
    let heads = builder.heads()?;
    builder.causal(&|builder, i| {
        let rope = builder.rope(RopePairs::Halves, heads.head_dim)?;
        let attention = builder.attention(i, heads, Some(rope), Bias::Optional, Bias::Optional)?;
        let ffn = Ffn::from(builder.plain(i, Activation::GeluTanh, Bias::Optional)?);
        pre_norm(builder, i, attention, ffn)
    })
}

/// StableLM 2: LLaMA's FFN under layer norms, partial rotation. The 12B normalises queries and keys with weights
/// for every head and puts attention and FFN side by side, which shows in its tensors.
pub(super) fn stablelm(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Layer)?;
    let heads = builder.heads()?;
    builder.causal(&|builder, i| {
        let rope = builder.rope(RopePairs::Halves, heads.head_dim)?;
        let mut attention = builder.attention(i, heads, Some(rope), Bias::Optional, Bias::None)?;
        if builder.has(&format!("blk.{i}.attn_q_norm.weight")) {
            attention.qk_norm = QkNorm::PerHead {
                q: builder.norm_of_heads(&format!("blk.{i}.attn_q_norm"), heads.head_dim, heads.n_heads)?,
                k: builder.norm_of_heads(
                    &format!("blk.{i}.attn_k_norm"),
                    heads.head_dim,
                    heads.n_kv_heads,
                )?,
            };
        }
        let ffn = Ffn::from(builder.gated(i, Activation::Silu, Bias::None)?);
        if builder.has(&format!("blk.{i}.ffn_norm.weight")) {
            return pre_norm(builder, i, attention, ffn);
        }
        Ok(Layer {
            mixer: Mixer::Attention(attention.into()),
            ffn,
            wiring: Wiring::Parallel { mixer_pre: builder.block_norm(i, "attn_norm")?, ffn_pre: None },
            residual_scale: 1.0,
        })
    })
}
