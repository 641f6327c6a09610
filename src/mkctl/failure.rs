//! Why a command did not do what it was asked, and the exit code that scripts see.

use std::fmt;

/// A command that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The server answered, and the answer is no, or it is not healthy. Exit code 1.
    Refused(String),
    /// The command line makes no sense. Exit code 2, as clap's own.
    Usage(String),
    /// There is no server to talk to, or it does not talk sense. Exit code 3.
    Unreachable(String),
    /// Whoever read our output has gone. Not worth a word.
    OutputClosed,
}

impl Failure {
    /// The process exit code.
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::OutputClosed => 0,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(text) | Self::Usage(text) | Self::Unreachable(text) => f.write_str(text),
            Self::OutputClosed => f.write_str("standard output was closed"),
        }
    }
}
