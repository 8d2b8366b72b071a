//! A model that is open, and sessions that fit the machine.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use motelm::{Pool, machine};
use motelm_core::exec::Executor;
use motelm_core::gguf::File;
use motelm_core::ops::matmul::Precision;
use motelm_core::sample::{Mirostat, Options as SamplerOptions, Sampler};
use motelm_core::session::{Memory, Options};
use motelm_core::tokenizer::{AddSpecial, Encode, ParseSpecial};
use motelm_core::{Model, Session, Tokenizer};

use super::args::{ModelArg, SamplingArgs, SessionArgs};
use super::errors::{Failure, Kind};
use super::output;

/// The most tokens that DRY looks at.
const LONGEST_WINDOW: usize = 1 << 24;

/// A file, and what it is called.
pub struct Source {
    pub file: File,
    pub name: String,
    pub origin: Origin,
}

/// Where a model comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Bundled,
    File,
}

impl Source {
    /// Opens the file that the argument names, or takes the bundled one.
    pub fn of(arg: &ModelArg) -> Result<Self, Failure> {
        match &arg.model {
            Some(path) if arg.no_mmap => Ok(Self::file(motelm::read(path)?, path)),
            path => Self::map(path.as_deref()),
        }
    }

    /// Maps and checks a file, or takes the bundled one.
    pub fn map(path: Option<&Path>) -> Result<Self, Failure> {
        Ok(match path {
            None => Self {
                file: motelm::bundled(),
                name: format!("{} (bundled)", motelm::BUNDLED_NAME),
                origin: Origin::Bundled,
            },
            Some(path) => Self::file(motelm::open(path)?, path),
        })
    }

    fn file(file: File, path: &Path) -> Self {
        Self { file, name: path.display().to_string(), origin: Origin::File }
    }

    /// The model in it.
    pub fn model(&self) -> Result<Model, Failure> {
        Model::new(&self.file).map_err(|error| {
            if self.file.tensors().is_empty() {
                let what = format!("{}: the file holds a vocabulary, but no model", self.name);
                return Failure::new(Kind::File, what).hint("`mote tokenize` can use it");
            }
            Failure::model(error, &self.name)
        })
    }

    /// The tokenizer in it.
    pub fn tokenizer(&self) -> Result<Tokenizer, Failure> {
        Tokenizer::new(&self.file).map_err(|error| Failure::model(error, &self.name))
    }
}

/// A model that generates text, and how long it took to open.
pub struct Engine {
    pub source: Source,
    pub model: Model,
    pub tokenizer: Tokenizer,
    pub opened_in: Duration,
}

impl Engine {
    /// Opens everything that generating takes.
    pub fn open(arg: &ModelArg) -> Result<Self, Failure> {
        let start = Instant::now();
        let source = Source::of(arg)?;
        let model = source.model()?;
        if model.plan().is_encoder() {
            let what = format!("{}: this model makes embeddings; it writes no text", source.name);
            return Err(Failure::new(Kind::File, what).hint("`mote embed` makes vectors of texts with it"));
        }
        let tokenizer = source.tokenizer()?;
        Ok(Self { source, model, tokenizer, opened_in: start.elapsed() })
    }

    /// A sampler as the arguments say, where they are silent as suits the model.
    pub fn sampler(&self, args: &SamplingArgs, context: usize) -> Result<Sampler, Failure> {
        let default = match self.source.origin {
            // What the story model reads best at.
            Origin::Bundled => {
                SamplerOptions { temperature: 0.6, top_k: 40, top_p: 1.0, min_p: 0.0, ..Default::default() }
            }
            Origin::File => SamplerOptions::default(),
        };
        let options = self.sampler_options(args, context, default);
        Ok(Sampler::new(&options, self.model.plan().n_vocab)?)
    }

