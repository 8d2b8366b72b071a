//! Texts to vectors: against the references, and what an [`Embedder`] promises. A vector does not depend on the batch,
//! the number of batches or the thread; poolings are what their names say; what was cut is told.

use std::path::{Path, PathBuf};

use motelm_core::embed::{Embedder, Length, Options, Pooling, Tokens, Worker, similarity};
use motelm_core::gguf::{File, Value, Writer};
use motelm_core::quant::Dtype;
use motelm_core::simd::Level;
use motelm_core::tokenizer::Encode;
use motelm_core::{Bytes, ErrorKind, KvType, session};
use motelm_tests::{f32s, full_golden, json, least_cosine, levels, reference_models};

/// A file of an encoder, and what the reference makes of some prompts with it.
struct Case {
    name: String,
    file: File,
    prompts: Vec<Tokens>,
    /// A row for each prompt.
    expected: Vec<f32>,
    least_cosine: f32,
}

/// Every file of every encoder among the reference models.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for folder in reference_models() {
        let expected = json(&folder.join("expected.json"));
        if expected["format"] != "golden-embedding-1" {
            continue;
        }
        let prompts = expected["prompts"].as_array().expect("prompts");
        let prompts: Vec<Tokens> =
            prompts.iter().map(|prompt| Tokens { ids: ids(&prompt["ids"]), dropped: 0 }).collect();
        for (variant, facts) in expected["variants"].as_object().expect("variants") {
            let path = |key: &str| -> PathBuf { folder.join(facts[key].as_str().expect("a file name")) };
            cases.push(Case {
                name: format!("{} {variant}", folder.display()),
                file: open(&path("gguf")),
                prompts: prompts.clone(),
                expected: f32s(&path("embeddings")),
                least_cosine: least_cosine(variant),
            });
        }
    }
    assert!(cases.len() >= 3, "the reference encoders");
    cases
}

/// EmbeddingGemma's reference file with the dense layers.
fn gemma() -> Option<File> {
    full_golden().map(|golden| open(&golden.join("models/gemma-embedding/model-dense-f32.gguf")))
}

fn open(path: &Path) -> File {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    File::parse(Bytes::new(bytes)).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn ids(value: &serde_json::Value) -> Vec<u32> {
    value.as_array().expect("ids").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

fn options(level: Level, batch: usize) -> Options {
    Options { session: session::Options { level, batch, ..Default::default() }, ..Default::default() }
}

fn worker(file: &File, options: Options) -> Worker {
    Embedder::new(file, options).expect("an encoder").worker()
}

#[test]
fn vectors_equal_the_reference() {
    for case in cases() {
        for level in levels() {
            for kv in [KvType::F16, KvType::F32] {
                let mut options = options(level, 512);
                options.session.kv = kv;
                let vectors = worker(&case.file, options).embed_tokens(&case.prompts).expect("vectors");
                for (vector, expected) in vectors.vectors().zip(case.expected.chunks(vectors.dim())) {
                    let cosine = similarity(vector, expected);
                    let name = level.name();
                    assert!(cosine >= case.least_cosine, "{} {name} {kv:?}: cosine {cosine}", case.name);
                }
            }
        }
    }
}

#[test]
fn retrieval_is_in_the_order_of_the_reference() {
    for case in cases() {
        let vectors = worker(&case.file, Options::default()).embed_tokens(&case.prompts).expect("vectors");
        let dim = vectors.dim();
        let ours: Vec<f32> = vectors.into_flat();
        let order = |rows: &[f32], query: usize| {
            let near = |i: usize| similarity(&rows[query * dim..][..dim], &rows[i * dim..][..dim]);
            let mut order: Vec<usize> = (0..rows.len() / dim).collect();
            order.sort_by(|&a, &b| near(b).total_cmp(&near(a)));
            order
        };
        for query in 0..case.prompts.len() {
            assert_eq!(order(&ours, query), order(&case.expected, query), "{} {query}", case.name);
        }
    }
}

/// To the bit: whether a text comes alone, with others before or behind it, in a large batch or a small one.
#[test]
fn vectors_do_not_depend_on_the_batch() {
    for case in cases() {
        for level in levels() {
            let mut one = worker(&case.file, options(level, 1));
            let alone: Vec<Vec<f32>> = case
                .prompts
                .iter()
                .map(|prompt| one.embed_tokens(std::slice::from_ref(prompt)).expect("a vector").into_flat())
                .collect();
            let mut others: Vec<Tokens> = case.prompts.iter().rev().cloned().collect();
            // In front of them two tokens more, so that the others lie at other rows.
            others.insert(0, Tokens { ids: case.prompts[0].ids[..2].to_vec(), dropped: 0 });
            for batch in [1, 150, 4096] {
                let mut worker = worker(&case.file, options(level, batch));
                let forth = worker.embed_tokens(&case.prompts).expect("vectors");
                let back = worker.embed_tokens(&others).expect("vectors");
                for (i, alone) in alone.iter().enumerate() {
                    let name = level.name();
                    assert_eq!(forth.of(i), alone, "{} {name} of {batch}", case.name);
                    assert_eq!(back.of(others.len() - 1 - i), alone, "{} {name} of {batch}, back", case.name);
                }
            }
        }
    }
}

#[test]
fn threads_share_an_embedder() {
    let Some(file) = gemma() else { return };
    let embedder = Embedder::new(&file, Options::default()).expect("an encoder");
    let texts = ["Hello world, this is", "A short query.", ""];
    let expected = embedder.embed(&texts).expect("vectors");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut worker = embedder.worker();
                for _ in 0..3 {
                    assert_eq!(embedder.embed(&texts).expect("vectors"), expected);
                    assert_eq!(worker.embed(&texts).expect("vectors"), expected);
                }
            });
        }
    });
}

