//! What one message costs to decode and to encode: `cargo bench -p conduit-benches --bench codec`.
//!
//! The enqueue frames carry a payload of 128 bytes, the yardstick of `docs/performance.md`.

use conduit_protocol::Encoding::{self, Json, MessagePack};
use conduit_protocol::codec::{
    decode_frame, decode_publish, delivery_len, encode_delivery, encode_ok, insert_id, transcode,
};
use conduit_protocol::{Delivery, Limits, Now, Promise, Receipt, Seq};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

const ID: &str = "01999f3a-7c00-7abc";
const STREAM: &str = "agents/user123/inbox";

fn payload() -> String {
    "x".repeat(128)
}

fn envelope(encoding: Encoding) -> Vec<u8> {
    let json = format!(r#"{{"id":"{ID}","payload":"{}"}}"#, payload()).into_bytes();
    let mut bytes = Vec::new();
    transcode(Json, encoding, &json, &mut bytes);
    bytes
}

/// Like what agents send: several members, numbers, some nesting.
fn rich_envelope() -> String {
    format!(
        r#"{{"id":"{ID}","ts":"2026-01-01T00:00:00.000Z","type":"task","payload":{{"task":"summarise","priority":3,"tags":["a","b"],"text":"{}"}}}}"#,
        &payload()[..40]
    )
}

fn publish(encoding: Encoding, envelope: &str) -> Vec<u8> {
    let json = format!(r#"{{"to":"{STREAM}","envelope":{envelope}}}"#).into_bytes();
    let mut bytes = Vec::new();
    transcode(Json, encoding, &json, &mut bytes);
    bytes
}

fn frame(encoding: Encoding, json: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    transcode(Json, encoding, json.as_bytes(), &mut bytes);
    bytes
}

fn decode(criterion: &mut Criterion) {
    let limits = Limits::default();
    for encoding in [Json, MessagePack] {
        let plain = String::from_utf8(envelope(Json)).unwrap_or_default();
        let frames = [
            ("enqueue_128", frame(encoding, &format!(r#"{{"enqueue":{{"to":"{STREAM}","envelope":{plain}}}}}"#))),
            ("credit", frame(encoding, r#"{"credit":256}"#)),
            ("ack_seq", frame(encoding, r#"{"ack":1234567}"#)),
            ("ack_id", frame(encoding, &format!(r#"{{"ack":"{ID}"}}"#))),
            ("ack_up_to", frame(encoding, r#"{"ackUpTo":1234567}"#)),
            ("ack_16_seqs", frame(encoding, &format!(r#"{{"ack":{:?}}}"#, (1_000_000..1_000_016).collect::<Vec<_>>()))),
        ];
        let bodies =
            [("publish_128", publish(encoding, &plain)), ("publish_rich", publish(encoding, &rich_envelope()))];
        let mut group = criterion.benchmark_group(format!("decode/{encoding:?}"));
        for (name, bytes) in &frames {
            group.throughput(Throughput::Bytes(bytes.len() as u64));
            group.bench_function(*name, |bencher| {
                bencher.iter(|| decode_frame(encoding, black_box(bytes), &limits).is_ok());
            });
        }
        for (name, bytes) in &bodies {
            group.throughput(Throughput::Bytes(bytes.len() as u64));
            group.bench_function(*name, |bencher| {
                bencher.iter(|| decode_publish(encoding, black_box(bytes), &limits).is_ok());
            });
        }
        group.finish();
    }
}

fn encode(criterion: &mut Criterion) {
    for encoding in [Json, MessagePack] {
        let envelope = envelope(encoding);
        let delivery = Delivery {
            id: ID.as_bytes(),
            seq: Seq(1_234_567),
            attempt: 1,
            published: Now::default(),
            trace: None,
            encoding,
            envelope: &envelope,
        };
        let mut out = Vec::with_capacity(4096);
        let mut group = criterion.benchmark_group(format!("encode/{encoding:?}"));
        group.bench_function("delivery_128", |bencher| {
            bencher.iter(|| {
                out.clear();
                encode_delivery(black_box(&delivery), &mut out);
                out.len()
            });
        });
        group.bench_function("delivery_len", |bencher| bencher.iter(|| delivery_len(black_box(&delivery))));
        group.bench_function("ok", |bencher| {
            bencher.iter(|| {
                out.clear();
                let receipt = Receipt {
                    id: black_box(ID),
                    stream: STREAM,
                    seq: Seq(1_234_567),
                    promise: Promise::Unsaid,
                    duplicate: false,
                };
                encode_ok(encoding, &receipt, b"7", &mut out);
                out.len()
            });
        });
        group.bench_function("insert_id", |bencher| {
            bencher.iter(|| {
                out.clear();
                insert_id(encoding, black_box(&envelope), ID, &mut out);
                out.len()
            });
        });
        group.bench_function("transcode", |bencher| {
            let to = if encoding == Json { MessagePack } else { Json };
            bencher.iter(|| {
                out.clear();
                transcode(encoding, to, black_box(&envelope), &mut out);
                out.len()
            });
        });
        group.finish();
    }
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);
