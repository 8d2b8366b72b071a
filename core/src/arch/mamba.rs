//! Mamba 2: nothing but state spaces.

use alloc::format;

use super::builder::{Bias, Builder};
use crate::error::Result;
use crate::model::plan::{Conv, Ffn, Layer, Mixer, NormKind, Plan, StateSpace, Wiring};

/// Mamba 2. The file holds the decay as `-exp(A_log)`, and the norm's weights a row per group.
pub(super) fn mamba2(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Rms)?;
    builder.causal(&|builder, i| {
        Ok(Layer {
            mixer: Mixer::StateSpace(state_space(builder, i)?.into()),
            ffn: Ffn::None,
            wiring: Wiring::Sequential {
                mixer_pre: Some(builder.block_norm(i, "attn_norm")?),
                mixer_post: None,
                ffn_pre: None,
                ffn_post: None,
            },
            residual_scale: 1.0,
        })
    })
}

fn state_space(builder: &mut Builder<'_>, layer: usize) -> Result<StateSpace> {
    let (inner, state) = (builder.required("ssm.inner_size")?, builder.required("ssm.state_size")?);
    let (taps, n_heads) = (builder.required("ssm.conv_kernel")?, builder.required("ssm.time_step_rank")?);
    let n_groups = builder.size("ssm.group_count")?.unwrap_or(1);
    if !inner.is_multiple_of(n_heads) || !n_heads.is_multiple_of(n_groups) {
        let what = format!("a width of {inner}, {n_heads} heads and {n_groups} groups do not divide");
        return Err(builder.wrong("ssm.group_count", what));
    }
    builder.product("ssm.state_size", &[inner, state])?;
    let width = inner + 2 * builder.product("ssm.group_count", &[n_groups, state])?;
    builder.product("ssm.conv_kernel", &[taps, width])?;
    let name = |part: &str| format!("blk.{layer}.{part}");
    Ok(StateSpace {
        inner,
        state,
        n_heads,
        n_groups,
        input: builder.linear(&name("ssm_in"), builder.dim, inner + width + n_heads, Bias::None)?,
        conv: Conv {
            taps,
            width,
            weight: builder.tensor(&name("ssm_conv1d.weight"), &[taps, width])?,
            bias: Some(builder.tensor(&name("ssm_conv1d.bias"), &[width])?),
        },
        dt_bias: builder.tensor(&name("ssm_dt.bias"), &[n_heads])?,
        decay: builder.tensor(&name("ssm_a"), &[1, n_heads])?,
        skip: builder.tensor(&name("ssm_d"), &[1, n_heads])?,
        norm: builder.norm_of_heads(&name("ssm_norm"), inner / n_groups, n_groups)?,
        out: builder.linear(&name("ssm_out"), inner, builder.dim, Bias::None)?,
    })
}
