//! Against a server that does what it should, every combination of wires passes and accounts for every message.

mod common;

use common::{RunningRelay, run_quietly};
use conduit_loadtest::plan::{AckStyle, ConsumeWire, Plan, PublishWire, Refill};
use conduit_loadtest::reference::relay::Misdeed;
use conduit_loadtest::wire::Codec;

fn passes(change: impl Fn(&mut Plan)) {
    let relay = RunningRelay::start(Misdeed::None);
    let mut plan = relay.plan();
    change(&mut plan);
    let report = run_quietly(&plan);
    assert!(report.verdict.passed, "{:#?}", report.verdict);
    assert_eq!(report.total().published, 2_000);
    assert_eq!(report.total().accepted, 2_000);
    if plan.consume == ConsumeWire::Ws {
        assert_eq!((report.total().delivered, report.total().acked), (2_000, 2_000));
    }
}

#[test]
fn websocket_in_both_codecs() {
    passes(|_| {});
    passes(|plan| (plan.codec, plan.consume_codec) = (Codec::Msgpack, Codec::Msgpack));
}

#[test]
fn every_way_to_ack_and_to_refill() {
    for ack in [AckStyle::Each, AckStyle::Array, AckStyle::Upto] {
        for refill in [Refill::Ack, Refill::Grant] {
            for codec in [Codec::Json, Codec::Msgpack] {
                passes(|plan| {
                    // A window far smaller than the load: without refills the run would stop short.
                    (plan.ack, plan.refill, plan.credit) = (ack, refill, 16);
                    (plan.codec, plan.consume_codec) = (codec, codec);
                });
            }
        }
    }
}

#[test]
fn answers_to_each_publish() {
    for codec in [Codec::Json, Codec::Msgpack] {
        passes(|plan| (plan.confirm, plan.codec, plan.consume_codec, plan.inflight) = (true, codec, codec, 7));
    }
}

#[test]
fn http_single_pipelined_and_batched() {
    passes(|plan| (plan.publish, plan.producers) = (PublishWire::Http, 4));
    passes(|plan| (plan.publish, plan.producers, plan.pipeline) = (PublishWire::Http, 2, 16));
    passes(|plan| (plan.publish, plan.batch, plan.pipeline) = (PublishWire::HttpBatch, 33, 2));
    passes(|plan| (plan.publish, plan.consume, plan.consumers) = (PublishWire::Http, ConsumeWire::None, 0));
}

#[test]
fn many_streams_producers_consumers_and_threads() {
    passes(|plan| (plan.producers, plan.streams, plan.consumers, plan.threads) = (3, 7, 14, 2));
    passes(|plan| (plan.producers, plan.streams, plan.consumers, plan.threads) = (7, 3, 3, 3));
    passes(|plan| (plan.producers, plan.streams, plan.consumers, plan.threads) = (2, 1, 5, 2));
}

#[test]
fn payloads_from_the_smallest_to_beyond_every_buffer() {
    passes(|plan| plan.payload_bytes = 16);
    passes(|plan| (plan.payload_bytes, plan.inflight) = (70_000, 50));
    passes(|plan| (plan.payload_bytes, plan.inflight, plan.confirm) = (70_000, 50, true));
}

#[test]
fn the_open_loop_sends_every_message_at_its_time() {
    let relay = RunningRelay::start(Misdeed::None);
    let mut plan = relay.plan();
    (plan.rate, plan.producers, plan.spin) = (Some(20_000.0), 3, true);
    let report = run_quietly(&plan);
    assert!(report.verdict.passed, "{:#?}", report.verdict);
    assert_eq!(report.total().delivered, 2_000);
    assert!(report.latency.send_lag.is_some() && report.latency.deliver.is_some());
}

#[test]
fn an_earlier_runs_leftovers_are_acked_and_ignored() {
    let relay = RunningRelay::start(Misdeed::None);
    let mut plan = relay.plan();
    (plan.stream_prefix, plan.run) = ("shared".into(), 1);
    (plan.consume, plan.consumers, plan.messages) = (ConsumeWire::None, 0, Some(100));
    assert!(run_quietly(&plan).verdict.passed);
    let mut second = relay.plan();
    (second.stream_prefix, second.run) = ("shared".into(), 2);
    let report = run_quietly(&second);
    assert!(report.verdict.passed, "{:#?}", report.verdict);
    assert_eq!((report.verdict.foreign, report.total().delivered), (100, 2_000));
}
