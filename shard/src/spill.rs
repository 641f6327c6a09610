//! Spilling: what the log holds need not stay in memory. Above a mark, messages that nobody is about to be given leave
//! it; when a group comes to one of them, it is read back, and those after it along with it.
//!
//! Which ones leave: of a work stream with one group the newest, since the oldest are the next to be delivered; of a log,
//! and where several groups read, the oldest, since the newest are read soonest.

use crate::Effects;
use crate::log::{Location, Next, ReadRange, Record, Records, SeqRange, StreamNumber, Ticket};
use crate::message::{Extras, Message};
use crate::shard::Shard;
use conduit_protocol::command::{StreamAction, StreamCommand};
use conduit_protocol::{Now, Origin, TenantId, time::NS_PER_MS};
use std::collections::VecDeque;

/// The least that one read asks for: a stream that many others are mixed with.
pub(crate) const READ_BYTES_MIN: u32 = 16 * 1024;
/// The most.
const READ_BYTES_MAX: u32 = 512 * 1024;
/// Per mille of `Limits::shard_bytes_max` above which messages leave memory: below the mark at which publishers are paused.
const SPILL_AT_PER_MILLE: u64 = 700;
/// Messages that leave in one go.
const SPILLED_AT_ONCE: u32 = 4_096;
/// Streams looked at in one go.
const LOOKED_AT_ONCE: u32 = 64;
/// Streams that were published to lately, and are looked at first.
const RECENT_MAX: usize = 256;
/// Requests that may wait for a read; more see only what is in memory.
const PARKED_MAX: usize = 1_024;
/// Messages after a group's cursor that do not leave: it comes to them soon.
const NEAR_SEQS: u64 = 1_024;

/// Reads under way, and where memory is to be had.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// At most `LogLimits::reads_max`.
    under_way: Vec<(Ticket, Wanted)>,
    /// Streams that wait until the log takes another read. Each is in it once.
    hungry: VecDeque<u32>,
    recent: Vec<u32>,
    /// Requests that look into a stream and wait for a read.
    parked: Vec<Parked>,
    /// The stream that is looked at next when the recent ones gave too little.
    look_at: u32,
}

/// A request that waits for a read.
#[derive(Debug)]
struct Parked {
    stream: u32,
    origin: Origin,
    tenant: TenantId,
    command: StreamCommand<'static>,
}

/// What a read is for.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    stream: u32,
    /// A key may be another stream's by the time the read is done.
    number: StreamNumber,
    seq: u64,
    from: Location,
    range: ReadRange,
}

impl Shard {
    /// Messages are to leave memory.
    const fn is_memory_short(&self) -> bool {
        self.memory.bytes_held > self.limits.shard_bytes_max / 1_000 * SPILL_AT_PER_MILLE
    }

    /// A message of a stream in the log was stored.
    #[inline]
    pub(crate) fn note_stored_in_log(&mut self, key: u32) {
        if self.is_memory_short()
            && let Some(journal) = &mut self.journal
        {
            let recent = &mut journal.reads.recent;
            if recent.last() != Some(&key) && recent.len() < RECENT_MAX {
                recent.push(key);
            }
        }
    }

    /// Makes room in memory, if it is short and the log has what is in it.
    pub(crate) fn spill(&mut self) {
        if !self.is_memory_short() {
            return;
        }
        let Some(journal) = &mut self.journal else { return };
        let mut work = SPILLED_AT_ONCE;
        let mut recent = std::mem::take(&mut journal.reads.recent);
        for key in recent.drain(..) {
            self.spill_stream(key, &mut work);
        }
        let slots = self.streams.slots() as u32;
        let Some(journal) = &mut self.journal else { return };
        journal.reads.recent = recent;
        let mut look_at = journal.reads.look_at;
        for _ in 0..LOOKED_AT_ONCE.min(slots) {
            if work == 0 || !self.is_memory_short() {
                break;
            }
            look_at = if look_at + 1 < slots { look_at + 1 } else { 0 };
            self.spill_stream(look_at, &mut work);
        }
        if let Some(journal) = &mut self.journal {
            journal.reads.look_at = look_at;
        }
    }

