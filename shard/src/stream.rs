//! One stream: what it holds, its groups, its settings, its figures.

use crate::Limits;
use crate::agenda::Agenda;
use crate::dedup::Dedup;
use crate::figures::StreamFigures;
use crate::group::Group;
use crate::groups::Groups;
use crate::held::Held;
use crate::journal::InLog;
use crate::lanes::Lanes;
use crate::log::SeqRange;
use crate::memory::Memory;
use crate::message::Message;
use crate::pool::Size;
use crate::publish::NewMessage;
use crate::settings::Settings;
use crate::timestamp::rfc3339;
use crate::wheel::TimerId;
use conduit_protocol::command::From;
use conduit_protocol::streams::Durability;
use conduit_protocol::{Now, StreamStats, TenantId};

/// Gaps that a stream remembers one by one; further ones are told as part of the last.
const GAPS_MAX: usize = 1_000;

/// A stream of one tenant.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) tenant: TenantId,
    pub(crate) name: Box<str>,
    /// Hash of tenant and name.
    pub(crate) hash: u64,
    /// Names this numbering of messages: when it began, in `Now::unix_ms`.
    pub(crate) epoch: u64,
    pub(crate) held: Held,
    pub(crate) groups: Groups,
    pub(crate) settings: Settings,
    /// What an accepted message survives.
    pub(crate) durability: Durability,
    /// It is kept in the shard's log.
    pub(crate) log: Option<Box<InLog>>,
    /// Seqs that were lost on the disk, rising, without overlap.
    pub(crate) gaps: Vec<SeqRange>,
    /// Messages below it may be held although all are done with them: there were more groups once, and now one acks.
    pub(crate) leftovers_below: u64,
    /// The timer of a log's oldest message, and when that is too old (`Now::mono_ns`).
    pub(crate) age_timer: Option<(TimerId, u64)>,
    /// Its urgent messages; `None` when there never were any.
    pub(crate) lanes: Option<Box<Lanes>>,
    /// Its messages that expire; `None` when there never were any.
    pub(crate) expiry: Option<Box<Agenda>>,
    /// The dedup ids that it recognises; `None` when there are none.
    pub(crate) dedup: Option<Box<Dedup>>,
    pub(crate) figures: StreamFigures,
    /// When it was last published to, subscribed to or left, in `Now::mono_ns`.
    pub(crate) used_ns: u64,
    /// It is in the shard's queue of streams with messages left to release.
    pub(crate) is_trimming: bool,
    /// It reached the pause mark and is not yet below the resume mark.
    pub(crate) is_pausing: bool,
}

impl Stream {
    /// An empty stream: it holds next to nothing.
    pub(crate) fn new(now: Now, tenant: TenantId, name: &str, hash: u64) -> Self {
        Self {
            tenant,
            name: name.into(),
            hash,
            epoch: now.unix_ms,
            held: Held::new(),
            groups: Groups::new(),
            settings: Settings::default(),
            durability: Durability::Memory,
            log: None,
            gaps: Vec::new(),
            leftovers_below: 1,
            age_timer: None,
            lanes: None,
            expiry: None,
            dedup: None,
            figures: StreamFigures::default(),
            used_ns: now.mono_ns,
            is_trimming: false,
            is_pausing: false,
        }
    }

    /// Messages held.
    #[inline]
    pub(crate) const fn messages_held(&self) -> u64 {
        self.held.len()
    }

    /// Bytes held in memory, in whole buffers.
    #[inline]
    pub(crate) const fn bytes_held(&self) -> u64 {
        self.held.bytes()
    }

    /// What the next message gets.
    #[inline]
    pub(crate) const fn next_seq(&self) -> u64 {
        self.held.next_seq()
    }

    /// A message in memory.
    #[inline]
    pub(crate) fn message(&self, seq: u64) -> Option<&Message> {
        self.held.message(seq)
    }

    /// The oldest message that somebody may still need; the next one to come when there is none.
    pub(crate) fn first(&self) -> u64 {
        self.held.first().unwrap_or(self.next_seq())
    }

    /// The next message that a group was never given; the next one to come when it was given all.
    pub(crate) fn next_for(&self, group: &Group) -> u64 {
        self.held.next_held(group.cursor(), self.next_seq()).unwrap_or(self.next_seq())
    }

    /// Where a group that begins at `from` has its cursor. A seq that was not given yet means the next one: who remembers
    /// a seq of an earlier numbering misses nothing of this one.
    pub(crate) fn place_of(&self, from: From) -> u64 {
        let (first, next) = (self.first(), self.next_seq());
        match from {
            From::First => first,
            From::New => next,
            From::Seq(seq) => seq.0.clamp(first, next),
            From::After(seq) if seq.0 >= next => first,
            From::After(seq) => (seq.0 + 1).max(first),
            From::TimeUnixMs(unix_ms) => self.first_since(unix_ms),
            From::Last(n) => self.held.nth_last(n).unwrap_or(next).max(first),
        }
    }

    /// The first message published at this time or later. Messages are taken to be in the order of their times; where the
    /// clock was set back in between, it is one of the places where the time was reached.
    fn first_since(&self, unix_ms: u64) -> u64 {
        let next = self.next_seq();
        // Of what is only in the log the time is known by the second: it is not left out when it may be young enough.
        let is_older = |seq: u64| match self.message(seq) {
            Some(message) => message.published.unix_ms < unix_ms,
            None => self.published_by_unix_ms(seq).is_some_and(|by| by < unix_ms),
        };
        let (mut low, mut high) = (self.first(), next);
        while low < high {
            let middle = low + (high - low) / 2;
            // The first message held from the middle on decides for all seqs between.
            match self.held.next_held(middle, high) {
                Some(seq) if is_older(seq) => low = seq + 1,
                _ => high = middle,
            }
        }
        self.held.next_held(low, next).unwrap_or(next)
    }

