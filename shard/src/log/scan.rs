//! Recovery: the whole log is read, from the oldest record to the newest, and everything that is whole is told.
//!
//! Where the log stops making sense, two things may have happened. Either the last run ended while it wrote there: then
//! nothing follows (one commit at a time is under way), what is torn was promised to nobody, and it is left alone. Or the
//! disk lost something: then something follows, or the next header says how far the segment is valid, and it is damage:
//! it is told, and reading goes on behind it.

use super::format::{BLOCK, LogIdentity, Salt, to_blocks};
use super::found::{Found, ScanError, Scanned, SegmentReport, SegmentRole};
use super::outline::{Entry, Outline, Role, outline};
use super::segments::Segment;
use super::start::{LogStart, Tail};
use super::walk::{Walk, Walked};
use super::window::Window;
use super::{LogLimits, SegmentId, Storage};
use crate::Mutant;
use conduit_protocol::ShardId;
use std::collections::VecDeque;

/// What to scan for.
#[derive(Debug, Clone)]
pub struct ScanPlan<'a> {
    /// Bounds of the log that will go on here.
    pub limits: &'a LogLimits,
    /// Whose directory it is.
    pub shard: ShardId,
    /// Who the log will be if there is none yet.
    pub fresh: LogIdentity,
    /// The log is to be used: what an earlier process left unsynced is synced before it is believed, and what it was
    /// preparing is removed. Otherwise nothing is touched.
    pub is_recovery: bool,
}

/// Segments whose last writes may not have been synced by the process that made them: the one that was written, and those
/// ready ahead of it.
const UNSYNCED_SEGMENTS_MAX: usize = 4;

/// Reads a whole log. `each` is told everything in order; `progress` gets bytes done and bytes in all.
///
/// # Errors
/// When the log cannot be used at all. Damage is no error: it is found, and told.
pub fn scan(
    storage: &mut dyn Storage,
    plan: &ScanPlan<'_>,
    each: &mut dyn FnMut(Found<'_>),
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Scanned, ScanError> {
    if plan.is_recovery {
        storage.remove_prepared()?;
        storage.sync_directory()?;
    }
    let files = storage.list()?;
    let believes_all = plan.limits.planted.has(Mutant::TrustTheCache);
    if plan.is_recovery && !believes_all {
        for file in files.iter().rev().take(UNSYNCED_SEGMENTS_MAX) {
            storage.sync(file.segment)?;
        }
    }
    let total = files.iter().map(|file| file.bytes).sum();
    let mut window = Window::new(storage, progress, total);
    let Outline { identity, entries, damage } = outline(&mut window, &files, plan.shard, plan.fresh)?;
    let mut walk = Walk::new(Salt(identity.salt), each);
    walk.planted = plan.limits.planted;
    let mut told = damage.into_iter().peekable();
    let mut segments = Vec::with_capacity(entries.len());
    let mut last: Option<Walked> = None;
    for entry in &entries {
        while let Some(damage) = told.next_if(|damage| damage.segment <= entry.file.segment) {
            walk.damaged(damage);
        }
        let records = walk.records;
        let walked = match entry.role {
            Role::Written(ending) => {
                window.open(entry.file);
                Some(walk.segment(&mut window, entry, ending))
            }
            Role::Blank | Role::Void => None,
        };
        segments.push(report(entry, walked.as_ref(), walk.records - records));
        last = walked.or(last);
    }
    told.for_each(|damage| walk.damaged(damage));
    window.close();
    drop(window);
    if plan.is_recovery
        && !believes_all
        && let Some(last) = &last
    {
        write_again(storage, last)?;
    }
    let ended_clean = last.as_ref().is_some_and(|last| last.ended_clean);
    Ok(Scanned {
        start: start(plan, identity, &mut segments, last.as_ref(), &walk),
        torn_bytes: last.as_ref().map_or(0, |last| last.torn_bytes),
        bytes: total,
        segments,
        damage: walk.damage,
        damage_count: walk.damage_count,
        records: walk.records,
        ended_clean,
    })
}

/// What was written last may be in the system's cache only, although a sync says that all is well: a failed sync drops
/// what it could not write and is forgotten. So it is written again before it is believed. Everything older was followed
/// by a commit that succeeded, or it would not be older.
fn write_again(storage: &mut dyn Storage, last: &Walked) -> Result<(), ScanError> {
    let (from, to) = (last.last_write_at, to_blocks(last.end));
    let mut bytes = vec![0; to.saturating_sub(from) as usize];
    let read = storage.read(last.segment, from, &mut bytes)?;
    bytes.truncate(read / BLOCK as usize * BLOCK as usize);
    if !bytes.is_empty() {
        storage.commit(last.segment, from, &bytes)?;
    }
    Ok(())
}

fn report(entry: &Entry, walked: Option<&Walked>, records: u64) -> SegmentReport {
    SegmentReport {
        segment: entry.file.segment,
        bytes: entry.file.bytes,
        end: walked.map_or(0, |walked| walked.end),
        role: match entry.role {
            Role::Written(_) => SegmentRole::Written,
            Role::Blank => SegmentRole::Ready,
            Role::Void => SegmentRole::Void,
        },
        batches: walked.map_or(0, |walked| walked.batches),
        records,
        first_batch: entry.header.map_or(0, |header| header.first_batch),
        created_unix_ms: entry.header.map_or(0, |header| header.created_unix_ms),
    }
}

/// Where the log goes on. Blank segments that are not of the right size, or not behind all others, become void when the
/// log is to be used.
fn start(
    plan: &ScanPlan<'_>,
    identity: LogIdentity,
    segments: &mut [SegmentReport],
    last: Option<&Walked>,
    walk: &Walk<'_>,
) -> LogStart {
    let is_usable = |s: &&SegmentReport| s.role == SegmentRole::Ready && s.bytes == plan.limits.segment_bytes;
    let ready_count = segments.iter().rev().take_while(is_usable).count();
    let (used, ready) = segments.split_at_mut(segments.len() - ready_count);
    for segment in used.iter_mut().filter(|segment| segment.role == SegmentRole::Ready && plan.is_recovery) {
        segment.role = SegmentRole::Void;
    }
    let newest = used.last().map_or(SegmentId(0), |segment| segment.segment);
    let tail = match last {
        Some(last) if last.ended_clean && last.is_whole && last.segment == newest => Tail::Here(to_blocks(last.end)),
        Some(last) => Tail::After { previous_segment: last.segment, previous_end: last.end },
        None => Tail::After { previous_segment: SegmentId(0), previous_end: 0 },
    };
    // The number of a batch that was torn may have been used.
    let skipped = u64::from(matches!(tail, Tail::After { .. }));
    let highest = ready.last().map_or(newest, |segment| segment.segment);
    LogStart {
        shard: plan.shard,
        identity,
        segments: used.iter().map(|s| Segment::new(s.segment, s.bytes, s.end)).collect(),
        tail,
        next_batch: walk.last_batch.saturating_add(1 + skipped),
        carried_over: walk.carried_over,
        ready: ready.iter().map(|segment| segment.segment).collect::<VecDeque<_>>(),
        next_segment: highest.0.checked_add(1).map(SegmentId),
    }
}
