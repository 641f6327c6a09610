//! What a session is lent for the length of one call.

use crate::http::HttpDate;
use crate::limits::Limits;
use crate::telemetry::Telemetry;
use crate::time::Now;

/// The surroundings of one call into a session.
#[derive(Debug)]
pub struct Context<'c> {
    /// The time of this tick.
    pub now: Now,
    /// The bounds.
    pub limits: &'c Limits,
    /// The shard's counters.
    pub telemetry: &'c mut Telemetry,
    /// The connection's outbox: whatever is appended here is written to the peer, in this order.
    pub out: &'c mut Vec<u8>,
    /// The `date` header's text, renewed by the session when the second changes.
    pub date: &'c mut HttpDate,
    /// New requests are refused with `ServerDraining` and HTTP answers say `connection: close`.
    pub draining: bool,
}
