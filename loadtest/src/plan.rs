//! What one run does, checked and complete: every later module may take it at its word.

use crate::layout::Layout;
use crate::message::{INDEX_MAX, NUMBER_MAX, SENT_AT_BYTES};
use crate::wire::Codec;
use serde::Serialize;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

/// How messages are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PublishWire {
    /// One `POST /v1/enqueue` per message.
    Http,
    /// One `POST /v1/enqueue` per `--batch` messages, as `application/x-ndjson`.
    HttpBatch,
    /// `enqueue` frames on `/v1/publish`.
    Ws,
    /// NATS protocol in WebSocket frames (a reference).
    #[value(skip)]
    Nats,
    /// Redis `PUBLISH` (a reference).
    #[value(skip)]
    RedisPublish,
    /// Redis `RPUSH` (a reference).
    #[value(skip)]
    RedisAppend,
    /// Redis `XADD` (a reference).
    #[value(skip)]
    RedisStream,
}

/// How messages are consumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ConsumeWire {
    /// Subscriptions on `/v1/subscribe`.
    Ws,
    /// Nobody consumes.
    None,
    /// NATS protocol in WebSocket frames (a reference).
    #[value(skip)]
    Nats,
    /// Redis `SUBSCRIBE` (a reference).
    #[value(skip)]
    RedisSubscribe,
}

/// How deliveries are acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AckStyle {
    /// One `{"ack":seq}` frame per delivery.
    Each,
    /// One `{"ack":[seq,...]}` frame per read.
    Array,
    /// One `{"ackUpTo":seq}` frame per read.
    Upto,
}

/// How spent credit comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Refill {
    /// The server gives it back with each ack (`refill=ack`).
    Ack,
    /// The client sends `{"credit":n}` when half of the window is spent.
    Grant,
}

/// The whole run. Times are wall-clock durations; counts are per run unless said otherwise.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Where HTTP goes.
    pub http: Target,
    /// Where WebSocket (or the reference's own protocol) goes.
    pub ws: Target,
    /// How messages are published.
    pub publish: PublishWire,
    /// How messages are consumed.
    pub consume: ConsumeWire,
    /// Producers, each one connection.
    pub producers: u32,
    /// Consumers, each one connection; 0 when nobody consumes, else at least one per stream.
    pub consumers: u32,
    /// Streams.
    pub streams: u32,
    /// Stream `i` is called `<prefix>/<i>`.
    pub stream_prefix: String,
    /// Bytes of each payload string.
    pub payload_bytes: usize,
    /// The producers' codec.
    pub codec: Codec,
    /// The consumers' codec.
    pub consume_codec: Codec,
    /// Each consumer's window.
    pub credit: u32,
    /// How credit comes back.
    pub refill: Refill,
    /// How deliveries are acked.
    pub ack: AckStyle,
    /// Messages of one producer between publish and delivery (or answer, with `confirm`) in the closed loop.
    pub inflight: u32,
    /// Requests of one HTTP connection without an answer.
    pub pipeline: u32,
    /// Messages of one batch.
    pub batch: u32,
    /// WebSocket producers ask for an answer to each publish.
    pub confirm: bool,
    /// Every answer must promise that its message is on the disk (`"durable":true`); one that does not is an error.
    pub durable: bool,
    /// The group that consumers join; none: the default group.
    pub group: Option<String>,
    /// Messages a second, of all producers together: the open loop. Otherwise the closed loop.
    pub rate: Option<f64>,
    /// Length of the measured window.
    pub duration: Option<Duration>,
    /// Messages of all producers together, warm-up included.
    pub messages: Option<u64>,
    /// Time before the measured window.
    pub warmup: Duration,
    /// How long the end may go without progress before what is missing counts as lost.
    pub drain: Duration,
    /// How long a producer waits after `Backpressure`.
    pub retry: Duration,
    /// Generator threads.
    pub threads: usize,
    /// CPUs they are pinned to, in turn. Empty: not pinned.
    pub cpus: Vec<usize>,
    /// The threads never sleep: timers and answers are seen at once.
    pub spin: bool,
    /// The server's process, for its CPU and memory.
    pub server_pid: Option<u32>,
    /// Marks this run's messages.
    pub run: u16,
}

