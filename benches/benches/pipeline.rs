//! The whole way of a message through one shard, on bytes and without sockets: frames as a read brings them, decoded,
//! decided, delivered into an outbox, acked by frames again; and an HTTP publish from its request to its response.
//!
//! `cargo bench -p conduit-benches --bench pipeline` measures time, which a busy machine bends. What it cannot bend are
//! instructions: `valgrind --tool=callgrind --collect-atstart=no --toggle-collect='*::serve' TARGET/pipeline-HASH
//! --messages 100000 msgpack` counts those of the server's side alone (`json` and `http` are the other ways). A run
//! with `--messages` also tells the allocations per message.
#![allow(missing_docs, reason = "criterion's macros define undocumented items")]

use conduit_protocol::http::HttpDate;
use conduit_protocol::{
    AccessLog, Answer, Command, ConnectionId, Context, Encoding, Inbox, Limits, Now, OpenGate, Origin, Policy, Refusal,
    Seq, Session, ShardId, Step, Telemetry, codec,
};
use conduit_shard::{AnswerValue, Effect, Effects, Input, Shard, StreamKey};
use criterion::{Criterion, Throughput, criterion_group};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};

/// Messages that one read brings.
const BATCH: usize = 64;
/// Credit, and so the messages that are in flight at once: acks come this many messages after the publish.
const IN_FLIGHT: usize = 2_048;
const STREAM: &str = "agents/user123/inbox";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
/// The connections' places in the broker.
const PRODUCER: usize = 0;
const CONSUMER: usize = 1;

/// The system's allocator, counting.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises about `layout` are the ones needed here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System`, since `alloc` passes everything on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One connection as the `io` crate keeps it, without its socket.
#[derive(Default)]
struct Connection {
    session: Session,
    outbox: Vec<u8>,
}

/// One shard with its connections: what the `io` crate does between two system calls.
struct Broker {
    shard: Shard,
    effects: Effects,
    connections: Vec<Connection>,
    limits: Limits,
    policy: Policy,
    gate: OpenGate,
    log: AccessLog,
    telemetry: Telemetry,
    date: HttpDate,
    now: Now,
    /// Where a read puts its bytes.
    scratch: Vec<u8>,
}

macro_rules! context {
    ($broker:ident, $connection:ident) => {
        Context {
            now: $broker.now,
            limits: &$broker.limits,
            policy: &$broker.policy,
            gate: &mut $broker.gate,
            log: &mut $broker.log,
            peer: Ipv4Addr::LOCALHOST.into(),
            telemetry: &mut $broker.telemetry,
            out: &mut $connection.outbox,
            date: &mut $broker.date,
            draining: false,
            resting: false,
        }
    };
}

impl Broker {
    fn new(connections: usize) -> Self {
        Self {
            shard: Shard::new(ShardId(0), 1, conduit_shard::Limits::default(), 7),
            effects: Effects::new(),
            connections: (0..connections).map(|_| Connection::default()).collect(),
            limits: Limits::default(),
            policy: Policy::default(),
            gate: OpenGate,
            log: AccessLog::default(),
            telemetry: Telemetry::default(),
            date: HttpDate::default(),
            now: Now { mono_ns: 1_000_000_000, unix_ms: 1_700_000_000_000 },
            scratch: Vec::new(),
        }
    }

    /// One read of one connection: copied as the kernel does, decoded, decided, encoded.
    #[inline(never)]
    fn serve(&mut self, at: usize, read: &[u8]) {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        scratch.extend_from_slice(read);
        let mut inbox = Inbox::new(&mut scratch);
        while self.step(at, &mut inbox) {
            self.drain();
        }
        assert!(inbox.is_empty(), "the reads are whole frames");
        self.scratch = scratch;
    }

    /// Decodes one unit and decides on it; `false` when all are done.
    fn step(&mut self, at: usize, inbox: &mut Inbox<'_>) -> bool {
        let connection = &mut self.connections[at];
        let mut context = context!(self, connection);
        match &connection.session.next(inbox, &mut context) {
            &Step::Command { token, tenant, ref command } => {
                if let Command::Publish(publish) = command
                    && self.shard.owner_of(tenant, &publish.stream) != ShardId(0)
                {
                    return false;
                }
                let origin = Origin { shard: ShardId(0), connection: ConnectionId::new(at as u32, 0), token };
                self.shard.handle_command(self.now, &origin, tenant, command, &mut self.effects);
                true
            }
            Step::Again => true,
            Step::NeedBytes | Step::Wait | Step::Close => false,
        }
    }

    fn drain(&mut self) {
        if self.effects.is_empty() {
            return;
        }
        let mut effects = std::mem::take(&mut self.effects);
        let mut next = 0;
        while let Some(effect) = effects.at(next) {
            if let &Effect::Deliver { connection, stream, seq, attempt } = effect {
                self.deliver(connection, stream, seq, attempt);
            } else if let Some(effect) = effects.take(next) {
                self.execute(effect);
            }
            next += 1;
        }
        effects.clear();
        self.effects = effects;
    }

