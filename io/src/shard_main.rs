//! What runs on a data shard's executor: the pump and the timekeeper.

use crate::deadline::keep_time;
use crate::host::Host;
use crate::mesh::MeshMessage;
use crate::pump::pump;
use std::cell::RefCell;
use std::rc::Rc;
use std::task::Poll;

/// Runs a shard until the control shard says stop.
pub(crate) async fn run(host: Host) {
    let host = Rc::new(RefCell::new(host));
    glommio::spawn_local(pump(host.clone())).detach();
    glommio::spawn_local(keep_time(host.clone())).detach();
    std::future::poll_fn(|task| {
        let mut host = host.borrow_mut();
        host.stopper = Some(task.waker().clone());
        if host.stopped { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

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
            MeshMessage::SnapshotWanted { ticket } => {
                let snapshot = Box::new(self.report());
                let control = self.control;
                self.mesh.send(control, MeshMessage::Snapshot { ticket, snapshot });
                self.want_pump();
            }
            MeshMessage::Drain => self.drain_connections(),
            MeshMessage::Stop => {
                self.stopped = true;
                self.want_pump();
                self.wake_timekeeper();
                if let Some(stopper) = self.stopper.take() {
                    stopper.wake();
                }
            }
            MeshMessage::Report { .. } | MeshMessage::Snapshot { .. } | MeshMessage::Drained { .. } => {
                debug_assert!(false, "a message for the control shard");
            }
        }
    }
}
