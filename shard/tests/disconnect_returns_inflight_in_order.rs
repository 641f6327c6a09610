//! A consumer that is gone gives everything back: the next one gets it first, in order, with the next attempt.

mod common;
use common::{Bench, connection, limits};
use conduit_protocol::ConnectionId;
use conduit_shard::Input;

#[test]
fn disconnect_returns_inflight_in_order() {
    let mut bench = Bench::new(limits());
    for n in 0..20 {
        bench.publish("s", &format!("m{n}"), b"{}");
    }
    assert_eq!(bench.subscribe(1, "s", 5).seqs(), [1, 2, 3, 4, 5]);
    assert_eq!(bench.subscribe(2, "s", 5).seqs(), [6, 7, 8, 9, 10]);
    bench.ack(1, 3);
    bench.disconnect(1);
    assert_eq!(bench.stats("s").depth, 14);
    bench.disconnect(2);
    let next = bench.subscribe(3, "s", 11);
    let expected: Vec<(u64, u32)> =
        [1, 2, 4, 5, 6, 7, 8, 9, 10].map(|seq| (seq, 2)).into_iter().chain([(11, 1), (12, 1)]).collect();
    assert_eq!(next.attempts(), expected);
}

#[test]
fn a_waiting_consumer_gets_at_once_what_the_other_gave_back() {
    let mut bench = Bench::new(limits());
    bench.publish("s", "a", b"{}");
    bench.subscribe(1, "s", 1);
    bench.subscribe(2, "s", 1);
    assert_eq!(bench.disconnect(1).attempts(), [(1, 2)]);
    assert_eq!(bench.disconnect(2).attempts(), []);
    assert_eq!(bench.subscribe(3, "s", 1).attempts(), [(1, 3)]);
}

#[test]
fn the_end_of_another_connection_of_the_slot_ends_nothing() {
    let mut bench = Bench::new(limits());
    bench.publish("s", "a", b"{}");
    bench.subscribe(1, "s", 1);
    let other = ConnectionId::new(connection(1).slot(), 99);
    bench.input(Input::Disconnected { connection: other });
    bench.input(Input::Disconnected { connection: connection(7) });
    assert_eq!(bench.stats("s").inflight, 1);
    assert_eq!(bench.stats("s").consumers, 1);
}
