//! The server as one process after the other: each start recovers from what the disks hold, and each end, orderly or not,
//! leaves them to the next.

use super::drive::Drive;
use super::host::Host;
use super::ledger::Ledger;
use super::marks::Marks;
use super::mesh::Mesh;
use super::network::Network;
use super::oracle::Oracle;
use super::plan::Plan;
use super::pump::Pump;
use super::random::Random;
use super::recovery_disk::{RecoveryDisk, Steps};
use super::sometimes;
use super::trace::Trace;
use crate::log::{LogIdentity, LogLimits, SPARE_SEGMENTS, Storage};
use crate::{DurabilityOf, Limits, MovePlan, RecoverPlan, Recovered, Shard, move_streams};
use conduit_protocol::streams::Durability;
use conduit_protocol::time::NS_PER_MS;
use conduit_protocol::{Now, Policy, ShardId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How long a server that ended stays away, at most.
const DOWN_NS_MAX: u64 = 500 * NS_PER_MS;
/// How long a server that is told to end waits for its connections.
const DRAIN_NS: u64 = 1_000 * NS_PER_MS;
/// How long it waits for its disks after that.
const LAST_COMMIT_NS: u64 = 10_000 * NS_PER_MS;
/// What all logs of a run are.
const LOG_ID: [u8; 16] = *b"the simulation's";

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was told to, and has done what there was to do.
    Orderly,
    /// It is killed.
    Kill,
    /// The power goes.
    PowerCut,
}

/// What a server is lent.
#[derive(Debug)]
pub struct Grounds<'a> {
    /// The time.
    pub now: Now,
    /// What was decided before.
    pub plan: &'a Plan,
    /// The connections' bytes.
    pub network: &'a mut Network,
    /// What clients were told.
    pub oracle: &'a mut Oracle,
    /// What the core's effects are held against.
    pub ledger: &'a mut Ledger,
    /// Rare states.
    pub marks: &'a mut Marks,
    /// What happened.
    pub trace: &'a mut Trace,
    /// Chance.
    pub random: &'a mut Random,
}

/// The server, up or down.
#[derive(Debug)]
pub struct Server {
    /// Its shards; none while it is down.
    pub hosts: Vec<Host>,
    /// What they send each other.
    pub mesh: Mesh,
    /// One for each shard of the data directory; none when nothing is kept.
    pub drives: Vec<Drive>,
    /// The bounds of every log.
    pub log_limits: LogLimits,
    limits: Limits,
    /// When a server that is down starts again.
    start_ns: Option<u64>,
    /// It was told to end: when it gives up on what it still waits for.
    end_by_ns: Option<u64>,
    /// Rises with every start and every end.
    life: u64,
    starts: u64,
    /// Nothing goes wrong any more.
    is_calm: bool,
    policy: Arc<Policy>,
}

impl Server {
    /// A server that was never started.
    #[must_use]
    pub fn new(plan: &Plan, random: &mut Random) -> Self {
        let disks = if plan.is_durable { plan.shards } else { 0 };
        let drive = |_| Drive::new(plan.room_bytes, plan.drive.clone(), random.fork());
        Self {
            hosts: Vec::new(),
            mesh: Mesh::new(0, 0, 0, Random::new(0)),
            drives: (0..disks).map(drive).collect(),
            log_limits: plan.log_limits.clone(),
            limits: plan.limits.clone(),
            start_ns: None,
            end_by_ns: None,
            life: 0,
            starts: 0,
            is_calm: false,
            policy: plan.quotas.as_ref().map_or_else(Arc::default, |quotas| quotas.policy(false)),
        }
    }

    /// Rises with every start and every end.
    #[must_use]
    pub const fn life(&self) -> u64 {
        self.life
    }

    /// Starts so far.
    #[must_use]
    pub const fn starts(&self) -> u64 {
        self.starts
    }

    /// Shards that listen.
    #[must_use]
    pub fn listening(&self) -> usize {
        if self.end_by_ns.is_some() { 0 } else { self.hosts.len() }
    }

    /// A commit is under way on some disk.
    #[must_use]
    pub fn is_committing(&self) -> bool {
        self.drives.iter().any(Drive::is_committing)
    }

