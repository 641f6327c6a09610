//! Every bound of a log, each with its consequence.

use super::format::{BATCH_HEADER, BLOCK};
use crate::Planted;

/// The smallest segment: its header block and three blocks of batches.
pub const SEGMENT_BYTES_MIN: u64 = 4 * BLOCK;

/// The largest segment, so that offsets in it stay small numbers.
pub const SEGMENT_BYTES_MAX: u64 = 1 << 30;

/// Segments by which a log may go beyond its bound when it has no place left to write what would make room. It is left
/// without one by an end that was not orderly, or by one that was when the last segment was full to the end.
pub const SPARE_SEGMENTS: u64 = 4;

/// Bytes that one outstanding message takes in the record of its group.
const OUTSTANDING_BYTES: u64 = 12;

/// Bounds of the log of one shard. Maxima are inclusive.
#[derive(Debug, Clone)]
pub struct LogLimits {
    /// Bytes of a segment's file; a multiple of 4,096. A record that does not fit into an empty one: `Refused::TooLarge`.
    pub segment_bytes: u64,
    /// Bytes of one batch. A record beyond begins the next batch; one that is larger by itself is a batch by itself.
    pub batch_bytes_max: u64,
    /// Bytes appended and not yet durable. More: publishes get `Refused::Busy`; upkeep does at twice as many.
    pub unsynced_bytes_max: u64,
    /// Bytes of all segments of the shard, prepared ones included; 0 for no bound. At the bound nothing is prepared, and
    /// when room runs out publishes get `Refused::Full`. Up to four segments more are made, one at a time, where nothing else
    /// could be written that lets old ones go; publishes get none of it.
    pub log_bytes_max: u64,
    /// Milliseconds that a batch of nothing but upkeep waits for company before it is committed by itself.
    pub upkeep_ms: u64,
    /// Milliseconds until a segment is prepared again after there was no room for it.
    pub full_retry_ms: u64,
    /// Reads asked for and not finished. More: `Log::read` says no, and the caller asks again after one is done.
    pub reads_max: usize,
    /// A planted bug, for the simulator to find; never in a server.
    pub planted: Planted,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            batch_bytes_max: 1 << 20,
            unsynced_bytes_max: 16 << 20,
            log_bytes_max: 0,
            upkeep_ms: 50,
            full_retry_ms: 1_000,
            reads_max: 64,
            planted: Planted::default(),
        }
    }
}

/// Milliseconds that every wait stays below, so that no sum of times overflows: about three years.
const WAIT_MS_MAX: u64 = 100_000_000_000;

