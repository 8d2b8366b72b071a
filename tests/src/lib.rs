//! Where the reference data lies, and how to read it.
//!
//! A few small cases travel with the repository in `tests/golden`; the whole set is found through `MOTE_GOLDEN`
//! (default: `../shared/golden` beside the repository). A test says loudly when it runs on the small set only.

use std::fs;
use std::path::{Path, PathBuf};

/// The folder of the full reference set, when this machine has it.
pub fn full_golden() -> Option<PathBuf> {
    let repository =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository");
    let path = match std::env::var_os("MOTE_GOLDEN") {
        Some(path) => PathBuf::from(path),
        None => repository.join("../shared/golden"),
    };
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("SKIPPED: the full reference set is not at {} (set MOTE_GOLDEN)", path.display());
    None
}

/// `part` (`quants`, `models`, ...) of the full set, or else of the cases in `tests/golden`.
pub fn golden(part: &str) -> PathBuf {
    match full_golden() {
        Some(path) => path.join(part),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(part),
    }
}

/// A JSON file.
///
/// # Panics
/// When it is missing or no JSON: reference data is part of the test.
pub fn json(path: &Path) -> serde_json::Value {
    let text = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Raw little-endian f32 values.
///
/// # Panics
/// As [`json`].
pub fn f32s(path: &Path) -> Vec<f32> {
    let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("4 bytes"))).collect()
}
