//! The control shard: merges the shards' figures, writes the documents about the whole server, and ends it in order.
//! It has an executor of its own, unpinned, and talks to the shards by the same mesh as they do to each other.

mod collect;
mod documents;
mod histograms;
mod metrics;
mod prometheus;
mod stop;

pub(crate) use documents::health;

use crate::clock::Clock;
use crate::host::Host;
use crate::link::Inbound;
use crate::mesh::{Mesh, MeshMessage};
use crate::readiness::Readiness;
use crate::signals::SignalPipes;
use collect::Collector;
use conduit_protocol::{Now, ShardId, Telemetry};
use conduit_shard::Snapshot;
use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll, Waker};
use std::time::Duration;

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
    }
}

/// Everything one shard tells about itself.
#[derive(Debug, Clone)]
pub(crate) struct ShardReport {
    pub(crate) shard: ShardId,
    pub(crate) snapshot: Snapshot,
    pub(crate) telemetry: Telemetry,
    pub(crate) host: HostStats,
}

impl Host {
    /// This shard's figures of now.
    pub(crate) fn report(&mut self) -> ShardReport {
        let mut host = self.stats;
        host.connections = self.connections.len() as u64;
        ShardReport { shard: self.id, snapshot: self.shard.snapshot(self.now), telemetry: self.telemetry.clone(), host }
    }
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
    shutdown_timeout: Duration,
    finished: bool,
    /// Wakes the control shard's task.
    waker: Option<Waker>,
}

impl Control {
    pub(crate) fn new(
        shards: u16,
        mut clock: Clock,
        mesh: Mesh,
        inbound: Inbound,
        readiness: Readiness,
        shutdown_timeout_ms: u64,
    ) -> Self {
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
            shutdown_timeout: Duration::from_millis(shutdown_timeout_ms),
            finished: false,
            waker: None,
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
    stop::watch(&control, signals);
    std::future::poll_fn(|task| control.borrow_mut().round(task)).await;
}

impl Control {
    fn take(&mut self, message: MeshMessage) {
        match message {
            MeshMessage::Report { origin, report, scope } => {
                if let Some(ticket) = self.collector.want(origin, report, scope) {
                    self.broadcast(|| MeshMessage::SnapshotWanted { ticket });
                }
            }
            MeshMessage::Snapshot { ticket, snapshot } => {
                let Some(collected) = self.collector.add(ticket, *snapshot) else { return };
                let (now, started, draining) = (self.clock.now(), self.started, self.draining);
                let server = documents::Server { now, started, draining, reports: &collected.reports };
                for (origin, report, scope) in collected.wanted {
                    let document = Box::new(documents::write(report, scope, &server));
                    self.mesh.send(origin.shard, MeshMessage::Document { origin, document });
                }
                if let Some(ticket) = self.collector.begin_next() {
                    self.broadcast(|| MeshMessage::SnapshotWanted { ticket });
                }
            }
            MeshMessage::Drained { shard } => self.shard_drained(shard),
            _ => debug_assert!(false, "a message for a data shard"),
        }
    }
}
