//! The same story everywhere: with portable arithmetic, a seed tells one story on every machine, to the letter.
//!
//! The firmware in `embedded/` tells it on a microcontroller. Faster instructions add numbers up in another order, and
//! what they round differently leads a sampled story elsewhere after some words; so this is [`Level::Scalar`].

use motelm_core::generate::{Generator, Limits, Step};
use motelm_core::gguf::File;
use motelm_core::sample::{self, Sampler};
use motelm_core::session::Options;
use motelm_core::simd::Level;
use motelm_core::tokenizer::Encode;
use motelm_core::{Bytes, Model, Session, Tokenizer};
#[cfg(target_family = "wasm")]
use wasm_bindgen_test::wasm_bindgen_test as test;

static MODEL: &[u8] = include_bytes!("../../models/tales-280K-Q8_0.gguf");
const PROMPT: &str = "Once upon a time";

#[test]
fn every_machine_tells_the_story_of_the_microcontroller() {
    let file = File::parse(Bytes::new(MODEL)).unwrap();
    let tokenizer = Tokenizer::new(&file).unwrap();
    let options = Options { context: 128, batch: 8, level: Level::Scalar, ..Options::default() };
    let mut session = Session::new(&Model::new(&file).unwrap(), options).unwrap();
    let options = sample::Options { seed: 7, temperature: 0.6, top_k: 40, ..Default::default() };
    let mut sampler = Sampler::new(&options, tokenizer.len() as usize).unwrap();
    let prompt = tokenizer.encode(PROMPT, Encode::default());
    let limits = Limits { max_tokens: 80, ..Limits::default() };
    let mut generator = Generator::start(&mut session, &mut sampler, &prompt, limits).unwrap();
    let mut story = String::from(PROMPT);
    loop {
        match generator.step(&mut session, &mut sampler, &tokenizer, 8).unwrap() {
            Step::Prefill { .. } => {}
            Step::Token { text, .. } => story.push_str(text),
            Step::Done { text, .. } => {
                story.push_str(text);
                story.push('\n');
                break;
            }
        }
    }
    assert_eq!(story, include_str!("../../embedded/story.txt"));
}
