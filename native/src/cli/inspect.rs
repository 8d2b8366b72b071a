//! `mote inspect`: what a file holds, whether it can run, and what it takes.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use motelm::Pool;
use motelm_core::Model;
use motelm_core::gguf::{File, TensorInfo, Value};
use motelm_core::session::Memory;
use serde::Serialize;
use serde_json::{Map, json};

use super::args::InspectArgs;
use super::engine::{self, Source};
use super::errors::{Failure, Kind};
use super::output::{self, size};

/// Longer arrays are told by their length.
const LISTED: usize = 16;

/// Shows what the arguments ask for. A file with tensors that cannot run is a failure, told after all the rest.
pub fn inspect(args: &InspectArgs) -> Result<(), Failure> {
    let source = Source::map(args.model.as_deref())?;
    let model = Model::new(&source.file);
    let memory = match &model {
        Ok(model) if args.memory => {
            let options = engine::options(&args.session, 1, Arc::new(Pool::new(1)));
            Some((model.memory(&options)?, options.batch))
        }
        _ => None,
    };
    let problem = model.as_ref().err().map(|error| error.to_string());
    if args.json {
        output::json(&report(
            &source,
            args,
            model.as_ref().ok(),
            memory.map(|(memory, _)| memory),
            &problem,
        ))?;
    } else {
        output::show(&told(&source, args, model.as_ref().ok(), memory))?;
    }
    let asked = args.plan || args.memory;
    match model {
        // A vocabulary without a model is good for tokenizing.
        Err(_) if source.file.tensors().is_empty() && !asked => Ok(()),
        Err(error) => {
            let told = Failure::new(Kind::File, format!("{} cannot run: {error}", source.name));
            Err(told.hint("the file is damaged, or its architecture is newer than this mote"))
        }
        Ok(_) => Ok(()),
    }
}

#[derive(Serialize)]
struct Report {
    name: String,
    version: u32,
    bytes: u64,
    metadata: Map<String, serde_json::Value>,
    n_tensors: usize,
    parameters: u64,
    dtypes: BTreeMap<&'static str, usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tensors: Option<Vec<serde_json::Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<serde_json::Value>,
    /// Why it cannot run.
    problem: Option<String>,
}

fn report(
    source: &Source,
    args: &InspectArgs,
    model: Option<&Model>,
    memory: Option<Memory>,
    problem: &Option<String>,
) -> Report {
    let file = &source.file;
    let tensor = |tensor: &TensorInfo| {
        json!({
            "name": tensor.name,
            "dtype": tensor.dtype.name(),
            "shape": tensor.dims(),
            "file": tensor.shard,
            "offset": tensor.start,
            "bytes": tensor.len,
        })
    };
    Report {
        name: source.name.clone(),
        version: file.version(),
        bytes: file.total_bytes(),
        metadata: file.metadata().map(|(key, value)| (key.into(), value_json(value))).collect(),
        n_tensors: file.tensors().len(),
        parameters: parameters(file),
        dtypes: dtypes(file).into_iter().map(|(name, (n, _))| (name, n)).collect(),
        tensors: args.tensors.then(|| file.tensors().iter().map(tensor).collect()),
        plan: model.filter(|_| args.plan).map(|model| model.plan().to_string()),
        memory: memory.map(|memory| {
            json!({"kv": memory.kv, "buffers": memory.buffers, "total": memory.total(), "file": file.total_bytes()})
        }),
        problem: problem.clone(),
    }
}

/// A value as JSON; long arrays by kind and length.
fn value_json(value: Value<'_>) -> serde_json::Value {
    match value {
        Value::Str(bytes) => String::from_utf8_lossy(bytes).into(),
        Value::Bool(value) => value.into(),
        // As short as it was meant, not widened.
        Value::F32(x) => x.to_string().parse::<f64>().ok().into(),
        Value::F64(x) => x.into(),
        Value::I8(n) => n.into(),
        Value::I16(n) => n.into(),
        Value::I32(n) => n.into(),
        Value::I64(n) => n.into(),
        Value::Array(array) if array.len() > LISTED => {
            json!({"array": format!("{:?}", array.kind()), "len": array.len()})
        }
        Value::Array(array) => array.iter().map(value_json).collect(),
        unsigned => unsigned.as_u64().into(),
    }
}

fn told(
    source: &Source,
    args: &InspectArgs,
    model: Option<&Model>,
    memory: Option<(Memory, usize)>,
) -> String {
    let file = &source.file;
    let mut told = format!(
        "{}: GGUF version {}, {}\n\nmetadata\n",
        source.name,
        file.version(),
        size(file.total_bytes())
    );
    let metadata: Vec<_> = file.metadata().collect();
    let width = metadata.iter().map(|(key, _)| key.len()).max().unwrap_or(0).min(44);
    for (key, value) in metadata {
        line(&mut told, format_args!("  {key:width$}  {}", value_text(value)));
    }
    line(&mut told, format_args!("\ntensors: {}, {} parameters", file.tensors().len(), parameters(file)));
    for (name, (n, bytes)) in dtypes(file) {
        line(&mut told, format_args!("  {name:8} {n:>5}  {}", size(bytes)));
    }
    if args.tensors {
        told += &tensor_list(file);
    }
    if let Some(model) = model {
        if args.plan {
            line(&mut told, format_args!("\nplan\n{}", model.plan()));
        }
        if let Some((memory, batch)) = memory {
            let context = args.session.context.unwrap_or(model.plan().context.min(4096));
            let batch = batch.min(context);
            line(&mut told, format_args!("\nmemory of a session with context {context}, batch {batch}"));
            for (what, bytes) in
                [("keys, values", memory.kv), ("buffers", memory.buffers), ("total", memory.total())]
            {
                line(&mut told, format_args!("  {what:13} {bytes:>13}  {}", size(bytes)));
            }
            line(&mut told, format_args!("  beside the mapped file of {}", size(file.total_bytes())));
        }
    }
    told
}

fn tensor_list(file: &File) -> String {
    let mut told = String::from("\n");
    let split = file.tensors().iter().any(|tensor| tensor.shard > 0);
    let width = file.tensors().iter().map(|tensor| tensor.name.len()).max().unwrap_or(0);
    for tensor in file.tensors() {
        let shape = tensor.dims().iter().map(ToString::to_string).collect::<Vec<_>>().join(" x ");
        let shard = if split { format!(" of file {}", tensor.shard + 1) } else { String::new() };
        let (name, dtype) = (&tensor.name, tensor.dtype.name());
        line(
            &mut told,
            format_args!(
                "  {name:width$}  {dtype:8} {shape:>22}  {} bytes at {}{shard}",
                tensor.len, tensor.start
            ),
        );
    }
    told
}

/// A value on one line; short arrays with their elements.
fn value_text(value: Value<'_>) -> String {
    match value {
        Value::Array(array) if array.len() <= LISTED => {
            let elements: Vec<String> = array.iter().map(|value| value.to_string()).collect();
            format!("[{}]", elements.join(", "))
        }
        value => value.to_string(),
    }
}

fn line(to: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(to, "{text}").expect("a string takes any text");
}

fn parameters(file: &File) -> u64 {
    file.tensors().iter().map(|tensor| tensor.elements() as u64).sum()
}

/// How many tensors there are of each type, and their bytes.
fn dtypes(file: &File) -> BTreeMap<&'static str, (usize, u64)> {
    let mut dtypes = BTreeMap::new();
    for tensor in file.tensors() {
        let (n, bytes) = dtypes.entry(tensor.dtype.name()).or_insert((0, 0));
        *n += 1;
        *bytes += tensor.len as u64;
    }
    dtypes
}
