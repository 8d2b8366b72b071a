//! Rotary positions as files describe them.

use alloc::format;

use super::Builder;
use crate::error::Result;
use crate::model::plan::{Rope, RopePairs, RopeScaling};

impl Builder<'_> {
    /// The rotation that the file describes, of `rope.dimension_count` or else whole heads.
    pub(in crate::arch) fn rope(&mut self, pairs: RopePairs, head_dim: usize) -> Result<Rope> {
        let dims = self.size("rope.dimension_count")?.unwrap_or(head_dim);
        if dims % 2 != 0 || dims > head_dim {
            let what = format!("found {dims} rotating elements, expected an even number up to {head_dim}");
            return Err(self.wrong("rope.dimension_count", what));
        }
        let base = self.factor("rope.freq_base")?.unwrap_or(10000.0);
        let scaling = self.rope_scaling(dims)?;
        Ok(Rope { pairs, dims, base, scaling })
    }

    fn rope_scaling(&mut self, dims: usize) -> Result<RopeScaling> {
        if self.has("rope_factors_long.weight") || self.has("rope_factors_short.weight") {
            let original_context = self.required("rope.scaling.original_context_length")?;
            return Ok(RopeScaling::Long {
                short: self.tensor("rope_factors_short.weight", &[dims / 2])?,
                long: self.tensor("rope_factors_long.weight", &[dims / 2])?,
                original_context,
                attention_factor: match self.factor("rope.scaling.attn_factor")? {
                    Some(factor) => factor,
                    None => self.long_attention_factor(original_context)?,
                },
            });
        }
        if let Some(factors) = self.maybe("rope_freqs.weight", &[dims / 2])? {
            return Ok(RopeScaling::Factors(factors));
        }
        let factor = match self.factor("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.factor("rope.scale_linear")?,
        };
        let factor = factor.unwrap_or(1.0);
        match self.str("rope.scaling.type")? {
            None | Some("none") if factor == 1.0 => Ok(RopeScaling::None),
            Some("none") => Ok(RopeScaling::None),
            None | Some("linear") if factor == 1.0 => Ok(RopeScaling::None),
            None | Some("linear") => Ok(RopeScaling::Linear { factor }),
            Some("yarn") => Ok(RopeScaling::Yarn {
                factor,
                original_context: match self.size("rope.scaling.original_context_length")? {
                    Some(n) => n,
                    None => self.required("context_length")?,
                },
                beta_fast: self.factor("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                beta_slow: self.factor("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                attention_factor: match self.factor("rope.scaling.attn_factor")? {
                    Some(factor) => factor,
                    None => self.factor("rope.scaling.yarn_attn_factor")?.unwrap_or(1.0),
                },
            }),
            Some(other) => {
                let what = format!("found `{other}`, expected none, linear or yarn");
                Err(self.wrong("rope.scaling.type", what))
            }
        }
    }

    /// LongRoPE's `sqrt(1 + ln(s) / ln(original))` for a context `s` times the original, which older files leave to
    /// the reader (Ding et al., 2024).
    fn long_attention_factor(&self, original_context: usize) -> Result<f32> {
        let (context, original) = (self.required("context_length")? as f32, original_context as f32);
        if context <= original || original_context < 2 {
            return Ok(1.0);
        }
        Ok(libm::sqrtf(1.0 + libm::logf(context / original) / libm::logf(original)))
    }
}
