//! A shard with a clock in hand: what every property test drives.
#![allow(dead_code, unreachable_pub, reason = "each test file is a crate of its own and uses its own part of it")]

pub mod deeds;
pub mod steps;
pub mod wishes;
pub mod world;

use conduit_protocol::command::{Nack, PublishOptions, StreamAction, StreamCommand, Targets};
use conduit_protocol::streams::{StreamAnswer, StreamSettings, Subscribed};
use conduit_protocol::{
    Command, ConnectionId, Encoding, Envelope, EnvelopeId, ErrorCode, MessageRef, Now, Origin, Publish, Seq, ShardId,
    StreamStats, Subscribe, TenantId, Token, TraceContext,
};
use conduit_shard::{AnswerValue, Effect, Effects, Input, Limits, Shard};

pub const MS: u64 = 1_000_000;

/// A shard, the time, and what its owner would do with the effects.
pub struct Bench {
    pub shard: Shard,
    pub now: Now,
    effects: Effects,
    token: u32,
}

/// One delivery with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    pub connection: ConnectionId,
    pub seq: u64,
    pub attempt: u32,
    pub id: String,
    pub envelope: Vec<u8>,
    pub trace: Option<TraceContext>,
}

/// What one input came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    pub deliveries: Vec<Delivered>,
    pub published: Vec<Published>,
    /// Publishes that were recognised as repeats: what the first one was answered.
    pub repeated: Vec<Published>,
    pub refused: Vec<(ErrorCode, Option<u32>)>,
    pub subscribed: usize,
    pub hello: Option<Subscribed>,
    pub answer: Option<StreamAnswer>,
    /// (from, to), and whom it was told.
    pub gaps: Vec<(u64, u64, ConnectionId)>,
    pub closed: Vec<(ConnectionId, ErrorCode)>,
    pub stats: Option<StreamStats>,
    pub paused: Vec<Origin>,
    pub resumed: Vec<Origin>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub seq: u64,
    pub id: String,
    pub stream: String,
}

impl Outcome {
    /// (seq, attempt) of each delivery.
    pub fn attempts(&self) -> Vec<(u64, u32)> {
        self.deliveries.iter().map(|delivery| (delivery.seq, delivery.attempt)).collect()
    }

    pub fn seqs(&self) -> Vec<u64> {
        self.deliveries.iter().map(|delivery| delivery.seq).collect()
    }

    pub fn merge(&mut self, other: Self) {
        self.deliveries.extend(other.deliveries);
        self.published.extend(other.published);
        self.repeated.extend(other.repeated);
        self.refused.extend(other.refused);
        self.subscribed += other.subscribed;
        self.hello = other.hello.or(self.hello.take());
        self.answer = other.answer.or(self.answer.take());
        self.gaps.extend(other.gaps);
        self.closed.extend(other.closed);
        self.stats = other.stats.or(self.stats.take());
        self.paused.extend(other.paused);
        self.resumed.extend(other.resumed);
    }
}

pub fn connection(slot: u32) -> ConnectionId {
    ConnectionId::new(slot, 1)
}

pub fn limits() -> Limits {
    Limits { ack_wait_ms_min: 1, ..Limits::default() }
}

impl Bench {
    pub fn new(limits: Limits) -> Self {
        limits.validate().unwrap();
        let now = Now { mono_ns: 77 * MS, unix_ms: 1_700_000_000_000 };
        Self { shard: Shard::new(ShardId(0), 1, limits, 42), now, effects: Effects::new(), token: 0 }
    }

    /// Goes on with a shard that was made elsewhere.
    pub fn on(shard: Shard, now: Now) -> Self {
        Self { shard, now, effects: Effects::new(), token: 0 }
    }

    pub fn advance_ms(&mut self, ms: u64) {
        self.now = self.now.plus_ns(ms * MS);
    }

    pub fn origin(&mut self, slot: u32) -> Origin {
        self.token += 1;
        Origin { shard: ShardId(0), connection: connection(slot), token: Token(self.token) }
    }

    /// Hands over one input, drains the effects, and reads every byte that they name.
    pub fn input(&mut self, input: Input<'_>) -> Outcome {
        let mut outcome = Outcome::default();
        self.shard.handle(self.now, input, &mut self.effects);
        for index in 0..self.effects.len() {
            match self.effects.at(index).unwrap() {
                Effect::Deliver { connection, stream, seq, attempt } => {
                    let delivery = self.shard.delivery(*connection, *stream, *seq, *attempt);
                    assert_eq!((delivery.seq, delivery.attempt), (*seq, *attempt));
                    outcome.deliveries.push(Delivered {
                        connection: *connection,
                        seq: seq.0,
                        attempt: *attempt,
                        id: String::from_utf8(delivery.id.to_vec()).expect("UTF-8"),
                        envelope: delivery.envelope.to_vec(),
                        trace: delivery.trace.copied().map(TraceContext::from_bytes),
                    });
                }
                Effect::Answer { answer, .. } => match answer {
                    AnswerValue::Published { stream, seq, .. } => {
                        let (id, name) = self.shard.published(*stream, *seq);
                        outcome.published.push(Published { seq: seq.0, id: id.to_owned(), stream: name.to_owned() });
                    }
                    AnswerValue::Duplicate { stream, seq, id, .. } => {
                        let name = self.shard.stream_name(*stream);
                        outcome.repeated.push(Published { seq: seq.0, id: id.to_string(), stream: name.to_owned() });
                    }
                    AnswerValue::Subscribed(hello) => {
                        outcome.subscribed += 1;
                        outcome.hello = hello.as_deref().cloned();
                    }
                    AnswerValue::Stream(answer) => outcome.answer = Some((**answer).clone()),
                    AnswerValue::Refused { code, retry_after_ms, .. } => outcome.refused.push((*code, *retry_after_ms)),
                    AnswerValue::Stats(stats) => outcome.stats = Some((**stats).clone()),
                },
                Effect::Gap { connection, from, to } => outcome.gaps.push((from.0, to.0, *connection)),
                Effect::Close { connection, code, .. } => outcome.closed.push((*connection, *code)),
                Effect::Pause { origin } => outcome.paused.push(*origin),
                Effect::Resume { origin } => outcome.resumed.push(*origin),
            }
        }
        self.effects.clear();
        outcome
    }

