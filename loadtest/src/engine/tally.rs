//! Counters and latency histograms of one thread, cut into intervals.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// A histogram of nanoseconds up to an hour, to three digits.
pub(crate) fn new_histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, 3_600_000_000_000, 3) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("the bounds are constants within the library's: {error}"),
    }
}

macro_rules! counts {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Counters of what happened, since the run began or in an interval.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct Counts { $($(#[doc = $doc])* pub $name: u64,)* }

        impl Counts {
            /// How many counters there are.
            pub(crate) const FIELDS: usize = [$(stringify!($name)),*].len();

            pub(crate) const fn fields(&self) -> [u64; Self::FIELDS] { [$(self.$name),*] }

            pub(crate) const fn from_fields([$($name),*]: [u64; Self::FIELDS]) -> Self { Self { $($name),* } }
        }
    };
}

counts! {
    /// Messages sent (a retry does not count again).
    published,
    /// Messages the server said it accepted; for WebSocket publishes without `ref`: messages sent.
    accepted,
    /// Different messages that consumers got.
    delivered,
    /// Deliveries that said they were repeats.
    redelivered,
    /// Acks sent.
    acked,
    /// `Backpressure` answers.
    backpressure,
    /// Messages sent again after `Backpressure`.
    retried,
    /// Messages whose fate is unknown or that were refused for good.
    excused,
    /// Requests and connections that failed.
    errors,
    /// First deliveries of something that had come.
    duplicates,
    /// First deliveries behind a later number.
    reordered,
    /// Deliveries of other runs' messages (acked and otherwise ignored).
    foreign,
    /// Deliveries to a consumer of another stream.
    misrouted,
    /// Deliveries whose payload was changed.
    corrupted,
    /// Bytes written.
    bytes_out,
    /// Bytes read.
    bytes_in,
    /// Connections that ended before they should.
    disconnected,
}

impl Counts {
    /// What was added since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let (now, then) = (self.fields(), earlier.fields());
        Self::from_fields(std::array::from_fn(|at| now[at].saturating_sub(then[at])))
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let (one, two) = (self.fields(), other.fields());
        Self::from_fields(std::array::from_fn(|at| one[at] + two[at]))
    }
}

/// What one thread saw between two moments.
#[derive(Debug)]
pub(crate) struct Interval {
    pub(crate) end_ns: u64,
    /// It lies in the measured window.
    pub(crate) is_measured: bool,
    pub(crate) counts: Counts,
    pub(crate) latencies: Latencies,
}

/// The histograms of a run, in nanoseconds.
#[derive(Debug, Clone)]
pub(crate) struct Latencies {
    /// From the intended send time to the delivery's arrival.
    pub(crate) deliver: Histogram<u64>,
    /// From the intended send time to the answer's arrival.
    pub(crate) accept: Histogram<u64>,
    /// From the intended send time to the write: the generator's own lateness.
    pub(crate) send_lag: Histogram<u64>,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        Self { deliver: new_histogram(), accept: new_histogram(), send_lag: new_histogram() }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        // All histograms have the same bounds, so adding cannot fail.
        let _ = self.deliver.add(&other.deliver);
        let _ = self.accept.add(&other.accept);
        let _ = self.send_lag.add(&other.send_lag);
    }

    fn is_empty(&self) -> bool {
        self.deliver.is_empty() && self.accept.is_empty() && self.send_lag.is_empty()
    }
}

/// One thread's counters and histograms.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    pub(crate) latencies: Latencies,
    cut: Counts,
    next_cut_ns: u64,
}

/// Length of an interval.
pub(crate) const INTERVAL_NS: u64 = 1_000_000_000;

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            counts: Counts::default(),
            latencies: Latencies::new(),
            cut: Counts::default(),
            next_cut_ns: INTERVAL_NS,
        }
    }

    /// The interval that is over at `now_ns`, if one is.
    pub(crate) fn cut_if_due(&mut self, now_ns: u64, is_measured: bool) -> Option<Interval> {
        (now_ns >= self.next_cut_ns).then(|| self.cut(now_ns, is_measured))
    }

    /// Ends the interval now. The next ends one interval from here.
    pub(crate) fn cut(&mut self, now_ns: u64, is_measured: bool) -> Interval {
        self.next_cut_ns = now_ns + INTERVAL_NS;
        let counts = self.counts.since(&self.cut);
        self.cut = self.counts;
        let latencies = if self.latencies.is_empty() {
            Latencies::new()
        } else {
            std::mem::replace(&mut self.latencies, Latencies::new())
        };
        Interval { end_ns: now_ns, is_measured, counts, latencies }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_add_up_to_the_whole() {
        let mut tally = Tally::new();
        let mut sum = Counts::default();
        let mut latencies = Latencies::new();
        for turn in 1..=30u64 {
            tally.counts.delivered += turn;
            tally.latencies.deliver.saturating_record(turn);
            if let Some(interval) = tally.cut_if_due(turn * INTERVAL_NS / 10, true) {
                sum = sum.plus(&interval.counts);
                latencies.add(&interval.latencies);
            }
        }
        assert_eq!(sum.delivered, (1..=30).sum::<u64>());
        assert_eq!(latencies.deliver.len(), 30);
    }

    #[test]
    fn an_hour_is_recorded_and_beyond_it_is_cut_to_it() {
        let mut histogram = new_histogram();
        histogram.saturating_record(3_600_000_000_000);
        histogram.saturating_record(u64::MAX);
        assert_eq!(histogram.len(), 2);
        assert!(histogram.max() >= 3_600_000_000_000);
    }
}
