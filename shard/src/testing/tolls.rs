//! Who was granted what by the limiter, kept the slow and obvious way from what sessions were told: never more over any
//! time than a rate allows, and never more slots at a time than there are, whichever shard keeps the account.
//!
//! A grant counts when a session gets it. Its token may have been taken from the account some time before: the answer of
//! another shard is on its way for a while, and what is handed out in advance is spent within a moment. So the judge allows
//! what comes back to the account within the slack, and no more.

use crate::{Limiter, Planted};
use conduit_protocol::limiter::{Allowance, Category, Charge, Gate, Rate, Subject, Verdict};
use conduit_protocol::{Now, ShardId};
use std::collections::HashMap;

/// An account, as charges name it.
type Account = (Subject, Category);

/// What a gate was asked and has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passage {
    /// A session was granted this.
    Granted(Charge),
    /// The same, out of what another shard has handed out in advance.
    Leased(Charge),
    /// It was refused.
    Refused(Charge),
    /// A session gave a slot back.
    Released(Charge),
}

/// The limiter of one shard, which writes down what it says.
#[derive(Debug)]
pub struct Tollgate {
    /// The limiter.
    pub limiter: Limiter,
    here: ShardId,
    shards: u16,
    passages: Vec<Passage>,
}

impl Tollgate {
    /// The gate of one of so many shards, with a bug if one is planted.
    #[must_use]
    pub fn new(here: ShardId, shards: u16, planted: Planted) -> Self {
        Self { limiter: Limiter::new(here, shards).with(planted), here, shards, passages: Vec::new() }
    }

    /// The home of an account has granted something to a session here.
    pub fn note(&mut self, passage: Passage) {
        self.passages.push(passage);
    }

    /// What was said since the last call.
    pub fn take(&mut self) -> Vec<Passage> {
        std::mem::take(&mut self.passages)
    }
}

impl Gate for Tollgate {
    fn charge(&mut self, now: Now, charge: &Charge) -> Verdict {
        let verdict = self.limiter.charge(now, charge);
        match verdict {
            Verdict::Granted if charge.home(self.shards) != self.here => self.passages.push(Passage::Leased(*charge)),
            Verdict::Granted => self.passages.push(Passage::Granted(*charge)),
            Verdict::Refused(_) => self.passages.push(Passage::Refused(*charge)),
            Verdict::Away => {}
        }
        verdict
    }

    fn release(&mut self, charge: &Charge) {
        self.limiter.release(charge);
        if charge.is_slot() {
            self.passages.push(Passage::Released(*charge));
        }
    }
}

/// What one rate has left, of what it may grant at most.
#[derive(Debug, Clone, Copy)]
struct Level {
    /// Tokens times nanoseconds of a window.
    left: u128,
    at_ns: u64,
}

/// The judge.
#[derive(Debug, Default)]
pub struct Tolls {
    slack_ns: u64,
    levels: HashMap<Account, Level>,
    held: HashMap<Account, u32>,
    /// The highest limit under which slots were granted.
    most: HashMap<Account, u32>,
    granted: u64,
    refused: u64,
}

impl Tolls {
    /// Nothing was granted. A token is spent at most so many nanoseconds after it was taken from its account.
    #[must_use]
    pub fn new(slack_ns: u64) -> Self {
        Self { slack_ns, ..Self::default() }
    }

    /// The process is gone, and with it all accounts: the next one begins with full ones and no slots taken.
    pub fn restart(&mut self) {
        self.levels.clear();
        self.held.clear();
        self.most.clear();
    }

    /// Charges granted and refused so far.
    #[must_use]
    pub const fn totals(&self) -> (u64, u64) {
        (self.granted, self.refused)
    }

    /// Slots of an account that sessions hold.
    #[must_use]
    pub fn held(&self, account: Account) -> u32 {
        self.held.get(&account).copied().unwrap_or(0)
    }

