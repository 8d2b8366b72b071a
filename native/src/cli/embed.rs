//! `mote embed`: vectors of texts, as many at a time as a batch holds, written as they come.

mod lines;
mod vectors;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use motelm_core::embed::{Embedder, Length, Options, Task, Tokens};
use motelm_core::ops::matmul::Precision;
use motelm_core::session;

use super::args::{EmbedArgs, EncodeArgs};
use super::engine::Source;
use super::errors::{Failure, Kind};
use super::output;
pub use lines::{Line, Lines};
use vectors::Vectors;

/// Writes the vectors of all texts.
pub fn embed(args: &EmbedArgs) -> Result<(), Failure> {
    let embedder = embedder(&args.encode)?;
    let task = args.task.as_deref().map(|name| embedder.task(name)).transpose()?;
    let lines = Lines::new(&args.texts, args.file.as_deref(), args.lines.field.as_deref())?
        .with_titles(args.title_field.as_deref());
    let out: Box<dyn Write> = match &args.output {
        None => Box::new(io::stdout().lock()),
        Some(path) => Box::new(File::create(path).map_err(|error| {
            Failure::new(Kind::Other, format!("{} cannot be written: {error}", path.display()))
        })?),
    };
    let mut vectors = Vectors::new(args.format, embedder.dim(), BufWriter::new(out))?;
    let mut stats = Stats::default();
    let mut worker = embedder.worker();
    let mut batch: Vec<Tokens> = Vec::new();
    let mut run = |batch: &mut Vec<Tokens>, stats: &mut Stats| -> Result<(), Failure> {
        let start = Instant::now();
        let embeddings = worker.embed_tokens(batch)?;
        stats.add(batch, start.elapsed());
        batch.clear();
        Ok(vectors.write(&embeddings)?)
    };
    let mut used = 0;
    for line in lines {
        let tokens = embedder.tokens(&prompt(task, &line?));
        if used > 0 && used + tokens.ids.len() > args.encode.batch {
            run(&mut batch, &mut stats)?;
            used = 0;
        }
        used += tokens.ids.len();
        batch.push(tokens);
    }
    run(&mut batch, &mut stats)?;
    vectors.finish()?;
    if args.stats {
        output::tell(&stats.told());
    }
    Ok(())
}

/// What the model is given for a line.
pub fn prompt(task: Option<Task>, line: &Line) -> String {
    match (task, &line.title) {
        (None, _) => line.text.clone(),
        (Some(task), None) => task.prompt(&line.text),
        (Some(task), Some(title)) => task.prompt_titled(title, &line.text),
    }
}

/// Opens the model that the arguments name, to run as they say.
pub fn embedder(args: &EncodeArgs) -> Result<Embedder, Failure> {
    let source = Source::map(Some(&args.model))?;
    let options = Options {
        pooling: args.pooling.map(Into::into),
        dim: args.dim,
        length: if args.no_normalize { Length::AsIs } else { Length::Unit },
        max_tokens: args.max_tokens.unwrap_or(0),
        session: session::Options {
            batch: args.batch,
            precision: if args.exact { Precision::Exact } else { Precision::Fast },
            level: args.processor.level(),
            exec: Arc::new(args.processor.pool()),
            ..session::Options::default()
        },
    };
    Ok(Embedder::of(source.model()?, source.tokenizer()?, options)?)
}

/// What a run took.
#[derive(Default)]
struct Stats {
    texts: usize,
    tokens: usize,
    dropped: usize,
    /// Of each pass through the model.
    passes: Vec<Duration>,
}

impl Stats {
    fn add(&mut self, texts: &[Tokens], took: Duration) {
        self.texts += texts.len();
        self.tokens += texts.iter().map(|tokens| tokens.ids.len()).sum::<usize>();
        self.dropped += texts.iter().map(|tokens| tokens.dropped).sum::<usize>();
        self.passes.extend((!texts.is_empty()).then_some(took));
    }

    fn told(mut self) -> String {
        self.passes.sort_unstable();
        let seconds: f64 = self.passes.iter().map(Duration::as_secs_f64).sum();
        let rate = |n: usize| if seconds > 0.0 { n as f64 / seconds } else { 0.0 };
        let milliseconds = |share: usize| {
            let at = self.passes.len().saturating_sub(1) * share / 100;
            self.passes.get(at).map_or(0.0, |pass| pass.as_secs_f64() * 1e3)
        };
        format!(
            "{} texts, {} tokens, {} more that did not fit; {seconds:.3} s in the model\n\
             {:.1} texts/s, {:.1} tokens/s; {} passes, p50 {:.2} ms, p95 {:.2} ms\n",
            self.texts,
            self.tokens,
            self.dropped,
            rate(self.texts),
            rate(self.tokens),
            self.passes.len(),
            milliseconds(50),
            milliseconds(95),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stats_are_of_the_middle_and_the_slow() {
        let mut stats = Stats::default();
        for ms in (1..=100).rev() {
            stats.add(&[Tokens { ids: vec![1, 2], dropped: 1 }], Duration::from_millis(ms));
        }
        let told = stats.told();
        assert!(told.starts_with("100 texts, 200 tokens, 100 more that did not fit; 5.050 s"), "{told}");
        assert!(told.ends_with("100 passes, p50 50.00 ms, p95 95.00 ms\n"), "{told}");
    }
}
