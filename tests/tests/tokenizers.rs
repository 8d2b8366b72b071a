//! Tokenizers against llama.cpp's and Hugging Face's answers.

use std::fs;
use std::path::{Path, PathBuf};

use motelm_core::gguf::File;
use motelm_core::tokenizer::{AddSpecial, Encode, ParseSpecial};
use motelm_core::{Bytes, Tokenizer};
use motelm_tests::{full_golden, golden, json, list, read};
use serde_json::Value;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const SEPARATOR: &str = "\n__ggml_vocab_test__\n";
const PLAIN: Encode = Encode { add_special: AddSpecial::No, parse_special: ParseSpecial::No };

fn load(path: &Path) -> Tokenizer {
    let file = File::parse(Bytes::new(read(path))).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Tokenizer::new(&file).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("an array").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

fn options(case: &Value) -> Encode {
    let yes = |key: &str| case[key].as_bool().expect("a bool");
    Encode {
        add_special: if yes("add_special") { AddSpecial::Yes } else { AddSpecial::No },
        parse_special: if yes("parse_special") { ParseSpecial::Yes } else { ParseSpecial::No },
    }
}

/// What differs, said briefly; a test shows all of it.
#[derive(Default)]
struct Differences {
    cases: usize,
    found: Vec<String>,
}

impl Differences {
    fn check(&mut self, tokenizer: &Tokenizer, name: &str, text: &str, options: Encode, wanted: &[Vec<u32>]) {
        self.cases += 1;
        let got = tokenizer.encode(text, options);
        if wanted.contains(&got) {
            return;
        }
        let at = got.iter().zip(&wanted[0]).take_while(|(a, b)| a == b).count();
        let near = |ids: &[u32]| -> Vec<String> {
            let shown = ids[at.min(ids.len())..].iter().take(6);
            shown.map(|&id| tokenizer.token(id).unwrap_or_default().into()).collect()
        };
        let text: String = text.chars().take(60).collect();
        let (got, wanted) = (near(&got), near(&wanted[0]));
        self.found.push(format!("{name} {text:?}: at {at} {got:?}, expected {wanted:?}"));
    }

    fn none_of(self, at_least: usize) {
        assert!(self.cases >= at_least, "only {} cases found", self.cases);
        let (n, found) = (self.found.len(), self.found.join("\n"));
        assert!(n == 0, "{n} of {} differ:\n{found}", self.cases);
    }
}

fn vocabularies(golden: &Path) -> Vec<PathBuf> {
    let mut paths = list(&golden.join("vocab"));
    paths.retain(|path| path.extension().is_some_and(|e| e == "gguf"));
    paths
}

#[test]
fn vocabularies_encode_as_llama_cpp_does() {
    let Some(golden) = full_golden() else { return };
    let mut differences = Differences::default();
    for path in vocabularies(&golden) {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let tokenizer = load(&path);
        let beside = |extension: &str| {
            let mut beside = path.clone().into_os_string();
            beside.push(extension);
            PathBuf::from(beside)
        };
        if let Ok(input) = fs::read_to_string(beside(".inp")) {
            let output = fs::read_to_string(beside(".out")).expect("the answers to the texts");
            let texts = input.strip_suffix(SEPARATOR).unwrap_or(&input).split(SEPARATOR);
            for (text, line) in texts.zip(output.lines()) {
                let wanted: Vec<u32> = line.split_whitespace().map(|id| id.parse().expect("an id")).collect();
                differences.check(&tokenizer, &name, text, PLAIN, &[wanted]);
            }
        }
        for case in json(&beside(".extra.json")).as_array().expect("cases") {
            let text = case["text"].as_str().expect("text");
            differences.check(&tokenizer, &name, text, options(case), &[ids(&case["ids"])]);
        }
    }
    differences.none_of(500);
}

#[test]
fn models_encode_as_a_reference_does() {
    let mut differences = Differences::default();
    for folder in list(&golden("models")) {
        let files = list(&folder);
        let Some(cases) = files.iter().find(|path| path.ends_with("tokenize.json")) else { continue };
        let tokenizer = load(model_file(&files));
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        for case in json(cases).as_array().expect("cases") {
            let text = case["text"].as_str().expect("text");
            let answers = ["hf", "llama_cpp"].map(|key| &case[key]);
            let wanted: Vec<Vec<u32>> = answers.into_iter().filter(|a| a.is_array()).map(ids).collect();
            differences.check(&tokenizer, &name, text, options(case), &wanted);
        }
    }
    differences.none_of(20);
}

/// The model among the files of a folder: all that there are have the same tokenizer.
fn model_file(files: &[PathBuf]) -> &Path {
    let is_plain = |path: &&PathBuf| {
        let name = path.to_string_lossy();
        name.ends_with("f32.gguf") || name.ends_with("f16.gguf")
    };
    files.iter().find(is_plain).expect("a model in f32 or f16")
}
