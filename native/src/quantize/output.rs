//! A file that appears when it is whole.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::QuantizeError;

/// A file under another name until it is finished; dropped before that, it vanishes.
pub(super) struct Output {
    path: PathBuf,
    temporary: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Output {
    pub fn create(path: &Path) -> Result<Self, QuantizeError> {
        let refuse = |source| QuantizeError::Io { path: path.into(), source };
        let Some(name) = path.file_name() else {
            return Err(refuse(io::Error::new(io::ErrorKind::IsADirectory, "this is no name for a file")));
        };
        if path.is_dir() {
            return Err(refuse(io::Error::new(io::ErrorKind::IsADirectory, "this is a folder, not a file")));
        }
        let temporary =
            path.with_file_name(format!(".{}.{}.part", name.to_string_lossy(), std::process::id()));
        let file = File::create(&temporary).map_err(refuse)?;
        Ok(Self { path: path.into(), temporary, file: Some(BufWriter::new(file)) })
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), QuantizeError> {
        let result = match &mut self.file {
            Some(file) => file.write_all(bytes),
            None => Ok(()),
        };
        result.map_err(|source| QuantizeError::Io { path: self.path.clone(), source })
    }

    /// Gives the file its name.
    pub fn finish(mut self) -> Result<(), QuantizeError> {
        let flushed = self.file.take().map_or(Ok(()), |mut file| file.flush());
        let renamed = flushed.and_then(|()| fs::rename(&self.temporary, &self.path));
        renamed.map_err(|source| {
            // Nobody will ask for it by its other name.
            let _ = fs::remove_file(&self.temporary);
            QuantizeError::Io { path: self.path.clone(), source }
        })
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
