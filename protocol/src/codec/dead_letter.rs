//! Dead letters: a message that was given up, wrapped with what is known about it, and taken out again.
//!
//! The original object is never parsed to be wrapped: its bytes become the last member as they are, in its own encoding.

use super::reader::Reader;
use super::{Encoding, json, json_text, msgpack, reader};

/// What is told about a message that was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetter<'a> {
    /// The message's id: text in UTF-8.
    pub id: &'a [u8],
    /// Why: `max_deliver`, `dead` or `expired`.
    pub reason: &'a str,
    /// Deliveries that it had.
    pub attempts: u32,
    /// What its consumer said went wrong, last.
    pub last_error: Option<&'a str>,
    /// The stream that it was published to.
    pub stream: &'a str,
    /// Its position there.
    pub seq: u64,
    /// When it was published: RFC 3339.
    pub first_ts: &'a str,
    /// How `envelope` is encoded, and so the dead letter.
    pub encoding: Encoding,
    /// The object as it was published.
    pub envelope: &'a [u8],
}

/// Appends `{"id","reason","attempts","lastError","stream","seq","firstTs","envelope":<the original>}`.
pub fn encode_dead_letter(letter: &DeadLetter<'_>, out: &mut Vec<u8>) {
    match letter.encoding {
        Encoding::Json => encode_json(letter, out),
        Encoding::MessagePack => encode_msgpack(letter, out),
    }
}

fn encode_json(letter: &DeadLetter<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"id\":\"");
    json_text::put_text_content(letter.id, out);
    out.extend_from_slice(b"\",\"reason\":");
    json_text::put_text(letter.reason, out);
    out.extend_from_slice(b",\"attempts\":");
    json_text::put_integer(letter.attempts, out);
    out.extend_from_slice(b",\"lastError\":");
    match letter.last_error {
        Some(error) => json_text::put_text(error, out),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"stream\":");
    json_text::put_text(letter.stream, out);
    out.extend_from_slice(b",\"seq\":");
    json_text::put_integer(letter.seq, out);
    out.extend_from_slice(b",\"firstTs\":");
    json_text::put_text(letter.first_ts, out);
    out.extend_from_slice(b",\"envelope\":");
    out.extend_from_slice(letter.envelope);
    out.push(b'}');
}

fn encode_msgpack(letter: &DeadLetter<'_>, out: &mut Vec<u8>) {
    const NIL: u8 = 0xc0;
    msgpack::put_map(8, out);
    msgpack::put_text("id", out);
    msgpack::put_text_bytes(letter.id, out);
    msgpack::put_text("reason", out);
    msgpack::put_text(letter.reason, out);
    msgpack::put_text("attempts", out);
    msgpack::put_unsigned(u64::from(letter.attempts), out);
    msgpack::put_text("lastError", out);
    match letter.last_error {
        Some(error) => msgpack::put_text(error, out),
        None => out.push(NIL),
    }
    msgpack::put_text("stream", out);
    msgpack::put_text(letter.stream, out);
    msgpack::put_text("seq", out);
    msgpack::put_unsigned(letter.seq, out);
    msgpack::put_text("firstTs", out);
    msgpack::put_text(letter.first_ts, out);
    msgpack::put_text("envelope", out);
    out.extend_from_slice(letter.envelope);
}

/// The bytes of the original object in a dead letter, exactly as they were wrapped. `None` for what is no dead letter: one
/// has the members `reason` and `stream`, and `envelope`, which is an object.
#[must_use]
pub fn dead_letter_original(encoding: Encoding, bytes: &[u8]) -> Option<&[u8]> {
    let depth_max = reader::DEPTH_CEILING;
    let original = match encoding {
        Encoding::Json => find_original(&mut json::JsonReader::new(bytes, depth_max).ok()?)?,
        Encoding::MessagePack => find_original(&mut msgpack::MsgPackReader::new(bytes, depth_max))?,
    };
    is_object(encoding, original).then_some(original)
}

fn find_original<'a, R: Reader<'a>>(reader: &mut R) -> Option<&'a [u8]> {
    let (mut has_reason, mut has_stream, mut original) = (false, false, None);
    let mut members = reader.members().ok()??;
    while let Some(name) = reader.next_key(&mut members).ok()? {
        let start = reader.mark();
        reader.skip().ok()?;
        match name {
            b"reason" => has_reason = true,
            b"stream" => has_stream = true,
            b"envelope" => original = Some(reader.since(start)),
            _ => {}
        }
    }
    original.filter(|_| has_reason && has_stream)
}

