//! Options, as JSON says them: the engine's names, in camel case. What is left out has the engine's default.

use motelm_core::embed::{self, Length, Pooling};
use motelm_core::generate::{End, Full, Limits};
use motelm_core::model::plan::Plan;
use motelm_core::sample::{self, Mirostat, SamplerKind};
use motelm_core::tokenizer::{AddSpecial, Encode, ParseSpecial, Tokenizer};
use motelm_core::{KvType, session};
use serde_json::{Map, Value};

use crate::error::{Failure, Result};

/// Fields of a JSON object, taken out one by one: what is left was not understood.
struct Fields(Map<String, Value>);

impl Fields {
    /// An object; an empty text is one without fields.
    fn parse(json: &str) -> Result<Self> {
        if json.is_empty() { Ok(Self(Map::new())) } else { Ok(Self(serde_json::from_str(json)?)) }
    }

    /// Converts a field into `to`, where it is given.
    fn take<T>(
        &mut self,
        name: &str,
        expected: &str,
        to: &mut T,
        convert: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<()> {
        match self.0.shift_remove(name) {
            None | Some(Value::Null) => Ok(()),
            Some(value) => {
                *to = convert(&value).ok_or_else(|| {
                    Failure::argument(format!("option `{name}` is {value}; expected {expected}"))
                })?;
                Ok(())
            }
        }
    }

    fn float(&mut self, name: &str, to: &mut f32) -> Result<()> {
        self.take(name, "a number", to, |value| Some(value.as_f64()? as f32))
    }

    fn count(&mut self, name: &str, to: &mut usize) -> Result<()> {
        self.take(name, "a whole number", to, |value| value.as_u64()?.try_into().ok())
    }

    fn flag(&mut self, name: &str, to: &mut bool) -> Result<()> {
        self.take(name, "true or false", to, Value::as_bool)
    }

    fn texts(&mut self, name: &str, to: &mut Vec<String>) -> Result<()> {
        self.take(name, "a list of texts", to, |value| {
            value.as_array()?.iter().map(|text| text.as_str().map(Into::into)).collect()
        })
    }

    fn ids(&mut self, name: &str, to: &mut Vec<u32>) -> Result<()> {
        self.take(name, "a list of token ids", to, |value| {
            value.as_array()?.iter().map(|id| id.as_u64()?.try_into().ok()).collect()
        })
    }

    /// All fields must have been taken.
    fn end(self) -> Result<()> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(name) => Err(Failure::argument(format!("there is no option `{name}`"))),
        }
    }
}

/// `{ context, batch, kv: "f16" | "f32" | "q8_0" | "q4_0" }`
pub(crate) fn session(json: &str) -> Result<session::Options> {
    let mut fields = Fields::parse(json)?;
    let mut options = fresh();
    fields.count("context", &mut options.context)?;
    fields.count("batch", &mut options.batch)?;
    fields.take("kv", "\"f16\", \"f32\", \"q8_0\" or \"q4_0\"", &mut options.kv, |value| {
        let name = value.as_str()?;
        KvType::ALL.into_iter().find(|kind| kind.to_string().eq_ignore_ascii_case(name))
    })?;
    fields.end()?;
    Ok(options)
}

fn fresh() -> session::Options {
    session::Options { batch: 256, exec: crate::threads::executor(), ..Default::default() }
}

/// What an embedder's session takes at most: room for a whole text, or for a batch of shorter ones.
pub(crate) fn longest(plan: &Plan, mut options: session::Options) -> session::Options {
    if plan.is_encoder() {
        let text = if options.context == 0 { plan.context } else { options.context.min(plan.context) };
        options.batch = options.batch.max(text);
        options.context = options.batch;
    }
    options
}

/// `{ pooling: "cls" | "last" | "max" | "mean" | "none" | "rank", dim, normalize, maxTokens, batch }`
pub(crate) fn embedding(json: &str) -> Result<embed::Options> {
    let mut fields = Fields::parse(json)?;
    let mut options = embed::Options { session: fresh(), ..Default::default() };
    fields.take("pooling", "cls, last, max, mean, none or rank", &mut options.pooling, |value| {
        Some(Some(match value.as_str()? {
            "cls" => Pooling::Cls,
            "last" => Pooling::Last,
            "max" => Pooling::Max,
            "mean" => Pooling::Mean,
            "none" => Pooling::None,
            "rank" => Pooling::Rank,
            _ => return None,
        }))
    })?;
    fields.take("dim", "a whole number", &mut options.dim, |value| {
        Some(Some(value.as_u64()?.try_into().ok()?))
    })?;
    let mut normalize = true;
    fields.flag("normalize", &mut normalize)?;
    if !normalize {
        options.length = Length::AsIs;
    }
    fields.count("maxTokens", &mut options.max_tokens)?;
    fields.count("batch", &mut options.session.batch)?;
    fields.end()?;
    Ok(options)
}

