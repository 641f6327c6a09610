//! How one shard lets its clients go: everybody is told at once, and connections are closed one after the other, so that
//! those who come back elsewhere do not come all at the same moment.
//!
//! In the first half of the time WebSockets without work in flight are closed with 1001 (and readers of events end), each as
//! soon as it is idle and its turn has come; then the others with 1012. A tenth of the time is left for the last closing handshakes. A few
//! connections do not take the whole time: at least a hundred are closed in a second.

use crate::host::{Host, context};
use crate::mesh::MeshMessage;
use conduit_protocol::time::NS_PER_MS;
use conduit_protocol::{ConnectionId, Context, ErrorCode, Violation};

/// The longest time between two closings while somebody can be closed.
const STEP_NS_MAX: u64 = 10 * NS_PER_MS;
/// How soon to look again when nobody can be closed yet.
const LOOK_NS: u64 = 20 * NS_PER_MS;
/// How long a new connection may stay silent.
const SILENCE_NS: u64 = 1_000 * NS_PER_MS;

const LEAVING: &str = "the server is shutting down";
const RESTARTING: &str = "the server is shutting down; what is in flight here is delivered again";

/// How far the shard is.
#[derive(Debug)]
pub(crate) struct Drain {
    /// Whoever has work in flight is waited for until then.
    first_ends_ns: u64,
    /// Everybody is closed by then.
    ends_ns: u64,
    /// When the next one may be closed.
    next_ns: u64,
    /// From one closing to the next.
    step_ns: u64,
    /// The second half has begun.
    is_second: bool,
    /// The slot to look at next.
    slot: usize,
    /// The control shard knows that nobody is left.
    is_told: bool,
}

/// From one of so many closings to the next, when there is so much time for all.
const fn step_ns(time_ns: u64, closings: u64) -> u64 {
    let step_ns = time_ns / if closings == 0 { 1 } else { closings };
    if step_ns > STEP_NS_MAX { STEP_NS_MAX } else { step_ns }
}

impl Drain {
    fn new(now_ns: u64, timeout_ms: u64, closings: u64) -> Self {
        let time_ns = timeout_ms.saturating_mul(NS_PER_MS);
        Self {
            first_ends_ns: now_ns.saturating_add(time_ns / 2),
            ends_ns: now_ns.saturating_add(time_ns / 10 * 9),
            next_ns: now_ns,
            step_ns: step_ns(time_ns / 2, closings),
            is_second: false,
            slot: 0,
            is_told: false,
        }
    }
}

impl Host {
    /// No new work. Idle HTTP connections end now, busy ones with their last answer. Told again with less time, it hastens.
    pub(crate) fn begin_drain(&mut self, timeout_ms: u64) {
        let is_first = self.drain.is_none();
        self.draining = true;
        if is_first {
            self.shard.quiesce();
            self.announce_drain();
        }
        let is_told = self.drain.as_ref().is_some_and(|drain| drain.is_told);
        let drain = Drain::new(self.now.mono_ns, timeout_ms, self.lasting_connections());
        self.drain = Some(Drain { is_told, ..drain });
        self.drain_some();
        self.tell_if_drained();
    }

    /// Connections that are closed one after the other: WebSockets and readers of events.
    const fn lasting_connections(&self) -> u64 {
        self.telemetry.ws.connections_active + self.telemetry.live.connections_active
    }

    fn announce_drain(&mut self) {
        for slot in 0..self.connections.slots() {
            let Some(id) = self.connections.id_at(slot) else { continue };
            let Some(connection) = self.connections.find(id) else { continue };
            if connection.session.is_websocket() {
                let mut context = context!(self, connection);
                connection.session.announce_drain(&mut context);
                self.settle(id);
            } else if connection.session.is_idle()
                && !connection.session.is_live()
                && connection.opened_ns.saturating_add(SILENCE_NS) <= self.now.mono_ns
            {
                // A connection that has only just come may have its first request on the way.
                self.close(id, &Violation::new(ErrorCode::ServerDraining, LEAVING));
            }
        }
    }

