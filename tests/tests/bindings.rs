//! What JavaScript sees of the engine, in a real browser.
#![cfg(target_arch = "wasm32")]

use wasm_bindgen_test::wasm_bindgen_test as test;

const TALES: &[u8] = include_bytes!("../../models/tales-280K-Q8_0.gguf");

#[test]
fn a_damaged_file_is_a_named_error() {
    let error = motelm_wasm::probe(TALES[..1000].to_vec()).unwrap_err();
    assert_eq!(String::from(error.name()), "Truncated");
}
