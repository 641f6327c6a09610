//! Answers and deliveries to bytes.

use super::{Encoding, json_text, msgpack};
use crate::ids::Seq;
use crate::policy::Drain;
use crate::streams::{Gap, Subscribed};
use crate::trace::TRACEPARENT_BYTES;
use crate::trace_context::TraceContext;
use crate::{Delivery, Promise, Receipt, Refusal, StreamStats};
use serde::Serialize;

/// See [`super::insert_id`].
pub(super) fn insert_id(encoding: Encoding, envelope: &[u8], id: &str, out: &mut Vec<u8>) {
    match encoding {
        Encoding::Json => {
            let members = envelope.get(1..).unwrap_or(b"}");
            let first = members.iter().find(|byte| !byte.is_ascii_whitespace());
            out.extend_from_slice(b"{\"id\":");
            json_text::put_text(id, out);
            if first != Some(&b'}') {
                out.push(b',');
            }
            out.extend_from_slice(members);
        }
        Encoding::MessagePack => {
            let (members, rest) = msgpack::split_map(envelope);
            msgpack::put_map(members.saturating_add(1), out);
            msgpack::put_text("id", out);
            msgpack::put_text(id, out);
            out.extend_from_slice(rest);
        }
    }
}

/// See [`super::encode_published`].
pub(super) fn published(encoding: Encoding, receipt: &Receipt<'_>, out: &mut Vec<u8>) {
    let durable = durable(receipt.promise);
    match encoding {
        Encoding::Json => {
            out.extend_from_slice(b"{\"id\":\"");
            json_text::put_text_content(receipt.id.as_bytes(), out);
            out.extend_from_slice(b"\",\"stream\":\"");
            json_text::put_text_content(receipt.stream.as_bytes(), out);
            out.extend_from_slice(b"\",\"seq\":");
            json_text::put_integer(receipt.seq.0, out);
            match durable {
                None => {}
                Some(true) => out.extend_from_slice(JSON_DURABLE),
                Some(false) => out.extend_from_slice(JSON_VOLATILE),
            }
            if receipt.duplicate {
                out.extend_from_slice(JSON_DUPLICATE);
            }
            out.push(b'}');
        }
        Encoding::MessagePack => {
            msgpack::put_map(3 + u32::from(durable.is_some()) + u32::from(receipt.duplicate), out);
            msgpack::put_text("id", out);
            msgpack::put_text(receipt.id, out);
            msgpack::put_text("stream", out);
            msgpack::put_text(receipt.stream, out);
            msgpack::put_text("seq", out);
            msgpack::put_unsigned(receipt.seq.0, out);
            if let Some(durable) = durable {
                msgpack::put_text("durable", out);
                msgpack::put_boolean(durable, out);
            }
            if receipt.duplicate {
                msgpack::put_text("duplicate", out);
                msgpack::put_boolean(true, out);
            }
        }
    }
}

const JSON_DURABLE: &[u8] = b",\"durable\":true";
const JSON_VOLATILE: &[u8] = b",\"durable\":false";
const JSON_DUPLICATE: &[u8] = b",\"duplicate\":true";

/// See [`super::published_extra_len`]: exact for JSON, a little more than MessagePack needs.
pub(super) const fn published_extra_len(receipt: &Receipt<'_>) -> usize {
    let durable_len = match durable(receipt.promise) {
        None => 0,
        Some(true) => JSON_DURABLE.len(),
        Some(false) => JSON_VOLATILE.len(),
    };
    durable_len + if receipt.duplicate { JSON_DUPLICATE.len() } else { 0 }
}

/// What `durable` says; `None`: it is not there.
const fn durable(promise: Promise) -> Option<bool> {
    match promise {
        Promise::Unsaid => None,
        Promise::Volatile => Some(false),
        Promise::Durable => Some(true),
    }
}

