//! Generation: limits, stop strings over token borders, reuse of what a session holds, and the same text everywhere.

use motelm_core::generate::{End, Full, Generator, Limits, Step, Stop};
use motelm_core::gguf::File;
use motelm_core::sample::{Options as Sampling, Sampler};
use motelm_core::session::Options;
use motelm_core::tokenizer::{Encode, Tokenizer};
use motelm_core::{Bytes, ErrorKind, Model, Session};

/// The model that travels with the repository, ready to generate.
struct Teller {
    tokenizer: Tokenizer,
    session: Session,
    sampler: Sampler,
}

impl Teller {
    fn new(context: usize, temperature: f32) -> Self {
        let file =
            File::parse(Bytes::new(include_bytes!("../../models/tales-280K-Q8_0.gguf"))).expect("file");
        let model = Model::new(&file).expect("model");
        let session =
            Session::new(&model, Options { context, batch: 16, ..Options::default() }).expect("session");
        let sampling = Sampling { temperature, seed: 7, ..Sampling::default() };
        let sampler = Sampler::new(&sampling, model.plan().n_vocab).expect("sampler");
        Self { tokenizer: Tokenizer::new(&file).expect("tokenizer"), session, sampler }
    }

    fn prompt(&self) -> Vec<u32> {
        self.tokenizer.encode("Once upon a time", Encode::default())
    }

    fn start(&mut self, limits: Limits) -> Generator {
        let prompt = self.prompt();
        Generator::start(&mut self.session, &mut self.sampler, &prompt, limits).expect("start")
    }

    /// All text and ids, and why it ended.
    fn tell(&mut self, limits: Limits) -> (String, Vec<u32>, Stop) {
        let mut generator = self.start(limits);
        let (mut text, mut ids) = (String::new(), Vec::new());
        loop {
            match generator.step(&mut self.session, &mut self.sampler, &self.tokenizer, 3).expect("step") {
                Step::Prefill { pending } => assert!(pending > 0),
                Step::Token { id, text: piece } => {
                    text += piece;
                    ids.push(id);
                }
                Step::Done { text: piece, stop } => return (text + piece, ids, stop),
            }
        }
    }
}

fn tokens(max_tokens: usize) -> Limits {
    Limits { max_tokens, end: End::Ignored, ..Limits::default() }
}

#[test]
fn a_limit_of_tokens_is_kept() {
    let (text, ids, stop) = Teller::new(0, 0.0).tell(tokens(30));
    assert_eq!((ids.len(), stop), (30, Stop::MaxTokens));
    assert!(text.len() > 30, "{text}");
    assert_eq!(Teller::new(0, 0.0).tell(tokens(0)).1, []);
}

#[test]
fn a_seed_is_a_story() {
    let once = Teller::new(0, 0.8).tell(tokens(60));
    let mut teller = Teller::new(0, 0.8);
    assert_eq!(teller.tell(tokens(60)), once);
    // Again in the same session, which holds the prompt and the story already.
    assert_eq!(teller.tell(tokens(60)), once);
    assert_ne!(Teller::new(0, 0.0).tell(tokens(60)), once);
}

#[test]
fn stop_strings_end_the_text_wherever_tokens_end() {
    let (whole, _, _) = Teller::new(0, 0.0).tell(tokens(40));
    for (start, len) in [(0, 1), (3, 9), (10, 4), (17, 20), (30, 2)] {
        let stop: String = whole.chars().skip(start).take(len).collect();
        let at = whole.find(&stop).expect("a part of the text");
        let limits = Limits { stop_strings: vec!["never said".into(), stop.clone()], ..tokens(40) };
        let (text, _, ended) = Teller::new(0, 0.0).tell(limits);
        assert_eq!((&*text, ended), (&whole[..at], Stop::StopString(1)), "{stop:?}");
    }
    // One that only begins: what was held back comes in the end.
    let tail: String = whole.chars().rev().take(5).collect::<Vec<_>>().into_iter().rev().collect();
    let limits = Limits { stop_strings: vec![tail + "\u{0}"], ..tokens(40) };
    assert_eq!(Teller::new(0, 0.0).tell(limits).0, whole);
}

#[test]
fn stop_ids_are_not_said() {
    let (_, ids, _) = Teller::new(0, 0.0).tell(tokens(10));
    let first = ids.iter().position(|id| *id == ids[5]).expect("said");
    let limits = Limits { stop_ids: vec![ids[5]], ..tokens(10) };
    let (_, said, stop) = Teller::new(0, 0.0).tell(limits);
    assert_eq!((&*said, stop), (&ids[..first], Stop::StopId(ids[5])));
}

#[test]
fn a_full_context_ends_or_moves() {
    let mut teller = Teller::new(32, 0.0);
    let (_, ids, stop) = teller.tell(tokens(100));
    assert_eq!(stop, Stop::ContextFull);
    // The last token is said though it no longer fits.
    assert_eq!(teller.prompt().len() + ids.len(), 33);
    let limits = Limits { full: Full::Shifts { keep: 4 }, ..tokens(100) };
    let (_, ids, stop) = Teller::new(32, 0.0).tell(limits.clone());
    assert_eq!((ids.len(), stop), (100, Stop::MaxTokens));
    // Keeping more than there is must not hang.
    let limits = Limits { full: Full::Shifts { keep: 1000 }, ..limits };
    assert_eq!(Teller::new(32, 0.0).tell(limits).1.len(), 100);
}

#[test]
fn a_prompt_must_fit_and_be_something() {
    let mut teller = Teller::new(8, 0.0);
    let start = |teller: &mut Teller, prompt: &[u32]| {
        Generator::start(&mut teller.session, &mut teller.sampler, prompt, tokens(1)).map(drop)
    };
    assert_eq!(start(&mut teller, &[1; 9]).unwrap_err().kind, ErrorKind::ContextFull);
    assert_eq!(start(&mut teller, &[100_000]).unwrap_err().kind, ErrorKind::Argument);
    assert_eq!(start(&mut teller, &[]).unwrap_err().kind, ErrorKind::Argument);
    start(&mut teller, &[1; 8]).expect("it fits");
}

#[test]
fn a_longer_prompt_goes_on_where_the_shorter_ended() {
    let mut teller = Teller::new(0, 0.0);
    let (_, ids, _) = teller.tell(tokens(20));
    let mut prompt = teller.prompt();
    prompt.extend(&ids[..10]);
    let generator =
        Generator::start(&mut teller.session, &mut teller.sampler, &prompt, tokens(1)).expect("start");
    assert_eq!(generator.reused(), prompt.len() - 1);
}

#[test]
fn log_probabilities_add_up() {
    let mut teller = Teller::new(0, 0.0);
    let mut generator = teller.start(Limits { log_probs: Some(5), ..tokens(8) });
    loop {
        match generator.step(&mut teller.session, &mut teller.sampler, &teller.tokenizer, 64).expect("step") {
            Step::Prefill { .. } => {}
            Step::Done { .. } => break,
            Step::Token { id, .. } => {
                let (chosen, top) = generator.log_probs().expect("asked for");
                assert_eq!((top.len(), top[0].id), (5, id));
                assert_eq!(top[0].logit, chosen);
                assert!(top.iter().map(|candidate| candidate.logit.exp()).sum::<f32>() <= 1.0 + 1e-5);
            }
        }
    }
}
