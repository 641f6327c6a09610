//! A log's oldest messages go by number, bytes and age, whatever its groups have done; and only then.

mod common;
mod log_support;
mod logged;

use common::wishes::{alone, in_group, log};
use common::{Bench, limits};
use conduit_protocol::streams::{Retention, StreamSettings};
use conduit_protocol::{Command, ErrorCode, Seq, Subscribe};
use conduit_shard::{Input, Limits};
use log_support::small_limits;
use logged::Logged;

#[test]
fn an_ack_lets_nothing_go() {
    let mut bench = Bench::new(limits());
    bench.put("s", log(0, 0, 0));
    bench.subscribe(1, "s", 10);
    bench.join(2, in_group("s", "a", 10));
    bench.fill("s", 3);
    for slot in [1, 2] {
        bench.command(slot, Command::AckUpTo(Seq(3)));
    }
    assert_eq!(bench.held("s"), [1, 2, 3]);
    assert_eq!(bench.join(3, in_group("s", "b", 10)).attempts(), [(1, 1), (2, 1), (3, 1)], "whoever comes reads all");
    assert_eq!(bench.describe_group("s", "a").backlog, 0);
}

#[test]
fn by_number() {
    for (max, kept) in [(1, vec![5]), (4, vec![2, 3, 4, 5]), (5, vec![1, 2, 3, 4, 5]), (6, vec![1, 2, 3, 4, 5])] {
        let mut bench = Bench::new(limits());
        bench.put("s", log(0, 0, max));
        bench.fill("s", 5);
        assert_eq!(bench.held("s"), kept, "{max}");
    }
}

#[test]
fn by_bytes() {
    // Each takes a buffer of 64 bytes.
    for (max, kept) in [(319, vec![2, 3, 4, 5]), (320, vec![1, 2, 3, 4, 5]), (128, vec![4, 5]), (1, vec![5])] {
        let mut bench = Bench::new(limits());
        bench.put("s", log(0, max, 0));
        bench.fill("s", 5);
        assert_eq!(bench.held("s"), kept, "{max}; the newest stays in any case");
    }
}

#[test]
fn by_bytes_also_of_a_few_messages_in_the_log() {
    for (max, kept) in [(319, vec![2, 3, 4, 5]), (320, vec![1, 2, 3, 4, 5]), (128, vec![4, 5]), (1, vec![5])] {
        let mut logged = Logged::new(limits(), &small_limits());
        logged.bench.put("s", log(0, max, 0));
        for _ in 0..5 {
            logged.bench.publish("s", "m", b"{}");
            logged.work();
        }
        assert_eq!(logged.bench.held("s"), kept, "{max}");
    }
}

#[test]
fn by_age() {
    let mut bench = Bench::new(limits());
    bench.put("s", log(50, 0, 0));
    bench.publish("s", "a", b"{}");
    bench.run_ms(20);
    bench.publish("s", "b", b"{}");
    bench.run_ms(30);
    assert_eq!(bench.held("s"), [1, 2], "as old as it may be");
    bench.run_ms(1);
    assert_eq!(bench.held("s"), [2], "one millisecond older");
    bench.run_ms(20);
    assert_eq!(bench.held("s"), [0_u64; 0]);
    assert_eq!(bench.shard.totals().trimmed, 2);
    bench.publish("s", "c", b"{}");
    bench.run_ms(51);
    assert_eq!(bench.held("s"), [0_u64; 0], "an empty log wakes up again");
    bench.run_ms(100_000);
}

#[test]
fn a_group_that_falls_behind_goes_on_at_the_start() {
    let mut bench = Bench::new(limits());
    bench.put("s", log(0, 0, 3));
    bench.subscribe(1, "s", 2);
    bench.fill("s", 10);
    assert_eq!(bench.stats("s").inflight, 0, "what was in flight went, and is nobody's");
    let totals = bench.shard.totals();
    assert_eq!((totals.withdrawn, totals.inflight_now), (2, 0));
    bench.ack(1, 1);
    assert_eq!(bench.shard.totals().acks_ignored, 1);
    assert_eq!(bench.credit(1, 1).attempts(), [(8, 1)]);
    bench.nack(1, &[8], 10);
    bench.fill("s", 1);
    bench.run_ms(10);
    assert_eq!(bench.credit(1, 9).attempts(), [(9, 1), (10, 1), (11, 1)], "what came back and is gone is skipped");
}

#[test]
fn what_is_taken_back_gives_a_refilled_window_its_credit_back() {
    let mut bench = Bench::new(limits());
    bench.put("s", log(0, 0, 1));
    bench.join(1, Subscribe { refill_on_ack: true, ..alone("s", 1) });
    let mut got = Vec::new();
    for n in 0..5 {
        got.extend(bench.publish("s", &format!("m{n}"), b"{}").seqs());
        got.extend(bench.settle().seqs());
    }
    assert_eq!(got, [1, 2, 3, 4, 5], "nothing was acked, and the window never closed");
}

#[test]
fn less_is_kept_from_the_moment_it_is_said() {
    let mut bench = Bench::new(Limits { work_max: 10, ..limits() });
    bench.put("s", log(0, 0, 0));
    bench.fill("s", 1_000);
    bench.put("s", log(0, 0, 5));
    assert_eq!(bench.held("s"), [996, 997, 998, 999, 1_000], "at once,");
    assert!(bench.shard.totals().messages_now > 900, "though it takes many calls to let the others go");
    assert_eq!(bench.join(1, in_group("s", "a", 1)).seqs(), [996]);
    let mut calls = 0;
    let mut before = bench.shard.totals().messages_now;
    while bench.shard.next_deadline().is_some_and(|deadline| deadline <= bench.now.mono_ns) {
        bench.input(Input::Deadline);
        let now = bench.shard.totals().messages_now;
        assert!(before - now <= 10, "{} in one call", before - now);
        before = now;
        calls += 1;
    }
    assert_eq!((before, calls > 90), (5, true));
    bench.put("s", log(1, 0, 0));
    bench.run_ms(2);
    assert_eq!(bench.held("s"), [0_u64; 0], "a shorter age counts for what is there");
}

#[test]
fn a_log_without_bounds_fills_up_and_one_with_bounds_does_not() {
    let mut bench = Bench::new(Limits { stream_messages_max: 5, ..limits() });
    bench.put("unbounded", log(0, 0, 0));
    bench.fill("unbounded", 5);
    assert_eq!(bench.publish("unbounded", "m", b"{}").refused, [(ErrorCode::Backpressure, Some(1_000))]);
    for messages in [5, 6] {
        let name = format!("of {messages}");
        bench.put(&name, log(0, 0, messages));
        bench.fill(&name, 50);
        assert_eq!(bench.held(&name), [46, 47, 48, 49, 50], "the stream's bound is the log's at most");
        assert_eq!(bench.publish_pausable(7, &name, "m", b"{}").paused.len(), 0, "it is full, and has room");
    }
}

#[test]
fn a_log_becomes_work_and_work_a_log() {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 10);
    bench.fill("s", 4);
    bench.ack(1, 1);
    bench.put("s", log(0, 0, 0));
    bench.ack(1, 2);
    bench.ack(1, 4);
    assert_eq!(bench.held("s"), [2, 3, 4]);
    let work = StreamSettings { retention: Some(Retention::default()), ..StreamSettings::default() };
    bench.put("s", work);
    assert_eq!(bench.held("s"), [3, 4], "what the group is done with goes as its floor passes it");
    bench.ack(1, 3);
    assert_eq!(bench.held("s"), [0_u64; 0]);
}
