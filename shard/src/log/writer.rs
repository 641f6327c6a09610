//! The log itself: appends, commits, reads, and keeps enough room.

mod extent;

use super::batch::{Batch, Buffers, Sealed};
use super::codec;
use super::disk::{DiskError, DiskOutcome, DiskRequest, Ticket};
use super::format::{BATCH_HEADER, BLOCK, LogIdentity, Salt, SegmentHeader, to_blocks};
use super::room::{Room, Stepped};
use super::segments::{Segment, Segments};
use super::start::{LogStart, Tail};
use super::terms::{Class, Completed, LogFigures, LogState, Refused};
use super::{Location, LogLimits, Record, SegmentId};
use crate::Mutant;
use conduit_protocol::{Now, ShardId, time::NS_PER_MS};
use std::collections::VecDeque;

/// A read that was asked for.
#[derive(Debug, Clone, Copy)]
struct Read {
    ticket: Ticket,
    segment: SegmentId,
    offset: u64,
    len: u32,
    is_issued: bool,
}

/// The commit that is under way: the front of the queue.
#[derive(Debug, Clone, Copy)]
struct Commit {
    ticket: Ticket,
    since_ns: u64,
}

/// How the run is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CleanEnd {
    /// Nobody asked.
    Unasked,
    /// As soon as nothing is left to commit, a last batch says that all is well.
    Asked,
    /// That batch is written or about to be, and nothing came after it.
    Written,
}

/// The log of one shard. After every round of calls, ask [`Log::poll_disk`] until it says `None`.
#[derive(Debug)]
pub struct Log {
    limits: LogLimits,
    shard: ShardId,
    identity: LogIdentity,
    segments: Segments,
    room: Room,
    /// How far the segment is valid after which a new one begins. Of the one that is written, when there is one.
    previous: (SegmentId, u64),
    /// The batch that is filled, in the newest segment; `None` before the first one.
    filling: Option<Batch>,
    /// Filled batches and header blocks, in the order in which they are committed; the first may be under way.
    queue: VecDeque<Sealed>,
    commit: Option<Commit>,
    buffers: Buffers,
    next_batch: u64,
    committed: u64,
    unsynced_bytes: u64,
    /// Bytes of what [`Log::segment_for`] found room for and was not appended yet.
    granted_bytes: u64,
    reads: Vec<Read>,
    next_ticket: u64,
    state: LogState,
    clean_end: CleanEnd,
    /// What would let an old segment go found no room in the one that is written, and no other was ready.
    has_no_room_to_carry: bool,
    /// Of a failed log: where what was never written begins.
    lost_from: Option<(SegmentId, u64)>,
    figures: LogFigures,
    /// The last reading of the clocks, to tell a time of one as a time of the other.
    now: Now,
}

impl Log {
    /// A log that goes on where its directory ends. Locations that recovery read and the core keeps must be held again.
    #[must_use]
    pub fn new(limits: LogLimits, start: LogStart) -> Self {
        let mut segments = Segments::new(limits.planted);
        for segment in start.segments {
            segments.push(segment);
        }
        if let Some(segment) = start.carried_over {
            segments.was_carried_over(segment);
        }
        let mut buffers = Buffers::new(limits.batch_bytes_max);
        let (previous, filling, clean_end) = match (start.tail, segments.newest()) {
            (Tail::Here(offset), Some(newest)) => {
                let batch = Batch::open(newest.id, offset, start.next_batch, buffers.take());
                ((newest.id, newest.end), Some(batch), CleanEnd::Written)
            }
            (Tail::After { previous_segment, previous_end }, _) => {
                ((previous_segment, previous_end), None, CleanEnd::Unasked)
            }
            (Tail::Here(_), None) => ((SegmentId(0), 0), None, CleanEnd::Unasked),
        };
        Self {
            room: Room::new(&limits, start.ready, start.next_segment),
            shard: start.shard,
            identity: start.identity,
            segments,
            previous,
            next_batch: start.next_batch + u64::from(filling.is_some()),
            filling,
            queue: VecDeque::new(),
            commit: None,
            buffers,
            committed: start.next_batch.saturating_sub(1),
            unsynced_bytes: 0,
            granted_bytes: 0,
            reads: Vec::with_capacity(limits.reads_max),
            next_ticket: 1,
            state: LogState::Open,
            clean_end,
            has_no_room_to_carry: false,
            lost_from: None,
            figures: LogFigures::default(),
            now: Now::default(),
            limits,
        }
    }

