//! Figures of one shard at one moment, and how those of several are put together.

use crate::log::{LogFigures, LogState};
use conduit_protocol::streams::{Durability, Retention};
use conduit_protocol::{ShardId, StreamStats, TenantId};
use hdrhistogram::Histogram;

/// Figures of one shard: what the control shard merges.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Whose; of the first one after a merge.
    pub shard: ShardId,
    /// The streams, all tenants' or one's, at most `Limits::snapshot_streams_max` of a shard, in no particular order.
    pub streams: Vec<StreamSnapshot>,
    /// Figures of the whole shard, of all its streams.
    pub totals: Totals,
    /// Nanoseconds from publish to first delivery, three significant digits, up to one hour.
    pub publish_to_deliver_ns: Histogram<u64>,
    /// Nanoseconds from delivery to ack, likewise.
    pub deliver_to_ack_ns: Histogram<u64>,
    /// Nanoseconds that the disk takes for a commit of the log, likewise.
    pub commit_ns: Histogram<u64>,
    /// The log, if the shard keeps one.
    pub log: Option<LogSnapshot>,
}

/// Figures of a shard's log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSnapshot {
    /// Whether it takes records; of several, the worst.
    pub state: LogState,
    /// What it did and has.
    pub figures: LogFigures,
}

impl LogSnapshot {
    /// Adds another shard's.
    fn merge(&mut self, other: &Self) {
        let rank = |state| match state {
            LogState::Open => 0,
            LogState::Full => 1,
            LogState::Failed => 2,
        };
        if rank(other.state) > rank(self.state) {
            self.state = other.state;
        }
        let LogFigures {
            records,
            record_bytes,
            commits,
            records_committed,
            commit_bytes,
            commit_ns,
            segments_begun,
            segments_removed,
            refused_busy,
            refused_full,
            reads,
            segments_now,
            bytes_now,
            unsynced_bytes_now,
        } = &mut self.figures;
        let theirs = &other.figures;
        *records += theirs.records;
        *record_bytes += theirs.record_bytes;
        *commits += theirs.commits;
        *records_committed += theirs.records_committed;
        *commit_bytes += theirs.commit_bytes;
        *commit_ns += theirs.commit_ns;
        *segments_begun += theirs.segments_begun;
        *segments_removed += theirs.segments_removed;
        *refused_busy += theirs.refused_busy;
        *refused_full += theirs.refused_full;
        *reads += theirs.reads;
        *segments_now += theirs.segments_now;
        *bytes_now += theirs.bytes_now;
        *unsynced_bytes_now += theirs.unsynced_bytes_now;
    }
}

/// Figures of one stream.
#[derive(Debug, Clone)]
pub struct StreamSnapshot {
    /// Whose stream.
    pub tenant: TenantId,
    /// Its name.
    pub name: String,
    /// Its figures.
    pub stats: StreamStats,
    /// Names its numbering of messages: see `StreamInfo::epoch`.
    pub epoch: u64,
    /// The oldest message held; absent when there is none.
    pub first: Option<u64>,
    /// The newest seq ever given; 0 when none was.
    pub last: u64,
    /// When messages go.
    pub retention: Retention,
    /// What an accepted message survives.
    pub durability: Durability,
    /// Groups, ephemeral readers not included.
    pub groups: u64,
}

