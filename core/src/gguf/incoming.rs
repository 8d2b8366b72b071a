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
use crate::quant::fours;

/// Bytes of a head to begin looking at; after that whenever there are twice as many.
const FIRST_LOOK: usize = if cfg!(test) { 16 } else { 1 << 16 };

/// The most room that there is at once: zeros that are still in a cache when they become the bytes that come.
const ROOM: usize = 1 << 18;

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
    /// Its beginning, until the head is complete.
    start: Vec<u8>,
    /// How long the beginning must be for the next look.
    look_at: usize,
    /// Whether rows are laid by fours.
    by_fours: bool,
    /// Its tensors, once the head is complete.
    body: Option<Body>,
    /// Bytes that nobody has written yet, at the end of where the next ones go.
    room: usize,
}

struct Body {
    /// The beginning without what follows the tensor table, and what it says.
    start: Bytes,
    head: Head,
    /// Indices of the table by where their bytes begin; those before `next` are complete.
    order: Vec<u32>,
    next: usize,
    /// Their bytes, in the order of the table.
    tensors: Vec<Vec<u8>>,
    /// Bytes between tensors, which nobody needs.
    between: Vec<u8>,
    /// Where rows come that are to lie by fours, and how many bytes of them wait there for the rest of their four.
    rows: Vec<u8>,
    waiting: usize,
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

    /// Lays rows [by fours](fours) as they come, where they can be: the order that WebAssembly's kernels multiply
    /// fastest.
    #[must_use]
    pub fn by_fours(mut self) -> Self {
        self.current.by_fours = true;
        self
    }

    /// Takes the next bytes, as many as there are. Files follow each other without a gap.
    ///
    /// # Errors
    /// What is wrong with the file, as soon as it shows; [`ErrorKind::Memory`] when there is no room for a tensor;
    /// [`ErrorKind::Malformed`] for more bytes than were announced. After an error this is good for nothing more.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let room = self.room(bytes.len())?;
            let (now, later) = bytes.split_at(room.len());
            room.copy_from_slice(now);
            self.filled(now.len())?;
            bytes = later;
        }
        Ok(())
    }

    /// Where the next bytes will stay, for one at least and `most` at most. Whoever reads them from somewhere reads them
    /// to this place, and says so with [`Incoming::filled`]: that spares the copy of [`Incoming::push`].
    ///
    /// # Errors
    /// As [`Incoming::push`].
    pub fn room(&mut self, most: usize) -> Result<&mut [u8]> {
        let Some(&len) = self.lens.get(self.shards.len()) else {
            let what = format!("{most} bytes more than the files were said to have");
            return Err(Error::new(ErrorKind::Malformed, what));
        };
        self.current.room(most.min(len - self.current.at).min(ROOM))
    }

    /// Takes the first `n` bytes of the [`Incoming::room`] that was given last.
    ///
    /// # Errors
    /// As [`Incoming::push`]; [`ErrorKind::Argument`] for more than there was room for.
    pub fn filled(&mut self, n: usize) -> Result<()> {
        self.current.filled(n)?;
        let shard = self.shards.len();
        let Some(&len) = self.lens.get(shard) else { return Ok(()) };
        if let Some(behind) = self.current.look(len, shard)? {
            self.push(&behind)?;
        }
        if self.current.at == len {
            let next = Current { by_fours: self.current.by_fours, ..Current::default() };
            let (shard, head) = core::mem::replace(&mut self.current, next).finish(len)?;
            self.shards.push(shard);
            self.heads.push(head);
        }
        Ok(())
    }

    /// What the beginning of a model in one file says, once it is there: the file without
    /// [`data`](File::data), as from [`File::parse_heads`].
    ///
    /// # Errors
    /// As [`File::parse_heads`].
    pub fn head(&self) -> Result<Option<File>> {
        let [len] = &*self.lens else { return Ok(None) };
        let arriving = self.current.body.as_ref().map(|body| (&body.start, &body.head));
        let arrived = self.shards.first().map(|shard| &shard.head).zip(self.heads.first());
        let Some((start, head)) = arriving.or(arrived) else { return Ok(None) };
        let shard = Shard { head: start.clone(), len: *len, data: Data::Absent };
        File::assemble(alloc::vec![shard], alloc::vec![head.clone()]).map(Some)
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
    /// Room for `most` bytes at most, and one at least.
    fn room(&mut self, most: usize) -> Result<&mut [u8]> {
        self.filled(0)?;
        if most == 0 {
            return Err(empty());
        }
        let room = match &mut self.body {
            None => longer(&mut self.start, most)?,
            Some(body) => body.room(self.at, most, self.by_fours)?,
        };
        self.room = room.len();
        Ok(room)
    }

    /// Takes the first `n` bytes of the room.
    fn filled(&mut self, n: usize) -> Result<()> {
        let unused = self.room.checked_sub(n).ok_or_else(|| {
            let what = format!("{n} bytes where there was room for {}", self.room);
            Error::new(ErrorKind::Argument, what)
        })?;
        if self.room > 0 {
            match &mut self.body {
                None => self.start.truncate(self.start.len() - unused),
                Some(body) => body.filled(self.at, n, unused, self.by_fours),
            }
        }
        self.room = 0;
        self.at += n;
        Ok(())
    }

    /// Looks whether the head is complete; if it just became so, here are the bytes behind it.
    fn look(&mut self, len: usize, shard: usize) -> Result<Option<Vec<u8>>> {
        if self.body.is_some() || self.at < len && self.at < self.look_at.max(FIRST_LOOK) {
            return Ok(None);
        }
        self.look_at = self.at.saturating_mul(2);
        let Some(head) = Head::parse_start(&self.start, len, shard)? else { return Ok(None) };
        let mut start = core::mem::take(&mut self.start);
        let behind = start.split_off(head.len);
        start.shrink_to_fit();
        self.at = head.len;
        self.body = Some(Body::new(start, head));
        Ok(Some(behind))
    }

    fn finish(self, len: usize) -> Result<(Shard, Head)> {
        let body = self.body.ok_or_else(empty)?;
        let tensors = body.tensors.into_iter().map(Bytes::new).collect();
        let data = Data::Apart { tensors, by_fours: self.by_fours };
        Ok((Shard { head: body.start, len, data }, body.head))
    }
}

