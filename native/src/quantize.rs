//! Rounding a model's weights: `mote quantize` as a library.
//!
//! [`Job::new`] decides which tensor gets which type, by the rules of a file type ([`mix`]) and whatever overrides them.
//! Nothing is computed for that, so a host can show it, or refuse it, before anything is written. [`Job::write`] then
//! reads the tensors where they lie in the file and writes them one after the other, some rows at a time, so that the
//! memory it takes does not depend on the model. The file appears under its name when it is whole, and not before.
//!
//! Types may also be chosen by what they cost ([`adapt`]): the error that each makes in each tensor is measured, and a
//! budget of bits is spent where it takes away most of it.

pub mod adapt;
mod encode;
pub mod gather;
pub mod imatrix;
pub mod mix;
mod output;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use motelm_core::exec::{Executor, Inline};
use motelm_core::gguf::{File, TensorInfo, Value, Writer};
use motelm_core::quant::{Dtype, Meets};
use motelm_core::simd::Level;
use motelm_core::{Error, ErrorKind};
pub use regex_lite::Regex;

pub use encode::Loss;
use imatrix::Importance;
use mix::{Facts, Mix, Rules, Tensor};
use output::Output;

/// What is wanted.
pub struct Options<'a> {
    /// The file type, or `None` to leave all tensors as they are.
    pub mix: Option<Mix>,
    /// Every matrix gets the file type's base, wherever its rows allow.
    pub pure: bool,
    /// For the output matrix, also when that is the embedding.
    pub output_type: Option<Dtype>,
    /// For the embedding.
    pub embedding_type: Option<Dtype>,
    /// Types for tensors whose name matches; the first match counts.
    pub tensor_types: Vec<(Regex, Dtype)>,
    /// How important columns are.
    pub importance: Option<&'a Importance>,
    /// Round weights again that were rounded before.
    pub requantize: bool,
    /// As many files as the input has.
    pub keep_split: bool,
    /// Decode what was encoded, to know what was lost.
    pub measure: bool,
    /// The instructions to use.
    pub level: Level,
    /// Who runs the pieces.
    pub exec: &'a dyn Executor,
}

impl Options<'_> {
    /// A file type and nothing special, on one thread.
    pub fn new(mix: Mix) -> Self {
        Self {
            mix: Some(mix),
            pure: false,
            output_type: None,
            embedding_type: None,
            tensor_types: Vec::new(),
            importance: None,
            requantize: false,
            keep_split: false,
            measure: false,
            level: crate::cpu::detect(),
            exec: &Inline,
        }
    }
}

/// Why nothing was written.
#[derive(Debug)]
#[non_exhaustive]
pub enum QuantizeError {
    /// The model or what is wanted of it.
    Model(Error),
    /// The output cannot be written.
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The caller's progress function said no.
    Stopped,
}

impl fmt::Display for QuantizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Model(error) => error.fmt(f),
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for QuantizeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Model(error) => Some(error),
            Self::Io { source, .. } => Some(source),
            Self::Stopped => None,
        }
    }
}

impl From<Error> for QuantizeError {
    fn from(error: Error) -> Self {
        Self::Model(error)
    }
}

/// Tensors and the types they will have.
pub struct Job<'a> {
    file: &'a File,
    options: &'a Options<'a>,
    /// One for each tensor of the file.
    types: Vec<Dtype>,
}

/// How far a job is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The tensor at work.
    pub tensor: &'a TensorInfo,
    /// Its new type.
    pub dtype: Dtype,
    /// Elements done, of all tensors.
    pub done: u64,
    /// When the tensor is finished: what was lost, when that is measured and something was.
    pub finished: Option<Option<Loss>>,
}

impl<'a> Job<'a> {
    /// Chooses types for all tensors.
    ///
    /// # Errors
    /// [`ErrorKind::Unsupported`] when a tensor would be rounded twice, [`ErrorKind::Shape`] when importance is of
    /// another model, [`ErrorKind::Argument`] when the file has no tensors.
    pub fn new(file: &'a File, options: &'a Options<'a>) -> Result<Self, Error> {
        if file.tensors().is_empty() {
            return Err(Error::new(ErrorKind::Argument, "the file has no tensors; expected a model"));
        }
        let tensors: Vec<Tensor<'_>> =
            file.tensors().iter().map(|tensor| Tensor { name: &tensor.name, dims: tensor.dims() }).collect();
        let wanted = match options.mix {
            None => vec![None; tensors.len()],
            Some(mix) => {
                let rules = Rules {
                    mix,
                    pure: options.pure,
                    with_importance: options.importance.is_some(),
                    output: options.output_type,
                    embedding: options.embedding_type,
                };
                rules.types(&Facts::of(file), &tensors, |tensor| options.forced(tensor.name))
            }
        };
        let types = file.tensors().iter().zip(wanted).map(|(tensor, wanted)| match wanted {
            Some(dtype) if holds_weights(tensor.dtype) => dtype,
            _ => tensor.dtype,
        });
        let types = types.collect();
        Self::with_types(file, options, types)
    }

