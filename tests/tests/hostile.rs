//! Files that lie. Each number of an honest file is replaced by others, files are cut off, arrays nest and
//! hyper-parameters are absurd: whatever contradicts itself is refused with an error that says where, nothing
//! panics, and nothing takes more memory than a small model may.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use motelm_core::gguf::{File, Value, Writer};
use motelm_core::quant::Dtype;
use motelm_core::tokenizer::Tokenizer;
use motelm_core::{At, Bytes, Error, ErrorKind};
use motelm_tests::anatomy::{self, Field, Kind};
use motelm_tests::counting::{Counting, measure};
use motelm_tests::{fuzz, golden, honest, read};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most that one attempt may hold at once, the copy of the file included.
const MEMORY: i64 = 64 << 20;

/// The outcome of an attempt that neither panicked nor took too much memory.
fn attempt<T>(what: &str, code: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let (outcome, usage) = measure(|| catch_unwind(AssertUnwindSafe(code)));
    assert!(usage.peak < MEMORY, "{what}: {} bytes at once", usage.peak);
    let result = outcome.unwrap_or_else(|_| panic!("{what}: panicked"));
    if let Err(error) = &result {
        assert!(error.what.len() > 10, "{what}: {error} says nothing");
    }
    result
}

fn parse(bytes: Vec<u8>) -> Result<File, Error> {
    File::parse(Bytes::new(bytes))
}

/// Loads all of a file that is only a vocabulary.
fn load_vocabulary(bytes: Vec<u8>) -> Result<Tokenizer, Error> {
    Tokenizer::new(&parse(bytes)?)
}

/// Loads all of a model file, and runs it.
fn load_model(bytes: Vec<u8>) -> Result<Tokenizer, Error> {
    let file = parse(bytes)?;
    fuzz::run(&file)?;
    Tokenizer::new(&file)
}

type Load = fn(Vec<u8>) -> Result<Tokenizer, Error>;

/// Honest files, and what it means to load them.
fn honest_files() -> [(Vec<u8>, Load); 4] {
    let vocabularies = [honest::spm(), honest::unigram(), honest::wordpiece()];
    let [spm, unigram, wordpiece] = vocabularies.map(|bytes| (bytes, load_vocabulary as Load));
    [(honest::llama(), load_model), spm, unigram, wordpiece]
}

#[test]
fn honest_files_are_loaded() {
    for (bytes, load) in honest_files() {
        let tokenizer = attempt("honest", || load(bytes)).unwrap();
        assert!(!tokenizer.encode("hello", Default::default()).is_empty());
    }
}

#[test]
fn every_number_is_lied_about() {
    for (bytes, load) in honest_files() {
        let mut refused = BTreeMap::new();
        for field in anatomy::fields(&bytes) {
            for lie in field.lies(&bytes) {
                let what = format!("{:?} of `{}` at byte {}: {lie:#x}", field.kind, field.owner, field.at);
                let result = attempt(&what, || load(field.lie(&bytes, lie)));
                if field.kind.is_structure() && !leaves_a_file(&field, &bytes, lie) {
                    let error = result.err().unwrap_or_else(|| panic!("{what} was believed"));
                    assert_ne!(error.at, At::Nowhere, "{what}: {error}");
                    *refused.entry(format!("{:?}", field.kind)).or_insert(0) += 1;
                }
            }
        }
        assert!(refused.len() >= 5, "{refused:?}");
    }
}

/// Lies about a tensor that nobody needs, in a file that is only a vocabulary: it may be smaller, or not be there.
fn leaves_a_file(field: &Field, bytes: &[u8], lie: u64) -> bool {
    let smaller = matches!(field.kind, Kind::Dim | Kind::TensorCount) && lie < field.read(bytes);
    smaller && anatomy::fields(bytes).iter().any(|field| field.owner == honest::UNUSED)
}

#[test]
fn every_truncation_is_found() {
    let bytes = honest::llama();
    for part in 0..64 {
        let cut = bytes.len() * part / 64;
        let what = format!("cut after {cut} of {} bytes", bytes.len());
        let error = attempt(&what, || parse(bytes[..cut].to_vec())).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Truncated, "{what}: {error}");
        assert_ne!(error.at, At::Nowhere, "{what}: {error}");
    }
}

/// A file whose only metadata entry has this type and these bytes.
fn one_entry(kind: u32, value: &[u8]) -> Vec<u8> {
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(0u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.extend(1u64.to_le_bytes());
    bytes.push(b'k');
    bytes.extend(kind.to_le_bytes());
    bytes.extend(value);
    bytes
}

const U8: u32 = 0;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

fn array_head(kind: u32, len: u64) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &len.to_le_bytes()].concat()
}

