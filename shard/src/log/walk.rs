//! The walk through the batches of one segment after the other: what is whole is told, what is not is searched for what
//! is left of it.

use super::codec::{self, Flaw, Scratch};
use super::format::{BATCH_HEADER, BLOCK, BatchHeader, Salt, Wholeness, is_zero, to_blocks};
use super::found::{DAMAGE_LISTED_MAX, Damage, DamageKind, Found};
use super::location::RECORD_ALIGN;
use super::outline::{Ending, Entry, batch_header, search};
use super::window::{CHUNK, Window};
use super::{Location, Record, SegmentId};
use crate::{Mutant, Planted};

/// What a segment came to.
#[derive(Debug)]
pub(crate) struct Walked {
    pub(crate) segment: SegmentId,
    /// Where what was written last begins: its last batch, or its header block when it has none.
    pub(crate) last_write_at: u64,
    /// The end of its last record.
    pub(crate) end: u64,
    pub(crate) batches: u64,
    pub(crate) torn_bytes: u64,
    pub(crate) ended_clean: bool,
    /// Its header is readable and its file as large as it should be.
    pub(crate) is_whole: bool,
}

/// The state of a scan between segments.
pub(crate) struct Walk<'e> {
    salt: Salt,
    each: &'e mut dyn FnMut(Found<'_>),
    scratch: Scratch,
    /// The highest number of a batch so far.
    pub(crate) last_batch: u64,
    pub(crate) carried_over: Option<SegmentId>,
    pub(crate) records: u64,
    pub(crate) damage: Vec<Damage>,
    pub(crate) damage_count: u64,
    pub(crate) planted: Planted,
}

/// Bytes that are looked at together where no header says how many belong together.
const PIECE: u64 = CHUNK / 2;

/// The segment that is walked through, as far as it does not change.
#[derive(Clone, Copy)]
struct Path {
    segment: SegmentId,
    ending: Ending,
    /// Nothing is believed from here on.
    limit: u64,
}

