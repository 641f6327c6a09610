//! One shard with its connections: the loop of the server in miniature. Step by step it does what the server does around
//! the core, in the same order, on virtual time; what it leaves out is the operating system.

use super::connection::{Connection, Connections};
use super::drive::Drive;
use super::ledger::Ledger;
use super::marks::Marks;
use super::mesh::{Forwarded, Item, Mesh, Message, Told};
use super::network::{Got, Network, WireId};
use super::pump::Pump;
use super::random::Random;
use super::sometimes;
use super::tolls::Tollgate;
use super::trace::Trace;
use crate::{Effect, Effects, Input, Shard};
use conduit_protocol::http::HttpDate;
use conduit_protocol::time::NS_PER_MS;
use conduit_protocol::{
    AccessLog, Answer, Command, ConnectionId, Context, Inbox, Limits, Now, Origin, Policy, Session, ShardId, Step,
    Telemetry, Violation,
};
use std::collections::VecDeque;
use std::sync::Arc;

/// How often sessions are looked over for their deadlines.
const SWEEP_NS: u64 = 250 * NS_PER_MS;
/// What one round takes, in virtual nanoseconds: the next one is not before.
const ROUND_NS: u64 = 1_000;
/// Messages of the mesh that one round takes.
const MESSAGES_PER_ROUND: usize = 64;

/// What a host is lent for the length of one round.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// The time.
    pub now: Now,
    /// The connections' bytes.
    pub network: &'a mut Network,
    /// The other shards.
    pub mesh: &'a mut Mesh,
    /// What the shard's log is kept on, if it keeps one.
    pub drive: Option<&'a mut Drive>,
    /// What the core's effects are held against.
    pub ledger: &'a mut Ledger,
    /// Rare states.
    pub marks: &'a mut Marks,
    /// What happened.
    pub trace: &'a mut Trace,
    /// Chance.
    pub random: &'a mut Random,
}

/// One data shard.
#[derive(Debug)]
pub struct Host {
    pub(super) id: usize,
    /// The core.
    pub shard: Shard,
    pub(super) effects: Effects,
    pub(super) is_executing: bool,
    pub(super) departed: Vec<ConnectionId>,
    pub(super) connections: Connections,
    pub(super) connections_max: usize,
    pub(super) outbox_bytes_max: usize,
    pub(super) read_bytes_max: usize,
    pub(super) telemetry: Telemetry,
    pub(super) limits: Limits,
    pub(super) policy: Arc<Policy>,
    pub(super) gate: Tollgate,
    pub(super) log: AccessLog,
    pub(super) date: HttpDate,
    /// This round's items for each peer.
    pub(super) batches: Vec<Vec<Item>>,
    /// What the links refused.
    pub(super) overflow: Vec<VecDeque<Message>>,
    /// When a full link is tried again.
    pub(super) mesh_retry_ns: u64,
    pub(super) next_sweep_ns: u64,
    /// What it asks of its disk, and what came of it.
    pub(super) pump: Pump,
    /// It takes no new work: it is about to stop.
    pub(super) draining: bool,
    is_told_to_drain: bool,
    /// Somebody outside has told it something.
    pub(super) is_woken: bool,
    /// It does not run before: whatever the system gave its time to was not this shard.
    pub(super) paused_until_ns: u64,
}

/// Where the next unit of a connection takes it.
enum Next {
    More,
    Rest,
    Closing,
    /// A document of the control shard is wanted.
    Report(Origin),
    MoveTo(usize),
}

/// Lends a session its surroundings; a macro because the borrows must stay disjoint fields.
macro_rules! context {
    ($host:ident, $connection:ident, $now:expr) => {
        Context {
            now: $now,
            limits: &$host.limits,
            policy: &$host.policy,
            gate: &mut $host.gate,
            log: &mut $host.log,
            peer: core::net::IpAddr::V4(core::net::Ipv4Addr::LOCALHOST),
            telemetry: &mut $host.telemetry,
            out: &mut $connection.outbox,
            date: &mut $host.date,
            draining: $host.draining,
            resting: false,
        }
    };
}
pub(super) use context;

