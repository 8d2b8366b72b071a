//! BitNet b1.58: ternary weights, norms before the output and down projections.

use alloc::format;

use super::builder::{Bias, Builder, pre_norm};
use crate::error::Result;
use crate::model::plan::{Activation, Ffn, NormKind, Plan, RopePairs};

/// BitNet as mainline llama.cpp has it: with a SiLU gate unless the file says otherwise.
pub(super) fn bitnet(builder: &mut Builder<'_>) -> Result<Plan> {
    let key = "hidden_activation";
    let activation = match builder.str(key)? {
        None | Some("silu") => Activation::Silu,
        Some("relu2" | "relu_sqr") => Activation::ReluSquared,
        Some(other) => return Err(builder.wrong(key, format!("found `{other}`, expected silu or relu2"))),
    };
    plan(builder, activation)
}

/// microsoft/bitnet-b1.58-2B-4T, with a squared ReLU gate.
pub(super) fn bitnet_b158(builder: &mut Builder<'_>) -> Result<Plan> {
    plan(builder, Activation::ReluSquared)
}

fn plan(builder: &mut Builder<'_>, activation: Activation) -> Result<Plan> {
    builder.begin(NormKind::Rms)?;
    let heads = builder.heads()?;
    builder.causal(&|builder, i| {
        let rope = builder.rope(RopePairs::Halves, heads.head_dim)?;
        let mut attention = builder.attention(i, heads, Some(rope), Bias::None, Bias::None)?;
        attention.sub_norm = Some(builder.norm(&format!("blk.{i}.attn_sub_norm"), attention.q_dim())?);
        let mut mlp = builder.gated(i, activation, Bias::None)?;
        mlp.sub_norm = Some(builder.norm(&format!("blk.{i}.ffn_sub_norm"), mlp.hidden)?);
        pre_norm(builder, i, attention, Ffn::from(mlp))
    })
}
