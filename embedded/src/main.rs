//! A microcontroller tells a story: the model stays in flash and is read where it lies.
#![no_std]
#![no_main]
#![deny(unsafe_code)]

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprint, hprintln};
use motelm_core::generate::{Generator, Limits, Step};
use motelm_core::gguf::File;
use motelm_core::sample::{self, Sampler};
use motelm_core::session::{self, Session};
use motelm_core::tokenizer::{Encode, Tokenizer};
use motelm_core::{Bytes, Model, Result};
use panic_semihosting as _;

/// The model, linked into flash.
static MODEL: &[u8] = include_bytes!("../../models/tales-280K-Q8_0.gguf");

/// RAM for everything that is not on the stack: 2 MiB.
#[global_allocator]
static HEAP: emballoc::Allocator<{ 2 << 20 }> = emballoc::Allocator::new();

/// How the story begins. `story.txt` beside `src` is what must come out, here and on every other machine.
const PROMPT: &str = "Once upon a time";

#[entry]
fn main() -> ! {
    let status = match tell() {
        Ok(()) => debug::EXIT_SUCCESS,
        Err(error) => {
            hprintln!("{}", error);
            debug::EXIT_FAILURE
        }
    };
    loop {
        debug::exit(status);
    }
}

fn tell() -> Result<()> {
    let file = File::parse(Bytes::new(MODEL))?;
    let model = Model::new(&file)?;
    let tokenizer = Tokenizer::new(&file)?;
    let mut session =
        Session::new(&model, session::Options { context: 128, batch: 8, ..session::Options::default() })?;
    let options = sample::Options { seed: 7, temperature: 0.6, top_k: 40, ..sample::Options::default() };
    let mut sampler = Sampler::new(&options, tokenizer.len() as usize)?;
    let prompt = tokenizer.encode(PROMPT, Encode::default());
    let limits = Limits { max_tokens: 80, ..Limits::default() };
    let mut story = Generator::start(&mut session, &mut sampler, &prompt, limits)?;
    hprint!("{}", PROMPT);
    loop {
        match story.step(&mut session, &mut sampler, &tokenizer, 8)? {
            Step::Prefill { .. } => {}
            Step::Token { text, .. } => hprint!("{}", text),
            Step::Done { text, .. } => {
                hprintln!("{}", text);
                return Ok(());
            }
        }
    }
}
