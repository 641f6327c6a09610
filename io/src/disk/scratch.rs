//! Directories for tests that go away by themselves.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A new, empty directory.
#[derive(Debug)]
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    /// On the file system that the build writes to: a disk, usually.
    pub(crate) fn new() -> Self {
        let exe = std::env::current_exe().expect("a test has a file");
        Self::below(exe.parent().expect("in a folder"))
    }

    /// On a file system in memory, which may refuse what a disk allows.
    pub(crate) fn in_memory() -> Self {
        Self::below(Path::new("/dev/shm"))
    }

    /// One of each kind.
    pub(crate) fn everywhere() -> [Self; 2] {
        [Self::new(), Self::in_memory()]
    }

    fn below(parent: &Path) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("conduit-disk-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("a new directory");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
