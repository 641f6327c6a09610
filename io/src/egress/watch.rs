//! Sees the files of the configuration change.
//!
//! Their directories are watched, since editors and orchestrators put a new file in the place of the old one; what counts
//! is that one of the files is another one than before, also when a link on the way to it is. Several changes in a moment
//! are one. Whatever else happens in the directories (an access log may be written there) only makes us look.

use super::latest::{Putter, Taker, latest};
use super::{News, tell, thread};
use crate::link::LinkSender;
use crossbeam_channel::{Receiver, bounded};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Files must be left alone for so long before they are read: whoever writes them may be in the middle of it.
const CALM: Duration = Duration::from_millis(100);
/// They are read even if they are not left alone, after so many looks: 2 s.
const LOOKS_MAX: usize = 20;

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
    files: Putter<Vec<PathBuf>>,
}

/// Starts watching.
pub(super) fn start(watched: Vec<PathBuf>, control: LinkSender) -> std::io::Result<Watch> {
    // One token says that something has happened; more would say nothing more.
    let (stir, stirred) = bounded(1);
    let (files, changed_files) = latest();
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
    /// Watches these files from now on. It does not wait: whoever calls has a server to reload.
    pub(super) fn follow(&mut self, watched: Vec<PathBuf>) {
        if let Err(error) = self.watch_directories(&watched) {
            tracing::warn!(%error, "a directory of the configuration cannot be watched: reload by hand");
        }
        self.files.put(watched);
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

fn marks_of(files: &[PathBuf]) -> Vec<Mark> {
    files.iter().map(|file| mark(file)).collect()
}

/// The files' marks once they stay as they are from one look to the next, at the latest after [`LOOKS_MAX`] looks.
fn settled<M: PartialEq>(mut look: impl FnMut() -> M, mut rest: impl FnMut()) -> M {
    let mut before = look();
    for _ in 0..LOOKS_MAX {
        rest();
        let now = look();
        if now == before {
            break;
        }
        before = now;
    }
    before
}

fn run(mut watched: Vec<PathBuf>, stirred: &Receiver<()>, files: &Taker<Vec<PathBuf>>, control: &LinkSender) {
    let mut marks = marks_of(&watched);
    loop {
        crossbeam_channel::select! {
            recv(stirred) -> stir => {
                if stir.is_err() {
                    return;
                }
            }
            recv(files.bell) -> rung => {
                if rung.is_err() {
                    return;
                }
                let Some(new) = files.take().filter(|new| *new != watched) else { continue };
                // A file that was watched keeps its mark: it may have changed since it was read.
                let known = |file: &PathBuf| Some(marks[watched.iter().position(|old| old == file)?]);
                marks = new.iter().map(|file| known(file).unwrap_or_else(|| mark(file))).collect();
                watched = new;
                continue;
            }
        }
        let now = settled(|| marks_of(&watched), || std::thread::sleep(CALM));
        if now != marks {
            marks = now;
            tell(control, News::FilesChanged);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is settled on, and how often there was a rest, when the looks see these marks (and the last one ever after).
    fn looks(seen: &[u32]) -> (u32, usize) {
        let (mut at, mut rests) = (0, 0);
        let look = || {
            at += 1;
            seen[(at - 1).min(seen.len() - 1)]
        };
        (settled(look, || rests += 1), rests)
    }

    #[test]
    fn files_that_are_left_alone_are_read_after_one_rest_whatever_goes_on_beside_them() {
        assert_eq!(looks(&[1]), (1, 1));
        assert_eq!(looks(&[1, 2, 3, 3, 4]), (3, 3));
    }

    #[test]
    fn files_that_never_come_to_rest_are_read_all_the_same() {
        let restless: Vec<u32> = (0..1_000).collect();
        assert_eq!(looks(&restless), (LOOKS_MAX as u32, LOOKS_MAX));
        assert_eq!(CALM * LOOKS_MAX as u32, Duration::from_secs(2));
    }

    #[test]
    fn a_file_in_place_of_another_has_another_mark_also_behind_a_link() {
        let folder = std::env::temp_dir().join(format!("conduit-marks-{}", std::process::id()));
        fs::create_dir_all(folder.join("one")).expect("a folder");
        fs::create_dir_all(folder.join("two")).expect("a folder");
        fs::write(folder.join("one/rules"), "same").expect("written");
        fs::write(folder.join("two/rules"), "same").expect("written");
        std::os::unix::fs::symlink("one", folder.join("data")).expect("a link");
        std::os::unix::fs::symlink("data/rules", folder.join("rules")).expect("a link");
        let file = folder.join("rules");
        let before = mark(&file);
        std::os::unix::fs::symlink("two", folder.join("next")).expect("a link");
        fs::rename(folder.join("next"), folder.join("data")).expect("renamed");
        assert!(before.is_some() && mark(&file).is_some() && mark(&file) != before);
        fs::remove_dir_all(&folder).expect("removed");
        assert_eq!(mark(&file), None);
    }
}
