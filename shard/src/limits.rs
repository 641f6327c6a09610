//! Every bound of one shard, each with its consequence.

use crate::{Planted, memory};

/// Bounds of a shard. Maxima are inclusive.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Streams of one shard. More: 503 `TooManyStreams`.
    pub streams_max: usize,
    /// Messages one stream holds (backlog and in-flight). More: 429 `Backpressure`.
    pub stream_messages_max: u64,
    /// Bytes one stream holds, in whole buffers: see `StreamStats::bytes`. More: 429 `Backpressure`. A message that is
    /// larger by itself: 413 `PayloadTooLarge`.
    pub stream_bytes_max: u64,
    /// Messages one shard holds. More: 429 `Backpressure`.
    pub shard_messages_max: u64,
    /// Bytes one shard holds, in whole buffers. More: 429 `Backpressure`.
    pub shard_bytes_max: u64,
    /// Consumers of one shard. More: 503 `TooManyConnections`.
    pub consumers_max: usize,
    /// Connection slots that may become consumers: `ConnectionId::slot` is below it. Others: 503 `TooManyConnections`.
    pub connection_slots_max: u32,
    /// Deliveries in flight of one consumer. A larger `maxInflight` is cut to it.
    pub consumer_inflight_max: u32,
    /// Credit one consumer may hold. A grant beyond is cut to it.
    pub credit_max: u64,
    /// Bytes delivered to one connection and not yet drained. At the limit the consumer waits for `Drained`; the
    /// message that reaches the limit still passes, so that one of any size gets through.
    pub outbox_bytes_max: u64,
    /// Shortest and longest ack deadline a subscription may ask for, in milliseconds. Outside: cut to it.
    pub ack_wait_ms_min: u64,
    /// See `ack_wait_ms_min`.
    pub ack_wait_ms_max: u64,
    /// Ack deadline of a subscription that names none, in milliseconds.
    pub ack_wait_ms_default: u64,
    /// Longest delay of a nack, in milliseconds. Longer: cut to it.
    pub nack_delay_ms_max: u64,
    /// Deliveries of one `handle` call, and as many expired timers and ended pauses; the rest follows at the next
    /// deadline, which is then due at once. Besides, a call settles what its command names, gives back what a gone
    /// consumer had in flight, and resumes the publishers that were waiting for room.
    pub work_max: usize,
    /// Per mille of a stream's (or the shard's) maximum at which pausable publishers are paused.
    pub pause_at_per_mille: u64,
    /// Per mille below which they are resumed.
    pub resume_at_per_mille: u64,
    /// Longest pause, in milliseconds. Then the publisher is resumed and may be answered `Backpressure`.
    pub pause_ms_max: u64,
    /// Publishers of one shard that may be paused at once. More are not paused, and answered `Backpressure` when it comes to that.
    pub paused_max: usize,
    /// What `Backpressure` tells clients to wait, in milliseconds.
    pub retry_after_ms: u32,
    /// An empty stream without consumers is forgotten after this many milliseconds without use, its seq counter
    /// included: a later message starts it anew at seq 1. 0: never.
    pub stream_idle_ms: u64,
    /// Bytes of free message buffers kept for reuse. Above it they go back to the allocator.
    pub free_bytes_max: u64,
    /// Groups of one stream, ephemeral readers included. More: 503 `TooManyGroups`.
    pub groups_per_stream_max: usize,
    /// Groups of all streams of one shard, ephemeral readers included. More: 503 `TooManyGroups`.
    pub groups_max: usize,
    /// Messages that groups were given and are not done with, in flight or waiting to be delivered again, of all groups of
    /// one shard; counted in whole blocks of 32 neighbouring seqs of a group. At the limit groups are given no message for
    /// the first time until they are done with others; redeliveries go on.
    pub outstanding_max: u64,
    /// Deliveries of one message before it goes to the dead letters, where neither stream nor group say anything else.
    /// 0: for ever.
    pub max_deliver_default: u32,
    /// Milliseconds in which a repeated dedup id is recognised, where the stream says nothing else. 0: never.
    pub dedup_window_ms_default: u64,
    /// Longest such window that a stream may ask for. Longer: cut to it.
    pub dedup_window_ms_max: u64,
    /// Dedup ids that one shard remembers. More: 429 `Backpressure` for publishes that carry one.
    pub dedup_entries_max: usize,
    /// Per cent of the streams, groups and dedup ids of one shard that one tenant may hold, where there are named tenants. More:
    /// as where the shard has none left. 100: all of them.
    pub tenant_share_percent: u64,
    /// Longest delay of a publish, in milliseconds. Longer: cut to it.
    pub delay_ms_max: u64,
    /// Streams that one snapshot lists. Further ones are in its totals only, and counted as `streams_omitted`.
    pub snapshot_streams_max: usize,
    /// A planted bug, for the simulator to find; never in a server.
    pub planted: Planted,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams_max: 100_000,
            stream_messages_max: 10_000_000,
            stream_bytes_max: 2 << 30,
            shard_messages_max: 20_000_000,
            shard_bytes_max: 4 << 30,
            consumers_max: 100_000,
            connection_slots_max: 1 << 20,
            consumer_inflight_max: 65_536,
            credit_max: 1_000_000,
            outbox_bytes_max: 1 << 20,
            ack_wait_ms_min: 100,
            ack_wait_ms_max: 12 * 60 * 60 * 1000,
            ack_wait_ms_default: 30_000,
            nack_delay_ms_max: 24 * 60 * 60 * 1000,
            work_max: 256,
            pause_at_per_mille: 875,
            resume_at_per_mille: 750,
            pause_ms_max: 1_000,
            paused_max: 100_000,
            retry_after_ms: 1_000,
            stream_idle_ms: 3_600_000,
            free_bytes_max: 32 << 20,
            groups_per_stream_max: 64,
            groups_max: 100_000,
            outstanding_max: 20_000_000,
            max_deliver_default: 10,
            dedup_window_ms_default: 120_000,
            dedup_window_ms_max: 24 * 60 * 60 * 1000,
            dedup_entries_max: 1_000_000,
            tenant_share_percent: 50,
            delay_ms_max: 365 * 24 * 60 * 60 * 1000,
            snapshot_streams_max: 10_000,
            planted: Planted::default(),
        }
    }
}

