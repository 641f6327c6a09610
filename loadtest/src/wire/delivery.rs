//! Reads deliveries. Nearly all of them have exactly the shape that our own publishes lead to, so they are compared with
//! it piece by piece; anything else goes to a real parser, and nothing is taken on trust.

use super::answer::{ServerMessage, interpret};
use super::envelope::{Envelope, append_msgpack_text, append_msgpack_text_head, split_decimal, split_msgpack_number};
use super::{Codec, WireFault};
use crate::message::{ID_BYTES, MessageId, MessageReader, SENT_AT_BYTES, SentAt};

/// One delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// What the envelope says it is; `None` when it is not one of our messages.
    pub content: Option<Content>,
    /// The server's position of the message.
    pub seq: u64,
    /// 1, or more for a redelivery.
    pub attempt: u64,
}

/// What a message of ours carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    /// Which message.
    pub id: MessageId,
    /// When it should have been sent.
    pub sent: SentAt,
    /// The rest of the payload is as it was sent.
    pub is_intact: bool,
}

/// The shape a delivery of ours has in one codec.
#[derive(Debug)]
pub struct DeliveryShape {
    codec: Codec,
    payload_bytes: usize,
    head: Vec<u8>,
    between: Vec<u8>,
    /// From the payload's filler to the second identifier.
    middle: Vec<u8>,
    before_seq: Vec<u8>,
    before_attempt: &'static [u8],
    close: &'static [u8],
    reader: MessageReader,
}

impl DeliveryShape {
    /// The shape for messages with payloads of `payload_bytes`.
    #[must_use]
    pub fn new(codec: Codec, payload_bytes: usize) -> Self {
        let envelope = Envelope::new(codec, payload_bytes);
        let (mut head, mut middle, mut before_seq) = (Vec::new(), envelope.after, Vec::new());
        match codec {
            Codec::Json => {
                head.extend_from_slice(b"{\"deliver\":");
                middle.extend_from_slice(b",\"id\":\"");
                before_seq.extend_from_slice(b"\",\"seq\":");
            }
            Codec::Msgpack => {
                head.push(0x84);
                append_msgpack_text(&mut head, "deliver");
                append_msgpack_text(&mut middle, "id");
                append_msgpack_text_head(&mut middle, ID_BYTES);
                append_msgpack_text(&mut before_seq, "seq");
            }
        }
        head.extend_from_slice(&envelope.before_id);
        let reader = MessageReader::default();
        let (before_attempt, close): (&[u8], &[u8]) = match codec {
            Codec::Json => (b",\"attempt\":", b"}"),
            Codec::Msgpack => (b"\xa7attempt", b""),
        };
        Self {
            codec,
            payload_bytes,
            head,
            between: envelope.between,
            middle,
            before_seq,
            before_attempt,
            close,
            reader,
        }
    }

    /// Reads one message of the server.
    ///
    /// # Errors
    /// A [`WireFault`] when it is not valid in the codec at all.
    pub fn read(&mut self, message: &[u8]) -> Result<ServerMessage, WireFault> {
        if let Some(delivered) = self.read_expected(message) {
            return Ok(ServerMessage::Deliver(delivered));
        }
        interpret(self.codec, message, self.payload_bytes)
    }

    /// The short path: `None` as soon as anything differs from the shape.
    #[must_use]
    pub fn read_expected(&mut self, message: &[u8]) -> Option<Delivered> {
        let rest = behind(message, &self.head)?;
        let (id_text, rest) = rest.split_first_chunk::<ID_BYTES>()?;
        let rest = behind(rest, &self.between)?;
        let (sent_text, rest) = rest.split_first_chunk::<SENT_AT_BYTES>()?;
        let rest = rest.strip_prefix(self.middle.as_slice())?;
        let (again, rest) = rest.split_first_chunk::<ID_BYTES>()?;
        if again != id_text {
            return None;
        }
        let rest = behind(rest, &self.before_seq)?;
        let (seq, rest) = self.split_number(rest)?;
        let rest = behind(rest, self.before_attempt)?;
        let (attempt, rest) = self.split_number(rest)?;
        if rest != self.close {
            return None;
        }
        let (id, sent) = self.reader.read(id_text, sent_text)?;
        Some(Delivered { content: Some(Content { id, sent, is_intact: true }), seq, attempt })
    }

    #[inline]
    fn split_number<'a>(&self, bytes: &'a [u8]) -> Option<(u64, &'a [u8])> {
        match self.codec {
            Codec::Json => split_decimal(bytes),
            Codec::Msgpack => split_msgpack_number(bytes),
        }
    }
}

