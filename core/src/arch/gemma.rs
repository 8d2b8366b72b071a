//! Gemma 1 to 3 (text) and EmbeddingGemma.
//!
//! The files hold norm weights with Gemma's `1 +` already added.

use super::builder::{Bias, Builder, Heads, pre_norm};
use crate::error::Result;
use crate::model::plan::{
    Activation, Attention, Ffn, Head, Layer, Mask, Mixer, NormKind, Plan, Rope, RopePairs, RopeScaling,
    Wiring,
};

/// Gemma 1: scaled embeddings, a GELU gate.
pub(super) fn gemma(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Rms)?;
    let heads = builder.heads()?;
    let mut plan = builder.causal(&|builder, i| {
        let rope = builder.rope(RopePairs::Halves, heads.head_dim)?;
        let attention = builder.attention(i, heads, Some(rope), Bias::None, Bias::None)?;
        let ffn = Ffn::from(builder.gated(i, Activation::GeluTanh, Bias::None)?);
        pre_norm(builder, i, attention, ffn)
    })?;
    scale_embeddings(&mut plan);
    Ok(plan)
}

/// Gemma 2: windows on even layers, soft caps, norms around both halves.
pub(super) fn gemma2(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Rms)?;
    let heads = builder.heads()?;
    let window = builder.required("attention.sliding_window")?;
    let softcap = builder.factor("attn_logit_softcapping")?;
    let scale = attention_scale(builder, heads, 46)?;
    let mut plan = builder.causal(&|builder, i| {
        let rope = builder.rope(RopePairs::Halves, heads.head_dim)?;
        let mut attention = builder.attention(i, heads, Some(rope), Bias::None, Bias::None)?;
        attention.mask = if i % 2 == 0 { Mask::Sliding(window) } else { Mask::Causal };
        attention.softcap = softcap;
        attention.scale = scale;
        sandwich(builder, i, attention)
    })?;
    finish(builder, &mut plan)?;
    Ok(plan)
}

/// Gemma 3: windows on five of six layers, which rotate by a base of their own; queries and keys normalised.
pub(super) fn gemma3(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Rms)?;
    let heads = builder.heads()?;
    let window = builder.required("attention.sliding_window")?;
    let scale = attention_scale(builder, heads, 62)?;
    let mut plan = builder.causal(&|builder, i| {
        let mut attention = alternating_attention(builder, i, heads, Mask::Causal, Mask::Sliding(window))?;
        attention.scale = scale;
        sandwich(builder, i, attention)
    })?;
    finish(builder, &mut plan)?;
    Ok(plan)
}

/// EmbeddingGemma: Gemma 3 that looks both ways, pooled, with two dense layers where the file has them.
pub(super) fn embedding(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Rms)?;
    let heads = builder.heads()?;
    let window = builder.required("attention.sliding_window")?;
    let mut plan = builder.encoder(&|builder, i| {
        let attention = alternating_attention(builder, i, heads, Mask::Full, Mask::SlidingBothWays(window))?;
        sandwich(builder, i, attention)
    })?;
    plan.norm = Some(builder.norm("output_norm", builder.dim)?);
    if let Head::Embedding { dense, .. } = &mut plan.head {
        for n in [2, 3] {
            let name = alloc::format!("dense_{n}");
            if builder.has(&alloc::format!("{name}.weight")) {
                let n_in = builder.required(&alloc::format!("{name}_feat_in"))?;
                let n_out = builder.required(&alloc::format!("{name}_feat_out"))?;
                dense.push(builder.linear(&name, n_in, n_out, Bias::None)?);
            }
        }
    }
    scale_embeddings(&mut plan);
    Ok(plan)
}

/// Attention of Gemma 3: every sixth layer is `full`, the others are `windowed` and rotate unscaled by a base of
/// their own.
fn alternating_attention(
    builder: &mut Builder<'_>,
    layer: usize,
    heads: Heads,
    full: Mask,
    windowed: Mask,
) -> Result<Attention> {
    let period = builder.size("attention.sliding_window_pattern")?.unwrap_or(6);
    let is_full = (layer + 1).is_multiple_of(period);
    let mut rope = builder.rope(RopePairs::Halves, heads.head_dim)?;
    if !is_full {
        let base = builder.factor("rope.freq_base_swa")?.unwrap_or(10000.0);
        rope = Rope { base, scaling: RopeScaling::None, ..rope };
    }
    let mut attention = builder.attention(layer, heads, Some(rope), Bias::None, Bias::None)?;
    attention.qk_norm = builder.qk_norm_per_head(layer, heads.head_dim)?;
    attention.mask = if is_full { full } else { windowed };
    Ok(attention)
}

/// `1 / sqrt(head_dim)`, except in the 27B models (told by their number of layers), which scale by their width.
fn attention_scale(builder: &Builder<'_>, heads: Heads, layers_of_27b: usize) -> Result<f32> {
    let width =
        if builder.n_layers()? == layers_of_27b { builder.dim / heads.n_heads } else { heads.head_dim };
    Ok(1.0 / libm::sqrtf(width as f32))
}

/// A block with norms before and after both halves.
fn sandwich(builder: &mut Builder<'_>, layer: usize, attention: Attention) -> Result<Layer> {
    Ok(Layer {
        mixer: Mixer::Attention(attention.into()),
        ffn: Ffn::from(builder.gated(layer, Activation::GeluTanh, Bias::None)?),
        wiring: Wiring::Sequential {
            mixer_pre: Some(builder.block_norm(layer, "attn_norm")?),
            mixer_post: Some(builder.block_norm(layer, "post_attention_norm")?),
            ffn_pre: Some(builder.block_norm(layer, "ffn_norm")?),
            ffn_post: Some(builder.block_norm(layer, "post_ffw_norm")?),
        },
        residual_scale: 1.0,
    })
}

fn finish(builder: &Builder<'_>, plan: &mut Plan) -> Result<()> {
    scale_embeddings(plan);
    if let Head::Logits { softcap, .. } = &mut plan.head {
        *softcap = builder.factor("final_logit_softcapping")?;
    }
    Ok(())
}

fn scale_embeddings(plan: &mut Plan) {
    plan.embed.scale = libm::sqrtf(plan.dim as f32);
}
