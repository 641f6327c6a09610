//! Every request has exactly one outcome, and the outcome is true, on a disk and in memory, by either method.

use super::scratch::Scratch;
use super::*;
use crate::readiness::{Readiness, Ready};
use conduit_shard::log::Storage;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const SEGMENT_BYTES: u64 = 4 << 20;
const WAIT: Duration = Duration::from_secs(10);

/// A disk with the set that it wakes, as a shard has them.
struct Bench {
    scratch: Scratch,
    readiness: Readiness,
    disk: Disk,
    tickets: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Done,
    Read(Vec<u8>),
    Failed(DiskError),
}

impl Bench {
    fn on(scratch: Scratch, method: Method) -> Self {
        let readiness = Readiness::new().expect("a set");
        let folder = Folder::open(scratch.path()).expect("a folder");
        let disk = Disk::open_with(folder, 0, &readiness, method).expect("a disk");
        Self { scratch, readiness, disk, tickets: 0 }
    }

    /// Every method on every kind of file system that takes it.
    fn all() -> Vec<Self> {
        let mut all = vec![];
        for method in [Method::Direct, Method::Buffered] {
            for scratch in Scratch::everywhere() {
                let probed = Folder::open(scratch.path()).and_then(|folder| folder.probe()).expect("an answer");
                if method == Method::Buffered || probed == Access::Direct {
                    all.push(Self::on(scratch, method));
                }
            }
        }
        all
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Sleeps as a shard does until so many requests are answered; each at most once.
    fn await_all(&mut self) -> BTreeMap<Ticket, Told> {
        let mut told = BTreeMap::new();
        let mut ready = Vec::new();
        while self.disk.in_flight() > 0 {
            let asleep = Instant::now();
            self.readiness.take(&mut ready, WAIT.as_nanos() as u64);
            // A wait may end early for no reason of ours; one that ends by itself with something to take was not woken.
            let overslept = !ready.contains(&Ready::Disk) && asleep.elapsed() >= WAIT;
            ready.clear();
            let before = told.len();
            self.disk.take(|ticket, outcome| {
                let outcome = match outcome {
                    DiskOutcome::Done => Told::Done,
                    DiskOutcome::Read(bytes) => Told::Read(bytes.to_vec()),
                    DiskOutcome::Failed(error) => Told::Failed(error),
                };
                assert_eq!(told.insert(ticket, outcome), None, "{ticket:?} was answered twice");
            });
            assert!(!overslept || told.len() == before, "a shard that sleeps was not woken");
        }
        told
    }

    /// One request and its outcome.
    fn run(&mut self, request: impl FnOnce(Ticket) -> DiskRequest<'static>) -> Told {
        let ticket = self.ticket();
        self.disk.submit(request(ticket));
        self.await_all().remove(&ticket).expect("answered")
    }

    fn commit(&mut self, segment: SegmentId, offset: u64, bytes: &[u8]) -> Told {
        let ticket = self.ticket();
        self.disk.submit(DiskRequest::Commit { ticket, segment, offset, bytes });
        self.await_all().remove(&ticket).expect("answered")
    }

    fn read(&mut self, segment: SegmentId, offset: u64, len: u32) -> Told {
        self.run(|ticket| DiskRequest::Read { ticket, segment, offset, len })
    }

    fn install(&mut self, segment: SegmentId) {
        assert_eq!(self.run(|ticket| DiskRequest::Prepare { ticket, segment, bytes: SEGMENT_BYTES }), Told::Done);
        assert_eq!(self.run(|ticket| DiskRequest::Install { ticket, segment }), Told::Done);
        assert_eq!(self.run(|ticket| DiskRequest::SyncDirectory { ticket }), Told::Done);
    }

    fn file(&self, segment: SegmentId) -> PathBuf {
        self.scratch.path().join(folder::installed_name(segment))
    }
}

/// Bytes that are not the same anywhere.
fn pattern(seed: u64, len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (at.wrapping_mul(0x9e37_79b9).wrapping_add(seed * 7_919) >> 11) as u8).collect()
}

