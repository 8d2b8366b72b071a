//! `mote embed` and `mote similar`, from outside.

#[allow(dead_code, reason = "other tests use the rest")]
mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{bundled_path, golden, mote, mote_fed, mote_with, scratch};
use serde_json::Value;

const TEXTS: [&str; 4] =
    ["Hello world, this is", "A short query.", "The quick brown fox jumps", "ein anderer Satz"];

/// EmbeddingGemma's reference file; it comes with the development machine.
fn gemma() -> Option<PathBuf> {
    let path = golden().join("models/gemma-embedding/model-dense-f32.gguf");
    if path.is_file() {
        return Some(path);
    }
    eprintln!("SKIPPED: the reference encoder is not at {}", path.display());
    None
}

fn embed(model: &Path, args: &[&str]) -> Vec<u8> {
    let out = scratch("vectors", b"");
    let run = mote_with(|c| c.args(["embed", "-t", "1", "-o"]).arg(&out).arg("-m").arg(model).args(args));
    assert_eq!(run.ok(), "");
    fs::read(out).unwrap()
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

#[test]
fn every_format_holds_the_same_numbers() {
    let Some(model) = gemma() else { return };
    let of = |format: &str| embed(&model, &[&["--format", format], &TEXTS[..]].concat());
    let raw = floats(&of("raw"));
    assert_eq!(raw.len(), 4 * 64);
    for (format, between) in [("csv", ','), ("tsv", '\t')] {
        let told = text(of(format));
        let numbers: Vec<f32> =
            told.lines().flat_map(|line| line.split(between)).map(|x| x.parse().unwrap()).collect();
        assert_eq!((told.lines().count(), numbers), (4, raw.clone()), "{format}");
    }
    let numbers = |value: &Value| -> Vec<f32> {
        value["embedding"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
    };
    let lines = text(of("jsonl"));
    let objects: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.iter().flat_map(numbers).collect::<Vec<f32>>(), raw);
    assert_eq!(objects[0]["dropped"], 0);
    assert_eq!(serde_json::from_str::<Vec<Value>>(&text(of("json"))).unwrap(), objects);
    let npy = of("npy");
    let head = npy.len() - 4 * raw.len();
    assert!(npy[..head].windows(7).any(|part| part == b"(4, 64)"));
    assert_eq!(floats(&npy[head..]), raw);
}

#[test]
fn texts_come_from_anywhere() {
    let Some(model) = gemma() else { return };
    let expected = embed(&model, &[&["--format", "csv"], &TEXTS[..]].concat());
    let lines = TEXTS.join("\r\n");
    let file = scratch("lines.txt", lines.as_bytes());
    // A batch of one token is one text at a time.
    let of_file = embed(&model, &["--format", "csv", "-b", "1", "-f", file.to_str().unwrap()]);
    assert_eq!(of_file, expected);
    let piped = mote_fed(
        |c| c.args(["embed", "--format", "csv", "--stats", "-m"]).arg(&model).arg("-"),
        lines.as_bytes(),
    );
    assert_eq!(piped.code, Some(0));
    assert_eq!(piped.stdout.into_bytes(), expected);
    assert!(piped.stderr.starts_with("4 texts, "), "{}", piped.stderr);
    let objects: String =
        TEXTS.iter().map(|text| serde_json::json!({"id": 1, "body": text}).to_string() + "\n").collect();
    let file = scratch("lines.jsonl", objects.as_bytes());
    let of_objects = embed(&model, &["--format", "csv", "--field", "body", "-f", file.to_str().unwrap()]);
    assert_eq!(of_objects, expected);
    mote_with(|c| c.args(["embed", "--field", "title", "-f"]).arg(&file).arg("-m").arg(&model))
        .refused(3, "line 1 has no text `title`");
}

#[test]
fn vectors_are_what_was_asked_for() {
    let Some(model) = gemma() else { return };
    let of = |args: &[&str]| floats(&embed(&model, &[&["--format", "raw"], args].concat()));
    let length = |x: &[f32]| x.iter().map(|x| x * x).sum::<f32>().sqrt();
    let short = of(&["--dim", "16", "a"]);
    assert_eq!(short.len(), 16);
    assert!((length(&short) - 1.0).abs() < 1e-6);
    assert!((length(&of(&["--no-normalize", "a"])) - 1.0).abs() > 1e-3);
    assert_eq!(of(&["--task", "query", "a"]), of(&["task: search result | query: a"]));
    let titled = scratch("titled.jsonl", br#"{"t": "T", "x": "a"}"#);
    let titled = ["--task", "document", "--field", "x", "--title-field", "t", "-f", titled.to_str().unwrap()];
    assert_eq!(of(&titled), of(&["title: T | text: a"]));
    let tokens = of(&["--pooling", "none", "a"]);
    assert!(tokens.len() > 64 && tokens.len().is_multiple_of(64));
    mote_with(|c| c.args(["embed", "--task", "cooking", "a", "-m"]).arg(&model)).refused(2, "fact-checking");
    mote_with(|c| c.args(["embed", "--dim", "65", "a", "-m"]).arg(&model)).refused(2, "vectors that have 64");
}

#[test]
fn a_model_that_writes_must_be_told_how_to_pool() {
    mote(&["embed", "-m", bundled_path(), "a"]).refused(2, "choose a pooling");
    let told = mote(&["embed", "-m", bundled_path(), "--pooling", "mean", "--format", "csv", "a"]).ok();
    assert_eq!(told.lines().count(), 1);
}

#[test]
fn the_nearest_come_first_and_are_remembered() {
    let Some(model) = gemma() else { return };
    let file = scratch("texts.txt", TEXTS.join("\n").as_bytes());
    let cache = file.with_extension("cache");
    let similar = |args: &[&str]| {
        mote_with(|c| c.args(["similar", "-m"]).arg(&model).args(args).arg(TEXTS[2]).arg(&file))
    };
    let kept = ["--cache", cache.to_str().unwrap(), "--query-task", "document", "--json"];
    let found = similar(&kept).json();
    let first = &found["results"][0];
    assert_eq!((first["text"].as_str(), first["line"].as_u64()), (Some(TEXTS[2]), Some(3)));
    assert!((first["score"].as_f64().unwrap() - 1.0).abs() < 1e-5);
    let scores: Vec<f64> =
        found["results"].as_array().unwrap().iter().map(|found| found["score"].as_f64().unwrap()).collect();
    assert!(scores.len() == 4 && scores.is_sorted_by(|a, b| a >= b), "{scores:?}");

    // The second time, vectors come from the file: one that lies is believed.
    let mut bytes = fs::read(&cache).unwrap();
    assert_eq!(similar(&kept).json(), found);
    assert_eq!(fs::read(&cache).unwrap(), bytes);
    let vectors = 32 + 4 * 8;
    bytes[vectors..].fill(0);
    fs::write(&cache, &bytes).unwrap();
    assert_eq!(similar(&kept).json()["results"][0]["score"], 0.0);
    // Others are asked for, or the file changes, and they are made anew.
    let without = ["--no-cache", "--query-task", "document", "--json"];
    assert_eq!(similar(&without).json(), found);
    let exact = similar(&[&kept[..], &["--exact"]].concat()).json();
    assert!((exact["results"][0]["score"].as_f64().unwrap() - 1.0).abs() < 1e-5);
    fs::write(&file, format!("{}\nanother line", TEXTS[2])).unwrap();
    let found = similar(&[&kept[..], &["--exact", "-k", "1"]].concat()).json();
    assert_eq!(found["results"].as_array().unwrap().len(), 1);
    assert_eq!(found["results"][0]["text"], TEXTS[2]);
    let shown = similar(&["--no-cache", "-k", "1"]).ok();
    assert!(shown.ends_with(&format!("  {}\n", TEXTS[2])) && shown.lines().count() == 1, "{shown}");
}
