//! A disk during recovery: one step after the other, any of which may fail, or be the last before the power goes.

use super::disk::Name;
use super::drive::Drive;
use super::random::Random;
use crate::log::storage::SegmentFile;
use crate::log::{DiskError, SegmentId, Storage, StorageError};

/// Access to a drive's directory for the length of one recovery.
#[derive(Debug)]
pub struct RecoveryDisk<'a> {
    drive: &'a mut Drive,
    random: &'a mut Random,
    /// Steps left before the end comes, if it comes.
    steps_left: Option<u64>,
    ended: bool,
    steps: u64,
}

impl<'a> RecoveryDisk<'a> {
    /// Access that ends after so many steps, or never.
    pub const fn new(drive: &'a mut Drive, random: &'a mut Random, steps_left: Option<u64>) -> Self {
        Self { drive, random, steps_left, ended: false, steps: 0 }
    }

    /// It ended in the middle: the process that was recovering is no more.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.ended
    }

    /// Steps taken.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// One step: may it be taken, and is it the last? Of the last step, chance decides how much happens.
    fn step(&mut self, what: &'static str, segment: SegmentId) -> Result<bool, StorageError> {
        self.steps += 1;
        if self.ended {
            return Err(error(what, segment, DiskError::Broken));
        }
        if self.steps_left == Some(0) {
            self.ended = true;
            return Ok(false);
        }
        if let Some(left) = &mut self.steps_left {
            *left -= 1;
        }
        match self.drive.begin() {
            Some(broken) => Err(error(what, segment, broken)),
            None => Ok(true),
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
            self.drive.disk.prepare_partly(segment, bytes, self.random);
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
        let mut storage = RecoveryDisk::new(&mut drive, &mut random, None);
        let read = routine(&mut storage).unwrap();
        assert_eq!(read, [[0; 4_096], [9; 4_096]].concat());
        assert_eq!((storage.has_ended(), storage.steps()), (false, 9));
        assert_eq!(drive.disk.installed().count(), 0);
    }

    #[test]
    fn after_the_last_step_nothing_happens_any_more() {
        for last in 0..9 {
            let mut random = Random::new(last);
            let mut drive = Drive::new(1 << 20, Habits::default(), random.fork());
            let mut storage = RecoveryDisk::new(&mut drive, &mut random, Some(last));
            assert!(routine(&mut storage).is_err(), "{last}");
            assert!(storage.has_ended());
            let steps = storage.steps();
            assert_eq!(steps, last + 1);
            assert!(storage.prepare(SegmentId(77), BYTES).is_err() && storage.list().is_err());
            assert!(drive.disk.preparing().all(|segment| segment == ONE));
        }
    }

    #[test]
    fn errors_of_the_device_are_told() {
        let mut random = Random::new(1);
        let mut drive = Drive::new(1 << 20, Habits::default(), random.fork());
        drive.fail_after(2, 1);
        let told = routine(&mut RecoveryDisk::new(&mut drive, &mut random, None)).unwrap_err();
        assert_eq!((told.what, told.segment, told.error), ("install", ONE, DiskError::Broken));
        let mut full = Drive::new(BYTES - 1, Habits::default(), random.fork());
        let told = routine(&mut RecoveryDisk::new(&mut full, &mut random, None)).unwrap_err();
        assert_eq!((told.what, told.error), ("prepare", DiskError::Full));
    }
}
