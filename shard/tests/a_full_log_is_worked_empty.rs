//! A log that is full becomes empty by what its consumers do: nothing waits for room that only it could make.

mod common;
mod log_support;
mod logged;

use common::{limits, nack, seqs};
use conduit_protocol::{Command, ErrorCode};
use conduit_shard::Limits;
use conduit_shard::log::LogLimits;
use log_support::small_limits;
use logged::Logged;

/// A log of four segments, in each of which seven messages have room if each is committed by itself.
fn four_segments() -> LogLimits {
    let limits = small_limits();
    LogLimits { log_bytes_max: 4 * limits.segment_bytes, ..limits }
}

/// Publishes until the log is full: how many messages it has.
fn fill(logged: &mut Logged) -> u64 {
    let mut published = 0;
    loop {
        let mut outcome = logged.bench.publish("s", "m", &[&b"{\"x\":\""[..], &[b'x'; 2_000], b"\"}"].concat());
        outcome.merge(logged.work());
        published += outcome.published.len() as u64;
        if let Some((code, _)) = outcome.refused.first() {
            assert_eq!(*code, ErrorCode::StorageFull);
            return published;
        }
    }
}

fn publishes_again(logged: &mut Logged) -> bool {
    logged.run_ms(2_000);
    let mut outcome = logged.bench.publish("s", "m", b"{}");
    outcome.merge(logged.work());
    outcome.published.len() == 1
}

#[test]
fn letters_find_room_where_publishes_find_none() {
    let mut logged = Logged::new(Limits { max_deliver_default: 1, ..limits() }, &four_segments());
    logged.bench.subscribe(1, "s", 1_000);
    let published = fill(&mut logged);
    // Acks use up what is for them, so that only what is for letters is left.
    for seq in (2..published).step_by(2) {
        logged.bench.ack(1, seq);
        logged.run_ms(100);
    }
    logged.bench.nack(1, &[1], 0);
    logged.run_ms(100);
    assert_eq!(logged.bench.shard.totals().dead_lettered, 1);
}

#[test]
fn what_it_has_no_letter_for_is_delivered_again_and_whoever_acks_it_makes_room() {
    let mut logged = Logged::new(Limits { max_deliver_default: 1, ..limits() }, &four_segments());
    logged.bench.subscribe(1, "s", 1_000);
    let published = fill(&mut logged);
    let (acked, given_up): (Vec<u64>, Vec<u64>) = (1..=published).partition(|seq| seq % 2 == 0);
    for seq in acked {
        logged.bench.ack(1, seq);
        logged.run_ms(100);
    }
    logged.bench.command(1, Command::Nack(nack(seqs(&given_up), 0)));
    let again = logged.run_ms(10_000);
    let letters = logged.bench.shard.totals().dead_lettered;
    let others = given_up.len() as u64 - letters;
    assert!(letters > 0 && others > 0, "{letters} of {given_up:?}: there is room for a few");
    assert_eq!(again.deliveries.len() as u64, others, "the others come once more, and wait for their acks");
    assert!(again.deliveries.iter().all(|delivery| delivery.attempt == 2));
    for delivery in &again.deliveries {
        logged.bench.ack(1, delivery.seq);
    }
    logged.bench.subscribe(2, "s.dlq", 1_000);
    logged.run_ms(1_000);
    for letter in 1..=letters {
        logged.bench.ack(2, letter);
    }
    assert!(publishes_again(&mut logged));
}

#[test]
fn a_restart_that_finds_no_place_to_write_makes_one() {
    for is_orderly in [true, false] {
        let mut logged = Logged::new(limits(), &four_segments());
        logged.bench.subscribe(1, "s", 1_000);
        let published = fill(&mut logged);
        // The reserve goes with acks that let no segment go.
        for seq in 2..=published {
            logged.bench.ack(1, seq);
            logged.run_ms(100);
        }
        let mut logged = if is_orderly { logged.stop_and_start() } else { logged.restart() };
        // And again, so that the spare one is used up too.
        for _ in 0..2 {
            logged = logged.restart();
        }
        let again = logged.bench.subscribe(1, "s", 1_000);
        let again: Vec<u64> =
            again.deliveries.iter().chain(&logged.run_ms(1_000).deliveries).map(|one| one.seq).collect();
        assert!(again.contains(&1));
        for seq in again {
            logged.bench.ack(1, seq);
        }
        assert!(publishes_again(&mut logged), "orderly: {is_orderly}");
        let log = logged.bench.shard.snapshot(logged.bench.now).log.expect("it has a log");
        assert!(log.figures.bytes_now <= four_segments().log_bytes_max, "and it is within its bound again");
    }
}
