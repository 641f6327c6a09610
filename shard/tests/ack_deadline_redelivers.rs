//! What is not acked within the subscription's ack wait is delivered again, not a millisecond earlier; an ack that
//! comes later is ignored.

mod common;
use common::{Bench, limits, subscription};
use conduit_protocol::{Command, Subscribe};
use conduit_shard::Limits;

fn bench(ack_wait_ms: Option<u64>, refill_on_ack: bool, credit: u64) -> Bench {
    let mut bench = Bench::new(limits());
    let subscribe = Subscribe { ack_wait_ms, refill_on_ack, ..subscription("s", credit) };
    bench.command(1, Command::Subscribe(subscribe));
    bench
}

#[test]
fn ack_deadline_redelivers() {
    let mut bench = bench(Some(50), false, 3);
    bench.publish("s", "a", b"{}");
    bench.run_ms(10);
    bench.publish("s", "b", b"{}");
    assert_eq!(bench.run_ms(39).attempts(), []);
    assert_eq!(bench.run_ms(1).attempts(), [(1, 2)], "the first is 50 ms old");
    assert_eq!(bench.run_ms(9).attempts(), []);
    assert_eq!(bench.run_ms(1).attempts(), [], "the second came back, but there is no credit");
    assert_eq!(bench.stats("s").depth, 1);
    assert_eq!(bench.credit(1, 1).attempts(), [(2, 2)]);
    assert_eq!(bench.shard.totals().ack_timeouts, 2);
}

#[test]
fn a_late_ack_is_ignored_and_counted() {
    let mut bench = bench(Some(50), false, 1);
    bench.publish("s", "a", b"{}");
    bench.run_ms(50);
    bench.ack(1, 1);
    assert_eq!(bench.shard.totals().acks_ignored, 1);
    assert_eq!(bench.credit(1, 1).attempts(), [(1, 2)]);
    bench.ack(1, 1);
    assert_eq!(bench.shard.totals().acked, 1);
}

#[test]
fn a_passed_deadline_gives_the_credit_of_a_refilled_window_back() {
    let mut bench = bench(Some(50), true, 1);
    bench.publish("s", "a", b"{}");
    for attempt in 2..10 {
        assert_eq!(bench.run_ms(50).attempts(), [(1, attempt)]);
    }
}

#[test]
fn a_subscription_without_a_wish_waits_30_seconds() {
    let mut bench = bench(None, true, 1);
    bench.publish("s", "a", b"{}");
    assert_eq!(bench.run_ms(29_999).attempts(), []);
    assert_eq!(bench.run_ms(1).attempts(), [(1, 2)]);
}

#[test]
fn a_wait_outside_the_limits_is_cut_to_them() {
    for (asked, given) in [(0, 100), (99, 100), (100, 100), (5_000, 5_000), (5_001, 5_000), (u64::MAX, 5_000)] {
        let limits =
            Limits { ack_wait_ms_min: 100, ack_wait_ms_max: 5_000, ack_wait_ms_default: 200, ..Limits::default() };
        let mut bench = Bench::new(limits);
        let subscribe = Subscribe { ack_wait_ms: Some(asked), refill_on_ack: true, ..subscription("s", 1) };
        bench.command(1, Command::Subscribe(subscribe));
        bench.publish("s", "a", b"{}");
        assert_eq!(bench.run_ms(given - 1).attempts(), [], "{asked}");
        assert_eq!(bench.run_ms(1).attempts(), [(1, 2)], "{asked}");
    }
}

#[test]
fn ten_thousand_deadlines_of_one_moment_are_met_in_bounded_calls() {
    let mut bench = Bench::new(Limits { work_max: 64, ..limits() });
    for n in 0..10_000 {
        bench.publish("s", &format!("m{n}"), b"{}");
    }
    let subscribe = Subscribe { ack_wait_ms: Some(50), ..subscription("s", 10_000) };
    let mut delivered = bench.command(1, Command::Subscribe(subscribe));
    while delivered.deliveries.len() < 10_000 {
        delivered.merge(bench.drained(1));
        delivered.merge(bench.settle());
    }
    bench.advance_ms(50);
    let before = bench.stats("s").inflight;
    assert_eq!(before, 10_000);
    bench.input(conduit_shard::Input::Deadline);
    assert_eq!(bench.stats("s").inflight, 10_000 - 64, "one call does 64");
    bench.settle();
    assert_eq!((bench.stats("s").inflight, bench.stats("s").depth), (0, 10_000));
}
