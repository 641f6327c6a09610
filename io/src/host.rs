//! The state of one data shard and the steps that change it. Everything here is synchronous: tasks borrow the host,
//! take one step, and let go of it before they wait.

use crate::clock::Clock;
use crate::connection::{Connection, Connections};
use crate::control::{HostStats, ReloadStatus, health};
use crate::disk::Disk;
use crate::drain::Drain;
use crate::link::Inbound;
use crate::listener::Listeners;
use crate::log_writer::Lane;
use crate::mesh::{HandOver, Item, Mesh, MeshMessage};
use crate::readiness::{Readiness, Ready};
use conduit_protocol::http::HttpDate;
use conduit_protocol::{
    AccessLog, Command, ConnectionId, Context, ErrorCode, Inbox, Limits, Now, Origin, Policy, Report, Seq, ShardId,
    Step, Telemetry, Violation,
};
use conduit_shard::{Effect, Effects, Input, Limiter, Shard, StreamKey};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes of one read: also the most that one connection does before another has its turn.
pub(crate) const READ_BYTES: usize = 128 * 1024;
/// Outbox buffers kept for reuse by whichever connection writes next.
const SPARE_BUFFERS_MAX: usize = 64;
/// A buffer that has grown past this is given back to the allocator.
const SPARE_BUFFER_BYTES_MAX: usize = 256 * 1024;

/// Connections beyond the maximum that are told why before they are closed.
const REFUSALS_MAX: usize = 64;
/// What they are told.
const REFUSAL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 10\r\n\
connection: close\r\ncontent-length: 117\r\n\r\n\
{\"error\":\"Service Unavailable\",\"code\":\"TooManyConnections\",\"message\":\"the shard has its maximum of connections open\"}";

/// One data shard.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) id: ShardId,
    pub(crate) control: ShardId,
    pub(crate) clock: Clock,
    /// The time of this tick.
    pub(crate) now: Now,
    started_ns: u64,
    pub(crate) shard: Shard,
    effects: Effects,
    /// The effects of the last input are being executed.
    is_executing: bool,
    /// Consumers that are gone and of which the core has not been told.
    departed: Vec<ConnectionId>,
    pub(crate) connections: Connections,
    pub(crate) connections_max: usize,
    pub(crate) mesh: Mesh,
    pub(crate) inbound: Inbound,
    pub(crate) telemetry: Telemetry,
    pub(crate) stats: HostStats,
    pub(crate) limits: Rc<Limits>,
    /// What the operator decided.
    pub(crate) policy: Arc<Policy>,
    /// The accounts of the limiter whose home is here.
    pub(crate) gate: Limiter,
    pub(crate) log: AccessLog,
    /// Where its lines go; absent when none are written.
    pub(crate) lane: Option<Lane>,
    pub(crate) date: HttpDate,
    /// Where reads go: one buffer for all connections, since none of them keeps one while it waits.
    pub(crate) scratch: Vec<u8>,
    pub(crate) spare_buffers: Vec<Vec<u8>>,
    /// Connections with something to write, in the order in which they came to have it.
    pub(crate) dirty: Vec<ConnectionId>,
    /// Bytes that one outbox may hold before its connection is read no more.
    pub(crate) outbox_bytes_max: usize,
    /// More is known to be there: the next round does not wait.
    pub(crate) busy: bool,
    /// How long to look for work before sleeping.
    pub(crate) spin_ns: u64,
    pub(crate) next_sweep_ns: u64,
    /// Connections that wait until the mesh has room.
    pub(crate) held: Vec<ConnectionId>,
    pub(crate) draining: bool,
    /// How far the drain is, once it has begun.
    pub(crate) drain: Option<Drain>,
    /// The policy has changed, and connections from this slot on have not been asked whether they may stay.
    pub(crate) recheck_from: Option<usize>,
    /// How the last reload went.
    pub(crate) reload: ReloadStatus,
    /// Tokens signed with unknown keys that the control shard has been told of.
    pub(crate) unknown_keys_told: u64,
    /// Rows that one snapshot lists.
    pub(crate) rows_max: usize,
    /// Told to stop: when to leave at the latest.
    pub(crate) stop_by_ns: Option<u64>,
    /// What the shard's log is kept on, if it keeps one.
    pub(crate) disk: Option<Disk>,
    pub(crate) listeners: Listeners,
    pub(crate) readiness: Readiness,
    /// What readiness told this round; kept for its allocation.
    pub(crate) ready: Vec<Ready>,
    /// Connections that have something to read or to decode, in order.
    pub(crate) turns: VecDeque<ConnectionId>,
    /// A panic while this is set leaves the core in an unknown state: the process must end.
    pub(crate) in_core: bool,
}

