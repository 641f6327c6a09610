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

/// Who owns a stream. Tenants come with a later issue; until then everything belongs to [`TenantId::DEFAULT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TenantId(pub u32);

impl TenantId {
    /// The tenant of a server without tenants.
    pub const DEFAULT: Self = Self(0);
}

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
