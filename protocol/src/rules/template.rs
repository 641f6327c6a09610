//! Values as rules write them: literals, selectors, texts with selectors in them, lists, objects and helpers.

use super::failure::RuleError;
use super::limits;
use super::pattern::Pattern;
use super::scope::{Found, Scope};
use super::selector::{Names, Reference, Selector, Uses, reference};
use super::syntax::SyntaxError;
use serde_json::{Map, Value};
use std::borrow::Cow;

/// A value that is made anew for every request.
#[derive(Debug, Clone, PartialEq)]
pub enum Template {
    /// Never there: an environment variable that is not set.
    Undefined,
    /// Always the same.
    Literal(Value),
    /// What a selector finds, with its type.
    Select(Selector),
    /// A text with selectors in it. When one of them finds nothing, the whole text is undefined.
    Text(Box<[Piece]>),
    /// A list; what is undefined in it is null.
    List(Box<[Template]>),
    /// An object; what is undefined in it is left out.
    Object(Box<[(Box<str>, Template)]>),
    /// A helper.
    Helper(Box<Helper>),
}

/// A part of a text.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// As it stands.
    Literal(Box<str>),
    /// What a selector finds.
    Select(Selector),
}

/// A function of values.
#[derive(Debug, Clone, PartialEq)]
pub enum Helper {
    /// The first that is there and not null; null if none is.
    Coalesce(Box<[Template]>),
    /// The first, or the second when the first is not there or null.
    Default(Template, Template),
    /// An object with only these members of another.
    Pick(Template, Box<[Box<str>]>),
    /// What a group of a pattern matches in a text; undefined when it does not match.
    Regex(Template, Pattern, usize),
    /// A whole number; undefined when the value is none.
    ToInt(Template),
    /// A number; undefined when the value is none.
    ToFloat(Template),
    /// A text; undefined when there is no value.
    ToString(Template),
}

impl Template {
    /// Reads a text: a selector, or a text with selectors in it.
    ///
    /// # Errors
    /// What cannot be read, and where.
    pub fn parse_text(text: &str, names: &Names<'_>) -> Result<Self, SyntaxError> {
        if text.len() > limits::TEXT_BYTES_MAX {
            return Err(SyntaxError::new(0, format!("a text has at most {} bytes", limits::TEXT_BYTES_MAX)));
        }
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while let Some(dollar) = text[at..].find('$') {
            literal.push_str(&text[at..at + dollar]);
            at += dollar;
            if text[at..].starts_with("$$") {
                literal.push('$');
                at += 2;
                continue;
            }
            let (found, length) = reference(&text[at..], names).map_err(|error| error.behind(at))?;
            let is_all = at == 0 && length == text.len();
            at += length;
            match found {
                Reference::Select(selector) if is_all => return Ok(Self::Select(selector)),
                Reference::Select(selector) => {
                    if !literal.is_empty() {
                        pieces.push(Piece::Literal(std::mem::take(&mut literal).into()));
                    }
                    pieces.push(Piece::Select(selector));
                }
                Reference::Known(Some(value)) => literal.push_str(&value),
                Reference::Known(None) => return Ok(Self::Undefined),
            }
        }
        literal.push_str(&text[at..]);
        if pieces.is_empty() {
            return Ok(Self::Literal(Value::String(literal)));
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal.into()));
        }
        Ok(Self::Text(pieces.into()))
    }

    /// A list; one of literals is a literal.
    #[must_use]
    pub fn list(elements: Vec<Self>) -> Self {
        if elements.iter().all(|element| matches!(element, Self::Literal(_))) {
            let values = elements.into_iter().filter_map(Self::into_literal);
            return Self::Literal(Value::Array(values.collect()));
        }
        Self::List(elements.into())
    }

    /// An object; one of literals is a literal.
    #[must_use]
    pub fn object(members: Vec<(Box<str>, Self)>) -> Self {
        if members.iter().all(|(_, value)| matches!(value, Self::Literal(_))) {
            let values = members.into_iter().filter_map(|(key, value)| Some((key.into(), value.into_literal()?)));
            return Self::Literal(Value::Object(values.collect()));
        }
        Self::Object(members.into())
    }

    fn into_literal(self) -> Option<Value> {
        match self {
            Self::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// What it looks at.
    #[must_use]
    pub fn uses(&self) -> Uses {
        let all = |templates: &[Self]| templates.iter().map(Self::uses).fold(Uses::NONE, Uses::and);
        match self {
            Self::Undefined | Self::Literal(_) => Uses::NONE,
            Self::Select(selector) => selector.root.uses(),
            Self::Text(pieces) => pieces
                .iter()
                .map(|piece| match piece {
                    Piece::Literal(_) => Uses::NONE,
                    Piece::Select(selector) => selector.root.uses(),
                })
                .fold(Uses::NONE, Uses::and),
            Self::List(elements) => all(elements),
            Self::Object(members) => members.iter().map(|(_, value)| value.uses()).fold(Uses::NONE, Uses::and),
            Self::Helper(helper) => match &**helper {
                Helper::Coalesce(values) => all(values),
                Helper::Default(first, second) => first.uses().and(second.uses()),
                Helper::Pick(value, _)
                | Helper::Regex(value, ..)
                | Helper::ToInt(value)
                | Helper::ToFloat(value)
                | Helper::ToString(value) => value.uses(),
            },
        }
    }

    /// Makes the value; `None` when it is undefined.
    ///
    /// # Errors
    /// `PayloadTooLarge` past the bound of what may be copied.
    pub(super) fn make(&self, scope: &Scope<'_>) -> Result<Option<Value>, RuleError> {
        Ok(match self {
            Self::Undefined => None,
            Self::Literal(value) => {
                scope.charge(&Found::Is(value))?;
                Some(value.clone())
            }
            Self::Select(selector) => {
                let found = scope.find(selector);
                scope.charge(&found)?;
                found.into_value()
            }
            Self::Text(pieces) => make_text(pieces, scope)?.map(Value::String),
            Self::List(elements) => {
                let mut values = Vec::with_capacity(elements.len());
                for element in elements {
                    values.push(element.make(scope)?.unwrap_or(Value::Null));
                }
                Some(Value::Array(values))
            }
            Self::Object(members) => {
                let mut values = Map::new();
                for (key, value) in members {
                    if let Some(value) = value.make(scope)? {
                        scope.charge_bytes(key.len())?;
                        values.insert(String::from(&**key), value);
                    }
                }
                Some(Value::Object(values))
            }
            Self::Helper(helper) => helper.make(scope)?,
        })
    }

    /// Makes the value as a text: what is neither text, number nor boolean is undefined.
    pub(super) fn make_plain_text(&self, scope: &Scope<'_>) -> Result<Option<String>, RuleError> {
        Ok(match self.make(scope)? {
            Some(Value::String(text)) => Some(text),
            Some(value @ (Value::Number(_) | Value::Bool(_))) => Some(value.to_string()),
            _ => None,
        })
    }
}

fn make_text(pieces: &[Piece], scope: &Scope<'_>) -> Result<Option<String>, RuleError> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => {
                scope.charge_bytes(literal.len())?;
                text.push_str(literal);
            }
            Piece::Select(selector) => {
                let found = scope.find(selector);
                scope.charge(&found)?;
                match text_of(&found) {
                    Some(found) => text.push_str(&found),
                    None => return Ok(None),
                }
            }
        }
    }
    Ok(Some(text))
}

