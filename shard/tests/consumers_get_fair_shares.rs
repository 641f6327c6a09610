//! Consumers that can take messages get them in turn, however many they are and whenever they came.

mod common;
use common::{Bench, limits, subscription};
use conduit_protocol::{Command, Subscribe};
use conduit_shard::Limits;
use std::collections::BTreeMap;

#[test]
fn shares_differ_by_one_at_most() {
    let mut bench = Bench::new(limits());
    for slot in 0..7 {
        bench.subscribe(slot, "s", 1_000);
    }
    let mut got: BTreeMap<u32, u32> = BTreeMap::new();
    for n in 0..1_000 {
        for delivered in bench.publish("s", &format!("m{n}"), b"{}").deliveries {
            *got.entry(delivered.connection.slot()).or_default() += 1;
        }
    }
    assert_eq!(got.len(), 7);
    assert_eq!(got.values().sum::<u32>(), 1_000);
    assert!(got.values().all(|count| [142, 143].contains(count)), "{got:?}");
}

#[test]
fn a_backlog_is_shared_by_those_with_credit() {
    let mut bench = Bench::new(Limits { work_max: 10, ..limits() });
    for n in 0..90 {
        bench.publish("s", &format!("m{n}"), b"{}");
    }
    for slot in 0..3 {
        bench.subscribe(slot, "s", 0);
    }
    // The first grant alone may take what one call can do, no more: then everybody has a turn.
    let mut outcome = bench.credit(0, 100);
    outcome.merge(bench.credit(1, 100));
    outcome.merge(bench.credit(2, 100));
    outcome.merge(bench.settle());
    let of = |slot: u32| outcome.deliveries.iter().filter(|delivered| delivered.connection.slot() == slot).count();
    assert_eq!(of(0) + of(1) + of(2), 90);
    assert!((20..=40).contains(&of(0)) && (20..=40).contains(&of(1)) && (20..=40).contains(&of(2)));
}

#[test]
fn a_consumer_at_its_maximum_is_passed_over() {
    let mut bench = Bench::new(limits());
    bench.command(0, Command::Subscribe(Subscribe { max_inflight: Some(1), ..subscription("s", 100) }));
    bench.subscribe(1, "s", 2);
    for n in 0..10 {
        bench.publish("s", &format!("m{n}"), b"{}");
    }
    assert_eq!(bench.stats("s").inflight, 3);
    assert_eq!(bench.ack(0, 1).seqs(), [4], "an ack makes room");
    assert_eq!(bench.ack(1, 2).seqs(), [0_u64; 0], "without refill an ack brings no credit");
    assert_eq!(bench.credit(1, 1).seqs(), [5]);
}

#[test]
fn streams_with_work_left_take_turns() {
    let mut bench = Bench::new(Limits { work_max: 64, ..limits() });
    for n in 0..300 {
        for stream in ["a", "b", "c"] {
            bench.publish(stream, &format!("m{n}"), b"{}");
        }
    }
    for (slot, stream) in ["a", "b", "c"].into_iter().enumerate() {
        bench.subscribe(slot as u32, stream, 1_000);
    }
    let mut turns = Vec::new();
    while bench.shard.next_deadline().is_some_and(|deadline| deadline <= bench.now.mono_ns) {
        let outcome = bench.input(conduit_shard::Input::Deadline);
        assert!(outcome.deliveries.len() <= 64, "the work of a call is bounded");
        turns.push(outcome.deliveries[0].connection.slot());
    }
    assert_eq!(turns[..6], [0, 1, 2, 0, 1, 2]);
}