    fn sampler_options(
        &self,
        args: &SamplingArgs,
        context: usize,
        default: SamplerOptions,
    ) -> SamplerOptions {
        SamplerOptions {
            seed: args.seed.unwrap_or_else(any_seed),
            samplers: args.samplers.clone().map_or(default.samplers, |chain| chain.0),
            logit_bias: args.logit_bias.clone(),
            min_keep: args.min_keep.unwrap_or(default.min_keep),
            temperature: args.temp.unwrap_or(default.temperature),
            dynatemp_range: args.dynatemp_range.unwrap_or(default.dynatemp_range),
            dynatemp_exponent: args.dynatemp_exponent.unwrap_or(default.dynatemp_exponent),
            top_k: args.top_k.unwrap_or(default.top_k),
            top_p: args.top_p.unwrap_or(default.top_p),
            min_p: args.min_p.unwrap_or(default.min_p),
            typical_p: args.typical_p.unwrap_or(default.typical_p),
            top_n_sigma: args.top_n_sigma.unwrap_or(default.top_n_sigma),
            xtc_probability: args.xtc_probability.unwrap_or(default.xtc_probability),
            xtc_threshold: args.xtc_threshold.unwrap_or(default.xtc_threshold),
            repeat_last_n: args.repeat_last_n.unwrap_or(default.repeat_last_n),
            repeat_penalty: args.repeat_penalty.unwrap_or(default.repeat_penalty),
            presence_penalty: args.presence_penalty.unwrap_or(default.presence_penalty),
            frequency_penalty: args.frequency_penalty.unwrap_or(default.frequency_penalty),
            dry_multiplier: args.dry_multiplier.unwrap_or(default.dry_multiplier),
            dry_base: args.dry_base.unwrap_or(default.dry_base),
            dry_allowed_length: args.dry_allowed_length.unwrap_or(default.dry_allowed_length),
            dry_last_n: args.dry_last_n.unwrap_or(context.min(LONGEST_WINDOW)),
            dry_breakers: self.dry_breakers(args),
            mirostat: match args.mirostat {
                Some(1) => Mirostat::V1,
                Some(2) => Mirostat::V2,
                _ => Mirostat::Off,
            },
            mirostat_tau: args.mirostat_tau.unwrap_or(default.mirostat_tau),
            mirostat_eta: args.mirostat_eta.unwrap_or(default.mirostat_eta),
        }
    }

    /// The token sequences of DRY's breakers; llama.cpp's texts unless others are given.
    fn dry_breakers(&self, args: &SamplingArgs) -> Vec<Vec<u32>> {
        let texts: Vec<&str> = match args.dry_breaker.as_slice() {
            [] => vec!["\n", ":", "\"", "*"],
            given => given.iter().map(String::as_str).collect(),
        };
        let plain = Encode { add_special: AddSpecial::No, parse_special: ParseSpecial::No };
        let tokens = texts.into_iter().map(|text| self.tokenizer.encode(text, plain));
        tokens.filter(|tokens| !tokens.is_empty()).collect()
    }
}

/// A session and what it was made of.
pub struct Running {
    pub session: Session,
    pub memory: Memory,
    pub batch: usize,
    /// Instructions that are used.
    pub level: &'static str,
    /// Threads that run, and how many were asked for.
    pub threads: usize,
    pub asked_threads: Option<usize>,
}

/// The options of a session. `batch` is at least `least_batch`, for encoders.
pub fn options(args: &SessionArgs, least_batch: usize, exec: Arc<Pool>) -> Options {
    Options {
        context: args.context.unwrap_or(0),
        batch: args.batch.max(least_batch),
        kv: args.kv.into(),
        precision: if args.exact { Precision::Exact } else { Precision::Fast },
        level: args.processor.level(),
        exec,
    }
}

/// Makes a session, unless it would take more memory than this machine has left.
pub fn session(model: &Model, args: &SessionArgs, least_batch: usize) -> Result<Running, Failure> {
    let pool = Arc::new(args.processor.pool());
    let threads = pool.width();
    let options = options(args, least_batch, pool);
    let (batch, level) = (options.batch, options.level.name());
    let memory = model.memory(&options)?;
    if let Some(available) = machine::available_memory()
        && memory.total() > available
    {
        let what = format!(
            "the session needs {} of memory, and this machine has {} left",
            output::size(memory.total()),
            output::size(available)
        );
        let hint = "a smaller context (-c) or batch (-b) takes less";
        return Err(Failure::new(Kind::Memory, what).hint(hint));
    }
    let session = Session::new(model, options)?;
    Ok(Running { session, memory, batch, level, threads, asked_threads: args.processor.threads })
}

/// A seed that differs from run to run, short enough to be typed again.
fn any_seed() -> u64 {
    RandomState::new().build_hasher().finish() >> 32
}
