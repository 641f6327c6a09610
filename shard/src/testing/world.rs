//! The run of one seed: a server, its disks, its network and its clients, moved by one clock that nobody waits for.
//!
//! A run has three parts. In the first, things go wrong as the plan says. In the second nothing goes wrong any more, and
//! everything that is owed must be delivered before a deadline. In the third nobody has anything to do, and nothing may
//! happen that should not.

use super::client::{Around, Client};
use super::consumer::Consumer;
use super::host::Surroundings;
use super::ledger::Ledger;
use super::marks::Marks;
use super::network::Network;
use super::oracle::Oracle;
use super::plan::{Fault, Plan};
use super::producer::Producer;
use super::random::Random;
use super::server::{End, Grounds, Server};
use super::sometimes;
use super::tolls::Tolls;
use super::trace::Trace;
use super::{Options, Outcome};
use crate::Planted;
use conduit_protocol::Now;
use conduit_protocol::time::NS_PER_MS;

/// Where the clocks begin.
const START: Now = Now { mono_ns: 1_000 * NS_PER_MS, unix_ms: 1_700_000_000_000 };
/// How long everything owed may take once nothing goes wrong any more, in virtual nanoseconds.
const CALM_NS: u64 = 240_000 * NS_PER_MS;
/// How long nothing may happen at the end, in virtual nanoseconds.
const QUIET_NS: u64 = 8_000 * NS_PER_MS;
/// How long an end waits for a commit, in virtual nanoseconds.
const AIM_NS: u64 = 200 * NS_PER_MS;
/// Steps of one run: more means that something happens over and over without time passing.
const STEPS_MAX: u64 = 2_000_000;

/// Lends the server its surroundings; a macro because the borrows must stay disjoint fields.
macro_rules! grounds {
    ($world:ident) => {{
        let grounds = Grounds {
            now: $world.now,
            plan: &$world.plan,
            network: &mut $world.network,
            oracle: &mut $world.oracle,
            ledger: &mut $world.ledger,
            marks: &mut $world.marks,
            trace: &mut $world.trace,
            random: &mut $world.random,
        };
        (&mut $world.server, grounds)
    }};
}

/// One run.
#[derive(Debug)]
pub struct World {
    plan: Plan,
    random: Random,
    now: Now,
    server: Server,
    network: Network,
    clients: Vec<Client>,
    oracle: Oracle,
    ledger: Ledger,
    marks: Marks,
    trace: Trace,
    steps: u64,
    next_fault: usize,
    /// An end that waits until it meets a commit under way, and how long it does.
    aimed: Option<(End, u64)>,
    violations: Vec<String>,
}

impl World {
    /// The run of a seed, before its first step.
    #[must_use]
    pub fn new(seed: u64, options: &Options) -> Self {
        let mut random = Random::new(seed);
        let mut plan = Plan::new(&mut random.fork());
        plan.limits.planted = Planted::new(options.mutant);
        plan.log_limits.planted = plan.limits.planted;
        let producers = plan.producers.iter().cloned().enumerate();
        let producers = producers.map(|(number, plan)| Client::Producer(Producer::new(number, plan)));
        let consumers = plan.consumers.iter().cloned().map(|plan| Client::Consumer(Consumer::new(plan)));
        let mut clients: Vec<Client> = producers.chain(consumers).collect();
        let mut ledger = Ledger::new(plan.limits.clone(), plan.unordered());
        if let Some(quotas) = &plan.quotas {
            clients.iter_mut().for_each(|client| client.show(&quotas.token()));
            ledger.tolls = Tolls::new(quotas.slack_ns());
        }
        let network = Network::new(plan.network.clone(), random.fork());
        let mut world = Self {
            server: Server::new(&plan, &mut random),
            oracle: Oracle::new(plan.streams.clone(), plan.repeat_ns),
            ledger,
            marks: Marks::default(),
            trace: Trace::new(options.is_traced),
            now: START,
            network,
            clients,
            steps: 0,
            next_fault: 0,
            aimed: None,
            violations: Vec::new(),
            random,
            plan,
        };
        let (server, mut grounds) = grounds!(world);
        server.start(&mut grounds);
        world
    }

