//! Messages between the shards: short queues, in which a batch takes a while. A full one refuses, and its sender waits.

use super::network::WireId;
use super::random::Random;
use crate::{AnswerValue, Errand};
use conduit_protocol::command::StreamCommand;
use conduit_protocol::http::Carried;
use conduit_protocol::limiter::Charge;
use conduit_protocol::streams::{StreamAnswer, Subscribed};
use conduit_protocol::{
    Answer, Command, ConnectionId, Encoding, Envelope, EnvelopeId, ErrorCode, Origin, Promise, Publish, PublishOptions,
    Refusal, Seq, StreamStats, TenantId,
};
use std::borrow::Cow;
use std::collections::VecDeque;

/// What travels from one shard to another.
#[derive(Debug)]
pub enum Message {
    /// The gathered items of one round.
    Batch(Vec<Item>),
    /// A connection whose stream lives there, with what was read of the request that is not answered yet, and what was
    /// not written of the answers before it.
    HandOver {
        /// The connection.
        wire: WireId,
        /// Read and not decoded.
        bytes: Vec<u8>,
        /// Encoded and not written.
        earlier: Vec<u8>,
        /// What its request has passed, and the slots that it holds.
        carried: Carried,
    },
}

/// One item of a batch.
#[derive(Debug)]
pub enum Item {
    /// A command for the stream's owner.
    Forward(Origin, TenantId, Box<Forwarded>),
    /// What came of one.
    Answer(Origin, Box<Told>),
    /// Stop reading from this connection.
    Pause(ConnectionId),
    /// Read again.
    Resume(ConnectionId),
    /// A session takes from an account that is kept there.
    Charge(Origin, Charge),
    /// What came of that: tokens handed out in advance, or how long to wait.
    Charged(Origin, Charge, Result<u32, Option<u32>>),
    /// Something to be done about an account that is kept there.
    Errand(Errand),
}

/// A command on its own.
#[derive(Debug)]
pub enum Forwarded {
    /// A message to store.
    Publish {
        /// The stream.
        stream: String,
        /// How `bytes` are encoded.
        encoding: Encoding,
        /// The envelope.
        bytes: Vec<u8>,
        /// What it says about its id.
        id: EnvelopeId<'static>,
        /// See [`Publish::pausable`].
        pausable: bool,
        /// See [`Publish::options`].
        options: PublishOptions<'static>,
    },
    /// Figures of a stream.
    Stats(String),
    /// An operation on a stream as an object.
    Stream(Box<StreamCommand<'static>>),
}

impl Forwarded {
    /// A command that may travel; `None` for those that stay where their connection is.
    #[must_use]
    pub fn of(command: &Command<'_>) -> Option<Self> {
        Some(match command {
            Command::Publish(publish) => Self::Publish {
                stream: publish.stream.to_string(),
                encoding: publish.envelope.encoding,
                bytes: publish.envelope.bytes.to_vec(),
                id: match &publish.envelope.id {
                    EnvelopeId::Given(id) => EnvelopeId::Given(Cow::Owned(id.to_vec())),
                    EnvelopeId::Absent => EnvelopeId::Absent,
                    EnvelopeId::Unusable => EnvelopeId::Unusable,
                },
                pausable: publish.pausable,
                options: publish.options.clone().into_owned(),
            },
            Command::Stats { stream } => Self::Stats(stream.to_string()),
            Command::Stream(command) => Self::Stream(Box::new((**command).clone().into_owned())),
            _ => return None,
        })
    }

    /// The command again.
    #[must_use]
    pub fn command(&self) -> Command<'_> {
        match self {
            Self::Publish { stream, encoding, bytes, id, pausable, options } => Command::Publish(Publish {
                stream: Cow::Borrowed(stream),
                envelope: Envelope { encoding: *encoding, bytes, id: id.clone() },
                pausable: *pausable,
                options: options.clone(),
            }),
            Self::Stats(stream) => Command::Stats { stream: Cow::Borrowed(stream) },
            Self::Stream(command) => Command::Stream(command.clone()),
        }
    }
}

