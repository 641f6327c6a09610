//! What a rule sees of a request: borrowed while the bytes stand in the inbox, owned when the body has yet to come.

use super::failure::RuleError;
use serde_json::Value;

/// The header fields of a request.
pub trait Headers {
    /// The value of the first field with this name; `name` is in lower case.
    fn field(&self, name: &str) -> Option<&[u8]>;
    /// Every field, in order.
    fn each_field(&self, visit: &mut dyn FnMut(&str, &[u8]));
}

impl Headers for &[httparse::Header<'_>] {
    fn field(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
    }

    fn each_field(&self, visit: &mut dyn FnMut(&str, &[u8])) {
        for header in *self {
            visit(header.name, header.value);
        }
    }
}

/// Header fields that are kept: names and values.
pub type OwnedFields = Box<[(Box<str>, Box<[u8]>)]>;

impl Headers for OwnedFields {
    fn field(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    fn each_field(&self, visit: &mut dyn FnMut(&str, &[u8])) {
        for (name, value) in self {
            visit(name, value);
        }
    }
}

/// The head of a request or WebSocket handshake, borrowed.
#[derive(Clone, Copy)]
pub struct HeadView<'h> {
    /// The method as it came: `GET`, `PATCH`.
    pub method: &'h str,
    /// The path as it came, escapes and all, without the query.
    pub path: &'h str,
    /// The query as it came, without its question mark; empty when there is none.
    pub query: &'h str,
    /// The header fields.
    pub headers: &'h dyn Headers,
    /// The name of the tenant; empty for the default tenant.
    pub tenant: &'h str,
    /// Milliseconds since the Unix epoch, for `$now`.
    pub now_unix_ms: u64,
}

impl std::fmt::Debug for HeadView<'_> {
    /// Header values may be secrets, so none is shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeadView").field("method", &self.method).field("path", &self.path).finish_non_exhaustive()
    }
}

/// The same, owned: for as long as the body, the broker's answer or further messages are awaited.
#[derive(Clone)]
pub struct KeptHead {
    method: Box<str>,
    path: Box<str>,
    query: Box<str>,
    headers: OwnedFields,
    tenant: Box<str>,
    now_unix_ms: u64,
}

impl std::fmt::Debug for KeptHead {
    /// As for [`HeadView`].
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeptHead").field("method", &self.method).field("path", &self.path).finish_non_exhaustive()
    }
}

impl KeptHead {
    /// Copies a head.
    #[must_use]
    pub fn of(head: &HeadView<'_>) -> Self {
        let mut headers = Vec::new();
        head.headers.each_field(&mut |name, value| headers.push((Box::from(name), Box::from(value))));
        Self {
            method: head.method.into(),
            path: head.path.into(),
            query: head.query.into(),
            headers: headers.into(),
            tenant: head.tenant.into(),
            now_unix_ms: head.now_unix_ms,
        }
    }

    /// Looks at it as at a head that is still there.
    #[must_use]
    pub fn view(&self) -> HeadView<'_> {
        HeadView {
            method: &self.method,
            path: &self.path,
            query: &self.query,
            headers: &self.headers,
            tenant: &self.tenant,
            now_unix_ms: self.now_unix_ms,
        }
    }

    /// The same head at another time.
    #[must_use]
    pub fn at(&self, now_unix_ms: u64) -> HeadView<'_> {
        HeadView { now_unix_ms, ..self.view() }
    }
}

/// The body of an HTTP request, as far as rules care.
#[derive(Debug)]
pub enum Body<'b> {
    /// There is none, or no candidate asked for it. Selectors of an absent body are undefined; `$body` alone is `{}`.
    Absent,
    /// It was decoded.
    Decoded {
        /// The value.
        value: Value,
        /// Its text when it came as JSON: an envelope that is selected from it is then passed on byte for byte.
        json: Option<&'b str>,
    },
    /// It could not be decoded. A rule that matches and uses `$body` fails with this error, in its own words (`onError`);
    /// one that does not use it answers as usual; in conditions `$body` is undefined.
    Broken(RuleError),
}

/// A message of a WebSocket.
#[derive(Debug)]
pub struct Message<'m> {
    /// It came in a text frame.
    pub is_text: bool,
    /// Its value if it decodes: JSON, or MessagePack where that was agreed on.
    pub value: Option<Value>,
    /// Its text when it came as JSON.
    pub json: Option<&'m str>,
}
