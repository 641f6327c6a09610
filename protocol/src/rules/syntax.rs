//! What is wrong with a piece of a rule's text, and where in it.

/// A piece of text that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SyntaxError {
    /// Bytes from the start of the text to what is wrong.
    pub at: usize,
    /// What is wrong, and what would be right.
    pub message: String,
}

impl SyntaxError {
    /// An error at a place.
    pub(super) fn new(at: usize, message: impl Into<String>) -> Self {
        Self { at, message: message.into() }
    }

    /// The same in a text that has `bytes` more in front.
    pub(super) fn behind(self, bytes: usize) -> Self {
        Self { at: self.at + bytes, ..self }
    }
}
