//! An empty stream without consumers is forgotten after its idle time, not before, and starts anew at seq 1; one that
//! holds a message or has a consumer stays.

mod common;
use common::wishes::{alone, in_group};
use common::{Bench, limits};
use conduit_protocol::command::{From, StreamAction};
use conduit_protocol::streams::{GroupSettings, StreamSettings};
use conduit_shard::Limits;

const IDLE_MS: u64 = 10_000;

fn bench() -> Bench {
    Bench::new(Limits { stream_idle_ms: IDLE_MS, ..limits() })
}

fn streams(bench: &Bench) -> u64 {
    bench.shard.totals().streams_now
}

#[test]
fn unused_streams_are_forgotten() {
    let mut bench = bench();
    for n in 0..1_000 {
        let stream = format!("s{n}");
        bench.publish(&stream, "m", b"{}");
        bench.subscribe(1, &stream, 1);
        bench.ack(1, 1);
        bench.disconnect(1);
    }
    assert_eq!(streams(&bench), 1_000);
    bench.run_ms(IDLE_MS - 1);
    assert_eq!(streams(&bench), 1_000);
    bench.run_ms(IDLE_MS);
    assert_eq!(streams(&bench), 0);
    assert_eq!(bench.shard.next_deadline(), None, "nothing is left to wait for");
    assert_eq!(bench.publish("s5", "m", b"{}").published[0].seq, 1);
}

#[test]
fn a_stream_in_use_stays() {
    let mut bench = bench();
    bench.publish("message", "m", b"{}");
    bench.subscribe(1, "consumer", 0);
    bench.publish("gone", "m", b"{}");
    bench.subscribe(2, "gone", 1);
    bench.ack(2, 1);
    bench.disconnect(2);
    bench.run_ms(IDLE_MS * 10);
    assert_eq!(streams(&bench), 2);
    bench.disconnect(1);
    bench.run_ms(IDLE_MS - 1);
    assert_eq!(streams(&bench), 2, "its idle time begins when the consumer goes");
    bench.run_ms(IDLE_MS);
    assert_eq!(streams(&bench), 1);
}

#[test]
fn what_was_made_on_purpose_stays() {
    let mut bench = bench();
    bench.put("put", StreamSettings::default());
    bench.put_group("with a group", "g", From::First, GroupSettings::default());
    bench.join(1, in_group("joined", "g", 0));
    bench.disconnect(1);
    bench.join(1, alone("read", 0));
    bench.disconnect(1);
    assert_eq!(streams(&bench), 4);
    bench.run_ms(IDLE_MS * 10);
    assert_eq!(streams(&bench), 2);
    assert_eq!(bench.describe("with a group").groups.len(), 1);
    bench.delete_group("with a group", "g");
    bench.run_ms(IDLE_MS * 2);
    assert_eq!((streams(&bench), bench.shard.totals().groups_now), (1, 0));
    bench.act("put", StreamAction::Delete);
    assert_eq!(streams(&bench), 0);
}

#[test]
fn zero_means_never() {
    let mut bench = Bench::new(Limits { stream_idle_ms: 0, ..limits() });
    bench.subscribe(1, "s", 0);
    bench.disconnect(1);
    bench.run_ms(100 * 24 * 3_600_000);
    assert_eq!(streams(&bench), 1);
}
