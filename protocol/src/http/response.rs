//! Responses (RFC 9112, section 4): encoded once, straight into the place that they are sent from.

use super::batch::Results;
use super::origins::Origin;
use super::refusal::{self, Manner, PROBLEM, is_decode_failure};
use crate::access_log::{self, Note, Notes};
use crate::answer::{Answer, Receipt, Refusal};
use crate::codec;
use crate::context::Context;
use crate::error::{ErrorCode, Violation};
use crate::ids::TenantId;
use crate::rules;
use crate::telemetry::Endpoint;
use crate::{Encoding, Now};
use std::borrow::Cow;

/// What the response to a request depends on, kept while the request waits for its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reply {
    /// `Now::mono_ns` when the request was decoded.
    pub(super) decoded_ns: u64,
    pub(super) body_bytes: u32,
    pub(super) endpoint: Endpoint,
    /// Of the request's body.
    pub(super) request_encoding: Encoding,
    /// The request's body is compressed.
    pub(super) is_gzip: bool,
    /// Of the response's body.
    pub(super) encoding: Encoding,
    /// The answer is a document: it can be large, and has to come in time.
    pub(super) is_document: bool,
    /// HEAD: all of the response but its body (RFC 9110, section 9.3.2).
    pub(super) is_head: bool,
    /// An HTTP/1.0 client has to be told that the connection stays.
    pub(super) is_http10: bool,
    /// The last response of the connection.
    pub(super) closes: bool,
    /// On whose behalf it was asked.
    pub(super) tenant: TenantId,
    /// Whose page asked.
    pub(super) origin: Origin,
    /// Refusals come as problem details.
    pub(super) takes_problems: bool,
    /// The position of the rule that answers it.
    pub(super) rule: Option<u32>,
    /// What the access log's line says of the request.
    pub(super) note: Note,
}

impl Reply {
    /// For a request that could not be read: nothing is known about it, and nothing can follow it.
    pub(super) const fn to_unread(now: Now) -> Self {
        Self {
            decoded_ns: now.mono_ns,
            body_bytes: 0,
            endpoint: Endpoint::Other,
            request_encoding: Encoding::Json,
            is_gzip: false,
            encoding: Encoding::Json,
            is_document: false,
            is_head: false,
            is_http10: false,
            closes: true,
            tenant: TenantId::DEFAULT,
            origin: Origin::Off,
            takes_problems: false,
            rule: None,
            note: Note::NONE,
        }
    }
}

/// What only some refusals carry: a header field, or members of the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extra {
    None,
    /// The methods of the path (RFC 9110, section 10.2.1).
    Allow(&'static str),
    /// What the path speaks (RFC 9110, section 15.5.22; RFC 6455, section 4.4).
    WebSocketOnly,
    /// How to say who one is (RFC 6750, section 3).
    Challenge(&'static str),
    /// How large something was, and how large it may be.
    Size {
        size: u64,
        limit: u64,
    },
    /// How many there may be, or how much.
    Limit(u64),
    /// Whose allowance is used up.
    Tenant(TenantId),
    /// It should have been an upload.
    Upload,
    /// Likewise, because it is so large.
    Large {
        size: u64,
        limit: u64,
    },
    /// How a body may be compressed (RFC 9110, section 15.5.16).
    Codings,
}

/// What the refusal of a body that may have `bytes_max` bytes tells beside its sentence.
pub(super) fn too_large(violation: &Violation, bytes_max: usize) -> Extra {
    if violation.code == ErrorCode::PayloadTooLarge { Extra::Limit(bytes_max as u64) } else { Extra::None }
}

/// Whom a response goes to.
#[derive(Clone, Copy)]
struct To<'a> {
    reply: &'a Reply,
    /// The origin whose page may read it.
    origin: Option<&'a str>,
}

