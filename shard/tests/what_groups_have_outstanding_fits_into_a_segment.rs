//! Every segment of the log names what the groups of its streams have outstanding. So that it always fits, a group is given
//! nothing fresh beyond its share until it is done with something; then it is, without anybody having to ask.

mod common;
mod log_support;
mod logged;

use common::{limits, nack, seqs, subscription};
use conduit_protocol::command::PublishOptions;
use conduit_protocol::streams::Durability;
use conduit_protocol::{Command, ErrorCode, Subscribe};
use conduit_shard::Limits;
use conduit_shard::log::LogLimits;
use log_support::small_limits;
use logged::Logged;
use std::collections::BTreeSet;

/// Messages of neighbouring seqs share a block of memory: what begins one is let in with the rest of it.
const BLOCK: u64 = 32;

fn publish(logged: &mut Logged, count: u64) {
    for _ in 0..count {
        logged.bench.publish("s", "m", b"{}");
    }
    logged.work();
}

fn join(logged: &mut Logged, slot: u32, group: &str) -> Vec<u64> {
    let subscribe = Subscribe { group: Some(group.to_owned().into()), ..subscription("s", 100_000) };
    let mut outcome = logged.bench.command(slot, Command::Subscribe(subscribe));
    outcome.merge(logged.run_ms(100));
    outcome.seqs()
}

/// Publishes until the log has begun so many segments more.
fn begin_segments(logged: &mut Logged, count: u64) {
    let segments = |logged: &mut Logged| {
        logged.bench.shard.snapshot(logged.bench.now).log.expect("it has a log").figures.segments_begun
    };
    let begun = segments(logged);
    while segments(logged) < begun + count {
        let mut outcome = logged.bench.publish("s", "m", &[&b"\""[..], &[b'x'; 1_000], b"\""].concat());
        outcome.merge(logged.work());
        assert_eq!((outcome.published.len(), outcome.refused), (1, vec![]));
    }
}

fn share(groups: u64) -> u64 {
    small_limits().outstanding_max(limits().groups_per_stream_max) / groups
}

#[test]
fn a_group_has_its_share_and_the_rest_after_it() {
    let mut logged = Logged::new(limits(), &small_limits());
    publish(&mut logged, 500);
    let mut got = join(&mut logged, 1, "g");
    assert!((share(1)..share(1) + BLOCK).contains(&(got.len() as u64)), "{} of {}", got.len(), share(1));
    assert!(logged.run_ms(1_000).deliveries.is_empty());
    // One after the other: whatever it is done with makes room for others.
    let mut next = 0;
    while next < got.len() {
        let mut outcome = logged.bench.ack(1, got[next]);
        outcome.merge(logged.run_ms(1));
        got.extend(outcome.seqs());
        next += 1;
    }
    assert_eq!(got, (1..=500).collect::<Vec<_>>());
}

#[test]
fn groups_that_come_one_after_the_other_all_fit_and_are_known_after_a_restart() {
    let groups = 8;
    let mut logged = Logged::new(Limits { groups_per_stream_max: groups, ..limits() }, &small_limits());
    publish(&mut logged, 500);
    let mut outstanding = Vec::new();
    for group in 0..groups as u32 {
        let subscribe = Subscribe { group: Some(format!("g{group}").into()), ..subscription("s", 100_000) };
        let mut outcome = logged.bench.command(group, Command::Subscribe(subscribe));
        outcome.merge(logged.run_ms(100));
        outstanding.push(outcome.seqs());
    }
    assert!(outstanding.iter().all(|seqs| seqs.len() > 4));
    // Each new segment names all of it, and takes messages.
    begin_segments(&mut logged, 3);
    let mut logged = logged.restart();
    for (group, outstanding) in outstanding.iter().enumerate() {
        let subscribe = Subscribe { group: Some(format!("g{group}").into()), ..subscription("s", 100_000) };
        let mut outcome = logged.bench.command(group as u32, Command::Subscribe(subscribe));
        outcome.merge(logged.run_ms(100));
        let again: BTreeSet<u64> =
            outcome.attempts().into_iter().filter(|(_, attempt)| *attempt > 1).map(|(seq, _)| seq).collect();
        assert_eq!(again, outstanding.iter().copied().collect());
    }
}

#[test]
fn what_comes_back_goes_on_before_what_is_more_urgent() {
    let mut logged = Logged::new(Limits { max_deliver_default: 0, ..limits() }, &small_limits());
    publish(&mut logged, 500);
    let first = join(&mut logged, 1, "g");
    for _ in 0..100 {
        let options = PublishOptions { priority: 3, ..PublishOptions::default() };
        logged.bench.publish_with("s", "m", b"{}", options);
    }
    logged.run_ms(10);
    let mut outcome = logged.bench.command(1, Command::Nack(nack(seqs(&first), 0)));
    outcome.merge(logged.run_ms(10));
    assert_eq!(outcome.seqs(), first);
}

#[test]
fn messages_that_become_letters_make_room_too() {
    let mut logged = Logged::new(Limits { max_deliver_default: 1, ..limits() }, &small_limits());
    publish(&mut logged, 300);
    let mut given = join(&mut logged, 1, "g");
    let mut got = given.clone();
    while !given.is_empty() {
        let mut outcome = logged.bench.command(1, Command::Nack(nack(seqs(&given), 0)));
        outcome.merge(logged.run_ms(100));
        given = outcome.seqs();
        got.extend(&given);
    }
    assert_eq!(got, (1..=300).collect::<Vec<_>>());
}

#[test]
fn a_stream_in_memory_is_not_bounded_by_a_segment() {
    let mut bench = common::Bench::new(limits());
    for _ in 0..500 {
        bench.publish("s", "m", b"{}");
    }
    let mut outcome = bench.subscribe(1, "s", 1_000);
    outcome.merge(bench.settle());
    assert_eq!(outcome.deliveries.len(), 500);
}

#[test]
fn where_segments_have_become_too_small_publishers_are_told_and_acks_help() {
    let large = LogLimits { segment_bytes: 256 << 10, batch_bytes_max: 64 << 10, ..small_limits() };
    let mut logged = Logged::new(limits(), &large);
    publish(&mut logged, 600);
    let given = join(&mut logged, 1, "g");
    // In the next segment all of it is named.
    begin_segments(&mut logged, 1);
    let Logged { disk, bench, .. } = logged;
    let small = LogLimits { segment_bytes: 16 << 10, batch_bytes_max: 4 << 10, ..large };
    let now = bench.now.plus_ns(common::MS);
    let mut logged = Logged::on(disk, now, (limits(), small, Durability::Commit));
    let mut outcome = logged.bench.publish("s", "m", b"{}");
    outcome.merge(logged.work());
    assert_eq!(outcome.refused, [(ErrorCode::StorageFull, None)]);
    join(&mut logged, 1, "g");
    for seq in given {
        logged.bench.ack(1, seq);
        logged.work();
    }
    let mut outcome = logged.bench.publish("s", "m", b"{}");
    outcome.merge(logged.work());
    assert_eq!((outcome.published.len(), outcome.refused), (1, vec![]));
}