    /// When [`Self::drain_some`] wants to be called, in `Now::mono_ns`.
    pub(crate) fn drain_due_ns(&self) -> Option<u64> {
        self.drain.as_ref().filter(|drain| !drain.is_told).map(|drain| drain.next_ns)
    }

    /// Closes whoever's turn has come.
    pub(crate) fn drain_some(&mut self) {
        let Some(mut drain) = self.drain.take() else { return };
        let now_ns = self.now.mono_ns;
        if !drain.is_second && now_ns >= drain.first_ends_ns {
            drain.is_second = true;
            let time_ns = drain.ends_ns.saturating_sub(now_ns);
            drain.step_ns = step_ns(time_ns, self.lasting_connections());
        }
        // A turn that could not be taken in time is taken now.
        while drain.next_ns <= now_ns || drain.ends_ns <= now_ns {
            let Some((id, code, words)) = self.next_to_close(&mut drain) else {
                drain.next_ns = now_ns + LOOK_NS;
                break;
            };
            self.close(id, &Violation::new(code, words));
            drain.next_ns = drain.next_ns.max(now_ns.saturating_sub(STEP_NS_MAX)).saturating_add(drain.step_ns);
        }
        self.drain = Some(drain);
        self.tell_if_drained();
    }

    /// The next connection that may be closed, from where the last look ended on.
    fn next_to_close(&mut self, drain: &mut Drain) -> Option<(ConnectionId, ErrorCode, &'static str)> {
        let slots = self.connections.slots();
        for _ in 0..slots {
            drain.slot = (drain.slot + 1) % slots;
            let Some(id) = self.connections.id_at(drain.slot) else { continue };
            let Some(connection) = self.connections.find(id) else { continue };
            if connection.closing {
                continue;
            }
            let is_idle = connection.session.is_idle();
            if connection.session.is_websocket() || connection.session.is_live() {
                if is_idle && self.shard.inflight_of(id) == 0 {
                    return Some((id, ErrorCode::ServerDraining, LEAVING));
                }
                if drain.is_second {
                    return Some((id, ErrorCode::ServerRestarting, RESTARTING));
                }
            } else if is_idle && connection.opened_ns.saturating_add(SILENCE_NS) <= self.now.mono_ns {
                return Some((id, ErrorCode::ServerDraining, LEAVING));
            }
        }
        None
    }

    /// Tells the control shard once that no connection is left. Whoever still comes (to ask for health, mostly) is answered
    /// as long as other shards have some.
    pub(crate) fn tell_if_drained(&mut self) {
        let Some(drain) = &mut self.drain else { return };
        if drain.is_told || self.connections.len() > 0 {
            return;
        }
        drain.is_told = true;
        let (shard, control) = (self.id, self.control);
        self.mesh.send(control, MeshMessage::Drained { shard });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_are_closed_soon_and_many_over_the_whole_time() {
        let drain = |closings| Drain::new(0, 30_000, closings);
        assert_eq!(drain(3).step_ns, STEP_NS_MAX);
        assert_eq!(drain(1_500).step_ns, STEP_NS_MAX);
        assert_eq!(drain(15_000).step_ns, NS_PER_MS);
        assert_eq!((drain(1).first_ends_ns, drain(1).ends_ns), (15_000 * NS_PER_MS, 27_000 * NS_PER_MS));
    }

    #[test]
    fn no_time_means_at_once_and_no_time_is_too_long() {
        let drain = Drain::new(5, 0, 10);
        assert_eq!((drain.first_ends_ns, drain.ends_ns, drain.step_ns), (5, 5, 0));
        let drain = Drain::new(u64::MAX - 1, u64::MAX, 0);
        assert_eq!(drain.ends_ns, u64::MAX);
    }
}
