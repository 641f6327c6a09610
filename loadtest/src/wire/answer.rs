//! What a server says that is not on the short path: any message, by a real parser.

use super::delivery::{Content, Delivered};
use super::envelope::filler;
use super::template::{REF_BYTES, ticket_of_ref};
use super::{Codec, WireFault};
use crate::message::{MessageId, SENT_AT_BYTES, SentAt};
use serde_json::Value;

/// One message of a Conduit server on a WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerMessage {
    /// A delivery.
    Deliver(Delivered),
    /// The publish with this ticket was accepted.
    Accepted(u64),
    /// Something was refused.
    Refused(RefusedPublish),
}

/// A refusal of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedPublish {
    /// The ticket, when the answer names it.
    pub ticket: Option<u64>,
    /// The stable code.
    pub code: String,
    /// The sentence.
    pub message: String,
}

impl RefusedPublish {
    /// The server is full or asks to slow down: the same message may pass later.
    #[must_use]
    pub fn is_backpressure(&self) -> bool {
        is_backpressure(&self.code)
    }
}

/// Codes that mean "later", not "no".
#[must_use]
pub fn is_backpressure(code: &str) -> bool {
    matches!(code, "Backpressure" | "RateLimitExceeded")
}

/// Parses any message of the server.
///
/// # Errors
/// A [`WireFault`] when it is not valid, or is none of the messages that the protocol has.
pub fn interpret(codec: Codec, message: &[u8], payload_bytes: usize) -> Result<ServerMessage, WireFault> {
    let value: Value = match codec {
        Codec::Json => serde_json::from_slice(message).map_err(|error| unreadable(codec, message, &error))?,
        Codec::Msgpack => rmp_serde::from_slice(message).map_err(|error| unreadable(codec, message, &error))?,
    };
    if let Some(envelope) = value.get("deliver") {
        return delivered(&value, envelope, payload_bytes).map(ServerMessage::Deliver);
    }
    let ticket = match value.get("ref") {
        None => None,
        Some(Value::String(text)) => Some(ticket_of_ref(text.as_bytes())?),
        Some(other) => return Err(WireFault::new(format!("a ref that is not ours: {other}"))),
    };
    if let Some(error) = value.get("error") {
        let text = |name| error.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
        return Ok(ServerMessage::Refused(RefusedPublish { ticket, code: text("code"), message: text("message") }));
    }
    match (value.get("ok"), ticket) {
        (Some(_), Some(ticket)) => Ok(ServerMessage::Accepted(ticket)),
        _ => Err(WireFault::new(format!("an unexpected message: {}", clip(&value.to_string())))),
    }
}

fn delivered(value: &Value, envelope: &Value, payload_bytes: usize) -> Result<Delivered, WireFault> {
    let seq = value.get("seq").and_then(Value::as_u64);
    let seq = seq.ok_or_else(|| WireFault::new(format!("a delivery without seq: {}", clip(&value.to_string()))))?;
    let attempt = value.get("attempt").and_then(Value::as_u64);
    let attempt = attempt.ok_or_else(|| WireFault::new("a delivery without attempt"))?;
    let text = |name| envelope.get(name).and_then(Value::as_str);
    let content = match (text("id"), text("payload")) {
        (Some(id), Some(payload)) => content_of(id, payload.as_bytes(), payload_bytes, value),
        _ => None,
    };
    Ok(Delivered { content, seq, attempt })
}

fn content_of(id_text: &str, payload: &[u8], payload_bytes: usize, value: &Value) -> Option<Content> {
    let id = MessageId::decode(id_text.as_bytes())?;
    let sent = SentAt::decode(payload)?;
    // The delivery repeats the identifier beside the envelope; the two must agree.
    let is_repeated = value.get("id").and_then(Value::as_str) == Some(id_text);
    let is_intact = is_repeated && payload[SENT_AT_BYTES..] == filler(payload_bytes);
    Some(Content { id, sent, is_intact })
}

