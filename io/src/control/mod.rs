//! The control shard: merges the shards' figures, writes the documents about the whole server, and ends it in order.
//! It has an executor of its own, unpinned, and talks to the shards by the same mesh as they do to each other.

mod collect;
mod documents;
mod histograms;
mod metrics;
mod prometheus;
mod reload;
mod snapshot;
mod stop;
mod tenant;

pub(crate) use documents::health;
pub(crate) use reload::{Phase, ReloadStatus};
pub(crate) use snapshot::{Details, Wants};

use crate::clock::Clock;
use crate::egress::Egress;
use crate::ending::Ending;
use crate::host::Host;
use crate::link::Inbound;
use crate::log_writer::LinesOfLogs;
use crate::mesh::{Document, Item, Mesh, MeshMessage};
use crate::readiness::Readiness;
use crate::signals::Signal;
use collect::{Begun, Collected, Collector};
use conduit_protocol::{AdminAction, ErrorCode, Limits, Now, Origin, Policy, Report, Scope, ShardId, Telemetry};
use conduit_shard::Snapshot;
use glommio::timer::sleep;
use reload::Reloads;
use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

/// Messages taken in one round.
const MESSAGES_PER_ROUND: usize = 1_024;
/// How long to rest after a round that leaves something to do. A task that only wakes itself is run again and again, and
/// glommio looks at no timer meanwhile.
const REST: Duration = Duration::from_micros(50);

/// Why the wait for documents is refused.
const DOCUMENTS_FULL: &str = "as many requests wait for documents as may: ask again";
/// And when to ask again.
const DOCUMENTS_FULL_WAIT_MS: u32 = 1_000;

/// Counters of one shard's sockets.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HostStats {
    /// Connections accepted or taken over.
    pub(crate) accepted_total: u64,
    /// Connections turned away because the shard had its maximum.
    pub(crate) refused_total: u64,
    /// Failed accepts.
    pub(crate) accept_errors_total: u64,
    /// Bytes read from sockets.
    pub(crate) bytes_read_total: u64,
    /// Bytes written to sockets.
    pub(crate) bytes_written_total: u64,
    /// Commands forwarded to the shard that owns their stream.
    pub(crate) forwarded_total: u64,
    /// Connections handed to the shard that owns their stream.
    pub(crate) handed_over_total: u64,
    /// Panics of a connection's decoder, each a bug.
    pub(crate) panics_total: u64,
    /// Connections now.
    pub(crate) connections: u64,
    /// Lines of the access logs.
    pub(crate) lines: LinesOfLogs,
}

impl HostStats {
    /// Adds another shard's.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.accepted_total += other.accepted_total;
        self.refused_total += other.refused_total;
        self.accept_errors_total += other.accept_errors_total;
        self.bytes_read_total += other.bytes_read_total;
        self.bytes_written_total += other.bytes_written_total;
        self.forwarded_total += other.forwarded_total;
        self.handed_over_total += other.handed_over_total;
        self.panics_total += other.panics_total;
        self.connections += other.connections;
        self.lines.merge(&other.lines);
    }
}

/// Everything one shard tells about itself.
#[derive(Debug, Clone)]
pub(crate) struct ShardReport {
    pub(crate) shard: ShardId,
    pub(crate) snapshot: Snapshot,
    pub(crate) telemetry: Telemetry,
    pub(crate) host: HostStats,
    /// What was wanted beside the figures.
    pub(crate) details: Details,
}

impl Host {
    /// This shard's figures of now.
    pub(crate) fn report(&mut self, wants: Wants) -> ShardReport {
        let mut host = self.stats;
        host.connections = self.connections.len() as u64;
        host.lines = self.lines_of_logs();
        let details = self.details(wants);
        let snapshot = self.shard.snapshot_for(self.now, wants.tenant());
        ShardReport { shard: self.id, snapshot, telemetry: self.telemetry.clone(), host, details }
    }
}

/// What the control shard begins with.
pub(crate) struct Beginning {
    pub(crate) shards: u16,
    pub(crate) clock: Clock,
    pub(crate) mesh: Mesh,
    pub(crate) inbound: Inbound,
    pub(crate) readiness: Readiness,
    pub(crate) egress: Egress,
    pub(crate) policy: Arc<Policy>,
    pub(crate) limits: Limits,
    pub(crate) connections_max: usize,
    pub(crate) core_limits: conduit_shard::Limits,
    pub(crate) shutdown_timeout_ms: u64,
    pub(crate) ending: Arc<Ending>,
}

/// The control shard's state.
pub(crate) struct Control {
    shards: u16,
    clock: Clock,
    started: Now,
    mesh: Mesh,
    inbound: Inbound,
    readiness: Readiness,
    collector: Collector,
    /// A round whose documents are being written.
    writing: Option<Collected>,
    /// Shards that still have connections, once draining.
    busy: u16,
    draining: bool,
    /// When connections are cut, once draining. `Now::mono_ns`.
    end_ns: Option<u64>,
    shutdown_timeout_ms: u64,
    ending: Arc<Ending>,
    finished: bool,
    egress: Egress,
    reloads: Reloads,
    /// What is in force.
    policy: Arc<Policy>,
    limits: Limits,
    connections_max: usize,
    core_limits: conduit_shard::Limits,
    /// For the tasks that wait for a time.
    me: Weak<RefCell<Self>>,
    /// Wakes the control shard's task.
    waker: Option<Waker>,
}

