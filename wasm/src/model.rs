//! A loaded model.

use motelm_chat::{DateTime, Message, Request, Template};
use motelm_core::embed;
use motelm_core::gguf::File;
use motelm_core::tokenizer::{AddSpecial, Encode, ParseSpecial, ShowControl};
use motelm_core::{Bytes, Tokenizer};
use serde_json::{Map, Value};
use wasm_bindgen::prelude::*;

use crate::describe;
use crate::embed::Embedder;
use crate::error::{Failure, Result};
use crate::options::{self, Fields};
use crate::session::Session;

/// A model in memory, shared by its sessions.
#[wasm_bindgen]
pub struct Model {
    model: motelm_core::Model,
    tokenizer: Tokenizer,
}

impl Model {
    pub(crate) fn new(file: &File) -> Result<Self> {
        Ok(Self { model: motelm_core::Model::new(file)?, tokenizer: Tokenizer::new(file)? })
    }
}

#[wasm_bindgen]
impl Model {
    /// A model whose whole file is at hand; [`Loader`](crate::Loader) is the way for larger ones.
    ///
    /// # Errors
    /// What is wrong with the file.
    #[wasm_bindgen(js_name = fromBytes)]
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        Self::new(&File::parse(Bytes::new(bytes))?)
    }

    /// As [`Head::info`](crate::Head::info).
    pub fn info(&self) -> String {
        describe::info(self.model.file(), self.model.plan())
    }

    /// As [`Head::metadata`](crate::Head::metadata).
    pub fn metadata(&self) -> String {
        describe::metadata(self.model.file())
    }

    /// As [`Head::tensors`](crate::Head::tensors).
    pub fn tensors(&self) -> String {
        describe::tensors(self.model.file())
    }

    /// Bytes that a session of these options takes, beside the model.
    ///
    /// # Errors
    /// Options that the model cannot follow.
    pub fn memory(&self, options: &str) -> Result<f64> {
        let options = options::longest(self.model.plan(), options::session(options)?);
        Ok(self.model.memory(&options)?.total() as f64)
    }

    /// The tokens of `text`. `special`: whether names of control tokens in it mean those tokens, and the tokens
    /// around a text are added.
    pub fn tokenize(&self, text: &str, add_special: bool, parse_special: bool) -> Vec<u32> {
        let encode = Encode {
            add_special: if add_special { AddSpecial::Yes } else { AddSpecial::No },
            parse_special: if parse_special { ParseSpecial::Yes } else { ParseSpecial::No },
        };
        self.tokenizer.encode(text, encode)
    }

    /// The text of `tokens`; control tokens by their names, or without a trace.
    pub fn detokenize(&self, tokens: &[u32], show_control: bool) -> String {
        let show = if show_control { ShowControl::Show } else { ShowControl::Hide };
        self.tokenizer.decode_with(tokens, show)
    }

    /// The text that the chat template makes of `messages`, a JSON list.
    ///
    /// `options`: `{ tools, documents, addGenerationPrompt, now: "2026-01-31T12:30:45", template, name, variables }`,
    /// where `template` replaces the file's own and `name` chooses among several of the file.
    ///
    /// # Errors
    /// `Template` when the model has none, or it refuses this conversation.
    pub fn render(&self, messages: &str, options: &str) -> Result<String> {
        let chat = Chat::parse(messages, options)?;
        let (bos, eos) = motelm_chat::ends(&self.tokenizer);
        Ok(chat.template(self)?.render(&Request { bos: &bos, eos: &eos, ..chat.request() })?)
    }

    /// The tokens of [`Model::render`]'s text. Names of control tokens that users wrote stay text.
    ///
    /// # Errors
    /// As [`Model::render`].
    #[wasm_bindgen(js_name = chatTokens)]
    pub fn chat_tokens(&self, messages: &str, options: &str) -> Result<Vec<u32>> {
        let chat = Chat::parse(messages, options)?;
        Ok(chat.template(self)?.tokens(&chat.request(), &self.tokenizer)?)
    }

    /// A session of `{ context, batch, kv }`.
    ///
    /// # Errors
    /// Options that the model cannot follow, or that there is not enough memory.
    pub fn session(&self, options: &str) -> Result<Session> {
        let session = motelm_core::Session::new(&self.model, options::session(options)?)?;
        Ok(Session::new(session, self.tokenizer.clone()))
    }

    /// An embedder of `{ pooling, dim, normalize, maxTokens, batch }`.
    ///
    /// # Errors
    /// `Argument` for options that the model cannot follow, and for a model that generates text without a pooling.
    pub fn embedder(&self, options: &str) -> Result<Embedder> {
        let options = options::embedding(options)?;
        Ok(Embedder::new(embed::Embedder::of(self.model.clone(), self.tokenizer.clone(), options)?))
    }
}

/// A conversation and how to render it.
struct Chat {
    messages: Vec<Message>,
    tools: Option<Value>,
    documents: Option<Value>,
    add_generation_prompt: bool,
    now: Option<DateTime>,
    extra: Map<String, Value>,
    template: Option<String>,
    name: Option<String>,
}

impl Chat {
    fn parse(messages: &str, options: &str) -> Result<Self> {
        let mut fields = Fields::parse(options)?;
        let mut chat = Self {
            messages: serde_json::from_str(messages)?,
            tools: fields.value("tools"),
            documents: fields.value("documents"),
            add_generation_prompt: true,
            now: None,
            extra: Map::new(),
            template: None,
            name: None,
        };
        fields.flag("addGenerationPrompt", &mut chat.add_generation_prompt)?;
        fields.text("template", &mut chat.template)?;
        fields.text("name", &mut chat.name)?;
        let mut now = None;
        fields.text("now", &mut now)?;
        if let Some(now) = now {
            let parsed = now.parse().map_err(|_| {
                Failure::argument(format!("option `now` is {now}; expected a date as 2026-01-31T12:30:45"))
            })?;
            chat.now = Some(parsed);
        }
        match fields.value("variables") {
            None => {}
            Some(Value::Object(extra)) => chat.extra = extra,
            Some(other) => {
                return Err(Failure::argument(format!("option `variables` is {other}; expected an object")));
            }
        }
        fields.end()?;
        Ok(chat)
    }

    fn template(&self, model: &Model) -> Result<Template> {
        Ok(match &self.template {
            Some(source) => Template::new(source)?,
            None => Template::from_gguf(model.model.file(), self.name.as_deref())?,
        })
    }

    fn request(&self) -> Request<'_> {
        Request {
            tools: self.tools.as_ref(),
            documents: self.documents.as_ref(),
            add_generation_prompt: self.add_generation_prompt,
            extra: self.extra.clone(),
            now: self.now,
            ..Request::new(&self.messages)
        }
    }
}
