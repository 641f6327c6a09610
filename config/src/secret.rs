//! Texts that are never shown.

use std::fmt;

pub use conduit_protocol::policy::access::{TOKEN_BYTES_MAX, TOKENS_MAX};

/// A token or key. Printing it in any way says only that there is one.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever compares tokens.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Reads a token.
    ///
    /// # Errors
    /// What is wrong with it; the text is not part of it.
    pub(crate) fn token(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("a token is empty".to_owned());
        }
        if text.len() > TOKEN_BYTES_MAX {
            return Err(format!("a token is longer than {TOKEN_BYTES_MAX} bytes"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') {
            return Err("a token has a blank, a comma, or a character that is not visible ASCII".to_owned());
        }
        if text == "none" {
            return Err("`none` is not taken for a token, as it could be meant for the absence of one".to_owned());
        }
        Ok(Self::new(text))
    }

    /// Reads tokens separated by commas. Empty places between them are skipped, but there has to be a token.
    ///
    /// # Errors
    /// What is wrong; no token is part of it.
    pub(crate) fn tokens(text: &str) -> Result<Vec<Self>, String> {
        let places = text.split(',').map(str::trim).filter(|place| !place.is_empty());
        let tokens: Vec<Self> = places.map(Self::token).collect::<Result<_, _>>()?;
        match tokens.len() {
            0 if !text.trim().is_empty() => Err("there is no token between the commas".to_owned()),
            count if count > TOKENS_MAX => Err(format!("there are more than {TOKENS_MAX} tokens")),
            _ => Ok(tokens),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(not shown)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_trimmed_and_never_shown() {
        let tokens = Secret::tokens(" one, two,,").expect("valid");
        assert_eq!(tokens.iter().map(Secret::reveal).collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(format!("{tokens:?}"), "[Secret(not shown), Secret(not shown)]");
    }

    #[test]
    fn what_would_leave_the_door_open_is_refused() {
        for text in [",", " , ", "none", "a,none", "hush hush", "a\u{e9}", "a,hush\tc"] {
            let reason = Secret::tokens(text).expect_err(text);
            assert!(!reason.contains("hush"), "{reason}");
        }
        assert_eq!(Secret::tokens(""), Ok(Vec::new()), "only nothing at all is no token");
    }

    #[test]
    fn the_longest_token_passes_and_one_byte_more_does_not() {
        assert!(Secret::token(&"x".repeat(TOKEN_BYTES_MAX)).is_ok());
        assert!(Secret::token(&"x".repeat(TOKEN_BYTES_MAX + 1)).is_err());
        let many = vec!["t"; TOKENS_MAX].join(",");
        assert!(Secret::tokens(&many).is_ok());
        assert!(Secret::tokens(&(many + ",t")).is_err());
    }
}