#[test]
fn nesting_has_an_end() {
    for depth in [5, 100, 100_000] {
        let mut value = array_head(ARRAY, 1).repeat(depth);
        value.extend(array_head(U8, 0));
        let error = attempt("nested", || parse(one_entry(ARRAY, &value))).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Malformed, "{error}");
    }
    let shallow = [array_head(ARRAY, 2), array_head(U8, 0), array_head(U8, 0)].concat();
    assert!(attempt("shallow", || parse(one_entry(ARRAY, &shallow))).is_ok());
}

#[test]
fn lengths_are_compared_with_what_is_there() {
    for len in [1, 1 << 20, 1 << 31, 1 << 32, 1 << 60, u64::MAX / 4 + 1, u64::MAX] {
        for kind in [U8, STRING, ARRAY, 12] {
            let error = attempt("array", || parse(one_entry(ARRAY, &array_head(kind, len)))).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Truncated, "{error}");
        }
        let error = attempt("string", || parse(one_entry(STRING, &len.to_le_bytes()))).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Truncated, "{error}");
    }
    for count in [1, 1 << 16, 1 << 17, 1 << 60, u64::MAX] {
        for at in [8, 16] {
            let mut bytes = one_entry(U8, &[0]);
            bytes.truncate(24);
            bytes[at..at + 8].copy_from_slice(&count.to_le_bytes());
            assert!(attempt("count", || parse(bytes)).is_err());
        }
    }
}

/// Found by fuzzing: lengths are shorter in version 1, wherever a value is read.
#[test]
fn a_split_count_of_version_1_may_be_a_string() {
    let mut bytes = b"GGUF\x01\0\0\0\0\0\0\0\x01\0\0\0\x0b\0\0\0split.count".to_vec();
    bytes.extend([STRING.to_le_bytes(), 4u32.to_le_bytes(), *b"four"].concat());
    let count = attempt("split", || File::split_count(&Bytes::new(bytes.clone())));
    assert_eq!(count, Ok(1), "a string counts nothing");
    assert_eq!(attempt("split", || parse(bytes)).err().unwrap().at, At::Key("split.count".into()));
}

#[test]
fn many_empty_things_cost_no_more_than_the_file() {
    // A megabyte of arrays without elements, in an array.
    let count = 1 << 16;
    let value = [array_head(ARRAY, count), array_head(U8, 0).repeat(count as usize)].concat();
    let file = attempt("empty arrays", || parse(one_entry(ARRAY, &value))).unwrap();
    let (shown, usage) = measure(|| file.get("k").unwrap().to_string());
    assert!(shown.len() < 100 && usage.peak < 1000, "{shown}: {usage:?}");
}

#[test]
fn tensors_are_where_they_say_alone() {
    let lie = |name: &str, dims: [u64; 2], offset: u64| {
        let mut writer = Writer::new();
        writer.tensor("a", Dtype::F32, &[8, 4]).unwrap();
        writer.tensor(name, Dtype::Q8_0, &[32, 4]).unwrap();
        let mut bytes = writer.head();
        let fields = anatomy::fields(&bytes);
        let mut of_second = fields.iter().filter(|field| field.owner == name).rev();
        bytes = of_second.next().unwrap().lie(&bytes, offset);
        of_second.next();
        bytes = of_second.next().unwrap().lie(&bytes, dims[1]);
        bytes = of_second.next().unwrap().lie(&bytes, dims[0]);
        bytes.extend([0; 128 + 4 * 34 + 24]);
        attempt(name, || parse(bytes)).err().map(|error| (error.kind, error.at))
    };
    let at = |name: &str| At::Tensor(name.into());
    assert_eq!(lie("b", [32, 4], 128), None);
    assert_eq!(lie("b", [32, 4], 96), Some((ErrorKind::Malformed, at("b"))));
    assert_eq!(lie("b", [32, 4], 129), Some((ErrorKind::Malformed, at("b"))));
    assert_eq!(lie("b", [33, 4], 128), Some((ErrorKind::Malformed, at("b"))));
    assert_eq!(lie("b", [0, 4], 128), Some((ErrorKind::Malformed, at("b"))));
    assert_eq!(lie("b", [32, 64], 128), Some((ErrorKind::Truncated, at("b"))));
    assert_eq!(lie("b", [32, 4], 1 << 20), Some((ErrorKind::Truncated, at("b"))));
    assert_eq!(lie("b", [32, 4], u64::MAX - 31), Some((ErrorKind::Truncated, at("b"))));
    for (rows, cols) in [(1 << 32, 1 << 32), (1 << 59, 32), (1 << 63, 1 << 63), (u64::MAX, u64::MAX)] {
        assert!(lie("b", [cols, rows], 128).is_some());
    }
    assert_eq!(lie("a", [32, 4], 128), Some((ErrorKind::Malformed, at("a"))));
}

