//! Answers and deliveries to bytes.

use super::{Encoding, json_text, msgpack};
use crate::ids::Seq;
use crate::{Delivery, Refusal, StreamStats};

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
pub(super) fn published(encoding: Encoding, id: &str, stream: &str, seq: Seq, out: &mut Vec<u8>) {
    match encoding {
        Encoding::Json => {
            out.extend_from_slice(b"{\"id\":\"");
            json_text::put_text_content(id.as_bytes(), out);
            out.extend_from_slice(b"\",\"stream\":\"");
            json_text::put_text_content(stream.as_bytes(), out);
            out.extend_from_slice(b"\",\"seq\":");
            json_text::put_integer(seq.0, out);
            out.push(b'}');
        }
        Encoding::MessagePack => {
            msgpack::put_map(3, out);
            msgpack::put_text("id", out);
            msgpack::put_text(id, out);
            msgpack::put_text("stream", out);
            msgpack::put_text(stream, out);
            msgpack::put_text("seq", out);
            msgpack::put_unsigned(seq.0, out);
        }
    }
}

/// See [`super::encode_ok`].
pub(super) fn ok(encoding: Encoding, id: &str, stream: &str, seq: Seq, reference: &[u8], out: &mut Vec<u8>) {
    match encoding {
        Encoding::Json => {
            out.extend_from_slice(b"{\"ok\":");
            published(encoding, id, stream, seq, out);
            out.extend_from_slice(b",\"ref\":");
            out.extend_from_slice(reference);
            out.push(b'}');
        }
        Encoding::MessagePack => {
            msgpack::put_map(2, out);
            msgpack::put_text("ok", out);
            published(encoding, id, stream, seq, out);
            msgpack::put_text("ref", out);
            out.extend_from_slice(reference);
        }
    }
}

/// See [`super::encode_error`].
pub(super) fn error(encoding: Encoding, refusal: &Refusal<'_>, reference: Option<&[u8]>, out: &mut Vec<u8>) {
    match encoding {
        Encoding::Json => {
            out.extend_from_slice(b"{\"error\":{\"code\":");
            json_text::put_text(refusal.code.code(), out);
            out.extend_from_slice(b",\"message\":");
            json_text::put_text(&refusal.message, out);
            if let Some(retry_after_ms) = refusal.retry_after_ms {
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
            msgpack::put_map(2 + u32::from(refusal.retry_after_ms.is_some()), out);
            msgpack::put_text("code", out);
            msgpack::put_text(refusal.code.code(), out);
            msgpack::put_text("message", out);
            msgpack::put_text(&refusal.message, out);
            if let Some(retry_after_ms) = refusal.retry_after_ms {
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
const MSGPACK_DELIVER: &[u8] = b"\x84\xa7deliver";
const MSGPACK_ID: &[u8] = b"\xa2id";
const MSGPACK_SEQ: &[u8] = b"\xa3seq";
const MSGPACK_ATTEMPT: &[u8] = b"\xa7attempt";

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
            out.push(b'}');
        }
        Encoding::MessagePack => {
            out.extend_from_slice(MSGPACK_DELIVER);
            out.extend_from_slice(delivery.envelope);
            out.extend_from_slice(MSGPACK_ID);
            msgpack::put_text_bytes(delivery.id, out);
            out.extend_from_slice(MSGPACK_SEQ);
            msgpack::put_unsigned(delivery.seq.0, out);
            out.extend_from_slice(MSGPACK_ATTEMPT);
            msgpack::put_unsigned(u64::from(delivery.attempt), out);
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
    delivery.envelope.len() + rest
}

/// Decimal digits of a number.
fn digits(value: u64) -> usize {
    value.checked_ilog10().map_or(1, |log| log as usize + 1)
}

/// See [`super::encode_stats`].
pub(super) fn stats(encoding: Encoding, stats: &StreamStats, out: &mut Vec<u8>) {
    let before = out.len();
    let written = match encoding {
        Encoding::Json => serde_json::to_writer(&mut *out, stats).is_ok(),
        Encoding::MessagePack => rmp_serde::encode::write_named(out, stats).is_ok(),
    };
    // Numbers and one text into memory cannot fail; if they did, half an object must not go out.
    debug_assert!(written, "statistics are plain data");
    if !written {
        out.truncate(before);
    }
}
