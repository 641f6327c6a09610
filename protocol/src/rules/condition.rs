//! When a rule applies.

use super::expression::{Expression, Verdict};
use super::glob::Glob;
use super::path::PathPattern;
use super::scope::Scope;
use super::selector::{Step, Uses, walk};
use serde_json::Value;

/// A set of methods.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Methods(u8);

/// The methods that rules may name. OPTIONS is answered by CORS before rules are looked at.
pub const METHODS: &[&str] = &["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"];

impl Methods {
    /// Adds a method; what answers GET answers HEAD. `None`: there is no such method.
    #[must_use]
    pub fn with(self, method: &str) -> Option<Self> {
        let bit = METHODS.iter().position(|known| *known == method)?;
        let head = if method == "GET" { 2 } else { 0 };
        Some(Self(self.0 | 1 << bit | head))
    }

    /// Whether a method is in it.
    #[must_use]
    pub fn has(self, method: &str) -> bool {
        METHODS.iter().position(|known| *known == method).is_some_and(|bit| self.0 & 1 << bit != 0)
    }

    const fn covers(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Something that is or is not so about a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// The method is one of these.
    Method(Methods),
    /// The path.
    Path(PathPattern),
    /// A header field, its name in lower case.
    Header(Box<str>, Glob),
    /// A parameter of the query.
    Query(Box<str>, Glob),
    /// The content type is one of these, in lower case and without parameters.
    ContentType(Box<[Glob]>),
    /// The message came in a text frame, or in a binary one.
    MessageText(bool),
    /// The message has this member.
    MessageHas(Box<[Step]>),
    /// This member of the message has this value.
    MessageIs(Box<[Step]>, Value),
    /// An expression.
    Where(Expression),
    /// All of these.
    All(Box<[Condition]>),
    /// At least one of these.
    Any(Box<[Condition]>),
    /// Not this.
    Not(Box<Condition>),
}

impl Condition {
    /// What it looks at.
    #[must_use]
    pub fn uses(&self) -> Uses {
        match self {
            Self::Method(_) | Self::Path(_) | Self::Header(..) | Self::Query(..) | Self::ContentType(_) => Uses::HEAD,
            Self::MessageText(_) | Self::MessageHas(_) | Self::MessageIs(..) => Uses::MESSAGE,
            Self::Where(expression) => expression.uses(),
            Self::All(parts) | Self::Any(parts) => parts.iter().map(Self::uses).fold(Uses::NONE, Uses::and),
            Self::Not(part) => part.uses(),
        }
    }

    /// It depends on what a message holds, not only on its kind.
    pub(super) fn looks_inside(&self) -> bool {
        match self {
            Self::MessageHas(_) | Self::MessageIs(..) => true,
            Self::Where(expression) => expression.uses().has(Uses::MESSAGE),
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::looks_inside),
            Self::Not(part) => part.looks_inside(),
            _ => false,
        }
    }

    /// Every path in it, those under `not` excepted: where parameters come from.
    pub fn paths<'c>(&'c self, found: &mut Vec<&'c PathPattern>) {
        match self {
            Self::Path(path) => found.push(path),
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.paths(found)),
            _ => {}
        }
    }

    /// Whether it is so.
    pub(super) fn judge(&self, scope: &Scope<'_>) -> Verdict {
        match self {
            Self::Method(methods) => Verdict::of(methods.has(scope.head.method)),
            Self::Path(path) => Verdict::of(path.matches(&scope.path.text)),
            Self::Header(name, glob) => {
                Verdict::of(scope.head.headers.field(name).is_some_and(|value| glob.matches(value)))
            }
            Self::Query(name, glob) => {
                Verdict::of(scope.query(name).is_some_and(|value| glob.matches(value.as_bytes())))
            }
            Self::ContentType(types) => {
                Verdict::of(scope.head.headers.field("content-type").is_some_and(|value| is_type(value, types)))
            }
            Self::MessageText(is_text) => Verdict::of(scope.is_text == *is_text),
            Self::MessageHas(steps) => Verdict::of(scope.message.is_some_and(|message| walk(message, steps).is_some())),
            Self::MessageIs(steps, value) => {
                Verdict::of(scope.message.is_some_and(|message| walk(message, steps) == Some(value)))
            }
            Self::Where(expression) => expression.judge(scope),
            Self::All(parts) => Verdict::all(parts.iter().map(|part| part.judge(scope))),
            Self::Any(parts) => Verdict::any(parts.iter().map(|part| part.judge(scope))),
            Self::Not(part) => part.judge(scope).not(),
        }
    }

    /// Whether it can be so for a message of a WebSocket with this head: what looks at the message may be so.
    pub(super) fn judge_head(&self, scope: &Scope<'_>) -> Verdict {
        match self {
            Self::All(parts) => Verdict::all(parts.iter().map(|part| part.judge_head(scope))),
            Self::Any(parts) => Verdict::any(parts.iter().map(|part| part.judge_head(scope))),
            Self::Not(part) => part.judge_head(scope).not(),
            other if other.uses().has(Uses::MESSAGE) => Verdict::Maybe,
            other => other.judge(scope),
        }
    }

    /// Whether it is so whenever `other` is: a rule with `self` leaves nothing for a later one with `other`. `false` may
    /// also mean that it is not known.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All(ours), _) => ours.iter().all(|ours| ours.covers(other)),
            (_, Self::Any(theirs)) => theirs.iter().all(|theirs| self.covers(theirs)),
            (Self::Any(ours), _) if ours.iter().any(|ours| ours.covers(other)) => true,
            (_, Self::All(theirs)) => theirs.iter().any(|theirs| self.covers(theirs)),
            (Self::Method(ours), Self::Method(theirs)) => ours.covers(*theirs),
            (Self::Path(ours), Self::Path(theirs)) => ours.covers(theirs),
            (Self::Header(ours, wide), Self::Header(theirs, narrow))
            | (Self::Query(ours, wide), Self::Query(theirs, narrow)) => ours == theirs && wide.covers(narrow),
            (Self::ContentType(ours), Self::ContentType(theirs)) => {
                theirs.iter().all(|theirs| ours.iter().any(|ours| ours.covers(theirs)))
            }
            (Self::MessageHas(ours), Self::MessageIs(theirs, _)) => ours == theirs,
            (Self::Not(ours), Self::Not(theirs)) => theirs.covers(ours),
            _ => self == other,
        }
    }
}

/// Whether a content type is one of these; parameters do not count, nor does the case of letters.
fn is_type(value: &[u8], types: &[Glob]) -> bool {
    let plain = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    if plain.iter().any(u8::is_ascii_uppercase) {
        let lower = plain.to_ascii_lowercase();
        return types.iter().any(|glob| glob.matches(&lower));
    }
    types.iter().any(|glob| glob.matches(plain))
}
