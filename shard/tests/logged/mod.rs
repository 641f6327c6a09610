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
}

impl Logged {
    /// On an empty disk; every stream waits for its commit.
    pub fn new(limits: Limits, log_limits: &LogLimits) -> Self {
        let now = Now { mono_ns: 77 * MS, unix_ms: 1_700_000_000_000 };
        let plan = RecoverPlan {
            id: ShardId(0),
            shards: 1,
            limits,
            seed: 42,
            log_limits: log_limits.clone(),
            fresh: IDENTITY,
            durability_of: Box::new(|_| Durability::Commit),
        };
        let mut disk = MemoryDisk::default();
        let (shard, _) = Shard::recover(now, plan, &mut disk, &mut |_, _| {}).expect("the disk is well");
        let mut logged = Self { bench: Bench::on(shard, now), disk };
        logged.work();
        logged
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