#[test]
fn poolings_are_what_their_names_say() {
    let Some(golden) = full_golden() else { return };
    // Nothing behind the pooling but the length.
    let file = open(&golden.join("models/bert/model-mean-f32.gguf"));
    let of = |pooling| {
        let options = Options { pooling: Some(pooling), length: Length::AsIs, ..Options::default() };
        Embedder::new(&file, options).expect("an encoder").embed(&["a text of some words"]).expect("vectors")
    };
    let tokens = of(Pooling::None);
    let (n, dim) = (tokens.texts()[0].tokens, tokens.dim());
    assert_eq!(tokens.vectors().len(), n);
    let rows: Vec<&[f32]> = tokens.vectors().collect();
    let column = |f: &dyn Fn(&mut dyn Iterator<Item = f32>) -> f32| -> Vec<f32> {
        (0..dim).map(|i| f(&mut rows.iter().map(|row| row[i]))).collect()
    };
    assert_eq!(of(Pooling::Cls).of(0), rows[0]);
    assert_eq!(of(Pooling::Last).of(0), rows[n - 1]);
    assert_eq!(of(Pooling::Max).of(0), column(&|x| x.fold(f32::MIN, f32::max)));
    let mean = column(&|x| x.sum::<f32>() / n as f32);
    for (found, expected) in of(Pooling::Mean).of(0).iter().zip(mean) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
    let error = Embedder::new(&file, Options { pooling: Some(Pooling::Rank), ..Options::default() });
    assert_eq!(error.err().expect("no classifier").kind, ErrorKind::Argument);
}

#[test]
fn short_vectors_are_the_beginning_of_long_ones() {
    let Some(file) = gemma() else { return };
    let text = ["The quick brown fox"];
    let of = |dim, length| {
        let options = Options { dim, length, ..Options::default() };
        let vectors = Embedder::new(&file, options).expect("an encoder").embed(&text).expect("vectors");
        vectors.into_flat()
    };
    let full = of(None, Length::AsIs);
    let short = of(Some(16), Length::Unit);
    let squares: f32 = full[..16].iter().map(|x| x * x).sum();
    assert_eq!((full.len(), short.len()), (64, 16));
    for (short, full) in short.iter().zip(&full) {
        assert!((short - full / squares.sqrt()).abs() < 1e-6);
    }
    for dim in [0, 65] {
        let error = Embedder::new(&file, Options { dim: Some(dim), ..Options::default() });
        assert_eq!(error.err().expect("no such length").kind, ErrorKind::Argument);
    }
}

#[test]
fn what_does_not_fit_is_told() {
    let Some(golden) = full_golden() else { return };
    let file = open(&golden.join("models/bert/model-mean-f32.gguf"));
    let long = "many words and then some more of them";
    let whole = Embedder::new(&file, Options::default()).expect("an encoder");
    let tokens = whole.tokens(long);
    assert_eq!(tokens.dropped, 0);
    let cut = Embedder::new(&file, Options { max_tokens: 5, ..Options::default() }).expect("an encoder");
    let vectors = cut.embed(&[long, "one"]).expect("vectors");
    assert_eq!((vectors.texts()[0].tokens, vectors.texts()[0].dropped), (5, tokens.ids.len() - 5));
    assert_eq!(vectors.texts()[1].dropped, 0);
    // The token that texts end with stays.
    let ids = cut.tokens(long).ids;
    assert_eq!(ids[..4], tokens.ids[..4]);
    assert_eq!(ids.last(), tokens.ids.last());
    // Nobody is allowed past the positions that the model has learned.
    let many = Tokens { ids: vec![5; whole.max_tokens() + 1], dropped: 0 };
    let error = whole.worker().embed_tokens(&[many]).expect_err("too long");
    assert_eq!(error.kind, ErrorKind::ContextFull);
}