    #[inline(always)]
    fn deliver(&mut self, id: ConnectionId, stream: StreamKey, seq: Seq, attempt: u32) {
        let connection = &mut self.connections[id.slot() as usize];
        let delivery = self.shard.delivery(id, stream, seq, attempt);
        let mut context = context!(self, connection);
        connection.session.deliver(&delivery, &mut context);
    }

    fn execute(&mut self, effect: Effect) {
        match effect {
            Effect::Deliver { .. } => debug_assert!(false, "deliveries are executed where they lie"),
            Effect::Answer { origin, answer } => {
                let connection = &mut self.connections[origin.connection.slot() as usize];
                let mut context = context!(self, connection);
                let session = &mut connection.session;
                match answer {
                    AnswerValue::Published { stream, seq, .. } => {
                        let (id, stream) = self.shard.published(stream, seq);
                        session.answer(
                            origin.token,
                            &Answer::Published { id, stream, seq, promise: Default::default(), duplicate: false },
                            &mut context,
                        );
                    }
                    AnswerValue::Subscribed(_) => session.answer(origin.token, &Answer::Subscribed(None), &mut context),
                    AnswerValue::Refused { code, message, retry_after_ms } => {
                        let refusal = Refusal { code, message: message.into(), retry_after_ms };
                        session.answer(origin.token, &Answer::Refused(refusal), &mut context);
                    }
                    AnswerValue::Stats(_) | AnswerValue::Duplicate { .. } | AnswerValue::Stream(_) => {}
                }
            }
            Effect::Gap { .. } | Effect::Close { .. } | Effect::Pause { .. } | Effect::Resume { .. } => {}
        }
    }

    /// The outbox of a connection has been written: how many bytes that was.
    fn write(&mut self, at: usize) -> usize {
        let written = self.connections[at].outbox.len();
        self.connections[at].outbox.clear();
        if at == CONSUMER {
            let connection = ConnectionId::new(at as u32, 0);
            self.shard.handle(self.now, Input::Drained { connection }, &mut self.effects);
            self.drain();
        }
        written
    }
}

/// A masked frame as a client sends it.
fn append_frame(encoding: Encoding, payload: &[u8], out: &mut Vec<u8>) {
    out.push(if encoding == Encoding::Json { 0x81 } else { 0x82 });
    match payload.len() {
        length @ 0..=125 => out.push(0x80 | length as u8),
        length => {
            out.push(0xfe);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ MASK[at % 4]));
}

