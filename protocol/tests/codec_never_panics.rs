//! No input makes a decoder or the transcoder panic, whatever it is cut out of.

use conduit_protocol::codec::{
    decode_frame, decode_group_settings, decode_publish, decode_stream_settings, insert_id, transcode,
};
use conduit_protocol::{Encoding, Limits};
use proptest::prelude::*;

fn exercise(bytes: &[u8]) {
    let tight =
        Limits { depth_max: 3, ref_bytes_max: 4, ack_array_max: 2, message_id_bytes_max: 4, ..Limits::default() };
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        for limits in [&Limits::default(), &tight] {
            let _ = decode_frame(encoding, bytes, limits);
            let _ = decode_publish(encoding, bytes, limits);
            let _ = decode_stream_settings(encoding, bytes, limits);
            let _ = decode_group_settings(encoding, bytes, limits);
        }
        let mut out = Vec::new();
        for to in [Encoding::Json, Encoding::MessagePack] {
            transcode(encoding, to, bytes, &mut out);
        }
        insert_id(encoding, bytes, "id", &mut out);
    }
}

/// Bytes that begin MessagePack values, often.
fn msgpack_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            &b"\x81"[..],
            b"\x82",
            b"\xde\x00\x02",
            b"\xdf\x00\x00\x00\x01",
            b"\x92",
            b"\xdc\x00\x01",
            b"\xa2to",
            b"\xa2id",
            b"\xa1s",
            b"\xa3ack",
            b"\xa4nack",
            b"\xa6credit",
            b"\xa7enqueue",
            b"\xa8envelope",
            b"\xa3ref",
            b"\xa9deliverAt",
            b"\xa7dedupId",
            b"\xa5error",
            b"\xa9retention",
            b"\xaadurability",
            b"\xa8interval",
            b"\xa4from",
            b"\xc3",
            b"\xd9\x03abc",
            b"\xc4\x01\xff",
            b"\xd4\x01\x02",
            b"\xc7\x02\x01\x00\x00",
            b"\xcb\x7f\xf0\0\0\0\0\0\0",
            b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\xdf\xff\xff\xff\xff",
            b"\xdb\xff\xff\xff\xff",
            b"\xc6\xff\xff\xff\xff",
            b"\xc0",
            b"\xc1",
            b"\x01",
            b"\xff",
        ])
        .prop_map(<[u8]>::to_vec),
        any::<u8>().prop_map(|byte| vec![byte]),
    ];
    proptest::collection::vec(piece, 0..20).prop_map(|pieces| pieces.concat())
}

fn json_like() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u",
        "\\ud800",
        "\\udc00",
        "0041",
        "\"to\":",
        "\"envelope\":{",
        "\"id\":",
        "\"ack\":",
        "\"nack\":",
        "\"credit\":",
        "\"enqueue\":{",
        "\"ref\":",
        "\"delayMs\":",
        "\"deliverAt\":",
        "\"1970-01-01T00:00:00Z\"",
        "\"dedupId\":",
        "\"error\":",
        "\"dead\":",
        "\"retention\":{",
        "\"policy\":\"log\"",
        "\"durability\":",
        "\"interval\":",
        "\"from\":\"seq:1\"",
        "\"maxDeliver\":",
        "\"s\"",
        "1",
        "-",
        "0",
        ".",
        "e",
        "+",
        "99999999999999999999",
        "true",
        "false",
        "null",
        " ",
        "\u{0}",
        "é",
        "\u{1f600}",
    ]);
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat().into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(4_000) })]

    #[test]
    fn on_random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
        exercise(&bytes);
    }

    #[test]
    fn on_pieces_of_messagepack(bytes in msgpack_like()) {
        exercise(&bytes);
    }

    #[test]
    fn on_pieces_of_json(bytes in json_like()) {
        exercise(&bytes);
    }
}

#[test]
fn on_every_prefix_of_good_messages() {
    let messages: [&[u8]; 9] = [
        br#"{"enqueue":{"to":"agents/a/inbox","envelope":{"id":"m\u00e9\ud83d\ude00","n":[-1.5e-3,true,null]}},"ref":{"a":1}}"#,
        br#"{"nack":[1,"two",3],"delayMs":100}"#,
        br#"{"nack":1,"dead":true,"error":"caf\u00e9 \ud83d\ude00"}"#,
        br#"{"to":"s","envelope":{},"deliverAt":"2026-11-22T18:59:00.5+01:00","ttlMs":5,"priority":3,"dedupId":"k"}"#,
        br#"{"retention":{"policy":"log","maxAgeMs":1},"durability":{"interval":5},"deadLetterExpired":false}"#,
        br#"{"from":"time:2026-11-22T18:59:60Z","ackWaitMs":1,"strange":[{}]}"#,
        b"\x82\xa9retention\x82\xa6policy\xa3log\xa8maxAgeMs\x05\xaadurability\xa6commit",
        b"\x82\xa7enqueue\x82\xa2to\xa1s\xa8envelope\x82\xa2id\xa1m\xa1p\x93\xcb\x3f\xf8\0\0\0\0\0\0\xc4\x02\x01\x02\xd6\xff\0\0\0\x01\xa3ref\xcd\x01\x02",
        b"\x82\xa4nack\x93\x01\xa3two\xcc\x03\xa7delayMs\x64",
    ];
    for message in messages {
        for end in 0..=message.len() {
            exercise(&message[..end]);
        }
    }
}
