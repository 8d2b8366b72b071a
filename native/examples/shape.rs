//! Writes a model of SmolLM2-135M's shape with random weights, to measure speed and memory without a download.
//!
//! ```sh
//! cargo run --release -p motelm --example shape -- Q8_0 shape.gguf
//! cargo run --release -p motelm -- run -m shape.gguf --tokens 1,2,3 -n 100 --ignore-eos -t 1 --stats
//! ```
//! What it says is noise.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};

use motelm_core::gguf::{Value, Writer};
use motelm_core::quant::{Dtype, quantize};

const VOCAB: usize = 49152;
const DIM: usize = 576;
const LAYERS: usize = 30;
const KV_DIM: usize = 3 * 64;
const FFN: usize = 1536;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dtype, path] = args.as_slice() else { return Err("usage: shape TYPE FILE".into()) };
    let dtype = Dtype::from_name(dtype).ok_or_else(|| format!("{dtype} is no tensor type"))?;
    let (writer, tensors) = describe(dtype)?;
    let mut out = BufWriter::new(File::create(path)?);
    out.write_all(&writer.head())?;
    let mut noise = Noise(1);
    for (dtype, dims) in tensors {
        let mut bytes = match dtype {
            Dtype::F32 => 1f32.to_le_bytes().repeat(dims[0]),
            _ => random_rows(dtype, &dims, &mut noise)?,
        };
        bytes.resize(bytes.len() + Writer::padding(bytes.len()), 0);
        out.write_all(&bytes)?;
    }
    Ok(out.flush()?)
}

/// Type and dimensions of each tensor, in the order of the file.
type Tensors = Vec<(Dtype, Vec<usize>)>;

/// Metadata and tensor table.
fn describe(dtype: Dtype) -> Result<(Writer, Tensors), Box<dyn Error>> {
    let mut writer = Writer::new();
    writer.set("general.architecture", Value::Str(b"llama"));
    writer.set("general.name", Value::Str(b"the shape of SmolLM2-135M, with random weights"));
    for (key, n) in [
        ("context_length", 8192),
        ("embedding_length", DIM as u32),
        ("block_count", LAYERS as u32),
        ("feed_forward_length", FFN as u32),
        ("attention.head_count", 9),
        ("attention.head_count_kv", 3),
    ] {
        writer.set(&format!("llama.{key}"), Value::U32(n));
    }
    writer.set("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5));
    writer.set("llama.rope.freq_base", Value::F32(100_000.0));
    writer.set("tokenizer.ggml.model", Value::Str(b"gpt2"));
    writer.set("tokenizer.ggml.pre", Value::Str(b"smollm"));
    let names: Vec<String> =
        ["a", "b", "ab"].map(String::from).into_iter().chain((3..VOCAB).map(|i| format!("t{i}"))).collect();
    writer.set_strings("tokenizer.ggml.tokens", names.iter().map(|name| name.as_bytes()));
    writer.set_array("tokenizer.ggml.token_type", &vec![1i32; VOCAB]);
    writer.set_strings("tokenizer.ggml.merges", [b"a b".as_slice()].into_iter());

    let mut tensors = Vec::new();
    let mut add = |name: String, dtype: Dtype, dims: &[usize]| {
        tensors.push((dtype, dims.to_vec()));
        writer.tensor(&name, dtype, dims).map(drop)
    };
    add("token_embd.weight".into(), dtype, &[DIM, VOCAB])?;
    add("output_norm.weight".into(), Dtype::F32, &[DIM])?;
    for layer in 0..LAYERS {
        for (name, dims) in [
            ("attn_q", [DIM, DIM]),
            ("attn_k", [DIM, KV_DIM]),
            ("attn_v", [DIM, KV_DIM]),
            ("attn_output", [DIM, DIM]),
            ("ffn_gate", [DIM, FFN]),
            ("ffn_up", [DIM, FFN]),
            ("ffn_down", [FFN, DIM]),
        ] {
            add(format!("blk.{layer}.{name}.weight"), dtype, &dims)?;
        }
        for norm in ["attn_norm", "ffn_norm"] {
            add(format!("blk.{layer}.{norm}.weight"), Dtype::F32, &[DIM])?;
        }
    }
    Ok((writer, tensors))
}

/// Rows of numbers small enough that activations stay about 1.
fn random_rows(dtype: Dtype, dims: &[usize], noise: &mut Noise) -> motelm_core::Result<Vec<u8>> {
    let scale = 1.7 / (dims[0] as f32).sqrt();
    let row_bytes = dtype.row_bytes(dims[0]).expect("described above");
    let (mut row, mut bytes) = (vec![0.0; dims[0]], vec![0; row_bytes * dims[1]]);
    for out in bytes.chunks_exact_mut(row_bytes) {
        row.iter_mut().for_each(|x| *x = noise.next() * scale);
        quantize(dtype, &row, dims[0], None, out)?;
    }
    Ok(bytes)
}

/// Numbers from -1 to 1 (xorshift).
struct Noise(u32);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as f32 / (u32::MAX / 2) as f32 - 1.0
    }
}
