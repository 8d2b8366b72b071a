//! `mote bench`: how fast a model runs here, in the terms of llama-bench.
//!
//! `pp512` reads a prompt of 512 tokens in batches; `tg128` generates 128 tokens one by one, each fed to the model by
//! itself. Tokens are random, nothing is sampled, and a run that is not counted comes first. `@ d1024` is the same
//! behind 1024 tokens that are in the context already.

use std::fs;
use std::io::{self, BufWriter};
use std::path::Path;
use std::time::Instant;

use motelm::machine;
use motelm::quantize::mix::Mix;
use motelm::shapes::{SHAPES, Shape};
use motelm_core::{Model, Session};
use serde::Serialize;

use super::args::{BenchArgs, ProcessorArgs, SessionArgs};
use super::engine::{self, Source};
use super::errors::{Failure, Kind};
use super::output::{self, size};

/// Measures what the arguments say, or writes a model to measure.
pub fn bench(args: &BenchArgs) -> Result<(), Failure> {
    if let (Some(shape), Some(path)) = (&args.shape, &args.output) {
        return write_shape(shape, path);
    }
    let source = Source::of(&args.model)?;
    let model = source.model()?;
    let mut report = Report {
        model: source.name.clone(),
        bytes: source.file.total_bytes(),
        parameters: source.file.tensors().iter().map(|tensor| tensor.elements() as u64).sum(),
        level: args.level.unwrap_or_else(motelm::cpu::detect).name(),
        batch: args.batch,
        results: Vec::new(),
    };
    if !args.json {
        output::show(HEAD)?;
    }
    for &threads in &args.threads() {
        for &depth in &args.depth {
            for test in tests(args, depth, &model) {
                let result = measure(&model, args, threads, test)?;
                if !args.json {
                    output::show(&report.row(&result))?;
                }
                report.results.push(result);
            }
        }
    }
    if args.json { output::json(&report) } else { Ok(()) }
}

/// Writes a model of random weights for `NAME:MIX`.
fn write_shape(wanted: &str, path: &Path) -> Result<(), Failure> {
    let (name, mix) = wanted.split_once(':').unwrap_or((wanted, ""));
    let (Some(shape), Some(mix)) = (Shape::find(name), Mix::from_name(mix)) else {
        let shapes: Vec<&str> = SHAPES.iter().map(|shape| shape.name).collect();
        let what = format!("there is no shape `{wanted}`");
        let hint =
            format!("NAME:MIX, with a name of {} and q4_k_m or a type such as q8_0", shapes.join(", "));
        return Err(Failure::new(Kind::Usage, what).hint(hint));
    };
    let refuse = |error: io::Error| {
        Failure::new(Kind::Other, format!("{} cannot be written: {error}", path.display()))
    };
    let file = fs::File::create(path).map_err(refuse)?;
    shape.write(mix, &mut BufWriter::with_capacity(1 << 20, file)).map_err(refuse)
}

/// What is done with the model.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// Reading a prompt.
    Prompt(usize),
    /// Generating, token by token.
    Generate(usize),
}

impl Work {
    fn tokens(self) -> usize {
        match self {
            Self::Prompt(n) | Self::Generate(n) => n,
        }
    }
}

/// Some work behind `depth` tokens of context.
#[derive(Debug, Clone, Copy)]
struct Test {
    work: Work,
    depth: usize,
}

impl Test {
    fn name(self) -> String {
        let name = match self.work {
            Work::Prompt(n) => format!("pp{n}"),
            Work::Generate(n) => format!("tg{n}"),
        };
        if self.depth > 0 { format!("{name} @ d{}", self.depth) } else { name }
    }
}

fn tests(args: &BenchArgs, depth: usize, model: &Model) -> Vec<Test> {
    let prompts = args.prompt.iter().map(|&n| Work::Prompt(n));
    let encodes = model.plan().is_encoder();
    // An encoder reads, and that is all.
    let generations = args.generate.iter().filter(|_| !encodes).map(|&n| Work::Generate(n));
    let work = prompts.chain(generations).filter(|work| work.tokens() > 0);
    work.map(|work| Test { work, depth: if encodes { 0 } else { depth } }).collect()
}

/// What one test took.
#[derive(Serialize)]
struct Measured {
    test: String,
    threads: usize,
    tokens: usize,
    depth: usize,
    /// The mean of the runs, and how far they are from it (standard deviation).
    tokens_per_second: f64,
    spread: f64,
    /// The same by the time that threads really ran, where one thread does all: what is left of the load that others
    /// put on the machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    tokens_per_cpu_second: Option<f64>,
    /// Each run.
    seconds: Vec<f64>,
    cpu_seconds: Vec<Option<f64>>,
}

