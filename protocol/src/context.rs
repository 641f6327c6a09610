//! What a session is lent for the length of one call.

use crate::access_log::AccessLog;
use crate::http::HttpDate;
use crate::limiter::Gate;
use crate::limits::Limits;
use crate::policy::Policy;
use crate::telemetry::Telemetry;
use crate::time::Now;
use core::net::IpAddr;

/// The surroundings of one call into a session.
#[derive(Debug)]
pub struct Context<'c> {
    /// The time of this tick.
    pub now: Now,
    /// The bounds.
    pub limits: &'c Limits,
    /// What the operator decided.
    pub policy: &'c Policy,
    /// The accounts of the limiter that are kept here.
    pub gate: &'c mut dyn Gate,
    /// The access log.
    pub log: &'c mut AccessLog,
    /// The address that the connection comes from.
    pub peer: IpAddr,
    /// The shard's counters.
    pub telemetry: &'c mut Telemetry,
    /// The connection's outbox: whatever is appended here is written to the peer, in this order.
    pub out: &'c mut Vec<u8>,
    /// The `date` header's text, renewed by the session when the second changes.
    pub date: &'c mut HttpDate,
    /// New requests are refused with `ServerDraining` and HTTP answers say `connection: close`.
    pub draining: bool,
    /// While `draining`: the server stays, and only rests after a reload.
    pub resting: bool,
}
