//! What is wrong with a configuration, told so that it can be put right.

use std::fmt;

/// The process exit code for a configuration that cannot be used (`EX_CONFIG` of `sysexits.h`).
pub const EXIT_CODE: u8 = 78;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What was set, under the name it was set by: `--http-port`, `CONDUIT_HTTP_PORT`, or `FILE:LINE:COLUMN: http.port`.
    pub key: String,
    /// The value that was given; `None` when showing it could show a secret, or when there is none.
    pub value: Option<String>,
    /// What is wrong with it, and the bound that it breaks.
    pub reason: String,
    /// The line of the file that it stands in, if it stands in one.
    pub snippet: Option<String>,
    /// What to do about it.
    pub remedy: String,
}

impl Problem {
    /// A problem that is about no value.
    #[must_use]
    pub fn new(key: impl Into<String>, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { key: key.into(), value: None, reason: reason.into(), snippet: None, remedy: remedy.into() }
    }

    /// The same about a value that may be shown.
    #[must_use]
    pub fn with_value(self, value: impl Into<String>) -> Self {
        Self { value: Some(value.into()), ..self }
    }

    /// The same with the line that it stands in.
    #[must_use]
    pub fn with_snippet(self, snippet: impl Into<String>) -> Self {
        Self { snippet: Some(snippet.into()), ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.key)?;
        if let Some(value) = &self.value {
            write!(f, " = {value:?}")?;
        }
        write!(f, ": {}", self.reason)?;
        for line in self.snippet.iter().flat_map(|snippet| snippet.lines()) {
            write!(f, "\n  {line}")?;
        }
        write!(f, "\n    remedy: {}", self.remedy)
    }
}

/// Everything that is wrong, in one error; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noun = if self.0.len() == 1 { "problem" } else { "problems" };
        write!(f, "{} {noun} with the configuration:", self.0.len())?;
        for problem in &self.0 {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
