//! Keys and values of the tokens so far.
//!
//! Each layer has rows for a number of positions; a position's row is `position % capacity`. Layers with a sliding
//! window have just as many rows as the window and a batch need, so that they are rings; the others have a row for
//! every position of the context.

use alloc::vec::Vec;
use core::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::simd::{Isa, Level, f32_to_f16};

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KvType {
    /// Half precision, as other engines do by default.
    #[default]
    F16,
    /// Single precision, to compare with references.
    F32,
}

impl KvType {
    /// Bytes per element.
    pub fn bytes(self) -> usize {
        match self {
            Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}

/// One layer's keys and values.
#[derive(Debug)]
pub(crate) struct LayerCache {
    keys: Rows,
    values: Rows,
    capacity: usize,
    /// The first position whose row is still there.
    oldest: usize,
    /// Elements of a position's keys, and of its values.
    width: usize,
    head_dim: usize,
}

#[derive(Debug)]
enum Rows {
    F16(Vec<u16>),
    F32(Vec<f32>),
}

impl LayerCache {
    /// Room for `capacity` positions of `n_kv_heads` heads.
    pub(crate) fn new(kind: KvType, capacity: usize, n_kv_heads: usize, head_dim: usize) -> Result<Self> {
        let width = n_kv_heads * head_dim;
        let rows = || Rows::new(kind, capacity.saturating_mul(width));
        Ok(Self { keys: rows()?, values: rows()?, capacity, oldest: 0, width, head_dim })
    }

    /// The first position whose row is still there.
    pub(crate) fn oldest(&self) -> usize {
        self.oldest
    }

    /// Starts anew at position 0.
    pub(crate) fn clear(&mut self) {
        self.oldest = 0;
    }

    /// Stores the keys and values of the tokens from position `first`, rows of `width` elements.
    pub(crate) fn write(&mut self, level: Level, first: usize, keys: &[f32], values: &[f32]) {
        let rows = keys.chunks_exact(self.width).zip(values.chunks_exact(self.width));
        for (i, (key, value)) in rows.enumerate() {
            let at = self.start(first + i);
            self.keys.write(level, at, key);
            self.values.write(level, at, value);
        }
        let end = first + keys.len() / self.width;
        self.oldest = self.oldest.max(end.saturating_sub(self.capacity));
    }

    fn start(&self, position: usize) -> usize {
        position % self.capacity * self.width
    }

    #[inline(always)]
    pub(crate) fn key_dot<I: Isa>(&self, isa: I, position: usize, kv_head: usize, q: &[f32]) -> f32 {
        let at = self.start(position) + kv_head * self.head_dim;
        match &self.keys {
            Rows::F16(rows) => isa.dot_f16(&rows[at..at + self.head_dim], q),
            Rows::F32(rows) => isa.dot_f32(&rows[at..at + self.head_dim], q),
        }
    }

    #[inline(always)]
    pub(crate) fn add_value<I: Isa>(
        &self,
        isa: I,
        position: usize,
        kv_head: usize,
        weight: f32,
        out: &mut [f32],
    ) {
        let at = self.start(position) + kv_head * self.head_dim;
        match &self.values {
            Rows::F16(rows) => isa.axpy_f16(weight, &rows[at..at + self.head_dim], out),
            Rows::F32(rows) => isa.axpy_f32(weight, &rows[at..at + self.head_dim], out),
        }
    }

    /// Bytes of a position's keys and values together.
    pub(crate) fn position_bytes(&self) -> usize {
        2 * self.width * self.keys.kind().bytes()
    }

    /// Appends a position's keys and values, little-endian.
    pub(crate) fn save(&self, position: usize, out: &mut Vec<u8>) {
        let range = self.start(position)..self.start(position) + self.width;
        self.keys.save(range.clone(), out);
        self.values.save(range, out);
    }

    /// Takes the rows from position `first` on that [`LayerCache::save`] wrote; all before are gone.
    pub(crate) fn restore(&mut self, first: usize, bytes: &[u8]) {
        for (i, row) in bytes.chunks_exact(self.position_bytes()).enumerate() {
            let at = self.start(first + i);
            let (keys, values) = row.split_at(row.len() / 2);
            self.keys.restore(at, keys);
            self.values.restore(at, values);
        }
        let end = first + bytes.len() / self.position_bytes();
        self.oldest = first.max(end.saturating_sub(self.capacity));
    }
}

impl Rows {
    fn new(kind: KvType, elements: usize) -> Result<Self> {
        Ok(match kind {
            KvType::F16 => Self::F16(zeroed(elements)?),
            KvType::F32 => Self::F32(zeroed(elements)?),
        })
    }

    fn kind(&self) -> KvType {
        match self {
            Self::F16(_) => KvType::F16,
            Self::F32(_) => KvType::F32,
        }
    }

    fn write(&mut self, level: Level, at: usize, x: &[f32]) {
        match self {
            Self::F16(rows) => f32_to_f16(level, x, &mut rows[at..at + x.len()]),
            Self::F32(rows) => rows[at..at + x.len()].copy_from_slice(x),
        }
    }

    fn save(&self, range: Range<usize>, out: &mut Vec<u8>) {
        match self {
            Self::F16(rows) => rows[range].iter().for_each(|x| out.extend(x.to_le_bytes())),
            Self::F32(rows) => rows[range].iter().for_each(|x| out.extend(x.to_le_bytes())),
        }
    }

    fn restore(&mut self, at: usize, bytes: &[u8]) {
        match self {
            Self::F16(rows) => {
                let bytes = bytes.as_chunks().0.iter();
                rows[at..].iter_mut().zip(bytes).for_each(|(x, b)| *x = u16::from_le_bytes(*b));
            }
            Self::F32(rows) => {
                let bytes = bytes.as_chunks().0.iter();
                rows[at..].iter_mut().zip(bytes).for_each(|(x, b)| *x = f32::from_le_bytes(*b));
            }
        }
    }
}

/// A buffer of `n` zeros, or an error instead of an abort when there is no memory for it.
pub(crate) fn zeroed<T: Clone + Default>(n: usize) -> Result<Vec<T>> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(n).map_err(|_| {
        let bytes = n.saturating_mul(size_of::<T>());
        Error::new(
            ErrorKind::Memory,
            alloc::format!("no memory for a buffer of {bytes} bytes; try a smaller context"),
        )
    })?;
    buffer.resize(n, T::default());
    Ok(buffer)
}
