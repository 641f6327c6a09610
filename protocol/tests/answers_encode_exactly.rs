//! Answers and deliveries are what the documents say, byte for byte in JSON and value for value in MessagePack, and
//! `delivery_len` tells a delivery's length before it is written.

use conduit_protocol::Encoding::{self, Json, MessagePack};
use conduit_protocol::codec::{
    delivery_len, encode_delivery, encode_error, encode_gap, encode_ok, encode_published, encode_stats,
    encode_subscribed, insert_id,
};
use conduit_protocol::streams::Subscribed;
use conduit_protocol::{Delivery, ErrorCode, Promise, Receipt, Refusal, Seq, StreamStats};
use proptest::prelude::*;
use serde_json::{Value, json};

fn written(encoding: Encoding, write: impl Fn(Encoding, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = b"before".to_vec();
    write(encoding, &mut out);
    assert_eq!(&out[..6], b"before");
    out.split_off(6)
}

/// The JSON text, after the MessagePack form has been seen to say the same.
fn both(write: impl Fn(Encoding, &mut Vec<u8>)) -> String {
    let text = String::from_utf8(written(Json, &write)).unwrap();
    let msgpack: Value = rmp_serde::from_slice(&written(MessagePack, &write)).unwrap();
    assert_eq!(msgpack, serde_json::from_str::<Value>(&text).unwrap());
    text
}

fn encoded(encoding: Encoding, value: &Value) -> Vec<u8> {
    match encoding {
        Json => serde_json::to_vec(value).unwrap(),
        MessagePack => rmp_serde::to_vec(value).unwrap(),
    }
}

fn plain<'a>(id: &'a str, stream: &'a str, seq: u64) -> Receipt<'a> {
    Receipt { id, stream, seq: Seq(seq), promise: Promise::Unsaid, duplicate: false }
}

#[test]
fn published() {
    let text = both(|encoding, out| encode_published(encoding, &plain("m\"1", "a/é\\", u64::MAX), out));
    assert_eq!(text, r#"{"id":"m\"1","stream":"a/é\\","seq":18446744073709551615}"#);
}

#[test]
fn ok_carries_the_reference() {
    let reference = json!({"n": [1, null]});
    let text = both(|encoding, out| encode_ok(encoding, &plain("m", "s", 3), &encoded(encoding, &reference), out));
    assert_eq!(text, r#"{"ok":{"id":"m","stream":"s","seq":3},"ref":{"n":[1,null]}}"#);
}

#[test]
fn a_promise_and_a_repeat_are_told() {
    let text = |promise, duplicate| {
        let receipt = Receipt { promise, duplicate, ..plain("m", "s", 3) };
        let text = both(|encoding, out| encode_ok(encoding, &receipt, &encoded(encoding, &json!(1)), out));
        let published = both(|encoding, out| encode_published(encoding, &receipt, out));
        assert_eq!(text, format!(r#"{{"ok":{published},"ref":1}}"#));
        published
    };
    assert_eq!(text(Promise::Unsaid, false), r#"{"id":"m","stream":"s","seq":3}"#);
    assert_eq!(text(Promise::Durable, false), r#"{"id":"m","stream":"s","seq":3,"durable":true}"#);
    assert_eq!(text(Promise::Volatile, false), r#"{"id":"m","stream":"s","seq":3,"durable":false}"#);
    assert_eq!(text(Promise::Unsaid, true), r#"{"id":"m","stream":"s","seq":3,"duplicate":true}"#);
    assert_eq!(text(Promise::Durable, true), r#"{"id":"m","stream":"s","seq":3,"durable":true,"duplicate":true}"#);
    assert_eq!(text(Promise::Volatile, true), r#"{"id":"m","stream":"s","seq":3,"durable":false,"duplicate":true}"#);
}

#[test]
fn plain_receipts_have_the_bytes_that_they_always_had() {
    let receipt = plain("m-1", "agents/a", 300);
    let out = written(Json, |encoding, out| encode_published(encoding, &receipt, out));
    assert_eq!(out, br#"{"id":"m-1","stream":"agents/a","seq":300}"#);
    let out = written(MessagePack, |encoding, out| encode_published(encoding, &receipt, out));
    assert_eq!(out, b"\x83\xa2id\xa3m-1\xa6stream\xa8agents/a\xa3seq\xcd\x01\x2c");
    let out = written(MessagePack, |encoding, out| encode_ok(encoding, &receipt, b"\x07", out));
    assert_eq!(out, b"\x82\xa2ok\x83\xa2id\xa3m-1\xa6stream\xa8agents/a\xa3seq\xcd\x01\x2c\xa3ref\x07");
}

#[test]
fn a_greeting_tells_where_the_consumer_stands() {
    let subscribed = Subscribed {
        stream: "a/b".into(),
        group: String::new(),
        epoch: 1_700_000_000_000,
        first: 4,
        last: u64::MAX,
        next: 7,
    };
    let text = both(|encoding, out| encode_subscribed(encoding, &subscribed, out));
    let wanted = r#"{"subscribed":{"stream":"a/b","group":"","epoch":1700000000000,"first":4,"last":18446744073709551615,"next":7}}"#;
    assert_eq!(text, wanted);
}

#[test]
fn a_gap_has_both_its_ends() {
    let text = both(|encoding, out| encode_gap(encoding, Seq(3), Seq(u64::MAX), out));
    assert_eq!(text, r#"{"gap":{"from":3,"to":18446744073709551615}}"#);
}

#[test]
fn errors_that_tell_when_to_come_back_do_so_by_themselves() {
    for (code, wanted) in [
        (ErrorCode::StorageFull, r#"{"error":{"code":"storage_full","message":"m","retryAfterMs":1000}}"#),
        (ErrorCode::TooManyGroups, r#"{"error":{"code":"TooManyGroups","message":"m","retryAfterMs":10000}}"#),
        (ErrorCode::StorageFailed, r#"{"error":{"code":"storage_failed","message":"m"}}"#),
    ] {
        let mut refusal = Refusal { code, message: "m".into(), retry_after_ms: None };
        assert_eq!(both(|encoding, out| encode_error(encoding, &refusal, None, out)), wanted);
        refusal.retry_after_ms = Some(7);
        assert!(both(|encoding, out| encode_error(encoding, &refusal, None, out)).contains(r#""retryAfterMs":7}"#));
    }
}

#[test]
fn error_has_code_and_message_and_what_else_is_known() {
    let mut refusal = Refusal { code: ErrorCode::Backpressure, message: "full: \u{1}\n".into(), retry_after_ms: None };
    let text = both(|encoding, out| encode_error(encoding, &refusal, None, out));
    assert_eq!(text, r#"{"error":{"code":"Backpressure","message":"full: \u0001\n"}}"#);
    refusal.retry_after_ms = Some(250);
    let reference = json!(7);
    let text = both(|encoding, out| encode_error(encoding, &refusal, Some(&encoded(encoding, &reference)), out));
    assert_eq!(text, r#"{"error":{"code":"Backpressure","message":"full: \u0001\n","retryAfterMs":250},"ref":7}"#);
}

#[test]
fn stats_have_their_documented_names() {
    let stats = StreamStats {
        depth: 2,
        rate_in: 1.5,
        last_ts: Some("2026-01-01T00:00:00.000Z".into()),
        ..StreamStats::default()
    };
    let text = both(|encoding, out| encode_stats(encoding, &stats, out));
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&value["depth"], &value["rateIn"], &value["lastTs"]),
        (&json!(2), &json!(1.5), &json!("2026-01-01T00:00:00.000Z"))
    );
    let text = both(|encoding, out| encode_stats(encoding, &StreamStats::default(), out));
    assert!(!text.contains("lastTs"));
}

#[test]
fn an_id_becomes_the_first_member() {
    let cases = [
        ("{}", r#"{"id":"m"}"#),
        ("{ }", r#"{"id":"m" }"#),
        ("{\n\t}", "{\"id\":\"m\"\n\t}"),
        (r#"{"a":1}"#, r#"{"id":"m","a":1}"#),
        (r#"{ "a" : { } }"#, r#"{"id":"m", "a" : { } }"#),
    ];
    for (envelope, wanted) in cases {
        let out = written(Json, |encoding, out| insert_id(encoding, envelope.as_bytes(), "m", out));
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }
    let out = written(Json, |encoding, out| insert_id(encoding, b"{}", "\"\n", out));
    assert_eq!(out, br#"{"id":"\"\n"}"#);
}

#[test]
fn an_id_widens_the_header_of_a_map_when_it_must() {
    let pairs = |count: usize| [0x01_u8, 0x02].repeat(count);
    let cases: [(&[u8], usize, &[u8]); 8] = [
        (b"\x80", 0, b"\x81"),
        (b"\x8e", 14, b"\x8f"),
        (b"\x8f", 15, b"\xde\x00\x10"),
        (b"\xde\x00\x10", 16, b"\xde\x00\x11"),
        (b"\xde\xff\xff", 65_535, b"\xdf\x00\x01\x00\x00"),
        (b"\xdf\x00\x01\x00\x00", 65_536, b"\xdf\x00\x01\x00\x01"),
        // A header wider than needed is written in its shortest form.
        (b"\xde\x00\x01", 1, b"\x82"),
        (b"\xdf\x00\x00\x00\x00", 0, b"\x81"),
    ];
    for (head, count, wanted) in cases {
        let envelope = [head, &pairs(count)].concat();
        let out = written(MessagePack, |encoding, out| insert_id(encoding, &envelope, "m", out));
        assert_eq!(out, [wanted, b"\xa2id\xa1m", &pairs(count)].concat(), "{count}");
    }
}

fn numbers() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (0_u32..64).prop_map(|bits| 1_u64 << bits),
        (0_u32..64).prop_map(|bits| (1_u64 << bits) - 1),
        (0_u32..20).prop_map(|digits| 10_u64.pow(digits)),
        (0_u32..20).prop_map(|digits| 10_u64.pow(digits) - 1),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn a_delivery_says_all_and_its_length_is_known(
        id in prop_oneof!["[a-z0-9-]{1,256}", ".{1,64}", "[\\x00-\\x30\\\\]{1,64}"], seq in numbers(), attempt in numbers(), payload in ".{0,40}",
    ) {
        let envelope = json!({"payload": payload});
        let attempt = attempt as u32;
        let value = json!({"deliver": envelope, "id": id, "seq": seq, "attempt": attempt});
        for encoding in [Json, MessagePack] {
            let envelope = encoded(encoding, &envelope);
            let delivery = Delivery { id: id.as_bytes(), seq: Seq(seq), attempt, published: conduit_protocol::Now::default(), trace: None, encoding, envelope: &envelope };
            let out = written(encoding, |_, out| encode_delivery(&delivery, out));
            prop_assert_eq!(out.len(), delivery_len(&delivery));
            let read: Value = match encoding {
                Json => serde_json::from_slice(&out).unwrap(),
                MessagePack => rmp_serde::from_slice(&out).unwrap(),
            };
            prop_assert_eq!(read, value.clone());
        }
    }
}

#[test]
fn a_delivery_has_its_members_in_order() {
    let delivery = Delivery {
        id: b"m",
        seq: Seq(12),
        attempt: 1,
        published: conduit_protocol::Now::default(),
        trace: None,
        encoding: Json,
        envelope: b"{ \"a\":1}",
    };
    let out = written(Json, |_, out| encode_delivery(&delivery, out));
    assert_eq!(String::from_utf8(out).unwrap(), r#"{"deliver":{ "a":1},"id":"m","seq":12,"attempt":1}"#);
    let delivery = Delivery { encoding: MessagePack, envelope: b"\x80", ..delivery };
    let out = written(MessagePack, |_, out| encode_delivery(&delivery, out));
    assert_eq!(out, b"\x84\xa7deliver\x80\xa2id\xa1m\xa3seq\x0c\xa7attempt\x01");
}
