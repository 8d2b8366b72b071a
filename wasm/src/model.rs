//! A loaded model.

use js_sys::{Array, Object};
use motelm_core::Tokenizer;
use motelm_core::embed;
use motelm_core::gguf::File;
use motelm_core::tokenizer::{AddSpecial, Encode, ParseSpecial, ShowControl};
use wasm_bindgen::prelude::*;

use crate::describe;
use crate::embed::Embedder;
use crate::error::Result;
use crate::options;
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
    /// As [`Head::info`](crate::Head::info).
    pub fn info(&self) -> Object {
        describe::info(self.model.file(), self.model.plan())
    }

    /// As [`Head::metadata`](crate::Head::metadata).
    pub fn metadata(&self) -> Array {
        describe::metadata(self.model.file())
    }

    /// As [`Head::tensors`](crate::Head::tensors).
    pub fn tensors(&self) -> Array {
        describe::tensors(self.model.file())
    }

    /// Bytes that a session of these options takes, beside the model.
    ///
    /// # Errors
    /// Options that the model cannot follow.
    pub fn memory(&self, options: &JsValue) -> Result<f64> {
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

    /// The file's chat template, or the one that the file calls `name`. It is for the module of chat templates, as are
    /// [`Model::ends`] and [`Model::guard`], whose text [`Model::chat_tokens`] takes.
    ///
    /// # Errors
    /// `Template` when the model has none.
    #[wasm_bindgen(js_name = chatTemplate)]
    pub fn chat_template(&self, name: Option<String>) -> Result<String> {
        Ok(motelm_chat::source(self.model.file(), name.as_deref())?.into())
    }

    /// The texts of the tokens that sequences begin and end with; empty where there are none.
    pub fn ends(&self) -> Vec<String> {
        <[String; 2]>::from(motelm_chat::ends(&self.tokenizer)).into()
    }

    /// `text` such that names of control tokens in it stay text in [`Model::chat_tokens`].
    pub fn guard(&self, text: &str) -> String {
        self.tokenizer.guard(text).into_owned()
    }

    /// The tokens of what a chat template made of guarded texts.
    #[wasm_bindgen(js_name = chatTokens)]
    pub fn chat_tokens(&self, prompt: &str) -> Vec<u32> {
        self.tokenizer.encode_chat(prompt)
    }

    /// A session of `{ context, batch, kv }`.
    ///
    /// # Errors
    /// Options that the model cannot follow, or that there is not enough memory.
    pub fn session(&self, options: &JsValue) -> Result<Session> {
        let session = motelm_core::Session::new(&self.model, options::session(options)?)?;
        Ok(Session::new(session, self.tokenizer.clone()))
    }

    /// An embedder of `{ pooling, dim, normalize, maxTokens, batch }`.
    ///
    /// # Errors
    /// `Argument` for options that the model cannot follow, and for a model that generates text without a pooling.
    pub fn embedder(&self, options: &JsValue) -> Result<Embedder> {
        let options = options::embedding(options)?;
        Ok(Embedder::new(embed::Embedder::of(self.model.clone(), self.tokenizer.clone(), options)?))
    }
}