/// Where the next unit of a connection takes it.
enum Next {
    /// The core has decided: its effects are to be drained.
    More,
    /// It is on its way to another shard.
    Forwarded,
    /// The health document is wanted.
    Health(Origin),
    /// The rest waits for more bytes, an answer, or room.
    Rest,
    Closing,
    MoveTo(ShardId),
}

/// Lends the session its surroundings; a macro because the borrows must stay disjoint fields.
macro_rules! context {
    ($host:ident, $connection:ident) => {{
        if $connection.outbox.capacity() == 0
            && let Some(spare) = $host.spare_buffers.pop()
        {
            $connection.outbox = spare;
        }
        Context {
            now: $host.now,
            limits: &$host.limits,
            policy: &$host.policy,
            gate: &mut $host.gate,
            log: &mut $host.log,
            peer: $connection.peer,
            telemetry: &mut $host.telemetry,
            out: &mut $connection.outbox,
            date: &mut $host.date,
            // A reload may let load balancers rest; then nothing at all is taken on, except by WebSockets.
            draining: $host.draining
                || ($host.reload.is_resting && $host.policy.drain.rejects_all && !$connection.session.is_websocket()),
            resting: !$host.draining,
        }
    }};
}
pub(crate) use context;

impl Host {
    #[expect(clippy::too_many_arguments, reason = "the one place where a shard is put together")]
    pub(crate) fn new(
        id: ShardId,
        control: ShardId,
        mut clock: Clock,
        mut shard: Shard,
        disk: Option<Disk>,
        mesh: Mesh,
        inbound: Inbound,
        listeners: Listeners,
        readiness: Readiness,
        limits: Limits,
        policy: Arc<Policy>,
        connections_max: usize,
        outbox_bytes_max: usize,
        spin_ns: u64,
    ) -> Self {
        let now = clock.now();
        let rows_max = shard.limits().snapshot_streams_max;
        shard.share_among_tenants(!policy.tenants.by_id.is_empty());
        Self {
            id,
            control,
            clock,
            now,
            started_ns: now.mono_ns,
            shard,
            effects: Effects::new(),
            is_executing: false,
            departed: Vec::new(),
            connections: Connections::default(),
            connections_max,
            mesh,
            inbound,
            telemetry: Telemetry::default(),
            stats: HostStats::default(),
            limits: Rc::new(limits),
            policy,
            gate: Limiter::new(id, control.0),
            log: AccessLog::default(),
            lane: None,
            date: HttpDate::default(),
            scratch: Vec::new(),
            spare_buffers: Vec::new(),
            dirty: Vec::new(),
            outbox_bytes_max,
            busy: false,
            spin_ns,
            next_sweep_ns: 0,
            held: Vec::new(),
            draining: false,
            drain: None,
            recheck_from: None,
            reload: ReloadStatus::default(),
            unknown_keys_told: 0,
            rows_max,
            stop_by_ns: None,
            disk,
            listeners,
            readiness,
            ready: Vec::new(),
            turns: VecDeque::new(),
            in_core: false,
        }
    }

    /// Begins a tick: reads the clock.
    pub(crate) fn tick(&mut self) {
        self.now = self.clock.now();
    }

