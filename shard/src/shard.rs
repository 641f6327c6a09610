//! The state machine itself: what one shard owns, and which input goes where.

use crate::consumer::Consumers;
use crate::dead_letter::GivenUps;
use crate::expire::{Timer, Unfinished};
use crate::figures::LatencyHistogram;
use crate::hash::Seeded;
use crate::held::Held;
use crate::journal::Journal;
use crate::last_error::LastErrors;
use crate::memory::Memory;
use crate::message_id::MessageIds;
use crate::pause::{Marks, Paused};
use crate::shares::Shares;
use crate::snapshot::{Snapshot, StreamSnapshot, Totals};
use crate::stream::Stream;
use crate::streams::Streams;
use crate::wheel::Wheel;
use crate::{AnswerValue, Effect, Effects, Input, Limits, StreamKey, shard_of};
use conduit_protocol::{
    Command, ConnectionId, Delivery, ErrorCode, Now, Origin, Seq, ShardId, TenantId, time::NS_PER_MS,
};
use std::collections::VecDeque;

/// The broker of one core. See the contract at the top of the crate.
#[derive(Debug)]
pub struct Shard {
    pub(crate) id: ShardId,
    shards: u16,
    pub(crate) limits: Limits,
    pub(crate) seeded: Seeded,
    pub(crate) ids: MessageIds,
    pub(crate) streams: Streams,
    pub(crate) consumers: Consumers,
    pub(crate) memory: Memory,
    pub(crate) timers: Wheel<Timer>,
    /// The next look for streams to forget is on the wheel.
    pub(crate) is_sweeping: bool,
    /// Work that was left over, the longest waiting first. It may release messages, so it is done before any delivery of
    /// the same call: what an effect names is there until it is drained.
    pub(crate) unfinished: VecDeque<Unfinished>,
    /// Groups with deliveries left to make (stream, group), the longest waiting first.
    pub(crate) undelivered: VecDeque<(u32, u32)>,
    /// Groups that are given nothing fresh until some group is done with something, likewise.
    pub(crate) starved: VecDeque<(u32, u32)>,
    /// The least that a group's share of [`crate::journal::Journal::outstanding_max`] can be: below, nobody need look.
    pub(crate) least_share: u64,
    /// The first of those has its turn.
    pub(crate) is_feeding: bool,
    /// What deleted streams held, given up bit by bit.
    pub(crate) buried: VecDeque<Held>,
    /// Messages whose dead letters are to be written.
    pub(crate) given_ups: GivenUps,
    pub(crate) last_errors: LastErrors,
    /// Dedup ids that all streams remember.
    pub(crate) dedup_entries: usize,
    pub(crate) shares: Shares,
    pub(crate) paused: Paused,
    pub(crate) stream_marks: Marks,
    pub(crate) shard_marks: Marks,
    /// The shard reached its pause mark and is not yet below its resume mark.
    pub(crate) is_pausing: bool,
    pub(crate) totals: Totals,
    pub(crate) publish_to_deliver: LatencyHistogram,
    pub(crate) deliver_to_ack: LatencyHistogram,
    /// What the disk takes for a commit.
    pub(crate) commit_latency: LatencyHistogram,
    /// Its log, if it keeps one.
    pub(crate) journal: Option<Box<Journal>>,
    /// An envelope that is built before it is stored, or that is too much to be stored.
    pub(crate) scratch: Vec<u8>,
    pub(crate) now: Now,
}