impl LogLimits {
    /// Checks the limits and the relations between them.
    ///
    /// # Errors
    /// A sentence that names the limit, its value and the bound.
    pub fn validate(&self) -> Result<(), String> {
        let Self { segment_bytes, batch_bytes_max, unsynced_bytes_max, log_bytes_max, .. } = *self;
        if !segment_bytes.is_multiple_of(BLOCK) {
            return Err(format!("segment_bytes is {segment_bytes} and must be a multiple of {BLOCK}"));
        }
        if !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment_bytes) {
            return Err(format!(
                "segment_bytes is {segment_bytes} and must be between {SEGMENT_BYTES_MIN} and {SEGMENT_BYTES_MAX}"
            ));
        }
        if !(BLOCK..=segment_bytes - BLOCK).contains(&batch_bytes_max) {
            let most = segment_bytes - BLOCK;
            return Err(format!("batch_bytes_max is {batch_bytes_max} and must be between {BLOCK} and {most}"));
        }
        if unsynced_bytes_max < batch_bytes_max {
            return Err(format!(
                "unsynced_bytes_max is {unsynced_bytes_max} and must not be below batch_bytes_max ({batch_bytes_max})"
            ));
        }
        let least = 4 * segment_bytes;
        if log_bytes_max != 0 && log_bytes_max < least {
            return Err(format!(
                "log_bytes_max is {log_bytes_max} and must be 0 or hold four segments ({least}): one that is written, one \
                 ready, one in reserve, one on its way out"
            ));
        }
        for (name, value) in [("upkeep_ms", self.upkeep_ms), ("full_retry_ms", self.full_retry_ms)] {
            if value > WAIT_MS_MAX {
                return Err(format!("{name} is {value} and must not be above {WAIT_MS_MAX}"));
            }
        }
        if self.full_retry_ms == 0 {
            return Err("full_retry_ms is 0 and must be at least 1".into());
        }
        if self.reads_max == 0 {
            return Err("reads_max is 0 and must be at least 1".into());
        }
        Ok(())
    }

    /// Bytes of the largest record that fits into a segment, its header and padding included.
    #[must_use]
    pub const fn record_bytes_max(&self) -> u64 {
        self.segment_bytes - BLOCK - BATCH_HEADER
    }

    /// Messages that the groups of one stream may have outstanding, in flight or waiting to be delivered again, so that all of
    /// them can be named in one segment with room for others: every group that has its share is given nothing fresh until it
    /// is done with something. A group that was there first may hold what others were to share with it: groups that come one
    /// after the other hold `1 + 1/2 + 1/3 + ...` times as much, for which there is room.
    #[must_use]
    pub fn outstanding_max(&self, groups_max: usize) -> u64 {
        // As many bytes as take up a segment when they are cut into batches in the worst way.
        let worst_per_batch = self.batch_bytes_max + 2 * (BATCH_HEADER + BLOCK);
        let names_bytes = self.record_bytes_max() / 2 * self.batch_bytes_max / worst_per_batch;
        let times = 1 + u64::from(groups_max.max(1).ilog2());
        (names_bytes / OUTSTANDING_BYTES / times).max(1)
    }

    /// Memory that a log may hold, in bytes: what is not yet durable, with the room that its buffers grow into, and the
    /// buffers kept for reuse. What it keeps per segment is small beside it; a single record that is larger than
    /// `unsynced_bytes_max` comes on top.
    #[must_use]
    pub const fn memory_bytes_max(&self) -> u64 {
        4 * self.unsynced_bytes_max + super::batch::SPARE_BUFFERS_MAX as u64 * 2 * self.batch_bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(LogLimits::default().validate(), Ok(()));
        assert!(LogLimits::default().memory_bytes_max() < 128 << 20);
    }

    #[test]
    fn a_broken_relation_is_named_and_its_neighbour_passes() {
        type Set = fn(&mut LogLimits);
        let cases: [(Set, Set, &str); 9] = [
            (|l| l.segment_bytes += 8, |l| l.segment_bytes += 4_096, "segment_bytes"),
            (|l| l.segment_bytes = SEGMENT_BYTES_MAX + 4_096, |l| l.segment_bytes = SEGMENT_BYTES_MAX, "segment_bytes"),
            (|l| l.batch_bytes_max = 4_095, |l| l.batch_bytes_max = 4_096, "batch_bytes_max"),
            (|l| l.batch_bytes_max = l.segment_bytes, |l| l.batch_bytes_max = l.unsynced_bytes_max, "batch_bytes_max"),
            (|l| l.unsynced_bytes_max = (1 << 20) - 1, |l| l.unsynced_bytes_max = 1 << 20, "unsynced_bytes_max"),
            (|l| l.log_bytes_max = (256 << 20) - 1, |l| l.log_bytes_max = 256 << 20, "log_bytes_max"),
            (|l| l.upkeep_ms = WAIT_MS_MAX + 1, |l| l.upkeep_ms = 0, "upkeep_ms"),
            (|l| l.full_retry_ms = 0, |l| l.full_retry_ms = 1, "full_retry_ms"),
            (|l| l.reads_max = 0, |l| l.reads_max = 1, "reads_max"),
        ];
        for (spoil, mend, name) in cases {
            let mut limits = LogLimits::default();
            spoil(&mut limits);
            let error = limits.validate().unwrap_err();
            assert!(error.starts_with(name), "{error}");
            let mut limits = LogLimits::default();
            mend(&mut limits);
            assert_eq!(limits.validate(), Ok(()), "{name}");
        }
    }
}
