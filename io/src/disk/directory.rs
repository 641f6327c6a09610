//! The data directory of a server.
//!
//! ```text
//! DIR/conduit.json   format, shards, log id: present once the directory is ready
//! DIR/lock           held by the one process that uses it
//! DIR/shard-K/       the log of shard K
//! DIR/next/shard-K/  the same streams, divided into another number of shards: being written
//! DIR/switch         the next conduit.json: present when `next` is complete, and then `next` is what counts
//! DIR/old/shard-K/   what counted before
//! DIR/keep           the conduit.json of what counted before: it is to be kept
//! DIR/damaged-N/     what counted before and could not be read fully, with its conduit.json: for whoever wants to repair it
//! ```
//!
//! Moving to another number of shards, step by step; whoever opens the directory later goes on where it was left:
//!
//! ```text
//! no switch    `next` is written by whoever moves, and synced       left here: thrown away, the old shards count
//! 1            conduit.json.new ─▶ switch                           the point of no return
//! 2            every old shard-K ─▶ old/shard-K                     old is what has a successor in `next`, or is too many
//! 3            every next/shard-K ─▶ shard-K
//! 4            switch ─▶ conduit.json                               done
//! no switch    `old` and `next` are removed
//! ```
//!
//! What could not be read fully is never deleted. `keep` is written before step 1, and at the end, in place of removing `old`:
//!
//! ```text
//! 5            keep ─▶ old/conduit.json                             without `old` it is thrown away: nothing was moved
//! 6            old ─▶ damaged-N                                     an `old` with a descriptor is kept, any other removed
//! ```

use super::layout::{Layout, Unreadable};
use super::lock::{LOCK, Lock, LockError};
use super::steps::Steps;
use crate::failpoint::{self, Failpoint};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The name of the file that makes a directory a data directory.
pub(crate) const DESCRIPTOR: &str = "conduit.json";
const DESCRIPTOR_NEW: &str = "conduit.json.new";
const SWITCH: &str = "switch";
const NEXT: &str = "next";
const OLD: &str = "old";
const KEEP: &str = "keep";
const DAMAGED: &str = "damaged";
/// Where file systems keep what a repair has found.
const LOST_AND_FOUND: &str = "lost+found";

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another process uses it.
    #[error("{} is in use by {}", path.display(), holder(*.pid))]
    InUse {
        /// The directory.
        path: PathBuf,
        /// The process, if it has said so.
        pid: Option<u32>,
    },
    /// It has a content that is not ours.
    #[error("{} has {found:?} in it and no {DESCRIPTOR}: it is not a data directory of Conduit", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// It was written by another version.
    #[error("{} has format {format}; this version reads format {}", path.display(), super::layout::FORMAT)]
    Format {
        /// The descriptor.
        path: PathBuf,
        /// Its format.
        format: u64,
    },
    /// Its descriptor or a part of it is missing or not readable.
    #[error("{}: {reason}", path.display())]
    Broken {
        /// What is broken.
        path: PathBuf,
        /// In which way.
        reason: String,
    },
    /// The system refused a step.
    #[error("cannot {what} {}: {error}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl DirectoryError {
    /// What to do about it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::InUse { .. } => "stop the other server, or give this one a directory of its own with --data-dir",
            Self::Foreign { .. } => "choose an empty directory, or one that does not exist yet, with --data-dir",
            Self::Format { .. } => "start the version of Conduit that wrote it, or choose another directory",
            Self::Broken { .. } => {
                "put back what is missing from a copy of the directory; to start empty, move the directory away as a whole"
            }
            Self::Io { .. } => "check that this user may write there, and that the disk works and has room",
        }
    }

    /// The process's exit code (sysexits.h): 65 data, 73 cannot create, 74 input or output, 75 try again later.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::InUse { .. } => 75,
            Self::Foreign { .. } => 73,
            Self::Format { .. } | Self::Broken { .. } => 65,
            Self::Io { error, .. } => match error.kind() {
                io::ErrorKind::PermissionDenied
                | io::ErrorKind::NotADirectory
                | io::ErrorKind::AlreadyExists
                | io::ErrorKind::ReadOnlyFilesystem
                | io::ErrorKind::StorageFull => 73,
                _ => 74,
            },
        }
    }
}

