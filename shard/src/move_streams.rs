//! Streams move to other shards when the server starts with another number of them: old logs are read, each stream's
//! records go to the log of its new owner, in the order in which they were written.

use crate::carry::GroupNames;
use crate::journal::DurabilityOf;
use crate::log::{
    Found, GroupNumber, LogIdentity, LogLimits, LogStart, Record, ScanError, ScanPlan, SegmentId, SeqRange, Storage,
    StorageWriter, StreamNumber, StreamRecord, WriteError, encoded_bytes, scan,
};
use crate::recover::{RecoverPlan, Recovered};
use crate::shard::Shard;
use crate::{Limits, shard_of};
use conduit_protocol::{Now, ShardId};
use std::collections::HashMap;

/// Why streams could not be moved. The old logs are as they were.
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// An old log cannot be read.
    #[error("reading the log of shard {}: {error}", shard.0)]
    Read {
        /// Whose.
        shard: ShardId,
        /// Why.
        error: ScanError,
    },
    /// An old log was read twice, and had less in it the second time.
    #[error(
        "the log of shard {} had {missing} messages fewer when it was read again: its disk fails now and then", shard.0
    )]
    Unsteady {
        /// Whose.
        shard: ShardId,
        /// How many of its messages were there only once.
        missing: u64,
    },
    /// A new log cannot be written.
    #[error("writing the log of shard {}: {error}", shard.0)]
    Write {
        /// Whose.
        shard: ShardId,
        /// Why.
        error: WriteError,
    },
}

/// What was moved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moved {
    /// Streams.
    pub streams: u64,
    /// Messages.
    pub messages: u64,
    /// Places in the middle of the old logs that could not be read.
    pub damaged: u64,
    /// Seqs that were found to be missing because of it.
    pub lost_seqs: u64,
}

/// What the move needs to know.
pub struct MovePlan<'p> {
    /// Bounds of a shard.
    pub limits: Limits,
    /// Bounds of the logs.
    pub log_limits: LogLimits,
    /// A fresh identity for each new log.
    pub fresh: &'p mut dyn FnMut() -> LogIdentity,
    /// What accepted messages of a stream survive; one is made for each old log.
    pub durability_of: &'p dyn Fn() -> DurabilityOf,
}

/// One new log that is being written.
struct Target<'s> {
    shard: ShardId,
    writer: StorageWriter<'s>,
    streams: u32,
    groups: u32,
}

/// One stream on its way.
struct Moving {
    /// Its key in the old shard.
    key: u32,
    target: usize,
    record: OwnedStream,
    groups: Vec<GroupNames>,
    named_in: SegmentId,
    /// Written only because a dedup id of theirs is still remembered.
    released: Vec<SeqRange>,
}

/// A [`StreamRecord`] on its own.
struct OwnedStream {
    number: StreamNumber,
    tenant: conduit_protocol::TenantId,
    name: Box<str>,
    epoch: u64,
    next_seq: u64,
    settings: Vec<u8>,
    gaps: Vec<SeqRange>,
}

impl OwnedStream {
    fn record(&self) -> Record<'_> {
        Record::Stream(StreamRecord {
            stream: self.number,
            tenant: self.tenant,
            name: &self.name,
            epoch: self.epoch,
            next_seq: self.next_seq,
            settings: &self.settings,
            gaps: &self.gaps,
        })
    }
}

/// Reads the logs in `old`, one for each shard there was, and writes those in `new`, one for each shard there will be.
/// What is damaged in the old ones is not in the new ones: whoever sees [`Moved::damaged`] keeps the old ones. `progress` gets bytes read, of how many to read in all.
///
/// # Errors
/// When one of them cannot be read or written: then `new` is of no use, and `old` is as it was.
pub fn move_streams(
    now: Now,
    old: &mut [Box<dyn Storage + '_>],
    new: &mut [Box<dyn Storage + '_>],
    plan: &mut MovePlan<'_>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Moved, MoveError> {
    let shards = new.len() as u16;
    let mut targets = Vec::with_capacity(new.len());
    for (index, storage) in new.iter_mut().enumerate() {
        let shard = ShardId(index as u16);
        let start = LogStart::empty(shard, (plan.fresh)());
        let writer = StorageWriter::new(plan.log_limits.clone(), start, storage.as_mut(), now);
        targets.push(Target { shard, writer, streams: 0, groups: 0 });
    }
    let mut moved = Moved::default();
    let old_shards = old.len() as u16;
    let mut bytes_before = 0;
    for (index, storage) in old.iter_mut().enumerate() {
        let id = ShardId(index as u16);
        let read = |error| MoveError::Read { shard: id, error };
        let from = From { now, id, old_shards, storage: storage.as_mut() };
        let mut done = 0;
        let mut step = |bytes, total| {
            done = total;
            progress(bytes_before + bytes, bytes_before + total);
        };
        let (shard, recovered) = from.replay(plan, &mut step).map_err(read)?;
        moved.streams += recovered.streams;
        moved.messages += recovered.messages;
        moved.damaged += recovered.damaged;
        moved.lost_seqs += recovered.lost_seqs;
        let mut moving = depart(&shard, shards, &mut targets);
        from_log(now, id, storage.as_mut(), plan, &shard, &mut moving, &mut targets, &mut step)?;
        bytes_before += done;
    }
    for target in targets {
        let shard = target.shard;
        target.writer.finish().map_err(|error| MoveError::Write { shard, error })?;
    }
    Ok(moved)
}

/// One old log.
struct From<'s> {
    now: Now,
    id: ShardId,
    old_shards: u16,
    storage: &'s mut dyn Storage,
}

impl From<'_> {
    fn replay(
        self,
        plan: &mut MovePlan<'_>,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<(Shard, Recovered), ScanError> {
        let recover = RecoverPlan {
            id: self.id,
            shards: self.old_shards,
            limits: plan.limits.clone(),
            seed: 0,
            log_limits: plan.log_limits.clone(),
            fresh: (plan.fresh)(),
            durability_of: (plan.durability_of)(),
        };
        let (shard, recovered, _, _) = Shard::replay(self.now, &recover, true, self.storage, progress)?;
        Ok((shard, recovered))
    }
}

