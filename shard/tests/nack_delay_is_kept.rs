//! A nacked message is delivered again not before its delay, and then the lowest seq first.

mod common;
use common::{Bench, limits, nack, seqs};
use conduit_protocol::{Command, MessageRef};
use conduit_shard::Limits;

fn bench_with(messages: u64) -> Bench {
    let mut bench = Bench::new(limits());
    for n in 0..messages {
        bench.publish("s", &format!("m{n}"), b"{}");
    }
    bench
}

#[test]
fn a_nack_without_delay_comes_back_at_once_and_first() {
    let mut bench = bench_with(5);
    bench.subscribe(1, "s", 3);
    assert_eq!(bench.nack(1, &[3, 1], 0).attempts(), [], "its credit was spent");
    assert_eq!(bench.credit(1, 3).attempts(), [(1, 2), (3, 2), (4, 1)]);
}

#[test]
fn nack_delay_is_kept() {
    let mut bench = bench_with(4);
    bench.subscribe(1, "s", 3);
    bench.credit(1, 7);
    bench.nack(1, &[3], 100);
    bench.nack(1, &[2], 100);
    bench.nack(1, &[1], 40);
    assert_eq!(bench.run_ms(39).attempts(), []);
    assert_eq!(bench.run_ms(1).attempts(), [(1, 2)], "a shorter delay overtakes");
    assert_eq!(bench.run_ms(59).attempts(), []);
    assert_eq!(bench.run_ms(1).attempts(), [(2, 2), (3, 2)]);
}

#[test]
fn a_delayed_message_waits_even_when_its_consumer_is_gone() {
    let mut bench = bench_with(1);
    bench.subscribe(1, "s", 1);
    bench.nack(1, &[1], 100);
    bench.disconnect(1);
    assert_eq!(bench.subscribe(2, "s", 5).attempts(), []);
    assert_eq!(bench.run_ms(100).attempts(), [(1, 2)]);
}

#[test]
fn a_delay_beyond_the_limit_is_cut_to_it() {
    for (asked, given) in [(999, 999), (1_000, 1_000), (1_001, 1_000), (u64::MAX, 1_000)] {
        let mut bench = Bench::new(Limits { nack_delay_ms_max: 1_000, ..limits() });
        bench.publish("s", "a", b"{}");
        bench.subscribe(1, "s", 2);
        bench.nack(1, &[1], asked);
        assert_eq!(bench.run_ms(given - 1).attempts(), []);
        assert_eq!(bench.run_ms(1).attempts(), [(1, 2)]);
    }
}

#[test]
fn a_nack_of_what_is_not_in_flight_here_is_ignored_and_counted() {
    let mut bench = bench_with(2);
    bench.subscribe(1, "s", 1);
    bench.subscribe(2, "s", 1);
    bench.command(1, Command::Nack(nack(seqs(&[2, 3, 0, u64::MAX]), 0)));
    let by_id = ["m1", "nothing", ""].map(|id| MessageRef::Id(id.into()));
    bench.command(1, Command::Nack(nack(by_id.into_iter().collect(), 0)));
    bench.nack(77, &[1], 0);
    assert_eq!(bench.shard.totals().nacks_ignored, 8);
    assert_eq!(bench.stats("s").inflight, 2);
}
