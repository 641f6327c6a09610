//! Deliveries in flight: what was delivered to whom, in which order, and not yet settled.
//!
//! A group keeps them by seq; within it those of one consumer form a list in delivery order. The ack deadline is the
//! same for all deliveries of a consumer, so the head of its list is always the first to pass it.

use crate::consumer::Consumer;
use crate::ring::{Blocks, SeqRing};
use std::num::NonZeroU32;

/// No seq: streams count from 1.
const NONE: u64 = 0;

/// One delivery in flight.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flight {
    /// Whom it was delivered to: an index into the shard's consumers.
    pub(crate) consumer: u32,
    /// 1 for the first delivery.
    pub(crate) attempt: NonZeroU32,
    /// When, in `Now::mono_ns`.
    pub(crate) delivered_ns: u64,
    /// Seqs of the consumer's deliveries before and after this one.
    prev: u64,
    next: u64,
}

/// One consumer's list of deliveries in flight, oldest delivery first.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FlightList {
    head: u64,
    tail: u64,
    len: u32,
    /// Some delivery has a lower seq than one before it (a redelivery): walks by seq may not stop early.
    is_unordered: bool,
}

impl FlightList {
    /// Deliveries in it.
    pub(crate) const fn len(&self) -> u32 {
        self.len
    }

    /// Seq of the oldest delivery.
    pub(crate) const fn head(&self) -> Option<u64> {
        if self.head == NONE { None } else { Some(self.head) }
    }

    /// Seqs rise along the whole list.
    pub(crate) const fn is_ordered(&self) -> bool {
        !self.is_unordered
    }
}

/// The deliveries in flight of one group.
#[derive(Debug)]
pub(crate) struct Flights {
    by_seq: SeqRing<Flight>,
}

impl Flights {
    /// None.
    pub(crate) const fn new() -> Self {
        Self { by_seq: SeqRing::new() }
    }

    /// How many.
    pub(crate) const fn len(&self) -> u64 {
        self.by_seq.len()
    }

    /// The delivery of a seq.
    #[inline]
    pub(crate) fn at(&self, seq: u64) -> Option<&Flight> {
        self.by_seq.at(seq)
    }

    /// Seq of the same consumer's next delivery.
    #[inline]
    pub(crate) fn after(&self, seq: u64) -> Option<u64> {
        self.by_seq.at(seq).map(|flight| flight.next).filter(|next| *next != NONE)
    }

    /// Adds a delivery at the end of its consumer's list. `start` is the stream's first seq that may still be in use.
    #[inline]
    #[allow(clippy::too_many_arguments, reason = "each is one plain number of the delivery")]
    pub(crate) fn add(
        &mut self,
        seq: u64,
        start: u64,
        (index, consumer): (u32, &mut Consumer),
        attempt: NonZeroU32,
        delivered_ns: u64,
        blocks: &mut Blocks<Flight>,
    ) {
        let list = &mut consumer.flights;
        let flight = Flight { consumer: index, attempt, delivered_ns, prev: list.tail, next: NONE };
        if !self.by_seq.insert(seq, start, flight, blocks) {
            debug_assert!(false, "a seq is in flight once, and never below the stream's first message");
            return;
        }
        if list.tail == NONE {
            list.head = seq;
            list.is_unordered = false;
        } else {
            list.is_unordered |= seq < list.tail;
            if let Some(tail) = self.by_seq.at_mut(list.tail) {
                tail.next = seq;
            }
        }
        list.tail = seq;
        list.len += 1;
    }

    /// Takes a delivery out, if it is in flight at this consumer.
    #[inline(always)]
    pub(crate) fn take(
        &mut self,
        seq: u64,
        (index, consumer): (u32, &mut Consumer),
        blocks: &mut Blocks<Flight>,
    ) -> Option<Flight> {
        let flight = self.by_seq.remove_if(seq, blocks, |flight| flight.consumer == index)?;
        let list = &mut consumer.flights;
        if flight.prev == NONE {
            list.head = flight.next;
        } else if let Some(prev) = self.by_seq.at_mut(flight.prev) {
            prev.next = flight.next;
        }
        if flight.next == NONE {
            list.tail = flight.prev;
        } else if let Some(next) = self.by_seq.at_mut(flight.next) {
            next.prev = flight.prev;
        }
        list.len -= 1;
        Some(flight)
    }

    /// The stream's first message moved up to `start`: nothing below it comes into flight again.
    #[inline]
    pub(crate) fn trim_to(&mut self, start: u64, blocks: &mut Blocks<Flight>) {
        self.by_seq.trim_to(start, blocks);
    }
}
