//! Lines of HTTP requests.
//!
//! What a line says of a request is known when its head is read, and what it says of the response when that is written.
//! The first part is encoded at once and kept with the connection, as a note: a head that repeats has one already.

use super::text::{append_escaped, append_ip, append_ms_value, append_name, append_number, append_text};
use super::{AccessLog, LogFile};
use crate::codec::Encoding;
use crate::error::ErrorCode;
use crate::time::Now;
use crate::trace::TraceParent;
use core::net::IpAddr;

/// Bytes of a URL that a line shows. Of a longer one it says how long it was, in `urlBytes`.
pub const URL_BYTES_MAX: usize = 1_024;
/// Bytes of a method that a line shows.
const METHOD_BYTES_MAX: usize = 32;
/// Bytes of a reason that a line shows.
const REASON_BYTES_MAX: usize = 256;
/// Bytes of notes that one connection keeps, give or take one note. Requests beyond are read when earlier ones have been
/// answered.
const NOTES_BYTES_MAX: usize = 64 * 1024;
/// Bytes of notes that an idle connection keeps for its next request.
const NOTES_BYTES_KEPT: usize = 1_024;

/// What a line says in place of a secret.
const REDACTED: &[u8] = b"[REDACTED]";
/// Parameters whose values are secrets.
const SECRET_PARAMETERS: [&str; 14] = [
    "access_token",
    "id_token",
    "refresh_token",
    "x_token",
    "token",
    "jwt",
    "bearer",
    "auth",
    "authorization",
    "password",
    "secret",
    "client_secret",
    "api_key",
    "apikey",
];

/// What the head of a request says, as far as a line tells it.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The client.
    pub ip: IpAddr,
    /// The method as it came.
    pub method: &'a [u8],
    /// The path as it came.
    pub path: &'a str,
    /// The query as it came, without its question mark.
    pub query: &'a str,
    /// The tenant's name; empty for the default tenant.
    pub tenant: &'a str,
    /// The value of `traceparent`.
    pub traceparent: Option<&'a [u8]>,
}

/// Where the connection keeps what a line says of one request. [`Note::NONE`]: nothing is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    generation: u32,
    at: u32,
    len: u16,
}

impl Note {
    /// The log is off, or the head could not be read.
    pub const NONE: Self = Self { generation: 0, at: 0, len: 0 };
}

/// The notes of one connection.
#[derive(Debug, Default)]
pub struct Notes {
    bytes: Vec<u8>,
    /// Rises when earlier notes are forgotten.
    generation: u32,
}

impl Notes {
    /// There is no room for one more as long as the earlier ones are needed.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.bytes.len() >= NOTES_BYTES_MAX
    }

    /// Notes a request. `is_alone`: no earlier one waits for its answer, so none of their notes is needed; else whoever adds
    /// one asks for room first.
    pub fn add(&mut self, request: &Request<'_>, is_alone: bool) -> Note {
        self.make_room(is_alone);
        let at = self.bytes.len();
        if self.is_full() {
            return Note::NONE;
        }
        append_request(&mut self.bytes, request);
        self.note_from(at)
    }

    /// What a note holds, if it has not been forgotten.
    #[must_use]
    pub fn text(&self, note: Note) -> Option<&[u8]> {
        let at = note.at as usize;
        let is_kept = note.generation == self.generation && note.len > 0;
        if is_kept { self.bytes.get(at..at + usize::from(note.len)) } else { None }
    }

    /// Notes a request whose note was forgotten, and kept elsewhere, once more.
    pub fn add_again(&mut self, text: &[u8], is_alone: bool) -> Note {
        self.make_room(is_alone);
        let at = self.bytes.len();
        if self.is_full() {
            return Note::NONE;
        }
        self.bytes.extend_from_slice(text);
        self.note_from(at)
    }

    /// No request waits: gives memory back.
    pub fn shrink(&mut self) {
        if self.bytes.capacity() > NOTES_BYTES_KEPT {
            self.bytes = Vec::new();
            self.generation = self.generation.wrapping_add(1);
        }
    }

    fn make_room(&mut self, is_alone: bool) {
        if is_alone || self.bytes.is_empty() {
            self.bytes.clear();
            self.generation = self.generation.wrapping_add(1);
        }
    }

    fn note_from(&self, at: usize) -> Note {
        // A note is far shorter: its parts are cut.
        let len = u16::try_from(self.bytes.len() - at).unwrap_or(0);
        Note { generation: self.generation, at: at as u32, len }
    }
}

