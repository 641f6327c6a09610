//! Why a rule, or the frame it said, came to nothing: what `$error` is, and what `onError` is looked up by.

use crate::answer::Refusal;
use crate::error::{ErrorCode, Violation};
use std::borrow::Cow;

/// An error that a rule can put into words of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct RuleError {
    /// The stable code: one of [`ErrorCode`], or one that an `assert` names.
    pub code: Cow<'static, str>,
    /// The HTTP status when no `onError` gives one.
    pub status: u16,
    /// A sentence.
    pub message: Cow<'static, str>,
    /// More, if there is more. `$error.detail` is the sentence where there is not.
    pub detail: Option<String>,
    /// The sentence is a rule's own, and may hold what a client sent: it is not for logs.
    pub has_own_message: bool,
    /// When trying again makes sense: told as `Retry-After`.
    pub retry_after_ms: Option<u32>,
    /// On a WebSocket, the close code that follows the message about the error; `None` leaves the connection open.
    pub close_code: Option<u16>,
}

impl RuleError {
    /// An error of the table that leaves a WebSocket open.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: Cow::Borrowed(code.code()),
            status: code.http_status(),
            message: message.into(),
            detail: None,
            has_own_message: false,
            retry_after_ms: code.usual_wait_ms(),
            close_code: None,
        }
    }
}

impl RuleError {
    /// Its place in the table of errors; `None` for a code that is a rule's own.
    #[must_use]
    pub fn known(&self) -> Option<ErrorCode> {
        ErrorCode::ALL.iter().copied().find(|code| code.code() == self.code)
    }

    /// More about it: at least the sentence.
    #[must_use]
    pub fn detail(&self) -> &str {
        self.detail.as_deref().unwrap_or(&self.message)
    }

    /// What logs may say of why it came to this.
    #[must_use]
    pub fn logged_reason(&self) -> &str {
        if self.has_own_message { "" } else { &self.message }
    }
}

impl From<Violation> for RuleError {
    /// A violation ends a WebSocket.
    fn from(violation: Violation) -> Self {
        let Violation { code, message } = violation;
        Self { close_code: Some(code.close_code()), ..Self::new(code, message) }
    }
}

impl From<&Refusal<'_>> for RuleError {
    fn from(refusal: &Refusal<'_>) -> Self {
        let message = refusal.message.clone().into_owned();
        Self { retry_after_ms: refusal.wait_ms(), ..Self::new(refusal.code, message) }
    }
}
