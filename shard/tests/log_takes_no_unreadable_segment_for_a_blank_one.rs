//! A segment whose header block cannot be read may be the newest part of the log as well as one that was never written.
//! Recovery takes it for neither: writing over it would lose what was promised.

mod log_support;

use conduit_shard::log::storage::{SegmentFile, Storage, StorageError};
use conduit_shard::log::{DiskError, SegmentId};
use log_support::{MemoryDisk, Rig, message, small_limits, try_scan};

const BLOCK: u64 = 4_096;

/// A disk with one bad block.
struct BadBlock {
    disk: MemoryDisk,
    bad: (SegmentId, u64),
}

impl Storage for BadBlock {
    fn list(&mut self) -> Result<Vec<SegmentFile>, StorageError> {
        self.disk.list()
    }
    fn read(&mut self, segment: SegmentId, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let (bad, at) = self.bad;
        if segment == bad && offset < at + BLOCK && at < offset + buffer.len() as u64 {
            let detail = "a bad block".to_owned();
            return Err(StorageError { what: "read", segment, error: DiskError::Broken, detail });
        }
        self.disk.read(segment, offset, buffer)
    }
    fn commit(&mut self, segment: SegmentId, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.disk.commit(segment, offset, bytes)
    }
    fn sync(&mut self, segment: SegmentId) -> Result<(), StorageError> {
        self.disk.sync(segment)
    }
    fn prepare(&mut self, segment: SegmentId, bytes: u64) -> Result<(), StorageError> {
        self.disk.prepare(segment, bytes)
    }
    fn install(&mut self, segment: SegmentId) -> Result<(), StorageError> {
        self.disk.install(segment)
    }
    fn sync_directory(&mut self) -> Result<(), StorageError> {
        self.disk.sync_directory()
    }
    fn remove(&mut self, segment: SegmentId) -> Result<(), StorageError> {
        self.disk.remove(segment)
    }
    fn remove_prepared(&mut self) -> Result<(), StorageError> {
        self.disk.remove_prepared()
    }
}

/// A log whose second segment holds its header and nothing else yet: a crash came before its first batch.
fn with_a_segment_begun() -> Rig {
    let mut rig = Rig::new(&small_limits());
    for seq in 1..=8 {
        rig.write(&message(seq, &[b'x'; 4_000]));
    }
    rig.disk.files.get_mut(&SegmentId(2)).expect("it was begun")[BLOCK as usize..].fill(0);
    rig
}

#[test]
fn it_is_refused_where_the_header_cannot_be_read() {
    let rig = with_a_segment_begun();
    let mut disk = BadBlock { disk: rig.disk.clone(), bad: (SegmentId(2), 0) };
    assert!(try_scan(&mut disk, &small_limits()).is_err());
    assert_eq!(disk.disk.files, rig.disk.files, "and nothing was written over");
}

#[test]
fn the_same_log_opens_when_it_can_be() {
    let rig = with_a_segment_begun();
    let mut disk = BadBlock { disk: rig.disk, bad: (SegmentId(99), 0) };
    let (scanned, _) = try_scan(&mut disk, &small_limits()).expect("it can be read");
    assert_eq!(scanned.damage_count, 0);
}