    /// When it wants [`Self::act`], besides what its shards do.
    #[must_use]
    pub fn next_ns(&self) -> Option<u64> {
        let end_ns = self.end_by_ns.map(|end_by_ns| match (self.is_stopping(), self.is_drained(), self.may_end()) {
            (false, true, _) | (true, _, true) => 0,
            (false, false, _) => end_by_ns - LAST_COMMIT_NS,
            (true, _, false) => end_by_ns,
        });
        self.start_ns.into_iter().chain(end_ns).min()
    }

    /// Starts when it is time, and goes when it may.
    pub fn act(&mut self, grounds: &mut Grounds<'_>) {
        let now_ns = grounds.now.mono_ns;
        if self.start_ns.is_some_and(|start_ns| start_ns <= now_ns) {
            self.start(grounds);
        }
        let Some(end_by_ns) = self.end_by_ns else { return };
        if !self.is_stopping() && (self.is_drained() || end_by_ns - LAST_COMMIT_NS <= now_ns) {
            self.hosts.iter_mut().for_each(|host| host.begin_stop(grounds.now));
        }
        if self.is_stopping() && (self.may_end() || end_by_ns <= now_ns) {
            self.end(if self.may_end() { End::Orderly } else { End::Kill }, grounds);
        }
    }

    fn is_stopping(&self) -> bool {
        self.hosts.iter().all(Host::is_stopping)
    }

    fn is_drained(&self) -> bool {
        self.hosts.iter().all(|host| host.connections() == 0)
    }

    /// Starts the server: it listens when all shards have recovered.
    pub fn start(&mut self, grounds: &mut Grounds<'_>) {
        self.start_ns = None;
        self.life += 1;
        self.starts += 1;
        grounds.trace.event(grounds.now.mono_ns, "start", &[self.starts]);
        let plan = grounds.plan;
        let shards = if plan.is_durable { self.shards_of_next(grounds) } else { plan.shards };
        let cores = if plan.is_durable { self.recover(shards, grounds) } else { Some(self.fresh(grounds)) };
        let Some(cores) = cores else { return };
        self.mesh = Mesh::new(shards, plan.link_messages_max, plan.link_latency_ns_max, grounds.random.fork());
        for (at, core) in cores.into_iter().enumerate() {
            let pump = self.drives.get(at).map(|drive| Pump::new(&drive.disk, plan.requests_max)).unwrap_or_default();
            let policy = Arc::clone(&self.policy);
            self.hosts.push(Host::new(at, shards, core, plan.wire_limits.clone(), plan.bounds, policy, pump));
        }
    }

    /// Now and then the operator wants another number of shards.
    fn shards_of_next(&self, grounds: &mut Grounds<'_>) -> usize {
        if !self.is_calm && self.starts > 1 && grounds.random.chance(grounds.plan.moves_per_mille) {
            grounds.random.between(1, 4) as usize
        } else {
            self.drives.len()
        }
    }

    fn fresh(&self, grounds: &mut Grounds<'_>) -> Vec<Shard> {
        let shards = grounds.plan.shards;
        let core = |at| Shard::new(ShardId(at as u16), shards as u16, self.limits.clone(), grounds.random.bits());
        (0..shards).map(core).collect()
    }

    /// Every shard's core as its log tells it. `None` when the process does not live to see that.
    fn recover(&mut self, shards: usize, grounds: &mut Grounds<'_>) -> Option<Vec<Shard>> {
        let failures = self.failures();
        let ends = !self.is_calm && grounds.random.chance(grounds.plan.recovery_end_per_mille);
        let steps = Steps::new(ends.then(|| grounds.random.magnitude(1, 100)));
        let recovered = self.try_to_recover(shards, &steps, grounds);
        grounds.trace.event(grounds.now.mono_ns, "recovery", &[steps.taken(), u64::from(recovered.is_ok())]);
        let has_failed = self.failures() > failures;
        sometimes!(grounds.marks, "recovery is ended in the middle", steps.has_ended());
        sometimes!(grounds.marks, "an operation of recovery fails", has_failed);
        match recovered {
            Ok(cores) if !steps.has_ended() => return Some(cores),
            Ok(_) => {}
            Err(_) if steps.has_ended() || has_failed => {}
            Err(error) => grounds.ledger.violation(format!("a log is refused that nothing is wrong with: {error}")),
        }
        let end = if steps.has_ended() && grounds.random.chance(500) { End::PowerCut } else { End::Kill };
        self.end(end, grounds);
        None
    }

