//! The accounts of the limiter whose home is this shard, and what it holds of accounts that are kept elsewhere.
//!
//! Every account has one home, so what a limit promises holds for the whole server: no more is ever granted than there
//! is. Asking another shard takes a message and its answer, and a connection takes no other request meanwhile. So that a
//! busy tenant of another shard does not pay that for every request, a home that is asked by a peer hands out a few tokens
//! more when there are plenty (a *lease*). Whoever holds a lease spends it without asking, and returns what is left soon.
//! A lease is taken from the account when it is given: the sum never exceeds the limit. Accounts that hold few tokens, and
//! slots, are never leased: they are exact in the other direction too.
//!
//! Each piece of state has its file: `accounts` the buckets, bounded; this file has slots, leases and errands.

mod accounts;

use crate::{Mutant, Planted};
use accounts::Accounts;
use conduit_protocol::limiter::{Allowance, Category, Charge, Gate, Rate, Subject, Verdict};
use conduit_protocol::{Now, ShardId};
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

/// Rate accounts of one shard. Beyond, those that have spent the least are forgotten: whoever comes back after that begins
/// with a full bucket.
pub const ACCOUNTS_MAX: usize = accounts::TABLES * accounts::TABLE_MAX;

/// Tokens of one lease at most.
const LEASE_TOKENS_MAX: u32 = 256;
/// A lease is at most this part of what its account can hold: below 64 tokens there is none.
const LEASE_PART: u32 = 64;
/// Leases of one shard. Beyond, a lease is returned at once.
const LEASES_MAX: usize = 4_096;
/// How long a lease is kept without a look at it.
const LEASE_MS: u64 = 100;

/// What an account is found by.
type Key = (Subject, Category);

/// Something that another shard has to do for this one: the home of the account that the charge is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errand {
    /// A slot comes back.
    Release(Charge),
    /// Tokens of a lease were not needed.
    GiveBack(Charge, u32),
}

impl Errand {
    /// What it is about.
    #[must_use]
    pub const fn charge(&self) -> &Charge {
        match self {
            Self::Release(charge) | Self::GiveBack(charge, _) => charge,
        }
    }
}

/// The limiter's part on one shard.
#[derive(Debug)]
pub struct Limiter {
    here: ShardId,
    shards: u16,
    accounts: Accounts,
    /// Slots that are taken, of accounts whose home is here: never more than there are connections and uploads.
    slots: HashMap<Key, u32, RandomState>,
    leases: HashMap<Key, Lease, RandomState>,
    errands: Vec<Errand>,
    next_sweep_ns: u64,
    /// A planted bug, for the simulator to find; never in a server.
    planted: Planted,
}

/// Tokens of an account that is kept elsewhere.
#[derive(Debug)]
struct Lease {
    charge: Charge,
    tokens: u32,
    since_ns: u64,
}

impl Limiter {
    /// The part of `here`, one of so many data shards.
    #[must_use]
    pub fn new(here: ShardId, shards: u16) -> Self {
        Self {
            here,
            shards,
            accounts: Accounts::default(),
            slots: HashMap::default(),
            leases: HashMap::default(),
            errands: Vec::new(),
            next_sweep_ns: 0,
            planted: Planted::default(),
        }
    }

    /// The same with a bug, for the simulator to find.
    #[must_use]
    pub fn with(self, planted: Planted) -> Self {
        Self { planted, ..self }
    }

    /// Takes for a session of another shard from an account whose home is here. A grant comes with a lease of so many
    /// tokens more, which may be 0.
    ///
    /// # Errors
    /// There is none left: the milliseconds until there is, when that is known.
    pub fn charge_for_peer(&mut self, now: Now, charge: &Charge) -> Result<u32, Option<u32>> {
        self.take(now, charge)?;
        let Allowance::Rate(rate) = charge.allowance else { return Ok(0) };
        let some = (rate.burst / LEASE_PART).min(LEASE_TOKENS_MAX);
        // What is running short is not handed out in advance.
        let keep = rate.burst / 2;
        if self.planted.has(Mutant::LeaseForFree) {
            return Ok(some);
        }
        Ok(if some == 0 { 0 } else { self.accounts.find(now, key(charge), rate).take_some(now, rate, keep, some) })
    }

    /// The home of an account has handed out tokens in advance.
    pub fn keep_lease(&mut self, now: Now, charge: &Charge, tokens: u32) {
        if tokens == 0 {
            return;
        }
        if self.leases.len() >= LEASES_MAX && !self.leases.contains_key(&key(charge)) {
            self.errands.push(Errand::GiveBack(*charge, tokens));
            return;
        }
        match self.leases.entry(key(charge)) {
            Entry::Occupied(mut entry) => entry.get_mut().tokens = entry.get().tokens.saturating_add(tokens),
            Entry::Vacant(entry) => {
                entry.insert(Lease { charge: *charge, tokens, since_ns: now.mono_ns });
            }
        }
    }

