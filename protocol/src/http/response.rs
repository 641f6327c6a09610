//! Responses (RFC 9112, section 4): encoded once, straight into the place that they are sent from.

use super::batch::Results;
use crate::answer::{Answer, Receipt, Refusal};
use crate::codec;
use crate::context::Context;
use crate::error::ErrorCode;
use crate::surface::http::{encode_refusal, is_decode_failure};
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
    /// Of the response's body.
    pub(super) encoding: Encoding,
    /// HEAD: all of the response but its body (RFC 9110, section 9.3.2).
    pub(super) is_head: bool,
    /// An HTTP/1.0 client has to be told that the connection stays.
    pub(super) is_http10: bool,
    /// The last response of the connection.
    pub(super) closes: bool,
}

impl Reply {
    /// For a request that could not be read: nothing is known about it, and nothing can follow it.
    pub(super) const fn to_unread(now: Now) -> Self {
        Self {
            decoded_ns: now.mono_ns,
            body_bytes: 0,
            endpoint: Endpoint::Other,
            request_encoding: Encoding::Json,
            encoding: Encoding::Json,
            is_head: false,
            is_http10: false,
            closes: true,
        }
    }
}

/// A header field that only some refusals carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extra {
    None,
    /// The methods of the path (RFC 9110, section 10.2.1).
    Allow(&'static str),
    /// What the path speaks (RFC 9110, section 15.5.22; RFC 6455, section 4.4).
    WebSocketOnly,
}

/// What there is to tell.
#[derive(Debug, Clone, Copy)]
pub(super) enum Outcome<'a> {
    Answer(&'a Answer<'a>),
    Refusal(&'a Refusal<'a>, Extra),
    Batch(&'a Results),
}

/// Appends the response to `context.out` and counts it.
pub(super) fn write(reply: Reply, outcome: Outcome<'_>, context: &mut Context<'_>) {
    let start = context.out.len();
    let encoding = reply.encoding;
    let status = match outcome {
        Outcome::Answer(&Answer::Published { id, stream, seq, promise, duplicate }) => {
            let receipt = Receipt { id, stream, seq, promise, duplicate };
            // `{"id":"","stream":"","seq":}` and some digits: the guess only has to have the right number of digits.
            let length_guess = id.len() + stream.len() + 34 + codec::published_extra_len(&receipt);
            let head = Head { status: 200, content_type: encoding.media_type(), length_guess, ..Head::default() };
            head.write(reply, context, |out| codec::encode_published(encoding, &receipt, out));
            200
        }
        Outcome::Answer(Answer::Refused(refusal)) => write_refusal(reply, refusal, Extra::None, context),
        Outcome::Refusal(refusal, extra) => write_refusal(reply, refusal, extra, context),
        Outcome::Answer(Answer::Stats(stats)) => {
            let head = Head { content_type: encoding.media_type(), ..Head::default() };
            head.write(reply, context, |out| codec::encode_stats(encoding, stats, out));
            200
        }
        Outcome::Answer(Answer::Document { status, content_type, body }) => {
            let is_json = content_type.starts_with(Encoding::Json.media_type());
            if is_json && encoding == Encoding::MessagePack {
                let head = Head { status: *status, content_type: encoding.media_type(), ..Head::default() };
                head.write(reply, context, |out| codec::transcode(Encoding::Json, encoding, body, out));
            } else {
                let head = Head { status: *status, content_type, length_guess: body.len(), ..Head::default() };
                head.write(reply, context, |out| out.extend_from_slice(body));
            }
            *status
        }
        Outcome::Answer(Answer::Stream(answer)) => {
            // What it says can be larger than it is urgent: it is written as JSON, like every document.
            let body = serde_json::to_vec(answer).unwrap_or_default();
            let status = answer.status();
            let head = Head { status, content_type: encoding.media_type(), ..Head::default() };
            head.write(reply, context, |out| match encoding {
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
            write_refusal(reply, &refusal, Extra::None, context)
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
            head.write(reply, context, |out| results.write_body(encoding, out));
            status
        }
    };
    count(reply, status, start, context);
}

fn write_refusal(reply: Reply, refusal: &Refusal<'_>, extra: Extra, context: &mut Context<'_>) -> u16 {
    let code = refusal.code;
    context.telemetry.count_error(code);
    if is_decode_failure(code) {
        context.telemetry.http_codecs[reply.request_encoding as usize].decode_errors += 1;
    }
    match code {
        ErrorCode::DepthExceeded => context.telemetry.http_depth_cap_violations += 1,
        ErrorCode::DecodedSizeExceeded | ErrorCode::PayloadTooLarge => context.telemetry.http_size_cap_violations += 1,
        _ => {}
    }
    let retry_after_s = refusal.wait_ms().map(retry_after_s);
    let status = code.http_status();
    let head = Head { status, content_type: reply.encoding.media_type(), extra, retry_after_s, length_guess: 150 };
    head.write(reply, context, |out| {
        encode_refusal(reply.encoding, reply.request_encoding, refusal, retry_after_s, out);
    });
    status
}

/// `Retry-After` has whole seconds (RFC 9110, section 10.2.3): rounded up, so that a client never comes too early.
const fn retry_after_s(ms: u32) -> u32 {
    let seconds = ms.div_ceil(1_000);
    if seconds == 0 { 1 } else { seconds }
}

fn count(reply: Reply, status: u16, start: usize, context: &mut Context<'_>) {
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
    if reply.endpoint == Endpoint::Enqueue {
        let codec = &mut telemetry.http_codecs[reply.request_encoding as usize];
        codec.requests += 1;
        codec.bytes_in += u64::from(reply.body_bytes);
    }
    telemetry.http_codecs[reply.encoding as usize].bytes_out += bytes_out;
}

/// The parts of a response head that differ.
#[derive(Debug)]
struct Head<'a> {
    status: u16,
    content_type: &'a str,
    extra: Extra,
    retry_after_s: Option<u32>,
    /// Bytes that the body will have, more or less.
    length_guess: usize,
}

impl Default for Head<'_> {
    fn default() -> Self {
        Self { status: 200, content_type: "", extra: Extra::None, retry_after_s: None, length_guess: 300 }
    }
}

impl Head<'_> {
    /// Appends head and body. The length stands before the body but is known after it: its digits are patched in.
    fn write(&self, reply: Reply, context: &mut Context<'_>, body: impl FnOnce(&mut Vec<u8>)) {
        let date = context.date.text(context.now);
        let out = &mut *context.out;
        write_status_line(self.status, out);
        out.extend_from_slice(b"date: ");
        out.extend_from_slice(date);
        out.extend_from_slice(b"\r\ncontent-type: ");
        out.extend_from_slice(self.content_type.as_bytes());
        match self.extra {
            Extra::None => {}
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
