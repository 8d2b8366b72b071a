//! One tensor: decoded, encoded, and where wanted decoded again, some rows at a time.

use std::ops::Range;

use motelm_core::exec::for_chunks;
use motelm_core::gguf::TensorInfo;
use motelm_core::quant::{self, Dtype};
use motelm_core::{Error, ErrorKind};

use super::{Options, QuantizeError};

/// Elements that one task takes at a time; its buffers stay in a core's own caches.
const TASK: usize = 1 << 15;
/// Tasks for each thread between two pieces of output, so that one that is late delays little.
const TASKS_PER_THREAD: usize = 8;

/// What rounding did to a tensor.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Loss {
    /// Sum of the squared differences, each weighted by its column's importance where that is known.
    pub error: f64,
    /// Sum of the squares before, weighted alike.
    pub signal: f64,
}

impl Loss {
    /// The error's share: root mean square of the difference, as a part of that of the weights.
    pub fn relative(self) -> f64 {
        if self.signal > 0.0 { (self.error / self.signal).sqrt() } else { 0.0 }
    }
}

impl std::ops::AddAssign for Loss {
    fn add_assign(&mut self, other: Self) {
        self.error += other.error;
        self.signal += other.signal;
    }
}

/// Encodes a tensor and hands out its bytes piece by piece, with the number of elements that are done. Returns what was
/// lost where that is to be measured.
///
/// `importance`: a weight for each column of each of the tensor's matrices.
pub(super) fn tensor(
    options: &Options<'_>,
    tensor: &TensorInfo,
    data: &[u8],
    dtype: Dtype,
    importance: Option<&[f32]>,
    mut piece: impl FnMut(u64, &[u8]) -> Result<(), QuantizeError>,
) -> Result<Option<Loss>, QuantizeError> {
    let rows = Rows { options, tensor, data, dtype, importance };
    let (n_rows, cols) = (tensor.rows(), tensor.cols());
    // A scale that all rows share is known when all have been seen.
    let whole = dtype.tail_bytes() > 0;
    let per_task = if whole { n_rows } else { (TASK / cols).clamp(1, n_rows) };
    let n_tasks = (options.exec.width() * TASKS_PER_THREAD).min(n_rows.div_ceil(per_task));
    let mut tasks = Vec::new();
    tasks.resize_with(n_tasks, Task::default);
    let mut loss = Loss::default();
    for first in (0..n_rows).step_by(per_task * n_tasks) {
        for_chunks(options.exec, &mut tasks, 1, |i, task| {
            let start = (first + i * per_task).min(n_rows);
            task[0].run(&rows, start..(start + per_task).min(n_rows));
        });
        for (i, task) in tasks.iter_mut().enumerate() {
            std::mem::replace(&mut task.result, Ok(()))?;
            loss += task.loss;
            let done = (first + (i + 1) * per_task).min(n_rows) * cols;
            piece(done as u64, &task.out)?;
        }
    }
    Ok(options.measure.then_some(loss))
}

/// Elements of a tensor on which types are tried.
const SAMPLE: usize = 1 << 17;

/// What each of some types loses on rows from all over the tensor.
pub(super) fn sample(
    options: &Options<'_>,
    tensor: &TensorInfo,
    data: &[u8],
    dtypes: &[Dtype],
    importance: Option<&[f32]>,
) -> Result<Vec<Loss>, Error> {
    let n_rows = tensor.rows();
    let wanted = (SAMPLE / tensor.cols()).clamp(1, n_rows);
    let mut tasks = Vec::new();
    tasks.resize_with(wanted, || (Ok(()), vec![Loss::default(); dtypes.len()]));
    for_chunks(options.exec, &mut tasks, 1, |i, task| {
        let (result, losses) = &mut task[0];
        // The product may be too large for a machine whose numbers have 32 bits.
        let row = (i as u64 * n_rows as u64 / wanted as u64) as usize;
        let (mut x, mut out, mut back) = (Vec::new(), Vec::new(), Vec::new());
        *result = dtypes.iter().zip(losses).try_for_each(|(&dtype, loss)| {
            let rows = Rows { options, tensor, data, dtype, importance };
            if x.is_empty() {
                rows.decode(&(row..row + 1), &mut x)?;
            }
            rows.encode(&(row..row + 1), &x, &mut out)?;
            *loss = rows.loss(&(row..row + 1), &x, &out, &mut back)?;
            Ok(())
        });
    });
    let mut total = vec![Loss::default(); dtypes.len()];
    for (result, losses) in tasks {
        result?;
        total.iter_mut().zip(losses).for_each(|(total, loss)| *total += loss);
    }
    Ok(total)
}

/// A tensor and what is to become of it.
struct Rows<'a> {
    options: &'a Options<'a>,
    tensor: &'a TensorInfo,
    data: &'a [u8],
    dtype: Dtype,
    importance: Option<&'a [f32]>,
}

