//! Publishers that were told to stop reading, and how full a stream or the shard has to be for it.

use crate::shard::Shard;
use crate::stream::Stream;
use crate::{Effect, Effects, Limits};
use conduit_protocol::{Now, Origin, time::NS_PER_MS};
use std::collections::{BTreeSet, VecDeque};

/// When publishers are paused and resumed: two marks of a maximum, of messages and of bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marks {
    pause_messages: u64,
    pause_bytes: u64,
    resume_messages: u64,
    resume_bytes: u64,
}

impl Marks {
    /// The marks for a maximum. Nothing is never nearly full, and always empty enough to resume.
    pub(crate) fn new(messages_max: u64, bytes_max: u64, pause_per_mille: u64, resume_per_mille: u64) -> Self {
        let share = |max: u64, per_mille: u64| {
            let share = u128::from(max) * u128::from(per_mille) / 1_000;
            u64::try_from(share).unwrap_or(u64::MAX).max(1)
        };
        Self {
            pause_messages: share(messages_max, pause_per_mille),
            pause_bytes: share(bytes_max, pause_per_mille),
            resume_messages: share(messages_max, resume_per_mille),
            resume_bytes: share(bytes_max, resume_per_mille),
        }
    }

    /// Publishers are paused: from the pause mark up, and from there down until below the resume mark.
    #[inline]
    pub(crate) const fn is_pausing(&self, was_pausing: bool, messages: u64, bytes: u64) -> bool {
        self.is_nearly_full(messages, bytes) || (was_pausing && !self.is_roomy(messages, bytes))
    }

    /// At or above the pause mark.
    const fn is_nearly_full(&self, messages: u64, bytes: u64) -> bool {
        messages >= self.pause_messages || bytes >= self.pause_bytes
    }

    /// Below the resume mark.
    const fn is_roomy(&self, messages: u64, bytes: u64) -> bool {
        messages < self.resume_messages && bytes < self.resume_bytes
    }
}

/// The marks of a stream: those of all streams, unless it has bounds of its own.
#[inline(always)]
pub(crate) fn marks_of(stream: &Stream, limits: &Limits, of_all: Marks) -> Marks {
    if !stream.settings.has_bounds() {
        return of_all;
    }
    // A log that lets its oldest messages go for new ones is always full, and its publishers need not wait.
    let settings = &stream.settings;
    let messages_max = if settings.kept_messages(limits).is_some() { u64::MAX } else { stream.messages_max(limits) };
    let bytes_max = if settings.kept_bytes(limits).is_some() { u64::MAX } else { stream.bytes_max(limits) };
    Marks::new(messages_max, bytes_max, limits.pause_at_per_mille, limits.resume_at_per_mille)
}

#[derive(Debug, Clone, Copy)]
struct PausedPublisher {
    origin: Origin,
    stream: u32,
    until_ns: u64,
}

/// The paused publishers of one shard, the longest paused first.
#[derive(Debug, Default)]
pub(crate) struct Paused {
    queue: VecDeque<PausedPublisher>,
    /// Which connections are in the queue: (shard, connection).
    members: BTreeSet<(u16, u64)>,
}

const fn member(origin: Origin) -> (u16, u64) {
    (origin.shard.0, origin.connection.0)
}

impl Paused {
    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Nobody is paused.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Pauses a publisher because of a stream. `false` when it is paused already or `paused_max` are.
    pub(crate) fn add(&mut self, now: Now, origin: Origin, stream: u32, pause_ms_max: u64, paused_max: usize) -> bool {
        if self.queue.len() >= paused_max || !self.members.insert(member(origin)) {
            return false;
        }
        let until_ns = now.mono_ns.saturating_add(pause_ms_max.saturating_mul(NS_PER_MS));
        self.queue.push_back(PausedPublisher { origin, stream, until_ns });
        true
    }

    /// When the longest paused publisher has waited long enough.
    pub(crate) fn next_ns(&self) -> Option<u64> {
        self.queue.front().map(|paused| paused.until_ns)
    }

    /// Takes out a publisher that has waited long enough.
    pub(crate) fn expire(&mut self, now: Now) -> Option<Origin> {
        let first = *self.queue.front().filter(|paused| paused.until_ns <= now.mono_ns)?;
        self.queue.pop_front();
        self.members.remove(&member(first.origin));
        Some(first.origin)
    }

    /// Takes out those whose stream is `free`, the longest paused first.
    pub(crate) fn resume(&mut self, is_free: impl Fn(u32) -> bool, mut resumed: impl FnMut(Origin)) {
        let members = &mut self.members;
        self.queue.retain(|paused| {
            let free = is_free(paused.stream);
            if free {
                members.remove(&member(paused.origin));
                resumed(paused.origin);
            }
            !free
        });
    }

    /// Forgets a connection that is gone.
    pub(crate) fn forget(&mut self, origin: Origin) {
        if self.members.remove(&member(origin)) {
            self.queue.retain(|paused| member(paused.origin) != member(origin));
        }
    }
}

impl Shard {
    /// Messages of several streams may have been released, or streams be gone: resumes publishers that this frees.
    pub(crate) fn resume_all_when_roomy(&mut self, effects: &mut Effects) {
        if self.paused.is_empty() {
            return;
        }
        let (messages, bytes) = (self.memory.messages_held, self.memory.bytes_held);
        self.is_pausing = self.shard_marks.is_pausing(self.is_pausing, messages, bytes);
        if !self.is_pausing {
            let streams = &self.streams;
            self.paused.resume(
                |key| streams.at(key).is_none_or(|stream| !stream.is_pausing),
                |origin| effects.push(Effect::Resume { origin }),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_never_nearly_full_and_always_roomy() {
        for max in [1, 2, 3, 10, 1_000, u64::MAX] {
            let marks = Marks::new(max, max, 875, 750);
            assert!(!marks.is_nearly_full(0, 0) && marks.is_roomy(0, 0), "{max}");
            assert!(marks.is_nearly_full(max, 0) && marks.is_nearly_full(0, max), "{max}");
            assert!(!marks.is_roomy(max, 0) && !marks.is_roomy(0, max), "{max}");
        }
        let marks = Marks::new(1_000, 1_000, 875, 750);
        assert!(marks.is_nearly_full(875, 0) && !marks.is_nearly_full(874, 874));
        assert!(marks.is_roomy(749, 749) && !marks.is_roomy(750, 0));
    }
}
