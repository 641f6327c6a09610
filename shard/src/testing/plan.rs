//! What a seed decides before a run begins: the server, its limits, who uses it how, and what goes wrong when.

use super::host::HostBounds;
use super::oracle::StreamFacts;
use super::quotas::Quotas;
use super::random::Random;
use super::{drive, network};
use crate::Limits;
use crate::log::LogLimits;
use conduit_protocol::streams::Durability;
use conduit_protocol::time::NS_PER_MS;
use conduit_protocol::{Encoding, Limits as WireLimits};
use std::collections::BTreeSet;

/// Milliseconds in which the server recognises a repeat: longer than any publish is on its way.
const WINDOW_MS: u64 = 20_000;

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
    /// The bounds of every log.
    pub log_limits: LogLimits,
    /// Bytes that each disk has for its log.
    pub room_bytes: u64,
    /// Requests that a disk takes at a time.
    pub requests_max: usize,
    /// Starts in a thousand that end before the server has recovered.
    pub recovery_end_per_mille: u64,
    /// Starts in a thousand with another number of shards.
    pub moves_per_mille: u64,
    /// Nanoseconds after its first try in which a publish may be repeated: well within the window in which the server
    /// recognises that.
    pub repeat_ns: u64,
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
    /// How often and how many at a time, where that is limited.
    pub quotas: Option<Quotas>,
}

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The process is killed.
    Kill,
    /// The process is told to end, does so as it should, and is started again.
    Restart,
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
    /// Some operations of a disk fail.
    DiskError {
        /// Whose.
        shard: usize,
        /// Operations before them that do not.
        skipped: u64,
        /// How many.
        count: u64,
        /// Reads fail too.
        reads: bool,
    },
    /// Some reads of a disk fail.
    BadReads {
        /// Whose.
        shard: usize,
        /// How many.
        count: u64,
    },
    /// A disk has no more room than this.
    DiskFull {
        /// Whose.
        shard: usize,
        /// Bytes that are left.
        spare_bytes: u64,
    },
    /// It has room again.
    DiskRoom {
        /// Whose.
        shard: usize,
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
    /// Messages in a thousand that are urgent.
    pub urgent_per_mille: u64,
    /// Messages in a thousand that are not to be delivered at once.
    pub delayed_per_mille: u64,
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
    /// Nanoseconds that pass before it connects.
    pub begins_ns: u64,
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
    /// It reads events over HTTP, and sends no acks.
    pub is_reader: bool,
}

impl Plan {
    /// Streams whose messages may overtake each other on their first delivery: some of them are urgent or delayed.
    #[must_use]
    pub fn unordered(&self) -> BTreeSet<String> {
        self.streams.iter().filter(|stream| stream.is_unordered).map(|stream| stream.name.clone()).collect()
    }

