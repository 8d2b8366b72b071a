//! `cargo xtask test`: every test there is, on every kind of machine that MoteLM runs on.
//!
//! A [part](parts) is one way to run tests: natively, in a browser, on an emulated processor. Each part first asks
//! [`setup`] for what it needs; what this machine lacks is installed where that is possible. A part that cannot run
//! here is skipped, loudly, and a part that fails does not stop the others. At the end stands a table of all of them.

mod parts;
mod relaxed;
mod setup;

use parts::{PARTS, Part};
use setup::{Setup, Stop};
use std::process::ExitCode;
use std::time::{Duration, Instant};

const HELP: &str = "\
cargo xtask test [PART...]    run all parts, or these
cargo xtask setup [PART...]   only install what they need
cargo xtask list              name the parts
cargo xtask web               build the npm package in web/

Downloads and toolchains are kept in ~/.cache/motelm (MOTE_CACHE). docs/testing.md says more.";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (mode, names) = match args.as_slice() {
        ["test", names @ ..] => (Mode::Test, names),
        ["setup", names @ ..] => (Mode::Setup, names),
        ["list"] => {
            PARTS.iter().for_each(|part| println!("{:10} {}", part.name, part.about));
            return ExitCode::SUCCESS;
        }
        ["web"] => return ended(parts::web(&Setup::new())),
        // What cargo starts for the part `wasm`, with a test's module and arguments at the end.
        ["run-as-on", processor, runner, test, args @ ..] => {
            return ended(relaxed::run_as_on(processor, runner, test, args));
        }
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    if let Some(unknown) = names.iter().find(|name| PARTS.iter().all(|part| part.name != **name)) {
        eprintln!("there is no part `{unknown}`; `cargo xtask list` names them");
        return ExitCode::from(2);
    }
    let chosen = PARTS.iter().filter(|part| names.is_empty() || names.contains(&part.name));
    let setup = Setup::new();
    let results: Vec<_> = chosen.map(|part| Row::of(part, mode, &setup)).collect();
    report(&results)
}

fn ended(result: Result<(), Stop>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Skipped(why) | Stop::Failed(why)) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

/// What to do with the chosen parts.
#[derive(Clone, Copy)]
enum Mode {
    Setup,
    Test,
}

/// How a part ended.
struct Row {
    part: &'static Part,
    outcome: Result<(), Stop>,
    took: Duration,
}

impl Row {
    fn of(part: &'static Part, mode: Mode, setup: &Setup) -> Self {
        println!("\n==== {}: {}", part.name, part.about);
        let start = Instant::now();
        let outcome = match mode {
            Mode::Setup => (part.needs)(setup),
            Mode::Test => (part.needs)(setup).and_then(|()| (part.run)(setup)),
        };
        match &outcome {
            Ok(()) => {}
            Err(Stop::Skipped(why)) => println!("SKIPPED: {}: {why}", part.name),
            Err(Stop::Failed(why)) => println!("FAILED: {}: {why}", part.name),
        }
        Self { part, outcome, took: start.elapsed() }
    }
}

/// Prints the table, and as the last line the counts.
fn report(rows: &[Row]) -> ExitCode {
    println!("\n{:10} {:8} {:>6}", "part", "result", "time");
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for Row { part, outcome, took } in rows {
        let (result, why) = match outcome {
            Ok(()) => ("passed", ""),
            Err(Stop::Failed(why)) => ("FAILED", why.as_str()),
            Err(Stop::Skipped(why)) => ("SKIPPED", why.as_str()),
        };
        match outcome {
            Ok(()) => passed += 1,
            Err(Stop::Failed(_)) => failed += 1,
            Err(Stop::Skipped(_)) => skipped += 1,
        }
        println!("{:10} {result:8} {:>4} s  {why}", part.name, took.as_secs());
    }
    println!("\n{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