impl Shard {
    /// An empty shard. `seed` feeds the generator of message ids and the maps' hash keys.
    #[must_use]
    pub fn new(id: ShardId, shards: u16, limits: Limits, seed: u64) -> Self {
        let marks = |messages_max, bytes_max| {
            Marks::new(messages_max, bytes_max, limits.pause_at_per_mille, limits.resume_at_per_mille)
        };
        Self {
            id,
            shards,
            seeded: Seeded::new(seed),
            ids: MessageIds::new(seed),
            streams: Streams::new(),
            consumers: Consumers::new(),
            memory: Memory::new(&limits),
            timers: Wheel::new(),
            is_sweeping: false,
            unfinished: VecDeque::new(),
            undelivered: VecDeque::new(),
            starved: VecDeque::new(),
            least_share: u64::MAX,
            is_feeding: false,
            buried: VecDeque::new(),
            given_ups: GivenUps::default(),
            last_errors: LastErrors::default(),
            dedup_entries: 0,
            shares: Shares::default(),
            paused: Paused::default(),
            stream_marks: marks(limits.stream_messages_max, limits.stream_bytes_max),
            shard_marks: marks(limits.shard_messages_max, limits.shard_bytes_max),
            is_pausing: false,
            totals: Totals::default(),
            publish_to_deliver: LatencyHistogram::new(),
            deliver_to_ack: LatencyHistogram::new(),
            commit_latency: LatencyHistogram::new(),
            journal: None,
            scratch: Vec::new(),
            now: Now::default(),
            limits,
        }
    }

    /// Its bounds.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// There are named tenants, or none any more: see `Limits::tenant_share_percent`. What is held already stays.
    pub const fn share_among_tenants(&mut self, has_tenants: bool) {
        self.shares.has_tenants = has_tenants;
    }

    /// The shard that owns a stream: ask before handing a command to `handle`.
    #[must_use]
    pub fn owner_of(&self, tenant: TenantId, stream: &str) -> ShardId {
        if self.shards <= 1 { self.id } else { shard_of(tenant, stream, self.shards) }
    }

    /// Takes one input and appends what is to be done. An answer to `Token::NONE` is only given when it is a refusal.
    #[allow(clippy::needless_pass_by_value, reason = "an input happens once, and who says so has no more use for it")]
    pub fn handle(&mut self, now: Now, input: Input<'_>, effects: &mut Effects) {
        self.now = now;
        match &input {
            Input::Command { origin, tenant, command } => self.command(now, origin, *tenant, command, effects),
            Input::Drained { connection } => self.drained(now, *connection, effects),
            Input::Disconnected { connection } => self.disconnected(now, *connection, effects),
            Input::Disk { ticket, outcome } => self.disk_done(now, *ticket, *outcome, effects),
            Input::Deadline => self.deadline(now, effects),
        }
    }

    /// Takes an [`Input::Command`] in parts: a command is a large value, and moving it costs more than some of them do.
    pub fn handle_command(
        &mut self,
        now: Now,
        origin: &Origin,
        tenant: TenantId,
        command: &Command<'_>,
        effects: &mut Effects,
    ) {
        self.now = now;
        self.command(now, origin, tenant, command, effects);
    }

    #[inline(always)]
    fn command(&mut self, now: Now, origin: &Origin, tenant: TenantId, command: &Command<'_>, effects: &mut Effects) {
        match command {
            Command::Publish(publish) => self.publish(now, origin, tenant, publish, effects),
            Command::Subscribe(subscribe) => self.subscribe(now, origin, tenant, subscribe, effects),
            Command::Credit(credit) => self.grant(now, origin.connection, *credit, effects),
            Command::Ack(targets) => self.ack(now, origin.connection, targets, effects),
            Command::AckSeq(seq) => self.ack_seq(now, origin.connection, *seq, effects),
            Command::AckUpTo(seq) => self.ack_up_to(now, origin.connection, *seq, effects),
            Command::Nack(nack) => self.nack(now, origin.connection, nack, effects),
            Command::Stats { stream } => self.stats(now, origin, tenant, stream, effects),
            Command::Stream(command) => self.administer(now, origin, tenant, command, effects),
            Command::Report { .. } | Command::Admin(_) | Command::Charge(_) => {
                refuse(effects, origin, ErrorCode::Internal, "reports and charges are not for the core", None);
            }
        }
    }