#[test]
fn keys_are_unique_and_typed() {
    let mut twice = Writer::new();
    twice.set("k", Value::U8(1));
    twice.set("k", Value::U8(2));
    let error = attempt("twice", || parse(twice.head())).unwrap_err();
    assert_eq!((error.kind, error.at), (ErrorKind::Malformed, At::Key("k".into())));

    let mut writer = Writer::new();
    writer.set("text", Value::Str(b"\xff"));
    writer.set("negative", Value::I32(-1));
    writer.set("nan", Value::F32(f32::NAN));
    writer.set("large", Value::U64(1 << 32));
    let file = parse(writer.head()).unwrap();
    for (key, error) in [
        ("text", file.str("text").unwrap_err()),
        ("negative", file.u32("negative").unwrap_err()),
        ("nan", file.f32("nan").unwrap_err()),
        ("large", file.u32("large").unwrap_err()),
        ("text", file.array("text").unwrap_err()),
    ] {
        assert_eq!((error.kind, &error.at), (ErrorKind::Malformed, &At::Key(key.into())), "{error}");
    }
}

#[test]
fn vocabularies_are_consistent() {
    const TOKENS: &str = "tokenizer.ggml.tokens";
    const SCORES: &str = "tokenizer.ggml.scores";
    const TYPES: &str = "tokenizer.ggml.token_type";
    const MERGES: &str = "tokenizer.ggml.merges";
    const MODEL: &str = "tokenizer.ggml.model";
    const PRE: &str = "tokenizer.ggml.pre";
    const BOS: &str = "tokenizer.ggml.bos_token_id";
    type Edit = fn(&mut Writer, &str);
    fn strings(writer: &mut Writer, key: &str, strings: &[&[u8]]) {
        writer.set_strings(key, strings.iter().copied());
    }
    let (bpe, spm) = (honest::llama(), honest::spm());
    let cases: [(&[u8], &str, Edit, ErrorKind); 20] = [
        (&bpe, TOKENS, |_, _| (), ErrorKind::Missing),
        (&bpe, TOKENS, |w, key| w.set_array(key, &[1u8, 2]), ErrorKind::Malformed),
        (&bpe, TOKENS, |w, key| w.set(key, Value::Str(b"tokens")), ErrorKind::Malformed),
        (&spm, TOKENS, |w, key| strings(w, key, &[]), ErrorKind::Malformed),
        (&bpe, MERGES, |_, _| (), ErrorKind::Missing),
        (&bpe, MERGES, |w, key| strings(w, key, &[b"h e", b"nosuch token"]), ErrorKind::Malformed),
        (&bpe, MERGES, |w, key| strings(w, key, &[b"he"]), ErrorKind::Malformed),
        (&bpe, MERGES, |w, key| strings(w, key, &[b""]), ErrorKind::Malformed),
        (&bpe, MERGES, |w, key| strings(w, key, &[b"\xff \xff"]), ErrorKind::Malformed),
        (&bpe, TYPES, |w, key| w.set_array(key, &[1i32; 5]), ErrorKind::Malformed),
        (&bpe, TYPES, |w, key| w.set_array(key, &[7i32; 263]), ErrorKind::Malformed),
        (&bpe, TYPES, |w, key| w.set_array(key, &[-1i32; 263]), ErrorKind::Malformed),
        (&spm, SCORES, |_, _| (), ErrorKind::Missing),
        (&spm, SCORES, |w, key| w.set_array(key, &[0f32; 3]), ErrorKind::Malformed),
        (&spm, SCORES, |w, key| w.set_array(key, &[f32::NAN; 269]), ErrorKind::Malformed),
        (&bpe, BOS, |w, key| w.set(key, Value::U32(263)), ErrorKind::Malformed),
        (&bpe, BOS, |w, key| w.set(key, Value::I32(-1)), ErrorKind::Malformed),
        (&bpe, MODEL, |_, _| (), ErrorKind::Missing),
        (&bpe, MODEL, |w, key| w.set(key, Value::Str(b"nosuch")), ErrorKind::Unsupported),
        (&bpe, PRE, |w, key| w.set(key, Value::Str(b"nosuch")), ErrorKind::Unsupported),
    ];
    for (number, (bytes, key, edit, expected)) in cases.into_iter().enumerate() {
        let lying = honest::edited(bytes, key, |writer| edit(writer, key));
        let what = format!("case {number}, {key}");
        let error =
            attempt(&what, || load_vocabulary(lying)).err().unwrap_or_else(|| panic!("{what} was believed"));
        assert_eq!((error.kind, &error.at), (expected, &At::Key(key.into())), "{what}: {error}");
    }
    let twice = honest::edited(&spm, TOKENS, |w| strings(w, TOKENS, &[b"same".as_slice(); 269]));
    assert_eq!(attempt("twice", || load_vocabulary(twice)).err().unwrap().at, At::Key(TOKENS.into()));
}

