//! Consumers and groups as an operator sees them: a row each, as many as are asked for.

use crate::admin::group_info;
use crate::shard::Shard;
use conduit_protocol::streams::GroupInfo;
use conduit_protocol::{ConnectionId, Encoding, TenantId};

/// One consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRow {
    /// Its connection.
    pub connection: ConnectionId,
    /// Whose stream it reads.
    pub tenant: TenantId,
    /// The stream.
    pub stream: String,
    /// The group; empty for the default group, and for a reader of its own.
    pub group: String,
    /// It reads for itself alone.
    pub is_ephemeral: bool,
    /// Deliveries that it may still be given.
    pub credit: u64,
    /// Deliveries that it has not settled.
    pub inflight: u32,
    /// Deliveries that it may have unsettled.
    pub inflight_max: u32,
    /// An ack gives its credit back.
    pub is_refilled: bool,
    /// Milliseconds until an unsettled delivery is redelivered.
    pub ack_wait_ms: u64,
    /// The encoding of its deliveries.
    pub encoding: Encoding,
    /// Bytes delivered and not yet written to its socket.
    pub outbox_bytes: u64,
}

/// One group and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupRow {
    /// Whose stream it reads.
    pub tenant: TenantId,
    /// The group.
    pub info: GroupInfo,
    /// It is the reader of one connection, and ends with it.
    pub is_ephemeral: bool,
}

/// Rows, and how many more there are.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows<R> {
    /// The rows, in no particular order.
    pub rows: Vec<R>,
    /// Rows beyond those asked for.
    pub omitted: u64,
}

/// Rows are taken until there are `max`; the rest is counted.
fn first<R>(all: impl Iterator<Item = R>, of: u64, max: usize) -> Rows<R> {
    let rows: Vec<R> = all.take(max).collect();
    let omitted = of.saturating_sub(rows.len() as u64);
    Rows { rows, omitted }
}

impl Shard {
    /// Consumers, of one tenant or of all.
    #[must_use]
    pub fn consumer_rows(&self, tenant: Option<TenantId>, max: usize) -> Rows<ConsumerRow> {
        let all = || {
            self.consumers.indices().filter_map(|index| self.consumers.at(index)).filter_map(|consumer| {
                let stream = self.streams.at(consumer.stream)?;
                let group = stream.groups.at(consumer.group)?;
                tenant.is_none_or(|tenant| tenant == stream.tenant).then_some((consumer, stream, group))
            })
        };
        let rows = all().map(|(consumer, stream, group)| ConsumerRow {
            connection: consumer.connection,
            tenant: stream.tenant,
            stream: stream.name.to_string(),
            group: if group.is_ephemeral { String::new() } else { group.name.to_string() },
            is_ephemeral: group.is_ephemeral,
            credit: consumer.credit,
            inflight: consumer.flights.len(),
            inflight_max: consumer.inflight_max,
            is_refilled: consumer.is_refilled,
            ack_wait_ms: consumer.ack_wait_ns / conduit_protocol::time::NS_PER_MS,
            encoding: consumer.encoding,
            outbox_bytes: consumer.outbox_bytes,
        });
        first(rows, all().count() as u64, max)
    }

    /// Groups, of one tenant's streams or of all.
    #[must_use]
    pub fn group_rows(&self, tenant: Option<TenantId>, max: usize) -> Rows<GroupRow> {
        let all = || {
            self.streams
                .iter()
                .filter(move |stream| tenant.is_none_or(|tenant| tenant == stream.tenant))
                .flat_map(|stream| stream.groups.iter().map(move |group| (stream, group)))
        };
        let rows = all().map(|(stream, group)| GroupRow {
            tenant: stream.tenant,
            info: group_info(stream, group, &self.limits),
            is_ephemeral: group.is_ephemeral,
        });
        first(rows, all().count() as u64, max)
    }
}
