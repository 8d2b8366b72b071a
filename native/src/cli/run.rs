//! `mote run`: continues a text.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use motelm::machine;
use motelm_core::generate::{End, Full, Generator, Limits, Step, Stop};
use motelm_core::sample::Sampler;
use motelm_core::session::Budget;
use motelm_core::tokenizer::ShowControl;
use serde::Serialize;

use super::args::{LimitArgs, RunArgs};
use super::engine::{self, Engine, Running};
use super::errors::{Failure, Kind};
use super::interrupt::Watch;
use super::output;
use super::prompt::Prompt;

/// Tokens that one run generates unless it is told otherwise.
const DEFAULT_TOKENS: usize = 256;

/// Generates and shows what the arguments say.
pub fn run(args: &RunArgs) -> Result<(), Failure> {
    let prompt = Prompt::read(&args.prompt.source)?;
    let engine = Engine::open(&args.model)?;
    let tokens = prompt.tokens(&engine.tokenizer, &args.prompt)?;
    let mut running = engine::session(&engine.model, &args.session, 1)?;
    let mut sampler = engine.sampler(&args.sampling, running.session.context())?;
    let mut limits = limits(&args.limits, tokens.len());
    limits.max_tokens = args.limits.max_tokens.unwrap_or(DEFAULT_TOKENS);
    limits.log_probs = args.logprobs;

    check_room(&engine, &running, &tokens)?;
    if !args.json && !args.no_echo {
        output::show(prompt.echo())?;
    }
    let show = |text: &str| if args.json { Ok(()) } else { output::show(text) };
    let mut answer = generate(&engine, &mut running, &mut sampler, &tokens, limits, show)?;
    if args.json {
        answer.log_probs = args.logprobs.map(|_| std::mem::take(&mut answer.reported));
        output::json(&Report::new(&engine, &running, &sampler, &answer))?;
    } else if !answer.text.ends_with('\n') {
        output::show("\n")?;
    }
    if args.limits.stats {
        output::tell(&stats(&engine, &running, &sampler, &answer));
    }
    match answer.stop {
        Ended::Interrupted => Err(Failure::Interrupted),
        Ended::Stopped(_) => Ok(()),
    }
}

/// What ends a generation.
pub fn limits(args: &LimitArgs, prompt: usize) -> Limits {
    Limits {
        max_tokens: args.max_tokens.unwrap_or(usize::MAX),
        stop_strings: args.stop.clone(),
        end: if args.ignore_eos { End::Ignored } else { End::Stops },
        full: if args.shift { Full::Shifts { keep: prompt } } else { Full::Stops },
        show: ShowControl::Hide,
        ..Limits::default()
    }
}

/// What a generation brought.
pub struct Answer {
    pub text: String,
    pub tokens: Vec<u32>,
    pub stop: Ended,
    prompt_tokens: usize,
    /// Of the prompt's tokens, those that the session held already.
    reused: usize,
    prompt_time: Duration,
    /// From the first token to the last.
    generation_time: Duration,
    reported: Vec<LogProbs>,
    log_probs: Option<Vec<LogProbs>>,
}

/// How a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Stopped(Stop),
    Interrupted,
}

impl Ended {
    fn name(self) -> &'static str {
        match self {
            Self::Stopped(Stop::EndOfGeneration(_)) => "end_of_generation",
            Self::Stopped(Stop::StopId(_)) => "stop_id",
            Self::Stopped(Stop::StopString(_)) => "stop_string",
            Self::Stopped(Stop::MaxTokens) => "max_tokens",
            Self::Stopped(Stop::ContextFull) => "context_full",
            Self::Interrupted => "interrupted",
        }
    }
}

/// Generates after `prompt`, the whole text so far, and shows text as it becomes certain.
pub fn generate(
    engine: &Engine,
    running: &mut Running,
    sampler: &mut Sampler,
    prompt: &[u32],
    limits: Limits,
    mut show: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<Answer, Failure> {
    check_room(engine, running, prompt)?;
    let reports = limits.log_probs.is_some();
    let start = Instant::now();
    let watch = Watch::start();
    let mut generator = Generator::start(&mut running.session, sampler, prompt, limits)?;
    let bar = progress(prompt.len() - generator.reused(), running.batch);
    let mut answer = Answer {
        text: String::new(),
        tokens: Vec::new(),
        stop: Ended::Interrupted,
        prompt_tokens: prompt.len(),
        reused: generator.reused(),
        prompt_time: Duration::ZERO,
        generation_time: Duration::ZERO,
        reported: Vec::new(),
        log_probs: None,
    };
    let mut first = None;
    while !watch.asked() {
        // A batch of a long prompt can take a minute; Ctrl-C is heard between layers.
        let layers = if first.is_none() { 1 } else { usize::MAX };
        let budget = Budget { tokens: running.batch, layers };
        let step = generator.step(&mut running.session, sampler, &engine.tokenizer, budget)?;
        if first.is_none() && !matches!(step, Step::Prefill { .. }) {
            answer.prompt_time = start.elapsed();
            first = Some(Instant::now());
            bar.finish_and_clear();
        }
        let (text, stop) = match step {
            Step::Prefill { pending } => {
                bar.set_position((prompt.len() - answer.reused).saturating_sub(pending) as u64);
                continue;
            }
            Step::Token { id, text } => {
                answer.tokens.push(id);
                (text, None)
            }
            Step::Done { text, stop } => (text, Some(stop)),
        };
        if !text.is_empty() {
            show(text)?;
            answer.text.push_str(text);
        }
        if let Some(stop) = stop {
            answer.stop = Ended::Stopped(stop);
            break;
        }
        if reports && let Some((log_prob, top)) = generator.log_probs() {
            let id = answer.tokens.last().copied().unwrap_or_default();
            let top =
                top.iter().map(|candidate| LogProb::of(engine, candidate.id, candidate.logit)).collect();
            answer.reported.push(LogProbs { chosen: LogProb::of(engine, id, log_prob), top });
        }
    }
    bar.finish_and_clear();
    answer.generation_time = first.map_or(Duration::ZERO, |first| first.elapsed());
    Ok(answer)
}

/// Refuses a prompt that the context does not hold, with both numbers.
fn check_room(engine: &Engine, running: &Running, prompt: &[u32]) -> Result<(), Failure> {
    let (context, trained) = (running.session.context(), engine.model.plan().context);
    if prompt.len() <= context {
        return Ok(());
    }
    let what = format!("the prompt has {} tokens and the context holds {context}", prompt.len());
    let hint = match prompt.len() < trained {
        true => {
            format!("-c {} makes room; this model was trained with {trained}", trained.min(2 * prompt.len()))
        }
        false => format!(
            "shorten it, or make room with -c {}; this model was trained with {trained}",
            2 * prompt.len()
        ),
    };
    Err(Failure::new(Kind::Other, what).hint(hint))
}

/// A bar on stderr while a long prompt is read, when a person watches.
fn progress(tokens: usize, batch: usize) -> ProgressBar {
    if tokens <= batch || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("reading the prompt {wide_bar} {pos}/{len} tokens, {eta}");
    ProgressBar::new(tokens as u64).with_style(style.expect("the template is well-formed"))
}

/// The result as JSON.
#[derive(Serialize)]
struct Report<'a> {
    text: &'a str,
    tokens: &'a [u32],
    prompt_tokens: usize,
    stop: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<&'a [LogProbs]>,
    seed: u64,
    model: &'a str,
    timings: Timings,
}

