//! What a seed decides before a run begins: the server, its limits, who uses it how, and what goes wrong when.

use super::host::HostBounds;
use super::oracle::StreamFacts;
use super::random::Random;
use super::{drive, network};
use crate::Limits;
use conduit_protocol::streams::Durability;
use conduit_protocol::time::NS_PER_MS;
use conduit_protocol::{Encoding, Limits as WireLimits};

/// A whole run, decided.
#[derive(Debug)]
pub struct Plan {
    /// Data shards.
    pub shards: usize,
    /// The core's bounds.
    pub limits: Limits,
    /// The wire's bounds.
    pub wire_limits: WireLimits,
    /// The hosts' bounds.
    pub bounds: HostBounds,
    /// How connections behave.
    pub network: network::Habits,
    /// How disks behave.
    pub drive: drive::Habits,
    /// Messages that a link between two shards holds.
    pub link_messages_max: usize,
    /// Nanoseconds that a message between two shards travels, at most.
    pub link_latency_ns_max: u64,
    /// The server keeps a log.
    pub is_durable: bool,
    /// The streams.
    pub streams: Vec<StreamFacts>,
    /// Who publishes.
    pub producers: Vec<ProducerPlan>,
    /// Who consumes.
    pub consumers: Vec<ConsumerPlan>,
    /// What goes wrong, in order of time.
    pub faults: Vec<(u64, Fault)>,
    /// When the last fault is over at the latest, in nanoseconds.
    pub faults_end_ns: u64,
}

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed.
    Kill,
    /// The power goes.
    PowerCut,
    /// Some connection breaks.
    Cut,
    /// A shard does not run for so many nanoseconds.
    Pause {
        /// Which one.
        shard: usize,
        /// How long.
        ns: u64,
    },
    /// The clock that people read jumps by so many milliseconds.
    ClockJump {
        /// Forward or back.
        ms: i64,
    },
}

/// How a producer speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// One request a message, over HTTP.
    Http,
    /// A WebSocket that only publishes.
    WebSocket,
}

/// A producer.
#[derive(Debug, Clone)]
pub struct ProducerPlan {
    /// The streams that it publishes to, in turn.
    pub streams: Vec<usize>,
    /// How.
    pub speech: Speech,
    /// In which encoding.
    pub encoding: Encoding,
    /// How many messages.
    pub messages: u64,
    /// Publishes without an answer at a time.
    pub window: usize,
    /// Nanoseconds between two messages, at most.
    pub pace_ns_max: u64,
    /// Messages in a thousand that may be repeated.
    pub dedup_per_mille: u64,
    /// Bytes of payload, at most.
    pub payload_bytes_max: u64,
}

/// A consumer.
#[derive(Debug, Clone)]
pub struct ConsumerPlan {
    /// The stream.
    pub stream: usize,
    /// Which of its groups.
    pub group: usize,
    /// In which encoding.
    pub encoding: Encoding,
    /// The most credit that it grants at a time.
    pub credit_max: u64,
    /// Settled deliveries give their credit back.
    pub refill: bool,
    /// Milliseconds until an unacked delivery is taken back.
    pub ack_wait_ms: u64,
    /// Deliveries in flight at a time, if it says so.
    pub inflight_max: Option<u64>,
    /// Deliveries in a thousand that it gives back.
    pub nack_per_mille: u64,
    /// Deliveries in a thousand that it does nothing about.
    pub ignore_per_mille: u64,
    /// It acks everything up to a seq, and so what it was never given to see: messages of lower seqs that were on their
    /// way to it for another time.
    pub acks_up_to: bool,
    /// Times that it leaves, in a thousand deliveries.
    pub leave_per_mille: u64,
    /// Nanoseconds that it takes over a message, at most.
    pub work_ns_max: u64,
    /// It sometimes reads nothing for a while.
    pub is_lazy: bool,
}

