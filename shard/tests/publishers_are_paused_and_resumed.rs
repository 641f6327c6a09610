//! A publisher that may be paused is paused when its stream (or the shard) is nearly full, and reads again when there
//! is room or it has waited long enough. Nobody stays paused.

mod common;
use common::{Bench, connection, limits, message};
use conduit_protocol::{Command, Origin, Publish, ShardId, TenantId, Token};
use conduit_shard::{Input, Limits};

fn tight() -> Limits {
    Limits { stream_messages_max: 100, pause_at_per_mille: 800, resume_at_per_mille: 500, ..limits() }
}

fn fill(bench: &mut Bench, messages: u64) {
    for n in 0..messages {
        bench.publish("s", &format!("m{n}"), b"{}");
    }
}

#[test]
fn paused_at_the_mark_and_not_before() {
    let mut bench = Bench::new(tight());
    fill(&mut bench, 78);
    assert_eq!(bench.publish_pausable(5, "s", "a", b"{}").paused, [], "79 of 100");
    let paused = bench.publish_pausable(5, "s", "b", b"{}").paused;
    assert_eq!(paused.iter().map(|origin| origin.connection).collect::<Vec<_>>(), [connection(5)], "80 of 100");
    assert_eq!(bench.publish_pausable(5, "s", "c", b"{}").paused, [], "once");
    assert_eq!(bench.publish("s", "d", b"{}").paused, [], "only those who may be");
    assert_eq!(bench.shard.totals().paused_now, 1);
}

#[test]
fn resumed_below_the_other_mark() {
    let mut bench = Bench::new(tight());
    fill(&mut bench, 80);
    bench.publish_pausable(5, "s", "a", b"{}");
    bench.publish_pausable(6, "s", "b", b"{}");
    bench.subscribe(1, "s", 1_000);
    for seq in 1..=32 {
        assert_eq!(bench.ack(1, seq).resumed, [], "{} left", 82 - seq);
    }
    let resumed = bench.ack(1, 33).resumed;
    let who: Vec<_> = resumed.iter().map(|origin| origin.connection).collect();
    assert_eq!(who, [connection(5), connection(6)], "49 left; the first to wait is the first to go on");
    assert_eq!(bench.run_ms(10_000).resumed, []);
}

#[test]
fn resumed_after_the_longest_pause() {
    let mut bench = Bench::new(Limits { pause_ms_max: 1_000, ..tight() });
    fill(&mut bench, 80);
    bench.publish_pausable(5, "s", "a", b"{}");
    bench.run_ms(500);
    bench.publish_pausable(6, "s", "b", b"{}");
    assert_eq!(bench.run_ms(499).resumed, []);
    assert_eq!(bench.run_ms(1).resumed.len(), 1);
    assert_eq!(bench.run_ms(500).resumed.len(), 1);
    assert_eq!(bench.publish_pausable(5, "s", "c", b"{}").paused.len(), 1, "and paused again by its next message");
}

#[test]
fn a_full_stream_refuses_and_pauses() {
    let mut bench = Bench::new(tight());
    fill(&mut bench, 100);
    let outcome = bench.publish_pausable(5, "s", "a", b"{}");
    assert_eq!((outcome.refused.len(), outcome.paused.len()), (1, 1));
}

#[test]
fn the_shard_pauses_publishers_of_any_stream() {
    let mut bench = Bench::new(Limits { shard_messages_max: 100, ..tight() });
    fill(&mut bench, 85);
    assert_eq!(bench.publish_pausable(5, "other", "a", b"{}").paused.len(), 1);
    bench.subscribe(1, "s", 1_000);
    let mut resumed = 0;
    for seq in 1..=40 {
        resumed += bench.ack(1, seq).resumed.len();
    }
    assert_eq!(resumed, 1, "86 - 37 is below half");
}

#[test]
fn no_more_than_the_limit_are_paused() {
    let mut bench = Bench::new(Limits { paused_max: 2, ..tight() });
    fill(&mut bench, 80);
    let paused: Vec<usize> = (5..8).map(|slot| bench.publish_pausable(slot, "s", "a", b"{}").paused.len()).collect();
    assert_eq!(paused, [1, 1, 0]);
}

#[test]
fn publishers_of_other_shards_are_told_apart_and_those_who_go_are_forgotten() {
    let mut bench = Bench::new(tight());
    fill(&mut bench, 80);
    let mut publish = |shard| {
        let origin = Origin { shard: ShardId(shard), connection: connection(5), token: Token(0) };
        let command = Command::Publish(Publish { pausable: true, ..message("s", "a", b"{}") });
        bench.input(Input::Command { origin, tenant: TenantId::DEFAULT, command }).paused.len()
    };
    assert_eq!((publish(0), publish(1), publish(1)), (1, 1, 0));
    bench.disconnect(5);
    let resumed = bench.run_ms(10_000).resumed;
    assert_eq!(resumed.iter().map(|origin| origin.shard).collect::<Vec<_>>(), [ShardId(1)]);
}
