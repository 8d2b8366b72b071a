//! What the layers keep of the tokens so far: keys and values, or a recurrent state.
//!
//! Each layer has rows for a number of positions; a position's row is `position % capacity`. Layers with a sliding
//! window have just as many rows as the window and a batch need, so that they are rings; the others have a row for
//! every position of the context. A recurrent layer has one state, of the position where the session stands: it can
//! go on, and it can start anew.

mod rows;

use alloc::vec::Vec;
use core::ops::Range;

use bytemuck::Zeroable;
use bytemuck::allocation::try_zeroed_slice_box;

use crate::error::{Error, ErrorKind, Result};
use crate::model::plan::{Kept, KvShape, Mask, Values};
use crate::simd::{Isa, Level};
use rows::Rows;

pub use rows::KvType;

/// What one layer keeps.
#[derive(Debug)]
pub(crate) enum Cache {
    /// Keys and values.
    Rows(LayerCache),
    /// A recurrent state, all zeros in the beginning.
    State(Vec<f32>),
}

impl Cache {
    /// `capacity` tells how many positions a mask needs.
    pub(crate) fn new(kind: KvType, kept: Kept, capacity: impl Fn(Mask) -> usize) -> Result<Self> {
        Ok(match kept {
            Kept::Rows(shape) => Self::Rows(LayerCache::new(kind, capacity(shape.mask), shape)?),
            Kept::State(elements) => Self::State(zeroed(elements)?),
        })
    }

    /// What [`Cache::new`] will allocate, in bytes; `None` beyond a `u64`.
    pub(crate) fn bytes(kind: KvType, kept: Kept, capacity: impl Fn(Mask) -> usize) -> Option<u64> {
        match kept {
            Kept::Rows(shape) => {
                let heads = |n: usize, width| (n as u64).checked_mul(kind.row_bytes(width)? as u64);
                let values = if shape.values == Values::Separate { shape.n_heads } else { 0 };
                let position = heads(shape.n_heads, shape.key)?.checked_add(heads(values, shape.value)?)?;
                (capacity(shape.mask) as u64).checked_mul(position)
            }
            Kept::State(elements) => (elements as u64).checked_mul(size_of::<f32>() as u64),
        }
    }

    /// Whether a session that stands at position `at` can go on at `n` instead.
    pub(crate) fn can_go_to(&self, n: usize, at: usize) -> bool {
        match self {
            Self::Rows(rows) => rows.oldest <= rows.shape.mask.oldest_seen(n),
            Self::State(_) => n >= at,
        }
    }

    /// Starts anew at position 0.
    pub(crate) fn clear(&mut self) {
        match self {
            Self::Rows(rows) => rows.oldest = 0,
            Self::State(state) => state.fill(0.0),
        }
    }

    /// The first position that [`Cache::save`] writes for a session that stands at `at`.
    pub(crate) fn first_saved(&self, at: usize) -> usize {
        match self {
            Self::Rows(rows) => rows.oldest,
            Self::State(_) => at,
        }
    }

    /// Appends what is kept for a session that stands at `at`, little-endian.
    pub(crate) fn save(&self, at: usize, out: &mut Vec<u8>) {
        match self {
            Self::Rows(rows) => (rows.oldest..at).for_each(|position| rows.save(position, out)),
            Self::State(state) => state.iter().for_each(|x| out.extend(x.to_le_bytes())),
        }
    }

    /// Bytes that [`Cache::save`] wrote from position `first` on, for a session that stood at `at`; `None` when it
    /// cannot have done that.
    pub(crate) fn saved_bytes(&self, first: usize, at: usize) -> Option<usize> {
        match self {
            Self::Rows(rows) if first <= at && first <= rows.shape.mask.oldest_seen(at) => {
                (at - first).checked_mul(rows.position_bytes())
            }
            Self::State(state) if first == at => Some(size_of_val(&**state)),
            _ => None,
        }
    }

    /// Takes what [`Cache::save`] wrote from position `first` on; all before is gone.
    pub(crate) fn restore(&mut self, first: usize, bytes: &[u8]) {
        match self {
            Self::Rows(rows) => rows.restore(first, bytes),
            Self::State(state) => {
                let bytes = bytes.as_chunks().0.iter();
                state.iter_mut().zip(bytes).for_each(|(x, b)| *x = f32::from_le_bytes(*b));
            }
        }
    }
}

/// One layer's keys and values.
#[derive(Debug)]
pub struct LayerCache {
    keys: Rows,
    /// Empty where the values are part of the keys.
    values: Rows,
    capacity: usize,
    /// The first position whose row is still there.
    oldest: usize,
    shape: KvShape,
}