type Result<T> = std::result::Result<T, DirectoryError>;

/// A data directory that this process holds.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    layout: Option<Layout>,
    steps: Steps,
    _lock: Lock,
}

impl Directory {
    /// Opens and locks a directory, which is made when it does not exist. A move that was interrupted is finished, or what
    /// there is of it thrown away.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        Self::open_by(path, Steps::default())
    }

    pub(crate) fn open_by(path: &Path, steps: Steps) -> Result<Self> {
        if !path.is_dir() {
            at("create", path, steps.make_folder(path))?;
            sync_parent(path, &steps)?;
        }
        let lock = Lock::take(path).map_err(|error| match error {
            LockError::InUse(pid) => DirectoryError::InUse { path: path.to_owned(), pid },
            LockError::Io(error) => DirectoryError::Io { what: "lock", path: path.join(LOCK), error },
        })?;
        let mut directory = Self { path: path.to_owned(), layout: None, steps, _lock: lock };
        if let Some(layout) = read_layout(&directory.path.join(SWITCH))? {
            directory.switch(layout)?;
        }
        directory.remove_leftovers()?;
        directory.layout = read_layout(&directory.path.join(DESCRIPTOR))?;
        match directory.layout {
            None => directory.check_unused()?,
            Some(layout) => check_shards(&directory.path, layout)?,
        }
        Ok(directory)
    }

    /// What it says about itself; `None` when nothing was ever stored in it.
    pub(crate) fn layout(&self) -> Option<Layout> {
        self.layout
    }

    /// The log of a shard.
    pub(crate) fn shard(&self, shard: u16) -> PathBuf {
        self.path.join(shard_name(shard))
    }

    /// Makes an unused directory ready.
    pub(crate) fn create(&mut self, layout: Layout) -> Result<()> {
        for shard in 0..layout.shards {
            let folder = self.shard(shard);
            at("create", &folder, self.steps.make_folder(&folder))?;
        }
        self.sync(&self.path)?;
        self.write_descriptor(layout, DESCRIPTOR)?;
        self.layout = Some(layout);
        Ok(())
    }

    /// Begins to move to another number of shards: makes an empty folder for each.
    pub(crate) fn begin_move(&self, shards: u16) -> Result<()> {
        self.remove(NEXT)?;
        for shard in 0..shards {
            let folder = self.next(shard);
            at("create", &folder, self.steps.make_folder(&folder))?;
        }
        self.sync(&self.path.join(NEXT))?;
        self.sync(&self.path)
    }

    /// Where the log of a shard is written while streams move.
    pub(crate) fn next(&self, shard: u16) -> PathBuf {
        self.path.join(NEXT).join(shard_name(shard))
    }

    /// Makes what was written into [`Directory::next`] count. Every log in it is complete and durable. What counted before is
    /// removed, or kept, and then it is said where.
    pub(crate) fn finish_move(&mut self, layout: Layout, keeps_old: bool) -> Result<Option<PathBuf>> {
        failpoint::pass(Failpoint::DuringReshard);
        if let Some(old) = self.layout.filter(|_| keeps_old) {
            self.write_descriptor(old, KEEP)?;
        }
        self.write_descriptor(layout, SWITCH)?;
        self.switch(layout)?;
        self.layout = Some(layout);
        self.remove_leftovers()
    }

    /// Steps 2 to 4 of a move.
    fn switch(&self, layout: Layout) -> Result<()> {
        let (next, old) = (self.path.join(NEXT), self.path.join(OLD));
        at("create", &old, self.steps.make_folder(&old))?;
        for shard in shards_in(&self.path)? {
            if shard >= layout.shards || self.next(shard).exists() {
                let from = self.shard(shard);
                at("move", &from, self.steps.rename(&from, &old.join(shard_name(shard))))?;
            }
        }
        self.sync(&old)?;
        self.sync(&self.path)?;
        failpoint::pass(Failpoint::DuringReshard);
        for shard in 0..layout.shards {
            let from = self.next(shard);
            if from.exists() {
                at("move", &from, self.steps.rename(&from, &self.shard(shard)))?;
            }
        }
        if next.exists() {
            self.sync(&next)?;
        }
        self.sync(&self.path)?;
        check_shards(&self.path, layout)?;
        failpoint::pass(Failpoint::DuringReshard);
        let (switch, descriptor) = (self.path.join(SWITCH), self.path.join(DESCRIPTOR));
        at("rename", &switch, self.steps.rename(&switch, &descriptor))?;
        self.sync(&self.path)
    }

    /// What counted before, or never did. Says where what counted before is, if it is kept.
    fn remove_leftovers(&self) -> Result<Option<PathBuf>> {
        self.remove(NEXT)?;
        let kept = self.keep_old()?;
        if kept.is_none() {
            self.remove(OLD)?;
        }
        let (new, keep) = (self.path.join(DESCRIPTOR_NEW), self.path.join(KEEP));
        for file in [new, keep].iter().filter(|file| file.exists()) {
            at("remove", file, self.steps.remove(file))?;
        }
        Ok(kept)
    }

    /// Steps 5 and 6 of a move.
    fn keep_old(&self) -> Result<Option<PathBuf>> {
        let (old, keep) = (self.path.join(OLD), self.path.join(KEEP));
        if !old.exists() {
            return Ok(None);
        }
        let descriptor = old.join(DESCRIPTOR);
        if keep.exists() {
            at("move", &keep, self.steps.rename(&keep, &descriptor))?;
            self.sync(&old)?;
            self.sync(&self.path)?;
        }
        if !descriptor.exists() {
            return Ok(None);
        }
        let free = (1_u32..).map(|number| self.path.join(format!("{DAMAGED}-{number}"))).find(|path| !path.exists());
        let Some(kept) = free else { return Ok(None) };
        at("move", &old, self.steps.rename(&old, &kept))?;
        self.sync(&self.path)?;
        Ok(Some(kept))
    }

    fn remove(&self, name: &str) -> Result<()> {
        let folder = self.path.join(name);
        if !folder.exists() {
            return Ok(());
        }
        at("remove", &folder, self.steps.remove_tree(&folder))?;
        self.sync(&self.path)
    }

    fn write_descriptor(&self, layout: Layout, name: &str) -> Result<()> {
        let (new, to) = (self.path.join(DESCRIPTOR_NEW), self.path.join(name));
        at("write", &new, self.steps.write(&new, &layout.to_text()))?;
        at("rename", &new, self.steps.rename(&new, &to))?;
        self.sync(&self.path)
    }

    fn sync(&self, folder: &Path) -> Result<()> {
        at("sync", folder, self.steps.sync(folder))
    }

    /// A directory without a descriptor holds nothing, or what a start that was cut off has left of making it.
    fn check_unused(&self) -> Result<()> {
        for entry in names_in(&self.path)? {
            let ours = [LOCK, LOST_AND_FOUND, DESCRIPTOR_NEW].contains(&&*entry);
            let empty_shard = || shard_number(&entry).is_some() && is_empty_folder(&self.path.join(&entry));
            if !ours && !empty_shard() {
                return Err(DirectoryError::Foreign { path: self.path.clone(), found: entry });
            }
        }
        Ok(())
    }
}

