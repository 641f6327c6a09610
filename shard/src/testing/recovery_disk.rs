//! A disk during recovery: one step after the other, any of which may fail, or be the last before the power goes.

use super::disk::Name;
use super::drive::Drive;
use super::random::Random;
use crate::log::storage::SegmentFile;
use crate::log::{DiskError, SegmentId, Storage, StorageError};
use std::cell::Cell;

/// Steps that a starting process takes on all of its disks together, until the end comes, if it comes.
#[derive(Debug, Default)]
pub struct Steps {
    left: Cell<Option<u64>>,
    has_ended: Cell<bool>,
    taken: Cell<u64>,
}

impl Steps {
    /// So many, or as many as it takes.
    #[must_use]
    pub const fn new(left: Option<u64>) -> Self {
        Self { left: Cell::new(left), has_ended: Cell::new(false), taken: Cell::new(0) }
    }

    /// It ended in the middle: the process that was starting is no more.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.has_ended.get()
    }

    /// Steps taken.
    #[must_use]
    pub const fn taken(&self) -> u64 {
        self.taken.get()
    }
}

/// Access to a drive's directory for the length of one recovery.
#[derive(Debug)]
pub struct RecoveryDisk<'a> {
    drive: &'a mut Drive,
    random: Random,
    steps: &'a Steps,
}

impl<'a> RecoveryDisk<'a> {
    /// Access until the steps are used up.
    pub const fn new(drive: &'a mut Drive, random: Random, steps: &'a Steps) -> Self {
        Self { drive, random, steps }
    }

    /// One step: may it be taken, and is it the last? Of the last step, chance decides how much happens.
    fn step(&mut self, what: &'static str, segment: SegmentId) -> Result<bool, StorageError> {
        let steps = self.steps;
        steps.taken.set(steps.taken.get() + 1);
        if steps.has_ended.get() {
            return Err(error(what, segment, DiskError::Broken));
        }
        if steps.left.get() == Some(0) {
            steps.has_ended.set(true);
            return Ok(false);
        }
        steps.left.set(steps.left.get().map(|left| left - 1));
        // What cannot be read is told as lost, for the time being and perhaps for good: that is the subject of other tests.
        match self.drive.begin(false) {
            Some(broken) if !matches!(what, "list" | "read") => Err(error(what, segment, broken)),
            _ => Ok(true),
        }
    }

    /// What is told of the last step: nothing good, whatever happened.
    fn last(what: &'static str, segment: SegmentId) -> StorageError {
        error(what, segment, DiskError::Broken)
    }
}

fn error(what: &'static str, segment: SegmentId, error: DiskError) -> StorageError {
    StorageError { what, segment, error, detail: "simulated".to_owned() }
}

const DIRECTORY: SegmentId = SegmentId(0);

