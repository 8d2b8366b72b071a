//! What a session promises: batches do not matter, going back and on is exact, memory is what was announced,
//! decoding allocates nothing, and saved states are whole or refused.

use motelm_core::gguf::File;
use motelm_core::session::{Budget, Observer, Options, Progress};
use motelm_core::{Bytes, ErrorKind, KvType, Model, Session};
use motelm_tests::counting::{Counting, measure};
use motelm_tests::golden;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn model(name: &str) -> Model {
    let bytes = std::fs::read(golden("models").join(name).join("model-f32.gguf")).expect("a reference model");
    Model::new(&File::parse(Bytes::new(bytes)).expect("a file")).expect("a model")
}

/// Models of every kind of layer; the later ones where the full reference set is.
fn kinds() -> impl Iterator<Item = &'static str> {
    let small = ["llama-spm", "gemma2", "falcon", "phi3-longrope", "lfm2"];
    let full = ["gpt-oss", "deepseek2", "mamba2"];
    small.into_iter().chain(full.into_iter().filter(|name| golden("models").join(name).is_dir()))
}

fn session(model: &Model, batch: usize) -> Session {
    Session::new(model, Options { batch, kv: KvType::F32, ..Options::default() }).expect("a session")
}

/// Logits behind `tokens`, all of which pass all layers, in one batch.
fn whole(model: &Model, tokens: &[u32]) -> Vec<f32> {
    struct Watcher;
    impl Observer for Watcher {}
    session(model, 512).forward_observed(tokens, &mut Watcher).expect("forward").to_vec()
}

/// Some tokens of the vocabulary.
fn tokens(n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| i * 37 % 500 + 3).collect()
}

#[test]
fn steps_of_any_size_come_to_the_same() {
    for name in kinds() {
        let model = model(name);
        let tokens = tokens(40);
        let expected = whole(&model, &tokens);
        for (batch, budget) in [(1, 1), (3, 100), (16, 7), (40, 39)] {
            let mut session = session(&model, batch);
            session.push(&tokens).expect("push");
            let mut steps = 0;
            let logits = loop {
                steps += 1;
                match session.step(budget).expect("step") {
                    Progress::Pending(_) => {}
                    Progress::Ready(logits) => break logits.to_vec(),
                }
            };
            assert_eq!(steps, 40usize.div_ceil(batch.min(budget)));
            assert!(close(&logits, &expected), "{name}: batch {batch}, budget {budget}");
        }
    }
}

#[test]
fn steps_through_some_layers_come_to_the_same() {
    for name in kinds() {
        let model = model(name);
        let n_layers = model.plan().layers.len();
        let expected = session(&model, 16).forward(&tokens(40)).expect("forward").to_vec();
        for layers in [1, 2, n_layers, n_layers + 1] {
            let mut session = session(&model, 16);
            session.push(&tokens(40)).expect("push");
            let mut steps = 0;
            let logits = loop {
                steps += 1;
                match session.step(Budget { tokens: 16, layers }).expect("step") {
                    Progress::Pending(_) => {}
                    Progress::Ready(logits) => break logits.to_vec(),
                }
            };
            // Three batches, the last one with logits.
            let expected_steps = match ["lfm2", "mamba2"].contains(&name) {
                true => 3,
                false => 2 * n_layers.div_ceil(layers) + (n_layers + 1).div_ceil(layers),
            };
            assert_eq!(steps, expected_steps, "{name}: {layers} of {n_layers} layers");
            assert!(close(&logits, &expected), "{name}: {layers} layers");
        }
    }
}

#[test]
fn a_batch_under_way_can_be_left() {
    type Leaving = fn(&mut Session);
    let ways: [(&str, Leaving); 5] = [
        ("back to what is done", |session| assert!([0, 16].contains(&session.rewind(16)))),
        ("back to the beginning", |session| assert_eq!(session.rewind(0), 0)),
        ("saved and restored", |session| session.restore(&session.save()).expect("its own state")),
        ("shifted", |session| assert_eq!(session.shift(2), 19)),
        ("nothing", |_| {}),
    ];
    for name in kinds() {
        let model = model(name);
        for (way, leave) in ways {
            let mut left = session(&model, 16);
            left.push(&tokens(40)).expect("push");
            left.step(16).expect("step");
            left.step(Budget { tokens: 16, layers: 1 }).expect("step");
            leave(&mut left);
            let so_far = left.tokens().to_vec();
            let expected =
                session(&model, 16).forward(&[&so_far[..], &[5, 6]].concat()).expect("forward").to_vec();
            assert!(close(left.forward(&[5, 6]).expect("forward"), &expected), "{name}: {way}");
        }
    }
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-4)
}

#[test]
fn going_back_is_as_if_it_had_not_been() {
    // Rings of 8 + 4 positions forget, recurrent states cannot go back; the others always can.
    for name in kinds() {
        let rings = ["gemma2", "gpt-oss"].contains(&name);
        let recurrent = ["lfm2", "mamba2"].contains(&name);
        let model = model(name);
        let tokens = tokens(61);
        let mut session = session(&model, 4);
        session.forward(&tokens[..60]).expect("forward");
        let near = if recurrent { 0 } else { 58 };
        let far = if recurrent || rings { 0 } else { 20 };
        for (n, expected) in [(60, 60), (58, near), (20, far), (0, 0)] {
            let left = session.rewind(n);
            assert_eq!(left, expected, "{name}: back to {n}");
            let end = left.max(58) + 1;
            let again = session.forward(&tokens[left..end]).expect("forward").to_vec();
            let fresh = self::session(&model, 4).forward(&tokens[..end]).expect("forward").to_vec();
            assert!(close(&again, &fresh), "{name}: back to {n}");
            session.rewind(0);
            session.forward(&tokens[..60]).expect("forward");
        }
    }
}

