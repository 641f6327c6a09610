//! Release: messages go when nobody needs them any more.
//!
//! A work stream's message goes when every group is done with it: with one group at its ack, with several when the lowest
//! floor of them passes it. A log's oldest messages go by age, bytes or number, whatever its groups are at. What else
//! makes messages go (a purge, a deletion) raises the stream's trim mark or buries what it held. All but an ack's own
//! release is done bit by bit.

use crate::expire::{Timer, Unfinished, tick_at, tick_of};
use crate::held::Released;
use crate::shard::Shard;
use crate::stream::Stream;
use crate::{Effects, Limits};
use conduit_protocol::{Now, time::NS_PER_MS};

impl Shard {
    /// A group is done with a message, which may be released by it.
    #[inline(never)]
    pub(crate) fn note_done(&mut self, now: Now, key: u32, group: u32, seq: u64) {
        let Some(stream) = self.streams.at(key) else { return };
        if stream.ack_releases(seq) {
            self.release_message(key, seq);
            return;
        }
        if stream.groups.at(group).is_none_or(|group| group.is_ephemeral) {
            return;
        }
        let is_log = stream.settings.is_log();
        self.untold_ack(key, group, seq);
        let Some(stream) = self.streams.at(key).filter(|_| !is_log) else { return };
        if stream.groups.keepers() == 1 && seq >= stream.leftovers_below {
            self.withdraw(key, seq);
            self.release_message(key, seq);
            return;
        }
        // Only when all are done with the oldest message can any go: otherwise the floors need not be found.
        let first = stream.first();
        if stream.groups.iter().all(|group| group.is_ephemeral || group.is_done(first)) {
            self.trim_by_floors(now, key);
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
        if let Some(location) = location {
            self.untold_release(key, seq, location);
        }
    }

    /// What all groups of a work stream are done with goes, as far as one call may.
    pub(crate) fn trim_by_floors(&mut self, now: Now, key: u32) {
        let Some(stream) = self.streams.at(key) else { return };
        if !stream.settings.is_log()
            && let Some(floor) = stream.groups.floor()
        {
            self.trim(now, key, floor);
        }
    }

    /// Nobody needs a stream's messages below a seq: they go, as far as one call may, and the rest at the next deadline.
    pub(crate) fn trim(&mut self, now: Now, key: u32, to: u64) {
        let Some(stream) = self.streams.at_mut(key) else { return };
        stream.held.trim_to(to);
        if !stream.is_trimming {
            let mut work = self.limits.work_max;
            self.trim_some(now, key, &mut work);
        }
    }

    /// A log took a message: its oldest ones may have to go, and the newest will have to.
    #[inline]
    pub(crate) fn trim_log(&mut self, now: Now, key: u32) {
        if self.streams.at(key).is_some_and(|stream| stream.settings.is_log() && !stream.is_trimming) {
            let mut work = self.limits.work_max;
            self.trim_some(now, key, &mut work);
        }
    }

    /// Releases what nobody needs until `work` is used up; then the stream waits for its turn.
    pub(crate) fn trim_some(&mut self, now: Now, key: u32, work: &mut usize) {
        loop {
            let Some(stream) = self.streams.at_mut(key) else { return };
            let Some(seq) = next_to_trim(stream, now, &self.limits) else {
                stream.is_trimming = false;
                self.set_age_timer(now, key);
                return;
            };
            if *work == 0 {
                stream.is_trimming = true;
                self.unfinished.push_back(Unfinished::Trim { stream: key });
                return;
            }
            *work -= 1;
            stream.held.trim_to(seq + 1);
            self.withdraw(key, seq);
            self.release_message(key, seq);
            self.totals.trimmed += 1;
        }
    }

    /// The oldest message of a log may be too old.
    pub(crate) fn age(&mut self, now: Now, key: u32, work: &mut usize, effects: &mut Effects) {
        let Some(stream) = self.streams.at_mut(key) else { return };
        stream.age_timer = None;
        if !stream.is_trimming {
            self.trim_some(now, key, work);
        }
        self.resume_when_roomy(key, effects);
    }

    /// Makes sure that the wheel wakes a log when its oldest message is too old.
    fn set_age_timer(&mut self, now: Now, key: u32) {
        let Some(stream) = self.streams.at_mut(key) else { return };
        if !stream.settings.is_log() {
            return;
        }
        let Some(due_ns) = stream.held.first().and_then(|seq| too_old_at_ns(stream, seq, now)) else { return };
        if let Some((timer, set_ns)) = stream.age_timer {
            // It may fire early: it is then set again.
            if set_ns <= due_ns {
                return;
            }
            self.timers.remove(timer);
        }
        let timer = self.timers.add(tick_of(now), tick_at(due_ns), Timer::Age { stream: key });
        stream.age_timer = Some((timer, due_ns));
    }

    /// A message is about to go although groups may have it outstanding: they forget it. One that is in flight counts as
    /// ended, and its credit comes back; an ack of it that comes later is ignored.
    pub(crate) fn withdraw(&mut self, key: u32, seq: u64) {
        let Some(groups) = self.streams.at(key).map(|stream| stream.groups.slots()) else { return };
        for index in 0..groups {
            if self.withdraw_from(key, index, seq) {
                // Its consumer may take others now: the group has a turn at the next deadline.
                self.queue(key, index);
            }
        }
    }

    /// One group forgets a message; true when it was in flight, or when the group is given others only now.
    fn withdraw_from(&mut self, key: u32, index: u32, seq: u64) -> bool {
        let Some(stream) = self.streams.at_mut(key) else { return false };
        let Some(group) = stream.groups.at_mut(index) else { return false };
        let Some(flight) = group.flights.at(seq) else { return false };
        let Some(consumer_index) = flight.consumer() else {
            group.forget(seq, &mut self.memory.flights);
            return std::mem::take(&mut group.is_held_back);
        };
        let Some(consumer) = self.consumers.at_mut(consumer_index) else { return false };
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
            self.totals.reader_credit += u64::from(consumer.is_auto_acked);
        }
        self.consumers.refresh(consumer_index, &mut group.ready, self.limits.outbox_bytes_max);
        true
    }

