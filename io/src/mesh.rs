//! Messages between shards. A batch per peer gathers what one tick has for it and leaves at the end of the tick; a full
//! link keeps the batch here and stops this shard's reading until it has left: nothing is dropped, nothing grows.

use crate::control::{ReloadStatus, Wants};
use crate::egress::News;
use crate::link::LinkSender;
use crate::signals::Signal;
use conduit_protocol::command::{Publish, PublishOptions, Report, StreamCommand};
use conduit_protocol::http::Carried;
use conduit_protocol::streams::StreamAnswer;
use conduit_protocol::{
    AdminAction, Charge, ConnectionId, Encoding, Envelope, EnvelopeId, ErrorCode, Origin, Policy, Promise, Scope, Seq,
    ShardId, StreamStats, TenantId,
};
use conduit_shard::Errand;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What travels from one shard to another. Small: bulk is boxed.
#[derive(Debug)]
pub(crate) enum MeshMessage {
    /// The gathered items of one tick.
    Batch(Box<Batch>),
    /// A connection whose stream lives there.
    HandOver(Box<HandOver>),
    /// To the control shard: a document is wanted.
    Report { origin: Origin, report: Report, scope: Scope },
    /// From the control shard: a document.
    Document { origin: Origin, document: Arc<Document> },
    /// From the control shard: send your figures, and what else is wanted beside them.
    SnapshotWanted { ticket: u64, wants: Wants },
    /// To the control shard: the figures.
    Snapshot { ticket: u64, snapshot: Box<crate::control::ShardReport> },
    /// From the control shard: what the operator has decided now.
    Policy(Arc<Policy>),
    /// From the control shard: how the last reload went.
    ReloadStatus(ReloadStatus),
    /// To the control shard: a change is wanted.
    Admin { origin: Origin, action: AdminAction },
    /// To the control shard: a token was signed with a key that is not known.
    KeyUnknown,
    /// To the control shard, from the threads that may block.
    News(Box<News>),
    /// To the control shard: the process got a signal.
    Signal(Signal),
    /// From the control shard: no new work, finish what is begun within so much time.
    Drain { timeout_ms: u64 },
    /// To the control shard: nothing is left here.
    Drained { shard: ShardId },
    /// From the control shard: leave the executor now.
    Stop,
}

/// A connection on its way to another shard, with everything that was read from it since the request began.
#[derive(Debug)]
pub(crate) struct HandOver {
    pub(crate) fd: OwnedFd,
    pub(crate) peer: IpAddr,
    /// When it was accepted.
    pub(crate) opened_ns: u64,
    pub(crate) bytes: Vec<u8>,
    /// Answers of the old owner that have not been written yet.
    pub(crate) earlier: Vec<u8>,
    /// What the request has passed already, and what the connection holds.
    pub(crate) carried: Carried,
}

/// A finished document: everybody who wants it gets this one.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    pub(crate) status: u16,
    pub(crate) content_type: &'static str,
    pub(crate) body: Vec<u8>,
}

/// A piece of [`Batch::bytes`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    from: u32,
    len: u32,
}

/// Forwarded commands, answers and pauses of one tick for one peer. The bytes of all items lie in one buffer.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    items: Vec<Item>,
}

