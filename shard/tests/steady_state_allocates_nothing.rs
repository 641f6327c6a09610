//! Once its tables have grown, a shard takes, delivers and settles messages without allocating, and what an unused
//! stream or an idle consumer holds is small.

#[path = "../../protocol/tests/counting/mod.rs"]
mod counting;

use conduit_protocol::command::{NotBefore, StreamAction, StreamCommand, Targets};
use conduit_protocol::streams::{Policy, Retention, StreamSettings};
use conduit_protocol::{
    Command, ConnectionId, Encoding, Envelope, EnvelopeId, MessageRef, Now, Origin, Publish, PublishOptions, Seq,
    ShardId, Subscribe, TenantId, Token,
};
use conduit_shard::{Effect, Effects, Input, Limits, Shard};
use counting::{ALLOCATIONS, HELD_BYTES};
use std::cell::Cell;

struct Broker {
    shard: Shard,
    effects: Effects,
    now: Now,
    delivered: Vec<(u32, Seq)>,
}

impl Broker {
    fn new() -> Self {
        let limits = Limits { stream_idle_ms: 0, ..Limits::default() };
        let shard = Shard::new(ShardId(0), 1, limits, 1);
        let now = Now { mono_ns: 1_000_000, unix_ms: 1 };
        Self { shard, effects: Effects::new(), now, delivered: Vec::with_capacity(10_000) }
    }

    fn input(&mut self, input: Input<'_>) {
        self.shard.handle(self.now, input, &mut self.effects);
        for index in 0..self.effects.len() {
            if let Some(Effect::Deliver { connection, stream, seq, attempt }) = self.effects.at(index) {
                assert!(!self.shard.delivery(*connection, *stream, *seq, *attempt).envelope.is_empty());
                self.delivered.push((connection.slot(), *seq));
            }
        }
        self.effects.clear();
    }

    fn command(&mut self, slot: u32, command: Command<'_>) {
        let origin = Origin { shard: ShardId(0), connection: ConnectionId::new(slot, 1), token: Token(1) };
        self.input(Input::Command { origin, tenant: TenantId::DEFAULT, command });
    }

    fn subscribe(&mut self, slot: u32, stream: &str) {
        self.command(
            slot,
            Command::Subscribe(Subscribe {
                stream: stream.into(),
                encoding: Encoding::Json,
                credit: 1_000,
                refill_on_ack: true,
                ack_wait_ms: None,
                max_inflight: None,
                ..Subscribe::default()
            }),
        );
    }

    fn publish(&mut self, stream: &str, id: EnvelopeId<'_>) {
        self.publish_with(stream, id, PublishOptions::default());
    }