/// A value as text: texts as they are, everything else as JSON. What is not there, and null, have none.
fn text_of<'f>(found: &'f Found<'_>) -> Option<Cow<'f, str>> {
    if let Some(text) = found.as_text() {
        return Some(Cow::Borrowed(text));
    }
    match found.as_value()? {
        Value::Null => None,
        value => Some(Cow::Owned(value.to_string())),
    }
}

impl Helper {
    fn make(&self, scope: &Scope<'_>) -> Result<Option<Value>, RuleError> {
        let present = |value: &Option<Value>| value.as_ref().is_some_and(|value| !value.is_null());
        Ok(match self {
            Self::Coalesce(values) => {
                for value in values {
                    let made = value.make(scope)?;
                    if present(&made) {
                        return Ok(made);
                    }
                }
                Some(Value::Null)
            }
            Self::Default(first, second) => match first.make(scope)? {
                made if present(&made) => made,
                _ => second.make(scope)?,
            },
            Self::Pick(value, keys) => match value.make(scope)? {
                Some(Value::Object(mut members)) => {
                    let picked = keys.iter().filter_map(|key| members.remove_entry(&**key));
                    Some(Value::Object(picked.collect()))
                }
                _ => None,
            },
            Self::Regex(value, pattern, group) => {
                let text = value.make_plain_text(scope)?;
                text.and_then(|text| Some(Value::String(pattern.group(*group, &text)?.to_owned())))
            }
            Self::ToInt(value) => value.make(scope)?.and_then(|value| to_int(&value)),
            Self::ToFloat(value) => value.make(scope)?.and_then(|value| to_float(&value)).map(Value::from),
            Self::ToString(value) => {
                let made = value.make(scope)?;
                made.and_then(|value| match value {
                    Value::Null => None,
                    Value::String(text) => Some(Value::String(text)),
                    other => Some(Value::String(other.to_string())),
                })
            }
        })
    }
}

/// A number without its fraction.
fn to_int(value: &Value) -> Option<Value> {
    match value {
        Value::Number(number) if number.is_i64() || number.is_u64() => return Some(value.clone()),
        Value::String(text) => {
            if let Ok(number) = text.trim().parse::<i64>() {
                return Some(number.into());
            }
        }
        _ => {}
    }
    let whole = to_float(value)?.trunc();
    // Both bounds are exact in a float, and what lies between them fits.
    (whole >= i64::MIN as f64 && whole < i64::MAX as f64).then(|| Value::from(whole as i64))
}

fn to_float(value: &Value) -> Option<f64> {
    let number = match value {
        Value::Number(number) => number.as_f64()?,
        Value::Bool(bool) => f64::from(u8::from(*bool)),
        // As JSON has numbers, with leading zeros and a plus sign besides: neither `inf` nor `0x1f`.
        Value::String(text) => {
            let text = text.trim();
            let is_decimal =
                text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'+' | b'-' | b'.' | b'e' | b'E'));
            text.parse().ok().filter(|_| is_decimal)?
        }
        _ => return None,
    };
    number.is_finite().then_some(number)
}
