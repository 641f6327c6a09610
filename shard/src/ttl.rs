//! Messages with times of their own: those that must wait, and those that expire.
//!
//! A message that must wait keeps its place. When a group comes to it too early, the group puts it aside and goes on; when
//! its time has come, it is the next that the group is given. A message that expires is not delivered from that
//! millisecond on. It is released, or becomes a dead letter when the stream asks for that, as soon as it is in flight
//! nowhere; one that is in flight has until its delivery ends.

use crate::Effects;
use crate::dead_letter::{Reason, has_dead_letters};
use crate::expire::{Timer, tick_at, tick_of};
use crate::group::Source;
use crate::last_error::Of;
use crate::shard::Shard;
use conduit_protocol::Now;

/// Milliseconds until an expired message that cannot go yet is looked at again.
const LOOK_AGAIN_MS: u64 = 1_000;

impl Shard {
    /// What is next in a group must not be delivered now: it is put aside until its time has come. One that has expired is
    /// put aside for good, and goes as soon as it is in flight nowhere; one that was delivered as often as it may be, since
    /// its group's settings changed, is given up.
    pub(crate) fn put_aside(&mut self, now: Now, key: u32, group_index: u32, seq: u64, source: Source) {
        let Some(stream) = self.streams.at_mut(key) else { return };
        let Some(message) = stream.held.message(seq) else { return };
        let (not_before, expires) = (message.not_before_unix_ms(), message.expires_unix_ms());
        let Some(group) = stream.groups.at_mut(group_index) else { return };
        group.take(seq, source);
        // False when it has an entry already: it came back.
        group.flights.wait(seq, 0, &mut self.memory.flights);
        if self.is_exhausted(key, group_index, seq) {
            self.give_up(key, group_index, seq, Reason::MaxDeliver);
        } else if expires > now.unix_ms {
            let Some(group) = self.streams.at_mut(key).and_then(|stream| stream.groups.at_mut(group_index)) else {
                return;
            };
            let (waiting, flights) = (group.flights.waiting(), &group.flights);
            group.scheduled.add(not_before, seq, waiting, |seq| flights.at(seq).is_some());
            self.set_schedule_timer(now, key, group_index);
        }
    }

    /// Makes sure that the wheel wakes a group for the earliest message that it put aside.
    fn set_schedule_timer(&mut self, now: Now, key: u32, index: u32) {
        let Some(group) = self.streams.at_mut(key).and_then(|stream| stream.groups.at_mut(index)) else { return };
        let Some((unix_ms, due_ns)) = group.scheduled.wake_up(now) else { return };
        if let Some((timer, _)) = group.scheduled.timer {
            self.timers.remove(timer);
        }
        let timer = self.timers.add(tick_of(now), tick_at(due_ns), Timer::Scheduled { stream: key, group: index });
        group.scheduled.timer = Some((timer, unix_ms));
    }

    /// The time of messages that a group put aside has come: they are its next ones.
    pub(crate) fn return_scheduled(&mut self, now: Now, key: u32, index: u32, work: &mut usize) {
        let Some(group) = self.streams.at_mut(key).and_then(|stream| stream.groups.at_mut(index)) else { return };
        group.scheduled.timer = None;
        while *work > 0
            && let Some(seq) = group.scheduled.take_due(now.unix_ms)
        {
            *work -= 1;
            if group.flights.at(seq).is_some_and(|flight| flight.consumer().is_none()) {
                group.give_back(seq);
            }
        }
        self.set_schedule_timer(now, key, index);
        self.queue(key, index);
    }

    /// Makes sure that the wheel wakes a stream for its message that expires first.
    pub(crate) fn set_expiry_timer(&mut self, now: Now, key: u32) {
        let Some(expiry) = self.streams.at_mut(key).and_then(|stream| stream.expiry.as_mut()) else { return };
        let Some((unix_ms, due_ns)) = expiry.wake_up(now) else { return };
        if let Some((timer, _)) = expiry.timer {
            self.timers.remove(timer);
        }
        let timer = self.timers.add(tick_of(now), tick_at(due_ns), Timer::Expiry { stream: key });
        expiry.timer = Some((timer, unix_ms));
    }

    /// Messages of a stream have expired.
    pub(crate) fn expire_messages(&mut self, now: Now, key: u32, work: &mut usize, effects: &mut Effects) {
        let Some(expiry) = self.streams.at_mut(key).and_then(|stream| stream.expiry.as_mut()) else { return };
        expiry.timer = None;
        while *work > 0 {
            let Some(stream) = self.streams.at_mut(key) else { return };
            let Some(seq) = stream.expiry.as_mut().and_then(|expiry| expiry.take_due(now.unix_ms)) else { break };
            *work -= 1;
            if !stream.held.is_held(seq) || self.expire_message(now, key, seq) {
                continue;
            }
            let Some(stream) = self.streams.at_mut(key) else { return };
            let (held, messages) = (stream.messages_held(), &stream.held);
            if let Some(expiry) = &mut stream.expiry {
                expiry.add(now.unix_ms.saturating_add(LOOK_AGAIN_MS), seq, held, |seq| messages.is_held(seq));
            }
        }
        self.set_expiry_timer(now, key);
        self.resume_when_roomy(key, effects);
    }

    /// A message has expired; `false` when it cannot go yet.
    fn expire_message(&mut self, now: Now, key: u32, seq: u64) -> bool {
        let Some(stream) = self.streams.at(key) else { return true };
        if stream.is_in_flight(seq) {
            return false;
        }
        if stream.settings.dead_letter_expired() && has_dead_letters(&stream.name) {
            // Of several groups, that which tried most knows most.
            let tried = (0..stream.groups.slots())
                .filter_map(|group| Some((stream.groups.at(group)?.flights.at(seq)?.attempts(), group)));
            let (attempts, group) = tried.max().unwrap_or_default();
            let last_error = self.last_errors.take(Of { stream: key, group, seq });
            let stored = self.store_letter(now, key, seq, attempts, last_error.as_deref(), Reason::Expired);
            if stored.is_err() {
                if let Some(last_error) = last_error {
                    self.last_errors.tell(Of { stream: key, group, seq }, &last_error);
                }
                return false;
            }
        }
        self.withdraw(key, seq);
        self.release_message(key, seq);
        self.totals.expired += 1;
        true
    }
}
