//! The envelope of every test message: an object of `id` (a [`MessageId`]) and `payload`, a string of the asked-for
//! length that begins with the [`SentAt`] time. Only those two fields differ between messages.
//!
//! [`MessageId`]: crate::message::MessageId
//! [`SentAt`]: crate::message::SentAt

use super::Codec;
use crate::message::{ID_BYTES, SENT_AT_BYTES};

/// The constant parts of an envelope, around the two fields that differ.
#[derive(Debug, Clone)]
pub struct Envelope {
    /// Before the identifier.
    pub before_id: Vec<u8>,
    /// Between the identifier and the time.
    pub between: Vec<u8>,
    /// The rest of the payload and what closes the envelope.
    pub after: Vec<u8>,
}

impl Envelope {
    /// The parts for a payload of `payload_bytes` (at least [`SENT_AT_BYTES`]).
    #[must_use]
    pub fn new(codec: Codec, payload_bytes: usize) -> Self {
        let filler = filler(payload_bytes);
        match codec {
            Codec::Json => Self {
                before_id: b"{\"id\":\"".to_vec(),
                between: b"\",\"payload\":\"".to_vec(),
                after: [filler.as_slice(), b"\"}"].concat(),
            },
            Codec::Msgpack => {
                let (mut before_id, mut between) = (vec![0x82], Vec::new());
                append_msgpack_text(&mut before_id, "id");
                append_msgpack_text_head(&mut before_id, ID_BYTES);
                append_msgpack_text(&mut between, "payload");
                append_msgpack_text_head(&mut between, payload_bytes.max(SENT_AT_BYTES));
                Self { before_id, between, after: filler }
            }
        }
    }

    /// Bytes of the whole envelope.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.before_id.len() + ID_BYTES + self.between.len() + SENT_AT_BYTES + self.after.len()
    }
}

/// What follows the time in a payload: printable, without anything that JSON escapes, and not one repeated byte.
#[must_use]
pub fn filler(payload_bytes: usize) -> Vec<u8> {
    let letters = b"conduit-payload-0123456789-abcdefghijklmnopqrstuvwxyz.";
    letters.iter().copied().cycle().take(payload_bytes.saturating_sub(SENT_AT_BYTES)).collect()
}

/// Appends a MessagePack string.
pub fn append_msgpack_text(out: &mut Vec<u8>, text: &str) {
    append_msgpack_text_head(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Appends the head of a MessagePack string of `bytes` (below 4 GiB).
pub fn append_msgpack_text_head(out: &mut Vec<u8>, bytes: usize) {
    // Writing to a vector cannot fail, which is all that could go wrong here.
    let _ = rmp::encode::write_str_len(out, bytes as u32);
}

/// Appends a MessagePack number.
pub fn append_msgpack_number(out: &mut Vec<u8>, number: u64) {
    let (bytes, start) = msgpack_number(number);
    out.extend_from_slice(&bytes[start..]);
}

/// A MessagePack number in its shortest form: it is the array from the given place on.
#[must_use]
#[inline]
pub fn msgpack_number(number: u64) -> ([u8; 9], usize) {
    let mut bytes = [0; 9];
    bytes[1..].copy_from_slice(&number.to_be_bytes());
    let (start, marker) = match number {
        0..=0x7f => return (bytes, 8),
        0x80..=0xff => (7, 0xcc),
        0x100..=0xffff => (6, 0xcd),
        0x1_0000..=0xffff_ffff => (4, 0xce),
        _ => (0, 0xcf),
    };
    bytes[start] = marker;
    (bytes, start)
}

/// Reads a MessagePack number (only whole ones, 0 and up): its value and the bytes after it.
#[must_use]
pub fn split_msgpack_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let width = match first {
        0..=0x7f => return Some((u64::from(*first), rest)),
        0xcc => 1,
        0xcd => 2,
        0xce => 4,
        0xcf => 8,
        _ => return None,
    };
    let (digits, rest) = rest.split_at_checked(width)?;
    Some((digits.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)), rest))
}

/// Reads decimal digits: their value and the bytes after them. `None` without a digit or beyond 19 of them.
#[must_use]
pub fn split_decimal(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    let mut digits = 0;
    while let Some(byte) = bytes.get(digits)
        && byte.is_ascii_digit()
    {
        value = value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
        digits += 1;
    }
    (1..=19).contains(&digits).then(|| (value, &bytes[digits..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_the_round_trip_at_every_width() {
        for number in [0, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, u64::MAX] {
            let mut bytes = Vec::new();
            append_msgpack_number(&mut bytes, number);
            bytes.push(9);
            assert_eq!(split_msgpack_number(&bytes), Some((number, [9].as_slice())));
            assert_eq!(split_msgpack_number(&bytes[..0]), None);
        }
        assert_eq!(split_decimal(b"120,"), Some((120, b",".as_slice())));
        assert_eq!(split_decimal(b"9999999999999999999"), Some((9_999_999_999_999_999_999, b"".as_slice())));
        assert_eq!(split_decimal(b"99999999999999999999"), None);
        assert_eq!(split_decimal(b"x"), None);
    }

    #[test]
    fn the_payload_has_the_asked_for_length() {
        for payload_bytes in [16, 17, 128, 70_000] {
            let json = Envelope::new(Codec::Json, payload_bytes);
            let text =
                [json.before_id.as_slice(), &[b'0'; ID_BYTES], &json.between, &[b'0'; SENT_AT_BYTES], &json.after]
                    .concat();
            assert_eq!(text.len(), json.bytes());
            let value: serde_json::Value = serde_json::from_slice(&text).expect("valid JSON");
            assert_eq!(value["payload"].as_str().map(str::len), Some(payload_bytes));
            let pack = Envelope::new(Codec::Msgpack, payload_bytes);
            let bytes =
                [pack.before_id.as_slice(), &[b'0'; ID_BYTES], &pack.between, &[b'0'; SENT_AT_BYTES], &pack.after]
                    .concat();
            let same: serde_json::Value = rmp_serde::from_slice(&bytes).expect("valid MessagePack");
            assert_eq!(same, value);
        }
    }
}
