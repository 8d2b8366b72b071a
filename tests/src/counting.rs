//! An allocator that keeps accounts, one per thread: how much a piece of code allocates, and how much at once.
//!
//! A test binary that wants them installs it: `#[global_allocator] static ALLOCATOR: Counting = Counting;`.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counted.
pub struct Counting;

/// What a piece of code took from the heap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// How often it asked.
    pub allocations: u64,
    /// The most bytes that it held at once, beyond what was held before.
    pub peak: i64,
    live: i64,
}

thread_local! {
    static USAGE: Cell<Usage> = const { Cell::new(Usage { allocations: 0, peak: 0, live: 0 }) };
}

/// Runs `code` and says what it took on this thread.
///
/// # Panics
/// When [`Counting`] is not the global allocator of this binary: then nothing would ever be counted.
pub fn measure<T>(code: impl FnOnce() -> T) -> (T, Usage) {
    USAGE.set(Usage::default());
    drop(std::hint::black_box(Box::new(0u8)));
    assert_eq!(USAGE.get().allocations, 1, "install motelm_tests::counting::Counting as #[global_allocator]");
    USAGE.set(Usage::default());
    let result = code();
    (result, USAGE.get())
}

fn count(allocations: u64, bytes: i64) {
    // A thread that is ending has no account any more, and nobody who would read it.
    let _ = USAGE.try_with(|usage| {
        let mut now = usage.get();
        now.allocations += allocations;
        now.live += bytes;
        now.peak = now.peak.max(now.live);
        usage.set(now);
    });
}

// SAFETY: every call goes to `System` unchanged; counting allocates nothing and cannot unwind.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(1, layout.size() as i64);
        // SAFETY: the caller's promise is `System`'s demand.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(0, -(layout.size() as i64));
        // SAFETY: the memory came from `alloc` or `realloc`, which is to say from `System`.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(1, new_size as i64 - layout.size() as i64);
        // SAFETY: as `dealloc`, and the caller promises a valid size.
        unsafe { System.realloc(memory, layout, new_size) }
    }
}
