//! One file that lines are appended to, and what becomes of them when it does not take them.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A file that could not be opened is tried again after this long.
const RETRY: Duration = Duration::from_secs(1);

/// A file of lines.
#[derive(Debug)]
pub(super) struct Appender {
    path: PathBuf,
    /// `None`: it could not be opened, or is to be opened anew.
    file: Option<File>,
    /// Device and inode of the file that `torn` belongs to.
    identity: (u64, u64),
    /// The rest of a line of which the file took only the beginning: it comes before anything else.
    torn: Vec<u8>,
    failure: Option<Failure>,
}

/// A file that does not take lines.
#[derive(Debug)]
struct Failure {
    lost: u64,
    tried: Instant,
}

impl Appender {
    /// Opens a file, or makes it, with its directory.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = open(path)?;
        let identity = identity(&file);
        Ok(Self { path: path.to_owned(), file: Some(file), identity, torn: Vec::new(), failure: None })
    }

    /// The last line was not taken.
    pub(super) const fn is_failing(&self) -> bool {
        self.failure.is_some()
    }

    /// Opens the file of that name anew: the one in use has another name by now.
    pub(super) fn reopen(&mut self) {
        self.file = None;
        self.ensure_open();
    }

    /// Appends lines; how many were lost.
    pub(super) fn append(&mut self, lines: &[u8]) -> u64 {
        if let Some(failure) = &self.failure
            && self.file.is_none()
            && failure.tried.elapsed() < RETRY
        {
            return self.lose(count_lines(lines));
        }
        if !self.ensure_open() {
            return self.lose(count_lines(lines));
        }
        let Some(file) = &mut self.file else { return self.lose(count_lines(lines)) };
        match write_lines(file, &mut self.torn, lines) {
            Ok(()) => {
                self.recover();
                0
            }
            Err((error, lost)) => {
                // A full disk keeps its file; anything else may be cured by opening it anew.
                if !matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
                    self.file = None;
                }
                self.fail(&error);
                self.lose(lost)
            }
        }
    }

    fn ensure_open(&mut self) -> bool {
        if self.file.is_some() {
            return true;
        }
        match open(&self.path) {
            Ok(file) => {
                let identity = identity(&file);
                if identity != self.identity {
                    // The rest of that line belongs to a file that is no more ours.
                    self.torn.clear();
                }
                self.identity = identity;
                self.file = Some(file);
                true
            }
            Err(error) => {
                self.fail(&error);
                false
            }
        }
    }

    fn fail(&mut self, error: &io::Error) {
        if let Some(failure) = &mut self.failure {
            failure.tried = Instant::now();
            return;
        }
        tracing::error!(path = %self.path.display(), %error, "an access log cannot be written: its lines are dropped and counted until it can");
        self.failure = Some(Failure { lost: 0, tried: Instant::now() });
    }

    fn recover(&mut self) {
        if let Some(Failure { lost, .. }) = self.failure.take() {
            tracing::warn!(path = %self.path.display(), lost, "an access log is written again");
        }
    }

    fn lose(&mut self, lines: u64) -> u64 {
        if let Some(failure) = &mut self.failure {
            failure.lost += lines;
        }
        lines
    }
}

/// Opens for appending. Without waiting: a pipe that nobody reads is an error, not a reason to stand still.
fn open(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent()
        && !directory.as_os_str().is_empty()
    {
        fs::create_dir_all(directory)?;
    }
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = OpenOptions::new().append(true).create(true).mode(0o640).custom_flags(nonblock).open(path)?;
    // Writing may wait: this thread is there for it.
    let flags = rustix::fs::fcntl_getfl(&file)?;
    rustix::fs::fcntl_setfl(&file, flags - rustix::fs::OFlags::NONBLOCK)?;
    Ok(file)
}

fn identity(file: &File) -> (u64, u64) {
    file.metadata().map_or((0, 0), |metadata| (metadata.dev(), metadata.ino()))
}

fn count_lines(lines: &[u8]) -> u64 {
    lines.iter().filter(|byte| **byte == b'\n').count() as u64
}

