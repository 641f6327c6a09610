//! The core alone: what publish, deliver and ack of one 128-byte message cost together, and that the cost does not
//! depend on how many streams, consumers or queued messages there are.
//!
//! Time is the state machine's own and moves a microsecond per message, so that the histograms meet changing values.
#![allow(missing_docs, reason = "criterion's macros define undocumented items")]

use conduit_protocol::{
    Command, ConnectionId, Encoding, Envelope, EnvelopeId, MessageRef, Now, Origin, Publish, PublishOptions, Seq,
    ShardId, Subscribe, TenantId, Token,
};
use conduit_shard::{Effect, Effects, Input, Limits, Shard};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;

const ENVELOPE: [u8; 128] = [b'x'; 128];
const ID: &str = "0190a6f2-7b3c-7def-8123-456789abcdef";

struct Broker {
    shard: Shard,
    effects: Effects,
    now: Now,
    streams: Vec<String>,
    /// Cycles so far: the streams take turns.
    turn: usize,
}

impl Broker {
    fn new(streams: usize, consumers_per_stream: usize, credit: u64, refill_on_ack: bool) -> Self {
        let limits = Limits { consumers_max: 1_000_000, ..Limits::default() };
        let mut broker = Self {
            shard: Shard::new(ShardId(0), 1, limits, 7),
            effects: Effects::new(),
            now: Now { mono_ns: 1_000_000_000, unix_ms: 1_700_000_000_000 },
            streams: (0..streams).map(|n| format!("agents/user{n}/inbox")).collect(),
            turn: 0,
        };
        for slot in 0..streams * consumers_per_stream {
            let stream = broker.streams[slot % streams].clone();
            let command = Command::Subscribe(Subscribe {
                stream: stream.into(),
                encoding: Encoding::Json,
                credit,
                refill_on_ack,
                ack_wait_ms: None,
                max_inflight: None,
                ..Subscribe::default()
            });
            broker.command(slot as u32, command);
            broker.effects.clear();
        }
        broker
    }

    fn command(&mut self, slot: u32, command: Command<'_>) {
        let origin = Origin { shard: ShardId(0), connection: ConnectionId::new(slot, 1), token: Token(1) };
        self.shard.handle(self.now, Input::Command { origin, tenant: TenantId::DEFAULT, command }, &mut self.effects);
    }

    fn publish(&mut self) {
        self.now = self.now.plus_ns(1_000);
        let stream = &self.streams[self.turn];
        self.turn = if self.turn + 1 < self.streams.len() { self.turn + 1 } else { 0 };
        let envelope =
            Envelope { encoding: Encoding::Json, bytes: &ENVELOPE, id: EnvelopeId::Given(ID.as_bytes().into()) };
        let publish =
            Publish { stream: stream.as_str().into(), envelope, pausable: false, options: PublishOptions::default() };
        let origin = Origin { shard: ShardId(0), connection: ConnectionId::new(u32::MAX, 1), token: Token(1) };
        let command = Command::Publish(publish);
        let input = Input::Command { origin, tenant: TenantId::DEFAULT, command };
        self.shard.handle(self.now, input, &mut self.effects);
    }

    /// Publishes with an id of its own, as clients that ack by id do.
    fn publish_as(&mut self, id: &str) {
        self.now = self.now.plus_ns(1_000);
        let envelope =
            Envelope { encoding: Encoding::Json, bytes: &ENVELOPE, id: EnvelopeId::Given(id.as_bytes().into()) };
        let stream = self.streams[0].as_str().into();
        let origin = Origin { shard: ShardId(0), connection: ConnectionId::new(u32::MAX, 1), token: Token(1) };
        let command =
            Command::Publish(Publish { stream, envelope, pausable: false, options: PublishOptions::default() });
        let input = Input::Command { origin, tenant: TenantId::DEFAULT, command };
        self.shard.handle(self.now, input, &mut self.effects);
    }

    /// Does what an owner does with the effects, and returns the delivery among them.
    fn drain(&mut self) -> Option<(u32, Seq)> {
        let mut delivered = None;
        for index in 0..self.effects.len() {
            if let Some(Effect::Deliver { connection, stream, seq, attempt }) = self.effects.at(index) {
                delivered = Some((connection.slot(), *seq));
                black_box(self.shard.delivery(*connection, *stream, *seq, *attempt));
            }
        }
        self.effects.clear();
        delivered
    }

