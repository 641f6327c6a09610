//! Once a shard is quiet no consumer is given anything more, whatever it does and whatever time does; acks and nacks of
//! what is in flight are taken on, and nothing is left due for ever.

mod common;
use common::{Bench, connection, limits};
use conduit_shard::Limits;

fn bench(limits: Limits) -> Bench {
    let mut bench = Bench::new(limits);
    for slot in 0..3 {
        bench.subscribe(slot, "s", 2);
    }
    for n in 0..10 {
        bench.publish("s", &format!("m{n}"), b"{}");
    }
    bench
}

#[test]
fn nothing_more_is_delivered_and_what_is_in_flight_comes_home() {
    let mut bench = bench(limits());
    bench.shard.quiesce();
    let inflight = |bench: &Bench| (0..3).map(|slot| bench.shard.inflight_of(connection(slot))).collect::<Vec<_>>();
    assert_eq!(inflight(&bench), [2, 2, 2]);
    let mut after = bench.credit(0, 100);
    after.merge(bench.ack(0, 1));
    after.merge(bench.nack(0, &[4], 0));
    after.merge(bench.drained(1));
    after.merge(bench.publish("s", "late", b"{}"));
    after.merge(bench.disconnect(2));
    after.merge(bench.run_ms(600_000));
    assert_eq!(after.deliveries, []);
    assert_eq!(inflight(&bench), [0, 0, 0], "acks, nacks, disconnects and deadlines are taken on");
    assert_eq!(bench.stats("s").depth, 10, "ten of eleven messages are still there");
    assert_eq!(bench.shard.inflight_of(connection(99)), 0);
}

#[test]
fn groups_that_wait_for_others_are_not_due_for_ever() {
    let mut bench = bench(Limits { outstanding_max: 32, ..limits() });
    bench.publish("t", "m", b"{}");
    bench.subscribe(7, "t", 5);
    bench.shard.quiesce();
    assert_eq!(bench.settle().deliveries, []);
    bench.disconnect(0);
    bench.disconnect(1);
    assert_eq!(bench.settle().deliveries, []);
}
