//! What a stream holds: its messages in memory, the places of those that are in the log, and which of them may be
//! delivered.
//!
//! A message is held from its append until its release: in memory, in the log, or in both. One that is only in the log is
//! *spilled* and has to be read before it can be delivered. Without a log every message held is in memory.

use crate::log::Location;
use crate::memory::Memory;
use crate::message::Message;
use crate::pool::Size;
use crate::publish::NewMessage;
use crate::ring::{BLOCK_SLOTS, SeqRing, block_of};
use conduit_protocol::Now;

/// The messages of one stream, by seq.
#[derive(Debug)]
pub(crate) struct Held {
    /// What the next message gets.
    next_seq: u64,
    /// The first seq that may not be delivered yet: what is at or above it waits for its commit. Without a log, and for
    /// streams that answer before they are written, it is `next_seq`.
    visible: u64,
    /// What is below it is needed by nobody: it counts as gone, and is released bit by bit.
    trim_to: u64,
    messages: SeqRing<Message>,
    located: SeqRing<Location>,
    /// Bytes of the messages in memory, in whole buffers.
    bytes: u64,
    /// Messages in memory or in the log.
    len: u64,
}

/// What a released message leaves to its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Released {
    /// Where the log holds it: the log is to be told.
    pub(crate) location: Option<Location>,
}

impl Held {
    /// Nothing, with seqs that begin at 1.
    pub(crate) const fn new() -> Self {
        Self {
            next_seq: 1,
            visible: 1,
            trim_to: 1,
            messages: SeqRing::new(),
            located: SeqRing::new(),
            bytes: 0,
            len: 0,
        }
    }

    /// Messages held, those that are needed by nobody and not yet released included.
    #[inline]
    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    /// Messages in memory.
    pub(crate) const fn in_memory(&self) -> u64 {
        self.messages.len()
    }

    /// Bytes of the messages in memory, in whole buffers.
    #[inline]
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What the next message gets.
    #[inline]
    pub(crate) const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The first seq that may not be delivered yet.
    #[inline]
    pub(crate) const fn visible(&self) -> u64 {
        self.visible
    }

    /// A message in memory.
    #[inline]
    pub(crate) fn message(&self, seq: u64) -> Option<&Message> {
        self.messages.at(seq)
    }

    /// A message of this seq may be delivered, if it is held.
    #[inline(always)]
    pub(crate) const fn may_deliver(&self, seq: u64) -> bool {
        seq < self.visible && seq >= self.trim_to
    }

    /// A message in memory, to be changed.
    pub(crate) fn message_mut(&mut self, seq: u64) -> Option<&mut Message> {
        self.messages.at_mut(seq)
    }

    /// The message is held, wherever it is, and may be needed.
    #[inline]
    pub(crate) fn is_held(&self, seq: u64) -> bool {
        seq >= self.trim_to && (self.messages.at(seq).is_some() || self.located.at(seq).is_some())
    }

    /// The lowest seq held that may be needed.
    pub(crate) fn first(&self) -> Option<u64> {
        self.next_held(self.trim_to, self.next_seq)
    }

    /// The lowest seq that nobody needs and that is to be released.
    pub(crate) fn first_to_trim(&self) -> Option<u64> {
        let lowest = match (self.messages.lowest(), self.located.lowest()) {
            (Some(message), Some(located)) => Some(message.min(located)),
            (message, located) => message.or(located),
        };
        lowest.filter(|seq| *seq < self.trim_to)
    }

    /// Nobody needs what is below a seq.
    pub(crate) const fn trim_to(&mut self, seq: u64) {
        if seq > self.trim_to {
            self.trim_to = seq;
        }
    }

    /// The lowest seq held that may be needed, from one seq up to, and without, another. Looks at whole blocks at once.
    pub(crate) fn next_held(&self, from: u64, below: u64) -> Option<u64> {
        let span = self.span();
        let from = from.max(self.trim_to);
        if from >= below {
            return None;
        }
        let start = block_of(from);
        for number in start.max(span.start)..span.end {
            let mut mask = self.mask(number);
            if number == start {
                mask &= u32::MAX << (from % BLOCK_SLOTS);
            }
            if mask != 0 {
                let seq = number * BLOCK_SLOTS + u64::from(mask.trailing_zeros());
                return (seq < below).then_some(seq);
            }
            if number * BLOCK_SLOTS >= below {
                return None;
            }
        }
        None
    }

