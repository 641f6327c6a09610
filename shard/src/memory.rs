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
use conduit_protocol::streams::StreamSettings;

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
    flight_blocks_max: usize,
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
            index_bytes_max: blocks_max(limits).saturating_mul(MESSAGE_BLOCK_BYTES),
            flight_blocks_max: usize::try_from(flight_blocks_max(limits)).unwrap_or(usize::MAX),
        }
    }

    /// The index has no room for one more message. It is sized for dense streams and half as much again; only messages
    /// that stay behind, one to a block or very long, while others come and go around them can fill it earlier.
    pub(crate) const fn is_index_full(&self) -> bool {
        self.message_index_bytes() >= self.index_bytes_max
    }

    /// Groups may be given no message that needs another block of what they are not done with.
    #[inline]
    pub(crate) const fn is_out_of_flights(&self) -> bool {
        self.flights.used() >= self.flight_blocks_max
    }

    /// Bytes of the index: blocks and directories of messages, of their places in the log, and of what groups were given.
    pub(crate) const fn index_bytes(&self) -> u64 {
        let blocks = self.flights.used() * Blocks::<Flight>::block_bytes();
        self.message_index_bytes() + (blocks + self.flights.directory() * size_of::<usize>()) as u64
    }

    const fn message_index_bytes(&self) -> u64 {
        let blocks = self.messages.used() * Blocks::<Message>::block_bytes()
            + self.locations.used() * Blocks::<Location>::block_bytes();
        (blocks + (self.messages.directory() + self.locations.directory()) * size_of::<usize>()) as u64
    }
}

/// Bytes of a block of messages and of one of their places in the log, each with its directory entry.
const MESSAGE_BLOCK_BYTES: u64 =
    (Blocks::<Message>::block_bytes() + Blocks::<Location>::block_bytes() + 2 * size_of::<usize>()) as u64;
/// Bytes of a block of what a group was given, with its directory entry and one for a block that was given up before it.
const FLIGHT_BLOCK_BYTES: u64 = (Blocks::<Flight>::block_bytes() + 2 * size_of::<usize>()) as u64;

/// Blocks of messages that a shard may use.
fn blocks_max(limits: &Limits) -> u64 {
    let messages = limits.shard_messages_max.saturating_add(limits.spare_for_letters().0);
    let dense = messages.div_ceil(BLOCK_SLOTS).saturating_add(limits.streams_max as u64);
    dense.saturating_add(dense / 2).max(BLOCKS_MAX_LEAST)
}

/// Blocks of what groups were given and are not done with.
const fn flight_blocks_max(limits: &Limits) -> u64 {
    limits.outstanding_max.div_ceil(BLOCK_SLOTS)
}

/// See [`Limits::memory_bytes_max`].
pub(crate) fn bytes_max(limits: &Limits) -> u64 {
    let kept_blocks = FREE_BLOCKS_MAX as u64 * (MESSAGE_BLOCK_BYTES + FLIGHT_BLOCK_BYTES);
    let outstanding = flight_blocks_max(limits).saturating_mul(BLOCK_SLOTS);
    // A message waits in at most one queue of its group, or for its dead letter (16 to 32 bytes), a quarter more may be
    // left of messages that are gone, and growth by doubling leaves half unused.
    let queues = outstanding.saturating_mul(2 * 40).saturating_add((limits.groups_max as u64).saturating_mul(2_048));
    // One that is urgent, or that expires, has a place of 8, or 16, bytes more, and as many may be of messages that went.
    let extras = limits.shard_messages_max.saturating_mul(2 * 2 * (8 + 16));
    let dedup = (limits.dedup_entries_max as u64).saturating_mul(dedup::ENTRY_BYTES);
    // An in-flight delivery is in its consumer's index of ids at most once; hash tables are at least 7/16 full.
    let in_flight = outstanding.min((limits.consumers_max as u64).saturating_mul(limits.consumer_inflight_max.into()));
    let ids = in_flight.saturating_mul(40);
    let stream_bytes = size_of::<Stream>() + size_of::<StreamSettings>() + 2 * sketch::BYTES + 512;
    let kept_by_stream = lanes::KEPT_BYTES + agenda::KEPT_BYTES;
    let streams = (limits.streams_max as u64).saturating_mul(stream_bytes as u64 + kept_by_stream);
    // The list of groups grows by doubling; a name is at most a few hundred bytes.
    let group_bytes = (2 * size_of::<Group>() + 256) as u64 + agenda::KEPT_BYTES;
    let groups = (limits.groups_max as u64).saturating_mul(group_bytes);
    let consumers = (limits.consumers_max as u64).saturating_mul(2 * size_of::<Consumer>() as u64)
        + u64::from(limits.connection_slots_max) * 4;
    // A consumer has one, a stream three (age, expiry, dedup ids), a group two (redeliveries, messages that wait).
    let timers = limits.consumers_max as u64 + 3 * limits.streams_max as u64 + 2 * limits.groups_max as u64;
    let timers = timers.saturating_mul(64);
    let paused = limits.paused_max as u64 * 128;
    [
        limits.shard_bytes_max.saturating_add(limits.spare_for_letters().1),
        limits.free_bytes_max,
        blocks_max(limits).saturating_mul(MESSAGE_BLOCK_BYTES),
        flight_blocks_max(limits).saturating_mul(FLIGHT_BLOCK_BYTES),
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
