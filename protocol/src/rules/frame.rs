//! `send.frame`: from templates to a frame for the broker.

use super::decision::{FrameKind, FrameRequest};
use super::failure::RuleError;
use super::scope::{Found, Input, Scope};
use super::selector::{Root, Step, Uses};
use super::template::Template;
use crate::error::{ErrorCode, Violation};
use serde::de::{DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};
use std::fmt;

impl FrameKind {
    /// Every kind with its name in rules and the fields that it takes.
    pub const ALL: &'static [(&'static str, Self, &'static [&'static str])] = &[
        ("enqueue", Self::Enqueue, &["to", "envelope", "delayMs", "deliverAt", "ttlMs", "priority", "dedupId"]),
        ("stats", Self::Stats, &["stream"]),
        ("snapshot", Self::Snapshot, &["view", "stream"]),
        ("metrics", Self::Metrics, &[]),
        ("hello", Self::Hello, &[]),
        ("grant", Self::Grant, &["credit"]),
        ("ack", Self::Ack, &["id"]),
        ("nack", Self::Nack, &["id", "delayMs", "error", "dead"]),
        (
            "subscribe",
            Self::Subscribe,
            &[
                "stream",
                "group",
                "from",
                "credit",
                "refill",
                "ackWaitMs",
                "maxInflight",
                "ephemeral",
                "hello",
                "maxDeliver",
                "codec",
            ],
        ),
    ];

    /// The kind with a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, ..)| *known == name).map(|(_, kind, _)| *kind)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind, _)| *kind == self).map_or("", |(name, ..)| name)
    }

    /// The fields that it takes.
    #[must_use]
    pub fn fields(self) -> &'static [&'static str] {
        Self::ALL.iter().find(|(_, kind, _)| *kind == self).map_or(&[], |(.., fields)| fields)
    }

    /// It concerns the credit and the messages of one consumer, so it does something only on a WebSocket.
    #[must_use]
    pub const fn is_of_a_consumer(self) -> bool {
        matches!(self, Self::Grant | Self::Ack | Self::Nack | Self::Subscribe)
    }
}

/// A frame that is made anew for every request.
#[derive(Debug, Clone, PartialEq)]
pub struct FrameTemplate {
    /// Its kind.
    pub kind: FrameKind,
    /// Its fields.
    pub fields: Vec<(Box<str>, Template)>,
}

impl FrameTemplate {
    /// What it looks at.
    #[must_use]
    pub fn uses(&self) -> Uses {
        self.templates().map(Template::uses).fold(Uses::NONE, Uses::and)
    }

    /// Everything that it makes.
    pub(super) fn templates(&self) -> impl Iterator<Item = &Template> {
        self.fields.iter().map(|(_, value)| value)
    }

    /// Makes the frame. `json` is the text of the body or message, if it came as JSON.
    ///
    /// # Errors
    /// A field that is missing or of the wrong type, and `PayloadTooLarge`.
    pub(super) fn make(&self, scope: &Scope<'_>, json: Option<&str>) -> Result<FrameRequest, RuleError> {
        Ok(match self.kind {
            FrameKind::Enqueue => FrameRequest::Enqueue { publish: self.object(scope, json)? },
            FrameKind::Stats => FrameRequest::Stats { stream: self.text("stream", "missing stream", scope)? },
            FrameKind::Snapshot => {
                let named = if self.has("view") { "view" } else { "stream" };
                FrameRequest::Snapshot { view: self.text(named, "missing view", scope)? }
            }
            FrameKind::Metrics => FrameRequest::Metrics,
            FrameKind::Hello => FrameRequest::Hello,
            FrameKind::Grant => {
                let credit = self.value("credit", scope)?.as_ref().and_then(Value::as_u64).filter(|credit| *credit > 0);
                FrameRequest::Grant {
                    credit: credit.ok_or_else(|| wrong("`credit` must be an integer of at least 1"))?,
                }
            }
            FrameKind::Ack => FrameRequest::Ack { frame: self.operation("ack", scope)? },
            FrameKind::Nack => FrameRequest::Nack { frame: self.operation("nack", scope)? },
            FrameKind::Subscribe => FrameRequest::Subscribe { query: self.query(scope)? },
        })
    }

    fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(known, _)| **known == *name)
    }

    fn value(&self, name: &str, scope: &Scope<'_>) -> Result<Option<Value>, RuleError> {
        match self.fields.iter().find(|(known, _)| **known == *name) {
            Some((_, template)) => template.make(scope),
            None => Ok(None),
        }
    }

    fn text(&self, name: &str, missing: &'static str, scope: &Scope<'_>) -> Result<String, RuleError> {
        match self.value(name, scope)? {
            Some(Value::String(text)) if !text.is_empty() => Ok(text),
            _ => Err(wrong(missing)),
        }
    }

    /// All fields as the text of a JSON object.
    fn object(&self, scope: &Scope<'_>, json: Option<&str>) -> Result<Vec<u8>, RuleError> {
        let mut text = vec![b'{'];
        for (name, template) in &self.fields {
            let raw = if **name == *"envelope" { raw(template, scope, json) } else { None };
            let value = if raw.is_none() { template.make(scope)? } else { None };
            if raw.is_none() && value.is_none() {
                continue;
            }
            if text.len() > 1 {
                text.push(b',');
            }
            // The names are plain words.
            text.push(b'"');
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(b"\":");
            match (raw, value) {
                (Some(raw), _) => {
                    scope.charge_bytes(raw.get().len())?;
                    text.extend_from_slice(raw.get().as_bytes());
                }
                (None, Some(value)) => append(&mut text, &value),
                (None, None) => {}
            }
        }
        text.push(b'}');
        Ok(text)
    }

    /// `{"ack":..}` or `{"nack":..,..}`, with the field `id` as the operation's value.
    fn operation(&self, name: &str, scope: &Scope<'_>) -> Result<Vec<u8>, RuleError> {
        let Some(id) = self.value("id", scope)?.filter(|id| !id.is_null()) else {
            return Err(wrong("missing id"));
        };
        let mut members = Map::new();
        members.insert(name.to_owned(), id);
        for (field, template) in self.fields.iter().filter(|(field, _)| **field != *"id") {
            if let Some(value) = template.make(scope)? {
                members.insert(String::from(&**field), value);
            }
        }
        let mut text = Vec::new();
        append(&mut text, &Value::Object(members));
        Ok(text)
    }

    /// All fields as a query.
    fn query(&self, scope: &Scope<'_>) -> Result<String, RuleError> {
        let mut query = String::new();
        for (name, template) in &self.fields {
            let Some(value) = template.make(scope)? else { continue };
            let text = match value {
                Value::String(text) => text,
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                Value::Null => continue,
                _ => return Err(wrong(format!("`{name}` is neither a text nor a number"))),
            };
            if !query.is_empty() {
                query.push('&');
            }
            query.push_str(name);
            query.push('=');
            escape(&text, &mut query);
        }
        Ok(query)
    }
}

/// The error of a field. It ends a WebSocket, as the built-in operations do.
fn wrong(message: impl Into<std::borrow::Cow<'static, str>>) -> RuleError {
    Violation::new(ErrorCode::InvalidField, message).into()
}

fn append(text: &mut Vec<u8>, value: &Value) {
    // Writing a value to memory does not fail.
    let _ = serde_json::to_writer(text, value).is_ok();
}

/// Appends a text as a query has it.
fn escape(text: &str, query: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/' | b':') {
            query.push(char::from(byte));
        } else {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            query.push('%');
            query.push(char::from(DIGITS[usize::from(byte >> 4)]));
            query.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

impl FrameRequest {
    /// What the frame came to where there is no consumer that it could concern: the result of `grant`, `ack`, `nack` and
    /// `subscribe` over HTTP. `null` for the other frames.
    #[must_use]
    pub fn echo(&self) -> Value {
        let operation = |frame: &[u8]| serde_json::from_slice(frame).unwrap_or(Value::Null);
        match self {
            Self::Grant { credit } => json!({"granted": credit}),
            Self::Ack { frame } => json!({"acked": operation(frame)["ack"]}),
            Self::Nack { frame } => {
                let mut frame = operation(frame);
                let mut result = json!({"nacked": frame["nack"].take()});
                if let Some(delay) = frame.get_mut("delayMs") {
                    result["delayMs"] = delay.take();
                }
                result
            }
            Self::Subscribe { query } => {
                let stream = crate::http::parameter(query, "stream").ok().flatten();
                json!({"subscribed": stream.as_deref()})
            }
            _ => Value::Null,
        }
    }
}

/// The text of an object that is selected from JSON and passed on unchanged: so are its numbers, its spaces and the order of
/// its members.
fn raw<'j>(template: &Template, scope: &Scope<'_>, json: Option<&'j str>) -> Option<&'j RawValue> {
    let Template::Select(selector) = template else { return None };
    let from_body = selector.root == Root::Body && matches!(scope.body, Input::Is(_));
    if !from_body && selector.root != Root::Message {
        return None;
    }
    // A value that is no object is refused by what it is.
    let Found::Is(Value::Object(_)) = scope.find(selector) else { return None };
    let mut raw: &RawValue = serde_json::from_str(json?).ok()?;
    for step in &selector.steps {
        let mut within = serde_json::Deserializer::from_str(raw.get());
        raw = match step {
            Step::Key(key) if raw.get().starts_with('[') => within.deserialize_seq(Nth(key.parse().ok()?)).ok()??,
            Step::Key(key) => within.deserialize_map(Member(key)).ok()??,
            Step::Index(index) => within.deserialize_seq(Nth(*index)).ok()??,
        };
    }
    Some(raw)
}

/// Finds a member; of several with one name the last, as the value has it.
struct Member<'k>(&'k str);

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = members.next_key_seed(Is(self.0))? {
            if is_it {
                found = Some(members.next_value()?);
            } else {
                members.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Whether a key is this one.
struct Is<'k>(&'k str);

impl<'de> DeserializeSeed<'de> for Is<'_> {
    type Value = bool;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Is<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(key == self.0)
    }
}

/// Finds an element.
struct Nth(usize);

impl<'de> Visitor<'de> for Nth {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let (mut found, mut at) = (None, 0);
        while let Some(element) = elements.next_element::<&RawValue>()? {
            if at == self.0 {
                found = Some(element);
            }
            at += 1;
        }
        Ok(found)
    }
}