/// An answer on its own: no bytes of the shard that gave it are needed any more.
#[derive(Debug)]
pub enum Told {
    /// See [`Answer::Published`].
    Published {
        /// The message's id.
        id: String,
        /// Its stream.
        stream: String,
        /// Its position.
        seq: Seq,
        /// What was promised.
        promise: Promise,
        /// It was there before.
        duplicate: bool,
    },
    /// See [`Answer::Subscribed`].
    Subscribed(Option<Box<Subscribed>>),
    /// See [`Answer::Stream`].
    Stream(Box<StreamAnswer>),
    /// See [`Answer::Stats`].
    Stats(Box<StreamStats>),
    /// See [`Answer::Refused`].
    Refused(ErrorCode, &'static str, Option<u32>),
}

impl Told {
    /// The answer of a shard, with what it only names looked up.
    #[must_use]
    pub fn of(shard: &crate::Shard, answer: AnswerValue) -> Self {
        match answer {
            AnswerValue::Published { stream, seq, accepted } => {
                let (id, stream) = shard.published(stream, seq);
                let (id, stream) = (id.to_owned(), stream.to_owned());
                Self::Published { id, stream, seq, promise: accepted.promise(), duplicate: false }
            }
            AnswerValue::Duplicate { stream, seq, id, accepted } => Self::Published {
                id: id.into_string(),
                stream: shard.stream_name(stream).to_owned(),
                seq,
                promise: accepted.promise(),
                duplicate: true,
            },
            AnswerValue::Subscribed(hello) => Self::Subscribed(hello),
            AnswerValue::Stream(answer) => Self::Stream(answer),
            AnswerValue::Stats(stats) => Self::Stats(stats),
            AnswerValue::Refused { code, message, retry_after_ms } => Self::Refused(code, message, retry_after_ms),
        }
    }

    /// What a session encodes.
    #[must_use]
    pub fn answer(&self) -> Answer<'_> {
        match self {
            Self::Published { id, stream, seq, promise, duplicate } => {
                Answer::Published { id, stream, seq: *seq, promise: *promise, duplicate: *duplicate }
            }
            Self::Subscribed(hello) => Answer::Subscribed(hello.clone()),
            Self::Stream(answer) => Answer::Stream((**answer).clone()),
            Self::Stats(stats) => Answer::Stats((**stats).clone()),
            Self::Refused(code, message, retry_after_ms) => Answer::Refused(Refusal {
                code: *code,
                message: Cow::Borrowed(message),
                retry_after_ms: *retry_after_ms,
            }),
        }
    }
}

/// The links of all shards.
#[derive(Debug)]
pub struct Mesh {
    shards: usize,
    /// From `a` to `b` at `a * shards + b`.
    links: Vec<VecDeque<(u64, Message)>>,
    /// Messages that one link holds.
    capacity: usize,
    latency_ns_max: u64,
    random: Random,
}

impl Mesh {
    /// Empty links.
    #[must_use]
    pub fn new(shards: usize, capacity: usize, latency_ns_max: u64, random: Random) -> Self {
        let links = (0..shards * shards).map(|_| VecDeque::new()).collect();
        Self { shards, links, capacity, latency_ns_max, random }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// Gives it back when the link is full.
    pub fn send(&mut self, now_ns: u64, from: usize, to: usize, message: Message) -> Result<(), Message> {
        let link = &mut self.links[from * self.shards + to];
        if link.len() >= self.capacity {
            return Err(message);
        }
        let arrives_ns = now_ns + self.random.magnitude(1, self.latency_ns_max);
        let arrives_ns = link.back().map_or(arrives_ns, |(last_ns, _)| arrives_ns.max(*last_ns));
        link.push_back((arrives_ns, message));
        Ok(())
    }

    /// The next message that has arrived at a shard.
    pub fn take(&mut self, now_ns: u64, to: usize) -> Option<Message> {
        let first = self.random.below(self.shards as u64) as usize;
        for step in 0..self.shards {
            let from = (first + step) % self.shards;
            let link = &mut self.links[from * self.shards + to];
            if link.front().is_some_and(|(arrives_ns, _)| *arrives_ns <= now_ns) {
                return link.pop_front().map(|(_, message)| message);
            }
        }
        None
    }

    /// When the next message arrives at a shard.
    #[must_use]
    pub fn next_ns(&self, to: usize) -> Option<u64> {
        (0..self.shards)
            .filter_map(|from| self.links[from * self.shards + to].front())
            .map(|(arrives_ns, _)| *arrives_ns)
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_link_gives_the_message_back_and_order_is_kept() {
        let mut mesh = Mesh::new(2, 2, 1_000, Random::new(1));
        let batch = |slot| Message::Batch(vec![Item::Pause(ConnectionId(slot))]);
        assert!(mesh.send(0, 0, 1, batch(1)).is_ok() && mesh.send(0, 0, 1, batch(2)).is_ok());
        assert!(mesh.send(0, 0, 1, batch(3)).is_err(), "two are the limit");
        assert!(mesh.take(0, 1).is_none() && mesh.next_ns(0).is_none());
        let mut slots = Vec::new();
        while let Some(next_ns) = mesh.next_ns(1) {
            let Some(Message::Batch(items)) = mesh.take(next_ns, 1) else { panic!("it is due") };
            for item in items {
                let Item::Pause(ConnectionId(slot)) = item else { panic!("what was sent") };
                slots.push(slot);
            }
        }
        assert_eq!(slots, [1, 2]);
        assert!(mesh.send(0, 0, 1, batch(3)).is_ok());
    }
}
