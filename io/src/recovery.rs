//! Recovery at the start: streams move to the configured number of shards if they have to, and every shard reads its log
//! before it accepts a connection.

use crate::clock::Clock;
use crate::data::{Data, LogFolder};
use crate::disk::layout::Layout;
use crate::disk::{Disk, Files};
use crate::error::ServeError;
use crate::readiness::Readiness;
use conduit_config::Config;
use conduit_protocol::{Now, ShardId};
use conduit_shard::log::{LogIdentity, LogLimits, Storage};
use conduit_shard::{DurabilityOf, Limits, MovePlan, RecoverPlan, Recovered, Shard, move_streams};
use std::path::Path;
use std::time::{Duration, Instant};

/// Work of less time than this is done without a word.
const QUIET: Duration = Duration::from_millis(500);

/// What one shard's core begins with.
pub(crate) struct Beginning {
    pub(crate) id: ShardId,
    pub(crate) shards: u16,
    pub(crate) limits: Limits,
    pub(crate) seed: u64,
    /// Its log, if it keeps one.
    pub(crate) log: Option<(LogFolder, LogLimits, DurabilityOf)>,
}

impl Beginning {
    /// The core, with whatever its log holds, and the disk that it goes on with. Called on the shard's own thread.
    pub(crate) fn core(self, now: Now, readiness: &Readiness) -> Result<(Shard, Option<Disk>), ServeError> {
        let Self { id, shards, limits, seed, log } = self;
        let Some((folder, log_limits, durability_of)) = log else {
            return Ok((Shard::new(id, shards, limits, seed), None));
        };
        let LogFolder { path, fresh } = folder;
        let unusable = |error| ServeError::Log { path: path.clone(), error };
        let mut files = Files::open(&path).map_err(unusable)?;
        let plan = RecoverPlan { id, shards, limits, seed, log_limits, fresh, durability_of };
        let begun = Instant::now();
        let mut progress = Progress::new(format!("shard {}: reading its log", id.0));
        let (shard, recovered) = Shard::recover(now, plan, &mut files, &mut |done, total| progress.tell(done, total))
            .map_err(|error| ServeError::Recovery { path: path.clone(), error })?;
        tell_recovered(id, &recovered, begun.elapsed());
        let disk = Disk::open(&path, id.0, readiness).map_err(unusable)?;
        Ok((shard, Some(disk)))
    }
}

fn tell_recovered(id: ShardId, recovered: &Recovered, took: Duration) {
    let Recovered { streams, messages, records, bytes, torn_bytes, damaged, lost_seqs } = *recovered;
    let shard = id.0;
    tracing::info!(shard, streams, messages, records, bytes, torn_bytes, ?took, "the log was read");
    if damaged > 0 || lost_seqs > 0 {
        tracing::warn!(
            shard,
            damaged,
            lost_seqs,
            "the log has gaps: consumers are told of the messages that are missing; `conduit log verify` says where"
        );
    }
}

/// Moves all streams to the configured number of shards, if they are divided into another.
pub(crate) fn move_if_needed(config: &Config, data: &mut Data, zero: Instant) -> Result<(), ServeError> {
    let (from, to) = (data.shards(), config.shards);
    if from == to {
        return Ok(());
    }
    tracing::info!(from, to, "the data was written by another number of shards: moving streams to their new owners");
    data.directory.begin_move(to)?;
    let open = |path: &Path| Files::open(path).map_err(|error| ServeError::Log { path: path.to_owned(), error });
    let mut old = Vec::new();
    for shard in 0..from {
        old.push(Box::new(open(&data.directory.shard(shard))?) as Box<dyn Storage>);
    }
    let mut new = Vec::new();
    for shard in 0..to {
        new.push(Box::new(open(&data.directory.next(shard))?) as Box<dyn Storage>);
    }
    let mut identities = Vec::new();
    for _ in 0..2 * (usize::from(from) + usize::from(to)) + 2 {
        identities.push(data.fresh()?);
    }
    let mut identities = identities.into_iter().cycle();
    let mut fresh = move || identities.next().unwrap_or(LogIdentity { log_id: [0; 16], salt: 0 });
    let durability_of = || rules_of(config);
    let mut plan = MovePlan {
        limits: config.shard.clone(),
        log_limits: config.log.clone(),
        fresh: &mut fresh,
        durability_of: &durability_of,
    };
    let mut progress = Progress::new("moving streams".to_owned());
    let now = Clock::new(zero).now();
    let moved = move_streams(now, &mut old, &mut new, &mut plan, &mut |done, total| progress.tell(done, total))
        .map_err(ServeError::Move)?;
    drop((old, new));
    let layout = Layout { shards: to, ..data.layout };
    let kept = data.directory.finish_move(layout, moved.damaged > 0)?;
    data.layout = layout;
    tracing::info!(streams = moved.streams, messages = moved.messages, from, to, "streams are with their new owners");
    if moved.damaged > 0 || moved.lost_seqs > 0 {
        let (damaged, lost_seqs) = (moved.damaged, moved.lost_seqs);
        tracing::warn!(
            damaged,
            lost_seqs,
            "the old logs had gaps: what could be read was moved, and consumers are told of the messages that are missing"
        );
    }
    if let Some(kept) = kept {
        tracing::warn!(
            path = %kept.display(),
            "the old files could not be read fully, and are kept: `conduit log verify` says where; remove them when they are \
             needed no more"
        );
    }
    Ok(())
}

/// The configured durabilities, as a shard asks for them.
pub(crate) fn rules_of(config: &Config) -> DurabilityOf {
    let rules = config.durability.clone();
    Box::new(move |name| rules.of(name))
}

/// Says now and then how far something is.
struct Progress {
    what: String,
    told: Instant,
}

impl Progress {
    fn new(what: String) -> Self {
        Self { what, told: Instant::now() }
    }

    fn tell(&mut self, done: u64, total: u64) {
        if self.told.elapsed() < QUIET {
            return;
        }
        self.told = Instant::now();
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
        tracing::info!(done_bytes = done, total_bytes = total, "{}: {percent} %", self.what);
    }
}