    /// A time at which a message that is only in the log had been published already.
    pub(crate) fn published_by_unix_ms(&self, seq: u64) -> Option<u64> {
        self.log.as_ref()?.timeline.published_by_unix_ms(seq)
    }

    /// Bytes of the messages held, wherever they are: for those in the log at least so many.
    pub(crate) fn bytes_stored(&self) -> u64 {
        match &self.log {
            Some(log) => log.timeline.bytes_from(self.first()).max(self.held.bytes()),
            None => self.held.bytes(),
        }
    }

    /// Messages that it may hold.
    #[inline]
    pub(crate) fn messages_max(&self, limits: &Limits) -> u64 {
        self.settings.messages_max(limits)
    }

    /// Bytes that it may hold.
    #[inline]
    pub(crate) fn bytes_max(&self, limits: &Limits) -> u64 {
        self.settings.bytes_max(limits)
    }

    /// Forgets urgent messages that are gone.
    #[cold]
    pub(crate) fn trim_lanes(&mut self) {
        if let Some(lanes) = &mut self.lanes {
            lanes.trim(|seq| self.held.is_held(seq));
        }
    }

    /// What its group acks is needed by nobody: it is the one group of a work stream.
    #[inline(always)]
    pub(crate) fn ack_releases(&self, seq: u64) -> bool {
        self.groups.is_single_keeper() && seq >= self.leftovers_below && !self.settings.is_log()
    }

    /// A message is in flight in some group.
    pub(crate) fn is_in_flight(&self, seq: u64) -> bool {
        self.groups.iter().any(|group| group.flights.at(seq).is_some_and(|flight| flight.consumer().is_some()))
    }

    /// It may be forgotten: nothing is held, nobody is here, it is not in the log, whose streams never use a seq twice, and
    /// neither it nor a group of it was made on purpose. Where
    /// its groups are is no loss: all of them are at the end, and a new group of an empty stream begins there too.
    pub(crate) fn is_unused(&self) -> bool {
        self.held.len() == 0
            && !self.is_trimming
            && self.dedup.is_none()
            && !self.settings.is_put()
            && self.log.is_none()
            && self.groups.iter().all(|group| group.consumers == 0 && !group.is_queued && !group.is_put)
    }

    /// Messages were lost on the disk.
    pub(crate) fn add_gap(&mut self, gap: SeqRange) {
        let at = self.gaps.partition_point(|known| known.to < gap.from);
        self.gaps.insert(at, gap);
        if self.gaps.len() > GAPS_MAX
            && let Some(last) = self.gaps.pop()
            && let Some(kept) = self.gaps.last_mut()
        {
            kept.to = kept.to.max(last.to);
        }
    }

    /// Its messages wait for a commit before they are answered and delivered.
    #[inline]
    pub(crate) fn waits_for_commit(&self) -> bool {
        self.log.as_ref().is_some_and(|log| match self.durability {
            Durability::Commit => true,
            // Until the log says that the seq is taken, it is not given out.
            Durability::Interval(_) => self.next_seq() >= log.reserved_durable,
            Durability::Memory => false,
        })
    }

    /// Holds a new message and returns its seq. See [`Held::append`].
    #[inline(always)]
    pub(crate) fn append(
        &mut self,
        now: Now,
        new: &NewMessage<'_>,
        size: Size,
        waits_for_commit: bool,
        memory: &mut Memory,
    ) -> u64 {
        let seq = self.held.append(now, new, size, waits_for_commit, memory);
        self.used_ns = now.mono_ns;
        self.figures.published += 1;
        self.figures.rate_in.count(now);
        self.figures.last_unix_ms = Some(now.unix_ms);
        seq
    }

    /// Figures of now. `depth` is what is held and not in flight in the default group: with one group, that is what
    /// waits to be delivered; with several, what is held for others counts too. `inflight`, `consumers` and `credit` are
    /// sums over all groups, as are the counts of deliveries and acks.
    pub(crate) fn stats(&mut self, now: Now) -> StreamStats {
        let (mut inflight, mut consumers, mut credit, mut default_inflight) = (0, 0, 0, 0);
        for group in self.groups.iter() {
            inflight += group.flights.in_flight();
            consumers += u64::from(group.consumers);
            credit += group.credit;
            if group.name.is_empty() && !group.is_ephemeral {
                default_inflight = group.flights.in_flight();
            }
        }
        let figures = &mut self.figures;
        let [lat_p50, lat_p95, lat_p99, ack_p50, ack_p99] = match &mut figures.latencies {
            Some(latencies) => {
                let [p50, p95, p99] = latencies.deliver.quantiles_ms([0.5, 0.95, 0.99]);
                let [ack_p50, ack_p99] = latencies.ack.quantiles_ms([0.5, 0.99]);
                [p50, p95, p99, ack_p50, ack_p99]
            }
            None => [0.0; 5],
        };
        StreamStats {
            depth: self.held.len().saturating_sub(default_inflight),
            inflight,
            rate_in: figures.rate_in.per_second(now),
            rate_out: figures.rate_out.per_second(now),
            lat_p50,
            lat_p95,
            lat_p99,
            ack_p50,
            ack_p99,
            last_ts: figures.last_unix_ms.map(rfc3339),
            consumers,
            credit,
            published_total: figures.published,
            delivered_total: figures.delivered,
            acked_total: figures.acked,
            redelivered_total: figures.redelivered,
            bytes: self.held.bytes(),
        }
    }
}