    fn publish_with(&mut self, stream: &str, id: EnvelopeId<'_>, options: PublishOptions<'_>) {
        self.now = self.now.plus_ns(1_000);
        let envelope = Envelope { encoding: Encoding::Json, bytes: br#"{"payload":"some bytes of payload"}"#, id };
        self.command(99_999, Command::Publish(Publish { stream: stream.into(), envelope, pausable: false, options }));
    }

    /// Acks everything delivered so far.
    fn ack_all(&mut self) {
        let mut delivered = std::mem::take(&mut self.delivered);
        for (slot, seq) in delivered.drain(..) {
            self.command(slot, Command::Ack(Targets::from_buf([MessageRef::Seq(seq)])));
            self.input(Input::Drained { connection: ConnectionId::new(slot, 1) });
        }
        self.delivered = delivered;
    }
}

/// Allocations of the last of many rounds of 500 messages.
fn allocations(mut round: impl FnMut(&mut Broker)) -> u64 {
    let mut broker = Broker::new();
    for slot in 0..3 {
        broker.subscribe(slot, "s");
    }
    for _ in 0..50 {
        round(&mut broker);
    }
    let before = ALLOCATIONS.with(Cell::get);
    for _ in 0..20 {
        round(&mut broker);
    }
    assert!(broker.shard.totals().acked >= 70 * 500, "the rounds did their work");
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn publish_deliver_ack_by_seq() {
    let round = |broker: &mut Broker| {
        (0..500).for_each(|_| broker.publish("s", EnvelopeId::Given(b"an id of the publisher".into())));
        broker.ack_all();
    };
    assert_eq!(allocations(round), 0);
}

#[test]
fn three_groups_and_a_log_that_forgets() {
    let of = |broker: &mut Broker, slot: u32, group: &'static str| {
        let subscribe = Subscribe {
            stream: "s".into(),
            credit: 1_000,
            refill_on_ack: true,
            group: Some(group.into()),
            ..Subscribe::default()
        };
        broker.command(slot, Command::Subscribe(subscribe));
    };
    for max_messages in [0, 100] {
        let mut broker = Broker::new();
        let policy = if max_messages > 0 { Policy::Log } else { Policy::Work };
        let retention = Some(Retention { policy, max_messages, ..Retention::default() });
        let action = StreamAction::Put(StreamSettings { retention, ..StreamSettings::default() });
        broker.command(9, Command::Stream(Box::new(StreamCommand { stream: "s".into(), action })));
        for (slot, group) in (0..).zip(["a", "b", "c"]) {
            of(&mut broker, slot, group);
        }
        let mut last = 0;
        for _ in 0..60 {
            let before = ALLOCATIONS.with(Cell::get);
            (0..500).for_each(|_| broker.publish("s", EnvelopeId::Absent));
            broker.ack_all();
            broker.input(Input::Deadline);
            last = ALLOCATIONS.with(Cell::get) - before;
        }
        let totals = broker.shard.totals();
        assert_eq!(totals.delivered, 60 * 500 * 3);
        assert_eq!(totals.messages_now, max_messages);
        assert_eq!(last, 0, "{policy:?}");
    }
}

#[test]
fn traced_messages() {
    let trace = Some(conduit_protocol::TraceContext::from_bytes([7; 25]));
    let round = |broker: &mut Broker| {
        for _ in 0..500 {
            broker.publish_with("s", EnvelopeId::Absent, PublishOptions { trace, ..PublishOptions::default() });
        }
        broker.ack_all();
    };
    assert_eq!(allocations(round), 0);
}

#[test]
fn readers_that_send_no_acks() {
    let mut broker = Broker::new();
    for (slot, group) in [(1, Some("g".into())), (2, None)] {
        let subscribe = Subscribe {
            stream: "s".into(),
            credit: 1_000,
            refill_on_ack: true,
            ephemeral: group.is_none(),
            group,
            auto_ack: true,
            ..Subscribe::default()
        };
        broker.command(slot, Command::Subscribe(subscribe));
    }
    let mut last = 0;
    for _ in 0..60 {
        let before = ALLOCATIONS.with(Cell::get);
        (0..500).for_each(|_| broker.publish("s", EnvelopeId::Absent));
        for slot in [1, 2] {
            broker.input(Input::Drained { connection: ConnectionId::new(slot, 1) });
        }
        broker.delivered.clear();
        last = ALLOCATIONS.with(Cell::get) - before;
    }
    let totals = broker.shard.totals();
    // What the group is done with is gone, for the one that reads alone too.
    assert_eq!((totals.delivered, totals.acked, totals.messages_now), (60 * 500 * 2, 60 * 500, 0));
    assert_eq!(last, 0);
}

#[test]
fn ids_made_by_the_server() {
    let round = |broker: &mut Broker| {
        (0..500).for_each(|_| broker.publish("s", EnvelopeId::Absent));
        broker.ack_all();
    };
    assert_eq!(allocations(round), 0);
}

#[test]
fn ack_by_id() {
    let ids: Vec<String> = (0..500).map(|n| format!("id {n}")).collect();
    let round = |broker: &mut Broker| {
        ids.iter().for_each(|id| broker.publish("s", EnvelopeId::Given(id.as_bytes().into())));
        for (n, id) in ids.iter().enumerate() {
            let slot = broker.delivered[n].0;
            let id = MessageRef::Id(id.as_str().into());
            broker.command(slot, Command::Ack(Targets::from_buf([id])));
            broker.input(Input::Drained { connection: ConnectionId::new(slot, 1) });
        }
        broker.delivered.clear();
    };
    assert_eq!(allocations(round), 0);
}

#[test]
fn urgent_messages_and_such_that_expire() {
    let round = |broker: &mut Broker| {
        for n in 0..500 {
            let ttl_ms = std::num::NonZeroU64::new(n % 2 * 1_000);
            let options = PublishOptions { priority: (n % 4) as u8, ttl_ms, ..PublishOptions::default() };
            broker.publish_with("s", EnvelopeId::Absent, options);
            if n % 50 == 49 {
                broker.ack_all();
                broker.now = broker.now.plus_ns(2_000_000_000);
                broker.input(Input::Deadline);
            }
        }
    };
    assert_eq!(allocations(round), 0);
}

#[test]
fn messages_that_wait_for_their_time() {
    let round = |broker: &mut Broker| {
        for n in 0..500 {
            let options = PublishOptions { not_before: NotBefore::AfterMs(n % 7), ..PublishOptions::default() };
            broker.publish_with("s", EnvelopeId::Absent, options);
            if n % 50 == 49 {
                broker.now = broker.now.plus_ns(7_000_000);
                broker.input(Input::Deadline);
                broker.ack_all();
            }
        }
    };
    assert_eq!(allocations(round), 0);
}

#[test]
fn dedup_ids() {
    let mut n = 0_u64;
    let round = |broker: &mut Broker| {
        for _ in 0..500 {
            n += 1;
            let before = ALLOCATIONS.with(Cell::get);
            let dedup_id = Some(format!("{n:020}").into());
            // The test's own text does not count.
            ALLOCATIONS.with(|count| count.set(before));
            broker.publish_with("s", EnvelopeId::Absent, PublishOptions { dedup_id, ..PublishOptions::default() });
        }
        broker.ack_all();
        broker.now = broker.now.plus_ns(60_000_000_000);
        broker.input(Input::Deadline);
    };
    assert_eq!(allocations(round), 0);
}

#[test]
fn streams_that_fill_and_empty() {
    let names: Vec<String> = (0..500).map(|n| format!("stream {n}")).collect();
    let mut broker = Broker::new();
    for (slot, name) in (0..).zip(&names) {
        broker.subscribe(slot, name);
    }
    let mut last = 0;
    for _ in 0..5 {
        let before = ALLOCATIONS.with(Cell::get);
        names.iter().for_each(|name| broker.publish(name, EnvelopeId::Absent));
        broker.ack_all();
        last = ALLOCATIONS.with(Cell::get) - before;
    }
    assert_eq!(last, 0);
}

#[test]
fn an_unused_stream_and_an_idle_consumer_hold_little() {
    let mut broker = Broker::new();
    let names: Vec<String> = (0..20_000).map(|n| format!("agents/user{n}/inbox")).collect();
    let held = |broker: &mut Broker, act: &dyn Fn(&mut Broker, u32, &str)| {
        let before = HELD_BYTES.with(Cell::get);
        for (slot, name) in (0..).zip(&names) {
            act(broker, slot, name);
        }
        (HELD_BYTES.with(Cell::get) - before) / names.len() as i64
    };
    let subscribed = held(&mut broker, &|broker, slot, name| broker.subscribe(slot, name));
    assert!(subscribed <= 1_024, "{subscribed} bytes for a stream and its consumer");
    let used = held(&mut broker, &|broker, _, name| {
        broker.publish(name, EnvelopeId::Absent);
        broker.ack_all();
    });
    assert!(used <= 2_200, "{used} bytes more once it has been used: its latencies");
    let left = held(&mut broker, &|broker, slot, _| {
        broker.input(Input::Disconnected { connection: ConnectionId::new(slot, 1) });
    });
    assert!(left <= 8, "{left} bytes more: nothing but places to be used again");
}
