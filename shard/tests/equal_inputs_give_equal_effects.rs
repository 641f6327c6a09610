//! Two shards of one seed that are told the same do the same, to the byte; another seed makes other ids.

mod common;
use common::world::{Property, Step, World, program};
use common::{Bench, Delivered, limits};
use conduit_protocol::{Command, Encoding, Envelope, EnvelopeId, Now, Publish, PublishOptions, ShardId};
use conduit_shard::Shard;
use proptest::prelude::*;

#[derive(Default, PartialEq, Debug)]
struct Trace(Vec<(u64, Delivered, Option<u64>)>);

impl Property for Trace {
    fn delivered(&mut self, world: &World, delivered: &Delivered) {
        self.0.push((world.now_ns(), delivered.clone(), world.bench.shard.next_deadline()));
    }
}

fn trace(program: &[Step], work_max: usize) -> Trace {
    let mut trace = Trace::default();
    World::run(program, work_max, &mut trace);
    trace
}

proptest! {
    #[test]
    fn equal_inputs_give_equal_effects(program in program(), work_max in prop_oneof![1usize..4, Just(256)]) {
        prop_assert_eq!(trace(&program, work_max), trace(&program, work_max));
    }
}

#[test]
fn ids_follow_from_the_seed() {
    let made = |seed| {
        let mut bench = Bench::new(limits());
        bench.shard = Shard::new(ShardId(0), 1, limits(), seed);
        bench.now = Now { mono_ns: 5, unix_ms: 6 };
        let envelope = Envelope { encoding: Encoding::Json, bytes: b"{}", id: EnvelopeId::Absent };
        let publish = Publish { stream: "s".into(), envelope, pausable: false, options: PublishOptions::default() };
        bench.command(1, Command::Publish(publish)).published[0].id.clone()
    };
    assert_eq!(made(1), made(1));
    assert_ne!(made(1), made(2));
}