impl<'a> Rows<'a> {
    /// The importance of a row's columns: each matrix of the tensor has its own.
    fn importance(&self, row: usize) -> Option<&'a [f32]> {
        let [cols, rows, ..] = self.tensor.shape;
        self.importance.map(|weights| &weights[row / rows * cols..][..cols])
    }

    fn decode(&self, rows: &Range<usize>, x: &mut Vec<f32>) -> Result<(), Error> {
        let cols = self.tensor.cols();
        x.resize(rows.len() * cols, 0.0);
        let row_bytes = self.tensor.dtype.row_bytes(cols).unwrap_or(0);
        let bytes = &self.data[rows.start * row_bytes..rows.end * row_bytes];
        quant::dequantize_at(self.options.level, self.tensor.dtype, bytes, x)?;
        let scale = self.tensor.dtype.tensor_scale(self.data).unwrap_or(1.0);
        if self.tensor.dtype.tail_bytes() > 0 {
            x.iter_mut().for_each(|x| *x *= scale);
        }
        if x.iter().fold(true, |finite, x| finite & x.is_finite()) {
            return Ok(());
        }
        let what = "holds values that are no numbers: the file is damaged";
        Err(Error::new(ErrorKind::Malformed, what).at_tensor(&*self.tensor.name))
    }

    fn encode(&self, rows: &Range<usize>, x: &[f32], out: &mut Vec<u8>) -> Result<(), Error> {
        let Self { options, dtype, .. } = *self;
        let cols = self.tensor.cols();
        let row_bytes = dtype.row_bytes(cols).unwrap_or(0);
        out.resize(rows.len() * row_bytes + dtype.tail_bytes(), 0);
        if dtype.tail_bytes() > 0 {
            return quant::quantize_at(options.level, dtype, x, cols, self.importance(rows.start), out);
        }
        for (i, (x, out)) in x.chunks(cols).zip(out.chunks_mut(row_bytes)).enumerate() {
            quant::quantize_at(options.level, dtype, x, cols, self.importance(rows.start + i), out)?;
        }
        Ok(())
    }

    fn loss(&self, rows: &Range<usize>, x: &[f32], out: &[u8], back: &mut Vec<f32>) -> Result<Loss, Error> {
        back.resize(x.len(), 0.0);
        quant::dequantize_tensor(self.dtype, out, back)?;
        let cols = self.tensor.cols();
        let mut loss = Loss::default();
        for (i, (x, back)) in x.chunks(cols).zip(back.chunks(cols)).enumerate() {
            loss += row_loss(x, back, self.importance(rows.start + i));
        }
        Ok(loss)
    }
}

fn row_loss(x: &[f32], back: &[f32], importance: Option<&[f32]>) -> Loss {
    let mut loss = Loss::default();
    // In pieces whose sums f32 holds well, in lanes that are added up side by side.
    const LANES: usize = 16;
    let ones = [1.0; 256];
    for (i, (x, back)) in x.chunks(256).zip(back.chunks(256)).enumerate() {
        let weights = importance.map_or(&ones[..x.len()], |weights| &weights[256 * i..][..x.len()]);
        let (mut error, mut signal) = ([0.0f32; LANES], [0.0f32; LANES]);
        let values = x.chunks(LANES).zip(back.chunks(LANES)).zip(weights.chunks(LANES));
        for ((x, back), weights) in values {
            for (lane, ((x, back), weight)) in x.iter().zip(back).zip(weights).enumerate() {
                error[lane] += weight * (x - back) * (x - back);
                signal[lane] += weight * x * x;
            }
        }
        loss.error += error.iter().map(|&x| f64::from(x)).sum::<f64>();
        loss.signal += signal.iter().map(|&x| f64::from(x)).sum::<f64>();
    }
    loss
}

/// Some rows in the making, with buffers that are used again.
struct Task {
    x: Vec<f32>,
    out: Vec<u8>,
    back: Vec<f32>,
    loss: Loss,
    result: Result<(), Error>,
}

impl Default for Task {
    fn default() -> Self {
        Self { x: Vec::new(), out: Vec::new(), back: Vec::new(), loss: Loss::default(), result: Ok(()) }
    }
}

impl Task {
    fn run(&mut self, rows: &Rows<'_>, range: Range<usize>) {
        self.loss = Loss::default();
        self.out.clear();
        if !range.is_empty() {
            self.result = self.try_run(rows, &range);
        }
    }

    fn try_run(&mut self, rows: &Rows<'_>, range: &Range<usize>) -> Result<(), Error> {
        rows.decode(range, &mut self.x)?;
        rows.encode(range, &self.x, &mut self.out)?;
        if rows.options.measure {
            self.loss = rows.loss(range, &self.x, &self.out, &mut self.back)?;
        }
        Ok(())
    }
}
