//! Dead letters: messages that a group gives up go to the stream's `.dlq`, with what is known about them.
//!
//! A message is given up when it comes back after its last allowed delivery, or when its consumer says so. It then waits,
//! in no queue of its group, for its letter to be written: at the next deadline, which is due at once, so that no call
//! writes more than `Limits::work_max` of them. Only when the letter is stored is the group done with the message. A
//! letter that cannot be stored, because the dead letters are full, is tried again later; until then nothing is lost and
//! nothing is redelivered.
//!
//! Where it is the log that has no room for the letter, the message is delivered again a little later, however often it
//! was: the log gets room when its oldest messages go, and if each of them waited for the room of a letter, none ever
//! would. Whoever acks them makes the room.

use crate::expire::{Timer, Unfinished, tick_at, tick_of};
use crate::flight::Flight;
use crate::group::Group;
use crate::journal::Journal;
use crate::last_error::Of;
use crate::log::LogState;
use crate::message::Extras;
use crate::placement::DEAD_LETTERS;
use crate::publish::NewMessage;
use crate::settings::Settings;
use crate::shard::Shard;
use crate::timestamp::rfc3339;
use crate::{Effects, Limits};
use conduit_protocol::codec::{self, DeadLetter};
use conduit_protocol::{ConnectionId, ErrorCode, Now, time::NS_PER_MS};
use std::collections::VecDeque;

/// Milliseconds until a letter that could not be stored is tried again.
const RETRY_MS: u64 = 1_000;
/// Longest name of a stream, in bytes, as the wire allows: the dead letters of one with a longer name could never be
/// read, so its messages are delivered for ever instead.
const NAME_BYTES_MAX: usize = 255;

/// Why a message is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It was delivered as often as it may be.
    MaxDeliver,
    /// Its consumer said that it is hopeless.
    Dead,
    /// Its time ran out, and the stream keeps such messages.
    Expired,
}

impl Reason {
    /// As the letter says it.
    const fn text(self) -> &'static str {
        match self {
            Self::MaxDeliver => "max_deliver",
            Self::Dead => "dead",
            Self::Expired => "expired",
        }
    }
}

/// A message that one group gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GivenUp {
    of: Of,
    reason: Reason,
}

/// Messages whose letters are to be written. Each of them waits in its group, so there are no more of them than messages
/// that groups were given and are not done with.
#[derive(Debug, Default)]
pub(crate) struct GivenUps {
    /// To be tried now, oldest first. While there is one, the queue of unfinished work has an entry for it.
    now: VecDeque<GivenUp>,
    /// To be tried again at a time, in `Now::mono_ns`; all wait equally long, so they are in order of time.
    later: VecDeque<(u64, GivenUp)>,
    /// There is a timer for the first of those. It is left to fire when they are forgotten.
    is_timed: bool,
}

impl GivenUps {
    /// Letters that are not written yet.
    pub(crate) fn len(&self) -> usize {
        self.now.len() + self.later.len()
    }

    /// Forgets those that are meant.
    fn forget(&mut self, is_meant: impl Fn(&Of) -> bool) {
        self.now.retain(|given_up| !is_meant(&given_up.of));
        self.later.retain(|(_, given_up)| !is_meant(&given_up.of));
    }
}

/// What came of trying to write a letter.
enum Written {
    /// It is stored, or nobody needs it any more.
    Done,
    /// There is no room for it.
    NoRoom,
    /// The log has none.
    LogFull,
}

impl Shard {
    /// A group gives a message up that waits in none of its queues.
    pub(crate) fn give_up(&mut self, stream: u32, group: u32, seq: u64, reason: Reason) {
        if self.given_ups.now.is_empty() {
            self.unfinished.push_back(Unfinished::DeadLetters);
        }
        self.given_ups.now.push_back(GivenUp { of: Of { stream, group, seq }, reason });
    }

    /// A message that waits in a group was delivered as often as it may be.
    pub(crate) fn is_exhausted(&self, key: u32, group: u32, seq: u64) -> bool {
        let Some(stream) = self.streams.at(key) else { return false };
        let Some(group) = stream.groups.at(group) else { return false };
        let attempts = group.flights.at(seq).map_or(0, Flight::attempts);
        is_last(attempts, &stream.name, &stream.settings, group, &self.limits)
    }

    /// What this consumer calls hopeless is given up.
    pub(crate) fn can_give_up(&self, connection: ConnectionId) -> bool {
        let consumer = self.consumers.find(connection).and_then(|index| self.consumers.at(index));
        consumer
            .and_then(|consumer| self.streams.at(consumer.stream))
            .is_some_and(|stream| has_dead_letters(&stream.name))
    }

