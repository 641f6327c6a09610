//! The one limiter: what may be taken, from whom, and how a session asks for it.
//!
//! A [`Charge`] names a subject (an address, a tenant, the whole server), a category, and how much there is of it; it
//! carries its own allowance, so that whoever keeps the account needs no configuration and a reload changes nothing
//! there. Every account has one home shard: what is promised holds exactly for the whole server.
//!
//! [`Bucket`] is the arithmetic of every rate here, whoever keeps it: a WebSocket's own message rate lives in its session,
//! all others in the table of their home shard.

use crate::answer::Refusal;
use crate::ids::{ShardId, TenantId};
use crate::telemetry::Endpoint;
use crate::time::Now;
use std::hash::Hash;
use std::net::IpAddr;

/// Whose allowance it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A client's address.
    Ip(IpAddr),
    /// A tenant.
    Tenant(TenantId),
    /// Everybody together.
    Server,
}

/// What is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Category {
    /// HTTP requests to one endpoint.
    Requests(Endpoint),
    /// HTTP requests of any kind.
    AllRequests,
    /// New WebSocket connections.
    Connects,
    /// WebSocket connections that are open.
    Connections,
    /// HTTP requests in progress.
    InProgress,
    /// Uploads in progress.
    Uploads,
    /// Requests that one rule answers, by its position among the rules.
    Rule(u32),
}

/// How much there is of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Allowance {
    /// So many at a time: what is taken comes back by a release.
    Slots(u32),
    /// So many over time.
    Rate(Rate),
}

/// A token bucket's measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// Tokens that come back in one window; at least 1.
    pub per_window: u32,
    /// Milliseconds of a window; at least 1.
    pub window_ms: u32,
    /// Tokens that it holds when full; at least 1.
    pub burst: u32,
}

/// One thing to be taken from one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Charge {
    /// Whose.
    pub subject: Subject,
    /// What.
    pub category: Category,
    /// How much there is.
    pub allowance: Allowance,
}

impl Charge {
    /// The shard that keeps this account: fixed for a number of shards.
    #[must_use]
    pub fn home(&self, shards: u16) -> ShardId {
        if shards <= 1 {
            return ShardId(0);
        }
        let mut hasher = xxhash_rust::xxh3::Xxh3Default::new();
        (self.subject, self.category).hash(&mut hasher);
        ShardId((hasher.digest() % u64::from(shards)) as u16)
    }
}

/// What a [`Gate`] says to a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Taken.
    Granted,
    /// There is none left: the refusal names the limit, and says when trying again makes sense.
    Refused(Refusal<'static>),
    /// The account is kept by another shard: ask it with `Command::Charge`.
    Away,
}

/// Keeps the accounts whose home is here.
pub trait Gate: std::fmt::Debug {
    /// Takes what is asked for, if it is there.
    fn charge(&mut self, now: Now, charge: &Charge) -> Verdict;
}

/// Grants everything: for servers and tests without limits.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenGate;

impl Gate for OpenGate {
    fn charge(&mut self, _: Now, _: &Charge) -> Verdict {
        Verdict::Granted
    }
}

/// A token bucket. It begins full, fills evenly, and holds no more than its burst.
///
/// The level is kept in units of a token divided by the window's nanoseconds, so that refilling never rounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Tokens times nanoseconds of a window.
    level: u128,
    filled_ns: u64,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub const fn full(now: Now, rate: Rate) -> Self {
        Self { level: Self::capacity(rate), filled_ns: now.mono_ns }
    }

    /// Takes one token.
    ///
    /// # Errors
    /// The milliseconds until there is one, rounded up, at least 1; nothing was taken.
    pub const fn take(&mut self, now: Now, rate: Rate) -> Result<(), u32> {
        self.fill(now, rate);
        let token = Self::window_ns(rate);
        if self.level >= token {
            self.level -= token;
            return Ok(());
        }
        let wait_ns = (token - self.level).div_ceil(rate.per_window as u128);
        let wait_ms = wait_ns.div_ceil(1_000_000);
        Err(if wait_ms > u32::MAX as u128 { u32::MAX } else { wait_ms as u32 })
    }

    /// It holds all that it can: forgetting it loses nothing.
    pub const fn is_full(&mut self, now: Now, rate: Rate) -> bool {
        self.fill(now, rate);
        self.level == Self::capacity(rate)
    }

    /// A bucket whose measures have changed keeps its level, cut to what it can hold now.
    const fn fill(&mut self, now: Now, rate: Rate) {
        let passed_ns = now.mono_ns.saturating_sub(self.filled_ns);
        self.filled_ns = now.mono_ns;
        let level = self.level + passed_ns as u128 * rate.per_window as u128;
        let capacity = Self::capacity(rate);
        self.level = if level > capacity { capacity } else { level };
    }

    const fn window_ns(rate: Rate) -> u128 {
        rate.window_ms as u128 * 1_000_000
    }

    const fn capacity(rate: Rate) -> u128 {
        rate.burst as u128 * Self::window_ns(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_window: 60, window_ms: 60_000, burst: 3 };

    fn at_ms(ms: u64) -> Now {
        Now { mono_ns: ms * 1_000_000, unix_ms: 0 }
    }

    #[test]
    fn a_burst_passes_and_one_more_waits_for_its_token() {
        let mut bucket = Bucket::full(at_ms(0), RATE);
        for _ in 0..3 {
            assert_eq!(bucket.take(at_ms(0), RATE), Ok(()));
        }
        assert_eq!(bucket.take(at_ms(0), RATE), Err(1_000));
        assert_eq!(bucket.take(at_ms(999), RATE), Err(1));
        assert_eq!(bucket.take(at_ms(1_000), RATE), Ok(()));
        assert_eq!(bucket.take(at_ms(1_000), RATE), Err(1_000));
    }

    #[test]
    fn a_refused_take_costs_nothing_and_time_never_fills_beyond_the_burst() {
        let mut bucket = Bucket::full(at_ms(0), RATE);
        assert!(bucket.is_full(at_ms(0), RATE));
        for _ in 0..3 {
            bucket.take(at_ms(0), RATE).unwrap();
        }
        for ms in 0..1_000 {
            assert!(bucket.take(at_ms(ms), RATE).is_err());
        }
        assert_eq!(bucket.take(at_ms(1_000), RATE), Ok(()));
        assert!(!bucket.is_full(at_ms(3_999), RATE));
        assert!(bucket.is_full(at_ms(4_000), RATE));
        let later = at_ms(u64::MAX / 1_000_000);
        for _ in 0..3 {
            assert_eq!(bucket.take(later, RATE), Ok(()));
        }
        assert!(bucket.take(later, RATE).is_err());
    }

    #[test]
    fn refilling_never_rounds() {
        let thirds = Rate { per_window: 3, window_ms: 1_000, burst: 1 };
        let mut bucket = Bucket::full(at_ms(0), thirds);
        let mut taken = 0;
        for ms in 0..3_000 {
            taken += u32::from(bucket.take(at_ms(ms), thirds).is_ok());
        }
        // One that was there, and three a second: the last one comes with the third second.
        assert_eq!(taken, 1 + 8);
        assert_eq!(bucket.take(at_ms(3_000), thirds), Ok(()));
    }
}
