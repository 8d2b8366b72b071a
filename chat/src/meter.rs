//! What a template may cost, and who pays.
//!
//! A template comes with a model from anywhere, so it is a program to be distrusted. Counting instructions alone does
//! not bound it: one instruction can double a string, scan it, or compare two deep structures. So every operation whose
//! cost depends on its operands pays for them here first:
//!
//! * reading: one unit of fuel per 64 bytes of text or per element;
//! * making: one unit per 16 bytes of text, four per element, so that fuel bounds memory as well;
//! * one value, and the whole text, stay under [`MAX_BYTES`];
//! * values nest at most [`MAX_DEPTH`] deep, since dropping, printing and comparing them recurse.
//!
//! The first thing that is exceeded is remembered, whatever the engine makes of the error on its way out.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, Value};

/// Most bytes of one string and of the text, 16 MiB.
pub(crate) const MAX_BYTES: usize = 16 << 20;
/// Deepest nesting of lists and mappings.
pub(crate) const MAX_DEPTH: usize = 96;

/// Why rendering was stopped from outside the template's own logic.
#[derive(Debug, Clone)]
pub(crate) enum Stop {
    Refused(String),
    Fuel,
    TooLarge,
}

/// One rendering's allowance.
pub(crate) struct Meter {
    fuel: AtomicU64,
    written: AtomicUsize,
    stop: Mutex<Option<Stop>>,
}

impl Meter {
    pub(crate) fn new(fuel: u64) -> Self {
        Self { fuel: AtomicU64::new(fuel), written: AtomicUsize::new(0), stop: Mutex::new(None) }
    }

    /// Records the reason and gives the error that unwinds the engine.
    pub(crate) fn stop(&self, stop: Stop) -> Error {
        let what = match &stop {
            Stop::Refused(message) => message.clone(),
            Stop::Fuel => "out of fuel".into(),
            Stop::TooLarge => "too large".into(),
        };
        self.stop.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert(stop);
        Error::new(ErrorKind::InvalidOperation, what)
    }

    /// Why rendering was stopped, if it was.
    pub(crate) fn stopped(&self) -> Option<Stop> {
        self.stop.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    fn spend(&self, units: u64) -> Result<(), Error> {
        let left = self.fuel.load(Ordering::Relaxed);
        match left.checked_sub(units) {
            Some(left) => {
                self.fuel.store(left, Ordering::Relaxed);
                Ok(())
            }
            None => Err(self.stop(Stop::Fuel)),
        }
    }

    /// Pays for one more step.
    pub(crate) fn spend_one(&self) -> Result<(), Error> {
        self.spend(1)
    }

    /// Pays for looking at all of `value`'s text, or at each of its elements, but not into them.
    pub(crate) fn read(&self, value: &Value) -> Result<(), Error> {
        self.spend(1 + size(value))
    }

    /// Pays for looking at `value` if it is text; a list's length is known.
    pub(crate) fn read_text(&self, value: &Value) -> Result<(), Error> {
        self.spend(1 + value.as_str().map_or(0, size_of_text))
    }

    /// Pays for looking at everything inside `value`.
    ///
    /// # Errors
    /// Also when it nests deeper than [`MAX_DEPTH`], cycles through a namespace included.
    pub(crate) fn read_deep(&self, value: &Value) -> Result<(), Error> {
        self.walk(value, 0)
    }

    fn walk(&self, value: &Value, depth: usize) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                format!("a value nests deeper than {MAX_DEPTH} levels"),
            ));
        }
        self.read(value)?;
        match value.kind() {
            ValueKind::Seq => value.try_iter()?.try_for_each(|item| self.walk(&item, depth + 1)),
            ValueKind::Map => value.try_iter()?.try_for_each(|key| {
                self.walk(&key, depth + 1)?;
                self.walk(&value.get_item(&key)?, depth + 1)
            }),
            _ => Ok(()),
        }
    }

    /// Pays for making text of `bytes` bytes, before it is made.
    pub(crate) fn make_text(&self, bytes: usize) -> Result<(), Error> {
        if bytes > MAX_BYTES {
            return Err(self.stop(Stop::TooLarge));
        }
        self.spend(1 + bytes as u64 / 16)
    }

    /// Pays for making a list of `n` elements, before it is made.
    pub(crate) fn make_list(&self, n: usize) -> Result<(), Error> {
        self.spend((n as u64).saturating_mul(4).saturating_add(1))
    }

    /// Pays for writing `bytes` bytes into the text, or into a block that captures it.
    pub(crate) fn write(&self, bytes: usize) -> Result<(), Error> {
        self.make_text(bytes)?;
        let written = self.written.load(Ordering::Relaxed).saturating_add(bytes);
        self.written.store(written, Ordering::Relaxed);
        if written > MAX_BYTES { Err(self.stop(Stop::TooLarge)) } else { Ok(()) }
    }

    /// Pays for a result after the fact, where the operation itself could not make it much larger than its operands.
    pub(crate) fn made(&self, value: &Value) -> Result<(), Error> {
        match value.as_str() {
            Some(text) => self.make_text(text.len()),
            None => self.make_list(value.len().unwrap_or(0)),
        }
    }
}

fn size_of_text(text: &str) -> u64 {
    text.len() as u64 / 64
}

/// Units for a shallow look: 64 bytes of text or one element each.
fn size(value: &Value) -> u64 {
    match value.as_str() {
        Some(text) => size_of_text(text),
        None if matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) => {
            value.len().unwrap_or(0) as u64
        }
        None => 0,
    }
}