impl Storage for RecoveryDisk<'_> {
    fn list(&mut self) -> Result<Vec<SegmentFile>, StorageError> {
        if !self.step("list", DIRECTORY)? {
            return Err(Self::last("list", DIRECTORY));
        }
        Ok(self.drive.disk.installed().map(|(segment, bytes)| SegmentFile { segment, bytes }).collect())
    }

    fn read(&mut self, segment: SegmentId, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        if !self.step("read", segment)? {
            return Err(Self::last("read", segment));
        }
        let bytes =
            self.drive.disk.read(segment, offset, buffer.len()).map_err(|broken| error("read", segment, broken))?;
        buffer[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn commit(&mut self, segment: SegmentId, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let goes_on = self.step("commit", segment)?;
        let disk = &mut self.drive.disk;
        if !goes_on {
            // Written, perhaps; synced, no.
            let _ = disk.write(segment, offset, bytes);
            return Err(Self::last("commit", segment));
        }
        disk.write(segment, offset, bytes)
            .and_then(|()| disk.sync_range(segment, offset, bytes.len()))
            .map_err(|broken| error("commit", segment, broken))
    }

    fn sync(&mut self, segment: SegmentId) -> Result<(), StorageError> {
        if !self.step("sync", segment)? {
            return Err(Self::last("sync", segment));
        }
        self.drive.disk.sync(segment).map_err(|broken| error("sync", segment, broken))
    }

    fn prepare(&mut self, segment: SegmentId, bytes: u64) -> Result<(), StorageError> {
        if !self.step("prepare", segment)? {
            self.drive.disk.prepare_partly(segment, bytes, &mut self.random);
            return Err(Self::last("prepare", segment));
        }
        self.drive.disk.prepare(segment, bytes).map_err(|full| error("prepare", segment, full))
    }

    fn install(&mut self, segment: SegmentId) -> Result<(), StorageError> {
        let goes_on = self.step("install", segment)?;
        if goes_on || self.random.chance(500) {
            self.drive.disk.install(segment).map_err(|broken| error("install", segment, broken))?;
        }
        if goes_on { Ok(()) } else { Err(Self::last("install", segment)) }
    }

    fn sync_directory(&mut self) -> Result<(), StorageError> {
        if !self.step("sync", DIRECTORY)? {
            return Err(Self::last("sync", DIRECTORY));
        }
        let before = self.drive.disk.changes();
        self.drive.disk.sync_directory(before);
        Ok(())
    }

    fn remove(&mut self, segment: SegmentId) -> Result<(), StorageError> {
        let goes_on = self.step("remove", segment)?;
        if goes_on || self.random.chance(500) {
            let removed = self.drive.disk.remove(Name::Installed(segment));
            removed.map_err(|broken| error("remove", segment, broken))?;
        }
        if goes_on { Ok(()) } else { Err(Self::last("remove", segment)) }
    }

    fn remove_prepared(&mut self) -> Result<(), StorageError> {
        let goes_on = self.step("remove prepared", DIRECTORY)?;
        for segment in self.drive.disk.preparing().collect::<Vec<_>>() {
            if goes_on || self.random.chance(500) {
                let removed = self.drive.disk.remove(Name::Preparing(segment));
                removed.map_err(|broken| error("remove", segment, broken))?;
            }
        }
        if goes_on { Ok(()) } else { Err(Self::last("remove prepared", DIRECTORY)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::drive::Habits;

    const ONE: SegmentId = SegmentId(1);
    const BYTES: u64 = 8_192;

    /// Everything that storage can do, in a row.
    fn routine(storage: &mut dyn Storage) -> Result<Vec<u8>, StorageError> {
        storage.remove_prepared()?;
        storage.prepare(ONE, BYTES)?;
        storage.install(ONE)?;
        storage.sync_directory()?;
        storage.commit(ONE, 4_096, &[9; 4_096])?;
        storage.sync(ONE)?;
        assert_eq!(storage.list()?, [SegmentFile { segment: ONE, bytes: BYTES }]);
        let mut buffer = vec![1; 16_384];
        let read = storage.read(ONE, 0, &mut buffer)?;
        buffer.truncate(read);
        storage.remove(ONE)?;
        Ok(buffer)
    }

    #[test]
    fn steps_do_what_the_requests_of_the_same_name_do() {
        let mut random = Random::new(1);
        let mut drive = Drive::new(1 << 20, Habits::default(), random.fork());
        let steps = Steps::default();
        let mut storage = RecoveryDisk::new(&mut drive, random, &steps);
        let read = routine(&mut storage).unwrap();
        assert_eq!(read, [[0; 4_096], [9; 4_096]].concat());
        assert_eq!((steps.has_ended(), steps.taken()), (false, 9));
        assert_eq!(drive.disk.installed().count(), 0);
    }

    #[test]
    fn after_the_last_step_nothing_happens_any_more() {
        for last in 0..9 {
            let mut random = Random::new(last);
            let mut drive = Drive::new(1 << 20, Habits::default(), random.fork());
            let steps = Steps::new(Some(last));
            let mut storage = RecoveryDisk::new(&mut drive, random, &steps);
            assert!(routine(&mut storage).is_err(), "{last}");
            assert!(steps.has_ended());
            assert_eq!(steps.taken(), last + 1);
            assert!(storage.prepare(SegmentId(77), BYTES).is_err() && storage.list().is_err());
            assert!(drive.disk.preparing().all(|segment| segment == ONE));
        }
    }

    #[test]
    fn errors_of_the_device_are_told() {
        let mut random = Random::new(1);
        let mut drive = Drive::new(1 << 20, Habits::default(), random.fork());
        drive.fail_after(2, 1, false);
        let steps = Steps::default();
        let told = routine(&mut RecoveryDisk::new(&mut drive, random.fork(), &steps)).unwrap_err();
        assert_eq!((told.what, told.segment, told.error), ("install", ONE, DiskError::Broken));
        let mut full = Drive::new(BYTES - 1, Habits::default(), random.fork());
        let told = routine(&mut RecoveryDisk::new(&mut full, random, &steps)).unwrap_err();
        assert_eq!((told.what, told.error), ("prepare", DiskError::Full));
    }
}
