//! LLaMA 1 to 3, Mistral, Mixtral, and close relatives.

use super::builder::{Bias, Builder, pre_norm};
use crate::error::Result;
use crate::model::plan::{
    Activation, Ffn, Head, Layer, Mixer, NormKind, Plan, QkNorm, RopePairs, RouterWeights, Wiring,
};

/// LLaMA, Mistral, Mixtral and whatever else is converted as `llama`: the files hold Q and K permuted for
/// interleaved rotation. Experts make it a Mixtral, a window a Mistral 7B v0.1.
pub(super) fn llama(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Rms)?;
    builder.causal(&llama_layer)
}

fn llama_layer(builder: &mut Builder<'_>, layer: usize) -> Result<Layer> {
    let heads = builder.heads()?;
    let rope = builder.rope(RopePairs::Interleaved, heads.head_dim)?;
    let mut attention = builder.attention(layer, heads, Some(rope), Bias::Optional, Bias::Optional)?;
    attention.scale = builder.factor("attention.scale")?.unwrap_or(attention.scale);
    let ffn = if builder.size_or_zero("expert_count")? > 0 {
        Ffn::from(builder.experts(layer, RouterWeights::SoftmaxOfChosen, Bias::None)?)
    } else {
        Ffn::from(builder.gated(layer, Activation::Silu, Bias::Optional)?)
    };
    pre_norm(builder, layer, attention, ffn)
}

/// Granite 3: LLaMA with four scalar multipliers.
pub(super) fn granite(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Rms)?;
    let residual_scale = builder.factor("residual_scale")?.unwrap_or(1.0);
    // Granite's files say here, and only they, whether there are positions at all.
    let rotates = builder.bool("rope.scaling.finetuned")?.unwrap_or(true);
    let mut plan = builder.causal(&|builder, i| {
        let mut layer = llama_layer(builder, i)?;
        layer.residual_scale = residual_scale;
        if let (false, Mixer::Attention(attention)) = (rotates, &mut layer.mixer) {
            attention.rope = None;
        }
        Ok(layer)
    })?;
    plan.embed.scale = builder.factor("embedding_scale")?.unwrap_or(1.0);
    if let Head::Logits { scale, .. } = &mut plan.head {
        *scale = 1.0 / builder.factor("logit_scale")?.unwrap_or(1.0);
    }
    Ok(plan)
}

/// SmolLM 3: LLaMA without positions on every fourth layer.
pub(super) fn smollm3(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Rms)?;
    builder.causal(&|builder, i| {
        let mut layer = llama_layer(builder, i)?;
        if let (3, Mixer::Attention(attention)) = (i % 4, &mut layer.mixer) {
            attention.rope = None;
        }
        Ok(layer)
    })
}

/// OLMo 2: norms after the halves of a block instead of before, and over whole queries and keys.
pub(super) fn olmo2(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Rms)?;
    let heads = builder.heads()?;
    if builder.size_or_zero("attention.sliding_window")? > 0 {
        return Err(builder.wrong("attention.sliding_window", "OLMo 3's windows are not supported".into()));
    }
    builder.causal(&|builder, i| {
        let rope = builder.rope(RopePairs::Halves, heads.head_dim)?;
        let mut attention = builder.attention(i, heads, Some(rope), Bias::None, Bias::None)?;
        attention.qk_norm = QkNorm::Whole {
            q: builder.norm(&alloc::format!("blk.{i}.attn_q_norm"), attention.q_dim())?,
            k: builder.norm(&alloc::format!("blk.{i}.attn_k_norm"), attention.kv_dim())?,
        };
        Ok(Layer {
            mixer: Mixer::Attention(attention.into()),
            ffn: Ffn::from(builder.gated(i, Activation::Silu, Bias::None)?),
            wiring: Wiring::Sequential {
                mixer_pre: None,
                mixer_post: Some(builder.block_norm(i, "post_attention_norm")?),
                ffn_pre: None,
                ffn_post: Some(builder.block_norm(i, "post_ffw_norm")?),
            },
            residual_scale: 1.0,
        })
    })
}