#[test]
fn tasks_have_their_models_strings() {
    let Some(golden) = full_golden() else { return };
    let gemma = Embedder::new(&gemma().expect("a file"), Options::default()).expect("an encoder");
    let prompt = |name: &str| gemma.task(name).expect("a task").prompt("x");
    assert_eq!(prompt("query"), "task: search result | query: x");
    assert_eq!(prompt("Document"), "title: none | text: x");
    assert_eq!(prompt("similarity"), "task: sentence similarity | query: x");
    let document = gemma.task("document").expect("a task");
    assert_eq!(document.prompt_titled("Mars", "x"), "title: Mars | text: x");
    assert!(gemma.task("cooking").expect_err("no task").to_string().contains("fact-checking"));
    let nomic = open(&golden.join("models/nomic-bert/model-mean-f32.gguf"));
    let nomic = Embedder::new(&nomic, Options::default()).expect("an encoder");
    assert_eq!(nomic.task("query").expect("a task").prompt("x"), "search_query: x");
}

/// A model that writes text makes vectors too, where somebody says how.
#[test]
fn a_language_model_is_pooled_on_demand() {
    let folder = motelm_tests::golden("models").join("llama-spm");
    let file = open(&folder.join("model-f32.gguf"));
    assert_eq!(Embedder::new(&file, Options::default()).err().expect("no pooling").kind, ErrorKind::Argument);
    let options = Options { pooling: Some(Pooling::Last), ..Options::default() };
    let embedder = Embedder::new(&file, options).expect("an embedder");
    let texts = ["Once upon a time", "there was"];
    let vectors = embedder.embed(&texts).expect("vectors");
    for (i, text) in texts.iter().enumerate() {
        assert_eq!(embedder.embed(&[text]).expect("a vector").of(0), vectors.of(i));
    }
}

/// BERT with a classifier of random weights: its score is the arithmetic on the first token's vector.
#[test]
fn a_reranker_scores_pairs() {
    let Some(golden) = full_golden() else { return };
    let bert = open(&golden.join("models/bert/model-mean-f32.gguf"));
    let as_is = Options { pooling: Some(Pooling::Cls), length: Length::AsIs, ..Options::default() };
    let encoder = Embedder::new(&bert, as_is).expect("an encoder");
    let dim = encoder.dim();
    let weights = |n: usize, step: f32| (0..n).map(move |i| (i as f32 * step).sin() / 8.0);
    let (dense, bias): (Vec<f32>, Vec<f32>) =
        (weights(dim * dim, 0.7).collect(), weights(dim, 1.3).collect());
    let out: Vec<f32> = weights(dim, 2.1).collect();

    let mut writer = Writer::new();
    for (key, value) in bert.metadata() {
        let rank = key.ends_with(".pooling_type");
        writer.set(key, if rank { Value::U32(4) } else { value });
    }
    for tensor in bert.tensors() {
        writer.tensor(&tensor.name, tensor.dtype, tensor.dims()).expect("a tensor");
    }
    let new = [
        ("cls.weight", vec![dim, dim], &dense),
        ("cls.bias", vec![dim], &bias),
        ("cls.output.weight", vec![dim, 1], &out),
    ];
    for (name, dims, _) in &new {
        writer.tensor(name, Dtype::F32, dims).expect("a tensor");
    }
    let mut bytes = writer.head();
    let mut append = |data: &[u8]| {
        bytes.extend(data);
        bytes.resize(bytes.len() + Writer::padding(data.len()), 0);
    };
    bert.tensors().iter().for_each(|tensor| append(&bert.data(tensor)));
    for (_, _, values) in new {
        append(&values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>());
    }
    let reranker = File::parse(Bytes::new(bytes)).expect("a file");
    let reranker = Embedder::new(&reranker, Options::default()).expect("a reranker");

    let tokenizer = motelm_core::Tokenizer::new(&bert).expect("a tokenizer");
    let (query, documents) = ("which words?", ["some words", "other words, and more of them"]);
    let scores = reranker.rank(query, &documents).expect("scores");
    for (document, score) in documents.iter().zip(scores) {
        let ids = tokenizer.encode_pair(query, document);
        let [first, second] = [query, document].map(|text| tokenizer.encode(text, Encode::default()));
        assert_eq!(ids, [&first[..], &second[1..]].concat());
        let x = encoder.worker().embed_tokens(&[Tokens { ids, dropped: 0 }]).expect("a vector").into_flat();
        let product = |row: &[f32]| row.iter().zip(&x).map(|(w, x)| w * x).sum::<f32>();
        let hidden = dense.chunks(dim).zip(&bias).map(|(row, bias)| (product(row) + bias).tanh());
        let expected: f32 = hidden.zip(&out).map(|(x, w)| x * w).sum();
        assert!((score - expected).abs() < 1e-4, "{score} {expected}");
    }
    assert_eq!(encoder.rank(query, &documents).expect_err("no reranker").kind, ErrorKind::Argument);
}
