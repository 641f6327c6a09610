//! The one limiter: what may be taken, from whom, and how a session asks for it.
//!
//! A [`Charge`] names a subject (an address, a tenant, the whole server), a category, and how much there is of it; it
//! carries its own allowance, so that whoever keeps the account needs no configuration and a reload changes nothing
//! there. Every account has one home shard: what is promised holds exactly for the whole server.
//!
//! [`Bucket`] is the arithmetic of every rate here, whoever keeps it: a WebSocket's own message rate lives in its session,
//! all others in the table of their home shard.

use crate::answer::Refusal;
use crate::error::ErrorCode;
use crate::ids::{ShardId, TenantId};
use crate::policy::TokenTag;
use crate::telemetry::Endpoint;
use crate::time::Now;
use core::net::{IpAddr, Ipv6Addr};
use std::hash::Hash;

/// Whose allowance it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A client's address: see [`Subject::ip`].
    Ip(IpAddr),
    /// A tenant.
    Tenant(TenantId),
    /// Whoever shows one token.
    Token(TokenTag),
    /// Everybody together.
    Server,
}

impl Subject {
    /// A client's address. Of IPv6 only the network counts (64 bits): a host has all the addresses of its network, so that
    /// it could begin anew with each of them.
    #[must_use]
    pub const fn ip(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::Ip(address),
            IpAddr::V6(address) => match address.to_ipv4_mapped() {
                Some(address) => Self::Ip(IpAddr::V4(address)),
                None => Self::Ip(IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !(u64::MAX as u128)))),
            },
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Ip(_) => "one address",
            Self::Tenant(_) => "the tenant",
            Self::Token(_) => "one token",
            Self::Server => "the server",
        }
    }
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
    /// It comes back by a release.
    #[must_use]
    pub const fn is_slot(&self) -> bool {
        matches!(self.allowance, Allowance::Slots(_))
    }

    /// How it is refused: names the limit, and says when trying again makes sense. `wait_ms`: until there is some again,
    /// when that is known.
    #[cold]
    #[must_use]
    pub fn refusal(&self, wait_ms: Option<u32>) -> Refusal<'static> {
        let whose = self.subject.name();
        let what = match self.category {
            // They share one account.
            Category::Requests(Endpoint::Other) => "requests to all other paths".to_owned(),
            Category::Requests(endpoint) => format!("requests to {}", endpoint.path()),
            Category::AllRequests => "requests".to_owned(),
            Category::Connects => "new WebSocket connections".to_owned(),
            Category::Connections => "WebSocket connections at a time".to_owned(),
            Category::Uploads => "uploads at a time".to_owned(),
            Category::Rule(_) => "requests to this rule".to_owned(),
        };
        let message = match self.allowance {
            Allowance::Slots(slots) => format!("{whose} may have {slots} {what}, and has them: end one of them first"),
            Allowance::Rate(Rate { per_window, window_ms, burst }) => format!(
                "{whose} may make {per_window} {what} in {} s, {burst} of them at once: wait {} ms",
                f64::from(window_ms) / 1_000.0,
                wait_ms.unwrap_or(window_ms)
            ),
        };
        Refusal { code: self.refusal_code(), message: message.into(), retry_after_ms: wait_ms }
    }

    /// The code of [`Self::refusal`].
    #[must_use]
    pub const fn refusal_code(&self) -> ErrorCode {
        match (self.category, self.subject) {
            (Category::AllRequests, Subject::Tenant(_)) => ErrorCode::TenantRateLimitExceeded,
            (Category::Connects, _) => ErrorCode::ConnectionRateLimitExceeded,
            (Category::Connections, _) => ErrorCode::TenantConnectionLimitExceeded,
            (Category::Uploads, Subject::Tenant(_)) => ErrorCode::TenantUploadQuotaExceeded,
            (Category::Uploads, Subject::Ip(_) | Subject::Token(_)) => ErrorCode::TooManyUploadsPerIp,
            (Category::Uploads, Subject::Server) => ErrorCode::TooManyUploads,
            (Category::AllRequests | Category::Requests(_) | Category::Rule(_), _) => ErrorCode::RateLimitExceeded,
        }
    }

    /// The shard that keeps this account: fixed for a number of shards.
    #[must_use]
    pub fn home(&self, shards: u16) -> ShardId {
        if shards <= 1 {
            return ShardId(0);
        }
        let mut parts = Parts::default();
        (self.subject, self.category).hash(&mut parts);
        ShardId((xxhash_rust::xxh3::xxh3_64(&parts.bytes[..parts.len]) % u64::from(shards)) as u16)
    }
}

/// The bytes of a key, gathered so that they are hashed in one go: that is asked for every request that is limited.
struct Parts {
    bytes: [u8; 64],
    len: usize,
}

impl Default for Parts {
    fn default() -> Self {
        Self { bytes: [0; 64], len: 0 }
    }
}

impl std::hash::Hasher for Parts {
    fn write(&mut self, part: &[u8]) {
        // A subject and a category have fewer bytes; more would only make accounts meet in one home.
        let room = &mut self.bytes[self.len..];
        let taken = part.len().min(room.len());
        room[..taken].copy_from_slice(&part[..taken]);
        self.len += taken;
    }

    fn finish(&self) -> u64 {
        0
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

    /// Gives a slot back, wherever its account is kept.
    fn release(&mut self, charge: &Charge);
}

/// Grants everything: for servers and tests without limits.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenGate;

impl Gate for OpenGate {
    fn charge(&mut self, _: Now, _: &Charge) -> Verdict {
        Verdict::Granted
    }

    fn release(&mut self, _: &Charge) {}
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

    /// Takes up to so many tokens beyond the first `keep`, and says how many: to be spent elsewhere.
    pub fn take_some(&mut self, now: Now, rate: Rate, keep: u32, some: u32) -> u32 {
        self.fill(now, rate);
        let token = Self::window_ns(rate);
        let spare = (self.level / token).saturating_sub(u128::from(keep));
        let taken = u32::try_from(spare).unwrap_or(u32::MAX).min(some);
        self.level -= u128::from(taken) * token;
        taken
    }

    /// Gives tokens back that were taken and not spent.
    pub const fn give_back(&mut self, now: Now, rate: Rate, tokens: u32) {
        self.fill(now, rate);
        let level = self.level + tokens as u128 * Self::window_ns(rate);
        let capacity = Self::capacity(rate);
        self.level = if level > capacity { capacity } else { level };
    }

    /// How much of what it can hold has been spent: 0 is nothing, 1 all of it.
    pub fn spent_share(&mut self, now: Now, rate: Rate) -> f32 {
        self.fill(now, rate);
        let capacity = Self::capacity(rate);
        (capacity - self.level) as f32 / capacity.max(1) as f32
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
        let thirds = Rate { per_window: 3, window_ms: 1_000, burst: 2 };
        let mut bucket = Bucket::full(at_ms(0), thirds);
        let mut taken = 0;
        for ms in 0..3_000 {
            taken += u32::from(bucket.take(at_ms(ms), thirds).is_ok());
        }
        // Two that were there, and three a second: the last one comes with the third second.
        assert_eq!(taken, 2 + 8);
        assert_eq!(bucket.take(at_ms(3_000), thirds), Ok(()));
    }
}
