//! What a group was given and is not done with: each message from its first delivery (or its first delay) until it is
//! done.
//!
//! A group keeps them by seq. An entry is either *in flight* at a consumer or *waiting* to be delivered again; the queues
//! of the group say when. The deliveries in flight of one consumer form a list in delivery order. The ack deadline is the
//! same for all deliveries of a consumer, so the head of its list is always the first to pass it.

use crate::consumer::Consumer;
use crate::ring::{BLOCK_SLOTS, Blocks, SeqRing, block_of};
use std::num::NonZeroU32;

/// No seq: streams count from 1.
const NONE: u64 = 0;
/// No consumer: the entry waits.
const WAITING: u32 = u32::MAX;

/// One message that a group was given and is not done with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Flight {
    /// Whom it was delivered to: an index into the shard's consumers, or `WAITING`.
    consumer: u32,
    /// Deliveries so far, and one: an entry that was never delivered (it waits for its time) has 1 here.
    attempts_and_one: NonZeroU32,
    /// When the last delivery was, in `Now::mono_ns`.
    pub(crate) delivered_ns: u64,
    /// Seqs of the consumer's deliveries before and after this one.
    prev: u64,
    next: u64,
}

impl Flight {
    /// Deliveries so far.
    #[inline]
    pub(crate) const fn attempts(&self) -> u32 {
        self.attempts_and_one.get() - 1
    }

    /// Whom it is in flight to: an index into the shard's consumers.
    #[inline]
    pub(crate) const fn consumer(&self) -> Option<u32> {
        if self.consumer == WAITING { None } else { Some(self.consumer) }
    }
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

/// What one group was given and is not done with.
#[derive(Debug)]
pub(crate) struct Flights {
    by_seq: SeqRing<Flight>,
    /// Entries that are in flight.
    in_flight: u64,
}

impl Flights {
    /// None.
    pub(crate) const fn new() -> Self {
        Self { by_seq: SeqRing::new(), in_flight: 0 }
    }

    /// How many there are.
    #[inline]
    pub(crate) fn len(&self) -> u64 {
        self.by_seq.len()
    }

    /// How many are in flight.
    pub(crate) const fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// How many wait to be delivered again.
    pub(crate) const fn waiting(&self) -> u64 {
        self.by_seq.len() - self.in_flight
    }

    /// A message would share its block of seqs with others: it takes no more memory.
    pub(crate) fn has_block_of(&self, seq: u64) -> bool {
        self.by_seq.mask(block_of(seq)) != 0
    }

    /// The lowest seq.
    #[inline]
    pub(crate) fn lowest(&self) -> Option<u64> {
        self.by_seq.lowest()
    }

    /// The entry of a seq.
    #[inline]
    pub(crate) fn at(&self, seq: u64) -> Option<&Flight> {
        self.by_seq.at(seq)
    }

    /// Seq of the same consumer's next delivery.
    #[inline]
    pub(crate) fn after(&self, seq: u64) -> Option<u64> {
        self.by_seq.at(seq).map(|flight| flight.next).filter(|next| *next != NONE)
    }

