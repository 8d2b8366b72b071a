//! Matrix times tokens: where a language model spends its time.
//!
//! A weight matrix has one row per output; every output of a token is the dot product of such a row with the token's
//! values. The rows are cut into chunks, one task each, and a task enters its instruction set once for its chunk.
//!
//! There are three ways to multiply, and [`Format::MEETS`] says which is a format's own: `integers`,
//! `floats` and, for what has neither and for [`Precision::Exact`], `decoded`.

use alloc::format;
use core::marker::PhantomData;

pub use super::activations::{Activations, Input};
use super::decoded::Decoded;
use super::fours;
use crate::exec::{Columns, Cut, Executor, Inline, for_columns};
use crate::model::Watch;
use crate::model::plan::TensorId;
use crate::quant::fours::{self as layout, Layout};
use crate::quant::{Dtype, Format, MAX_BLOCK, Meets, Visitor, dequantize};
use crate::simd::{Isa, Kernel, Level};
use crate::{Error, ErrorKind, Result};

/// How closely a product follows the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// Integer weights meet activations rounded to 8 bits, of which as many share a scale as [`crate::quant::Rounding`] says.
    #[default]
    Fast,
    /// Weights are decoded and multiplied in f32, and the rest follows ggml's CPU backend, to compare with it.
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

impl<'a> Cx<'a> {
    /// Who runs a step of `work` operations: too little is not worth waking threads.
    pub(crate) fn exec_for(&self, work: usize) -> &'a dyn Executor {
        if work < SMALL { &Inline } else { self.exec }
    }
}

/// A weight matrix as it lies in memory: `rows` outputs of `cols` inputs each.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    dtype: Dtype,
    rows: usize,
    cols: usize,
    row_bytes: usize,
    /// All rows, without the tail that some formats have.
    data: &'a [u8],
    layout: Layout,
    /// What the tail says: a factor of all weights.
    scale: f32,
    watched: Option<Watched<'a>>,
}

/// Who wants to know of a matrix's products, and by which name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched<'a> {
    pub watch: &'a dyn Watch,
    pub tensor: TensorId,
    pub part: usize,
}

impl<'a> Matrix<'a> {
    /// A matrix of `rows x cols` over the bytes `data`.
    ///
    /// # Errors
    /// [`ErrorKind::Shape`] when it has no rows or columns, when rows are not whole blocks, or when `data` does not
    /// have exactly their length.
    pub fn new(dtype: Dtype, rows: usize, cols: usize, data: &'a [u8]) -> Result<Self> {
        let row_bytes = dtype.row_bytes(cols).filter(|_| rows > 0 && cols > 0);
        let scale = dtype.tensor_scale(data);
        match (row_bytes, scale) {
            (Some(row_bytes), Some(scale)) if dtype.tensor_bytes(&[cols, rows, 1, 1]) == Some(data.len()) => {
                let data = &data[..row_bytes * rows];
                Ok(Self { dtype, rows, cols, row_bytes, data, layout: Layout::Rows, scale, watched: None })
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

    /// The same bytes in another order.
    ///
    /// # Panics
    /// When a matrix of this type and size [cannot lie](crate::quant::fours::four_rows) so.
    #[must_use]
    pub fn laid(self, layout: Layout) -> Self {
        let fits =
            layout == Layout::Rows || layout::four_rows(self.dtype, &[self.cols, self.rows, 1, 1]).is_some();
        assert!(fits, "{} rows of {} {} weights by fours", self.rows, self.cols, self.dtype);
        Self { layout, ..self }
    }

    /// The same matrix, whose products are watched.
    pub(crate) fn watched(self, watched: Watched<'a>) -> Self {
        Self { watched: Some(watched), ..self }
    }

    /// The type of the weights.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// How the rows lie.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// A row's bytes, where rows lie one behind the other.
    #[inline(always)]
    pub(crate) fn bytes(&self, row: usize) -> &'a [u8] {
        self.span(row, 1)
    }

    /// The bytes of `n` rows from `row` on.
    #[inline(always)]
    pub(crate) fn span(&self, row: usize, n: usize) -> &'a [u8] {
        &self.data[row * self.row_bytes..][..n * self.row_bytes]
    }

    /// Decodes weights of a row from `at` on, [`MAX_BLOCK`] or up to the row's end; what all are to be multiplied with
    /// is not applied. Both ends are whole blocks.
    #[inline(always)]
    pub(crate) fn decode(&self, row: usize, at: usize, out: &mut [f32]) {
        let Self { dtype, row_bytes, data, .. } = *self;
        let (first, n) = (at / dtype.block_len(), out.len() / dtype.block_len() * dtype.block_bytes());
        let mut blocks = [0; layout::MAX_BYTES];
        let bytes = match self.layout {
            Layout::Rows => &self.bytes(row)[first * dtype.block_bytes()..][..n],
            Layout::Fours => {
                layout::copy_blocks(dtype, data, row_bytes, row, first, &mut blocks[..n]);
                &blocks[..n]
            }
        };
        dequantize(dtype, bytes, out).expect("whole blocks");
    }

    /// Decodes one row, as an embedding table is read.
    ///
    /// # Panics
    /// When there is no such row, or `out` does not have `cols` elements.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows && out.len() == self.cols, "row {row} of {} x {}", self.rows, self.cols);
        for (i, out) in out.chunks_mut(MAX_BLOCK).enumerate() {
            self.decode(row, i * MAX_BLOCK, out);
        }
        if self.scale != 1.0 {
            out.iter_mut().for_each(|x| *x *= self.scale);
        }
    }
}

