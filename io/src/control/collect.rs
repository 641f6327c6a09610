//! Gathers one report from every shard for whoever asked. Requests that come while a round is under way share the next
//! one, so the cost to the data shards does not grow with the number of people watching. Within a round those who want the
//! same share one document, so neither does the cost of writing.

use super::{ShardReport, Wants};
use conduit_protocol::{Origin, Report, Scope};
use std::collections::VecDeque;

/// Requests that may wait for a round. More are refused with 503.
const WANTED_MAX: usize = 10_000;

/// The round under way, and who waits for the next.
pub(crate) struct Collector {
    shards: u16,
    ticket: u64,
    /// Until the last document of the round has been written.
    under_way: bool,
    reports: Vec<ShardReport>,
    wanted_now: Vec<(Origin, Report, Scope)>,
    wanted_next: Vec<(Origin, Report, Scope)>,
}

/// A round whose reports have all come: what is left to be written.
pub(crate) struct Collected {
    pub(crate) reports: Vec<ShardReport>,
    wanted: VecDeque<Wanted>,
}

/// One document, and everybody who waits for it.
pub(crate) struct Wanted {
    pub(crate) report: Report,
    pub(crate) scope: Scope,
    pub(crate) askers: Vec<Origin>,
}

/// A round begins: its ticket, and what it is to bring.
pub(crate) type Begun = Option<(u64, Wants)>;

/// As many as may wait for documents do so.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Collected {
    /// The next document to be written.
    pub(crate) fn next(&mut self) -> Option<Wanted> {
        self.wanted.pop_front()
    }
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

    /// Someone wants a document. A round may begin with it.
    ///
    /// # Errors
    /// It is not kept.
    pub(crate) fn want(&mut self, origin: Origin, report: Report, scope: Scope) -> Result<Begun, Full> {
        if self.wanted_next.len() >= WANTED_MAX {
            return Err(Full);
        }
        self.wanted_next.push((origin, report, scope));
        Ok(self.begin_next())
    }

    /// Begins a round when someone waits and none is under way.
    fn begin_next(&mut self) -> Begun {
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

    /// A shard's report has come; with the last one of a round its documents can be written.
    pub(crate) fn add(&mut self, ticket: u64, report: ShardReport) -> Option<Collected> {
        if !self.under_way || ticket != self.ticket {
            return None;
        }
        self.reports.push(report);
        if self.reports.len() < usize::from(self.shards) {
            return None;
        }
        let mut reports = std::mem::take(&mut self.reports);
        reports.sort_by_key(|report| report.shard);
        Some(Collected { reports, wanted: by_document(std::mem::take(&mut self.wanted_now)) })
    }

    /// Every document of the round has been written: the next one may begin.
    pub(crate) fn end_round(&mut self) -> Begun {
        self.under_way = false;
        self.begin_next()
    }
}

/// Those who want the same together, in the order of the first of them. There are only a few kinds of documents.
fn by_document(wanted: Vec<(Origin, Report, Scope)>) -> VecDeque<Wanted> {
    let mut documents: VecDeque<Wanted> = VecDeque::new();
    for (origin, report, scope) in wanted {
        match documents.iter_mut().find(|known| known.report == report && known.scope == scope) {
            Some(known) => known.askers.push(origin),
            None => documents.push_back(Wanted { report, scope, askers: vec![origin] }),
        }
    }
    documents
}

#[cfg(test)]
mod tests {
    use super::*;
    use conduit_protocol::{ConnectionId, ShardId, TenantId, Token};

    fn asker(n: u32) -> Origin {
        Origin { shard: ShardId(0), connection: ConnectionId::new(n, 0), token: Token(n) }
    }

    #[test]
    fn those_who_want_the_same_document_share_one() {
        let scopes = [Scope::Server, Scope::Tenant(TenantId(1))];
        let wanted = (0..4_000).map(|n| {
            let report = if n % 4 == 0 { Report::Streams } else { Report::Metrics };
            (asker(n), report, scopes[n as usize % 2])
        });
        let documents = by_document(wanted.collect());
        let told: Vec<_> = documents.iter().map(|known| (known.report, known.scope, known.askers.len())).collect();
        let expected = [
            (Report::Streams, scopes[0], 1_000),
            (Report::Metrics, scopes[1], 2_000),
            (Report::Metrics, scopes[0], 1_000),
        ];
        assert_eq!(told, expected);
        assert_eq!(documents[0].askers[..2], [asker(0), asker(4)]);
    }

    #[test]
    fn whoever_cannot_wait_for_a_document_is_told_so() {
        let mut collector = Collector::new(1);
        assert!(matches!(collector.want(asker(0), Report::Metrics, Scope::Server), Ok(Some((1, _)))));
        for n in 0..WANTED_MAX {
            assert_eq!(collector.want(asker(n as u32), Report::Metrics, Scope::Server), Ok(None), "{n}");
        }
        assert_eq!(collector.want(asker(0), Report::Metrics, Scope::Server), Err(Full));
        // The next round takes all of them, and there is room again.
        assert!(matches!(collector.end_round(), Some((2, _))));
        assert_eq!(collector.want(asker(0), Report::Metrics, Scope::Server), Ok(None));
    }
}
