//! A log directory in memory, and a log that runs on it with every request checked.
#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

use conduit_protocol::{Encoding, Now, ShardId};
use conduit_shard::log::order::OrderCheck;
use conduit_shard::log::storage::{SegmentFile, Storage, StorageError};
use conduit_shard::log::{
    Class, Completed, DiskError, DiskOutcome, DiskRequest, Found, Location, Log, LogIdentity, LogLimits, LogStart,
    MessageRecord, Record, Refused, ScanError, ScanPlan, Scanned, SegmentId, SegmentRole, StreamNumber, Ticket,
    perform, scan,
};
use std::collections::BTreeMap;

pub const IDENTITY: LogIdentity = LogIdentity { log_id: *b"the log of tests", salt: 0x5a17_5a17_1234_5678 };
pub const SHARD: ShardId = ShardId(2);

/// Small segments: a header block and seven blocks of batches.
pub fn small_limits() -> LogLimits {
    LogLimits {
        segment_bytes: 32 << 10,
        batch_bytes_max: 8 << 10,
        unsynced_bytes_max: 64 << 10,
        ..LogLimits::default()
    }
}

/// A directory whose writes are durable at once.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    pub files: BTreeMap<SegmentId, Vec<u8>>,
    pub prepared: BTreeMap<SegmentId, Vec<u8>>,
    /// Bytes that all files together may have.
    pub room: Option<u64>,
    /// Blocks that cannot be read.
    pub unreadable: Vec<(SegmentId, u64)>,
}

impl MemoryDisk {
    pub fn used(&self) -> u64 {
        self.files.values().chain(self.prepared.values()).map(|bytes| bytes.len() as u64).sum()
    }

    pub fn file(&mut self, segment: u32) -> &mut Vec<u8> {
        self.files.get_mut(&SegmentId(segment)).expect("the segment is there")
    }
}

fn failed(what: &'static str, segment: SegmentId, error: DiskError) -> StorageError {
    StorageError { what, segment, error, detail: "as the test says".into() }
}

impl Storage for MemoryDisk {
    fn list(&mut self) -> Result<Vec<SegmentFile>, StorageError> {
        let file = |(&segment, bytes): (&SegmentId, &Vec<u8>)| SegmentFile { segment, bytes: bytes.len() as u64 };
        Ok(self.files.iter().map(file).collect())
    }