impl<'a> Report<'a> {
    fn new(engine: &'a Engine, running: &Running, sampler: &Sampler, answer: &'a Answer) -> Self {
        Self {
            text: &answer.text,
            tokens: &answer.tokens,
            prompt_tokens: answer.prompt_tokens,
            stop: answer.stop.name(),
            logprobs: answer.log_probs.as_deref(),
            seed: sampler.seed(),
            model: &engine.source.name,
            timings: Timings::new(engine, running, answer),
        }
    }
}

#[derive(Serialize)]
struct Timings {
    open_ms: f64,
    prompt_ms: f64,
    prompt_tokens_per_second: Option<f64>,
    generation_ms: f64,
    tokens_per_second: Option<f64>,
    threads: usize,
}

impl Timings {
    fn new(engine: &Engine, running: &Running, answer: &Answer) -> Self {
        let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
        Self {
            open_ms: ms(engine.opened_in),
            prompt_ms: ms(answer.prompt_time),
            prompt_tokens_per_second: rate(answer.prompt_tokens - answer.reused, answer.prompt_time),
            generation_ms: ms(answer.generation_time),
            tokens_per_second: answer.speed(),
            threads: running.threads,
        }
    }
}

impl Answer {
    /// Generated tokens per second; the first comes with the prompt, so it does not count.
    fn speed(&self) -> Option<f64> {
        rate(self.tokens.len().saturating_sub(1), self.generation_time)
    }
}

fn rate(tokens: usize, time: Duration) -> Option<f64> {
    let seconds = time.as_secs_f64();
    (tokens > 0 && seconds > 0.0).then(|| (tokens as f64 / seconds * 100.0).round() / 100.0)
}

#[derive(Serialize)]
struct LogProbs {
    #[serde(flatten)]
    chosen: LogProb,
    top: Vec<LogProb>,
}

#[derive(Serialize)]
struct LogProb {
    id: u32,
    logprob: f32,
    text: String,
}

impl LogProb {
    fn of(engine: &Engine, id: u32, logprob: f32) -> Self {
        let piece = engine.tokenizer.piece(id, ShowControl::Show);
        Self { id, logprob, text: String::from_utf8_lossy(&piece).into_owned() }
    }
}

/// Speed and memory, for people.
pub fn stats(engine: &Engine, running: &Running, sampler: &Sampler, answer: &Answer) -> String {
    let seconds = |time: Duration| format!("{:.3} s", time.as_secs_f64());
    let speed = |rate: Option<f64>| rate.map_or(String::new(), |rate| format!(", {rate} tokens/s"));
    let read = answer.prompt_tokens - answer.reused;
    let kept =
        if answer.reused > 0 { format!(" ({} more were known)", answer.reused) } else { String::new() };
    let threads = match running.asked_threads {
        Some(asked) if asked != running.threads => {
            format!("{} (asked for {asked}; no more than there are cores)", running.threads)
        }
        _ => running.threads.to_string(),
    };
    let peak = machine::peak_memory().map_or(String::new(), |peak| format!(", peak {}", output::size(peak)));
    format!(
        "model     {}, opened in {}\n\
         prompt    {read} tokens{kept} in {}{}\n\
         answer    {} tokens in {}{}, {}\n\
         memory    {} session, {} file{peak}\n\
         threads   {threads}, {}\n\
         seed      {}\n",
        engine.source.name,
        seconds(engine.opened_in),
        seconds(answer.prompt_time),
        speed(rate(read, answer.prompt_time)),
        answer.tokens.len(),
        seconds(answer.generation_time),
        speed(answer.speed()),
        answer.stop.name().replace('_', " "),
        output::size(running.memory.total()),
        output::size(engine.source.file.total_bytes()),
        running.level,
        sampler.seed(),
    )
}
