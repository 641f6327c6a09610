//! One process per data directory.

use rustix::fs::FlockOperation;
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The name of the file that is locked.
pub(crate) const LOCK: &str = "lock";

/// Holds a directory until it is dropped, or the process ends in whatever way.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

/// Why a directory could not be locked.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Another process has it; its number, as far as it is known.
    InUse(Option<u32>),
    Io(io::Error),
}

impl Lock {
    /// Locks a directory without waiting for it.
    pub(crate) fn take(directory: &Path) -> Result<Self, LockError> {
        let path = directory.join(LOCK);
        let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        let mut file = opened.map_err(LockError::Io)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Err(LockError::InUse(holder(&mut file))),
            Err(errno) => return Err(LockError::Io(errno.into())),
        }
        // Who holds it is for people only: on a full disk the lock counts without it.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _file: file })
    }
}

fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

/// Whether some process holds the directory, without touching its lock: a look must not keep a server from starting.
pub(crate) fn is_held(directory: &Path) -> bool {
    let Ok(metadata) = std::fs::metadata(directory.join(LOCK)) else { return false };
    let Ok(locks) = std::fs::read_to_string("/proc/locks") else { return false };
    let inode = format!(":{}", metadata.ino());
    // `3: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF`
    locks.lines().any(|line| {
        let mut fields = line.split_ascii_whitespace();
        fields.nth(1) == Some("FLOCK") && fields.nth(3).is_some_and(|file| file.ends_with(&inode))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::scratch::Scratch;

    #[test]
    fn a_directory_has_one_holder_at_a_time_and_says_who() {
        for scratch in Scratch::everywhere() {
            assert!(!is_held(scratch.path()));
            let lock = Lock::take(scratch.path()).expect("free");
            assert!(is_held(scratch.path()));
            for _ in 0..2 {
                let refused = Lock::take(scratch.path());
                assert!(
                    matches!(refused, Err(LockError::InUse(Some(pid))) if pid == std::process::id()),
                    "{refused:?}"
                );
            }
            drop(lock);
            assert!(!is_held(scratch.path()));
            let again = Lock::take(scratch.path()).expect("free again");
            drop(again);
        }
    }
}
