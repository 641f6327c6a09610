//! Everything a shard wants done. Effects are small values; bytes stay in the shard and are looked up while draining.

use crate::log::Durable;
use conduit_protocol::streams::{StreamAnswer, Subscribed};
use conduit_protocol::{ConnectionId, ErrorCode, Origin, Promise, Seq, StreamStats};

/// Names a stream of this shard, cheaply. Valid while the effect that carries it is drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamKey(pub u32);

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Answer a request. When `origin.shard` is another shard, the answer goes there over the mesh.
    Answer {
        /// Whose request.
        origin: Origin,
        /// What to say.
        answer: AnswerValue,
    },
    /// Write a message to a consumer: `Shard::delivery` gives its bytes in the consumer's encoding.
    Deliver {
        /// The consumer's connection, on this shard.
        connection: ConnectionId,
        /// The stream.
        stream: StreamKey,
        /// The message.
        seq: Seq,
        /// 1 for the first delivery.
        attempt: u32,
    },
    /// Tell a consumer that these messages of its stream were lost on the disk, both ends included.
    Gap {
        /// The consumer's connection, on this shard.
        connection: ConnectionId,
        /// The first.
        from: Seq,
        /// The last.
        to: Seq,
    },
    /// End a connection of this shard: what it consumed from is gone.
    Close {
        /// The consumer's connection.
        connection: ConnectionId,
        /// Which row of the error table.
        code: ErrorCode,
        /// Why.
        message: &'static str,
    },
    /// Stop reading from this publisher until `Resume`: a stream of its is nearly full.
    Pause {
        /// Which connection, of whichever shard (`token` means nothing here).
        origin: Origin,
    },
    /// Read again.
    Resume {
        /// Which connection.
        origin: Origin,
    },
}

/// An answer, without the bytes that the shard keeps.
#[derive(Debug, Clone, PartialEq)]
pub enum AnswerValue {
    /// The message is stored: `Shard::published` gives its id and its stream's name.
    Published {
        /// The stream.
        stream: StreamKey,
        /// The position.
        seq: Seq,
        /// What was promised.
        accepted: Accepted,
    },
    /// The message was accepted before, under the same dedup id: the answer of then.
    Duplicate {
        /// The stream: `Shard::published` gives its name.
        stream: StreamKey,
        /// The position of then.
        seq: Seq,
        /// The id of then.
        id: Box<str>,
        /// What was promised.
        accepted: Accepted,
    },
    /// The connection is a consumer. With `hello=1`, what to tell it first.
    Subscribed(Option<Box<Subscribed>>),
    /// What an operation on a stream as an object came to.
    Stream(Box<StreamAnswer>),
    /// No.
    Refused {
        /// Which row of the error table.
        code: ErrorCode,
        /// What, where, how to fix it.
        message: &'static str,
        /// When to try again.
        retry_after_ms: Option<u32>,
    },
    /// Figures of one stream.
    Stats(Box<StreamStats>),
}

/// What a publisher may rely on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// This shard keeps nothing on a disk.
    InMemory,
    /// This shard keeps a log, and the stream is one that is not in it, or is written to it later.
    Volatile,
    /// It is on the disk.
    Durable(Durable<()>),
}

impl Accepted {
    /// How the answer says it.
    #[must_use]
    pub const fn promise(self) -> Promise {
        match self {
            Self::InMemory => Promise::Unsaid,
            Self::Volatile => Promise::Volatile,
            Self::Durable(_) => Promise::Durable,
        }
    }
}

/// The list of effects of one `handle`, reused from call to call so that nothing is allocated in steady state.
#[derive(Debug, Default)]
pub struct Effects {
    list: Vec<Effect>,
}

impl Effects {
    /// An empty list.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one; only the core does.
    #[inline]
    pub(crate) fn push(&mut self, effect: Effect) {
        self.list.push(effect);
    }

    /// Takes them all, oldest first.
    pub fn drain(&mut self) -> std::vec::Drain<'_, Effect> {
        self.list.drain(..)
    }

    /// Takes the effect at a position; nobody looks at that position again before `clear`.
    pub fn take(&mut self, index: usize) -> Option<Effect> {
        /// What stays in its place.
        const TAKEN: Effect = Effect::Gap { connection: ConnectionId(u64::MAX), from: Seq(0), to: Seq(0) };
        self.list.get_mut(index).map(|effect| std::mem::replace(effect, TAKEN))
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The effect at a position, oldest first: owners that need the shard while draining walk by index, then `clear`.
    #[must_use]
    #[inline]
    pub fn at(&self, index: usize) -> Option<&Effect> {
        self.list.get(index)
    }

    /// Forgets them after an indexed walk.
    pub fn clear(&mut self) {
        self.list.clear();
    }

    /// None.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
