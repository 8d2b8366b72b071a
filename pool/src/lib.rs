//! Threads that wait for work: the host's [`Executor`]. They are spawned here, or where that is not possible, brought by
//! the host: a browser's are workers that JavaScript starts on the memory of one module.
//!
//! A token takes hundreds of parallel steps of a few microseconds each, so handing one over must cost next to nothing
//! while a generation runs, and the threads must not burn a core when nothing does. Workers therefore look for work in
//! a loop for some ten microseconds and then sleep until they are woken. The calling thread does its share of every
//! step, and closes the step when no task is left; a worker that wakes too late finds it closed and sleeps again.
//!
//! Everything turns on one word, `Shared::state`: the number of the step, whether it is open, and how many workers
//! are inside. A worker enters by adding itself to an *open* step, in one atomic exchange; the caller publishes a step
//! only when nobody is inside, and returns only when it has closed the step and everybody has left. So whoever is
//! inside sees the caller's step, which stays as it is until the last one has left.
//!
//! Steps from several threads, or from inside a task, find the pool busy and run on their own thread. A step needs
//! nobody but its caller: a worker that has not come yet, or that the system does not let run, is not waited for.

mod sync;

use crate::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, UnsafeCell, spin_loop};
use motelm_core::exec::{Executor, Inline};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{OnceLock, PoisonError};
use std::time::Instant;

/// Persistent worker threads; dropping it ends them.
pub struct Pool {
    shared: Arc<Shared>,
    width: usize,
    spawned: Vec<JoinHandle<()>>,
    clock: fn() -> u64,
    /// What [`Executor::remember`] was told.
    found: AtomicU32,
}

/// A thread's part in a pool.
pub struct Worker(Arc<Shared>);

/// How often a thread looks before it sleeps, at least and at most. With the processor's pause in between, 1000 looks take
/// some 10 to 50 microseconds; WebAssembly has no pause, and takes 2 for as many. There, threads look for longer as long as
/// that helps: not where they share a core with each other or with somebody else.
const LOOKS: (usize, usize) = match () {
    _ if cfg!(loom) => (1, 1),
    _ if cfg!(target_family = "wasm") => (1000, 50_000),
    _ => (1000, 1000),
};

type Task<'a> = dyn Fn(usize) + Sync + 'a;

struct Shared {
    /// `step << 32 | OPEN | workers inside`.
    state: AtomicU64,
    /// The step's task and how many there are; written while nobody is inside, read by those inside.
    job: UnsafeCell<(*const Task<'static>, usize)>,
    /// The next task of the step that nobody has taken.
    next: AtomicUsize,
    /// A step is being run.
    busy: AtomicBool,
    /// Workers that sleep or are about to.
    sleepers: AtomicUsize,
    /// How often to look now.
    looks: AtomicUsize,
    /// The pool is being dropped.
    ends: AtomicBool,
    /// Guards the decision to sleep; holds what the first panicking task threw.
    thrown: Mutex<Option<Box<dyn Any + Send>>>,
    /// Sleeping workers wait here for a step.
    work: Condvar,
    /// A sleeping caller waits here for the workers inside to leave.
    left: Condvar,
}

const OPEN: u64 = 1 << 31;
const INSIDE: u64 = OPEN - 1;

// SAFETY: `job` is written only by the thread that set `busy`, while the step is closed and nobody is inside, and read
// only by that thread and by workers inside; the task that it points to is `Sync`. The rest is shareable by itself.
unsafe impl Sync for Shared {}
// SAFETY: the pointer belongs to no thread; see above for who may follow it.
unsafe impl Send for Shared {}

impl Pool {
    /// A pool of `threads` threads, of which the calling one is the first; at least one, and no more than there are
    /// cores for this process. Where the system refuses a thread there will be fewer.
    pub fn new(threads: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::with_workers(threads.clamp(1, cores) - 1)
    }

    fn with_workers(workers: usize) -> Self {
        let mut pool = Self::hosted(workers + 1, micros);
        let spawn = |i| {
            let worker = pool.worker();
            thread::Builder::new().name(format!("mote-{i}")).spawn(move || worker.work())
        };
        pool.spawned = (1..=workers).map_while(|i| spawn(i).ok()).collect();
        pool.width = pool.spawned.len() + 1;
        pool
    }

    /// A pool for at most `threads` threads, of which the calling one is the first. The host brings the others: each
    /// is given a [`Pool::worker`]; it also tells the time, in microseconds.
    pub fn hosted(threads: usize, clock: fn() -> u64) -> Self {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: UnsafeCell::new((&|_| {}, 0)),
            next: AtomicUsize::new(0),
            busy: AtomicBool::new(false),
            sleepers: AtomicUsize::new(0),
            looks: AtomicUsize::new(LOOKS.0),
            ends: AtomicBool::new(false),
            thrown: Mutex::new(None),
            work: Condvar::new(),
            left: Condvar::new(),
        });
        Self { shared, width: threads.max(1), spawned: Vec::new(), clock, found: AtomicU32::new(0) }
    }

    /// What one more thread calls [`Worker::work`] of.
    pub fn worker(&self) -> Worker {
        Worker(Arc::clone(&self.shared))
    }
}