    /// When `Input::Deadline` is wanted, in `Now::mono_ns`; in the past when work was left over.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let can_feed = !self.starved.is_empty() && !self.memory.is_out_of_flights();
        if can_feed || !self.unfinished.is_empty() || !self.undelivered.is_empty() {
            return Some(self.now.mono_ns);
        }
        let log_ns = self.log_deadline();
        let timer_ns = self.timers.next_tick().map(|tick| tick.saturating_mul(NS_PER_MS));
        [timer_ns, self.paused.next_ns(), log_ns].into_iter().flatten().min()
    }

    /// The bytes of a `Deliver` effect, in the consumer's encoding (transcoded once per message, on first need).
    pub fn delivery(&mut self, connection: ConnectionId, stream: StreamKey, seq: Seq, attempt: u32) -> Delivery<'_> {
        self.delivery_bytes(connection, stream, seq, attempt)
    }

    /// Id and stream name of a message just published.
    #[must_use]
    pub fn published(&self, stream: StreamKey, seq: Seq) -> (&str, &str) {
        let Some(stream) = self.streams.at(stream.0) else {
            debug_assert!(false, "a stream key is valid until the next input");
            return ("", "");
        };
        (stream.message(seq.0).map_or("", |message| message.id()), &stream.name)
    }

    /// The name of a stream.
    #[must_use]
    pub fn stream_name(&self, stream: StreamKey) -> &str {
        self.streams.at(stream.0).map_or("", |stream| &*stream.name)
    }

    fn stats(&mut self, now: Now, origin: &Origin, tenant: TenantId, name: &str, effects: &mut Effects) {
        let stream = self.streams.find(tenant, name, &self.seeded).and_then(|key| self.streams.at_mut(key));
        match stream {
            Some(stream) => {
                let answer = AnswerValue::Stats(Box::new(stream.stats(now)));
                effects.push(Effect::Answer { origin: *origin, answer });
            }
            None => refuse(
                effects,
                origin,
                ErrorCode::UnknownStream,
                "no such stream: it exists from its first message or subscription on",
                None,
            ),
        }
    }

    /// Figures of now.
    pub fn snapshot(&mut self, now: Now) -> Snapshot {
        self.snapshot_for(now, None)
    }

    /// Figures of now, and the streams of one tenant if one is named: those of others do not take their places in the list.
    pub fn snapshot_for(&mut self, now: Now, tenant: Option<TenantId>) -> Snapshot {
        let listed = self.limits.snapshot_streams_max;
        let is_wanted = |stream: &Stream| tenant.is_none_or(|tenant| stream.tenant == tenant);
        let wanted = match tenant {
            None => self.streams.len(),
            Some(_) => self.streams.iter().filter(|stream| is_wanted(stream)).count(),
        };
        let streams = self
            .streams
            .iter_mut()
            .filter(|stream| is_wanted(stream))
            .take(listed)
            .map(|stream| StreamSnapshot {
                tenant: stream.tenant,
                name: stream.name.to_string(),
                stats: stream.stats(now),
                epoch: stream.epoch,
                first: stream.held.first(),
                last: stream.next_seq() - 1,
                retention: stream.settings.retention(),
                durability: stream.durability,
                groups: u64::from(stream.groups.keepers()),
            })
            .collect();
        let (reader_credit_now, reader_inflight_now) = self.consumers.held_by_readers();
        let streams_omitted = wanted.saturating_sub(listed) as u64;
        Snapshot {
            shard: self.id,
            streams,
            totals: Totals { streams_omitted, reader_credit_now, reader_inflight_now, ..self.totals() },
            publish_to_deliver_ns: self.publish_to_deliver.copy(),
            deliver_to_ack_ns: self.deliver_to_ack.copy(),
            commit_ns: self.commit_latency.copy(),
            log: self.log_snapshot(),
        }
    }

    /// The totals of a snapshot, without the walk over the streams.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals {
            streams_now: self.streams.len() as u64,
            streams_omitted: self.streams.len().saturating_sub(self.limits.snapshot_streams_max) as u64,
            consumers_now: self.consumers.len() as u64,
            messages_now: self.memory.messages_held,
            bytes_now: self.memory.bytes_held,
            index_bytes_now: self.memory.index_bytes(),
            paused_now: self.paused.len() as u64,
            ..self.totals
        }
    }
}

/// Refuses a request.
pub(crate) fn refuse(
    effects: &mut Effects,
    origin: &Origin,
    code: ErrorCode,
    message: &'static str,
    retry_after_ms: Option<u32>,
) {
    effects.push(Effect::Answer { origin: *origin, answer: AnswerValue::Refused { code, message, retry_after_ms } });
}