impl Host {
    /// A shard without connections.
    #[must_use]
    pub fn new(
        id: usize,
        shards: usize,
        shard: Shard,
        limits: Limits,
        bounds: HostBounds,
        policy: Arc<Policy>,
        pump: Pump,
    ) -> Self {
        let gate = Tollgate::new(ShardId(id as u16), shards as u16, shard.limits.planted);
        Self {
            id,
            shard,
            effects: Effects::new(),
            is_executing: false,
            departed: Vec::new(),
            connections: Connections::default(),
            connections_max: bounds.connections_max,
            outbox_bytes_max: bounds.outbox_bytes_max,
            read_bytes_max: bounds.read_bytes_max,
            telemetry: Telemetry::default(),
            limits,
            policy,
            gate,
            log: AccessLog::default(),
            date: HttpDate::default(),
            batches: (0..shards).map(|_| Vec::new()).collect(),
            overflow: (0..shards).map(|_| VecDeque::new()).collect(),
            mesh_retry_ns: 0,
            next_sweep_ns: 0,
            pump,
            draining: false,
            is_told_to_drain: false,
            is_woken: false,
            paused_until_ns: 0,
        }
    }

    /// It will not run before a time.
    pub fn pause_until(&mut self, until_ns: u64) {
        self.paused_until_ns = self.paused_until_ns.max(until_ns);
    }

    /// It is to take no new work.
    pub fn drain(&mut self) {
        (self.is_told_to_drain, self.is_woken) = (true, true);
    }

    /// Something else is allowed from now on.
    pub fn reload(&mut self, policy: Arc<Policy>) {
        self.policy = policy;
    }