    /// Takes messages of one stream out of memory while that is short.
    fn spill_stream(&mut self, key: u32, work: &mut u32) {
        let Some(stream) = self.streams.at(key) else { return };
        if stream.log.is_none() || stream.held.in_memory() == 0 {
            return;
        }
        let newest_first = !stream.settings.is_log() && stream.groups.keepers() <= 1;
        let (mut seq, visible) = (stream.held.lowest_in_memory().unwrap_or(0), stream.held.visible());
        if newest_first {
            let Some(newest) = visible.checked_sub(1) else { return };
            seq = newest;
        }
        let mut looked = 0;
        while *work > 0 && looked < SPILLED_AT_ONCE && self.is_memory_short() {
            looked += 1;
            let Some(stream) = self.streams.at_mut(key) else { return };
            let near = |group: &crate::group::Group| {
                (group.cursor()..group.cursor() + NEAR_SEQS).contains(&seq)
                    || group.flights.at(seq).is_some_and(|flight| flight.consumer().is_some())
            };
            let is_near = stream.groups.iter().any(near);
            // What is written within an interval is visible before it is on the disk, where it is looked for later.
            let is_on_disk = |at| self.journal.as_ref().is_some_and(|journal| journal.log.is_written_at(at));
            let may_leave = !is_near && stream.held.location(seq).is_some_and(is_on_disk);
            if may_leave && stream.held.spill(seq, &mut self.memory) {
                self.totals.spilled += 1;
                *work -= 1;
            } else if newest_first {
                // Below are older ones: they are wanted sooner.
                return;
            }
            let next = if newest_first {
                seq.checked_sub(1)
            } else {
                stream.held.next_in_memory(seq + 1).filter(|next| *next < visible)
            };
            let Some(next) = next else { return };
            seq = next;
        }
    }

    /// A group has come to a message that is only in the log: it is read, unless a read for the stream is under way.
    #[cold]
    pub(crate) fn want_message(&mut self, key: u32, seq: u64) {
        let Some(journal) = &mut self.journal else { return };
        let Some(stream) = self.streams.at_mut(key) else { return };
        let Some(from) = stream.held.location(seq) else { return };
        let Some(in_log) = &mut stream.log else { return };
        if in_log.is_reading {
            return;
        }
        in_log.is_reading = true;
        let segment_bytes = journal.log.segment_bytes(from.segment()).unwrap_or_default();
        let range = ReadRange::of(from, in_log.read_bytes, segment_bytes);
        let wanted = Wanted { stream: key, number: in_log.number, seq, from, range };
        match journal.log.read(range.segment, range.offset, range.len) {
            Some(ticket) => journal.reads.under_way.push((ticket, wanted)),
            None => journal.reads.hungry.push_back(key),
        }
    }

    /// A read is done: what is in it of its stream comes into memory, and is delivered.
    pub(crate) fn read_done(&mut self, now: Now, ticket: Ticket, bytes: Option<&[u8]>, effects: &mut Effects) {
        let Some(journal) = &mut self.journal else { return };
        let Some(position) = journal.reads.under_way.iter().position(|(of, _)| *of == ticket) else { return };
        let (_, wanted) = journal.reads.under_way.swap_remove(position);
        self.take_read(now, &wanted, bytes.unwrap_or_default(), bytes.is_some());
        self.write_letters_of(now, wanted.stream, effects);
        self.unpark(now, wanted.stream, effects);
        self.deliver_all(now, wanted.stream, effects);
        self.feed_hungry(now, effects);
    }