    /// Adds a record and says where it will lie. It is durable when [`Log::committed`] has reached what
    /// [`Log::appended`] says now.
    ///
    /// # Errors
    /// When the log does not take it; nothing has changed then.
    #[inline]
    pub fn append(&mut self, now: Now, record: &Record<'_>, class: Class) -> Result<Location, Refused> {
        let bytes = codec::encoded_bytes(record);
        if bytes > self.limits.record_bytes_max() || !codec::is_encodable(record) {
            return Err(Refused::TooLarge);
        }
        self.find_room(now, bytes, false, class)?;
        let due_ns = match class {
            // A letter is due at once: until it is visible, its message is nowhere to be seen.
            Class::Publish | Class::Letter => now.mono_ns,
            Class::PublishWithin(ms) => now.mono_ns.saturating_add(ms.saturating_mul(NS_PER_MS)),
            Class::Upkeep | Class::CarryOver => now.mono_ns + self.limits.upkeep_ms * NS_PER_MS,
        };
        let salt = Salt(self.identity.salt);
        let batch = self.filling.as_mut().ok_or(Refused::Busy)?;
        let (segment, number) = (batch.segment, batch.number);
        let at = batch.push(record, salt, due_ns).ok_or(Refused::TooLarge)?;
        self.unsynced_bytes += bytes;
        self.granted_bytes = self.granted_bytes.saturating_sub(bytes);
        self.figures.records += 1;
        self.figures.record_bytes += bytes;
        if matches!(record, Record::CarriedOver) {
            self.segments.carry_over_in(segment, number);
        }
        if self.clean_end == CleanEnd::Written {
            self.clean_end = CleanEnd::Unasked;
        }
        Ok(at)
    }

    /// The segment in which records of so many bytes together (see [`codec::encoded_bytes`]) will lie, if they are what
    /// is appended next: there is room for all of them.
    ///
    /// # Errors
    /// When the log does not take them.
    pub fn segment_for(&mut self, now: Now, bytes: u64, class: Class) -> Result<SegmentId, Refused> {
        self.granted_bytes = 0;
        self.find_room(now, bytes, true, class)?;
        self.granted_bytes = bytes;
        self.filling.as_ref().map(|batch| batch.segment).ok_or(Refused::Busy)
    }

    /// The number of the batch that was appended to last: it rises, and whatever was appended up to now is durable as soon
    /// as [`Log::committed`] is not below it. A batch with nothing in it never leaves, so it is never this one.
    #[must_use]
    pub fn appended(&self) -> u64 {
        match &self.filling {
            Some(batch) if !batch.is_empty() => batch.number,
            Some(batch) => batch.number.saturating_sub(1),
            None => self.next_batch.saturating_sub(1),
        }
    }

    /// The number of the last batch that is durable.
    #[must_use]
    pub const fn committed(&self) -> u64 {
        self.committed
    }

    /// Makes sure that the batch that is filled can take `bytes` more, by beginning the next one or the next segment.
    /// `in_one_segment`: the bytes are several records, which may go into several batches of one segment.
    #[inline]
    fn find_room(&mut self, now: Now, bytes: u64, in_one_segment: bool, class: Class) -> Result<(), Refused> {
        if self.state == LogState::Failed {
            return Err(Refused::Failed);
        }
        let is_publish = matches!(class, Class::Publish | Class::PublishWithin(_));
        let unsynced_max = self.limits.unsynced_bytes_max * if is_publish { 1 } else { 2 };
        let is_expected = bytes <= self.granted_bytes || self.unsynced_bytes == 0;
        if !is_expected && self.unsynced_bytes + bytes > unsynced_max {
            self.figures.refused_busy += 1;
            return Err(Refused::Busy);
        }
        // What a publish leaves is a whole segment for upkeep.
        let reserve = usize::from(is_publish);
        if let Some(batch) = &self.filling
            && let Some(room) = self.segments.newest().map(|segment| segment.bytes)
        {
            let is_full = !batch.is_empty() && batch.used() + bytes > self.limits.batch_bytes_max;
            let end = if in_one_segment {
                batch.end() + self.worst_bytes(bytes)
            } else if is_full {
                to_blocks(batch.end()) + BATCH_HEADER + bytes
            } else {
                batch.end() + bytes
            };
            let kept = match class {
                Class::Upkeep if self.room.ready() == 0 => room / 4,
                Class::Letter if self.room.ready() == 0 => room / 8,
                _ => 0,
            };
            if end <= room - kept {
                if self.room.ready() < reserve {
                    return Err(self.out_of_room(class));
                }
                if is_full && !in_one_segment {
                    self.seal(false);
                }
                self.found_room(is_publish);
                return Ok(());
            }
        }
        if in_one_segment && self.worst_bytes(bytes) > self.limits.record_bytes_max() {
            return Err(Refused::TooLarge);
        }
        if self.room.ready() < 1 + reserve {
            return Err(self.out_of_room(class));
        }
        self.begin_segment(now);
        self.found_room(is_publish);
        Ok(())
    }

