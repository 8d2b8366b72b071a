//! What JavaScript sees of the engine. Nothing is decided here: each item calls the engine and translates.
//!
//! Errors arrive as JavaScript `Error`s whose `name` is the engine's [`ErrorKind`](motelm_core::ErrorKind).
#![forbid(unsafe_code)]

mod options;

use motelm_core::generate::{Generator, Step};
use motelm_core::gguf::File;
use motelm_core::sample::Sampler;
use motelm_core::tokenizer::Encode;
use motelm_core::{Bytes, Result, Session, Tokenizer};
use wasm_bindgen::prelude::*;

pub use options::Options;

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
    File::parse(Bytes::new(bytes)).and_then(|file| describe(&file)).map_err(to_js)
}

fn describe(file: &File) -> Result<Probe> {
    Ok(Probe {
        version: file.version(),
        architecture: file.str("general.architecture")?.unwrap_or_default().into(),
        name: file.str("general.name")?.map(Into::into),
        parameters: file.tensors().iter().map(|tensor| tensor.elements() as f64).sum(),
        bytes: file.total_bytes() as f64,
    })
}

/// A model, and the one text that it is working on.
#[wasm_bindgen]
pub struct Model {
    probe: Probe,
    tokenizer: Tokenizer,
    session: Session,
    generation: Option<(Generator, Sampler)>,
}

#[wasm_bindgen]
impl Model {
    /// Loads a GGUF file, with room for `context` tokens (0: as many as it was trained for, at most 4096).
    ///
    /// # Errors
    /// What is wrong with the file, or that there is not enough memory.
    #[wasm_bindgen(constructor)]
    pub fn new(bytes: Vec<u8>, context: usize) -> Result<Self, js_sys::Error> {
        Self::load(bytes, context).map_err(to_js)
    }

    fn load(bytes: Vec<u8>, context: usize) -> Result<Self> {
        let file = File::parse(Bytes::new(bytes))?;
        let model = motelm_core::Model::new(&file)?;
        let options = motelm_core::session::Options { context, ..Default::default() };
        Ok(Self {
            probe: describe(&file)?,
            tokenizer: Tokenizer::new(&file)?,
            session: Session::new(&model, options)?,
            generation: None,
        })
    }

    /// What its file says about it.
    #[wasm_bindgen(getter)]
    pub fn probe(&self) -> Probe {
        self.probe.clone()
    }

    /// The tokens of `text`, with the ones the model wants at the beginning or end.
    pub fn tokenize(&self, text: &str) -> Vec<u32> {
        self.tokenizer.encode(text, Encode::default())
    }

    /// The text of `tokens`.
    pub fn detokenize(&self, tokens: &[u32]) -> String {
        self.tokenizer.decode(tokens)
    }

    /// Begins to continue `prompt`, which ends what was generated before.
    ///
    /// # Errors
    /// Options out of range, or a prompt that does not fit.
    pub fn start(&mut self, prompt: &str, options: &Options) -> Result<(), js_sys::Error> {
        self.begin(prompt, options).map_err(to_js)
    }

    fn begin(&mut self, prompt: &str, options: &Options) -> Result<()> {
        self.generation = None;
        let tokens = self.tokenizer.encode(prompt, Encode::default());
        let mut sampler = Sampler::new(&options.sampling(), self.tokenizer.len() as usize)?;
        let generator = Generator::start(&mut self.session, &mut sampler, &tokens, options.limits())?;
        self.generation = Some((generator, sampler));
        Ok(())
    }

    /// Does a bounded piece of work. Returns the text that became certain, which may be empty, or nothing at the end.
    ///
    /// # Errors
    /// What the engine says.
    pub fn step(&mut self) -> Result<Option<String>, js_sys::Error> {
        let Some((generator, sampler)) = &mut self.generation else { return Ok(None) };
        let step =
            generator.step(&mut self.session, sampler, &self.tokenizer, PROMPT_PIECE).map_err(to_js)?;
        let text = match step {
            Step::Prefill { .. } => String::new(),
            Step::Token { text, .. } => text.into(),
            Step::Done { text, .. } => {
                let text = text.into();
                self.generation = None;
                text
            }
        };
        Ok(Some(text))
    }
}

/// Tokens of a prompt that are worked off at once: between two pieces, a generation can be cancelled.
const PROMPT_PIECE: usize = 64;

fn to_js(error: motelm_core::Error) -> js_sys::Error {
    let js = js_sys::Error::new(&error.to_string());
    js.set_name(&format!("{:?}", error.kind));
    js
}
