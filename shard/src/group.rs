//! A group: consumers that share a stream's messages, each message going to one of them.
//!
//! A message is done for a group when it is below the cursor and not outstanding (`flights` has no entry of it), or when
//! it is in `skip`.

use crate::agenda::Agenda;
use crate::consumer::ReadyList;
use crate::flight::{Flight, Flights};
use crate::held::Held;
use crate::lanes::{Choice, LaneCursors, Lanes};
use crate::log::{GroupNumber, SeqRange};
use crate::recover::join;
use crate::ring::Blocks;
use crate::untold::Ranges;
use crate::wheel::TimerId;
use conduit_protocol::streams::GroupSettings;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::num::NonZeroU32;

/// A queue that once was longer than this gives its memory back when it is empty.
const QUEUE_KEPT: usize = 1_024;
/// A queue may hold so many entries of messages that are gone before it is looked through.
const STALE_KEPT: usize = 64;

/// The progress of one group through its stream.
#[derive(Debug)]
pub(crate) struct Group {
    /// Its name; empty for the default group, and for ephemeral ones, which have none.
    pub(crate) name: Box<str>,
    /// Its number in the log, if its stream is kept there.
    pub(crate) number: Option<GroupNumber>,
    /// Acked, and not told to the log yet.
    pub(crate) acked: Ranges,
    /// It is one connection's own: it holds nothing back and ends with the connection.
    pub(crate) is_ephemeral: bool,
    /// Somebody made it on purpose: it keeps its stream from being forgotten.
    pub(crate) is_put: bool,
    pub(crate) settings: GroupSettings,
    /// The next seq that was never delivered.
    cursor: u64,
    /// Not to be delivered for the first time any more although the cursors have not passed it, falling, so that the next one is the
    /// last: only recovery knows such. What `flights` has an entry of is outstanding, anything else is done.
    skip: Vec<SeqRange>,
    /// Messages that came back, lowest seq first: all of them before fresh ones. Entries of messages that were released
    /// meanwhile stay until they are met.
    returned: BinaryHeap<Reverse<u64>>,
    /// Messages that come back later: when (`Now::mono_ns`), and which. Likewise.
    delayed: BinaryHeap<Reverse<(u64, u64)>>,
    /// The timer of the earliest delayed message, and when that is.
    pub(crate) delay_timer: Option<(TimerId, u64)>,
    /// Messages that were put aside until their time comes.
    pub(crate) scheduled: Agenda,
    lane_cursors: LaneCursors,
    /// Some urgent message may wait. It errs on one side only.
    has_urgent: bool,
    /// Delivered or delayed, and not done.
    pub(crate) flights: Flights,
    /// Consumers that may be delivered to, in turn.
    pub(crate) ready: ReadyList,
    /// Consumers.
    pub(crate) consumers: u32,
    /// Credit that they hold.
    pub(crate) credit: u64,
    /// The cursor has passed a gap, or messages that the group was done with before: what is below may be needed by nobody.
    pub(crate) has_passed: bool,
    /// It is given nothing fresh until it is done with something: see `Journal::outstanding_max`.
    pub(crate) is_held_back: bool,
    /// It is in the shard's queue of groups with deliveries left to make.
    pub(crate) is_queued: bool,
    /// It is in the shard's queue of groups that are given nothing fresh until others are done with something.
    pub(crate) is_starved: bool,
    /// Messages published before this (`Now::mono_ns`) say nothing about the broker's latency: nobody waited for them.
    pub(crate) latency_from_ns: u64,
}

/// What could be delivered next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// This message, as this attempt. It stays next until [`Group::take`].
    Message {
        /// Its seq.
        seq: u64,
        /// 1 for the first delivery.
        attempt: NonZeroU32,
        /// Where it comes from.
        source: Source,
    },
    /// The cursor has passed messages that were lost on the disk: the consumers are to be told.
    Gap(SeqRange),
    /// Nothing yet: the cursor has passed so many messages that it is enough for one step.
    Passed,
    /// Nothing.
    Nothing,
}

