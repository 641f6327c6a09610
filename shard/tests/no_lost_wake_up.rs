//! When all due deadlines are handled, no group has both something to deliver and a consumer that could take it; and
//! the next deadline is never later than the moment at which time changes something.

mod common;
use common::world::{Property, World, program};
use proptest::prelude::*;

struct Progress;

impl Property for Progress {
    fn rested(&mut self, world: &mut World) {
        for (key, group) in &world.groups {
            let (returned, fresh) = world.deliverable(group);
            let waiting = returned.first().or(fresh.as_ref()).copied();
            let able = world.consumers.iter().filter(|(_, consumer)| consumer.group == *key).map(|(slot, _)| *slot);
            let able: Vec<u32> = able.filter(|slot| world.is_eligible(*slot)).collect();
            assert!(waiting.is_none() || able.is_empty(), "{waiting:?} of {group:?} waits, {able:?} could take it");
        }
        if let Some(due_ns) = world.next_due_ns() {
            let deadline = world.bench.shard.next_deadline();
            assert!(deadline.is_some_and(|deadline| deadline <= due_ns), "{deadline:?} is later than {due_ns}");
            assert!(deadline.is_some_and(|deadline| deadline > world.now_ns()), "the rest is real");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn no_lost_wake_up(program in program(), work_max in prop_oneof![1usize..4, Just(256)]) {
        World::run(&program, work_max, &mut Progress);
    }
}