impl<'e> Walk<'e> {
    pub(crate) fn new(salt: Salt, each: &'e mut dyn FnMut(Found<'_>)) -> Self {
        Self {
            salt,
            each,
            scratch: Scratch::default(),
            last_batch: 0,
            carried_over: None,
            records: 0,
            damage: Vec::new(),
            damage_count: 0,
            planted: Planted::default(),
        }
    }

    /// Tells of damage.
    pub(crate) fn damaged(&mut self, damage: Damage) {
        self.damage_count += 1;
        if self.damage.len() < DAMAGE_LISTED_MAX {
            self.damage.push(damage);
        }
        (self.each)(Found::Damage(damage));
    }

    /// Reads the batches of the segment that the window is open on.
    pub(crate) fn segment(&mut self, window: &mut Window<'_>, entry: &Entry, ending: Ending) -> Walked {
        let file = entry.file;
        let segment = file.segment;
        let begins_blank = is_zero(window.bytes(BLOCK, BLOCK));
        // A cut-off write of the header is no damage: then nothing was written behind it.
        if entry.wholeness == Wholeness::Bad || entry.wholeness == Wholeness::Torn && !begins_blank {
            self.damaged(Damage { segment, from: 0, to: BLOCK, kind: DamageKind::Header });
        }
        if let Some(header) = entry.header {
            self.last_batch = self.last_batch.max(header.first_batch.saturating_sub(1));
        }
        let mut walked = Walked {
            segment,
            last_write_at: 0,
            end: BLOCK,
            batches: 0,
            torn_bytes: 0,
            ended_clean: false,
            is_whole: entry.header.is_some_and(|header| header.bytes == file.bytes),
        };
        let limit = if let Ending::Known(end) = ending { end } else { file.bytes };
        let path = Path { segment, ending, limit };
        let mut at = BLOCK;
        while at < limit {
            let header = batch_header(window.bytes(at, BLOCK), self.salt, segment, at);
            let next = match header.filter(|header| header.number > self.last_batch) {
                Some(header) => self.batch(window, path, at, header, &mut walked),
                None => self.no_batch(window, path, at, &mut walked),
            };
            let Some(next) = next else { break };
            at = next;
        }
        for block in window.take_unreadable() {
            // What looks like zeros may be more of the log: writing does not go on over it.
            walked.is_whole = false;
            self.damaged(Damage { segment, from: block, to: block + BLOCK, kind: DamageKind::Unreadable });
        }
        walked
    }

    /// Reads a batch, and says where the next one begins. `None` when this one is torn: then nothing follows.
    fn batch(
        &mut self,
        window: &mut Window<'_>,
        path: Path,
        at: u64,
        header: BatchHeader,
        walked: &mut Walked,
    ) -> Option<u64> {
        let end = at + u64::from(header.used);
        let next = to_blocks(end);
        // The header of the next segment may say that this batch was torn, and where.
        let stop = end.min(path.limit);
        let first = (at + BATCH_HEADER).min(stop);
        let bytes = window.bytes(at, next - at);
        let slice = |from: u64, to: u64| bytes.get((from - at) as usize..(to - at) as usize).unwrap_or_default();
        let padding_is_clean = stop < end || is_zero(slice(end, next));
        let reached = self.chain(path.segment, slice(first, stop), first).0;
        self.last_batch = header.number;
        walked.last_write_at = at;
        walked.batches += 1;
        if reached < stop {
            if path.ending == Ending::Open {
                let rest = search(window, Some(self.salt), next, path.limit, header.number);
                if rest.batch.is_none() {
                    walked.tear(first, reached, rest.nonzero_end.max(end));
                    return None;
                }
            }
            self.salvage(window, path.segment, reached, stop, 0);
        }
        if !padding_is_clean {
            self.damaged(Damage { segment: path.segment, from: end, to: next, kind: DamageKind::Padding });
        }
        walked.end = stop;
        walked.ended_clean = header.is_clean_end && reached == stop && stop == end;
        Some(next)
    }

    /// No batch is believed here: it is the end, a torn batch, or damage. Says where the next batch begins, if any does.
    fn no_batch(&mut self, window: &mut Window<'_>, path: Path, at: u64, walked: &mut Walked) -> Option<u64> {
        let rest = search(window, Some(self.salt), at, path.limit, self.last_batch);
        if let Some(next) = rest.batch {
            self.salvage(window, path.segment, at, next, BATCH_HEADER);
            walked.end = next;
            return Some(next);
        }
        match path.ending {
            Ending::Known(end) => {
                self.salvage(window, path.segment, at, end, BATCH_HEADER);
                walked.end = end;
            }
            Ending::Unknown if rest.nonzero_end > at => {
                let end = rest.nonzero_end.next_multiple_of(RECORD_ALIGN);
                self.salvage(window, path.segment, at, end, BATCH_HEADER);
                walked.end = end;
            }
            Ending::Open if rest.nonzero_end > at => {
                // Its header was torn off, or is bad. What is whole behind it was published, and is read; and when
                // there is something, the header is bad: a sector is written whole or not at all.
                let first = at + BATCH_HEADER;
                let reached = self.chain_on(window, path, first);
                if reached > first {
                    walked.last_write_at = at;
                    self.last_batch = self.last_batch.saturating_add(1);
                    self.damaged(Damage { segment: path.segment, from: at, to: first, kind: DamageKind::Header });
                }
                walked.tear(first, reached, rest.nonzero_end);
            }
            Ending::Unknown | Ending::Open => {}
        }
        None
    }

    /// Tells the records that follow each other without a flaw, and says where they end, and what comes there.
    fn chain(&mut self, segment: SegmentId, bytes: &[u8], base: u64) -> (u64, Flaw) {
        let mut at = 0;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let place = base + at as u64;
            if rest.is_empty() {
                return (place, Flaw::Blank);
            }
            match self.record(segment, rest, place) {
                Ok(len) => at += len,
                Err(flaw) => return (place, flaw),
            }
        }
    }

    /// As `chain`, where nobody says how long the batch is.
    fn chain_on(&mut self, window: &mut Window<'_>, path: Path, first: u64) -> u64 {
        let (mut at, mut len) = (first, PIECE);
        loop {
            let bytes = window.bytes(at, len.min(path.limit.saturating_sub(at)));
            let end = at + bytes.len() as u64;
            let (reached, flaw) = self.chain(path.segment, bytes, at);
            let goes_on = reached > at && reached == end;
            at = reached;
            len = match flaw {
                Flaw::Short(needed) if at + needed as u64 <= path.limit => PIECE.max(needed as u64),
                _ if goes_on => PIECE,
                _ => return at,
            };
        }
    }

    /// Tells the record that begins here, and says how long it is.
    #[inline]
    fn record(&mut self, segment: SegmentId, bytes: &[u8], place: u64) -> Result<usize, Flaw> {
        let at = Location::new(segment, place).ok_or(Flaw::Bad)?;
        let checked = if self.planted.has(Mutant::BelieveTornTail) {
            codec::believe(bytes)?
        } else {
            codec::check(bytes, self.salt.mark(at))?
        };
        match codec::decode(&checked, &mut self.scratch) {
            Some(record) => {
                if matches!(record, Record::CarriedOver) {
                    self.carried_over = Some(segment);
                }
                self.records += 1;
                (self.each)(Found::Record(at, record));
            }
            // Whole, and nothing that this version knows: as good as lost.
            None => {
                let to = place + checked.padded_len() as u64;
                self.damaged(Damage { segment, from: place, to, kind: DamageKind::Lost });
            }
        }
        Ok(checked.padded_len())
    }

    /// Looks at every place of a damaged part for a record, and tells in order what is there and what is lost. It begins
    /// with so many bytes of a batch's header, or 0.
    fn salvage(&mut self, window: &mut Window<'_>, segment: SegmentId, from: u64, to: u64, header: u64) {
        let mut lost_from = Some(from);
        let mut at = from;
        while at < to {
            let Some(len) = self.whole_record(window, segment, at, to) else {
                lost_from = lost_from.or(Some(at));
                at += RECORD_ALIGN;
                continue;
            };
            if let Some(lost_from) = lost_from.take() {
                let is_header = header > 0 && lost_from == from && at == from + header;
                let kind = if is_header { DamageKind::Header } else { DamageKind::Lost };
                self.damaged(Damage { segment, from: lost_from, to: at, kind });
            }
            let _ = self.record(segment, window.bytes(at, len), at);
            at += len;
        }
        if let Some(lost_from) = lost_from {
            // Behind the last record of a batch without a header there is its padding.
            let is_padding =
                lost_from > from && to - lost_from < BLOCK && is_zero(window.bytes(lost_from, to - lost_from));
            if !is_padding {
                self.damaged(Damage { segment, from: lost_from, to, kind: DamageKind::Lost });
            }
        }
    }

    /// The length of the record that begins here, if it is whole and ends in time.
    fn whole_record(&self, window: &mut Window<'_>, segment: SegmentId, at: u64, to: u64) -> Option<u64> {
        let mark = self.salt.mark(Location::new(segment, at)?);
        let room = to - at;
        let header = window.bytes(at, room.min(codec::RECORD_HEADER as u64));
        match codec::check(header, mark) {
            Ok(checked) => Some(checked.padded_len() as u64),
            Err(Flaw::Short(needed)) if needed as u64 <= room => {
                codec::check(window.bytes(at, needed as u64), mark).ok().map(|checked| checked.padded_len() as u64)
            }
            Err(_) => None,
        }
    }
}

impl Walked {
    /// The batch whose records begin at `first` is whole up to `reached`; something torn follows, up to `torn_end`.
    fn tear(&mut self, first: u64, reached: u64, torn_end: u64) {
        if reached > first {
            self.end = reached;
        }
        self.torn_bytes = torn_end.saturating_sub(self.end);
        self.ended_clean = false;
    }
}
