//! How the process came to its end, gathered from all shards: what the last line of the diagnostics says.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

/// Why the server stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A signal came first.
    Signal = 1,
    /// The administration asked first.
    Request = 2,
}

/// What every shard adds to.
#[derive(Debug, Default)]
pub(crate) struct Ending {
    cause: AtomicU8,
    connections_cut: AtomicU64,
    has_log_failed: AtomicBool,
}

impl Ending {
    /// The server is told to stop. What is told first counts.
    pub(crate) fn begin(&self, cause: Cause) {
        let _ = self.cause.compare_exchange(0, cause as u8, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// A shard has ended, with so many connections still open.
    pub(crate) fn shard_ended(&self, connections_cut: usize, has_log_failed: bool) {
        self.connections_cut.fetch_add(connections_cut as u64, Ordering::Relaxed);
        self.has_log_failed.fetch_or(has_log_failed, Ordering::Relaxed);
    }

    /// A write to some shard's log has failed.
    pub(crate) fn has_log_failed(&self) -> bool {
        self.has_log_failed.load(Ordering::Relaxed)
    }

    /// The last line. Only once every shard has ended.
    pub(crate) fn tell(&self) {
        let cause = self.cause();
        let connections_cut = self.connections_cut.load(Ordering::Relaxed);
        tracing::info!(cause, connections_cut, "the server has stopped");
    }

    fn cause(&self) -> &'static str {
        match self.cause.load(Ordering::Relaxed) {
            cause if cause == Cause::Signal as u8 => "a signal",
            cause if cause == Cause::Request as u8 => "a request of the administration",
            _ => "a failure",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_first_is_the_cause_and_all_shards_count() {
        let ending = Ending::default();
        assert_eq!((ending.cause(), ending.has_log_failed()), ("a failure", false));
        ending.begin(Cause::Request);
        ending.begin(Cause::Signal);
        ending.shard_ended(2, true);
        ending.shard_ended(3, false);
        assert_eq!((ending.cause(), ending.has_log_failed()), ("a request of the administration", true));
        assert_eq!(ending.connections_cut.load(Ordering::Relaxed), 5);
    }
}
