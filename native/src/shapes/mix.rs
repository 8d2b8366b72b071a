//! Which type llama.cpp's quantizer gives to which tensor (`llama_tensor_get_type`, without an importance matrix).

use motelm_core::quant::{Dtype, Meets};

/// What a file's matrices are stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(non_camel_case_types, reason = "the field's own names")]
#[non_exhaustive]
pub enum Mix {
    /// 4 bits, and 6 where it matters most.
    Q4_K_M,
    /// One type, but for a head that deserves a better one.
    Of(Dtype),
}

/// What a matrix is in its model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The embedding of a model with a head of its own.
    Embedding,
    /// The head, or an embedding that is also the head.
    Head,
    Values,
    FusedQkv,
    Down,
    Other,
}

impl Mix {
    /// The mix of this name (`q4_k_m`, `q8_0`, `f16`), in upper or lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        if name.eq_ignore_ascii_case("q4_k_m") {
            return Some(Self::Q4_K_M);
        }
        Dtype::from_name(name).filter(|&dtype| holds_weights(dtype)).map(Self::Of)
    }

    /// What `general.file_type` says, for common mixes.
    pub(super) fn file_type(self) -> Option<u32> {
        Some(match self {
            Self::Of(Dtype::F32) => 0,
            Self::Of(Dtype::F16) => 1,
            Self::Of(Dtype::Q4_0) => 2,
            Self::Of(Dtype::Q8_0) => 7,
            Self::Q4_K_M => 15,
            Self::Of(Dtype::Q6_K) => 18,
            Self::Of(Dtype::BF16) => 32,
            Self::Of(Dtype::I2_S) => 40,
            Self::Of(_) => return None,
        })
    }

    /// What a matrix of rows of `cols` elements is stored as.
    pub(super) fn dtype(self, part: Part, cols: usize, layer: usize, n_layers: usize) -> Dtype {
        let wanted = match (self, part) {
            (Self::Of(Dtype::I2_S), Part::Head | Part::Embedding) => Dtype::F16,
            (Self::Of(base), Part::Head) if is_float(base) || base == Dtype::Q8_0 => base,
            (_, Part::Head) => Dtype::Q6_K,
            (Self::Q4_K_M, Part::Values | Part::Down) if gets_more_bits(layer, n_layers) => Dtype::Q6_K,
            (Self::Q4_K_M, Part::FusedQkv) => Dtype::Q5_K,
            (Self::Q4_K_M, _) => Dtype::Q4_K,
            (Self::Of(base), _) => base,
        };
        let fits = |dtype: &Dtype| cols.is_multiple_of(dtype.block_len());
        let second = match wanted {
            Dtype::Q4_K => Dtype::Q5_0,
            Dtype::Q5_K => Dtype::Q5_1,
            Dtype::Q6_K => Dtype::Q8_0,
            Dtype::TQ1_0 | Dtype::TQ2_0 => Dtype::Q4_0,
            _ => Dtype::IQ4_NL,
        };
        [wanted, second].into_iter().find(fits).unwrap_or(Dtype::F16)
    }
}

fn is_float(dtype: Dtype) -> bool {
    matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16)
}

/// Whether matrices of models come in this type.
fn holds_weights(dtype: Dtype) -> bool {
    is_float(dtype) || dtype.meets() == Meets::Integers || dtype.block_len() > 1
}

/// The first and last eighth of the layers, and every third between.
fn gets_more_bits(layer: usize, n_layers: usize) -> bool {
    let eighth = n_layers / 8;
    layer < eighth || layer >= 7 * n_layers / 8 || (layer - eighth) % 3 == 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_not_whole_blocks_fall_back() {
        let dtype = |part, cols| Mix::Q4_K_M.dtype(part, cols, 5, 24);
        assert_eq!(dtype(Part::Other, 896), Dtype::Q5_0);
        assert_eq!(dtype(Part::Head, 896), Dtype::Q8_0);
        assert_eq!(dtype(Part::Other, 4864), Dtype::Q4_K);
        assert_eq!(dtype(Part::Down, 4864), Dtype::Q6_K);
        assert_eq!(dtype(Part::FusedQkv, 3072), Dtype::Q5_K);
    }

    #[test]
    fn names_of_mixes() {
        assert_eq!(Mix::from_name("Q4_K_M"), Some(Mix::Q4_K_M));
        assert_eq!(Mix::from_name("bf16"), Some(Mix::Of(Dtype::BF16)));
        assert_eq!(Mix::from_name("i32"), None);
        assert_eq!(Mix::from_name(""), None);
    }

    #[test]
    fn layers_with_more_bits() {
        let of_24: Vec<usize> = (0..24).filter(|&layer| gets_more_bits(layer, 24)).collect();
        assert_eq!(of_24, [0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23]);
    }
}
