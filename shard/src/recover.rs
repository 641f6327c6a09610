//! Recovery: a shard's streams and groups as its log tells them.
//!
//! The records are replayed in the order in which they were written. What is held afterwards is where it lies in the log;
//! nothing of it is in memory until a group comes to it.

use crate::dedup::First;
use crate::group::Group;
use crate::journal::{DurabilityOf, InLog, Journal};
use crate::log::{
    Found, GroupNumber, GroupRecord, Location, Log, LogIdentity, LogLimits, MessageRecord, Record, ScanError, ScanPlan,
    Scanned, SegmentId, SeqRange, Storage, StreamNumber, StreamRecord, scan,
};
use crate::message::Extras;
use crate::shard::Shard;
use crate::shares::Shared;
use crate::{Limits, Mutant};
use conduit_protocol::streams::Durability;
use conduit_protocol::{Now, ShardId, time::NS_PER_MS};
use std::collections::{BTreeMap, HashMap};

/// What recovery found, for the operator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Streams.
    pub streams: u64,
    /// Messages held.
    pub messages: u64,
    /// Records read.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Bytes after the last whole record: a batch that was being written when the process ended.
    pub torn_bytes: u64,
    /// Places in the middle that could not be read.
    pub damaged: u64,
    /// Seqs that are missing because of it, or because a stream is not written at once.
    pub lost_seqs: u64,
}

/// What a shard with a log begins with.
pub struct RecoverPlan {
    /// Its number.
    pub id: ShardId,
    /// How many there are.
    pub shards: u16,
    /// Its bounds.
    pub limits: Limits,
    /// Feeds the generator of message ids and the maps' hash keys.
    pub seed: u64,
    /// The bounds of its log.
    pub log_limits: LogLimits,
    /// Who the log will be if there is none yet.
    pub fresh: LogIdentity,
    /// What accepted messages of a stream survive, for streams that were told nothing else.
    pub durability_of: DurabilityOf,
}

/// What a replay leaves besides the streams.
pub(crate) struct Rest {
    last_stream: u32,
    last_group: u32,
    /// Records whose segments are needed until a time, in milliseconds since 1970.
    kept: Vec<(Location, u64)>,
}

/// What is known of one stream while the log is replayed.
struct Seen {
    key: u32,
    /// One more than the highest seq that was seen, or that was said to be next.
    next: u64,
    /// Of a stream that reserves seqs: the end of what it reserved last.
    reserved: u64,
    is_interval: bool,
}

/// What is known of one group.
struct SeenGroup {
    key: u32,
    index: u32,
    /// Done at or above its cursor.
    done: BTreeMap<u64, u64>,
}

/// A message that has more to it than its place.
struct Special {
    key: u32,
    number: StreamNumber,
    seq: u64,
    extras: Extras,
}

struct Replay<'s> {
    now: Now,
    shard: &'s mut Shard,
    durability_of: &'s DurabilityOf,
    streams: HashMap<StreamNumber, Seen>,
    groups: HashMap<GroupNumber, SeenGroup>,
    specials: Vec<Special>,
    /// Records whose segments are needed until a time, in milliseconds since 1970.
    kept: Vec<(Location, u64)>,
    lost_seqs: u64,
    orphans: u64,
    last_stream: u32,
    last_group: u32,
}

impl Shard {
    /// A shard with the streams of its log, which goes on in it. `progress` is told now and then how many bytes have been
    /// read, of how many.
    ///
    /// # Errors
    /// When the log cannot be read, or is not this shard's.
    pub fn recover(
        now: Now,
        plan: RecoverPlan,
        storage: &mut dyn Storage,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Self, Recovered), ScanError> {
        let (mut shard, recovered, mut scanned, rest) = Self::replay(now, &plan, true, storage, progress)?;
        scanned.start.prepare(storage, &plan.log_limits)?;
        let outstanding_max = plan.log_limits.outstanding_max(plan.limits.groups_per_stream_max);
        let mut journal = Journal::new(Log::new(plan.log_limits, scanned.start), outstanding_max, plan.durability_of);
        shard.least_share = outstanding_max / plan.limits.groups_per_stream_max.max(1) as u64;
        journal.next_stream = rest.last_stream + 1;
        journal.next_group = rest.last_group + 1;
        for stream in shard.streams.iter_mut() {
            stream.held.for_each_location(|location| journal.log.hold(location));
        }
        for (location, until_unix_ms) in rest.kept {
            journal.log.hold_until(location, until_unix_ms);
        }
        shard.journal = Some(Box::new(journal));
        shard.totals.log_damaged = recovered.damaged;
        let gaps = shard.streams.iter_mut().flat_map(|stream| &stream.gaps);
        shard.totals.lost_seqs = gaps.map(|gap| gap.to - gap.from + 1).sum();
        shard.after_recovery(now);
        Ok((shard, recovered))
    }