    fn take_read(&mut self, now: Now, wanted: &Wanted, bytes: &[u8], is_read: bool) {
        let Some(journal) = &mut self.journal else { return };
        let Some(stream) = self.streams.at_mut(wanted.stream) else { return };
        let Some(in_log) = &mut stream.log else { return };
        if in_log.number != wanted.number {
            return;
        }
        in_log.is_reading = false;
        let (mut loaded, mut loaded_bytes) = (0_u64, 0_u64);
        let budget = self.limits.shard_bytes_max / 1_000 * SPILL_AT_PER_MILLE;
        let mut needed = None;
        let mut records = Records::new(journal.log.identity(), bytes, wanted.range.offset, wanted.from);
        loop {
            let (location, record) = match records.next() {
                Next::Record(location, Record::Message(record)) => (location, record),
                Next::Record(..) => continue,
                Next::More(at, bytes) => {
                    needed = (at == wanted.from).then_some(bytes);
                    break;
                }
                Next::Nothing => break,
            };
            if record.stream != wanted.number || stream.held.location(record.seq) != Some(location) {
                continue;
            }
            // The one that is waited for comes in whatever memory says; without it nothing would move.
            if record.seq != wanted.seq && self.memory.bytes_held >= budget {
                break;
            }
            if stream.held.message(record.seq).is_some() {
                continue;
            }
            let age_ms = now.unix_ms.saturating_sub(record.unix_ms);
            let mono_ns = now.mono_ns.saturating_sub(age_ms.saturating_mul(NS_PER_MS));
            let published = Now { mono_ns, unix_ms: record.unix_ms };
            let extras = Extras::of_record(&record);
            let message = Message::new(
                published,
                record.id.as_bytes(),
                record.encoding,
                record.envelope,
                &extras,
                &mut self.memory.buffers,
            );
            let Some(message) = message else { continue };
            loaded_bytes += message.held_bytes();
            loaded += 1;
            stream.held.load(record.seq, message, &mut self.memory);
        }
        self.totals.read_back += loaded;
        // Mostly this stream's: more at once. Mostly others': less.
        in_log.read_bytes = if loaded_bytes > u64::from(wanted.range.len) / 4 {
            (in_log.read_bytes * 2).min(READ_BYTES_MAX)
        } else {
            (in_log.read_bytes / 2).max(READ_BYTES_MIN)
        };
        if stream.held.message(wanted.seq).is_some() || !stream.held.is_held(wanted.seq) {
            return;
        }
        match needed {
            // It is longer than what was read; a read that was as long as it could be has no more to give.
            Some(needed) if is_read && needed > in_log.read_bytes => in_log.read_bytes = needed,
            _ => self.lose(wanted.stream, wanted.seq),
        }
    }

    /// A message cannot be read from the disk: its groups are told of a gap. The segment stays as it is.
    #[cold]
    fn lose(&mut self, key: u32, seq: u64) {
        self.totals.unreadable += 1;
        self.withdraw(key, seq);
        let Some(stream) = self.streams.at_mut(key) else { return };
        // The log goes on holding the segment: nobody deletes what somebody may want to repair.
        stream.held.release(seq, &mut self.memory);
        stream.add_gap(SeqRange { from: seq, to: seq });
    }

    /// A request wants to look at a message that is only in the log, or to bring it back: it waits for the read. False when
    /// it need not, or cannot.
    pub(crate) fn park(&mut self, origin: &Origin, tenant: TenantId, command: &StreamCommand<'_>) -> bool {
        if !matches!(command.action, StreamAction::Peek { .. } | StreamAction::Redrive { limit: 1.. }) {
            return false;
        }
        if self.journal.as_ref().is_none_or(|journal| journal.reads.parked.len() >= PARKED_MAX) {
            return false;
        }
        let Some(stream) = self.streams.find(tenant, &command.stream, &self.seeded) else { return false };
        let Some(held) = self.streams.at(stream).map(|stream| &stream.held) else { return false };
        let wanted = match command.action {
            StreamAction::Peek { from, .. } => held.next_held(from.0, held.visible()),
            _ => self.next_settled(stream, 0),
        };
        let Some(seq) = wanted else { return false };
        if held.message(seq).is_some() {
            return false;
        }
        self.want_message(stream, seq);
        let command = command.clone().into_owned();
        if let Some(journal) = &mut self.journal {
            journal.reads.parked.push(Parked { stream, origin: *origin, tenant, command });
        }
        true
    }

    /// A read of a stream is done: those who waited for it look again.
    fn unpark(&mut self, now: Now, stream: u32, effects: &mut Effects) {
        let Some(journal) = &mut self.journal else { return };
        if journal.reads.parked.is_empty() {
            return;
        }
        let parked = std::mem::take(&mut journal.reads.parked);
        let (of_stream, others): (Vec<_>, Vec<_>) = parked.into_iter().partition(|parked| parked.stream == stream);
        journal.reads.parked = others;
        for Parked { origin, tenant, command, .. } in of_stream {
            self.administer(now, &origin, tenant, &command, effects);
        }
    }

    /// The log takes reads again: those that waited are asked for.
    fn feed_hungry(&mut self, now: Now, effects: &mut Effects) {
        let Some(journal) = &mut self.journal else { return };
        let Some(key) = journal.reads.hungry.pop_front() else { return };
        if let Some(in_log) = self.streams.at_mut(key).and_then(|stream| stream.log.as_mut()) {
            in_log.is_reading = false;
        }
        // Its groups come to the same message again.
        self.deliver_all(now, key, effects);
    }
}