/// What there is to tell.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome<'a> {
    Answer(&'a Answer<'a>),
    Refusal(&'a Refusal<'a>, Extra),
    Batch(&'a Results),
    /// What a rule says.
    Ruled(&'a rules::Response),
    /// Events follow, until the connection ends.
    EventStream,
    /// A page of the request's origin may ask.
    Preflight,
}

/// Appends the response to `context.out`, counts it, and writes its line of the access log. `origin` is the text of the
/// reply's origin.
pub(super) fn write(
    reply: &Reply,
    origin: Option<&str>,
    notes: Option<&Notes>,
    outcome: Outcome<'_>,
    context: &mut Context<'_>,
) {
    let start = context.out.len();
    let to = To { reply, origin };
    let encoding = reply.encoding;
    let status = match outcome {
        Outcome::Answer(&Answer::Published { id, stream, seq, promise, duplicate }) => {
            let receipt = Receipt { id, stream, seq, promise, duplicate };
            // `{"id":"","stream":"","seq":}` and some digits: the guess only has to have the right number of digits.
            let length_guess = id.len() + stream.len() + 34 + codec::published_extra_len(&receipt);
            let head = Head { status: 200, content_type: encoding.media_type(), length_guess, ..Head::default() };
            head.write(to, context, |out| codec::encode_published(encoding, &receipt, out));
            200
        }
        Outcome::Answer(Answer::Refused(refusal)) => write_refusal(to, refusal, Extra::None, context),
        Outcome::Refusal(refusal, extra) => write_refusal(to, refusal, extra, context),
        Outcome::Answer(Answer::Stats(stats)) => {
            let head = Head { content_type: encoding.media_type(), ..Head::default() };
            head.write(to, context, |out| codec::encode_stats(encoding, stats, out));
            200
        }
        Outcome::Answer(Answer::Document { status, content_type, body }) => {
            let is_json = content_type.starts_with(Encoding::Json.media_type());
            if is_json && encoding == Encoding::MessagePack {
                let head = Head { status: *status, content_type: encoding.media_type(), ..Head::default() };
                head.write(to, context, |out| codec::transcode(Encoding::Json, encoding, body, out));
            } else {
                let head = Head { status: *status, content_type, length_guess: body.len(), ..Head::default() };
                head.write(to, context, |out| out.extend_from_slice(body));
            }
            *status
        }
        Outcome::Answer(Answer::Stream(answer)) => {
            // What it says can be larger than it is urgent: it is written as JSON, like every document.
            let body = serde_json::to_vec(answer).unwrap_or_default();
            let status = answer.status();
            let head = Head { status, content_type: encoding.media_type(), ..Head::default() };
            head.write(to, context, |out| match encoding {
                Encoding::Json => out.extend_from_slice(&body),
                Encoding::MessagePack => codec::transcode(Encoding::Json, encoding, &body, out),
            });
            status
        }
        Outcome::Answer(Answer::Subscribed(_) | Answer::Granted) => {
            // The session has taken such answers for itself.
            let refusal = Refusal {
                code: ErrorCode::Internal,
                message: Cow::Borrowed("the request got an answer of another kind"),
                retry_after_ms: None,
            };
            write_refusal(to, &refusal, Extra::None, context)
        }
        Outcome::Ruled(response) => write_ruled(to, response, context),
        Outcome::EventStream => {
            let head = Head { content_type: "text/event-stream", is_endless: true, ..Head::default() };
            head.write(to, context, |_| ());
            200
        }
        Outcome::Preflight => {
            let head = Head { status: NO_CONTENT, ..Head::default() };
            head.write(to, context, |_| ());
            NO_CONTENT
        }
        Outcome::Batch(results) => {
            let status = results.status();
            let head = Head {
                status,
                content_type: encoding.media_type(),
                retry_after_s: results.retry_after_ms().map(retry_after_s),
                length_guess: results.encoded_bytes(),
                ..Head::default()
            };
            head.write(to, context, |out| results.write_body(encoding, out));
            status
        }
    };
    count(reply, status, start, context);
    if let Some(rule) = reply.rule {
        context.telemetry.count_rule(rule as usize);
    }
    if context.log.is_http_on() {
        log(reply, notes, status, outcome, start, context);
    }
}

/// Writes the line of a request.
fn log(
    reply: &Reply,
    notes: Option<&Notes>,
    status: u16,
    outcome: Outcome<'_>,
    start: usize,
    context: &mut Context<'_>,
) {
    let refusal = match outcome {
        Outcome::Answer(Answer::Refused(refusal)) | Outcome::Refusal(refusal, _) => Some(refusal),
        Outcome::Answer(_) | Outcome::Batch(_) | Outcome::Ruled(_) | Outcome::EventStream | Outcome::Preflight => None,
    };
    // Whatever words the rule answers with, this is why.
    let ruled = if let Outcome::Ruled(response) = outcome { response.error.as_ref() } else { None };
    let cap = match refusal.map(|refusal| refusal.code) {
        _ if let Outcome::Refusal(_, Extra::Size { size, limit } | Extra::Large { size, limit }) = outcome => {
            Some((limit, Some(size)))
        }
        Some(ErrorCode::PayloadTooLarge) if let Outcome::Refusal(_, Extra::Limit(limit)) = outcome => {
            Some((limit, None))
        }
        Some(ErrorCode::DepthExceeded) => Some((context.limits.depth_max as u64, None)),
        _ => None,
    };
    let line = access_log::Outcome {
        status,
        error: refusal.map(|refusal| refusal.code).or_else(|| ruled.and_then(rules::RuleError::known)),
        own_error: ruled.filter(|error| error.known().is_none()).map_or("", |error| &error.code),
        reason: refusal.map_or_else(|| ruled.map_or("", rules::RuleError::logged_reason), |refusal| &refusal.message),
        cap,
        is_admin: reply.endpoint == Endpoint::Admin,
        rule: reply.rule.and_then(|rule| context.policy.rules.id_at(rule)).unwrap_or_default(),
        decoded_ns: reply.decoded_ns,
        bytes_in: reply.body_bytes.into(),
        bytes_out: (context.out.len() - start) as u64,
        codec: reply.request_encoding,
        is_gzip: reply.is_gzip,
    };
    let note = notes.and_then(|notes| notes.text(reply.note));
    context.log.request(context.now, note, context.peer, &line);
}

fn write_refusal(to: To<'_>, refusal: &Refusal<'_>, extra: Extra, context: &mut Context<'_>) -> u16 {
    let To { reply, .. } = to;
    let code = refusal.code;
    context.telemetry.count_error(code);
    if is_decode_failure(code) {
        context.telemetry.http_codecs[reply.request_encoding as usize].decode_errors += 1;
    }
    match code {
        ErrorCode::DepthExceeded => context.telemetry.http_depth_cap_violations += 1,
        ErrorCode::DecodedSizeExceeded => context.telemetry.http_size_cap_violations += 1,
        _ => {}
    }
    // The operator decides when clients of a server that goes away come back.
    let is_leaving = matches!(code, ErrorCode::ServerDraining | ErrorCode::ServerRestarting);
    let wait_ms = refusal.wait_ms().or(is_leaving.then_some(context.policy.drain.retry_after_ms));
    let retry_after_s = wait_ms.map(retry_after_s);
    let status = code.http_status();
    let is_problem = reply.takes_problems;
    let encoding = if is_problem { Encoding::Json } else { reply.encoding };
    let content_type = if is_problem { PROBLEM } else { encoding.media_type() };
    let policy = context.policy;
    let tenant = if let Extra::Tenant(tenant) = extra { policy.tenants.name(tenant) } else { "" };
    let manner = Manner { encoding, request: reply.request_encoding, is_problem, retry_after_s, extra, tenant };
    let head = Head { status, content_type, extra, retry_after_s, length_guess: 150, ..Head::default() };
    head.write(to, context, |out| refusal::encode(&manner, refusal, out));
    status
}

/// Writes what a rule says.
fn write_ruled(to: To<'_>, response: &rules::Response, context: &mut Context<'_>) -> u16 {
    if let Some(error) = &response.error {
        context.telemetry.count_error(error.known().unwrap_or(ErrorCode::InvalidField));
    }
    let encoding = to.reply.encoding;
    let rules::Reply::Http { status, headers, body } = &response.reply else {
        let head = Head { status: NO_CONTENT, ..Head::default() };
        head.write(to, context, |_| ());
        return NO_CONTENT;
    };
    let usual = match body {
        rules::ReplyBody::Empty | rules::ReplyBody::Text(_) => "text/plain; charset=utf-8",
        rules::ReplyBody::Value(_) => encoding.media_type(),
    };
    let content_type = headers.iter().find(|(name, _)| name == CONTENT_TYPE).map_or(usual, |(_, value)| value);
    let head = Head { status: *status, content_type, fields: headers, ..Head::default() };
    head.write(to, context, |out| match body {
        rules::ReplyBody::Empty => {}
        rules::ReplyBody::Text(text) => out.extend_from_slice(text.as_bytes()),
        // Writing values to memory does not fail.
        rules::ReplyBody::Value(value) => {
            let _ = match encoding {
                Encoding::Json => serde_json::to_writer(out, value).is_ok(),
                Encoding::MessagePack => rmp_serde::encode::write_named(out, value).is_ok(),
            };
        }
    });
    *status
}

/// `Retry-After` has whole seconds (RFC 9110, section 10.2.3): rounded up, so that a client never comes too early.
const fn retry_after_s(ms: u32) -> u32 {
    let seconds = ms.div_ceil(1_000);
    if seconds == 0 { 1 } else { seconds }
}

fn count(reply: &Reply, status: u16, start: usize, context: &mut Context<'_>) {
    let bytes_out = (context.out.len() - start) as u64;
    let telemetry = &mut *context.telemetry;
    let endpoint = &mut telemetry.endpoints[reply.endpoint as usize];
    endpoint.requests += 1;
    endpoint.bytes_in += u64::from(reply.body_bytes);
    endpoint.bytes_out += bytes_out;
    endpoint.errors += u64::from(status >= 400);
    // An auto-resizing histogram refuses no value.
    let _ = endpoint.duration_ns.record(context.now.mono_ns.saturating_sub(reply.decoded_ns));
    match telemetry.statuses.get_mut(&status) {
        Some(count) => *count += 1,
        None => drop(telemetry.statuses.insert(status, 1)),
    }
    telemetry.tenants.count(reply.tenant, |tenant| {
        tenant.requests += 1;
        tenant.bytes_in += u64::from(reply.body_bytes);
        tenant.errors += u64::from(status >= 400);
    });
    if reply.endpoint == Endpoint::Enqueue {
        let codec = &mut telemetry.http_codecs[reply.request_encoding as usize];
        codec.requests += 1;
        codec.bytes_in += u64::from(reply.body_bytes);
    }
    telemetry.http_codecs[reply.encoding as usize].bytes_out += bytes_out;
}

/// The status of a response without a body.
const NO_CONTENT: u16 = 204;
/// Likewise.
const NOT_MODIFIED: u16 = 304;

/// What a rule may say of its own body.
const CONTENT_TYPE: &str = "content-type";

/// The parts of a response head that differ.
#[derive(Debug)]
struct Head<'a> {
    status: u16,
    content_type: &'a str,
    extra: Extra,
    retry_after_s: Option<u32>,
    /// Bytes that the body will have, more or less.
    length_guess: usize,
    /// The body ends with the connection, and nobody on the way may keep it, or keep it back.
    is_endless: bool,
    /// Fields that a rule adds.
    fields: &'a [(String, String)],
}

