//! Gathers one report from every shard for whoever asked. Requests that come while a round is under way share the next
//! one, so the cost to the data shards does not grow with the number of people watching.

use super::{ShardReport, Wants};
use conduit_protocol::{Origin, Report, Scope};

/// Requests that may wait for a round. More are not kept: their connections wait for their own time-outs.
const WANTED_MAX: usize = 10_000;

/// The round under way, and who waits for the next.
pub(crate) struct Collector {
    shards: u16,
    ticket: u64,
    under_way: bool,
    reports: Vec<ShardReport>,
    wanted_now: Vec<(Origin, Report, Scope)>,
    wanted_next: Vec<(Origin, Report, Scope)>,
}

/// A finished round.
pub(crate) struct Collected {
    pub(crate) reports: Vec<ShardReport>,
    pub(crate) wanted: Vec<(Origin, Report, Scope)>,
}

impl Collector {
    pub(crate) fn new(shards: u16) -> Self {
        Self {
            shards,
            ticket: 0,
            under_way: false,
            reports: Vec::new(),
            wanted_now: Vec::new(),
            wanted_next: Vec::new(),
        }
    }

    /// Someone wants a document. A ticket is returned when a round begins with it, and what the round is to bring.
    pub(crate) fn want(&mut self, origin: Origin, report: Report, scope: Scope) -> Option<(u64, Wants)> {
        if self.wanted_next.len() < WANTED_MAX {
            self.wanted_next.push((origin, report, scope));
        }
        self.begin_next()
    }

    /// Begins a round when someone waits and none is under way.
    pub(crate) fn begin_next(&mut self) -> Option<(u64, Wants)> {
        if self.under_way || self.wanted_next.is_empty() {
            return None;
        }
        self.under_way = true;
        self.ticket += 1;
        let mut wants = Wants::default();
        let waiting = std::mem::take(&mut self.wanted_next);
        (self.wanted_now, self.wanted_next) =
            waiting.into_iter().partition(|(_, report, scope)| wants.add(*report, *scope));
        Some((self.ticket, wants))
    }

    /// A shard's report has come; the last one of a round ends it.
    pub(crate) fn add(&mut self, ticket: u64, report: ShardReport) -> Option<Collected> {
        if !self.under_way || ticket != self.ticket {
            return None;
        }
        self.reports.push(report);
        if self.reports.len() < usize::from(self.shards) {
            return None;
        }
        self.under_way = false;
        let mut reports = std::mem::take(&mut self.reports);
        reports.sort_by_key(|report| report.shard);
        Some(Collected { reports, wanted: std::mem::take(&mut self.wanted_now) })
    }
}
