//! Sees the files of the configuration change.
//!
//! Their directories are watched, since editors and orchestrators put a new file in the place of the old one; what counts
//! is that one of the files is another one than before. Several changes in a moment are one.

use super::{News, tell, thread};
use crate::link::LinkSender;
use crossbeam_channel::{Receiver, Sender, bounded};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Files must be left alone for so long before they are read: whoever writes them may be in the middle of it.
const CALM: Duration = Duration::from_millis(100);

/// What tells one state of a file from another: device, inode, length, and time of its last change. `None`: it is not there.
type Mark = Option<(u64, u64, u64, i64, i64)>;

fn mark(path: &Path) -> Mark {
    let of = fs::metadata(path).ok()?;
    Some((of.dev(), of.ino(), of.len(), of.mtime(), of.mtime_nsec()))
}

/// The files, and the watch on their directories.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    directories: BTreeSet<PathBuf>,
    files: Sender<Vec<PathBuf>>,
}

/// Starts watching.
pub(super) fn start(watched: Vec<PathBuf>, control: LinkSender) -> std::io::Result<Watch> {
    // One token says that something has happened; more would say nothing more.
    let (stir, stirred) = bounded(1);
    let (files, changed_files) = bounded(1);
    let handler = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            let _ = stir.try_send(());
        }
    };
    let watcher = notify::recommended_watcher(handler).map_err(std::io::Error::other)?;
    let mut watch = Watch { watcher, directories: BTreeSet::new(), files };
    watch.watch_directories(&watched)?;
    thread("watch", move || run(watched, &stirred, &changed_files, &control))?;
    Ok(watch)
}

impl Watch {
    /// Watches these files from now on.
    pub(super) fn follow(&mut self, watched: Vec<PathBuf>) {
        if let Err(error) = self.watch_directories(&watched) {
            tracing::warn!(%error, "a directory of the configuration cannot be watched: reload by hand");
        }
        let _ = self.files.send(watched);
    }

    fn watch_directories(&mut self, files: &[PathBuf]) -> std::io::Result<()> {
        let directories: BTreeSet<_> = files.iter().map(|file| directory(file)).filter(|path| path.is_dir()).collect();
        for gone in self.directories.difference(&directories) {
            let _ = self.watcher.unwatch(gone);
        }
        for new in directories.difference(&self.directories) {
            let watched = self.watcher.watch(new, RecursiveMode::NonRecursive);
            watched.map_err(|error| std::io::Error::other(format!("{}: {error}", new.display())))?;
        }
        self.directories = directories;
        Ok(())
    }
}

fn directory(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn run(mut watched: Vec<PathBuf>, stirred: &Receiver<()>, files: &Receiver<Vec<PathBuf>>, control: &LinkSender) {
    let mut marks: Vec<Mark> = watched.iter().map(|file| mark(file)).collect();
    loop {
        crossbeam_channel::select! {
            recv(stirred) -> stir => {
                if stir.is_err() {
                    return;
                }
                while stirred.recv_timeout(CALM).is_ok() {}
            }
            recv(files) -> new => {
                let Ok(new) = new else { return };
                if new == watched {
                    continue;
                }
                // A file that was watched keeps its mark: it may have changed since it was read.
                let known = |file: &PathBuf| Some(marks[watched.iter().position(|old| old == file)?]);
                marks = new.iter().map(|file| known(file).unwrap_or_else(|| mark(file))).collect();
                watched = new;
                continue;
            }
        }
        let now: Vec<Mark> = watched.iter().map(|file| mark(file)).collect();
        if now != marks {
            marks = now;
            tell(control, News::FilesChanged);
        }
    }
}
