//! A model's chat template, and what is rendered through it.

use std::sync::Arc;

use minijinja::machinery::{eval, make_string_output};
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};
use motelm_core::gguf;
use motelm_core::tokenizer::Tokenizer;
use serde_json::Map;

use crate::meter::{MAX_BYTES, Meter, Stop};
use crate::{ChatError, DateTime, Message, builtins, clock, compile, ops, python};

/// Work allowed to a request that does not say otherwise: far more than published templates need for a
/// conversation of a million tokens' length, and about a second at worst.
pub const DEFAULT_FUEL: u64 = 10_000_000;

/// A chat template: a Jinja program that came with a model, checked.
#[derive(Debug, Clone)]
pub struct Template {
    source: Arc<str>,
}

/// What a template is given.
///
/// Make one with [`Request::new`] and set the fields that differ.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// The conversation, oldest message first.
    pub messages: &'a [Message],
    /// Tools the model may call, mostly a list of JSON schemas; none by default.
    pub tools: Option<&'a serde_json::Value>,
    /// Documents to answer from; none by default.
    pub documents: Option<&'a serde_json::Value>,
    /// The text of the token that begins a sequence; templates print it as `bos_token`.
    pub bos: &'a str,
    /// The text of the token that ends a sequence.
    pub eos: &'a str,
    /// Whether the text ends with the opening of the model's next answer. By default it does.
    pub add_generation_prompt: bool,
    /// Further variables, such as `enable_thinking`. They win over everything above.
    pub extra: Map<String, serde_json::Value>,
    /// The date and time that the template sees; by default this machine's clock.
    pub now: Option<DateTime>,
    /// Units of work allowed: about one per instruction, per 16 bytes made, per 64 bytes read.
    pub fuel: u64,
}

impl<'a> Request<'a> {
    /// A request for the model's next answer, without tools or special tokens.
    pub fn new(messages: &'a [Message]) -> Self {
        Self {
            messages,
            tools: None,
            documents: None,
            bos: "",
            eos: "",
            add_generation_prompt: true,
            extra: Map::new(),
            now: None,
            fuel: DEFAULT_FUEL,
        }
    }

    /// The variables that the template sees.
    fn variables(&self) -> Value {
        let json = |value: Option<&serde_json::Value>| {
            value.map_or(Value::from(()), |value| Value::from(Serde(value)))
        };
        let own = [
            ("messages", Value::from(Serde(self.messages))),
            ("tools", json(self.tools)),
            ("documents", json(self.documents)),
            ("bos_token", Value::from(self.bos)),
            ("eos_token", Value::from(self.eos)),
            ("add_generation_prompt", Value::from(self.add_generation_prompt)),
        ];
        let own = own.map(|(name, value)| (name.to_string(), value));
        let extra = self.extra.iter().map(|(name, value)| (name.clone(), Value::from(Serde(value))));
        Value::from_pairs(own.into_iter().chain(extra))
    }
}

impl Template {
    /// Reads and checks a template.
    ///
    /// # Errors
    /// [`ChatError::Syntax`], with the line.
    pub fn new(source: &str) -> Result<Self, ChatError> {
        let source = compile::prepare(source)?;
        compile::compile(&source)?;
        Ok(Self { source: source.into() })
    }

    /// The template of a model file, as [`source`] finds it.
    ///
    /// # Errors
    /// Those of [`source`], and [`ChatError::Syntax`].
    pub fn from_gguf(file: &gguf::File, name: Option<&str>) -> Result<Self, ChatError> {
        Self::new(source(file, name)?)
    }

    /// The text that the model should continue.
    ///
    /// # Errors
    /// [`ChatError::Refused`] with the template's words when it does not take this conversation, [`ChatError::Fuel`]
    /// and [`ChatError::TooLarge`] when it does too much, [`ChatError::Runtime`] when it fails.
    pub fn render(&self, request: &Request<'_>) -> Result<String, ChatError> {
        let meter = Arc::new(Meter::new(request.fuel));
        let env = environment(&meter, request);
        let (main, blocks) = compile::compile(&self.source)?;
        let mut text = String::new();
        let result = eval(
            &env,
            &main,
            request.variables(),
            &blocks,
            &mut make_string_output(&mut text),
            AutoEscape::None,
        );
        let Err(error) = result.map(drop) else { return Ok(text) };
        Err(match meter.stopped() {
            Some(Stop::Refused(message)) => ChatError::Refused(message),
            Some(Stop::Fuel) => ChatError::Fuel { allowed: request.fuel },
            Some(Stop::TooLarge) => ChatError::TooLarge { limit: MAX_BYTES },
            None if error.kind() == ErrorKind::OutOfFuel => ChatError::Fuel { allowed: request.fuel },
            None => {
                let what = match error.detail() {
                    Some(detail) => detail.to_string(),
                    None => error.kind().to_string(),
                };
                ChatError::Runtime { line: error.line().unwrap_or(0), what }
            }
        })
    }