impl Default for Head<'_> {
    fn default() -> Self {
        Self {
            status: 200,
            content_type: "",
            extra: Extra::None,
            retry_after_s: None,
            length_guess: 300,
            is_endless: false,
            fields: &[],
        }
    }
}

impl Head<'_> {
    /// Appends head and body. The length stands before the body but is known after it: its digits are patched in.
    fn write(&self, to: To<'_>, context: &mut Context<'_>, body: impl FnOnce(&mut Vec<u8>)) {
        let reply = to.reply;
        let date = context.date.text(context.now);
        let out = &mut *context.out;
        write_status_line(self.status, out);
        out.extend_from_slice(b"date: ");
        out.extend_from_slice(date);
        if reply.origin != Origin::Off {
            write_origin(to.origin, out);
        }
        for (name, value) in self.fields {
            // The one about the body's type has its place below.
            if name != CONTENT_TYPE {
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b": ");
                out.extend_from_slice(value.as_bytes());
            }
        }
        if matches!(self.status, NO_CONTENT | NOT_MODIFIED) {
            // It has no body, and says nothing of one (RFC 9110, section 8.6).
            out.extend_from_slice(if reply.closes { b"\r\nconnection: close\r\n\r\n" } else { b"\r\n\r\n" });
            return;
        }
        out.extend_from_slice(b"\r\ncontent-type: ");
        out.extend_from_slice(self.content_type.as_bytes());
        match self.extra {
            Extra::None
            | Extra::Size { .. }
            | Extra::Limit(_)
            | Extra::Tenant(_)
            | Extra::Upload
            | Extra::Large { .. } => {}
            Extra::Codings => out.extend_from_slice(b"\r\naccept-encoding: gzip, identity"),
            Extra::Challenge(challenge) => {
                out.extend_from_slice(b"\r\nwww-authenticate: ");
                out.extend_from_slice(challenge.as_bytes());
            }
            Extra::Allow(methods) => {
                out.extend_from_slice(b"\r\nallow: ");
                out.extend_from_slice(methods.as_bytes());
            }
            Extra::WebSocketOnly => out.extend_from_slice(b"\r\nupgrade: websocket\r\nsec-websocket-version: 13"),
        }
        if let Some(seconds) = self.retry_after_s {
            out.extend_from_slice(b"\r\nretry-after: ");
            out.extend_from_slice(itoa::Buffer::new().format(seconds).as_bytes());
        }
        if self.is_endless {
            out.extend_from_slice(b"\r\ncache-control: no-cache\r\nx-accel-buffering: no\r\nconnection: close\r\n\r\n");
            return;
        }
        // A field named in `connection` is meant for the next hop only, as `upgrade` is (RFC 9110, section 7.8).
        match (reply.closes, self.extra == Extra::WebSocketOnly) {
            (true, true) => out.extend_from_slice(b"\r\nconnection: close, upgrade"),
            (true, false) => out.extend_from_slice(b"\r\nconnection: close"),
            (false, true) => out.extend_from_slice(b"\r\nconnection: upgrade"),
            (false, false) if reply.is_http10 => out.extend_from_slice(b"\r\nconnection: keep-alive"),
            (false, false) => {}
        }
        out.extend_from_slice(b"\r\ncontent-length: ");
        let digits_at = out.len();
        let mut number = itoa::Buffer::new();
        let guess = number.format(self.length_guess).len();
        out.extend_from_slice(number.format(self.length_guess).as_bytes());
        out.extend_from_slice(b"\r\n\r\n");
        let body_at = out.len();
        body(out);
        let digits = number.format(out.len() - body_at);
        if reply.is_head {
            out.truncate(body_at);
        }
        if digits.len() == guess {
            out[digits_at..digits_at + guess].copy_from_slice(digits.as_bytes());
        } else {
            out.splice(digits_at..digits_at + guess, digits.bytes());
        }
    }
}