/// Writes `torn` and then `lines`. When the file fails in the middle of a line, the rest of that line is left in `torn`,
/// so that the next write completes it: a file never has a broken line in its middle.
///
/// # Errors
/// What went wrong, and how many whole lines were lost.
fn write_lines(file: &mut impl Write, torn: &mut Vec<u8>, lines: &[u8]) -> Result<(), (io::Error, u64)> {
    if !torn.is_empty() {
        let (written, result) = write_all(file, torn);
        torn.drain(..written);
        result.map_err(|error| (error, count_lines(lines)))?;
    }
    let (written, result) = write_all(file, lines);
    let Err(error) = result else { return Ok(()) };
    let rest = &lines[written..];
    let is_torn = written > 0 && lines[written - 1] != b'\n';
    let line_end =
        if is_torn { rest.iter().position(|byte| *byte == b'\n').map_or(rest.len(), |at| at + 1) } else { 0 };
    torn.extend_from_slice(&rest[..line_end]);
    Err((error, count_lines(&rest[line_end..])))
}

/// Writes all bytes, or as many as go: how many, and why not all.
fn write_all(file: &mut impl Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    while written < bytes.len() {
        match file.write(&bytes[written..]) {
            Ok(0) => return (written, Err(ErrorKind::WriteZero.into())),
            Ok(n) => written += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file on a disk that takes so many bytes more.
    struct Disk {
        taken: Vec<u8>,
        room: usize,
        piece: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let n = bytes.len().min(self.room).min(self.piece);
            if n == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            self.room -= n;
            self.taken.extend_from_slice(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_file_has_whole_lines_wherever_the_disk_is_full() {
        let batches: [&[u8]; 3] = [b"first\nsecond\n", b"third\n", b"4\n\n6\n"];
        let lines = batches.iter().map(|batch| count_lines(batch)).sum::<u64>();
        for room in 0..batches.concat().len() {
            for room_later in [0, 1, 2, 3, 100] {
                for piece in [1, 3, 100] {
                    let mut disk = Disk { taken: Vec::new(), room, piece };
                    let mut torn = Vec::new();
                    let mut lost = 0;
                    for batch in batches {
                        if let Err((_, more)) = write_lines(&mut disk, &mut torn, batch) {
                            lost += more;
                        }
                    }
                    disk.room = room_later;
                    lost += write_lines(&mut disk, &mut torn, b"").err().map_or(0, |(_, lost)| lost);
                    disk.room = 100;
                    write_lines(&mut disk, &mut torn, b"last\n").expect("there is room");
                    let text = String::from_utf8(disk.taken).unwrap();
                    assert!(text.ends_with("\nlast\n") || text == "last\n", "{room}: {text:?}");
                    let known = ["first", "second", "third", "4", "", "6", "last"];
                    assert!(text.lines().all(|line| known.contains(&line)), "{room}: {text:?}");
                    assert_eq!(text.lines().count() as u64 + lost, lines + 1, "{room}: {text:?}");
                }
            }
        }
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("conduit-appender-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        folder
    }

    #[test]
    fn a_moved_file_is_written_until_the_name_is_opened_anew() {
        let folder = folder("moved");
        let (path, moved) = (folder.join("deep/log"), folder.join("deep/log.1"));
        let mut appender = Appender::open(&path).unwrap();
        assert_eq!(appender.append(b"a\n"), 0);
        fs::rename(&path, &moved).unwrap();
        assert_eq!(appender.append(b"b\n"), 0);
        appender.reopen();
        assert_eq!(appender.append(b"c\n"), 0);
        assert_eq!((fs::read(&moved).unwrap(), fs::read(&path).unwrap()), (b"a\nb\n".to_vec(), b"c\n".to_vec()));
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o137, 0);
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_opened_loses_lines_and_is_found_again() {
        let folder = folder("lost");
        let path = folder.join("log");
        let mut appender = Appender::open(&path).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        fs::write(&folder, "in the way").unwrap();
        appender.reopen();
        assert!(appender.is_failing());
        assert_eq!(appender.append(b"a\nb\n"), 2);
        fs::remove_file(&folder).unwrap();
        // Another try comes in a second; a signal makes it come now.
        appender.reopen();
        assert_eq!((appender.append(b"c\n"), appender.is_failing()), (0, false));
        assert_eq!(fs::read(&path).unwrap(), b"c\n");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_full_disk_loses_lines_and_keeps_its_file() {
        let mut appender = Appender::open(Path::new("/dev/full")).unwrap();
        assert_eq!((appender.append(b"a\nb\n"), appender.append(b"c\n")), (2, 1));
        assert!(appender.is_failing() && appender.file.is_some());
    }

    #[test]
    fn what_cannot_be_a_file_is_an_error_at_the_start() {
        assert!(Appender::open(Path::new("/")).is_err());
        assert!(Appender::open(Path::new("/dev/null/log")).is_err());
    }
}
