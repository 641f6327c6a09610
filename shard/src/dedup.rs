//! Publishes that are repeated: which dedup ids a stream took lately, and what the first of each was answered.
//!
//! An id is recognised for the stream's window, both ends included, and is then forgotten, oldest first. Time is that of
//! `Now::mono_ns`: a clock that is set to another date opens no window early.

use crate::Limits;
use crate::expire::{Timer, tick_at, tick_of};
use crate::pool::{Buffers, Size};
use crate::settings::Settings;
use crate::shard::Shard;
use crate::shares::Shared;
use crate::wheel::TimerId;
use conduit_protocol::{ErrorCode, Now, TenantId, time::NS_PER_MS};
use hashbrown::HashTable;
use std::collections::VecDeque;

/// A queue that once was longer than this gives its memory back when it is empty.
const QUEUE_KEPT: usize = 1_024;

/// The dedup ids of one stream. How many all streams of a shard keep is bounded by `Limits::dedup_entries_max`: who adds
/// one asks first.
#[derive(Debug)]
pub(crate) struct Dedup {
    /// Numbers of entries by the hash of their id.
    by_id: HashTable<u64>,
    /// Oldest first.
    entries: VecDeque<Entry>,
    /// The number of the first entry; numbers rise by one and are not used again.
    first: u64,
    /// The timer of the next look for ids to forget.
    timer: Option<TimerId>,
}

/// A publish that was accepted under a dedup id.
#[derive(Debug)]
struct Entry {
    hash: u64,
    accepted_ns: u64,
    seq: u64,
    /// The dedup id, then the message's id.
    text: Box<[u8]>,
    dedup_id_len: u16,
    id_len: u16,
    class: u8,
}

impl Entry {
    fn dedup_id(&self) -> &[u8] {
        &self.text[..usize::from(self.dedup_id_len)]
    }

    fn id(&self) -> &str {
        let from = usize::from(self.dedup_id_len);
        // The bytes came from a `str`.
        std::str::from_utf8(&self.text[from..from + usize::from(self.id_len)]).unwrap_or_default()
    }
}

/// What the first publish under a dedup id was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct First<'a> {
    /// The message's position.
    pub(crate) seq: u64,
    /// The message's id.
    pub(crate) id: &'a str,
}

impl Dedup {
    /// None.
    pub(crate) const fn new() -> Self {
        Self { by_id: HashTable::new(), entries: VecDeque::new(), first: 0, timer: None }
    }

    /// Entries kept, some of which may have left the window.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Longest id that can be kept, of either kind, in bytes. The wire allows far less.
    pub(crate) const ID_BYTES_MAX: usize = u16::MAX as usize;

