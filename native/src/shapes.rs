//! Models of real shapes with random weights: what a speed is measured on where no model can be had.
//!
//! How fast a model runs depends on its matrices, not on what is in them. [`Shape::write`] makes a file that has the
//! tensors, types and metadata of a published one, in the mix of types that llama.cpp's quantizer chooses, and a made-up
//! vocabulary of the same size. Both MoteLM and llama.cpp open it; what it says is nonsense.
//!
//! To be quick, a megabyte or so of random rows is encoded for each type and row length, and repeated. No kernel can
//! tell, as long as what is repeated does not stay in a cache of its own, and a file is read once per token.

mod vocab;

use std::collections::HashMap;
use std::io::{self, Write};

use motelm_core::gguf::{Value, Writer};
use motelm_core::quant::{Dtype, quantize};

use crate::quantize::mix::{self, Facts, Mix, Rules};
use vocab::Vocab;

/// The sizes of a published model.
#[derive(Debug)]
pub struct Shape {
    /// What it is called here.
    pub name: &'static str,
    family: Family,
    n_layers: usize,
    /// Width of the residual stream, and of the FFN.
    dim: usize,
    hidden: usize,
    n_heads: usize,
    n_kv_heads: usize,
    head_dim: usize,
    context: usize,
    rope_base: f32,
    eps: f32,
    vocab: Vocab,
}

/// Which tensors there are beside the usual ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    Llama,
    /// With factors for its rotation.
    Llama3,
    Qwen2,
    Gemma3,
    GemmaEmbedding,
    Phi3,
    BitNet,
}

impl Family {
    fn arch(self, mix: Mix) -> &'static str {
        match self {
            // Microsoft's type comes with Microsoft's name for the model; llama.cpp knows neither.
            Self::BitNet if mix.base() != Dtype::I2_S => "bitnet",
            Self::Llama | Self::Llama3 => "llama",
            Self::Qwen2 => "qwen2",
            Self::Gemma3 => "gemma3",
            Self::GemmaEmbedding => "gemma-embedding",
            Self::Phi3 => "phi3",
            Self::BitNet => "bitnet-b1.58",
        }
    }
}

/// Every shape, small ones first. The numbers are those of the models' published configurations.
pub const SHAPES: &[Shape] = &[
    Shape {
        name: "smollm2-135m",
        family: Family::Llama,
        n_layers: 30,
        dim: 576,
        hidden: 1536,
        n_heads: 9,
        n_kv_heads: 3,
        head_dim: 64,
        context: 8192,
        rope_base: 100_000.0,
        eps: 1e-5,
        vocab: vocab::SMOLLM2,
    },
    Shape {
        name: "embeddinggemma-300m",
        family: Family::GemmaEmbedding,
        n_layers: 24,
        dim: 768,
        hidden: 1152,
        n_heads: 3,
        n_kv_heads: 1,
        head_dim: 256,
        context: 2048,
        rope_base: 1e6,
        eps: 1e-6,
        vocab: vocab::GEMMA,
    },
    Shape {
        name: "qwen2.5-0.5b",
        family: Family::Qwen2,
        n_layers: 24,
        dim: 896,
        hidden: 4864,
        n_heads: 14,
        n_kv_heads: 2,
        head_dim: 64,
        context: 32768,
        rope_base: 1e6,
        eps: 1e-6,
        vocab: vocab::QWEN2,
    },
    Shape {
        name: "gemma-3-1b",
        family: Family::Gemma3,
        n_layers: 26,
        dim: 1152,
        hidden: 6912,
        n_heads: 4,
        n_kv_heads: 1,
        head_dim: 256,
        context: 32768,
        rope_base: 1e6,
        eps: 1e-6,
        vocab: vocab::GEMMA,
    },
    Shape {
        name: "llama-3.2-1b",
        family: Family::Llama3,
        n_layers: 16,
        dim: 2048,
        hidden: 8192,
        n_heads: 32,
        n_kv_heads: 8,
        head_dim: 64,
        context: 131_072,
        rope_base: 500_000.0,
        eps: 1e-5,
        vocab: vocab::LLAMA3,
    },
    Shape {
        name: "bitnet-2b-4t",
        family: Family::BitNet,
        n_layers: 30,
        dim: 2560,
        hidden: 6912,
        n_heads: 20,
        n_kv_heads: 5,
        head_dim: 128,
        context: 4096,
        rope_base: 500_000.0,
        eps: 1e-5,
        vocab: vocab::LLAMA3,
    },
    Shape {
        name: "phi-3-mini",
        family: Family::Phi3,
        n_layers: 32,
        dim: 3072,
        hidden: 8192,
        n_heads: 32,
        n_kv_heads: 32,
        head_dim: 96,
        context: 4096,
        rope_base: 10000.0,
        eps: 1e-5,
        vocab: vocab::PHI3,
    },
];

