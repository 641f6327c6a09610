//! The owner of a disk: takes requests, finishes each at a later time, and fails some of them.

use super::disk::{Disk, Name, SECTOR_BYTES};
use super::random::Random;
use crate::log::{DiskError, DiskRequest, SegmentId, Ticket};

/// How a drive behaves. Times are virtual.
#[derive(Debug, Clone)]
pub struct Habits {
    /// Nanoseconds that a commit takes, at least.
    pub commit_ns_min: u64,
    /// And at most, usually.
    pub commit_ns_max: u64,
    /// Operations in a thousand that take a hundred times as long.
    pub slow_per_mille: u64,
}

impl Default for Habits {
    fn default() -> Self {
        Self { commit_ns_min: 100_000, commit_ns_max: 200_000, slow_per_mille: 0 }
    }
}

/// What came of a request, with bytes of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finished {
    /// It is done.
    Done,
    /// The bytes of a read.
    Read(Vec<u8>),
    /// It is not done, or nobody knows.
    Failed(DiskError),
}

#[derive(Debug)]
enum Operation {
    Prepare { segment: SegmentId, bytes: u64 },
    Install { segment: SegmentId },
    SyncDirectory { before: u64 },
    Commit { segment: SegmentId, offset: u64, before: Vec<u8> },
    Sync { segment: SegmentId },
    Read { segment: SegmentId, offset: u64, len: u32 },
    Remove { segment: SegmentId },
}

#[derive(Debug)]
struct InFlight {
    ticket: Ticket,
    due_ns: u64,
    operation: Operation,
    error: Option<DiskError>,
}

/// A disk and what it has been asked to do.
#[derive(Debug)]
pub struct Drive {
    /// The directory.
    pub disk: Disk,
    /// How it behaves.
    pub habits: Habits,
    in_flight: Vec<InFlight>,
    operations: u64,
    /// The operation, counted from the first, that fails with an error of the device; and every one for a while after it.
    fails: std::ops::Range<u64>,
    /// Reads are among those that fail.
    reads_fail: bool,
    /// So many of the next reads fail.
    bad_reads: u64,
    /// Operations that failed so.
    failures: u64,
    random: Random,
}

impl Drive {
    /// A drive with an empty directory.
    #[must_use]
    pub const fn new(room_bytes: u64, habits: Habits, random: Random) -> Self {
        Self {
            disk: Disk::new(room_bytes),
            habits,
            in_flight: Vec::new(),
            operations: 0,
            fails: 0..0,
            reads_fail: false,
            bad_reads: 0,
            failures: 0,
            random,
        }
    }

    /// Operations begun so far.
    #[must_use]
    pub const fn operations(&self) -> u64 {
        self.operations
    }

    /// Requests that have no outcome yet.
    #[must_use]
    pub const fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// A commit is among them.
    #[must_use]
    pub fn is_committing(&self) -> bool {
        self.in_flight.iter().any(|request| matches!(request.operation, Operation::Commit { .. }))
    }

    /// Operations that failed because the device was made to.
    #[must_use]
    pub const fn failures(&self) -> u64 {
        self.failures
    }

    /// The next so many operations after `skipped` others fail; reads among them only when they are meant too.
    pub const fn fail_after(&mut self, skipped: u64, count: u64, reads_fail: bool) {
        let from = self.operations + 1 + skipped;
        self.fails = from..from.saturating_add(count);
        self.reads_fail = reads_fail;
    }

    /// So many of the next reads fail, and nothing else.
    pub const fn fail_reads(&mut self, count: u64) {
        self.bad_reads = count;
    }

    /// The device works again, also for what it was asked before.
    pub fn mend(&mut self) {
        self.fails = 0..0;
        self.bad_reads = 0;
        self.in_flight.iter_mut().for_each(|request| request.error = None);
    }

    /// Counts an operation: does it fail?
    pub fn begin(&mut self, is_read: bool) -> Option<DiskError> {
        self.operations += 1;
        let is_bad_read = is_read && self.bad_reads > 0;
        self.bad_reads -= u64::from(is_bad_read);
        let fails = is_bad_read || (self.fails.contains(&self.operations) && (self.reads_fail || !is_read));
        self.failures += u64::from(fails);
        fails.then_some(DiskError::Broken)
    }

