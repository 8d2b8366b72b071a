//! What happens around the model: opening files, tokens of texts, picking a token.
//!
//! Real vocabularies are measured when they are there (`MOTE_GOLDEN`, or `../shared/golden` beside the repository).

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use criterion::{Criterion, Throughput};
use motelm_core::gguf::File;
use motelm_core::sample::{Options, Sampler};
use motelm_core::tokenizer::Encode;
use motelm_core::{Model, Tokenizer};

const TEXT: &str = include_str!("../docs/architecture.md");

/// Vocabularies to load, by what they are called.
fn vocabularies() -> Vec<(String, File)> {
    let golden = std::env::var_os("MOTE_GOLDEN").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/golden")),
        PathBuf::from,
    );
    let mut found = vec![(motelm::BUNDLED_NAME.to_string(), motelm::bundled())];
    for name in ["qwen2", "llama-bpe", "llama-spm", "bert-bge"] {
        if let Ok(file) = motelm::open(golden.join(format!("vocab/ggml-vocab-{name}.gguf"))) {
            found.push((name.to_string(), file));
        }
    }
    found
}

fn tokenizers(c: &mut Criterion) {
    let mut group = c.benchmark_group("tokenizer");
    group.sample_size(10).measurement_time(Duration::from_secs(2));
    for (name, file) in vocabularies() {
        group.bench_function(format!("load/{name}"), |b| b.iter(|| Tokenizer::new(black_box(&file))));
        let tokenizer = Tokenizer::new(&file).expect("a vocabulary");
        let tokens = tokenizer.encode(TEXT, Encode::default());
        group.throughput(Throughput::Bytes(TEXT.len() as u64));
        group.bench_function(format!("encode/{name}"), |b| {
            b.iter(|| tokenizer.encode(black_box(TEXT), Encode::default()));
        });
        group.bench_function(format!("decode/{name}"), |b| b.iter(|| tokenizer.decode(black_box(&tokens))));
    }
    group.finish();
}

fn files(c: &mut Criterion) {
    let mut group = c.benchmark_group("file");
    let bytes = motelm::bundled().bytes().clone();
    group.bench_function("parse/bundled", |b| b.iter(|| File::parse(black_box(bytes.clone()))));
    let file = motelm::bundled();
    group.bench_function("model/bundled", |b| b.iter(|| Model::new(black_box(&file))));
    for (name, file) in vocabularies() {
        let bytes = file.bytes().clone();
        group.bench_function(format!("parse/vocab-{name}"), |b| {
            b.iter(|| File::parse(black_box(bytes.clone())))
        });
    }
    group.finish();
}

fn samplers(c: &mut Criterion) {
    let n_vocab = 151_936;
    let mut state = 1u32;
    let logits: Vec<f32> = (0..n_vocab)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 22) as f32
        })
        .collect();
    let mut group = c.benchmark_group("sampler");
    let chains = [("greedy", Options::greedy()), ("default", Options::default())];
    for (name, options) in chains {
        let mut sampler = Sampler::new(&options, n_vocab).expect("good options");
        group.bench_function(name, |b| b.iter(|| sampler.pick(black_box(&logits))));
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    tokenizers(&mut criterion);
    files(&mut criterion);
    samplers(&mut criterion);
    criterion.final_summary();
}
