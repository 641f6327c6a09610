//! The access log: what sessions say about requests and messages, as JSON lines in memory that `io` hands to the thread
//! that writes files. One log a shard; sessions borrow it with their context.
//!
//! Each piece of state has its file: `lines` one file's lines, `budget` how many lines of messages are written in full,
//! `delivered` when messages were delivered, `stamp` the text of the time; `request` and `socket` are what a line says of an HTTP request and of a WebSocket; `text`
//! is JSON. No line holds a payload, a token or a cookie: nothing here is ever given one, but for the parameters of a
//! URL, whose secret ones are left out.
//!
//! A log that is off costs a branch. One that is on allocates nothing once its buffers have grown.

mod budget;
mod delivered;
mod lines;
mod request;
mod socket;
mod stamp;
mod text;

pub use lines::Batch;
pub use request::{Note, Notes, Outcome, Request, URL_BYTES_MAX};
pub use socket::{Opening, Socket, Wire};

use crate::time::Now;
use budget::Budget;
use lines::Lines;
use stamp::Stamp;

/// What is written, and how much of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// HTTP requests are written.
    pub http: bool,
    /// WebSocket connections and their messages are written.
    pub ws: bool,
    /// How many of them.
    pub budgets: LogBudgets,
}

/// How many requests and messages have lines: a disk is finite, and smaller than what a shard can do in a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogBudgets {
    /// HTTP requests.
    pub requests: LogBudget,
    /// Events of messages: deliver, credit, ack, nack.
    pub messages: LogBudget,
}

impl LogBudgets {
    const NONE: Self = Self { requests: LogBudget::NONE, messages: LogBudget::NONE };
}

impl Default for LogBudgets {
    fn default() -> Self {
        Self {
            requests: LogBudget { lines_per_s: 10_000, sample: 100 },
            messages: LogBudget { lines_per_s: 1_000, sample: 1_000 },
        }
    }
}

/// How many lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogBudget {
    /// Lines that one shard writes in a second, one and all; 0: none beyond the sample.
    pub lines_per_s: u32,
    /// Of what is beyond, one in so many; 0: none.
    pub sample: u32,
}

impl LogBudget {
    const NONE: Self = Self { lines_per_s: 0, sample: 0 };
}

impl LogSettings {
    /// Nothing is written.
    pub const OFF: Self = Self { http: false, ws: false, budgets: LogBudgets::NONE };
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { http: true, ws: true, budgets: LogBudgets::default() }
    }
}

/// One of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFile {
    /// HTTP requests.
    Http,
    /// WebSocket connections and their messages.
    Ws,
}

impl LogFile {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Http, Self::Ws];

    /// Its name in metrics and messages.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Ws => "ws",
        }
    }
}

/// What became of the lines of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LineFigures {
    /// Lines encoded.
    pub lines: u64,
    /// Requests or messages without a line, as the settings want it.
    pub left_out: u64,
    /// Lines for which there was no room.
    pub dropped: u64,
}

impl LineFigures {
    /// Adds another shard's.
    pub fn merge(&mut self, other: &Self) {
        self.lines += other.lines;
        self.left_out += other.left_out;
        self.dropped += other.dropped;
    }
}

/// The lines of one shard that have not been handed to the writer. The default is off.
#[derive(Debug, Default)]
pub struct AccessLog {
    http: Lines,
    ws: Lines,
    stamp: Stamp,
    requests: Budget,
    messages: Budget,
    shard: u16,
    /// WebSocket connections so far: they are named by it.
    sockets: u64,
}

impl AccessLog {
    /// The log of one shard.
    #[must_use]
    pub fn new(shard: u16, settings: &LogSettings) -> Self {
        let mut log = Self { shard, ..Self::default() };
        log.apply(settings);
        log
    }

    /// Does from now on as other settings say. What is in the buffers stays there.
    pub const fn apply(&mut self, settings: &LogSettings) {
        self.http.is_on = settings.http;
        self.ws.is_on = settings.ws;
        self.set_budgets(&settings.budgets);
    }

    /// Writes so many lines from now on.
    pub const fn set_budgets(&mut self, budgets: &LogBudgets) {
        self.requests.apply(budgets.requests);
        self.messages.apply(budgets.messages);
    }

