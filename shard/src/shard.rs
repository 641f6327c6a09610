//! The state machine itself.

use crate::{Effects, Input, Limits, StreamKey};
use conduit_protocol::{ConnectionId, Delivery, Now, Seq, ShardId, TenantId};

/// The broker of one core. See the contract at the top of the crate.
#[derive(Debug)]
pub struct Shard {}

/// Figures of one shard at one moment: what the control shard merges.
#[derive(Debug, Clone)]
pub struct Snapshot {}

impl Shard {
    /// An empty shard. `seed` feeds the generator of message ids and the maps' hash keys.
    #[must_use]
    pub fn new(id: ShardId, shards: u16, limits: Limits, seed: u64) -> Self {
        let _ = (id, shards, limits, seed);
        unimplemented!()
    }
    /// The shard that owns a stream: ask before handing a command to `handle`.
    #[must_use]
    pub fn owner_of(&self, tenant: TenantId, stream: &str) -> ShardId {
        let _ = (tenant, stream);
        unimplemented!()
    }
    /// Takes one input and appends what is to be done.
    pub fn handle(&mut self, now: Now, input: Input<'_>, effects: &mut Effects) {
        let _ = (now, input, effects);
    }
    /// When `Input::Deadline` is wanted, in `Now::mono_ns`; in the past when work was left over.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        None
    }
    /// The bytes of a `Deliver` effect, in the consumer's encoding (transcoded once per message, on first need).
    pub fn delivery(&mut self, connection: ConnectionId, stream: StreamKey, seq: Seq, attempt: u32) -> Delivery<'_> {
        let _ = (connection, stream, seq, attempt);
        unimplemented!()
    }
    /// Id and stream name of a message just published.
    #[must_use]
    pub fn published(&self, stream: StreamKey, seq: Seq) -> (&str, &str) {
        let _ = (stream, seq);
        unimplemented!()
    }
    /// Figures of now.
    pub fn snapshot(&mut self, now: Now) -> Snapshot {
        let _ = now;
        Snapshot {}
    }
}
