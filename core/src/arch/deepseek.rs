//! DeepSeek V2 and the models that share its latent attention.

use alloc::format;

use super::builder::{Bias, Builder, pre_norm};
use crate::error::Result;
use crate::model::plan::{
    Activation, Experts, Ffn, Latent, LatentQuery, Mixer, NormKind, Plan, Rope, RopePairs, RopeScaling,
    RouterWeights, Shared,
};

/// DeepSeek V2 (Lite, too): latent attention, leading dense layers, then routed experts beside shared ones. The file
/// must hold the absorbed projections `attn_k_b` and `attn_v_b`, as converters write since 2025.
pub(super) fn deepseek2(builder: &mut Builder<'_>) -> Result<Plan> {
    builder.begin(NormKind::Rms)?;
    let n_dense = builder.size_or_zero("leading_dense_block_count")?;
    builder.only("expert_group_count", 1)?;
    builder.only("expert_group_used_count", 1)?;
    builder.causal(&|builder, i| {
        let mixer = Mixer::Latent(latent(builder, i)?.into());
        let ffn = if i < n_dense {
            Ffn::from(builder.gated(i, Activation::Silu, Bias::None)?)
        } else {
            Ffn::from(experts(builder, i)?)
        };
        pre_norm(builder, i, mixer, ffn)
    })
}

fn latent(builder: &mut Builder<'_>, layer: usize) -> Result<Latent> {
    let n_heads = builder.required("attention.head_count")?;
    let rank = builder.required("attention.kv_lora_rank")?;
    let head_dim = builder.required("attention.key_length_mla")?;
    let value = builder.required("attention.value_length_mla")?;
    let mut rope = builder.rope(RopePairs::Interleaved, head_dim)?;
    let plain = head_dim - rope.dims;
    if plain == 0 {
        let what = format!("all {head_dim} elements of a head rotate; expected some that do not");
        return Err(builder.wrong("rope.dimension_count", what));
    }
    let query_dim = builder.product("attention.key_length_mla", &[n_heads, head_dim])?;
    let value_dim = builder.product("attention.value_length_mla", &[n_heads, value])?;
    builder.product("attention.kv_lora_rank", &[n_heads, rank + rope.dims])?;
    let scale = scale_of(builder, &mut rope)? / libm::sqrtf(head_dim as f32);
    let name = |part: &str| format!("blk.{layer}.{part}");
    let q = match builder.size("attention.q_lora_rank")? {
        Some(q_rank) if !builder.has(&name("attn_q.weight")) => LatentQuery::LowRank {
            down: builder.linear(&name("attn_q_a"), builder.dim, q_rank, Bias::None)?,
            norm: builder.norm(&name("attn_q_a_norm"), q_rank)?,
            up: builder.linear(&name("attn_q_b"), q_rank, query_dim, Bias::None)?,
        },
        _ => LatentQuery::Direct(builder.linear(&name("attn_q"), builder.dim, query_dim, Bias::None)?),
    };
    Ok(Latent {
        n_heads,
        rank,
        plain,
        value,
        q,
        kv: builder.linear(&name("attn_kv_a_mqa"), builder.dim, rank + rope.dims, Bias::None)?,
        kv_norm: builder.norm(&name("attn_kv_a_norm"), rank)?,
        key_up: builder.tensor(&name("attn_k_b.weight"), &[plain, rank, n_heads])?,
        value_up: builder.tensor(&name("attn_v_b.weight"), &[rank, value, n_heads])?,
        rope,
        scale,
        out: builder.linear(&name("attn_output"), value_dim, builder.dim, Bias::None)?,
    })
}

/// DeepSeek stretches the scores instead of the rotated vectors when it extends the context: YaRN's magnitude is
/// taken back, and its square, with a multiplier of the file's own, returned.
fn scale_of(builder: &Builder<'_>, rope: &mut Rope) -> Result<f32> {
    let multiplier = builder.factor("rope.scaling.yarn_log_multiplier")?.unwrap_or(0.0);
    let RopeScaling::Yarn { factor, attention_factor, .. } = &mut rope.scaling else {
        return Ok(1.0);
    };
    let log = libm::logf(*factor);
    *attention_factor /= 1.0 + 0.1 * log;
    let magnitude = 1.0 + multiplier * log;
    Ok(magnitude * magnitude)
}

fn experts(builder: &mut Builder<'_>, layer: usize) -> Result<Experts> {
    let of_chosen = builder.bool("expert_weights_norm")?.unwrap_or(false);
    let weights = match (builder.size_or_zero("expert_gating_func")?, of_chosen) {
        (0 | 1, false) => RouterWeights::Softmax,
        (0 | 1, true) => RouterWeights::SoftmaxOfChosen,
        (2, false) => RouterWeights::Sigmoid,
        (2, true) => RouterWeights::SigmoidOfChosen,
        (other, _) => {
            let what = format!("found {other}, expected 1 (softmax) or 2 (sigmoid)");
            return Err(builder.wrong("expert_gating_func", what));
        }
    };
    let mut experts = builder.experts(layer, weights, Bias::None)?;
    experts.routing.choice_bias =
        builder.maybe(&format!("blk.{layer}.exp_probs_b.bias"), &[experts.n_experts])?;
    let n_shared = builder.size_or_zero("expert_shared_count")?;
    if n_shared > 0 {
        let hidden = builder.product("expert_shared_count", &[n_shared, experts.hidden])?;
        experts.shared = Some(Shared { mlp: builder.shared_expert(layer, hidden)?, gate: None });
    }
    Ok(experts)
}
