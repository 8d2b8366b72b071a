//! A cursor that never reads past its bytes.

use alloc::format;
use core::ops::Range;

use crate::error::{Error, ErrorKind, Result};

/// Little-endian reads from the beginning of a file; every failure names its offset.
pub(super) struct Reader<'a> {
    /// What there is of the file, from its start.
    bytes: &'a [u8],
    /// Bytes of the whole file.
    len: usize,
    at: usize,
    /// A read failed that will succeed when more of the file is there.
    starved: bool,
    /// Decides the width of lengths: u32 in version 1, u64 later.
    pub(super) version: u32,
}

impl<'a> Reader<'a> {
    /// A reader of a file of `len` bytes, which begins with `bytes`.
    pub(super) fn new(bytes: &'a [u8], len: usize) -> Self {
        Self { bytes, len, at: 0, starved: false, version: 3 }
    }

    /// A reader in the middle of a file, for values that were checked before.
    pub(super) fn resume(bytes: &'a [u8], version: u32, at: usize) -> Self {
        Self { bytes, len: bytes.len(), at, starved: false, version }
    }

    /// What there is of the file, from its start.
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Bytes of the whole file.
    pub(super) fn file_len(&self) -> usize {
        self.len
    }

    /// Whether the last failure was for want of bytes that the file has.
    pub(super) fn starved(&self) -> bool {
        self.starved
    }

    /// Bytes of the file that are left.
    pub(super) fn remaining(&self) -> usize {
        self.len - self.at
    }

    pub(super) fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let Some(taken) = self.bytes[self.at..].get(..n) else {
            self.starved = n <= self.remaining();
            let what = format!("the file ends early: {n} bytes needed here, {} left", self.remaining());
            return Err(Error::new(ErrorKind::Truncated, what).at_offset(self.at as u64));
        };
        self.at += n;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("took N bytes"))
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A count or length.
    pub(super) fn length(&mut self) -> Result<u64> {
        if self.version == 1 { self.u32().map(u64::from) } else { self.u64() }
    }

    /// A string: a length, then so many bytes. Returns where the bytes lie.
    pub(super) fn string(&mut self) -> Result<Range<usize>> {
        let at = self.at;
        let len = self.length()?;
        // More than the address space is more than the file.
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > self.remaining() {
            let what = format!("a string of {len} bytes, but only {} are left", self.remaining());
            return Err(Error::new(ErrorKind::Truncated, what).at_offset(at as u64));
        }
        self.take(len)?;
        Ok(self.at - len..self.at)
    }

    /// A string that must be UTF-8; `what` names it in the error.
    pub(super) fn utf8(&mut self, what: &str) -> Result<Range<usize>> {
        let range = self.string()?;
        if core::str::from_utf8(&self.bytes[range.clone()]).is_err() {
            let what = format!("{what} is not UTF-8");
            return Err(Error::new(ErrorKind::Malformed, what).at_offset(range.start as u64));
        }
        Ok(range)
    }

    /// The text of a range that [`Reader::utf8`] returned.
    pub(super) fn text(&self, range: Range<usize>) -> &'a str {
        core::str::from_utf8(&self.bytes[range]).expect("checked by utf8")
    }
}
