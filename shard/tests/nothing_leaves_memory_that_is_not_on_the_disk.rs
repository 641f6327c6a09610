//! When memory is short, messages leave it that the disk has, and come back from there: none leaves before its commit, and one
//! that comes back for its letter gets it before it leaves again.

mod common;
mod log_support;
mod logged;

use common::{limits, subscription};
use conduit_protocol::streams::Durability;
use conduit_protocol::{Command, Subscribe};
use conduit_shard::Limits;
use log_support::small_limits;
use logged::Logged;

const BYTES_MAX: u64 = 40_000;

fn tight() -> Limits {
    Limits { stream_bytes_max: BYTES_MAX, shard_bytes_max: BYTES_MAX, max_deliver_default: 1, ..limits() }
}

/// Publishes until memory is short, but not at its end.
fn crowd(logged: &mut Logged, stream: &str) -> u64 {
    let mut published = 0;
    while logged.bench.shard.totals().bytes_now < BYTES_MAX * 3 / 4 {
        let mut outcome = logged.bench.publish(stream, "m", &[&b"\""[..], &[b'x'; 1_000], b"\""].concat());
        outcome.merge(logged.work());
        assert_eq!(outcome.published.len(), 1);
        published += 1;
    }
    published
}

#[test]
fn what_is_written_within_an_interval_stays_until_it_is_written() {
    let mut logged = Logged::with(tight(), &small_limits(), Durability::Interval(10_000));
    let published = crowd(&mut logged, "s");
    let mut outcome = logged.bench.subscribe(1, "s", 1_000);
    outcome.merge(logged.work());
    assert_eq!((outcome.seqs(), outcome.gaps), ((1..=published).collect(), vec![]));
}

#[test]
fn a_message_that_was_given_up_and_left_memory_becomes_a_letter() {
    let mut logged = Logged::new(tight(), &small_limits());
    // Somebody is about to be given these: they stay.
    let near = Subscribe { group: Some("g".into()), ..subscription("near", 0) };
    logged.bench.command(9, Command::Subscribe(near));
    crowd(&mut logged, "near");
    logged.bench.subscribe(1, "s", 1);
    let mut outcome = logged.bench.publish("s", "m", b"{}");
    outcome.merge(logged.work());
    assert_eq!(outcome.attempts(), [(1, 1)]);
    logged.bench.nack(1, &[1], 0);
    logged.work();
    assert!(logged.bench.shard.totals().spilled > 0, "it has left, for want of memory");
    logged.run_ms(5_000);
    assert_eq!(logged.bench.shard.totals().dead_lettered, 1);
    assert_eq!((logged.bench.stats("s").depth, logged.bench.stats("s.dlq").depth), (0, 1));
}
