//! The host and its disk: what the core's log asks for is begun at the end of a round, and what came of it is told at the
//! beginning of one. Every request and every outcome is held against the rules of order that a log keeps.

use super::disk::Disk;
use super::drive::{Drive, Finished};
use super::host::{Host, Surroundings};
use super::sometimes;
use crate::effect::Accepted;
use crate::log::order::OrderCheck;
use crate::log::storage::SegmentFile;
use crate::log::{DiskOutcome, DiskRequest, LogFigures, LogState};
use crate::{AnswerValue, Input};
use conduit_protocol::Now;

/// What a host keeps about its disk.
#[derive(Debug, Default)]
pub struct Pump {
    order: OrderCheck,
    /// Requests that the disk takes at a time.
    requests_max: usize,
    /// The log's figures when they were last looked at.
    figures: LogFigures,
    /// Publishes were refused for want of room, at some time of this life.
    was_full: bool,
    /// A message could not be read, at some time of this life.
    was_unreadable: bool,
    /// The log was told to end as it should.
    is_closing: bool,
}

impl Pump {
    /// The state before the first request of a process that has recovered.
    #[must_use]
    pub fn new(disk: &Disk, requests_max: usize) -> Self {
        let written = disk.installed().map(|(segment, _)| SegmentFile { segment, bytes: disk.written_bytes(segment) });
        Self { order: OrderCheck::new(written), requests_max, ..Self::default() }
    }

    /// Publishes were refused for want of room in this life.
    #[must_use]
    pub const fn was_full(&self) -> bool {
        self.was_full
    }

    /// A message could not be read in this life.
    #[must_use]
    pub const fn was_unreadable(&self) -> bool {
        self.was_unreadable
    }
}

impl Host {
    /// Step 1 for the disk: tells the core what has finished.
    pub(super) fn take_from_disk(&mut self, around: &mut Surroundings<'_>) {
        let now_ns = around.now.mono_ns;
        while let Some((ticket, finished)) = around.drive.as_mut().and_then(|drive| drive.take(now_ns)) {
            let (code, outcome) = match &finished {
                Finished::Done => (0, DiskOutcome::Done),
                Finished::Read(bytes) => (1, DiskOutcome::Read(bytes)),
                Finished::Failed(error) => (2, DiskOutcome::Failed(*error)),
            };
            around.trace.event(now_ns, "outcome", &[self.id as u64, ticket.0, code]);
            if let Err(rule) = self.pump.order.outcome(ticket, &outcome) {
                around.ledger.violation(format!("shard {} is told by its disk: {rule}", self.id));
            }
            self.input(Input::Disk { ticket, outcome }, around);
            let has_failed = self.pump.order.has_failed();
            sometimes!(around.marks, "a write or a sync of the log fails", has_failed);
            if has_failed != self.shard.has_log_failed() {
                around.ledger.violation(format!("shard {}: a failure of its disk and the log disagree", self.id));
            }
        }
    }

    /// Step 5 for the disk: begins what the core's log wants done.
    pub(super) fn ask_of_disk(&mut self, around: &mut Surroundings<'_>) {
        let Some(drive) = around.drive.as_mut() else { return };
        while drive.in_flight() < self.pump.requests_max
            && let Some(request) = self.shard.poll_disk(around.now)
        {
            around.trace.event(around.now.mono_ns, name_of(&request), &[self.id as u64]);
            if let Err(rule) = self.pump.order.request(&request) {
                around.ledger.violation(format!("shard {} asks its disk against the rules: {rule}", self.id));
            }
            drive.submit(around.now.mono_ns, request);
        }
        self.look_at_log(around);
    }

    /// Notes the rare states that the log's figures tell of.
    fn look_at_log(&mut self, around: &mut Surroundings<'_>) {
        if !self.shard.are_shares_right() {
            around.ledger.violation(format!("shard {} does not count what its tenants hold", self.id));
        }
        let Some(log) = self.shard.log_snapshot() else { return };
        let totals = self.shard.totals();
        let before = std::mem::replace(&mut self.pump.figures, log.figures);
        let begun = log.figures.segments_begun > before.segments_begun;
        sometimes!(around.marks, "a segment is full and the next one begun", begun && log.figures.segments_now > 2);
        sometimes!(around.marks, "a segment is removed", log.figures.segments_removed > before.segments_removed);
        sometimes!(around.marks, "acks are logged while publishes find no room", {
            log.state == LogState::Full && log.figures.commits > before.commits
        });
        sometimes!(around.marks, "the reserve is used", log.state == LogState::Full && begun);
        sometimes!(around.marks, "the log is full and takes messages again", {
            self.pump.was_full && log.state == LogState::Open
        });
        sometimes!(around.marks, "the disk is behind by as much as it may be", log.figures.refused_busy > 0);
        sometimes!(around.marks, "backlog leaves memory", totals.spilled > 0);
        sometimes!(around.marks, "backlog is read back", totals.read_back > 0);
        sometimes!(around.marks, "a message becomes a dead letter", totals.dead_lettered > 0);
        sometimes!(around.marks, "a message cannot be read", totals.unreadable > 0);
        let is_disk_well = around.drive.as_ref().is_some_and(|drive| drive.failures() == 0);
        if totals.unreadable > 0 && is_disk_well {
            around.ledger.violation(format!("shard {} cannot read back what its disk has", self.id));
        }
        self.pump.was_full |= log.figures.refused_full > 0;
        self.pump.was_unreadable |= totals.unreadable > 0;
    }

    /// After a failure nothing can be promised any more.
    pub(super) fn check_answer(&self, answer: &AnswerValue, around: &mut Surroundings<'_>) {
        let (AnswerValue::Published { accepted, .. } | AnswerValue::Duplicate { accepted, .. }) = answer else {
            return;
        };
        if self.pump.order.has_failed() && matches!(accepted, Accepted::Durable(_)) {
            around.ledger.violation(format!("shard {} promises durability after its log failed", self.id));
        }
    }

    /// The process was told to end and has answered everybody: what the log has not been told is told, and everything
    /// leaves.
    pub(super) fn begin_stop(&mut self, now: Now) {
        self.pump.is_closing = true;
        self.is_woken = true;
        self.shard.close_log(now);
    }

    /// It was told to stop.
    pub(super) const fn is_stopping(&self) -> bool {
        self.pump.is_closing
    }

    /// It may leave.
    pub(super) fn may_stop(&self, drive: Option<&Drive>) -> bool {
        self.pump.is_closing && self.shard.is_log_idle() && drive.is_none_or(|drive| drive.in_flight() == 0)
    }
}

const fn name_of(request: &DiskRequest<'_>) -> &'static str {
    match request {
        DiskRequest::Prepare { .. } => "prepare",
        DiskRequest::Install { .. } => "install",
        DiskRequest::SyncDirectory { .. } => "sync directory",
        DiskRequest::Commit { .. } => "commit",
        DiskRequest::Sync { .. } => "sync",
        DiskRequest::Read { .. } => "read of the log",
        DiskRequest::Remove { .. } => "remove",
    }
}
