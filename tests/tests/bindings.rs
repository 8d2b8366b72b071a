//! What JavaScript sees of the engine, in a real browser.
#![cfg(target_arch = "wasm32")]

use motelm_wasm::{Model, Options, probe};
use wasm_bindgen_test::wasm_bindgen_test as test;

const TALES: &[u8] = include_bytes!("../../models/tales-280K-Q8_0.gguf");

#[test]
fn a_model_describes_itself() {
    let probe = probe(TALES.to_vec()).unwrap();
    assert_eq!((probe.version, probe.architecture.as_str()), (3, "llama"));
    assert_eq!(probe.bytes, TALES.len() as f64);
}

#[test]
fn a_damaged_file_is_a_named_error() {
    let error = probe(TALES[..1000].to_vec()).unwrap_err();
    assert_eq!(String::from(error.name()), "Truncated");
    let error = Model::new(TALES[..1000].to_vec(), 0).map(drop).unwrap_err();
    assert_eq!(String::from(error.name()), "Truncated");
}

fn tell(model: &mut Model, seed: f64) -> String {
    let options = Options { seed, max_tokens: 40, temperature: 0.6, top_k: 40, ..Options::new() };
    model.start("Once upon a time", &options).unwrap();
    std::iter::from_fn(|| model.step().unwrap()).collect()
}

#[test]
fn a_seed_tells_one_story() {
    let mut model = Model::new(TALES.to_vec(), 128).unwrap();
    let story = tell(&mut model, 1.0);
    assert!(story.len() > 60, "{story}");
    assert_ne!(tell(&mut model, 2.0), story);
    assert_eq!(tell(&mut model, 1.0), story);
}

#[test]
fn text_and_tokens_are_two_views_of_one_thing() {
    let model = Model::new(TALES.to_vec(), 0).unwrap();
    let text = "The king's daughter said: é!";
    assert_eq!(model.detokenize(&model.tokenize(text)), text);
}

#[test]
fn what_is_out_of_range_is_refused() {
    let mut model = Model::new(TALES.to_vec(), 16).unwrap();
    let long = "Once upon a time ".repeat(20);
    let error = model.start(&long, &Options::new()).unwrap_err();
    assert_eq!(String::from(error.name()), "ContextFull");
    let error = model.start("Once", &Options { temperature: f32::NAN, ..Options::new() }).unwrap_err();
    assert_eq!(String::from(error.name()), "Argument");
    assert_eq!(model.step().unwrap(), None);
}