    /// A consumer says what went wrong with a message that it gives back.
    pub(crate) fn tell_error(&mut self, consumer: u32, seq: u64, error: &str) {
        if let Some(consumer) = self.consumers.at(consumer) {
            self.last_errors.tell(Of { stream: consumer.stream, group: consumer.group, seq }, error);
        }
    }

    /// Writes letters until `work` is used up; then the rest waits for its turn.
    pub(crate) fn write_letters(&mut self, now: Now, work: &mut usize, effects: &mut Effects) {
        while let Some(given_up) = self.given_ups.now.front().copied() {
            if *work == 0 {
                self.unfinished.push_back(Unfinished::DeadLetters);
                return;
            }
            *work -= 1;
            self.given_ups.now.pop_front();
            match self.write_letter(now, given_up, effects) {
                Written::Done => {}
                // It is delivered by nobody, and so it waits.
                Written::LogFull if given_up.reason == Reason::Expired => self.try_again_later(now, given_up),
                Written::NoRoom => self.try_again_later(now, given_up),
                Written::LogFull => self.deliver_once_more(now, given_up.of),
            }
        }
    }

    fn try_again_later(&mut self, now: Now, given_up: GivenUp) {
        let due_ns = now.mono_ns.saturating_add(RETRY_MS * NS_PER_MS);
        self.given_ups.later.push_back((due_ns, given_up));
        self.set_letter_timer(now);
    }

    /// A message that was given up is to be delivered again after a while.
    fn deliver_once_more(&mut self, now: Now, of: Of) {
        let due_ns = now.mono_ns.saturating_add(RETRY_MS * NS_PER_MS);
        let group = self.streams.at_mut(of.stream).and_then(|stream| stream.groups.at_mut(of.group));
        if let Some(group) = group {
            group.give_back_at(due_ns, of.seq);
            self.set_delay_timer(now, of.stream, of.group);
        }
    }

    /// Messages of a stream were read from the log: letters that waited for them are written at once, before memory that is
    /// short gives them up again.
    pub(crate) fn write_letters_of(&mut self, now: Now, stream: u32, effects: &mut Effects) {
        if self.given_ups.later.iter().all(|(_, given_up)| given_up.of.stream != stream) {
            return;
        }
        let is_of = |(_, given_up): &(u64, GivenUp)| given_up.of.stream == stream;
        let (due, later) = std::mem::take(&mut self.given_ups.later).into_iter().partition(is_of);
        self.given_ups.later = later;
        let due: VecDeque<(u64, GivenUp)> = due;
        for (_, GivenUp { of, reason }) in due {
            self.give_up(of.stream, of.group, of.seq, reason);
        }
        let mut work = self.limits.work_max;
        self.write_letters(now, &mut work, effects);
    }

    fn set_letter_timer(&mut self, now: Now) {
        if let Some((due_ns, _)) = self.given_ups.later.front()
            && !self.given_ups.is_timed
        {
            self.timers.add(tick_of(now), tick_at(*due_ns), Timer::DeadLetters);
            self.given_ups.is_timed = true;
        }
    }

    /// Letters that could not be stored are due again.
    pub(crate) fn retry_letters(&mut self, now: Now) {
        self.given_ups.is_timed = false;
        while let Some((due_ns, given_up)) = self.given_ups.later.front().copied()
            && due_ns <= now.mono_ns
        {
            self.given_ups.later.pop_front();
            let Of { stream, group, seq } = given_up.of;
            self.give_up(stream, group, seq, given_up.reason);
        }
        self.set_letter_timer(now);
    }

    fn write_letter(&mut self, now: Now, given_up: GivenUp, effects: &mut Effects) -> Written {
        let Of { stream: key, group: group_index, seq } = given_up.of;
        let Some(stream) = self.streams.at(key) else { return Written::Done };
        let Some(group) = stream.groups.at(group_index) else { return Written::Done };
        // What was released meanwhile, by a purge, by its age, is nobody's any more.
        let Some(flight) = group.flights.at(seq).filter(|flight| flight.consumer().is_none()) else {
            return Written::Done;
        };
        let attempts = flight.attempts();
        // A reader of its own keeps nothing, so it has nothing to give up: it is just not shown the message again.
        let is_kept = !group.is_ephemeral && has_dead_letters(&stream.name) && stream.held.is_held(seq);
        let last_error = self.last_errors.take(given_up.of);
        if is_kept
            && let Err(no_room) = self.store_letter(now, key, seq, attempts, last_error.as_deref(), given_up.reason)
        {
            if let Some(last_error) = last_error {
                self.last_errors.tell(given_up.of, &last_error);
            }
            return if no_room.is_log_full { Written::LogFull } else { Written::NoRoom };
        }
        self.finish_given_up(now, key, group_index, seq);
        self.resume_when_roomy(key, effects);
        Written::Done
    }

