//! The clock of one shard: read once per tick, handed to everything in it.

use conduit_protocol::Now;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// How often the wall clock is read again: often enough that a step of it shows soon, seldom enough to cost nothing.
const WALL_REFRESH_NS: u64 = 100_000_000;

/// Reads time for one shard. The monotonic zero is the moment of construction, plus one second so that "one second ago"
/// exists from the start.
#[derive(Debug)]
pub(crate) struct Clock {
    zero: Instant,
    wall_read_at_ns: u64,
    wall_ms: u64,
}

impl Clock {
    const OFFSET_NS: u64 = 1_000_000_000;

    /// All clocks of one process share `zero`, so that times may cross shards.
    pub(crate) fn new(zero: Instant) -> Self {
        Self { zero, wall_read_at_ns: 0, wall_ms: 0 }
    }

    /// The time now.
    pub(crate) fn now(&mut self) -> Now {
        let mono_ns = self.zero.elapsed().as_nanos() as u64 + Self::OFFSET_NS;
        if self.wall_ms == 0 || mono_ns - self.wall_read_at_ns > WALL_REFRESH_NS {
            self.wall_read_at_ns = mono_ns;
            self.wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        }
        Now { mono_ns, unix_ms: self.wall_ms + (mono_ns - self.wall_read_at_ns) / 1_000_000 }
    }
}