/// Which of a group's queues a message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// It came back.
    Returned,
    /// It is at the cursor.
    Fresh,
    /// It was chosen among messages of different urgency.
    Chosen(Choice),
}

/// Where the cursor came to.
enum Passed {
    /// A message that is not urgent.
    ToMessage,
    /// The end.
    ToEnd,
    /// The other side of a gap.
    ToGap(SeqRange),
    /// As far as one step goes.
    Far,
}

/// Runs of urgent messages that the cursor passes in one step.
const RUNS_MAX: usize = 64;

impl Group {
    /// A group whose first message is the one at `cursor`, or the first one after it.
    pub(crate) fn new(name: &str, cursor: u64) -> Self {
        Self {
            name: name.into(),
            number: None,
            acked: Ranges::new(),
            is_ephemeral: false,
            is_put: false,
            settings: GroupSettings::default(),
            cursor,
            skip: Vec::new(),
            returned: BinaryHeap::new(),
            delayed: BinaryHeap::new(),
            delay_timer: None,
            scheduled: Agenda::new(),
            lane_cursors: LaneCursors::at(cursor),
            has_urgent: true,
            flights: Flights::new(),
            ready: ReadyList::new(),
            consumers: 0,
            credit: 0,
            has_passed: false,
            is_held_back: false,
            is_queued: false,
            is_starved: false,
            latency_from_ns: 0,
        }
    }

    /// A new group begins here.
    pub(crate) const fn begin_at(&mut self, seq: u64) {
        self.cursor = seq;
        self.lane_cursors = LaneCursors::at(seq);
    }

    /// Its stream has a new urgent message.
    pub(crate) const fn meet_urgent(&mut self) {
        self.has_urgent = true;
    }

    /// The next seq that was never delivered.
    #[inline]
    pub(crate) const fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Everything below it is done.
    #[inline]
    pub(crate) fn floor(&self) -> u64 {
        let below = self.cursor.min(self.lane_cursors.floor());
        self.flights.lowest().map_or(below, |lowest| lowest.min(below))
    }

    /// It is done with a message, which is the oldest that its stream holds.
    pub(crate) fn is_done(&self, seq: u64) -> bool {
        if seq < self.cursor {
            return self.flights.at(seq).is_none() && seq < self.lane_cursors.floor();
        }
        self.skips(seq) && self.flights.at(seq).is_none()
    }

    /// Something may be there to be delivered now. It errs on one side only: what was released meanwhile still counts.
    #[inline]
    pub(crate) fn has_backlog(&self, held: &Held) -> bool {
        self.cursor < held.visible() || !self.returned.is_empty() || self.has_urgent
    }

    /// The seq of what is to be delivered next where nothing is urgent and nothing came back, provided that its message is in
    /// memory: nearly always. `None` says nothing, nor does a seq without a message: [`Self::next`] does.
    #[inline(always)]
    pub(crate) fn next_if_usual(&self, held: &Held) -> Option<u64> {
        if !self.returned.is_empty() || !self.skip.is_empty() {
            return None;
        }
        held.may_deliver(self.cursor).then_some(self.cursor)
    }

    /// What is to be delivered next; `gaps` are the stream's. Passes over what is not there any more.
    #[inline(never)]
    pub(crate) fn next(&mut self, held: &Held, lanes: Option<&Lanes>, gaps: &[SeqRange]) -> Next {
        if let Some(lanes) = lanes {
            return self.next_of_lanes(held, lanes, gaps);
        }
        if let Some((seq, attempt)) = self.next_returned(held) {
            return Next::Message { seq, attempt, source: Source::Returned };
        }
        if self.cursor >= held.visible() {
            self.has_urgent = false;
            // What was urgent and waited is gone, or there would be lanes.
            self.lane_cursors.find_none();
            return Next::Nothing;
        }
        if !held.is_held(self.cursor) || !self.skip.is_empty() {
            self.lane_cursors.find_none();
            if let Some(gap) = self.pass(held, gaps) {
                return Next::Gap(gap);
            }
            if self.cursor >= held.visible() {
                return Next::Nothing;
            }
        }
        Next::Message { seq: self.cursor, attempt: NonZeroU32::MIN, source: Source::Fresh }
    }