    /// The streams of a log, in a shard that does not go on in it.
    pub(crate) fn replay(
        now: Now,
        plan: &RecoverPlan,
        is_recovery: bool,
        storage: &mut dyn Storage,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Self, Recovered, Scanned, Rest), ScanError> {
        let mut shard = Self::new(plan.id, plan.shards, plan.limits.clone(), plan.seed);
        shard.now = now;
        let mut replay = Replay::new(now, &mut shard, &plan.durability_of);
        let scan_plan = ScanPlan { limits: &plan.log_limits, shard: plan.id, fresh: plan.fresh, is_recovery };
        let mut each = |found: Found<'_>| match found {
            Found::Record(location, record) => replay.take(location, record),
            // What is missing shows in the seqs.
            Found::Damage(_) => {}
        };
        let scanned = scan(storage, &scan_plan, &mut each, progress)?;
        let recovered = replay.finish(&scanned);
        let rest = Rest {
            last_stream: replay.last_stream,
            last_group: replay.last_group,
            kept: std::mem::take(&mut replay.kept),
        };
        Ok((shard, recovered, scanned, rest))
    }

    /// Timers, and what nobody needs any more.
    fn after_recovery(&mut self, now: Now) {
        for key in 0..self.streams.slots() as u32 {
            if self.streams.at(key).is_none() {
                continue;
            }
            self.trim_by_floors(now, key);
            self.trim_log(now, key);
        }
        self.start_sweeping(now);
    }
}

impl<'s> Replay<'s> {
    fn new(now: Now, shard: &'s mut Shard, durability_of: &'s DurabilityOf) -> Self {
        Self {
            now,
            shard,
            durability_of,
            streams: HashMap::new(),
            groups: HashMap::new(),
            specials: Vec::new(),
            kept: Vec::new(),
            lost_seqs: 0,
            orphans: 0,
            last_stream: 0,
            last_group: 0,
        }
    }

    fn take(&mut self, location: Location, record: Record<'_>) {
        match record {
            Record::Stream(record) => self.stream(location.segment(), &record),
            Record::Group(record) => self.group(&record),
            Record::Message(record) => self.message(location, &record),
            Record::Acked { group, ranges } => self.acked(group, ranges),
            Record::Released { stream, ranges } => self.released(stream, ranges),
            Record::GroupDeleted { group } => self.group_deleted(group),
            Record::StreamDeleted { stream } => self.stream_deleted(stream),
            Record::CarriedOver => {}
        }
    }

    fn stream(&mut self, segment: SegmentId, record: &StreamRecord<'_>) {
        self.last_stream = self.last_stream.max(record.stream.0);
        let key = match self.streams.get(&record.stream) {
            Some(seen) => seen.key,
            None => self.new_stream(record),
        };
        let Some(stream) = self.shard.streams.at_mut(key) else { return };
        stream.epoch = record.epoch;
        stream.settings.replace_json(record.settings);
        for gap in record.gaps {
            if !stream.gaps.contains(gap) {
                stream.add_gap(*gap);
            }
        }
        // A stream that is in the log stays there, whatever the server is told now.
        stream.durability = match stream.settings.durability().unwrap_or_else(|| (self.durability_of)(record.name)) {
            Durability::Memory => Durability::Commit,
            durability => durability,
        };
        if let Some(in_log) = &mut stream.log {
            in_log.named_in = segment;
        }
        let is_interval = matches!(stream.durability, Durability::Interval(_));
        let Some(seen) = self.streams.get_mut(&record.stream) else { return };
        seen.is_interval = is_interval;
        if is_interval {
            seen.reserved = record.next_seq;
        } else if record.next_seq > seen.next {
            let gap = SeqRange { from: seen.next, to: record.next_seq - 1 };
            seen.next = record.next_seq;
            self.lost_seqs += gap.to - gap.from + 1;
            stream.add_gap(gap);
        }
    }