/// An address and the name to call it by.
#[derive(Debug, Clone, Serialize)]
pub struct Target {
    /// What goes into `Host`.
    pub host: String,
    /// What is connected to.
    #[serde(skip)]
    pub address: SocketAddr,
    /// What is shown to be let in; never in a report.
    #[serde(skip)]
    pub token: Option<String>,
}

impl Target {
    /// Resolves `http://host:port`, `ws://host:port` or plain `host:port`. A path is ignored.
    ///
    /// # Errors
    /// A sentence saying what is wrong with `url`.
    pub fn parse(url: &str) -> Result<Self, String> {
        let rest = match url.split_once("://") {
            Some(("http" | "ws", rest)) => rest,
            Some((scheme, _)) => return Err(format!("{url}: {scheme} is not spoken here; use http:// or ws://")),
            None => url,
        };
        let authority = rest.split('/').next().unwrap_or_default();
        let host = match authority.rsplit_once(':') {
            Some((_, port)) if port.parse::<u16>().is_ok() => authority.to_owned(),
            _ => format!("{authority}:80"),
        };
        let mut addresses = host.to_socket_addrs().map_err(|error| format!("{url}: {error}"))?;
        let address = addresses.next().ok_or_else(|| format!("{url}: no address"))?;
        Ok(Self { host, address, token: None })
    }

    /// A loopback port.
    #[must_use]
    pub fn loopback(port: u16) -> Self {
        Self { host: format!("127.0.0.1:{port}"), address: SocketAddr::from(([127, 0, 0, 1], port)), token: None }
    }

    /// The same, with a token.
    #[must_use]
    pub fn with_token(self, token: Option<String>) -> Self {
        Self { token, ..self }
    }

    /// The header that shows the token, with its line end; empty without one.
    #[must_use]
    pub fn authorization(&self) -> String {
        self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default()
    }
}

impl Plan {
    /// A closed loop of one producer and one consumer over WebSocket against `target`, with every other value at the
    /// default that `conduit-loadtest run` has too.
    #[must_use]
    pub fn new(target: &Target) -> Self {
        let run = std::process::id() as u16 ^ jiff::Timestamp::now().as_millisecond() as u16;
        Self {
            http: target.clone(),
            ws: target.clone(),
            publish: PublishWire::Ws,
            consume: ConsumeWire::Ws,
            producers: 1,
            consumers: 1,
            streams: 1,
            stream_prefix: format!("loadtest/{run:04x}"),
            payload_bytes: 128,
            codec: Codec::Json,
            consume_codec: Codec::Json,
            credit: 4_096,
            refill: Refill::Ack,
            ack: AckStyle::Each,
            inflight: 2_048,
            pipeline: 1,
            batch: 100,
            confirm: false,
            durable: false,
            group: None,
            rate: None,
            duration: Some(Duration::from_secs(10)),
            messages: None,
            warmup: Duration::from_secs(1),
            drain: Duration::from_secs(5),
            retry: Duration::from_millis(10),
            threads: 1,
            cpus: Vec::new(),
            spin: false,
            server_pid: None,
            run,
        }
    }

    /// Who publishes where.
    #[must_use]
    pub const fn layout(&self) -> Layout {
        Layout { producers: self.producers, streams: self.streams }
    }

    /// A stream's name.
    #[must_use]
    pub fn stream_name(&self, stream: u32) -> String {
        format!("{}/{stream}", self.stream_prefix)
    }

    /// How many messages `producer` may publish.
    #[must_use]
    pub fn share_of(&self, producer: u32) -> u64 {
        let producers = u64::from(self.producers);
        self.messages.map_or(NUMBER_MAX, |all| all / producers + u64::from(u64::from(producer) < all % producers))
    }

    /// The thread that drives all the consumers of `stream`.
    #[must_use]
    pub const fn thread_of_stream(&self, stream: u32) -> usize {
        stream as usize % self.threads
    }

    /// The thread that drives `producer`.
    #[must_use]
    pub const fn thread_of_producer(&self, producer: u32) -> usize {
        producer as usize % self.threads
    }