    /// What came back and is to be delivered next.
    #[inline(always)]
    pub(crate) fn next_returned(&mut self, held: &Held) -> Option<(u64, NonZeroU32)> {
        while let Some(Reverse(seq)) = self.returned.peek().copied() {
            if let Some(flight) = self.flights.at(seq)
                && held.is_held(seq)
            {
                return Some((seq, NonZeroU32::MIN.saturating_add(flight.attempts())));
            }
            self.pop_returned();
        }
        None
    }

    /// As [`Self::next`], where some messages are more urgent than others.
    #[cold]
    fn next_of_lanes(&mut self, held: &Held, lanes: &Lanes, gaps: &[SeqRange]) -> Next {
        let returned = self.next_returned(held);
        let has_fresh = match self.pass_urgent(held, lanes, gaps) {
            Passed::ToMessage => true,
            Passed::ToEnd => false,
            // What was passed on the way may be urgent and still wait.
            Passed::ToGap(gap) => {
                self.lane_cursors.look(lanes);
                return Next::Gap(gap);
            }
            Passed::Far => {
                self.lane_cursors.look(lanes);
                return Next::Passed;
            }
        };
        for _ in 0..RUNS_MAX {
            let choice = self.lane_cursors.choose(lanes, held.visible(), returned.is_some(), has_fresh);
            let (seq, attempt) = match (choice, returned) {
                (None, _) => {
                    // One that is not visible yet waits all the same: the cursor may pass it before it is asked for.
                    self.has_urgent = self.lane_cursors.has_waiting();
                    return Next::Nothing;
                }
                (Some(Choice::Returned), Some(returned)) => returned,
                (Some(Choice::Urgent { seq, lane, .. }), _) => {
                    if !held.is_held(seq) || self.flights.at(seq).is_some() || self.skips(seq) {
                        self.lane_cursors.pass(seq, lane);
                        continue;
                    }
                    (seq, NonZeroU32::MIN)
                }
                (Some(Choice::Fresh | Choice::Returned), _) => (self.cursor, NonZeroU32::MIN),
            };
            let source = choice.map_or(Source::Fresh, Source::Chosen);
            return Next::Message { seq, attempt, source };
        }
        Next::Passed
    }

    /// Moves the cursor to the next message that is not urgent.
    fn pass_urgent(&mut self, held: &Held, lanes: &Lanes, gaps: &[SeqRange]) -> Passed {
        if !self.skip.is_empty() {
            self.lane_cursors.look(lanes);
        }
        for _ in 0..RUNS_MAX {
            if self.cursor >= held.visible() {
                return Passed::ToEnd;
            }
            if (!held.is_held(self.cursor) || !self.skip.is_empty())
                && let Some(gap) = self.pass(held, gaps)
            {
                return Passed::ToGap(gap);
            }
            let end = lanes.run_end(self.cursor);
            if end == self.cursor && end < held.visible() {
                return Passed::ToMessage;
            }
            self.cursor = end.min(held.visible());
        }
        Passed::Far
    }

    fn skips(&self, seq: u64) -> bool {
        self.skipped_at(seq).is_some()
    }

    fn skipped_at(&self, seq: u64) -> Option<SeqRange> {
        let first_below = self.skip.partition_point(|range| range.from > seq);
        self.skip.get(first_below).copied().filter(|range| seq <= range.to)
    }

