//! Release: messages go when nobody needs them any more.
//!
//! A work stream's message goes when every group is done with it: with one group at its ack, with several when the lowest
//! floor of them passes it. What else makes messages go (a log's retention, a purge) raises the stream's trim mark, and
//! what is below it goes bit by bit.

use crate::Effects;
use crate::expire::Unfinished;
use crate::held::Released;
use crate::shard::Shard;

impl Shard {
    /// A group is done with a message, which may be released by it. Every ack comes through here.
    #[inline(always)]
    pub(crate) fn note_done(&mut self, key: u32, group: u32, seq: u64) {
        let Some(stream) = self.streams.at(key) else { return };
        // The one group of a work stream: what it has acked is needed by nobody.
        if stream.groups.len() == 1
            && stream.groups.keepers() == 1
            && seq >= stream.leftovers_below
            && !stream.settings.is_log()
        {
            self.release_message(key, seq);
        } else {
            self.note_done_by_one_of_several(key, group, seq);
        }
    }

    #[cold]
    fn note_done_by_one_of_several(&mut self, key: u32, group: u32, seq: u64) {
        let Some(stream) = self.streams.at(key) else { return };
        if stream.settings.is_log() || stream.groups.at(group).is_none_or(|group| group.is_ephemeral) {
            return;
        }
        if stream.groups.keepers() == 1 && seq >= stream.leftovers_below {
            self.withdraw(key, seq);
            self.release_message(key, seq);
            return;
        }
        // Only when all are done with the oldest message can any go: otherwise the floors need not be found.
        let first = stream.first();
        if stream.groups.iter().all(|group| group.is_ephemeral || group.is_done(first)) {
            self.trim_by_floors(key);
        }
    }

    /// Releases a message that no group has outstanding. Every release of a single message comes through here.
    #[inline(always)]
    pub(crate) fn release_message(&mut self, key: u32, seq: u64) {
        let Some(stream) = self.streams.at_mut(key) else { return };
        let Some(Released { location }) = stream.held.release(seq, &mut self.memory) else {
            debug_assert!(false, "what is released is held");
            return;
        };
        debug_assert!(location.is_none(), "a shard without a log has nothing in it");
    }

    /// What all groups of a work stream are done with goes, as far as one call may.
    pub(crate) fn trim_by_floors(&mut self, key: u32) {
        let Some(stream) = self.streams.at(key) else { return };
        if stream.settings.is_log() {
            return;
        }
        if let Some(floor) = stream.groups.floor() {
            self.trim(key, floor);
        }
    }

    /// Nobody needs a stream's messages below a seq: they go, as far as one call may, and the rest at the next deadline.
    pub(crate) fn trim(&mut self, key: u32, to: u64) {
        let Some(stream) = self.streams.at_mut(key) else { return };
        stream.held.trim_to(to);
        if !stream.is_trimming {
            let mut work = self.limits.work_max;
            self.trim_some(key, &mut work);
        }
    }

    /// Releases what nobody needs until `work` is used up; then the stream waits for its turn.
    pub(crate) fn trim_some(&mut self, key: u32, work: &mut usize) {
        loop {
            let Some(stream) = self.streams.at_mut(key) else { return };
            let Some(seq) = stream.held.first_to_trim() else {
                stream.is_trimming = false;
                return;
            };
            if *work == 0 {
                stream.is_trimming = true;
                self.unfinished.push_back(Unfinished::Trim { stream: key });
                return;
            }
            *work -= 1;
            self.withdraw(key, seq);
            self.release_message(key, seq);
            self.totals.trimmed += 1;
        }
    }

    /// A message is about to go although groups may have it outstanding: they forget it. One that is in flight counts as
    /// ended, and its credit comes back; an ack of it that comes later is ignored.
    pub(crate) fn withdraw(&mut self, key: u32, seq: u64) {
        let Some(stream) = self.streams.at_mut(key) else { return };
        for index in 0..stream.groups.slots() {
            let Some(group) = stream.groups.at_mut(index) else { continue };
            let Some(flight) = group.flights.at(seq) else { continue };
            let Some(consumer_index) = flight.consumer() else {
                group.forget(seq, &mut self.memory.flights);
                continue;
            };
            let Some(consumer) = self.consumers.at_mut(consumer_index) else { continue };
            group.flights.finish(seq, (consumer_index, consumer), &mut self.memory.flights);
            self.totals.inflight_now -= 1;
            self.totals.withdrawn += 1;
            if let Some(ids) = &mut consumer.ids
                && let Some(message) = stream.held.message(seq)
            {
                ids.remove(self.seeded.hash(0, message.id_bytes()), seq);
            }
            if consumer.refill(self.limits.credit_max) {
                group.credit += 1;
                self.totals.credit_now += 1;
                self.totals.credit_refilled += 1;
            }
            self.consumers.refresh(consumer_index, &mut group.ready, self.limits.outbox_bytes_max);
            // The consumer may take others now: its group has a turn at the next deadline.
            if !group.is_queued && !group.ready.is_empty() && group.has_backlog(&stream.held) {
                group.is_queued = true;
                self.unfinished.push_back(Unfinished::Deliver { stream: key, group: index });
            }
        }
    }

    /// Releases at most `work` blocks of the messages of deleted streams.
    pub(crate) fn bury_some(&mut self, work: &mut usize) {
        while *work > 0
            && let Some(held) = self.buried.front_mut()
        {
            *work -= 1;
            if held.clear_some(1, &mut self.memory, |_location| ()) {
                self.buried.pop_front();
            }
        }
    }

    /// Messages were released: publishers go on when that made enough room.
    #[inline]
    pub(crate) fn after_release(&mut self, key: u32, effects: &mut Effects) {
        self.resume_when_roomy(key, effects);
    }
}
