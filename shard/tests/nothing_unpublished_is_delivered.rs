//! Every delivery is of a published message that is neither done nor in flight in its group, with its own id, its own
//! bytes (in the consumer's encoding) and the right count of attempts.

mod common;
use common::Delivered;
use common::world::{Place, Property, World, program};
use proptest::prelude::*;

struct Published;

impl Property for Published {
    fn delivered(&mut self, world: &World, delivered: &Delivered) {
        let (group, stream) = world.group_of(delivered.connection.slot());
        let message = stream.messages.get(&delivered.seq).expect("only what is there is delivered");
        match group.outstanding.get(&delivered.seq) {
            Some(outstanding) => {
                assert_eq!(outstanding.place, Place::Returned, "{delivered:?}");
                assert_eq!(delivered.attempt, outstanding.attempts + 1);
            }
            None => {
                assert!(delivered.seq >= group.cursor, "the group is done with {delivered:?}");
                assert_eq!(delivered.attempt, 1);
            }
        }
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
