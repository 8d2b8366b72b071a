//! Phi 1, 1.5, 2 and Phi 3, 3.5, 4 (text).

use super::builder::{Bias, Builder, pre_norm};
use crate::error::Result;
use crate::model::plan::{Activation, Ffn, Layer, Mixer, NormKind, Plan, RopePairs, Wiring};

/// Phi 1 to 2: attention and FFN side by side under one layer norm, biases everywhere, partial rotation.
pub(super) fn phi2(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Layer)?;
    let heads = builder.heads()?;
    builder.causal(&|builder, i| {
        let rope = builder.rope(RopePairs::Halves, heads.head_dim)?;
        let attention = builder.attention(i, heads, Some(rope), Bias::Required, Bias::Required)?;
        Ok(Layer {
            mixer: Mixer::Attention(attention.into()),
            ffn: Ffn::from(builder.plain(i, Activation::GeluTanh, Bias::Required)?),
            wiring: Wiring::Parallel { mixer_pre: builder.block_norm(i, "attn_norm")?, ffn_pre: None },
            residual_scale: 1.0,
        })
    })
}

/// Phi 3: LLaMA's shape with fused projections, long contexts through two sets of rotation factors.
pub(super) fn phi3(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Rms)?;
    let heads = builder.heads()?;
    builder.causal(&|builder, i| {
        let rope = builder.rope(RopePairs::Halves, heads.head_dim)?;
        let attention = builder.attention(i, heads, Some(rope), Bias::None, Bias::None)?;
        let ffn = Ffn::from(builder.gated_fused(i, Activation::Silu, Bias::None)?);
        pre_norm(builder, i, attention, ffn)
    })
}
