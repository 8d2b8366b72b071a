//! Keys and values in every type: close to single precision, as large as announced, and sessions go back, are saved and
//! shifted as with any other.

use motelm_core::gguf::File;
use motelm_core::session::Options;
use motelm_core::simd::Level;
use motelm_core::{Bytes, ErrorKind, KvType, Model, Session};
use motelm_tests::counting::{Counting, measure};
use motelm_tests::{golden, levels};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn model(name: &str) -> Model {
    let folder = golden("models").join(name);
    let bytes =
        ["model-f32.gguf", "model-f16.gguf"].iter().find_map(|file| std::fs::read(folder.join(file)).ok());
    let bytes = Bytes::new(bytes.expect("a reference model"));
    Model::new(&File::parse(bytes).expect("a file")).expect("a model")
}

/// Models whose heads are whole blocks, with rings and without; the later ones where the full reference set is.
fn models() -> impl Iterator<Item = &'static str> {
    let full = ["qwen3", "gpt-oss", "gemma3-256", "qwen2-256"];
    ["gemma2"].into_iter().chain(full.into_iter().filter(|name| golden("models").join(name).is_dir()))
}

fn session(model: &Model, level: Level, kv: KvType) -> Session {
    Session::new(model, Options { context: 64, batch: 7, kv, level, ..Options::default() })
        .expect("a session")
}

/// Some tokens of the vocabulary.
fn tokens(n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| i * 37 % 400 + 3).collect()
}

fn rms(x: impl Iterator<Item = f32>) -> f32 {
    let (sum, n) = x.fold((0.0, 0), |(sum, n), x| (sum + f64::from(x * x), n + 1));
    (sum / f64::from(n)).sqrt() as f32
}

/// The root mean square difference from single precision that each type may make, as a share of the logits' own. Random
/// weights are the worst there are: every position counts as much as any other, and errors find nothing to agree with.
const TOLERANCES: [(KvType, f32); 3] = [(KvType::F16, 3e-3), (KvType::Q8_0, 5e-2), (KvType::Q4_0, 0.4)];

#[test]
fn logits_stay_close() {
    // A near-tied choice of experts may fall the other way, and then nothing is close.
    for name in models().filter(|name| *name != "gpt-oss") {
        let model = model(name);
        for level in levels() {
            let expected =
                session(&model, level, KvType::F32).forward(&tokens(40)).expect("forward").to_vec();
            let mut worse = 0.0;
            for (kv, tolerance) in TOLERANCES {
                let found = session(&model, level, kv).forward(&tokens(40)).expect("forward").to_vec();
                let difference = rms(found.iter().zip(&expected).map(|(a, b)| a - b));
                let share = difference / rms(expected.iter().copied());
                println!("{name} {} {kv}: {share:.1e}", level.name());
                assert!(share <= tolerance, "{name} {} {kv}: {share}", level.name());
                // And each type is really used.
                assert!(share > worse, "{name} {} {kv}: {share}, the finer type {worse}", level.name());
                worse = share;
            }
        }
    }
}

/// The same but for values between two steps, which may be rounded either way; the steps of 4 bits are coarse.
fn assert_same(kv: KvType, name: &str, found: &[f32], expected: &[f32]) {
    let difference = rms(found.iter().zip(expected).map(|(a, b)| a - b)) / rms(expected.iter().copied());
    assert!(difference <= if kv == KvType::Q4_0 { 0.05 } else { 2e-3 }, "{name} {kv}: {difference}");
}

#[test]
fn sessions_are_fed_singly_go_back_are_saved_and_shifted() {
    for name in models() {
        let model = model(name);
        let tokens = tokens(64);
        for kv in KvType::ALL {
            let new = || session(&model, Level::baseline(), kv);
            let expected = new().forward(&tokens[..33]).expect("forward").to_vec();

            let mut single = new();
            tokens[..32].iter().for_each(|&token| _ = single.forward(&[token]).expect("forward"));
            assert_same(kv, name, single.forward(&tokens[32..33]).expect("forward"), &expected);

            let mut back = new();
            back.forward(&tokens[..36]).expect("forward");
            let left = back.rewind(28);
            assert_same(kv, name, back.forward(&tokens[left..33]).expect("forward"), &expected);

            let saved = back.save();
            let mut restored = new();
            restored.restore(&saved).expect("restore");
            assert_eq!(restored.tokens(), &tokens[..33]);
            assert_eq!(restored.forward(&[7]).expect("forward"), back.forward(&[7]).expect("forward"));
            let other = if kv == KvType::Q8_0 { KvType::Q4_0 } else { KvType::Q8_0 };
            let mut other = session(&model, Level::baseline(), other);
            assert_eq!(other.restore(&saved).unwrap_err().kind, ErrorKind::State);

            let mut full = new();
            full.forward(&tokens).expect("forward");
            assert_eq!(full.shift(4), 30);
            let fresh = [&tokens[..4], &tokens[34..], &[5]].concat();
            let fresh = new().forward(&fresh).expect("forward").to_vec();
            assert_same(kv, name, full.forward(&[5]).expect("forward"), &fresh);
        }
    }
}

#[test]
fn memory_is_what_was_announced() {
    for name in models() {
        let model = model(name);
        let mut of_types = Vec::new();
        for kv in [KvType::F32, KvType::F16, KvType::Q8_0, KvType::Q4_0] {
            let options = Options { context: 60, batch: 9, kv, ..Options::default() };
            let memory = model.memory(&options).expect("memory");
            let (session, usage) = measure(|| Session::new(&model, options).expect("session"));
            drop(session);
            let announced = memory.total();
            // Beside the buffers: the lists of layers and rotations.
            let range = announced..announced + 64 * 1024;
            assert!(range.contains(&(usage.peak as u64)), "{name} {kv}: announced {announced}, {usage:?}");
            of_types.push(memory.kv);
        }
        let [f32, f16, q8_0, q4_0] = of_types[..] else { unreachable!() };
        assert_eq!((f32, q8_0 * 32, q4_0 * 32), (f16 * 2, f16 * 17, f16 * 9), "{name}");
    }
}

#[test]
fn heads_that_are_not_whole_blocks_are_refused() {
    let model = model("llama-spm");
    for kv in [KvType::Q8_0, KvType::Q4_0] {
        let options = Options { kv, ..Options::default() };
        let error = model.memory(&options).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Argument);
        assert!(error.to_string().contains("16 wide"), "{error}");
        assert_eq!(Session::new(&model, options).err().expect("refused").kind, ErrorKind::Argument);
    }
}
