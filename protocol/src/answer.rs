//! What a peer is told: answers to its requests, and deliveries.

use crate::codec::Encoding;
use crate::error::{ErrorCode, Violation};
use crate::ids::Seq;
use crate::streams::{StreamAnswer, Subscribed};
use crate::time::Now;
use crate::trace_context::TraceContext;
use std::borrow::Cow;

/// The answer to one request, to be encoded by the session that sent it.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer<'a> {
    /// The message is accepted.
    Published {
        /// The message's id, the client's or ours.
        id: &'a str,
        /// The stream it went to.
        stream: &'a str,
        /// Its position there.
        seq: Seq,
        /// What was promised.
        promise: Promise,
        /// The message was accepted before, and this is the answer of then.
        duplicate: bool,
    },
    /// The connection is a consumer now; the session completes the handshake. With `hello=1`, what to tell it first.
    Subscribed(Option<Box<Subscribed>>),
    /// What an operation on a stream as an object came to.
    Stream(StreamAnswer),
    /// The request failed; the connection goes on unless the session decides otherwise.
    Refused(Refusal<'a>),
    /// What was to be taken from an account of the limiter has been taken.
    Granted,
    /// Figures of one stream.
    Stats(StreamStats),
    /// A finished document. The session picks the body: JSON text is transcoded when MessagePack was negotiated.
    Document {
        /// HTTP status.
        status: u16,
        /// Content type of `body`.
        content_type: &'a str,
        /// The body.
        body: &'a [u8],
    },
}

/// What a publisher is told of a message that is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt<'a> {
    /// The message's id, the client's or ours.
    pub id: &'a str,
    /// The stream it went to.
    pub stream: &'a str,
    /// Its position there.
    pub seq: Seq,
    /// What was promised.
    pub promise: Promise,
    /// It was accepted before, and this is what was told then.
    pub duplicate: bool,
}

/// What an accepted message survives, as the answer says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Promise {
    /// Nothing is said: the server has no data directory.
    #[default]
    Unsaid,
    /// `"durable":false`: it lives in memory, or will be on the disk soon.
    Volatile,
    /// `"durable":true`: it is on the disk.
    Durable,
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// Which row of the error table.
    pub code: ErrorCode,
    /// A sentence: what, where, and how to fix it.
    pub message: Cow<'a, str>,
    /// When trying again makes sense, in milliseconds.
    pub retry_after_ms: Option<u32>,
}

impl From<Violation> for Refusal<'static> {
    /// Says nothing of when to try again.
    fn from(violation: Violation) -> Self {
        Self { code: violation.code, message: violation.message, retry_after_ms: None }
    }
}

impl Refusal<'_> {
    /// When trying again makes sense: what the refusal says, else what its code usually means.
    #[must_use]
    pub fn wait_ms(&self) -> Option<u32> {
        self.retry_after_ms.or(self.code.usual_wait_ms())
    }
}

/// One message on its way to a consumer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery<'a> {
    /// The message's id: text in UTF-8. As bytes, since they only pass by, and seeing that they are UTF-8 costs as much as
    /// writing them.
    pub id: &'a [u8],
    /// Its position.
    pub seq: Seq,
    /// 1 for the first delivery of this message to this group, then rising.
    pub attempt: u32,
    /// When it was published; the monotonic clock says 0 when that was before the server started.
    pub published: Now,
    /// Which trace it belongs to, if its publisher said so: what [`TraceContext::bytes`] gave. Lent, since few messages have
    /// one and all would carry its bytes.
    pub trace: Option<&'a [u8; TraceContext::BYTES]>,
    /// How `envelope` is encoded: always what the consumer subscribed with.
    pub encoding: Encoding,
    /// The envelope.
    pub envelope: &'a [u8],
}

/// Figures of one stream (facts, section 4.3). Times are milliseconds.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamStats {
    /// Messages stored and not yet delivered (the backlog), redeliveries that wait included.
    pub depth: u64,
    /// Messages delivered and not yet acked.
    pub inflight: u64,
    /// Messages published per second, over the last full second or more.
    pub rate_in: f64,
    /// Messages acked per second.
    pub rate_out: f64,
    /// Median of publish to first delivery.
    pub lat_p50: f64,
    /// 95th percentile of publish to first delivery.
    pub lat_p95: f64,
    /// 99th percentile of publish to first delivery.
    pub lat_p99: f64,
    /// Median of delivery to ack.
    pub ack_p50: f64,
    /// 99th percentile of delivery to ack.
    pub ack_p99: f64,
    /// When the newest message was published: RFC 3339 in UTC with milliseconds. Absent if none was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub last_ts: Option<String>,
    /// Consumers now.
    pub consumers: u64,
    /// Credit that consumers hold and have not spent.
    pub credit: u64,
    /// Messages ever published.
    pub published_total: u64,
    /// Deliveries ever, redeliveries included.
    pub delivered_total: u64,
    /// Messages ever acked.
    pub acked_total: u64,
    /// Deliveries with an attempt above 1.
    pub redelivered_total: u64,
    /// Bytes stored now, as counted against the limits.
    pub bytes: u64,
}
