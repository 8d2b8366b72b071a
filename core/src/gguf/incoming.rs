//! A model whose bytes arrive one after the other: a download, a disk that is read in pieces.
//!
//! A file's head is kept until it is complete, for metadata are views into it. From then on it is known where every
//! byte belongs: each tensor gets memory of its own, which its bytes are written to once and where they stay. So a
//! model never takes its size twice, and may be larger than the longest slice, which on 32-bit machines is 2 GiB.

use alloc::format;
use alloc::vec::Vec;

use super::{Data, File, Head, Shard};
use crate::bytes::Bytes;
use crate::error::{Error, ErrorKind, Result};
use crate::order::sorted_below;

/// Bytes of a head to begin looking at; after that whenever there are half as many again.
const FIRST_LOOK: usize = if cfg!(test) { 16 } else { 1 << 16 };

/// The files of a model while they arrive, in order.
pub struct Incoming {
    /// Of each file, bytes in total.
    lens: Vec<usize>,
    /// Files that are complete.
    shards: Vec<Shard>,
    heads: Vec<Head>,
    current: Current,
}

/// The file that is arriving.
#[derive(Default)]
struct Current {
    /// Bytes that came so far.
    at: usize,
    /// Its beginning, in the end without what follows the tensor table.
    start: Vec<u8>,
    /// How long the beginning must be for the next look.
    look_at: usize,
    /// Its tensors, once the head is complete.
    body: Option<Body>,
}

struct Body {
    head: Head,
    /// Indices of the table by where their bytes begin; those before `next` are complete.
    order: Vec<u32>,
    next: usize,
    /// Their bytes, in the order of the table.
    tensors: Vec<Vec<u8>>,
}

impl Incoming {
    /// Files of these lengths in bytes, of a split or only one.
    ///
    /// # Errors
    /// [`ErrorKind::Memory`] when one is longer than this machine's memory can be.
    pub fn new(file_lens: &[u64]) -> Result<Self> {
        let len = |&len: &u64| {
            usize::try_from(len).map_err(|_| {
                let most = usize::MAX;
                let what = format!("a file of {len} bytes; on this machine memory ends at {most}");
                Error::new(ErrorKind::Memory, what)
            })
        };
        let lens = file_lens.iter().map(len).collect::<Result<_>>()?;
        Ok(Self { lens, shards: Vec::new(), heads: Vec::new(), current: Current::default() })
    }

    /// Takes the next bytes, as many as there are. Files follow each other without a gap.
    ///
    /// # Errors
    /// What is wrong with the file, as soon as it shows; [`ErrorKind::Memory`] when there is no room for a tensor;
    /// [`ErrorKind::Malformed`] for more bytes than were announced. After an error this is good for nothing more.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let shard = self.shards.len();
            let Some(&len) = self.lens.get(shard) else {
                let what = format!("{} bytes more than the files were said to have", bytes.len());
                return Err(Error::new(ErrorKind::Malformed, what));
            };
            let (now, later) = bytes.split_at(bytes.len().min(len - self.current.at));
            self.current.push(now, len, shard)?;
            bytes = later;
            if self.current.at == len {
                let (shard, head) = core::mem::take(&mut self.current).finish(len)?;
                self.shards.push(shard);
                self.heads.push(head);
            }
        }
        Ok(())
    }

    /// Bytes that came so far.
    pub fn received(&self) -> u64 {
        let whole = self.shards.iter().map(|shard| shard.len as u64).sum::<u64>();
        whole + self.current.at as u64
    }

    /// The model, when all of it is there.
    ///
    /// # Errors
    /// [`ErrorKind::Truncated`] when it is not; else as [`File::parse_split`].
    pub fn finish(self) -> Result<File> {
        if self.shards.len() < self.lens.len() {
            let total = self.lens.iter().map(|&len| len as u64).sum::<u64>();
            let what = format!("the bytes end early: {} of {total} came", self.received());
            return Err(Error::new(ErrorKind::Truncated, what).at_offset(self.received()));
        }
        File::assemble(self.shards, self.heads)
    }
}

impl Current {
    fn push(&mut self, mut bytes: &[u8], len: usize, shard: usize) -> Result<()> {
        while !bytes.is_empty() {
            let Some(body) = &mut self.body else {
                self.start.try_reserve(bytes.len()).map_err(|_| no_room(bytes.len()))?;
                self.start.extend_from_slice(bytes);
                self.at += bytes.len();
                return self.look(len, shard);
            };
            let taken = body.push(bytes, self.at)?;
            self.at += taken;
            bytes = &bytes[taken..];
        }
        Ok(())
    }

    /// Looks whether the head is complete; if so, what came behind it goes where it belongs.
    fn look(&mut self, len: usize, shard: usize) -> Result<()> {
        if self.at < len && self.at < self.look_at.max(FIRST_LOOK) {
            return Ok(());
        }
        self.look_at = self.at.saturating_add(self.at / 2);
        let Some(head) = Head::parse_start(&self.start, len, shard)? else { return Ok(()) };
        let behind = self.start.split_off(head.len);
        self.start.shrink_to_fit();
        self.at = head.len;
        self.body = Some(Body::new(head));
        self.push(&behind, len, shard)
    }

    fn finish(self, len: usize) -> Result<(Shard, Head)> {
        let body =
            self.body.ok_or_else(|| Error::new(ErrorKind::Truncated, "the file is empty").at_offset(0))?;
        let tensors = body.tensors.into_iter().map(Bytes::new).collect();
        Ok((Shard { head: Bytes::new(self.start), len, data: Data::Apart(tensors) }, body.head))
    }
}

impl Body {
    fn new(head: Head) -> Self {
        let order =
            sorted_below(head.tensors.len(), &|a, b| head.tensors[a].start.cmp(&head.tensors[b].start));
        let tensors = head.tensors.iter().map(|_| Vec::new()).collect();
        Self { head, order, next: 0, tensors }
    }

    /// Takes bytes that belong at `at` of the file, as many as lie in one tensor or between two; returns how many.
    fn push(&mut self, bytes: &[u8], at: usize) -> Result<usize> {
        let Some(i) = self.order.get(self.next).map(|&i| i as usize) else { return Ok(bytes.len()) };
        let (info, tensor) = (&self.head.tensors[i], &mut self.tensors[i]);
        if at < info.start {
            return Ok(bytes.len().min(info.start - at));
        }
        if tensor.is_empty() {
            tensor.try_reserve_exact(info.len).map_err(|_| no_room(info.len).at_tensor(&*info.name))?;
        }
        let taken = bytes.len().min(info.len - tensor.len());
        tensor.extend_from_slice(&bytes[..taken]);
        if tensor.len() == info.len {
            self.next += 1;
        }
        Ok(taken)
    }
}

fn no_room(bytes: usize) -> Error {
    Error::new(ErrorKind::Memory, format!("there is no memory for {bytes} bytes more"))
}
