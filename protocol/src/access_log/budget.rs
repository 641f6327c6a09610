//! How many lines are written, and which of the others stand for the rest.

use super::LogBudget;
use crate::limiter::{Bucket, Rate};
use crate::time::Now;

/// So many lines a second; beyond them, one in so many.
#[derive(Debug, Default)]
pub(super) struct Budget {
    rate: Option<Rate>,
    bucket: Option<Bucket>,
    /// The bucket is known to be empty until then, in `Now::mono_ns`: asking it costs more than comparing.
    empty_until_ns: u64,
    sample: u32,
    /// 2^64 by `sample`, rounded up (and 0 for 1): tells multiples of it by a multiplication, which takes a tenth of a division.
    inverse: u64,
    /// What was beyond the budget and belongs to no seq, since the last of it that was written.
    unwritten: u32,
    pub(super) left_out: u64,
}

/// How a line came to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Share {
    /// It stands for itself.
    One,
    /// It stands for so many.
    OneIn(u32),
}

impl Budget {
    pub(super) const fn apply(&mut self, budget: LogBudget) {
        let LogBudget { lines_per_s, sample } = budget;
        let rate = Rate { per_window: lines_per_s, window_ms: 1_000, burst: lines_per_s };
        self.rate = if lines_per_s == 0 { None } else { Some(rate) };
        self.sample = sample;
        self.inverse = if sample == 0 { 0 } else { (u64::MAX / sample as u64).wrapping_add(1) };
        self.empty_until_ns = 0;
    }

    /// Whether an event of this message is written. Beyond the budget, those of every `sample`th seq are: all events of
    /// one message or none.
    #[inline]
    pub(super) fn admit(&mut self, now: Now, seq: u64) -> Option<Share> {
        if self.is_within(now) {
            return Some(Share::One);
        }
        if self.sample > 0 && self.is_multiple(seq) {
            return Some(Share::OneIn(self.sample));
        }
        self.left_out += 1;
        None
    }

    /// The same for what names no seq: every `sample`th one is written.
    #[inline]
    pub(super) fn admit_unnumbered(&mut self, now: Now) -> Option<Share> {
        if self.is_within(now) {
            return Some(Share::One);
        }
        self.unwritten += 1;
        if self.unwritten == self.sample {
            self.unwritten = 0;
            return Some(Share::OneIn(self.sample));
        }
        self.unwritten = if self.sample == 0 { 0 } else { self.unwritten };
        self.left_out += 1;
        None
    }

    /// Of a seq the low 32 bits count: still one in so many, and the same for every event of a message.
    #[inline]
    const fn is_multiple(&self, seq: u64) -> bool {
        (seq as u32 as u64).wrapping_mul(self.inverse) <= self.inverse.wrapping_sub(1)
    }

    #[inline]
    fn is_within(&mut self, now: Now) -> bool {
        now.mono_ns >= self.empty_until_ns && self.take(now)
    }

    fn take(&mut self, now: Now) -> bool {
        let Some(rate) = self.rate else {
            self.empty_until_ns = u64::MAX;
            return false;
        };
        let bucket = self.bucket.get_or_insert(Bucket::full(now, rate));
        match bucket.take(now, rate) {
            Ok(()) => true,
            Err(wait_ms) => {
                self.empty_until_ns = now.mono_ns.saturating_add(u64::from(wait_ms) * 1_000_000);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(per_s: u32, sample: u32) -> Budget {
        let mut budget = Budget::default();
        budget.apply(LogBudget { lines_per_s: per_s, sample });
        budget
    }

    #[test]
    fn beyond_the_budget_all_events_of_every_nth_message_are_there() {
        let mut budget = budget(5, 10);
        let now = Now { mono_ns: 1, unix_ms: 0 };
        assert!((101..106).all(|seq| budget.admit(now, seq) == Some(Share::One)));
        for seq in 106..206 {
            let expected = (seq % 10 == 0).then_some(Share::OneIn(10));
            assert_eq!([budget.admit(now, seq), budget.admit(now, seq)], [expected, expected]);
        }
        assert_eq!((0..100).filter(|_| budget.admit_unnumbered(now).is_some()).count(), 10);
    }

    #[test]
    fn a_multiplication_finds_the_multiples() {
        for sample in [1, 2, 3, 7, 10, 999, 1_000, 65_536, 1_000_000_000, u32::MAX] {
            let budget = budget(0, sample);
            let near = [0_u32, 1, sample, sample.wrapping_mul(2), sample.wrapping_mul(77), u32::MAX];
            for seq in near.into_iter().flat_map(|seq| [seq.wrapping_sub(1), seq, seq.wrapping_add(1)]).chain(0..5_000)
            {
                let expected = seq.is_multiple_of(sample);
                assert_eq!(budget.is_multiple(seq.into()), expected, "{seq} by {sample}");
                assert_eq!(budget.is_multiple(u64::from(seq) + (5 << 32)), expected, "{seq} by {sample}");
            }
        }
    }

    #[test]
    fn the_budget_comes_back_with_time() {
        let mut budget = budget(5, 0);
        let at_ms = |ms: u64| Now { mono_ns: ms * 1_000_000, unix_ms: 0 };
        let written = |budget: &mut Budget, ms| (1..=100).filter(|seq| budget.admit(at_ms(ms), *seq).is_some()).count();
        assert_eq!(written(&mut budget, 1), 5);
        assert_eq!(written(&mut budget, 200), 0);
        assert_eq!(written(&mut budget, 201), 1);
        assert_eq!(written(&mut budget, 1_202), 5);
    }

    #[test]
    fn without_a_budget_and_a_sample_nothing_is_written() {
        let mut budget = budget(0, 0);
        assert!((0..100).all(|seq| budget.admit(Now::default(), seq).is_none()));
        assert!((0..100).all(|_| budget.admit_unnumbered(Now::default()).is_none()));
    }
}
