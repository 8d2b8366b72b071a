//! Tokenizers against llama.cpp's and Hugging Face's answers, and against arbitrary text.

use std::fs;
use std::path::{Path, PathBuf};

use motelm_core::gguf::File;
use motelm_core::tokenizer::{AddSpecial, Encode, ParseSpecial, ShowControl, Stream};
use motelm_core::{Bytes, Tokenizer};
use motelm_tests::counting::{Counting, measure};
use motelm_tests::{full_golden, golden, json, list, read};
use proptest::prelude::*;
use serde_json::Value;
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

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

/// Tokenizers that keep every byte, each in its own way: byte-level, and bytes as a last resort.
fn lossless() -> [Tokenizer; 2] {
    ["qwen2-yarn", "llama-spm"].map(|name| load(model_file(&list(&golden("models").join(name)))))
}

/// What differs between a text that is whole and one that goes on: the space in front.
fn without_first_space<'t>(tokenizer: &Tokenizer, text: &'t str) -> &'t str {
    let put = tokenizer.model_name() == "llama";
    text.strip_prefix(' ').filter(|_| put).unwrap_or(text)
}

/// Cases of one property.
fn config() -> ProptestConfig {
    ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() }
}

#[test]
fn encoded_text_decodes_to_itself() {
    let tokenizers = lossless();
    let text = r"(?s)(.|[ \n\ta-e'0-9]{0,6}|\PC|ab|<s>|<\|im_end\|>){0,24}";
    proptest!(config(), |(text in text)| {
        // The character that stands for spaces comes back as one.
        let text = text.replace('▁', "_");
        for tokenizer in &tokenizers {
            let tokens = tokenizer.encode(&text, PLAIN);
            prop_assert!(tokens.iter().all(|&id| id < tokenizer.len()));
            prop_assert_eq!(&tokenizer.decode(&tokens), &text);
            prop_assert_eq!(&tokenizer.decode(&tokenizer.encode(&text, Encode::default())), &text);
        }
    });
}

#[test]
fn any_tokens_stream_as_they_decode() {
    let tokenizers = lossless();
    proptest!(config(), |(tokens in prop::collection::vec(0u32..520, 0..40))| {
        for tokenizer in &tokenizers {
            for show in [ShowControl::Hide, ShowControl::Show] {
                let mut stream = Stream::new(show);
                let mut text = String::new();
                for &id in &tokens {
                    text.push_str(stream.push(tokenizer, id));
                }
                text.push_str(stream.finish());
                let whole = tokenizer.decode_with(&tokens, show);
                prop_assert_eq!(without_first_space(tokenizer, &text), whole);
            }
        }
    });
}

#[test]
fn the_start_of_a_text_streams_in_whole_characters() {
    let tokenizers = lossless();
    proptest!(config(), |(text in r"\PC{0,12}", cut in 0usize..60)| {
        let text = text.replace('▁', "_");
        for tokenizer in &tokenizers {
            let tokens = tokenizer.encode(&text, PLAIN);
            let mut stream = tokenizer.stream();
            let mut given = String::new();
            for &id in tokens.iter().take(cut) {
                given.push_str(stream.push(tokenizer, id));
            }
            prop_assert!(text.starts_with(without_first_space(tokenizer, &given)), "{given:?} of {text:?}");
        }
    });
}

/// Texts that would keep a quadratic tokenizer busy for hours, or a careless one full of memory.
#[test]
fn monotonous_text_is_no_trap() {
    const LEN: usize = 1 << 17;
    /// Bytes taken for each byte of text: symbols, pairs that may join, tokens.
    const FACTOR: i64 = 64;
    let units =
        ["a", " ", "\n", "🦙", "<|im_end|><|im_en", "<", "中A", "abcabd", " \t", "\u{301}A", "1", "'", "\0"];
    let options = Encode { parse_special: ParseSpecial::Yes, ..PLAIN };
    for tokenizer in lossless() {
        for unit in units {
            let text = unit.repeat(LEN / unit.len());
            let (tokens, usage) = measure(|| tokenizer.encode(&text, options));
            assert!(usage.peak < FACTOR * LEN as i64, "{unit:?}: {} bytes", usage.peak);
            assert_eq!(tokenizer.decode_with(&tokens, ShowControl::Show), text, "{unit:?}");
        }
    }
}

#[test]
fn tokens_cost_no_allocation_each() {
    for folder in list(&golden("models")) {
        let files = list(&folder);
        let file = File::parse(Bytes::new(read(model_file(&files)))).expect("a model");
        let (tokenizer, usage) = measure(|| Tokenizer::new(&file).expect("a tokenizer"));
        assert!(usage.allocations < 50, "{}: {} allocations", folder.display(), usage.allocations);
        let mut stream = tokenizer.stream();
        let mut all = || (0..tokenizer.len()).map(|id| stream.push(&tokenizer, id).len()).sum::<usize>();
        let (first, (second, usage)) = (all(), measure(&mut all));
        assert_eq!((first > 0, second, usage.allocations), (true, first, 0), "{}", folder.display());
    }
}