/// What became of a request.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    /// The response's status.
    pub status: u16,
    /// Why it was refused.
    pub error: Option<ErrorCode>,
    /// The same where a rule has a code of its own for it; else empty.
    pub own_error: &'a str,
    /// The sentence of the refusal; may be empty.
    pub reason: &'a str,
    /// What was exceeded, and by what: (limit, bytes or depth that came, when that is known).
    pub cap: Option<(u64, Option<u64>)>,
    /// It went to the administration.
    pub is_admin: bool,
    /// The rule that answered it; empty when none did.
    pub rule: &'a str,
    /// When its head was read, in `Now::mono_ns`.
    pub decoded_ns: u64,
    /// Bytes of the request's body.
    pub bytes_in: u64,
    /// Bytes of the response.
    pub bytes_out: u64,
    /// Of the request's body.
    pub codec: Encoding,
    /// The request's body came compressed.
    pub is_gzip: bool,
}

impl AccessLog {
    /// Writes the line of a request. `note`: what is known of it; without one, `ip` is. Only while the log is on.
    pub fn request(&mut self, now: Now, note: Option<&[u8]>, ip: IpAddr, outcome: &Outcome<'_>) {
        let Some(share) = self.requests.admit_unnumbered(now) else { return };
        self.line(LogFile::Http, now, event(note, outcome), |out| {
            match note {
                Some(note) => out.extend_from_slice(note),
                None => append_unread(out, ip),
            }
            append_number(out, "status", outcome.status.into());
            let took_ns = now.mono_ns.saturating_sub(outcome.decoded_ns);
            append_name(out, "durationMs");
            let from = out.len();
            append_ms_value(out, took_ns);
            let to = out.len();
            append_name(out, "durMs");
            out.extend_from_within(from..to);
            append_number(out, "bytes", outcome.bytes_in);
            append_number(out, "bytesOut", outcome.bytes_out);
            append_text(out, "codec", outcome.codec.name().as_bytes());
            if outcome.is_gzip {
                out.extend_from_slice(b",\"gzipped\":true");
            }
            if !outcome.rule.is_empty() {
                append_text(out, "ruleMatch", outcome.rule.as_bytes());
                append_text(out, "ruleId", outcome.rule.as_bytes());
            }
            if outcome.error.is_some() || !outcome.own_error.is_empty() {
                append_error(out, outcome);
            }
            share.append(out);
        });
    }
}

/// The event of the earlier implementation that says what happened.
fn event(note: Option<&[u8]>, outcome: &Outcome<'_>) -> &'static str {
    let asks_for = |path: &[u8]| note.is_some_and(|note| memchr::memmem::find(note, path).is_some());
    match (outcome.status, outcome.error) {
        (_, Some(ErrorCode::RequestTimeout)) => "http_timeout",
        (401, _) => "http_auth_failed",
        (429, Some(code)) if code.code().starts_with("Tenant") => "http_tenant_rate_limited",
        (403 | 413 | 414 | 415 | 417 | 426 | 429 | 431 | 501 | 503 | 505, _) => "http_request_rejected",
        _ if outcome.is_admin && asks_for(b"\"path\":\"/v1/admin/reload\"") => "http_admin_reload",
        _ => "http_request_complete",
    }
}

#[cold]
fn append_error(out: &mut Vec<u8>, outcome: &Outcome<'_>) {
    let (name, code) = match outcome.error {
        Some(code) => (error_name(code), code.code()),
        None => (outcome.own_error, outcome.own_error),
    };
    append_text(out, "error", name.as_bytes());
    append_text(out, "code", code.as_bytes());
    if !outcome.reason.is_empty() {
        let cut = outcome.reason.floor_char_boundary(REASON_BYTES_MAX);
        append_text(out, "reason", &outcome.reason.as_bytes()[..cut]);
    }
    let Some((limit, actual)) = outcome.cap else { return };
    let violation = if outcome.error == Some(ErrorCode::DepthExceeded) { "depth" } else { "size" };
    append_text(out, "capViolation", violation.as_bytes());
    append_number(out, "capLimit", limit);
    if let Some(actual) = actual {
        append_number(out, "capActual", actual);
    }
}

/// The `error` of the earlier implementation's lines where it had a word for it, else the code of the table.
#[must_use]
pub(super) const fn error_name(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InvalidJson | ErrorCode::DecodeError | ErrorCode::DepthExceeded | ErrorCode::DecodedSizeExceeded => {
            "decode_error"
        }
        ErrorCode::InvalidEnvelope | ErrorCode::InvalidField | ErrorCode::InvalidStream => "invalid_request",
        ErrorCode::NotFound => "not_found",
        ErrorCode::Internal => "internal_error",
        _ => code.code(),
    }
}

