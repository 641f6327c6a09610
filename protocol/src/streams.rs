//! Streams and groups as objects: what can be set, and what is told about them. The members of the JSON and MessagePack
//! documents are these fields in camel case.

use serde::{Deserialize, Serialize};

/// What can be set of a stream. Absent: unchanged, or the default for a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StreamSettings {
    /// When messages go.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub retention: Option<Retention>,
    /// What an accepted message survives. Fixed once the stream has messages.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub durability: Option<Durability>,
    /// Messages that it may hold; never above the server's limit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_messages: Option<u64>,
    /// Bytes that it may hold; never above the server's limit.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_bytes: Option<u64>,
    /// Deliveries of one message before it goes to the dead letters, for groups that say nothing else; 0: for ever.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_deliver: Option<u32>,
    /// Expired messages go to the dead letters instead of being dropped.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dead_letter_expired: Option<bool>,
    /// Milliseconds in which a repeated `dedupId` is recognised.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dedup_window_ms: Option<u64>,
}

/// When a stream's messages go.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retention {
    /// The rule.
    #[serde(default)]
    pub policy: Policy,
    /// A log's messages go when they are older than this many milliseconds. 0: age does not matter.
    #[serde(default)]
    pub max_age_ms: u64,
    /// A log's oldest messages go when it holds more bytes than this. 0: bytes do not matter.
    #[serde(default)]
    pub max_bytes: u64,
    /// A log's oldest messages go when it holds more than this many. 0: their number does not matter.
    #[serde(default)]
    pub max_messages: u64,
}

/// The rule of a [`Retention`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Policy {
    /// A message goes when every group has acked it; while there is no group, all are kept. A full stream refuses.
    #[default]
    Work,
    /// Messages stay for whoever reads them and go by age, bytes or number.
    Log,
}

/// What an accepted message survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Durability {
    /// It is answered once it is on the disk: it survives a power cut.
    Commit,
    /// It is answered at once and on the disk within this many milliseconds.
    Interval(u64),
    /// It lives in memory.
    Memory,
}

/// What can be set of a group. Absent: unchanged, or the default for a new one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupSettings {
    /// Milliseconds until an unacked delivery is redelivered, for consumers that say nothing else.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub ack_wait_ms: Option<u64>,
    /// Deliveries of one message before it goes to the dead letters; 0: for ever.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub max_deliver: Option<u32>,
}

/// The answer to an operation on a stream as an object.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum StreamAnswer {
    /// The stream, as it is now.
    Stream(Box<StreamInfo>),
    /// The group, as it is now.
    Group(Box<GroupInfo>),
    /// Some messages.
    Messages(Messages),
    /// How many messages, groups or streams it concerned.
    Done(Done),
}

impl StreamAnswer {
    /// The HTTP status that goes with it: 201 when the request created something (RFC 9110, section 15.3.2).
    #[must_use]
    pub const fn status(&self) -> u16 {
        match self {
            Self::Stream(info) if info.created => 201,
            Self::Group(info) if info.created => 201,
            _ => 200,
        }
    }
}

/// What a change did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Done {
    /// The stream.
    pub stream: String,
    /// The group, if it was about one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub group: Option<String>,
    /// Messages deleted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub deleted: Option<u64>,
    /// Dead letters that went back.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub redriven: Option<u64>,
}

/// One stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamInfo {
    /// Its name.
    pub stream: String,
    /// The request created it: 201 instead of 200.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub created: bool,
    /// The shard that owns it.
    pub shard: u16,
    /// Names this numbering of messages: when it differs from what a client remembers, seqs began anew.
    pub epoch: u64,
    /// The oldest message held; absent when there is none.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub first: Option<u64>,
    /// The newest seq ever given; 0 when none was.
    pub last: u64,
    /// Messages held.
    pub messages: u64,
    /// Bytes held in memory.
    pub bytes: u64,
    /// Of the messages held, those that are only on the disk.
    pub messages_on_disk: u64,
    /// When messages go.
    pub retention: Retention,
    /// What an accepted message survives.
    pub durability: Durability,
    /// Messages that it may hold.
    pub max_messages: u64,
    /// Bytes that it may hold.
    pub max_bytes: u64,
    /// Deliveries of one message before it goes to the dead letters; 0: for ever.
    pub max_deliver: u32,
    /// Expired messages go to the dead letters.
    pub dead_letter_expired: bool,
    /// Milliseconds in which a repeated `dedupId` is recognised.
    pub dedup_window_ms: u64,
    /// Ranges of seqs that were lost on the disk.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub gaps: Vec<Gap>,
    /// Its groups.
    pub groups: Vec<GroupInfo>,
}

/// Seqs that cannot be delivered, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

/// One group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupInfo {
    /// Its stream.
    pub stream: String,
    /// Its name; empty for the default group.
    pub group: String,
    /// The request created it: 201 instead of 200.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub created: bool,
    /// The next seq that it was never given.
    pub next: u64,
    /// Messages that it has not been given, and those that came back.
    pub backlog: u64,
    /// Messages delivered and not settled.
    pub inflight: u64,
    /// Of the backlog, those that wait for their time.
    pub delayed: u64,
    /// Consumers now.
    pub consumers: u64,
    /// Credit that they hold.
    pub credit: u64,
    /// Milliseconds until an unacked delivery is redelivered.
    pub ack_wait_ms: u64,
    /// Deliveries of one message before it goes to the dead letters; 0: for ever.
    pub max_deliver: u32,
}

/// Some messages of a stream, looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Messages {
    /// The stream.
    pub stream: String,
    /// The messages, lowest seq first.
    pub messages: Vec<PeekedMessage>,
    /// Where to go on; absent when there is no more.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub next: Option<u64>,
}

/// One message, looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeekedMessage {
    /// Its position.
    pub seq: u64,
    /// Its id.
    pub id: String,
    /// When it was published: RFC 3339 in UTC with milliseconds.
    pub ts: String,
    /// Which trace it belongs to, if its publisher said so.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub traceparent: Option<String>,
    /// The envelope, as JSON.
    pub envelope: RawJson,
}

/// JSON text that stays as it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawJson(pub Box<serde_json::value::RawValue>);

impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.0.get() == other.0.get()
    }
}

/// What a consumer is told first when it asks with `hello=1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscribed {
    /// The stream.
    pub stream: String,
    /// The group; empty for the default group.
    pub group: String,
    /// See [`StreamInfo::epoch`].
    pub epoch: u64,
    /// The oldest message held, or the next one to come when there is none.
    pub first: u64,
    /// The newest seq ever given; 0 when none was.
    pub last: u64,
    /// The next seq that the group was never given.
    pub next: u64,
}
