//! Who runs the pieces of a parallel step: the host's threads, or the caller itself.
//!
//! The only code of the engine that gives several threads parts of one buffer is [`for_chunks`], [`for_columns`] and
//! [`for_tiles`].
#![allow(unsafe_code)]

use core::marker::PhantomData;
use core::sync::atomic::{AtomicUsize, Ordering};

/// Runs numbered tasks, at once or one after the other.
///
/// # Safety
/// `run` must call `task` exactly once for every index in `0..n`, and must not return before all calls have returned
/// (also when one panics): callers hand out disjoint parts of borrowed buffers by index.
pub unsafe trait Executor: Sync {
    /// How many tasks can really run at the same time; 1 means the caller's thread alone.
    fn width(&self) -> usize;

    /// Microseconds by a clock that does not go back, where there is one: to find out whether several threads are faster.
    fn now(&self) -> Option<u64> {
        None
    }

    /// What a session [left](Self::remember) for the next; 0 when none did.
    fn remembered(&self) -> u32 {
        0
    }

    /// Keeps what a session found out about these threads, in a form that only sessions know.
    fn remember(&self, _found: u32) {}

    /// Calls `task(0)` to `task(n - 1)`, in any order, on any thread.
    fn run(&self, n: usize, task: &(dyn Fn(usize) + Sync));
}

/// The caller's own thread.
#[derive(Debug, Clone, Copy, Default)]
pub struct Inline;

// SAFETY: a plain loop calls every index once and returns after the last call.
unsafe impl Executor for Inline {
    fn width(&self) -> usize {
        1
    }

    fn run(&self, n: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..n).for_each(task);
    }
}

/// Cuts `data` into chunks of `len` elements (the last may be shorter) and calls `f(index, chunk)` for each.
///
/// # Panics
/// When `len` is 0.
pub fn for_chunks<T: Send>(
    exec: &dyn Executor,
    data: &mut [T],
    len: usize,
    f: impl Fn(usize, &mut [T]) + Sync,
) {
    assert!(len > 0, "chunks have at least one element");
    let n = data.len().div_ceil(len);
    if n <= 1 || exec.width() == 1 {
        data.chunks_mut(len).enumerate().for_each(|(i, chunk)| f(i, chunk));
        return;
    }
    let shared = Shared { start: data.as_mut_ptr(), len: data.len(), borrow: PhantomData };
    exec.run(n, &|i| {
        // SAFETY: `run` passes every index below `n` exactly once, so the chunks are disjoint, and it returns only
        // after the last call, so `data` is still borrowed.
        let chunk = unsafe { shared.part(i * len, len.min(shared.len - i * len)) };
        f(i, chunk);
    });
}

/// A matrix that [`for_columns`] cuts: rows of `stride` elements, in columns of `len` (the last may be narrower).
pub struct Cut<'a, T> {
    /// The matrix in row-major order.
    pub data: &'a mut [T],
    /// Elements of a row.
    pub stride: usize,
    /// Columns of a task.
    pub len: usize,
}

