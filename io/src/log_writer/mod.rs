//! The writer of the access logs: one plain thread that appends what the shards hand it to the two files.
//!
//! A shard hands over a buffer of whole lines and gets an empty one back; it never waits. What is on the way is bounded:
//! beyond that, lines stay in the shard's own buffer, and beyond that they are dropped and counted. So a slow or broken
//! disk costs lines, and nothing else.
//!
//! `appender` is one file; `lane` is a shard's end; `bell` is what the thread sleeps on; this file is the thread.
//!
//! SIGUSR1 and SIGHUP make it open both files anew, so that they can be moved away at any time.

mod appender;
mod bell;
mod lane;

pub(crate) use lane::{Lane, LinesOfLogs};

use crate::error::ServeError;
use appender::Appender;
use bell::{Bell, Rotation};
use conduit_config::edge::AccessLogSettings;
use conduit_protocol::access_log::{Batch, LogFile};
use crossbeam_queue::ArrayQueue;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Buffers that may be on the way, of all shards; their bytes have a bound of their own.
const BUFFERS_MAX: usize = 4_096;
/// Empty buffers that wait for one shard.
const SPARES_MAX: usize = 4;
/// A buffer that has grown past this is given back to the allocator.
const SPARE_BYTES_MAX: usize = 512 * 1024;
/// How long the end of the process waits for a disk that does not take the last lines.
const FINISH_MAX: Duration = Duration::from_secs(5);

/// A buffer on its way to a file.
#[derive(Debug)]
struct Filled {
    file: LogFile,
    batch: Batch,
    /// Whose buffer it is.
    shard: u16,
}

/// What the shards and the thread have in common.
#[derive(Debug)]
struct Shared {
    filled: ArrayQueue<Filled>,
    /// By shard.
    spares: Vec<ArrayQueue<Vec<u8>>>,
    waiting_bytes: AtomicUsize,
    waiting_bytes_max: usize,
    bell: Bell,
    is_over: AtomicBool,
    /// Lines that a file did not take, by `LogFile as usize`.
    lost: [AtomicU64; 2],
    /// A file does not take lines now.
    is_failing: [AtomicBool; 2],
}

impl Shared {
    fn new(shards: u16, waiting_bytes_max: usize) -> std::io::Result<Self> {
        Ok(Self {
            filled: ArrayQueue::new(BUFFERS_MAX),
            spares: (0..shards).map(|_| ArrayQueue::new(SPARES_MAX)).collect(),
            waiting_bytes: AtomicUsize::new(0),
            waiting_bytes_max,
            bell: Bell::new()?,
            is_over: AtomicBool::new(false),
            lost: Default::default(),
            is_failing: Default::default(),
        })
    }

    /// Takes room for so many bytes. One buffer always passes, however large it is.
    fn reserve(&self, bytes: usize) -> bool {
        let waiting = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let has_room = waiting == 0 || waiting.saturating_add(bytes) <= self.waiting_bytes_max;
        if !has_room {
            self.release(bytes);
        }
        has_room
    }

    fn release(&self, bytes: usize) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The thread, for whoever starts and ends it.
#[derive(Debug)]
pub(crate) struct LogWriter {
    shared: Arc<Shared>,
    thread: JoinHandle<()>,
}

impl LogWriter {
    /// Opens the files and starts the thread. `None`: nothing is to be written; SIGUSR1 then does nothing.
    ///
    /// # Errors
    /// When a file cannot be opened, or the thread cannot be started.
    pub(crate) fn start(settings: &AccessLogSettings, shards: u16) -> Result<Option<Self>, ServeError> {
        let open = |setting: &'static str, path: &Option<PathBuf>| -> Result<Option<Appender>, ServeError> {
            let Some(path) = path else { return Ok(None) };
            let opened = Appender::open(path);
            opened.map(Some).map_err(|error| unusable(setting, path, &error))
        };
        let appenders = [open("--http-log", &settings.http)?, open("--ws-log", &settings.ws)?];
        let rotation = Rotation::register()?;
        if appenders.iter().all(Option::is_none) {
            return Ok(None);
        }
        let shared = Arc::new(Shared::new(shards, settings.queue_bytes_max)?);
        let of_thread = shared.clone();
        let thread = thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write(&of_thread, appenders, &rotation))?;
        Ok(Some(Self { shared, thread }))
    }

    /// A shard's end.
    pub(crate) fn lane(&self, shard: u16) -> Lane {
        Lane::new(self.shared.clone(), shard)
    }

    /// Writes what the shards have handed over before this, and ends the thread. A disk that takes nothing for long is
    /// left behind.
    pub(crate) fn finish(self) {
        self.shared.is_over.store(true, Ordering::Release);
        self.shared.bell.ring();
        let patience = Instant::now();
        while !self.thread.is_finished() {
            if patience.elapsed() > FINISH_MAX {
                let bytes = self.shared.waiting_bytes.load(Ordering::Relaxed);
                tracing::error!(
                    bytes,
                    "the last lines of the access logs were not written: the disk does not take them"
                );
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

pub(crate) fn unusable(setting: &'static str, path: &Path, error: &std::io::Error) -> ServeError {
    ServeError::Setting {
        setting,
        value: path.display().to_string(),
        reason: format!("the access log cannot be opened: {error}"),
        remedy: "name a file in a directory that this user may write to, or `none`",
    }
}

/// The thread. It sleeps while there is nothing to write.
fn write(shared: &Shared, mut appenders: [Option<Appender>; 2], rotation: &Rotation) {
    loop {
        if rotation.is_asked_for() {
            appenders.iter_mut().flatten().for_each(Appender::reopen);
            note_health(shared, &appenders);
        }
        // Read before the queue: what was handed over before the end is found below.
        let is_over = shared.is_over.load(Ordering::SeqCst);
        let Some(filled) = shared.filled.pop() else {
            if is_over {
                return;
            }
            shared.bell.sleep(rotation, || shared.filled.is_empty() && !shared.is_over.load(Ordering::SeqCst));
            continue;
        };
        let Filled { file, batch, shard } = filled;
        let bytes = batch.bytes.len();
        let lost = match &mut appenders[file as usize] {
            Some(appender) => appender.append(&batch.bytes),
            None => u64::from(batch.lines),
        };
        shared.lost[file as usize].fetch_add(lost, Ordering::Relaxed);
        note_health(shared, &appenders);
        shared.release(bytes);
        keep_spare(shared, shard, batch.bytes);
    }
}

fn note_health(shared: &Shared, appenders: &[Option<Appender>; 2]) {
    for (is_failing, appender) in shared.is_failing.iter().zip(appenders) {
        is_failing.store(appender.as_ref().is_some_and(Appender::is_failing), Ordering::Relaxed);
    }
}

/// Gives a buffer back to its shard. One that the shard does not need, or that has grown large, is freed.
fn keep_spare(shared: &Shared, shard: u16, mut bytes: Vec<u8>) {
    if bytes.capacity() <= SPARE_BYTES_MAX
        && let Some(spares) = shared.spares.get(usize::from(shard))
    {
        bytes.clear();
        let _ = spares.push(bytes);
    }
}

#[cfg(test)]
mod tests;
