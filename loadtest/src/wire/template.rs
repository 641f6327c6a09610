//! Messages made by patching: everything that stays the same is built once per stream, then copied and overwritten in
//! three places (identifier, time, `ref`) for each message.

use super::envelope::{Envelope, append_msgpack_text, append_msgpack_text_head};
use super::frame::{append_head, mask};
use super::{Codec, WireFault};
use crate::message::{ID_BYTES, SENT_AT_BYTES, SentAt};
use tungstenite::protocol::frame::coding::{Data, OpCode};

/// Bytes of a `ref`: a ticket as 16 hex digits.
pub const REF_BYTES: usize = 16;

/// One message of one stream, ready to be patched.
#[derive(Debug, Clone)]
pub struct Template {
    bytes: Vec<u8>,
    id_at: usize,
    sent_at_at: usize,
    ref_at: Option<usize>,
    /// Where the payload of a masked frame begins; its key is the four bytes before.
    masked_from: Option<usize>,
}

impl Template {
    /// An `enqueue` frame for a WebSocket. With `has_ref` the server is asked to answer.
    #[must_use]
    pub fn enqueue_frame(codec: Codec, stream: &str, payload_bytes: usize, has_ref: bool) -> Self {
        let mut payload = Vec::new();
        match codec {
            Codec::Json => payload.extend_from_slice(b"{\"enqueue\":"),
            Codec::Msgpack => {
                payload.push(if has_ref { 0x82 } else { 0x81 });
                append_msgpack_text(&mut payload, "enqueue");
            }
        }
        let (id_at, sent_at_at) = append_request(&mut payload, codec, stream, payload_bytes);
        let ref_at = has_ref.then(|| append_ref(&mut payload, codec));
        if codec == Codec::Json {
            payload.extend_from_slice(if has_ref { b"\"}" } else { b"}" });
        }
        let mut bytes = Vec::new();
        append_head(&mut bytes, opcode_of(codec), payload.len(), [0; 4]);
        let start = bytes.len();
        bytes.extend_from_slice(&payload);
        Self {
            bytes,
            id_at: start + id_at,
            sent_at_at: start + sent_at_at,
            ref_at: ref_at.map(|at| start + at),
            masked_from: Some(start),
        }
    }

    /// The body of `POST /v1/enqueue`, or one line of a batch (then with its line feed).
    #[must_use]
    pub fn enqueue_body(codec: Codec, stream: &str, payload_bytes: usize, is_line: bool) -> Self {
        let mut bytes = Vec::new();
        let (id_at, sent_at_at) = append_request(&mut bytes, codec, stream, payload_bytes);
        if is_line {
            bytes.push(b'\n');
        }
        Self { bytes, id_at, sent_at_at, ref_at: None, masked_from: None }
    }

    /// `head`, then a bare payload (identifier, time, filler), then `tail`: for brokers that carry plain bytes.
    #[must_use]
    pub fn plain(head: &[u8], payload_bytes: usize, tail: &[u8]) -> Self {
        let mut bytes = head.to_vec();
        let id_at = bytes.len();
        bytes.extend_from_slice(&[b'0'; ID_BYTES]);
        bytes.extend_from_slice(&[b'0'; SENT_AT_BYTES]);
        let filler = super::envelope::filler(payload_bytes.saturating_sub(ID_BYTES));
        bytes.extend_from_slice(&filler);
        bytes.extend_from_slice(tail);
        Self { bytes, id_at, sent_at_at: id_at + ID_BYTES, ref_at: None, masked_from: None }
    }

    /// The same, with `head` (a request head) in front.
    #[must_use]
    pub fn behind(&self, head: &[u8]) -> Self {
        Self {
            bytes: [head, &self.bytes].concat(),
            id_at: head.len() + self.id_at,
            sent_at_at: head.len() + self.sent_at_at,
            ref_at: None,
            masked_from: None,
        }
    }

    /// The same, inside one masked binary frame.
    #[must_use]
    pub fn framed(&self) -> Self {
        let mut head = Vec::new();
        append_head(&mut head, OpCode::Data(Data::Binary), self.bytes.len(), [0; 4]);
        Self { masked_from: Some(head.len()), ..self.behind(&head) }
    }

    /// Bytes of one message.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends one message with the encoded identifier and time. `ticket` goes into the `ref`, `key` masks a frame; both are ignored where there is none.
    #[inline]
    pub fn append(
        &self,
        out: &mut Vec<u8>,
        id: &[u8; ID_BYTES],
        sent: &[u8; SENT_AT_BYTES],
        ticket: u64,
        key: [u8; 4],
    ) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let message = &mut out[start..];
        message[self.id_at..self.id_at + ID_BYTES].copy_from_slice(id);
        message[self.sent_at_at..self.sent_at_at + SENT_AT_BYTES].copy_from_slice(sent);
        if let Some(at) = self.ref_at {
            let reference = SentAt { intended_ns: ticket, retried: false }.encode();
            message[at..at + REF_BYTES].copy_from_slice(&reference);
        }
        if let Some(from) = self.masked_from {
            message[from - 4..from].copy_from_slice(&key);
            mask(&mut message[from..], key);
        }
    }
}

