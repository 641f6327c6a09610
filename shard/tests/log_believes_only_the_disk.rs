//! After a failed write the system may go on showing bytes that the disk never got, and say yes to every later sync. What
//! recovery tells from such bytes is on the disk before recovery ends.

mod log_support;

use conduit_shard::log::storage::{SegmentFile, Storage, StorageError};
use conduit_shard::log::{Class, DiskOutcome, Record, SegmentId};
use log_support::{Asked, MemoryDisk, Rig, damage, message, records, small_limits, try_scan};

/// A disk behind a cache. Only writes that are made durable reach the disk.
#[derive(Clone)]
struct CachedDisk {
    shown: MemoryDisk,
    kept: MemoryDisk,
}

impl CachedDisk {
    /// What a failed write leaves: it is shown, and not kept.
    fn after_failed(rig: &Rig, asked: &Asked) -> Self {
        let Asked::Commit(_, segment, offset, bytes) = asked else { panic!("{asked:?} is no commit") };
        let kept = rig.disk.clone();
        let mut shown = kept.clone();
        shown.commit(*segment, *offset, bytes).unwrap();
        Self { shown, kept }
    }
}

impl Storage for CachedDisk {
    fn list(&mut self) -> Result<Vec<SegmentFile>, StorageError> {
        self.shown.list()
    }
    fn read(&mut self, segment: SegmentId, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        self.shown.read(segment, offset, buffer)
    }
    fn commit(&mut self, segment: SegmentId, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.shown.commit(segment, offset, bytes)?;
        self.kept.commit(segment, offset, bytes)
    }
    fn sync(&mut self, _: SegmentId) -> Result<(), StorageError> {
        Ok(())
    }
    fn prepare(&mut self, segment: SegmentId, bytes: u64) -> Result<(), StorageError> {
        self.shown.prepare(segment, bytes)?;
        self.kept.prepare(segment, bytes)
    }
    fn install(&mut self, segment: SegmentId) -> Result<(), StorageError> {
        self.shown.install(segment)?;
        self.kept.install(segment)
    }
    fn sync_directory(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
    fn remove(&mut self, segment: SegmentId) -> Result<(), StorageError> {
        self.shown.remove(segment)?;
        self.kept.remove(segment)
    }
    fn remove_prepared(&mut self) -> Result<(), StorageError> {
        self.shown.remove_prepared()?;
        self.kept.remove_prepared()
    }
}

/// Recovers what the system shows, goes on writing, cuts the power, and recovers what the disk kept.
fn told_before_and_after_the_cut(rig: &Rig, failed: &Asked) {
    let mut disk = CachedDisk::after_failed(rig, failed);
    let limits = small_limits();
    let (scanned, before) = try_scan(&mut disk, &limits).unwrap();
    assert_eq!(damage(&before), Vec::<&str>::new());
    let mut again = Rig::on(disk.kept, &limits, scanned.start);
    again.settle();
    let at = again.write(&message(9, b"after"));
    let (scanned, after) = try_scan(&mut again.disk, &limits).unwrap();
    assert_eq!(damage(&after), Vec::<&str>::new());
    assert!(records(&after).starts_with(&records(&before)), "what was told once is there again");
    assert_eq!(records(&after).len(), records(&before).len() + 1);
    assert_eq!(records(&after).last().map(|(place, _)| *place), Some(at));
    assert_eq!(scanned.torn_bytes, 0);
}

#[test]
fn of_a_batch() {
    let mut rig = Rig::new(&small_limits());
    rig.write(&message(1, b"kept"));
    rig.append(&message(2, &[b'x'; 6_000]), Class::Publish).unwrap();
    let failed = rig.poll().unwrap();
    told_before_and_after_the_cut(&rig, &failed);
}

#[test]
fn of_a_header_block() {
    let mut rig = Rig::new(&small_limits());
    for seq in 1..=7 {
        rig.write(&message(seq, &[b'x'; 4_000]));
    }
    rig.append(&message(8, &[b'x'; 4_000]), Class::Publish).unwrap();
    let failed = rig.poll().unwrap();
    assert!(matches!(failed, Asked::Commit(_, SegmentId(2), 0, _)), "{failed:?}");
    told_before_and_after_the_cut(&rig, &failed);
}

#[test]
fn of_the_mark_of_a_good_end() {
    let mut rig = Rig::new(&small_limits());
    rig.write(&message(1, b"kept"));
    rig.log.finish();
    let failed = rig.poll().unwrap();
    told_before_and_after_the_cut(&rig, &failed);
}

#[test]
fn and_looking_alone_writes_nothing() {
    let mut rig = Rig::new(&small_limits());
    rig.write(&message(1, b"kept"));
    rig.append(&Record::CarriedOver, Class::Publish).unwrap();
    let failed = rig.poll().unwrap();
    let mut disk = CachedDisk::after_failed(&rig, &failed);
    let kept = disk.kept.files.clone();
    let limits = small_limits();
    let fresh = log_support::IDENTITY;
    let plan = conduit_shard::log::ScanPlan { limits: &limits, shard: log_support::SHARD, fresh, is_recovery: false };
    conduit_shard::log::scan(&mut disk, &plan, &mut |_| {}, &mut |_, _| {}).unwrap();
    assert_eq!(disk.kept.files, kept);
    assert!(rig.complete(&failed, DiskOutcome::Done) != conduit_shard::log::Completed::Failed);
}
