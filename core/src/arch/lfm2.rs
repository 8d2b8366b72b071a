//! LFM2: short gated convolutions, with attention on some layers.

use alloc::format;

use super::builder::{Bias, Builder, pre_norm};
use crate::error::Result;
use crate::model::plan::{Activation, Conv, Ffn, Mixer, NormKind, Plan, RopePairs, ShortConv};

/// LFM2 (350M to 2.6B). A layer without key heads is a convolution. The final norm goes by the name of the
/// embedding's.
pub(super) fn lfm2(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Rms)?;
    let norm = if builder.has("token_embd_norm.weight") { "token_embd_norm" } else { "output_norm" };
    builder.causal_with_norm(norm, &|builder, i| {
        let mixer = match builder.size_of_layer("attention.head_count_kv", i)? {
            0 => Mixer::ShortConv(short_conv(builder, i)?.into()),
            n_kv_heads => {
                let heads = builder.heads_with(Some(n_kv_heads))?;
                let rope = builder.rope(RopePairs::Halves, heads.head_dim)?;
                let mut attention = builder.attention(i, heads, Some(rope), Bias::None, Bias::None)?;
                attention.qk_norm = builder.qk_norm_per_head(i, heads.head_dim)?;
                Mixer::Attention(attention.into())
            }
        };
        let ffn = Ffn::from(builder.gated(i, Activation::Silu, Bias::None)?);
        pre_norm(builder, i, mixer, ffn)
    })
}

fn short_conv(builder: &mut Builder<'_>, layer: usize) -> Result<ShortConv> {
    let (taps, width) = (builder.required("shortconv.l_cache")?, builder.dim);
    builder.product("shortconv.l_cache", &[taps, width])?;
    let name = |part: &str| format!("blk.{layer}.shortconv.{part}");
    Ok(ShortConv {
        input: builder.linear(&name("in_proj"), width, 3 * width, Bias::None)?,
        conv: Conv { taps, width, weight: builder.tensor(&name("conv.weight"), &[taps, width])?, bias: None },
        out: builder.linear(&name("out_proj"), width, width, Bias::None)?,
    })
}
