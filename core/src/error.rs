//! The one error of the engine: what is wrong, and where to look.

use alloc::string::String;
use core::fmt;

/// `Result` with the engine's [`Error`].
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// What kind of thing went wrong; hosts map it to exit codes and JavaScript error codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes end before what they announce.
    Truncated,
    /// The bytes are there, and wrong: bad magic, a value out of range, an overlap.
    Malformed,
    /// Well-formed, but nothing this version can run.
    Unsupported,
    /// A metadata key or tensor that the architecture needs is absent.
    Missing,
    /// A tensor that nothing uses.
    Surplus,
    /// A tensor's shape or type is not what the architecture says.
    Shape,
    /// An argument outside its range: a token id, an option.
    Argument,
    /// The context has no room for the tokens.
    ContextFull,
    /// More memory than there is or than was allowed.
    Memory,
    /// A saved state that belongs to another model, version or session shape.
    State,
}

/// Where an [`Error`] points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// Nowhere in particular.
    Nowhere,
    /// Bytes from the start of the file.
    Offset(u64),
    /// A metadata key.
    Key(String),
    /// A tensor's name.
    Tensor(String),
}

/// What is wrong, in a sentence that says what was found and what was expected, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The kind, for programs.
    pub kind: ErrorKind,
    /// The sentence, for people; without the place.
    pub what: String,
    /// The place.
    pub at: At,
}

impl Error {
    /// An error that points nowhere yet.
    #[cold]
    #[inline(never)]
    pub fn new(kind: ErrorKind, what: impl Into<String>) -> Self {
        Self { kind, what: what.into(), at: At::Nowhere }
    }

    /// The same error, pointing at a byte of the file.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn at_offset(mut self, offset: u64) -> Self {
        self.at = At::Offset(offset);
        self
    }

    /// The same error, pointing at a metadata key.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn at_key(mut self, key: impl Into<String>) -> Self {
        self.at = At::Key(key.into());
        self
    }

    /// The same error, pointing at a tensor.
    #[must_use]
    #[cold]
    #[inline(never)]
    pub fn at_tensor(mut self, tensor: impl Into<String>) -> Self {
        self.at = At::Tensor(tensor.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.at {
            At::Nowhere => f.write_str(&self.what),
            At::Offset(offset) => write!(f, "at byte {offset}: {}", self.what),
            At::Key(key) => write!(f, "key `{key}`: {}", self.what),
            At::Tensor(tensor) => write!(f, "tensor `{tensor}`: {}", self.what),
        }
    }
}

impl core::error::Error for Error {}