#[test]
fn what_is_committed_is_in_the_file_and_is_read_back() {
    for mut bench in Bench::all() {
        let segment = SegmentId(1);
        bench.install(segment);
        let mut expected = vec![0; SEGMENT_BYTES as usize];
        for (offset, len) in [(0, 4_096), (4_096, 65_536), (1 << 20, 1 << 20), (SEGMENT_BYTES - 4_096, 4_096)] {
            let bytes = pattern(offset, len);
            assert_eq!(bench.commit(segment, offset, &bytes), Told::Done);
            expected[offset as usize..][..len].copy_from_slice(&bytes);
        }
        assert_eq!(std::fs::read(bench.file(segment)).expect("readable"), expected);
        for (offset, len) in [(0, 4_096), (0, SEGMENT_BYTES), (1 << 20, 8_192)] {
            let read = bench.read(segment, offset, len as u32);
            assert_eq!(read, Told::Read(expected[offset as usize..][..len as usize].to_vec()));
        }
    }
}

#[test]
fn a_read_past_the_end_carries_what_there_is() {
    for mut bench in Bench::all() {
        bench.install(SegmentId(1));
        assert_eq!(bench.read(SegmentId(1), SEGMENT_BYTES - 4_096, 8_192), Told::Read(vec![0; 4_096]));
        assert_eq!(bench.read(SegmentId(1), SEGMENT_BYTES, 4_096), Told::Read(vec![]));
    }
}

#[test]
fn many_requests_at_once_are_answered_once_each() {
    for mut bench in Bench::all() {
        let segment = SegmentId(1);
        bench.install(segment);
        let bytes: Vec<_> = (0..40).map(|at| pattern(at, 8_192)).collect();
        for (at, bytes) in bytes.iter().enumerate() {
            let ticket = bench.ticket();
            assert!(bench.disk.has_room());
            bench.disk.submit(DiskRequest::Commit { ticket, segment, offset: at as u64 * 8_192, bytes });
        }
        let ticket = bench.ticket();
        bench.disk.submit(DiskRequest::Prepare { ticket, segment: SegmentId(2), bytes: SEGMENT_BYTES });
        assert_eq!(bench.disk.in_flight(), 41);
        let told = bench.await_all();
        assert_eq!(told.len(), 41);
        assert!(told.values().all(|told| *told == Told::Done));
        assert_eq!(bench.read(segment, 0, 40 * 8_192), Told::Read(bytes.concat()));
    }
}

#[test]
fn a_commit_does_not_wait_for_a_segment_that_is_being_prepared() {
    for mut bench in Bench::all() {
        bench.install(SegmentId(1));
        let slow = bench.ticket();
        bench.disk.submit(DiskRequest::Prepare { ticket: slow, segment: SegmentId(2), bytes: 64 << 20 });
        let quick = bench.ticket();
        bench.disk.submit(DiskRequest::Commit { ticket: quick, segment: SegmentId(1), offset: 0, bytes: &[1; 4_096] });
        let other = bench.ticket();
        bench.disk.submit(DiskRequest::SyncDirectory { ticket: other });
        let mut order = Vec::new();
        let mut ready = Vec::new();
        while bench.disk.in_flight() > 0 {
            bench.readiness.take(&mut ready, 10_000_000_000);
            bench.disk.take(|ticket, outcome| {
                assert_eq!(outcome, DiskOutcome::Done);
                order.push(ticket);
            });
        }
        assert_eq!(order.last(), Some(&slow), "{order:?}");
    }
}