impl Plan {
    /// The run of a seed.
    #[must_use]
    pub fn new(random: &mut Random) -> Self {
        let shards = *random.pick(&[1, 1, 2, 2, 3, 4]);
        let is_durable = false;
        let streams = streams(random, is_durable);
        let faults_end_ns = random.magnitude(100, 4_000) * NS_PER_MS;
        let mut faults = faults(random, shards, faults_end_ns);
        faults.sort_by_key(|(at_ns, _)| *at_ns);
        let producers = (0..random.between(1, 5)).map(|_| producer(random, &streams)).collect();
        let (limits, wire_limits) = (limits(random), wire_limits(random));
        let mut consumers = consumers(random, &streams);
        for consumer in &mut consumers {
            // Credit beyond the server's maximum is lost: whoever counts on it waits for ever.
            consumer.credit_max = consumer.credit_max.min(limits.credit_max).min(wire_limits.credit_max);
        }
        Self {
            shards,
            limits,
            wire_limits,
            bounds: HostBounds {
                connections_max: 200,
                outbox_bytes_max: random.magnitude(500, 1 << 20) as usize,
                read_bytes_max: random.magnitude(16, 64 * 1024) as usize,
            },
            network: network::Habits {
                latency_ns_max: random.magnitude(1_000, 20 * NS_PER_MS),
                pipe_bytes_max: random.magnitude(1_000, 256 * 1024) as usize,
                split_per_mille: *random.pick(&[0, 10, 100, 700]),
            },
            drive: drive::Habits {
                commit_ns_min: 50_000,
                commit_ns_max: random.magnitude(100_000, 5 * NS_PER_MS),
                slow_per_mille: *random.pick(&[0, 0, 1, 20]),
            },
            link_messages_max: random.magnitude(1, 64) as usize,
            link_latency_ns_max: random.magnitude(1_000, 2 * NS_PER_MS),
            is_durable,
            streams,
            producers,
            consumers,
            faults,
            faults_end_ns,
        }
    }
}

fn streams(random: &mut Random, is_durable: bool) -> Vec<StreamFacts> {
    let durability = if is_durable { Durability::Commit } else { Durability::Memory };
    let one = |at: u64| StreamFacts { name: format!("stream/{at}"), durability, groups: vec![String::new()] };
    (0..random.between(1, 4)).map(one).collect()
}

fn limits(random: &mut Random) -> Limits {
    let messages_max = *random.pick(&[8, 30, 200, 10_000]);
    let bytes_max = *random.pick(&[40_000, 400_000, 1 << 30]);
    let per_mille = random.between(100, 1_000);
    Limits {
        stream_messages_max: messages_max,
        stream_bytes_max: bytes_max,
        shard_messages_max: messages_max * random.between(1, 4),
        shard_bytes_max: bytes_max * random.between(1, 4),
        consumer_inflight_max: random.magnitude(1, 65_536) as u32,
        credit_max: random.magnitude(4, 1_000_000),
        outbox_bytes_max: random.magnitude(1, 1 << 20),
        ack_wait_ms_min: 1,
        work_max: random.magnitude(1, 256) as usize,
        pause_at_per_mille: per_mille,
        resume_at_per_mille: random.between(0, per_mille - 1),
        pause_ms_max: random.magnitude(1, 2_000),
        paused_max: random.magnitude(1, 1_000) as usize,
        retry_after_ms: random.magnitude(1, 1_000) as u32,
        stream_idle_ms: 0,
        max_deliver_default: 0,
        free_bytes_max: random.magnitude(1, 32 << 20),
        ..Limits::default()
    }
}

fn wire_limits(random: &mut Random) -> WireLimits {
    let mut limits = WireLimits {
        unanswered_max: random.magnitude(1, 4_096) as usize,
        credit_max: random.magnitude(4, 1_000_000),
        ..WireLimits::default()
    };
    if random.chance(300) {
        (limits.ping_ms, limits.pong_ms) = (random.magnitude(300, 5_000), random.magnitude(300, 5_000));
    }
    if random.chance(300) {
        limits.write_stall_ms = random.magnitude(100, 2_000);
    }
    if random.chance(300) {
        limits.keep_alive_ms = random.magnitude(100, 5_000);
    }
    limits
}

