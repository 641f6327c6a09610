//! A publish, a credit, an ack of one message and a delivery are decoded and encoded without allocating.

mod counting;

use conduit_protocol::Encoding::{self, Json, MessagePack};
use conduit_protocol::codec::{decode_frame, decode_publish, encode_delivery, encode_ok, insert_id, transcode};
use conduit_protocol::{Delivery, Limits, Promise, Receipt, Seq};
use counting::ALLOCATIONS;
use std::cell::Cell;

fn allocations_of(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.with(Cell::get);
    work();
    ALLOCATIONS.with(Cell::get) - before
}

fn encoded(encoding: Encoding, json: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    transcode(Json, encoding, json.as_bytes(), &mut bytes);
    bytes
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations_of(|| drop(std::hint::black_box(vec![1_u8, 2]))), 1);
}

#[test]
fn requests_decode_without_allocating() {
    let limits = Limits::default();
    let body =
        r#"{"to":"agents/user123/inbox","envelope":{"id":"m-0001","größe":[1,2.5,{"a":null}],"text":"tab\t \u00e9"}}"#;
    for encoding in [Json, MessagePack] {
        let bytes = encoded(encoding, body);
        assert_eq!(allocations_of(|| assert!(decode_publish(encoding, &bytes, &limits).is_ok())), 0);
        let enqueue = format!(r#"{{"enqueue":{body},"ref":{{"n":1}}}}"#);
        let asking = format!(
            r#"{},"deliverAt":"2026-11-22T18:59:00Z","ttlMs":5,"priority":3,"dedupId":"order-17"}}"#,
            &body[..body.len() - 1]
        );
        let bytes = encoded(encoding, &asking);
        assert_eq!(allocations_of(|| assert!(decode_publish(encoding, &bytes, &limits).is_ok())), 0);
        let nack = r#"{"nack":"m-0001","delayMs":5,"error":"no such customer","dead":false}"#;
        for frame in
            [enqueue.as_str(), nack, r#"{"credit":256}"#, r#"{"ack":7}"#, r#"{"ack":"m-0001"}"#, r#"{"ackUpTo":7}"#]
        {
            let bytes = encoded(encoding, frame);
            assert_eq!(allocations_of(|| assert!(decode_frame(encoding, &bytes, &limits).is_ok())), 0, "{frame}");
        }
    }
}

#[test]
fn an_array_of_acks_takes_one_allocation() {
    let bytes = format!(r#"{{"ack":{:?}}}"#, (1..=64).collect::<Vec<_>>());
    let limits = Limits::default();
    assert_eq!(allocations_of(|| assert!(decode_frame(Json, bytes.as_bytes(), &limits).is_ok())), 1);
}

#[test]
fn answers_and_deliveries_encode_without_allocating() {
    let mut out = Vec::with_capacity(4096);
    for encoding in [Json, MessagePack] {
        let envelope = encoded(encoding, r#"{"id":"m-0001","payload":"x"}"#);
        let delivery = Delivery {
            id: b"m-\"1\"",
            seq: Seq(7),
            attempt: 1,
            published: conduit_protocol::Now::default(),
            trace: None,
            encoding,
            envelope: &envelope,
        };
        let allocations = allocations_of(|| {
            encode_delivery(&delivery, &mut out);
            let receipt = Receipt {
                id: "m-0001",
                stream: "agents/user123/inbox",
                seq: Seq(7),
                promise: Promise::Durable,
                duplicate: true,
            };
            encode_ok(encoding, &receipt, b"1", &mut out);
            insert_id(encoding, &envelope, "m-0001", &mut out);
        });
        assert_eq!(allocations, 0);
    }
}
