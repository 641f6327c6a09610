//! The directory of one shard's log as recovery and tools use it: [`Storage`] over real files, one blocking step after the
//! other.

use super::filling::fill;
use super::folder::{Access, Folder, disk_error};
use super::keeper::{read_full, write_all};
use crate::failpoint::{self, Failpoint};
use conduit_shard::log::storage::SegmentFile;
use conduit_shard::log::{SegmentId, Storage, StorageError};
use rustix::fs::Advice;
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// How far ahead of a read the kernel is asked to fetch.
const READ_AHEAD_BYTES: u64 = 16 << 20;

/// A log directory, open for recovery or for looking at.
#[derive(Debug)]
pub struct Files {
    folder: Folder,
    read_only: bool,
    reading: Option<Reading>,
}

/// The segment that is being read.
#[derive(Debug)]
struct Reading {
    segment: SegmentId,
    file: OwnedFd,
    /// Up to where the kernel was asked to fetch.
    asked: u64,
}

impl Files {
    /// Opens a directory for everything.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { folder: Folder::open(path)?, read_only: false, reading: None })
    }

    /// Opens a directory to look at it: whatever would change something fails.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open_read_only(path: &Path) -> io::Result<Self> {
        Ok(Self { folder: Folder::open(path)?, read_only: true, reading: None })
    }

    fn change(
        &self,
        what: &'static str,
        segment: SegmentId,
        step: impl FnOnce(&Folder) -> Result<(), Errno>,
    ) -> Result<(), StorageError> {
        failpoint::pass(Failpoint::InRecovery);
        let done = if self.read_only { Err(Errno::ROFS) } else { step(&self.folder) };
        done.map_err(|errno| self.failure(what, segment, errno))
    }

    fn failure(&self, what: &'static str, segment: SegmentId, errno: Errno) -> StorageError {
        let detail = format!("{errno} ({})", self.folder.path().display());
        StorageError { what, segment, error: disk_error(errno), detail }
    }

    /// The file that is read from, with the kernel fetching ahead: a scan reads each segment from its start to its end.
    fn fetched(&mut self, segment: SegmentId, end: u64) -> Result<&OwnedFd, Errno> {
        if self.reading.as_ref().is_none_or(|reading| reading.segment != segment) {
            let file = self.folder.open_to_read(segment, Access::Buffered)?;
            rustix::fs::fadvise(&file, 0, None, Advice::Sequential)?;
            self.reading = Some(Reading { segment, file, asked: 0 });
        }
        let reading = self.reading.as_mut().ok_or(Errno::BADF)?;
        if end + READ_AHEAD_BYTES / 2 > reading.asked {
            let asked = end + READ_AHEAD_BYTES;
            let len = std::num::NonZeroU64::new(asked - reading.asked);
            rustix::fs::fadvise(&reading.file, reading.asked, len, Advice::WillNeed)?;
            reading.asked = asked;
        }
        Ok(&reading.file)
    }
}

impl Storage for Files {
    fn list(&mut self) -> Result<Vec<SegmentFile>, StorageError> {
        let found = self.folder.installed().map_err(|errno| self.failure("list", SegmentId(0), errno))?;
        Ok(found.into_iter().map(|(segment, bytes)| SegmentFile { segment, bytes }).collect())
    }

    fn read(&mut self, segment: SegmentId, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        failpoint::pass(Failpoint::InRecovery);
        let read = self.fetched(segment, offset + buffer.len() as u64).and_then(|file| read_full(file, offset, buffer));
        read.map_err(|errno| self.failure("read", segment, errno))
    }

    fn commit(&mut self, segment: SegmentId, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.change("commit", segment, |folder| {
            let file = folder.open_segment(segment, Access::Buffered)?;
            write_all(&file, offset, bytes)?;
            rustix::fs::fdatasync(&file)
        })
    }

    fn sync(&mut self, segment: SegmentId) -> Result<(), StorageError> {
        self.change("sync", segment, |folder| rustix::fs::fdatasync(folder.open_segment(segment, Access::Buffered)?))
    }

    fn prepare(&mut self, segment: SegmentId, bytes: u64) -> Result<(), StorageError> {
        self.change("prepare", segment, |folder| fill(folder, segment, bytes, folder.probe()?))
    }

    fn install(&mut self, segment: SegmentId) -> Result<(), StorageError> {
        self.change("install", segment, |folder| folder.install(segment))
    }

    fn sync_directory(&mut self) -> Result<(), StorageError> {
        self.change("sync of the directory", SegmentId(0), Folder::sync)
    }

    fn remove(&mut self, segment: SegmentId) -> Result<(), StorageError> {
        if self.reading.as_ref().is_some_and(|reading| reading.segment == segment) {
            self.reading = None;
        }
        self.change("remove", segment, |folder| folder.remove(segment))
    }

    fn remove_prepared(&mut self) -> Result<(), StorageError> {
        self.change("removal of prepared segments", SegmentId(0), Folder::remove_prepared)
    }
}