    /// The run of a seed.
    #[must_use]
    pub fn new(random: &mut Random) -> Self {
        let shards = *random.pick(&[1, 1, 2, 2, 3, 4]);
        let is_durable = random.chance(750);
        let mut streams = streams(random, is_durable);
        let faults_end_ns = random.magnitude(100, 4_000) * NS_PER_MS;
        let kinds = kinds_of_faults(random, is_durable);
        let mut faults = faults(random, &kinds, shards, faults_end_ns);
        faults.sort_by_key(|(at_ns, _)| *at_ns);
        let has_clock_jumps = kinds.contains(&CLOCK_JUMP);
        let (limits, wire_limits) = (limits(random, has_clock_jumps), wire_limits(random));
        let producers: Vec<ProducerPlan> =
            (0..random.between(1, 5)).map(|_| producer(random, &streams, has_clock_jumps)).collect();
        for producer in producers.iter().filter(|producer| producer.urgent_per_mille + producer.delayed_per_mille > 0) {
            producer.streams.iter().for_each(|at| streams[*at].is_unordered = true);
        }
        if limits.max_deliver_default > 0 {
            add_dead_letters(&mut streams);
        }
        let mut consumers = consumers(random, &streams, faults_end_ns);
        for consumer in &mut consumers {
            // Credit beyond the server's maximum is lost: whoever counts on it waits for ever.
            consumer.credit_max = consumer.credit_max.min(limits.credit_max).min(wire_limits.credit_max);
        }
        let log_limits = log_limits(random, has_clock_jumps);
        let is_killed = kinds.iter().any(|kind| [KILL, POWER_CUT].contains(kind));
        let mut plan = Self {
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
                commit_ns_max: random.magnitude(100_000, 50 * NS_PER_MS),
                slow_per_mille: *random.pick(&[0, 0, 1, 20]),
            },
            link_messages_max: random.magnitude(1, 64) as usize,
            link_latency_ns_max: random.magnitude(1_000, 2 * NS_PER_MS),
            is_durable,
            // As the real one, a disk takes everything that a log asks for at a time: a commit, a step, and its reads.
            requests_max: log_limits.reads_max + 2,
            log_limits,
            room_bytes: 1 << 30,
            recovery_end_per_mille: if is_killed { *random.pick(&[0, 300, 700]) } else { 0 },
            moves_per_mille: *random.pick(&[0, 0, 500]),
            repeat_ns: if has_clock_jumps { u64::MAX } else { WINDOW_MS / 2 * NS_PER_MS },
            streams,
            producers,
            consumers,
            faults,
            faults_end_ns,
            quotas: None,
        };
        for consumer in &mut plan.consumers {
            // Without a group a reader of events is alone, and owed nothing.
            consumer.is_reader = consumer.group > 0 && random.chance(400);
        }
        plan.quotas = random.chance(300).then(|| Quotas::new(random, &plan));
        plan
    }
}

fn streams(random: &mut Random, is_durable: bool) -> Vec<StreamFacts> {
    let count = random.between(1, 4);
    let mut one = |at: u64| {
        let durability = match random.below(if is_durable { 6 } else { 0 }) {
            1..=4 => Durability::Commit,
            5 => Durability::Interval(random.magnitude(1, 500)),
            _ => Durability::Memory,
        };
        let groups = *random.pick(&[1, 1, 1, 2, 3]);
        let groups = ["", "second", "third"][..groups].iter().map(|name| (*name).to_owned()).collect();
        StreamFacts { name: format!("stream/{at}"), durability, groups, letters_of: None, is_unordered: false }
    };
    (0..count).map(&mut one).collect()
}

/// Each stream's dead letters are a stream that somebody consumes.
fn add_dead_letters(streams: &mut Vec<StreamFacts>) {
    for at in 0..streams.len() {
        let StreamFacts { name, durability, .. } = &streams[at];
        streams.push(StreamFacts {
            name: format!("{name}.dlq"),
            durability: *durability,
            groups: vec![String::new()],
            letters_of: Some(at),
            is_unordered: false,
        });
    }
}

fn log_limits(random: &mut Random, has_clock_jumps: bool) -> LogLimits {
    let segment_bytes = *random.pick(&[64 << 10, 64 << 10, 128 << 10, 512 << 10]);
    let batch_bytes_max = random.magnitude(4_096, segment_bytes - 4_096);
    LogLimits {
        segment_bytes,
        batch_bytes_max,
        unsynced_bytes_max: batch_bytes_max.max(random.magnitude(16 << 10, 1 << 20)),
        // With windows of a day, segments are kept for a day.
        log_bytes_max: if has_clock_jumps { 0 } else { *random.pick(&[0, 0, 0, 4, 5, 8]) * segment_bytes },
        upkeep_ms: *random.pick(&[0, 5, 50, 50]),
        full_retry_ms: random.magnitude(1, 1_000),
        reads_max: random.magnitude(1, 64) as usize,
        ..LogLimits::default()
    }
}

