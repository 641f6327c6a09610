//! What a peer asks for, decoded and checked against the limits, borrowing from the bytes that came.

use crate::codec::Encoding;
use crate::limiter::Charge;
use crate::policy::Scope;
use crate::rfc3339::unix_ms_of;
use crate::streams::{GroupSettings, StreamSettings};
use crate::trace_context::TraceContext;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::num::NonZeroU64;

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
    /// The same for one message, named by its seq: what nearly all acks are. It is small and owns nothing.
    AckSeq(crate::Seq),
    /// The consumer is done with all of its in-flight messages up to and including this seq. No answer.
    AckUpTo(crate::Seq),
    /// The consumer gives these messages back, to be delivered again not before `delay_ms` from now. No answer.
    Nack(Nack<'a>),
    /// Figures of one stream. Answered by `Answer::Stats` or `Answer::Refused(UnknownStream)`.
    Stats {
        /// The stream's name, checked.
        stream: Cow<'a, str>,
    },
    /// Something about one stream as an object: its settings, its groups, its dead letters. Answered by `Answer::Stream`
    /// or `Answer::Refused`.
    Stream(Box<StreamCommand<'a>>),
    /// A document about the whole server: the control shard writes it. Answered by `Answer::Document`.
    Report {
        /// Which one.
        report: Report,
        /// What it may tell.
        scope: Scope,
    },
    /// Something is to be done to the whole server: the control shard does it. Answered by `Answer::Document`.
    Admin(AdminAction),
    /// Something is to be taken from an account of the limiter that is kept elsewhere. Answered by `Answer::Granted` or
    /// `Answer::Refused`. Given out again after the answer, whatever the request asks for.
    Charge(Charge),
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

/// Deliveries given back.
#[derive(Debug, Clone, PartialEq)]
pub struct Nack<'a> {
    /// Which ones.
    pub targets: Targets<'a>,
    /// Milliseconds to wait; 0 means at once.
    pub delay_ms: u64,
    /// Do not deliver again: the message goes to the dead letters now.
    pub dead: bool,
    /// What went wrong, in the consumer's words: kept as the message's last error. At most
    /// [`crate::Limits::error_bytes_max`] bytes; longer ones are cut at a character.
    pub error: Option<Cow<'a, str>>,
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
    /// What it asks for besides being stored.
    pub options: PublishOptions<'a>,
}

/// What a publish may ask for; the default asks for nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublishOptions<'a> {
    /// Not to be delivered before.
    pub not_before: NotBefore,
    /// Not to be delivered after so many milliseconds from now: then it expires. At least 1; absent: never.
    pub ttl_ms: Option<NonZeroU64>,
    /// 0 (usual) to 3 (most urgent): more urgent messages of a stream go first, with a guard against starvation.
    pub priority: u8,
    /// `dedupId` or `Idempotency-Key`: a repeat within the stream's window stores nothing and gets the first answer.
    pub dedup_id: Option<Cow<'a, str>>,
    /// `traceparent`: which trace it belongs to. It is kept and delivered with the message.
    pub trace: Option<TraceContext>,
}

impl PublishOptions<'_> {
    /// The same, on its own: it travels to the shard that owns the stream.
    #[must_use]
    pub fn into_owned(self) -> PublishOptions<'static> {
        let Self { not_before, ttl_ms, priority, dedup_id, trace } = self;
        PublishOptions { not_before, ttl_ms, priority, dedup_id: dedup_id.map(|id| Cow::Owned(id.into_owned())), trace }
    }
}

/// When a message may first be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NotBefore {
    /// At once.
    #[default]
    Now,
    /// `delayMs`: so many milliseconds from now.
    AfterMs(u64),
    /// `deliverAt`: at this time, in milliseconds since 1970 (UTC). The past means at once.
    AtUnixMs(u64),
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
#[derive(Debug, Clone, PartialEq, Default)]
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
    /// The group that it joins; `None` for the default group. Created when it does not exist.
    pub group: Option<Cow<'a, str>>,
    /// Where a group that does not exist yet begins; an existing one goes on where it is.
    pub from: From,
    /// Reads for itself alone: no cursor is kept, nothing is held back for it, and it ends with the connection.
    pub ephemeral: bool,
    /// It sends no acks: a delivery counts as acked once the kernel has taken its bytes ([`crate::Delivery`] was encoded, and
    /// the outbox written). There is no ack deadline then: what waits in the outbox is on its way.
    pub auto_ack: bool,
    /// Wants the `subscribed` frame before the first delivery.
    pub hello: bool,
    /// Deliveries of one message before it goes to the dead letters, for a group that does not exist yet; 0: for ever.
    pub max_deliver: Option<u32>,
}

/// Where a group begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum From {
    /// With the oldest message that the stream still holds.
    #[default]
    First,
    /// With the next message published.
    New,
    /// With this message, or the first one after it that is held.
    Seq(crate::Seq),
    /// With the first one held after this message. When the stream has not given that seq, its numbering began anew since:
    /// with the oldest message that it holds.
    After(crate::Seq),
    /// With the first message published at this time or later, in milliseconds since 1970 (UTC).
    TimeUnixMs(u64),
    /// With the last so many messages that are held.
    Last(u64),
}

impl From {
    /// What the wire calls `first`, `new`, `seq:N`, `time:RFC3339` or `last:N`, where `N` is a decimal number of at least
    /// 1. `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let at_least_1 = |digits| decimal(digits).filter(|number| *number >= 1);
        match text.split_once(':') {
            None if text == "first" => Some(Self::First),
            None if text == "new" => Some(Self::New),
            Some(("seq", seq)) => at_least_1(seq).map(|seq| Self::Seq(crate::Seq(seq))),
            Some(("time", moment)) => unix_ms_of(moment).map(Self::TimeUnixMs),
            Some(("last", count)) => at_least_1(count).map(Self::Last),
            _ => None,
        }
    }
}

