//! What a rule says back: templates of answers, and the answers made of them.

use super::decision::{Close, Reply, ReplyBody, Response};
use super::failure::RuleError;
use super::limits;
use super::scope::Scope;
use super::selector::Uses;
use super::template::Template;
use crate::error::ErrorCode;
use serde_json::{Map, Value};

/// An HTTP answer.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpReply {
    /// The status; a whole number from 200 to 599.
    pub status: Template,
    /// Header fields, their names in lower case.
    pub headers: Vec<(Box<str>, Template)>,
    /// The body; `None`: there is none.
    pub body: Option<Template>,
}

/// A message on a WebSocket, and what becomes of that.
#[derive(Debug, Clone, PartialEq)]
pub struct WsReply {
    /// The message; `None`: there is none.
    pub body: Option<Template>,
    /// A close code and its reason.
    pub close: Option<(u16, Option<Template>)>,
}

/// The answers of one place in a rule, by how they travel.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Replies {
    /// Over HTTP.
    pub http: Option<HttpReply>,
    /// Over a WebSocket.
    pub ws: Option<WsReply>,
}

/// Answers to errors: by code, and `*` for the rest.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ErrorReplies {
    /// By code.
    pub codes: Vec<(Box<str>, Replies)>,
    /// For every other code.
    pub others: Option<Replies>,
}

/// How an answer travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// An HTTP request.
    Http,
    /// The handshake of a WebSocket.
    Connect,
    /// A message of a WebSocket.
    Message,
}

impl HttpReply {
    /// What it looks at.
    #[must_use]
    pub fn uses(&self) -> Uses {
        self.templates().map(Template::uses).fold(Uses::NONE, Uses::and)
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        self.headers.iter().map(|(_, value)| value).chain([&self.status]).chain(&self.body)
    }

    fn make(&self, scope: &Scope<'_>) -> Result<Reply, RuleError> {
        let made = self.status.make(scope)?.as_ref().and_then(Value::as_u64);
        let status = made.and_then(|status| u16::try_from(status).ok()).filter(|status| (200..=599).contains(status));
        let status = status.ok_or_else(|| {
            RuleError::new(ErrorCode::Internal, "the rule gives a status that is no whole number from 200 to 599")
        })?;
        let mut headers = Vec::with_capacity(self.headers.len());
        let mut is_text = false;
        for (name, value) in &self.headers {
            let Some(value) = value.make_plain_text(scope)? else { continue };
            let value = field_value(value);
            if **name == *"content-type" {
                let plain = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
                is_text = !plain.ends_with("json") && !plain.ends_with("msgpack");
            }
            headers.push((String::from(&**name), value));
        }
        let body = match &self.body {
            None => ReplyBody::Empty,
            Some(body) => match body.make(scope)? {
                None => ReplyBody::Empty,
                Some(Value::String(text)) if is_text => ReplyBody::Text(text),
                Some(value) if is_text => ReplyBody::Text(value.to_string()),
                Some(value) => ReplyBody::Value(value),
            },
        };
        Ok(Reply::Http { status, headers, body })
    }
}

/// A value that a header field can have: a control character, as of an injected line, becomes a space.
fn field_value(value: String) -> String {
    let clean = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    let mut value = if value.contains(char::is_control) { clean(&value) } else { value };
    if value.len() > limits::HEADER_BYTES_MAX {
        value.truncate(value.floor_char_boundary(limits::HEADER_BYTES_MAX));
    }
    value
}

impl WsReply {
    /// What it looks at.
    #[must_use]
    pub fn uses(&self) -> Uses {
        self.templates().map(Template::uses).fold(Uses::NONE, Uses::and)
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        self.close.iter().filter_map(|(_, reason)| reason.as_ref()).chain(&self.body)
    }

    fn make(&self, scope: &Scope<'_>) -> Result<Reply, RuleError> {
        let body = match &self.body {
            None => None,
            Some(body) => body.make(scope)?,
        };
        let close = match &self.close {
            None => None,
            Some((code, reason)) => {
                let reason = match reason {
                    None => None,
                    Some(reason) => reason.make_plain_text(scope)?,
                };
                Some(close(*code, reason.unwrap_or_default()))
            }
        };
        Ok(Reply::Ws { body, close })
    }
}

/// A close frame; what does not fit of its reason is cut (RFC 6455, section 5.5).
fn close(code: u16, mut reason: String) -> Close {
    const REASON_BYTES_MAX: usize = 123;
    reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
    Close { code, reason }
}