    /// Runs it to its end.
    #[must_use]
    pub fn run(mut self, seed: u64) -> Outcome {
        let faults_end_ns = START.mono_ns + self.plan.faults_end_ns;
        self.run_until(faults_end_ns, |_| false);
        self.become_calm();
        let deadline_ns = self.now.mono_ns + CALM_NS;
        self.run_until(deadline_ns, Self::is_settled);
        if self.violations.is_empty() && !self.is_settled() && !self.is_excused() {
            self.violations.push("no progress, although nothing goes wrong any more".to_owned());
            self.tell_what_is_missing();
        }
        let quiet_ns = self.now.mono_ns + QUIET_NS;
        self.run_until(quiet_ns, |_| false);
        self.compare_slots();
        Outcome {
            seed,
            hash: self.trace.hash(),
            steps: self.steps,
            virtual_ms: (self.now.mono_ns - START.mono_ns) / NS_PER_MS,
            published: self.oracle.accepted_total(),
            delivered: self.oracle.delivered_total(),
            starts: self.server.starts(),
            marks: self.marks,
            violations: self.violations,
            trace: self.trace.into_lines(),
        }
    }

    /// Steps until a time, or until there is no more need.
    fn run_until(&mut self, end_ns: u64, is_enough: impl Fn(&Self) -> bool) {
        while self.violations.is_empty() && !is_enough(self) {
            let next_ns = self.next_ns().filter(|next_ns| *next_ns <= end_ns);
            self.move_clock(next_ns.unwrap_or(end_ns));
            if next_ns.is_none() {
                return;
            }
            self.steps += 1;
            if self.steps > STEPS_MAX {
                self.violations.push(format!("{STEPS_MAX} steps and no end"));
                self.tell_what_is_missing();
                return;
            }
            self.step();
            self.collect_violations();
        }
    }

    fn move_clock(&mut self, to_ns: u64) {
        let passed_ns = to_ns.saturating_sub(self.now.mono_ns);
        // Milliseconds of the other clock pass at the same borders, whatever it says.
        let passed_ms = (self.now.mono_ns % NS_PER_MS + passed_ns) / NS_PER_MS;
        self.now.mono_ns += passed_ns;
        self.now.unix_ms += passed_ms;
    }

    /// When something happens next.
    fn next_ns(&mut self) -> Option<u64> {
        let now_ns = self.now.mono_ns;
        let fault_ns = self.plan.faults.get(self.next_fault).map(|(at_ns, _)| START.mono_ns + at_ns);
        let aimed_ns = self.aimed.map(|(_, by_ns)| by_ns);
        let mut next_ns = [fault_ns, aimed_ns, self.server.next_ns()].into_iter().flatten().min();
        let mut consider = |other: Option<u64>| {
            next_ns = match (next_ns, other) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        };
        let Server { hosts, mesh, drives, .. } = &self.server;
        for (at, host) in hosts.iter().enumerate() {
            consider(host.next_ns(now_ns, &mut self.network, mesh, drives.get(at)));
        }
        for client in &self.clients {
            consider(client.next_ns(now_ns, &mut self.network));
        }
        next_ns.map(|next_ns| next_ns.max(now_ns))
    }

