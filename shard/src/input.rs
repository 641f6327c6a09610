//! Everything that can happen to a shard.

use crate::log::{DiskOutcome, Ticket};
use conduit_protocol::{Command, ConnectionId, Origin, TenantId};

/// One thing that happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// A client asks for something. Its stream belongs to this shard: owners route by `Shard::owner_of` first.
    /// `Subscribe`, `Credit`, `Ack`, `AckUpTo` and `Nack` come from connections of this very shard; `Publish` and
    /// `Stats` may have been forwarded, which `origin.shard` tells.
    Command {
        /// Where the answer goes.
        origin: Origin,
        /// Whose streams.
        tenant: TenantId,
        /// The operation.
        command: Command<'a>,
    },
    /// Everything that was delivered to this connection has been handed to the kernel: its byte window is whole again.
    Drained {
        /// The connection.
        connection: ConnectionId,
    },
    /// The connection is gone: its in-flight messages go back to the front, in order.
    Disconnected {
        /// The connection.
        connection: ConnectionId,
    },
    /// What came of a request of [`crate::Shard::poll_disk`].
    Disk {
        /// Which request.
        ticket: Ticket,
        /// What came of it.
        outcome: DiskOutcome<'a>,
    },
    /// `next_deadline` has come.
    Deadline,
}