/// What each stream of an old shard takes along, by its old number.
fn depart(shard: &Shard, shards: u16, targets: &mut [Target<'_>]) -> HashMap<StreamNumber, Moving> {
    let mut moving = HashMap::new();
    for key in 0..shard.streams.slots() as u32 {
        let Some(stream) = shard.streams.at(key) else { continue };
        let Some(in_log) = &stream.log else { continue };
        let index = usize::from(shard_of(stream.tenant, &stream.name, shards).0);
        let Some(target) = targets.get_mut(index) else { continue };
        target.streams += 1;
        let record = OwnedStream {
            number: StreamNumber(target.streams),
            tenant: stream.tenant,
            name: stream.name.clone(),
            epoch: stream.epoch,
            next_seq: stream.next_seq(),
            settings: stream.settings.to_json(),
            gaps: stream.gaps.clone(),
        };
        let groups = stream.groups.iter().filter(|group| !group.is_ephemeral);
        let groups = groups
            .map(|group| {
                target.groups += 1;
                GroupNames::of(group, GroupNumber(target.groups), stream.lanes.as_deref(), &stream.held)
            })
            .collect();
        let (named_in, released) = (SegmentId(0), Vec::new());
        moving.insert(in_log.number, Moving { key, target: index, record, groups, named_in, released });
    }
    moving
}

#[allow(clippy::too_many_arguments, reason = "each is one plain part of the move")]
fn from_log(
    now: Now,
    id: ShardId,
    storage: &mut dyn Storage,
    plan: &mut MovePlan<'_>,
    shard: &Shard,
    moving: &mut HashMap<StreamNumber, Moving>,
    targets: &mut [Target<'_>],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), MoveError> {
    let (mut failed, mut copied) = (None, 0);
    let scan_plan = ScanPlan { limits: &plan.log_limits, shard: id, fresh: (plan.fresh)(), is_recovery: false };
    let mut each = |found: Found<'_>| {
        let Found::Record(location, Record::Message(message)) = found else { return };
        let Some(stream) = moving.get_mut(&message.stream) else { return };
        if failed.is_some() {
            return;
        }
        let Some(held) = shard.streams.at(stream.key) else { return };
        let is_held = held.held.location(message.seq) == Some(location);
        let window_ms = held.settings.dedup_window_ms(&shard.limits);
        let is_remembered = !message.dedup_id.is_empty() && message.unix_ms + window_ms >= now.unix_ms;
        let is_older_copy = !is_held && held.held.is_held(message.seq);
        if is_older_copy || !(is_held || is_remembered) {
            return;
        }
        let target = &mut targets[stream.target];
        let record = Record::Message(crate::log::MessageRecord { stream: stream.record.number, ..message });
        if let Err(error) = stream.write(target, &record) {
            failed = Some(MoveError::Write { shard: target.shard, error });
        } else if is_held {
            copied += 1;
        } else {
            stream.released.push(SeqRange { from: message.seq, to: message.seq });
        }
    };
    scan(storage, &scan_plan, &mut each, progress).map_err(|error| MoveError::Read { shard: id, error })?;
    if let Some(failed) = failed {
        return Err(failed);
    }
    let held: u64 =
        moving.values().filter_map(|stream| shard.streams.at(stream.key)).map(|stream| stream.held.len()).sum();
    if copied < held {
        return Err(MoveError::Unsteady { shard: id, missing: held - copied });
    }
    for stream in moving.values_mut() {
        let target = &mut targets[stream.target];
        let released = std::mem::take(&mut stream.released);
        let number = stream.record.number;
        let written = if released.is_empty() {
            stream.name(target, 0)
        } else {
            let chunks = released.chunks(1_024);
            chunks.into_iter().try_for_each(|ranges| stream.write(target, &Record::Released { stream: number, ranges }))
        };
        written.map_err(|error| MoveError::Write { shard: target.shard, error })?;
    }
    Ok(())
}

impl Moving {
    /// Writes a record of the stream, behind the names that its segment must have.
    fn write(&mut self, target: &mut Target<'_>, record: &Record<'_>) -> Result<(), WriteError> {
        self.name(target, encoded_bytes(record))?;
        target.writer.append(record).map(|_| ())
    }

    /// Sees to it that the segment in which `bytes` more will lie knows the stream and its groups.
    fn name(&mut self, target: &mut Target<'_>, bytes: u64) -> Result<(), WriteError> {
        if target.writer.segment_for(bytes)? == self.named_in {
            return Ok(());
        }
        let number = self.record.number;
        let names = encoded_bytes(&self.record.record())
            + self.groups.iter().map(|group| encoded_bytes(&group.record(number))).sum::<u64>();
        let segment = target.writer.segment_for(names + bytes)?;
        target.writer.append(&self.record.record())?;
        for group in &self.groups {
            target.writer.append(&group.record(number))?;
        }
        self.named_in = segment;
        Ok(())
    }
}