/// Cuts matrices into columns and calls `f(matrix, first_column, columns)` for each part of each, all in one step: a
/// task that makes some outputs of every token writes them where they belong.
///
/// # Panics
/// When a `len` is 0, or a matrix is not whole rows.
pub fn for_columns<T: Send, const N: usize>(
    exec: &dyn Executor,
    cuts: [Cut<'_, T>; N],
    f: impl Fn(usize, usize, &mut Columns<'_, T>) + Sync,
) {
    let matrices = cuts.map(|Cut { data, stride, len }| {
        assert!(len > 0, "columns have at least one element");
        assert!(
            data.is_empty() || stride > 0 && data.len().is_multiple_of(stride),
            "{} elements in rows of {stride}",
            data.len()
        );
        let tasks = if data.is_empty() { 0 } else { stride.div_ceil(len) };
        let shared = Shared { start: data.as_mut_ptr(), len: data.len(), borrow: PhantomData };
        (shared, stride, len, tasks)
    });
    let task = |mut i: usize| {
        for (matrix, (data, stride, len, tasks)) in matrices.iter().enumerate() {
            if i < *tasks {
                let (first, rows) = (i * len, data.len / stride);
                let width = (*len).min(stride - first);
                return f(
                    matrix,
                    first,
                    &mut Columns { data, first_row: 0, rows, stride: *stride, first, width },
                );
            }
            i -= tasks;
        }
    };
    match matrices.iter().map(|matrix| matrix.3).sum() {
        1 => task(0),
        n => exec.run(n, &task),
    }
}

/// Cuts a matrix of `data`, rows of `stride` elements, into tiles of `rows x columns` (the last may be smaller) and calls
/// `f(first_row, first_column, tile, own)` for each, the last rows first. There is a task for every `per_task` elements
/// of `scratch`, which are its own; each takes tiles until none is left, so that tiles may differ in their work.
///
/// # Panics
/// When `rows`, `columns` or `per_task` is 0, `scratch` is empty, or `data` is not whole rows.
#[expect(clippy::too_many_arguments, reason = "two buffers and how each is cut")]
pub fn for_tiles<T: Send, S: Send>(
    exec: &dyn Executor,
    data: &mut [T],
    stride: usize,
    rows: usize,
    columns: usize,
    scratch: &mut [S],
    per_task: usize,
    f: impl Fn(usize, usize, &mut Columns<'_, T>, &mut [S]) + Sync,
) {
    assert!(rows > 0 && columns > 0, "tiles have at least one element");
    assert!(!scratch.is_empty(), "at least one task has scratch");
    if data.is_empty() {
        return;
    }
    assert!(stride > 0 && data.len().is_multiple_of(stride), "{} elements in rows of {stride}", data.len());
    let n_rows = data.len() / stride;
    let (down, across) = (n_rows.div_ceil(rows), stride.div_ceil(columns));
    let shared = Shared { start: data.as_mut_ptr(), len: data.len(), borrow: PhantomData };
    let taken = AtomicUsize::new(0);
    for_chunks(exec, scratch, per_task, |_, own| {
        // Every index comes once, whichever task it comes to, so that no two tiles are the same. There are no more
        // tiles than elements, so the counter does not overflow with one try too many for each task.
        while let Some(i) = (down * across).checked_sub(1 + taken.fetch_add(1, Ordering::Relaxed)) {
            let (first_row, first) = (i / across * rows, i % across * columns);
            let (rows, width) = (rows.min(n_rows - first_row), columns.min(stride - first));
            f(first_row, first, &mut Columns { data: &shared, first_row, rows, stride, first, width }, own);
        }
    });
}

/// Neighbouring columns of a matrix in row-major order, of all its rows or some that follow each other: what
/// [`for_columns`] and [`for_tiles`] give to one task.
pub struct Columns<'a, T> {
    data: &'a Shared<'a, T>,
    first_row: usize,
    rows: usize,
    stride: usize,
    first: usize,
    width: usize,
}

impl<T> Columns<'_, T> {
    /// How many rows these columns have.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns these are.
    pub fn width(&self) -> usize {
        self.width
    }

    /// These columns of one row.
    ///
    /// # Panics
    /// When there is no such row.
    pub fn row(&mut self, row: usize) -> &mut [T] {
        assert!(row < self.rows, "row {row} of {}", self.rows);
        // SAFETY: whoever made this sees to `first + width <= stride` and to `(first_row + rows) * stride` being at most
        // the length, so the part is inside. Each task has other columns or other rows, made once per index, and
        // `&mut self` keeps this task's own parts apart.
        unsafe { self.data.part((self.first_row + row) * self.stride + self.first, self.width) }
    }
}

/// A mutable slice whose disjoint parts may go to several threads.
struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: it hands out `&mut [T]` to other threads, which `T: Send` allows; `part` keeps them disjoint.
unsafe impl<T: Send> Sync for Shared<'_, T> {}

impl<T> Shared<'_, T> {
    /// # Safety
    /// `at + len <= self.len`, and no two parts that live at the same time overlap.
    #[expect(clippy::mut_from_ref)]
    unsafe fn part(&self, at: usize, len: usize) -> &mut [T] {
        debug_assert!(at + len <= self.len);
        // SAFETY: the range is inside the slice and not handed out twice, by this function's contract.
        unsafe { core::slice::from_raw_parts_mut(self.start.add(at), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;

    /// Every task on its own thread, to let Miri look at the aliasing.
    struct Scoped;

    // SAFETY: the scope joins all threads, each of which ran one index.
    unsafe impl Executor for Scoped {
        fn width(&self) -> usize {
            4
        }

        fn run(&self, n: usize, task: &(dyn Fn(usize) + Sync)) {
            std::thread::scope(|scope| {
                for i in 0..n {
                    scope.spawn(move || task(i));
                }
            });
        }
    }

    #[test]
    fn every_element_belongs_to_one_chunk() {
        for exec in [&Inline as &dyn Executor, &Scoped] {
            for len in [1, 3, 7, 100] {
                let mut data = [0usize; 20];
                for_chunks(exec, &mut data, len, |i, chunk| {
                    chunk.iter_mut().enumerate().for_each(|(j, x)| *x += i * len + j);
                });
                assert!(data.iter().enumerate().all(|(i, &x)| i == x), "chunks of {len}");
            }
        }
    }

    #[test]
    fn every_column_belongs_to_one_task() {
        for exec in [&Inline as &dyn Executor, &Scoped] {
            for len in [1, 2, 7, 100] {
                let mut data = [0usize; 3 * 7];
                let mut other = [100usize; 2 * 5];
                let cuts = [
                    Cut { data: &mut data, stride: 7, len },
                    Cut { data: &mut [], stride: 3, len },
                    Cut { data: &mut other, stride: 5, len: 2 },
                ];
                for_columns(exec, cuts, |matrix, first, columns| {
                    let (stride, len) = [(7, len), (3, len), (5, 2)][matrix];
                    assert_eq!(columns.width(), len.min(stride - first));
                    for row in 0..columns.rows() {
                        let part = columns.row(row).iter_mut().enumerate();
                        part.for_each(|(j, x)| *x += row * stride + first + j);
                    }
                });
                assert!(data.iter().enumerate().all(|(i, &x)| i == x), "columns of {len}");
                assert!(other.iter().enumerate().all(|(i, &x)| 100 + i == x), "beside columns of {len}");
            }
        }
    }

    #[test]
    fn every_element_belongs_to_one_tile() {
        for exec in [&Inline as &dyn Executor, &Scoped] {
            for (rows, columns, tasks) in [(1, 1, 1), (2, 3, 2), (5, 7, 3), (3, 100, 4)] {
                let (mut data, mut scratch) = ([0usize; 5 * 7], [0usize; 8]);
                for_tiles(
                    exec,
                    &mut data,
                    7,
                    rows,
                    columns,
                    &mut scratch[..2 * tasks],
                    2,
                    |row, column, tile, own| {
                        own[0] += tile.rows() * tile.width();
                        for i in 0..tile.rows() {
                            let part = tile.row(i).iter_mut().enumerate();
                            part.for_each(|(j, x)| *x += (row + i) * 7 + column + j);
                        }
                    },
                );
                assert!(data.iter().enumerate().all(|(i, &x)| i == x), "tiles of {rows} x {columns}");
                assert_eq!(scratch.iter().sum::<usize>(), 5 * 7);
            }
        }
    }
}
