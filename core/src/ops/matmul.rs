//! Matrix times tokens: where a language model spends its time.
//!
//! A weight matrix has one row per output; every output of a token is the dot product of such a row with the token's
//! values. The rows are cut into chunks, one task each, and a task enters its instruction set once for its chunk.

use alloc::format;

pub use super::activations::{Activations, Input};
use crate::exec::{Columns, Executor, for_columns};
use crate::quant::{Dtype, MAX_BLOCK, dequantize};
use crate::simd::{Isa, Kernel, Level};
use crate::{Error, ErrorKind, Result};

/// How closely a product follows the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Integer weights meet activations rounded to 8 bits per 32 values.
    #[default]
    Fast,
    /// Weights are decoded, and everything is computed in f32.
    Exact,
}

/// What every product needs to know of its surroundings.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    /// The instructions to use.
    pub level: Level,
    /// Who runs the pieces.
    pub exec: &'a dyn Executor,
    /// How closely to follow the file.
    pub precision: Precision,
}

/// A weight matrix as it lies in the file: `rows` outputs of `cols` inputs each.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    dtype: Dtype,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    data: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// A matrix of `rows x cols` over the bytes `data`.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] when it has no rows or columns, when rows are not whole blocks, or when `data` does not
    /// have exactly their length.
    pub fn new(dtype: Dtype, rows: usize, cols: usize, data: &'a [u8]) -> Result<Self> {
        let row_bytes = dtype.row_bytes(cols).filter(|_| rows > 0 && cols > 0);
        match row_bytes {
            Some(row_bytes) if row_bytes.checked_mul(rows) == Some(data.len()) => {
                Ok(Self { dtype, rows, cols, row_bytes, data })
            }
            _ => Err(Error::new(
                ErrorKind::Shape,
                format!(
                    "{} bytes are no matrix of {rows} rows of {cols} {dtype} weights (blocks of {} in {} bytes)",
                    data.len(),
                    dtype.block_len(),
                    dtype.block_bytes()
                ),
            )),
        }
    }

    /// The type of the weights.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Decodes one row, as an embedding table is read.
    ///
    /// # Panics
    /// When there is no such row, or `out` does not have `cols` elements.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows && out.len() == self.cols, "row {row} of {} x {}", self.rows, self.cols);
        let bytes = &self.data[row * self.row_bytes..][..self.row_bytes];
        dequantize(self.dtype, bytes, out).expect("a row is whole blocks");
    }
}

/// Whether weights of this type meet rounded activations.
pub(crate) fn is_integer(dtype: Dtype) -> bool {
    let _ = dtype;
    false
}

/// Multiply-adds below which handing work to other threads costs more than it gains.
const SMALL: usize = 1 << 16;

/// `out[t][r] = sum over c of w[r][c] * x[t][c]`, where `out` is `tokens x rows`.
///
/// # Panics
/// When the shapes do not fit each other.
pub fn matmul(cx: &Cx<'_>, w: &Matrix<'_>, x: &Input<'_>, out: &mut [f32]) {
    assert_eq!(x.cols(), w.cols, "values per token, and columns of the matrix");
    assert_eq!(Some(out.len()), x.tokens().checked_mul(w.rows), "outputs, and tokens times rows");
    let run = |first: usize, out: &mut Columns<'_, f32>| cx.level.run(Decoded { w, x, first, out });
    for_columns(cx.exec, out, w.rows, rows_per_task(cx.exec.width(), w, x.tokens()), run);
}

/// Some tasks per thread, so that one that is late delays little; whole cache lines of outputs where possible.
fn rows_per_task(width: usize, w: &Matrix<'_>, tokens: usize) -> usize {
    if width <= 1 || w.rows.saturating_mul(w.cols).saturating_mul(tokens) < SMALL {
        return w.rows;
    }
    w.rows.div_ceil(width.saturating_mul(4)).next_multiple_of(16)
}

/// Rows whose blocks are decoded to f32: every format's way when exactness is asked for.
struct Decoded<'a, 'b> {
    w: &'a Matrix<'a>,
    x: &'a Input<'a>,
    first: usize,
    out: &'a mut Columns<'b, f32>,
}

impl Kernel for Decoded<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        /// Tokens that share a decoded block.
        const TOKENS: usize = 16;
        let Self { w, x, first, out } = self;
        // Whole blocks, at most `MAX_BLOCK` values: every format's block divides that.
        let piece_bytes = MAX_BLOCK / w.dtype.block_len() * w.dtype.block_bytes();
        let mut piece = [0.0; MAX_BLOCK];
        for r in 0..out.width() {
            let row = &w.data[(first + r) * w.row_bytes..][..w.row_bytes];
            for tokens in (0..x.tokens()).step_by(TOKENS) {
                let n = TOKENS.min(x.tokens() - tokens);
                let mut sums = [0.0; TOKENS];
                for (i, bytes) in row.chunks(piece_bytes).enumerate() {
                    let at = i * MAX_BLOCK;
                    let piece = &mut piece[..MAX_BLOCK.min(w.cols - at)];
                    dequantize(w.dtype, bytes, piece).expect("whole blocks");
                    for (t, sum) in sums[..n].iter_mut().enumerate() {
                        let x = &x.x[(tokens + t) * w.cols + at..][..piece.len()];
                        *sum += isa.dot_f32(piece, x);
                    }
                }
                for (t, sum) in sums[..n].iter().enumerate() {
                    out.row(tokens + t)[r] = *sum;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::Inline;
    use alloc::vec::Vec;

    #[test]
    fn a_matrix_is_its_bytes() {
        assert!(Matrix::new(Dtype::Q8_0, 2, 64, &[0; 2 * 2 * 34]).is_ok());
        for (rows, cols, bytes) in
            [(2, 64, 135), (2, 64, 137), (0, 64, 0), (2, 0, 0), (2, 48, 102), (usize::MAX, 64, 34)]
        {
            let error = Matrix::new(Dtype::Q8_0, rows, cols, &[0; 137][..bytes]).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Shape, "{error}");
        }
    }

    #[test]
    fn two_rows_times_two_tokens() {
        let w: Vec<u8> = [1f32, 2.0, 3.0, 4.0, 5.0, 6.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let w = Matrix::new(Dtype::F32, 2, 3, &w).unwrap();
        let cx = Cx { level: Level::baseline(), exec: &Inline, precision: Precision::Fast };
        let mut out = [0.0; 4];
        matmul(&cx, &w, &Input::new(&[1.0, 0.0, -1.0, 2.0, 1.0, 0.0], 3), &mut out);
        assert_eq!(out, [-2.0, -2.0, 4.0, 13.0]);
    }
}
