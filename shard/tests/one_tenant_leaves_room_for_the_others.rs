//! Where there are tenants, none of them takes all streams, groups or dedup ids of a shard: its share itself passes, one more is
//! refused as where the shard is full, and the others go on.

mod common;
mod log_support;
mod logged;

use common::wishes::in_group;
use common::{Bench, Outcome, limits, message, subscription};
use conduit_protocol::command::{PublishOptions, StreamAction, StreamCommand};
use conduit_protocol::{Command, ErrorCode, Publish, TenantId};
use conduit_shard::log::LogLimits;
use conduit_shard::{AnswerValue, Effect, Effects, Input, Limits};
use logged::Logged;

const GREEDY: TenantId = TenantId(7);
const OTHER: TenantId = TenantId(8);
const NO_STREAMS: [(ErrorCode, Option<u32>); 1] = [(ErrorCode::TooManyStreams, None)];
const NO_GROUPS: [(ErrorCode, Option<u32>); 1] = [(ErrorCode::TooManyGroups, None)];
const NO_IDS: [(ErrorCode, Option<u32>); 1] = [(ErrorCode::Backpressure, Some(1_000))];

fn by(bench: &mut Bench, tenant: TenantId, slot: u32, command: Command<'_>) -> Outcome {
    let origin = bench.origin(slot);
    bench.input(Input::Command { origin, tenant, command })
}

fn publish(bench: &mut Bench, tenant: TenantId, stream: &str) -> Outcome {
    by(bench, tenant, 900, Command::Publish(message(stream, "m", b"{}")))
}

fn publish_under(bench: &mut Bench, tenant: TenantId, stream: &str, dedup_id: &str) -> Outcome {
    let options = PublishOptions { dedup_id: Some(dedup_id.into()), ..PublishOptions::default() };
    by(bench, tenant, 900, Command::Publish(Publish { options, ..message(stream, "m", b"{}") }))
}

fn delete(bench: &mut Bench, tenant: TenantId, stream: &str) {
    let command = StreamCommand { stream: stream.into(), action: StreamAction::Delete };
    assert_eq!(by(bench, tenant, 900, Command::Stream(Box::new(command))).refused, []);
}

#[test]
fn streams() {
    let mut bench = Bench::new(Limits { streams_max: 5, ..limits() });
    for stream in ["a", "b"] {
        assert_eq!(publish(&mut bench, GREEDY, stream).refused, []);
    }
    assert_eq!(publish(&mut bench, GREEDY, "c").refused, NO_STREAMS);
    assert_eq!(by(&mut bench, GREEDY, 1, Command::Subscribe(subscription("c", 0))).refused, NO_STREAMS);
    assert_eq!(publish(&mut bench, GREEDY, "a").refused, [], "what is there is used as before");
    for stream in ["a", "b"] {
        assert_eq!(publish(&mut bench, OTHER, stream).refused, []);
    }
    assert_eq!(publish(&mut bench, OTHER, "c").refused, NO_STREAMS);
    delete(&mut bench, GREEDY, "a");
    assert_eq!(publish(&mut bench, GREEDY, "c").refused, [], "a deleted one makes room");
    assert_eq!(publish(&mut bench, GREEDY, "a").refused, NO_STREAMS);
}

#[test]
fn streams_that_are_forgotten_count_no_more() {
    let mut bench = Bench::new(Limits { streams_max: 2, stream_idle_ms: 1_000, ..limits() });
    assert_eq!(by(&mut bench, GREEDY, 1, Command::Subscribe(subscription("a", 0))).subscribed, 1);
    assert_eq!(publish(&mut bench, GREEDY, "b").refused, NO_STREAMS);
    bench.disconnect(1);
    bench.run_ms(3_000);
    assert_eq!(publish(&mut bench, GREEDY, "b").refused, []);
}

#[test]
fn groups() {
    let mut bench = Bench::new(Limits { groups_max: 4, groups_per_stream_max: 4, ..limits() });
    for (slot, group) in ["x", "y"].into_iter().enumerate() {
        let joined = by(&mut bench, GREEDY, slot as u32, Command::Subscribe(in_group("a", group, 0)));
        assert_eq!(joined.subscribed, 1);
    }
    assert_eq!(by(&mut bench, GREEDY, 3, Command::Subscribe(in_group("a", "z", 0))).refused, NO_GROUPS);
    assert_eq!(by(&mut bench, GREEDY, 3, Command::Subscribe(subscription("b", 0))).refused, NO_GROUPS);
    assert_eq!(bench.shard.totals().streams_now, 1, "a refusal leaves no stream behind");
    assert_eq!(by(&mut bench, OTHER, 3, Command::Subscribe(subscription("b", 0))).subscribed, 1);
    bench.disconnect(0);
    bench.disconnect(1);
    delete(&mut bench, GREEDY, "a");
    assert_eq!(by(&mut bench, GREEDY, 0, Command::Subscribe(subscription("b", 0))).subscribed, 1);
}

