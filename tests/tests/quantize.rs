//! Quantising whole models: the types and bytes that llama.cpp's quantizer chooses, and files that are whole or not
//! there.
#![cfg(not(target_family = "wasm"))]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use motelm::Pool;
use motelm::quantize::gather::Gather;
use motelm::quantize::imatrix::Gathered;
use motelm::quantize::mix::{Facts, Mix, Rules, Tensor};
use motelm::quantize::{Job, Options, QuantizeError};
use motelm_core::gguf::{File, TensorInfo, Value, Writer};
use motelm_core::quant::{Dtype, dequantize_tensor, quantize, quantize_at};
use motelm_core::{Bytes, ErrorKind, Model, Session};
use motelm_tests::{golden, honest, json, levels, list, read};
use proptest::prelude::*;
use serde_json::Value as Json;

fn parse(path: &Path) -> File {
    File::parse(Bytes::new(read(path))).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A file of its own in the build folder.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("quantize-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

fn written(file: &File, options: &Options<'_>, name: &str) -> File {
    let path = scratch(name);
    Job::new(file, options).unwrap().write(&path, |_| true).unwrap();
    parse(&path)
}

/// `Q6_K Q4_K*3`: the types one after the other, with how often.
fn runs(types: impl Iterator<Item = Dtype>) -> String {
    let mut runs: Vec<(Dtype, usize)> = Vec::new();
    for dtype in types {
        match runs.last_mut() {
            Some((last, n)) if *last == dtype => *n += 1,
            _ => runs.push((dtype, 1)),
        }
    }
    let run = |&(dtype, n): &(Dtype, usize)| if n == 1 { dtype.to_string() } else { format!("{dtype}*{n}") };
    runs.iter().map(run).collect::<Vec<_>>().join(" ")
}

/// A model of the reference choices: its tensors by layer and name, as the reference lists them.
fn tensors_of(model: &Json) -> Vec<(String, Vec<usize>)> {
    let number = |key: &str| model[key].as_u64().unwrap() as usize;
    let (cols, experts) = (number("cols"), number("experts"));
    let fused = matches!(model["arch"].as_str(), Some("falcon" | "phi3"));
    let mut tensors = vec![("token_embd.weight".to_string(), vec![cols, 4])];
    if model["tied"] == false {
        tensors.insert(0, ("output.weight".into(), vec![cols, 4]));
    }
    for layer in 0..number("layers") {
        let mut parts: Vec<(&str, Vec<usize>)> = vec![("attn_output", vec![cols, 4])];
        let attention: &[&str] = if fused { &["attn_qkv"] } else { &["attn_q", "attn_k", "attn_v"] };
        parts.extend(attention.iter().map(|part| (*part, vec![cols, 4])));
        if experts > 0 {
            parts.push(("ffn_gate_inp", vec![256, experts]));
            let stacked = ["ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"];
            parts.extend(stacked.map(|part| (part, vec![cols, 4, experts])));
            parts.extend(
                ["ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"].map(|part| (part, vec![cols, 4])),
            );
        } else {
            parts.extend(["ffn_gate", "ffn_up", "ffn_down"].map(|part| (part, vec![cols, 4])));
        }
        parts.sort();
        tensors.extend(parts.into_iter().map(|(part, dims)| (format!("blk.{layer}.{part}.weight"), dims)));
    }
    tensors
}

#[test]
fn tensors_get_the_types_that_llama_cpp_gives_them() {
    let reference = json(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/quantize/choices.json")));
    let choices = reference["choices"].as_array().unwrap();
    assert!(choices.len() > 150);
    for choice in choices {
        let model = &reference["models"][choice["model"].as_str().unwrap()];
        let number = |key: &str| model[key].as_u64().unwrap() as usize;
        let facts = Facts {
            arch: model["arch"].as_str().unwrap().into(),
            layers: number("layers"),
            heads: number("heads"),
            kv_heads: number("kv"),
            experts: number("experts"),
        };
        let owned = tensors_of(model);
        let tensors: Vec<_> = owned.iter().map(|(name, dims)| Tensor { name, dims }).collect();
        let mix = Mix::from_name(choice["mix"].as_str().unwrap()).unwrap();
        let rules = Rules { with_importance: choice["imatrix"] == true, ..Rules::from(mix) };
        let types = rules.types(&facts, &tensors, |_| None);
        let types = runs(types.into_iter().flatten());
        assert_eq!(types, choice["types"].as_str().unwrap(), "{} {}", choice["model"], mix.name());
    }
}

/// What llama.cpp made of the same tensors: types, bytes where there is one right answer, errors elsewhere.
#[test]
fn files_are_as_llama_cpp_makes_them() {
    const EXACT: &[&str] =
        &["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "TQ1_0", "TQ2_0", "MXFP4"];
    let mut compared = 0;
    for folder in list(&golden("models")) {
        let Some(original) = list(&folder).into_iter().find(|path| path.ends_with("model-f16.gguf")) else {
            continue;
        };
        let original = parse(&original);
        for path in list(&folder) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let mix = name
                .strip_prefix("model-")
                .and_then(|name| name.strip_suffix(".gguf"))
                .and_then(Mix::from_name);
            let Some(mix) = mix.filter(|mix| mix.base().block_len() > 1) else { continue };
            let theirs = parse(&path);
            let pool = Pool::new(2);
            let ours = written(&original, &Options { exec: &pool, ..Options::new(mix) }, &name);
            if mix != Mix::I2_S {
                assert_eq!(ours.u32("general.file_type").unwrap(), theirs.u32("general.file_type").unwrap());
            }
            assert_eq!(ours.tensors().len(), theirs.tensors().len(), "{}", path.display());
            for theirs_info in theirs.tensors() {
                let at = format!("{} {}", path.display(), theirs_info.name);
                let info = ours.tensor(&theirs_info.name).expect(&at);
                assert_eq!((info.dtype, info.shape), (theirs_info.dtype, theirs_info.shape), "{at}");
                if info.dtype.block_len() == 1 || EXACT.contains(&info.dtype.name()) {
                    assert!(ours.data(info)[..] == theirs.data(theirs_info)[..], "{at}: other bytes");
                } else {
                    let exact = values(&original, original.tensor(&info.name).unwrap());
                    let [a, b] =
                        [values(&ours, info), values(&theirs, theirs_info)].map(|x| error(&exact, &x));
                    assert!(a <= b, "{at}: error {a}, reference {b}");
                }
                compared += 1;
            }
        }
    }
    assert!(compared >= 20, "{compared} tensors");
}

fn values(file: &File, tensor: &TensorInfo) -> Vec<f32> {
    let mut values = vec![0.0; tensor.elements()];
    dequantize_tensor(tensor.dtype, &file.data(tensor), &mut values).unwrap();
    values
}

fn error(x: &[f32], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(x, y)| f64::from(x - y).powi(2)).sum::<f64>().sqrt()
}

/// The honest model with weights that may be rounded.
fn floats() -> File {
    let file = File::parse(Bytes::new(honest::llama())).unwrap();
    let mut writer = Writer::new();
    file.metadata().for_each(|(key, value)| writer.set(key, value));
    let mut data = Vec::new();
    for tensor in file.tensors() {
        let len = writer.tensor(&tensor.name, Dtype::F32, tensor.dims()).unwrap();
        data.extend(values(&file, tensor).iter().flat_map(|x| x.to_le_bytes()));
        data.resize(data.len() + Writer::padding(len), 0);
    }
    File::parse(Bytes::new([writer.head(), data].concat())).unwrap()
}

#[test]
fn every_file_type_makes_a_model_that_runs() {
    let file = floats();
    for &mix in Mix::ALL {
        let made = written(&file, &Options { measure: true, ..Options::new(mix) }, mix.name());
        let model = Model::new(&made).unwrap_or_else(|error| panic!("{}: {error}", mix.name()));
        let mut session = Session::new(&model, Default::default()).unwrap();
        assert!(session.forward(&[1, 2, 3]).unwrap().iter().all(|x| x.is_finite()), "{}", mix.name());
    }
}

#[test]
fn threads_and_instructions_change_nothing() {
    let file = floats();
    for mix in [Mix::Q8_0, Mix::Q4_0, Mix::IQ4_NL, Mix::F16, Mix::I2_S] {
        let bytes = |options: &Options<'_>| {
            let path = scratch("same");
            Job::new(&file, options).unwrap().write(&path, |_| true).unwrap();
            read(&path)
        };
        let plain = bytes(&Options::new(mix));
        let pool = Pool::new(2);
        assert!(plain == bytes(&Options { exec: &pool, ..Options::new(mix) }), "{}: threads", mix.name());
        for level in levels() {
            assert!(
                plain == bytes(&Options { level, ..Options::new(mix) }),
                "{}: {}",
                mix.name(),
                level.name()
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]

    #[test]
    fn every_level_encodes_alike(
        dtype in prop::sample::select(Dtype::ALL),
        x in prop::collection::vec(-1.0f32..1.0, 256),
        weighted in any::<bool>(),
    ) {
        let importance: Vec<f32> = x.iter().map(|x| x * x).rev().collect();
        let importance = weighted.then_some(&importance[..]);
        let mut expected = vec![0; dtype.tensor_bytes(&[256, 1, 1, 1]).unwrap()];
        quantize(dtype, &x, 256, importance, &mut expected).unwrap();
        for level in levels() {
            let mut found = vec![0; expected.len()];
            quantize_at(level, dtype, &x, 256, importance, &mut found).unwrap();
            prop_assert!(found == expected, "{} {}", dtype, level.name());
        }
    }
}

#[test]
fn options_override_the_mix() {
    let file = floats();
    let options = Options {
        output_type: Some(Dtype::Q8_0),
        tensor_types: vec![(regex("blk\\.0\\.ffn_(up|gate)"), Dtype::Q5_0), (regex("ffn"), Dtype::F16)],
        ..Options::new(Mix::Q4_0)
    };
    let job = Job::new(&file, &options).unwrap();
    let dtype = |name: &str| job.tensors().find(|(tensor, _)| tensor.name == name).unwrap().1;
    for (name, expected) in [
        ("token_embd.weight", Dtype::Q8_0),
        ("blk.0.ffn_up.weight", Dtype::Q5_0),
        ("blk.0.ffn_down.weight", Dtype::F16),
        ("blk.1.attn_q.weight", Dtype::Q4_0),
        ("blk.1.attn_norm.weight", Dtype::F32),
    ] {
        assert_eq!(dtype(name), expected, "{name}");
    }
    let bytes = job.bytes();
    let total: usize = written(&file, &options, "overridden").tensors().iter().map(|tensor| tensor.len).sum();
    assert_eq!(bytes, total as u64);
}

fn regex(pattern: &str) -> motelm::quantize::Regex {
    motelm::quantize::Regex::new(pattern).unwrap()
}

#[test]
fn copies_are_equal() {
    let file = File::parse(Bytes::new(honest::llama())).unwrap();
    let copy = written(&file, &Options { mix: None, ..Options::new(Mix::F32) }, "copy");
    for (a, b) in file.tensors().iter().zip(copy.tensors()) {
        assert!(a.name == b.name && file.data(a)[..] == copy.data(b)[..], "{}", a.name);
    }
    let keys = |file: &File| file.metadata().map(|(key, value)| format!("{key} {value}")).collect::<Vec<_>>();
    assert_eq!(keys(&file), keys(&copy));
}

#[test]
fn weights_are_not_rounded_twice_unless_asked() {
    let file = File::parse(Bytes::new(honest::llama())).unwrap();
    let refused = Job::new(&file, &Options::new(Mix::Q4_0)).err().expect("refused");
    assert_eq!(refused.kind, ErrorKind::Unsupported, "{refused}");
    written(&file, &Options { requantize: true, ..Options::new(Mix::Q4_0) }, "again");
}

#[test]
fn nothing_is_left_of_what_was_stopped_or_is_damaged() {
    let file = floats();
    let options = Options::new(Mix::Q4_0);
    let folder = scratch("stopped");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("model.gguf");
    std::fs::write(&path, "what was there before").unwrap();
    for stop_at in [1, 7, 20] {
        let mut calls = 0;
        let result = Job::new(&file, &options).unwrap().write(&path, |_| {
            calls += 1;
            calls < stop_at
        });
        assert!(matches!(result, Err(QuantizeError::Stopped)));
    }
    let damaged = damaged();
    let result = Job::new(&damaged, &options).unwrap().write(&path, |_| true);
    assert!(matches!(result, Err(QuantizeError::Model(error)) if error.kind == ErrorKind::Malformed));
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(matches!(&left[..], [only] if *only == path), "{left:?}");
    assert_eq!(std::fs::read(&path).unwrap(), b"what was there before");
    let nowhere = Job::new(&file, &options).unwrap().write(&folder.join("no/such/folder"), |_| true);
    assert!(matches!(nowhere, Err(QuantizeError::Io { .. })));
}

/// A model one of whose weights is no number.
fn damaged() -> File {
    let file = floats();
    let tensor = file.tensor("blk.1.ffn_up.weight").unwrap();
    let mut bytes = file.bytes().to_vec();
    bytes[tensor.start + 40..][..4].copy_from_slice(&f32::NAN.to_le_bytes());
    File::parse(Bytes::new(bytes)).unwrap()
}

#[test]
fn splits_are_kept_or_joined() {
    let file = floats();
    let parts: Vec<Bytes> = (0..3u16).map(|part| Bytes::new(part_of(&file, part))).collect();
    let split = File::parse_split(parts).unwrap();
    let path = scratch("split.gguf");
    let options = Options { keep_split: true, ..Options::new(Mix::Q8_0) };
    Job::new(&split, &options).unwrap().write(&path, |_| true).unwrap();
    let files = motelm::quantize::files(&path, 3);
    assert!(files[0].ends_with("split-00001-of-00003.gguf"));
    let kept = motelm::open(&files[1]).unwrap();
    let joined = written(&split, &Options::new(Mix::Q8_0), "joined.gguf");
    assert_eq!(joined.get("split.count").map(|value| value.as_u64()), None);
    assert_eq!(kept.tensors().iter().map(|tensor| tensor.shard).max(), Some(2));
    for (a, b) in kept.tensors().iter().zip(joined.tensors()) {
        assert!(a.name == b.name && kept.data(a)[..] == joined.data(b)[..], "{}", a.name);
    }
    Model::new(&kept).unwrap();
}

/// A third of the model's tensors, with the metadata in the first part.
fn part_of(file: &File, part: u16) -> Vec<u8> {
    let n = file.tensors().len();
    let mut writer = Writer::new();
    if part == 0 {
        file.metadata().for_each(|(key, value)| writer.set(key, value));
    }
    writer.set("split.no", Value::U16(part));
    writer.set("split.count", Value::U16(3));
    writer.set("split.tensors.count", Value::I32(n as i32));
    let mut data = Vec::new();
    for tensor in &file.tensors()[n * usize::from(part) / 3..n * usize::from(part + 1) / 3] {
        let len = writer.tensor(&tensor.name, tensor.dtype, tensor.dims()).unwrap();
        data.extend_from_slice(&file.data(tensor));
        data.resize(data.len() + Writer::padding(len), 0);
    }
    [writer.head(), data].concat()
}

/// What a session multiplies is what is gathered: squares of inputs, by expert where there are experts.
#[test]
fn importance_is_gathered_and_used() {
    let file = floats();
    let gather = Arc::new(Gather::new(&file));
    let model = Model::new(&file).unwrap().watched(gather.clone());
    let mut session = Session::new(&model, Default::default()).unwrap();
    session.forward(&[5, 6, 7, 8, 9]).unwrap();
    let gathered = gather.gathered();
    assert_eq!(gathered.squares.len(), 14);
    let squares = &gathered.squares["blk.1.ffn_down.weight"];
    assert_eq!((squares.sums.len(), &squares.counts[..]), (64, &[5.0][..]));
    // Queries, keys and values read the same rows, which a norm has made: their mean square is about 1.
    let queries = &gathered.squares["blk.0.attn_q.weight"];
    assert_eq!(queries, &gathered.squares["blk.0.attn_v.weight"]);
    assert!(queries.sums.iter().all(|&sum| sum > 0.0));

    let again = Gathered::parse(Bytes::new(gathered.to_gguf().unwrap())).unwrap();
    assert_eq!(again.squares, gathered.squares);
    let importance = again.importance();
    let options = Options { importance: Some(&importance), measure: true, ..Options::new(Mix::IQ4_NL) };
    let mut with = 0.0;
    Job::new(&file, &options)
        .unwrap()
        .write(&scratch("important"), |progress| {
            with += progress.finished.flatten().map_or(0.0, |loss| loss.error);
            true
        })
        .unwrap();
    let without = weighted_error(&file, &written(&file, &Options::new(Mix::IQ4_NL), "alike"), &importance);
    let ours = weighted_error(&file, &parse(&scratch("important")), &importance);
    assert!(ours < without, "{ours} with importance, {without} without");
    assert!((ours - with).abs() <= 1e-3 * with, "found {ours}, told {with}");
}

/// Of the tensors whose importance is known, and plainly of the others.
fn weighted_error(
    original: &File,
    rounded: &File,
    importance: &motelm::quantize::imatrix::Importance,
) -> f64 {
    let mut sum = 0.0;
    for tensor in original.tensors() {
        let (a, b) = (values(original, tensor), values(rounded, rounded.tensor(&tensor.name).unwrap()));
        let weights = importance.of(&tensor.name);
        for (i, (a, b)) in a.iter().zip(&b).enumerate() {
            let weight = weights.map_or(1.0, |weights| weights[i % weights.len()]);
            sum += f64::from(weight) * f64::from(a - b).powi(2);
        }
    }
    sum
}

#[test]
fn importance_of_another_model_is_refused() {
    let file = floats();
    let mut gathered = Gathered::default();
    let squares = motelm::quantize::imatrix::Squares { sums: vec![1.0; 48], counts: vec![1.0] };
    gathered.squares.insert("blk.0.attn_q.weight".into(), squares);
    let importance = gathered.importance();
    let options = Options { importance: Some(&importance), ..Options::new(Mix::Q4_0) };
    assert_eq!(Job::new(&file, &options).err().expect("refused").kind, ErrorKind::Shape);
}