    /// The group is done with a message that it gave up.
    fn finish_given_up(&mut self, now: Now, key: u32, group: u32, seq: u64) {
        let waiting = self.streams.at_mut(key).and_then(|stream| stream.groups.at_mut(group));
        if let Some(waiting) = waiting {
            waiting.forget(seq, &mut self.memory.flights);
            let is_held_back = std::mem::take(&mut waiting.is_held_back);
            self.note_done(now, key, group, seq);
            if is_held_back {
                self.queue(key, group);
            }
        }
    }

    /// Stores the letter of a message, which stays as it is.
    pub(crate) fn store_letter(
        &mut self,
        now: Now,
        key: u32,
        seq: u64,
        attempts: u32,
        last_error: Option<&str>,
        reason: Reason,
    ) -> Result<(), NoRoom> {
        let Some(stream) = self.streams.at(key) else { return Ok(()) };
        let Some(message) = stream.message(seq) else {
            // It is only in the log: it is tried again when it has been read.
            self.want_message(key, seq);
            return Err(NoRoom { is_log_full: false });
        };
        let (tenant, encoding) = (stream.tenant, message.encoding());
        let mut name = String::with_capacity(stream.name.len() + DEAD_LETTERS.len());
        name.push_str(&stream.name);
        name.push_str(DEAD_LETTERS);
        let letters = self.streams.find(tenant, &name, &self.seeded);
        // Asked first, because there may be many of them, and to build a letter costs more than to see that it is in vain.
        self.check_room(letters, 0, true).map_err(|_full| NoRoom { is_log_full: false })?;
        let Some(stream) = self.streams.at(key) else { return Ok(()) };
        let Some(message) = stream.message(seq) else { return Err(NoRoom { is_log_full: false }) };
        let id = message.id().to_owned();
        let extras = Extras::of_trace(message.trace());
        let mut envelope = std::mem::take(&mut self.scratch);
        envelope.clear();
        let letter = DeadLetter {
            id: id.as_bytes(),
            reason: reason.text(),
            attempts,
            last_error,
            stream: &stream.name,
            seq,
            first_ts: &rfc3339(message.published.unix_ms),
            encoding,
            envelope: message.envelope(),
        };
        codec::encode_dead_letter(&letter, &mut envelope);
        let letter =
            NewMessage { id: id.as_bytes(), encoding, envelope: &envelope, extras, dedup_id: "", is_letter: true };
        let stored = self.append_message(now, tenant, &name, letters, &letter);
        self.keep_scratch(envelope);
        let (letters, _) = stored.map_err(|(code, _)| NoRoom { is_log_full: code == ErrorCode::StorageFull })?;
        self.totals.dead_lettered += 1;
        self.queue_all(letters);
        Ok(())
    }

    /// A group is gone, and its index will be another's.
    pub(crate) fn forget_given_up_by(&mut self, key: u32, group: u32) {
        if self.given_ups.len() > 0 {
            self.given_ups.forget(|of| (of.stream, of.group) == (key, group));
        }
        self.last_errors.forget_group(key, group);
    }
}

/// So many deliveries of a message to a group are enough. 0 never is: it was put aside, and waits for its first one.
pub(crate) fn is_last(attempts: u32, name: &str, settings: &Settings, group: &Group, limits: &Limits) -> bool {
    let max_deliver = group.settings.max_deliver.unwrap_or_else(|| settings.max_deliver(limits));
    attempts >= max_deliver && max_deliver > 0 && has_dead_letters(name)
}

/// The letter could not be stored.
#[derive(Debug)]
pub(crate) struct NoRoom {
    /// It is the log that has no room for it.
    is_log_full: bool,
}

/// The log has no room, perhaps not for letters either: what was delivered often enough is delivered all the same.
pub(crate) fn is_log_full(journal: Option<&Journal>) -> bool {
    journal.is_some_and(|journal| journal.log.state() == LogState::Full)
}

/// What the groups of a stream of this name give up goes to its dead letters: not dead letters themselves, which are
/// delivered for ever.
pub(crate) fn has_dead_letters(name: &str) -> bool {
    !name.ends_with(DEAD_LETTERS) && name.len() + DEAD_LETTERS.len() <= NAME_BYTES_MAX
}
