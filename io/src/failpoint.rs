//! Places where a test can end the process as a crash would: at once, with nothing written, closed or said.
//!
//! In builds with the feature `failpoints`, `CONDUIT_FAILPOINT=name:n` ends the process by SIGKILL when it passes the
//! named place for the n-th time, counted over all threads. In other builds a passage is nothing, and the variable is
//! refused as one that does not exist.

/// A named place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failpoint {
    /// Records lie in a batch that nobody has written yet.
    AfterAppend,
    /// A batch may have been written; its sync has not been asked for, or has not come back.
    BeforeSync,
    /// A batch is on the disk, and nobody has been told.
    AfterSync,
    /// Between two steps of going on to another segment: prepare, install, sync of the directory.
    MidRotation,
    /// A segment was removed, and the directory is not yet synced.
    MidTrim,
    /// Recovery has begun and is not finished.
    InRecovery,
    /// Streams are being moved to other shards.
    DuringReshard,
}

impl Failpoint {
    /// All of them, in the order in which a message meets them.
    pub const ALL: [Self; 7] = [
        Self::AfterAppend,
        Self::BeforeSync,
        Self::AfterSync,
        Self::MidRotation,
        Self::MidTrim,
        Self::InRecovery,
        Self::DuringReshard,
    ];

    /// The name that the variable takes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AfterAppend => "after_append",
            Self::BeforeSync => "before_sync",
            Self::AfterSync => "after_sync",
            Self::MidRotation => "mid_rotation",
            Self::MidTrim => "mid_trim",
            Self::InRecovery => "in_recovery",
            Self::DuringReshard => "during_reshard",
        }
    }
}

/// The variable that says where to end. Its owner must not hand it on to the configuration, which knows no such setting.
pub const VARIABLE: &str = "CONDUIT_FAILPOINT";

/// Passes a place; returns unless the process was told to end here.
#[inline]
pub fn pass(point: Failpoint) {
    #[cfg(feature = "failpoints")]
    armed::pass(point);
    #[cfg(not(feature = "failpoints"))]
    let _ = point;
}

#[cfg(feature = "failpoints")]
pub use armed::arm;

#[cfg(feature = "failpoints")]
mod armed {
    use super::Failpoint;
    use rustix::process::{Signal, getpid, kill_process};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Where the process is to end, and how many passages are left until then.
    #[derive(Debug)]
    pub(super) struct Trigger {
        point: Failpoint,
        left: AtomicU64,
    }

    static TRIGGER: OnceLock<Trigger> = OnceLock::new();

    /// Takes what the variable says, `name:n`; the first call counts.
    ///
    /// # Errors
    /// A sentence when the text names no place or no number from 1: a misspelt place would make a test prove nothing.
    pub fn arm(text: &str) -> Result<(), String> {
        let trigger = Trigger::parse(text)?;
        // A second call is a caller's mistake that changes nothing.
        let _ = TRIGGER.set(trigger);
        Ok(())
    }

    pub(super) fn pass(point: Failpoint) {
        if TRIGGER.get().is_some_and(|trigger| trigger.is_reached(point)) {
            // SIGKILL, and not an abort: no handler runs and nothing is flushed, as when the kernel ends a process.
            let _ = kill_process(getpid(), Signal::KILL);
            std::process::abort();
        }
    }

    impl Trigger {
        pub(super) fn parse(text: &str) -> Result<Self, String> {
            let (name, count) = text.split_once(':').unwrap_or((text, "1"));
            let known = || Failpoint::ALL.map(Failpoint::name).join(", ");
            let point = Failpoint::ALL.into_iter().find(|point| point.name() == name);
            let point = point.ok_or_else(|| format!("there is no failpoint {name:?}; there are {}", known()))?;
            let count = count.parse().ok().filter(|count| *count > 0);
            let count = count.ok_or_else(|| format!("{text:?}: after the colon stands a number from 1"))?;
            Ok(Self { point, left: AtomicU64::new(count) })
        }

        /// True for exactly one passage: the one that uses up the count.
        pub(super) fn is_reached(&self, point: Failpoint) -> bool {
            point == self.point && self.left.fetch_sub(1, Ordering::Relaxed) == 1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct() {
        let mut names = Failpoint::ALL.map(Failpoint::name);
        names.sort_unstable();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn a_place_that_nobody_armed_is_passed() {
        Failpoint::ALL.into_iter().for_each(pass);
    }

    #[cfg(feature = "failpoints")]
    #[test]
    fn the_count_runs_out_at_its_own_place_alone_and_once() {
        let trigger = armed::Trigger::parse("after_sync:2").expect("valid");
        let passages = [Failpoint::AfterSync, Failpoint::MidTrim, Failpoint::AfterSync, Failpoint::AfterSync];
        assert_eq!(passages.map(|point| trigger.is_reached(point)), [false, false, true, false]);
    }

    #[cfg(feature = "failpoints")]
    #[test]
    fn a_misspelt_place_is_refused() {
        for text in ["", "after_snyc:1", "after_sync:0", "after_sync:x", "after_sync:-1", ":1"] {
            assert!(armed::Trigger::parse(text).is_err(), "{text:?}");
        }
        assert!(armed::Trigger::parse("after_sync").is_ok(), "without a number it is the first passage");
    }
}