/// What follows `prefix`. For prefixes of a few words: compared eight bytes at a time, the last eight overlapping, which
/// costs less than a call.
#[inline]
fn behind<'a>(bytes: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = bytes.split_at_checked(prefix.len())?;
    let word = |text: &[u8], at: usize| text[at..].first_chunk::<8>().map(|chunk| u64::from_ne_bytes(*chunk));
    let Some(last) = prefix.len().checked_sub(8) else { return (start == prefix).then_some(rest) };
    let mut differs = word(start, last) != word(prefix, last);
    let mut at = 0;
    while at < last {
        differs |= word(start, at) != word(prefix, at);
        at += 8;
    }
    (!differs).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::template::Template;
    use serde_json::{Value, json};

    const ID: MessageId = MessageId { run: 1, producer: 2, stream: 3, number: 4 };
    const SENT: SentAt = SentAt { intended_ns: 77, retried: true };

    fn envelope() -> Value {
        let mut body = Vec::new();
        Template::enqueue_body(Codec::Json, "s", 128, false).append(&mut body, &ID.encode(), &SENT.encode(), 0, [0; 4]);
        let request: Value = serde_json::from_slice(&body).expect("valid JSON");
        request["envelope"].clone()
    }

    fn ordered(codec: Codec, attempt: u64) -> Vec<u8> {
        let id = String::from_utf8(ID.encode().to_vec()).expect("hex");
        let mut raw = Vec::new();
        Template::enqueue_body(codec, "s", 128, false).append(&mut raw, &ID.encode(), &SENT.encode(), 0, [0; 4]);
        match codec {
            Codec::Json => {
                let at = memchr::memmem::find(&raw, b"\"envelope\":").expect("there") + 11;
                let envelope = std::str::from_utf8(&raw[at..raw.len() - 1]).expect("text");
                format!("{{\"deliver\":{envelope},\"id\":\"{id}\",\"seq\":300,\"attempt\":{attempt}}}").into_bytes()
            }
            Codec::Msgpack => {
                let at = memchr::memmem::find(&raw, b"envelope").expect("there") + 8;
                let mut bytes = vec![0x84, 0xa7];
                bytes.extend_from_slice(b"deliver");
                bytes.extend_from_slice(&raw[at..]);
                bytes.extend_from_slice(b"\xa2id\xb8");
                bytes.extend_from_slice(id.as_bytes());
                bytes.extend_from_slice(b"\xa3seq\xcd\x01\x2c\xa7attempt");
                bytes.push(attempt as u8);
                bytes
            }
        }
    }

    fn expected(attempt: u64, is_intact: bool) -> Delivered {
        Delivered { content: Some(Content { id: ID, sent: SENT, is_intact }), seq: 300, attempt }
    }

    #[test]
    fn the_expected_shape_takes_the_short_path_and_the_parser_agrees() {
        for codec in [Codec::Json, Codec::Msgpack] {
            let mut shape = DeliveryShape::new(codec, 128);
            for attempt in [1, 2] {
                let message = ordered(codec, attempt);
                assert_eq!(shape.read_expected(&message), Some(expected(attempt, true)), "{codec:?}");
                assert_eq!(interpret(codec, &message, 128), Ok(ServerMessage::Deliver(expected(attempt, true))));
            }
        }
    }

    #[test]
    fn any_other_order_of_members_is_read_by_the_parser() {
        let id = String::from_utf8(ID.encode().to_vec()).expect("hex");
        let value = json!({"attempt": 1, "extra": null, "deliver": envelope(), "seq": 300, "id": id});
        let (text, pack) = (value.to_string().into_bytes(), rmp_serde::to_vec(&value).expect("encodes"));
        for (codec, message) in [(Codec::Json, text), (Codec::Msgpack, pack)] {
            let mut shape = DeliveryShape::new(codec, 128);
            assert_eq!(shape.read_expected(&message), None);
            assert_eq!(shape.read(&message), Ok(ServerMessage::Deliver(expected(1, true))));
        }
    }

    #[test]
    fn a_changed_byte_anywhere_is_noticed() {
        for codec in [Codec::Json, Codec::Msgpack] {
            let mut shape = DeliveryShape::new(codec, 128);
            let good = ordered(codec, 1);
            for at in 0..good.len() {
                let mut bad = good.clone();
                bad[at] ^= 1;
                let same = shape.read(&bad) == Ok(ServerMessage::Deliver(expected(1, true)));
                assert!(!same, "{codec:?}: byte {at} was changed and nobody noticed");
            }
        }
    }

    #[test]
    fn a_foreign_message_is_a_delivery_without_content() {
        let message = br#"{"deliver":{"x":1},"id":"y","seq":2,"attempt":1}"#;
        let read = DeliveryShape::new(Codec::Json, 128).read(message);
        assert_eq!(read, Ok(ServerMessage::Deliver(Delivered { content: None, seq: 2, attempt: 1 })));
    }
}
