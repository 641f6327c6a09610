//! Token buckets by key, bounded.
//!
//! Keys come from clients' addresses, so there can be any number of them. The buckets lie in small tables; which one a key
//! belongs to is decided by a hash that is seeded at random, so nobody can fill one of them on purpose. A table that is full
//! makes room by itself: first it forgets the buckets that are full, which loses nothing, and if all are in use the quarter
//! that has spent the least. Somebody who is out of tokens is forgotten last, and the work is a few nanoseconds for each
//! key that was ever added.

use super::Key;
use conduit_protocol::Now;
use conduit_protocol::limiter::{Bucket, Rate};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Tables.
pub(super) const TABLES: usize = 64;
/// Buckets of one table.
pub(super) const TABLE_MAX: usize = 1_024;

#[derive(Debug)]
struct Account {
    key: Key,
    rate: Rate,
    bucket: Bucket,
}

/// All buckets whose home is one shard.
#[derive(Debug)]
pub(super) struct Accounts {
    tables: Box<[HashTable<Account>]>,
    seed: RandomState,
    /// The table to be swept next.
    next: usize,
    /// Room for finding out who has spent the least.
    shares: Vec<f32>,
}

impl Default for Accounts {
    fn default() -> Self {
        let tables = (0..TABLES).map(|_| HashTable::new()).collect();
        Self { tables, seed: RandomState::default(), next: 0, shares: Vec::new() }
    }
}

impl Accounts {
    /// The bucket of a key: a full one if it is not known.
    pub(super) fn find(&mut self, now: Now, key: Key, rate: Rate) -> &mut Bucket {
        let hash = self.seed.hash_one(key);
        // The table looks at the lowest bits and at the highest: these are neither.
        let table = &mut self.tables[(hash >> 32) as usize % TABLES];
        if table.len() >= TABLE_MAX && table.find(hash, |account| account.key == key).is_none() {
            make_room(table, &mut self.shares, now);
        }
        let seed = &self.seed;
        let entry = table.entry(hash, |account| account.key == key, |account| seed.hash_one(account.key));
        let account = entry.or_insert_with(|| Account { key, rate, bucket: Bucket::full(now, rate) }).into_mut();
        account.rate = rate;
        &mut account.bucket
    }

    /// Forgets the full buckets of one table, another one every time.
    pub(super) fn sweep(&mut self, now: Now) {
        let seed = &self.seed;
        let table = &mut self.tables[self.next];
        self.next = (self.next + 1) % TABLES;
        if table.is_empty() {
            return;
        }
        table.retain(|account| !account.bucket.is_full(now, account.rate));
        if table.capacity() > 4 * table.len() {
            table.shrink_to_fit(|account| seed.hash_one(account.key));
        }
    }

    pub(super) fn len(&self) -> usize {
        self.tables.iter().map(HashTable::len).sum()
    }
}

#[cold]
fn make_room(table: &mut HashTable<Account>, shares: &mut Vec<f32>, now: Now) {
    table.retain(|account| !account.bucket.is_full(now, account.rate));
    if table.len() <= TABLE_MAX * 3 / 4 {
        return;
    }
    shares.clear();
    shares.extend(table.iter_mut().map(|account| account.bucket.spent_share(now, account.rate)));
    let quarter = shares.len() / 4;
    let (_, least, _) = shares.select_nth_unstable_by(quarter, f32::total_cmp);
    let least = *least;
    // Of those that have spent exactly as much as the last one to go, as many go as are needed.
    let mut to_go = quarter;
    table.retain(|account| {
        let goes = to_go > 0 && account.bucket.spent_share(now, account.rate) <= least;
        to_go -= usize::from(goes);
        !goes
    });
}