/// Microseconds since this was called first.
fn micros() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_micros() as u64
}

impl Worker {
    /// A worker's life; returns when the pool is dropped.
    pub fn work(self) {
        self.0.work();
    }
}

impl Default for Pool {
    /// One thread for each core of this process.
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

// SAFETY: every index below `n` is taken from one counter exactly once and called, also after a panic, and `run`
// returns when the counter has reached `n` and everybody who took an index has left the step.
unsafe impl Executor for Pool {
    fn width(&self) -> usize {
        self.width
    }

    fn now(&self) -> Option<u64> {
        Some((self.clock)())
    }

    fn remembered(&self) -> u32 {
        self.found.load(Ordering::Relaxed)
    }

    fn remember(&self, found: u32) {
        self.found.store(found, Ordering::Relaxed);
    }

    fn run(&self, n: usize, task: &Task<'_>) {
        if n <= 1 || self.width == 1 || self.shared.busy.swap(true, Ordering::Acquire) {
            return Inline.run(n, task);
        }
        self.shared.run(n, task);
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        // With the lock held, no worker is between its last look and its sleep.
        drop(self.shared.lock());
        self.shared.work.notify_all();
        for worker in self.spawned.drain(..) {
            // Tasks' panics are caught, so a worker has nothing to throw.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// Runs a step; the caller has set `busy`.
    fn run(&self, n: usize, task: &Task<'_>) {
        // SAFETY: the lifetime is forgotten, not outlived: nobody follows the pointer after this function.
        let task: *const Task<'static> =
            unsafe { std::mem::transmute::<&Task<'_>, &'static Task<'static>>(task) };
        // SAFETY: `busy` is ours, the last step is closed and everybody has left it, so nobody reads this.
        unsafe { self.job.with_mut(|job| *job = (task, n)) };
        self.next.store(0, Ordering::Relaxed);
        let step = (self.state.load(Ordering::Relaxed) >> 32).wrapping_add(1) << 32;
        self.state.store(step | OPEN, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            drop(self.lock());
            self.work.notify_all();
        }
        self.take_tasks();
        if self.state.fetch_and(!OPEN, Ordering::AcqRel) & INSIDE > 0 {
            self.wait_until_left();
        }
        let thrown = self.lock().take();
        self.busy.store(false, Ordering::Release);
        if let Some(thrown) = thrown {
            resume_unwind(thrown);
        }
    }

    /// Takes and runs tasks until none is left. Only for those inside the step, and its caller.
    fn take_tasks(&self) {
        // SAFETY: whoever is inside reads what the caller wrote before it opened the step, and what stays until all
        // have left; the caller's `run`, and with it the borrow of the task, lasts until then too.
        let (task, n) = unsafe { self.job.with(|job| *job) };
        // SAFETY: as above.
        let task = unsafe { &*task };
        loop {
            let i = self.next.fetch_add(1, Ordering::Relaxed);
            if i >= n {
                return;
            }
            if let Err(thrown) = catch_unwind(AssertUnwindSafe(|| task(i))) {
                self.lock().get_or_insert(thrown);
            }
        }
    }

    fn wait_until_left(&self) {
        let left = || self.state.load(Ordering::Acquire) & INSIDE == 0;
        if self.look(left) {
            return;
        }
        let mut guard = self.lock();
        while !left() {
            guard = self.left.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A worker's life.
    fn work(&self) {
        let mut last = 0;
        while !self.ends.load(Ordering::SeqCst) {
            let state = self.state.load(Ordering::SeqCst);
            if !is_new(state, last) {
                self.wait_for_step(last);
                continue;
            }
            if self
                .state
                .compare_exchange_weak(state, state + 1, Ordering::AcqRel, Ordering::Relaxed)
                .is_err()
            {
                continue;
            }
            last = state >> 32;
            self.take_tasks();
            let before = self.state.fetch_sub(1, Ordering::AcqRel);
            if before & (OPEN | INSIDE) == 1 {
                // The last one out of a closed step: its caller may sleep.
                drop(self.lock());
                self.left.notify_one();
            }
        }
    }

    fn wait_for_step(&self, last: u64) {
        let stir = || is_new(self.state.load(Ordering::SeqCst), last) || self.ends.load(Ordering::SeqCst);
        if self.look(stir) {
            return;
        }
        let mut guard = self.lock();
        // Counted before the last look: a caller that opens a step after that look sees the count, and wakes us.
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        while !stir() {
            guard = self.work.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
    }

    /// Looks for something for a while, and remembers whether that was of use.
    fn look(&self, found: impl Fn() -> bool) -> bool {
        let looks = self.looks.load(Ordering::Relaxed);
        let found = (0..looks).any(|_| {
            spin_loop();
            found()
        });
        let next = if found { looks * 2 } else { looks / 2 };
        self.looks.store(next.clamp(LOOKS.0, LOOKS.1), Ordering::Relaxed);
        found
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<dyn Any + Send>>> {
        self.thrown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `state` is an open step other than `last`.
fn is_new(state: u64, last: u64) -> bool {
    state & OPEN != 0 && state >> 32 != last
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::time::Duration;

    fn count_each(pool: &Pool, n: usize) {
        let counts: Vec<AtomicUsize> = (0..n).map(|_| AtomicUsize::new(0)).collect();
        pool.run(n, &|i| {
            counts[i].fetch_add(1, Ordering::Relaxed);
        });
        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1), "{n} tasks");
    }

    #[test]
    fn every_task_runs_once() {
        for workers in [0, 1, 3, 7] {
            let pool = Pool::with_workers(workers);
            assert_eq!(pool.width(), workers + 1);
            for round in 0..2000 {
                count_each(&pool, round % 40);
            }
        }
    }

    #[test]
    fn sleepers_wake() {
        let pool = Pool::with_workers(2);
        for _ in 0..20 {
            thread::sleep(Duration::from_millis(2));
            count_each(&pool, 16);
        }
    }

    #[test]
    fn what_tasks_wrote_is_seen() {
        let pool = Pool::with_workers(3);
        let mut data = vec![0usize; 1000];
        for round in 1..500 {
            motelm_core::exec::for_chunks(&pool, &mut data, 7, |_, chunk| {
                chunk.iter_mut().for_each(|x| *x += 1)
            });
            assert!(data.iter().all(|&x| x == round));
        }
    }

    #[test]
    fn several_callers_and_nested_steps() {
        let pool = Pool::with_workers(3);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..300 {
                        let sum = AtomicUsize::new(0);
                        pool.run(8, &|i| {
                            pool.run(5, &|j| {
                                sum.fetch_add(i * 5 + j, Ordering::Relaxed);
                            });
                        });
                        assert_eq!(sum.into_inner(), (0..40).sum());
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_after_all_tasks() {
        let pool = Pool::with_workers(2);
        for bad in 0..10 {
            let done = AtomicUsize::new(0);
            let result = catch_unwind(AssertUnwindSafe(|| {
                pool.run(10, &|i| {
                    if i == bad {
                        resume_unwind(Box::new(i));
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                });
            }));
            assert_eq!(result.unwrap_err().downcast_ref(), Some(&bad));
            assert_eq!(done.into_inner(), 9);
            count_each(&pool, 100);
        }
    }

    #[test]
    fn pools_come_and_go() {
        for round in 0..200 {
            let pool = Pool::with_workers(2);
            if round % 2 == 0 {
                count_each(&pool, 4);
            }
        }
    }

    #[test]
    fn threads_of_the_host_may_come_late() {
        let pool = Pool::hosted(3, micros);
        assert_eq!(pool.width(), 3);
        count_each(&pool, 10);
        let came: Vec<_> =
            [pool.worker(), pool.worker()].map(|worker| thread::spawn(|| worker.work())).into();
        (0..2000).for_each(|round| count_each(&pool, round % 40));
        drop(pool);
        came.into_iter().for_each(|thread| thread.join().unwrap());
    }

    #[test]
    fn what_a_session_found_is_there_for_the_next() {
        let pool = Pool::hosted(2, micros);
        assert_eq!(pool.remembered(), 0);
        for found in [7, u32::MAX] {
            pool.remember(found);
            assert_eq!(pool.remembered(), found);
        }
    }

    #[test]
    fn no_more_threads_than_cores() {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        assert_eq!(Pool::default().width(), cores);
        assert_eq!(Pool::new(0).width(), 1);
        assert_eq!(Pool::new(1).width(), 1);
    }
}

/// Every order in which the threads can interleave, and every value that their memory model lets them see.
#[cfg(all(test, loom))]
mod interleavings {
    use super::*;

    /// With so many forced switches of threads at most: bugs need few, and each costs a factor of time.
    fn explore(workers: usize, switches: usize, body: impl Fn(&Pool) + Sync + Send + 'static) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(switches);
        model.check(move || body(&Pool::with_workers(workers)));
    }

    fn run_counted(pool: &Pool, n: usize) {
        let counts: Vec<std::sync::atomic::AtomicUsize> = (0..n).map(|_| Default::default()).collect();
        pool.run(n, &|i| {
            counts[i].fetch_add(1, Ordering::Relaxed);
        });
        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    }

    #[test]
    fn a_step_with_one_worker() {
        explore(1, 3, |pool| run_counted(pool, 2));
    }

    #[test]
    fn two_steps_with_one_worker() {
        explore(1, 3, |pool| {
            run_counted(pool, 2);
            run_counted(pool, 2);
        });
    }

    #[test]
    fn a_step_with_two_workers() {
        explore(2, 1, |pool| run_counted(pool, 2));
    }
}
