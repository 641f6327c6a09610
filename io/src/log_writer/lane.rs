//! A shard's end of the writer, and when the shard uses it.

use super::{Filled, Shared};
use crate::host::Host;
use conduit_protocol::AccessLog;
use conduit_protocol::access_log::{LineFigures, LogFile};
use crossbeam_queue::ArrayQueue;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

/// A buffer of so many bytes is handed over at the end of the round.
const FULL_BYTES: usize = 64 * 1024;
/// One that is not full is handed over so long after its first line: few large writes instead of many small ones.
const WAIT_NS: u64 = 100_000_000;
/// At the end of the shard: how often it is tried to hand the last lines over, a millisecond apart.
const LAST_TRIES: u32 = 2_000;

/// A shard's end.
#[derive(Debug)]
pub(crate) struct Lane {
    shared: Arc<Shared>,
    shard: u16,
    /// When the lines that wait are to be handed over, in `Now::mono_ns`; `u64::MAX` when none wait.
    due_ns: u64,
}

impl Lane {
    pub(super) const fn new(shared: Arc<Shared>, shard: u16) -> Self {
        Self { shared, shard, due_ns: u64::MAX }
    }

    /// When it wants to be looked at.
    pub(crate) const fn due_ns(&self) -> u64 {
        self.due_ns
    }

    /// Hands over what is full or has waited for long.
    #[inline]
    pub(crate) fn look(&mut self, now_ns: u64, log: &mut AccessLog) {
        let since_ns = log.since_ns();
        if since_ns == u64::MAX {
            self.due_ns = u64::MAX;
            return;
        }
        if self.due_ns == u64::MAX {
            self.due_ns = since_ns + WAIT_NS;
        }
        let is_due = now_ns >= self.due_ns;
        if is_due || LogFile::ALL.iter().any(|file| log.waiting_bytes(*file) >= FULL_BYTES) {
            self.hand_over(is_due, now_ns, log);
        }
    }

    #[cold]
    fn hand_over(&mut self, all: bool, now_ns: u64, log: &mut AccessLog) {
        for file in LogFile::ALL {
            if all || log.waiting_bytes(file) >= FULL_BYTES {
                self.hand_over_file(file, log);
            }
        }
        // What could not be handed over is tried again after a while, and not in every round.
        self.due_ns = if log.since_ns() == u64::MAX { u64::MAX } else { now_ns + WAIT_NS };
    }

    /// Hands over the lines of one file. Without room they stay where they are.
    fn hand_over_file(&self, file: LogFile, log: &mut AccessLog) {
        let bytes = log.waiting_bytes(file);
        if bytes == 0 || self.shared.filled.is_full() || !self.shared.reserve(bytes) {
            return;
        }
        let spares = self.shared.spares.get(usize::from(self.shard));
        let Some(batch) = log.take(file, || spares.and_then(ArrayQueue::pop).unwrap_or_default()) else {
            self.shared.release(bytes);
            return;
        };
        // Another shard may have taken the last place meanwhile.
        if let Err(filled) = self.shared.filled.push(Filled { file, batch, shard: self.shard }) {
            self.shared.release(bytes);
            log.count_dropped(file, filled.batch.lines);
        }
        self.shared.bell.ring();
    }

    /// Lines of all shards that a file did not take. One shard tells it, for all of them.
    pub(crate) fn lost(&self, file: LogFile) -> u64 {
        if self.shard == 0 { self.shared.lost[file as usize].load(Ordering::Relaxed) } else { 0 }
    }

    /// A file does not take lines now.
    pub(crate) fn is_failing(&self, file: LogFile) -> bool {
        self.shared.is_failing[file as usize].load(Ordering::Relaxed)
    }

    /// Hands over everything: the shard ends. Waits a little for a writer that is behind.
    pub(crate) fn finish(&mut self, log: &mut AccessLog) {
        for _ in 0..LAST_TRIES {
            self.hand_over(true, 0, log);
            if log.since_ns() == u64::MAX {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Figures of both files, of one shard or of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct LinesOfLogs {
    figures: [LineFigures; 2],
    is_failing: [bool; 2],
}

impl LinesOfLogs {
    /// Figures of one file, and whether it does not take lines now.
    pub(crate) const fn of(&self, file: LogFile) -> (LineFigures, bool) {
        (self.figures[file as usize], self.is_failing[file as usize])
    }

    /// Adds another shard's.
    pub(crate) fn merge(&mut self, other: &Self) {
        for file in LogFile::ALL.map(|file| file as usize) {
            self.figures[file].merge(&other.figures[file]);
            self.is_failing[file] |= other.is_failing[file];
        }
    }
}

impl Host {
    /// Figures of the access logs.
    pub(crate) fn lines_of_logs(&self) -> LinesOfLogs {
        let mut lines = LinesOfLogs::default();
        let Some(lane) = &self.lane else { return lines };
        for file in LogFile::ALL {
            let figures = &mut lines.figures[file as usize];
            *figures = self.log.figures(file);
            figures.dropped += lane.lost(file);
            lines.is_failing[file as usize] = lane.is_failing(file);
        }
        lines
    }

    /// Hands lines of the access log to the writer, when it is time.
    #[inline]
    pub(crate) fn hand_over_lines(&mut self) {
        if let Some(lane) = &mut self.lane {
            lane.look(self.now.mono_ns, &mut self.log);
        }
    }

    /// The shard ends: connections that are still open are cut, which is their last line.
    pub(crate) fn end_log(&mut self) {
        let Some(lane) = &mut self.lane else { return };
        for slot in 0..self.connections.slots() {
            if let Some(id) = self.connections.id_at(slot)
                && let Some(connection) = self.connections.find(id)
            {
                connection.session.disconnected(self.now, &mut self.telemetry, &mut self.log, &mut self.gate);
            }
        }
        lane.finish(&mut self.log);
    }
}
