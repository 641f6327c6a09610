//! Time is an argument here: only `io` reads clocks, and the simulator invents them.

/// One reading of both clocks, taken once per tick and handed to everything that happens in that tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Now {
    /// Nanoseconds of a clock that never goes back. Its zero is arbitrary; only differences mean anything.
    pub mono_ns: u64,
    /// Milliseconds since the Unix epoch, for time stamps that people read. May jump.
    pub unix_ms: u64,
}

impl Now {
    /// The same reading, `ns` nanoseconds later on both clocks: tests and the simulator move time with it.
    #[must_use]
    pub const fn plus_ns(self, ns: u64) -> Self {
        Self { mono_ns: self.mono_ns + ns, unix_ms: self.unix_ms + ns / 1_000_000 }
    }
}

/// Nanoseconds in a millisecond.
pub const NS_PER_MS: u64 = 1_000_000;