/// The body of one publish, with an id of 20 bytes and a payload of 128.
fn publish(encoding: Encoding, number: usize, is_frame: bool) -> Vec<u8> {
    let body = format!(
        r#"{{"to":"{STREAM}","envelope":{{"id":"0000-{number:015}","payload":"{}"}}}}"#,
        "conduit-payload-".repeat(8)
    );
    let body = if is_frame { format!(r#"{{"enqueue":{body}}}"#) } else { body };
    let mut bytes = Vec::new();
    codec::transcode(Encoding::Json, encoding, body.as_bytes(), &mut bytes);
    bytes
}

/// A producer and a consumer on WebSockets, one stream, one ack frame per message.
struct Sockets {
    broker: Broker,
    encoding: Encoding,
    /// Reads of the producer.
    reads: Vec<Vec<u8>>,
    acks: Vec<u8>,
    /// Of one ack.
    payload: Vec<u8>,
    round: usize,
    acked: u64,
}

impl Sockets {
    fn new(encoding: Encoding) -> Self {
        let mut broker = Broker::new(2);
        let codec = if encoding == Encoding::Json { "json" } else { "msgpack" };
        let handshake = |target: &str| {
            format!(
                "GET {target} HTTP/1.1\r\nhost: x\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
        };
        broker.serve(PRODUCER, handshake(&format!("/v1/publish?codec={codec}")).as_bytes());
        let subscribe = format!("/v1/subscribe?stream={STREAM}&codec={codec}&credit={IN_FLIGHT}&refill=ack");
        broker.serve(CONSUMER, handshake(&subscribe).as_bytes());
        let reads = (0..IN_FLIGHT / BATCH)
            .map(|read| {
                let mut bytes = Vec::new();
                for n in 0..BATCH {
                    append_frame(encoding, &publish(encoding, read * BATCH + n, true), &mut bytes);
                }
                bytes
            })
            .collect();
        for at in [PRODUCER, CONSUMER] {
            assert!(broker.connections[at].session.is_websocket() && broker.write(at) > 0);
        }
        let mut sockets = Self { broker, encoding, reads, acks: Vec::new(), payload: Vec::new(), round: 0, acked: 0 };
        // The window is open when the credit is spent: from then on a message is delivered for each that is acked.
        for _ in 0..IN_FLIGHT / BATCH {
            sockets.publish();
            assert!(sockets.broker.write(CONSUMER) > BATCH * 128);
        }
        sockets
    }

    fn publish(&mut self) {
        self.broker.now = self.broker.now.plus_ns(40_000);
        self.broker.serve(PRODUCER, &self.reads[self.round % self.reads.len()]);
        self.round += 1;
    }

    /// Writes the next acks as the client does.
    fn write_acks(&mut self) {
        self.acks.clear();
        for _ in 0..BATCH {
            self.acked += 1;
            self.payload.clear();
            match self.encoding {
                Encoding::Json => write!(self.payload, "{{\"ack\":{}}}", self.acked).expect("memory takes everything"),
                Encoding::MessagePack => {
                    self.payload.extend_from_slice(b"\x81\xa3ack\xce");
                    self.payload.extend_from_slice(&(self.acked as u32).to_be_bytes());
                }
            }
            append_frame(self.encoding, &self.payload, &mut self.acks);
        }
    }

    /// One batch: published, then acked in full, which delivers it.
    fn batch(&mut self) {
        self.write_acks();
        self.broker.serve(CONSUMER, &self.acks);
        self.publish();
        let written = self.broker.write(CONSUMER);
        assert!(black_box(written) > BATCH * 128, "one delivery for each");
        assert_eq!(self.broker.write(PRODUCER), 0, "nothing was refused");
    }
}

/// HTTP producers, one request at a time each, and a consumer that keeps the stream short.
struct Requests {
    broker: Broker,
    requests: Vec<Vec<u8>>,
}

impl Requests {
    fn new() -> Self {
        let mut broker = Broker::new(BATCH);
        broker.now = broker.now.plus_ns(1);
        let requests = (0..BATCH)
            .map(|n| {
                let body = publish(Encoding::Json, n, false);
                let mut bytes = format!(
                    "POST /v1/enqueue HTTP/1.1\r\nHost: 127.0.0.1:9087\r\nContent-Type: application/json\r\n\
                     Content-Length: {}\r\n\r\n",
                    body.len()
                )
                .into_bytes();
                bytes.extend_from_slice(&body);
                bytes
            })
            .collect();
        Self { broker, requests }
    }

    fn batch(&mut self) {
        for (at, request) in self.requests.iter().enumerate() {
            self.broker.serve(at, request);
            let connection = &mut self.broker.connections[at];
            assert!(connection.outbox.starts_with(b"HTTP/1.1 200"), "accepted");
            connection.outbox.clear();
        }
        self.broker.now = self.broker.now.plus_ns(100_000);
    }

    /// A full stream would refuse: begin with an empty shard now and then.
    fn renew(&mut self) {
        self.broker.shard = Shard::new(ShardId(0), 1, conduit_shard::Limits::default(), 7);
    }
}

/// Batches after which a stream that nobody consumes is thrown away.
const BATCHES_KEPT: usize = 512;

fn sockets(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pipeline/websocket");
    group.throughput(Throughput::Elements(BATCH as u64));
    for (name, encoding) in [("json", Encoding::Json), ("msgpack", Encoding::MessagePack)] {
        let mut sockets = Sockets::new(encoding);
        group.bench_function(name, |bench| bench.iter(|| sockets.batch()));
    }
    group.finish();
}

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pipeline/http");
    group.throughput(Throughput::Elements(BATCH as u64));
    let mut requests = Requests::new();
    let mut batches = 0;
    group.bench_function("publish", |bench| {
        bench.iter(|| {
            batches += 1;
            if batches % BATCHES_KEPT == 0 {
                requests.renew();
            }
            requests.batch();
        });
    });
    group.finish();
}

/// Runs one way without measuring time, for tools that count. Tells the allocations per message in steady state: those
/// of the second half.
#[allow(clippy::print_stdout, reason = "this is what was asked for")]
fn count(messages: usize, way: &str) {
    let mut batch: Box<dyn FnMut()> = match way {
        "http" => {
            let mut requests = Requests::new();
            Box::new(move || requests.batch())
        }
        way => {
            let mut sockets = Sockets::new(if way == "json" { Encoding::Json } else { Encoding::MessagePack });
            Box::new(move || sockets.batch())
        }
    };
    let batches = (messages / BATCH).max(2);
    let mut before = 0;
    let mut began = std::time::Instant::now();
    for n in 0..batches {
        if n == batches / 2 {
            before = ALLOCATIONS.load(Ordering::Relaxed);
            began = std::time::Instant::now();
        }
        batch();
    }
    let counted = ((batches - batches / 2) * BATCH) as f64;
    let ns = began.elapsed().as_nanos() as f64 / counted;
    let allocations = (ALLOCATIONS.load(Ordering::Relaxed) - before) as f64 / counted;
    println!("{way}: {ns:.0} ns and {allocations:.3} allocations per message");
}

criterion_group!(benches, sockets, requests);

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--messages") {
        let messages = arguments.get(at + 1).and_then(|messages| messages.parse().ok()).unwrap_or(100_000);
        count(messages, arguments.get(at + 2).map_or("msgpack", String::as_str));
        return;
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
