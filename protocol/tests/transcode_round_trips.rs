//! A message that crosses from one encoding to the other says the same, and what came from JSON comes back as it was.

use conduit_protocol::Encoding::{self, Json, MessagePack};
use conduit_protocol::Limits;
use conduit_protocol::codec::{decode_publish, transcode};
use proptest::prelude::*;
use serde_json::{Map, Value};

fn turned(from: Encoding, to: Encoding, value: &[u8]) -> Vec<u8> {
    let mut out = b"before".to_vec();
    transcode(from, to, value, &mut out);
    assert_eq!(&out[..6], b"before");
    out.split_off(6)
}

fn to_json(msgpack: &[u8]) -> String {
    String::from_utf8(turned(MessagePack, Json, msgpack)).unwrap()
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop::sample::select(vec![
            0_i64,
            127,
            128,
            255,
            256,
            65_535,
            65_536,
            1 << 32,
            -1,
            -32,
            -33,
            -128,
            -129,
            -32_768,
            -32_769,
            i64::MIN
        ])
        .prop_map(Value::from),
        // Few digits: serde_json does not read every float back exactly. `a_float_keeps_its_value` takes them all.
        any::<i32>().prop_map(|number| Value::from(f64::from(number) / 4.0)),
        ".{0,40}".prop_map(Value::from),
        "[\\x00-\\x30\\\\]{0,10}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 64, 20, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            proptest::collection::vec((".{0,12}", inner), 0..20)
                .prop_map(|members| Value::from(Map::from_iter(members))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn json_comes_back_byte_for_byte(value in json()) {
        let text = serde_json::to_vec(&value).unwrap();
        let back = turned(MessagePack, Json, &turned(Json, MessagePack, &text));
        prop_assert_eq!(String::from_utf8_lossy(&back), String::from_utf8_lossy(&text));
    }

    #[test]
    fn messagepack_says_what_json_said(value in json()) {
        let msgpack = turned(Json, MessagePack, &serde_json::to_vec(&value).unwrap());
        let read: Value = rmp_serde::from_slice(&msgpack).unwrap();
        prop_assert_eq!(read, value);
    }

    #[test]
    fn json_says_what_messagepack_said(value in json()) {
        let text = turned(MessagePack, Json, &rmp_serde::to_vec(&value).unwrap());
        prop_assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), value);
    }

    #[test]
    fn a_float_keeps_its_value(value in any::<f64>()) {
        let msgpack = turned(Json, MessagePack, to_json(&rmp_serde::to_vec(&value).unwrap()).as_bytes());
        let read: f64 = rmp_serde::from_slice(&msgpack).unwrap();
        prop_assert_eq!(read.to_bits(), value.to_bits());
    }

    #[test]
    fn what_the_decoder_accepts_is_turned_whole(payload in json()) {
        let body = serde_json::json!({"to": "s", "envelope": {"payload": payload}});
        let bytes = rmp_serde::to_vec(&body).unwrap();
        let publish = decode_publish(MessagePack, &bytes, &Limits::default()).unwrap();
        let text = turned(MessagePack, Json, publish.envelope.bytes);
        let body = [br#"{"to":"s","envelope":"#, text.as_slice(), b"}"].concat();
        prop_assert!(decode_publish(Json, &body, &Limits::default()).is_ok());
    }
}

