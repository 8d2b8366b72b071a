//! Why a conversation could not become text.

use std::fmt;

/// Why a template could not be read or rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChatError {
    /// The model file carries no template under this metadata key.
    Missing {
        /// The key that was looked for.
        key: String,
    },
    /// The metadata key holds something that is no text.
    NotText {
        /// The key.
        key: String,
        /// What it holds instead.
        found: String,
    },
    /// The template is no Jinja, or larger or more nested than any template has reason to be.
    Syntax {
        /// Line of the template, from 1; 0 when the whole template is meant.
        line: usize,
        /// What is wrong there.
        what: String,
    },
    /// The template called `raise_exception`: it does not accept this conversation. The template's own words.
    Refused(String),
    /// The template did more work than the request's fuel allows.
    Fuel {
        /// The allowance.
        allowed: u64,
    },
    /// The text, or one value on the way to it, grew past this many bytes.
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The template failed while it ran: a wrong type, an unknown method.
    Runtime {
        /// Line of the template, from 1; 0 when unknown.
        line: usize,
        /// What failed.
        what: String,
    },
    /// A saved conversation that this version cannot read.
    History {
        /// What is wrong with it.
        what: String,
    },
}

impl fmt::Display for ChatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { key } => write!(
                f,
                "the model has no chat template (no metadata key `{key}`); pass the template of its family \
                 yourself, or prompt it with plain text"
            ),
            Self::NotText { key, found } => {
                write!(f, "the chat template under `{key}` is no text: {found}")
            }
            Self::Syntax { line: 0, what } => write!(f, "the chat template cannot be read: {what}"),
            Self::Syntax { line, what } => {
                write!(f, "line {line} of the chat template cannot be read: {what}")
            }
            Self::Refused(message) => write!(f, "the chat template refuses this conversation: {message}"),
            Self::Fuel { allowed } => write!(
                f,
                "the chat template did more than {allowed} units of work; raise the request's fuel if the \
                 template is trusted"
            ),
            Self::TooLarge { limit } => {
                write!(f, "the chat template produced more than {limit} bytes")
            }
            Self::Runtime { line: 0, what } => write!(f, "the chat template failed: {what}"),
            Self::Runtime { line, what } => {
                write!(f, "line {line} of the chat template failed: {what}")
            }
            Self::History { what } => write!(f, "this is no conversation that can be loaded: {what}"),
        }
    }
}

impl std::error::Error for ChatError {}
