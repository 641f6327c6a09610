//! The log alone: what appending one 128-byte message costs, what a batch costs on its way to the disk, and how fast
//! recovery reads. No disk is involved: the directory is in memory.
#![allow(missing_docs, reason = "criterion's macros define undocumented items")]

use conduit_protocol::{Encoding, Now, ShardId};
use conduit_shard::log::storage::{SegmentFile, Storage, StorageError};
use conduit_shard::log::{
    Class, DiskError, DiskOutcome, Found, Log, LogIdentity, LogLimits, LogStart, MessageRecord, Record, ScanPlan,
    SegmentId, StreamNumber, perform, scan,
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::collections::BTreeMap;
use std::hint::black_box;

const IDENTITY: LogIdentity = LogIdentity { log_id: [1; 16], salt: 0x1234_5678_9abc_def0 };
const NOW: Now = Now { mono_ns: 1_000_000_000, unix_ms: 1_700_000_000_000 };
const ENVELOPE: [u8; 128] = [b'x'; 128];

/// A directory in memory, or one that forgets what is written.
#[derive(Default)]
struct MemoryDisk {
    files: BTreeMap<SegmentId, Vec<u8>>,
    forgets: bool,
}

fn missing(segment: SegmentId) -> StorageError {
    StorageError { what: "use", segment, error: DiskError::Broken, detail: "there is no such segment".into() }
}

impl Storage for MemoryDisk {
    fn list(&mut self) -> Result<Vec<SegmentFile>, StorageError> {
        let file = |(&segment, bytes): (&SegmentId, &Vec<u8>)| SegmentFile { segment, bytes: bytes.len() as u64 };
        Ok(self.files.iter().map(file).collect())
    }

    fn read(&mut self, segment: SegmentId, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let file = self.files.get(&segment).ok_or_else(|| missing(segment))?;
        let rest = file.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn commit(&mut self, segment: SegmentId, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        if !self.forgets {
            let file = self.files.get_mut(&segment).ok_or_else(|| missing(segment))?;
            file[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
        }
        Ok(())
    }

    fn sync(&mut self, _: SegmentId) -> Result<(), StorageError> {
        Ok(())
    }

    fn prepare(&mut self, segment: SegmentId, bytes: u64) -> Result<(), StorageError> {
        let bytes = if self.forgets { 0 } else { bytes };
        self.files.insert(segment, vec![0; bytes as usize]);
        Ok(())
    }

    fn install(&mut self, _: SegmentId) -> Result<(), StorageError> {
        Ok(())
    }

    fn sync_directory(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    fn remove(&mut self, segment: SegmentId) -> Result<(), StorageError> {
        self.files.remove(&segment);
        Ok(())
    }

    fn remove_prepared(&mut self) -> Result<(), StorageError> {
        Ok(())
    }
}

fn message(seq: u64) -> Record<'static> {
    Record::Message(MessageRecord {
        stream: StreamNumber(1),
        seq,
        unix_ms: NOW.unix_ms,
        encoding: Encoding::Json,
        priority: 0,
        not_before_unix_ms: 0,
        expires_unix_ms: 0,
        trace: None,
        dedup_id: "",
        id: "0190a6f2-7b3c-7def-8123-456789abcdef",
        envelope: &ENVELOPE,
    })
}

/// Does everything that the log wants done.
fn drive(log: &mut Log, disk: &mut MemoryDisk, buffer: &mut Vec<u8>) {
    while let Some(request) = log.poll_disk(NOW) {
        let (ticket, result) = perform(disk, &request, buffer);
        let outcome = result.unwrap_or_else(|error| DiskOutcome::Failed(error.error));
        log.complete(NOW, ticket, outcome);
    }
}

/// Appends and commits batches of so many messages. Old segments go, so that it can go on for ever.
fn append(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("append and commit 128 B");
    for messages in [1u64, 64, 1_024] {
        let mut disk = MemoryDisk { forgets: true, ..MemoryDisk::default() };
        let mut log = Log::new(LogLimits::default(), LogStart::empty(ShardId(0), IDENTITY));
        let (mut buffer, mut seq) = (Vec::new(), 0);
        drive(&mut log, &mut disk, &mut buffer);
        group.throughput(Throughput::Elements(messages));
        group.bench_function(format!("{messages} a commit"), |bencher| {
            bencher.iter(|| {
                for _ in 0..messages {
                    seq += 1;
                    black_box(log.append(NOW, &message(seq), Class::Publish).expect("there is room"));
                }
                if log.needs_carry_over(NOW).is_some() {
                    log.append(NOW, &Record::CarriedOver, Class::Upkeep).expect("there is room");
                }
                drive(&mut log, &mut disk, &mut buffer);
            });
        });
    }
    group.finish();
}

/// Reads a log of 256 MiB.
fn recover(criterion: &mut Criterion) {
    let mut disk = MemoryDisk::default();
    let mut log = Log::new(LogLimits::default(), LogStart::empty(ShardId(0), IDENTITY));
    let (mut buffer, mut seq) = (Vec::new(), 0);
    drive(&mut log, &mut disk, &mut buffer);
    while log.figures().record_bytes < 256 << 20 {
        for _ in 0..1_000 {
            seq += 1;
            log.append(NOW, &message(seq), Class::Publish).expect("there is room");
        }
        drive(&mut log, &mut disk, &mut buffer);
    }
    let mut group = criterion.benchmark_group("recovery");
    group.sample_size(10).throughput(Throughput::Bytes(256 << 20));
    group.bench_function("256 MiB of 128 B messages", |bencher| {
        bencher.iter(|| {
            let limits = LogLimits::default();
            let plan = ScanPlan { limits: &limits, shard: ShardId(0), fresh: IDENTITY, is_recovery: true };
            let mut seqs = 0;
            let mut each = |found: Found<'_>| {
                if let Found::Record(_, Record::Message(message)) = found {
                    seqs += black_box(message).seq;
                }
            };
            let scanned = scan(&mut disk, &plan, &mut each, &mut |_, _| {}).expect("the log can be used");
            assert_eq!(scanned.records, seq);
            seqs
        });
    });
    group.finish();
}

criterion_group!(benches, append, recover);
criterion_main!(benches);