    /// The first publish under this id, if it was accepted at most `window_ns` ago.
    pub(crate) fn first(&self, now_ns: u64, window_ns: u64, hash: u64, dedup_id: &str) -> Option<First<'_>> {
        // An id that was used again after its window may be there twice: the later one counts.
        let numbers = self.by_id.iter_hash(hash).copied();
        let number = numbers.filter(|number| self.is(*number, hash, dedup_id)).max()?;
        let entry = self.entry(number)?;
        (now_ns.saturating_sub(entry.accepted_ns) <= window_ns).then(|| First { seq: entry.seq, id: entry.id() })
    }

    fn entry(&self, number: u64) -> Option<&Entry> {
        self.entries.get(number.checked_sub(self.first)? as usize)
    }

    fn is(&self, number: u64, hash: u64, dedup_id: &str) -> bool {
        self.entry(number).is_some_and(|entry| entry.hash == hash && entry.dedup_id() == dedup_id.as_bytes())
    }

    /// Remembers an accepted publish. Ids longer than [`Self::ID_BYTES_MAX`] are not remembered; returns whether it was.
    pub(crate) fn add(
        &mut self,
        accepted_ns: u64,
        hash: u64,
        dedup_id: &str,
        first: First<'_>,
        buffers: &mut Buffers,
    ) -> bool {
        let (Ok(dedup_id_len), Ok(id_len)) = (u16::try_from(dedup_id.len()), u16::try_from(first.id.len())) else {
            return false;
        };
        let size = Size::of(dedup_id.len() + first.id.len());
        let mut text = buffers.take(size);
        let (dedup_part, rest) = text.split_at_mut(dedup_id.len());
        dedup_part.copy_from_slice(dedup_id.as_bytes());
        rest[..first.id.len()].copy_from_slice(first.id.as_bytes());
        // The oldest leave first, so the queue must be in order of time whatever the caller was told.
        let accepted_ns = self.entries.back().map_or(accepted_ns, |last| accepted_ns.max(last.accepted_ns));
        let number = self.first + self.entries.len() as u64;
        let class = size.class();
        self.entries.push_back(Entry { hash, accepted_ns, seq: first.seq, text, dedup_id_len, id_len, class });
        let (entries, first_number) = (&self.entries, self.first);
        self.by_id.insert_unique(hash, number, |number| {
            entries.get((number - first_number) as usize).map_or(0, |entry| entry.hash)
        });
        true
    }

    /// Forgets what left the window, at most `count_max` entries; how many that were.
    pub(crate) fn expire(&mut self, now_ns: u64, window_ns: u64, count_max: usize, buffers: &mut Buffers) -> usize {
        let mut count = 0;
        while count < count_max
            && let Some(entry) = self.entries.front()
            && now_ns.saturating_sub(entry.accepted_ns) > window_ns
        {
            self.forget_first(buffers);
            count += 1;
        }
        count
    }

    /// Forgets everything; how many entries that were.
    pub(crate) fn clear(&mut self, buffers: &mut Buffers) -> usize {
        let count = self.entries.len();
        while !self.entries.is_empty() {
            self.forget_first(buffers);
        }
        count
    }

    fn forget_first(&mut self, buffers: &mut Buffers) {
        let Some(entry) = self.entries.pop_front() else { return };
        let number = self.first;
        self.first += 1;
        if let Ok(found) = self.by_id.find_entry(entry.hash, |candidate| *candidate == number) {
            found.remove();
        }
        buffers.give_back(entry.text, entry.class);
        if self.entries.is_empty() && self.entries.capacity() > QUEUE_KEPT {
            self.entries = VecDeque::new();
            self.by_id = HashTable::new();
        }
    }

    /// The first moment, in `Now::mono_ns`, at which there is something to forget.
    pub(crate) fn next_ns(&self, window_ns: u64) -> Option<u64> {
        self.entries.front().map(|entry| entry.accepted_ns.saturating_add(window_ns).saturating_add(1))
    }
}

/// A publish that repeats one that was accepted: the answer of then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Repeated {
    /// Key of the stream.
    pub(crate) stream: u32,
    /// The message's position.
    pub(crate) seq: u64,
    /// The message's id.
    pub(crate) id: Box<str>,
}

/// Ids that a publish forgets at most, when they left their window: more than it adds, so that they never pile up.
const FORGOTTEN_MAX: usize = 4;
/// Least milliseconds between two looks for ids to forget, of one stream: not each of them needs to wake the shard.
const FORGET_MS: u64 = 1_000;

impl Shard {
    /// The publish that was accepted under this dedup id, if the stream still recognises it.
    pub(crate) fn first_under(&self, now: Now, found: Option<u32>, dedup_id: &str) -> Option<Repeated> {
        let key = found?;
        let stream = self.streams.at(key)?;
        let dedup = stream.dedup.as_ref()?;
        let window_ns = window_ns(&stream.settings, &self.limits)?;
        let hash = self.seeded.hash(0, dedup_id.as_bytes());
        let First { seq, id } = dedup.first(now.mono_ns, window_ns, hash, dedup_id)?;
        Some(Repeated { stream: key, seq, id: id.into() })
    }

    /// Is there room for one more dedup id?
    pub(crate) fn check_dedup_room(
        &mut self,
        now: Now,
        tenant: TenantId,
        found: Option<u32>,
        dedup_id: &str,
    ) -> Result<(), (ErrorCode, &'static str)> {
        if dedup_id.len() > Dedup::ID_BYTES_MAX {
            return Err((ErrorCode::InvalidField, "the dedup id is too long"));
        }
        if let Some(key) = found {
            self.forget_ids(now, key, FORGOTTEN_MAX);
        }
        if self.dedup_entries >= self.limits.dedup_entries_max {
            return Err((
                ErrorCode::Backpressure,
                "the shard remembers as many dedup ids as it may; retry later, or use shorter windows",
            ));
        }
        self.shares.check(tenant, Shared::DedupIds, &self.limits)
    }

