//! Directories for tests that go away by themselves.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A new, empty directory.
#[derive(Debug)]
pub(crate) struct Scratch {
    path: PathBuf,
    is_mounted: bool,
}

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

    /// A file system of its own, in memory, with room for so many bytes; `None` where this user may not mount one.
    pub(crate) fn small(bytes: u64) -> Option<Self> {
        let mut scratch = Self::in_memory();
        let size = format!("size={bytes}");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&scratch.path).output();
        scratch.is_mounted = mount.is_ok_and(|output| output.status.success());
        scratch.is_mounted.then_some(scratch)
    }

    fn below(parent: &Path) -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("conduit-disk-test-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).expect("a new directory");
        Self { path, is_mounted: false }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.is_mounted {
            let _ = Command::new("umount").arg("--lazy").arg(&self.path).output();
        }
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
