//! When the messages of a stream in the log were published, and how much they are: of every so many messages one is
//! remembered, so that neither costs memory for each of those that are only on the disk.

use std::collections::VecDeque;

/// A sample is taken when so many messages have passed since the last one,
const SAMPLE_MESSAGES: u64 = 1_024;
/// or so many milliseconds.
const SAMPLE_MS: u64 = 1_000;

/// The samples of one stream, oldest first. There are at most as many as thousands of messages held, and as seconds in
/// which one was published.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    samples: VecDeque<Sample>,
    /// Bytes of all messages noted so far.
    bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    seq: u64,
    unix_ms: u64,
    /// Bytes of the messages noted before this one.
    bytes_before: u64,
}

impl Timeline {
    /// A message was appended. `first` is the oldest one held: samples of older ones go.
    #[inline]
    pub(crate) fn note(&mut self, seq: u64, unix_ms: u64, bytes: u64, first: u64) {
        let is_due = self.samples.back().is_none_or(|last| {
            seq.saturating_sub(last.seq) >= SAMPLE_MESSAGES || unix_ms.saturating_sub(last.unix_ms) >= SAMPLE_MS
        });
        if is_due {
            self.take_sample(seq, unix_ms, first);
        }
        self.bytes += bytes;
    }

    #[cold]
    fn take_sample(&mut self, seq: u64, unix_ms: u64, first: u64) {
        while self.samples.get(1).is_some_and(|second| second.seq <= first) {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { seq, unix_ms, bytes_before: self.bytes });
    }

    /// A time at which the message of this seq had been published already: later than it was by less than a sample's
    /// distance. `None` when nothing was sampled after it.
    pub(crate) fn published_by_unix_ms(&self, seq: u64) -> Option<u64> {
        let after = self.samples.partition_point(|sample| sample.seq <= seq);
        self.samples.get(after).map(|sample| sample.unix_ms)
    }

    /// Bytes of the messages from this seq on, at least.
    pub(crate) fn bytes_from(&self, seq: u64) -> u64 {
        let at = self.samples.partition_point(|sample| sample.seq < seq);
        self.samples.get(at).map_or(0, |sample| self.bytes - sample.bytes_before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_never_too_early_and_a_size_never_too_large() {
        let mut timeline = Timeline::default();
        // Ten messages a second, of a hundred bytes.
        for seq in 1..=10_000_u64 {
            timeline.note(seq, seq * 100, 100, 1);
        }
        for seq in [1, 9, 10, 11, 5_000, 9_980] {
            let by = timeline.published_by_unix_ms(seq).unwrap();
            assert!(by >= seq * 100 && by <= seq * 100 + 1_100, "{seq}: {by}");
            let bytes = timeline.bytes_from(seq);
            let exact = (10_001 - seq) * 100;
            assert!(bytes <= exact && bytes + 1_100 >= exact, "{seq}: {bytes} of {exact}");
        }
        assert_eq!(timeline.published_by_unix_ms(10_000), None);
    }

    #[test]
    fn samples_of_what_is_gone_go() {
        let mut timeline = Timeline::default();
        for seq in 1..=1_000_000_u64 {
            timeline.note(seq, 5, 1, seq.saturating_sub(10_000).max(1));
        }
        assert!(timeline.samples.len() <= 13, "{}", timeline.samples.len());
    }
}