    /// Steps 2 to 4 for bytes that came (or that waited). What cannot be decoded yet is kept with the connection.
    pub(crate) fn decode(&mut self, id: ConnectionId, bytes: &mut [u8]) {
        let mut inbox = Inbox::new(bytes);
        loop {
            let Some(connection) = self.connections.find(id) else { return };
            if connection.is_held(self.outbox_bytes_max) || self.mesh.is_full() {
                connection.resumed = true;
                connection.rest.extend_from_slice(inbox.rest());
                if self.mesh.is_full() {
                    self.hold(id);
                }
                // What the session has written up to here leaves all the same.
                break;
            }
            let begun = inbox.consumed();
            match self.step(id, &mut inbox) {
                Next::More => self.drain(),
                // It leaves with this round's batches.
                Next::Forwarded => {}
                Next::Health(origin) => {
                    let document = health(
                        self.now.mono_ns.saturating_sub(self.started_ns) / 1_000_000,
                        self.control.0,
                        self.draining,
                        &self.reload,
                    );
                    self.answer_document(origin, &document);
                }
                Next::Rest => {
                    if let Some(connection) = self.connections.find(id) {
                        connection.rest.extend_from_slice(inbox.rest());
                        // The session has said its last words: whatever the peer still sends is thrown away. Or the peer sends
                        // no more, and what it sent last has been looked at only now.
                        let is_deaf = connection.read_closed && !connection.waiting;
                        if connection.session.is_closing() || (is_deaf && !connection.session.owes_answer()) {
                            self.begin_close(id);
                        }
                    }
                    break;
                }
                Next::Closing => {
                    self.begin_close(id);
                    break;
                }
                Next::MoveTo(owner) => {
                    let bytes = bytes[begun..].to_vec();
                    self.hand_over(id, owner, bytes);
                    return;
                }
            }
        }
        self.settle(id);
    }

    /// Decodes one unit (2) and decides on it (3). The effects are for the caller to drain.
    fn step(&mut self, id: ConnectionId, inbox: &mut Inbox<'_>) -> Next {
        let Some(connection) = self.connections.find(id) else { return Next::Rest };
        if connection.closing {
            return Next::Closing;
        }
        let mut context = context!(self, connection);
        // A command is large: it is looked at where it lies.
        let step = connection.session.next(inbox, &mut context);
        let (token, tenant, command) = match &step {
            Step::Command { token, tenant, command } => (*token, *tenant, command),
            Step::Again => return Next::More,
            Step::NeedBytes => return Next::Rest,
            Step::Wait => {
                connection.waiting = true;
                connection.resumed = true;
                return Next::Rest;
            }
            Step::Close => return Next::Closing,
        };
        let origin = Origin { shard: self.id, connection: id, token };
        let owner = match command {
            Command::Publish(publish) => self.shard.owner_of(tenant, &publish.stream),
            Command::Subscribe(subscribe) => self.shard.owner_of(tenant, &subscribe.stream),
            Command::Stats { stream } => self.shard.owner_of(tenant, stream),
            Command::Stream(command) => self.shard.owner_of(tenant, &command.stream),
            Command::Report { report: Report::Health, .. } => return Next::Health(origin),
            Command::Report { .. } | Command::Admin(_) => self.control,
            Command::Charge(charge) => charge.home(self.control.0),
            Command::Credit(_) | Command::Ack(_) | Command::AckSeq(_) | Command::AckUpTo(_) | Command::Nack(_) => {
                self.id
            }
        };
        if owner == self.id {
            connection.consumer |= matches!(command, Command::Subscribe(_));
            self.in_core = true;
            self.shard.handle_command(self.now, &origin, tenant, command, &mut self.effects);
            self.in_core = false;
            return Next::More;
        }
        match command {
            Command::Publish(publish) => {
                self.stats.forwarded_total += 1;
                self.mesh.batch_to(owner).push_publish(origin, tenant, publish);
            }
            Command::Stats { stream } => self.mesh.batch_to(owner).push_stats(origin, tenant, stream),
            Command::Stream(command) => {
                let command = Box::new((**command).clone().into_owned());
                self.mesh.batch_to(owner).push(Item::Stream { origin, tenant, command });
            }
            &Command::Report { report, scope } => self.mesh.send(owner, MeshMessage::Report { origin, report, scope }),
            &Command::Admin(action) => self.mesh.send(owner, MeshMessage::Admin { origin, action }),
            &Command::Charge(charge) => self.mesh.batch_to(owner).push(Item::Charge { origin, charge }),
            _ => return Next::MoveTo(owner),
        }
        Next::Forwarded
    }