    /// Connections now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.count()
    }

    /// When there is something for it to do.
    #[must_use]
    pub fn next_ns(&self, now_ns: u64, network: &mut Network, mesh: &Mesh, drive: Option<&Drive>) -> Option<u64> {
        let mut due_ns = u64::MAX;
        if network.is_knocking(self.id) || self.is_woken {
            due_ns = now_ns;
        }
        due_ns = due_ns.min(mesh.next_ns(self.id).unwrap_or(u64::MAX));
        due_ns = due_ns.min(drive.and_then(Drive::next_due_ns).unwrap_or(u64::MAX));
        due_ns = due_ns.min(self.shard.next_deadline().unwrap_or(u64::MAX));
        due_ns = due_ns.min(self.gate.limiter.next_deadline_ns().unwrap_or(u64::MAX));
        if self.connections.count() > 0 {
            due_ns = due_ns.min(self.next_sweep_ns);
        }
        let is_mesh_full = self.is_mesh_full();
        if is_mesh_full {
            due_ns = due_ns.min(self.mesh_retry_ns);
        }
        for (_, connection) in self.connections.iter() {
            if !connection.outbox.is_empty() && network.room_down(connection.wire) > 0 {
                due_ns = now_ns;
            }
            if connection.closing || connection.is_held(self.outbox_bytes_max) || is_mesh_full {
                continue;
            }
            if connection.resumed {
                due_ns = now_ns;
            }
            if !connection.read_closed {
                due_ns = due_ns.min(network.wire(connection.wire).up.next_ns().unwrap_or(u64::MAX));
            }
        }
        (due_ns < u64::MAX).then(|| due_ns.max(now_ns).max(self.paused_until_ns))
    }

    /// One round of the loop.
    pub fn round(&mut self, around: &mut Surroundings<'_>) {
        self.is_woken = false;
        around.trace.event(around.now.mono_ns, "round", &[self.id as u64]);
        // 1 wait: what came while we were away.
        self.take_from_disk(around);
        for _ in 0..MESSAGES_PER_ROUND {
            let Some(message) = around.mesh.take(around.now.mono_ns, self.id) else { break };
            self.take_message(message, around);
        }
        while let Some(wire) = around.network.accept(self.id) {
            self.admit(Connection::new(wire, Vec::new(), Vec::new()), around);
        }
        if self.is_told_to_drain {
            self.drain_connections(around);
        }
        // 6 deadline.
        if self.shard.next_deadline().is_some_and(|due_ns| due_ns <= around.now.mono_ns) {
            self.input(Input::Deadline, around);
        }
        self.gate.limiter.sweep(around.now);
        if around.now.mono_ns >= self.next_sweep_ns {
            self.next_sweep_ns = around.now.mono_ns + SWEEP_NS;
            self.sweep(around);
        }
        // 2-4: one read of each.
        for id in self.connections.ids() {
            self.turn(id, around);
        }
        // 5 coalesce.
        self.flush(around);
        self.ask_of_disk(around);
        self.judge_tolls(around);
        self.paused_until_ns = self.paused_until_ns.max(around.now.mono_ns + ROUND_NS);
    }

    fn turn(&mut self, id: ConnectionId, around: &mut Surroundings<'_>) {
        let is_mesh_full = self.is_mesh_full();
        let Some(connection) = self.connections.find(id) else { return };
        if connection.closing {
            let mut thrown_away = Vec::new();
            let pipe = &mut around.network.wire(connection.wire).up;
            if pipe.read(around.now.mono_ns, usize::MAX, &mut thrown_away) == Got::End {
                connection.read_closed = true;
            }
            return;
        }
        sometimes!(around.marks, "a connection waits for room in the mesh", is_mesh_full && connection.resumed);
        if is_mesh_full || connection.is_held(self.outbox_bytes_max) {
            return;
        }
        if std::mem::take(&mut connection.resumed) {
            let mut rest = std::mem::take(&mut connection.rest);
            self.decode(id, &mut rest, around);
            return;
        }
        if connection.read_closed {
            return;
        }
        let mut bytes = std::mem::take(&mut connection.rest);
        let read_max = around.random.magnitude(1, self.read_bytes_max as u64) as usize;
        match around.network.wire(connection.wire).up.read(around.now.mono_ns, read_max, &mut bytes) {
            Got::Nothing => connection.rest = bytes,
            Got::Bytes(_) => self.decode(id, &mut bytes, around),
            Got::End => {
                connection.rest = bytes;
                connection.read_closed = true;
                if connection.session.is_websocket() || !connection.session.owes_answer() {
                    self.begin_close(id, around);
                }
            }
        }
    }

    /// Steps 2 to 4 for bytes that came, or that waited.
    fn decode(&mut self, id: ConnectionId, bytes: &mut [u8], around: &mut Surroundings<'_>) {
        around.trace.bytes(around.now.mono_ns, "read", id.0, bytes);
        let mut inbox = Inbox::new(bytes);
        loop {
            let is_mesh_full = self.is_mesh_full();
            let Some(connection) = self.connections.find(id) else { return };
            if connection.is_held(self.outbox_bytes_max) || is_mesh_full {
                connection.resumed = true;
                connection.rest.extend_from_slice(inbox.rest());
                return;
            }
            let begun = inbox.consumed();
            match self.step(id, &mut inbox, around) {
                Next::More => self.drain_effects(around),
                Next::Rest => {
                    if let Some(connection) = self.connections.find(id) {
                        connection.rest.extend_from_slice(inbox.rest());
                        if connection.session.is_closing() {
                            self.begin_close(id, around);
                        }
                    }
                    return;
                }
                Next::Report(origin) => {
                    // There is no control shard here, and nothing that any check depends on comes from it.
                    let document = Answer::Document { status: 200, content_type: "application/json", body: b"{}" };
                    if let Some(connection) = self.connections.find(id) {
                        let context = &mut context!(self, connection, around.now);
                        connection.session.answer(origin.token, &document, context);
                    }
                }
                Next::Closing => return self.begin_close(id, around),
                Next::MoveTo(owner) => {
                    let bytes = bytes[begun..].to_vec();
                    return self.hand_over(id, owner, bytes);
                }
            }
        }
    }

    /// Decodes one unit (2) and decides on it (3).
    fn step(&mut self, id: ConnectionId, inbox: &mut Inbox<'_>, around: &mut Surroundings<'_>) -> Next {
        let Some(connection) = self.connections.find(id) else { return Next::Rest };
        if connection.closing {
            return Next::Closing;
        }
        let mut context = context!(self, connection, around.now);
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
        let origin = Origin { shard: ShardId(self.id as u16), connection: id, token };
        let owner = match command {
            Command::Publish(publish) => self.shard.owner_of(tenant, &publish.stream),
            Command::Subscribe(subscribe) => self.shard.owner_of(tenant, &subscribe.stream),
            Command::Stats { stream } => self.shard.owner_of(tenant, stream),
            Command::Stream(command) => self.shard.owner_of(tenant, &command.stream),
            Command::Report { .. } => return Next::Report(origin),
            // The simulated server has nobody who changes it from outside.
            Command::Admin(_) => return Next::More,
            Command::Charge(charge) => {
                let home = charge.home(self.batches.len() as u16);
                self.batches[usize::from(home.0)].push(Item::Charge(origin, *charge));
                return Next::More;
            }
            Command::Credit(_) | Command::Ack(_) | Command::AckSeq(_) | Command::AckUpTo(_) | Command::Nack(_) => {
                origin.shard
            }
        };
        if usize::from(owner.0) == self.id {
            if let Command::Subscribe(subscribe) = command {
                (connection.consumer, connection.is_reader) = (true, subscribe.auto_ack);
            }
            around.ledger.command(around.now, &origin, command);
            around.trace.remark(|| format!("connection {}: {command:?}", id.0));
            self.shard.handle_command(around.now, &origin, tenant, command, &mut self.effects);
            return Next::More;
        }
        match Forwarded::of(command) {
            Some(forwarded) => {
                self.batches[usize::from(owner.0)].push(Item::Forward(origin, tenant, Box::new(forwarded)));
                Next::More
            }
            None => Next::MoveTo(usize::from(owner.0)),
        }
    }

    /// Gives the core an input that is not a client's and executes what follows.
    pub(super) fn input(&mut self, input: Input<'_>, around: &mut Surroundings<'_>) {
        self.shard.handle(around.now, input, &mut self.effects);
        self.drain_effects(around);
    }

    /// Step 4: executes every effect of the last input.
    fn drain_effects(&mut self, around: &mut Surroundings<'_>) {
        self.is_executing = true;
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain() {
            self.execute(effect, around);
        }
        self.effects = effects;
        self.is_executing = false;
        self.release_departed(around);
    }

    fn execute(&mut self, effect: Effect, around: &mut Surroundings<'_>) {
        let (now_ns, own) = (around.now.mono_ns, self.id as u64);
        match effect {
            Effect::Deliver { connection: id, stream, seq, attempt } => {
                around.trace.event(now_ns, "deliver", &[own, id.0, seq.0, u64::from(attempt)]);
                let name = self.shard.stream_name(stream).to_owned();
                let delivery = self.shard.delivery(id, stream, seq, attempt);
                let message_id = String::from_utf8_lossy(delivery.id);
                around.ledger.deliver(around.now, self.id, id, (&name, &message_id), seq.0, attempt);
                let Some(connection) = self.connections.find(id) else { return };
                connection.session.deliver(&delivery, &mut context!(self, connection, around.now));
                connection.delivered = true;
            }
            Effect::Answer { origin, answer } => {
                around.trace.event(now_ns, "answer", &[own, origin.connection.0, u64::from(origin.token.0)]);
                self.check_answer(&answer, around);
                let told = Told::of(&self.shard, answer);
                if usize::from(origin.shard.0) == self.id {
                    self.answer(origin, &told, around);
                } else {
                    self.batches[usize::from(origin.shard.0)].push(Item::Answer(origin, Box::new(told)));
                }
            }
            Effect::Gap { connection: id, from, to } => {
                around.trace.event(now_ns, "gap", &[own, id.0, from.0, to.0]);
                let Some(connection) = self.connections.find(id) else { return };
                connection.session.gap(from, to, &mut context!(self, connection, around.now));
            }
            Effect::Close { connection, code, message } => {
                around.trace.event(now_ns, "close", &[own, connection.0, u64::from(code.close_code())]);
                self.close(connection, &Violation::new(code, message), around);
            }
            Effect::Pause { origin } => {
                around.trace.event(now_ns, "pause", &[own, origin.connection.0]);
                sometimes!(around.marks, "a publisher is paused", true);
                self.tell_or_forward(origin, Item::Pause(origin.connection), around);
            }
            Effect::Resume { origin } => {
                around.trace.event(now_ns, "resume", &[own, origin.connection.0]);
                self.tell_or_forward(origin, Item::Resume(origin.connection), around);
            }
        }
    }

    fn tell_or_forward(&mut self, origin: Origin, item: Item, around: &mut Surroundings<'_>) {
        if usize::from(origin.shard.0) == self.id {
            self.take_item(item, around);
        } else {
            self.batches[usize::from(origin.shard.0)].push(item);
        }
    }

    fn take_message(&mut self, message: Message, around: &mut Surroundings<'_>) {
        match message {
            Message::Batch(items) => {
                for item in items {
                    self.take_item(item, around);
                }
            }
            Message::HandOver { wire, bytes, earlier, carried } => {
                sometimes!(around.marks, "a connection is handed over", true);
                let mut connection = Connection::new(wire, bytes, earlier);
                connection.session = Session::carried(carried);
                self.admit(connection, around);
            }
        }
    }

    fn take_item(&mut self, item: Item, around: &mut Surroundings<'_>) {
        match item {
            Item::Forward(origin, tenant, forwarded) => {
                let command = forwarded.command();
                around.ledger.command(around.now, &origin, &command);
                around.trace.remark(|| format!("from shard {}: {command:?}", origin.shard.0));
                self.input(Input::Command { origin, tenant, command }, around);
            }
            Item::Answer(origin, told) => self.answer(origin, &told, around),
            Item::Charge(origin, charge) => self.charge_for_peer(origin, charge, around),
            Item::Charged(origin, charge, outcome) => self.take_charged(origin, &charge, outcome, around),
            Item::Errand(errand) => self.gate.limiter.run_errand(around.now, &errand),
            Item::Pause(id) => {
                if let Some(connection) = self.connections.find(id) {
                    connection.paused = true;
                }
            }
            Item::Resume(id) => {
                if let Some(connection) = self.connections.find(id) {
                    connection.paused = false;
                }
            }
        }
    }

    pub(super) fn answer(&mut self, origin: Origin, told: &Told, around: &mut Surroundings<'_>) {
        let Some(connection) = self.connections.find(origin.connection) else { return };
        connection.session.answer(origin.token, &told.answer(), &mut context!(self, connection, around.now));
        connection.waiting = false;
        let is_over = connection.session.is_closing() || (connection.read_closed && !connection.session.owes_answer());
        if is_over {
            self.begin_close(origin.connection, around);
        }
    }

    pub(super) fn admit(&mut self, mut connection: Connection, around: &mut Surroundings<'_>) {
        connection.resumed = !connection.rest.is_empty();
        let is_too_many = self.connections.count() >= self.connections_max;
        let id = self.connections.insert(connection);
        around.trace.event(around.now.mono_ns, "admit", &[self.id as u64, id.0]);
        if is_too_many {
            self.begin_close(id, around);
        }
    }

    /// Something waits for room in a link: reading more would only make it grow.
    pub(super) fn is_mesh_full(&self) -> bool {
        self.overflow.iter().any(|overflow| !overflow.is_empty())
    }

    /// The connections' wires, for faults to choose from.
    pub fn wires(&self) -> impl Iterator<Item = WireId> {
        self.connections.iter().map(|(_, connection)| connection.wire)
    }
}

/// What one host may hold.
#[derive(Debug, Clone, Copy)]
pub struct HostBounds {
    /// Connections. More are closed.
    pub connections_max: usize,
    /// Bytes of one outbox past which its connection is read no more.
    pub outbox_bytes_max: usize,
    /// Bytes of one read.
    pub read_bytes_max: usize,
}