/// Milliseconds that every wait stays below, so that no sum of times overflows: about three years.
const WAIT_MS_MAX: u64 = 100_000_000_000;

impl Limits {
    /// Checks the relations between the limits.
    ///
    /// # Errors
    /// A sentence that names the limit, its value and the bound.
    pub fn validate(&self) -> Result<(), String> {
        let at_least_one = [
            ("streams_max", self.streams_max as u64),
            ("stream_messages_max", self.stream_messages_max),
            ("stream_bytes_max", self.stream_bytes_max),
            ("consumers_max", self.consumers_max as u64),
            ("connection_slots_max", u64::from(self.connection_slots_max)),
            ("consumer_inflight_max", u64::from(self.consumer_inflight_max)),
            ("credit_max", self.credit_max),
            ("outbox_bytes_max", self.outbox_bytes_max),
            ("ack_wait_ms_min", self.ack_wait_ms_min),
            ("work_max", self.work_max as u64),
            ("groups_per_stream_max", self.groups_per_stream_max as u64),
            ("outstanding_max", self.outstanding_max),
            ("tenant_share_percent", self.tenant_share_percent),
        ];
        for (name, value) in at_least_one {
            if value == 0 {
                return Err(format!("{name} is 0 and must be at least 1"));
            }
        }
        let ordered = [
            ("stream_messages_max", self.stream_messages_max, "shard_messages_max", self.shard_messages_max),
            ("stream_bytes_max", self.stream_bytes_max, "shard_bytes_max", self.shard_bytes_max),
            ("ack_wait_ms_min", self.ack_wait_ms_min, "ack_wait_ms_default", self.ack_wait_ms_default),
            ("ack_wait_ms_default", self.ack_wait_ms_default, "ack_wait_ms_max", self.ack_wait_ms_max),
            ("resume_at_per_mille", self.resume_at_per_mille, "pause_at_per_mille", self.pause_at_per_mille),
            ("pause_at_per_mille", self.pause_at_per_mille, "1000", 1_000),
            ("tenant_share_percent", self.tenant_share_percent, "100", 100),
            ("ack_wait_ms_max", self.ack_wait_ms_max, "three years", WAIT_MS_MAX),
            ("nack_delay_ms_max", self.nack_delay_ms_max, "three years", WAIT_MS_MAX),
            ("groups_per_stream_max", self.groups_per_stream_max as u64, "groups_max", self.groups_max as u64),
            ("groups_max", self.groups_max as u64, "2^32 - 2", u64::from(u32::MAX - 1)),
            ("dedup_window_ms_default", self.dedup_window_ms_default, "dedup_window_ms_max", self.dedup_window_ms_max),
            ("dedup_window_ms_max", self.dedup_window_ms_max, "three years", WAIT_MS_MAX),
            ("delay_ms_max", self.delay_ms_max, "three years", WAIT_MS_MAX),
            ("pause_ms_max", self.pause_ms_max, "three years", WAIT_MS_MAX),
            ("stream_idle_ms", self.stream_idle_ms, "three years", WAIT_MS_MAX),
            ("streams_max", self.streams_max as u64, "2^32 - 2", u64::from(u32::MAX - 1)),
            ("consumers_max", self.consumers_max as u64, "2^32 - 2", u64::from(u32::MAX - 1)),
        ];
        for (low_name, low, high_name, high) in ordered {
            if low > high {
                return Err(format!("{low_name} is {low} and must not be above {high_name} ({high})"));
            }
        }
        if self.resume_at_per_mille == self.pause_at_per_mille {
            return Err(format!(
                "resume_at_per_mille and pause_at_per_mille are both {}: resume must be below pause",
                self.pause_at_per_mille
            ));
        }
        Ok(())
    }

