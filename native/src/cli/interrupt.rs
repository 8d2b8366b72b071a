//! Ctrl-C: asks whatever is being generated to stop.

use std::process;
use std::sync::atomic::{AtomicU8, Ordering};

/// Nobody generates: Ctrl-C ends the program.
const IDLE: u8 = 0;
/// An answer is being generated.
const BUSY: u8 = 1;
/// It should stop.
const ASKED: u8 = 2;

static STATE: AtomicU8 = AtomicU8::new(IDLE);

/// While this lives, Ctrl-C sets [`Watch::asked`]; a second one ends the program all the same.
pub struct Watch(());

impl Watch {
    /// Begins to watch. Where the system offers no such signal, Ctrl-C does what it always does.
    pub fn start() -> Self {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| {
            // Without a handler Ctrl-C still ends the program, only less gently.
            let _ = ctrlc::set_handler(|| {
                if STATE.compare_exchange(BUSY, ASKED, Ordering::Relaxed, Ordering::Relaxed).is_err() {
                    process::exit(130);
                }
            });
        });
        STATE.store(BUSY, Ordering::Relaxed);
        Self(())
    }

    /// Whether Ctrl-C was pressed since the start.
    pub fn asked(&self) -> bool {
        STATE.load(Ordering::Relaxed) == ASKED
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        STATE.store(IDLE, Ordering::Relaxed);
    }
}
