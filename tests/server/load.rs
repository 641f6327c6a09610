//! The load-testing harness against the real server: under load every message comes once and in order, whatever the
//! wires, the codecs, and the shards that streams and sockets happen to lie on.

use crate::common::Start;
use conduit_loadtest::plan::{AckStyle, ConsumeWire, Plan, PublishWire, Refill, Target};
use conduit_loadtest::progress::Display;
use conduit_loadtest::run::run;
use conduit_loadtest::wire::Codec;
use std::time::Duration;

const MESSAGES: u64 = 20_000;

/// Runs one load after the other against the same server; each ends with every message accounted for.
fn passes(shards: usize, changes: &[fn(&mut Plan)]) {
    let server = Start::new().shards(shards).serve();
    for (index, change) in changes.iter().enumerate() {
        let mut plan = Plan {
            ws: Target::loopback(server.ws.port()),
            messages: Some(MESSAGES),
            duration: None,
            warmup: Duration::ZERO,
            // Never waited for when everything comes.
            drain: Duration::from_secs(30),
            stream_prefix: format!("load/{index}"),
            ..Plan::new(&Target::loopback(server.http.port()))
        };
        change(&mut plan);
        let report = run(&plan, &mut Display::quiet()).expect("the run comes about");
        assert!(report.verdict.passed, "{shards} shards, load {index}: {:#?}", report.verdict);
        assert_eq!(report.total().accepted, MESSAGES);
        if plan.consume == ConsumeWire::Ws {
            assert_eq!((report.total().delivered, report.total().acked), (MESSAGES, MESSAGES));
        }
    }
}

const LOADS: &[fn(&mut Plan)] = &[
    |_| {},
    |plan| (plan.codec, plan.consume_codec) = (Codec::Msgpack, Codec::Msgpack),
    // What is published in one codec is consumed in the other.
    |plan| (plan.codec, plan.consume_codec) = (Codec::Json, Codec::Msgpack),
    |plan| (plan.codec, plan.consume_codec) = (Codec::Msgpack, Codec::Json),
    |plan| (plan.producers, plan.consumers, plan.streams, plan.confirm) = (8, 16, 16, true),
    |plan| (plan.publish, plan.producers, plan.streams, plan.consumers) = (PublishWire::Http, 16, 8, 8),
    |plan| {
        (plan.publish, plan.producers, plan.streams, plan.pipeline, plan.consumers) = (PublishWire::Http, 4, 4, 16, 4);
    },
    |plan| (plan.publish, plan.batch, plan.streams, plan.consumers) = (PublishWire::HttpBatch, 100, 4, 4),
    |plan| (plan.ack, plan.refill, plan.credit) = (AckStyle::Array, Refill::Grant, 64),
    |plan| (plan.ack, plan.payload_bytes) = (AckStyle::Upto, 10_000),
];

#[test]
fn under_load_every_message_comes_once_and_in_order_on_one_shard() {
    passes(1, LOADS);
}

#[test]
fn under_load_every_message_comes_once_and_in_order_on_two_shards() {
    passes(2, LOADS);
}

#[test]
fn under_load_every_message_comes_once_and_in_order_on_more_shards_than_cores() {
    passes(5, LOADS);
}
