//! The pump: the one task of a data shard, which moves bytes between its sockets and its host. Each poll is one round of
//! the loop at the top of the crate.

use crate::connection::Connection;
use crate::ending::Ending;
use crate::host::{Host, READ_BYTES};
use crate::mesh::HandOver;
#[cfg(doc)]
use crate::readiness::Readiness;
use crate::readiness::Ready;
use conduit_protocol::{ConnectionId, Session};
use conduit_shard::Input;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

/// Runs a shard until it is stopped, and adds how that went to `ending`.
///
/// The task never waits for anything but [`Readiness::take`]: sockets, the bell of the other shards, and the time until the
/// next deadline are all that can give a data shard work.
pub(crate) async fn pump(mut host: Host, ending: &Ending) {
    std::future::poll_fn(|task| {
        host.round();
        if host.may_stop() {
            return Poll::Ready(());
        }
        task.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
    host.end_log();
    ending.shard_ended(host.connections.len(), host.shard.has_log_failed());
}

impl Host {
    fn round(&mut self) {
        // 1 wait: what came while we were away, or comes.
        let mut ready = std::mem::take(&mut self.ready);
        let more = self.wait(&mut ready);
        self.tick();
        self.take_from_disk();
        self.busy = self.take_inbound() || more;
        for ready in ready.drain(..) {
            self.note(ready);
        }
        self.ready = ready;
        // 6 deadline: what has come due meanwhile.
        self.pass_deadlines();
        // 2-4: one read of each, in turn.
        for _ in 0..self.turns.len() {
            if let Some(id) = self.turns.pop_front() {
                self.turn(id);
            }
        }
        // 5 coalesce.
        self.flush();
        self.hand_over_lines();
        self.ask_of_disk();
    }

    /// Waits until there is something to do, unless there is already. True when more may be ready than was taken.
    fn wait(&mut self, ready: &mut Vec<Ready>) -> bool {
        if self.busy || !self.turns.is_empty() || !self.dirty.is_empty() {
            return self.readiness.take(ready, 0);
        }
        if self.spin_ns > 0 && self.spin(ready) {
            return true;
        }
        if !self.inbound.may_sleep() {
            return self.readiness.take(ready, 0);
        }
        let wait_ns = self.due_in_ns();
        let more = self.readiness.take(ready, wait_ns);
        self.inbound.wake_up();
        more
    }

    /// Looks for work for a while instead of sleeping. True when some has come.
    fn spin(&mut self, ready: &mut Vec<Ready>) -> bool {
        let until_ns = self.clock.now().mono_ns + self.spin_ns;
        while self.clock.now().mono_ns < until_ns {
            self.readiness.take(ready, 0);
            if !ready.is_empty() || !self.inbound.is_empty() {
                return true;
            }
            std::hint::spin_loop();
        }
        false
    }

    fn note(&mut self, ready: Ready) {
        match ready {
            Ready::Listener(position) => self.accept(position),
            // It has woken the shard; outcomes are taken in every round.
            Ready::Disk => {}
            Ready::Connection { id, readable, ended, writable } => {
                let Some(connection) = self.connections.find(id) else { return };
                connection.readable |= readable;
                connection.ended |= ended;
                if writable && std::mem::take(&mut connection.blocked) {
                    self.mark_dirty(id);
                }
                if readable {
                    self.want_turn(id);
                }
            }
        }
    }

    /// Gives a connection a turn in the next round (in this one, when called before the reads).
    pub(crate) fn want_turn(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        if !connection.queued {
            connection.queued = true;
            self.turns.push_back(id);
        }
    }

    /// One turn. A panic of a session ends that connection; a panic of the core ends the process, since what it holds can
    /// no longer be trusted.
    fn turn(&mut self, id: ConnectionId) {
        if catch_unwind(AssertUnwindSafe(|| self.serve_connection(id))).is_ok() {
            return;
        }
        if self.in_core {
            tracing::error!("the broker core panicked: this is a bug, and going on could lose messages; stopping");
            std::process::abort();
        }
        tracing::error!(connection = id.0, "a connection's decoder panicked: this is a bug; the connection is closed");
        self.stats.panics_total += 1;
        self.forget(id);
    }

    fn serve_connection(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        connection.queued = false;
        if connection.gone {
            self.forget(id);
            return;
        }
        if !connection.closing {
            if connection.is_held(self.outbox_bytes_max) {
                return;
            }
            if self.mesh.is_full() {
                self.hold(id);
                return;
            }
            // Without bytes too: the session may be in the middle of a batch that it holds itself.
            if std::mem::take(&mut connection.resumed) {
                let mut rest = std::mem::take(&mut connection.rest);
                self.decode(id, &mut rest);
                if self.connections.find(id).is_some_and(|connection| connection.readable) {
                    self.want_turn(id);
                }
                return;
            }
        }
        self.read(id);
    }

    /// Step 1 and 2: one read, decoded. A full read means that more is there: the connection gets another turn, after the
    /// writes, so that what was decided leaves before more is taken in.
    fn read(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        if !connection.readable {
            return;
        }
        let kept = connection.rest.len();
        let mut scratch = std::mem::take(&mut self.scratch);
        if scratch.len() < kept + READ_BYTES {
            scratch.resize(kept + READ_BYTES, 0);
        }
        let room = &mut scratch[kept..kept + READ_BYTES];
        let outcome = rustix::net::recv(&connection.socket, room, RecvFlags::DONTWAIT).map(|(_, n)| n);
        match outcome {
            Ok(0) => {
                connection.readable = false;
                self.end_of_input(id);
            }
            Ok(n) => {
                // A short read of a stream socket means that it was emptied (epoll(7), question 9): the next arrival is
                // told anew. An end that has been told already is not, so it is read up to.
                connection.readable = n == READ_BYTES || connection.ended;
                let more = connection.readable;
                self.stats.bytes_read_total += n as u64;
                if !connection.closing {
                    if kept > 0 {
                        scratch[..kept].copy_from_slice(&connection.rest);
                        connection.rest = Vec::new();
                    }
                    self.decode(id, &mut scratch[..kept + n]);
                }
                if more {
                    self.want_turn(id);
                }
            }
            Err(Errno::AGAIN) => connection.readable = false,
            Err(Errno::INTR) => self.want_turn(id),
            Err(_) => self.forget(id),
        }
        self.scratch = scratch;
    }

    /// The peer sends no more, so what is incomplete stays so. A WebSocket is over; an HTTP client may still wait for
    /// answers (RFC 9112, section 9.6).
    fn end_of_input(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        connection.read_closed = true;
        if connection.closing {
            if connection.shut {
                self.forget(id);
            }
            return;
        }
        if connection.session.is_websocket() || !connection.session.owes_answer() {
            self.begin_close(id);
            self.settle(id);
        }
    }

    /// Step 5: writes every dirty outbox once and sends every batch.
    pub(crate) fn flush(&mut self) {
        let mut round = std::mem::take(&mut self.dirty);
        for id in round.drain(..) {
            self.write_outbox(id);
        }
        // What drained consumers caused is in `dirty` now, in a list of its own: keep the longer allocation.
        if self.dirty.capacity() < round.capacity() {
            round.append(&mut self.dirty);
            self.dirty = round;
        }
        if !self.gate.is_settled() {
            self.send_errands();
        }
        if self.mesh.flush() && !self.held.is_empty() {
            for id in std::mem::take(&mut self.held) {
                if let Some(connection) = self.connections.find(id) {
                    connection.held = false;
                }
                self.want_turn(id);
            }
        }
    }

    /// Hands an outbox to the kernel. When the kernel's buffer is full, readiness tells when it has room again.
    fn write_outbox(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        connection.dirty = false;
        if connection.gone {
            self.forget(id);
            return;
        }
        if connection.blocked {
            return;
        }
        while connection.written < connection.outbox.len() {
            let unwritten = &connection.outbox[connection.written..];
            match rustix::net::send(&connection.socket, unwritten, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(n) => {
                    self.stats.bytes_written_total += n as u64;
                    connection.written += n;
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    connection.blocked = true;
                    connection.blocked_since_ns = self.now.mono_ns;
                    return;
                }
                Err(_) => {
                    self.forget(id);
                    return;
                }
            }
        }
        connection.written = 0;
        connection.outbox.clear();
        let delivered = std::mem::take(&mut connection.delivered) && connection.consumer;
        if connection.closing && !connection.shut {
            connection.shut_write();
            if connection.gone || connection.read_closed {
                self.forget(id);
                return;
            }
        }
        let more = connection.readable || connection.resumed;
        let buffer = std::mem::take(&mut connection.outbox);
        self.keep_buffer(buffer);
        if delivered {
            self.input(Input::Drained { connection: id });
        }
        if more {
            self.want_turn(id);
        }
    }

    /// A connection whose stream lives here arrives with the request that has not been answered yet.
    pub(crate) fn take_over(&mut self, hand_over: HandOver) {
        let HandOver { fd, peer, opened_ns, bytes, earlier, carried } = hand_over;
        let mut connection = Connection::new(fd, peer, opened_ns, bytes);
        connection.session = Session::carried(carried);
        connection.outbox = earlier;
        connection.resumed = true;
        connection.readable = true;
        if let Some(id) = self.admit(connection) {
            self.want_turn(id);
        }
    }
}
