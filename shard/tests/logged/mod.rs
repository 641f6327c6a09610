//! A shard with a log on a disk in memory. A test that takes it takes `common` and `log_support` too.
#![allow(dead_code, unreachable_pub, reason = "each test file is a crate of its own and uses its own part of it")]

use crate::common::{Bench, MS, Outcome};
use crate::log_support::{Asked, IDENTITY, MemoryDisk};
use conduit_protocol::streams::Durability;
use conduit_protocol::{Now, ShardId};
use conduit_shard::log::{DiskError, DiskOutcome, LogLimits, perform};
use conduit_shard::{Input, Limits, RecoverPlan, Shard};

/// The shard, and the disk that does what it asks when the test says so.
pub struct Logged {
    pub bench: Bench,
    pub disk: MemoryDisk,
    settings: (Limits, LogLimits, Durability),
}

impl Logged {
    /// On an empty disk; every stream waits for its commit.
    pub fn new(limits: Limits, log_limits: &LogLimits) -> Self {
        Self::with(limits, log_limits, Durability::Commit)
    }

    /// On an empty disk, with streams of this durability.
    pub fn with(limits: Limits, log_limits: &LogLimits, durability: Durability) -> Self {
        let now = Now { mono_ns: 77 * MS, unix_ms: 1_700_000_000_000 };
        Self::on(MemoryDisk::default(), now, (limits, log_limits.clone(), durability))
    }

    /// On a disk that may have a log.
    pub fn on(mut disk: MemoryDisk, now: Now, settings: (Limits, LogLimits, Durability)) -> Self {
        let (limits, log_limits, durability) = settings.clone();
        let plan = RecoverPlan {
            id: ShardId(0),
            shards: 1,
            limits,
            seed: 42,
            log_limits,
            fresh: IDENTITY,
            durability_of: Box::new(move |_| durability),
        };
        let (shard, recovered) = Shard::recover(now, plan, &mut disk, &mut |_, _| {}).expect("the disk is well");
        assert_eq!(recovered.damaged, 0);
        let mut logged = Self { bench: Bench::on(shard, now), disk, settings };
        logged.work();
        logged
    }

    /// The process is killed, and started again a moment later. Everything that the disk was given is there.
    pub fn restart(self) -> Self {
        Self::on(self.disk, self.bench.now.plus_ns(MS), self.settings)
    }

    /// It ends as it should, and is started again.
    pub fn stop_and_start(mut self) -> Self {
        self.bench.shard.close_log(self.bench.now);
        self.work();
        self.restart()
    }

    /// Lets time pass, up to `ms` from now: whatever is due is done, on the disk too.
    pub fn run_ms(&mut self, ms: u64) -> Outcome {
        let end = self.bench.now.plus_ns(ms * MS);
        let mut outcome = self.work();
        let mut calls = 0;
        while let Some(deadline) = self.bench.shard.next_deadline().filter(|deadline| *deadline <= end.mono_ns) {
            self.bench.now = self.bench.now.plus_ns(deadline.saturating_sub(self.bench.now.mono_ns));
            outcome.merge(self.bench.input(Input::Deadline));
            outcome.merge(self.work());
            calls += 1;
            assert!(calls < 1_000_000, "deadlines that stay due");
        }
        self.bench.now = end;
        outcome
    }

    /// The next request to the disk, which is not carried out.
    pub fn ask(&mut self) -> Option<Asked> {
        self.bench.shard.poll_disk(self.bench.now).map(|request| Asked::of(&request))
    }

    /// Carries a request out.
    pub fn carry_out(&mut self, asked: &Asked) -> Outcome {
        let mut buffer = Vec::new();
        let (ticket, result) = asked.with(|request| perform(&mut self.disk, request, &mut buffer));
        let outcome = result.unwrap_or_else(|error| DiskOutcome::Failed(error.error));
        self.bench.input(Input::Disk { ticket, outcome })
    }

    /// Says that a request failed.
    pub fn fail(&mut self, asked: &Asked, error: DiskError) -> Outcome {
        self.bench.input(Input::Disk { ticket: asked.ticket(), outcome: DiskOutcome::Failed(error) })
    }

    /// Carries out whatever is asked, until nothing more is. No time passes.
    pub fn work(&mut self) -> Outcome {
        let mut outcome = Outcome::default();
        while let Some(asked) = self.ask() {
            outcome.merge(self.carry_out(&asked));
        }
        outcome
    }
}