/// A complete value is an object, or a map, by its first byte.
fn is_object(encoding: Encoding, value: &[u8]) -> bool {
    match (encoding, value.first()) {
        (Encoding::Json, Some(b'{')) | (Encoding::MessagePack, Some(0x80..=0x8f | 0xde | 0xdf)) => true,
        (Encoding::Json | Encoding::MessagePack, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LETTER: DeadLetter<'static> = DeadLetter {
        id: b"a\"b",
        reason: "max_deliver",
        attempts: 10,
        last_error: Some("no\nroute"),
        stream: "orders",
        seq: 7,
        first_ts: "2023-11-14T22:13:20.000Z",
        encoding: Encoding::Json,
        envelope: b"{ \"id\": \"a\\\"b\",\"n\" : 1.50 }",
    };

    #[test]
    fn a_dead_letter_says_everything_around_the_original_bytes() {
        let mut out = Vec::new();
        encode_dead_letter(&LETTER, &mut out);
        let expected = concat!(
            r#"{"id":"a\"b","reason":"max_deliver","attempts":10,"lastError":"no\nroute","stream":"orders","seq":7,"#,
            r#""firstTs":"2023-11-14T22:13:20.000Z","envelope":{ "id": "a\"b","n" : 1.50 }}"#
        );
        assert_eq!(std::str::from_utf8(&out).unwrap(), expected);
        assert_eq!(dead_letter_original(Encoding::Json, &out), Some(LETTER.envelope));
    }

    #[test]
    fn without_an_error_it_says_null() {
        let mut out = Vec::new();
        encode_dead_letter(&DeadLetter { last_error: None, ..LETTER }, &mut out);
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert!(value["lastError"].is_null());
        assert_eq!(value.as_object().unwrap().len(), 8);
    }

    #[test]
    fn messagepack_says_the_same() {
        let mut envelope = Vec::new();
        // A map header that is longer than it need be, and a float: neither may be changed.
        envelope.extend_from_slice(b"\xde\x00\x01\xa1n\xca\x3f\xc0\x00\x00");
        for last_error in [Some("no\nroute"), None] {
            let letter = DeadLetter { last_error, encoding: Encoding::MessagePack, envelope: &envelope, ..LETTER };
            let mut out = Vec::new();
            encode_dead_letter(&letter, &mut out);
            assert_eq!(dead_letter_original(Encoding::MessagePack, &out), Some(&envelope[..]));
            let value: serde_json::Value = rmp_serde::from_slice(&out).unwrap();
            let expected = serde_json::json!({
                "id": "a\"b", "reason": "max_deliver", "attempts": 10, "lastError": last_error, "stream": "orders",
                "seq": 7, "firstTs": "2023-11-14T22:13:20.000Z", "envelope": {"n": 1.5},
            });
            assert_eq!(value, expected);
        }
    }

    #[test]
    fn what_is_no_dead_letter_has_no_original() {
        for text in [
            "",
            "1",
            "[]",
            "{}",
            r#"{"envelope":{}}"#,
            r#"{"envelope":{},"reason":"dead"}"#,
            r#"{"envelope":1,"reason":"dead","stream":"s"}"#,
            r#"{"envelope":[],"reason":"dead","stream":"s"}"#,
            r#"{"envelope":{},"reason":"dead","stream":"s""#,
        ] {
            assert_eq!(dead_letter_original(Encoding::Json, text.as_bytes()), None, "{text}");
        }
        let with_spaces = br#" { "stream":"s", "envelope" : {"a":{}} , "reason":"dead" } "#;
        assert_eq!(dead_letter_original(Encoding::Json, with_spaces), Some(&br#"{"a":{}}"#[..]));
        for bytes in
            [&b""[..], b"\xc1", b"\x80", b"\x81\xa8envelope\x80", b"\x83\xa8envelope\x01\xa6reason\xc0\xa6stream\xc0"]
        {
            assert_eq!(dead_letter_original(Encoding::MessagePack, bytes), None, "{bytes:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
            for encoding in [Encoding::Json, Encoding::MessagePack] {
                if let Some(original) = dead_letter_original(encoding, &bytes) {
                    proptest::prop_assert!(original.len() < bytes.len());
                }
            }
        }
    }
}
