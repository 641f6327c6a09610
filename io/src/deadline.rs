//! Step 6: one timer per shard. It serves the core's deadline, looks over the connections now and then, and tries a full
//! mesh again.

use crate::host::{Host, context};
use conduit_protocol::time::NS_PER_MS;
use conduit_protocol::{Context, ErrorCode};
use conduit_shard::Input;
use glommio::timer::Timer;
use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// How often connections are looked over for idleness, pings and lost peers. Their limits are seconds.
const SWEEP_NS: u64 = 250_000_000;
/// How soon a full mesh is tried again.
const MESH_RETRY_NS: u64 = 500_000;

/// The timekeeper's task. Ends with the shard.
pub(crate) async fn keep_time(host: Rc<RefCell<Host>>) {
    let mut timer = Timer::new(Duration::from_nanos(SWEEP_NS));
    std::future::poll_fn(|task| {
        let mut host = host.borrow_mut();
        if host.stopped {
            return Poll::Ready(());
        }
        if host.timekeeper.as_ref().is_none_or(|waker| !waker.will_wake(task.waker())) {
            host.timekeeper = Some(task.waker().clone());
        }
        host.pass_deadlines();
        let wait_ns = host.arm();
        if wait_ns == 0 {
            // The core has more work than one call does: let the others have their turn first.
            task.waker().wake_by_ref();
            return Poll::Pending;
        }
        timer.reset(Duration::from_nanos(wait_ns));
        if Pin::new(&mut timer).poll(task).is_ready() {
            task.waker().wake_by_ref();
        }
        Poll::Pending
    })
    .await;
}

impl Host {
    /// Does what is due.
    fn pass_deadlines(&mut self) {
        self.tick();
        if self.shard.next_deadline().is_some_and(|due_ns| due_ns <= self.now.mono_ns) {
            self.input(Input::Deadline);
        }
        if self.now.mono_ns >= self.next_sweep_ns {
            self.next_sweep_ns = self.now.mono_ns + SWEEP_NS;
            self.sweep();
        }
        if self.mesh.is_full() {
            self.want_pump();
        }
    }

    /// Nanoseconds until something is due again.
    fn arm(&mut self) -> u64 {
        let mut due_ns = self.next_sweep_ns;
        if let Some(core_ns) = self.shard.next_deadline() {
            due_ns = due_ns.min(core_ns);
        }
        if self.mesh.is_full() {
            due_ns = due_ns.min(self.now.mono_ns + MESH_RETRY_NS);
        }
        self.armed_ns = due_ns;
        due_ns.saturating_sub(self.now.mono_ns)
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
                self.telemetry.count_error(ErrorCode::SlowConsumer);
                self.forget(id);
                continue;
            }
            // A connection that is not read cannot be heard: silence is not its fault.
            if connection.is_held(self.outbox_bytes_max) {
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