/// One item of a batch.
#[derive(Debug)]
pub(crate) enum Item {
    Publish {
        origin: Origin,
        tenant: TenantId,
        stream: Span,
        envelope: Span,
        encoding: Encoding,
        id: ItemId,
        pausable: bool,
        options: Option<Box<PublishOptions<'static>>>,
    },
    Stats {
        origin: Origin,
        tenant: TenantId,
        stream: Span,
    },
    Stream {
        origin: Origin,
        tenant: TenantId,
        command: Box<StreamCommand<'static>>,
    },
    Published {
        origin: Origin,
        id: Span,
        stream: Span,
        seq: Seq,
        promise: Promise,
        duplicate: bool,
    },
    StreamAnswer {
        origin: Origin,
        answer: Box<StreamAnswer>,
    },
    Refused {
        origin: Origin,
        code: ErrorCode,
        message: &'static str,
        retry_after_ms: Option<u32>,
    },
    StatsAnswer {
        origin: Origin,
        stats: Box<StreamStats>,
    },
    /// To the home of an account: take from it.
    Charge {
        origin: Origin,
        charge: Charge,
    },
    /// To the home of an account: something else has to be done about it.
    Errand(Errand),
    /// From there: what came of a charge. Granted with a lease of so many tokens, or refused for so many milliseconds.
    Charged {
        origin: Origin,
        charge: Charge,
        outcome: Result<u32, Option<u32>>,
    },
    Pause(ConnectionId),
    Resume(ConnectionId),
}

/// An [`EnvelopeId`] whose text lies in the batch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ItemId {
    Given(Span),
    Absent,
    Unusable,
}

impl Batch {
    fn put(&mut self, bytes: &[u8]) -> Span {
        let from = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        Span { from, len: bytes.len() as u32 }
    }

    pub(crate) fn bytes_at(&self, span: Span) -> &[u8] {
        &self.bytes[span.from as usize..(span.from + span.len) as usize]
    }

    /// Text that was text when it was put.
    pub(crate) fn text_at(&self, span: Span) -> &str {
        std::str::from_utf8(self.bytes_at(span)).unwrap_or_default()
    }

    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    pub(crate) fn push(&mut self, item: Item) {
        self.items.push(item);
    }

    pub(crate) fn push_publish(&mut self, origin: Origin, tenant: TenantId, publish: &Publish<'_>) {
        let stream = self.put(publish.stream.as_bytes());
        let envelope = self.put(publish.envelope.bytes);
        let id = match &publish.envelope.id {
            EnvelopeId::Given(id) => ItemId::Given(self.put(id)),
            EnvelopeId::Absent => ItemId::Absent,
            EnvelopeId::Unusable => ItemId::Unusable,
        };
        let (encoding, pausable) = (publish.envelope.encoding, publish.pausable);
        let is_plain = publish.options == PublishOptions::default();
        let options = (!is_plain).then(|| Box::new(publish.options.clone().into_owned()));
        self.items.push(Item::Publish { origin, tenant, stream, envelope, encoding, id, pausable, options });
    }

    pub(crate) fn push_stats(&mut self, origin: Origin, tenant: TenantId, stream: &str) {
        let stream = self.put(stream.as_bytes());
        self.items.push(Item::Stats { origin, tenant, stream });
    }

    pub(crate) fn push_published(
        &mut self,
        origin: Origin,
        (id, stream): (&str, &str),
        seq: Seq,
        promise: Promise,
        duplicate: bool,
    ) {
        let (id, stream) = (self.put(id.as_bytes()), self.put(stream.as_bytes()));
        self.items.push(Item::Published { origin, id, stream, seq, promise, duplicate });
    }

    /// The command of a `Publish` item.
    pub(crate) fn publish(
        &self,
        stream: Span,
        envelope: Span,
        encoding: Encoding,
        id: ItemId,
        pausable: bool,
        options: Option<&PublishOptions<'static>>,
    ) -> Publish<'_> {
        let id = match id {
            ItemId::Given(span) => EnvelopeId::Given(Cow::Borrowed(self.bytes_at(span))),
            ItemId::Absent => EnvelopeId::Absent,
            ItemId::Unusable => EnvelopeId::Unusable,
        };
        Publish {
            stream: Cow::Borrowed(self.text_at(stream)),
            envelope: Envelope { encoding, bytes: self.bytes_at(envelope), id },
            pausable,
            options: options.cloned().unwrap_or_default(),
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.items.clear();
    }
}

