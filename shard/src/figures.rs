//! Figures: what one stream counts, and the latency histograms of the whole shard.

use crate::sketch::Sketch;
use conduit_protocol::Now;
use hdrhistogram::Histogram;

const NS_PER_S: u64 = 1_000_000_000;

/// Events per second, over the last full second.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Rate {
    second: u64,
    current: u32,
    last: u32,
}

impl Rate {
    /// One event.
    #[inline]
    pub(crate) fn count(&mut self, now: Now) {
        self.roll(now);
        self.current = self.current.saturating_add(1);
    }

    /// Events of the last full second.
    pub(crate) fn per_second(&mut self, now: Now) -> f64 {
        self.roll(now);
        f64::from(self.last)
    }

    #[inline]
    fn roll(&mut self, now: Now) {
        let second = now.mono_ns / NS_PER_S;
        if second != self.second {
            self.last = if second == self.second + 1 { self.current } else { 0 };
            self.current = 0;
            self.second = second;
        }
    }
}

/// The latencies of one stream, made when its first message is delivered.
#[derive(Debug)]
pub(crate) struct StreamLatencies {
    /// Publish to first delivery.
    pub(crate) deliver: Sketch,
    /// Delivery to ack.
    pub(crate) ack: Sketch,
}

/// What one stream counts.
#[derive(Debug, Default)]
pub(crate) struct StreamFigures {
    pub(crate) published: u64,
    pub(crate) delivered: u64,
    pub(crate) redelivered: u64,
    pub(crate) acked: u64,
    pub(crate) rate_in: Rate,
    pub(crate) rate_out: Rate,
    /// When the newest message was published, in `Now::unix_ms`.
    pub(crate) last_unix_ms: Option<u64>,
    pub(crate) latencies: Option<Box<StreamLatencies>>,
}

impl StreamFigures {
    /// The latencies, made on first need.
    #[inline]
    pub(crate) fn latencies_mut(&mut self) -> &mut StreamLatencies {
        self.latencies.get_or_insert_with(|| Box::new(StreamLatencies { deliver: Sketch::new(), ack: Sketch::new() }))
    }
}

/// The longest latency that the shard's histograms tell apart: one hour. Longer is counted as that.
const LATENCY_NS_MAX: u64 = 3_600 * NS_PER_S;

/// A histogram of nanoseconds with three significant digits that gathers equal values in a row: time stands still
/// within a tick, so a batch is counted at the price of one value. Its memory is fixed.
#[derive(Debug, Clone)]
pub(crate) struct LatencyHistogram {
    histogram: Histogram<u64>,
    run_ns: u64,
    run: u64,
}

impl LatencyHistogram {
    /// Nothing recorded.
    pub(crate) fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).expect("the bounds are constant and valid");
        Self { histogram, run_ns: 0, run: 0 }
    }

    /// Records a latency.
    #[inline]
    pub(crate) fn record(&mut self, ns: u64) {
        if ns != self.run_ns {
            self.flush();
            self.run_ns = ns;
        }
        self.run += 1;
    }

    fn flush(&mut self) {
        if self.run > 0 {
            self.histogram.saturating_record_n(self.run_ns, self.run);
            self.run = 0;
        }
    }

    /// A copy with everything recorded so far.
    pub(crate) fn copy(&mut self) -> Histogram<u64> {
        self.flush();
        self.histogram.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_full_second() {
        let mut rate = Rate::default();
        let start = Now { mono_ns: 5 * NS_PER_S, unix_ms: 0 };
        for n in 0..30 {
            rate.count(start.plus_ns(n * 10_000_000));
        }
        assert_eq!(rate.per_second(start), 0.0);
        assert_eq!(rate.per_second(start.plus_ns(NS_PER_S)), 30.0);
        rate.count(start.plus_ns(NS_PER_S));
        assert_eq!(rate.per_second(start.plus_ns(2 * NS_PER_S - 1)), 30.0);
        assert_eq!(rate.per_second(start.plus_ns(2 * NS_PER_S)), 1.0);
        assert_eq!(rate.per_second(start.plus_ns(9 * NS_PER_S)), 0.0);
    }

    #[test]
    fn a_run_of_equal_latencies_counts_each() {
        let mut latencies = LatencyHistogram::new();
        for ns in [5, 5, 5, 7, 7, 5, u64::MAX] {
            latencies.record(ns);
        }
        let copy = latencies.copy();
        assert_eq!((copy.len(), copy.count_at(5), copy.count_at(7)), (7, 4, 2));
        assert_eq!(latencies.copy().len(), 7);
    }
}