fn encoding(random: &mut Random) -> Encoding {
    *random.pick(&[Encoding::Json, Encoding::Json, Encoding::MessagePack])
}

fn producer(random: &mut Random, streams: &[StreamFacts]) -> ProducerPlan {
    let first = random.below(streams.len() as u64) as usize;
    let second = random.below(streams.len() as u64) as usize;
    ProducerPlan {
        streams: if random.chance(300) { vec![first, second] } else { vec![first] },
        speech: *random.pick(&[Speech::Http, Speech::WebSocket]),
        encoding: encoding(random),
        messages: random.magnitude(5, 120),
        window: random.magnitude(1, 64) as usize,
        pace_ns_max: random.magnitude(1_000, 60 * NS_PER_MS),
        dedup_per_mille: *random.pick(&[0, 500, 1_000]),
        payload_bytes_max: *random.pick(&[1, 100, 100, 3_000]),
    }
}

fn consumers(random: &mut Random, streams: &[StreamFacts]) -> Vec<ConsumerPlan> {
    let mut consumers = Vec::new();
    for (stream, facts) in streams.iter().enumerate() {
        for group in 0..facts.groups.len() {
            for _ in 0..random.between(1, 3) {
                consumers.push(consumer(random, stream, group));
            }
        }
    }
    consumers
}

fn consumer(random: &mut Random, stream: usize, group: usize) -> ConsumerPlan {
    ConsumerPlan {
        stream,
        group,
        encoding: encoding(random),
        credit_max: random.magnitude(1, 200),
        refill: random.chance(400),
        ack_wait_ms: random.magnitude(5, 3_000),
        inflight_max: random.chance(400).then(|| random.magnitude(1, 50)),
        nack_per_mille: *random.pick(&[0, 0, 50, 400]),
        ignore_per_mille: *random.pick(&[0, 0, 20, 200]),
        acks_up_to: random.chance(100),
        leave_per_mille: *random.pick(&[0, 0, 10, 100]),
        work_ns_max: random.magnitude(1, 100 * NS_PER_MS),
        is_lazy: random.chance(250),
    }
}

fn faults(random: &mut Random, shards: usize, end_ns: u64) -> Vec<(u64, Fault)> {
    let mut faults = Vec::new();
    // Most runs have a few kinds of faults, so that some have one kind alone.
    let kinds: Vec<u64> = (0..random.below(4)).map(|_| random.below(5)).collect();
    if kinds.is_empty() {
        return faults;
    }
    for _ in 0..random.magnitude(1, 12) {
        let fault = match random.pick(&kinds) {
            0 => Fault::Kill,
            1 => Fault::PowerCut,
            2 => Fault::Pause { shard: random.below(shards as u64) as usize, ns: random.magnitude(NS_PER_MS, end_ns) },
            3 => Fault::ClockJump { ms: random.between(0, 7_200_000) as i64 - 3_600_000 },
            _ => Fault::Cut,
        };
        faults.push((random.below(end_ns), fault));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_plan_is_valid_and_every_group_has_a_consumer() {
        for seed in 0..500 {
            let plan = Plan::new(&mut Random::new(seed));
            assert_eq!(plan.limits.validate(), Ok(()), "seed {seed}");
            assert!(plan.faults.is_sorted_by_key(|(at_ns, _)| *at_ns));
            assert!(plan.producers.iter().flat_map(|producer| &producer.streams).all(|at| *at < plan.streams.len()));
            for (stream, facts) in plan.streams.iter().enumerate() {
                for group in 0..facts.groups.len() {
                    let is_served = |consumer: &ConsumerPlan| consumer.stream == stream && consumer.group == group;
                    assert!(plan.consumers.iter().any(is_served), "seed {seed}");
                }
            }
        }
    }
}
