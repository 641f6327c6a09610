//! The hash of names and ids inside one shard. Seeded, so that clients cannot aim at one bucket.

use foldhash::SharedSeed;
use foldhash::fast::FoldHasher;
use std::hash::Hasher as _;

/// Hashes bytes under the shard's seed.
#[derive(Debug)]
pub(crate) struct Seeded {
    seed: u64,
    shared: SharedSeed,
}

impl Seeded {
    /// A hash function of its own for each seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self { seed, shared: SharedSeed::from_u64(seed) }
    }

    /// The hash of some bytes in a name space.
    #[inline]
    pub(crate) fn hash(&self, space: u32, bytes: &[u8]) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write_u32(space);
        hasher.write(bytes);
        hasher.finish()
    }
}