/// A batch that has grown past this is not kept for reuse: one burst must not hold memory for ever.
const REUSE_BYTES_MAX: usize = 1 << 20;
/// Emptied batches kept for reuse.
const SPARE_BATCHES_MAX: usize = 16;
/// A batch leaves early when it holds this much, so that a peer starts work while this tick goes on.
const BATCH_BYTES_MAX: usize = 256 * 1024;

/// The sending ends towards all peers.
pub(crate) struct Mesh {
    links: Vec<Option<Link>>,
    /// Some link's overflow is not empty.
    is_full: bool,
    #[expect(clippy::vec_box, reason = "batches travel boxed, so that a message is small: the box is what is reused")]
    spare: Vec<Box<Batch>>,
}

struct Link {
    sender: LinkSender,
    batch: Box<Batch>,
    overflow: VecDeque<MeshMessage>,
}

impl std::fmt::Debug for Mesh {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mesh").field("links", &self.links.len()).finish_non_exhaustive()
    }
}

impl Mesh {
    /// `senders[k]` leads to peer `k`; there is none to oneself.
    pub(crate) fn new(senders: Vec<Option<LinkSender>>) -> Self {
        let link = |sender| Link { sender, batch: Box::default(), overflow: VecDeque::new() };
        Self { links: senders.into_iter().map(|sender| sender.map(link)).collect(), is_full: false, spare: Vec::new() }
    }

    /// The batch that gathers this tick's items for a peer.
    pub(crate) fn batch_to(&mut self, peer: ShardId) -> &mut Batch {
        let full = self.link(peer).batch.bytes.len() >= BATCH_BYTES_MAX;
        if full {
            self.send_batch(peer);
        }
        &mut self.link(peer).batch
    }

    /// Sends a single message after everything that was gathered before it.
    pub(crate) fn send(&mut self, peer: ShardId, message: MeshMessage) {
        self.send_batch(peer);
        self.push(peer, message);
    }

    fn push(&mut self, peer: ShardId, message: MeshMessage) {
        let link = self.link(peer);
        link.push(message);
        let is_full = !link.overflow.is_empty();
        self.is_full |= is_full;
    }

    /// Sends what was gathered. True when everything has left; false while some of it waits for room.
    pub(crate) fn flush(&mut self) -> bool {
        self.is_full = false;
        for peer in 0..self.links.len() {
            if self.links[peer].is_some() {
                let peer = ShardId(peer as u16);
                self.send_batch(peer);
                let all_left = self.link(peer).retry();
                self.is_full |= !all_left;
            }
        }
        !self.is_full
    }

    /// Something waits for room in a link: reading more would only make it grow.
    pub(crate) const fn is_full(&self) -> bool {
        self.is_full
    }

    /// Gives an emptied batch back for reuse.
    pub(crate) fn recycle(&mut self, mut batch: Box<Batch>) {
        if self.spare.len() < SPARE_BATCHES_MAX && batch.bytes.capacity() <= REUSE_BYTES_MAX {
            batch.clear();
            self.spare.push(batch);
        }
    }

    fn send_batch(&mut self, peer: ShardId) {
        if self.link(peer).batch.items.is_empty() {
            return;
        }
        let fresh = self.spare.pop().unwrap_or_default();
        let link = self.link(peer);
        let batch = std::mem::replace(&mut link.batch, fresh);
        self.push(peer, MeshMessage::Batch(batch));
    }

    fn link(&mut self, peer: ShardId) -> &mut Link {
        self.links[peer.0 as usize].as_mut().expect("a shard never sends to itself")
    }
}

impl Link {
    fn push(&mut self, message: MeshMessage) {
        if self.overflow.is_empty() {
            if let Err(back) = self.sender.try_send(message) {
                self.overflow.push_back(back);
            }
        } else {
            self.overflow.push_back(message);
        }
    }

    fn retry(&mut self) -> bool {
        while let Some(message) = self.overflow.pop_front() {
            if let Err(back) = self.sender.try_send(message) {
                self.overflow.push_front(back);
                return false;
            }
        }
        true
    }
}
