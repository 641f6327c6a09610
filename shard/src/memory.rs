//! What the messages of one shard occupy: buffers, index blocks, and how full the shard is.

use crate::consumer::Consumer;
use crate::flight::Flight;
use crate::group::Group;
use crate::log::Location;
use crate::message::Message;
use crate::pool::Buffers;
use crate::ring::{BLOCK_SLOTS, Blocks};
use crate::stream::Stream;
use crate::{Limits, agenda, dedup, lanes, last_error, sketch};

/// Free index blocks kept for reuse, of each kind: enough for a few thousand busy streams.
const FREE_BLOCKS_MAX: usize = 4_096;
/// Index blocks that any shard may use, however small its limits: sparse streams of a small shard are not refused.
const BLOCKS_MAX_LEAST: u64 = 4_096;

/// Memory of one shard's messages.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Buffers of ids and envelopes.
    pub(crate) buffers: Buffers,
    /// Index of the messages.
    pub(crate) messages: Blocks<Message>,
    /// What groups were given and are not done with.
    pub(crate) flights: Blocks<Flight>,
    /// Places of messages in the log.
    pub(crate) locations: Blocks<Location>,
    /// Messages held by all streams.
    pub(crate) messages_held: u64,
    /// Bytes held by all streams, in whole buffers.
    pub(crate) bytes_held: u64,
    index_bytes_max: u64,
}

impl Memory {
    /// Nothing held.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            buffers: Buffers::new(limits.free_bytes_max),
            messages: Blocks::new(FREE_BLOCKS_MAX),
            flights: Blocks::new(FREE_BLOCKS_MAX),
            locations: Blocks::new(FREE_BLOCKS_MAX),
            messages_held: 0,
            bytes_held: 0,
            index_bytes_max: index_bytes_max(limits),
        }
    }

    /// The index has no room for one more message. It is sized for dense streams and half as much again; only messages
    /// that stay behind, one to a block or very long, while others come and go around them can fill it earlier.
    pub(crate) const fn is_index_full(&self) -> bool {
        self.index_bytes() >= self.index_bytes_max
    }

    /// Bytes of the index: blocks and directories of messages, of their places in the log, and of what groups were given.
    pub(crate) const fn index_bytes(&self) -> u64 {
        let blocks = self.messages.used() * Blocks::<Message>::block_bytes()
            + self.flights.used() * Blocks::<Flight>::block_bytes()
            + self.locations.used() * Blocks::<Location>::block_bytes();
        let entries = self.messages.directory() + self.flights.directory() + self.locations.directory();
        blocks as u64 + (entries * size_of::<usize>()) as u64
    }
}

/// Bytes of a directory entry in the ring of messages and in that of what a group was given.
const DIRECTORY_BYTES: u64 = 2 * size_of::<usize>() as u64;

const fn block_pair_bytes() -> u64 {
    (Blocks::<Message>::block_bytes() + Blocks::<Flight>::block_bytes()) as u64
}

fn index_bytes_max(limits: &Limits) -> u64 {
    let dense = limits.shard_messages_max.div_ceil(BLOCK_SLOTS).saturating_add(limits.streams_max as u64);
    let blocks = dense.saturating_add(dense / 2).max(BLOCKS_MAX_LEAST);
    blocks.saturating_mul(block_pair_bytes() + DIRECTORY_BYTES)
}

/// See [`Limits::memory_bytes_max`].
pub(crate) fn bytes_max(limits: &Limits) -> u64 {
    let kept_blocks = FREE_BLOCKS_MAX as u64 * block_pair_bytes();
    // A message waits in at most one queue of its group, or for its dead letter (16 to 32 bytes), and growth by doubling
    // leaves half unused.
    let queues = limits.shard_messages_max.saturating_mul(2 * 32);
    // One that is urgent, or that expires, has a place of 8, or 16, bytes more, and as many may be of messages that went.
    let extras = limits.shard_messages_max.saturating_mul(2 * 2 * (8 + 16));
    let dedup = (limits.dedup_entries_max as u64).saturating_mul(dedup::ENTRY_BYTES);
    // An in-flight delivery is in its consumer's index of ids at most once; hash tables are at least 7/16 full.
    let in_flight = limits
        .shard_messages_max
        .min((limits.consumers_max as u64).saturating_mul(limits.consumer_inflight_max.into()));
    let ids = in_flight.saturating_mul(40);
    let kept_by_stream = lanes::KEPT_BYTES + agenda::KEPT_BYTES;
    let streams = (limits.streams_max as u64)
        .saturating_mul((size_of::<Stream>() + 2 * sketch::BYTES + 512) as u64 + kept_by_stream);
    let groups = (limits.groups_max as u64).saturating_mul(size_of::<Group>() as u64 + agenda::KEPT_BYTES);
    let consumers = (limits.consumers_max as u64).saturating_mul(2 * size_of::<Consumer>() as u64)
        + u64::from(limits.connection_slots_max) * 4;
    // A consumer has one, a stream three (age, expiry, dedup ids), a group two (redeliveries, messages that wait).
    let timers = limits.consumers_max as u64 + 3 * limits.streams_max as u64 + 2 * limits.groups_max as u64;
    let timers = timers.saturating_mul(64);
    let paused = limits.paused_max as u64 * 128;
    [
        limits.shard_bytes_max,
        limits.free_bytes_max,
        index_bytes_max(limits),
        kept_blocks,
        queues,
        extras,
        dedup,
        last_error::BYTES_MAX,
        ids,
        streams,
        groups,
        consumers,
        timers,
        paused,
    ]
    .into_iter()
    .fold(0, u64::saturating_add)
}
