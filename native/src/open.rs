//! Model files, mapped into memory: opening one costs milliseconds, and what is not used is not read.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use motelm_core::gguf::File;
use motelm_core::{Bytes, Error};

use crate::mmap;

/// Why a model file could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// The system refuses it: it is not there, not readable, not a file.
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is there, but no GGUF file that can be used.
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Error,
    },
}

impl OpenError {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Model { path, source } => write!(f, "{}: {source}", path.display()),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            Self::Model { source, .. } => Some(source),
        }
    }
}

/// What [`bundled`] is called.
pub const BUNDLED_NAME: &str = "tales-2M-Q8_0";

/// The model that comes with the library: two million parameters that tell fairy tales.
pub fn bundled() -> File {
    let bytes: &'static [u8] = include_bytes!("../../models/tales-2M-Q8_0.gguf");
    File::parse(Bytes::new(bytes)).expect("the bundled model is a GGUF file")
}

/// Maps a GGUF file and checks it. Any part of a split model (`NAME-00001-of-00003.gguf`) brings all of them.
///
/// The file must not be changed while it is in use: a map shows such changes, and a file that shrinks ends the process.
///
/// # Errors
/// [`OpenError::Io`] when the system refuses it, [`OpenError::Model`] as [`File::parse_split`].
pub fn open(path: impl AsRef<Path>) -> Result<File, OpenError> {
    open_by(mmap::map, path.as_ref())
}

/// Reads a GGUF file, or all parts of a split model, into memory of its own, and checks it.
///
/// That takes a second for some gigabytes, and the memory twice while the system keeps the file too. In return the
/// memory has large pages, which a map has only where the system happens to hold the file in such: generating can be
/// 1.4 times as fast. The file may be changed afterwards.
///
/// # Errors
/// As [`open`]; [`OpenError::Io`] with [`io::ErrorKind::OutOfMemory`] when less memory is free than the file takes.
pub fn read(path: impl AsRef<Path>) -> Result<File, OpenError> {
    open_by(mmap::read, path.as_ref())
}

fn open_by(bytes_of: fn(&Path) -> io::Result<Bytes>, path: &Path) -> Result<File, OpenError> {
    let refuse = |source| OpenError::Model { path: path.into(), source };
    let bytes_of = |path: &Path| bytes_of(path).map_err(|source| OpenError::io(path, source));
    let given = bytes_of(path)?;
    let parts = File::split_count(&given).map_err(refuse)?;
    match &files(path, parts)[..] {
        [_] => File::parse(given).map_err(refuse),
        files => {
            let shards: Result<Vec<Bytes>, _> = files.iter().map(|part| bytes_of(part)).collect();
            File::parse_split(shards?).map_err(refuse)
        }
    }
}

/// The files of a model that is split into `parts` and of which `path` is one; `path` alone when it is whole.
pub fn files(path: &Path, parts: usize) -> Vec<PathBuf> {
    match part_of_split(path) {
        Some(stem) if parts > 1 => (1..=parts).map(|part| stem.part(part, parts)).collect(),
        _ => vec![path.into()],
    }
}

/// The name of a part of a split model, without its number.
struct SplitName<'a> {
    folder: &'a Path,
    stem: &'a str,
}

impl SplitName<'_> {
    fn part(&self, part: usize, parts: usize) -> PathBuf {
        self.folder.join(format!("{}-{part:05}-of-{parts:05}.gguf", self.stem))
    }
}

/// Takes `STEM-00002-of-00003.gguf` apart.
fn part_of_split(path: &Path) -> Option<SplitName<'_>> {
    let number = |text: &str| text.len() == 5 && text.bytes().all(|b| b.is_ascii_digit());
    let name = path.file_name()?.to_str()?.strip_suffix(".gguf")?;
    let (rest, parts) = name.rsplit_once("-of-")?;
    let (stem, part) = rest.rsplit_once('-')?;
    (number(parts) && number(part))
        .then(|| SplitName { folder: path.parent().unwrap_or(Path::new("")), stem })
}

#[cfg(test)]
mod tests {
    use super::*;
    use motelm_core::ErrorKind;

    #[test]
    fn names_of_parts() {
        let part = part_of_split(Path::new("a/b-x-00002-of-00003.gguf")).unwrap();
        assert_eq!(part.part(1, 3), Path::new("a/b-x-00001-of-00003.gguf"));
        for other in ["b.gguf", "b-2-of-3.gguf", "b-00001-of-00002.bin", "b-0000x-of-00002.gguf"] {
            assert!(part_of_split(Path::new(other)).is_none(), "{other}");
        }
    }

    #[test]
    fn what_is_no_model() {
        let missing = "no such file.gguf";
        for missing in [open(missing), read(missing)].map(Result::unwrap_err) {
            assert!(matches!(missing, OpenError::Io { .. }), "{missing}");
        }
        let folder = env!("CARGO_MANIFEST_DIR");
        for folder in [open(folder), read(folder)].map(Result::unwrap_err) {
            assert!(folder.to_string().ends_with("this is a folder, not a file"), "{folder}");
        }
        match open(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")).unwrap_err() {
            OpenError::Model { source, .. } => assert_eq!(source.kind, ErrorKind::Malformed),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn the_bundled_model_is_the_file() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/tales-2M-Q8_0.gguf");
        for file in [open(path), read(path)] {
            assert_eq!(file.unwrap().bytes()[..], bundled().bytes()[..]);
        }
    }
}
