//! Where a log begins: what recovery found, or nothing.

use super::format::{BLOCK, LogIdentity};
use super::segments::Segment;
use super::{DiskError, LogLimits, SegmentId, Storage, StorageError};
use conduit_protocol::ShardId;
use std::collections::VecDeque;

/// Everything that a [`super::Log`] needs to know of its directory. Comes out of [`super::scan()`], or is
/// [`LogStart::empty`].
#[derive(Debug, Clone)]
pub struct LogStart {
    pub(crate) shard: ShardId,
    pub(crate) identity: LogIdentity,
    /// The segments that are there, oldest first, without those in `ready`.
    pub(crate) segments: Vec<Segment>,
    pub(crate) tail: Tail,
    /// The number of the next batch.
    pub(crate) next_batch: u64,
    /// The newest segment that carries everything over.
    pub(crate) carried_over: Option<SegmentId>,
    /// Installed and blank.
    pub(crate) ready: VecDeque<SegmentId>,
    /// The number of the next segment that is prepared. `None` when all numbers are used up.
    pub(crate) next_segment: Option<SegmentId>,
}

/// Where writing goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// In the newest segment, from this offset: it was left as it should be, and nothing follows there.
    Here(u64),
    /// In a new segment, whose header says how far this one is valid. 0 and 0 when there is none.
    After { previous_segment: SegmentId, previous_end: u64 },
}

impl LogStart {
    /// A log in an empty directory.
    #[must_use]
    pub fn empty(shard: ShardId, identity: LogIdentity) -> Self {
        Self {
            shard,
            identity,
            segments: Vec::new(),
            tail: Tail::After { previous_segment: SegmentId(0), previous_end: 0 },
            next_batch: 1,
            carried_over: None,
            ready: VecDeque::new(),
            next_segment: Some(SegmentId(1)),
        }
    }

    /// Which log it is.
    #[must_use]
    pub const fn identity(&self) -> LogIdentity {
        self.identity
    }

    /// Makes the segments ready that publishing needs at least, before the log is used: one to write and one in reserve.
    /// Without it the log does so by itself, and refuses publishes as busy until it is done. Finding no room is no
    /// error: the log tells publishers.
    ///
    /// # Errors
    /// When the device fails.
    pub fn prepare(&mut self, storage: &mut dyn Storage, limits: &LogLimits) -> Result<(), StorageError> {
        let needed = if matches!(self.tail, Tail::Here(_)) { 1 } else { 2 };
        while self.ready.len() < needed {
            let files = (self.segments.len() + self.ready.len()) as u64;
            let Some(segment) = self.next_segment else { return Ok(()) };
            if limits.log_bytes_max != 0 && (files + 1) * limits.segment_bytes > limits.log_bytes_max {
                return Ok(());
            }
            let prepared = storage
                .prepare(segment, limits.segment_bytes)
                .and_then(|()| storage.install(segment))
                .and_then(|()| storage.sync_directory());
            match prepared {
                Ok(()) => {}
                Err(error) if error.error == DiskError::Full => return Ok(()),
                Err(error) => return Err(error),
            }
            self.ready.push_back(segment);
            self.next_segment = segment.0.checked_add(1).map(SegmentId);
        }
        Ok(())
    }

    /// Bytes of all segments that hold something, as far as they are valid.
    #[must_use]
    pub fn valid_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.end.saturating_sub(BLOCK)).sum()
    }
}