    /// Lets everybody act whose time has come, in an order that chance decides.
    fn step(&mut self) {
        let now_ns = self.now.mono_ns;
        while let Some((at_ns, fault)) = self.plan.faults.get(self.next_fault)
            && START.mono_ns + at_ns <= now_ns
        {
            let fault = fault.clone();
            self.next_fault += 1;
            self.strike(&fault);
        }
        if let Some((end, by_ns)) = self.aimed
            && (by_ns <= now_ns || self.server.is_committing())
        {
            self.aimed = None;
            self.end(end);
        }
        if self.server.next_ns().is_some_and(|next_ns| next_ns <= now_ns) {
            let (server, mut grounds) = grounds!(self);
            server.act(&mut grounds);
        }
        let is_due = |next_ns: Option<u64>| next_ns.is_some_and(|next_ns| next_ns <= now_ns);
        let mut actors = Vec::new();
        let Server { hosts, mesh, drives, .. } = &self.server;
        for (at, host) in hosts.iter().enumerate() {
            if is_due(host.next_ns(now_ns, &mut self.network, mesh, drives.get(at))) {
                actors.push(Actor::Host(at));
            }
        }
        for (at, client) in self.clients.iter().enumerate() {
            if is_due(client.next_ns(now_ns, &mut self.network)) {
                actors.push(Actor::Client(at));
            }
        }
        while !actors.is_empty() {
            let at = self.random.below(actors.len() as u64) as usize;
            match actors.swap_remove(at) {
                Actor::Host(at) => self.run_host(at),
                Actor::Client(at) => self.run_client(at),
            }
        }
    }

    fn run_host(&mut self, at: usize) {
        let Server { hosts, mesh, drives, .. } = &mut self.server;
        let Some(host) = hosts.get_mut(at) else { return };
        let mut around = Surroundings {
            now: self.now,
            network: &mut self.network,
            mesh,
            drive: drives.get_mut(at),
            ledger: &mut self.ledger,
            marks: &mut self.marks,
            trace: &mut self.trace,
            random: &mut self.random,
        };
        host.round(&mut around);
        for written in self.ledger.take_written() {
            let client = self.network.wire(written.wire).client;
            self.oracle.written(client, written);
        }
    }

    /// Nothing happens any more: the homes of accounts know of as many slots as sessions hold.
    fn compare_slots(&mut self) {
        if !self.violations.is_empty() || self.server.hosts.is_empty() {
            return;
        }
        for (subject, category) in self.ledger.tolls.accounts() {
            let hosts = self.server.hosts.iter();
            let taken: u32 = hosts.map(|host| host.gate.limiter.slots_taken(subject, category)).sum();
            let held = self.ledger.tolls.held((subject, category));
            if taken != held {
                self.violations.push(format!("{held} slots of {subject:?} are held, and {taken} are taken"));
            }
        }
    }

    fn run_client(&mut self, at: usize) {
        self.trace.event(self.now.mono_ns, "client", &[at as u64]);
        self.clients[at].act(&mut Around {
            now_ns: self.now.mono_ns,
            client: at,
            shards: self.server.listening(),
            life: self.server.life(),
            network: &mut self.network,
            oracle: &mut self.oracle,
            marks: &mut self.marks,
            random: &mut self.random,
        });
    }

    fn strike(&mut self, fault: &Fault) {
        let now_ns = self.now.mono_ns;
        self.trace.event(now_ns, "fault", &[self.next_fault as u64]);
        self.trace.remark(|| format!("{fault:?}"));
        match fault {
            Fault::Kill => self.end_soon(End::Kill),
            Fault::PowerCut => self.end_soon(End::PowerCut),
            Fault::Restart => {
                let (server, mut grounds) = grounds!(self);
                server.begin_end(&mut grounds);
            }
            Fault::Cut => {
                let at = self.random.below(self.clients.len() as u64) as usize;
                let is_cut = self.clients[at].cut(now_ns, &mut self.network);
                sometimes!(self.marks, "a connection breaks", is_cut);
            }
            Fault::Pause { shard, ns } => {
                if let Some(host) = self.server.hosts.get_mut(*shard) {
                    host.pause_until(now_ns + ns);
                }
            }
            Fault::ClockJump { ms } => self.now.unix_ms = self.now.unix_ms.saturating_add_signed(*ms),
            Fault::DiskError { shard, skipped, count, reads } => {
                if *reads {
                    self.oracle.reads_may_fail();
                }
                if let Some(drive) = self.server.drives.get_mut(*shard) {
                    drive.fail_after(*skipped, *count, *reads);
                }
            }
            Fault::BadReads { shard, count } => {
                self.oracle.reads_may_fail();
                if let Some(drive) = self.server.drives.get_mut(*shard) {
                    drive.fail_reads(*count);
                }
            }
            Fault::DiskFull { shard, spare_bytes } => {
                if let Some(drive) = self.server.drives.get_mut(*shard) {
                    drive.disk.set_room(drive.disk.used_bytes() + spare_bytes);
                }
            }
            Fault::DiskRoom { shard } => {
                if let Some(drive) = self.server.drives.get_mut(*shard) {
                    drive.disk.set_room(self.plan.room_bytes);
                }
            }
        }
    }