/// The ticket of an acceptance in the shape servers give it (the `ref` last), else `None`: ask [`interpret`] then.
#[must_use]
pub fn accepted_ticket(codec: Codec, message: &[u8]) -> Option<u64> {
    let (head, close): (&[u8], &[u8]) = match codec {
        Codec::Json => (b"{\"ok\":", b"\"}"),
        Codec::Msgpack => (b"\x82\xa2ok", b""),
    };
    let key: &[u8] = match codec {
        Codec::Json => b",\"ref\":\"",
        Codec::Msgpack => b"\xa3ref\xb0",
    };
    let inner = message.strip_prefix(head)?.strip_suffix(close)?;
    let (rest, reference) = inner.split_at_checked(inner.len().checked_sub(REF_BYTES)?)?;
    rest.strip_suffix(key)?;
    ticket_of_ref(reference).ok()
}

/// The answer (one that accepts something) says that the message is on the disk.
#[must_use]
pub fn promises_durability(codec: Codec, message: &[u8]) -> bool {
    let promise: &[u8] = match codec {
        Codec::Json => b"\"durable\":true",
        Codec::Msgpack => b"\xa7durable\xc3",
    };
    // It stands near the end, behind texts that only rarely hold such a thing themselves.
    memchr::memmem::rfind(message, promise).is_some()
}

fn unreadable(codec: Codec, message: &[u8], error: &dyn std::error::Error) -> WireFault {
    let text = clip(&String::from_utf8_lossy(message)).to_owned();
    WireFault::new(format!("a message that is not {}: {error}: {text}", codec.name()))
}

/// The beginning of a text, for error messages.
#[must_use]
pub fn clip(text: &str) -> &str {
    let mut end = text.len().min(200);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const REF: &str = "000000000000002a";

    #[test]
    fn acceptances_are_read_on_both_paths() {
        let value = json!({"ok": {"id": "a", "stream": "s", "seq": 1}, "ref": REF});
        let text = format!(r#"{{"ok":{{"id":"a","stream":"s","seq":1}},"ref":"{REF}"}}"#).into_bytes();
        let pack = rmp_serde::to_vec(&value).expect("encodes");
        for (codec, message) in [(Codec::Json, text), (Codec::Msgpack, pack)] {
            assert_eq!(accepted_ticket(codec, &message), Some(42));
            assert_eq!(interpret(codec, &message, 16), Ok(ServerMessage::Accepted(42)));
        }
        let other = format!(r#"{{"ref":"{REF}","ok":{{}}}}"#);
        assert_eq!(accepted_ticket(Codec::Json, other.as_bytes()), None);
        assert_eq!(interpret(Codec::Json, other.as_bytes(), 16), Ok(ServerMessage::Accepted(42)));
    }

    #[test]
    fn a_promise_is_seen_in_both_codecs_and_its_absence_too() {
        for (durable, expected) in [(Some(true), true), (Some(false), false), (None, false)] {
            let mut value = json!({"ok": {"id": "a", "stream": "s", "seq": 1}, "ref": REF});
            if let Some(durable) = durable {
                value["ok"]["durable"] = durable.into();
            }
            let (text, pack) = (value.to_string().into_bytes(), rmp_serde::to_vec(&value).expect("encodes"));
            assert_eq!(promises_durability(Codec::Json, &text), expected);
            assert_eq!(promises_durability(Codec::Msgpack, &pack), expected);
        }
    }

    #[test]
    fn a_refusal_keeps_its_code_and_its_ticket() {
        let text = format!(r#"{{"error":{{"code":"Backpressure","message":"full"}},"ref":"{REF}"}}"#);
        let Ok(ServerMessage::Refused(refused)) = interpret(Codec::Json, text.as_bytes(), 16) else {
            panic!("a refusal is read as one")
        };
        assert!(refused.is_backpressure());
        assert_eq!((refused.ticket, refused.message.as_str()), (Some(42), "full"));
    }

    #[test]
    fn nonsense_is_a_fault() {
        for text in ["", "nope", "{}", r#"{"ok":{}}"#, r#"{"ok":{},"ref":5}"#, r#"{"deliver":{}}"#] {
            assert!(interpret(Codec::Json, text.as_bytes(), 16).is_err(), "{text}");
        }
    }
}