#[test]
fn what_is_not_there_fails_and_what_is_removed_is_gone() {
    for mut bench in Bench::all() {
        let broken = Told::Failed(DiskError::Broken);
        assert_eq!(bench.commit(SegmentId(9), 0, &[0; 4_096]), broken);
        assert_eq!(bench.read(SegmentId(9), 0, 4_096), broken);
        assert_eq!(bench.run(|ticket| DiskRequest::Install { ticket, segment: SegmentId(9) }), broken);
        assert_eq!(bench.run(|ticket| DiskRequest::Sync { ticket, segment: SegmentId(9) }), broken);
        bench.install(SegmentId(1));
        assert_eq!(bench.commit(SegmentId(1), 0, &[1; 4_096]), Told::Done);
        assert_eq!(bench.run(|ticket| DiskRequest::Sync { ticket, segment: SegmentId(1) }), Told::Done);
        assert_eq!(bench.run(|ticket| DiskRequest::Remove { ticket, segment: SegmentId(1) }), Told::Done);
        assert!(!bench.file(SegmentId(1)).exists());
        // The descriptor that the commit used is not used again.
        assert_eq!(bench.commit(SegmentId(1), 0, &[1; 4_096]), broken);
        // The disk goes on afterwards: whether the log does is the log's affair.
        bench.install(SegmentId(2));
        assert_eq!(bench.commit(SegmentId(2), 0, &[1; 4_096]), Told::Done);
    }
}

#[test]
fn more_segments_than_are_kept_open_are_read_back() {
    for mut bench in Bench::all() {
        let segments = OPEN_SEGMENTS_MAX as u32 + 3;
        for segment in 1..=segments {
            bench.install(SegmentId(segment));
            assert_eq!(bench.commit(SegmentId(segment), 0, &pattern(segment.into(), 4_096)), Told::Done);
        }
        for segment in (1..=segments).chain(1..=segments) {
            let read = bench.read(SegmentId(segment), 0, 4_096);
            assert_eq!(read, Told::Read(pattern(segment.into(), 4_096)));
        }
        assert!(bench.disk.open.0.len() <= OPEN_SEGMENTS_MAX);
    }
}

#[test]
fn a_disk_that_is_dropped_has_done_what_it_was_given() {
    for mut bench in Bench::all() {
        let segment = SegmentId(1);
        bench.install(segment);
        for at in 0..8_u64 {
            let ticket = bench.ticket();
            let bytes = pattern(at, 4_096);
            bench.disk.submit(DiskRequest::Commit { ticket, segment, offset: at * 4_096, bytes: &bytes });
        }
        let ticket = bench.ticket();
        bench.disk.submit(DiskRequest::Prepare { ticket, segment: SegmentId(2), bytes: 256 << 20 });
        let file = bench.file(segment);
        let Bench { scratch: _scratch, disk, .. } = bench;
        drop(disk);
        let found = std::fs::read(file).expect("readable");
        for at in 0..8 {
            assert_eq!(found[at * 4_096..][..4_096], pattern(at as u64, 4_096));
        }
    }
}

#[test]
fn recovery_sees_what_was_installed_and_reads_what_was_committed() {
    for mut bench in Bench::all() {
        bench.install(SegmentId(1));
        bench.install(SegmentId(2));
        let bytes = pattern(5, 65_536);
        assert_eq!(bench.commit(SegmentId(2), 8_192, &bytes), Told::Done);
        let prepared = bench.run(|ticket| DiskRequest::Prepare { ticket, segment: SegmentId(3), bytes: SEGMENT_BYTES });
        assert_eq!(prepared, Told::Done);

        let mut files = Files::open(bench.scratch.path()).expect("a directory");
        let listed: Vec<_> = files.list().expect("listed").iter().map(|file| (file.segment.0, file.bytes)).collect();
        assert_eq!(listed, [(1, SEGMENT_BYTES), (2, SEGMENT_BYTES)]);
        let mut found = vec![1; 65_536];
        assert_eq!(files.read(SegmentId(2), 8_192, &mut found), Ok(65_536));
        assert_eq!(found, bytes);
        assert_eq!(files.read(SegmentId(2), SEGMENT_BYTES - 4_096, &mut found), Ok(4_096));
        assert_eq!(files.sync(SegmentId(2)), Ok(()));
        assert_eq!(files.remove_prepared(), Ok(()));
        assert!(files.install(SegmentId(3)).is_err());
        assert_eq!(files.prepare(SegmentId(4), SEGMENT_BYTES), Ok(()));
        assert_eq!(files.install(SegmentId(4)), Ok(()));
        assert_eq!(files.sync_directory(), Ok(()));
        assert_eq!(files.commit(SegmentId(4), 4_096, &bytes), Ok(()));
        assert_eq!(bench.read(SegmentId(4), 4_096, 65_536), Told::Read(bytes.clone()));
        assert_eq!(files.remove(SegmentId(1)), Ok(()));
        assert_eq!(files.list().expect("listed").len(), 2);
    }
}