    /// Moves the cursor to the next message that is held and not skipped; stops behind a gap on the way.
    #[cold]
    fn pass(&mut self, held: &Held, gaps: &[SeqRange]) -> Option<SeqRange> {
        loop {
            let next = held.next_held(self.cursor, held.visible()).unwrap_or(held.visible());
            let first_at_cursor = gaps.partition_point(|gap| gap.to < self.cursor);
            if let Some(gap) = gaps.get(first_at_cursor).filter(|gap| gap.from < next) {
                let from = gap.from.max(self.cursor);
                // A gap is never held, so the cursor stays at or below the next message.
                self.cursor = gap.to.saturating_add(1).min(next);
                self.has_passed = true;
                return Some(SeqRange { from, to: gap.to });
            }
            self.cursor = next;
            // Below the cursor urgent messages may wait, and others not: which, is told apart until they are passed too.
            let passed = self.cursor.min(self.lane_cursors.floor());
            while self.skip.last().is_some_and(|range| range.to < passed) {
                self.skip.pop();
            }
            match self.skipped_at(self.cursor) {
                Some(range) => {
                    self.cursor = range.to.saturating_add(1);
                    self.has_passed = true;
                }
                None => return None,
            }
        }
    }

    /// The message that [`Self::next`] named is being delivered.
    #[inline]
    pub(crate) fn take(&mut self, seq: u64, source: Source) {
        let source = match source {
            Source::Chosen(choice) => {
                self.lane_cursors.take(choice);
                match choice {
                    Choice::Urgent { .. } => return,
                    Choice::Returned => Source::Returned,
                    Choice::Fresh => Source::Fresh,
                }
            }
            source => source,
        };
        match source {
            Source::Returned => {
                debug_assert!(self.returned.peek() == Some(&Reverse(seq)), "only what is next is taken");
                self.pop_returned();
            }
            Source::Fresh => {
                debug_assert!(self.cursor == seq, "only what is next is taken");
                self.cursor = seq + 1;
            }
            Source::Chosen(_) => {}
        }
    }

    fn pop_returned(&mut self) {
        self.returned.pop();
        if self.returned.is_empty() && self.returned.capacity() > QUEUE_KEPT {
            self.returned = BinaryHeap::new();
        }
    }

    /// A message that waits is to be delivered again at once.
    pub(crate) fn give_back(&mut self, seq: u64) {
        self.returned.push(Reverse(seq));
    }

    /// A message that waits is to be delivered again at `due_ns`.
    pub(crate) fn give_back_at(&mut self, due_ns: u64, seq: u64) {
        self.delayed.push(Reverse((due_ns, seq)));
    }

    /// Messages that wait for their time.
    pub(crate) fn delayed(&self) -> u64 {
        let waits = |seq: u64| self.flights.at(seq).is_some_and(|flight| flight.consumer().is_none());
        self.delayed.iter().filter(|Reverse((_, seq))| waits(*seq)).count() as u64
    }

    /// When the earliest delayed message comes back.
    pub(crate) fn next_delayed_ns(&self) -> Option<u64> {
        self.delayed.peek().map(|Reverse((due_ns, _))| *due_ns)
    }

    /// Moves one delayed message that is due to those that came back.
    pub(crate) fn return_delayed(&mut self, now_ns: u64) -> bool {
        if self.next_delayed_ns().is_none_or(|due_ns| due_ns > now_ns) {
            return false;
        }
        if let Some(Reverse((_, seq))) = self.delayed.pop()
            && self.flights.at(seq).is_some()
        {
            self.returned.push(Reverse(seq));
        }
        if self.delayed.is_empty() && self.delayed.capacity() > QUEUE_KEPT {
            self.delayed = BinaryHeap::new();
        }
        true
    }

    /// How far the group is, as the log tells it: a seq below which everything was delivered, and what was delivered at or
    /// above it, rising. With urgent messages neither follows from the cursor alone: it passes those that still wait, and
    /// those that went first are above it.
    pub(crate) fn progress(&self, lanes: Option<&Lanes>, held: &Held) -> (u64, Vec<SeqRange>) {
        let skipped = self.skip.iter().rev().copied();
        let Some(lanes) = lanes.filter(|lanes| !lanes.is_empty()) else {
            return (self.cursor, skipped.collect());
        };
        let (mut waiting, mut taken) = (Vec::new(), Vec::new());
        self.lane_cursors.tell_apart(lanes, self.cursor, &mut waiting, &mut taken);
        let is_waiting = |seq: &u64| held.is_held(*seq) && self.flights.at(*seq).is_none() && !self.skips(*seq);
        waiting.retain(is_waiting);
        waiting.sort_unstable();
        let below = waiting.first().copied().unwrap_or(self.cursor);
        let mut delivered = BTreeMap::new();
        let mut from = below;
        for seq in waiting {
            if seq > from {
                join(&mut delivered, from, seq - 1);
            }
            from = seq + 1;
        }
        if from < self.cursor {
            join(&mut delivered, from, self.cursor - 1);
        }
        for seq in taken {
            join(&mut delivered, seq, seq);
        }
        for range in skipped {
            join(&mut delivered, range.from, range.to);
        }
        (below, delivered.into_iter().map(|(from, to)| SeqRange { from, to }).collect())
    }