impl Body {
    fn new(start: Vec<u8>, head: Head) -> Self {
        let order =
            sorted_below(head.tensors.len(), &|a, b| head.tensors[a].start.cmp(&head.tensors[b].start));
        let tensors = head.tensors.iter().map(|_| Vec::new()).collect();
        let (start, between, rows) = (Bytes::new(start), Vec::new(), Vec::new());
        Self { start, head, order, next: 0, tensors, between, rows, waiting: 0 }
    }

    /// The tensor that the byte at `at` belongs to, if it is not between two, and the bytes of four rows where they are to
    /// lie by fours.
    fn arriving(&self, at: usize, by_fours: bool) -> Option<(usize, Option<usize>)> {
        let i = *self.order.get(self.next)? as usize;
        let info = &self.head.tensors[i];
        let four = || fours::four_rows(info.dtype, &info.shape).filter(|_| by_fours);
        (info.start <= at).then(|| (i, four()))
    }

    /// Where the bytes from `at` of the file on go, at most so many of them: the rest of a tensor, or what is between two.
    fn room(&mut self, at: usize, most: usize, by_fours: bool) -> Result<&mut [u8]> {
        let Some((i, four)) = self.arriving(at, by_fours) else {
            let next = self.order.get(self.next).map(|&i| self.head.tensors[i as usize].start);
            return longer(&mut self.between, most.min(next.map_or(usize::MAX, |start| start - at)));
        };
        let (info, tensor) = (&self.head.tensors[i], &mut self.tensors[i]);
        if tensor.is_empty() {
            tensor.try_reserve_exact(info.len).map_err(|_| no_room(info.len).at_tensor(&*info.name))?;
        }
        let most = most.min(info.start + info.len - at);
        let Some(four) = four else { return longer(tensor, most) };
        // The same memory for all rows, which stays in a cache.
        let len = four + ROOM;
        if self.rows.len() < len {
            self.rows.try_reserve(len - self.rows.len()).map_err(|_| no_room(len))?;
            self.rows.resize(len, 0);
        }
        Ok(&mut self.rows[self.waiting..][..most])
    }

    /// So many bytes from `at` on are there; there was room for some more, which are unused.
    fn filled(&mut self, at: usize, n: usize, unused: usize, by_fours: bool) {
        let Some((i, four)) = self.arriving(at, by_fours) else { return self.between.clear() };
        let (info, tensor) = (&self.head.tensors[i], &mut self.tensors[i]);
        match four {
            None => tensor.truncate(tensor.len() - unused),
            Some(four) => {
                let came = self.waiting + n;
                for rows in self.rows[..came].chunks_exact(four) {
                    let end = tensor.len();
                    tensor.resize(end + four, 0);
                    fours::lay(info.dtype, rows, &mut tensor[end..]);
                }
                self.waiting = came % four;
                self.rows.copy_within(came - self.waiting..came, 0);
            }
        }
        if tensor.len() == info.len {
            self.next += 1;
        }
    }
}

/// Room for so many bytes more.
fn longer(bytes: &mut Vec<u8>, by: usize) -> Result<&mut [u8]> {
    bytes.try_reserve(by).map_err(|_| no_room(by))?;
    let end = bytes.len();
    bytes.resize(end + by, 0);
    Ok(&mut bytes[end..])
}

fn empty() -> Error {
    Error::new(ErrorKind::Truncated, "the file is empty").at_offset(0)
}

fn no_room(bytes: usize) -> Error {
    Error::new(ErrorKind::Memory, format!("there is no memory for {bytes} bytes more"))
}