impl Control {
    pub(crate) fn new(beginning: Beginning) -> Self {
        let Beginning { shards, mut clock, mesh, inbound, readiness, egress, policy, .. } = beginning;
        let mut reloads = Reloads::default();
        reloads.status.is_supported = egress.can_reload;
        let mut control = Self {
            shards,
            started: clock.now(),
            clock,
            mesh,
            inbound,
            readiness,
            collector: Collector::new(shards),
            writing: None,
            busy: shards,
            draining: false,
            end_ns: None,
            shutdown_timeout_ms: beginning.shutdown_timeout_ms,
            ending: beginning.ending,
            finished: false,
            egress,
            reloads,
            policy,
            limits: beginning.limits,
            connections_max: beginning.connections_max,
            core_limits: beginning.core_limits,
            me: Weak::new(),
            waker: None,
        };
        // Before anybody is told that the server is ready, and so before anybody asks.
        control.tell_reload_status();
        control
    }

    /// Sends a finished document to whoever asked for it.
    fn answer(&mut self, origin: Origin, document: Document) {
        self.mesh.send(origin.shard, MeshMessage::Document { origin, document: Arc::new(document) });
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Sends one message to every shard.
    fn broadcast(&mut self, message: impl Fn() -> MeshMessage) {
        for shard in 0..self.shards {
            self.mesh.send(ShardId(shard), message());
        }
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Takes what the shards have sent and sends what there is for them. Pending when there is nothing to do.
    fn round(&mut self, task: &mut TaskContext<'_>) -> Poll<Round> {
        if self.waker.as_ref().is_none_or(|waker| !waker.will_wake(task.waker())) {
            self.waker = Some(task.waker().clone());
        }
        self.inbound.wake_up();
        for _ in 0..MESSAGES_PER_ROUND {
            let Some(message) = self.inbound.take() else { break };
            self.take(message);
        }
        self.write_next();
        // Only the bell is among its sockets, and it says nothing more than that it rang.
        self.readiness.take(&mut Vec::new(), 0);
        let all_left = self.mesh.flush();
        if self.finished && all_left {
            return Poll::Ready(Round::Last);
        }
        let is_busy = !all_left || self.writing.is_some() || !self.inbound.may_sleep();
        if is_busy || self.readiness.poll_any(task).is_ready() { Poll::Ready(Round::Busy) } else { Poll::Pending }
    }
}

/// How a round has ended.
enum Round {
    /// There is more to do.
    Busy,
    /// The server is over.
    Last,
}

/// Runs the control shard until every shard has been told to stop.
pub(crate) async fn run(control: Control) {
    let control = Rc::new(RefCell::new(control));
    control.borrow_mut().me = Rc::downgrade(&control);
    while let Round::Busy = std::future::poll_fn(|task| control.borrow_mut().round(task)).await {
        sleep(REST).await;
    }
}

impl Control {
    fn take(&mut self, message: MeshMessage) {
        match message {
            MeshMessage::Report { origin, report, scope } => self.want_document(origin, report, scope),
            MeshMessage::Snapshot { ticket, snapshot } => {
                if let Some(collected) = self.collector.add(ticket, *snapshot) {
                    self.writing = Some(collected);
                }
            }
            MeshMessage::Admin { origin, action: AdminAction::Reload } => self.want_reload(Some(origin)),
            MeshMessage::Admin { origin, action: AdminAction::Drain { timeout_ms } } => {
                self.drain_asked(origin, timeout_ms);
            }
            MeshMessage::KeyUnknown => self.egress.refresh_keys(),
            MeshMessage::News(news) => self.hear(*news),
            MeshMessage::Signal(Signal::Stop) => self.stop(),
            MeshMessage::Signal(Signal::Reload) => {
                tracing::info!("SIGHUP: reloading");
                self.want_reload(None);
            }
            MeshMessage::Drained { shard } => self.shard_drained(shard),
            _ => debug_assert!(false, "a message for a data shard"),
        }
    }

    fn want_document(&mut self, origin: Origin, report: Report, scope: Scope) {
        match self.collector.want(origin, report, scope) {
            Ok(begun) => self.begin_round(begun),
            Err(collect::Full) => self.mesh.batch_to(origin.shard).push(Item::Refused {
                origin,
                code: ErrorCode::TooManyConnections,
                message: DOCUMENTS_FULL,
                retry_after_ms: Some(DOCUMENTS_FULL_WAIT_MS),
            }),
        }
    }

    fn begin_round(&mut self, begun: Begun) {
        if let Some((ticket, wants)) = begun {
            self.broadcast(|| MeshMessage::SnapshotWanted { ticket, wants });
        }
    }

    /// Writes one document of the round that has come in. One only: it can be megabytes, and there is more to do here.
    fn write_next(&mut self) {
        let Some(collected) = &mut self.writing else { return };
        let Some(wanted) = collected.next() else {
            self.writing = None;
            let begun = self.collector.end_round();
            self.begin_round(begun);
            return;
        };
        let server = documents::Server {
            now: self.clock.now(),
            started: self.started,
            draining: self.draining,
            reports: &collected.reports,
            policy: &self.policy,
            reloads: &self.reloads,
            limits: &self.limits,
            connections_max: self.connections_max,
            core_limits: &self.core_limits,
        };
        let document = Arc::new(documents::write(wanted.report, wanted.scope, &server));
        for origin in wanted.askers {
            self.mesh.send(origin.shard, MeshMessage::Document { origin, document: document.clone() });
        }
    }
}
