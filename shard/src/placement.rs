//! Which shard owns a stream. Fixed for ever: data directories and clients may rely on it (golden vectors in a test).

use conduit_protocol::{ShardId, TenantId};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Seed of the placement hash of [`TenantId::DEFAULT`].
const SEED: u64 = 0x636f_6e64_7569_7421;
/// Spreads tenants over seeds: 2^64 divided by the golden ratio, odd, so that no two tenants share a seed.
const TENANT_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// What the name of a stream's dead letters ends with.
pub(crate) const DEAD_LETTERS: &str = ".dlq";

/// The shard that owns a stream: xxh3-64 of the name, seeded by the tenant, then jump consistent hashing, so that
/// going from `n` to `n + 1` shards moves one stream in `n + 1`. No shards counts as one.
///
/// Every `.dlq` at the end of the name is left out: a stream's dead letters live beside it, so that giving a message up
/// never crosses shards.
#[must_use]
pub fn shard_of(tenant: TenantId, stream: &str, shards: u16) -> ShardId {
    if shards <= 1 {
        return ShardId(0);
    }
    let seed = SEED.wrapping_add(u64::from(tenant.0).wrapping_mul(TENANT_STEP));
    let stem = stream.trim_end_matches(DEAD_LETTERS);
    ShardId(jump(xxh3_64_with_seed(stem.as_bytes(), seed), shards))
}

/// Jump consistent hashing (Lamping and Veach, 2014): the key jumps forward from bucket to bucket, with a pseudo-random
/// sequence that only the key decides, until the next jump would leave the `buckets`.
fn jump(mut key: u64, buckets: u16) -> u16 {
    let mut bucket = 0;
    let mut next = 0_u64;
    while next < u64::from(buckets) {
        bucket = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let stride = (1_u64 << 31) as f64 / ((key >> 33) + 1) as f64;
        next = ((bucket + 1) as f64 * stride) as u64;
    }
    bucket as u16
}