    /// Ends the process now, or in the middle of the next commit.
    fn end_soon(&mut self, end: End) {
        if self.random.chance(500) {
            self.aimed = Some((end, self.now.mono_ns + AIM_NS));
        } else {
            self.end(end);
        }
    }

    fn end(&mut self, end: End) {
        let (server, mut grounds) = grounds!(self);
        server.end(end, &mut grounds);
    }

    /// Nothing goes wrong any more, and everybody does what there is left to do.
    fn become_calm(&mut self) {
        self.trace.event(self.now.mono_ns, "calm", &[]);
        self.next_fault = self.plan.faults.len();
        self.aimed = None;
        let (server, mut grounds) = grounds!(self);
        server.become_calm(&mut grounds);
        for client in &mut self.clients {
            match client {
                Client::Producer(producer) => producer.stop(),
                Client::Consumer(consumer) => consumer.become_diligent(),
            }
        }
    }

    /// Everything published was answered, and everything owed was acked.
    fn is_settled(&self) -> bool {
        self.oracle.is_settled() && self.are_clients_done()
    }

    fn are_clients_done(&self) -> bool {
        let is_done = |client: &Client| match client {
            Client::Producer(producer) => producer.is_done(),
            Client::Consumer(consumer) => consumer.is_ready(),
        };
        self.server.listening() > 0 && self.clients.iter().all(is_done)
    }

    /// A disk failed to read something: a group may have been told so, on a connection that broke, and goes on without it.
    fn is_excused(&self) -> bool {
        self.oracle.may_reads_fail() && self.are_clients_done()
    }

    fn tell_what_is_missing(&mut self) {
        self.violations.extend(self.oracle.owed(5));
        for (at, host) in self.server.hosts.iter_mut().enumerate() {
            for stream in host.shard.snapshot(self.now).streams {
                self.violations.push(format!("shard {at}: {}: {:?}", stream.name, stream.stats));
            }
            let segments: Vec<_> =
                self.server.drives.get(at).map(|drive| drive.disk.installed().collect()).unwrap_or_default();
            if let Some(log) = host.shard.log_snapshot() {
                self.violations.push(format!("shard {at}: {log:?} in {segments:?}"));
            }
        }
        for (at, client) in self.clients.iter().enumerate() {
            match client {
                Client::Producer(producer) if !producer.is_done() => {
                    self.violations.push(format!("client {at} still publishes: {producer:?}"));
                }
                Client::Consumer(consumer) if !consumer.is_ready() => {
                    self.violations.push(format!("client {at} does not get to consume: {consumer:?}"));
                }
                _ => {}
            }
        }
    }

    fn collect_violations(&mut self) {
        let found = self.oracle.take_violations().into_iter().chain(self.ledger.take_violations());
        let at_ms = (self.now.mono_ns - START.mono_ns) as f64 / NS_PER_MS as f64;
        let found: Vec<String> = found.map(|what| format!("at {at_ms:.3} ms: {what}")).collect();
        for what in &found {
            self.trace.remark(|| what.clone());
        }
        self.violations.extend(found);
    }
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy)]
enum Actor {
    Host(usize),
    Client(usize),
}