impl LayerCache {
    /// Room for `capacity` positions.
    ///
    /// # Errors
    /// [`ErrorKind::Memory`] when there is not so much memory.
    pub fn new(kind: KvType, capacity: usize, shape: KvShape) -> Result<Self> {
        let value_heads = if shape.values == Values::Separate { shape.n_heads } else { 0 };
        Ok(Self {
            keys: Rows::new(kind, shape.n_heads, capacity, shape.key)?,
            values: Rows::new(kind, value_heads, capacity, shape.value)?,
            capacity,
            oldest: 0,
            shape,
        })
    }

    /// What a position's rows look like.
    pub fn shape(&self) -> &KvShape {
        &self.shape
    }

    /// Stores the keys and values of the tokens from position `first`, a row for each.
    pub fn write(&mut self, level: Level, first: usize, keys: &[f32], values: &[f32]) {
        let (key_width, value_width) = (self.shape.key_width(), self.shape.value_width());
        for (i, key) in keys.chunks_exact(key_width).enumerate() {
            let row = self.row(first + i);
            self.keys.write(level, row, key);
            self.values.write(level, row, &values[i * value_width..][..value_width]);
        }
        let end = first + keys.len() / key_width;
        self.oldest = self.oldest.max(end.saturating_sub(self.capacity));
    }

    fn row(&self, position: usize) -> usize {
        position % self.capacity
    }

    /// One head's keys at some positions, decoded, a row of `stride` elements for each.
    #[inline(always)]
    pub(crate) fn keys<I: Isa>(
        &self,
        isa: I,
        head: usize,
        positions: Range<usize>,
        stride: usize,
        out: &mut [f32],
    ) {
        self.decode(isa, &self.keys, head, positions, 0..self.shape.key, stride, out);
    }

    /// One head's values at some positions, decoded, a row of `stride` elements for each.
    #[inline(always)]
    pub(crate) fn values<I: Isa>(
        &self,
        isa: I,
        head: usize,
        positions: Range<usize>,
        stride: usize,
        out: &mut [f32],
    ) {
        let KvShape { key, value, values, .. } = self.shape;
        let (rows, columns) = match values {
            Values::Separate => (&self.values, 0..value),
            Values::LastOfKeys => (&self.keys, key - value..key),
        };
        self.decode(isa, rows, head, positions, columns, stride, out);
    }

    #[inline(always)]
    #[expect(clippy::too_many_arguments)]
    fn decode<I: Isa>(
        &self,
        isa: I,
        rows: &Rows,
        head: usize,
        positions: Range<usize>,
        columns: Range<usize>,
        stride: usize,
        out: &mut [f32],
    ) {
        // A ring's rows may go on at its beginning.
        let first = self.row(positions.start);
        let straight = positions.len().min(self.capacity - first);
        let (out, again) = out.split_at_mut(straight * stride);
        rows.decode(isa, head, first..first + straight, columns.clone(), stride, out);
        rows.decode(isa, head, 0..positions.len() - straight, columns, stride, again);
    }

    fn position_bytes(&self) -> usize {
        self.keys.position_bytes() + self.values.position_bytes()
    }

    /// Appends a position's keys and values.
    fn save(&self, position: usize, out: &mut Vec<u8>) {
        let row = self.row(position);
        self.keys.save(row, out);
        self.values.save(row, out);
    }

    fn restore(&mut self, first: usize, bytes: &[u8]) {
        let key_bytes = self.keys.position_bytes();
        for (i, position) in bytes.chunks_exact(self.position_bytes()).enumerate() {
            let (keys, values) = position.split_at(key_bytes);
            let row = self.row(first + i);
            self.keys.restore(row, keys);
            self.values.restore(row, values);
        }
        let end = first + bytes.len() / self.position_bytes();
        self.oldest = first.max(end.saturating_sub(self.capacity));
    }
}

/// A buffer of `n` zeros, or an error instead of an abort when there is no memory for it. Where the system hands out
/// zeros, they take neither time nor memory before they are used.
#[inline(never)]
pub(crate) fn zeroed<T: Zeroable>(n: usize) -> Result<Vec<T>> {
    let zeros = try_zeroed_slice_box(n).map_err(|()| no_memory(n.saturating_mul(size_of::<T>())))?;
    Ok(zeros.into_vec())
}

/// Room for `n` bytes, which no system has to fill with zeros, as WebAssembly's allocator does by hand.
fn reserved(n: usize) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(n).map_err(|_| no_memory(n))?;
    Ok(bytes)
}

fn no_memory(bytes: usize) -> Error {
    let what = alloc::format!("no memory for a buffer of {bytes} bytes; try a smaller context");
    Error::new(ErrorKind::Memory, what)
}
