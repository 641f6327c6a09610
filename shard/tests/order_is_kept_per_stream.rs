//! First deliveries to each group of a stream leave in the order of its seqs, without a gap; what came back leaves before fresh
//! messages, the lowest seq first.

mod common;
use common::Delivered;
use common::world::{Property, World, program};
use proptest::prelude::*;

struct Order;

impl Property for Order {
    fn delivered(&mut self, world: &World, delivered: &Delivered) {
        let (returned, fresh) = world.deliverable(world.group_of(delivered.connection.slot()).0);
        let expected = returned.first().copied().or(fresh);
        assert_eq!(Some(delivered.seq), expected, "{returned:?} came back and {fresh:?} is the next fresh one");
    }
}

/// With little work to a call, what time brings back comes back in several calls: then only first deliveries have one
/// order that they must keep.
struct FirstOrder;

impl Property for FirstOrder {
    fn delivered(&mut self, world: &World, delivered: &Delivered) {
        let (_, fresh) = world.deliverable(world.group_of(delivered.connection.slot()).0);
        assert!(delivered.attempt > 1 || Some(delivered.seq) == fresh, "{delivered:?} but {fresh:?} is next");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn order_is_kept_per_stream(program in program()) {
        World::run(&program, 256, &mut Order);
    }

    #[test]
    fn first_deliveries_keep_their_order_when_work_is_cut_short(program in program(), work_max in 1usize..4) {
        World::run(&program, work_max, &mut FirstOrder);
    }
}
