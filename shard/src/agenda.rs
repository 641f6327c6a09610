//! What comes due by the wall clock: seqs and the times, in milliseconds since 1970, at which something is to happen to
//! them. A stream has one for messages that expire, a group one for messages that must not be delivered yet.
//!
//! The times are the wall clock's, because they are told by clients and outlive a restart; the timer that wakes an agenda
//! is the wheel's, which knows only the steady clock. So a wake-up looks at the wall clock again, and none is farther away
//! than [`LOOK_AGAIN_MS`]: a clock that was set forward is noticed by then, one that was set back makes nothing early.

use crate::wheel::TimerId;
use conduit_protocol::{Now, time::NS_PER_MS};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Longest sleep of an agenda's timer.
const LOOK_AGAIN_MS: u64 = 60_000;
/// So many entries are kept whether or not their messages are still there.
const STALE_KEPT: u64 = 64;
/// An agenda that has room for more than this gives its memory back when it is empty.
const ROOM_KEPT: usize = 128;

/// What an empty agenda may hold, in bytes, and so one with stale entries only.
pub(crate) const KEPT_BYTES: u64 = (size_of::<Agenda>() + ROOM_KEPT * size_of::<(u64, u64)>()) as u64;

/// Seqs by the time at which they are due; of equal times the lowest seq first.
///
/// It is not told when a message goes for another reason. Those entries are found out when they come due, and sorted out
/// earlier when they are more than the messages that are there: see [`Agenda::add`].
#[derive(Debug)]
pub(crate) struct Agenda {
    due: BinaryHeap<Reverse<(u64, u64)>>,
    /// The timer that wakes it, and the time that it was set for.
    pub(crate) timer: Option<(TimerId, u64)>,
}

impl Agenda {
    /// Nothing to do.
    pub(crate) const fn new() -> Self {
        Self { due: BinaryHeap::new(), timer: None }
    }

