//! What the layers keep of the tokens so far: keys and values, or a recurrent state.
//!
//! Each layer has rows for a number of positions; a position's row is `position % capacity`. Layers with a sliding
//! window have just as many rows as the window and a batch need, so that they are rings; the others have a row for
//! every position of the context. A recurrent layer has one state, of the position where the session stands: it can
//! go on, and it can start anew.

use alloc::vec::Vec;
use core::ops::Range;

use crate::error::{Error, ErrorKind, Result};
use crate::model::plan::{Kept, KvShape, Mask, Values};
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
                (capacity(shape.mask) as u64).checked_mul(position_bytes(kind, shape) as u64)
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
pub(crate) struct LayerCache {
    keys: Rows,
    values: Rows,
    capacity: usize,
    /// The first position whose row is still there.
    oldest: usize,
    shape: KvShape,
}

#[derive(Debug)]
enum Rows {
    F16(Vec<u16>),
    F32(Vec<f32>),
}

impl LayerCache {
    fn new(kind: KvType, capacity: usize, shape: KvShape) -> Result<Self> {
        let keys = Rows::new(kind, capacity.saturating_mul(shape.key_width()))?;
        let values = Rows::new(kind, capacity.saturating_mul(shape.value_width()))?;
        Ok(Self { keys, values, capacity, oldest: 0, shape })
    }

    /// What a position's rows look like.
    pub(crate) fn shape(&self) -> &KvShape {
        &self.shape
    }

    /// Stores the keys and values of the tokens from position `first`, a row for each.
    pub(crate) fn write(&mut self, level: Level, first: usize, keys: &[f32], values: &[f32]) {
        let (key_width, value_width) = (self.shape.key_width(), self.shape.value_width());
        for (i, key) in keys.chunks_exact(key_width).enumerate() {
            let row = self.row(first + i);
            self.keys.write(level, row * key_width, key);
            self.values.write(level, row * value_width, &values[i * value_width..][..value_width]);
        }
        let end = first + keys.len() / key_width;
        self.oldest = self.oldest.max(end.saturating_sub(self.capacity));
    }

    #[inline(always)]
    fn row(&self, position: usize) -> usize {
        position % self.capacity
    }

    /// `scores[i]` becomes the product of `q` with the key of position `first + i`.
    #[inline(always)]
    pub(crate) fn key_dots<I: Isa>(
        &self,
        isa: I,
        first: usize,
        kv_head: usize,
        q: &[f32],
        scores: &mut [f32],
    ) {
        let (width, column) = (self.shape.key, kv_head * self.shape.key);
        for (i, score) in scores.iter_mut().enumerate() {
            let at = self.row(first + i) * self.shape.key_width() + column;
            *score = match &self.keys {
                Rows::F16(rows) => isa.dot_f16(&rows[at..at + width], q),
                Rows::F32(rows) => isa.dot_f32(&rows[at..at + width], q),
            };
        }
    }

    /// Adds to `out` the values of positions `first` and following, times their weights.
    #[inline(always)]
    pub(crate) fn add_values<I: Isa>(
        &self,
        isa: I,
        first: usize,
        kv_head: usize,
        weights: &[f32],
        out: &mut [f32],
    ) {
        let KvShape { key, value: width, .. } = self.shape;
        let (rows, stride, column) = match self.shape.values {
            Values::Separate => (&self.values, self.shape.value_width(), kv_head * width),
            Values::LastOfKeys => (&self.keys, self.shape.key_width(), (kv_head + 1) * key - width),
        };
        // Sums stay in registers while all positions pass by.
        let (whole, rest) = out.as_chunks_mut::<64>();
        for (part, out) in whole.iter_mut().enumerate() {
            let out = out.as_chunks_mut::<8>().0;
            let mut sums = [isa.zero(); 8];
            for i in 0..8 {
                sums[i] = isa.load(&out[i]);
            }
            for (p, &weight) in weights.iter().enumerate() {
                let at = self.row(first + p) * stride + column + 64 * part;
                let weight = isa.splat(weight);
                match rows {
                    Rows::F16(rows) => {
                        let v = rows[at..at + 64].as_chunks::<8>().0;
                        for i in 0..8 {
                            sums[i] = isa.mul_add(isa.widen_f16(v[i]), weight, sums[i]);
                        }
                    }
                    Rows::F32(rows) => {
                        let v = rows[at..at + 64].as_chunks::<8>().0;
                        for i in 0..8 {
                            sums[i] = isa.mul_add(isa.load(&v[i]), weight, sums[i]);
                        }
                    }
                }
            }
            for i in 0..8 {
                isa.store(sums[i], &mut out[i]);
            }
        }
        if rest.is_empty() {
            return;
        }
        for (p, &weight) in weights.iter().enumerate() {
            let at = self.row(first + p) * stride + column + width - rest.len();
            match rows {
                Rows::F16(rows) => isa.axpy_f16(weight, &rows[at..at + rest.len()], rest),
                Rows::F32(rows) => isa.axpy_f32(weight, &rows[at..at + rest.len()], rest),
            }
        }
    }

    fn position_bytes(&self) -> usize {
        position_bytes(self.keys.kind(), self.shape)
    }

    /// Appends a position's keys and values, little-endian.
    fn save(&self, position: usize, out: &mut Vec<u8>) {
        let row = self.row(position);
        for (rows, width) in [(&self.keys, self.shape.key_width()), (&self.values, self.shape.value_width())]
        {
            rows.save(row * width..(row + 1) * width, out);
        }
    }

    fn restore(&mut self, first: usize, bytes: &[u8]) {
        let (key_width, value_width) = (self.shape.key_width(), self.shape.value_width());
        for (i, position) in bytes.chunks_exact(self.position_bytes()).enumerate() {
            let row = self.row(first + i);
            let (keys, values) = position.split_at(key_width * self.keys.kind().bytes());
            self.keys.restore(row * key_width, keys);
            self.values.restore(row * value_width, values);
        }
        let end = first + bytes.len() / self.position_bytes();
        self.oldest = first.max(end.saturating_sub(self.capacity));
    }
}

/// Bytes of a position's keys and values together.
fn position_bytes(kind: KvType, shape: KvShape) -> usize {
    (shape.key_width() + shape.value_width()) * kind.bytes()
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