    /// Takes a request. What it writes can be read from now on, and a power cut may keep any part of it.
    pub fn submit(&mut self, now_ns: u64, request: DiskRequest<'_>) {
        let error = self.begin(matches!(request, DiskRequest::Read { .. }));
        let (ticket, operation) = match request {
            DiskRequest::Prepare { ticket, segment, bytes } => (ticket, Operation::Prepare { segment, bytes }),
            DiskRequest::Install { ticket, segment } => (ticket, Operation::Install { segment }),
            DiskRequest::SyncDirectory { ticket } => (ticket, Operation::SyncDirectory { before: self.disk.changes() }),
            DiskRequest::Commit { ticket, segment, offset, bytes } => {
                let before = self.disk.read(segment, offset, bytes.len()).map_or_else(|_| Vec::new(), <[u8]>::to_vec);
                // Without such a segment the outcome will tell.
                let _ = self.disk.write(segment, offset, bytes);
                (ticket, Operation::Commit { segment, offset, before })
            }
            DiskRequest::Sync { ticket, segment } => (ticket, Operation::Sync { segment }),
            DiskRequest::Read { ticket, segment, offset, len } => (ticket, Operation::Read { segment, offset, len }),
            DiskRequest::Remove { ticket, segment } => (ticket, Operation::Remove { segment }),
        };
        let took_ns = self.took_ns(&operation);
        self.in_flight.push(InFlight { ticket, due_ns: now_ns + took_ns, operation, error });
    }

    /// When the next outcome is due.
    #[must_use]
    pub fn next_due_ns(&self) -> Option<u64> {
        self.in_flight.iter().map(|request| request.due_ns).min()
    }

    /// The next outcome that is due.
    pub fn take(&mut self, now_ns: u64) -> Option<(Ticket, Finished)> {
        let earliest = self.in_flight.iter().enumerate().min_by_key(|(_, request)| request.due_ns)?;
        if earliest.1.due_ns > now_ns {
            return None;
        }
        let at = earliest.0;
        let InFlight { ticket, operation, error, .. } = self.in_flight.remove(at);
        let finished = match error {
            Some(error) => {
                self.fail(&operation);
                Finished::Failed(error)
            }
            None => self.finish(&operation).unwrap_or_else(Finished::Failed),
        };
        Some((ticket, finished))
    }

    /// The process is gone, and the system lives on: what was in flight is done, not done, or half done, and what was
    /// written stays to be read, durable or not.
    pub fn kill(&mut self) {
        for request in std::mem::take(&mut self.in_flight) {
            match request.operation {
                Operation::Commit { segment, offset, before } if self.random.chance(500) => {
                    // The rest of it was never handed over: somewhere among what is not just padding.
                    let written = self.disk.read(segment, offset, before.len()).unwrap_or_default();
                    let content = written.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                    let sectors = content.div_ceil(SECTOR_BYTES) as u64;
                    let kept = self.random.between(0, sectors) as usize * SECTOR_BYTES;
                    let _ = self.disk.write(segment, offset + kept as u64, &before[kept..]);
                }
                operation => self.interrupt(operation),
            }
        }
    }

    /// The power is gone: what was in flight is done, not done, or half done, and what was not synced may be lost.
    pub fn cut_power(&mut self) {
        for request in std::mem::take(&mut self.in_flight) {
            self.interrupt(request.operation);
        }
        self.disk.cut_power(&mut self.random);
    }

    fn interrupt(&mut self, operation: Operation) {
        match operation {
            Operation::Prepare { segment, bytes } => self.disk.prepare_partly(segment, bytes, &mut self.random),
            operation if self.random.chance(500) => {
                let _ = self.finish(&operation);
            }
            _ => {}
        }
    }

