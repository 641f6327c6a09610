//! One consumer's in-flight deliveries by message id.
//!
//! Entries are (hash of the id, seq). Ids are almost always unique, so the lowest seq of each hash sits in a hash table
//! and only further ones (publishers may reuse an id) in an ordered set: however many share an id, no operation walks them.

use hashbrown::HashTable;
use std::collections::BTreeSet;

/// The index. Who asks compares the ids themselves: equal hashes do not make equal ids.
#[derive(Debug, Default)]
pub(crate) struct IdIndex {
    lowest: HashTable<(u64, u64)>,
    others: BTreeSet<(u64, u64)>,
}

impl IdIndex {
    /// Adds a seq.
    pub(crate) fn insert(&mut self, hash: u64, seq: u64) {
        if let Some(entry) = self.lowest.find_mut(hash, |entry| entry.0 == hash) {
            let higher = seq.max(entry.1);
            entry.1 = seq.min(entry.1);
            self.others.insert((hash, higher));
        } else {
            self.lowest.insert_unique(hash, (hash, seq), |entry| entry.0);
        }
    }

    /// Removes a seq.
    pub(crate) fn remove(&mut self, hash: u64, seq: u64) {
        let Ok(mut entry) = self.lowest.find_entry(hash, |entry| entry.0 == hash) else { return };
        if entry.get().1 != seq {
            self.others.remove(&(hash, seq));
            return;
        }
        match self.others.range((hash, 0)..=(hash, u64::MAX)).next().copied() {
            Some(next) => {
                self.others.remove(&next);
                *entry.get_mut() = next;
            }
            None => drop(entry.remove()),
        }
    }

    /// Seqs whose id has this hash, the lowest first.
    pub(crate) fn seqs(&self, hash: u64) -> impl Iterator<Item = u64> {
        let lowest = self.lowest.find(hash, |entry| entry.0 == hash).map(|entry| entry.1);
        // Without a lowest one there are no others, and the common case asks the ordered set nothing.
        let others = (!self.others.is_empty()).then(|| self.others.range((hash, 0)..=(hash, u64::MAX)));
        lowest.into_iter().chain(others.into_iter().flatten().map(|entry| entry.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn seqs_of_a_hash_come_lowest_first(steps in proptest::collection::vec((0u8..3, 0u64..4, 0u64..20), 1..200)) {
            let mut index = IdIndex::default();
            let mut model = BTreeSet::new();
            for (step, hash, seq) in steps {
                if step < 2 {
                    if model.insert((hash, seq)) { index.insert(hash, seq); }
                } else {
                    model.remove(&(hash, seq));
                    index.remove(hash, seq);
                }
                for hash in 0..4 {
                    let wanted: Vec<u64> = model.range((hash, 0)..=(hash, u64::MAX)).map(|entry| entry.1).collect();
                    assert_eq!(index.seqs(hash).collect::<Vec<_>>(), wanted);
                }
            }
        }
    }
}
