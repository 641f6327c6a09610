//! What selectors are looked up in, and what is found there.

use super::failure::RuleError;
use super::limits;
use super::moment;
use super::path::{MatchedPath, PathPattern};
use super::selector::{Root, Selector, Step, walk};
use super::view::HeadView;
use crate::codec::{NAME_BYTES, VALUE_BYTES};
use crate::error::ErrorCode;
use crate::http::percent_decode;
use serde_json::{Map, Value};
use std::borrow::Cow;
use std::cell::Cell;

/// The body, as far as it is known.
#[derive(Debug, Clone, Copy)]
pub(super) enum Input<'s> {
    /// It has not been read.
    Unread,
    /// There is none, or it does not decode.
    Absent,
    /// Its value.
    Is(&'s Value),
}

/// Everything that a rule can see at one moment.
#[derive(Clone, Copy)]
pub(super) struct Scope<'s> {
    pub(super) head: &'s HeadView<'s>,
    pub(super) path: &'s MatchedPath<'s>,
    /// The rule's paths that have parameters.
    pub(super) patterns: &'s [PathPattern],
    pub(super) body: Input<'s>,
    pub(super) message: Option<&'s Value>,
    /// The message came in a text frame.
    pub(super) is_text: bool,
    pub(super) variables: &'s [Option<Value>],
    pub(super) result: Option<&'s Value>,
    pub(super) error: Option<&'s RuleError>,
    /// Bytes that may still be copied.
    pub(super) budget: &'s Cell<usize>,
}

/// What a selector found.
#[derive(Debug)]
pub(super) enum Found<'s> {
    /// Nothing.
    Undefined,
    /// The body has not been read.
    Unknown,
    /// A value that is somewhere.
    Is(&'s Value),
    /// A text that is part of the head.
    Text(Cow<'s, str>),
    /// A value that was made.
    Made(Value),
}

impl Found<'_> {
    /// A value of its own; `None` for undefined.
    pub(super) fn into_value(self) -> Option<Value> {
        match self {
            Self::Undefined | Self::Unknown => None,
            Self::Is(value) => Some(value.clone()),
            Self::Text(text) => Some(Value::String(text.into_owned())),
            Self::Made(value) => Some(value),
        }
    }

    /// The text, if it is one.
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Is(Value::String(text)) | Self::Made(Value::String(text)) => Some(text),
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value, if it is not merely a text of the head.
    pub(super) fn as_value(&self) -> Option<&Value> {
        match self {
            Self::Is(value) => Some(value),
            Self::Made(value) => Some(value),
            _ => None,
        }
    }
}

/// The most that is copied has been.
pub(super) fn too_large() -> RuleError {
    RuleError::new(
        ErrorCode::PayloadTooLarge,
        format!("what the rule makes of the request has more than {} bytes", limits::VALUE_BYTES_MAX),
    )
}

impl<'s> Scope<'s> {
    /// Looks a selector up.
    pub(super) fn find(&self, selector: &'s Selector) -> Found<'s> {
        let steps = &*selector.steps;
        let from = |value: Option<&'s Value>| match value.and_then(|value| walk(value, steps)) {
            Some(value) => Found::Is(value),
            None => Found::Undefined,
        };
        match selector.root {
            Root::Body => match self.body {
                Input::Unread => Found::Unknown,
                Input::Is(value) => from(Some(value)),
                Input::Absent if steps.is_empty() => Found::Made(Value::Object(Map::new())),
                Input::Absent => Found::Undefined,
            },
            Root::Message => from(self.message),
            Root::Result => from(self.result),
            Root::Variable(place) => from(self.variables.get(usize::from(place)).and_then(Option::as_ref)),
            Root::Method => Found::Text(self.head.method.into()),
            Root::Path => Found::Text(self.head.path.into()),
            Root::Tenant => Found::Text(self.tenant().into()),
            Root::Now if steps.is_empty() => Found::Made(Value::String(moment::text_of(self.head.now_unix_ms))),
            Root::Now => Found::Made(self.head.now_unix_ms.into()),
            Root::Query => match steps {
                [] => Found::Made(self.whole_query()),
                [Step::Key(name)] => text(self.query(name)),
                _ => Found::Undefined,
            },
            Root::Headers => match steps {
                [] => Found::Made(self.whole_headers()),
                [Step::Key(name)] => text(self.header(name)),
                _ => Found::Undefined,
            },
            Root::Params => match steps {
                [] => Found::Made(self.whole_params()),
                [Step::Key(name)] => text(self.path.param(name, self.patterns)),
                _ => Found::Undefined,
            },
            Root::Error => self.find_error(steps),
        }
    }

