//! What the log has not been told yet: which messages groups have acked, and which nobody needs any more. It is told in
//! batches, along with the next publishes or after a while by itself; a restart in between redelivers what was not told.

use crate::log::{Class, GroupNumber, Location, Record, SeqRange};
use crate::shard::Shard;
use conduit_protocol::{Now, time::NS_PER_MS};

/// Milliseconds that acks wait for company.
const WAIT_MS: u64 = 50;
/// Ranges that are told at once, company or not.
const RANGES_DUE: usize = 4_096;
/// Ranges that are kept while the log takes none (the disk is full). Beyond it, acks are not remembered: a restart then
/// redelivers those messages.
const RANGES_MAX: usize = 1 << 20;
/// Ranges of one record.
const RECORD_RANGES_MAX: usize = 4_096;

/// Seqs in the order in which they were finished; neighbours are joined.
#[derive(Debug)]
pub(crate) struct Ranges {
    list: Vec<SeqRange>,
    /// It is in the list of what is to be told.
    is_listed: bool,
}

impl Ranges {
    pub(crate) const fn new() -> Self {
        Self { list: Vec::new(), is_listed: false }
    }

    /// Adds a seq; true when a range was begun for it.
    fn add(&mut self, seq: u64, may_begin: bool) -> bool {
        if let Some(last) = self.list.last_mut() {
            if last.to + 1 == seq {
                last.to = seq;
                return false;
            }
            if last.from == seq + 1 {
                last.from = seq;
                return false;
            }
        }
        if may_begin {
            self.list.push(SeqRange { from: seq, to: seq });
        }
        may_begin
    }
}

/// Whom ranges belong to.
#[derive(Debug, Clone, Copy)]
enum Owner {
    Stream { key: u32 },
    Group { key: u32, group: u32, number: GroupNumber },
}

/// The list of streams and groups with something to tell.
#[derive(Debug, Default)]
pub(crate) struct Untold {
    owners: Vec<Owner>,
    ranges: usize,
    due_ns: Option<u64>,
}

impl Untold {
    /// When what there is has waited long enough, in `Now::mono_ns`.
    pub(crate) const fn due_ns(&self) -> Option<u64> {
        self.due_ns
    }

    /// It has waited long enough, or is much.
    pub(crate) fn is_due(&self, now: Now) -> bool {
        self.ranges >= RANGES_DUE || self.due_ns.is_some_and(|due_ns| due_ns <= now.mono_ns)
    }

    /// A stream or group goes, and what it has not told with it.
    pub(crate) const fn forget(&mut self, ranges: &Ranges) {
        self.ranges -= ranges.list.len();
    }

    /// False when the log has taken nothing for so long that this is not remembered.
    fn add(&mut self, now: Now, owner: Owner, ranges: &mut Ranges, seq: u64) -> bool {
        let may_begin = self.ranges < RANGES_MAX;
        let begun = ranges.add(seq, may_begin);
        self.ranges += usize::from(begun);
        if !ranges.is_listed && !ranges.list.is_empty() {
            ranges.is_listed = true;
            self.owners.push(owner);
        }
        self.due_ns.get_or_insert(now.mono_ns.saturating_add(WAIT_MS * NS_PER_MS));
        begun || may_begin
    }
}

impl Shard {
    /// A group acked a message that stays for others.
    pub(crate) fn untold_ack(&mut self, key: u32, group_index: u32, seq: u64) {
        let now = self.now;
        let Some(journal) = &mut self.journal else { return };
        let Some(stream) = self.streams.at_mut(key) else { return };
        if stream.log.is_none() {
            return;
        }
        let Some(group) = stream.groups.at_mut(group_index) else { return };
        let Some(number) = group.number else { return };
        let owner = Owner::Group { key, group: group_index, number };
        if !journal.untold.add(now, owner, &mut group.acked, seq) {
            self.totals.acks_not_logged += 1;
        }
    }

    /// A message that lay in the log is gone.
    #[inline]
    pub(crate) fn untold_release(&mut self, key: u32, seq: u64, location: Location) {
        let now = self.now;
        let Some(journal) = &mut self.journal else { return };
        journal.log.release(location);
        let Some(in_log) = self.streams.at_mut(key).and_then(|stream| stream.log.as_mut()) else { return };
        if !journal.untold.add(now, Owner::Stream { key }, &mut in_log.released, seq) {
            self.totals.acks_not_logged += 1;
        }
    }

    /// Tells the log everything. What it does not take now stays for the next time; then this is false.
    pub(crate) fn tell_log(&mut self, now: Now) -> bool {
        let Some(journal) = &mut self.journal else { return true };
        if journal.untold.owners.is_empty() {
            journal.untold.due_ns = None;
            return true;
        }
        let owners = std::mem::take(&mut journal.untold.owners);
        let mut left = Vec::new();
        for owner in owners {
            if !self.tell_of(now, owner) {
                left.push(owner);
            }
        }
        let Some(journal) = &mut self.journal else { return true };
        let is_all = left.is_empty();
        let retry = now.mono_ns.saturating_add(WAIT_MS * NS_PER_MS);
        journal.untold.due_ns = (!is_all).then_some(retry);
        journal.untold.owners = left;
        is_all
    }

    /// Tells the log of one owner's ranges. False when some are left.
    fn tell_of(&mut self, now: Now, owner: Owner) -> bool {
        let key = match owner {
            Owner::Stream { key } | Owner::Group { key, .. } => key,
        };
        // The records before it in the segment name the stream and its groups.
        if self.streams.at(key).is_none_or(|stream| stream.log.is_none()) {
            return true;
        }
        let Some(mut ranges) = self.take_ranges(owner) else { return true };
        let mut told = 0;
        for chunk in ranges.chunks(RECORD_RANGES_MAX) {
            let bytes = 64 + 16 * chunk.len() as u64;
            if self.name_in_log(now, key, bytes, Class::Upkeep).is_err() {
                break;
            }
            let Some(number) = self.streams.at(key).and_then(|stream| stream.log.as_ref()).map(|log| log.number) else {
                break;
            };
            let record = match owner {
                Owner::Stream { .. } => Record::Released { stream: number, ranges: chunk },
                Owner::Group { number, .. } => Record::Acked { group: number, ranges: chunk },
            };
            let Some(journal) = &mut self.journal else { break };
            if journal.log.append(now, &record, Class::Upkeep).is_err() {
                break;
            }
            told += chunk.len();
        }
        if let Some(journal) = &mut self.journal {
            journal.untold.ranges -= told;
        }
        ranges.drain(..told);
        let is_all = ranges.is_empty();
        self.put_ranges(owner, ranges);
        is_all
    }

    fn ranges_of(&mut self, owner: Owner) -> Option<&mut Ranges> {
        match owner {
            Owner::Stream { key } => self.streams.at_mut(key)?.log.as_mut().map(|log| &mut log.released),
            Owner::Group { key, group, number } => {
                let group = self.streams.at_mut(key)?.groups.at_mut(group)?;
                (group.number == Some(number)).then_some(&mut group.acked)
            }
        }
    }

    fn take_ranges(&mut self, owner: Owner) -> Option<Vec<SeqRange>> {
        self.ranges_of(owner).map(|ranges| std::mem::take(&mut ranges.list))
    }

    /// Gives the allocation back, with what is left.
    fn put_ranges(&mut self, owner: Owner, mut list: Vec<SeqRange>) {
        if let Some(ranges) = self.ranges_of(owner) {
            list.shrink_to(RECORD_RANGES_MAX);
            ranges.is_listed = !list.is_empty();
            ranges.list = list;
        }
    }
}