    fn failures(&self) -> u64 {
        self.drives.iter().map(Drive::failures).sum()
    }

    fn try_to_recover(
        &mut self,
        shards: usize,
        steps: &Steps,
        grounds: &mut Grounds<'_>,
    ) -> Result<Vec<Shard>, String> {
        if shards != self.drives.len() {
            self.move_to(shards, steps, grounds)?;
        }
        let mut cores = Vec::new();
        for (at, drive) in self.drives.iter_mut().enumerate() {
            let plan = RecoverPlan {
                id: ShardId(at as u16),
                shards: shards as u16,
                limits: self.limits.clone(),
                seed: grounds.random.bits(),
                log_limits: self.log_limits.clone(),
                fresh: LogIdentity { log_id: LOG_ID, salt: grounds.random.bits() },
                durability_of: durability_of(grounds.plan),
            };
            let mut storage = RecoveryDisk::new(drive, grounds.random.fork(), steps);
            let recovered = Shard::recover(grounds.now, plan, &mut storage, &mut |_, _| ());
            let (core, recovered) = recovered.map_err(|error| format!("shard {at}: {error}"))?;
            if !steps.has_ended() {
                look_at(at, &recovered, grounds);
            }
            cores.push(core);
        }
        Ok(cores)
    }

    /// Moves all streams to another number of shards. The directory changes hands at once, when all is done.
    fn move_to(&mut self, shards: usize, steps: &Steps, grounds: &mut Grounds<'_>) -> Result<(), String> {
        let plan = grounds.plan;
        let random = &mut *grounds.random;
        let room_bytes = plan.room_bytes;
        let mut next: Vec<Drive> =
            (0..shards).map(|_| Drive::new(room_bytes, plan.drive.clone(), random.fork())).collect();
        let mut old: Vec<Box<dyn Storage + '_>> = Vec::new();
        for drive in &mut self.drives {
            old.push(Box::new(RecoveryDisk::new(drive, random.fork(), steps)));
        }
        let mut new: Vec<Box<dyn Storage + '_>> = Vec::new();
        for drive in &mut next {
            new.push(Box::new(RecoveryDisk::new(drive, random.fork(), steps)));
        }
        let mut salts = random.fork();
        let mut move_plan = MovePlan {
            limits: self.limits.clone(),
            log_limits: self.log_limits.clone(),
            fresh: &mut || LogIdentity { log_id: LOG_ID, salt: salts.bits() },
            durability_of: &|| durability_of(plan),
        };
        let moved = move_streams(grounds.now, &mut old, &mut new, &mut move_plan, &mut |_, _| ());
        drop((old, new));
        sometimes!(grounds.marks, "moving streams is ended in the middle", steps.has_ended());
        moved.map_err(|error| format!("moving to {shards} shards: {error}"))?;
        if !steps.has_ended() {
            sometimes!(grounds.marks, "streams move to another number of shards", true);
            grounds.trace.event(grounds.now.mono_ns, "moved", &[shards as u64]);
            self.drives = next;
        }
        Ok(())
    }

    /// Tells the server to end as it should: no new work, last answers, last commit.
    pub fn begin_end(&mut self, grounds: &mut Grounds<'_>) {
        if self.hosts.is_empty() || self.end_by_ns.is_some() {
            return;
        }
        grounds.trace.event(grounds.now.mono_ns, "told to end", &[]);
        self.end_by_ns = Some(grounds.now.mono_ns + DRAIN_NS + LAST_COMMIT_NS);
        self.hosts.iter_mut().for_each(Host::drain);
    }

