//! A small histogram of latencies for one stream: a kilobyte, bounded, and leaning to the recent past.
//!
//! The shard-wide histograms are exact to three digits and weigh a quarter of a megabyte each, which ten thousand
//! streams cannot have. This one has 16 buckets to each doubling above 16 us, so a quantile is within 3.2 % of a value
//! that was recorded (within 0.6 us below that), and 16-bit counters: when they would overflow, all are halved, so that what was
//! recorded long ago fades.

/// Values are kept in units of 1,024 ns.
const UNIT_SHIFT: u32 = 10;
const PER_DOUBLING: usize = 16;
/// Doublings above the first 16 units: up to 2^32 units, over an hour. Longer is counted as that.
const DOUBLINGS: usize = 28;
const BUCKETS: usize = PER_DOUBLING * (DOUBLINGS + 1);
/// Bytes of one sketch.
pub(crate) const BYTES: usize = size_of::<Sketch>();

/// Values of one bucket that are gathered at most.
const RUN_MAX: u16 = u16::MAX / 2;

/// The sketch. Equal values in a row are gathered before they are counted.
#[derive(Debug, Clone)]
pub(crate) struct Sketch {
    counts: [u16; BUCKETS],
    total: u32,
    run_bucket: u16,
    run: u16,
    /// The newest value of the run.
    run_ns: u64,
}

const fn bucket_of(ns: u64) -> usize {
    let units = ns >> UNIT_SHIFT;
    if units < PER_DOUBLING as u64 {
        return units as usize;
    }
    let doubling = (units.ilog2() - PER_DOUBLING.ilog2()) as usize;
    if doubling >= DOUBLINGS {
        return BUCKETS - 1;
    }
    PER_DOUBLING * (doubling + 1) + (units >> doubling) as usize % PER_DOUBLING
}

/// The middle of a bucket.
const fn middle_ns(bucket: usize) -> u64 {
    if bucket < PER_DOUBLING {
        return ((bucket as u64) << UNIT_SHIFT) + (1 << (UNIT_SHIFT - 1));
    }
    let doubling = bucket / PER_DOUBLING - 1;
    let low = ((PER_DOUBLING + bucket % PER_DOUBLING) as u64) << doubling << UNIT_SHIFT;
    low + (1 << doubling << (UNIT_SHIFT - 1))
}

impl Sketch {
    /// Nothing recorded.
    pub(crate) const fn new() -> Self {
        Self { counts: [0; BUCKETS], total: 0, run_bucket: 0, run: 0, run_ns: 0 }
    }

    /// Records a latency.
    #[inline]
    pub(crate) fn record(&mut self, ns: u64) {
        if ns != self.run_ns || self.run == RUN_MAX {
            self.begin_or_continue_run(ns);
        }
        self.run += 1;
    }

    /// Time stands still within a tick, so most values are equal to the one before, and their bucket is known.
    #[inline(never)]
    fn begin_or_continue_run(&mut self, ns: u64) {
        let bucket = bucket_of(ns) as u16;
        if bucket != self.run_bucket || self.run == RUN_MAX {
            self.flush();
            self.run_bucket = bucket;
        }
        self.run_ns = ns;
    }

    fn flush(&mut self) {
        while self.total + u32::from(self.run) > u32::from(u16::MAX) {
            self.counts.iter_mut().for_each(|count| *count /= 2);
            self.total = self.counts.iter().map(|count| u32::from(*count)).sum();
        }
        self.counts[usize::from(self.run_bucket)] += self.run;
        self.total += u32::from(self.run);
        self.run = 0;
    }

    /// Quantiles (0 to 1, rising) in milliseconds, to the microsecond; 0 when nothing was recorded.
    pub(crate) fn quantiles_ms<const N: usize>(&mut self, quantiles: [f64; N]) -> [f64; N] {
        self.flush();
        let ranks = quantiles.map(|quantile| (quantile * f64::from(self.total)).ceil().max(1.0) as u32);
        let mut answer = [0.0; N];
        let (mut below, mut answered) = (0, 0);
        for (doubling, counts) in self.counts.chunks_exact(PER_DOUBLING).enumerate() {
            let sum: u32 = counts.iter().map(|count| u32::from(*count)).sum();
            // Most doublings are summed up and passed; only those in which a rank lies are looked into.
            while answered < N && ranks[answered] <= below + sum && sum > 0 {
                let mut upto = below;
                let inside = counts.iter().position(|count| {
                    upto += u32::from(*count);
                    ranks[answered] <= upto
                });
                let bucket = doubling * PER_DOUBLING + inside.unwrap_or_default();
                answer[answered] = (middle_ns(bucket) as f64 / 1e3).round() / 1e3;
                answered += 1;
            }
            below += sum;
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_rise_and_hold_their_middle() {
        for bucket in 0..BUCKETS {
            assert_eq!(bucket_of(middle_ns(bucket)), bucket);
            assert!(bucket == 0 || middle_ns(bucket) > middle_ns(bucket - 1));
        }
        assert_eq!((bucket_of(0), bucket_of(u64::MAX)), (0, BUCKETS - 1));
        const { assert!(BYTES <= 1_024) };
    }

    #[test]
    fn quantiles_are_within_their_error() {
        let mut sketch = Sketch::new();
        for us in 1..=10_000 {
            sketch.record(us * 1_000);
        }
        for (quantile, ms) in [0.5, 0.95, 0.99].into_iter().zip(sketch.quantiles_ms([0.5, 0.95, 0.99])) {
            let exact = quantile * 10.0;
            assert!((ms - exact).abs() <= exact * 0.033, "{quantile}: {ms} for {exact}");
        }
        assert_eq!(Sketch::new().quantiles_ms([0.5]), [0.0]);
    }

    #[test]
    fn the_recent_past_outweighs_the_distant() {
        let mut sketch = Sketch::new();
        for _ in 0..10_000_000 {
            sketch.record(1_000_000);
        }
        for _ in 0..65_000 {
            sketch.record(9_000_000);
        }
        let [median] = sketch.quantiles_ms([0.5]);
        assert!(median > 8.0, "{median}");
    }
}
