//! How long a client has taken so far.

use crate::Now;
use crate::time::NS_PER_MS;

/// `since_ns` of a connection that no time has been told yet.
const UNKNOWN_NS: u64 = u64::MAX;

/// Since when the connection is receiving a request, or else idle.
#[derive(Debug)]
pub(super) struct Pace {
    since_ns: u64,
    is_receiving: bool,
}

impl Pace {
    /// A connection that no time has been told yet.
    pub(super) const fn new() -> Self {
        Self { since_ns: UNKNOWN_NS, is_receiving: false }
    }

    /// The first time that is told is when the connection began.
    pub(super) const fn begin(&mut self, now: Now) {
        if self.since_ns == UNKNOWN_NS {
            self.since_ns = now.mono_ns;
        }
    }

    /// Part of a request is here.
    pub(super) const fn is_receiving(&self) -> bool {
        self.is_receiving
    }

    /// Bytes of an incomplete request are here.
    pub(super) const fn receive(&mut self, now: Now) {
        if !self.is_receiving {
            self.is_receiving = true;
            self.since_ns = now.mono_ns;
        }
    }

    /// The request that was being received is complete.
    pub(super) const fn complete(&mut self, now: Now) {
        self.is_receiving = false;
        self.since_ns = now.mono_ns;
    }

    /// No more of the request is taken now. That it lies around is our doing: its time stops.
    pub(super) const fn wait(&mut self) {
        self.is_receiving = false;
    }

    /// The last answer that was owed has been given: if nothing else goes on, the connection is idle from here on.
    pub(super) const fn rest(&mut self, now: Now) {
        if !self.is_receiving {
            self.since_ns = now.mono_ns;
        }
    }

    /// When so many milliseconds are over, in `Now::mono_ns`. A connection that has never been told the time wants to be,
    /// at once.
    pub(super) const fn due_ns(&self, wait_ms: u64) -> u64 {
        match self.since_ns {
            UNKNOWN_NS => 0,
            since_ns => since_ns.saturating_add(wait_ms.saturating_mul(NS_PER_MS)),
        }
    }
}
