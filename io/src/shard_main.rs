//! What runs on a data shard's executor: the pump, the timekeeper, and one task per peer shard.

use crate::deadline::keep_time;
use crate::host::Host;
use crate::mesh::MeshMessage;
use crate::pump::pump;
use glommio::channels::shared_channel::ConnectedReceiver;
use std::cell::RefCell;
use std::rc::Rc;
use std::task::Poll;

/// Runs a shard until the control shard says stop.
pub(crate) async fn run(host: Host, peers: Vec<ConnectedReceiver<MeshMessage>>) {
    let host = Rc::new(RefCell::new(host));
    for peer in peers {
        glommio::spawn_local(receive(host.clone(), peer)).detach();
    }
    glommio::spawn_local(pump(host.clone())).detach();
    glommio::spawn_local(keep_time(host.clone())).detach();
    std::future::poll_fn(|task| {
        let mut host = host.borrow_mut();
        host.stopper = Some(task.waker().clone());
        if host.stopped { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Takes what a peer shard sends.
async fn receive(host: Rc<RefCell<Host>>, peer: ConnectedReceiver<MeshMessage>) {
    while let Some(message) = peer.recv().await {
        let mut host = host.borrow_mut();
        host.tick();
        host.take_message(message);
        host.rearm();
        if host.stopped {
            return;
        }
    }
}

impl Host {
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