    fn took_ns(&mut self, operation: &Operation) -> u64 {
        let times = match operation {
            Operation::Commit { .. } | Operation::Sync { .. } | Operation::SyncDirectory { .. } => 1,
            Operation::Prepare { bytes, .. } => 2 + bytes / (64 * 1024),
            Operation::Install { .. } | Operation::Read { .. } | Operation::Remove { .. } => 1,
        };
        let once_ns = self.random.between(self.habits.commit_ns_min, self.habits.commit_ns_max);
        let slowness = if self.random.chance(self.habits.slow_per_mille) { 100 } else { 1 };
        once_ns * times * slowness
    }

    fn finish(&mut self, operation: &Operation) -> Result<Finished, DiskError> {
        match operation {
            Operation::Prepare { segment, bytes } => self.disk.prepare(*segment, *bytes)?,
            Operation::Install { segment } => self.disk.install(*segment)?,
            Operation::SyncDirectory { before } => self.disk.sync_directory(*before),
            Operation::Commit { segment, offset, before } => {
                self.disk.sync_range(*segment, *offset, before.len())?;
            }
            Operation::Sync { segment } => self.disk.sync(*segment)?,
            Operation::Read { segment, offset, len } => {
                return Ok(Finished::Read(self.disk.read(*segment, *offset, *len as usize)?.to_vec()));
            }
            Operation::Remove { segment } => self.disk.remove(Name::Installed(*segment))?,
        }
        Ok(Finished::Done)
    }

