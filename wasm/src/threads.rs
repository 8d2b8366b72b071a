//! Who runs the pieces of a step: the thread that asked for it, and those that JavaScript lends to its memory.

use motelm_core::exec::Executor;
use motelm_pool::Pool;
use std::sync::{Arc, OnceLock};
use wasm_bindgen::prelude::*;

use crate::error::{Failure, Result};

/// A module's memory is one engine's, so it has one pool.
static POOL: OnceLock<Arc<Pool>> = OnceLock::new();

/// What a thread's stack takes of the memory; JavaScript says so when it brings one.
const STACK: u64 = 1 << 20;

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance)]
    fn now() -> f64;
}

fn micros() -> u64 {
    (now() * 1000.0) as u64
}

fn pool() -> &'static Arc<Pool> {
    POOL.get_or_init(|| Arc::new(Pool::hosted(1, micros)))
}

pub(crate) fn executor() -> Arc<dyn Executor + Send + Sync> {
    pool().clone()
}

/// Bytes that the stacks of the other threads take.
pub(crate) fn stacks() -> u64 {
    (pool().width() as u64 - 1) * STACK
}

/// Makes room for so many threads, the calling one included. Comes before anything else.
///
/// # Errors
/// `Argument` when it comes later.
#[wasm_bindgen(js_name = setThreads)]
pub fn set_threads(threads: usize) -> Result<()> {
    let late = |_| Failure::argument("the number of threads is known already");
    POOL.set(Arc::new(Pool::hosted(threads, micros))).map_err(late)
}

/// The life of every thread but the first, in an instance of the module on the same memory. Does not return.
#[wasm_bindgen]
pub fn work() {
    pool().worker().work();
}
