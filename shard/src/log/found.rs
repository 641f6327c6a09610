//! What a scan finds.

use super::{Location, LogStart, Record, SegmentId, StorageError};
use conduit_protocol::ShardId;

/// One thing found, in the order of the log.
#[derive(Debug)]
pub enum Found<'a> {
    /// A record, whole.
    Record(Location, Record<'a>),
    /// Something is not as it was written. Told before the records that follow it.
    Damage(Damage),
}

/// A part of the log that is not as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damage {
    /// Where.
    pub segment: SegmentId,
    /// The first byte.
    pub from: u64,
    /// The byte after the last one.
    pub to: u64,
    /// What is wrong.
    pub kind: DamageKind,
}

/// What is wrong with a part of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum DamageKind {
    /// Records are lost, or batches: whatever lay here.
    Lost,
    /// A segment is missing between others, with all that was in it.
    Missing,
    /// Blocks that the device would not give. What was lost by that is told besides.
    Unreadable,
    /// The header of a segment or of a batch. Nothing is lost by it: what follows could be read without it.
    Header,
    /// Bytes that mean nothing and should be zero.
    Padding,
    /// Bytes in a segment that was never written.
    Stray,
}

impl DamageKind {
    /// Records may be gone.
    #[must_use]
    pub const fn loses_records(self) -> bool {
        matches!(self, Self::Lost | Self::Missing | Self::Unreadable)
    }

    /// As text: `lost`, `missing`, `unreadable`, `header`, `padding`, `stray`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lost => "lost",
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::Header => "header",
            Self::Padding => "padding",
            Self::Stray => "stray",
        }
    }
}

/// Damage that is listed. More is counted only.
pub const DAMAGE_LISTED_MAX: usize = 1_000;

/// What a scan came to.
#[derive(Debug)]
pub struct Scanned {
    /// For [`super::Log::new`].
    pub start: LogStart,
    /// Every segment that is there, oldest first.
    pub segments: Vec<SegmentReport>,
    /// The first [`DAMAGE_LISTED_MAX`] damaged parts, in the order in which they were found.
    pub damage: Vec<Damage>,
    /// How many there are.
    pub damage_count: u64,
    /// Bytes at the end that were being written when the last run ended, and were promised to nobody.
    pub torn_bytes: u64,
    /// Records told.
    pub records: u64,
    /// Bytes of segments read.
    pub bytes: u64,
    /// The log ended as [`super::Log::finish`] leaves it. An empty one did not.
    pub ended_clean: bool,
}

impl Scanned {
    /// Nothing was ever written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.iter().all(|segment| segment.role != SegmentRole::Written) && self.damage_count == 0
    }
}

/// One segment of a scanned log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentReport {
    /// Its number.
    pub segment: SegmentId,
    /// Its file's size.
    pub bytes: u64,
    /// How far it is valid.
    pub end: u64,
    /// What it is for.
    pub role: SegmentRole,
    /// Its batches.
    pub batches: u64,
    /// Its records.
    pub records: u64,
    /// The number of its first batch, as its header says; 0 when it has no readable header.
    pub first_batch: u64,
    /// When it was begun, in milliseconds since 1970; 0 when it has no readable header.
    pub created_unix_ms: u64,
}

/// What a segment is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentRole {
    /// It holds records.
    Written,
    /// It is blank and will be written.
    Ready,
    /// It holds nothing that counts and will not be written: it goes in its turn.
    Void,
}

/// Why a log cannot be used at all. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScanError {
    /// The device fails.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// It is the log of another shard.
    #[error("segment {} belongs to shard {}, and this is the directory of shard {}", segment.0, found.0, expected.0)]
    OtherShard {
        /// The segment that says so.
        segment: SegmentId,
        /// Whose it is.
        found: ShardId,
        /// Whose it should be.
        expected: ShardId,
    },
    /// Segments of different logs are mixed.
    #[error("segment {} belongs to another log than the segments before it", segment.0)]
    OtherLog {
        /// The one that differs.
        segment: SegmentId,
    },
    /// A file has another segment's name.
    #[error("the file of segment {} says that it is segment {}", segment.0, says.0)]
    Misnamed {
        /// By its name.
        segment: SegmentId,
        /// By its header.
        says: SegmentId,
    },
    /// It was written by a later version.
    #[error("segment {} has format version {version}, and this program knows only version {}", segment.0, super::FORMAT_VERSION)]
    Version {
        /// The segment.
        segment: SegmentId,
        /// Its version.
        version: u32,
    },
    /// There is data and not one readable header, so nothing can be told from garbage.
    #[error("segment {} holds data, but no segment of the log has a readable header", segment.0)]
    NoHeader {
        /// The first one with data.
        segment: SegmentId,
    },
}