    fn ack(&mut self, slot: u32, seq: Seq) {
        self.command(slot, Command::Ack([MessageRef::Seq(seq)].into_iter().collect()));
        self.effects.clear();
        let connection = ConnectionId::new(slot, 1);
        self.shard.handle(self.now, Input::Drained { connection }, &mut self.effects);
        self.effects.clear();
    }

    /// Publish, deliver, ack, drained: everything that happens to one message.
    fn cycle(&mut self) {
        self.publish();
        let (slot, seq) = self.drain().expect("there is credit");
        self.ack(slot, seq);
    }

    /// The same with a backlog: a grant of one credit fetches the oldest message.
    fn cycle_with_backlog(&mut self) {
        self.publish();
        self.effects.clear();
        self.command(0, Command::Credit(1));
        let (slot, seq) = self.drain().expect("there is a backlog");
        self.ack(slot, seq);
    }
}

fn streams(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core/streams");
    group.throughput(Throughput::Elements(1));
    for streams in [1, 100, 10_000] {
        let mut broker = Broker::new(streams, 1, 100, true);
        group.bench_function(BenchmarkId::from_parameter(streams), |bench| bench.iter(|| broker.cycle()));
    }
    group.finish();
}

fn consumers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core/consumers");
    group.throughput(Throughput::Elements(1));
    for consumers in [1, 100, 10_000] {
        let mut broker = Broker::new(1, consumers, 100, true);
        group.bench_function(BenchmarkId::from_parameter(consumers), |bench| bench.iter(|| broker.cycle()));
    }
    group.finish();
}

fn backlog(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core/backlog");
    group.throughput(Throughput::Elements(1));
    for backlog in [1, 1_000, 1_000_000] {
        let mut broker = Broker::new(1, 1, 0, false);
        for _ in 0..backlog {
            broker.publish();
            broker.effects.clear();
        }
        group.bench_function(BenchmarkId::from_parameter(backlog), |bench| bench.iter(|| broker.cycle_with_backlog()));
    }
    group.finish();
}

/// In batches of 64, as a busy socket brings them: 64 publishes, 64 deliveries, one ack frame.
fn batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core/batches");
    group.throughput(Throughput::Elements(64));
    let mut broker = Broker::new(1, 1, 2_048, true);
    group.bench_function("ack each", |bench| {
        bench.iter(|| {
            let mut last = 0;
            for _ in 0..64 {
                broker.publish();
                last = broker.drain().expect("there is credit").1.0;
            }
            for seq in last - 63..=last {
                broker.command(0, Command::Ack([MessageRef::Seq(Seq(seq))].into_iter().collect()));
            }
            broker.effects.clear();
            let connection = ConnectionId::new(0, 1);
            broker.shard.handle(broker.now, Input::Drained { connection }, &mut broker.effects);
        });
    });
    // A broker of its own: a consumer that once acked by id keeps an index.
    let mut broker = Broker::new(1, 1, 2_048, true);
    let ids: Vec<String> = (0..64).map(|n| format!("0190a6f2-7b3c-7def-8123-4567890000{n:02}")).collect();
    group.bench_function("ack by id", |bench| {
        bench.iter(|| {
            for id in &ids {
                broker.publish_as(id);
                broker.drain().expect("there is credit");
            }
            for id in &ids {
                broker.command(0, Command::Ack([MessageRef::Id(id.as_str().into())].into_iter().collect()));
            }
            broker.effects.clear();
            let connection = ConnectionId::new(0, 1);
            broker.shard.handle(broker.now, Input::Drained { connection }, &mut broker.effects);
        });
    });
    let mut broker = Broker::new(1, 1, 2_048, true);
    group.bench_function("ack up to", |bench| {
        bench.iter(|| {
            let mut last = Seq(0);
            for _ in 0..64 {
                broker.publish();
                last = broker.drain().expect("there is credit").1;
            }
            broker.command(0, Command::AckUpTo(last));
            broker.effects.clear();
            let connection = ConnectionId::new(0, 1);
            broker.shard.handle(broker.now, Input::Drained { connection }, &mut broker.effects);
        });
    });
    group.finish();
}

criterion_group!(benches, streams, consumers, backlog, batches);
criterion_main!(benches);