    /// Gives the core an input that is not a client's and executes what follows.
    pub(crate) fn input(&mut self, input: Input<'_>) {
        self.in_core = true;
        self.shard.handle(self.now, input, &mut self.effects);
        self.in_core = false;
        self.drain();
    }

    /// Step 4: executes every effect of the last input.
    fn drain(&mut self) {
        // About every second input has none: a publish without a ready consumer, an ack without a backlog.
        if self.effects.is_empty() {
            return;
        }
        self.is_executing = true;
        let mut effects = std::mem::take(&mut self.effects);
        // Nearly all are deliveries, which are read where they lie: an effect that has just been written field by field is
        // slow to move as a whole.
        let mut next = 0;
        while let Some(effect) = effects.at(next) {
            if let &Effect::Deliver { connection, stream, seq, attempt } = effect {
                self.deliver(connection, stream, seq, attempt);
            } else if let Some(effect) = effects.take(next) {
                self.execute(effect);
            }
            next += 1;
        }
        effects.clear();
        self.effects = effects;
        self.is_executing = false;
        self.release_departed();
    }

    #[inline(always)]
    fn deliver(&mut self, id: ConnectionId, stream: StreamKey, seq: Seq, attempt: u32) {
        let Some(connection) = self.connections.find(id) else { return };
        let delivery = self.shard.delivery(id, stream, seq, attempt);
        let mut context = context!(self, connection);
        connection.session.deliver(&delivery, &mut context);
        connection.delivered = true;
        if !connection.dirty {
            self.mark_dirty(id);
        }
    }

    #[inline(never)]
    fn execute(&mut self, effect: Effect) {
        match effect {
            Effect::Deliver { .. } => debug_assert!(false, "deliveries are executed where they lie"),
            Effect::Answer { origin, answer } if origin.shard == self.id => self.answer_here(origin, answer),
            Effect::Answer { origin, answer } => self.answer_peer(origin, answer),
            Effect::Gap { connection: id, from, to } => {
                let Some(connection) = self.connections.find(id) else { return };
                let mut context = context!(self, connection);
                connection.session.gap(from, to, &mut context);
                self.mark_dirty(id);
            }
            Effect::Close { connection, code, message } => self.close(connection, &Violation::new(code, message)),
            Effect::Pause { origin } if origin.shard == self.id => self.pause(origin.connection),
            Effect::Resume { origin } if origin.shard == self.id => self.resume(origin.connection),
            Effect::Pause { origin } => self.mesh.batch_to(origin.shard).push(Item::Pause(origin.connection)),
            Effect::Resume { origin } => {
                self.mesh.batch_to(origin.shard).push(Item::Resume(origin.connection));
            }
        }
    }

    /// Puts a connection whose outbox is not empty on the list of the writer, or takes its spare buffer back.
    pub(crate) fn settle(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        if connection.unwritten() > 0 || connection.closing {
            self.mark_dirty(id);
        } else {
            let buffer = std::mem::take(&mut connection.outbox);
            connection.written = 0;
            self.keep_buffer(buffer);
        }
    }

    pub(crate) fn keep_buffer(&mut self, mut buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        if capacity > 0 && capacity <= SPARE_BUFFER_BYTES_MAX && self.spare_buffers.len() < SPARE_BUFFERS_MAX {
            buffer.clear();
            self.spare_buffers.push(buffer);
        }
    }

