//! What the log's records say.

use conduit_protocol::{Encoding, TenantId, TraceContext};

/// A stream's number in one log: given once, never reused, so that records of a deleted stream cannot be taken for those
/// of a later one of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamNumber(pub u32);

/// A group's number in one log: given once, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct GroupNumber(pub u32);

/// Seqs, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeqRange {
    /// The first.
    pub from: u64,
    /// The last; never below `from`.
    pub to: u64,
}

/// One record. Replaying all records of a log in order gives the streams as they were.
#[derive(Debug, Clone, PartialEq)]
pub enum Record<'a> {
    /// A stream as it is now: written before the first other record of the stream in each segment, and when its settings
    /// change.
    Stream(StreamRecord<'a>),
    /// A group as it is now: written after its stream's record in each segment, and when its settings change.
    Group(GroupRecord<'a>),
    /// A message. A second record of the same seq is a moved copy: it replaces the first one's place.
    Message(MessageRecord<'a>),
    /// A group is done with these messages. Ranges are in the order in which they were finished.
    Acked {
        /// The group.
        group: GroupNumber,
        /// What it is done with.
        ranges: &'a [SeqRange],
    },
    /// Nobody needs these messages any more.
    Released {
        /// The stream.
        stream: StreamNumber,
        /// Which ones.
        ranges: &'a [SeqRange],
    },
    /// The group is gone.
    GroupDeleted {
        /// Which one.
        group: GroupNumber,
    },
    /// The stream is gone, with its messages and groups.
    StreamDeleted {
        /// Which one.
        stream: StreamNumber,
    },
    /// Every stream and group that exists has been written since the start of this segment: older segments are needed
    /// for nothing but the messages in them.
    CarriedOver,
}

/// A stream as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamRecord<'a> {
    /// Its number.
    pub stream: StreamNumber,
    /// Whose it is.
    pub tenant: TenantId,
    /// Its name.
    pub name: &'a str,
    /// Names its numbering of messages.
    pub epoch: u64,
    /// The seq of the next message.
    pub next_seq: u64,
    /// Its settings as a JSON object (`conduit_protocol::streams::StreamSettings`); empty for the defaults.
    pub settings: &'a [u8],
    /// Seqs that are known to be lost, rising, without overlap: the records that would show it may be gone by now.
    pub gaps: &'a [SeqRange],
}

/// A group as it is now: what is below `cursor` is done, except what is outstanding; what is above is not, except what is
/// in `done`.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupRecord<'a> {
    /// Its number.
    pub group: GroupNumber,
    /// Its stream.
    pub stream: StreamNumber,
    /// Its name; empty for the default group.
    pub name: &'a str,
    /// The first seq that was never delivered, as far as is known.
    pub cursor: u64,
    /// Its settings as a JSON object (`conduit_protocol::streams::GroupSettings`); empty for the defaults.
    pub settings: &'a [u8],
    /// Below the cursor and not done, rising by seq.
    pub outstanding: &'a [Outstanding],
    /// At or above the cursor and done, rising, without overlap.
    pub done: &'a [SeqRange],
}

/// A message that was delivered and not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outstanding {
    /// Its seq.
    pub seq: u64,
    /// Deliveries so far.
    pub attempts: u32,
}

/// A message as it was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageRecord<'a> {
    /// Its stream.
    pub stream: StreamNumber,
    /// Its position.
    pub seq: u64,
    /// When it was published, in milliseconds since 1970.
    pub unix_ms: u64,
    /// How the envelope is encoded.
    pub encoding: Encoding,
    /// 0 to 3.
    pub priority: u8,
    /// Not to be delivered before, in milliseconds since 1970; 0: at once.
    pub not_before_unix_ms: u64,
    /// Not to be delivered after, in milliseconds since 1970; 0: never expires.
    pub expires_unix_ms: u64,
    /// Which trace it belongs to.
    pub trace: Option<TraceContext>,
    /// What repeats of it are recognised by; empty for none.
    pub dedup_id: &'a str,
    /// Its id.
    pub id: &'a str,
    /// Its envelope.
    pub envelope: &'a [u8],
}
