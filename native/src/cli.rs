//! The command: arguments in, text or JSON out, errors with a hint.

mod args;
mod bench;
mod chat;
mod embed;
mod engine;
mod errors;
mod imatrix;
mod inspect;
mod interrupt;
mod output;
mod probe;
mod prompt;
mod quantize;
mod render;
mod run;
mod similar;
mod tokenize;

use std::process::ExitCode;

use args::{Cli, Command};
use clap::Parser;

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let result = match &Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Chat(args) => chat::chat(args),
        Command::Embed(args) => embed::embed(args),
        Command::Similar(args) => similar::similar(args),
        Command::Tokenize(args) => tokenize::tokenize(args),
        Command::Inspect(args) => inspect::inspect(args),
        Command::Probe(args) => probe::probe(args),
        Command::Render(args) => render::render(args),
        Command::Bench(args) => bench::bench(args),
        Command::Quantize(args) => quantize::quantize(args),
        Command::Imatrix(args) => imatrix::imatrix(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