    /// Remembers the answer to a publish under its dedup id.
    pub(crate) fn remember(&mut self, now: Now, key: u32, dedup_id: &str, first: First<'_>) {
        let Some(stream) = self.streams.at_mut(key) else { return };
        if window_ns(&stream.settings, &self.limits).is_none() {
            return;
        }
        let hash = self.seeded.hash(0, dedup_id.as_bytes());
        let dedup = stream.dedup.get_or_insert_with(|| Box::new(Dedup::new()));
        if dedup.add(now.mono_ns, hash, dedup_id, first, &mut self.memory.buffers) {
            self.dedup_entries += 1;
            self.shares.add(stream.tenant, Shared::DedupIds, 1);
        }
        self.set_dedup_timer(now, key);
    }

    /// Forgets dedup ids of a stream that left their window, at most so many.
    fn forget_ids(&mut self, now: Now, key: u32, count_max: usize) -> usize {
        let Some(stream) = self.streams.at_mut(key) else { return 0 };
        let Some(dedup) = &mut stream.dedup else { return 0 };
        let window_ns = window_ns(&stream.settings, &self.limits).unwrap_or(0);
        let forgotten = dedup.expire(now.mono_ns, window_ns, count_max, &mut self.memory.buffers);
        self.dedup_entries -= forgotten;
        self.shares.remove(stream.tenant, Shared::DedupIds, forgotten);
        forgotten
    }

    /// Makes sure that the wheel wakes a stream to forget dedup ids: not for each of them, but soon after.
    fn set_dedup_timer(&mut self, now: Now, key: u32) {
        let Some(stream) = self.streams.at_mut(key) else { return };
        let window_ns = window_ns(&stream.settings, &self.limits).unwrap_or(0);
        let Some(dedup) = &mut stream.dedup else { return };
        let Some(next_ns) = dedup.next_ns(window_ns) else { return };
        if dedup.timer.is_none() {
            let soon_ns = now.mono_ns.saturating_add(FORGET_MS * NS_PER_MS);
            let due_ns = if next_ns <= now.mono_ns { next_ns } else { next_ns.max(soon_ns) };
            dedup.timer = Some(self.timers.add(tick_of(now), tick_at(due_ns), Timer::Dedup { stream: key }));
        }
    }

    /// Some dedup ids of a stream may have left their window.
    pub(crate) fn expire_ids(&mut self, now: Now, key: u32, work: &mut usize) {
        let Some(dedup) = self.streams.at_mut(key).and_then(|stream| stream.dedup.as_mut()) else { return };
        dedup.timer = None;
        *work -= self.forget_ids(now, key, *work);
        let Some(stream) = self.streams.at_mut(key) else { return };
        if stream.dedup.as_ref().is_some_and(|dedup| dedup.len() == 0) {
            stream.dedup = None;
        }
        self.set_dedup_timer(now, key);
    }

    /// A stream is gone, and its dedup ids with it.
    pub(crate) fn forget_all_ids(&mut self, key: u32) {
        let Some(stream) = self.streams.at_mut(key) else { return };
        let Some(mut dedup) = stream.dedup.take() else { return };
        if let Some(timer) = dedup.timer {
            self.timers.remove(timer);
        }
        let forgotten = dedup.clear(&mut self.memory.buffers);
        self.dedup_entries -= forgotten;
        self.shares.remove(stream.tenant, Shared::DedupIds, forgotten);
    }
}

/// How long a stream recognises a dedup id, in nanoseconds; `None`: not at all.
fn window_ns(settings: &Settings, limits: &Limits) -> Option<u64> {
    let window_ms = settings.dedup_window_ms(limits);
    (window_ms > 0).then(|| window_ms.saturating_mul(NS_PER_MS))
}