/// A request of which nothing could be read.
fn append_unread(out: &mut Vec<u8>, ip: IpAddr) {
    append_ip(out, "ip", ip);
    out.extend_from_slice(b",\"method\":null,\"url\":null,\"path\":null");
    append_tenant(out, "");
}

/// `tenant` as the runbook has it, and `tenantId` as the earlier implementation had.
pub(super) fn append_tenant(out: &mut Vec<u8>, name: &str) {
    let name = if name.is_empty() { "default" } else { name };
    append_text(out, "tenant", name.as_bytes());
    append_text(out, "tenantId", name.as_bytes());
}

fn append_request(out: &mut Vec<u8>, request: &Request<'_>) {
    let Request { ip, method, path, query, tenant, traceparent } = *request;
    append_ip(out, "ip", ip);
    append_text(out, "method", &method[..method.len().min(METHOD_BYTES_MAX)]);
    append_url(out, path, query);
    append_tenant(out, tenant);
    if let Some(parent) = traceparent.and_then(TraceParent::parse) {
        append_text(out, "traceparent", parent.text().as_bytes());
        append_text(out, "traceId", parent.trace_id().as_bytes());
    }
}

/// `url`, `path`, and `urlBytes` when the URL was cut. A target is ASCII, so that cutting cuts no character.
fn append_url(out: &mut Vec<u8>, path: &str, query: &str) {
    append_name(out, "url");
    out.push(b'"');
    let shown_path = &path.as_bytes()[..path.len().min(URL_BYTES_MAX)];
    append_escaped(out, shown_path);
    if !query.is_empty() {
        let room = URL_BYTES_MAX.saturating_sub(path.len() + 1);
        if room > 0 {
            append_query(out, query.as_bytes(), room);
        }
    }
    out.push(b'"');
    append_text(out, "path", shown_path);
    let url_bytes = path.len() + if query.is_empty() { 0 } else { query.len() + 1 };
    if url_bytes > URL_BYTES_MAX {
        append_number(out, "urlBytes", url_bytes as u64);
    }
}

/// Appends `?` and so much of the query as there is room for; values of secret parameters are left out.
fn append_query(out: &mut Vec<u8>, query: &[u8], mut room: usize) {
    let mut between = b'?';
    for pair in query.split(|byte| *byte == b'&') {
        if room == 0 {
            return;
        }
        out.push(between);
        between = b'&';
        let key_bytes = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (key, value) = pair.split_at(key_bytes);
        let is_secret = !value.is_empty() && is_secret(key);
        // A key that is cut takes its value with it.
        let shown = if is_secret { key.len().min(room) } else { pair.len().min(room) };
        append_escaped(out, &pair[..shown]);
        if is_secret && shown == key.len() {
            out.push(b'=');
            out.extend_from_slice(REDACTED);
        }
        room = room.saturating_sub(pair.len() + 1);
    }
}

/// Whether a parameter's key names a secret: in any case, and with escapes, as it would be read.
fn is_secret(key: &[u8]) -> bool {
    SECRET_PARAMETERS.iter().any(|name| {
        let mut name = name.bytes();
        let mut key = key;
        while let Some((first, mut rest)) = key.split_first() {
            let mut byte = *first;
            if byte == b'%'
                && let [high, low, after @ ..] = rest
                && let (Some(high), Some(low)) = (hex(*high), hex(*low))
            {
                byte = high << 4 | low;
                rest = after;
            }
            let byte = if byte == b'-' { b'_' } else { byte.to_ascii_lowercase() };
            if name.next() != Some(byte) {
                return false;
            }
            key = rest;
        }
        name.next().is_none()
    })
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