/// A tensor in the making.
struct Tensor {
    name: String,
    /// F32 until the mix says otherwise.
    dtype: Dtype,
    dims: Vec<usize>,
    fill: Fill,
}

/// What a tensor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fill {
    /// Rows whose dot products with unit vectors are around 1.
    Random,
    /// Norms.
    Ones,
}

impl Shape {
    /// The shape of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        SHAPES.iter().find(|shape| shape.name.eq_ignore_ascii_case(name))
    }

    /// Writes the file. Memory: its vocabulary, and some megabytes of rows.
    ///
    /// # Errors
    /// What `out` says, and [`io::ErrorKind::InvalidInput`] when a row of the shape cannot be stored in the mix.
    pub fn write(&self, mix: Mix, out: &mut impl Write) -> io::Result<()> {
        let refuse = |error: motelm_core::Error| io::Error::new(io::ErrorKind::InvalidInput, error);
        let tensors = self.tensors(mix);
        let mut writer = Writer::new();
        self.write_metadata(mix, &mut writer);
        let mut lens = Vec::new();
        for tensor in &tensors {
            lens.push(writer.tensor(&tensor.name, tensor.dtype, &tensor.dims).map_err(refuse)?);
        }
        out.write_all(&writer.head())?;
        let mut rows = Rows::default();
        for (tensor, len) in tensors.iter().zip(lens) {
            rows.write(tensor, len, out).map_err(|error| match error {
                WriteError::Io(error) => error,
                WriteError::Encode(error) => refuse(error),
            })?;
            out.write_all(&[0; 32][..Writer::padding(len)])?;
        }
        out.flush()
    }

    fn write_metadata(&self, mix: Mix, writer: &mut Writer) {
        let arch = self.family.arch(mix);
        let name = format!("{} of random weights", self.name);
        writer.set("general.architecture", Value::Str(arch.as_bytes()));
        writer.set("general.type", Value::Str(b"model"));
        writer.set("general.name", Value::Str(name.as_bytes()));
        if let Some(file_type) = mix.file_type() {
            writer.set("general.file_type", Value::U32(file_type));
        }
        writer.set("general.quantization_version", Value::U32(2));
        let mut number = |key: &str, n: usize| writer.set(&format!("{arch}.{key}"), Value::U32(n as u32));
        number("block_count", self.n_layers);
        number("context_length", self.context);
        number("embedding_length", self.dim);
        number("feed_forward_length", self.hidden);
        number("attention.head_count", self.n_heads);
        number("attention.head_count_kv", self.n_kv_heads);
        match self.family {
            Family::Llama | Family::Llama3 | Family::BitNet => {
                number("rope.dimension_count", self.head_dim);
                number("vocab_size", self.vocab.len);
            }
            Family::Gemma3 | Family::GemmaEmbedding => {
                number("attention.key_length", self.head_dim);
                number("attention.value_length", self.head_dim);
                number("attention.sliding_window", 512);
            }
            Family::Phi3 => {
                number("rope.dimension_count", self.head_dim);
                number("rope.scaling.original_context_length", self.context);
                number("attention.sliding_window", 2047);
            }
            Family::Qwen2 => {}
        }
        if self.family == Family::GemmaEmbedding {
            number("pooling_type", 1);
            for (layer, [n_in, n_out]) in self.dense() {
                number(&format!("dense_{layer}_feat_in"), n_in);
                number(&format!("dense_{layer}_feat_out"), n_out);
            }
        }
        let mut factor = |key: &str, x: f32| writer.set(&format!("{arch}.{key}"), Value::F32(x));
        factor("attention.layer_norm_rms_epsilon", self.eps);
        factor("rope.freq_base", self.rope_base);
        if matches!(self.family, Family::Gemma3 | Family::GemmaEmbedding) {
            factor("rope.freq_base_swa", 10000.0);
        }
        self.vocab.write(writer);
    }

    /// The dense layers behind an encoder's pooling.
    fn dense(&self) -> [(usize, [usize; 2]); 2] {
        [(2, [self.dim, 4 * self.dim]), (3, [4 * self.dim, self.dim])]
    }

    fn tensors(&self, mix: Mix) -> Vec<Tensor> {
        let mut list = List::default();
        let (dim, hidden) = (self.dim, self.hidden);
        list.matrix("token_embd.weight".into(), dim, self.vocab.len);
        if self.family == Family::Phi3 {
            list.matrix("output.weight".into(), dim, self.vocab.len);
        }
        list.vector("output_norm.weight".into(), dim, Fill::Ones);
        if self.family == Family::Llama3 {
            list.vector("rope_freqs.weight".into(), self.head_dim / 2, Fill::Ones);
        }
        if self.family == Family::GemmaEmbedding {
            for (layer, [n_in, n_out]) in self.dense() {
                list.matrix(format!("dense_{layer}.weight"), n_in, n_out);
            }
        }
        for layer in 0..self.n_layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            let (q_dim, kv_dim) = (self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim);
            list.vector(name("attn_norm"), dim, Fill::Ones);
            if self.family == Family::Phi3 {
                list.matrix(name("attn_qkv"), dim, q_dim + 2 * kv_dim);
                list.matrix(name("ffn_up"), dim, 2 * hidden);
            } else {
                list.matrix(name("attn_q"), dim, q_dim);
                list.matrix(name("attn_k"), dim, kv_dim);
                list.matrix(name("attn_v"), dim, kv_dim);
                list.matrix(name("ffn_gate"), dim, hidden);
                list.matrix(name("ffn_up"), dim, hidden);
            }
            list.matrix(name("attn_output"), q_dim, dim);
            list.matrix(name("ffn_down"), hidden, dim);
            list.vector(name("ffn_norm"), dim, Fill::Ones);
            match self.family {
                Family::Qwen2 => {
                    for (part, width) in [("attn_q", q_dim), ("attn_k", kv_dim), ("attn_v", kv_dim)] {
                        list.vector(format!("blk.{layer}.{part}.bias"), width, Fill::Random);
                    }
                }
                Family::Gemma3 | Family::GemmaEmbedding => {
                    list.vector(name("attn_q_norm"), self.head_dim, Fill::Ones);
                    list.vector(name("attn_k_norm"), self.head_dim, Fill::Ones);
                    list.vector(name("post_attention_norm"), dim, Fill::Ones);
                    list.vector(name("post_ffw_norm"), dim, Fill::Ones);
                }
                Family::BitNet => {
                    list.vector(name("attn_sub_norm"), q_dim, Fill::Ones);
                    list.vector(name("ffn_sub_norm"), hidden, Fill::Ones);
                }
                Family::Llama | Family::Llama3 | Family::Phi3 => {}
            }
        }
        list.typed(mix, &self.facts(mix))
    }

    fn facts(&self, mix: Mix) -> Facts {
        Facts {
            arch: self.family.arch(mix).into(),
            layers: self.n_layers,
            heads: self.n_heads,
            kv_heads: self.n_kv_heads,
            experts: 0,
        }
    }
}