#[test]
fn what_json_cannot_say_is_said_as_documented() {
    assert_eq!(to_json(b"\xc4\x03\x01\x02\xff"), r#""AQL/""#);
    assert_eq!(to_json(b"\xc4\x01\x01"), r#""AQ==""#);
    assert_eq!(to_json(b"\xc4\x00"), r#""""#);
    assert_eq!(to_json(b"\xd4\x05\x07"), r#"{"ext":5,"data":"Bw=="}"#);
    assert_eq!(to_json(b"\xd6\xff\x00\x00\x00\x01"), r#"{"ext":-1,"data":"AAAAAQ=="}"#);
    assert_eq!(to_json(b"\xcb\x7f\xf8\0\0\0\0\0\0"), "null");
    assert_eq!(to_json(b"\xca\x7f\x80\0\0"), "null");
    assert_eq!(to_json(b"\xcb\xff\xf0\0\0\0\0\0\0"), "null");
    assert_eq!(to_json(b"\xca\x3d\xcc\xcc\xcd"), "0.1");
    assert_eq!(to_json(b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"), "18446744073709551615");
    assert_eq!(to_json(b"\xd3\x80\0\0\0\0\0\0\0"), "-9223372036854775808");
    assert_eq!(
        to_json(b"\x86\x01\x01\xc0\x02\xc3\x03\xc4\x01\x01\x04\x91\xa1a\x05\xff\x06"),
        r#"{"1":1,"null":2,"true":3,"AQ==":4,"[\"a\"]":5,"-1":6}"#
    );
    assert_eq!(to_json(b"\xa4\"\\\n\x01"), r#""\"\\\n\u0001""#);
}

#[test]
fn numbers_of_json_become_the_smallest_form_that_holds_them() {
    let cases: [(&str, &[u8]); 12] = [
        ("0", b"\x00"),
        ("127", b"\x7f"),
        ("128", b"\xcc\x80"),
        ("65536", b"\xce\x00\x01\x00\x00"),
        ("-1", b"\xff"),
        ("-33", b"\xd0\xdf"),
        ("18446744073709551615", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff"),
        ("-9223372036854775808", b"\xd3\x80\0\0\0\0\0\0\0"),
        ("18446744073709551616", b"\xcb\x43\xf0\0\0\0\0\0\0"),
        ("1.0", b"\xcb\x3f\xf0\0\0\0\0\0\0"),
        ("-0", b"\xcb\x80\0\0\0\0\0\0\0"),
        ("1e2", b"\xcb\x40\x59\0\0\0\0\0\0"),
    ];
    for (text, wanted) in cases {
        assert_eq!(turned(Json, MessagePack, text.as_bytes()), wanted, "{text}");
    }
}

#[test]
fn containers_and_texts_get_headers_of_the_right_width() {
    for count in [0, 15, 16, 65_535, 65_536] {
        let array = Value::from(vec![1; count]);
        let map = Value::from(Map::from_iter((0..count).map(|key| (key.to_string(), Value::from(1)))));
        let text = Value::from("x".repeat(count));
        for value in [array, map, text] {
            let turned = turned(Json, MessagePack, &serde_json::to_vec(&value).unwrap());
            assert_eq!(turned, rmp_serde::to_vec(&value).unwrap(), "{count}");
        }
    }
    for length in [31, 32, 255, 256] {
        let text = Value::from("x".repeat(length));
        assert_eq!(turned(Json, MessagePack, &serde_json::to_vec(&text).unwrap()), rmp_serde::to_vec(&text).unwrap());
    }
}

#[test]
fn the_same_encoding_is_a_copy() {
    assert_eq!(turned(Json, Json, b"{ }"), b"{ }");
    assert_eq!(turned(MessagePack, MessagePack, b"\xde\0\0"), b"\xde\0\0");
}

#[test]
fn what_is_not_valid_becomes_nothing() {
    assert_eq!(turned(Json, MessagePack, b"{\"a\":[1,2"), b"\xc0");
    assert_eq!(to_json(b"\x92\x01"), "null");
}

#[test]
fn a_document_around_the_deepest_envelope_is_transcoded_whole() {
    // A request is a level of its own, so the deepest envelope has one less than the ceiling; a dead letter wraps it once,
    // a look into a stream three times.
    let depth = conduit_protocol::codec::DEPTH_CEILING - 1 + 4;
    let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let (mut packed, mut back) = (Vec::new(), Vec::new());
    transcode(Encoding::Json, Encoding::MessagePack, text.as_bytes(), &mut packed);
    transcode(Encoding::MessagePack, Encoding::Json, &packed, &mut back);
    assert_eq!(String::from_utf8(back).unwrap(), text);
    // Nothing that is stored is deeper; what is all the same becomes null, and nothing overflows.
    let abyss = "[".repeat(1_000_000);
    packed.clear();
    transcode(Encoding::Json, Encoding::MessagePack, abyss.as_bytes(), &mut packed);
    assert_eq!(packed, [0xc0]);
}
