//! The bytes of a log are a promise to later versions: a log written today is, byte by byte, the one kept under
//! `golden/`, and reads as it did. `UPDATE_GOLDEN=1` writes the files anew, for a new format version.

mod log_support;

use conduit_protocol::{Encoding, TenantId, TraceContext};
use conduit_shard::log::{
    Class, GroupNumber, GroupRecord, LogIdentity, LogLimits, LogStart, MessageRecord, Outstanding, Record, SegmentId,
    SeqRange, StreamNumber, StreamRecord,
};
use log_support::{MemoryDisk, Rig, SHARD, Told, damage, scan_all};
use std::path::{Path, PathBuf};

const IDENTITY: LogIdentity = LogIdentity { log_id: *b"golden log \x00\x01\x02\x03\x04", salt: 0x0123_4567_89ab_cdef };

fn limits() -> LogLimits {
    LogLimits {
        segment_bytes: 16 << 10,
        batch_bytes_max: 4 << 10,
        unsynced_bytes_max: 16 << 10,
        ..LogLimits::default()
    }
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn plain(seq: u64) -> MessageRecord<'static> {
    MessageRecord {
        stream: StreamNumber(7),
        seq,
        unix_ms: 1_700_000_000_000 + seq,
        encoding: Encoding::Json,
        priority: 0,
        not_before_unix_ms: 0,
        expires_unix_ms: 0,
        trace: None,
        dedup_id: "",
        id: "0190a6f2-7b3c-7def-8123-456789abcdef",
        envelope: br#"{"id":"0190a6f2-7b3c-7def-8123-456789abcdef","payload":"hello"}"#,
    }
}

