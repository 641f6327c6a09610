//! Step 6: what is due by time. The core's deadline, a look over the connections now and then, another try of a full mesh.

use crate::host::{Host, context};
use crate::mesh::MeshMessage;
use conduit_protocol::time::NS_PER_MS;
use conduit_protocol::{Context, ErrorCode};
use conduit_shard::Input;

/// How often connections are looked over for idleness, pings and lost peers. Their limits are seconds.
const SWEEP_NS: u64 = 250_000_000;
/// Connections that are asked in one round, after the policy has changed, whether they may stay.
const RECHECKED_PER_ROUND: usize = 512;
/// How soon a full mesh is tried again.
const MESH_RETRY_NS: u64 = 500_000;

impl Host {
    /// Does what is due.
    pub(crate) fn pass_deadlines(&mut self) {
        if self.shard.next_deadline().is_some_and(|due_ns| due_ns <= self.now.mono_ns) {
            self.input(Input::Deadline);
        }
        if self.drain_due_ns().is_some_and(|due_ns| due_ns <= self.now.mono_ns) {
            self.drain_some();
        }
        self.gate.sweep(self.now);
        self.recheck_some();
        if self.now.mono_ns >= self.next_sweep_ns {
            self.next_sweep_ns = self.now.mono_ns + SWEEP_NS;
            if self.telemetry.unknown_keys > self.unknown_keys_told {
                self.unknown_keys_told = self.telemetry.unknown_keys;
                self.mesh.send(self.control, MeshMessage::KeyUnknown);
            }
            self.sweep();
        }
    }

    /// Nanoseconds until something is due.
    pub(crate) fn due_in_ns(&mut self) -> u64 {
        let now_ns = self.clock.now().mono_ns;
        let mut due_ns = if self.connections.len() == 0 { u64::MAX } else { self.next_sweep_ns };
        if let Some(core_ns) = self.shard.next_deadline() {
            due_ns = due_ns.min(core_ns);
        }
        if let Some(drain_ns) = self.drain_due_ns() {
            due_ns = due_ns.min(drain_ns);
        }
        if let Some(leases_ns) = self.gate.next_deadline_ns() {
            due_ns = due_ns.min(leases_ns);
        }
        if let Some(lane) = &self.lane {
            due_ns = due_ns.min(lane.due_ns());
        }
        if self.mesh.is_full() {
            due_ns = due_ns.min(now_ns + MESH_RETRY_NS);
        }
        due_ns.saturating_sub(now_ns)
    }

    /// Asks some of the connections whether they may stay under the policy in force. They are many, and messages do not wait
    /// for all of them. Whoever begins to last meanwhile asks itself.
    fn recheck_some(&mut self) {
        let Some(from) = self.recheck_from else { return };
        let to = self.connections.slots().min(from + RECHECKED_PER_ROUND);
        self.recheck_from = (to < self.connections.slots()).then_some(to);
        // The next round does not wait.
        self.busy |= self.recheck_from.is_some();
        for slot in from..to {
            let Some(id) = self.connections.id_at(slot) else { continue };
            let Some(connection) = self.connections.find(id) else { continue };
            let lasts = connection.session.is_websocket() || connection.session.is_live();
            if connection.closing || !lasts {
                continue;
            }
            let mut context = context!(self, connection);
            connection.session.recheck(&mut context);
            if connection.session.is_closing() {
                self.begin_close(id);
            }
            self.settle(id);
        }
    }

    /// Looks at every connection: deadlines of the sessions, and peers that do not take their last words.
    fn sweep(&mut self) {
        for slot in 0..self.connections.slots() {
            let Some(id) = self.connections.id_at(slot) else { continue };
            let Some(connection) = self.connections.find(id) else { continue };
            if connection.closing {
                if connection.close_by_ns <= self.now.mono_ns {
                    self.forget(id);
                }
                continue;
            }
            if connection.blocked
                && connection.blocked_since_ns + self.limits.write_stall_ms * NS_PER_MS <= self.now.mono_ns
            {
                if connection.session.is_websocket() {
                    self.telemetry.count_ws_error(ErrorCode::SlowConsumer);
                } else {
                    self.telemetry.count_error(ErrorCode::SlowConsumer);
                }
                self.forget(id);
                continue;
            }
            // A connection that is not read cannot be heard: silence is not its fault.
            if connection.is_held(self.outbox_bytes_max) {
                if connection.session.answer_due_ns(&self.limits).is_some_and(|due_ns| due_ns <= self.now.mono_ns) {
                    let mut context = context!(self, connection);
                    connection.session.handle_deadline(&mut context);
                    self.answered(id);
                }
                continue;
            }
            if connection.session.deadline_ns(&self.limits).is_some_and(|due_ns| due_ns <= self.now.mono_ns) {
                let mut context = context!(self, connection);
                connection.session.handle_deadline(&mut context);
                if connection.session.is_closing() {
                    self.begin_close(id);
                }
                self.settle(id);
            }
        }
    }
}