    pub fn command(&mut self, slot: u32, command: Command<'_>) -> Outcome {
        let origin = self.origin(slot);
        self.input(Input::Command { origin, tenant: TenantId::DEFAULT, command })
    }

    pub fn publish(&mut self, stream: &str, id: &str, bytes: &[u8]) -> Outcome {
        self.command(900, Command::Publish(message(stream, id, bytes)))
    }

    pub fn publish_pausable(&mut self, slot: u32, stream: &str, id: &str, bytes: &[u8]) -> Outcome {
        self.command(slot, Command::Publish(Publish { pausable: true, ..message(stream, id, bytes) }))
    }

    pub fn publish_with(&mut self, stream: &str, id: &str, bytes: &[u8], options: PublishOptions<'_>) -> Outcome {
        self.command(900, Command::Publish(Publish { options, ..message(stream, id, bytes) }))
    }

    /// Does something with a stream as an object.
    pub fn act(&mut self, stream: &str, action: StreamAction<'_>) -> Outcome {
        self.command(902, Command::Stream(Box::new(StreamCommand { stream: stream.into(), action })))
    }

    /// As [`Self::act`], for what changes a stream.
    pub fn put(&mut self, stream: &str, settings: StreamSettings) {
        assert_eq!(self.act(stream, StreamAction::Put(settings)).refused, []);
    }

    pub fn subscribe(&mut self, slot: u32, stream: &str, credit: u64) -> Outcome {
        self.command(slot, Command::Subscribe(subscription(stream, credit)))
    }

    pub fn credit(&mut self, slot: u32, credit: u64) -> Outcome {
        self.command(slot, Command::Credit(credit))
    }

    pub fn ack(&mut self, slot: u32, seq: u64) -> Outcome {
        self.command(slot, Command::Ack(seqs(&[seq])))
    }

    pub fn nack(&mut self, slot: u32, of: &[u64], delay_ms: u64) -> Outcome {
        self.command(slot, Command::Nack(nack(seqs(of), delay_ms)))
    }

    pub fn disconnect(&mut self, slot: u32) -> Outcome {
        self.input(Input::Disconnected { connection: connection(slot) })
    }

    pub fn drained(&mut self, slot: u32) -> Outcome {
        self.input(Input::Drained { connection: connection(slot) })
    }

    pub fn stats(&mut self, stream: &str) -> StreamStats {
        self.command(901, Command::Stats { stream: stream.into() }).stats.expect("the stream exists")
    }

    /// Handles deadlines as long as one is due.
    pub fn settle(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        let mut calls = 0;
        while self.shard.next_deadline().is_some_and(|deadline| deadline <= self.now.mono_ns) {
            outcome.merge(self.input(Input::Deadline));
            calls += 1;
            assert!(calls < 1_000_000, "deadlines that stay due");
        }
        outcome
    }

    /// Lets time pass as a timer would, one deadline after the other, up to `ms` from now.
    pub fn run_ms(&mut self, ms: u64) -> Outcome {
        let end = self.now.plus_ns(ms * MS);
        let mut outcome = self.settle();
        while let Some(deadline) = self.shard.next_deadline().filter(|deadline| *deadline <= end.mono_ns) {
            self.now = self.now.plus_ns(deadline.saturating_sub(self.now.mono_ns));
            outcome.merge(self.settle());
        }
        self.now = end;
        outcome
    }
}

pub fn message<'a>(stream: &'a str, id: &'a str, bytes: &'a [u8]) -> Publish<'a> {
    let envelope = Envelope { encoding: Encoding::Json, bytes, id: EnvelopeId::Given(id.into()) };
    Publish { stream: stream.into(), envelope, pausable: false, options: PublishOptions::default() }
}

pub fn subscription(stream: &str, credit: u64) -> Subscribe<'_> {
    Subscribe {
        stream: stream.into(),
        encoding: Encoding::Json,
        credit,
        refill_on_ack: false,
        ack_wait_ms: None,
        max_inflight: None,
        ..Subscribe::default()
    }
}

pub fn seqs(of: &[u64]) -> Targets<'static> {
    of.iter().map(|seq| MessageRef::Seq(Seq(*seq))).collect()
}

pub fn nack(targets: Targets<'_>, delay_ms: u64) -> Nack<'_> {
    Nack { targets, delay_ms, dead: false, error: None }
}

pub fn id(of: &str) -> Targets<'_> {
    [MessageRef::Id(of.into())].into_iter().collect()
}