#[test]
fn a_shifted_session_is_one_of_the_tokens_that_are_left() {
    for name in kinds().filter(|name| *name != "phi3-longrope") {
        let model = model(name);
        let tokens = tokens(64);
        let mut session =
            Session::new(&model, Options { context: 64, batch: 8, ..Options::default() }).expect("session");
        session.forward(&tokens).expect("forward");
        assert_eq!(session.push(&[5]).unwrap_err().kind, ErrorKind::ContextFull);
        assert_eq!(session.shift(4), 30);
        let left: Vec<u32> = [&tokens[..4], &tokens[34..]].concat();
        assert_eq!(session.tokens(), left);
        let shifted = session.forward(&[5]).expect("forward").to_vec();
        let mut fresh =
            Session::new(&model, Options { context: 64, batch: 8, ..Options::default() }).expect("session");
        let fresh = fresh.forward(&[left, vec![5]].concat()).expect("forward").to_vec();
        assert!(close(&shifted, &fresh), "{name}");
    }
}

#[test]
fn memory_is_what_was_announced() {
    for name in kinds() {
        let model = model(name);
        for (context, batch, kv) in [(64, 16, KvType::F16), (200, 512, KvType::F32), (7, 1, KvType::F16)] {
            let options = Options { context, batch, kv, ..Options::default() };
            let announced = model.memory(&options).expect("memory").total();
            let (session, usage) = measure(|| Session::new(&model, options).expect("session"));
            drop(session);
            let allocated = usage.peak as u64;
            // Beside the buffers: the lists of layers and rotations.
            let lists = 64 * 1024;
            assert!(
                (announced..announced + lists).contains(&allocated),
                "{name}: announced {announced}, allocated {allocated}"
            );
        }
    }
}

#[test]
fn decoding_allocates_nothing() {
    for name in kinds() {
        let model = model(name);
        let mut session = session(&model, 16);
        session.forward(&tokens(20)).expect("forward");
        let more = tokens(50);
        let ((), usage) = measure(|| {
            for token in more {
                session.forward(&[token]).expect("forward");
            }
            session.rewind(3);
            session.forward(&[1, 2, 3]).expect("forward");
        });
        assert_eq!(usage.allocations, 0, "{name}");
    }
}

#[test]
fn absurd_options_are_refused_before_anything_is_allocated() {
    let model = model("llama-spm");
    let ((), usage) = measure(|| {
        let huge = usize::MAX;
        for (context, batch) in [(huge, 1), (huge / 8, huge), (huge / 64, huge / 1024)] {
            let options = Options { context, batch, ..Options::default() };
            assert_eq!(model.memory(&options).unwrap_err().kind, ErrorKind::Memory);
            assert_eq!(Session::new(&model, options).err().expect("refused").kind, ErrorKind::Memory);
        }
        let options = Options { batch: 0, ..Options::default() };
        assert_eq!(model.memory(&options).unwrap_err().kind, ErrorKind::Argument);
    });
    assert!(usage.peak < 1 << 20, "{usage:?}");
}

#[test]
fn tokens_that_do_not_exist_are_refused_whole() {
    let model = model("llama-spm");
    let mut session = session(&model, 4);
    assert_eq!(session.push(&[1, 2, 512]).unwrap_err().kind, ErrorKind::Argument);
    assert_eq!(session.step(1).unwrap_err().kind, ErrorKind::Argument);
    assert!(session.tokens().is_empty());
    assert_eq!(session.embed(&[1]).unwrap_err().kind, ErrorKind::Argument);
}

#[test]
fn a_saved_session_goes_on_where_it_was() {
    for name in kinds() {
        let model = model(name);
        let tokens = tokens(40);
        let mut original = session(&model, 8);
        original.forward(&tokens).expect("forward");
        let saved = original.save();
        let expected = original.forward(&[7]).expect("forward").to_vec();
        // Another batch size has other rings.
        let mut restored = session(&model, 3);
        restored.forward(&[1, 2, 3]).expect("forward");
        restored.restore(&saved).expect("restore");
        assert_eq!(restored.tokens(), tokens);
        assert_eq!(restored.forward(&[7]).expect("forward"), expected, "{name}");
        let back = restored.rewind(10);
        let forgets = ["gemma2", "gpt-oss", "lfm2", "mamba2"].contains(&name);
        assert_eq!(back, if forgets { 0 } else { 10 }, "{name}");
    }
}

#[test]
fn a_state_of_something_else_is_refused() {
    let llama = model("llama-spm");
    let mut original = session(&llama, 8);
    original.forward(&tokens(10)).expect("forward");
    let saved = original.save();
    let refuse = |session: &mut Session, bytes: &[u8], kind: ErrorKind| {
        let before = session.tokens().to_vec();
        assert_eq!(session.restore(bytes).unwrap_err().kind, kind);
        assert_eq!(session.tokens(), before);
    };
    refuse(&mut session(&model("gemma2"), 8), &saved, ErrorKind::State);
    let mut f16 = Session::new(&llama, Options::default()).expect("session");
    refuse(&mut f16, &saved, ErrorKind::State);
    let mut small =
        Session::new(&llama, Options { context: 5, kv: KvType::F32, ..Options::default() }).expect("session");
    refuse(&mut small, &saved, ErrorKind::ContextFull);
    for len in 0..saved.len().min(400) {
        refuse(&mut original, &saved[..len], ErrorKind::State);
    }
    for at in (0..saved.len()).step_by(97) {
        let mut bytes = saved.clone();
        bytes[at] ^= 0x10;
        refuse(&mut original, &bytes, ErrorKind::State);
    }
}