/// The number that these digits, and nothing but digits, spell. `None` also when it does not fit 64 bits.
pub(crate) fn decimal(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// An operation on one stream as an object.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamCommand<'a> {
    /// The stream, a checked name.
    pub stream: Cow<'a, str>,
    /// What to do with it.
    pub action: StreamAction<'a>,
}

impl StreamCommand<'_> {
    /// The same, on its own: it travels to the shard that owns the stream.
    #[must_use]
    pub fn into_owned(self) -> StreamCommand<'static> {
        let own = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let action = match self.action {
            StreamAction::Describe => StreamAction::Describe,
            StreamAction::Put(settings) => StreamAction::Put(settings),
            StreamAction::Delete => StreamAction::Delete,
            StreamAction::Purge => StreamAction::Purge,
            StreamAction::Peek { from, limit } => StreamAction::Peek { from, limit },
            StreamAction::Redrive { limit } => StreamAction::Redrive { limit },
            StreamAction::DescribeGroup { group } => StreamAction::DescribeGroup { group: own(group) },
            StreamAction::PutGroup { group, from, settings } => {
                StreamAction::PutGroup { group: own(group), from, settings }
            }
            StreamAction::DeleteGroup { group } => StreamAction::DeleteGroup { group: own(group) },
        };
        StreamCommand { stream: own(self.stream), action }
    }
}

/// What can be done with a stream as an object.
#[derive(Debug, Clone, PartialEq)]
pub enum StreamAction<'a> {
    /// `GET /v1/streams/{name}`.
    Describe,
    /// `PUT /v1/streams/{name}`: creates it or changes its settings; what is not named stays (or gets its default).
    Put(StreamSettings),
    /// `DELETE /v1/streams/{name}`: messages, groups and settings are gone, consumers are closed.
    Delete,
    /// `POST /v1/streams/{name}/purge`: every message is gone, in flight or not; seqs go on.
    Purge,
    /// `GET /v1/streams/{name}/messages?from=&limit=`: looks at messages without consuming them.
    Peek {
        /// The first seq of interest.
        from: crate::Seq,
        /// Messages wanted; cut to [`crate::Limits::peek_max`].
        limit: u32,
    },
    /// `POST /v1/streams/{name}.dlq/redrive?limit=`: dead letters go back to the stream they came from.
    Redrive {
        /// At most so many.
        limit: u64,
    },
    /// `GET /v1/streams/{name}/groups/{group}`.
    DescribeGroup {
        /// The group, a checked name.
        group: Cow<'a, str>,
    },
    /// `PUT /v1/streams/{name}/groups/{group}`: creates it or changes its settings.
    PutGroup {
        /// The group, a checked name.
        group: Cow<'a, str>,
        /// Where a new one begins.
        from: From,
        /// What it is to be like.
        settings: GroupSettings,
    },
    /// `DELETE /v1/streams/{name}/groups/{group}`: its consumers are closed, its cursor is gone.
    DeleteGroup {
        /// The group, a checked name.
        group: Cow<'a, str>,
    },
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
    /// `GET /v1/streams`.
    Streams,
    /// `GET /v1/histograms?format=json`.
    HistogramsJson,
    /// `GET /v1/histograms?format=hlog`.
    HistogramsHlog,
    /// `GET /v1/histograms?format=hgrm`.
    HistogramsHgrm,
    /// `GET /v1/snapshot?view=`.
    Snapshot(View),
}

/// What a snapshot shows, a row each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum View {
    /// Streams.
    Streams,
    /// Consumers: who reads what, and how far behind its window is.
    Consumers,
    /// Groups of all streams.
    Groups,
    /// Tenants, with what they have and may have.
    Tenants,
    /// Shards.
    Shards,
    /// Limits of the server, with what is used of each.
    Limits,
}

impl View {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Streams, Self::Consumers, Self::Groups, Self::Tenants, Self::Shards, Self::Limits];

    /// What the parameter calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::Consumers => "consumers",
            Self::Groups => "groups",
            Self::Tenants => "tenants",
            Self::Shards => "shards",
            Self::Limits => "limits",
        }
    }

    /// The view of a name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|view| view.name() == name)
    }
}

/// What can be done to the whole server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AdminAction {
    /// `POST /v1/admin/reload`: reads the configuration again.
    Reload,
    /// `POST /v1/admin/drain`: lets the clients go and ends the process.
    Drain {
        /// How long it may take; `None`: as long as a signal would give it.
        timeout_ms: Option<u64>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_read_in_each_of_its_forms() {
        for (text, from) in [
            ("first", From::First),
            ("new", From::New),
            ("seq:1", From::Seq(crate::Seq(1))),
            ("seq:18446744073709551615", From::Seq(crate::Seq(u64::MAX))),
            ("time:1970-01-01T00:00:01Z", From::TimeUnixMs(1_000)),
            ("last:1", From::Last(1)),
        ] {
            assert_eq!(From::parse(text), Some(from), "{text}");
        }
        for wrong in [
            "",
            "First",
            " first",
            "first:",
            "new:1",
            "seq",
            "seq:",
            "seq:0",
            "seq:-1",
            "seq:+1",
            "seq:1.0",
            "seq: 1",
            "seq:18446744073709551616",
            "time:",
            "time:1",
            "time:1970-01-01",
            "last:0",
            "last:x",
            "last:1:2",
            "7",
        ] {
            assert_eq!(From::parse(wrong), None, "{wrong}");
        }
    }
}