/// A data directory as a tool sees it that changes nothing and does not ask who uses it.
#[derive(Debug, Clone)]
pub struct DirectoryView {
    /// What it says about itself.
    pub layout: Layout,
    /// A process holds it: what is seen may be half-written.
    pub is_in_use: bool,
    path: PathBuf,
}

impl DirectoryView {
    /// Looks at a directory.
    ///
    /// # Errors
    /// When it is not a data directory, or a move to other shards was interrupted half-way: the next start finishes it.
    pub fn open(path: &Path) -> Result<Self> {
        if path.join(SWITCH).exists() {
            let reason = "a move to another number of shards was interrupted; the next start of the server finishes it";
            return Err(DirectoryError::Broken { path: path.to_owned(), reason: reason.to_owned() });
        }
        let layout = read_layout(&path.join(DESCRIPTOR))?;
        let layout = layout.ok_or_else(|| DirectoryError::Broken {
            path: path.to_owned(),
            reason: format!("there is no {DESCRIPTOR}: this is not a data directory of Conduit"),
        })?;
        check_shards(path, layout)?;
        Ok(Self { layout, is_in_use: super::lock::is_held(path), path: path.to_owned() })
    }

    /// The folder of a shard's log.
    #[must_use]
    pub fn shard(&self, shard: u16) -> PathBuf {
        self.path.join(shard_name(shard))
    }
}