    #[inline]
    fn found_room(&mut self, is_publish: bool) {
        if is_publish {
            self.state = LogState::Open;
        }
    }

    /// What records of so many bytes take at most when they are cut into batches: any two batches in a row hold more than
    /// one may.
    const fn worst_bytes(&self, bytes: u64) -> u64 {
        bytes + (2 * bytes / self.limits.batch_bytes_max + 2) * (BATCH_HEADER + BLOCK)
    }

    #[cold]
    fn out_of_room(&mut self, class: Class) -> Refused {
        self.has_no_room_to_carry |= class == Class::CarryOver;
        if self.room.is_blocked() || !self.is_within_bounds() {
            self.state = LogState::Full;
            self.figures.refused_full += 1;
            Refused::Full
        } else {
            self.figures.refused_busy += 1;
            Refused::Busy
        }
    }

    /// Ends the batch that is filled, and begins the next one behind it.
    fn seal(&mut self, is_clean_end: bool) {
        let Some(batch) = self.filling.take() else { return };
        let (segment, offset) = (batch.segment, to_blocks(batch.end()));
        self.previous = (segment, batch.end());
        self.queue.push_back(batch.seal(Salt(self.identity.salt), is_clean_end));
        self.open_batch(segment, offset);
    }

    fn open_batch(&mut self, segment: SegmentId, offset: u64) {
        self.filling = Some(Batch::open(segment, offset, self.next_batch, self.buffers.take()));
        self.next_batch += 1;
    }

    /// Begins the next segment that is ready: its header block is committed before anything else of it.
    fn begin_segment(&mut self, now: Now) {
        match self.filling.take() {
            Some(batch) if batch.is_empty() => {
                self.next_batch = batch.number;
                self.buffers.give(batch.into_buffer());
            }
            Some(batch) => {
                self.previous = (batch.segment, batch.end());
                self.queue.push_back(batch.seal(Salt(self.identity.salt), false));
            }
            None => {}
        }
        let Some(id) = self.room.take() else { return };
        self.has_no_room_to_carry = false;
        let header = SegmentHeader {
            segment: id,
            shard: self.shard,
            bytes: self.limits.segment_bytes,
            identity: self.identity,
            created_unix_ms: now.unix_ms,
            previous_segment: self.previous.0,
            previous_end: self.previous.1,
            first_batch: self.next_batch,
        };
        self.queue.push_back(Sealed::header_block(id, header.encode()));
        self.segments.push(Segment::new(id, self.limits.segment_bytes, BLOCK));
        self.previous = (id, BLOCK);
        self.figures.segments_begun += 1;
        self.open_batch(id, BLOCK);
    }

    /// Commits what was appended without waiting for more.
    pub fn flush(&mut self) {
        if let Some(batch) = &mut self.filling {
            batch.due_ns = batch.due_ns.map(|_| 0);
        }
    }

    /// Asks for everything to be committed, and then for a last batch that says that this run ended as it should: the
    /// next start goes on in the same segment, and takes a bad record before it for what it is. Records may still be
    /// appended; after the mark was made it must be asked for again.
    pub fn finish(&mut self) {
        self.flush();
        if self.clean_end == CleanEnd::Unasked {
            self.clean_end = CleanEnd::Asked;
        }
    }