    /// A message is delivered, for the first time or again: it goes to the end of its consumer's list.
    #[inline(always)]
    pub(crate) fn deliver(
        &mut self,
        seq: u64,
        (index, consumer): (u32, &mut Consumer),
        attempt: NonZeroU32,
        delivered_ns: u64,
        blocks: &mut Blocks<Flight>,
    ) {
        let list = &mut consumer.flights;
        let attempts_and_one = attempt.saturating_add(1);
        let prev = list.tail;
        // Only what was delivered before can have an entry, or what waited for its time.
        let vacant = if attempt > NonZeroU32::MIN { None } else { self.by_seq.occupy(seq, blocks) };
        if let Some(vacant) = vacant {
            vacant.fill(Flight { consumer: index, attempts_and_one, delivered_ns, prev, next: NONE });
        } else {
            let flight = Flight { consumer: index, attempts_and_one, delivered_ns, prev, next: NONE };
            self.take_up(seq, flight, blocks);
        }
        self.in_flight += 1;
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

    /// An entry that waits is in flight again.
    #[inline(never)]
    fn take_up(&mut self, seq: u64, flight: Flight, blocks: &mut Blocks<Flight>) {
        if let Some(waiting) = self.by_seq.at_mut(seq) {
            debug_assert!(waiting.consumer == WAITING, "a seq is in flight once");
            *waiting = flight;
        } else {
            self.by_seq.insert(seq, flight, blocks);
        }
    }

    /// A message that was never delivered to this group waits, after so many attempts: for its time, or because recovery
    /// found it so. `false` when it has an entry already.
    pub(crate) fn wait(&mut self, seq: u64, attempts: u32, blocks: &mut Blocks<Flight>) -> bool {
        let attempts_and_one = NonZeroU32::MIN.saturating_add(attempts);
        let waiting = Flight { consumer: WAITING, attempts_and_one, delivered_ns: 0, prev: NONE, next: NONE };
        self.by_seq.insert(seq, waiting, blocks)
    }

    /// Ends a delivery that is in flight at this consumer; the entry goes.
    #[inline(always)]
    pub(crate) fn finish(
        &mut self,
        seq: u64,
        (index, consumer): (u32, &mut Consumer),
        blocks: &mut Blocks<Flight>,
    ) -> Option<Flight> {
        let flight = self.by_seq.remove_if(seq, blocks, |flight| flight.consumer == index)?;
        self.unlink(&flight, consumer);
        self.trim(blocks);
        Some(flight)
    }

    /// Ends a delivery that is in flight at this consumer; the entry stays and waits.
    #[inline]
    pub(crate) fn give_back(&mut self, seq: u64, (index, consumer): (u32, &mut Consumer)) -> Option<Flight> {
        let entry = self.by_seq.at_mut(seq).filter(|flight| flight.consumer == index)?;
        let flight = *entry;
        entry.consumer = WAITING;
        self.unlink(&flight, consumer);
        Some(flight)
    }

    /// Removes an entry that waits.
    pub(crate) fn forget(&mut self, seq: u64, blocks: &mut Blocks<Flight>) -> Option<Flight> {
        let flight = self.by_seq.remove_if(seq, blocks, |flight| flight.consumer == WAITING);
        self.trim(blocks);
        flight
    }

    /// Takes a delivery out of its consumer's list.
    #[inline(always)]
    fn unlink(&mut self, flight: &Flight, consumer: &mut Consumer) {
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
        self.in_flight -= 1;
    }

    /// Gives up at most so many blocks of entries, all of which wait; `true` when none is left.
    pub(crate) fn clear_some(&mut self, blocks_max: u64, blocks: &mut Blocks<Flight>) -> bool {
        debug_assert!(self.in_flight == 0, "consumers leave before their group's entries are given up");
        self.by_seq.clear_some(blocks_max, blocks, |_, _| ())
    }

    /// All entries, rising by seq, with the deliveries so far.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u32)> {
        self.iter_within(0, u64::MAX)
    }

    /// As [`Self::iter`], from a seq to another one. What lies outside costs nothing: recovery asks for many small ranges.
    pub(crate) fn iter_within(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, u32)> {
        let span = self.by_seq.span();
        let numbers = span.start.max(block_of(from))..span.end.min(block_of(to) + 1);
        let seqs = numbers.flat_map(|number| {
            let mask = self.by_seq.mask(number);
            let slots = (0..BLOCK_SLOTS).filter(move |slot| mask >> slot & 1 == 1);
            slots.map(move |slot| number * BLOCK_SLOTS + slot)
        });
        let seqs = seqs.filter(move |seq| (from..=to).contains(seq));
        seqs.filter_map(|seq| self.by_seq.at(seq).map(|flight| (seq, flight.attempts())))
    }

    #[inline]
    fn trim(&mut self, blocks: &mut Blocks<Flight>) {
        if self.by_seq.has_empty_front() {
            self.by_seq.trim_empty(blocks);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_entries_of_a_range_are_those_of_all_that_lie_in_it() {
        let (mut flights, mut blocks) = (Flights::new(), Blocks::new(1_000));
        let seqs = [1, 31, 32, 33, 63, 64, 1_000, 1_001, 5_000];
        for seq in seqs {
            assert!(flights.wait(seq, 7, &mut blocks));
        }
        for from in [0, 1, 2, 31, 32, 64, 65, 999, 1_000, 5_000, 5_001, u64::MAX] {
            for to in [0, 1, 31, 32, 63, 64, 1_000, 4_999, 5_000, 5_001, u64::MAX] {
                let within: Vec<(u64, u32)> = flights.iter_within(from, to).collect();
                let expected: Vec<(u64, u32)> = flights.iter().filter(|(seq, _)| from <= *seq && *seq <= to).collect();
                assert_eq!(within, expected, "{from} to {to}");
            }
        }
        assert_eq!(flights.iter().map(|(seq, _)| seq).collect::<Vec<_>>(), seqs);
    }
}
