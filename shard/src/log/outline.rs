//! Which segments count: what their headers say about themselves and about the one before.

use super::format::{BLOCK, BatchHeader, HeaderFlaw, LogIdentity, Salt, SegmentHeader, Wholeness, is_zero};
use super::found::{Damage, DamageKind, ScanError};
use super::storage::SegmentFile;
use super::window::Window;
use super::{DiskError, Location, SegmentId, StorageError};
use conduit_protocol::ShardId;

/// How it is known where a segment's valid part ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The next segment's header says so.
    Known(u64),
    /// It is the last one: what is torn at its end was never promised to anyone.
    Open,
    /// It is not the last one, but the header that would say so is gone.
    Unknown,
}

/// What is to be made of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Written(Ending),
    Blank,
    Void,
}

/// One segment, before its batches are looked at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) file: SegmentFile,
    pub(crate) header: Option<SegmentHeader>,
    /// How much of the header block is as it was written.
    pub(crate) wholeness: Wholeness,
    pub(crate) role: Role,
}

/// All segments, oldest first.
pub(crate) struct Outline {
    pub(crate) identity: LogIdentity,
    pub(crate) entries: Vec<Entry>,
    /// What is damaged in the order of segments rather than inside one.
    pub(crate) damage: Vec<Damage>,
}

/// Reads all headers and decides which segments count. `fresh` is the identity of a log that has none yet.
pub(crate) fn outline(
    window: &mut Window<'_>,
    files: &[SegmentFile],
    shard: ShardId,
    fresh: LogIdentity,
) -> Result<Outline, ScanError> {
    let mut entries = Vec::with_capacity(files.len());
    for &file in files {
        entries.push(read_header(window, file, shard)?);
    }
    let Some(top) = entries.iter().rposition(|entry| entry.header.is_some()) else {
        return without_headers(window, entries, fresh);
    };
    let identity = one_identity(&entries)?;
    let mut outline = Outline { identity, entries, damage: Vec::new() };
    survey_above(window, &mut outline, top)?;
    chain_down(&mut outline, top);
    Ok(outline)
}

fn read_header(window: &mut Window<'_>, file: SegmentFile, shard: ShardId) -> Result<Entry, ScanError> {
    let segment = file.segment;
    let mut entry = Entry { file, header: None, wholeness: Wholeness::Bad, role: Role::Void };
    let Some(block) = window.first_block(segment) else { return Ok(entry) };
    match SegmentHeader::decode(&block) {
        Ok((header, _)) if header.segment != segment => {
            return Err(ScanError::Misnamed { segment, says: header.segment });
        }
        Ok((header, _)) if header.shard != shard => {
            return Err(ScanError::OtherShard { segment, found: header.shard, expected: shard });
        }
        Ok((header, wholeness)) => {
            entry.header = Some(header);
            entry.wholeness = wholeness;
        }
        Err(HeaderFlaw::Version(version)) => return Err(ScanError::Version { segment, version }),
        Err(HeaderFlaw::Blank | HeaderFlaw::Unreadable) => {}
    }
    Ok(entry)
}

fn one_identity(entries: &[Entry]) -> Result<LogIdentity, ScanError> {
    let mut headers = entries.iter().filter_map(|entry| entry.header);
    let identity = headers.next().map_or(LogIdentity { log_id: [0; 16], salt: 0 }, |header| header.identity);
    match headers.find(|header| header.identity != identity) {
        Some(header) => Err(ScanError::OtherLog { segment: header.segment }),
        None => Ok(identity),
    }
}

/// No segment has a header: fine for a log that was never written, since a header is durable before anything behind it is
/// written.
fn without_headers(window: &mut Window<'_>, mut entries: Vec<Entry>, fresh: LogIdentity) -> Result<Outline, ScanError> {
    for entry in &mut entries {
        entry.role = match survey(window, entry.file, None)? {
            Survey::Blank => Role::Blank,
            Survey::HeaderOnly => Role::Void,
            Survey::Stray(_) | Survey::Batches => return Err(ScanError::NoHeader { segment: entry.file.segment }),
        };
    }
    Ok(Outline { identity: fresh, entries, damage: Vec::new() })
}

/// What is in a segment without a header.
enum Survey {
    Blank,
    /// The header's write was torn: nothing else was written.
    HeaderOnly,
    /// There is a batch of this log: the header was there, and is gone.
    Batches,
    /// There is something else, up to this byte.
    Stray(u64),
}

