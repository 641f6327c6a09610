//! What a peer asks for, decoded and checked against the limits, borrowing from the bytes that came.

use crate::codec::Encoding;
use smallvec::SmallVec;
use std::borrow::Cow;

/// One operation, ready for the shard.
#[derive(Debug, Clone, PartialEq)]
pub enum Command<'a> {
    /// Store a message in a stream. Answered by `Answer::Published` or `Answer::Refused`.
    Publish(Publish<'a>),
    /// Make this connection a consumer of a stream. Answered by `Answer::Subscribed` or `Answer::Refused`.
    Subscribe(Subscribe<'a>),
    /// Add to the consumer's credit window; at least 1. No answer.
    Credit(u64),
    /// The consumer is done with these messages. No answer; what is not in flight here is counted and ignored.
    Ack(Targets<'a>),
    /// The consumer is done with all of its in-flight messages up to and including this seq. No answer.
    AckUpTo(crate::Seq),
    /// The consumer gives these messages back, to be delivered again not before `delay_ms` from now. No answer.
    Nack {
        /// Which ones.
        targets: Targets<'a>,
        /// Milliseconds to wait; 0 means at once.
        delay_ms: u64,
    },
    /// Figures of one stream. Answered by `Answer::Stats` or `Answer::Refused(UnknownStream)`.
    Stats {
        /// The stream's name, checked.
        stream: Cow<'a, str>,
    },
    /// A document about the whole server: the control shard writes it. Answered by `Answer::Document`.
    Report(Report),
}

/// The messages that an ack or nack names.
pub type Targets<'a> = SmallVec<[MessageRef<'a>; 1]>;

/// How a client names a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageRef<'a> {
    /// By position: the cheap way.
    Seq(crate::Seq),
    /// By the message's id; when several in flight share it, the one with the lowest seq.
    Id(Cow<'a, str>),
}

/// A message to store.
#[derive(Debug, Clone, PartialEq)]
pub struct Publish<'a> {
    /// The stream, a checked name.
    pub stream: Cow<'a, str>,
    /// The message.
    pub envelope: Envelope<'a>,
    /// The session may be told to stop reading when the stream fills: true for WebSocket connections that only
    /// publish. (A connection that also consumes must keep reading its acks, and an HTTP client waits for its answer.)
    pub pausable: bool,
}

/// The message object as it came, kept byte for byte.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope<'a> {
    /// How `bytes` are encoded.
    pub encoding: Encoding,
    /// One complete, validated object (JSON) or map (MessagePack).
    pub bytes: &'a [u8],
    /// What its `id` member says.
    pub id: EnvelopeId<'a>,
}

/// The `id` of an envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EnvelopeId<'a> {
    /// A string of 1 to 256 bytes: it is the message's id.
    Given(Cow<'a, str>),
    /// No `id`: the server makes one and adds it as the first member.
    Absent,
    /// An `id` of another type or length: the envelope stays as it is, the server-made id stands beside it.
    Unusable,
}

/// A consumer to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Subscribe<'a> {
    /// The stream, a checked name.
    pub stream: Cow<'a, str>,
    /// The encoding that deliveries are wanted in.
    pub encoding: Encoding,
    /// First grant; 0 for none.
    pub credit: u64,
    /// `refill=ack`: an ack gives its credit back.
    pub refill_on_ack: bool,
    /// Milliseconds until an unacked delivery is redelivered; `None` for the server's default.
    pub ack_wait_ms: Option<u64>,
    /// Deliveries that may be in flight at once; `None` for the server's maximum.
    pub max_inflight: Option<u32>,
}

/// Documents about the whole server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Report {
    /// `GET /health`.
    Health,
    /// `GET /v1/metrics`: JSON (or MessagePack by negotiation).
    Metrics,
    /// `GET /metrics`: Prometheus text.
    Prometheus,
    /// `GET /v1/histograms?format=json`.
    HistogramsJson,
    /// `GET /v1/histograms?format=hlog`.
    HistogramsHlog,
    /// `GET /v1/histograms?format=hgrm`.
    HistogramsHgrm,
}