    /// Nothing waits for the disk: everything is durable, and the mark of [`Log::finish`] too if it was asked for. A
    /// failed log is idle.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let is_filled = self.filling.as_ref().is_some_and(|batch| !batch.is_empty());
        let wants_mark = self.clean_end == CleanEnd::Asked && self.can_mark_end();
        let has_work = self.commit.is_some() || !self.queue.is_empty() || is_filled || wants_mark;
        self.state == LogState::Failed || !has_work
    }

    /// The mark takes a block of the segment that is written; without one, or without a segment, there is none.
    fn can_mark_end(&self) -> bool {
        let room = self.segments.newest().map_or(0, |segment| segment.bytes);
        self.filling.as_ref().is_some_and(|batch| batch.next_offset() + BLOCK <= room)
    }

    /// The next [`Log::poll_disk`] would send off the batch that is filled: what should go with it is appended now.
    #[must_use]
    pub fn is_about_to_seal(&self, now: Now) -> bool {
        let is_due = self.filling.as_ref().and_then(|batch| batch.due_ns).is_some_and(|due| due <= now.mono_ns);
        is_due && self.commit.is_none() && self.queue.is_empty() && self.state != LogState::Failed
    }

    /// The next thing to be done to the directory, or `None` for now.
    pub fn poll_disk(&mut self, now: Now) -> Option<DiskRequest<'_>> {
        self.now = now;
        if self.state != LogState::Failed {
            if self.commit.is_none() {
                self.seal_what_is_due(now);
                if !self.queue.is_empty() {
                    let ticket = self.ticket();
                    self.commit = Some(Commit { ticket, since_ns: now.mono_ns });
                    let front = self.queue.front()?;
                    let (segment, offset, bytes) = (front.segment, front.offset, front.bytes.as_slice());
                    return Some(DiskRequest::Commit { ticket, segment, offset, bytes });
                }
            }
            let removable = self.removable(now);
            let wants_segment = self.wants_segment();
            let ticket = Ticket(self.next_ticket);
            if let Some(request) = self.room.poll(now, ticket, removable, wants_segment) {
                self.next_ticket += 1;
                return Some(request);
            }
        }
        let read = self.reads.iter_mut().find(|read| !read.is_issued)?;
        read.is_issued = true;
        Some(DiskRequest::Read { ticket: read.ticket, segment: read.segment, offset: read.offset, len: read.len })
    }

    fn ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        ticket
    }

    fn seal_what_is_due(&mut self, now: Now) {
        if self.is_about_to_seal(now) {
            self.seal(false);
        }
        let is_filled = self.filling.as_ref().is_some_and(|batch| !batch.is_empty());
        if self.clean_end == CleanEnd::Asked && self.queue.is_empty() && !is_filled && self.can_mark_end() {
            self.seal(true);
            self.clean_end = CleanEnd::Written;
        }
    }

    fn removable(&self, now: Now) -> Option<SegmentId> {
        let segment = self.segments.removable(now.unix_ms)?;
        let is_read = self.reads.iter().any(|read| read.segment == segment);
        (!is_read && !self.is_written(segment)).then_some(segment)
    }

    fn is_written(&self, segment: SegmentId) -> bool {
        self.filling.as_ref().is_some_and(|batch| batch.segment == segment)
    }

    /// Takes what came of a request.
    pub fn complete(&mut self, now: Now, ticket: Ticket, outcome: DiskOutcome<'_>) -> Completed {
        self.now = now;
        let result = match outcome {
            DiskOutcome::Failed(error) => Err(error),
            DiskOutcome::Done | DiskOutcome::Read(_) => Ok(()),
        };
        if let Some(commit) = self.commit.take_if(|commit| commit.ticket == ticket) {
            return self.committed_one(now, commit, result);
        }
        if let Some(index) = self.reads.iter().position(|read| read.ticket == ticket && read.is_issued) {
            self.reads.swap_remove(index);
            self.figures.reads += 1;
            return result.map_or_else(Completed::ReadFailed, |()| Completed::Read);
        }
        match self.room.complete(now, ticket, result) {
            None | Some(Stepped::Nothing | Stepped::Full) => Completed::Nothing,
            Some(Stepped::Ready) => self.has_room_again(),
            Some(Stepped::Removed(segment)) => {
                self.segments.removed(segment);
                self.figures.segments_removed += 1;
                Completed::Nothing
            }
            Some(Stepped::Broken) => self.fail(),
        }
    }

    fn has_room_again(&mut self) -> Completed {
        if self.state != LogState::Full {
            return Completed::Nothing;
        }
        self.state = LogState::Open;
        Completed::RoomAgain
    }

    fn committed_one(&mut self, now: Now, commit: Commit, result: Result<(), DiskError>) -> Completed {
        if result.is_err() && !self.limits.planted.has(Mutant::RetryFailedSync) {
            return self.fail();
        }
        let Some(done) = self.queue.pop_front() else { return Completed::Nothing };
        let took_ns = now.mono_ns.saturating_sub(commit.since_ns);
        self.figures.commits += 1;
        self.figures.records_committed += u64::from(done.records);
        self.figures.commit_bytes += done.bytes.len() as u64;
        self.figures.commit_ns += took_ns;
        self.buffers.give(done.bytes);
        let Some(batch) = done.batch else { return Completed::Nothing };
        self.unsynced_bytes -= (done.used - BATCH_HEADER).min(self.unsynced_bytes);
        self.committed = batch;
        self.segments.committed(batch);
        if let Some(newest) = self.segments.newest_mut().filter(|newest| newest.id == done.segment) {
            newest.end = done.offset + done.used;
        }
        if done.is_clean_end { Completed::Nothing } else { Completed::Committed { upto: batch, took_ns } }
    }

    /// What was not durable is given up; nothing is tried again.
    #[cold]
    fn fail(&mut self) -> Completed {
        self.lost_from = self.first_unwritten();
        self.state = LogState::Failed;
        self.commit = None;
        self.queue.clear();
        self.filling = None;
        self.unsynced_bytes = 0;
        Completed::Failed
    }

    /// Asks for bytes of a segment; offset and length are multiples of 4,096. The request comes out of
    /// [`Log::poll_disk`]. `None` when as many reads as may be are under way.
    pub fn read(&mut self, segment: SegmentId, offset: u64, len: u32) -> Option<Ticket> {
        if self.reads.len() >= self.limits.reads_max {
            return None;
        }
        let ticket = self.ticket();
        self.reads.push(Read { ticket, segment, offset, len, is_issued: false });
        Some(ticket)
    }

    /// The record at this place is on the disk. What was appended and not committed when the log failed never will be.
    #[must_use]
    pub fn is_written_at(&self, at: Location) -> bool {
        self.first_unwritten().is_none_or(|first| (at.segment(), at.offset()) < first)
    }

    fn first_unwritten(&self) -> Option<(SegmentId, u64)> {
        let queued = self.queue.front().map(|sealed| (sealed.segment, sealed.offset));
        let filling = || self.filling.as_ref().map(|batch| (batch.segment, batch.offset));
        self.lost_from.or(queued).or_else(filling)
    }

    /// When [`Log::poll_disk`] wants to be asked, by the clock that never goes back, if nothing else happens before.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        if self.state == LogState::Failed {
            return None;
        }
        let due_ns = self.filling.as_ref().and_then(|batch| batch.due_ns).filter(|_| self.commit.is_none());
        let retry_ns = self.room.retry_ns(self.removable(self.now).is_some(), self.wants_segment());
        let unneeded_ns =
            self.segments.unneeded_at_unix_ms().filter(|&unix_ms| unix_ms > self.now.unix_ms).map(|unix_ms| {
                let wait_ms = unix_ms - self.now.unix_ms;
                self.now.mono_ns.saturating_add(wait_ms.saturating_mul(NS_PER_MS))
            });
        due_ns.into_iter().chain(retry_ns).chain(unneeded_ns).min()
    }

    /// Whether it takes records.
    #[must_use]
    pub const fn state(&self) -> LogState {
        self.state
    }

    /// Which log it is.
    #[must_use]
    pub const fn identity(&self) -> LogIdentity {
        self.identity
    }

    /// The size of a segment's file that holds something. Reads stay below it.
    #[must_use]
    pub fn segment_bytes(&self, segment: SegmentId) -> Option<u64> {
        self.segments.find(segment).map(|segment| segment.bytes)
    }

    /// What it did and has.
    #[must_use]
    pub fn figures(&self) -> LogFigures {
        LogFigures {
            segments_now: (self.segments.len() + self.room.files()) as u64,
            bytes_now: self.bytes_now(),
            unsynced_bytes_now: self.unsynced_bytes,
            ..self.figures
        }
    }
}