#[test]
fn one_request_beyond_the_limit_is_answered_and_the_others_are_done() {
    for mut bench in Bench::all() {
        bench.install(SegmentId(1));
        let limit = if bench.disk.ring.is_some() { ring::OPERATIONS_MAX } else { keeper::JOBS_MAX };
        for at in 0..=limit {
            assert_eq!(bench.disk.has_room(), at < limit);
            let ticket = bench.ticket();
            bench.disk.submit(DiskRequest::Read { ticket, segment: SegmentId(1), offset: 0, len: 4_096 });
        }
        let told = bench.await_all();
        assert_eq!(told.len(), limit + 1);
        let failed: Vec<_> = told.iter().filter(|(_, told)| **told == Told::Failed(DiskError::Broken)).collect();
        assert_eq!(failed.len(), 1, "only the one that was too many");
        assert_eq!(Some(failed[0].0), told.keys().last());
        assert!(bench.disk.has_room());
        assert_eq!(bench.read(SegmentId(1), 0, 4_096), Told::Read(vec![0; 4_096]));
    }
}

#[test]
fn a_full_disk_is_told_from_a_broken_one_and_takes_more_when_there_is_room() {
    for method in [Method::Direct, Method::Buffered] {
        // Only root may mount one.
        let Some(scratch) = Scratch::small(8 << 20) else { return };
        if method == Method::Direct && Folder::open(scratch.path()).expect("a folder").probe() != Ok(Access::Direct) {
            continue;
        }
        let mut bench = Bench::on(scratch, method);
        let full = Told::Failed(DiskError::Full);
        let prepare =
            |segment, bytes| move |ticket| DiskRequest::Prepare { ticket, segment: SegmentId(segment), bytes };
        assert_eq!(bench.run(prepare(1, 6 << 20)), Told::Done);
        assert_eq!(bench.run(|ticket| DiskRequest::Install { ticket, segment: SegmentId(1) }), Told::Done);
        assert_eq!(bench.run(prepare(2, 4 << 20)), full);
        assert!(!bench.scratch.path().join(folder::prepared_name(SegmentId(2))).exists(), "it gives its room back");
        assert_eq!(bench.run(prepare(2, 1 << 20)), Told::Done);
        // A file with a hole in it: what the room was never taken for.
        std::fs::File::create(bench.file(SegmentId(3))).and_then(|file| file.set_len(4 << 20)).expect("made");
        assert_eq!(bench.commit(SegmentId(3), 0, &vec![1; 4 << 20]), full);
        assert_eq!(bench.run(|ticket| DiskRequest::Remove { ticket, segment: SegmentId(3) }), Told::Done);
        assert_eq!(bench.run(|ticket| DiskRequest::Remove { ticket, segment: SegmentId(1) }), Told::Done);
        assert_eq!(bench.run(prepare(3, 6 << 20)), Told::Done);
    }
}

#[test]
fn a_directory_opened_to_look_at_it_is_not_changed() {
    let mut bench = Bench::on(Scratch::new(), Method::Buffered);
    bench.install(SegmentId(1));
    let mut files = Files::open_read_only(bench.scratch.path()).expect("a directory");
    assert_eq!(files.read(SegmentId(1), 0, &mut [0; 4_096]), Ok(4_096));
    assert!(files.commit(SegmentId(1), 0, &[1; 4_096]).is_err());
    assert!(files.sync(SegmentId(1)).is_err());
    assert!(files.prepare(SegmentId(2), 4_096).is_err());
    assert!(files.install(SegmentId(2)).is_err());
    assert!(files.remove(SegmentId(1)).is_err());
    assert!(files.remove_prepared().is_err());
    assert!(files.sync_directory().is_err());
    assert_eq!(files.list().expect("listed").len(), 1);
}