/// Multiply-adds below which handing work to other threads costs more than it gains.
const SMALL: usize = 1 << 16;

/// `out[t][r] = sum over c of w[r][c] * x[t][c]`, where `out` is `tokens x rows`.
///
/// # Panics
/// When the shapes do not fit each other.
pub fn matmul(cx: &Cx<'_>, w: &Matrix<'_>, x: &Input<'_>, out: &mut [f32]) {
    matmuls(cx, &[*w], x, [out]);
}

/// Several matrices times the same values, in one parallel step; see [`matmul`].
///
/// # Panics
/// When the shapes do not fit each other.
pub fn matmuls<const N: usize>(cx: &Cx<'_>, ws: &[Matrix<'_>; N], x: &Input<'_>, outs: [&mut [f32]; N]) {
    let tokens = x.tokens();
    for (w, out) in ws.iter().zip(&outs) {
        assert_eq!(x.cols(), w.cols, "values per token, and columns of the matrix");
        assert_eq!(Some(out.len()), tokens.checked_mul(w.rows), "outputs, and tokens times rows");
        if let Some(Watched { watch, tensor, part }) = w.watched {
            watch.product(tensor, part, x.x, x.cols);
        }
    }
    let rows = ws.iter().map(|w| w.rows).sum::<usize>();
    let exec = cx.exec_for(rows.saturating_mul(x.cols()).saturating_mul(tokens));
    let len = rows_per_task(exec.width(), rows, tokens);
    let mut strides = ws.iter().map(|w| w.rows);
    let cuts = outs.map(|data| Cut { data, stride: strides.next().expect("a matrix for each output"), len });
    for_columns(exec, cuts, |i, first, out| {
        let w = &ws[i];
        let rows = Rows { w, x, first, out: &mut *out };
        match w.layout {
            Layout::Rows => w.dtype.visit(Enter { level: cx.level, rows }),
            Layout::Fours => fours::multiply(cx.level, rows),
        }
        if w.scale != 1.0 {
            for t in 0..out.rows() {
                out.row(t).iter_mut().for_each(|y| *y *= w.scale);
            }
        }
    });
}

/// Rows that the largest panel takes at once: that of floats with AVX-512, elsewhere that of ternary weights.
const PANEL: usize = if cfg!(target_arch = "x86_64") { 64 } else { 32 };

/// Some tasks per thread, so that one that is late delays little; whole panels of rows where possible.
fn rows_per_task(width: usize, rows: usize, tokens: usize) -> usize {
    if width <= 1 {
        return rows;
    }
    let some = rows.div_ceil(width.saturating_mul(4));
    match tokens {
        // Rows by themselves, in whole cache lines of outputs.
        1 => some.next_multiple_of(16),
        2..64 => some.next_multiple_of(PANEL),
        // Long tasks even so; as short as they can be they end at the same time.
        _ => PANEL,
    }
}

/// One task's part of a product: outputs `first..first + out.width()` of every token.
pub struct Rows<'a, 'b> {
    pub(crate) w: &'a Matrix<'a>,
    pub(crate) x: &'a Input<'a>,
    pub(crate) first: usize,
    pub(crate) out: &'a mut Columns<'b, f32>,
}

/// The rows of a task as `N` parts that are read side by side, one row of each at a time; where a part has fewer rows than
/// the others, its place is taken by the last row again.
///
/// The processor fetches ahead in each part by itself, but stops at the end of every page. With several parts under way
/// it does not wait for each new page alone.
#[inline(always)]
pub(crate) fn streams<const N: usize>(rows: usize) -> impl Iterator<Item = [usize; N]> {
    let part = rows.div_ceil(N);
    (0..part).map(move |r| core::array::from_fn(|s| (s * part + r).min(rows - 1)))
}

/// Finds the kernel of the weights' format and enters it.
struct Enter<'a, 'b> {
    level: Level,
    rows: Rows<'a, 'b>,
}

impl Visitor for Enter<'_, '_> {
    type Output = ();

    fn visit<F: Format>(self) {
        let Self { level, rows } = self;
        match F::MEETS {
            Meets::Floats => level.run(Multiply::<F>(rows, PhantomData)),
            Meets::Integers if !rows.x.steps.is_empty() => level.run(Multiply::<F>(rows, PhantomData)),
            Meets::Integers | Meets::Decoded => level.run(Decoded(rows)),
        }
    }
}

struct Multiply<'a, 'b, F>(Rows<'a, 'b>, PhantomData<F>);

impl<F: Format> Kernel for Multiply<'_, '_, F> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        F::multiply(isa, self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
