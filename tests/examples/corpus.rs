//! Writes the seeds of every door where libFuzzer looks for them: `FOLDER/DOOR/seed-N`.

use motelm_tests::fuzz::TARGETS;
use std::path::PathBuf;
use std::{env, fs};

fn main() -> std::io::Result<()> {
    let folder = PathBuf::from(env::args().nth(1).unwrap_or_else(|| "fuzz/corpus".into()));
    for target in TARGETS {
        let folder = folder.join(target.name);
        fs::create_dir_all(&folder)?;
        for (number, seed) in (target.seeds)().iter().enumerate() {
            fs::write(folder.join(format!("seed-{number}")), seed)?;
        }
    }
    Ok(())
}
