//! Whoever can publish bytes can publish bytes that look like a log. They are taken for what they are: part of a message.

mod log_support;

use conduit_shard::log::{Class, LogIdentity, LogStart};
use log_support::{IDENTITY, Rig, SHARD, in_words, message, records, scan_all, small_limits};

/// A whole segment of another log, as a payload: every header and record in it is right, but for the secret.
fn imitation(salt: u64) -> Vec<u8> {
    let identity = LogIdentity { salt, ..IDENTITY };
    let mut rig = Rig::on(log_support::MemoryDisk::default(), &small_limits(), LogStart::empty(SHARD, identity));
    rig.settle();
    for seq in 100..110 {
        rig.write(&message(seq, b"imitation"));
    }
    rig.disk.file(1)[..16_384].to_vec()
}

/// Publishes the imitation so that its blocks lie where blocks begin, damages what stands before it, and scans.
fn scanned_with(payload: &[u8]) -> Vec<String> {
    let mut limits = small_limits();
    limits.segment_bytes = 64 << 10;
    limits.batch_bytes_max = 32 << 10;
    let mut rig = Rig::new(&limits);
    rig.write(&message(1, b"before"));
    // Batch header, record header and id come to 83 bytes: the payload is shifted to a block's begin.
    let shifted: Vec<u8> = std::iter::repeat_n(b'.', 4_096 - 83).chain(payload.iter().copied()).collect();
    let at = rig.append(&message(2, &shifted), Class::Publish).unwrap();
    rig.settle();
    let lies_at = at.offset() as usize - 40 + 4_096;
    assert_eq!(&rig.disk.file(1)[lies_at..lies_at + 100], &payload[..100], "the imitation begins with a block");
    rig.write(&message(3, b"after"));
    let offset = at.offset() as usize;
    rig.disk.file(1)[offset - 40..offset + 16].fill(0xff);
    let (scanned, told) = scan_all(&mut rig.disk, &limits);
    assert!(scanned.damage_count > 0);
    records(&told).into_iter().map(|(_, record)| record).collect()
}

#[test]
fn a_payload_that_is_a_segment_of_another_log() {
    let told = scanned_with(&imitation(IDENTITY.salt ^ 1));
    assert_eq!(told, [in_words(&message(1, b"before")), in_words(&message(3, b"after"))]);
}

#[test]
fn a_payload_that_is_a_segment_of_this_log_from_another_place() {
    let told = scanned_with(&imitation(IDENTITY.salt)[4_096..]);
    assert_eq!(told, [in_words(&message(1, b"before")), in_words(&message(3, b"after"))]);
}

#[test]
fn a_copied_segment_is_not_believed_under_another_number() {
    let mut rig = Rig::new(&small_limits());
    rig.write(&message(1, b"one"));
    let copy = rig.disk.file(1).clone();
    rig.disk.files.insert(conduit_shard::log::SegmentId(9), copy);
    assert!(log_support::try_scan(&mut rig.disk, &rig.limits).is_err());
}
