//! What was accepted is delivered to every group until the group has acked it: after any history, whoever comes next is
//! given exactly the messages that its group is not done with. A work stream is then empty; of a log is left what its
//! retention keeps.

mod common;
use common::world::{Place, Property, STREAMS, World, name, program};
use conduit_protocol::command::{Command, StreamAction, StreamCommand};
use conduit_protocol::streams::{Policy, StreamAnswer};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// What the shard tells about streams and groups is what the model knows.
struct Figures;

impl Property for Figures {
    fn rested(&mut self, world: &mut World) {
        for number in 0..STREAMS {
            let describe = StreamCommand { stream: name(number).into(), action: StreamAction::Describe };
            let described = world.bench.command(902, Command::Stream(Box::new(describe)));
            let stream = &world.streams[number];
            let Some(StreamAnswer::Stream(info)) = described.answer else {
                assert!(!stream.exists);
                continue;
            };
            assert_eq!(info.first, stream.messages.keys().next().copied());
            assert_eq!((info.last, info.messages), (stream.last_seq, stream.messages.len() as u64));
            let of_stream = world.groups.values().filter(|group| group.stream == number);
            let mut in_flight = 0;
            for group in of_stream.clone() {
                let count = |is_it: &dyn Fn(Place) -> bool| {
                    group.outstanding.values().filter(|outstanding| is_it(outstanding.place)).count() as u64
                };
                let mine = count(&|place| matches!(place, Place::InFlight { .. }));
                in_flight += mine;
                let Some(name) = group.name else { continue };
                let told = info.groups.iter().find(|told| told.group == name).expect("every group is told");
                let next = stream.messages.range(group.cursor..).next().map_or(info.last + 1, |(seq, _)| *seq);
                assert_eq!(told.next, next);
                assert_eq!(told.inflight, mine);
                assert_eq!(told.delayed, count(&|place| matches!(place, Place::Delayed { .. })));
                assert_eq!(told.backlog, world.left_for(group).len() as u64 - mine);
            }
            assert_eq!(info.groups.len(), of_stream.filter(|group| group.name.is_some()).count());
            assert_eq!(world.bench.stats(&name(number)).inflight, in_flight);
        }
        let totals = world.bench.shard.totals();
        assert_eq!(totals.groups_now, world.groups.len() as u64);
        assert_eq!(totals.messages_now, world.streams.iter().map(|stream| stream.messages.len() as u64).sum::<u64>());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn nothing_is_lost(program in program(), work_max in prop_oneof![1usize..4, Just(256)]) {
        let mut world = World::run(&program, work_max, &mut Figures);
        let before_ms = world.bench.now.unix_ms;
        let mut left: BTreeMap<u32, Vec<u64>> =
            world.groups.iter().filter(|(_, group)| group.name.is_some()).map(|(key, group)| (*key, world.left_for(group))).collect();
        let taken = world.take_all_that_is_left(&mut Figures);
        // While time passed, some logs lost what had become too old.
        for (key, left) in &mut left {
            let stream = &world.streams[world.groups[key].stream];
            if stream.retention.max_age_ms > 0 {
                let too_old = stream.retention.max_age_ms < world.bench.now.unix_ms - before_ms;
                prop_assert!(!too_old || taken[key].is_empty());
                left.retain(|seq| !too_old || stream.messages.contains_key(seq));
            }
        }
        prop_assert_eq!(&taken, &left, "exactly what was left is taken, in order");
        let kept = |number: usize| {
            let stream = &world.streams[number];
            let has_groups = world.groups.values().any(|group| group.stream == number);
            stream.retention.policy == Policy::Log || !has_groups
        };
        let messages = (0..STREAMS).filter(|number| kept(*number)).map(|number| world.streams[number].messages.len() as u64).sum::<u64>();
        let totals = world.bench.shard.totals();
        prop_assert_eq!((totals.messages_now, totals.inflight_now), (messages, 0));
        if messages == 0 {
            prop_assert_eq!((totals.bytes_now, totals.index_bytes_now), (0, 0));
        }
        let ended = totals.acked + totals.nacked + totals.ack_timeouts + totals.returned + totals.withdrawn;
        prop_assert_eq!(totals.delivered, ended);
    }
}
