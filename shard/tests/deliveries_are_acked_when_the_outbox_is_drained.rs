//! A consumer that sends no acks is done with a delivery once the kernel has taken its bytes, and not sooner: until then the
//! message is in flight, within the bounds of every consumer, and comes back when the connection goes.

mod common;
use common::wishes::{alone, in_group, log};
use common::{Bench, limits, subscription};
use conduit_protocol::{Command, Subscribe};
use conduit_shard::Limits;

fn auto(subscribe: Subscribe<'_>) -> Subscribe<'_> {
    Subscribe { auto_ack: true, refill_on_ack: true, ..subscribe }
}

#[test]
fn in_flight_until_the_outbox_is_drained_then_done() {
    let mut bench = Bench::new(limits());
    bench.fill("s", 3);
    let outcome = bench.join(1, auto(in_group("s", "g", 10)));
    assert_eq!(outcome.attempts(), [(1, 1), (2, 1), (3, 1)]);
    let stats = bench.stats("s");
    assert_eq!((stats.inflight, stats.acked_total, stats.credit), (3, 0, 7));
    bench.drained(1);
    let stats = bench.stats("s");
    assert_eq!((stats.inflight, stats.acked_total, stats.credit), (0, 3, 10));
    assert!(bench.held("s").is_empty(), "nobody else reads it: the messages are gone");
    assert!(bench.drained(1).deliveries.is_empty());
}

#[test]
fn its_window_bounds_what_is_on_the_way_and_draining_opens_it_again() {
    let mut bench = Bench::new(limits());
    bench.fill("s", 7);
    let mut outcome = bench.join(1, auto(Subscribe { max_inflight: Some(3), ..in_group("s", "g", 3) }));
    let mut got = outcome.seqs();
    while !outcome.deliveries.is_empty() {
        assert!(outcome.deliveries.len() <= 3);
        outcome = bench.drained(1);
        got.extend(outcome.seqs());
    }
    assert_eq!(got, [1, 2, 3, 4, 5, 6, 7]);
}

#[test]
fn the_byte_window_bounds_a_reader_that_does_not_read() {
    let limits = Limits { outbox_bytes_max: 4_096, ..limits() };
    let mut bench = Bench::new(limits);
    let envelope = [b"{\"x\":\"", &[b'x'; 1_000][..], b"\"}"].concat();
    for _ in 0..20 {
        bench.publish("s", "m", &envelope);
    }
    let first = bench.join(1, auto(in_group("s", "g", 1_000)));
    assert_eq!(first.seqs(), [1, 2, 3, 4]);
    assert!(bench.run_ms(1_000_000).deliveries.is_empty(), "nothing more, and no ack deadline brings anything back");
    assert_eq!(bench.drained(1).seqs(), [5, 6, 7, 8]);
}

#[test]
fn what_was_not_drained_goes_to_another_reader_of_the_group() {
    let mut bench = Bench::new(limits());
    bench.fill("s", 2);
    bench.join(1, auto(in_group("s", "g", 10)));
    bench.drained(1);
    bench.fill("s", 2);
    bench.join(2, auto(in_group("s", "g", 10)));
    assert_eq!(bench.disconnect(1).attempts(), [(3, 2), (4, 2)]);
    bench.drained(2);
    assert_eq!(bench.stats("s").acked_total, 4);
}

#[test]
fn a_slow_reader_stalls_only_itself() {
    let mut bench = Bench::new(limits());
    bench.put("s", log(0, 0, 100));
    bench.join(1, auto(Subscribe { max_inflight: Some(1), ..alone("s", 1) }));
    bench.join(2, auto(alone("s", 10)));
    let mut got = [Vec::new(), Vec::new()];
    for _ in 0..5 {
        let outcome = bench.publish("s", "m", b"{}");
        for delivery in &outcome.deliveries {
            got[delivery.connection.slot() as usize - 1].push(delivery.seq);
        }
        bench.drained(2);
    }
    assert_eq!(got, [vec![1], vec![1, 2, 3, 4, 5]]);
    assert_eq!(bench.drained(1).seqs(), [2]);
}

#[test]
fn a_consumer_that_acks_is_not_acked_for() {
    let mut bench = Bench::new(limits());
    bench.fill("s", 2);
    bench.command(1, Command::Subscribe(subscription("s", 10)));
    bench.drained(1);
    assert_eq!((bench.stats("s").inflight, bench.stats("s").acked_total), (2, 0));
}