/// How to generate: the sampler's options and the limits.
pub(crate) fn generation(json: &str, tokenizer: &Tokenizer) -> Result<(sample::Options, Limits)> {
    let mut fields = Fields::parse(json)?;
    let mut options = sample::Options::default();
    let mut limits = Limits::default();
    fields.take("seed", "a whole number", &mut options.seed, Value::as_u64)?;
    fields.take("samplers", "a list of samplers' names", &mut options.samplers, |value| {
        value.as_array()?.iter().map(|name| name.as_str()?.parse::<SamplerKind>().ok()).collect()
    })?;
    fields.take(
        "logitBias",
        "a list of [token, bias] or { token: bias }",
        &mut options.logit_bias,
        biases,
    )?;
    for (name, to) in [
        ("temperature", &mut options.temperature),
        ("dynatempRange", &mut options.dynatemp_range),
        ("dynatempExponent", &mut options.dynatemp_exponent),
        ("topP", &mut options.top_p),
        ("minP", &mut options.min_p),
        ("typicalP", &mut options.typical_p),
        ("topNSigma", &mut options.top_n_sigma),
        ("xtcProbability", &mut options.xtc_probability),
        ("xtcThreshold", &mut options.xtc_threshold),
        ("repeatPenalty", &mut options.repeat_penalty),
        ("presencePenalty", &mut options.presence_penalty),
        ("frequencyPenalty", &mut options.frequency_penalty),
        ("dryMultiplier", &mut options.dry_multiplier),
        ("dryBase", &mut options.dry_base),
        ("mirostatTau", &mut options.mirostat_tau),
        ("mirostatEta", &mut options.mirostat_eta),
    ] {
        fields.float(name, to)?;
    }
    for (name, to) in [
        ("minKeep", &mut options.min_keep),
        ("topK", &mut options.top_k),
        ("repeatLastN", &mut options.repeat_last_n),
        ("dryAllowedLength", &mut options.dry_allowed_length),
        ("dryLastN", &mut options.dry_last_n),
        ("maxTokens", &mut limits.max_tokens),
    ] {
        fields.count(name, to)?;
    }
    let mut breakers = ["\n", ":", "\"", "*"].map(String::from).to_vec();
    fields.texts("dryBreakers", &mut breakers)?;
    let plain = Encode { add_special: AddSpecial::No, parse_special: ParseSpecial::No };
    let breakers = breakers.iter().map(|text| tokenizer.encode(text, plain));
    options.dry_breakers = breakers.filter(|tokens| !tokens.is_empty()).collect();
    fields.take("mirostat", "0, 1 or 2", &mut options.mirostat, |value| match value.as_u64()? {
        0 => Some(Mirostat::Off),
        1 => Some(Mirostat::V1),
        2 => Some(Mirostat::V2),
        _ => None,
    })?;
    fields.texts("stop", &mut limits.stop_strings)?;
    fields.ids("stopIds", &mut limits.stop_ids)?;
    fields.take("logProbs", "a whole number", &mut limits.log_probs, |value| {
        Some(Some(value.as_u64()?.try_into().ok()?))
    })?;
    let mut ignore_end = false;
    fields.flag("ignoreEnd", &mut ignore_end)?;
    if ignore_end {
        limits.end = End::Ignored;
    }
    fields.take("shiftKeep", "a whole number", &mut limits.full, |value| {
        Some(Full::Shifts { keep: value.as_u64()?.try_into().ok()? })
    })?;
    fields.end()?;
    Ok((options, limits))
}

/// `[[token, bias], ...]` or `{ "token": bias, ... }`
fn biases(value: &Value) -> Option<Vec<(u32, f32)>> {
    if let Value::Object(by_token) = value {
        return by_token.iter().map(|(id, bias)| Some((id.parse().ok()?, bias.as_f64()? as f32))).collect();
    }
    let pair = |pair: &Value| match pair.as_array()?.as_slice() {
        [id, bias] => Some((id.as_u64()?.try_into().ok()?, bias.as_f64()? as f32)),
        _ => None,
    };
    value.as_array()?.iter().map(pair).collect()
}
