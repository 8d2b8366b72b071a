//! What files say about themselves, as JavaScript's objects.

use js_sys::{Array, Object};
use motelm_core::gguf::{File, TensorInfo, Value};
use motelm_core::model::plan::{Head, Plan};
use wasm_bindgen::JsValue;

use crate::object::{number, object};

/// Elements of an array that are shown.
const SHOWN: usize = 16;

/// The facts that a page shows first.
pub(crate) fn info(file: &File, plan: &Plan) -> Object {
    let text = |key: &str| file.str(key).ok().flatten();
    let encoder = plan.is_encoder();
    let dimensions = match &plan.head {
        Head::Embedding { dense, .. } => dense.last().map_or(plan.dim, |linear| linear.n_out),
        Head::Logits { .. } => plan.dim,
    };
    object([
        ("version", file.version().into()),
        ("architecture", text("general.architecture").into()),
        ("name", text("general.name").into()),
        ("license", text("general.license").into()),
        ("parameters", number(file.tensors().iter().map(|tensor| tensor.elements() as u64).sum())),
        ("bytes", number(file.total_bytes())),
        ("files", number(file.u64("split.count").ok().flatten().unwrap_or(1).max(1))),
        ("weights", commonest_type(file).into()),
        ("layers", plan.layers.len().into()),
        ("dimensions", dimensions.into()),
        ("vocabulary", plan.n_vocab.into()),
        ("trainedContext", plan.context.into()),
        ("task", if encoder { "embed" } else { "generate" }.into()),
        ("chatTemplate", text("tokenizer.chat_template").is_some().into()),
    ])
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

/// `[[key, value], ...]`; of long arrays the beginning, as `{ length: n, first: [...] }`.
pub(crate) fn metadata(file: &File) -> Array {
    file.metadata().map(|(key, entry)| Array::of2(&key.into(), &value(entry))).collect()
}

fn value(value_: Value<'_>) -> JsValue {
    match value_ {
        Value::Bool(yes) => yes.into(),
        Value::Str(text) => (&*String::from_utf8_lossy(text)).into(),
        Value::F32(x) => x.into(),
        Value::F64(x) => x.into(),
        Value::I8(n) => n.into(),
        Value::I16(n) => n.into(),
        Value::I32(n) => n.into(),
        Value::I64(n) => (n as f64).into(),
        Value::Array(array) => {
            let first: Array = array.iter().take(SHOWN).map(value).collect();
            object([("length", array.len().into()), ("first", first.into())]).into()
        }
        Value::U8(_) | Value::U16(_) | Value::U32(_) | Value::U64(_) => value_.as_u64().map(number).into(),
    }
}

/// `[{ name, type, shape, bytes }, ...]`
pub(crate) fn tensors(file: &File) -> Array {
    let tensor = |tensor: &TensorInfo| {
        object([
            ("name", (&*tensor.name).into()),
            ("type", tensor.dtype.name().into()),
            ("shape", tensor.dims().iter().map(|&n| JsValue::from(n)).collect::<Array>().into()),
            ("bytes", tensor.len.into()),
        ])
    };
    file.tensors().iter().map(tensor).collect()
}