/// Looks through a segment without a header.
///
/// Blocks that cannot be read look like zeros. Where the header block is among them, the segment may be the newest part
/// of the log as well as one that was never written, and must be taken for neither.
fn survey(window: &mut Window<'_>, file: SegmentFile, salt: Option<Salt>) -> Result<Survey, ScanError> {
    window.open(file);
    let is_blank = is_zero(window.bytes(0, BLOCK));
    let search = search(window, salt, BLOCK, file.bytes, 0);
    let unreadable = window.take_unreadable();
    Ok(match search {
        Search { batch: Some(_), .. } => Survey::Batches,
        _ if unreadable.contains(&0) => {
            let detail = "its header block, without which nobody can say whether it was written".to_owned();
            let segment = file.segment;
            return Err(StorageError { what: "read", segment, error: DiskError::Broken, detail }.into());
        }
        Search { nonzero_end, .. } if nonzero_end > BLOCK => Survey::Stray(nonzero_end),
        // It was never written, and had better not be.
        _ if !unreadable.is_empty() => Survey::HeaderOnly,
        _ if is_blank => Survey::Blank,
        _ => Survey::HeaderOnly,
    })
}

/// What follows a place of a segment.
pub(crate) struct Search {
    /// Where the next believable batch begins.
    pub(crate) batch: Option<u64>,
    /// Where the last byte before it ends that is not zero; the place where the search began if there is none.
    pub(crate) nonzero_end: u64,
}

/// Looks for a batch with a number above `after`, from a block on.
pub(crate) fn search(window: &mut Window<'_>, salt: Option<Salt>, from: u64, to: u64, after: u64) -> Search {
    let file = window.file();
    let mut nonzero_end = from;
    let mut at = from;
    while at < to {
        let block = window.bytes(at, BLOCK);
        if let Some(salt) = salt
            && batch_header(block, salt, file.segment, at).is_some_and(|header| header.number > after)
        {
            return Search { batch: Some(at), nonzero_end };
        }
        if !is_zero(block)
            && let Some(last) = block.iter().rposition(|&byte| byte != 0)
        {
            nonzero_end = at + last as u64 + 1;
        }
        at += BLOCK;
    }
    Search { batch: None, nonzero_end }
}

/// The header of a batch, if one begins here. The batch may go on past the end of a file that was cut.
#[inline]
pub(crate) fn batch_header(bytes: &[u8], salt: Salt, segment: SegmentId, at: u64) -> Option<BatchHeader> {
    BatchHeader::decode(bytes, salt, Location::new(segment, at)?)
}

/// Above the last readable header are segments made ready in advance, and at most one whose header was being written;
/// or else a header was lost.
fn survey_above(window: &mut Window<'_>, outline: &mut Outline, top: usize) -> Result<(), ScanError> {
    let salt = Some(Salt(outline.identity.salt));
    for entry in &mut outline.entries[top + 1..] {
        let segment = entry.file.segment;
        entry.role = match survey(window, entry.file, salt)? {
            Survey::Blank => Role::Blank,
            Survey::HeaderOnly => Role::Void,
            Survey::Batches => Role::Written(Ending::Unknown),
            Survey::Stray(to) => {
                outline.damage.push(Damage { segment, from: 0, to, kind: DamageKind::Stray });
                Role::Void
            }
        };
    }
    Ok(())
}

/// From the newest to the oldest, each header names the one before and how far that is valid; what lies between holds
/// nothing. Segments above `top` have no header, and only those with batches are of the chain.
fn chain_down(outline: &mut Outline, top: usize) {
    let Outline { entries, damage, .. } = outline;
    let mut previous: Option<(SegmentId, u64)> = None;
    let mut is_last = true;
    for (index, entry) in entries.iter_mut().enumerate().rev() {
        if index > top && !matches!(entry.role, Role::Written(_)) {
            continue;
        }
        let segment = entry.file.segment;
        let ending = match previous {
            Some((named, _)) if segment > named => {
                entry.role = Role::Void;
                continue;
            }
            Some((named, end)) if segment == named => Ending::Known(end),
            Some((named, _)) => {
                damage.push(Damage { segment: named, from: 0, to: 0, kind: DamageKind::Missing });
                Ending::Unknown
            }
            None if is_last => Ending::Open,
            None => Ending::Unknown,
        };
        entry.role = Role::Written(ending);
        is_last = false;
        previous = entry.header.map(|header| (header.previous_segment, header.previous_end));
    }
    damage.sort_by_key(|damage| damage.segment);
}
