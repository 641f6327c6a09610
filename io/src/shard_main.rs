//! What runs on a data shard's executor: the accept loops, one task per connection, one per peer, the writer, the
//! timekeeper.

use crate::connection::Connection;
use crate::deadline::keep_time;
use crate::flush::write_outboxes;
use crate::host::{Host, READ_BYTES};
use crate::listener::{BoundSocket, accept_loop};
use crate::mesh::{HandOver, MeshMessage};
use conduit_protocol::ConnectionId;
use futures_lite::AsyncRead;
use glommio::channels::shared_channel::ConnectedReceiver;
use glommio::net::TcpStream;
use std::cell::RefCell;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

/// Runs a shard until the control shard says stop.
pub(crate) async fn run(host: Host, sockets: Vec<BoundSocket>, peers: Vec<ConnectedReceiver<MeshMessage>>) {
    let host = Rc::new(RefCell::new(host));
    for socket in sockets {
        match socket.share() {
            Ok(listening) => host.borrow_mut().listening.push(listening),
            Err(error) => tracing::warn!(%error, "a listener cannot be stopped early while draining"),
        }
        glommio::spawn_local(accept_loop(host.clone(), socket)).detach();
    }
    for peer in peers {
        glommio::spawn_local(receive(host.clone(), peer)).detach();
    }
    glommio::spawn_local(write_outboxes(host.clone())).detach();
    glommio::spawn_local(keep_time(host.clone())).detach();
    std::future::poll_fn(|task| {
        let mut host = host.borrow_mut();
        host.stopper = Some(task.waker().clone());
        if host.stopped { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Gives an accepted (or handed over) stream a slot and a task.
pub(crate) fn adopt(host: &Rc<RefCell<Host>>, connection: Connection) -> bool {
    let Some(id) = host.borrow_mut().admit(connection) else { return false };
    let host = host.clone();
    glommio::spawn_local(async move {
        std::future::poll_fn(|task| guarded(&host, id, task)).await;
    })
    .detach();
    true
}

/// One poll of a connection. A panic of a session ends that connection; a panic of the core ends the process, since
/// what it holds can no longer be trusted.
fn guarded(host: &Rc<RefCell<Host>>, id: ConnectionId, task: &mut TaskContext<'_>) -> Poll<()> {
    let polled = catch_unwind(AssertUnwindSafe(|| host.borrow_mut().poll_connection(id, task)));
    polled.unwrap_or_else(|_| {
        let mut host = host.borrow_mut();
        if host.in_core {
            tracing::error!("the broker core panicked: this is a bug, and going on could lose messages; stopping");
            std::process::abort();
        }
        tracing::error!(connection = id.0, "a connection's decoder panicked: this is a bug; the connection is closed");
        host.stats.panics_total += 1;
        host.forget(id);
        Poll::Ready(())
    })
}

/// Takes what a peer shard sends.
async fn receive(host: Rc<RefCell<Host>>, peer: ConnectedReceiver<MeshMessage>) {
    while let Some(message) = peer.recv().await {
        let mut this = host.borrow_mut();
        this.tick();
        match message {
            MeshMessage::Batch(batch) => this.take_batch(batch),
            MeshMessage::HandOver(hand_over) => {
                drop(this);
                take_over(&host, *hand_over);
            }
            MeshMessage::Document { origin, document } => this.answer_document(origin, &document),
            MeshMessage::SnapshotWanted { ticket } => {
                let snapshot = Box::new(this.report());
                let control = this.control;
                this.mesh.send(control, MeshMessage::Snapshot { ticket, snapshot });
                this.want_write();
            }
            MeshMessage::Drain => this.drain_connections(),
            MeshMessage::Stop => {
                this.stopped = true;
                this.want_write();
                this.wake_timekeeper();
                if let Some(stopper) = this.stopper.take() {
                    stopper.wake();
                }
                return;
            }
            MeshMessage::Report { .. } | MeshMessage::Snapshot { .. } | MeshMessage::Drained { .. } => {
                debug_assert!(false, "a message for the control shard");
            }
        }
    }
}

/// A connection whose stream lives here arrives with the request that has not been answered yet.
fn take_over(host: &Rc<RefCell<Host>>, hand_over: HandOver) {
    let HandOver { fd, bytes, earlier } = hand_over;
    // SAFETY: the descriptor is ours alone now; the stream takes over closing it.
    let stream = unsafe { TcpStream::from_raw_fd(fd.into_raw_fd()) };
    let mut connection = Connection::new(stream, bytes);
    connection.outbox = earlier;
    connection.resumed = true;
    adopt(host, connection);
}

impl Host {
    /// Steps 1 and 2 of one connection: reads what is there, once, and decodes it. Ready when the slot is free.
    fn poll_connection(&mut self, id: ConnectionId, task: &mut TaskContext<'_>) -> Poll<()> {
        self.tick();
        let Some(connection) = self.connections.find(id) else { return Poll::Ready(()) };
        if connection.waker.as_ref().is_none_or(|waker| !waker.will_wake(task.waker())) {
            connection.waker = Some(task.waker().clone());
        }
        if connection.blocked || (connection.unwritten() > 0 && !connection.dirty) {
            self.write_outbox(id);
        }
        let Some(connection) = self.connections.find(id) else { return Poll::Ready(()) };
        if connection.gone || (connection.closing && connection.shut && connection.read_closed) {
            self.forget(id);
            return Poll::Ready(());
        }
        if !connection.closing {
            if connection.is_held(self.outbox_bytes_max) {
                return Poll::Pending;
            }
            if self.mesh.is_full() {
                self.held.push(id);
                return Poll::Pending;
            }
            if std::mem::take(&mut connection.resumed) && !connection.rest.is_empty() {
                let mut rest = std::mem::take(&mut connection.rest);
                self.decode(id, &mut rest);
                task.waker().wake_by_ref();
                return Poll::Pending;
            }
            if connection.read_closed {
                return Poll::Pending;
            }
        }
        self.read(id, task)
    }

    /// Reads until there is nothing more, or one full read has been taken: then the writer has its turn first, so that
    /// what was decided leaves before more is taken in.
    fn read(&mut self, id: ConnectionId, task: &mut TaskContext<'_>) -> Poll<()> {
        loop {
            let Some(connection) = self.connections.find(id) else { return Poll::Ready(()) };
            let kept = connection.rest.len();
            let mut scratch = std::mem::take(&mut self.scratch);
            if scratch.len() < kept + READ_BYTES {
                scratch.resize(kept + READ_BYTES, 0);
            }
            let polled = Pin::new(&mut connection.stream).poll_read(task, &mut scratch[kept..kept + READ_BYTES]);
            if let Poll::Ready(Ok(n)) = polled
                && n > 0
                && !connection.closing
            {
                if kept > 0 {
                    scratch[..kept].copy_from_slice(&connection.rest);
                    connection.rest = Vec::new();
                }
                self.stats.bytes_read_total += n as u64;
                self.decode(id, &mut scratch[..kept + n]);
            }
            self.scratch = scratch;
            match polled {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => self.end_of_input(id),
                // A short read leaves the stream waiting for readiness: polling it again only registers the waker.
                Poll::Ready(Ok(n)) if n < READ_BYTES && self.may_read(id) => continue,
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(_)) => {
                    self.forget(id);
                    return Poll::Ready(());
                }
            }
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
    }

    fn may_read(&mut self, id: ConnectionId) -> bool {
        let full = self.mesh.is_full();
        let outbox_bytes_max = self.outbox_bytes_max;
        self.connections.find(id).is_some_and(|connection| {
            !connection.gone && (connection.closing || !(full || connection.is_held(outbox_bytes_max)))
        })
    }

    /// The peer sends no more. A WebSocket is over; an HTTP client may still wait for answers (RFC 9112, section 9.6).
    fn end_of_input(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        connection.read_closed = true;
        if connection.closing {
            return;
        }
        if connection.session.is_websocket() || connection.session.is_idle() || !connection.rest.is_empty() {
            self.begin_close(id);
            self.settle(id);
        }
    }
}