    /// The seq of the `n`-th message held, counted from the newest: 1 is the newest. With fewer, the lowest. (Messages that
    /// nobody needs may be among them.)
    pub(crate) fn nth_last(&self, n: u64) -> Option<u64> {
        let mut left = n;
        let mut found = None;
        for number in self.span().rev() {
            let mut mask = self.mask(number);
            let count = u64::from(mask.count_ones());
            if count == 0 {
                continue;
            }
            if left <= count {
                // The lowest of the `left` highest bits.
                for _ in left..count {
                    mask &= mask - 1;
                }
                return (left > 0).then(|| number * BLOCK_SLOTS + u64::from(mask.trailing_zeros()));
            }
            left -= count;
            found = Some(number * BLOCK_SLOTS + u64::from(mask.trailing_zeros()));
        }
        found
    }

    /// Messages held at a seq or above it that may be needed. Counts from the nearer end.
    pub(crate) fn count_from(&self, seq: u64) -> u64 {
        let span = self.span();
        let seq = seq.max(self.trim_to);
        let number = block_of(seq);
        let lower = u32::MAX.wrapping_shl((seq % BLOCK_SLOTS) as u32);
        let ones = |mask: u32| u64::from(mask.count_ones());
        if number.saturating_sub(span.start) < span.end.saturating_sub(number) {
            let below: u64 = (span.start..number).map(|number| ones(self.mask(number))).sum();
            self.len - below - ones(self.mask(number) & !lower)
        } else {
            let above: u64 = (number + 1..span.end).map(|number| ones(self.mask(number))).sum();
            above + ones(self.mask(number) & lower)
        }
    }

    /// The blocks that may hold something.
    fn span(&self) -> std::ops::Range<u64> {
        let (messages, located) = (self.messages.span(), self.located.span());
        if located.is_empty() {
            return messages;
        }
        if messages.is_empty() {
            return located;
        }
        messages.start.min(located.start)..messages.end.max(located.end)
    }

    fn mask(&self, number: u64) -> u32 {
        self.messages.mask(number) | self.located.mask(number)
    }