    fn new_stream(&mut self, record: &StreamRecord<'_>) -> u32 {
        let key = self.shard.streams.add(self.now, record.tenant, record.name, &self.shard.seeded);
        self.shard.shares.add(record.tenant, Shared::Streams, 1);
        if let Some(stream) = self.shard.streams.at_mut(key) {
            stream.log = Some(Box::new(InLog::new(record.stream)));
        }
        // What it held before its first record was released, and the segments of it are gone.
        let seen = Seen { key, next: record.next_seq, reserved: 0, is_interval: false };
        self.streams.insert(record.stream, seen);
        key
    }

    fn group(&mut self, record: &GroupRecord<'_>) {
        self.last_group = self.last_group.max(record.group.0);
        let Some(seen) = self.streams.get(&record.stream) else {
            self.orphans += 1;
            return;
        };
        let Some(stream) = self.shard.streams.at_mut(seen.key) else { return };
        let mut group = Group::new(record.name, record.cursor);
        group.number = Some(record.group);
        group.is_put = !record.settings.is_empty();
        group.settings = serde_json::from_slice(record.settings).unwrap_or_default();
        for outstanding in record.outstanding {
            group.restore_outstanding(outstanding.seq, outstanding.attempts, &mut self.shard.memory.flights);
        }
        let index = match self.groups.get(&record.group) {
            Some(known) => {
                if let Some(old) = stream.groups.at_mut(known.index) {
                    while !old.flights.clear_some(u64::MAX, &mut self.shard.memory.flights) {}
                    *old = group;
                }
                known.index
            }
            None => {
                self.shard.totals.groups_now += 1;
                self.shard.shares.add(stream.tenant, Shared::Groups, 1);
                stream.groups.add(group)
            }
        };
        let done = record.done.iter().map(|range| (range.from, range.to)).collect();
        self.groups.insert(record.group, SeenGroup { key: seen.key, index, done });
    }

    fn message(&mut self, location: Location, record: &MessageRecord<'_>) {
        let Some(seen) = self.streams.get_mut(&record.stream) else {
            self.orphans += 1;
            return;
        };
        let Some(stream) = self.shard.streams.at_mut(seen.key) else { return };
        if record.seq >= seen.next {
            if record.seq > seen.next && !seen.is_interval {
                let gap = SeqRange { from: seen.next, to: record.seq - 1 };
                self.lost_seqs += gap.to - gap.from + 1;
                stream.add_gap(gap);
            }
            seen.next = record.seq + 1;
        }
        stream.held.locate(record.seq, location, &mut self.shard.memory);
        if let Some(in_log) = &mut stream.log {
            let bytes = (record.id.len() + record.envelope.len()) as u64;
            in_log.timeline.note(record.seq, record.unix_ms, bytes, stream.held.first().unwrap_or(record.seq));
        }
        let extras = Extras::of_record(record);
        if !extras.is_plain() {
            let (key, number) = (seen.key, record.stream);
            self.specials.push(Special { key, number, seq: record.seq, extras });
        }
        if !record.dedup_id.is_empty() {
            let window_ms = stream.settings.dedup_window_ms(&self.shard.limits);
            let until_unix_ms = record.unix_ms.saturating_add(window_ms);
            let key = seen.key;
            let is_forgotten = self.shard.limits.planted.has(Mutant::ForgetDedupIds);
            if until_unix_ms >= self.now.unix_ms && !is_forgotten {
                self.kept.push((location, until_unix_ms));
                let age_ns = self.now.unix_ms.saturating_sub(record.unix_ms).saturating_mul(NS_PER_MS);
                let then = Now { mono_ns: self.now.mono_ns.saturating_sub(age_ns), unix_ms: record.unix_ms };
                let first = First { seq: record.seq, id: record.id };
                self.shard.remember(then, key, record.dedup_id, first);
            }
        }
    }

    fn acked(&mut self, number: GroupNumber, ranges: &[SeqRange]) {
        if self.shard.limits.planted.has(Mutant::ForgetAcks) {
            return;
        }
        let Some(seen) = self.groups.get_mut(&number) else {
            self.orphans += 1;
            return;
        };
        let Some(stream) = self.shard.streams.at_mut(seen.key) else { return };
        let Some(group) = stream.groups.at_mut(seen.index) else { return };
        for range in ranges {
            group.restore_done(*range, &mut self.shard.memory.flights);
            if range.to >= group.cursor() {
                join(&mut seen.done, range.from.max(group.cursor()), range.to);
            }
        }
    }

