//! Step 5 of a round: what sessions have written goes to the network, and what is for other shards into the mesh.

use super::host::{Host, Surroundings};
use super::mesh::Message;
use super::sometimes;
use crate::Input;

/// How soon a full mesh is tried again.
const MESH_RETRY_NS: u64 = 500_000;

impl Host {
    /// Step 5: writes every outbox once and sends every batch.
    pub(super) fn flush(&mut self, around: &mut Surroundings<'_>) {
        let now_ns = around.now.mono_ns;
        for id in self.connections.ids() {
            let Some(connection) = self.connections.find(id) else { continue };
            if !connection.outbox.is_empty() {
                let written = around.network.write_down(now_ns, connection.wire, &connection.outbox);
                around.trace.bytes(now_ns, "write", id.0, &connection.outbox[..written]);
                connection.outbox.drain(..written);
            }
            if around.network.wire(connection.wire).down.is_ended() {
                // The peer is gone: what could not be written never will be.
                connection.outbox.clear();
                self.forget(id, around);
                continue;
            }
            if !connection.outbox.is_empty() {
                connection.blocked_since_ns.get_or_insert(now_ns);
                sometimes!(around.marks, "a peer does not take what is written", true);
                continue;
            }
            connection.blocked_since_ns = None;
            let is_drained = std::mem::take(&mut connection.delivered) && connection.consumer;
            if connection.closing {
                self.forget(id, around);
            } else if is_drained {
                if connection.is_reader {
                    around.ledger.drained(self.id, id, connection.wire);
                }
                self.input(Input::Drained { connection: id }, around);
            }
        }
        self.flush_mesh(around);
    }

    pub(super) fn flush_mesh(&mut self, around: &mut Surroundings<'_>) {
        self.mesh_retry_ns = around.now.mono_ns + MESH_RETRY_NS;
        self.send_errands(around);
        for peer in 0..self.batches.len() {
            let items = std::mem::take(&mut self.batches[peer]);
            if !items.is_empty() {
                self.overflow[peer].push_back(Message::Batch(items));
            }
            while let Some(message) = self.overflow[peer].pop_front() {
                if let Err(message) = around.mesh.send(around.now.mono_ns, self.id, peer, message) {
                    sometimes!(around.marks, "a link between shards is full", true);
                    self.overflow[peer].push_front(message);
                    break;
                }
            }
        }
    }
}
