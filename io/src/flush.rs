//! Step 5: one write per connection with something to say, one batch per peer shard.
//!
//! The writer is a task that sleeps until something is to be written. Being woken puts it behind every task that is
//! already runnable, so all that came in this tick has been decided before anything is written.

use crate::host::Host;
use conduit_protocol::ConnectionId;
use conduit_shard::Input;
use futures_lite::AsyncWrite;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

/// The writer's task. Ends with the shard.
pub(crate) async fn write_outboxes(host: Rc<RefCell<Host>>) {
    std::future::poll_fn(|task| {
        let mut host = host.borrow_mut();
        if host.stopped {
            return Poll::Ready(());
        }
        // First, so that what this pass causes is seen by the next one.
        host.writer = Some(task.waker().clone());
        host.flush();
        Poll::Pending
    })
    .await;
}

impl Host {
    /// Writes every dirty outbox once and sends every batch.
    pub(crate) fn flush(&mut self) {
        self.tick();
        let mut round = std::mem::take(&mut self.dirty);
        for id in round.drain(..) {
            self.write_outbox(id);
        }
        // What draining consumers caused is in `dirty` now, in a list of its own: keep the longer allocation.
        if self.dirty.capacity() < round.capacity() {
            round.append(&mut self.dirty);
            self.dirty = round;
        }
        if self.mesh.flush() {
            self.release_held();
        } else {
            self.wake_timekeeper();
        }
    }

    /// The mesh has room again.
    fn release_held(&mut self) {
        for id in std::mem::take(&mut self.held) {
            if let Some(connection) = self.connections.find(id) {
                connection.wake();
            }
        }
    }

    pub(crate) fn wake_timekeeper(&mut self) {
        self.armed_ns = 0;
        if let Some(timekeeper) = &self.timekeeper {
            timekeeper.wake_by_ref();
        }
    }

    /// Hands an outbox to the kernel. When the kernel's buffer is full, the stream wakes the connection's task later.
    pub(crate) fn write_outbox(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        connection.dirty = false;
        // A connection that was never polled has no waker yet; its first poll writes.
        let Some(waker) = connection.waker.clone() else { return };
        let mut task = TaskContext::from_waker(&waker);
        while connection.written < connection.outbox.len() {
            let unwritten = &connection.outbox[connection.written..];
            match Pin::new(&mut connection.stream).poll_write(&mut task, unwritten) {
                Poll::Ready(Ok(n)) if n > 0 => connection.written += n,
                Poll::Pending => {
                    connection.blocked = true;
                    return;
                }
                // The peer is gone; its task notices and frees the slot.
                Poll::Ready(_) => {
                    connection.gone = true;
                    connection.wake();
                    return;
                }
            }
        }
        connection.blocked = false;
        connection.written = 0;
        connection.outbox.clear();
        let delivered = std::mem::take(&mut connection.delivered);
        let held_back = !connection.rest.is_empty();
        if connection.closing && !connection.shut {
            connection.shut_write();
        }
        if connection.closing || held_back {
            connection.wake();
        }
        let buffer = std::mem::take(&mut connection.outbox);
        let consumer = connection.consumer;
        self.keep_buffer(buffer);
        if delivered && consumer {
            self.input(Input::Drained { connection: id });
        }
    }
}