    /// Gives up at most `work` blocks of what deleted streams held.
    pub(crate) fn bury_some(&mut self, work: &mut usize, effects: &mut Effects) {
        while *work > 0
            && let Some(held) = self.buried.front_mut()
        {
            *work -= 1;
            if held.clear_some(1, &mut self.memory, |location| {
                if let Some(journal) = &mut self.journal {
                    journal.log.release(location);
                }
            }) {
                self.buried.pop_front();
            }
        }
        if !self.buried.is_empty() {
            self.unfinished.push_back(Unfinished::Bury);
        }
        self.resume_all_when_roomy(effects);
    }
}

/// The message of a stream that goes next: nobody needs it, or it is the oldest of a log that is too long. Of what may not
/// be delivered yet nothing goes, since its publisher has to be answered.
#[inline]
fn next_to_trim(stream: &Stream, now: Now, limits: &Limits) -> Option<u64> {
    let unneeded = stream.held.first_to_trim();
    if unneeded.is_some() || !stream.settings.is_log() {
        return unneeded;
    }
    let first = stream.held.first().filter(|seq| *seq < stream.held.visible())?;
    // The newest message stays, however long it is.
    let is_over = |kept: Option<u64>, value: u64| kept.is_some_and(|kept| value > kept) && stream.held.len() > 1;
    let is_too_long = is_over(stream.settings.kept_messages(limits), stream.held.len())
        || is_over(stream.settings.kept_bytes(limits), stream.bytes_stored());
    let is_too_old = || too_old_at_ns(stream, first, now).is_some_and(|due_ns| due_ns <= now.mono_ns);
    (is_too_long || is_too_old()).then_some(first)
}

/// When a message of a log is too old, in `Now::mono_ns`; `None` for never.
fn too_old_at_ns(stream: &Stream, seq: u64, now: Now) -> Option<u64> {
    let max_age_ms = stream.settings.retention().max_age_ms;
    if max_age_ms == 0 {
        return None;
    }
    // At its greatest age it is still there; it goes when it is older than that.
    let published_unix_ms = match stream.held.message(seq) {
        Some(message) if message.published.mono_ns > 0 => {
            return Some(
                message.published.mono_ns.saturating_add(max_age_ms.saturating_mul(NS_PER_MS)).saturating_add(1),
            );
        }
        // It is from before this process: its age is by the other clock.
        Some(message) => message.published.unix_ms,
        // When nothing was published since, it is looked at again after its greatest age.
        None => stream.published_by_unix_ms(seq).unwrap_or(now.unix_ms),
    };
    let wait_ms = published_unix_ms.saturating_add(max_age_ms).saturating_add(1).saturating_sub(now.unix_ms);
    Some(now.mono_ns.saturating_add(wait_ms.saturating_mul(NS_PER_MS)))
}