    /// As [`Template::render`], with every text that users or tools wrote passed through `guard` before, such as
    /// [`Tokenizer::guard`]: what [`Tokenizer::encode_chat`] wants.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn render_guarded(
        &self,
        request: &Request<'_>,
        guard: impl Fn(&str) -> String,
    ) -> Result<String, ChatError> {
        let messages: Vec<Message> = request.messages.iter().map(|message| message.guarded(&guard)).collect();
        self.render(&Request { messages: &messages, ..request.clone() })
    }

    /// The tokens that the model should continue.
    ///
    /// Names of control tokens that users or tools wrote are text ([`Tokenizer::guard`]); those of the template, of
    /// the system message and of earlier answers are tokens. The tokenizer's first token comes first, whether the
    /// template writes it or leaves it out. Where `request` does not name the tokens at the ends, the tokenizer does.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn tokens(&self, request: &Request<'_>, tokenizer: &Tokenizer) -> Result<Vec<u32>, ChatError> {
        let (bos, eos) = ends(tokenizer);
        let request = Request {
            bos: if request.bos.is_empty() { &bos } else { request.bos },
            eos: if request.eos.is_empty() { &eos } else { request.eos },
            ..request.clone()
        };
        let text = self.render_guarded(&request, |text| tokenizer.guard(text).into_owned())?;
        Ok(tokenizer.encode_chat(&text))
    }
}

/// The text of a model file's template: `tokenizer.chat_template`, or the one that the file calls `name`
/// (`tokenizer.chat_template.tool_use`, say).
///
/// # Errors
/// [`ChatError::Missing`] when the file has none: another family's template would work badly without any sign, so
/// nothing is assumed. [`ChatError::NotText`] when it has something else.
pub fn source<'f>(file: &'f gguf::File, name: Option<&str>) -> Result<&'f str, ChatError> {
    let mut key = "tokenizer.chat_template".to_string();
    if let Some(name) = name {
        key = format!("{key}.{name}");
    }
    match file.str(&key) {
        Ok(Some(source)) => Ok(source),
        Ok(None) => Err(ChatError::Missing { key }),
        Err(error) => Err(ChatError::NotText { key, found: error.what }),
    }
}

/// The texts of the tokens that a tokenizer's sequences begin and end with, for [`Request::bos`] and [`Request::eos`];
/// empty where there are none.
pub fn ends(tokenizer: &Tokenizer) -> (String, String) {
    let name = |id: Option<u32>| id.and_then(|id| tokenizer.token(id)).unwrap_or_default().into_owned();
    (name(tokenizer.bos()), name(tokenizer.eos()))
}

/// Everything that a template can call.
fn environment(meter: &Arc<Meter>, request: &Request<'_>) -> Environment<'static> {
    let mut env = Environment::empty();
    env.set_fuel(Some(request.fuel));
    env.set_recursion_limit(200);
    ops::register(&mut env, meter);
    builtins::register(&mut env, meter);
    let paying = Arc::clone(meter);
    env.set_formatter(move |out, _, value| match value.as_str() {
        Some(text) => paying.write(text.len()).and_then(|()| Ok(out.write_str(text)?)),
        None => {
            let text = python::str(value, &paying)?;
            paying.write(text.len()).and_then(|()| Ok(out.write_str(&text)?))
        }
    });
    let paying = Arc::clone(meter);
    env.add_function("raise_exception", move |message: &Value| -> Result<Value, Error> {
        let message = python::str(message, &paying)?;
        Err(paying.stop(Stop::Refused(message)))
    });
    let (paying, frozen) = (Arc::clone(meter), request.now);
    env.add_function("strftime_now", move |format: &str| {
        // The longest names that a directive stands for have some twenty letters.
        paying.make_text(format.len().saturating_mul(12))?;
        match frozen.or_else(clock::now) {
            Some(now) => Ok(clock::strftime(now, format)),
            None => Err(Error::new(
                ErrorKind::InvalidOperation,
                "the template asks for the date and there is no clock; set the request's `now`",
            )),
        }
    });
    env
}