    /// HTTP requests are written.
    #[inline]
    #[must_use]
    pub const fn is_http_on(&self) -> bool {
        self.http.is_on
    }

    /// WebSocket connections are written.
    #[inline]
    #[must_use]
    pub const fn is_ws_on(&self) -> bool {
        self.ws.is_on
    }

    /// Takes the lines of one file, in exchange for an empty buffer. `None`: there are none.
    pub fn take(&mut self, file: LogFile, spare: impl FnOnce() -> Vec<u8>) -> Option<Batch> {
        self.lines_mut(file).take(spare)
    }

    /// Bytes that wait to be taken.
    #[inline]
    #[must_use]
    pub const fn waiting_bytes(&self, file: LogFile) -> usize {
        match file {
            LogFile::Http => self.http.len(),
            LogFile::Ws => self.ws.len(),
        }
    }

    /// When the oldest line that waits was encoded, in `Now::mono_ns`; `u64::MAX` when none waits.
    #[inline]
    #[must_use]
    pub fn since_ns(&self) -> u64 {
        self.http.since_ns().min(self.ws.since_ns())
    }

    /// What became of the lines of one file.
    #[must_use]
    pub const fn figures(&self, file: LogFile) -> LineFigures {
        let (lines, budget) = match file {
            LogFile::Http => (&self.http, &self.requests),
            LogFile::Ws => (&self.ws, &self.messages),
        };
        LineFigures { lines: lines.written, left_out: budget.left_out, dropped: lines.dropped }
    }

    /// Lines that were taken did not reach the writer.
    pub fn count_dropped(&mut self, file: LogFile, lines: u32) {
        self.lines_mut(file).dropped += u64::from(lines);
    }

    const fn lines_mut(&mut self, file: LogFile) -> &mut Lines {
        match file {
            LogFile::Http => &mut self.http,
            LogFile::Ws => &mut self.ws,
        }
    }

    /// Appends one line, `ts` and its end included. `write` appends members, each with a comma before it.
    fn line(&mut self, file: LogFile, now: Now, event: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let stamp = self.stamp.text(now.unix_ms);
        let lines = match file {
            LogFile::Http => &mut self.http,
            LogFile::Ws => &mut self.ws,
        };
        lines.append(now, |out| {
            out.extend_from_slice(b"{\"ts\":\"");
            out.extend_from_slice(stamp);
            out.extend_from_slice(b"\",\"event\":\"");
            out.extend_from_slice(event.as_bytes());
            out.push(b'"');
            write(out);
            out.extend_from_slice(b"}\n");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_off_says_nothing() {
        let log = AccessLog::default();
        assert!(!log.is_http_on() && !log.is_ws_on());
        assert_eq!(log.since_ns(), u64::MAX);
        assert_eq!(AccessLog::new(0, &LogSettings::OFF).figures(LogFile::Ws), LineFigures::default());
    }

    #[test]
    fn a_line_has_its_time_and_waits_from_then_on() {
        let mut log = AccessLog::new(3, &LogSettings::default());
        let now = Now { mono_ns: 7, unix_ms: 1_700_000_000_123 };
        log.line(LogFile::Http, now, "e", |out| out.extend_from_slice(b",\"a\":1"));
        log.line(LogFile::Http, now.plus_ns(1), "f", |_| {});
        assert_eq!(log.since_ns(), 7);
        assert_eq!(log.waiting_bytes(LogFile::Ws), 0);
        assert_eq!(log.figures(LogFile::Http).lines, 2);
        assert_eq!(log.take(LogFile::Ws, Vec::new), None);
        let batch = log.take(LogFile::Http, Vec::new).unwrap();
        let text = String::from_utf8(batch.bytes).unwrap();
        assert_eq!(
            text,
            "{\"ts\":\"2023-11-14T22:13:20.123Z\",\"event\":\"e\",\"a\":1}\n\
             {\"ts\":\"2023-11-14T22:13:20.123Z\",\"event\":\"f\"}\n"
        );
        assert_eq!(batch.lines, 2);
        assert_eq!(log.since_ns(), u64::MAX);
    }
}