    /// Holds a new message, which is made where it stays, and returns its seq. `size` is that of its buffer. It may be
    /// delivered at once unless the caller says that it waits for a commit.
    #[inline(always)]
    pub(crate) fn append(
        &mut self,
        now: Now,
        new: &NewMessage<'_>,
        size: Size,
        waits_for_commit: bool,
        memory: &mut Memory,
    ) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        if !waits_for_commit {
            self.visible = self.next_seq;
        }
        self.hold_bytes(size.bytes(), memory);
        memory.messages_held += 1;
        self.len += 1;
        let Memory { messages, buffers, .. } = memory;
        match self.messages.occupy(seq, messages) {
            Some(vacant) => vacant.fill(Message::of_size(size, now, new, buffers)),
            None => debug_assert!(false, "every seq is new"),
        }
        seq
    }

    /// More bytes are in memory for a message held.
    #[inline]
    pub(crate) const fn hold_bytes(&mut self, bytes: u64, memory: &mut Memory) {
        self.bytes += bytes;
        memory.bytes_held += bytes;
    }

    /// Nobody needs a message any more: it goes, wherever it is. `None` when it was not held.
    #[inline(always)]
    pub(crate) fn release(&mut self, seq: u64, memory: &mut Memory) -> Option<Released> {
        let Memory { messages, buffers, .. } = memory;
        let released_bytes = self.messages.remove_with(seq, messages, |message| message.release(buffers));
        let location = if self.located.len() == 0 { None } else { self.release_location(seq, memory) };
        if released_bytes.is_none() && location.is_none() {
            return None;
        }
        self.len -= 1;
        memory.messages_held -= 1;
        if let Some(bytes) = released_bytes {
            self.bytes -= bytes;
            memory.bytes_held -= bytes;
            if self.messages.has_empty_front() {
                self.messages.trim_empty(&mut memory.messages);
            }
        }
        Some(Released { location })
    }

    /// Gives up at most so many blocks with everything in them, wherever it is; `true` when nothing is left. The stream is
    /// gone: no group has any of it outstanding. `each` gets the places in the log.
    pub(crate) fn clear_some(&mut self, blocks_max: u64, memory: &mut Memory, mut each: impl FnMut(Location)) -> bool {
        let (messages_before, bytes_before) = (self.len, self.bytes);
        let Memory { messages, locations, buffers, .. } = memory;
        let (mut len, mut bytes) = (self.len, self.bytes);
        let located = &self.located;
        let no_messages = self.messages.clear_some(blocks_max, messages, |seq, message| {
            bytes -= message.held_bytes();
            len -= u64::from(located.at(seq).is_none());
            message.release(buffers);
        });
        // A message in both places is counted when the last of it goes.
        let messages = &self.messages;
        let no_places = self.located.clear_some(blocks_max, locations, |seq, location| {
            len -= u64::from(messages.at(seq).is_none());
            each(location);
        });
        (self.len, self.bytes) = (len, bytes);
        memory.messages_held -= messages_before - self.len;
        memory.bytes_held -= bytes_before - self.bytes;
        no_messages && no_places
    }

    /// Where the log holds a message.
    #[inline]
    pub(crate) fn location(&self, seq: u64) -> Option<Location> {
        self.located.at(seq).copied()
    }

    /// A message that is in memory is in the log as well.
    #[inline]
    pub(crate) fn also_at(&mut self, seq: u64, location: Location, memory: &mut Memory) {
        let placed = self.located.insert(seq, location, &mut memory.locations);
        debug_assert!(placed, "every seq is new");
    }

    /// The log was found to hold a message, or to hold it at another place than before.
    pub(crate) fn locate(&mut self, seq: u64, location: Location, memory: &mut Memory) {
        if let Some(known) = self.located.at_mut(seq) {
            *known = location;
        } else if self.located.insert(seq, location, &mut memory.locations) {
            self.len += 1;
            memory.messages_held += 1;
        }
    }

    /// What recovery found to be the next seq: everything below it may be delivered.
    pub(crate) const fn restore_next(&mut self, next_seq: u64) {
        self.next_seq = next_seq;
        self.visible = next_seq;
    }

    /// A commit is done: messages below this seq may be delivered.
    #[inline]
    pub(crate) const fn show_to(&mut self, below: u64) {
        if below > self.visible {
            self.visible = below;
        }
    }

    /// A message leaves memory, since the log has it. `false` when it is not in memory, or only there.
    pub(crate) fn spill(&mut self, seq: u64, memory: &mut Memory) -> bool {
        if self.located.at(seq).is_none() || seq >= self.visible {
            return false;
        }
        let Some(message) = self.messages.remove(seq, &mut memory.messages) else { return false };
        let bytes = message.held_bytes();
        self.bytes -= bytes;
        memory.bytes_held -= bytes;
        message.release(&mut memory.buffers);
        if self.messages.has_empty_front() {
            self.messages.trim_empty(&mut memory.messages);
        }
        true
    }

    /// A message that was only in the log is in memory again.
    pub(crate) fn load(&mut self, seq: u64, message: Message, memory: &mut Memory) {
        self.hold_bytes(message.held_bytes(), memory);
        let stored = self.messages.insert(seq, message, &mut memory.messages);
        debug_assert!(stored, "only what is not in memory is read");
    }

    /// Every place in the log, rising by seq.
    pub(crate) fn for_each_location(&self, mut each: impl FnMut(Location)) {
        let mut from = 0;
        while let Some(seq) = self.next_located(from) {
            if let Some(location) = self.location(seq) {
                each(location);
            }
            from = seq + 1;
        }
    }

    /// The lowest seq in memory.
    pub(crate) fn lowest_in_memory(&self) -> Option<u64> {
        self.messages.lowest()
    }

    /// The lowest seq in memory from one seq on.
    pub(crate) fn next_in_memory(&self, from: u64) -> Option<u64> {
        next_in(&self.messages, from)
    }

    /// The lowest seq that the log holds from one seq on.
    pub(crate) fn next_located(&self, from: u64) -> Option<u64> {
        next_in(&self.located, from)
    }

    #[cold]
    fn release_location(&mut self, seq: u64, memory: &mut Memory) -> Option<Location> {
        let location = self.located.remove(seq, &mut memory.locations);
        if self.located.has_empty_front() {
            self.located.trim_empty(&mut memory.locations);
        }
        location
    }
}