/// See [`super::encode_ok`].
pub(super) fn ok(encoding: Encoding, receipt: &Receipt<'_>, reference: &[u8], out: &mut Vec<u8>) {
    match encoding {
        Encoding::Json => {
            out.extend_from_slice(b"{\"ok\":");
            published(encoding, receipt, out);
            out.extend_from_slice(b",\"ref\":");
            out.extend_from_slice(reference);
            out.push(b'}');
        }
        Encoding::MessagePack => {
            msgpack::put_map(2, out);
            msgpack::put_text("ok", out);
            published(encoding, receipt, out);
            msgpack::put_text("ref", out);
            out.extend_from_slice(reference);
        }
    }
}

/// See [`super::encode_subscribed`].
pub(super) fn subscribed(encoding: Encoding, subscribed: &Subscribed, out: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct Message<'a> {
        subscribed: &'a Subscribed,
    }
    plain_data(encoding, &Message { subscribed }, out);
}

/// See [`super::encode_gap`].
pub(super) fn gap(encoding: Encoding, from: Seq, to: Seq, out: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct Message {
        gap: Gap,
    }
    plain_data(encoding, &Message { gap: Gap { from: from.0, to: to.0 } }, out);
}

/// See [`super::encode_drain`].
pub(super) fn drain(encoding: Encoding, drain: &Drain, out: &mut Vec<u8>) {
    #[derive(Serialize)]
    struct Message<'a> {
        drain: Told<'a>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Told<'a> {
        retry_after_ms: u32,
        alternates: &'a [String],
    }
    let told = Told { retry_after_ms: drain.retry_after_ms, alternates: &drain.alternates };
    plain_data(encoding, &Message { drain: told }, out);
}

/// See [`super::encode_error`].
pub(super) fn error(encoding: Encoding, refusal: &Refusal<'_>, reference: Option<&[u8]>, out: &mut Vec<u8>) {
    let retry_after_ms = refusal.wait_ms();
    match encoding {
        Encoding::Json => {
            out.extend_from_slice(b"{\"error\":{\"code\":");
            json_text::put_text(refusal.code.code(), out);
            out.extend_from_slice(b",\"message\":");
            json_text::put_text(&refusal.message, out);
            if let Some(retry_after_ms) = retry_after_ms {
                out.extend_from_slice(b",\"retryAfterMs\":");
                json_text::put_integer(retry_after_ms, out);
            }
            out.push(b'}');
            if let Some(reference) = reference {
                out.extend_from_slice(b",\"ref\":");
                out.extend_from_slice(reference);
            }
            out.push(b'}');
        }
        Encoding::MessagePack => {
            msgpack::put_map(1 + u32::from(reference.is_some()), out);
            msgpack::put_text("error", out);
            msgpack::put_map(2 + u32::from(retry_after_ms.is_some()), out);
            msgpack::put_text("code", out);
            msgpack::put_text(refusal.code.code(), out);
            msgpack::put_text("message", out);
            msgpack::put_text(&refusal.message, out);
            if let Some(retry_after_ms) = retry_after_ms {
                msgpack::put_text("retryAfterMs", out);
                msgpack::put_unsigned(u64::from(retry_after_ms), out);
            }
            if let Some(reference) = reference {
                msgpack::put_text("ref", out);
                out.extend_from_slice(reference);
            }
        }
    }
}

// The constant parts of a delivery. The MessagePack ones are a fixmap of four with its fixstr keys.
const JSON_DELIVER: &[u8] = b"{\"deliver\":";
const JSON_ID: &[u8] = b",\"id\":\"";
const JSON_SEQ: &[u8] = b"\",\"seq\":";
const JSON_ATTEMPT: &[u8] = b",\"attempt\":";
const JSON_TRACE: &[u8] = b",\"traceparent\":\"";
const MSGPACK_DELIVER: &[u8] = b"\x84\xa7deliver";
const MSGPACK_DELIVER_TRACED: &[u8] = b"\x85\xa7deliver";
const MSGPACK_ID: &[u8] = b"\xa2id";
const MSGPACK_SEQ: &[u8] = b"\xa3seq";
const MSGPACK_ATTEMPT: &[u8] = b"\xa7attempt";
/// With the header of a text of 55 bytes.
const MSGPACK_TRACE: &[u8] = b"\xabtraceparent\xd9\x37";

