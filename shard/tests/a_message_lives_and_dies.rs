//! The life of a message: published, delivered with its bytes, acked, gone.

mod common;
use common::{Bench, id, limits};
use conduit_protocol::{Command, Encoding, Envelope, EnvelopeId, Publish, PublishOptions};

#[test]
fn published_before_or_after_the_consumer_came() {
    let mut bench = Bench::new(limits());
    let published = bench.publish("orders", "m1", br#"{"id":"m1","n":1}"#);
    assert_eq!(published.published[0].seq, 1);
    assert_eq!((&*published.published[0].id, &*published.published[0].stream), ("m1", "orders"));

    let first = bench.subscribe(1, "orders", 10);
    assert_eq!(first.subscribed, 1);
    assert_eq!(first.deliveries[0].envelope, br#"{"id":"m1","n":1}"#);
    let second = bench.publish("orders", "m2", b"{}");
    assert_eq!(second.deliveries[0].id, "m2");
    assert_eq!(bench.stats("orders").inflight, 2);

    bench.ack(1, 1);
    bench.command(1, Command::Ack(id("m2")));
    let stats = bench.stats("orders");
    assert_eq!((stats.depth, stats.inflight, stats.bytes, stats.acked_total), (0, 0, 0, 2));
    assert_eq!(bench.run_ms(100_000).deliveries, []);
}

#[test]
fn a_message_without_id_gets_one() {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 10);
    let mut publish = |id| {
        let envelope = Envelope { encoding: Encoding::Json, bytes: br#"{"n":1}"#, id };
        bench.command(
            2,
            Command::Publish(Publish {
                stream: "s".into(),
                envelope,
                pausable: false,
                options: PublishOptions::default(),
            }),
        )
    };
    let absent = publish(EnvelopeId::Absent);
    let made = &absent.published[0].id;
    assert_eq!(absent.deliveries[0].id, *made);
    assert_eq!(absent.deliveries[0].envelope, format!(r#"{{"id":"{made}","n":1}}"#).into_bytes());
    let unusable = publish(EnvelopeId::Unusable);
    assert_eq!(unusable.deliveries[0].envelope, br#"{"n":1}"#);
    assert_eq!(unusable.deliveries[0].id.len(), 36);
    assert_ne!(unusable.deliveries[0].id, *made);
}
