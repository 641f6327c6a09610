//! What a shard does with the messages of its peers.

use crate::host::Host;
use crate::mesh::MeshMessage;

/// Messages taken from the peers in one round. Most are batches.
const MESSAGES_PER_ROUND: usize = 64;

impl Host {
    /// Takes what the peer shards have sent. True when there may be more.
    pub(crate) fn take_inbound(&mut self) -> bool {
        for _ in 0..MESSAGES_PER_ROUND {
            let Some(message) = self.inbound.take() else { return false };
            self.take_message(message);
        }
        true
    }

    fn take_message(&mut self, message: MeshMessage) {
        match message {
            MeshMessage::Batch(batch) => self.take_batch(batch),
            MeshMessage::HandOver(hand_over) => self.take_over(*hand_over),
            MeshMessage::Document { origin, document } => self.answer_document(origin, &document),
            MeshMessage::SnapshotWanted { ticket, wants } => {
                let snapshot = Box::new(self.report(wants));
                let control = self.control;
                self.mesh.send(control, MeshMessage::Snapshot { ticket, snapshot });
            }
            MeshMessage::Policy(policy) => {
                self.log.set_budgets(&policy.logs);
                self.shard.share_among_tenants(!policy.tenants.by_id.is_empty());
                self.policy = policy;
                self.recheck_from = Some(0);
            }
            MeshMessage::ReloadStatus(status) => self.reload = status,
            MeshMessage::Drain { timeout_ms } => self.begin_drain(timeout_ms),
            MeshMessage::Stop => self.begin_stop(),
            MeshMessage::Report { .. }
            | MeshMessage::Snapshot { .. }
            | MeshMessage::Admin { .. }
            | MeshMessage::KeyUnknown
            | MeshMessage::News(_)
            | MeshMessage::Signal(_)
            | MeshMessage::Drained { .. } => {
                debug_assert!(false, "a message for the control shard");
            }
        }
    }
}