/// The opcode that a codec's messages travel under.
#[must_use]
pub const fn opcode_of(codec: Codec) -> OpCode {
    match codec {
        Codec::Json => OpCode::Data(Data::Text),
        Codec::Msgpack => OpCode::Data(Data::Binary),
    }
}

/// Appends `{"to","envelope"}`; where the identifier and the time are in `out`.
fn append_request(out: &mut Vec<u8>, codec: Codec, stream: &str, payload_bytes: usize) -> (usize, usize) {
    let envelope = Envelope::new(codec, payload_bytes);
    match codec {
        Codec::Json => {
            out.extend_from_slice(b"{\"to\":");
            out.extend_from_slice(serde_json::Value::from(stream).to_string().as_bytes());
            out.extend_from_slice(b",\"envelope\":");
        }
        Codec::Msgpack => {
            out.push(0x82);
            append_msgpack_text(out, "to");
            append_msgpack_text(out, stream);
            append_msgpack_text(out, "envelope");
        }
    }
    out.extend_from_slice(&envelope.before_id);
    let id_at = out.len();
    out.extend_from_slice(&[b'0'; ID_BYTES]);
    out.extend_from_slice(&envelope.between);
    let sent_at_at = out.len();
    out.extend_from_slice(&[b'0'; SENT_AT_BYTES]);
    out.extend_from_slice(&envelope.after);
    if codec == Codec::Json {
        out.push(b'}');
    }
    (id_at, sent_at_at)
}

/// Appends the `ref` member up to its last digit; where it is in `out`.
fn append_ref(out: &mut Vec<u8>, codec: Codec) -> usize {
    match codec {
        Codec::Json => out.extend_from_slice(b",\"ref\":\""),
        Codec::Msgpack => {
            append_msgpack_text(out, "ref");
            append_msgpack_text_head(out, REF_BYTES);
        }
    }
    let at = out.len();
    out.extend_from_slice(&[b'0'; REF_BYTES]);
    at
}

/// The ticket in a `ref`.
///
/// # Errors
/// When it is not one of ours.
pub fn ticket_of_ref(reference: &[u8]) -> Result<u64, WireFault> {
    (reference.len() == REF_BYTES)
        .then(|| SentAt::decode(reference))
        .flatten()
        .map(|ticket| ticket.intended_ns)
        .ok_or_else(|| WireFault::new(format!("a ref that is not ours: {}", String::from_utf8_lossy(reference))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::MessageId;
    use crate::wire::frame::MaskKeys;

    const ID: MessageId = MessageId { run: 1, producer: 2, stream: 3, number: 4 };
    const SENT: SentAt = SentAt { intended_ns: 77, retried: false };

    fn payload_of(frame: &[u8]) -> Vec<u8> {
        let head = match frame[1] & 0x7f {
            126 => 8,
            127 => 14,
            _ => 6,
        };
        let mut payload = frame[head..].to_vec();
        mask(&mut payload, frame[head - 4..head].try_into().expect("four bytes"));
        payload
    }

    #[test]
    fn a_patched_frame_is_the_operation_it_should_be_in_both_codecs() {
        let mut keys = MaskKeys::new(1);
        for payload_bytes in [16, 128, 70_000] {
            for has_ref in [false, true] {
                let mut out = Vec::new();
                let json = Template::enqueue_frame(Codec::Json, "a/\"b", payload_bytes, has_ref);
                json.append(&mut out, &ID.encode(), &SENT.encode(), 5, keys.draw());
                let text: serde_json::Value = serde_json::from_slice(&payload_of(&out)).expect("valid JSON");
                out.clear();
                let pack = Template::enqueue_frame(Codec::Msgpack, "a/\"b", payload_bytes, has_ref);
                pack.append(&mut out, &ID.encode(), &SENT.encode(), 5, keys.draw());
                let same: serde_json::Value = rmp_serde::from_slice(&payload_of(&out)).expect("valid MessagePack");
                assert_eq!(text, same);
                assert_eq!(text["enqueue"]["to"], "a/\"b");
                let id = text["enqueue"]["envelope"]["id"].as_str().expect("an id");
                assert_eq!(MessageId::decode(id.as_bytes()), Some(ID));
                let payload = text["enqueue"]["envelope"]["payload"].as_str().expect("a payload");
                assert_eq!((payload.len(), SentAt::decode(payload.as_bytes())), (payload_bytes, Some(SENT)));
                let reference = text.get("ref").and_then(|value| value.as_str());
                assert_eq!(reference.map(|text| ticket_of_ref(text.as_bytes())), has_ref.then_some(Ok(5)));
            }
        }
    }

    #[test]
    fn patching_leaves_nothing_of_the_message_before() {
        let template = Template::enqueue_body(Codec::Json, "s", 32, true);
        let (mut one, mut two) = (Vec::new(), Vec::new());
        template.append(&mut one, &ID.encode(), &SENT.encode(), 0, [0; 4]);
        template.append(&mut two, &MessageId { number: 9, ..ID }.encode(), &SENT.encode(), 0, [0; 4]);
        template.append(&mut two, &ID.encode(), &SENT.encode(), 0, [0; 4]);
        assert_eq!(two[template.bytes()..], one[..]);
        assert_eq!(one.last(), Some(&b'\n'));
    }
}
