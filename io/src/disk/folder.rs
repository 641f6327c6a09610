//! The directory of one shard's log, one blocking step at a time. Names:
//!
//! ```text
//! 0000000001.log   an installed segment; the number has ten digits
//! 0000000002.new   a segment that is being prepared, or is prepared and not installed
//! probe            left by a start that was cut off while it tried direct I/O
//! ```

use super::aligned::AlignedBuffer;
use conduit_shard::log::{DiskError, SegmentId};
use rustix::fs::{AtFlags, Mode, OFlags, RenameFlags};
use rustix::io::{Errno, ReadWriteFlags};
use std::ffi::OsStr;
use std::io::IoSlice;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The file that direct I/O is tried on.
const PROBE: &str = "probe";

/// How a segment's file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Through the page cache.
    Buffered,
    /// Past it: aligned addresses, offsets and lengths only.
    Direct,
}

impl Access {
    fn flags(self) -> OFlags {
        match self {
            Self::Buffered => OFlags::CLOEXEC,
            Self::Direct => OFlags::CLOEXEC | OFlags::DIRECT,
        }
    }
}

/// An open directory of segments.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    fd: OwnedFd,
}

impl Folder {
    pub(crate) fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { path: path.to_owned(), fd })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether files here take direct I/O: the only sure way to know is to try. `Buffered` when they refuse it.
    pub(crate) fn probe(&self) -> Result<Access, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | Access::Direct.flags();
        let tried = rustix::fs::openat(&self.fd, PROBE, flags, Mode::RUSR | Mode::WUSR).and_then(|file| {
            let block = AlignedBuffer::zeroed(1);
            rustix::io::pwritev2(file, &[IoSlice::new(block.bytes())], 0, ReadWriteFlags::DSYNC)
        });
        // A refused open leaves the file behind in some kernels.
        let _ = rustix::fs::unlinkat(&self.fd, PROBE, AtFlags::empty());
        match tried {
            // That there is no room says nothing against the file system's abilities.
            Ok(_) | Err(Errno::NOSPC | Errno::DQUOT) => Ok(Access::Direct),
            Err(Errno::INVAL | Errno::OPNOTSUPP) => Ok(Access::Buffered),
            Err(errno) => Err(errno),
        }
    }

    /// An installed segment, for reading and writing.
    pub(crate) fn open_segment(&self, segment: SegmentId, access: Access) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(&self.fd, installed_name(segment), OFlags::RDWR | access.flags(), Mode::empty())
    }

    /// An installed segment, for reading only.
    pub(crate) fn open_to_read(&self, segment: SegmentId, access: Access) -> Result<OwnedFd, Errno> {
        rustix::fs::openat(&self.fd, installed_name(segment), OFlags::RDONLY | access.flags(), Mode::empty())
    }

    /// An empty file under the segment's preparing name; what was there is gone.
    pub(crate) fn create_prepared(&self, segment: SegmentId, access: Access) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::TRUNC | access.flags();
        rustix::fs::openat(&self.fd, prepared_name(segment), flags, Mode::RUSR | Mode::WUSR)
    }

    /// Gives back the room that a half-prepared segment took.
    pub(crate) fn discard_prepared(&self, segment: SegmentId) {
        // The next try replaces what cannot be removed.
        let _ = rustix::fs::unlinkat(&self.fd, prepared_name(segment), AtFlags::empty());
    }

    /// Renames a prepared segment to its proper name, which must be free: a number is never used twice.
    pub(crate) fn install(&self, segment: SegmentId) -> Result<(), Errno> {
        let (from, to) = (prepared_name(segment), installed_name(segment));
        match rustix::fs::renameat_with(&self.fd, &from, &self.fd, &to, RenameFlags::NOREPLACE) {
            // Not every file system knows the flag.
            Err(Errno::INVAL | Errno::NOSYS) => rustix::fs::renameat(&self.fd, &from, &self.fd, &to),
            done => done,
        }
    }

    /// Makes created, renamed and removed names durable.
    pub(crate) fn sync(&self) -> Result<(), Errno> {
        rustix::fs::fsync(&self.fd)
    }

    /// Removes an installed segment; one that is not there is as good as removed.
    pub(crate) fn remove(&self, segment: SegmentId) -> Result<(), Errno> {
        match rustix::fs::unlinkat(&self.fd, installed_name(segment), AtFlags::empty()) {
            Err(Errno::NOENT) => Ok(()),
            done => done,
        }
    }

    /// Installed segments with their sizes, by number.
    pub(crate) fn installed(&self) -> Result<Vec<(SegmentId, u64)>, Errno> {
        let mut found = Vec::new();
        for name in self.names()? {
            let Some(segment) = segment_of(&name, ".log") else { continue };
            let stat = rustix::fs::statat(&self.fd, &*name, AtFlags::empty())?;
            found.push((segment, stat.st_size.max(0).cast_unsigned()));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Removes everything that stands under a preparing name.
    pub(crate) fn remove_prepared(&self) -> Result<(), Errno> {
        for name in self.names()? {
            if segment_of(&name, ".new").is_some() {
                rustix::fs::unlinkat(&self.fd, &*name, AtFlags::empty())?;
            }
        }
        Ok(())
    }

    fn names(&self) -> Result<Vec<std::ffi::OsString>, Errno> {
        let list =
            std::fs::read_dir(&self.path).and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
        list.map_err(|error: std::io::Error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}

/// What the log is told of an error.
pub(crate) fn disk_error(errno: Errno) -> DiskError {
    match errno {
        Errno::NOSPC | Errno::DQUOT => DiskError::Full,
        _ => DiskError::Broken,
    }
}

pub(crate) fn installed_name(segment: SegmentId) -> String {
    format!("{:010}.log", segment.0)
}

pub(crate) fn prepared_name(segment: SegmentId) -> String {
    format!("{:010}.new", segment.0)
}

/// The number in a name of ten digits and this ending. Anything else is not ours.
fn segment_of(name: &OsStr, ending: &str) -> Option<SegmentId> {
    let digits = name.to_str()?.strip_suffix(ending)?;
    let ours = digits.len() == 10 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u32 = if ours { digits.parse().ok()? } else { return None };
    (number > 0).then_some(SegmentId(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::scratch::Scratch;

    #[test]
    fn only_names_of_ten_digits_are_segments() {
        assert_eq!(segment_of(OsStr::new(&installed_name(SegmentId(7))), ".log"), Some(SegmentId(7)));
        assert_eq!(segment_of(OsStr::new("4294967295.log"), ".log"), Some(SegmentId(u32::MAX)));
        for strange in
            ["0000000000.log", "4294967296.log", "1.log", "00000000001.log", "+000000001.log", "a.log", ".log"]
        {
            assert_eq!(segment_of(OsStr::new(strange), ".log"), None, "{strange}");
        }
        assert_eq!(segment_of(OsStr::new("0000000001.new"), ".log"), None);
    }

    #[test]
    fn a_segment_goes_from_prepared_to_installed_to_removed() {
        let scratch = Scratch::new();
        let folder = Folder::open(scratch.path()).expect("a folder");
        let (first, second) = (SegmentId(1), SegmentId(2));
        drop(folder.create_prepared(first, Access::Buffered).expect("created"));
        assert_eq!(folder.installed(), Ok(vec![]));
        assert_eq!(folder.install(first), Ok(()));
        drop(folder.create_prepared(second, Access::Buffered).expect("created"));
        assert_eq!(folder.installed(), Ok(vec![(first, 0)]));
        assert_eq!(folder.remove_prepared(), Ok(()));
        assert_eq!(folder.install(second), Err(Errno::NOENT));
        assert_eq!(folder.remove(first), Ok(()));
        assert_eq!(folder.remove(first), Ok(()), "what is not there is as good as removed");
        assert_eq!(folder.sync(), Ok(()));
        assert_eq!(folder.installed(), Ok(vec![]));
    }

    #[test]
    fn an_installed_segment_is_never_replaced() {
        let scratch = Scratch::new();
        let folder = Folder::open(scratch.path()).expect("a folder");
        for _ in 0..2 {
            drop(folder.create_prepared(SegmentId(1), Access::Buffered).expect("created"));
            let _ = folder.install(SegmentId(1));
        }
        assert_eq!(folder.install(SegmentId(1)), Err(Errno::EXIST));
    }

    #[test]
    fn the_probe_leaves_nothing_behind() {
        let scratch = Scratch::new();
        let folder = Folder::open(scratch.path()).expect("a folder");
        folder.probe().expect("an answer");
        assert_eq!(folder.names(), Ok(vec![]));
    }
}
