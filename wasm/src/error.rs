//! Errors as JavaScript sees them.

use motelm_chat::ChatError;
use wasm_bindgen::JsValue;

/// What a call from JavaScript returns.
pub type Result<T> = core::result::Result<T, Failure>;

/// A sentence, and a word for programs.
#[derive(Debug)]
pub struct Failure {
    /// The engine's kind of error, or `Template`.
    pub code: String,
    /// What was found, where, and what was expected.
    pub message: String,
}

impl Failure {
    /// An argument that cannot be.
    pub(crate) fn argument(message: impl Into<String>) -> Self {
        Self { code: "Argument".into(), message: message.into() }
    }
}

impl From<motelm_core::Error> for Failure {
    fn from(error: motelm_core::Error) -> Self {
        Self { code: format!("{:?}", error.kind), message: error.to_string() }
    }
}

impl From<ChatError> for Failure {
    fn from(error: ChatError) -> Self {
        Self { code: "Template".into(), message: error.to_string() }
    }
}

impl From<Failure> for JsValue {
    fn from(failure: Failure) -> Self {
        let error = js_sys::Error::new(&failure.message);
        // Setting a property of a fresh object cannot fail.
        let _ = js_sys::Reflect::set(&error, &"code".into(), &failure.code.into());
        error.into()
    }
}
