//! Falcon.

use alloc::format;

use super::builder::{Bias, Builder};
use crate::error::Result;
use crate::model::plan::{Activation, Ffn, Layer, Mixer, NormKind, Plan, RopePairs, Wiring};

/// Falcon 7B shares one layer norm between attention and FFN; 40B and 180B give attention one of its own.
pub(super) fn falcon(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Layer)?;
    let heads = builder.heads()?;
    builder.causal(&|builder, i| {
        let rope = builder.rope(RopePairs::Halves, heads.head_dim)?;
        let attention = builder.attention(i, heads, Some(rope), Bias::None, Bias::None)?;
        let norm = builder.block_norm(i, "attn_norm")?;
        let wiring = if builder.has(&format!("blk.{i}.attn_norm_2.weight")) {
            Wiring::Parallel { mixer_pre: builder.block_norm(i, "attn_norm_2")?, ffn_pre: Some(norm) }
        } else {
            Wiring::Parallel { mixer_pre: norm, ffn_pre: None }
        };
        Ok(Layer {
            mixer: Mixer::Attention(attention.into()),
            ffn: Ffn::from(builder.plain(i, Activation::GeluErf, Bias::None)?),
            wiring,
            residual_scale: 1.0,
        })
    })
}