#[test]
fn absurd_models_are_refused() {
    let bytes = honest::llama();
    let number = |n: u32| Value::U32(n);
    let mut cases: Vec<(&str, Value<'_>)> = Vec::new();
    for (key, wrong) in [
        ("embedding_length", vec![0, 1, 31, 33, 64, 1 << 31, u32::MAX]),
        ("block_count", vec![0, 1, 3, 1 << 31, u32::MAX]),
        ("feed_forward_length", vec![0, 1, 63, 128, 1 << 31, u32::MAX]),
        ("attention.head_count", vec![0, 3, 5, 64, 1 << 31, u32::MAX]),
        ("attention.head_count_kv", vec![0, 1, 3, 4, 8, 1 << 31, u32::MAX]),
        ("rope.dimension_count", vec![3, 10, 1 << 31, u32::MAX]),
        ("context_length", vec![0, u32::MAX]),
        ("attention.key_length", vec![0, 1, 16, 1 << 31, u32::MAX]),
        ("attention.value_length", vec![0, 4, u32::MAX]),
        ("expert_count", vec![1, 8, u32::MAX]),
    ] {
        cases.extend(wrong.into_iter().map(|n| (key, number(n))));
    }
    for x in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0] {
        cases.push(("attention.layer_norm_rms_epsilon", Value::F32(x)));
        cases.push(("rope.freq_base", Value::F32(x)));
        cases.push(("rope.scaling.factor", Value::F32(x)));
    }
    cases.push(("attention.layer_norm_rms_epsilon", Value::F32(2.0)));
    cases.push(("rope.scaling.type", Value::Str(b"sideways")));
    cases.push(("embedding_length", Value::Str(b"32")));
    cases.push(("embedding_length", Value::I32(-32)));
    for (key, value) in cases {
        let key = format!("llama.{key}");
        let lying = honest::edited(&bytes, &key, |writer| writer.set(&key, value));
        let what = format!("{key} = {value}");
        let error =
            attempt(&what, || load_model(lying)).err().unwrap_or_else(|| panic!("{what} was believed"));
        assert_ne!(error.at, At::Nowhere, "{what}: {error}");
    }
    for key in ["embedding_length", "block_count", "attention.head_count", "context_length"] {
        let key = format!("llama.{key}");
        let error = attempt(&key, || load_model(honest::edited(&bytes, &key, |_| ())))
            .map(drop)
            .expect_err("a needed key");
        assert_eq!((error.kind, error.at), (ErrorKind::Missing, At::Key(key)));
    }
}

/// No hyper-parameter of any architecture, whatever its value, makes a model that breaks.
#[test]
fn every_hyper_parameter_is_lied_about() {
    let folders = std::fs::read_dir(golden("models")).expect("reference models");
    let mut models = 0;
    for folder in folders {
        let files = std::fs::read_dir(folder.expect("a folder").path()).expect("a reference model");
        let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "gguf"));
        let size = |path: &PathBuf| path.metadata().map_or(u64::MAX, |metadata| metadata.len());
        let Some(path) = files.into_iter().min_by_key(size) else { continue };
        let bytes = read(&path);
        match attempt("honest", || fuzz::run(&parse(bytes.clone())?)) {
            Ok(()) => models += 1,
            Err(error) if error.kind == ErrorKind::Unsupported => continue,
            Err(error) => panic!("{}: {error}", path.display()),
        }
        for field in anatomy::fields(&bytes) {
            if !matches!(field.kind, Kind::Value(_)) || field.owner.starts_with("tokenizer.") {
                continue;
            }
            for lie in field.lies(&bytes) {
                let what = format!("{}: `{}` = {lie:#x}", path.display(), field.owner);
                let _ = attempt(&what, || fuzz::run(&parse(field.lie(&bytes, lie))?));
            }
        }
    }
    assert!(models > 0, "no reference models");
}