    fn may_end(&self) -> bool {
        self.hosts.iter().enumerate().all(|(at, host)| host.may_stop(self.drives.get(at)))
    }

    /// The process is gone.
    pub fn end(&mut self, end: End, grounds: &mut Grounds<'_>) {
        let now_ns = grounds.now.mono_ns;
        if self.start_ns.is_some() {
            // It is down already: a power cut takes what the one before left unsynced.
            if end == End::PowerCut {
                self.drives.iter_mut().for_each(Drive::cut_power);
                sometimes!(grounds.marks, "the power goes after a kill", grounds.plan.is_durable);
            }
            return;
        }
        grounds.trace.event(now_ns, "end", &[end as u64]);
        let are_acks_kept = end == End::Orderly && !self.hosts.iter().any(|host| host.pump.was_full());
        let are_acks_kept = are_acks_kept && !self.hosts.iter().any(|host| host.shard.has_log_failed());
        sometimes!(grounds.marks, "the server ends as it should", end == End::Orderly && grounds.plan.is_durable);
        self.hosts.clear();
        self.end_by_ns = None;
        self.life += 1;
        for drive in &mut self.drives {
            match end {
                End::Orderly | End::Kill => drive.kill(),
                End::PowerCut => drive.cut_power(),
            }
        }
        grounds.network.server_gone(now_ns);
        grounds.oracle.crashed();
        let is_kept = |stream: &str| are_acks_kept && durability_of(grounds.plan)(stream) == Durability::Commit;
        grounds.ledger.restart(is_kept);
        self.start_ns = Some(now_ns + grounds.random.magnitude(1, DOWN_NS_MAX));
    }

    /// Nothing goes wrong any more: disks work and have room, and whoever lost trust in his disk is started again.
    pub fn become_calm(&mut self, grounds: &mut Grounds<'_>) {
        self.is_calm = true;
        if let Some(quotas) = &grounds.plan.quotas {
            self.policy = quotas.policy(true);
            self.hosts.iter_mut().for_each(|host| host.reload(Arc::clone(&self.policy)));
        }
        for drive in &mut self.drives {
            drive.mend();
            drive.disk.set_room(u64::MAX);
            drive.habits.slow_per_mille = 0;
        }
        // Whoever is killed again and again, with a log that is full, needs a higher bound in the end.
        let LogLimits { log_bytes_max, segment_bytes, .. } = self.log_limits;
        let spare_bytes = (SPARE_SEGMENTS - 1) * segment_bytes;
        let is_cornered = |drive: &Drive| log_bytes_max > 0 && drive.disk.used_bytes() > log_bytes_max + spare_bytes;
        let is_cornered = self.drives.iter().any(is_cornered);
        if is_cornered {
            self.log_limits.log_bytes_max = 0;
        }
        let needs_restart =
            is_cornered || self.hosts.iter().any(|host| host.shard.has_log_failed() || host.pump.was_unreadable());
        if needs_restart && !self.hosts.is_empty() {
            self.end(End::Kill, grounds);
        }
    }
}

/// Holds what recovery says against what may have happened to the disk.
fn look_at(at: usize, recovered: &Recovered, grounds: &mut Grounds<'_>) {
    sometimes!(grounds.marks, "a torn end is left behind", recovered.torn_bytes > 0);
    sometimes!(grounds.marks, "seqs that were reserved are given up", recovered.lost_seqs > 0);
    if recovered.damaged > 0 {
        grounds.ledger.violation(format!("recovery of shard {at} tells of damage where there is none: {recovered:?}"));
    }
    let are_all_durable = grounds.plan.streams.iter().all(|stream| stream.durability == Durability::Commit);
    if are_all_durable && recovered.lost_seqs > 0 {
        grounds.ledger.violation(format!("recovery of shard {at} misses seqs that were durable: {recovered:?}"));
    }
}

/// What the configuration says of each stream.
fn durability_of(plan: &Plan) -> DurabilityOf {
    let streams: BTreeMap<String, Durability> =
        plan.streams.iter().map(|stream| (stream.name.clone(), stream.durability)).collect();
    Box::new(move |name| streams.get(name).copied().unwrap_or(Durability::Commit))
}
