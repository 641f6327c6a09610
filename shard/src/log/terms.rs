//! What a log is asked with, and what it says.

use super::DiskError;

/// What a record is for. It decides how long it may wait and whether it may use the reserve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Somebody waits for it: it is committed as soon as the disk is free.
    Publish,
    /// Stored with a promise to be on the disk within so many milliseconds.
    PublishWithin(u64),
    /// Acks, releases, streams and groups: waits `LogLimits::upkeep_ms` for company, and may be written when there is no
    /// room for publishes. The last quarter of the last segment is not for it.
    Upkeep,
    /// A dead letter: written at once as a publish is, where there is room for upkeep, and in half of that quarter too. It
    /// lets its message go.
    Letter,
    /// What must be written before an old segment can go. As `Upkeep`, and to the last byte: were there no room for it,
    /// there would never be any again.
    CarryOver,
}

/// Why a record was not appended. Nothing has changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Too much waits for the disk already, or the next segment is still being made ready: try again soon.
    Busy,
    /// There is no room. It comes back by itself when something is removed.
    Full,
    /// The log failed and takes nothing any more.
    Failed,
    /// The record does not fit into a segment, or one of its texts is longer than 65,535 bytes.
    TooLarge,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completed {
    /// Nothing that anybody waits for. (A ticket that is not known counts as this too.)
    Nothing,
    /// Everything appended while [`super::Log::appended`] was at most `upto` is durable now.
    Committed {
        /// The number of the last batch that is durable.
        upto: u64,
        /// How long the disk took, in nanoseconds.
        took_ns: u64,
    },
    /// A write or sync failed. That is final: what was not durable never will be, and nothing is appended any more. Reads
    /// go on.
    Failed,
    /// The bytes asked for with [`super::Log::read`] are in the outcome.
    Read,
    /// They could not be read.
    ReadFailed(DiskError),
    /// Publishes were refused as [`Refused::Full`], and there is room again.
    RoomAgain,
}

/// Whether a log takes records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogState {
    /// It does.
    Open,
    /// The last publish found no room; upkeep may.
    Full,
    /// It does not, and will not.
    Failed,
}

/// What a log did and has. Counts are since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogFigures {
    /// Records appended.
    pub records: u64,
    /// Bytes of the records appended.
    pub record_bytes: u64,
    /// Commits done.
    pub commits: u64,
    /// Records made durable by them.
    pub records_committed: u64,
    /// Bytes written by them, headers and padding included.
    pub commit_bytes: u64,
    /// Nanoseconds that they took, one after the other.
    pub commit_ns: u64,
    /// Segments begun.
    pub segments_begun: u64,
    /// Segments removed.
    pub segments_removed: u64,
    /// Appends refused as busy.
    pub refused_busy: u64,
    /// Appends refused as full.
    pub refused_full: u64,
    /// Reads done.
    pub reads: u64,
    /// Segments there are now, those that are ready and not written included.
    pub segments_now: u64,
    /// Bytes of their files.
    pub bytes_now: u64,
    /// Bytes appended and not yet durable.
    pub unsynced_bytes_now: u64,
}