/// What one entry takes at most in memory, in bytes, with ids as long as the wire allows: the entry itself and its place
/// in the table, both of which grow by doubling, and its text.
pub(crate) const ENTRY_BYTES: u64 = 2 * (size_of::<Entry>() as u64 + 10) + Size::of(256 + 256).bytes();

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Seeded;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    fn hash(id: &str) -> u64 {
        Seeded::new(7).hash(0, id.as_bytes())
    }

    fn add(dedup: &mut Dedup, at_ns: u64, dedup_id: &str, seq: u64, buffers: &mut Buffers) {
        assert!(dedup.add(at_ns, hash(dedup_id), dedup_id, First { seq, id: &format!("m{seq}") }, buffers));
    }

    #[test]
    fn an_id_is_known_to_the_last_nanosecond_of_its_window() {
        let (mut dedup, mut buffers) = (Dedup::new(), Buffers::new(1 << 20));
        add(&mut dedup, 5 * MS, "a", 1, &mut buffers);
        let find = |dedup: &Dedup, now_ns| dedup.first(now_ns, 10 * MS, hash("a"), "a").map(|first| first.seq);
        assert_eq!(find(&dedup, 5 * MS), Some(1));
        assert_eq!(find(&dedup, 15 * MS), Some(1));
        assert_eq!(find(&dedup, 15 * MS + 1), None);
        assert_eq!(dedup.next_ns(10 * MS), Some(15 * MS + 1));
        assert_eq!(dedup.expire(15 * MS, 10 * MS, 9, &mut buffers), 0);
        assert_eq!(dedup.expire(15 * MS + 1, 10 * MS, 9, &mut buffers), 1);
        assert_eq!((dedup.len(), dedup.by_id.len(), dedup.next_ns(10 * MS)), (0, 0, None));
    }

    #[test]
    fn ids_of_the_greatest_length_are_kept_and_longer_ones_are_not() {
        let (mut dedup, mut buffers) = (Dedup::new(), Buffers::new(0));
        let longest = "x".repeat(Dedup::ID_BYTES_MAX);
        let first = First { seq: 3, id: &longest };
        assert!(dedup.add(0, 1, &longest, first, &mut buffers));
        assert_eq!(dedup.first(0, 0, 1, &longest), Some(first));
        let longer = "x".repeat(Dedup::ID_BYTES_MAX + 1);
        assert!(!dedup.add(0, 1, &longer, first, &mut buffers));
        assert!(!dedup.add(0, 1, "a", First { seq: 4, id: &longer }, &mut buffers));
        assert_eq!(dedup.len(), 1);
    }

    #[test]
    fn a_long_queue_gives_its_memory_back() {
        let (mut dedup, mut buffers) = (Dedup::new(), Buffers::new(0));
        for n in 0..5_000 {
            add(&mut dedup, n, &n.to_string(), n, &mut buffers);
        }
        assert_eq!(dedup.clear(&mut buffers), 5_000);
        assert_eq!((dedup.entries.capacity(), dedup.by_id.capacity()), (0, 0));
    }

    proptest! {
        /// Against a list of everything that was ever added, searched from its end.
        #[test]
        fn the_latest_publish_in_the_window_is_found(
            steps in proptest::collection::vec((0u8..4, 0u64..30, 0usize..6), 1..200),
            window in 0u64..60,
        ) {
            let (mut dedup, mut buffers) = (Dedup::new(), Buffers::new(1 << 10));
            let mut model: Vec<(u64, usize, u64)> = Vec::new();
            let mut now = 0;
            for (n, (step, wait, name)) in steps.into_iter().enumerate() {
                let id = format!("id{name}");
                // Equal hashes too: the text decides.
                let hash = if name < 3 { 1 } else { name as u64 };
                let known = model.iter().rev().find(|(_, of, _)| *of == name);
                let known = known.filter(|(at, ..)| now - at <= window).map(|(.., seq)| *seq);
                prop_assert_eq!(dedup.first(now, window, hash, &id).map(|first| first.seq), known);
                match step {
                    0 => now += wait,
                    1 => {
                        let before = dedup.len();
                        let gone = dedup.expire(now, window, 3, &mut buffers);
                        prop_assert_eq!(dedup.len(), before - gone);
                        prop_assert!(gone == 3 || dedup.next_ns(window).is_none_or(|next| next > now));
                    }
                    _ if known.is_none() => {
                        let seq = n as u64 + 1;
                        let first = First { seq, id: &id };
                        prop_assert!(dedup.add(now, hash, &id, first, &mut buffers));
                        model.push((now, name, seq));
                    }
                    _ => {}
                }
                prop_assert_eq!(dedup.by_id.len(), dedup.len());
            }
        }
    }
}
