//! Which type llama.cpp's quantizer gives to which tensor (`llama_tensor_get_type`, without an importance matrix).

use motelm_core::quant::Dtype;

/// A kind of file, by the name that it is published under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(non_camel_case_types, reason = "the field's own names")]
#[non_exhaustive]
pub enum Mix {
    /// Single precision.
    F32,
    /// Half precision.
    F16,
    /// The upper halves of single precision.
    BF16,
    /// 8 bits.
    Q8_0,
    /// 6 bits.
    Q6_K,
    /// 4 bits, and 6 where it matters most.
    Q4_K_M,
    /// 4 bits.
    Q4_0,
    /// Ternary, as BitNet is published: the embedding in half precision.
    I2_S,
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
    /// Every mix.
    pub const ALL: &'static [Self] =
        &[Self::F32, Self::F16, Self::BF16, Self::Q8_0, Self::Q6_K, Self::Q4_K_M, Self::Q4_0, Self::I2_S];

    /// The mix of this name (`q4_k_m`), in upper or lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|mix| mix.name().eq_ignore_ascii_case(name))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q4_K_M => "Q4_K_M",
            other => other.base().name(),
        }
    }

    /// What `general.file_type` says.
    pub(super) fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q8_0 => 7,
            Self::Q4_K_M => 15,
            Self::Q6_K => 18,
            Self::BF16 => 32,
            Self::I2_S => 40,
        }
    }

    /// What most matrices are stored as.
    fn base(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::BF16 => Dtype::BF16,
            Self::Q8_0 => Dtype::Q8_0,
            Self::Q6_K => Dtype::Q6_K,
            Self::Q4_K_M => Dtype::Q4_K,
            Self::Q4_0 => Dtype::Q4_0,
            Self::I2_S => Dtype::I2_S,
        }
    }

    /// What a matrix of rows of `cols` elements is stored as.
    pub(super) fn dtype(self, part: Part, cols: usize, layer: usize, n_layers: usize) -> Dtype {
        let base = self.base();
        let wanted = match (self, part) {
            (Self::F32 | Self::F16 | Self::BF16, _) => base,
            (Self::I2_S, Part::Head | Part::Embedding) => Dtype::F16,
            (_, Part::Head) if base != Dtype::Q8_0 => Dtype::Q6_K,
            (Self::Q4_K_M, Part::Values | Part::Down) if gets_more_bits(layer, n_layers) => Dtype::Q6_K,
            (Self::Q4_K_M, Part::FusedQkv) => Dtype::Q5_K,
            _ => base,
        };
        match wanted {
            _ if cols.is_multiple_of(wanted.block_len()) => wanted,
            Dtype::Q4_K => Dtype::Q5_0,
            Dtype::Q5_K => Dtype::Q5_1,
            Dtype::Q6_K => Dtype::Q8_0,
            _ => Dtype::F16,
        }
    }
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
    fn layers_with_more_bits() {
        let of_24: Vec<usize> = (0..24).filter(|&layer| gets_more_bits(layer, 24)).collect();
        assert_eq!(of_24, [0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23]);
    }
}
