//! A message that must wait is not delivered before its time; those of equal times come by seq.

mod common;
use common::{Bench, MS, limits};
use conduit_protocol::command::{NotBefore, PublishOptions};
use conduit_protocol::{Command, Subscribe};
use conduit_shard::Limits;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn not_before(not_before: NotBefore) -> PublishOptions<'static> {
    PublishOptions { not_before, ..PublishOptions::default() }
}

#[test]
fn a_delayed_message_lets_others_pass_and_comes_at_its_millisecond() {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 10);
    assert_eq!(bench.publish_with("s", "m1", b"{}", not_before(NotBefore::AfterMs(100))).seqs(), [0_u64; 0]);
    assert_eq!(bench.publish("s", "m2", b"{}").attempts(), [(2, 1)]);
    assert_eq!(bench.run_ms(99).seqs(), [0_u64; 0]);
    assert_eq!(bench.run_ms(1).attempts(), [(1, 1)], "and it is its first delivery");
    assert!(bench.stats("s").lat_p99 < 1.0, "a wish to wait is no latency");
}

#[test]
fn the_past_and_now_mean_at_once_and_too_far_is_cut() {
    let mut bench = Bench::new(Limits { delay_ms_max: 1_000, ..limits() });
    bench.subscribe(1, "s", 10);
    let now = bench.now.unix_ms;
    let mut seqs = |when| bench.publish_with("s", "m", b"{}", not_before(when)).seqs();
    assert_eq!(seqs(NotBefore::AtUnixMs(0)), [1]);
    assert_eq!(seqs(NotBefore::AtUnixMs(now)), [2]);
    assert_eq!(seqs(NotBefore::AfterMs(0)), [3]);
    assert_eq!(seqs(NotBefore::AtUnixMs(u64::MAX)), [0_u64; 0]);
    assert_eq!(seqs(NotBefore::AfterMs(u64::MAX)), [0_u64; 0]);
    assert_eq!(bench.run_ms(999).seqs(), [0_u64; 0]);
    assert_eq!(bench.run_ms(1).seqs(), [4, 5]);
}

#[test]
fn a_message_whose_time_came_while_nobody_was_there_is_delivered_in_its_place() {
    let mut bench = Bench::new(limits());
    bench.publish_with("s", "m1", b"{}", not_before(NotBefore::AfterMs(10)));
    bench.publish("s", "m2", b"{}");
    bench.run_ms(10);
    assert_eq!(bench.subscribe(1, "s", 10).seqs(), [1, 2]);
}

#[test]
fn every_group_waits_for_itself_and_nothing_is_released_early() {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 10);
    let other = Subscribe { group: Some("other".into()), ..common::subscription("s", 10) };
    bench.command(2, Command::Subscribe(other));
    bench.publish_with("s", "m1", b"{}", not_before(NotBefore::AfterMs(10)));
    bench.publish("s", "m2", b"{}");
    bench.ack(1, 2);
    bench.ack(2, 2);
    assert_eq!(bench.stats("s").depth, 2, "what waits holds the floor of both");
    assert_eq!(bench.run_ms(10).seqs(), [1, 1]);
    bench.ack(1, 1);
    bench.ack(2, 1);
    assert_eq!(bench.stats("s").depth, 0);
}

#[test]
fn a_clock_that_is_set_back_makes_nothing_early() {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 10);
    let at = bench.now.unix_ms + 1_000;
    bench.publish_with("s", "m1", b"{}", not_before(NotBefore::AtUnixMs(at)));
    bench.now.unix_ms -= 500;
    assert_eq!(bench.run_ms(1_499).seqs(), [0_u64; 0]);
    assert_eq!(bench.run_ms(1).seqs(), [1]);
}

#[test]
fn a_clock_that_is_set_forward_is_noticed_within_a_minute() {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 10);
    bench.publish_with("s", "m1", b"{}", not_before(NotBefore::AfterMs(3_600_000)));
    bench.now.unix_ms += 3_600_000;
    assert_eq!(bench.run_ms(60_000).seqs(), [1]);
}

#[test]
fn a_delayed_message_survives_a_nack_and_its_consumer() {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 10);
    bench.publish_with("s", "m1", b"{}", not_before(NotBefore::AfterMs(10)));
    bench.disconnect(1);
    bench.subscribe(2, "s", 10);
    assert_eq!(bench.run_ms(10).attempts(), [(1, 1)]);
    assert_eq!(bench.nack(2, &[1], 0).attempts(), [(1, 2)], "its time has come once and for all");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Messages of many delays, some equal; a tick is not always a whole millisecond.
    #[test]
    fn never_early_and_by_time_then_seq(
        steps in proptest::collection::vec((0u64..40, 0u64..3_000_000), 1..60),
    ) {
        let mut bench = Bench::new(limits());
        bench.subscribe(1, "s", 1_000);
        let mut wanted = BTreeMap::new();
        let mut arrived = Vec::new();
        for (n, (delay_ms, wait_ns)) in steps.iter().enumerate() {
            // Rounded to tens, so that several messages have the same time.
            let at = (bench.now.unix_ms + delay_ms) / 10 * 10;
            wanted.insert(n as u64 + 1, at);
            let options = not_before(NotBefore::AtUnixMs(at));
            let outcome = bench.publish_with("s", "m", b"{}", options);
            arrived.extend(outcome.seqs().into_iter().map(|seq| (bench.now.unix_ms, seq)));
            bench.now.mono_ns += wait_ns;
            bench.now.unix_ms = 1_700_000_000_000 + (bench.now.mono_ns - 77 * MS) / MS;
            let outcome = bench.settle();
            arrived.extend(outcome.seqs().into_iter().map(|seq| (bench.now.unix_ms, seq)));
        }
        for _ in 0..50 {
            let outcome = bench.run_ms(1);
            arrived.extend(outcome.seqs().into_iter().map(|seq| (bench.now.unix_ms, seq)));
        }
        prop_assert_eq!(arrived.len(), wanted.len(), "all arrive, once");
        for (when, seq) in &arrived {
            prop_assert!(*when >= wanted[seq], "seq {} early", seq);
        }
        // What arrived at different times arrived in the order of the times, as far as it was there to be compared.
        for pair in arrived.windows(2) {
            let (first, second) = (pair[0].1, pair[1].1);
            if wanted[&first] == wanted[&second] && pair[0].0 == pair[1].0 {
                prop_assert!(first < second, "{} before {}", first, second);
            }
        }
    }
}
