//! Files as memory.
#![allow(unsafe_code)]

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use memmap2::{Mmap, MmapMut};
use motelm_core::Bytes;

use crate::machine;

/// Maps a plain file. It must not be changed while the bytes are in use.
pub(crate) fn map(path: &Path) -> io::Result<Bytes> {
    let file = plain(path)?;
    // SAFETY: the map is only read. That nobody changes the file meanwhile is asked of the caller; the engine reads
    // bytes through checked accesses whatever they are, as the format's checks never stand in for bounds checks.
    let map = unsafe { Mmap::map(&file) }?;
    // Weights are streamed, and pages of 4 KB end every stream of the processor's prefetcher. Where the file is not in
    // memory yet, this makes Linux read it in pages of 2 MB if it can; a wish, so that a refusal does not matter.
    #[cfg(target_os = "linux")]
    let _ = map.advise(memmap2::Advice::HugePage);
    Ok(Bytes::new(map))
}

/// Reads a plain file into memory of its own, in large pages where the system has them.
pub(crate) fn read(path: &Path) -> io::Result<Bytes> {
    let mut file = plain(path)?;
    let bytes = file.metadata()?.len();
    if let Some(free) = machine::available_memory().filter(|&free| free < bytes) {
        let what = format!("reading it takes {bytes} bytes of memory, and {free} are free");
        return Err(io::Error::new(io::ErrorKind::OutOfMemory, what));
    }
    let len = usize::try_from(bytes).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
    let mut memory = MmapMut::map_anon(len)?;
    #[cfg(target_os = "linux")]
    let _ = memory.advise(memmap2::Advice::HugePage);
    file.read_exact(&mut memory)?;
    Ok(Bytes::new(memory.make_read_only()?))
}

fn plain(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "this is a folder, not a file"));
    }
    if !kind.is_file() {
        let what = "this is no plain file, so its length is unknown and it cannot be mapped";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    Ok(file)
}