#[derive(Default)]
struct List {
    tensors: Vec<Tensor>,
}

impl List {
    fn matrix(&mut self, name: String, cols: usize, rows: usize) {
        self.push(name, vec![cols, rows], Fill::Random);
    }

    fn vector(&mut self, name: String, len: usize, fill: Fill) {
        self.push(name, vec![len], fill);
    }

    fn push(&mut self, name: String, dims: Vec<usize>, fill: Fill) {
        self.tensors.push(Tensor { name, dtype: Dtype::F32, dims, fill });
    }

    /// The tensors with the types that the mix gives them.
    fn typed(mut self, mix: Mix, facts: &Facts) -> Vec<Tensor> {
        let seen: Vec<mix::Tensor<'_>> = self
            .tensors
            .iter()
            .map(|tensor| mix::Tensor { name: &tensor.name, dims: &tensor.dims })
            .collect();
        let types = Rules::from(mix).types(facts, &seen, |_| None);
        for (tensor, dtype) in self.tensors.iter_mut().zip(types) {
            tensor.dtype = dtype.unwrap_or(tensor.dtype);
        }
        self.tensors
    }
}

enum WriteError {
    Io(io::Error),
    Encode(motelm_core::Error),
}

/// Rows that were encoded already, by type, row length and what they hold.
#[derive(Default)]
struct Rows {
    encoded: HashMap<(Dtype, usize, bool), Vec<u8>>,
}

