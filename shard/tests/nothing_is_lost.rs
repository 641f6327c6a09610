//! What was accepted is delivered until it is acked: after any history, whoever comes next is given exactly the
//! messages that nobody acked, and then the stream is empty.

mod common;
use common::world::{Place, Property, STREAMS, World, name, program};
use proptest::prelude::*;

struct Figures;

impl Property for Figures {
    fn rested(&mut self, world: &mut World) {
        for stream in 0..STREAMS {
            let messages = world.streams[stream].values();
            let stored = messages.clone().filter(|message| message.place != Place::Done).count() as u64;
            let in_flight =
                messages.clone().filter(|message| matches!(message.place, Place::InFlight { .. })).count() as u64;
            if stored > 0 {
                let stats = world.bench.stats(&name(stream));
                assert_eq!((stats.inflight, stats.depth), (in_flight, stored - in_flight));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn nothing_is_lost(program in program(), work_max in prop_oneof![1usize..4, Just(256)]) {
        let mut world = World::run(&program, work_max, &mut Figures);
        let left: Vec<Vec<u64>> = world
            .streams
            .iter()
            .map(|stream| {
                let left = stream.iter().filter(|(_, message)| message.place != Place::Done);
                left.map(|(seq, _)| *seq).collect()
            })
            .collect();
        let taken = world.take_all_that_is_left(&mut Figures);
        prop_assert_eq!(&taken, &left, "exactly what was left is taken, in order");
        let totals = world.bench.shard.totals();
        prop_assert_eq!((totals.messages_now, totals.bytes_now, totals.inflight_now, totals.index_bytes_now), (0, 0, 0, 0));
        prop_assert_eq!(totals.acked, totals.published);
        prop_assert_eq!(totals.delivered, totals.acked + totals.nacked + totals.ack_timeouts + totals.returned);
    }
}