    fn released(&mut self, number: StreamNumber, ranges: &[SeqRange]) {
        if self.shard.limits.planted.has(Mutant::ForgetAcks) {
            return;
        }
        let Some(seen) = self.streams.get(&number) else {
            self.orphans += 1;
            return;
        };
        let Some(stream) = self.shard.streams.at_mut(seen.key) else { return };
        for range in ranges {
            let mut from = range.from;
            while let Some(seq) = stream.held.next_located(from).filter(|seq| *seq <= range.to) {
                stream.held.release(seq, &mut self.shard.memory);
                from = seq + 1;
            }
        }
    }

    fn group_deleted(&mut self, number: GroupNumber) {
        let Some(seen) = self.groups.remove(&number) else { return };
        let Some(stream) = self.shard.streams.at_mut(seen.key) else { return };
        if let Some(mut group) = stream.groups.remove(seen.index) {
            self.shard.totals.groups_now -= 1;
            self.shard.shares.remove(stream.tenant, Shared::Groups, 1);
            while !group.flights.clear_some(u64::MAX, &mut self.shard.memory.flights) {}
        }
    }

    fn stream_deleted(&mut self, number: StreamNumber) {
        let Some(seen) = self.streams.remove(&number) else { return };
        self.groups.retain(|_, group| group.key != seen.key);
        self.shard.forget_stream(seen.key);
        // Nothing of it was held for the log yet, so nothing of it is told to the log.
        self.shard.unfinished.clear();
        while let Some(mut held) = self.shard.buried.pop_front() {
            while !held.clear_some(u64::MAX, &mut self.shard.memory, |_location| ()) {}
        }
    }

    /// The streams are as the log left them.
    fn finish(&mut self, scanned: &Scanned) -> Recovered {
        for (number, seen) in &self.streams {
            let Some(stream) = self.shard.streams.at_mut(seen.key) else { continue };
            let mut next = seen.next;
            // What a stream reserved it may have given out: those seqs are never given out again.
            if seen.is_interval && seen.reserved > next && !self.shard.limits.planted.has(Mutant::ReuseSeq) {
                let gap = SeqRange { from: next, to: seen.reserved - 1 };
                self.lost_seqs += gap.to - gap.from + 1;
                stream.add_gap(gap);
                next = seen.reserved;
            }
            debug_assert!(stream.log.as_ref().is_some_and(|log| log.number == *number), "one number, one stream");
            stream.held.restore_next(next);
            // Groups are brought up to date below; who was done with what may leave messages that all are done with.
            stream.leftovers_below = next;
        }
        for seen in self.groups.values() {
            let Some(stream) = self.shard.streams.at_mut(seen.key) else { continue };
            let (groups, held) = (&mut stream.groups, (&stream.held, &*stream.gaps));
            if let Some(group) = groups.at_mut(seen.index) {
                let done = seen.done.iter().map(|(from, to)| SeqRange { from: *from, to: *to });
                group.finish_restore(done, held, &mut self.shard.memory.flights);
            }
        }
        for special in std::mem::take(&mut self.specials) {
            let is_same = self.streams.get(&special.number).is_some_and(|seen| seen.key == special.key);
            let Some(stream) = self.shard.streams.at(special.key) else { continue };
            if is_same && stream.held.is_held(special.seq) {
                self.shard.note_extras(self.now, special.key, special.seq, &special.extras);
            }
        }
        let streams = self.shard.streams.iter_mut();
        let messages = streams.map(|stream| stream.held.len()).sum();
        Recovered {
            streams: self.streams.len() as u64,
            messages,
            records: scanned.records,
            bytes: scanned.bytes,
            torn_bytes: scanned.torn_bytes,
            damaged: scanned.damage_count + self.orphans,
            lost_seqs: self.lost_seqs,
        }
    }
}

/// Adds a range to a set of ranges, joining what it touches.
pub(crate) fn join(set: &mut BTreeMap<u64, u64>, mut from: u64, mut to: u64) {
    while let Some((&below, &end)) = set.range(..=to.saturating_add(1)).next_back() {
        if end.saturating_add(1) < from {
            break;
        }
        from = from.min(below);
        to = to.max(end);
        set.remove(&below);
    }
    set.insert(from, to);
}