    /// Messages and bytes by which dead letters may go beyond what a shard holds otherwise, on their way to taking the place
    /// of others.
    pub(crate) const fn spare_for_letters(&self) -> (u64, u64) {
        (self.work_max as u64, self.shard_bytes_max / 16)
    }

    /// The memory that one shard may hold when everything is at its limit, in bytes. The message buffers dominate; to
    /// them come the index of messages and in-flight deliveries, the queues of redeliveries, streams and consumers
    /// with their figures. Boot prints it.
    #[must_use]
    pub fn memory_bytes_max(&self) -> u64 {
        memory::bytes_max(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_their_memory_bound_is_above_the_buffers() {
        let limits = Limits::default();
        assert_eq!(limits.validate(), Ok(()));
        assert!(limits.memory_bytes_max() > limits.shard_bytes_max);
        assert!(limits.memory_bytes_max() < limits.shard_bytes_max * 4, "{}", limits.memory_bytes_max());
    }

    #[test]
    fn a_broken_relation_is_named() {
        type Spoil = fn(&mut Limits);
        let broken: [(Spoil, &str); 5] = [
            (|limits| limits.resume_at_per_mille = limits.pause_at_per_mille, "resume_at_per_mille"),
            (|limits| limits.ack_wait_ms_min = limits.ack_wait_ms_default + 1, "ack_wait_ms_min"),
            (|limits| limits.ack_wait_ms_max = limits.ack_wait_ms_default - 1, "ack_wait_ms_default"),
            (|limits| limits.stream_bytes_max = limits.shard_bytes_max + 1, "stream_bytes_max"),
            (|limits| limits.work_max = 0, "work_max"),
        ];
        for (spoil, name) in broken {
            let mut limits = Limits::default();
            spoil(&mut limits);
            let error = limits.validate().unwrap_err();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
