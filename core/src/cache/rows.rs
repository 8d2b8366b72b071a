//! Rows of keys or values, stored in one of several types.
//!
//! Rows lie head by head: all positions of a head follow each other, so that attention reads straight on. A row is
//! encoded as a tensor of its type is in a file, in whole blocks. Memory for all of them is reserved from the beginning,
//! and touched as they are written.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use super::reserved;
use crate::error::{Error, ErrorKind, Result};
use crate::model::plan::KvShape;
use crate::ops::activations::STEP;
use crate::ops::integers::{Lanes, Sign};
use crate::quant::q4_0::Q4_0;
use crate::quant::q8_0::Q8_0;
use crate::quant::{Dtype, encode_as};
use crate::simd::{self, Isa, Kernel, Level, f32s};

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KvType {
    /// Half precision, as other engines do by default.
    #[default]
    F16,
    /// Single precision, to compare with references.
    F32,
    /// 8 bits and a scale for 32 elements: half the memory of [`KvType::F16`], and nearly its numbers.
    Q8_0,
    /// 4 bits and a scale for 32 elements: a quarter of the memory; answers change noticeably.
    Q4_0,
}

impl KvType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::F16, Self::F32, Self::Q8_0, Self::Q4_0];

    /// The type of tensors that are stored the same way.
    pub fn dtype(self) -> Dtype {
        match self {
            Self::F16 => Dtype::F16,
            Self::F32 => Dtype::F32,
            Self::Q8_0 => Dtype::Q8_0,
            Self::Q4_0 => Dtype::Q4_0,
        }
    }

    /// The bytes of one head's row; `None` where the row is not whole blocks.
    pub(crate) fn row_bytes(self, width: usize) -> Option<usize> {
        self.dtype().row_bytes(width)
    }

    /// Whether heads of this shape can be stored so.
    ///
    /// # Errors
    /// [`ErrorKind::Argument`] when they are not whole blocks.
    pub(crate) fn check(self, shape: KvShape) -> Result<()> {
        let block = self.dtype().block_len();
        match [shape.key, shape.value].into_iter().find(|width| !width.is_multiple_of(block)) {
            None => Ok(()),
            Some(width) => Err(Error::new(
                ErrorKind::Argument,
                alloc::format!(
                    "keys and values as {self}, in blocks of {block}; the heads are {width} wide, store them as f16"
                ),
            )),
        }
    }
}

impl fmt::Display for KvType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dtype().fmt(f)
    }
}

/// A row for each head of each position.
#[derive(Debug)]
pub(super) struct Rows {
    kind: KvType,
    width: usize,
    row_bytes: usize,
    /// Of each head, the rows up to the last that was ever written.
    heads: Vec<Vec<u8>>,
}

impl Rows {
    /// Room for `capacity` rows of each head. Rows must be whole blocks ([`KvType::check`]).
    pub(super) fn new(kind: KvType, n_heads: usize, capacity: usize, width: usize) -> Result<Self> {
        let row_bytes = kind.row_bytes(width).unwrap_or(usize::MAX);
        let heads = (0..n_heads).map(|_| reserved(capacity.saturating_mul(row_bytes)));
        Ok(Self { kind, width, row_bytes, heads: heads.collect::<Result<_>>()? })
    }

    fn range(&self, rows: Range<usize>) -> Range<usize> {
        rows.start * self.row_bytes..rows.end * self.row_bytes
    }

    /// Where to write a head's row.
    fn row_mut(&mut self, head: usize, row: usize) -> &mut [u8] {
        let range = self.range(row..row + 1);
        let rows = &mut self.heads[head];
        if rows.len() < range.end {
            rows.resize(range.end, 0);
        }
        &mut rows[range]
    }

    /// Encodes one position's heads.
    pub(super) fn write(&mut self, level: Level, row: usize, heads: &[f32]) {
        for (head, x) in heads.chunks_exact(self.width).enumerate() {
            let kind = self.kind;
            let to = self.row_mut(head, row);
            match kind {
                KvType::F16 => simd::encode_f16(level, x, to.as_chunks_mut().0),
                KvType::F32 => {
                    to.as_chunks_mut().0.iter_mut().zip(x).for_each(|(to, x)| *to = x.to_le_bytes());
                }
                KvType::Q8_0 => encode_as::<Q8_0>(level, x, to),
                KvType::Q4_0 => encode_as::<Q4_0>(level, x, to),
            }
        }
    }