/// Figures of a whole shard. Those named `_now` are of this moment; all others count since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Totals {
    /// Streams.
    pub streams_now: u64,
    /// Streams that the list of the snapshot leaves out.
    pub streams_omitted: u64,
    /// Groups, ephemeral readers included.
    pub groups_now: u64,
    /// Consumers.
    pub consumers_now: u64,
    /// Messages stored, in-flight ones included.
    pub messages_now: u64,
    /// Bytes stored, as counted against the limits.
    pub bytes_now: u64,
    /// Bytes of the messages' index.
    pub index_bytes_now: u64,
    /// Deliveries in flight.
    pub inflight_now: u64,
    /// Paused publishers.
    pub paused_now: u64,
    /// Credit that consumers hold and have not spent. (Not beside `inflight_now`: a delivery would count both as one wide
    /// word, and wait for the ack before it, which counts them one by one.)
    pub credit_now: u64,
    /// Messages accepted.
    pub published: u64,
    /// Bytes of envelopes accepted.
    pub published_bytes: u64,
    /// Deliveries, redeliveries included.
    pub delivered: u64,
    /// Bytes of envelopes delivered, as they were published.
    pub delivered_bytes: u64,
    /// Deliveries with an attempt above 1.
    pub redelivered: u64,
    /// Messages acked.
    pub acked: u64,
    /// Deliveries given back by their consumer.
    pub nacked: u64,
    /// Deliveries taken back because their ack deadline passed.
    pub ack_timeouts: u64,
    /// Deliveries taken back because their consumer went.
    pub returned: u64,
    /// Deliveries that ended because their message was released: by a log's retention, a purge or a deletion.
    pub withdrawn: u64,
    /// Messages released without an ack of their own: by a log's retention, a purge, a deletion, or because the last of
    /// several groups is done with them.
    pub trimmed: u64,
    /// Publishes that repeated one under its dedup id, and stored nothing.
    pub duplicates: u64,
    /// Messages that expired.
    pub expired: u64,
    /// Dead letters written.
    pub dead_lettered: u64,
    /// Dead letters that went back to their stream.
    pub redriven: u64,
    /// Messages that left memory since the log has them.
    pub spilled: u64,
    /// Messages that were read back from the log.
    pub read_back: u64,
    /// Messages that could not be read back from the log: each is told to its consumers as a gap.
    pub unreadable: u64,
    /// Places in the middle of the log that could not be read at the start.
    pub log_damaged: u64,
    /// Seqs that were lost on the disk, as the start found it: each is told to consumers as part of a gap.
    pub lost_seqs: u64,
    /// Times that the log failed: 0 or 1 for each shard.
    pub log_failures: u64,
    /// Acks and releases that were not remembered, since the log took nothing for too long: a restart redelivers them.
    pub acks_not_logged: u64,
    /// Acks of what was not in flight there.
    pub acks_ignored: u64,
    /// Nacks of what was not in flight there.
    pub nacks_ignored: u64,
    /// Publishes answered `Backpressure`.
    pub refused_backpressure: u64,
    /// Publishes and subscriptions refused for other reasons.
    pub refused_other: u64,
    /// Times that a publisher was paused.
    pub pauses: u64,
    /// Credit granted by consumers, cut to the limit.
    pub credit_granted: u64,
    /// Credit spent on deliveries.
    pub credit_spent: u64,
    /// Credit given back by settled deliveries (`refill=ack`).
    pub credit_refilled: u64,
    /// Of the credit granted and given back, that of consumers that send no acks: readers of events.
    pub reader_credit: u64,
    /// Of the credit held, theirs.
    pub reader_credit_now: u64,
    /// Of the deliveries in flight, theirs.
    pub reader_inflight_now: u64,
}

impl Totals {
    /// Adds another shard's figures.
    pub const fn merge(&mut self, other: &Self) {
        self.streams_now += other.streams_now;
        self.streams_omitted += other.streams_omitted;
        self.groups_now += other.groups_now;
        self.consumers_now += other.consumers_now;
        self.messages_now += other.messages_now;
        self.bytes_now += other.bytes_now;
        self.index_bytes_now += other.index_bytes_now;
        self.inflight_now += other.inflight_now;
        self.credit_now += other.credit_now;
        self.paused_now += other.paused_now;
        self.published += other.published;
        self.published_bytes += other.published_bytes;
        self.delivered += other.delivered;
        self.delivered_bytes += other.delivered_bytes;
        self.redelivered += other.redelivered;
        self.acked += other.acked;
        self.nacked += other.nacked;
        self.ack_timeouts += other.ack_timeouts;
        self.returned += other.returned;
        self.withdrawn += other.withdrawn;
        self.trimmed += other.trimmed;
        self.duplicates += other.duplicates;
        self.expired += other.expired;
        self.dead_lettered += other.dead_lettered;
        self.redriven += other.redriven;
        self.spilled += other.spilled;
        self.read_back += other.read_back;
        self.unreadable += other.unreadable;
        self.log_damaged += other.log_damaged;
        self.lost_seqs += other.lost_seqs;
        self.log_failures += other.log_failures;
        self.acks_not_logged += other.acks_not_logged;
        self.acks_ignored += other.acks_ignored;
        self.nacks_ignored += other.nacks_ignored;
        self.refused_backpressure += other.refused_backpressure;
        self.refused_other += other.refused_other;
        self.pauses += other.pauses;
        self.credit_granted += other.credit_granted;
        self.credit_spent += other.credit_spent;
        self.credit_refilled += other.credit_refilled;
        self.reader_credit += other.reader_credit;
        self.reader_credit_now += other.reader_credit_now;
        self.reader_inflight_now += other.reader_inflight_now;
    }
}

impl Snapshot {
    /// Adds another shard's snapshot to this one.
    pub fn merge(&mut self, other: &Self) {
        self.streams.extend(other.streams.iter().cloned());
        self.totals.merge(&other.totals);
        match (&mut self.log, &other.log) {
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            (mine, theirs) => *mine = mine.or(*theirs),
        }
        for (mine, theirs) in [
            (&mut self.publish_to_deliver_ns, &other.publish_to_deliver_ns),
            (&mut self.deliver_to_ack_ns, &other.deliver_to_ack_ns),
            (&mut self.commit_ns, &other.commit_ns),
        ] {
            // All shards make their histograms with the same bounds; one that grew elsewhere makes this one grow.
            mine.auto(true);
            let merged = mine.add(theirs);
            debug_assert!(merged.is_ok(), "histograms of equal precision merge");
        }
    }
}
