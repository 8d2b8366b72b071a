//! Saved sessions: tokens and their keys and values as bytes, to go on later or elsewhere.
//!
//! ```text
//! "MOTESAVE" | version: u32 | KV type: u32 | model: u64 | n_tokens: u64 | tokens: u32 each
//! per layer: first position: u64 | keys and values of the positions from there on, or a recurrent state
//! checksum of all before it: u64                                                  (little-endian throughout)
//! ```
//! Only the tokens that were worked off are saved. The context size is not part of it: a state fits any session of
//! its model that has room.

use alloc::format;
use alloc::vec::Vec;

use super::Session;
use crate::error::{Error, ErrorKind, Result};
use crate::model::Model;
use crate::quant::fours::{self, Layout};

const MAGIC: [u8; 8] = *b"MOTESAVE";
const VERSION: u32 = 2;

impl Session {
    /// The session as bytes. Pending tokens are not part of it.
    pub fn save(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend(self.options.kv.dtype().id().to_le_bytes());
        out.extend(self.model.fingerprint().to_le_bytes());
        out.extend((self.done as u64).to_le_bytes());
        self.tokens[..self.done].iter().for_each(|token| out.extend(token.to_le_bytes()));
        for cache in &self.caches {
            out.extend((cache.first_saved(self.done) as u64).to_le_bytes());
            cache.save(self.done, &mut out);
        }
        let checksum = hash(&out);
        out.extend(checksum.to_le_bytes());
        out
    }

    /// Replaces the session's content by what [`Session::save`] returned.
    ///
    /// # Errors
    /// [`ErrorKind::State`] for damaged bytes, another version, model or KV type; [`ErrorKind::ContextFull`] when the
    /// tokens do not fit. Then the session is as it was.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<()> {
        let Some((content, checksum)) = bytes.split_last_chunk::<8>() else {
            return Err(damaged("it is too short"));
        };
        if !content.starts_with(&MAGIC) {
            return Err(damaged("it does not begin like one"));
        }
        let mut input = Fields(&content[MAGIC.len()..]);
        let version = input.u32()?;
        if version != VERSION {
            return Err(refused(format!("saved as version {version}, this program reads {VERSION}")));
        }
        if hash(content) != u64::from_le_bytes(*checksum) {
            return Err(damaged("its checksum is wrong"));
        }
        if input.u32()? != self.options.kv.dtype().id() {
            return Err(refused(format!("keys and values are not stored as {}", self.options.kv)));
        }
        if input.u64()? != self.model.fingerprint() {
            return Err(refused("it belongs to another model"));
        }
        let n = usize::try_from(input.u64()?).unwrap_or(usize::MAX);
        if n > self.options.context {
            let what = format!("{n} saved tokens do not fit a context of {}", self.options.context);
            return Err(Error::new(ErrorKind::ContextFull, what));
        }
        let tokens = input.take(n.checked_mul(4).ok_or_else(|| damaged("a length overflows"))?)?;
        let tokens = tokens.as_chunks().0.iter().map(|token| u32::from_le_bytes(*token));
        if tokens.clone().any(|token| token as usize >= self.model.plan().n_vocab) {
            return Err(damaged("a token is not in the vocabulary"));
        }
        let layers = self.saved_layers(&mut input, n)?;
        self.tokens.clear();
        self.tokens.extend(tokens);
        self.done = n;
        self.under_way = None;
        for (cache, (first, rows)) in self.caches.iter_mut().zip(layers) {
            cache.restore(first, rows);
        }
        Ok(())
    }

    /// Each layer's first saved position, and what it kept.
    fn saved_layers<'b>(&self, input: &mut Fields<'b>, n: usize) -> Result<Vec<(usize, &'b [u8])>> {
        let mut layers = Vec::with_capacity(self.caches.len());
        for cache in &self.caches {
            let first = usize::try_from(input.u64()?).unwrap_or(usize::MAX);
            let len =
                cache.saved_bytes(first, n).ok_or_else(|| damaged("a layer's positions are missing"))?;
            layers.push((first, input.take(len)?));
        }
        if input.0.is_empty() { Ok(layers) } else { Err(damaged("bytes are left over")) }
    }
}

/// Bytes that are read field by field.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or_else(|| damaged("it is too short"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.take(4)?.try_into().expect("took 4 bytes")))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.take(8)?.try_into().expect("took 8 bytes")))
    }
}

fn damaged(why: &str) -> Error {
    Error::new(ErrorKind::State, format!("no saved session, or a damaged one: {why}"))
}

fn refused(why: impl AsRef<str>) -> Error {
    Error::new(ErrorKind::State, format!("the saved session does not fit here: {}", why.as_ref()))
}

impl Model {
    /// Tells models apart: the plan, the tensors' table, and both ends of every tensor's bytes. It is no proof against
    /// malice.
    pub fn fingerprint(&self) -> u64 {
        let mut state = FNV_OFFSET;
        let mut add = |bytes: &[u8]| state = fnv(state, bytes);
        add(format!("{}", self.plan()).as_bytes());
        for tensor in self.file().tensors() {
            add(format!("{tensor}").as_bytes());
            let (data, layout) = (self.file().data(tensor), self.file().layout(tensor));
            let byte = |at: usize| match layout {
                Layout::Rows => data[at],
                Layout::Fours => fours::byte(tensor.dtype, &data, data.len() / tensor.rows(), at),
            };
            for end in [0..data.len().min(64), data.len().saturating_sub(64)..data.len()] {
                add(&end.map(byte).collect::<Vec<u8>>());
            }
        }
        state
    }
}

/// FNV-1a, over words of 8 bytes: it tells damage, not malice.
fn hash(bytes: &[u8]) -> u64 {
    fnv(FNV_OFFSET, bytes)
}

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

fn fnv(mut state: u64, bytes: &[u8]) -> u64 {
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        // The rotation lets high bits reach low ones, which multiplication alone does not.
        state = (state ^ u64::from_le_bytes(*word)).wrapping_mul(PRIME).rotate_left(23);
    }
    for byte in rest {
        state = (state ^ u64::from(*byte)).wrapping_mul(PRIME);
    }
    state
}