/// See [`super::encode_delivery`].
pub(super) fn delivery(delivery: &Delivery<'_>, out: &mut Vec<u8>) {
    match delivery.encoding {
        Encoding::Json => {
            out.extend_from_slice(JSON_DELIVER);
            out.extend_from_slice(delivery.envelope);
            out.extend_from_slice(JSON_ID);
            json_text::put_text_content(delivery.id, out);
            out.extend_from_slice(JSON_SEQ);
            json_text::put_integer(delivery.seq.0, out);
            out.extend_from_slice(JSON_ATTEMPT);
            json_text::put_integer(delivery.attempt, out);
            if let Some(trace) = delivery.trace {
                out.extend_from_slice(JSON_TRACE);
                out.extend_from_slice(&TraceContext::from_bytes(*trace).text());
                out.push(b'"');
            }
            out.push(b'}');
        }
        Encoding::MessagePack => {
            out.extend_from_slice(if delivery.trace.is_none() { MSGPACK_DELIVER } else { MSGPACK_DELIVER_TRACED });
            out.extend_from_slice(delivery.envelope);
            out.extend_from_slice(MSGPACK_ID);
            msgpack::put_text_bytes(delivery.id, out);
            out.extend_from_slice(MSGPACK_SEQ);
            msgpack::put_unsigned(delivery.seq.0, out);
            out.extend_from_slice(MSGPACK_ATTEMPT);
            msgpack::put_unsigned(u64::from(delivery.attempt), out);
            if let Some(trace) = delivery.trace {
                out.extend_from_slice(MSGPACK_TRACE);
                out.extend_from_slice(&TraceContext::from_bytes(*trace).text());
            }
        }
    }
}

/// See [`super::delivery_len`].
pub(super) fn delivery_len(delivery: &Delivery<'_>) -> usize {
    let attempt = u64::from(delivery.attempt);
    let rest = match delivery.encoding {
        Encoding::Json => {
            const FIXED: usize = JSON_DELIVER.len() + JSON_ID.len() + JSON_SEQ.len() + JSON_ATTEMPT.len() + 1;
            FIXED + json_text::text_content_len(delivery.id) + digits(delivery.seq.0) + digits(attempt)
        }
        Encoding::MessagePack => {
            const FIXED: usize = MSGPACK_DELIVER.len() + MSGPACK_ID.len() + MSGPACK_SEQ.len() + MSGPACK_ATTEMPT.len();
            FIXED
                + msgpack::text_len(delivery.id.len())
                + msgpack::unsigned_len(delivery.seq.0)
                + msgpack::unsigned_len(attempt)
        }
    };
    let trace = match (delivery.trace, delivery.encoding) {
        (None, _) => 0,
        (Some(_), Encoding::Json) => JSON_TRACE.len() + TRACEPARENT_BYTES + 1,
        (Some(_), Encoding::MessagePack) => MSGPACK_TRACE.len() + TRACEPARENT_BYTES,
    };
    delivery.envelope.len() + rest + trace
}

/// Decimal digits of a number.
fn digits(value: u64) -> usize {
    value.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// See [`super::encode_stats`].
pub(super) fn stats(encoding: Encoding, stats: &StreamStats, out: &mut Vec<u8>) {
    plain_data(encoding, stats, out);
}

/// Appends numbers and texts by way of serde.
fn plain_data(encoding: Encoding, data: &impl Serialize, out: &mut Vec<u8>) {
    let before = out.len();
    let written = match encoding {
        Encoding::Json => serde_json::to_writer(&mut *out, data).is_ok(),
        Encoding::MessagePack => rmp_serde::encode::write_named(out, data).is_ok(),
    };
    // Numbers and texts into memory cannot fail; if they did, half an object must not go out.
    debug_assert!(written, "plain data is always written");
    if !written {
        out.truncate(before);
    }
}