    pub(crate) fn mark_dirty(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(id);
        }
    }

    pub(crate) fn pause(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.find(id) {
            connection.paused = true;
        }
    }

    pub(crate) fn resume(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.find(id) {
            connection.paused = false;
            self.want_turn(id);
        }
    }

    /// The session is over: its messages go back to the stream at once, its last words are still written.
    pub(crate) fn begin_close(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        if connection.closing {
            return;
        }
        connection.closing = true;
        connection.rest = Vec::new();
        connection.close_by_ns = self.now.mono_ns + self.limits.close_ms * 1_000_000;
        if std::mem::take(&mut connection.consumer) {
            self.departed.push(id);
            self.release_departed();
        }
    }

    /// Tells the core of consumers that are gone: never in the middle of a drain, whose effects name what this would
    /// change.
    fn release_departed(&mut self) {
        while !self.is_executing
            && let Some(connection) = self.departed.pop()
        {
            self.input(Input::Disconnected { connection });
        }
    }

    /// Frees a connection's slot; whatever it had in flight goes back first.
    pub(crate) fn forget(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.find(id) else { return };
        let consumer = connection.consumer;
        connection.session.disconnected(self.now, &mut self.telemetry, &mut self.log, &mut self.gate);
        let buffer = std::mem::take(&mut connection.outbox);
        self.keep_buffer(buffer);
        drop(self.connections.remove(id));
        if consumer {
            self.departed.push(id);
            self.release_departed();
        }
        self.tell_if_drained();
    }

    /// Ends a connection from our side with a reason.
    pub(crate) fn close(&mut self, id: ConnectionId, violation: &Violation) {
        let Some(connection) = self.connections.find(id) else { return };
        let mut context = context!(self, connection);
        connection.session.close(violation, &mut context);
        // An idle HTTP client is told nothing, so there are no last words to wait for.
        if connection.unwritten() == 0 && !connection.session.is_websocket() {
            self.forget(id);
            return;
        }
        self.begin_close(id);
        self.settle(id);
    }

    /// Keeps a connection until the mesh has room.
    pub(crate) fn hold(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.find(id)
            && !connection.held
        {
            connection.held = true;
            self.held.push(id);
        }
    }

    /// Gives a connection to the shard that owns its stream, with the request that is not answered yet.
    fn hand_over(&mut self, id: ConnectionId, owner: ShardId, bytes: Vec<u8>) {
        let Some(connection) = self.connections.remove(id) else { return };
        let Connection { socket, peer, opened_ns, outbox, written, mut session, .. } = *connection;
        let carried = session.carry(&mut self.telemetry);
        self.readiness.forget(&socket);
        self.stats.handed_over_total += 1;
        // What earlier requests of this connection were answered leaves before the new owner writes.
        let earlier = outbox[written..].to_vec();
        self.mesh.send(
            owner,
            MeshMessage::HandOver(Box::new(HandOver { fd: socket, peer, opened_ns, bytes, earlier, carried })),
        );
        self.tell_if_drained();
    }

    /// A slot for one more connection. Past the maximum it is told so and closed; far past it, it is only closed.
    pub(crate) fn admit(&mut self, mut connection: Connection) -> Option<ConnectionId> {
        let live = self.connections.len();
        if live >= self.connections_max + REFUSALS_MAX {
            self.stats.refused_total += 1;
            // One that comes from another shard may hold something.
            connection.session.disconnected(self.now, &mut self.telemetry, &mut self.log, &mut self.gate);
            return None;
        }
        let id = self.connections.insert(connection);
        if let Some(connection) = self.connections.find(id)
            && let Err(error) = self.readiness.watch(&connection.socket, id)
        {
            tracing::warn!(%error, "a connection cannot be watched and is closed");
            connection.session.disconnected(self.now, &mut self.telemetry, &mut self.log, &mut self.gate);
            drop(self.connections.remove(id));
            return None;
        }
        if live < self.connections_max {
            self.stats.accepted_total += 1;
        } else {
            self.stats.refused_total += 1;
            self.telemetry.count_error(ErrorCode::TooManyConnections);
            if let Some(connection) = self.connections.find(id) {
                connection.outbox.extend_from_slice(REFUSAL);
            }
            self.begin_close(id);
            self.settle(id);
        }
        Some(id)
    }
}
