//! How often something may be done, and how many at a time. Everything is off unless set.

use crate::limiter::Rate;
use crate::telemetry::Endpoint;

/// The rates and caps that do not belong to a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rates {
    /// HTTP requests of one address to each endpoint, by `Endpoint as usize`; empty: no limit. `/health` is never limited,
    /// and a WebSocket handshake counts for `ws_connects_by_ip` instead.
    pub http_by_ip: Vec<Rate>,
    /// HTTP requests in progress on each shard: the server's maximum in equal shares, at least 1 each. A share needs no other
    /// shard to be asked, and all of them together are never more than the maximum.
    pub in_progress_per_shard_max: Option<u32>,
    /// Messages of one WebSocket connection.
    pub ws_messages: Option<Rate>,
    /// New WebSocket connections of one address.
    pub ws_connects_by_ip: Option<Rate>,
}

impl Rates {
    /// The rate of one address at an endpoint.
    #[must_use]
    pub fn by_ip(&self, endpoint: Endpoint) -> Option<Rate> {
        self.http_by_ip.get(endpoint as usize).copied()
    }
}
