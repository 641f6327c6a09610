//! What there is to say about a rules file: each with its place, the line, and a remedy.

use crate::problem::Problem;
use crate::snippet::snippet;
use crate::yaml::At;
use std::fmt;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The file cannot be used.
    Error,
    /// The file can be used; it may mean something else than it seems to.
    Warning,
}

impl Severity {
    /// In a word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The column, from 1, in characters.
    pub column: u64,
    /// What.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// The line, and a mark below the place.
    pub snippet: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}: {}", self.file, self.line, self.column, self.severity.word(), self.message)?;
        if !self.snippet.is_empty() {
            write!(f, "\n{}", self.snippet)?;
        }
        write!(f, "\n    remedy: {}", self.remedy)
    }
}

/// Everything that there is to say about a file, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// Those that are errors.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.0.iter().filter(|finding| finding.severity == Severity::Error)
    }

    /// Those that are warnings.
    pub fn warnings(&self) -> impl Iterator<Item = &Finding> {
        self.0.iter().filter(|finding| finding.severity == Severity::Warning)
    }

    /// The errors as problems of the configuration.
    #[must_use]
    pub fn into_problems(self) -> Vec<Problem> {
        let errors = self.0.into_iter().filter(|finding| finding.severity == Severity::Error);
        errors
            .map(|finding| {
                let key = format!("{}:{}:{}", finding.file, finding.line, finding.column);
                Problem::new(key, finding.message, finding.remedy).with_snippet(finding.snippet)
            })
            .collect()
    }

    pub(super) fn add(&mut self, severity: Severity, file: &str, text: &str, at: At, message: String, remedy: String) {
        self.0.push(Finding {
            severity,
            file: file.to_owned(),
            line: at.line.max(1),
            column: at.column.max(1),
            message,
            remedy,
            snippet: snippet(text, at, &[]),
        });
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join("\n"))
    }
}

impl std::error::Error for Findings {}
