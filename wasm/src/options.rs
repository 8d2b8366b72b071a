//! Options, as JavaScript says them: the engine's names, in camel case. What is left out has the engine's default.

use motelm_core::embed::{self, Length, Pooling};
use motelm_core::generate::{End, Full, Limits};
use motelm_core::model::plan::Plan;
use motelm_core::sample::{self, Mirostat, SamplerKind};
use motelm_core::tokenizer::{AddSpecial, Encode, ParseSpecial, Tokenizer};
use motelm_core::{KvType, session};
use wasm_bindgen::JsValue;

use crate::error::Result;
use crate::object::{Fields, count, list, whole};

/// `{ context, batch, kv: "f16" | "f32" | "q8_0" | "q4_0" }`
pub(crate) fn session(options: &JsValue) -> Result<session::Options> {
    let mut fields = Fields::of(options)?;
    let mut options = fresh();
    fields.count("context", &mut options.context)?;
    fields.count("batch", &mut options.batch)?;
    fields.take("kv", "\"f16\", \"f32\", \"q8_0\" or \"q4_0\"", &mut options.kv, |value| {
        let name = value.as_string()?;
        KvType::ALL.into_iter().find(|kind| kind.to_string().eq_ignore_ascii_case(&name))
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
pub(crate) fn embedding(options: &JsValue) -> Result<embed::Options> {
    let mut fields = Fields::of(options)?;
    let mut options = embed::Options { session: fresh(), ..Default::default() };
    fields.take("pooling", "cls, last, max, mean, none or rank", &mut options.pooling, |value| {
        Some(Some(match value.as_string()?.as_str() {
            "cls" => Pooling::Cls,
            "last" => Pooling::Last,
            "max" => Pooling::Max,
            "mean" => Pooling::Mean,
            "none" => Pooling::None,
            "rank" => Pooling::Rank,
            _ => return None,
        }))
    })?;
    fields.take("dim", "a whole number", &mut options.dim, |value| Some(Some(count(value)?)))?;
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
pub(crate) fn generation(options: &JsValue, tokenizer: &Tokenizer) -> Result<(sample::Options, Limits)> {
    let mut fields = Fields::of(options)?;
    let mut options = sample::Options::default();
    let mut limits = Limits::default();
    fields.take("seed", "a whole number", &mut options.seed, whole)?;
    fields.take("samplers", "a list of samplers' names", &mut options.samplers, |value| {
        list(value, |name| name.as_string()?.parse::<SamplerKind>().ok())
    })?;
    fields.take("logitBias", "a list of [token, bias]", &mut options.logit_bias, biases)?;
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
    fields.take("mirostat", "0, 1 or 2", &mut options.mirostat, |value| match whole(value)? {
        0 => Some(Mirostat::Off),
        1 => Some(Mirostat::V1),
        2 => Some(Mirostat::V2),
        _ => None,
    })?;
    fields.texts("stop", &mut limits.stop_strings)?;
    fields.ids("stopIds", &mut limits.stop_ids)?;
    fields.take("logProbs", "a whole number", &mut limits.log_probs, |value| Some(Some(count(value)?)))?;
    let mut ignore_end = false;
    fields.flag("ignoreEnd", &mut ignore_end)?;
    if ignore_end {
        limits.end = End::Ignored;
    }
    fields.take("shiftKeep", "a whole number", &mut limits.full, |value| {
        Some(Full::Shifts { keep: count(value)? })
    })?;
    fields.end()?;
    Ok((options, limits))
}

/// `[[token, bias], ...]`
fn biases(value: &JsValue) -> Option<Vec<(u32, f32)>> {
    list(value, |pair| match list(&pair, Some)?.as_slice() {
        [id, bias] => Some((count(id)?, bias.as_f64()? as f32)),
        _ => None,
    })
}
