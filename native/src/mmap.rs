//! Files as memory.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::path::Path;

use memmap2::Mmap;
use motelm_core::Bytes;

/// Maps a plain file. It must not be changed while the bytes are in use.
pub(crate) fn map(path: &Path) -> io::Result<Bytes> {
    let file = File::open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "this is a folder, not a file"));
    }
    if !kind.is_file() {
        let what = "this is no plain file, so it cannot be mapped into memory";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    // SAFETY: the map is only read. That nobody changes the file meanwhile is asked of the caller; the engine reads
    // bytes through checked accesses whatever they are, as the format's checks never stand in for bounds checks.
    let map = unsafe { Mmap::map(&file) }?;
    // Weights are streamed, and pages of 4 KB end every stream of the processor's prefetcher. Where the file is not in
    // memory yet, this makes Linux read it in pages of 2 MB if it can; a wish, so that a refusal does not matter.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    Ok(Bytes::new(map))
}