    /// Entries, stale ones included.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.due.len()
    }

    /// Adds a seq. `held` is the number of messages that are there, and `is_held` says which: there are never more than
    /// twice as many entries and [`STALE_KEPT`].
    pub(crate) fn add(&mut self, unix_ms: u64, seq: u64, held: u64, is_held: impl Fn(u64) -> bool) {
        if self.due.len() as u64 >= held.saturating_mul(2).saturating_add(STALE_KEPT) {
            self.due.retain(|Reverse((_, seq))| is_held(*seq));
        }
        self.due.push(Reverse((unix_ms, seq)));
    }

    /// Takes a seq whose time has come.
    pub(crate) fn take_due(&mut self, now_unix_ms: u64) -> Option<u64> {
        if self.next_unix_ms()? > now_unix_ms {
            return None;
        }
        let Reverse((_, seq)) = self.due.pop()?;
        if self.due.is_empty() && self.due.capacity() > ROOM_KEPT {
            self.due = BinaryHeap::new();
        }
        Some(seq)
    }

    /// When something is due next.
    pub(crate) fn next_unix_ms(&self) -> Option<u64> {
        self.due.peek().map(|Reverse((unix_ms, _))| *unix_ms)
    }

    /// The time that the timer is to be set for, and what that is in `Now::mono_ns`. `None` when the timer is good as it is,
    /// or when there is nothing to wake for.
    pub(crate) fn wake_up(&self, now: Now) -> Option<(u64, u64)> {
        let unix_ms = self.next_unix_ms()?;
        if self.timer.is_some_and(|(_, set_for)| set_for <= unix_ms) {
            return None;
        }
        let wait_ms = unix_ms.saturating_sub(now.unix_ms).min(LOOK_AGAIN_MS);
        Some((unix_ms, now.mono_ns.saturating_add(wait_ms * NS_PER_MS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wheel::Wheel;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const NOW: Now = Now { mono_ns: 9_000_000_000, unix_ms: 1_000_000 };

    #[test]
    fn what_is_due_at_once_comes_by_seq() {
        let mut agenda = Agenda::new();
        for (unix_ms, seq) in [(70, 9), (50, 8), (70, 3), (71, 1), (70, 5)] {
            agenda.add(unix_ms, seq, 5, |_| true);
        }
        assert_eq!(agenda.take_due(49), None);
        assert_eq!(std::iter::from_fn(|| agenda.take_due(70)).collect::<Vec<_>>(), [8, 3, 5, 9]);
        assert_eq!(agenda.next_unix_ms(), Some(71));
    }

    #[test]
    fn it_wakes_when_due_and_at_the_latest_to_look_again() {
        let mut agenda = Agenda::new();
        assert_eq!(agenda.wake_up(NOW), None);
        for (unix_ms, wait_ms) in [
            (u64::MAX, LOOK_AGAIN_MS),
            (1_000_000 + LOOK_AGAIN_MS + 1, LOOK_AGAIN_MS),
            (1_000_000 + LOOK_AGAIN_MS, LOOK_AGAIN_MS),
            (1_000_001, 1),
            (3, 0),
        ] {
            agenda.add(unix_ms, 1, 9, |_| true);
            assert_eq!(agenda.wake_up(NOW), Some((unix_ms, NOW.mono_ns + wait_ms * NS_PER_MS)));
        }
    }

    #[test]
    fn a_timer_that_is_early_enough_is_left_alone() {
        let mut agenda = Agenda::new();
        agenda.add(1_000_100, 1, 9, |_| true);
        agenda.timer = Some((Wheel::new().add(0, 100, ()), 1_000_100));
        assert_eq!(agenda.wake_up(NOW), None);
        agenda.add(1_000_101, 2, 9, |_| true);
        assert_eq!(agenda.wake_up(NOW), None);
        agenda.add(1_000_099, 3, 9, |_| true);
        assert_eq!(agenda.wake_up(NOW).map(|(unix_ms, _)| unix_ms), Some(1_000_099));
    }

    proptest! {
        /// Messages come and go; what is due is always taken in order, and stale entries never pile up.
        #[test]
        fn everything_held_comes_due_in_order(steps in proptest::collection::vec((0u8..5, 0u64..200), 1..600)) {
            let mut agenda = Agenda::new();
            let mut held = BTreeSet::new();
            let mut now = 0;
            for (n, (step, value)) in steps.into_iter().enumerate() {
                let seq = n as u64 + 1;
                match step {
                    0 => {
                        now += value / 10;
                        let mut last = (0, 0);
                        while let Some(unix_ms) = agenda.next_unix_ms() {
                            let Some(seq) = agenda.take_due(now) else { break };
                            prop_assert!(unix_ms <= now && (unix_ms, seq) > last);
                            last = (unix_ms, seq);
                            held.remove(&last);
                        }
                        prop_assert!(held.iter().all(|(unix_ms, _)| *unix_ms > now));
                    }
                    1 => {
                        // Something went for another reason: the agenda is not told.
                        let gone = held.iter().nth(value as usize % held.len().max(1)).copied();
                        if let Some(gone) = gone {
                            held.remove(&gone);
                        }
                    }
                    _ => {
                        let unix_ms = now + value;
                        held.insert((unix_ms, seq));
                        let seqs: BTreeSet<u64> = held.iter().map(|(_, seq)| *seq).collect();
                        agenda.add(unix_ms, seq, held.len() as u64, |seq| seqs.contains(&seq));
                    }
                }
            }
        }

        #[test]
        fn stale_entries_never_outnumber_the_messages(count in 1u64..2_000, keep in 1u64..50) {
            let mut agenda = Agenda::new();
            for seq in 1..=count {
                let start = seq.saturating_sub(keep);
                agenda.add(1_000, seq, keep, |seq| seq > start);
                prop_assert!(agenda.len() as u64 <= 2 * keep + STALE_KEPT);
            }
        }
    }
}
