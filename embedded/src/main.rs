//! A microcontroller tells a story: the model stays in flash and is read where it lies.
#![no_std]
#![no_main]
#![deny(unsafe_code)]

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};
use motelm_core::gguf::File;
use motelm_core::{Bytes, Result};
use panic_semihosting as _;

/// The model, linked into flash.
static MODEL: &[u8] = include_bytes!("../../models/tales-280K-Q8_0.gguf");

/// RAM for everything that is not on the stack: 2 MiB.
#[global_allocator]
static HEAP: emballoc::Allocator<{ 2 << 20 }> = emballoc::Allocator::new();

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
    hprintln!("{} tensors", file.tensors().len());
    Ok(())
}
