//! What files say about themselves, as JSON.

use motelm_core::gguf::{File, Value};
use motelm_core::model::plan::{Head, Plan};
use serde_json::json;

/// Elements of an array that are shown.
const SHOWN: usize = 16;

/// The facts that a page shows first.
pub(crate) fn info(file: &File, plan: &Plan) -> String {
    let text = |key: &str| file.str(key).ok().flatten();
    let encoder = plan.is_encoder();
    let dimensions = match &plan.head {
        Head::Embedding { dense, .. } => dense.last().map_or(plan.dim, |linear| linear.n_out),
        Head::Logits { .. } => plan.dim,
    };
    json!({
        "version": file.version(),
        "architecture": text("general.architecture"),
        "name": text("general.name"),
        "license": text("general.license"),
        "parameters": file.tensors().iter().map(|tensor| tensor.elements() as u64).sum::<u64>(),
        "bytes": file.total_bytes(),
        "files": file.u64("split.count").ok().flatten().unwrap_or(1).max(1),
        "weights": commonest_type(file),
        "layers": plan.layers.len(),
        "dimensions": dimensions,
        "vocabulary": plan.n_vocab,
        "trainedContext": plan.context,
        "task": if encoder { "embed" } else { "generate" },
        "chatTemplate": text("tokenizer.chat_template").is_some(),
    })
    .to_string()
}

/// The type that most weights are stored as.
fn commonest_type(file: &File) -> String {
    let mut counts: Vec<(String, u64)> = Vec::new();
    for tensor in file.tensors() {
        let (name, elements) = (tensor.dtype.to_string(), tensor.elements() as u64);
        match counts.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += elements,
            None => counts.push((name, elements)),
        }
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(name, _)| name).unwrap_or_default()
}

/// `[[key, value], ...]`; of long arrays the beginning, as `{ "length": n, "first": [...] }`.
pub(crate) fn metadata(file: &File) -> String {
    let entries: Vec<_> = file.metadata().map(|(key, entry)| json!([key, value(entry)])).collect();
    json!(entries).to_string()
}

fn value(value_: Value<'_>) -> serde_json::Value {
    match value_ {
        Value::Bool(yes) => json!(yes),
        Value::Str(text) => json!(String::from_utf8_lossy(text)),
        Value::F32(x) => json!(x),
        Value::F64(x) => json!(x),
        Value::I8(n) => json!(n),
        Value::I16(n) => json!(n),
        Value::I32(n) => json!(n),
        Value::I64(n) => json!(n),
        Value::Array(array) => {
            let first: Vec<_> = array.iter().take(SHOWN).map(value).collect();
            json!({ "length": array.len(), "first": first })
        }
        Value::U8(_) | Value::U16(_) | Value::U32(_) | Value::U64(_) => json!(value_.as_u64()),
    }
}

/// `[{ name, type, shape, bytes }, ...]`
pub(crate) fn tensors(file: &File) -> String {
    let tensors: Vec<_> = file
        .tensors()
        .iter()
        .map(|tensor| {
            json!({
                "name": tensor.name,
                "type": tensor.dtype.name(),
                "shape": tensor.dims(),
                "bytes": tensor.len,
            })
        })
        .collect();
    json!(tensors).to_string()
}
