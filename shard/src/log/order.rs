//! The rules of order that a log's requests keep, as a check for tests: whoever carries requests out asks it first.

use super::format::BLOCK;
use super::storage::SegmentFile;
use super::{DiskOutcome, DiskRequest, SegmentId, Ticket};
use std::collections::BTreeMap;

/// How far a segment is, as the requests and outcomes say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Prepared,
    Installed,
    /// In the directory durably.
    Ready,
    /// Written up to this byte.
    Written(u64),
    Removing,
    Removed,
}

/// What a request that is under way will have done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Prepare(SegmentId),
    Install(SegmentId),
    SyncDirectory,
    Commit(SegmentId, u64),
    Read(SegmentId),
    Remove(SegmentId),
}

/// Follows the requests of one log and says which rule one breaks.
#[derive(Debug, Default)]
pub struct OrderCheck {
    segments: BTreeMap<SegmentId, Stage>,
    under_way: BTreeMap<Ticket, Step>,
    last_ticket: Option<Ticket>,
    written: Option<SegmentId>,
    has_failed: bool,
}

impl OrderCheck {
    /// Begins with what recovery found. Segments that hold something are known with how far they are written, so that
    /// nothing of them is written again; blank ones with 0.
    #[must_use]
    pub fn new(segments: impl IntoIterator<Item = SegmentFile>) -> Self {
        let stage = |bytes| if bytes == 0 { Stage::Ready } else { Stage::Written(bytes) };
        let segments: BTreeMap<_, _> = segments.into_iter().map(|file| (file.segment, stage(file.bytes))).collect();
        let written = segments.iter().rev().find(|(_, stage)| matches!(stage, Stage::Written(_))).map(|(&id, _)| id);
        Self { segments, written, ..Self::default() }
    }

    /// Takes a request before it is carried out.
    ///
    /// # Errors
    /// The rule that it breaks, as a sentence.
    pub fn request(&mut self, request: &DiskRequest<'_>) -> Result<(), String> {
        let (ticket, step) = match *request {
            DiskRequest::Prepare { ticket, segment, bytes } => (ticket, self.prepare(segment, bytes)?),
            DiskRequest::Install { ticket, segment } => (ticket, self.install(segment)?),
            DiskRequest::SyncDirectory { ticket } => (ticket, self.sync_directory()?),
            DiskRequest::Commit { ticket, segment, offset, bytes } => {
                (ticket, self.commit(segment, offset, bytes.len() as u64)?)
            }
            DiskRequest::Read { ticket, segment, offset, len } => (ticket, self.read(segment, offset, len)?),
            DiskRequest::Remove { ticket, segment } => (ticket, self.remove(segment)?),
            DiskRequest::Sync { segment, .. } => return Err(format!("segment {} is synced by itself", segment.0)),
        };
        if self.has_failed && !matches!(step, Step::Read(_)) {
            return Err(format!("{step:?} after a failure"));
        }
        // A read gets its ticket when it is asked for, and leaves when there is nothing more urgent.
        if !matches!(step, Step::Read(_)) {
            if self.last_ticket.is_some_and(|last| ticket <= last) {
                return Err(format!("ticket {} is not a new one", ticket.0));
            }
            self.last_ticket = Some(ticket);
        }
        if self.under_way.insert(ticket, step).is_some() {
            return Err(format!("ticket {} is under way twice", ticket.0));
        }
        Ok(())
    }

    /// Takes an outcome before the log is told.
    ///
    /// # Errors
    /// When there is no such request under way.
    pub fn outcome(&mut self, ticket: Ticket, outcome: &DiskOutcome<'_>) -> Result<(), String> {
        let step = self.under_way.remove(&ticket).ok_or_else(|| format!("no request has ticket {}", ticket.0))?;
        if let DiskOutcome::Failed(error) = outcome {
            let may_be_tried_again = matches!(step, Step::Prepare(_) | Step::Install(_) | Step::Remove(_))
                && *error == super::DiskError::Full;
            match step {
                Step::Read(_) => {}
                Step::Install(segment) if may_be_tried_again => {
                    self.segments.insert(segment, Stage::Prepared);
                }
                Step::Remove(segment) if may_be_tried_again => {
                    self.segments.insert(segment, Stage::Written(u64::MAX));
                }
                _ => self.has_failed |= !may_be_tried_again,
            }
            return Ok(());
        }
        match step {
            Step::Prepare(segment) => self.set(segment, Stage::Prepared),
            Step::Install(segment) => self.set(segment, Stage::Installed),
            Step::Commit(segment, end) => self.set(segment, Stage::Written(end)),
            Step::Remove(segment) => self.set(segment, Stage::Removing),
            Step::SyncDirectory => {
                for stage in self.segments.values_mut() {
                    *stage = match *stage {
                        Stage::Installed => Stage::Ready,
                        Stage::Removing => Stage::Removed,
                        other => other,
                    };
                }
            }
            Step::Read(_) => {}
        }
        Ok(())
    }

