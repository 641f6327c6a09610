//! A consumer is never given more messages than it granted credit for, nor more at once than its in-flight maximum,
//! nor more bytes than its window: whatever it does, and whatever time does.

mod common;
use common::Delivered;
use common::world::{Property, World, program};
use proptest::prelude::*;

struct Credit;

impl Property for Credit {
    fn delivered(&mut self, world: &World, delivered: &Delivered) {
        let slot = delivered.connection.slot();
        let consumer = &world.consumers[&slot];
        assert!(consumer.credit > 0, "consumer {slot} got {delivered:?} without credit");
        assert!(consumer.got < consumer.given, "consumer {slot} got more than it was ever given");
        let in_use = world.in_flight(slot).len() as u64 + consumer.credit;
        assert!(in_use <= consumer.granted, "{in_use} in flight or to spend of {} granted", consumer.granted);
        assert!(world.in_flight(slot).len() < consumer.inflight_max as usize, "too much in flight at {slot}");
        assert!(consumer.outbox_bytes < world.limits.outbox_bytes_max, "the byte window of {slot} was closed");
    }

    fn rested(&mut self, world: &mut World) {
        let held: u64 = world.consumers.values().map(|consumer| consumer.credit).sum();
        assert_eq!(world.bench.shard.totals().credit_now, held);
        let totals = world.bench.shard.totals();
        assert!(totals.credit_spent <= totals.credit_granted + totals.credit_refilled);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn credit_is_never_overspent(program in program(), work_max in prop_oneof![1usize..4, Just(256)]) {
        World::run(&program, work_max, &mut Credit);
    }
}
