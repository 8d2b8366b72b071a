//! `mote imatrix`: measures, over a text, how much each column of a model's matrices matters.

use std::fs;
use std::io::{self, IsTerminal};
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use motelm::quantize::gather::Gather;
use motelm::quantize::imatrix::Gathered;
use motelm_core::tokenizer::{AddSpecial, Encode, ParseSpecial};
use motelm_core::{Session, Tokenizer};

use super::args::{ImatrixArgs, Kv, SessionArgs};
use super::engine::{self, Source};
use super::errors::{Failure, Kind};
use super::interrupt::Watch;
use super::output;

/// Reads the text, piece by piece, and writes what was gathered.
pub fn imatrix(args: &ImatrixArgs) -> Result<(), Failure> {
    let source = Source::of(&args.model)?;
    let gather = Arc::new(Gather::new(&source.file));
    let model = source.model()?.watched(gather.clone());
    let tokenizer = Tokenizer::new(&source.file).map_err(|error| Failure::model(error, &source.name))?;
    let text = fs::read(&args.file).map_err(|error| Failure::read(&args.file, &error))?;
    let tokens = tokenizer.encode(
        &String::from_utf8_lossy(&text),
        Encode { add_special: AddSpecial::Yes, parse_special: ParseSpecial::No },
    );
    let context = args.context.min(model.plan().context);
    let pieces = pieces(&tokens, context, args.chunks.unwrap_or(usize::MAX));
    if pieces.is_empty() {
        let what =
            format!("{} has {} tokens, fewer than a piece of {context}", args.file.display(), tokens.len());
        return Err(Failure::new(Kind::Usage, what).hint("give a longer text, or a smaller -c"));
    }
    let mut running = engine::session(&model, &session_args(args, context), context)?;
    let watch = Watch::start();
    let bar = progress_bar(pieces.len());
    // As llama.cpp has it: a piece begins as a text does, at the cost of its first token.
    let begin = tokenizer.bos().filter(|_| tokenizer.adds_bos());
    for piece in &pieces {
        let mut piece = piece.to_vec();
        piece[0] = begin.unwrap_or(piece[0]);
        read(&mut running.session, &piece)?;
        bar.inc(1);
        if watch.asked() {
            bar.finish_and_clear();
            return Err(Failure::Interrupted);
        }
    }
    bar.finish_and_clear();
    let gathered = Gathered {
        datasets: vec![args.file.display().to_string()],
        chunks: pieces.len() as u32,
        chunk_size: context as u32,
        ..gather.gathered()
    };
    write(args, &gathered)?;
    output::show(&format!(
        "{} tensors, {} pieces of {context} tokens\n",
        gathered.squares.len(),
        pieces.len()
    ))
}

/// Whole pieces of the text: what is left over at the end is not read.
fn pieces(tokens: &[u32], context: usize, most: usize) -> Vec<&[u32]> {
    tokens.chunks_exact(context).take(most).collect()
}

fn read(session: &mut Session, piece: &[u32]) -> Result<(), Failure> {
    if session.model().plan().is_encoder() {
        session.embed(piece)?;
    } else {
        session.clear();
        session.forward(piece)?;
    }
    Ok(())
}

fn session_args(args: &ImatrixArgs, context: usize) -> SessionArgs {
    SessionArgs {
        context: Some(context),
        batch: context,
        kv: Kv::F16,
        exact: false,
        processor: args.processor,
    }
}

fn write(args: &ImatrixArgs, gathered: &Gathered) -> Result<(), Failure> {
    let is_dat = args.output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("dat"));
    let bytes = if is_dat { gathered.to_dat() } else { gathered.to_gguf()? };
    let written = motelm::quantize::write_whole(&args.output, &bytes);
    written.map_err(|error| Failure::new(Kind::Other, format!("cannot be written: {error}")))
}

fn progress_bar(pieces: usize) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{wide_bar} {pos}/{len} pieces, {eta}");
    ProgressBar::new(pieces as u64).with_style(style.expect("the template is well-formed"))
}