    /// Accounts that slots were ever taken from.
    pub fn accounts(&self) -> impl Iterator<Item = Account> {
        self.held.keys().copied()
    }

    /// Looks at what a gate has said.
    ///
    /// # Errors
    /// What must not be.
    pub fn pass(&mut self, now: Now, passage: Passage) -> Result<(), String> {
        match passage {
            Passage::Refused(_) => {
                self.refused += 1;
                Ok(())
            }
            Passage::Granted(charge) | Passage::Leased(charge) => {
                self.granted += 1;
                match charge.allowance {
                    Allowance::Rate(rate) => self.spend(now, &charge, rate),
                    Allowance::Slots(slots) => {
                        let account = (charge.subject, charge.category);
                        let (held, most) =
                            (self.held.entry(account).or_insert(0), self.most.entry(account).or_insert(0));
                        *held += 1;
                        // A limit that was raised holds for others while an answer under the old one is on its way.
                        *most = slots.max(*most);
                        if held > most {
                            return Err(format!("{held} slots are taken of {most}: {charge:?}"));
                        }
                        Ok(())
                    }
                }
            }
            Passage::Released(charge) => {
                let held = self.held.entry((charge.subject, charge.category)).or_insert(0);
                *held =
                    held.checked_sub(1).ok_or_else(|| format!("a slot that nobody has is given back: {charge:?}"))?;
                Ok(())
            }
        }
    }

    fn spend(&mut self, now: Now, charge: &Charge, rate: Rate) -> Result<(), String> {
        let window_ns = u128::from(rate.window_ms) * 1_000_000;
        let (burst, per_window) = (u128::from(rate.burst) * window_ns, u128::from(rate.per_window));
        let full = burst + u128::from(self.slack_ns) * per_window;
        let level =
            self.levels.entry((charge.subject, charge.category)).or_insert(Level { left: full, at_ns: now.mono_ns });
        let passed_ns = u128::from(now.mono_ns.saturating_sub(level.at_ns));
        level.at_ns = now.mono_ns;
        level.left = (level.left + passed_ns * per_window).min(full);
        let Some(left) = level.left.checked_sub(window_ns) else {
            return Err(format!("more was granted than the rate allows: {charge:?}"));
        };
        level.left = left;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conduit_protocol::TenantId;

    fn at_ms(ms: u64) -> Now {
        Now { mono_ns: ms * 1_000_000, unix_ms: ms }
    }

    const fn charge(allowance: Allowance) -> Charge {
        Charge { subject: Subject::Tenant(TenantId(7)), category: Category::AllRequests, allowance }
    }

    #[test]
    fn one_grant_more_than_the_rate_allows_is_found() {
        let granted = Passage::Granted(charge(Allowance::Rate(Rate { per_window: 1, window_ms: 100, burst: 2 })));
        let mut tolls = Tolls::new(0);
        for ms in [0, 0, 100, 250, 300] {
            assert_eq!(tolls.pass(at_ms(ms), granted), Ok(()), "at {ms} ms");
        }
        assert!(tolls.pass(at_ms(399), granted).is_err());
        tolls.restart();
        assert_eq!(tolls.pass(at_ms(399), granted), Ok(()));
        assert_eq!(tolls.totals(), (7, 0));
    }

    #[test]
    fn one_slot_too_many_is_found_and_one_given_back_twice() {
        let charge = charge(Allowance::Slots(2));
        let (granted, released) = (Passage::Granted(charge), Passage::Released(charge));
        let mut tolls = Tolls::new(0);
        for passage in [granted, granted, released, granted] {
            assert_eq!(tolls.pass(at_ms(0), passage), Ok(()));
        }
        assert_eq!(tolls.held((charge.subject, charge.category)), 2);
        assert!(tolls.pass(at_ms(0), granted).is_err());
        let mut tolls = Tolls::new(0);
        assert!(tolls.pass(at_ms(0), released).is_err());
    }
}