fn measure(model: &Model, args: &BenchArgs, threads: usize, test: Test) -> Result<Measured, Failure> {
    let n = test.work.tokens();
    let options = SessionArgs {
        context: Some(test.depth + n),
        batch: args.batch,
        kv: args.kv,
        exact: false,
        processor: ProcessorArgs { threads: Some(threads), level: args.level },
    };
    let encodes = model.plan().is_encoder();
    let mut running = engine::session(model, &options, if encodes { n } else { 1 })?;
    let tokens = random_tokens(test.depth + n, model.plan().n_vocab);
    let session = &mut running.session;
    let (mut seconds, mut cpu_seconds) = (Vec::new(), Vec::new());
    for run in 0..=args.repetitions {
        if !encodes {
            fill(session, &tokens[..test.depth])?;
        }
        let cpu = machine::cpu_time();
        let start = Instant::now();
        work(session, &tokens[test.depth..], test.work)?;
        let took = start.elapsed().as_secs_f64();
        if run > 0 {
            seconds.push(took);
            let after = machine::cpu_time();
            cpu_seconds.push(cpu.zip(after).map(|(before, after)| (after - before).as_secs_f64()));
        }
    }
    let rates: Vec<f64> = seconds.iter().map(|seconds| n as f64 / seconds).collect();
    let (tokens_per_second, spread) = mean_and_deviation(&rates);
    let cpu: Option<f64> = cpu_seconds.iter().copied().sum();
    Ok(Measured {
        test: test.name(),
        threads: running.threads,
        tokens: n,
        depth: test.depth,
        tokens_per_second,
        spread,
        tokens_per_cpu_second: cpu
            .filter(|&cpu| running.threads == 1 && cpu > 0.0)
            .map(|cpu| (n * seconds.len()) as f64 / cpu),
        seconds,
        cpu_seconds,
    })
}

/// Brings the session to hold just `tokens`.
fn fill(session: &mut Session, tokens: &[u32]) -> Result<(), Failure> {
    let left = session.rewind(tokens.len());
    if left < tokens.len() {
        session.forward(&tokens[left..])?;
    }
    Ok(())
}

fn work(session: &mut Session, tokens: &[u32], work: Work) -> Result<(), Failure> {
    if session.model().plan().is_encoder() {
        session.embed(tokens)?;
        return Ok(());
    }
    match work {
        Work::Prompt(_) => {
            session.forward(tokens)?;
        }
        Work::Generate(_) => {
            for token in tokens {
                session.forward(&[*token])?;
            }
        }
    }
    Ok(())
}

/// Tokens without a pattern, the same every time.
fn random_tokens(n: usize, n_vocab: usize) -> Vec<u32> {
    let mut state = 1u64;
    let mut next = || {
        // Knuth's MMIX generator; its upper bits are good.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 33) % n_vocab as u64) as u32
    };
    (0..n).map(|_| next()).collect()
}

fn mean_and_deviation(x: &[f64]) -> (f64, f64) {
    let n = x.len() as f64;
    let mean = x.iter().sum::<f64>() / n;
    let squares: f64 = x.iter().map(|x| (x - mean) * (x - mean)).sum();
    (mean, if x.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 })
}

#[derive(Serialize)]
struct Report {
    model: String,
    bytes: u64,
    parameters: u64,
    level: &'static str,
    batch: usize,
    results: Vec<Measured>,
}

const HEAD: &str = "\
| model                          |       size |     params | level   | threads |            test |                  t/s |
| ------------------------------ | ---------: | ---------: | ------- | ------: | --------------: | -------------------: |
";

impl Report {
    fn row(&self, result: &Measured) -> String {
        let file = Path::new(&self.model).file_stem().map_or_else(String::new, |stem| {
            // A line of the table has room for so much.
            stem.to_string_lossy().chars().take(30).collect()
        });
        let millions = self.parameters as f64 / 1e6;
        let parameters =
            if millions < 1e3 { format!("{millions:.2} M") } else { format!("{:.2} B", millions / 1e3) };
        let rate = format!("{:.2} ± {:.2}", result.tokens_per_second, result.spread);
        format!(
            "| {file:<30} | {:>10} | {parameters:>10} | {:<7} | {:>7} | {:>15} | {rate:>20} |\n",
            size(self.bytes),
            self.level,
            result.threads,
            result.test
        )
    }
}

impl BenchArgs {
    /// Numbers of threads to measure with.
    fn threads(&self) -> Vec<usize> {
        if self.threads.is_empty() { vec![machine::physical_cores()] } else { self.threads.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spread_is_the_sample_deviation() {
        assert_eq!(mean_and_deviation(&[2.0, 4.0]), (3.0, std::f64::consts::SQRT_2));
        assert_eq!(mean_and_deviation(&[5.0]), (5.0, 0.0));
    }

    #[test]
    fn tokens_are_in_the_vocabulary() {
        let tokens = random_tokens(100, 7);
        assert!(tokens.iter().all(|&token| token < 7) && tokens.contains(&0) && tokens.contains(&6));
    }
}
