//! One stream: its messages by seq, its group, its figures.

use crate::figures::StreamFigures;
use crate::group::Group;
use crate::memory::Memory;
use crate::message::Message;
use crate::ring::SeqRing;
use crate::timestamp::rfc3339;
use conduit_protocol::{Now, StreamStats, TenantId};

/// A stream of one tenant.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) tenant: TenantId,
    pub(crate) name: Box<str>,
    /// Hash of tenant and name.
    pub(crate) hash: u64,
    /// What the next message gets.
    next_seq: u64,
    messages: SeqRing<Message>,
    bytes: u64,
    pub(crate) group: Group,
    pub(crate) figures: StreamFigures,
    /// When it was last published to, subscribed to or left, in `Now::mono_ns`.
    pub(crate) used_ns: u64,
    /// It is in the shard's queue of streams with deliveries left to make.
    pub(crate) is_queued: bool,
    /// It reached the pause mark and is not yet below the resume mark.
    pub(crate) is_pausing: bool,
}

impl Stream {
    /// An empty stream: it holds next to nothing.
    pub(crate) fn new(now: Now, tenant: TenantId, name: &str, hash: u64) -> Self {
        Self {
            tenant,
            name: name.into(),
            hash,
            next_seq: 1,
            messages: SeqRing::new(),
            bytes: 0,
            group: Group::new(),
            figures: StreamFigures::default(),
            used_ns: now.mono_ns,
            is_queued: false,
            is_pausing: false,
        }
    }

    /// Messages stored.
    #[inline]
    pub(crate) const fn messages_held(&self) -> u64 {
        self.messages.len()
    }

    /// Bytes stored, in whole buffers.
    #[inline]
    pub(crate) const fn bytes_held(&self) -> u64 {
        self.bytes
    }

    /// What the next message gets.
    #[inline]
    pub(crate) const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The first seq that may still hold a message.
    #[inline]
    pub(crate) const fn start(&self) -> u64 {
        self.messages.start()
    }

    /// A stored message.
    #[inline]
    pub(crate) fn message(&self, seq: u64) -> Option<&Message> {
        self.messages.at(seq)
    }

    /// A stored message, to be changed.
    pub(crate) fn message_mut(&mut self, seq: u64) -> Option<&mut Message> {
        self.messages.at_mut(seq)
    }

    /// Something could be delivered now.
    #[inline]
    pub(crate) fn has_backlog(&self) -> bool {
        self.group.has_backlog(self.next_seq)
    }

    /// Nothing stored, and nobody here.
    pub(crate) const fn is_unused(&self) -> bool {
        self.messages.len() == 0 && self.group.consumers == 0 && !self.is_queued
    }

    /// Stores a message and returns its seq.
    #[inline]
    pub(crate) fn append(&mut self, now: Now, message: Message, memory: &mut Memory) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.hold(message.held_bytes(), memory);
        memory.messages_held += 1;
        let stored = self.messages.insert(seq, seq, message, &mut memory.messages);
        debug_assert!(stored, "every seq is new");
        self.used_ns = now.mono_ns;
        self.figures.published += 1;
        self.figures.rate_in.count(now);
        self.figures.last_unix_ms = Some(now.unix_ms);
        seq
    }

    /// More bytes are held for a message of this stream.
    pub(crate) fn hold(&mut self, bytes: u64, memory: &mut Memory) {
        self.bytes += bytes;
        memory.bytes_held += bytes;
    }

    /// The group is done with a message: it goes.
    #[inline]
    pub(crate) fn release(&mut self, seq: u64, memory: &mut Memory) {
        let Some(message) = self.messages.remove(seq, &mut memory.messages) else {
            debug_assert!(false, "a message in flight is stored");
            return;
        };
        let bytes = message.held_bytes();
        self.bytes -= bytes;
        memory.bytes_held -= bytes;
        memory.messages_held -= 1;
        message.release(&mut memory.buffers);
        if self.messages.has_empty_front() {
            self.messages.trim_empty(&mut memory.messages);
            self.group.flights.trim_to(self.messages.start(), &mut memory.flights);
        }
    }

    /// Figures of now.
    pub(crate) fn stats(&mut self, now: Now) -> StreamStats {
        let figures = &mut self.figures;
        let inflight = self.group.flights.len();
        let [lat_p50, lat_p95, lat_p99, ack_p50, ack_p99] = match &mut figures.latencies {
            Some(latencies) => {
                let [p50, p95, p99] = latencies.deliver.quantiles_ms([0.5, 0.95, 0.99]);
                let [ack_p50, ack_p99] = latencies.ack.quantiles_ms([0.5, 0.99]);
                [p50, p95, p99, ack_p50, ack_p99]
            }
            None => [0.0; 5],
        };
        StreamStats {
            depth: self.messages.len() - inflight,
            inflight,
            rate_in: figures.rate_in.per_second(now),
            rate_out: figures.rate_out.per_second(now),
            lat_p50,
            lat_p95,
            lat_p99,
            ack_p50,
            ack_p99,
            last_ts: figures.last_unix_ms.map(rfc3339),
            consumers: u64::from(self.group.consumers),
            credit: self.group.credit,
            published_total: figures.published,
            delivered_total: figures.delivered,
            acked_total: figures.acked,
            redelivered_total: figures.redelivered,
            bytes: self.bytes,
        }
    }
}