fn limits(random: &mut Random, has_clock_jumps: bool) -> Limits {
    let messages_max = *random.pick(&[8, 30, 200, 10_000]);
    let bytes_max = *random.pick(&[40_000, 40_000, 400_000, 1 << 30]);
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
        max_deliver_default: *random.pick(&[0, 0, 2, 5]),
        // A clock that is set to another date opens windows early, across restarts.
        dedup_window_ms_default: if has_clock_jumps { 24 * 60 * 60 * 1_000 } else { WINDOW_MS },
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
    if random.chance(600) {
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

fn producer(random: &mut Random, streams: &[StreamFacts], has_clock_jumps: bool) -> ProducerPlan {
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
        urgent_per_mille: *random.pick(&[0, 0, 0, 300]),
        delayed_per_mille: if has_clock_jumps { 0 } else { *random.pick(&[0, 0, 0, 300]) },
        payload_bytes_max: *random.pick(&[1, 100, 1_000, 3_000]),
    }
}

fn consumers(random: &mut Random, streams: &[StreamFacts], late_ns: u64) -> Vec<ConsumerPlan> {
    let mut consumers = Vec::new();
    for (stream, facts) in streams.iter().enumerate() {
        let are_late = random.chance(400);
        for group in 0..facts.groups.len() {
            for _ in 0..random.between(1, 3) {
                let begins_ns = if are_late { random.below(late_ns) } else { 0 };
                let plan = ConsumerPlan { begins_ns, ..consumer(random, stream, group) };
                consumers.push(plan);
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
        begins_ns: 0,
        credit_max: random.magnitude(1, 200),
        refill: random.chance(400),
        ack_wait_ms: random.magnitude(5, 3_000),
        inflight_max: random.chance(400).then(|| random.magnitude(1, 50)),
        nack_per_mille: *random.pick(&[0, 0, 50, 400]),
        ignore_per_mille: *random.pick(&[0, 0, 20, 200]),
        acks_up_to: random.chance(100),
        leave_per_mille: *random.pick(&[0, 0, 10, 100]),
        work_ns_max: random.magnitude(1, 100 * NS_PER_MS),
        is_lazy: random.chance(400),
        is_reader: false,
    }
}

const KILL: u64 = 0;
const POWER_CUT: u64 = 1;
const PAUSE: u64 = 2;
const CLOCK_JUMP: u64 = 3;
const CUT: u64 = 4;
const RESTART: u64 = 5;
const DISK_ERROR: u64 = 6;
const DISK_FULL: u64 = 7;
const BAD_READS: u64 = 8;

/// Most runs have a few kinds of faults, so that some have one kind alone.
fn kinds_of_faults(random: &mut Random, is_durable: bool) -> Vec<u64> {
    const ALL: &[u64] = &[
        KILL, POWER_CUT, PAUSE, CLOCK_JUMP, CUT, RESTART, KILL, POWER_CUT, DISK_ERROR, DISK_ERROR, BAD_READS,
        DISK_FULL, DISK_FULL,
    ];
    let kinds = if is_durable { ALL } else { &ALL[..6] };
    (0..random.below(5)).map(|_| *random.pick(kinds)).collect()
}

fn faults(random: &mut Random, kinds: &[u64], shards: usize, end_ns: u64) -> Vec<(u64, Fault)> {
    let mut faults = Vec::new();
    if kinds.is_empty() {
        return faults;
    }
    let reads = random.chance(200);
    for _ in 0..random.magnitude(1, 12) {
        let at_ns = random.below(end_ns);
        let shard = random.below(shards as u64) as usize;
        let fault = match *random.pick(kinds) {
            KILL => Fault::Kill,
            POWER_CUT => Fault::PowerCut,
            PAUSE => Fault::Pause { shard, ns: random.magnitude(NS_PER_MS, end_ns) },
            CLOCK_JUMP => Fault::ClockJump { ms: random.between(0, 7_200_000) as i64 - 3_600_000 },
            RESTART => Fault::Restart,
            DISK_ERROR => {
                let count = *random.pick(&[1, 1, 3, u64::MAX]);
                let skipped = random.magnitude(1, if reads { 8 } else { 40 }) - 1;
                Fault::DiskError { shard, skipped, count, reads }
            }
            BAD_READS => Fault::BadReads { shard, count: random.magnitude(1, 20) },
            DISK_FULL => {
                faults.push((at_ns + random.magnitude(NS_PER_MS, end_ns), Fault::DiskRoom { shard }));
                Fault::DiskFull { shard, spare_bytes: random.below(200_000) }
            }
            _ => Fault::Cut,
        };
        faults.push((at_ns, fault));
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
            assert_eq!(plan.log_limits.validate(), Ok(()), "seed {seed}");
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