#[test]
fn dedup_ids() {
    let mut bench = Bench::new(Limits { dedup_entries_max: 4, dedup_window_ms_default: 100, ..limits() });
    for id in ["1", "2"] {
        assert_eq!(publish_under(&mut bench, GREEDY, "a", id).refused, []);
    }
    assert_eq!(publish_under(&mut bench, GREEDY, "a", "3").refused, NO_IDS);
    assert_eq!(publish_under(&mut bench, GREEDY, "a", "1").repeated.len(), 1, "what is remembered is recognised");
    for id in ["1", "2"] {
        assert_eq!(publish_under(&mut bench, OTHER, "a", id).refused, []);
    }
    bench.run_ms(2_000);
    for id in ["3", "4"] {
        assert_eq!(publish_under(&mut bench, GREEDY, "a", id).refused, [], "those of before are forgotten");
    }
    assert_eq!(publish_under(&mut bench, GREEDY, "a", "5").refused, NO_IDS);
    delete(&mut bench, GREEDY, "a");
    assert_eq!(publish_under(&mut bench, GREEDY, "b", "5").refused, []);
}

#[test]
fn whoever_has_no_tenant_has_everything_until_there_are_tenants() {
    let mut bench = Bench::new(Limits { streams_max: 6, ..limits() });
    for stream in ["a", "b", "c", "d"] {
        assert_eq!(publish(&mut bench, TenantId::DEFAULT, stream).refused, []);
    }
    bench.shard.share_among_tenants(true);
    assert_eq!(publish(&mut bench, TenantId::DEFAULT, "e").refused, NO_STREAMS);
    assert_eq!(publish(&mut bench, TenantId::DEFAULT, "a").refused, [], "what it has it keeps");
    assert_eq!(publish(&mut bench, OTHER, "a").refused, []);
    bench.shard.share_among_tenants(false);
    assert_eq!(publish(&mut bench, TenantId::DEFAULT, "e").refused, []);
    assert_eq!(publish(&mut bench, TenantId::DEFAULT, "f").refused, NO_STREAMS, "the shard itself is full");
}

#[test]
fn the_refusal_tells_the_share_and_not_the_shard() {
    let mut bench = Bench::new(Limits { streams_max: 2, ..limits() });
    publish(&mut bench, GREEDY, "a");
    let origin = bench.origin(900);
    let mut effects = Effects::new();
    let command = Command::Publish(message("b", "m", b"{}"));
    bench.shard.handle(bench.now, Input::Command { origin, tenant: GREEDY, command }, &mut effects);
    let Some(Effect::Answer { answer: AnswerValue::Refused { message, .. }, .. }) = effects.at(0) else {
        panic!("it is refused");
    };
    assert!(message.contains("--tenant-share-percent"), "{message}");
}

#[test]
fn a_restart_counts_what_it_finds() {
    let all = Limits { streams_max: 6, groups_max: 6, groups_per_stream_max: 6, dedup_entries_max: 6, ..limits() };
    let mut logged = Logged::new(all, &LogLimits::default());
    for (stream, id) in [("a", "1"), ("b", "2"), ("c", "3")] {
        publish_under(&mut logged.bench, GREEDY, stream, id);
        logged.work();
    }
    for (slot, stream) in ["a", "b", "c"].into_iter().enumerate() {
        by(&mut logged.bench, GREEDY, slot as u32, Command::Subscribe(subscription(stream, 0)));
        logged.work();
    }
    let full = |logged: &mut Logged| {
        let bench = &mut logged.bench;
        let streams = publish(bench, GREEDY, "d").refused;
        let groups = by(bench, GREEDY, 9, Command::Subscribe(in_group("a", "g", 0))).refused;
        let ids = publish_under(bench, GREEDY, "a", "4").refused;
        (streams.as_slice() == NO_STREAMS, groups.as_slice() == NO_GROUPS, ids.as_slice() == NO_IDS)
    };
    assert_eq!(full(&mut logged), (true, true, true));
    let mut logged = logged.stop_and_start();
    assert_eq!(full(&mut logged), (true, true, true), "after an orderly end");
    let mut logged = logged.restart();
    assert_eq!(full(&mut logged), (true, true, true), "after a crash");
    delete(&mut logged.bench, GREEDY, "a");
    logged.work();
    let mut logged = logged.restart();
    let bench = &mut logged.bench;
    assert_eq!(by(bench, GREEDY, 9, Command::Subscribe(in_group("b", "g", 0))).subscribed, 1);
    assert_eq!(publish_under(bench, GREEDY, "d", "4").refused, []);
    assert_eq!(publish(bench, GREEDY, "e").refused, NO_STREAMS);
    assert_eq!(publish_under(bench, GREEDY, "b", "5").refused, NO_IDS);
    assert_eq!(by(bench, GREEDY, 8, Command::Subscribe(in_group("b", "h", 0))).refused, NO_GROUPS);
}