/// Whether a directory could be used, without making or changing anything: what `--check-config` asks.
///
/// # Errors
/// Why not.
pub(crate) fn check(path: &Path) -> Result<Option<Layout>> {
    let Some(existing) = path.ancestors().find(|above| above.exists()) else {
        return Err(DirectoryError::Io { what: "find", path: path.to_owned(), error: io::ErrorKind::NotFound.into() });
    };
    let writable = rustix::fs::access(existing, rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK);
    at("write to", existing, writable.map_err(io::Error::from))?;
    if !existing.is_dir() {
        return at("use", existing, Err(io::ErrorKind::NotADirectory.into()));
    }
    if existing != path {
        return Ok(None);
    }
    let descriptor = if path.join(SWITCH).exists() { SWITCH } else { DESCRIPTOR };
    let layout = read_layout(&path.join(descriptor))?;
    if layout.is_none()
        && let Some(found) = names_in(path)?.into_iter().find(|name| ![LOCK, LOST_AND_FOUND].contains(&&**name))
        && shard_number(&found).is_none()
    {
        return Err(DirectoryError::Foreign { path: path.to_owned(), found });
    }
    Ok(layout)
}

fn at<T>(what: &'static str, path: &Path, done: io::Result<T>) -> Result<T> {
    done.map_err(|error| DirectoryError::Io { what, path: path.to_owned(), error })
}

/// The new folder's name, in the folder above.
fn sync_parent(path: &Path, steps: &Steps) -> Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => at("sync", parent, steps.sync(parent)),
        _ => at("sync", path, steps.sync(Path::new("."))),
    }
}

fn read_layout(path: &Path) -> Result<Option<Layout>> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => at("read", path, text)?,
    };
    match Layout::from_text(&text) {
        Ok(layout) => Ok(Some(layout)),
        Err(Unreadable::Format(format)) => Err(DirectoryError::Format { path: path.to_owned(), format }),
        Err(Unreadable::Broken(reason)) => Err(DirectoryError::Broken { path: path.to_owned(), reason }),
    }
}

/// Every shard has its folder: one that is missing is lost data, and not an empty shard.
fn check_shards(path: &Path, layout: Layout) -> Result<()> {
    let missing = (0..layout.shards).map(|shard| path.join(shard_name(shard))).find(|folder| !folder.is_dir());
    match missing {
        Some(path) => Err(DirectoryError::Broken { path, reason: "the folder of a shard is missing".to_owned() }),
        None => Ok(()),
    }
}

fn shard_name(shard: u16) -> String {
    format!("shard-{shard}")
}

fn shard_number(name: &str) -> Option<u16> {
    let number = name.strip_prefix("shard-")?.parse().ok()?;
    (shard_name(number) == name).then_some(number)
}

fn shards_in(path: &Path) -> Result<Vec<u16>> {
    Ok(names_in(path)?.iter().filter_map(|name| shard_number(name)).collect())
}

/// Names, in order, so that what is found first does not depend on the file system.
fn names_in(path: &Path) -> Result<Vec<String>> {
    let names = fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect());
    let mut names: Vec<String> = at("read", path, names)?;
    names.sort_unstable();
    Ok(names)
}

fn is_empty_folder(path: &Path) -> bool {
    fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none())
}

#[cfg(test)]
#[path = "directory_tests.rs"]
mod tests;