    /// Recovery found that the group was given a message and is not done with it: it is delivered again.
    pub(crate) fn restore_outstanding(&mut self, seq: u64, attempts: u32, blocks: &mut Blocks<Flight>) {
        if self.flights.wait(seq, attempts, blocks) {
            self.returned.push(Reverse(seq));
        }
    }

    /// Recovery found that the group is done with what it had outstanding of a range.
    pub(crate) fn restore_done(&mut self, range: SeqRange, blocks: &mut Blocks<Flight>) {
        let outstanding: Vec<u64> = self.flights.iter_within(range.from, range.to).map(|(seq, _)| seq).collect();
        for seq in outstanding {
            self.forget(seq, blocks);
        }
    }

    /// Recovery is over: `done` is what the group is done with at or above its cursor, rising; what is not held any more is
    /// nothing to wait for.
    pub(crate) fn finish_restore(
        &mut self,
        done: impl Iterator<Item = SeqRange>,
        (held, gaps): (&Held, &[SeqRange]),
        blocks: &mut Blocks<Flight>,
    ) {
        let mut skip: BTreeMap<u64, u64> = done.map(|range| (range.from, range.to)).collect();
        // What is outstanding there was delivered: it comes back, and is not met for the first time once more.
        for (seq, _) in self.flights.iter().filter(|(seq, _)| *seq >= self.cursor) {
            join(&mut skip, seq, seq);
        }
        self.skip = skip.into_iter().rev().map(|(from, to)| SeqRange { from, to }).collect();
        let gone: Vec<u64> = self.flights.iter().map(|(seq, _)| seq).filter(|seq| !held.is_held(*seq)).collect();
        for seq in gone {
            self.forget(seq, blocks);
        }
        let mut cursor = self.cursor.min(held.next_seq());
        // What it is done with next is passed now: nobody acks that any more, and its messages are to go. Consumers are to
        // be told of a gap, so none is passed.
        loop {
            let next = held.next_held(cursor, held.next_seq()).unwrap_or(held.next_seq());
            let has_gap = gaps.get(gaps.partition_point(|gap| gap.to < cursor)).is_some_and(|gap| gap.from < next);
            let Some(range) = self.skipped_at(next).filter(|_| !has_gap) else { break };
            cursor = range.to.saturating_add(1).min(held.next_seq());
        }
        self.begin_at(cursor);
    }

    /// A message that waits was released: the group has nothing to do with it any more.
    pub(crate) fn forget(&mut self, seq: u64, blocks: &mut Blocks<Flight>) {
        if self.flights.forget(seq, blocks).is_none() {
            return;
        }
        // Its entry in a queue is left behind. When those are a fifth of what the queues hold, they are looked through, so
        // that the queues are bounded by what waits.
        let (waiting, queued) = (self.flights.waiting() as usize, self.returned.len() + self.delayed.len());
        if queued > waiting + waiting / 4 + STALE_KEPT {
            let flights = &self.flights;
            let waits = |seq: u64| flights.at(seq).is_some_and(|flight| flight.consumer().is_none());
            self.returned.retain(|Reverse(seq)| waits(*seq));
            self.delayed.retain(|Reverse((_, seq))| waits(*seq));
            self.returned.shrink_to(QUEUE_KEPT);
            self.delayed.shrink_to(QUEUE_KEPT);
        }
    }
}
