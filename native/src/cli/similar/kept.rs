//! Vectors that were computed before, in a file.
//!
//! ```text
//! "MOTEVECS" | version: u32 | dim: u32 | owner: u64 | n: u64 | n hashes of texts: u64 | n vectors of dim f32
//! ```
//! Everything is little-endian. The owner is who made the vectors: the model and what was asked of it. A file of
//! another owner, or a damaged one, counts as empty.

use std::collections::{HashMap, HashSet};
use std::env;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use motelm_core::embed::Embedder;

use crate::cli::args::EncodeArgs;

const HEAD: usize = 32;
const MAGIC: [u8; 8] = *b"MOTEVECS";
const VERSION: u32 = 1;

/// Vectors by the hashes of their texts.
#[derive(Debug, Default, PartialEq)]
pub struct Kept {
    dim: usize,
    vectors: HashMap<u64, Vec<f32>>,
}

/// The hash of a text. A collision among a million texts has odds of one to thirty million.
pub fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Who makes the vectors.
pub fn owner(embedder: &Embedder, args: &EncodeArgs) -> u64 {
    let mut hasher = DefaultHasher::new();
    embedder.model().fingerprint().hash(&mut hasher);
    let how = (embedder.pooling(), embedder.max_tokens(), args.no_normalize, args.exact);
    format!("{how:?} {}", env!("CARGO_PKG_VERSION")).hash(&mut hasher);
    hasher.finish()
}

/// Where the vectors of a file's lines are kept: in the user's cache folder, under a name made of the file's path.
pub fn path_for(file: &Path) -> Option<PathBuf> {
    let folder = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))?;
    // Standard input has no name to be found by.
    let path = fs::canonicalize(file).ok().filter(|path| path.is_file())?;
    Some(folder.join("motelm").join("vectors").join(format!("{:016x}", hash(&path.to_string_lossy()))))
}

impl Kept {
    /// What a file holds for this owner; nothing where there is no such file.
    pub fn read(path: &Path, owner: u64, dim: usize) -> Self {
        let vectors = fs::read(path).ok().and_then(|bytes| parse(&bytes, owner, dim));
        Self { dim, vectors: vectors.unwrap_or_default() }
    }

    /// The vector of the text with this hash.
    pub fn vector(&self, hash: u64) -> Option<&[f32]> {
        self.vectors.get(&hash).map(Vec::as_slice)
    }

    pub fn insert(&mut self, hash: u64, vector: &[f32]) {
        self.vectors.insert(hash, vector.to_vec());
    }

    /// Forgets all texts but these.
    pub fn retain(&mut self, hashes: &[u64]) {
        let hashes: HashSet<u64> = hashes.iter().copied().collect();
        self.vectors.retain(|hash, _| hashes.contains(hash));
    }

    /// Writes all vectors to a file, which is there whole or not at all.
    pub fn write(&self, path: &Path, owner: u64) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(HEAD + self.vectors.len() * (8 + 4 * self.dim));
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend((self.dim as u32).to_le_bytes());
        bytes.extend(owner.to_le_bytes());
        bytes.extend((self.vectors.len() as u64).to_le_bytes());
        let vectors: Vec<_> = self.vectors.iter().collect();
        vectors.iter().for_each(|(hash, _)| bytes.extend(hash.to_le_bytes()));
        vectors.iter().flat_map(|(_, vector)| *vector).for_each(|x| bytes.extend(x.to_le_bytes()));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let unfinished = path.with_extension(format!("{}.tmp", std::process::id()));
        fs::write(&unfinished, bytes)?;
        fs::rename(unfinished, path)
    }
}

fn parse(bytes: &[u8], owner: u64, dim: usize) -> Option<HashMap<u64, Vec<f32>>> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
    let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
    let u64_at = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes"));
    if head[..8] != MAGIC || u32_at(8) != VERSION || u32_at(12) as usize != dim || u64_at(16) != owner {
        return None;
    }
    let n = usize::try_from(u64_at(24)).ok()?;
    let vector_bytes = dim.checked_mul(4)?;
    if n.checked_mul(vector_bytes.checked_add(8)?)? != rest.len() {
        return None;
    }
    let (hashes, vectors) = rest.split_at(8 * n);
    let hashes = hashes.as_chunks().0.iter().map(|hash| u64::from_le_bytes(*hash));
    let vector = |bytes: &[u8]| bytes.as_chunks().0.iter().map(|x| f32::from_le_bytes(*x)).collect();
    Some(hashes.zip(vectors.chunks_exact(vector_bytes).map(vector)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_comes_back_to_its_owner() {
        let path = env::temp_dir().join(format!("mote-kept-{}", std::process::id()));
        let mut kept = Kept { dim: 2, ..Kept::default() };
        kept.insert(hash("a"), &[1.0, 2.0]);
        kept.insert(hash("b"), &[3.0, -4.0]);
        kept.write(&path, 7).unwrap();
        assert_eq!(Kept::read(&path, 7, 2), kept);
        let nothing = |dim| Kept { dim, ..Kept::default() };
        assert_eq!(Kept::read(&path, 8, 2), nothing(2));
        assert_eq!(Kept::read(&path, 7, 3), nothing(3));
        let bytes = fs::read(&path).unwrap();
        for len in 0..bytes.len() {
            assert_eq!(parse(&bytes[..len], 7, 2), None, "{len} bytes");
        }
        fs::remove_file(&path).unwrap();
        kept.retain(&[hash("b")]);
        assert_eq!((kept.vector(hash("a")), kept.vector(hash("b"))), (None, Some(&[3.0, -4.0][..])));
    }
}
