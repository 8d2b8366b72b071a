//! `mote probe`: what a model computes, number by number.

use motelm_core::sample::log_probs;
use motelm_core::session::Observer;
use motelm_core::{Model, Session, Tokenizer};
use serde::Serialize;

use super::args::{Positions, ProbeArgs};
use super::engine::{self, Source};
use super::errors::Failure;
use super::output;
use super::tokenize::piece;

/// How many tokens people are shown for each position.
const SHOWN: usize = 10;

/// The numbers. JSON has no infinities and no NaN; they are `null`.
#[derive(Default, Serialize)]
struct Numbers {
    #[serde(skip_serializing_if = "Option::is_none")]
    logits: Option<Vec<Vec<f32>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding: Option<Vec<f32>>,
    /// `layers[stage][position]`: before the first block, after each block, after the final norm.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layers: Vec<Vec<Vec<f32>>>,
}

/// Runs the tokens through the model and shows the numbers.
pub fn probe(args: &ProbeArgs) -> Result<(), Failure> {
    let source = Source::of(&args.model)?;
    let model = source.model()?;
    let tokens = &args.tokens.0;
    let encodes = model.plan().is_encoder();
    let mut running = engine::session(&model, &args.session, if encodes { tokens.len() } else { 1 })?;
    let numbers = observe(&model, &mut running.session, args)?;
    if args.json {
        return output::json(&numbers);
    }
    // A model without a vocabulary can be probed all the same.
    output::show(&told(&numbers, args, Tokenizer::new(&source.file).ok().as_ref()))
}

fn observe(model: &Model, session: &mut Session, args: &ProbeArgs) -> Result<Numbers, Failure> {
    let tokens = &args.tokens.0;
    let wanted = match args.positions {
        Positions::All => 0..tokens.len(),
        Positions::Last => tokens.len() - 1..tokens.len(),
    };
    let dim = model.plan().dim;
    let mut watcher = Watcher { wanted, layers: args.layers, all: args.positions, dim, ..Watcher::default() };
    let mut numbers = Numbers::default();
    if model.plan().is_encoder() {
        numbers.embedding = Some(session.embed_observed(tokens, &mut watcher)?.to_vec());
    } else {
        let last = session.forward_observed(tokens, &mut watcher)?.to_vec();
        if !watcher.wants_logits() {
            watcher.logits.push(last);
        }
        numbers.logits = Some(watcher.logits);
    }
    numbers.layers = watcher.stages;
    Ok(numbers)
}

/// Keeps what was asked for.
struct Watcher {
    wanted: std::ops::Range<usize>,
    all: Positions,
    layers: bool,
    dim: usize,
    logits: Vec<Vec<f32>>,
    stages: Vec<Vec<Vec<f32>>>,
}

impl Default for Watcher {
    fn default() -> Self {
        Self {
            wanted: 0..0,
            all: Positions::Last,
            layers: false,
            dim: 1,
            logits: Vec::new(),
            stages: Vec::new(),
        }
    }
}

impl Observer for Watcher {
    fn residual(&mut self, stage: usize, first: usize, rows: &[f32]) {
        if !self.layers {
            return;
        }
        if self.stages.len() <= stage {
            self.stages.resize(stage + 1, Vec::new());
        }
        for (i, row) in rows.chunks_exact(self.dim).enumerate() {
            if self.wanted.contains(&(first + i)) {
                self.stages[stage].push(row.to_vec());
            }
        }
    }

    /// Only a pass that gives the logits of every position shows the final norm.
    fn wants_logits(&self) -> bool {
        self.all == Positions::All || self.layers
    }

    fn logits(&mut self, position: usize, logits: &[f32]) {
        if self.wanted.contains(&position) {
            self.logits.push(logits.to_vec());
        }
    }
}

/// The numbers for people: likeliest tokens, or the first values of an embedding.
fn told(numbers: &Numbers, args: &ProbeArgs, tokenizer: Option<&Tokenizer>) -> String {
    let mut told = String::new();
    if let Some(embedding) = &numbers.embedding {
        let head: Vec<String> = embedding.iter().take(SHOWN).map(|x| format!("{x:.5}")).collect();
        told += &format!("embedding of {} values: {} ...\n", embedding.len(), head.join(" "));
    }
    let rows = numbers.logits.as_deref().unwrap_or_default();
    let first = args.tokens.0.len() - rows.len();
    let mut top = Vec::new();
    for (i, logits) in rows.iter().enumerate() {
        told += &format!("after position {}, the likeliest tokens:\n", first + i);
        log_probs(logits, 0, SHOWN, &mut top);
        for candidate in &top {
            let logit = logits[candidate.id as usize];
            let probability = candidate.logit.exp() * 100.0;
            let piece =
                tokenizer.map_or(String::new(), |tokenizer| format!("{:?}", piece(tokenizer, candidate.id)));
            told += &format!("{:>8}  {logit:>10.4}  {probability:>6.2} %  {piece}\n", candidate.id);
        }
    }
    told
}
