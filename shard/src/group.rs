//! A group: consumers that share a stream's messages, each message going to one of them.
//!
//! For now every stream has exactly one, the default group; named groups with cursors of their own come later, and a
//! message is then released when the last of them is done with it.

use crate::consumer::ReadyList;
use crate::flight::Flights;
use crate::wheel::TimerId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;

/// A queue that once was longer than this gives its memory back when it is empty.
const QUEUE_KEPT: usize = 1_024;

/// The progress of one group through its stream.
#[derive(Debug)]
pub(crate) struct Group {
    /// The next seq that was never delivered.
    cursor: u64,
    /// Messages that came back, with the attempts made so far: lowest seq first, all of them before fresh ones.
    returned: BinaryHeap<Reverse<(u64, u32)>>,
    /// Messages that come back later: when (`Now::mono_ns`), seq, attempts made so far.
    delayed: BinaryHeap<Reverse<(u64, u64, u32)>>,
    /// The timer of the earliest delayed message, and when that is.
    pub(crate) delay_timer: Option<(TimerId, u64)>,
    /// Delivered and not settled.
    pub(crate) flights: Flights,
    /// Consumers that may be delivered to, in turn.
    pub(crate) ready: ReadyList,
    /// Consumers.
    pub(crate) consumers: u32,
    /// Credit that they hold.
    pub(crate) credit: u64,
}

impl Group {
    /// A group at the start of its stream.
    pub(crate) const fn new() -> Self {
        Self {
            cursor: 1,
            returned: BinaryHeap::new(),
            delayed: BinaryHeap::new(),
            delay_timer: None,
            flights: Flights::new(),
            ready: ReadyList::new(),
            consumers: 0,
            credit: 0,
        }
    }

    /// Something could be delivered now; `next_seq` is the stream's.
    #[inline]
    pub(crate) fn has_backlog(&self, next_seq: u64) -> bool {
        self.cursor < next_seq || !self.returned.is_empty()
    }

    /// Takes what is to be delivered next, and which attempt that is.
    #[inline]
    pub(crate) fn take_next(&mut self, next_seq: u64) -> Option<(u64, NonZeroU32)> {
        if !self.returned.is_empty()
            && let Some(Reverse((seq, attempts))) = self.returned.pop()
        {
            if self.returned.is_empty() && self.returned.capacity() > QUEUE_KEPT {
                self.returned = BinaryHeap::new();
            }
            return Some((seq, NonZeroU32::MIN.saturating_add(attempts)));
        }
        if self.cursor < next_seq {
            let seq = self.cursor;
            self.cursor += 1;
            return Some((seq, NonZeroU32::MIN));
        }
        None
    }

    /// A message comes back at once, after so many attempts.
    pub(crate) fn give_back(&mut self, seq: u64, attempts: NonZeroU32) {
        self.returned.push(Reverse((seq, attempts.get())));
    }

    /// A message comes back at `due_ns`.
    pub(crate) fn give_back_at(&mut self, due_ns: u64, seq: u64, attempts: NonZeroU32) {
        self.delayed.push(Reverse((due_ns, seq, attempts.get())));
    }

    /// When the earliest delayed message comes back.
    pub(crate) fn next_delayed_ns(&self) -> Option<u64> {
        self.delayed.peek().map(|Reverse((due_ns, ..))| *due_ns)
    }

    /// Moves one delayed message that is due to those that came back.
    pub(crate) fn return_delayed(&mut self, now_ns: u64) -> bool {
        if self.next_delayed_ns().is_none_or(|due_ns| due_ns > now_ns) {
            return false;
        }
        if let Some(Reverse((_, seq, attempts))) = self.delayed.pop() {
            self.returned.push(Reverse((seq, attempts)));
        }
        if self.delayed.is_empty() && self.delayed.capacity() > QUEUE_KEPT {
            self.delayed = BinaryHeap::new();
        }
        true
    }
}
