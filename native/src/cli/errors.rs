//! What is told when something fails: one sentence, a hint, and an exit code that scripts can tell apart.

use std::fmt;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use motelm::OpenError;
use motelm_chat::ChatError;
use motelm_core::{Error, ErrorKind};

use super::output;

/// Why the command ends before its time.
#[derive(Debug)]
pub enum Failure {
    /// Something to tell.
    Told {
        /// Decides the exit code.
        kind: Kind,
        /// What is wrong, without a full stop.
        what: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// Whoever read the output has gone: nobody is left to tell.
    BrokenPipe,
    /// Ctrl-C.
    Interrupted,
}

/// Kinds of failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Other,
    Usage,
    File,
    Memory,
}

impl Kind {
    fn exit_code(self) -> u8 {
        match self {
            Self::Other => 1,
            Self::Usage => 2,
            Self::File => 3,
            Self::Memory => 4,
        }
    }
}

impl Failure {
    /// A failure without a hint.
    pub fn new(kind: Kind, what: impl Into<String>) -> Self {
        Self::Told { kind, what: what.into(), hint: None }
    }

    /// The same failure with a hint.
    #[must_use]
    pub fn hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Told { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// A model that cannot be used, and in which file it is.
    pub fn model(error: Error, name: &str) -> Self {
        let hint = match error.kind {
            ErrorKind::Truncated | ErrorKind::Malformed => "download or convert it again",
            ErrorKind::Memory => return Self::from(error),
            _ => "`mote inspect` shows what the file holds",
        };
        Self::new(Kind::File, format!("{name}: {error}")).hint(hint)
    }

    /// A file that the system does not give.
    pub fn read(path: &Path, error: &io::Error) -> Self {
        let kind = if error.kind() == io::ErrorKind::OutOfMemory { Kind::Memory } else { Kind::File };
        let failure = Self::new(kind, format!("{}: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::NotFound => {
                failure.hint("check the path; it is looked up from the current folder")
            }
            io::ErrorKind::PermissionDenied => failure.hint("check who may use it"),
            io::ErrorKind::IsADirectory => failure.hint("name the file in it"),
            io::ErrorKind::OutOfMemory => failure.hint("without --no-mmap it stays on the disk"),
            _ => failure,
        }
    }

    /// Tells it on stderr. The exit code is that of the process.
    pub fn report(self) -> ExitCode {
        match &self {
            Self::Told { kind, .. } => {
                // Control characters in names and metadata would act on the terminal.
                let told = self.to_string().replace(|c: char| c.is_control(), "\u{fffd}");
                output::tell(&format!("error: {told}\n"));
                ExitCode::from(kind.exit_code())
            }
            Self::BrokenPipe => ExitCode::SUCCESS,
            Self::Interrupted => ExitCode::from(130),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Told { what, hint: Some(hint), .. } => write!(f, "{what}; hint: {hint}"),
            Self::Told { what, hint: None, .. } => f.write_str(what),
            Self::BrokenPipe => f.write_str("nobody reads the output"),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        match &error {
            OpenError::Io { path, source } => Self::read(path, source),
            OpenError::Model { source, .. } => {
                let failure = Self::new(Kind::File, error.to_string());
                match (&source.kind, &source.at) {
                    (ErrorKind::Malformed, motelm_core::At::Offset(0)) => {
                        failure.hint("models for mote are .gguf files")
                    }
                    (ErrorKind::Truncated, _) => failure.hint("download it again, to the end"),
                    (ErrorKind::Malformed, _) => failure.hint("the file is damaged; download it again"),
                    (ErrorKind::Missing, _) => failure.hint("all parts of a split model lie in one folder"),
                    _ => failure.hint("a newer mote may know it, or convert the model to another type"),
                }
            }
            _ => Self::new(Kind::File, error.to_string()),
        }
    }
}

/// Errors of a model that is already running: arguments, room.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let what = error.to_string();
        match error.kind {
            ErrorKind::Argument => Self::new(Kind::Usage, what).hint("`mote help` lists all options"),
            ErrorKind::ContextFull => Self::new(Kind::Other, what).hint("a larger -c makes more room"),
            ErrorKind::Memory => {
                Self::new(Kind::Memory, what).hint("a smaller context (-c) or batch (-b) takes less")
            }
            _ => Self::new(Kind::File, what),
        }
    }
}

impl From<ChatError> for Failure {
    fn from(error: ChatError) -> Self {
        let what = error.to_string();
        match error {
            ChatError::Missing { .. } => {
                Self::new(Kind::File, what).hint("--template FILE takes a Jinja file")
            }
            ChatError::NotText { .. } | ChatError::Syntax { .. } => {
                Self::new(Kind::File, what).hint("--template FILE takes another one")
            }
            ChatError::History { .. } => Self::new(Kind::File, what),
            _ => Self::new(Kind::Other, what),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            io::ErrorKind::OutOfMemory => Self::new(Kind::Memory, error.to_string()),
            _ => Self::new(Kind::Other, format!("the output cannot be written: {error}")),
        }
    }
}
