//! Where the reference data lies, and how to read it.
//!
//! A few small cases travel with the repository in `tests/golden`; the whole set is found through `MOTE_GOLDEN`
//! (default: `../shared/golden` beside the repository). A test says loudly when it runs on the small set only.
//! In a browser the small set is part of the program.

pub mod anatomy;
pub mod counting;
pub mod fuzz;
pub mod honest;

/// Every instruction set of this processor.
#[cfg(not(target_family = "wasm"))]
pub use motelm::cpu::levels;

/// A module either has vectors or it does not: there is nothing to ask at run time.
#[cfg(target_family = "wasm")]
pub fn levels() -> Vec<motelm_core::simd::Level> {
    use motelm_core::simd::Level;
    vec![Level::Scalar, Level::baseline()]
}

use std::path::{Path, PathBuf};

#[cfg(not(target_family = "wasm"))]
mod files {
    //! Reference data on disk.
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

    /// The cases that travel with the repository.
    pub fn small_golden() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
    }

    pub fn read(path: &Path) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|e| e.to_string())
    }

    pub fn list(folder: &Path) -> Result<Vec<PathBuf>, String> {
        let entries = std::fs::read_dir(folder).map_err(|e| e.to_string())?;
        entries.map(|entry| entry.map(|entry| entry.path()).map_err(|e| e.to_string())).collect()
    }
}

#[cfg(target_family = "wasm")]
mod files {
    //! Reference data in the program.
    use include_dir::{Dir, include_dir};
    use std::path::{Path, PathBuf};

    static GOLDEN: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/golden");

    /// There is only the small one.
    pub fn full_golden() -> Option<PathBuf> {
        None
    }

    pub fn small_golden() -> PathBuf {
        PathBuf::new()
    }

    pub fn read(path: &Path) -> Result<Vec<u8>, String> {
        let file = GOLDEN.get_file(path).ok_or("not in tests/golden")?;
        Ok(file.contents().to_vec())
    }

    pub fn list(folder: &Path) -> Result<Vec<PathBuf>, String> {
        let folder = GOLDEN.get_dir(folder).ok_or("not in tests/golden")?;
        Ok(folder.entries().iter().map(|entry| entry.path().into()).collect())
    }
}

pub use files::full_golden;

/// `part` (`quants`, `models`, ...) of the full set, or else of the cases in `tests/golden`.
pub fn golden(part: &str) -> PathBuf {
    full_golden().unwrap_or_else(files::small_golden).join(part)
}

/// The folders of all reference models: of the full set, if it is here, and those that travel with the repository.
pub fn reference_models() -> Vec<PathBuf> {
    let mut folders = list(&golden("models"));
    let names: Vec<_> =
        folders.iter().filter_map(|folder| folder.file_name().map(ToOwned::to_owned)).collect();
    let small = list(&files::small_golden().join("models"));
    folders.extend(small.into_iter().filter(|f| !names.iter().any(|name| f.ends_with(name))));
    folders
}

/// How near an encoder's vectors must come to the reference's, by how the file's weights are stored.
pub fn least_cosine(variant: &str) -> f32 {
    match variant.rsplit('-').next() {
        Some("f32") => 0.99999,
        Some("f16") => 0.9999,
        _ => 0.999,
    }
}

/// The bytes of a file of reference data.
///
/// # Panics
/// When it is missing: reference data is part of the test.
pub fn read(path: &Path) -> Vec<u8> {
    files::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// What lies in a folder of reference data, in order.
///
/// # Panics
/// As [`read`].
pub fn list(folder: &Path) -> Vec<PathBuf> {
    let mut paths = files::list(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    paths.sort();
    paths
}

/// A JSON file.
///
/// # Panics
/// As [`read`], and when it is no JSON.
pub fn json(path: &Path) -> serde_json::Value {
    let text = String::from_utf8(read(path)).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    // Python writes infinite numbers, which JSON has not; no test reads them.
    let text = text.replace(" Infinity\n", " null\n");
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Raw little-endian f32 values.
///
/// # Panics
/// As [`read`].
pub fn f32s(path: &Path) -> Vec<f32> {
    read(path).chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("4 bytes"))).collect()
}