impl Replies {
    /// What they look at.
    #[must_use]
    pub fn uses(&self) -> Uses {
        self.http.iter().map(HttpReply::uses).chain(self.ws.iter().map(WsReply::uses)).fold(Uses::NONE, Uses::and)
    }

    /// Everything that they make.
    pub(super) fn templates(&self) -> impl Iterator<Item = &Template> {
        self.http.iter().flat_map(HttpReply::templates).chain(self.ws.iter().flat_map(WsReply::templates))
    }

    /// The answer for a way of travelling, if there is one.
    pub(super) fn make(&self, phase: Phase, scope: &Scope<'_>) -> Option<Result<Reply, RuleError>> {
        match phase {
            Phase::Http => self.http.as_ref().map(|reply| reply.make(scope)),
            Phase::Connect | Phase::Message => self.ws.as_ref().map(|reply| reply.make(scope)),
        }
    }

    fn is_for(&self, phase: Phase) -> bool {
        match phase {
            Phase::Http => self.http.is_some(),
            Phase::Connect | Phase::Message => self.ws.is_some(),
        }
    }
}

impl ErrorReplies {
    /// What they look at.
    #[must_use]
    pub fn uses(&self) -> Uses {
        let all = self.codes.iter().map(|(_, replies)| replies).chain(&self.others);
        all.map(Replies::uses).fold(Uses::NONE, Uses::and)
    }

    /// Everything that they make.
    pub(super) fn templates(&self) -> impl Iterator<Item = &Template> {
        self.codes.iter().map(|(_, replies)| replies).chain(&self.others).flat_map(Replies::templates)
    }

    /// The answer to a code: its own, else that of `*`.
    fn find(&self, code: &str, phase: Phase) -> Option<&Replies> {
        let own = self.codes.iter().find(|(known, replies)| **known == *code && replies.is_for(phase));
        own.map(|(_, replies)| replies).or(self.others.as_ref()).filter(|replies| replies.is_for(phase))
    }
}

/// The answer to an error: the rule's, else the file's, else the usual one. An error in making the answer is answered
/// in the usual words.
pub(super) fn refuse(
    error: RuleError,
    own: &ErrorReplies,
    defaults: &ErrorReplies,
    phase: Phase,
    scope: &Scope<'_>,
) -> Response {
    let found = own.find(&error.code, phase).or_else(|| defaults.find(&error.code, phase));
    let made = found.and_then(|replies| {
        let scope = Scope { error: Some(&error), ..*scope };
        replies.make(phase, &scope)
    });
    match made {
        Some(Ok(mut reply)) => {
            add_retry(&mut reply, &error);
            Response { reply, error: Some(error) }
        }
        Some(Err(second)) => usual(second, phase),
        None => usual(error, phase),
    }
}

/// The usual words: what older clients read, and the code and sentence of the error table.
pub(super) fn usual(error: RuleError, phase: Phase) -> Response {
    let mut members = Map::new();
    let mut reply = match phase {
        Phase::Http => {
            members.insert("error".to_owned(), (&*error.code).into());
            members.insert("code".to_owned(), (&*error.code).into());
            members.insert("message".to_owned(), (&*error.message).into());
            members.insert("detail".to_owned(), error.detail().into());
            if let Some(wait_ms) = error.retry_after_ms {
                members.insert("retryAfter".to_owned(), wait_ms.div_ceil(1_000).into());
            }
            let body = ReplyBody::Value(Value::Object(members));
            Reply::Http { status: error.status, headers: Vec::new(), body }
        }
        Phase::Connect | Phase::Message => {
            members.insert("code".to_owned(), (&*error.code).into());
            members.insert("message".to_owned(), (&*error.message).into());
            let body = Map::from_iter([("error".to_owned(), Value::Object(members))]);
            let close = error.close_code.map(|code| close(code, error.message.clone().into_owned()));
            Reply::Ws { body: Some(Value::Object(body)), close }
        }
    };
    add_retry(&mut reply, &error);
    Response { reply, error: Some(error) }
}

/// Says when trying again makes sense, unless the rule has said it.
fn add_retry(reply: &mut Reply, error: &RuleError) {
    if let (Reply::Http { headers, .. }, Some(wait_ms)) = (reply, error.retry_after_ms)
        && headers.iter().all(|(name, _)| name != "retry-after")
    {
        headers.push(("retry-after".to_owned(), wait_ms.div_ceil(1_000).max(1).to_string()));
    }
}
