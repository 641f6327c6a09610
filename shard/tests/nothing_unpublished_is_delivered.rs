//! Every delivery is of a published message that is neither acked nor in flight elsewhere, with its own id, its own
//! bytes (in the consumer's encoding) and the right count of attempts.

mod common;
use common::Delivered;
use common::world::{Place, Property, World, program};
use proptest::prelude::*;

struct Published;

impl Property for Published {
    fn delivered(&mut self, world: &World, stream: usize, delivered: &Delivered) {
        let message = world.streams[stream].get(&delivered.seq).expect("only what was published is delivered");
        assert!(matches!(message.place, Place::Fresh | Place::Returned), "{delivered:?} is {:?}", message.place);
        assert_eq!(delivered.attempt, message.attempts + 1);
        assert_eq!(delivered.id, message.id);
        assert_eq!(delivered.envelope, world.expected_bytes(delivered.connection.slot(), message));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn nothing_unpublished_is_delivered(program in program(), work_max in prop_oneof![1usize..4, Just(256)]) {
        World::run(&program, work_max, &mut Published);
    }
}