    /// The job of giving each tensor its type in `types`.
    ///
    /// # Errors
    /// As [`Job::new`].
    ///
    /// # Panics
    /// When there are not as many types as tensors.
    pub fn with_types(file: &'a File, options: &'a Options<'a>, types: Vec<Dtype>) -> Result<Self, Error> {
        assert_eq!(types.len(), file.tensors().len(), "types, and tensors");
        for (tensor, &dtype) in file.tensors().iter().zip(&types) {
            if tensor.dtype == dtype {
                continue;
            }
            if is_rounded(tensor.dtype) && !options.requantize {
                let what = format!("is {} already; rounding it again to {dtype} loses more", tensor.dtype);
                return Err(Error::new(ErrorKind::Unsupported, what).at_tensor(&*tensor.name));
            }
            options.importance_of(tensor)?;
        }
        Ok(Self { file, options, types })
    }

    /// Each tensor, and the type it will have.
    pub fn tensors(&self) -> impl Iterator<Item = (&'a TensorInfo, Dtype)> {
        self.file.tensors().iter().zip(self.types.iter().copied())
    }

    /// Bytes of all tensors, when they have their types.
    pub fn bytes(&self) -> u64 {
        self.tensors().map(|(tensor, dtype)| tensor_bytes(tensor, dtype)).sum()
    }

    /// Elements of all tensors.
    pub fn elements(&self) -> u64 {
        self.file.tensors().iter().map(|tensor| tensor.elements() as u64).sum()
    }