/// Every kind of record, with everything that it can say.
fn all_kinds(each: &mut dyn FnMut(&Record<'_>)) {
    let ranges = [SeqRange { from: 1, to: 1 }, SeqRange { from: 3, to: 9 }, SeqRange { from: 11, to: u64::MAX }];
    each(&Record::Stream(StreamRecord {
        stream: StreamNumber(7),
        tenant: TenantId(3),
        name: "orders/eu-west/ärger",
        epoch: 1_700_000_000_123,
        next_seq: 12,
        settings: br#"{"retention":{"policy":"log"}}"#,
        gaps: &ranges[..2],
    }));
    each(&Record::Group(GroupRecord {
        group: GroupNumber(2),
        stream: StreamNumber(7),
        name: "billing",
        cursor: 9,
        settings: br#"{"maxDeliver":3}"#,
        outstanding: &[Outstanding { seq: 4, attempts: 1 }, Outstanding { seq: 6, attempts: 4_000_000_000 }],
        done: &ranges[2..],
    }));
    each(&Record::Group(GroupRecord {
        group: GroupNumber(3),
        stream: StreamNumber(7),
        name: "",
        cursor: 1,
        settings: b"",
        outstanding: &[],
        done: &[],
    }));
    each(&Record::Message(plain(1)));
    each(&Record::Message(MessageRecord {
        encoding: Encoding::MessagePack,
        priority: 3,
        not_before_unix_ms: 1_700_000_060_000,
        expires_unix_ms: 1_700_000_120_000,
        dedup_id: "order-4711",
        envelope: &[0x82, 0xa2, b'i', b'd', 0xa1, b'x', 0xa1, b'n', 0x01],
        ..plain(2)
    }));
    each(&Record::Message(MessageRecord { id: "", envelope: b"{}", expires_unix_ms: 1, ..plain(3) }));
    each(&Record::Acked { group: GroupNumber(2), ranges: &ranges });
    each(&Record::Released { stream: StreamNumber(7), ranges: &ranges[..1] });
    each(&Record::GroupDeleted { group: GroupNumber(3) });
    each(&Record::StreamDeleted { stream: StreamNumber(6) });
    each(&Record::CarriedOver);
}

/// A segment that ends by a crash in the middle of a batch, and one that ends as it should.
fn written() -> MemoryDisk {
    let mut rig = Rig::on(MemoryDisk::default(), &limits(), LogStart::empty(SHARD, IDENTITY));
    rig.settle();
    all_kinds(&mut |record| {
        rig.append(record, Class::Publish).unwrap();
    });
    rig.settle();
    rig.write(&Record::Message(plain(4)));
    let torn = rig.append(&Record::Message(plain(5)), Class::Publish).unwrap();
    let lost = rig.append(&Record::Message(plain(6)), Class::Publish).unwrap();
    rig.settle();
    assert_eq!(torn.segment(), SegmentId(1));
    rig.disk.file(1)[lost.offset() as usize + 40..].fill(0);
    let (scanned, _) = scan_all(&mut rig.disk, &limits());
    let now = rig.now;
    let mut again = Rig::on(rig.disk, &limits(), scanned.start);
    again.now = now.plus_ns(60_000_000_000);
    again.settle();
    again.log.hold(torn);
    all_kinds(&mut |record| {
        again.append(record, Class::Publish).unwrap();
    });
    again.settle();
    again.log.finish();
    again.settle();
    again.disk
}

/// Messages with a trace context, which came to the format later: flag 16, and 25 bytes before the texts.
fn traced(each: &mut dyn FnMut(&Record<'_>)) {
    let trace = TraceContext::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    each(&Record::Stream(StreamRecord {
        stream: StreamNumber(7),
        tenant: TenantId(0),
        name: "orders",
        epoch: 1_700_000_000_123,
        next_seq: 1,
        settings: b"",
        gaps: &[],
    }));
    each(&Record::Message(MessageRecord { trace, ..plain(1) }));
    each(&Record::Message(plain(2)));
    each(&Record::Message(MessageRecord {
        trace,
        priority: 2,
        not_before_unix_ms: 1_700_000_060_000,
        expires_unix_ms: 1_700_000_120_000,
        dedup_id: "order-4711",
        ..plain(3)
    }));
    each(&Record::Message(MessageRecord { trace, id: "", envelope: b"{}", ..plain(4) }));
}

/// What a scan tells, a line each.
fn told_lines(told: &[Told]) -> String {
    let line = |told: &Told| match told {
        Told::Record(at, record) => format!("{} {:5} {record}\n", at.segment().0, at.offset()),
        Told::Damage(damage) => format!("damage {damage}\n"),
    };
    told.iter().map(line).collect()
}

#[test]
fn what_is_written_is_what_was_always_written() {
    let mut disk = written();
    let (_, told) = scan_all(&mut disk, &limits());
    let files: Vec<_> = disk.files.iter().filter(|(segment, _)| segment.0 <= 2).collect();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        for (segment, bytes) in &files {
            std::fs::write(golden(&format!("{}.log", segment.0)), bytes).unwrap();
        }
        std::fs::write(golden("records.txt"), told_lines(&told)).unwrap();
    }
    for (segment, bytes) in files {
        let kept = std::fs::read(golden(&format!("{}.log", segment.0))).unwrap();
        let differs = bytes.iter().zip(&kept).position(|(now, then)| now != then);
        assert_eq!((differs, bytes.len()), (None, kept.len()), "the first byte that differs in segment {}", segment.0);
    }
}

#[test]
fn what_was_written_is_read_as_it_was_always_read() {
    let mut disk = MemoryDisk::default();
    for segment in 1..=2 {
        let bytes = std::fs::read(golden(&format!("{segment}.log"))).unwrap();
        disk.files.insert(SegmentId(segment), bytes);
    }
    let (scanned, told) = scan_all(&mut disk, &limits());
    assert_eq!(damage(&told), Vec::<&str>::new());
    assert!(scanned.ended_clean);
    assert_eq!(scanned.start.identity(), IDENTITY);
    assert_eq!(scanned.records, 11 + 2 + 11);
    let expected = std::fs::read_to_string(golden("records.txt")).unwrap();
    assert_eq!(told_lines(&told), expected);
}

#[test]
fn trace_contexts_are_written_as_they_were_first_written_and_read_as_they_were() {
    let mut rig = Rig::on(MemoryDisk::default(), &limits(), LogStart::empty(SHARD, IDENTITY));
    rig.settle();
    traced(&mut |record| {
        rig.append(record, Class::Publish).unwrap();
    });
    rig.settle();
    rig.log.finish();
    rig.settle();
    let bytes = rig.disk.file(1).clone();
    let (file, words) = (golden("traced.log"), golden("traced.txt"));
    let (_, told) = scan_all(&mut rig.disk, &limits());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&file, &bytes).unwrap();
        std::fs::write(&words, told_lines(&told)).unwrap();
    }
    let kept = std::fs::read(file).unwrap();
    let differs = bytes.iter().zip(&kept).position(|(now, then)| now != then);
    assert_eq!((differs, bytes.len()), (None, kept.len()), "the first byte that differs");

    let mut disk = MemoryDisk::default();
    disk.files.insert(SegmentId(1), kept);
    let (scanned, told) = scan_all(&mut disk, &limits());
    assert!(damage(&told).is_empty() && scanned.ended_clean);
    assert_eq!(told_lines(&told), std::fs::read_to_string(words).unwrap());
}
