//! `mote quantize`: writes a model with weights of fewer bits.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use motelm::quantize::adapt::{Adapted, mean_error};
use motelm::quantize::imatrix::Importance;
use motelm::quantize::mix::Mix;
use motelm::quantize::{Job, Loss, Options, QuantizeError};
use motelm_core::ErrorKind;
use motelm_core::exec::Executor;
use motelm_core::gguf::{File, TensorInfo};
use motelm_core::quant::Dtype;

use super::args::QuantizeArgs;
use super::errors::{Failure, Kind};
use super::interrupt::Watch;
use super::output::{self, size};

/// Does what the arguments say.
pub fn quantize(args: &QuantizeArgs) -> Result<(), Failure> {
    let file = motelm::open(&args.input)?;
    if !args.dry_run {
        refuse_input_as_output(args, &file)?;
    }
    let importance = args.imatrix.as_deref().map(Importance::open).transpose()?;
    let pool = args.processor.pool();
    let options = options(args, importance.as_ref(), &pool)?;
    let adapted = args.target_bpw.map(|bits| adapt(&file, &options, bits)).transpose()?;
    let job = match &adapted {
        None => Job::new(&file, &options),
        Some(adapted) => Job::with_types(&file, &options, adapted.types.clone()),
    };
    let job = job.map_err(refused)?;
    let unknown = job.needs_importance().count();
    if unknown > 0 {
        let what = "tensors get so few bits that they need --imatrix to be of use (`mote imatrix` makes one)";
        output::tell(&format!("warning: {unknown} {what}\n"));
    }
    let start = Instant::now();
    let losses = if args.dry_run { Vec::new() } else { write(&job, args)? };
    let report = Report { args, job: &job, losses, predicted: adapted.map(|adapted| adapted.predicted) };
    output::show(&report.told(&file, start.elapsed().as_secs_f64()))
}

/// Chooses types by measured error, and shows how far it is.
fn adapt(file: &File, options: &Options<'_>, bits: f64) -> Result<Adapted, Failure> {
    let watch = Watch::start();
    let bar = progress_bar("measuring {wide_bar} {pos}/{len} tensors, {eta}", file.tensors().len() as u64);
    let adapted = Adapted::choose(file, options, bits, |done| {
        bar.set_position(done as u64);
        !watch.asked()
    });
    bar.finish_and_clear();
    adapted.map_err(refused)?.ok_or(Failure::Interrupted)
}

fn options<'a>(
    args: &QuantizeArgs,
    importance: Option<&'a Importance>,
    exec: &'a dyn Executor,
) -> Result<Options<'a>, Failure> {
    let mix = match args.mix.as_deref() {
        None => None,
        Some(name) if name.eq_ignore_ascii_case("copy") => None,
        Some(name) => Some(Mix::from_name(name).ok_or_else(|| {
            let names: Vec<&str> = Mix::ALL.iter().map(|mix| mix.name()).collect();
            let what = format!("there is no file type `{name}`");
            Failure::new(Kind::Usage, what).hint(format!("expected COPY or one of {}", names.join(" ")))
        })?),
    };
    Ok(Options {
        mix,
        pure: args.pure,
        output_type: args.output_type,
        embedding_type: args.token_embd_type,
        tensor_types: args.tensor_type.clone(),
        importance,
        requantize: args.allow_requantize,
        keep_split: args.keep_split,
        measure: args.verbose || args.target_bpw.is_some(),
        level: args.processor.level(),
        exec,
    })
}

fn refused(error: motelm_core::Error) -> Failure {
    let kind = if error.kind == ErrorKind::Argument { Kind::Usage } else { Kind::File };
    let failure = Failure::new(kind, error.to_string());
    match error.kind {
        ErrorKind::Unsupported => failure.hint("take the F16 or F32 file, or say --allow-requantize"),
        ErrorKind::Shape => failure.hint("make the importance file from the same model"),
        _ => failure,
    }
}