    /// Checks the values against each other.
    ///
    /// # Errors
    /// A sentence naming the option, its bound and the remedy.
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: u64, min: u64, max: u64| {
            (min..=max).contains(&value).then_some(()).ok_or(format!("--{name} is {value}; it must be {min} to {max}"))
        };
        within("producers", self.producers.into(), 1, INDEX_MAX.into())?;
        within("streams", self.streams.into(), 1, INDEX_MAX.into())?;
        let payload_min = if self.is_conduit() { SENT_AT_BYTES } else { SENT_AT_BYTES + crate::message::ID_BYTES };
        within("payload-bytes", self.payload_bytes as u64, payload_min as u64, 16 << 20)?;
        within("inflight", self.inflight.into(), 1, 1 << 24)?;
        within("pipeline", self.pipeline.into(), 1, 4_096)?;
        within("batch", self.batch.into(), 1, 10_000)?;
        within("threads", self.threads as u64, 1, 1_024)?;
        within("credit", self.credit.into(), 1, 1_000_000)?;
        if self.consume != ConsumeWire::None {
            let why = "every stream needs a reader, or its messages would count as lost";
            if self.consumers < self.streams {
                return Err(format!("--consumers is {} and --streams is {}: {why}", self.consumers, self.streams));
            }
            within("consumers", self.consumers.into(), 1, INDEX_MAX.into())?;
        }
        if self.consumers > self.streams && self.ack == AckStyle::Upto {
            return Err(
                "--ack upto with several consumers of one stream would ack for the others; use each or array".into()
            );
        }
        if self.durable && self.publish == PublishWire::Ws && !self.confirm {
            return Err("--durable looks at the answers, so it needs --confirm".into());
        }
        if self.publish == PublishWire::HttpBatch && self.codec == Codec::Msgpack {
            return Err("--publish http-batch is ndjson; it has no MessagePack form".into());
        }
        if self.rate.is_some_and(|rate| !(0.001..=1e9).contains(&rate)) {
            return Err("--rate must be 0.001 to 1000000000 messages a second".into());
        }
        if self.duration.is_none() && self.messages.is_none() {
            return Err("say when to stop: --duration or --messages".into());
        }
        Ok(())
    }

    const fn is_conduit(&self) -> bool {
        matches!(self.publish, PublishWire::Http | PublishWire::HttpBatch | PublishWire::Ws)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_plan_is_valid_and_each_bound_is_checked_at_limit_and_beyond() {
        let good = Plan::new(&Target::loopback(1));
        assert_eq!(good.check(), Ok(()));
        type Change = fn(&mut Plan, bool);
        let changes: [Change; 5] = [
            |plan, beyond| plan.payload_bytes = if beyond { 15 } else { 16 },
            |plan, beyond| plan.pipeline = if beyond { 4_097 } else { 4_096 },
            |plan, beyond| plan.batch = if beyond { 10_001 } else { 10_000 },
            |plan, beyond| plan.credit = if beyond { 1_000_001 } else { 1_000_000 },
            |plan, beyond| (plan.streams, plan.consumers) = if beyond { (3, 2) } else { (2, 2) },
        ];
        for change in changes {
            let mut plan = good.clone();
            change(&mut plan, false);
            assert_eq!(plan.check(), Ok(()));
            change(&mut plan, true);
            assert!(plan.check().is_err());
        }
    }

    #[test]
    fn the_shares_add_up_to_the_whole() {
        let mut plan = Plan::new(&Target::loopback(1));
        plan.producers = 7;
        plan.messages = Some(100);
        assert_eq!((0..7).map(|producer| plan.share_of(producer)).sum::<u64>(), 100);
    }

    #[test]
    fn targets_are_read_with_and_without_scheme() {
        for url in ["http://127.0.0.1:9087", "ws://127.0.0.1:9087/v1/subscribe", "127.0.0.1:9087"] {
            assert_eq!(Target::parse(url).map(|target| target.host), Ok("127.0.0.1:9087".into()));
        }
        assert!(Target::parse("https://127.0.0.1").is_err());
    }
}
