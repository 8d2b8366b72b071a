//! Who runs the pieces of a parallel step: the host's threads, or the caller itself.
//!
//! The only code of the engine that gives several threads parts of one buffer is [`for_chunks`] and [`for_columns`].
#![allow(unsafe_code)]

use core::marker::PhantomData;

/// Runs numbered tasks, at once or one after the other.
///
/// # Safety
/// `run` must call `task` exactly once for every index in `0..n`, and must not return before all calls have returned
/// (also when one panics): callers hand out disjoint parts of borrowed buffers by index.
pub unsafe trait Executor: Sync {
    /// How many tasks can really run at the same time; 1 means the caller's thread alone.
    fn width(&self) -> usize;

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

/// Cuts the rows of `data`, `stride` elements each, into columns of `len` elements (the last may be narrower) and calls
/// `f(first_column, columns)` for each: a task that makes some outputs of every token writes them where they belong.
///
/// # Panics
/// When `len` is 0, or `data` is not whole rows.
pub fn for_columns<T: Send>(
    exec: &dyn Executor,
    data: &mut [T],
    stride: usize,
    len: usize,
    f: impl Fn(usize, &mut Columns<'_, T>) + Sync,
) {
    assert!(len > 0, "columns have at least one element");
    if data.is_empty() {
        return;
    }
    assert!(stride > 0 && data.len().is_multiple_of(stride), "{} elements in rows of {stride}", data.len());
    let rows = data.len() / stride;
    let shared = Shared { start: data.as_mut_ptr(), len: data.len(), borrow: PhantomData };
    let task = |i: usize| {
        let first = i * len;
        f(first, &mut Columns { data: &shared, rows, stride, first, width: len.min(stride - first) });
    };
    let n = stride.div_ceil(len);
    if n == 1 { task(0) } else { exec.run(n, &task) }
}

/// Neighbouring columns of a matrix in row-major order, given to one task by [`for_columns`].
pub struct Columns<'a, T> {
    data: &'a Shared<'a, T>,
    rows: usize,
    stride: usize,
    first: usize,
    width: usize,
}

impl<T> Columns<'_, T> {
    /// How many rows the matrix has.
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
        // SAFETY: `for_columns` makes `first + width <= stride` and `rows * stride` the length, so the part is inside.
        // Each task has other columns, made once per index, and `&mut self` keeps this task's own parts apart.
        unsafe { self.data.part(row * self.stride + self.first, self.width) }
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
                for_columns(exec, &mut data, 7, len, |first, columns| {
                    assert_eq!(columns.width(), len.min(7 - first));
                    for row in 0..columns.rows() {
                        let part = columns.row(row).iter_mut().enumerate();
                        part.for_each(|(j, x)| *x += row * 7 + first + j);
                    }
                });
                assert!(data.iter().enumerate().all(|(i, &x)| i == x), "columns of {len}");
            }
        }
    }
}
