//! What JavaScript sees of the engine. Nothing is decided here: each item calls the engine and translates.
//!
//! Errors arrive as JavaScript `Error`s whose `name` is the engine's [`ErrorKind`](motelm_core::ErrorKind).
#![forbid(unsafe_code)]

use motelm_core::Bytes;
use motelm_core::gguf::File;
use wasm_bindgen::prelude::*;

/// What a model file says about itself.
#[wasm_bindgen(getter_with_clone)]
#[derive(Debug, Clone)]
pub struct Probe {
    /// GGUF version, 1 to 3.
    pub version: u32,
    /// `general.architecture`.
    pub architecture: String,
    /// `general.name`, when it has one.
    pub name: Option<String>,
    /// Weights, counted one by one.
    pub parameters: f64,
    /// Size of the file in bytes.
    pub bytes: f64,
}

/// Checks a whole GGUF file and describes it; nothing is run.
///
/// # Errors
/// What is wrong with the file, and where.
#[wasm_bindgen]
pub fn probe(bytes: Vec<u8>) -> Result<Probe, js_sys::Error> {
    describe(bytes).map_err(to_js)
}

fn describe(bytes: Vec<u8>) -> motelm_core::Result<Probe> {
    let file = File::parse(Bytes::new(bytes))?;
    Ok(Probe {
        version: file.version(),
        architecture: file.str("general.architecture")?.unwrap_or_default().into(),
        name: file.str("general.name")?.map(Into::into),
        parameters: file.tensors().iter().map(|tensor| tensor.elements() as f64).sum(),
        bytes: file.total_bytes() as f64,
    })
}

fn to_js(error: motelm_core::Error) -> js_sys::Error {
    let js = js_sys::Error::new(&error.to_string());
    js.set_name(&format!("{:?}", error.kind));
    js
}
