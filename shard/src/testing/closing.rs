//! How connections end: handed over, closed with a reason, given up, or swept away when their time is over.

use super::connection::Connection;
use super::host::{Host, Surroundings, context};
use super::mesh::Message;
use super::sometimes;
use crate::Input;
use conduit_protocol::time::NS_PER_MS;
use conduit_protocol::{ConnectionId, Context, ErrorCode, Violation};

impl Host {
    pub(super) fn hand_over(&mut self, id: ConnectionId, owner: usize, bytes: Vec<u8>) {
        let Some(connection) = self.connections.remove(id) else { return };
        let Connection { wire, outbox: earlier, mut session, .. } = connection;
        let carried = session.carry(&mut self.telemetry);
        let items = std::mem::take(&mut self.batches[owner]);
        if !items.is_empty() {
            self.overflow[owner].push_back(Message::Batch(items));
        }
        self.overflow[owner].push_back(Message::HandOver { wire, bytes, earlier, carried });
    }

    /// Ends a connection from our side with a reason.
    pub(super) fn close(&mut self, id: ConnectionId, violation: &Violation, around: &mut Surroundings<'_>) {
        let Some(connection) = self.connections.find(id) else { return };
        connection.session.close(violation, &mut context!(self, connection, around.now));
        self.begin_close(id, around);
    }

    /// The session is over: its messages go back to the stream at once, its last words are still written.
    pub(super) fn begin_close(&mut self, id: ConnectionId, around: &mut Surroundings<'_>) {
        let Some(connection) = self.connections.find(id) else { return };
        if connection.closing {
            return;
        }
        connection.closing = true;
        connection.rest = Vec::new();
        connection.close_by_ns = around.now.mono_ns + self.limits.close_ms * NS_PER_MS;
        if std::mem::take(&mut connection.consumer) {
            self.departed.push(id);
            self.release_departed(around);
        }
    }

    /// Tells the core of consumers that are gone: never in the middle of a drain, whose effects name what this would
    /// change.
    pub(super) fn release_departed(&mut self, around: &mut Surroundings<'_>) {
        while !self.is_executing
            && let Some(connection) = self.departed.pop()
        {
            around.trace.event(around.now.mono_ns, "disconnected", &[self.id as u64, connection.0]);
            around.ledger.disconnected(self.id, connection);
            self.input(Input::Disconnected { connection }, around);
        }
    }

    /// No new work: idle connections end, busy ones with their last answer.
    pub(super) fn drain_connections(&mut self, around: &mut Surroundings<'_>) {
        if std::mem::replace(&mut self.draining, true) {
            return;
        }
        for id in self.connections.ids() {
            let Some(connection) = self.connections.find(id) else { continue };
            if connection.session.is_websocket() || connection.session.is_idle() {
                self.close(id, &Violation::new(ErrorCode::ServerDraining, "the server is shutting down"), around);
            }
        }
    }

    pub(super) fn forget(&mut self, id: ConnectionId, around: &mut Surroundings<'_>) {
        let Some(mut connection) = self.connections.remove(id) else { return };
        connection.session.disconnected(around.now, &mut self.telemetry, &mut self.log, &mut self.gate);
        let wire = around.network.wire(connection.wire);
        wire.up.abandon(around.now.mono_ns);
        wire.down.close(around.now.mono_ns);
        if connection.consumer {
            self.departed.push(id);
            self.release_departed(around);
        }
    }

    pub(super) fn sweep(&mut self, around: &mut Surroundings<'_>) {
        let now = around.now;
        for id in self.connections.ids() {
            let Some(connection) = self.connections.find(id) else { continue };
            if connection.closing {
                if connection.close_by_ns <= now.mono_ns {
                    self.forget(id, around);
                }
                continue;
            }
            let stall_ns = self.limits.write_stall_ms * NS_PER_MS;
            if connection.blocked_since_ns.is_some_and(|since_ns| since_ns + stall_ns <= now.mono_ns) {
                sometimes!(around.marks, "a peer that does not read is dropped", true);
                self.telemetry.count_error(ErrorCode::SlowConsumer);
                self.forget(id, around);
                continue;
            }
            if connection.is_held(self.outbox_bytes_max) {
                continue;
            }
            if connection.session.deadline_ns(&self.limits).is_some_and(|due_ns| due_ns <= now.mono_ns) {
                connection.session.handle_deadline(&mut context!(self, connection, now));
                if connection.session.is_closing() {
                    sometimes!(around.marks, "a silent peer is given up", true);
                    self.begin_close(id, around);
                }
            }
        }
    }
}