    /// Tensors of so few bits that rounding them without importance does great harm.
    pub fn needs_importance(&self) -> impl Iterator<Item = &'a TensorInfo> {
        use Dtype::{IQ1_M, IQ1_S, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_XXS};
        let is_tiny = |dtype| matches!(dtype, IQ1_S | IQ1_M | IQ2_XXS | IQ2_XS | IQ2_S | IQ3_XXS);
        let importance = self.options.importance;
        let unknown = move |tensor: &TensorInfo| importance.is_none_or(|known| !known.has(&tensor.name));
        let is_table = |tensor: &TensorInfo| matches!(&*tensor.name, "token_embd.weight" | "output.weight");
        self.tensors()
            .filter(move |(tensor, dtype)| is_tiny(*dtype) && !is_table(tensor) && unknown(tensor))
            .map(|(tensor, _)| tensor)
    }

    /// Writes the model to `path`, or to several files named after it (`NAME-00001-of-00003.gguf`) when the split is
    /// kept. `progress` is called after each piece and each tensor; when it returns `false`, nothing is written.
    ///
    /// # Errors
    /// When a tensor holds what is no number, when a file cannot be written, when `progress` said so. Nothing is left
    /// under the name then, and what was there before is still there.
    pub fn write(
        &self,
        path: &Path,
        mut progress: impl FnMut(Progress<'_>) -> bool,
    ) -> Result<(), QuantizeError> {
        let parts = if self.options.keep_split { self.n_parts() } else { 1 };
        let mut outputs = Vec::new();
        let mut done = 0;
        for (part, path) in files(path, parts).iter().enumerate() {
            let mut output = Output::create(path)?;
            output.write(&self.head(part, parts)?)?;
            for (tensor, dtype) in self.tensors_of(part, parts) {
                let before = done;
                let mut piece = |elements: u64, finished| {
                    done = before + elements;
                    progress(Progress { tensor, dtype, done, finished })
                };
                let loss =
                    self.write_tensor(tensor, dtype, &mut output, &mut |elements| piece(elements, None))?;
                if !piece(tensor.elements() as u64, Some(loss)) {
                    return Err(QuantizeError::Stopped);
                }
            }
            outputs.push(output);
        }
        outputs.into_iter().try_for_each(Output::finish)
    }

    fn write_tensor(
        &self,
        tensor: &TensorInfo,
        dtype: Dtype,
        output: &mut Output,
        piece: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Option<Loss>, QuantizeError> {
        let data = self.file.data(tensor);
        let loss = if tensor.dtype == dtype {
            for bytes in data.chunks(1 << 22) {
                output.write(bytes)?;
                if !piece(0) {
                    return Err(QuantizeError::Stopped);
                }
            }
            None
        } else {
            let importance = self.options.importance_of(tensor)?;
            encode::tensor(self.options, tensor, &data, dtype, importance, |elements, bytes| {
                output.write(bytes)?;
                if piece(elements) { Ok(()) } else { Err(QuantizeError::Stopped) }
            })?
        };
        let len = tensor_bytes(tensor, dtype) as usize;
        output.write(&[0; 32][..Writer::padding(len)])?;
        Ok(loss.filter(|_| self.options.measure))
    }

    fn n_parts(&self) -> usize {
        self.file.tensors().iter().map(|tensor| tensor.shard + 1).max().unwrap_or(1)
    }

    fn tensors_of(&self, part: usize, parts: usize) -> impl Iterator<Item = (&'a TensorInfo, Dtype)> {
        self.tensors().filter(move |(tensor, _)| parts == 1 || tensor.shard == part)
    }

    /// Everything before the first tensor's bytes of a file.
    fn head(&self, part: usize, parts: usize) -> Result<Vec<u8>, Error> {
        let mut writer = Writer::new();
        if part == 0 {
            self.write_metadata(&mut writer);
        }
        if parts > 1 {
            writer.set("split.no", Value::U16(part as u16));
            writer.set("split.count", Value::U16(parts as u16));
            writer.set("split.tensors.count", Value::I32(self.types.len() as i32));
        }
        for (tensor, dtype) in self.tensors_of(part, parts) {
            writer.tensor(&tensor.name, dtype, tensor.dims())?;
        }
        Ok(writer.head())
    }

    fn write_metadata(&self, writer: &mut Writer) {
        use imatrix::keys;
        // What is said anew, or is no longer true.
        let mut dropped = vec!["general.alignment", "split.no", "split.count", "split.tensors.count"];
        let changed =
            self.options.mix.is_some() || self.tensors().any(|(tensor, dtype)| tensor.dtype != dtype);
        if changed {
            dropped.extend(["general.file_type", "general.quantization_version"]);
            dropped.extend([keys::FILE, keys::DATASET, keys::ENTRIES, keys::CHUNKS]);
        }
        for (key, value) in self.file.metadata().filter(|(key, _)| !dropped.contains(key)) {
            writer.set(key, value);
        }
        if let Some(file_type) = self.options.mix.and_then(Mix::file_type) {
            writer.set("general.file_type", Value::U32(file_type));
        }
        if changed {
            writer.set("general.quantization_version", Value::U32(2));
            if let Some(importance) = self.options.importance {
                importance.tell(writer);
            }
        }
    }
}

impl Options<'_> {
    fn forced(&self, name: &str) -> Option<Dtype> {
        self.tensor_types.iter().find(|(pattern, _)| pattern.is_match(name)).map(|&(_, dtype)| dtype)
    }

    /// How important the tensor's columns are, one row for each of its matrices.
    fn importance_of(&self, tensor: &TensorInfo) -> Result<Option<&[f32]>, Error> {
        let Some(weights) = self.importance.and_then(|importance| importance.of(&tensor.name)) else {
            return Ok(None);
        };
        let [cols, _, matrices, more] = tensor.shape;
        if matrices.checked_mul(more).and_then(|n| n.checked_mul(cols)) == Some(weights.len()) {
            return Ok(Some(weights));
        }
        let what = format!(
            "the importance file has {} columns for it, expected {cols} for each of {} matrices: it is of another model",
            weights.len(),
            matrices * more
        );
        Err(Error::new(ErrorKind::Shape, what).at_tensor(&*tensor.name))
    }
}

/// Writes a file that appears when it is whole.
///
/// # Errors
/// [`QuantizeError::Io`] as the system says.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), QuantizeError> {
    let mut output = Output::create(path)?;
    output.write(bytes)?;
    output.finish()
}

/// The files that a model written to `path` in so many parts will be.
pub fn files(path: &Path, parts: usize) -> Vec<PathBuf> {
    if parts == 1 {
        return vec![path.into()];
    }
    let name = path.file_name().map_or_else(Default::default, |name| name.to_string_lossy());
    let stem = name.strip_suffix(".gguf").unwrap_or(&name);
    let part = |part| path.with_file_name(format!("{stem}-{part:05}-of-{parts:05}.gguf"));
    (1..=parts).map(part).collect()
}

/// Whether weights come in this type, so that another one can stand for it.
pub fn holds_weights(dtype: Dtype) -> bool {
    is_rounded(dtype) || matches!(dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16 | Dtype::F64)
}

/// Whether it is blocks of small integers.
fn is_rounded(dtype: Dtype) -> bool {
    dtype.block_len() > 1 || dtype.meets() == Meets::Integers
}

/// Bytes of a tensor in another type, which its rows fit.
fn tensor_bytes(tensor: &TensorInfo, dtype: Dtype) -> u64 {
    dtype.tensor_bytes(&tensor.shape).map_or(0, |bytes| bytes as u64)
}