    fn read(&mut self, segment: SegmentId, offset: u64, buffer: &mut [u8]) -> Result<usize, StorageError> {
        let blocks = offset..offset + buffer.len() as u64;
        if self.unreadable.iter().any(|(bad, block)| *bad == segment && blocks.contains(block)) {
            return Err(failed("read", segment, DiskError::Broken));
        }
        let file = self.files.get(&segment).ok_or_else(|| failed("read", segment, DiskError::Broken))?;
        let rest = file.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn commit(&mut self, segment: SegmentId, offset: u64, bytes: &[u8]) -> Result<(), StorageError> {
        let file = self.files.get_mut(&segment).ok_or_else(|| failed("commit", segment, DiskError::Broken))?;
        file[offset as usize..offset as usize + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn sync(&mut self, _: SegmentId) -> Result<(), StorageError> {
        Ok(())
    }

    fn prepare(&mut self, segment: SegmentId, bytes: u64) -> Result<(), StorageError> {
        if self.room.is_some_and(|room| self.used() + bytes > room) {
            return Err(failed("prepare", segment, DiskError::Full));
        }
        self.prepared.insert(segment, vec![0; bytes as usize]);
        Ok(())
    }

    fn install(&mut self, segment: SegmentId) -> Result<(), StorageError> {
        let file = self.prepared.remove(&segment).ok_or_else(|| failed("install", segment, DiskError::Broken))?;
        self.files.insert(segment, file);
        Ok(())
    }

    fn sync_directory(&mut self) -> Result<(), StorageError> {
        Ok(())
    }

    fn remove(&mut self, segment: SegmentId) -> Result<(), StorageError> {
        self.files.remove(&segment).map(|_| ()).ok_or_else(|| failed("remove", segment, DiskError::Broken))
    }

    fn remove_prepared(&mut self) -> Result<(), StorageError> {
        self.prepared.clear();
        Ok(())
    }
}

/// What a scan told, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Record(Location, String),
    Damage(String),
}

/// A record in words, its envelope by length and hash.
pub fn in_words(record: &Record<'_>) -> String {
    let Record::Message(message) = record else { return format!("{record:?}") };
    let hash = message
        .envelope
        .iter()
        .fold(0xcbf2_9ce4_8422_2325u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    let bare = MessageRecord { envelope: &[], ..*message };
    // What few messages have is not said of the others: words that were kept before there was such a thing stay true.
    let words = format!("{bare:?}").replace("trace: None, ", "");
    format!("{words} with {} bytes, {hash:x}", message.envelope.len())
}

/// Scans a directory and keeps everything that it tells.
pub fn try_scan(disk: &mut dyn Storage, limits: &LogLimits) -> Result<(Scanned, Vec<Told>), ScanError> {
    let mut told = Vec::new();
    let mut done = (0, 0);
    let plan = ScanPlan { limits, shard: SHARD, fresh: IDENTITY, is_recovery: true };
    let scanned = scan(
        disk,
        &plan,
        &mut |found| {
            told.push(match found {
                Found::Record(at, record) => Told::Record(at, in_words(&record)),
                Found::Damage(damage) => {
                    Told::Damage(format!("{} {} {}..{}", damage.kind.name(), damage.segment.0, damage.from, damage.to))
                }
            });
        },
        &mut |bytes, total| {
            assert!(bytes >= done.0 && bytes <= total, "progress goes forward: {done:?}, {bytes} of {total}");
            done = (bytes, total);
        },
    )?;
    assert_eq!(done.0, done.1, "progress comes to its end");
    Ok((scanned, told))
}

pub fn scan_all(disk: &mut MemoryDisk, limits: &LogLimits) -> (Scanned, Vec<Told>) {
    try_scan(disk, limits).expect("the log can be used")
}

/// The records that a scan told, without the damage.
pub fn records(told: &[Told]) -> Vec<(Location, String)> {
    told.iter()
        .filter_map(|told| match told {
            Told::Record(at, record) => Some((*at, record.clone())),
            Told::Damage(_) => None,
        })
        .collect()
}

pub fn damage(told: &[Told]) -> Vec<&str> {
    told.iter()
        .filter_map(|told| match told {
            Told::Damage(damage) => Some(damage.as_str()),
            Told::Record(..) => None,
        })
        .collect()
}

/// A plain message of stream 1.
pub fn message(seq: u64, envelope: &[u8]) -> Record<'_> {
    Record::Message(MessageRecord {
        stream: StreamNumber(1),
        seq,
        unix_ms: 1_700_000_000_000 + seq,
        encoding: Encoding::Json,
        priority: 0,
        not_before_unix_ms: 0,
        expires_unix_ms: 0,
        trace: None,
        dedup_id: "",
        id: "message",
        envelope,
    })
}

/// A log on a directory in memory.
pub struct Rig {
    pub log: Log,
    pub disk: MemoryDisk,
    pub check: OrderCheck,
    pub now: Now,
    pub limits: LogLimits,
    /// Everything appended, in order.
    pub appended: Vec<(Location, String)>,
    /// What [`Rig::settle`] was told besides `Nothing`.
    pub completed: Vec<Completed>,
}

impl Rig {
    /// A new log in an empty directory, ready to be written.
    pub fn new(limits: &LogLimits) -> Self {
        let mut rig = Self::on(MemoryDisk::default(), limits, LogStart::empty(SHARD, IDENTITY));
        rig.settle();
        rig
    }

    /// A log that goes on where a scan ended.
    pub fn on(mut disk: MemoryDisk, limits: &LogLimits, start: LogStart) -> Self {
        assert_eq!(limits.validate(), Ok(()));
        let (scanned, _) = scan_all(&mut disk, limits);
        Self {
            log: Log::new(limits.clone(), start),
            check: check_of(&scanned),
            disk,
            now: Now { mono_ns: 1_000_000_000, unix_ms: 1_700_000_000_000 },
            limits: limits.clone(),
            appended: Vec::new(),
            completed: Vec::new(),
        }
    }

    /// Recovers a directory, and goes on with it.
    pub fn recover(mut disk: MemoryDisk, limits: &LogLimits) -> (Self, Scanned, Vec<Told>) {
        let (scanned, told) = scan_all(&mut disk, limits);
        let mut rig = Self::on(disk, limits, scanned.start.clone());
        rig.settle();
        (rig, scanned, told)
    }

    pub fn append(&mut self, record: &Record<'_>, class: Class) -> Result<Location, Refused> {
        let at = self.log.append(self.now, record, class)?;
        self.appended.push((at, in_words(record)));
        Ok(at)
    }

    /// Appends and makes durable.
    pub fn write(&mut self, record: &Record<'_>) -> Location {
        let at = self.append(record, Class::Publish).expect("there is room");
        self.settle();
        at
    }

    /// Ends the batch that is filled by making it durable.
    pub fn settle(&mut self) {
        let mut buffer = Vec::new();
        while let Some(request) = self.log.poll_disk(self.now) {
            self.check.request(&request).expect("requests keep their order");
            let (ticket, result) = perform(&mut self.disk, &request, &mut buffer);
            let outcome = result.unwrap_or_else(|error| DiskOutcome::Failed(error.error));
            self.check.outcome(ticket, &outcome).expect("the outcome has a request");
            let completed = self.log.complete(self.now, ticket, outcome);
            if completed != Completed::Nothing {
                self.completed.push(completed);
            }
        }
    }

    /// Takes one request without carrying it out.
    pub fn poll(&mut self) -> Option<Asked> {
        let request = self.log.poll_disk(self.now)?;
        self.check.request(&request).expect("requests keep their order");
        Some(Asked::of(&request))
    }

    /// Tells the log what came of a request.
    pub fn complete(&mut self, asked: &Asked, outcome: DiskOutcome<'_>) -> Completed {
        self.check.outcome(asked.ticket(), &outcome).expect("the outcome has a request");
        self.log.complete(self.now, asked.ticket(), outcome)
    }

    /// Carries a request out and tells the log.
    pub fn carry_out(&mut self, asked: &Asked) -> Completed {
        let mut buffer = Vec::new();
        let (ticket, result) = asked.with(|request| perform(&mut self.disk, request, &mut buffer));
        let outcome = result.unwrap_or_else(|error| DiskOutcome::Failed(error.error));
        assert_eq!(ticket, asked.ticket());
        self.check.outcome(ticket, &outcome).expect("the outcome has a request");
        self.log.complete(self.now, ticket, outcome)
    }

    pub fn wait_ms(&mut self, ms: u64) {
        self.now = self.now.plus_ns(ms * 1_000_000);
    }
}

fn check_of(scanned: &Scanned) -> OrderCheck {
    OrderCheck::new(scanned.segments.iter().map(|segment| SegmentFile {
        segment: segment.segment,
        bytes: if segment.role == SegmentRole::Ready { 0 } else { segment.end.next_multiple_of(4_096).max(1) },
    }))
}

/// A request, on its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked {
    Prepare(Ticket, SegmentId, u64),
    Install(Ticket, SegmentId),
    SyncDirectory(Ticket),
    Commit(Ticket, SegmentId, u64, Vec<u8>),
    Read(Ticket, SegmentId, u64, u32),
    Remove(Ticket, SegmentId),
}

impl Asked {
    pub fn of(request: &DiskRequest<'_>) -> Self {
        match *request {
            DiskRequest::Prepare { ticket, segment, bytes } => Self::Prepare(ticket, segment, bytes),
            DiskRequest::Install { ticket, segment } => Self::Install(ticket, segment),
            DiskRequest::SyncDirectory { ticket } => Self::SyncDirectory(ticket),
            DiskRequest::Commit { ticket, segment, offset, bytes } => {
                Self::Commit(ticket, segment, offset, bytes.to_vec())
            }
            DiskRequest::Read { ticket, segment, offset, len } => Self::Read(ticket, segment, offset, len),
            DiskRequest::Remove { ticket, segment } => Self::Remove(ticket, segment),
            DiskRequest::Sync { .. } => panic!("no log asks for that"),
        }
    }

    pub const fn ticket(&self) -> Ticket {
        match *self {
            Self::Prepare(ticket, ..)
            | Self::Install(ticket, _)
            | Self::SyncDirectory(ticket)
            | Self::Commit(ticket, ..)
            | Self::Read(ticket, ..)
            | Self::Remove(ticket, _) => ticket,
        }
    }

    pub fn with<T>(&self, each: impl FnOnce(&DiskRequest<'_>) -> T) -> T {
        each(&match *self {
            Self::Prepare(ticket, segment, bytes) => DiskRequest::Prepare { ticket, segment, bytes },
            Self::Install(ticket, segment) => DiskRequest::Install { ticket, segment },
            Self::SyncDirectory(ticket) => DiskRequest::SyncDirectory { ticket },
            Self::Commit(ticket, segment, offset, ref bytes) => DiskRequest::Commit { ticket, segment, offset, bytes },
            Self::Read(ticket, segment, offset, len) => DiskRequest::Read { ticket, segment, offset, len },
            Self::Remove(ticket, segment) => DiskRequest::Remove { ticket, segment },
        })
    }
}
