//! The directory of one shard's log as recovery sees it: one step after the other, each waiting for the one before.

use super::{DiskError, SegmentId};

/// A step of recovery failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} of segment {}: {error:?}: {detail}", segment.0)]
pub struct StorageError {
    /// What was tried, as a noun: "read", "sync".
    pub what: &'static str,
    /// Of which segment; 0 for the directory itself.
    pub segment: SegmentId,
    /// Room or device.
    pub error: DiskError,
    /// What the system said.
    pub detail: String,
}

/// A segment that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentFile {
    /// Its number.
    pub segment: SegmentId,
    /// Its size in bytes.
    pub bytes: u64,
}

/// Blocking access to a log directory: real files in `io`, a model in the simulator. Everything means the same as the
/// [`super::DiskRequest`] of the same name.
pub trait Storage {
    /// The installed segments, in the order of their numbers. Prepared ones are not listed.
    ///
    /// # Errors
    /// When the directory cannot be read.
    fn list(&mut self) -> Result<Vec<SegmentFile>, StorageError>;

    /// Fills `buffer` from an offset and returns how many bytes there were before the end of the file. Offset and length
    /// are multiples of 4,096.
    ///
    /// # Errors
    /// When the device fails.
    fn read(&mut self, segment: SegmentId, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError>;

    /// Writes bytes into an installed segment and makes them durable.
    ///
    /// # Errors
    /// When the device fails.
    fn commit(&mut self, segment: SegmentId, offset: u64, bytes: &[u8]) -> Result<(), StorageError>;

    /// Makes durable whatever an earlier process wrote into the segment and did not live to sync. Writes of that process
    /// which are still under way come to their end before.
    ///
    /// # Errors
    /// When the device fails.
    fn sync(&mut self, segment: SegmentId) -> Result<(), StorageError>;

    /// Creates a segment under its preparing name, zeroed and synced.
    ///
    /// # Errors
    /// When the device fails or is full.
    fn prepare(&mut self, segment: SegmentId, bytes: u64) -> Result<(), StorageError>;

    /// Renames a prepared segment to its proper name.
    ///
    /// # Errors
    /// When the device fails.
    fn install(&mut self, segment: SegmentId) -> Result<(), StorageError>;

    /// Makes the directory's entries durable.
    ///
    /// # Errors
    /// When the device fails.
    fn sync_directory(&mut self) -> Result<(), StorageError>;

    /// Removes an installed segment.
    ///
    /// # Errors
    /// When the device fails.
    fn remove(&mut self, segment: SegmentId) -> Result<(), StorageError>;

    /// Removes whatever is left of segments that were being prepared.
    ///
    /// # Errors
    /// When the device fails.
    fn remove_prepared(&mut self) -> Result<(), StorageError>;
}
