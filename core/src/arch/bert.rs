//! BERT and its relatives: encoders whose norms follow the halves of a block.

use alloc::format;

use super::builder::{Bias, Builder};
use crate::error::Result;
use crate::model::plan::{Activation, Attention, Ffn, Layer, Mask, Mixer, NormKind, Plan, RopePairs, Wiring};

/// BERT (MiniLM, BGE): learned positions, biases everywhere.
pub(super) fn bert(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Layer)?;
    let heads = builder.heads()?;
    let mut plan = builder.encoder(&|builder, i| {
        let attention = builder.attention(i, heads, None, Bias::Required, Bias::Required)?;
        let ffn = Ffn::from(builder.plain(i, Activation::GeluErf, Bias::Required)?);
        post_norm(builder, i, attention, ffn)
    })?;
    plan.embed.positions = Some(builder.tensor("position_embd.weight", &[builder.dim, plan.context])?);
    segments(builder, &mut plan)?;
    Ok(plan)
}

/// nomic-embed-text v1 and v1.5: rotation instead of learned positions, a SiLU gate, no biases.
pub(super) fn nomic_bert(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Layer)?;
    let heads = builder.heads()?;
    let mut plan = builder.encoder(&|builder, i| {
        let rope = builder.rope(RopePairs::Halves, heads.head_dim)?;
        let attention = builder.attention(i, heads, Some(rope), Bias::Optional, Bias::Optional)?;
        let ffn = Ffn::from(builder.gated(i, Activation::Silu, Bias::Optional)?);
        post_norm(builder, i, attention, ffn)
    })?;
    segments(builder, &mut plan)?;
    Ok(plan)
}

/// jina-embeddings-v2: scores that fall with distance instead of positions, a GELU gate, which some files keep in one
/// matrix with what it gates.
pub(super) fn jina_bert_v2(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Layer)?;
    let heads = builder.heads()?;
    let mut plan = builder.encoder(&|builder, i| {
        let mut attention = builder.attention(i, heads, None, Bias::Required, Bias::Required)?;
        attention.alibi = Some(8.0);
        let ffn = if builder.has(&format!("blk.{i}.ffn_gate.weight")) {
            builder.gated(i, Activation::GeluErf, Bias::Optional)?
        } else {
            builder.gated_fused(i, Activation::GeluErf, Bias::Optional)?
        };
        post_norm(builder, i, attention, Ffn::from(ffn))
    })?;
    segments(builder, &mut plan)?;
    Ok(plan)
}

/// jina-embeddings-v3: BERT with rotation instead of learned positions. Its adapters for tasks are not in the file.
pub(super) fn jina_bert_v3(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Layer)?;
    let heads = builder.heads()?;
    let mut plan = builder.encoder(&|builder, i| {
        let rope = builder.rope(RopePairs::Halves, heads.head_dim)?;
        let attention = builder.attention(i, heads, Some(rope), Bias::Required, Bias::Required)?;
        let ffn = Ffn::from(builder.plain(i, Activation::GeluErf, Bias::Required)?);
        post_norm(builder, i, attention, ffn)
    })?;
    segments(builder, &mut plan)?;
    Ok(plan)
}

/// The segment embedding and the norm over the sum of embeddings.
fn segments(builder: &mut Builder<'_>, plan: &mut Plan) -> Result<()> {
    plan.embed.types = builder.rows_of_width("token_types.weight")?;
    plan.embed.norm = Some(builder.norm("token_embd_norm", builder.dim)?);
    Ok(())
}

fn post_norm(builder: &mut Builder<'_>, layer: usize, mut attention: Attention, ffn: Ffn) -> Result<Layer> {
    attention.mask = Mask::Full;
    Ok(Layer {
        mixer: Mixer::Attention(attention.into()),
        ffn,
        wiring: Wiring::PostNorm {
            after_mixer: builder.block_norm(layer, "attn_output_norm")?,
            after_ffn: builder.block_norm(layer, "layer_output_norm")?,
        },
        residual_scale: 1.0,
    })
}