/// What a page of another origin may do (the Fetch standard, section 3.2.3). The origin is named also where every one may
/// ask, as the earlier server did, so caches have to tell pages apart.
fn write_origin(origin: Option<&str>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\nvary: Origin");
    if let Some(origin) = origin {
        out.extend_from_slice(b"\r\naccess-control-allow-origin: ");
        out.extend_from_slice(origin.as_bytes());
        out.extend_from_slice(
            b"\r\naccess-control-allow-methods: GET, POST, PUT, DELETE, OPTIONS, PATCH\r\n\
              access-control-allow-headers: content-type, content-encoding, authorization, x-token, x-codec, idempotency-key, \
              traceparent, last-event-id\r\naccess-control-expose-headers: retry-after\r\naccess-control-max-age: 86400",
        );
    }
}

fn write_status_line(status: u16, out: &mut Vec<u8>) {
    if status == 200 {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(itoa::Buffer::new().format(status).as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// The reason phrase (RFC 9110, section 15).
pub(crate) const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        204 => "No Content",
        207 => "Multi-Status",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_of_the_table_has_a_reason_phrase() {
        for code in ErrorCode::ALL {
            assert_ne!(reason(code.http_status()), "", "{}", code.code());
        }
    }

    #[test]
    fn a_wait_is_rounded_up_to_whole_seconds() {
        assert_eq!([0, 1, 999, 1_000, 1_001].map(retry_after_s), [1, 1, 1, 1, 2]);
    }
}
