//! Chat templates for JavaScript: a module of its own, which a page fetches for models that have a template. What it
//! needs of a model (the template, the texts of two tokens, which names are control tokens) the engine's module hands
//! over, and gets the text back that it makes tokens of.
#![forbid(unsafe_code)]

use js_sys::Function;
use motelm_chat::{DateTime, Message, Request, Template};
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use serde_json::{Map, Value};
use wasm_bindgen::prelude::*;

/// How to render; what is left out is as in [`Request::new`].
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Options {
    tools: Option<Value>,
    documents: Option<Value>,
    bos: String,
    eos: String,
    add_generation_prompt: bool,
    #[serde(deserialize_with = "date")]
    now: Option<DateTime>,
    variables: Map<String, Value>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tools: None,
            documents: None,
            bos: String::new(),
            eos: String::new(),
            add_generation_prompt: true,
            now: None,
            variables: Map::new(),
        }
    }
}

fn date<'d, D: Deserializer<'d>>(from: D) -> Result<Option<DateTime>, D::Error> {
    String::deserialize(from)?.parse().map(Some).map_err(D::Error::custom)
}

/// The text that `template` makes of `messages`, a JSON list. Texts that users and tools wrote go through `guard`
/// before, a function from text to text.
///
/// `options`: `{ tools, documents, bos, eos, addGenerationPrompt, now: "2026-01-31T12:30:45", variables }`.
///
/// # Errors
/// A template that cannot be read or refuses this conversation, messages that are none, and unknown options.
#[wasm_bindgen]
pub fn render(template: &str, messages: &str, options: &str, guard: &Function) -> Result<String, JsError> {
    let messages: Vec<Message> = parse("messages", messages)?;
    let options: Options = parse("options", options)?;
    let request = Request {
        tools: options.tools.as_ref(),
        documents: options.documents.as_ref(),
        bos: &options.bos,
        eos: &options.eos,
        add_generation_prompt: options.add_generation_prompt,
        extra: options.variables,
        now: options.now,
        ..Request::new(&messages)
    };
    let guard = |text: &str| {
        let guarded = guard.call1(&JsValue::NULL, &text.into()).ok();
        guarded.and_then(|text| text.as_string()).expect("a function from text to text")
    };
    Ok(Template::new(template)?.render_guarded(&request, guard)?)
}

fn parse<'j, T: Deserialize<'j>>(what: &str, json: &'j str) -> Result<T, JsError> {
    serde_json::from_str(json)
        .map_err(|error| JsError::new(&format!("not the {what} that were expected: {error}")))
}
