//! The identifiers that cross crate borders. All are plain numbers: copying one never allocates.

/// One data shard (or the control shard, which comes after the last data shard).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

/// One connection of one shard. Unique over the shard's life: the low 32 bits are a slot, the high 32 a generation,
/// so that an identifier kept after its connection has gone never names a newer connection by accident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId(pub u64);

impl ConnectionId {
    /// Joins a slot and its generation.
    #[must_use]
    pub const fn new(slot: u32, generation: u32) -> Self {
        Self((generation as u64) << 32 | slot as u64)
    }

    /// The slot in the owner's table of connections.
    #[must_use]
    pub const fn slot(self) -> u32 {
        self.0 as u32
    }
}

/// A message's position in its stream: 1 for the first, then rising by one, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seq(pub u64);

/// Who owns a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(pub u32);

impl TenantId {
    /// Whoever has no tenant: everybody, on a server without tenants.
    pub const DEFAULT: Self = Self(0);

    /// The tenant of a name. Fixed for ever: streams on the disk belong to it. Two names may meet in one id, so whoever
    /// reads a list of names refuses such a pair.
    #[must_use]
    pub fn of_name(name: &str) -> Self {
        // Zero is the default tenant, which has no name.
        Self((xxhash_rust::xxh3::xxh3_64_with_seed(name.as_bytes(), NAME_SEED) as u32).max(1))
    }
}

/// Seed of the hash of tenants' names.
const NAME_SEED: u64 = 0x7465_6e61_6e74_2121;

/// Names one request of one connection, so that its answer finds its way back. Chosen by the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Token(pub u32);

impl Token {
    /// The request wants no answer unless it fails.
    pub const NONE: Self = Self(u32::MAX);
}

/// Where a command came from, and so where its answer goes: a forwarded command keeps its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The shard that owns the connection.
    pub shard: ShardId,
    /// The connection.
    pub connection: ConnectionId,
    /// The request on that connection.
    pub token: Token,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_keeps_its_id_for_ever() {
        let ids = ["acme", "globex", "a", ""].map(|name| TenantId::of_name(name).0);
        assert_eq!(ids, [1_668_952_405, 3_496_093_899, 2_507_091_973, 3_749_870_192]);
    }
}
