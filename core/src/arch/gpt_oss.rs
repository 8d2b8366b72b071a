//! gpt-oss 20B and 120B.

use alloc::format;

use super::builder::{Bias, Builder};
use crate::error::Result;
use crate::model::plan::{
    Activation, Ffn, Layer, Mask, Mixer, NormKind, Plan, RopePairs, RouterWeights, Wiring,
};

/// gpt-oss: a mixture of experts with biases everywhere and a clamped gate; heads may attend to nothing (sinks);
/// even layers slide.
pub(super) fn gpt_oss(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Rms)?;
    let heads = builder.heads()?;
    let window = builder.required("attention.sliding_window")?;
    builder.causal(&|builder, i| {
        let rope = builder.rope(RopePairs::Halves, heads.head_dim)?;
        let mut attention = builder.attention(i, heads, Some(rope), Bias::Required, Bias::Required)?;
        attention.mask = if i % 2 == 0 { Mask::Sliding(window) } else { Mask::Causal };
        attention.sinks = Some(builder.tensor(&format!("blk.{i}.attn_sinks.weight"), &[heads.n_heads])?);
        let mut experts = builder.experts(i, RouterWeights::SoftmaxOfChosen, Bias::Required)?;
        experts.activation = Activation::SiluClamped;
        Ok(Layer {
            mixer: Mixer::Attention(attention.into()),
            ffn: Ffn::from(experts),
            wiring: Wiring::Sequential {
                mixer_pre: Some(builder.block_norm(i, "attn_norm")?),
                mixer_post: None,
                ffn_pre: Some(builder.block_norm(i, "post_attention_norm")?),
                ffn_post: None,
            },
            residual_scale: 1.0,
        })
    })
}