    /// Does for a peer what it has to do about an account whose home is here.
    pub fn run_errand(&mut self, now: Now, errand: &Errand) {
        match errand {
            Errand::Release(charge) => {
                self.release_here(charge);
                if self.planted.has(Mutant::ReleaseTwice) {
                    self.release_here(charge);
                }
            }
            Errand::GiveBack(charge, tokens) => {
                if let Allowance::Rate(rate) = charge.allowance {
                    self.accounts.find(now, key(charge), rate).give_back(now, rate, *tokens);
                }
            }
        }
    }

    /// What other shards have to do, each at the home of its charge.
    pub fn errands(&mut self) -> impl Iterator<Item = Errand> {
        self.errands.drain(..)
    }

    /// Nobody has to do anything for this shard.
    #[inline]
    #[must_use]
    pub const fn is_settled(&self) -> bool {
        self.errands.is_empty()
    }

    /// To be called now and then, best every 100 ms: forgets a part of the accounts that are full, and returns leases. Takes
    /// a few microseconds at most.
    #[inline]
    pub fn sweep(&mut self, now: Now) {
        if now.mono_ns >= self.next_sweep_ns {
            self.sweep_now(now);
        }
    }

    fn sweep_now(&mut self, now: Now) {
        self.next_sweep_ns = now.mono_ns + LEASE_MS * 1_000_000 / 2;
        self.accounts.sweep(now);
        if self.leases.is_empty() {
            return;
        }
        let errands = &mut self.errands;
        self.leases.retain(|_, lease| {
            let is_kept = now.mono_ns.saturating_sub(lease.since_ns) < LEASE_MS * 1_000_000;
            if !is_kept && lease.tokens > 0 {
                errands.push(Errand::GiveBack(lease.charge, lease.tokens));
            }
            is_kept
        });
    }

    /// When [`Self::sweep`] has something to return.
    #[inline]
    #[must_use]
    pub fn next_deadline_ns(&self) -> Option<u64> {
        if self.leases.is_empty() { None } else { Some(self.next_sweep_ns) }
    }

    /// Rate accounts that are kept now.
    #[must_use]
    pub fn accounts(&self) -> usize {
        self.accounts.len()
    }

    /// Slots of an account that are taken now. The account's home is here.
    #[must_use]
    pub fn slots_taken(&self, subject: Subject, category: Category) -> u32 {
        self.slots.get(&(subject, category)).copied().unwrap_or(0)
    }

    fn take(&mut self, now: Now, charge: &Charge) -> Result<(), Option<u32>> {
        match charge.allowance {
            Allowance::Rate(rate) => self.accounts.find(now, key(charge), rate).take(now, rate).map_err(Some),
            Allowance::Slots(slots) => {
                let taken = self.slots.entry(key(charge)).or_insert(0);
                if *taken < slots {
                    *taken += 1;
                    return Ok(());
                }
                if *taken == 0 {
                    self.slots.remove(&key(charge));
                }
                Err(None)
            }
        }
    }

    fn release_here(&mut self, charge: &Charge) {
        if let Entry::Occupied(mut entry) = self.slots.entry(key(charge)) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }

    /// Spends a token of a lease, if there is one.
    fn spend_lease(&mut self, charge: &Charge) -> bool {
        let lease = if self.leases.is_empty() { None } else { self.leases.get_mut(&key(charge)) };
        lease.is_some_and(|lease| {
            let is_there = lease.tokens > 0;
            lease.tokens = lease.tokens.saturating_sub(1);
            is_there
        })
    }
}

impl Gate for Limiter {
    fn charge(&mut self, now: Now, charge: &Charge) -> Verdict {
        if charge.home(self.shards) != self.here {
            return if self.spend_lease(charge) { Verdict::Granted } else { Verdict::Away };
        }
        match self.take(now, charge) {
            Ok(()) => Verdict::Granted,
            Err(wait_ms) => Verdict::Refused(charge.refusal(wait_ms)),
        }
    }

    fn release(&mut self, charge: &Charge) {
        if !charge.is_slot() {
            return;
        }
        if charge.home(self.shards) == self.here {
            self.release_here(charge);
        } else {
            self.errands.push(Errand::Release(*charge));
        }
    }
}

const fn key(charge: &Charge) -> Key {
    (charge.subject, charge.category)
}

/// Whether an account of this rate is ever leased.
#[must_use]
pub const fn is_leased(rate: Rate) -> bool {
    rate.burst / LEASE_PART > 0
}