    /// Decodes some columns of some rows of a head, with `stride` elements of `out` for each row; what is beyond the
    /// columns stays as it is. Columns must begin and end with blocks.
    #[inline(always)]
    pub(super) fn decode<I: Isa>(
        &self,
        isa: I,
        head: usize,
        rows: Range<usize>,
        columns: Range<usize>,
        stride: usize,
        out: &mut [f32],
    ) {
        if rows.is_empty() {
            return;
        }
        let bytes = &self.heads[head][self.range(rows)];
        if columns.len() == self.width && stride == self.width {
            return isa.enter(DecodeRun { kind: self.kind, bytes, out });
        }
        let per_element = self.row_bytes as u64;
        let at = |column: usize| (column as u64 * per_element / self.width as u64) as usize;
        for (row, out) in bytes.chunks_exact(self.row_bytes).zip(out.chunks_mut(stride)) {
            let bytes = &row[at(columns.start)..at(columns.end)];
            isa.enter(DecodeRun { kind: self.kind, bytes, out: &mut out[..columns.len()] });
        }
    }

    /// The bytes of one position's rows.
    pub(super) fn position_bytes(&self) -> usize {
        self.heads.len() * self.row_bytes
    }

    /// Appends one position's rows.
    pub(super) fn save(&self, row: usize, out: &mut Vec<u8>) {
        self.heads.iter().for_each(|head| out.extend(&head[self.range(row..row + 1)]));
    }

    /// Takes what [`Rows::save`] wrote.
    pub(super) fn restore(&mut self, row: usize, saved: &[u8]) {
        for (head, saved) in saved.chunks_exact(self.row_bytes).enumerate() {
            self.row_mut(head, row).copy_from_slice(saved);
        }
    }
}

/// Elements that follow each other. A function of its own for all who call it: there is code for every type in it.
struct DecodeRun<'a> {
    kind: KvType,
    bytes: &'a [u8],
    out: &'a mut [f32],
}

impl Kernel for DecodeRun<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { kind, bytes, out } = self;
        match kind {
            KvType::F16 => {
                let halves = bytes.as_chunks().0;
                isa.decode_f16(halves, &mut out[..halves.len()]);
            }
            KvType::F32 => decode_f32(isa, bytes, out),
            KvType::Q8_0 => decode_blocks::<Q8_0, I>(isa, bytes, out),
            KvType::Q4_0 => decode_blocks::<Q4_0, I>(isa, bytes, out),
        }
    }
}

#[inline(always)]
fn decode_f32<I: Isa>(isa: I, bytes: &[u8], out: &mut [f32]) {
    let ((bytes, bytes_rest), (out, out_rest)) = (bytes.as_chunks::<32>(), out.as_chunks_mut::<8>());
    for (bytes, out) in bytes.iter().zip(out) {
        isa.store(isa.load(&f32s(bytes)), out);
    }
    for (bytes, out) in bytes_rest.as_chunks().0.iter().zip(out_rest) {
        *out = f32::from_le_bytes(*bytes);
    }
}

/// Decodes blocks of 32, as many as there are bytes for.
#[inline(always)]
fn decode_blocks<F: Lanes, I: Isa>(isa: I, bytes: &[u8], out: &mut [f32]) {
    let eights = F::blocks(bytes).chunks(STEP / 32);
    for (blocks, out) in eights.zip(out.chunks_mut(STEP)) {
        let (scale, min) = F::factors(isa, blocks, 0);
        let (scale, min) = (isa.to_array(scale), isa.to_array(min));
        for (i, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate().take(blocks.len()) {
            let (scale, min) = (isa.splat(scale[i]), isa.splat(-min[i]));
            let mut bytes = [0; 32];
            isa.store_bytes(F::quants(isa, blocks, i), &mut bytes);
            for (q, out) in bytes.as_chunks::<8>().0.iter().zip(out.as_chunks_mut::<8>().0) {
                let q = match F::SIGN {
                    Sign::Unsigned => isa.float_u8(*q),
                    Sign::Signed => isa.float_i8(q.map(|q| q as i8)),
                };
                isa.store(isa.mul_add(q, scale, min), out);
            }
        }
    }
}