    /// The name of the tenant; that of the default one is `default`.
    pub(super) fn tenant(&self) -> &'s str {
        if self.head.tenant.is_empty() { "default" } else { self.head.tenant }
    }

    /// A parameter of the query, decoded; of several the last.
    pub(super) fn query(&self, name: &str) -> Option<Cow<'s, str>> {
        let mut pairs = pairs(self.head.query).rev();
        pairs.find(|(key, _)| percent_decode(key, true).is_ok_and(|key| key == name)).and_then(|(_, value)| {
            // The session has refused escapes that are none.
            percent_decode(value, true).ok()
        })
    }

    /// The first field with this name, in lower case.
    pub(super) fn header(&self, name: &str) -> Option<Cow<'s, str>> {
        self.head.headers.field(name).map(String::from_utf8_lossy)
    }

    fn whole_query(&self) -> Value {
        let decoded = |text| percent_decode(text, true).ok().map(Cow::into_owned);
        let members = pairs(self.head.query).filter_map(|(key, value)| Some((decoded(key)?, decoded(value)?.into())));
        Value::Object(members.collect())
    }

    fn whole_headers(&self) -> Value {
        let mut members = Map::new();
        self.head.headers.each_field(&mut |name, value| {
            let value = || String::from_utf8_lossy(value).into_owned().into();
            members.entry(name.to_ascii_lowercase()).or_insert_with(value);
        });
        Value::Object(members)
    }

    fn whole_params(&self) -> Value {
        let names = self.patterns.iter().flat_map(PathPattern::params);
        let members = names.filter_map(|name| {
            let value = self.path.param(name, self.patterns)?;
            Some((name.to_owned(), value.into_owned().into()))
        });
        Value::Object(members.collect())
    }

    fn find_error(&self, steps: &[Step]) -> Found<'s> {
        let Some(error) = self.error else { return Found::Undefined };
        let member = |name: &str| match name {
            "code" => Found::Text((&*error.code).into()),
            "message" => Found::Text((&*error.message).into()),
            "detail" => Found::Text(error.detail().into()),
            "status" => Found::Made(error.status.into()),
            _ => Found::Undefined,
        };
        match steps {
            [] => {
                let members = ["code", "message", "detail", "status"]
                    .into_iter()
                    .filter_map(|name| Some((name.to_owned(), member(name).into_value()?)));
                Found::Made(Value::Object(members.collect()))
            }
            [Step::Key(name)] => member(name),
            _ => Found::Undefined,
        }
    }

    /// Takes what copying a value costs from the budget.
    pub(super) fn charge(&self, found: &Found<'_>) -> Result<(), RuleError> {
        let bytes = match found {
            Found::Is(value) => cost(value),
            Found::Made(value) => cost(value),
            Found::Text(text) => text.len(),
            Found::Undefined | Found::Unknown => 0,
        };
        self.charge_bytes(bytes)
    }

    /// Takes bytes from the budget.
    pub(super) fn charge_bytes(&self, bytes: usize) -> Result<(), RuleError> {
        let left = self.budget.get().checked_sub(bytes).ok_or_else(too_large)?;
        self.budget.set(left);
        Ok(())
    }
}

fn text(text: Option<Cow<'_, str>>) -> Found<'_> {
    text.map_or(Found::Undefined, Found::Text)
}

/// The pairs of a query as they came.
fn pairs(query: &str) -> impl DoubleEndedIterator<Item = (&str, &str)> {
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts.map(|part| part.split_once('=').unwrap_or((part, "")))
}

/// About how many bytes a value takes.
pub(super) fn cost(value: &Value) -> usize {
    VALUE_BYTES
        + match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
            Value::String(text) => text.len(),
            Value::Array(elements) => elements.iter().map(cost).sum(),
            Value::Object(members) => members.iter().map(|(key, value)| NAME_BYTES + key.len() + cost(value)).sum(),
        }
}
