//! Streams that move to another number of shards are there whole, or the loss is told, or nothing is moved; the old logs are
//! never changed.

mod common;
mod log_support;
mod logged;

use common::limits;
use conduit_protocol::ShardId;
use conduit_protocol::streams::Durability;
use conduit_shard::log::storage::{SegmentFile, StorageError};
use conduit_shard::log::{DiskError, LogIdentity, SegmentId, Storage};
use conduit_shard::{DurabilityOf, MoveError, MovePlan, Moved, move_streams};
use log_support::{IDENTITY, MemoryDisk, small_limits};
use logged::Logged;

/// A disk of which some reads fail, counted from the first.
struct Moody {
    disk: MemoryDisk,
    reads: u64,
    failing: std::ops::Range<u64>,
}

impl Storage for &mut Moody {
    fn list(&mut self) -> Result<Vec<SegmentFile>, StorageError> {
        self.disk.list()
    }

    fn read(&mut self, segment: SegmentId, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        self.reads += 1;
        if self.failing.contains(&self.reads) {
            return Err(StorageError {
                what: "read",
                segment,
                error: DiskError::Broken,
                detail: "now and then".into(),
            });
        }
        self.disk.read(segment, offset, buffer)
    }

    fn commit(&mut self, segment: SegmentId, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        self.disk.commit(segment, offset, bytes)
    }

    fn sync(&mut self, segment: SegmentId) -> Result<(), StorageError> {
        self.disk.sync(segment)
    }

    fn prepare(&mut self, segment: SegmentId, bytes: u64) -> Result<(), StorageError> {
        self.disk.prepare(segment, bytes)
    }

    fn install(&mut self, segment: SegmentId) -> Result<(), StorageError> {
        self.disk.install(segment)
    }

    fn sync_directory(&mut self) -> Result<(), StorageError> {
        self.disk.sync_directory()
    }

    fn remove(&mut self, segment: SegmentId) -> Result<(), StorageError> {
        self.disk.remove(segment)
    }

    fn remove_prepared(&mut self) -> Result<(), StorageError> {
        self.disk.remove_prepared()
    }
}

/// The log of the one shard that there was, with so many messages.
fn old(messages: u64) -> MemoryDisk {
    let mut logged = Logged::new(limits(), &small_limits());
    for _ in 0..messages {
        let mut outcome = logged.bench.publish("s", "m", &[&b"\""[..], &[b'x'; 500], b"\""].concat());
        outcome.merge(logged.work());
        assert_eq!(outcome.published.len(), 1);
    }
    logged.bench.shard.close_log(logged.bench.now);
    logged.work();
    logged.disk
}

/// Moves it to one shard again; what was done, how often the old disk was read, and what the new one has.
fn move_from(disk: &MemoryDisk, failing: std::ops::Range<u64>) -> (Result<Moved, MoveError>, u64, MemoryDisk) {
    let now = conduit_protocol::Now { mono_ns: 1_000_000_000, unix_ms: 1_700_000_001_000 };
    let mut old = Moody { disk: disk.clone(), reads: 0, failing };
    let mut new = Moody { disk: MemoryDisk::default(), reads: 0, failing: 0..0 };
    let durability = || -> DurabilityOf { Box::new(|_| Durability::Commit) };
    let mut plan = MovePlan {
        limits: limits(),
        log_limits: small_limits(),
        fresh: &mut || LogIdentity { ..IDENTITY },
        durability_of: &durability,
    };
    let moved = move_streams(now, &mut [Box::new(&mut old)], &mut [Box::new(&mut new)], &mut plan, &mut |_, _| ());
    assert_eq!(old.disk.files, disk.files, "the old log is as it was");
    (moved, old.reads, new.disk)
}

fn messages_in(disk: MemoryDisk) -> u64 {
    let now = conduit_protocol::Now { mono_ns: 2_000_000_000, unix_ms: 1_700_000_002_000 };
    let logged = Logged::on(disk, now, (limits(), small_limits(), Durability::Commit));
    logged.bench.shard.totals().messages_now
}

#[test]
fn all_of_them_from_a_disk_that_is_well() {
    let (moved, _, new) = move_from(&old(30), 0..0);
    let moved = moved.expect("nothing is wrong");
    assert_eq!((moved.streams, moved.messages, moved.damaged, moved.lost_seqs), (1, 30, 0, 0));
    assert_eq!(messages_in(new), 30);
}

#[test]
fn whichever_read_fails() {
    let disk = old(30);
    let (_, reads, _) = move_from(&disk, 0..0);
    let (mut whole, mut told, mut refused) = (0, 0, 0);
    for read in 1..=reads {
        // The whole piece, and then some of its blocks by themselves.
        let (moved, _, new) = move_from(&disk, read..read + 4);
        match moved {
            Ok(moved) => {
                let missing = 30 - messages_in(new);
                assert!(missing == 0 || moved.damaged > 0, "read {read}: {missing} are missing, and {moved:?}");
                whole += u64::from(missing == 0);
                told += u64::from(missing > 0);
            }
            Err(MoveError::Unsteady { shard, missing }) => {
                assert!(shard == ShardId(0) && missing > 0);
                refused += 1;
            }
            Err(MoveError::Read { .. }) => refused += 1,
            Err(error) => panic!("read {read}: {error}"),
        }
    }
    assert!(told > 0 && refused > 0, "of {reads}: {whole} whole, {told} told, {refused} refused");
}