    /// An error of the device: nobody knows how far it came.
    fn fail(&mut self, operation: &Operation) {
        match operation {
            Operation::Commit { segment, offset, before } => {
                self.disk.fail_sync(*segment, *offset, before.len(), &mut self.random);
            }
            Operation::Sync { segment } => {
                let all = self.disk.read(*segment, 0, usize::MAX / 2).map_or(0, <[u8]>::len);
                self.disk.fail_sync(*segment, 0, all, &mut self.random);
            }
            Operation::Prepare { segment, bytes } => self.disk.prepare_partly(*segment, *bytes, &mut self.random),
            Operation::Install { .. }
            | Operation::SyncDirectory { .. }
            | Operation::Read { .. }
            | Operation::Remove { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::disk::PAGE_BYTES;

    const ONE: SegmentId = SegmentId(1);
    const BYTES: u64 = 4 * PAGE_BYTES as u64;

    fn drive(seed: u64) -> Drive {
        Drive::new(1 << 20, Habits::default(), Random::new(seed))
    }

    /// Finishes everything, and tells what came of each.
    fn settle(drive: &mut Drive, now_ns: &mut u64) -> Vec<(u64, Finished)> {
        let mut outcomes = Vec::new();
        while let Some(due_ns) = drive.next_due_ns() {
            *now_ns = due_ns;
            while let Some((ticket, finished)) = drive.take(due_ns) {
                outcomes.push((ticket.0, finished));
            }
        }
        outcomes
    }

    fn ready(seed: u64) -> (Drive, u64) {
        let (mut drive, mut now_ns) = (drive(seed), 0);
        for request in [
            DiskRequest::Prepare { ticket: Ticket(1), segment: ONE, bytes: BYTES },
            DiskRequest::Install { ticket: Ticket(2), segment: ONE },
            DiskRequest::SyncDirectory { ticket: Ticket(3) },
        ] {
            drive.submit(now_ns, request);
            assert!(settle(&mut drive, &mut now_ns).iter().all(|(_, finished)| *finished == Finished::Done));
        }
        (drive, now_ns)
    }

    #[test]
    fn a_request_is_finished_once_and_not_before_its_time() {
        let (mut drive, mut now_ns) = ready(1);
        let page = [5; PAGE_BYTES];
        drive.submit(now_ns, DiskRequest::Commit { ticket: Ticket(9), segment: ONE, offset: 0, bytes: &page });
        let due_ns = drive.next_due_ns().unwrap();
        assert!(due_ns >= now_ns + drive.habits.commit_ns_min && due_ns <= now_ns + drive.habits.commit_ns_max);
        assert_eq!(drive.take(due_ns - 1), None);
        assert!(drive.is_committing());
        assert_eq!(settle(&mut drive, &mut now_ns), [(9, Finished::Done)]);
        assert_eq!((drive.in_flight(), drive.take(u64::MAX)), (0, None));
        let read = DiskRequest::Read { ticket: Ticket(10), segment: ONE, offset: 0, len: PAGE_BYTES as u32 };
        drive.submit(now_ns, read);
        assert_eq!(settle(&mut drive, &mut now_ns), [(10, Finished::Read(page.to_vec()))]);
    }

    #[test]
    fn a_finished_commit_survives_a_power_cut_and_one_in_flight_may_be_torn() {
        let mut kinds = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let (mut drive, mut now_ns) = ready(seed);
            let (first, second) = ([1; PAGE_BYTES], [2; PAGE_BYTES]);
            drive.submit(now_ns, DiskRequest::Commit { ticket: Ticket(4), segment: ONE, offset: 0, bytes: &first });
            settle(&mut drive, &mut now_ns);
            let offset = PAGE_BYTES as u64;
            drive.submit(now_ns, DiskRequest::Commit { ticket: Ticket(5), segment: ONE, offset, bytes: &second });
            drive.cut_power();
            let bytes = drive.disk.read(ONE, 0, 2 * PAGE_BYTES).unwrap();
            assert_eq!(bytes[..PAGE_BYTES], first);
            kinds.insert(bytes[PAGE_BYTES..].iter().filter(|byte| **byte == 2).count());
        }
        assert!(kinds.contains(&0) && kinds.contains(&PAGE_BYTES) && kinds.len() > 3, "{kinds:?}");
    }

    #[test]
    fn what_a_killed_process_wrote_can_be_read_and_is_lost_later_unless_it_is_synced() {
        let (mut read_after_kill, mut lost_after_cut) = (0, 0);
        for seed in 0..100 {
            let (mut drive, now_ns) = ready(seed);
            let page = [3; PAGE_BYTES];
            drive.submit(now_ns, DiskRequest::Commit { ticket: Ticket(4), segment: ONE, offset: 0, bytes: &page });
            drive.kill();
            assert_eq!(drive.in_flight(), 0);
            if drive.disk.read(ONE, 0, PAGE_BYTES).unwrap() != page {
                continue;
            }
            read_after_kill += 1;
            let is_synced = seed % 2 == 0;
            if is_synced {
                drive.disk.sync(ONE).unwrap();
            }
            drive.cut_power();
            let is_lost = drive.disk.read(ONE, 0, PAGE_BYTES).unwrap() != page;
            assert!(!(is_lost && is_synced));
            lost_after_cut += u32::from(is_lost);
        }
        assert!(read_after_kill > 50 && lost_after_cut > 5, "{read_after_kill} {lost_after_cut}");
    }

    #[test]
    fn the_named_operations_fail_and_no_others() {
        let (mut drive, mut now_ns) = ready(3);
        drive.fail_after(1, 2, true);
        let page = [5; PAGE_BYTES];
        for ticket in 1..=4 {
            drive.submit(now_ns, DiskRequest::Commit { ticket: Ticket(ticket), segment: ONE, offset: 0, bytes: &page });
            let outcomes = settle(&mut drive, &mut now_ns);
            let expected = if matches!(ticket, 2 | 3) { Finished::Failed(DiskError::Broken) } else { Finished::Done };
            assert_eq!(outcomes, [(ticket, expected)]);
        }
        drive.fail_after(0, u64::MAX / 2, true);
        drive.mend();
        drive.submit(now_ns, DiskRequest::Sync { ticket: Ticket(7), segment: ONE });
        assert_eq!(settle(&mut drive, &mut now_ns), [(7, Finished::Done)]);
    }

    #[test]
    fn slow_operations_take_longer() {
        let (mut drive, now_ns) = ready(4);
        drive.habits.slow_per_mille = 1_000;
        drive.submit(now_ns, DiskRequest::SyncDirectory { ticket: Ticket(1) });
        assert!(drive.next_due_ns().unwrap() >= now_ns + 100 * drive.habits.commit_ns_min);
    }
}