/// A model is read while its successor is written, so they cannot be one file.
fn refuse_input_as_output(args: &QuantizeArgs, file: &File) -> Result<(), Failure> {
    let shards = file.tensors().iter().map(|tensor| tensor.shard + 1).max().unwrap_or(1);
    let same = |a: &Path, b: &Path| match (fs::canonicalize(a), fs::canonicalize(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    };
    let inputs = motelm::files(&args.input, shards);
    let outputs = motelm::quantize::files(&args.output, if args.keep_split { shards } else { 1 });
    match outputs.iter().find(|output| inputs.iter().any(|input| same(input, output))) {
        None => Ok(()),
        Some(output) => {
            let what = format!("{} is the model that is read; it cannot be written too", output.display());
            Err(Failure::new(Kind::Usage, what).hint("name another file"))
        }
    }
}

/// Writes the model, and shows how far it is. Returns what was lost in each tensor, where that is measured.
fn write(job: &Job<'_>, args: &QuantizeArgs) -> Result<Vec<Option<Loss>>, Failure> {
    let watch = Watch::start();
    let bar = progress_bar("{wide_bar} {percent} %, {eta}  {msg}", job.elements());
    let mut losses = Vec::new();
    let result = job.write(&args.output, |progress| {
        bar.set_position(progress.done);
        if let Some(loss) = progress.finished {
            bar.set_message(progress.tensor.name.clone());
            losses.push(loss);
        }
        !watch.asked()
    });
    bar.finish_and_clear();
    match result {
        Ok(()) => Ok(losses),
        Err(QuantizeError::Stopped) => Err(Failure::Interrupted),
        Err(QuantizeError::Model(error)) => Err(refused(error)),
        Err(QuantizeError::Io { path, source }) => {
            let what = format!("{} cannot be written: {source}", path.display());
            Err(Failure::new(Kind::Other, what))
        }
        Err(error) => Err(Failure::new(Kind::Other, error.to_string())),
    }
}

fn progress_bar(template: &str, len: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(len).with_style(style.expect("the template is well-formed"))
}

/// What was done.
struct Report<'a> {
    args: &'a QuantizeArgs,
    job: &'a Job<'a>,
    /// In the order in which tensors were written.
    losses: Vec<Option<Loss>>,
    predicted: Option<Vec<Option<f64>>>,
}

impl Report<'_> {
    /// A line, and with `--verbose` or when nothing is written, a table.
    fn told(&self, file: &File, seconds: f64) -> String {
        let mut told = String::new();
        if self.args.verbose || self.args.dry_run {
            for (i, (tensor, dtype)) in self.job.tensors().enumerate() {
                self.row(&mut told, i, tensor, dtype);
            }
        }
        let before: u64 = file.tensors().iter().map(|tensor| tensor.len as u64).sum();
        let after = self.job.bytes();
        let bits = 8.0 * after as f64 / self.job.elements() as f64;
        let (n, before, after) = (file.tensors().len(), size(before), size(after));
        let _ = write!(told, "{n} tensors, {before} -> {after}, {bits:.2} bits per weight");
        if let Some(predicted) = &self.predicted {
            let _ = write!(
                told,
                ", predicted error {}",
                percent(mean_error(predicted.iter().copied().flatten()))
            );
        }
        if self.losses.iter().any(Option::is_some) {
            let lost = self.losses.iter().flatten().map(|loss| loss.relative());
            let _ = write!(told, ", error {}", percent(mean_error(lost)));
        }
        if !self.args.dry_run {
            let _ = write!(told, ", {seconds:.1} s");
        }
        told.push('\n');
        told
    }

    fn row(&self, told: &mut String, i: usize, tensor: &TensorInfo, dtype: Dtype) {
        let shape = tensor.dims().iter().map(usize::to_string).collect::<Vec<_>>().join(" x ");
        let bytes = dtype.tensor_bytes(&tensor.shape).map_or(0, |bytes| bytes as u64);
        let (name, from, to, bytes) = (&tensor.name, tensor.dtype.name(), dtype.name(), size(bytes));
        let _ = write!(told, "{name:<36} {shape:>18}  {from:>4} -> {to:<7} {bytes:>10}");
        if let Some(predicted) = self.predicted.as_ref().and_then(|predicted| predicted[i]) {
            let _ = write!(told, "  predicted {:>8}", percent(predicted));
        }
        if let Some(loss) = self.losses.get(i).copied().flatten() {
            let _ = write!(told, "  error {:>8}", percent(loss.relative()));
        }
        told.push('\n');
    }
}

fn percent(part: f64) -> String {
    format!("{:.3} %", 100.0 * part)
}