    /// A failure was told after which nothing may be asked for but reads.
    #[must_use]
    pub const fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Requests without an outcome.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way.len()
    }

    fn set(&mut self, segment: SegmentId, stage: Stage) {
        self.segments.insert(segment, stage);
    }

    fn stage(&self, segment: SegmentId) -> Option<Stage> {
        self.segments.get(&segment).copied()
    }

    /// Steps of the directory come one at a time.
    fn directory_is_quiet(&self) -> Result<(), String> {
        let is_quiet = self.under_way.values().all(|step| matches!(step, Step::Commit(..) | Step::Read(_)));
        is_quiet.then_some(()).ok_or_else(|| "two steps of the directory at once".into())
    }

    fn prepare(&self, segment: SegmentId, bytes: u64) -> Result<Step, String> {
        self.directory_is_quiet()?;
        if bytes == 0 || !bytes.is_multiple_of(BLOCK) {
            return Err(format!("segment {} is to have {bytes} bytes", segment.0));
        }
        if self.segments.keys().any(|&known| known >= segment) {
            return Err(format!("segment {} is prepared, and its number is not a new one", segment.0));
        }
        Ok(Step::Prepare(segment))
    }

    fn install(&self, segment: SegmentId) -> Result<Step, String> {
        self.directory_is_quiet()?;
        match self.stage(segment) {
            Some(Stage::Prepared) => Ok(Step::Install(segment)),
            stage => Err(format!("segment {} is installed while it is {stage:?}", segment.0)),
        }
    }

    fn sync_directory(&self) -> Result<Step, String> {
        self.directory_is_quiet()?;
        Ok(Step::SyncDirectory)
    }

    fn commit(&mut self, segment: SegmentId, offset: u64, bytes: u64) -> Result<Step, String> {
        if self.under_way.values().any(|step| matches!(step, Step::Commit(..))) {
            return Err("two commits at once".into());
        }
        if bytes == 0 || !bytes.is_multiple_of(BLOCK) || !offset.is_multiple_of(BLOCK) {
            return Err(format!("{bytes} bytes are committed at {offset}"));
        }
        if self.written.is_some_and(|written| segment < written) {
            return Err(format!("segment {} is written after a newer one", segment.0));
        }
        let from = match self.stage(segment) {
            Some(Stage::Ready) => 0,
            Some(Stage::Written(end)) => end,
            stage => return Err(format!("segment {} is written while it is {stage:?}", segment.0)),
        };
        if offset < from {
            return Err(format!("segment {} is written at {offset}, and is written up to {from} already", segment.0));
        }
        if from == 0 && (offset, bytes) != (0, BLOCK) {
            return Err(format!("segment {} does not begin with its header block", segment.0));
        }
        self.written = Some(segment);
        Ok(Step::Commit(segment, offset + bytes))
    }

    fn read(&self, segment: SegmentId, offset: u64, len: u32) -> Result<Step, String> {
        if !offset.is_multiple_of(BLOCK) || !u64::from(len).is_multiple_of(BLOCK) {
            return Err(format!("{len} bytes are read at {offset}"));
        }
        match self.stage(segment) {
            Some(Stage::Ready | Stage::Written(_)) => Ok(Step::Read(segment)),
            stage => Err(format!("segment {} is read while it is {stage:?}", segment.0)),
        }
    }

    fn remove(&self, segment: SegmentId) -> Result<Step, String> {
        self.directory_is_quiet()?;
        if self.under_way.values().any(|step| matches!(step, Step::Commit(id, _) | Step::Read(id) if *id == segment)) {
            return Err(format!("segment {} is removed while it is in use", segment.0));
        }
        let is_there = |stage: &Stage| *stage != Stage::Removed;
        let oldest = self.segments.iter().find(|(_, stage)| is_there(stage)).map(|(&id, _)| id);
        if oldest != Some(segment) {
            return Err(format!("segment {} is removed before segment {oldest:?}", segment.0));
        }
        match self.stage(segment) {
            Some(Stage::Written(_)) if self.written.is_some_and(|written| segment < written) => {
                Ok(Step::Remove(segment))
            }
            stage => Err(format!("segment {} is removed while it is {stage:?}, and newest", segment.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::DiskError;

    const BLOCKS: [u8; 8_192] = [0; 8_192];

    fn commit(ticket: u64, segment: u32, offset: u64, blocks: usize) -> DiskRequest<'static> {
        let bytes = &BLOCKS[..blocks * 4_096];
        DiskRequest::Commit { ticket: Ticket(ticket), segment: SegmentId(segment), offset, bytes }
    }

    fn done(check: &mut OrderCheck, request: &DiskRequest<'_>, ticket: u64) {
        check.request(request).unwrap();
        check.outcome(Ticket(ticket), &DiskOutcome::Done).unwrap();
    }

    /// Segment 1 is written, segment 2 is ready.
    fn check() -> OrderCheck {
        let file = |segment, bytes| SegmentFile { segment: SegmentId(segment), bytes };
        OrderCheck::new([file(1, 8_192), file(2, 0)])
    }

    #[test]
    fn what_breaks_a_rule_is_named() {
        let (one, two, three) = (SegmentId(1), SegmentId(2), SegmentId(3));
        let ticket = Ticket(1);
        let cases: [(DiskRequest<'_>, &str); 11] = [
            (commit(1, 1, 4_096, 1), "written up to"),
            (commit(1, 2, 4_096, 1), "begin with its header"),
            (commit(1, 3, 0, 1), "written while"),
            (commit(1, 1, 8_192, 0), "0 bytes"),
            (DiskRequest::Prepare { ticket, segment: two, bytes: 4_096 }, "not a new one"),
            (DiskRequest::Prepare { ticket, segment: three, bytes: 100 }, "100 bytes"),
            (DiskRequest::Install { ticket, segment: three }, "installed while"),
            (DiskRequest::Remove { ticket, segment: two }, "removed before"),
            (DiskRequest::Remove { ticket, segment: one }, "newest"),
            (DiskRequest::Read { ticket, segment: three, offset: 0, len: 4_096 }, "read while"),
            (DiskRequest::Sync { ticket, segment: one }, "synced by itself"),
        ];
        for (request, why) in cases {
            let error = check().request(&request).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn a_segment_is_written_only_after_install_and_a_directory_sync() {
        let mut check = check();
        let three = SegmentId(3);
        done(&mut check, &DiskRequest::Prepare { ticket: Ticket(1), segment: three, bytes: 4_096 }, 1);
        assert!(check.request(&commit(2, 3, 0, 1)).is_err());
        done(&mut check, &DiskRequest::Install { ticket: Ticket(2), segment: three }, 2);
        assert!(check.request(&commit(3, 3, 0, 1)).is_err());
        done(&mut check, &DiskRequest::SyncDirectory { ticket: Ticket(3) }, 3);
        done(&mut check, &commit(4, 3, 0, 1), 4);
        assert!(check.request(&commit(5, 2, 0, 1)).unwrap_err().contains("newer"));
    }

    #[test]
    fn nothing_but_reads_follows_a_failed_commit() {
        let mut check = check();
        check.request(&commit(1, 1, 8_192, 1)).unwrap();
        assert!(check.request(&commit(2, 1, 12_288, 1)).unwrap_err().contains("two commits"));
        check.outcome(Ticket(1), &DiskOutcome::Failed(DiskError::Full)).unwrap();
        assert!(check.request(&commit(2, 1, 12_288, 1)).unwrap_err().contains("after a failure"));
        check.request(&DiskRequest::Read { ticket: Ticket(3), segment: SegmentId(1), offset: 0, len: 4_096 }).unwrap();
        assert_eq!(check.under_way(), 1);
        assert!(check.outcome(Ticket(2), &DiskOutcome::Done).is_err());
    }

    #[test]
    fn the_directory_is_synced_between_two_removals() {
        let file = |segment| SegmentFile { segment: SegmentId(segment), bytes: 8_192 };
        let mut check = OrderCheck::new([file(1), file(2), file(3)]);
        done(&mut check, &commit(1, 3, 8_192, 1), 1);
        done(&mut check, &DiskRequest::Remove { ticket: Ticket(2), segment: SegmentId(1) }, 2);
        let second = DiskRequest::Remove { ticket: Ticket(3), segment: SegmentId(2) };
        assert!(check.request(&second).unwrap_err().contains("removed before"));
        done(&mut check, &DiskRequest::SyncDirectory { ticket: Ticket(3) }, 3);
        check.request(&DiskRequest::Remove { ticket: Ticket(4), segment: SegmentId(2) }).unwrap();
    }
}
