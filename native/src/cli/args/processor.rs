//! What of this machine's processor is used.

use clap::Args;
use motelm::{Pool, cpu, machine};
use motelm_core::simd::Level;

use super::positive;

/// Threads and instructions.
#[derive(Debug, Clone, Copy, Args)]
pub struct ProcessorArgs {
    /// Threads; no more than there are cores are used. Default: physical cores
    #[arg(short, long, value_name = "N", value_parser = positive)]
    pub threads: Option<usize>,
    /// Instructions to use; `scalar` computes the same on every machine, to the bit. Default: the best there are
    #[arg(long, value_name = "NAME", value_parser = level)]
    pub level: Option<Level>,
}

impl ProcessorArgs {
    /// The threads.
    pub fn pool(self) -> Pool {
        Pool::new(self.threads.unwrap_or_else(machine::physical_cores))
    }

    /// The instructions.
    pub fn level(self) -> Level {
        self.level.unwrap_or_else(cpu::detect)
    }
}

/// An instruction set of this processor, by name.
pub(super) fn level(name: &str) -> Result<Level, String> {
    let levels = cpu::levels();
    let names: Vec<&str> = levels.iter().map(|level| level.name()).collect();
    let found = levels.iter().copied().find(|level| level.name() == name);
    found.ok_or_else(|| format!("this processor has {}", names.join(", ")))
}
