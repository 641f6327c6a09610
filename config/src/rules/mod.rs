//! Rules files: YAML to the compiled rules of `conduit_protocol::rules`, and everything that is wrong with one at once.
//!
//! ```text
//! 1 tree     YAML -> nodes that know where they stand                                       yaml
//! 2 read     nodes -> conditions, values, answers, frames; each flaw with its place         when, values, send, rule, file
//! 3 relate   ids that repeat, rules that an earlier one hides, built-in paths, codes        relate
//! 4 compile  -> Rules                                                                       conduit_protocol::rules
//! ```
//!
//! `docs/rules.md` describes the language; `conduit rules check` and `conduit rules test` are its tools.

pub mod cases;
pub mod finding;
pub mod trial;

mod access;
mod checker;
mod file;
mod native;
mod relate;
mod rule;
mod send;
mod values;
mod when;

pub use cases::{Case, read_cases};
pub use file::{CompiledRules, RuleRow, compile};
pub use finding::{Finding, Findings, Severity};

/// What rules may be compiled with.
#[derive(Clone, Copy)]
pub struct Surroundings<'s> {
    /// How messages name the file.
    pub file: &'s str,
    /// Looks up an environment variable for `$env`.
    pub env: &'s dyn Fn(&str) -> conduit_protocol::rules::selector::EnvLookup,
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("file", &self.file).finish_non_exhaustive()
    }
}

impl<'s> Surroundings<'s> {
    /// A file for which no environment variable is to be seen.
    #[must_use]
    pub fn of(file: &'s str) -> Self {
        Self { file, env: &|_| conduit_protocol::rules::selector::EnvLookup::NotAllowed }
    }
}
