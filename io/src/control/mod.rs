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
use crate::host::Host;
use crate::link::Inbound;
use crate::log_writer::LinesOfLogs;
use crate::mesh::{Document, Mesh, MeshMessage};
use crate::readiness::Readiness;
use crate::signals::SignalPipes;
use collect::Collector;
use conduit_protocol::{AdminAction, Limits, Now, Origin, Policy, ShardId, Telemetry};
use conduit_shard::Snapshot;
use reload::Reloads;
use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

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
    /// Shards that still have connections, once draining.
    busy: u16,
    draining: bool,
    /// When connections are cut, once draining. `Now::mono_ns`.
    end_ns: Option<u64>,
    shutdown_timeout_ms: u64,
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
        Self {
            shards,
            started: clock.now(),
            clock,
            mesh,
            inbound,
            readiness,
            collector: Collector::new(shards),
            busy: shards,
            draining: false,
            end_ns: None,
            shutdown_timeout_ms: beginning.shutdown_timeout_ms,
            finished: false,
            egress,
            reloads,
            policy,
            limits: beginning.limits,
            connections_max: beginning.connections_max,
            core_limits: beginning.core_limits,
            me: Weak::new(),
            waker: None,
        }
    }

    /// Sends a finished document to whoever asked for it.
    fn answer(&mut self, origin: Origin, document: Document) {
        self.mesh.send(origin.shard, MeshMessage::Document { origin, document: Box::new(document) });
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

    /// Takes what the shards have sent and sends what there is for them. Ready when the server is over.
    fn round(&mut self, task: &mut TaskContext<'_>) -> Poll<()> {
        if self.waker.as_ref().is_none_or(|waker| !waker.will_wake(task.waker())) {
            self.waker = Some(task.waker().clone());
        }
        self.inbound.wake_up();
        while let Some(message) = self.inbound.take() {
            self.take(message);
        }
        // Only the bell is among its sockets, and it says nothing more than that it rang.
        self.readiness.take(&mut Vec::new(), 0);
        let all_left = self.mesh.flush();
        if self.finished && all_left {
            return Poll::Ready(());
        }
        if !all_left || !self.inbound.may_sleep() || self.readiness.poll_any(task).is_ready() {
            task.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

/// Runs the control shard until every shard has been told to stop.
pub(crate) async fn run(control: Control, signals: SignalPipes) {
    let control = Rc::new(RefCell::new(control));
    {
        let mut this = control.borrow_mut();
        this.me = Rc::downgrade(&control);
        this.tell_reload_status();
    }
    stop::watch(&control, signals);
    std::future::poll_fn(|task| control.borrow_mut().round(task)).await;
}

impl Control {
    fn take(&mut self, message: MeshMessage) {
        match message {
            MeshMessage::Report { origin, report, scope } => {
                if let Some((ticket, wants)) = self.collector.want(origin, report, scope) {
                    self.broadcast(|| MeshMessage::SnapshotWanted { ticket, wants });
                }
            }
            MeshMessage::Snapshot { ticket, snapshot } => {
                let Some(collected) = self.collector.add(ticket, *snapshot) else { return };
                let now = self.clock.now();
                let server = documents::Server {
                    now,
                    started: self.started,
                    draining: self.draining,
                    reports: &collected.reports,
                    policy: &self.policy,
                    reloads: &self.reloads,
                    limits: &self.limits,
                    connections_max: self.connections_max,
                    core_limits: &self.core_limits,
                };
                for (origin, report, scope) in collected.wanted {
                    let document = Box::new(documents::write(report, scope, &server));
                    self.mesh.send(origin.shard, MeshMessage::Document { origin, document });
                }
                if let Some((ticket, wants)) = self.collector.begin_next() {
                    self.broadcast(|| MeshMessage::SnapshotWanted { ticket, wants });
                }
            }
            MeshMessage::Admin { origin, action: AdminAction::Reload } => self.want_reload(Some(origin)),
            MeshMessage::Admin { origin, action: AdminAction::Drain { timeout_ms } } => {
                self.drain_asked(origin, timeout_ms);
            }
            MeshMessage::KeyUnknown => self.egress.refresh_keys(),
            MeshMessage::News(news) => self.hear(*news),
            MeshMessage::Drained { shard } => self.shard_drained(shard),
            _ => debug_assert!(false, "a message for a data shard"),
        }
    }
}