/// The lowest seq of a ring from one seq on. Looks at whole blocks at once.
fn next_in<T>(ring: &SeqRing<T>, from: u64) -> Option<u64> {
    let span = ring.span();
    let start = block_of(from);
    for number in start.max(span.start)..span.end {
        let mut mask = ring.mask(number);
        if number == start {
            mask &= u32::MAX << (from % BLOCK_SLOTS);
        }
        if mask != 0 {
            return Some(number * BLOCK_SLOTS + u64::from(mask.trailing_zeros()));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::log::SegmentId;
    use crate::message::Extras;
    use conduit_protocol::Encoding;
    use std::collections::BTreeSet;

    /// What a stream holds after messages 1 to `last` came and only those of `kept` stayed; those of `located` are in the
    /// log as well.
    fn held(last: u64, kept: &BTreeSet<u64>, located: &BTreeSet<u64>, memory: &mut Memory) -> Held {
        let mut held = Held::new();
        for seq in 1..=last {
            let extras = Extras::default();
            let new = NewMessage {
                id: "m",
                encoding: Encoding::Json,
                envelope: b"{}",
                extras,
                dedup_id: "",
                is_letter: false,
            };
            assert_eq!(held.append(Now::default(), &new, Size::of(3), false, memory), seq);
            if located.contains(&seq) {
                held.located.insert(seq, Location::new(SegmentId(1), seq * 8).unwrap(), &mut memory.locations);
            }
        }
        for seq in (1..=last).filter(|seq| !kept.contains(seq)) {
            let location = held.release(seq, memory).unwrap().location;
            assert_eq!(location.map(Location::offset), located.contains(&seq).then_some(seq * 8));
        }
        held
    }

    proptest::proptest! {
        #[test]
        fn every_question_is_answered_as_a_set_would(
            kept in proptest::collection::btree_set(1u64..300, 0..40),
            located in proptest::collection::btree_set(1u64..300, 0..40),
            is_spilled in proptest::prelude::any::<bool>(),
        ) {
            let mut memory = Memory::new(&Limits::default());
            let mut held = held(300, &kept, &located, &mut memory);
            if is_spilled {
                // Only the log has them now, as when memory was needed for others.
                for seq in kept.intersection(&located) {
                    held.messages.remove(*seq, &mut memory.messages).unwrap();
                }
            }
            assert_eq!((held.len(), held.first(), held.first_to_trim()), (kept.len() as u64, kept.first().copied(), None));
            for seq in 0..330 {
                assert_eq!(held.is_held(seq), kept.contains(&seq));
                assert_eq!(held.count_from(seq), kept.range(seq..).count() as u64, "from {seq}");
                for below in [seq, seq + 1, seq + 31, seq + 32, seq + 33, 400] {
                    assert_eq!(held.next_held(seq, below), kept.range(seq..below).next().copied(), "{seq}..{below}");
                }
            }
            for n in 0..=kept.len() as u64 + 2 {
                let back = (n as usize).min(kept.len()).checked_sub(1);
                let expected = back.and_then(|back| kept.iter().nth_back(back)).copied();
                assert_eq!(held.nth_last(n), expected, "the last {n}");
            }
        }
    }

    #[test]
    fn what_nobody_needs_counts_as_gone() {
        let mut memory = Memory::new(&Limits::default());
        let all: BTreeSet<u64> = (1..=100).collect();
        let mut held = held(100, &all, &all, &mut memory);
        held.trim_to(40);
        held.trim_to(30);
        assert_eq!((held.first(), held.first_to_trim(), held.count_from(1)), (Some(40), Some(1), 61));
        assert_eq!((held.is_held(39), held.is_held(40), held.next_held(1, 40)), (false, true, None));
        for seq in 1..40 {
            assert_eq!(held.first_to_trim(), Some(seq));
            held.release(seq, &mut memory);
        }
        assert_eq!((held.first_to_trim(), held.len()), (None, 61));
    }

    #[test]
    fn what_was_released_leaves_nothing() {
        let mut memory = Memory::new(&Limits::default());
        let all: BTreeSet<u64> = (1..=100).collect();
        let mut held = held(100, &all, &all, &mut memory);
        for seq in 1..=100 {
            assert!(held.release(seq, &mut memory).is_some());
            assert_eq!(held.release(seq, &mut memory), None, "once");
        }
        assert_eq!((held.len(), held.bytes(), held.in_memory(), held.first()), (0, 0, 0, None));
        assert_eq!((memory.messages_held, memory.bytes_held, memory.index_bytes()), (0, 0, 0));
        assert_eq!(held.next_seq(), 101);
    }
}