/// Elements that are encoded before they repeat.
const ENCODED: usize = 1 << 19;

impl Rows {
    fn write(&mut self, tensor: &Tensor, len: usize, out: &mut impl Write) -> Result<(), WriteError> {
        let cols = tensor.dims[0];
        let key = (tensor.dtype, cols, tensor.fill == Fill::Ones);
        let encoded = match self.encoded.entry(key) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(encode(tensor.dtype, cols, tensor.fill).map_err(WriteError::Encode)?)
            }
        };
        let (blocks, tail) = encoded.split_at(encoded.len() - tensor.dtype.tail_bytes());
        let mut left = len - tail.len();
        while left > 0 {
            let now = left.min(blocks.len());
            out.write_all(&blocks[..now]).map_err(WriteError::Io)?;
            left -= now;
        }
        out.write_all(tail).map_err(WriteError::Io)
    }
}

/// Some rows of `cols` elements, and the tail of a type that has one.
fn encode(dtype: Dtype, cols: usize, fill: Fill) -> motelm_core::Result<Vec<u8>> {
    let rows = (ENCODED / cols).max(1);
    // Even, so that whatever is packed in pairs of rows repeats as well; the variance of a row's product is 1.
    let amplitude = (3.0 / cols as f32).sqrt();
    let mut state = 0x2545_f491_4f6c_dd1d_u64 ^ (cols as u64) << 8 ^ u64::from(dtype.id());
    let x: Vec<f32> = (0..rows * cols)
        .map(|_| match fill {
            Fill::Ones => 1.0,
            Fill::Random => amplitude * (2.0 * unit(&mut state) - 1.0),
        })
        .collect();
    let blocks = dtype.row_bytes(cols).unwrap_or(0) * rows;
    let mut bytes = vec![0; blocks + dtype.tail_bytes()];
    quantize(dtype, &x, cols, None, &mut bytes)?;
    Ok(bytes)
}

/// The next number from 0 to 1 (xorshift64*, Vigna 2016).
fn unit(state: &mut u64) -> f32 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / (1u64 << 24) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use motelm_core::gguf::File;
    use motelm_core::{Bytes, Model, Tokenizer};

    /// Parameters as the models' cards tell them, in millions.
    const PARAMETERS: [(&str, u64); 7] = [
        ("smollm2-135m", 134),
        ("embeddinggemma-300m", 307),
        ("qwen2.5-0.5b", 494),
        ("gemma-3-1b", 999),
        ("llama-3.2-1b", 1235),
        ("bitnet-2b-4t", 2412),
        ("phi-3-mini", 3821),
    ];

    #[test]
    fn shapes_have_the_published_number_of_parameters() {
        for (shape, (name, millions)) in SHAPES.iter().zip(PARAMETERS) {
            assert_eq!(shape.name, name);
            let tensors = shape.tensors(Mix::F16);
            let parameters: usize = tensors.iter().map(|tensor| tensor.dims.iter().product::<usize>()).sum();
            assert_eq!(parameters as u64 / 1_000_000, millions, "{name}: {parameters}");
        }
    }

    #[test]
    fn files_of_every_family_are_models() {
        for shape in SHAPES {
            let small = Shape {
                n_layers: 3,
                dim: 256,
                hidden: 512,
                n_heads: 4,
                n_kv_heads: 2,
                head_dim: 64,
                vocab: vocab::short(&shape.vocab),
                ..*shape
            };
            for mix in [Mix::Q4_K_M, Mix::I2_S] {
                let mut bytes = Vec::new();
                small.write(mix, &mut bytes).unwrap();
                let file = File::parse(Bytes::new(bytes)).unwrap();
                let model = Model::new(&file).unwrap_or_else(|error| panic!("{}: {error}", shape.name));
                assert_eq!(model.plan().layers.len(), 3);
                assert_eq!(Tokenizer::new(&file).unwrap().len() as usize, model.plan().n_vocab);
            }
        }
    }

    #[test]
    fn rows_fit_every_mix() {
        for shape in SHAPES {
            for &mix in Mix::ALL {
                for tensor in shape.tensors(mix) {
                    let (name, dtype, cols) = (&tensor.name, tensor.dtype, tensor.dims[0]);
                    assert!(dtype.row_bytes(cols).is_some(), "{} {name}: {cols} as {dtype}", shape.name);
                }
            }
        }
    }
}
