//! What the disk lost between things that it kept is damage: told where it is, nothing more is lost by it, and nothing is
//! overwritten. It is never taken for a torn end.

mod log_support;

use conduit_shard::log::{Class, ScanError, SegmentId, encoded_bytes};
use log_support::{Rig, Told, damage, message, records, scan_all, small_limits, try_scan};

/// Six batches of two records each over two segments, ended by a crash.
fn written() -> Rig {
    let mut limits = small_limits();
    limits.segment_bytes = 16 << 10;
    limits.batch_bytes_max = 4 << 10;
    let mut rig = Rig::new(&limits);
    for seq in (1..=12).step_by(2) {
        rig.append(&message(seq, &[b'x'; 1_000]), Class::Publish).unwrap();
        rig.append(&message(seq + 1, &[b'y'; 1_000]), Class::Publish).unwrap();
        rig.settle();
    }
    assert_eq!(rig.appended[6].0.segment(), SegmentId(2));
    rig
}

fn without(rig: &Rig, lost: &[usize]) -> Vec<(conduit_shard::log::Location, String)> {
    let kept = rig.appended.iter().enumerate().filter(|(index, _)| !lost.contains(index));
    kept.map(|(_, record)| record.clone()).collect()
}

#[test]
fn a_lost_batch_is_damage_and_the_next_ones_are_read() {
    let rig = written();
    for batch in 0..5 {
        let (segment, offset) = (1 + batch as u32 / 3, 4_096 * (1 + batch % 3));
        let mut disk = rig.disk.clone();
        disk.file(segment)[offset..offset + 4_096].fill(0);
        let (scanned, told) = scan_all(&mut disk, &rig.limits);
        assert_eq!(records(&told), without(&rig, &[2 * batch, 2 * batch + 1]));
        // The header of the second segment says how far the first is valid: not to the end of its last block.
        let end = offset + if batch == 2 { 40 + 2 * encoded_bytes(&message(1, &[0; 1_000])) as usize } else { 4_096 };
        assert_eq!(damage(&told), [format!("lost {segment} {offset}..{end}")]);
        assert_eq!(scanned.torn_bytes, 0);
    }
}

#[test]
fn a_bad_record_takes_only_itself_and_is_told_in_its_place() {
    let rig = written();
    for index in 0..10 {
        let (at, _) = rig.appended[index];
        let mut disk = rig.disk.clone();
        disk.file(at.segment().0)[at.offset() as usize + 100] ^= 0x10;
        let (_, told) = scan_all(&mut disk, &rig.limits);
        assert_eq!(records(&told), without(&rig, &[index]));
        let end = at.offset() + encoded_bytes(&message(1, &[0; 1_000]));
        let expected = format!("lost {} {}..{end}", at.segment().0, at.offset());
        assert_eq!(told[index], Told::Damage(expected));
    }
}

#[test]
fn a_bad_length_takes_only_its_record() {
    let rig = written();
    let (at, _) = rig.appended[4];
    for len in [0u32, 1, 16, 17, 1_000, 5_000, 1 << 20, u32::MAX] {
        let mut disk = rig.disk.clone();
        let file = disk.file(at.segment().0);
        file[at.offset() as usize + 4..at.offset() as usize + 8].copy_from_slice(&len.to_le_bytes());
        let (scanned, told) = scan_all(&mut disk, &rig.limits);
        assert_eq!(records(&told), without(&rig, &[4]), "length {len}");
        assert_eq!(scanned.damage_count, 1);
    }
}

#[test]
fn the_last_batch_of_a_segment_that_has_a_successor_is_damage() {
    let rig = written();
    let (at, _) = rig.appended[5];
    let mut disk = rig.disk.clone();
    disk.file(1)[at.offset() as usize..].fill(0);
    let (scanned, told) = scan_all(&mut disk, &rig.limits);
    assert_eq!(records(&told), without(&rig, &[5]));
    assert_eq!((scanned.damage_count, scanned.torn_bytes), (1, 0));
}

#[test]
fn a_missing_segment_is_damage_and_a_missing_oldest_one_is_not() {
    let mut rig = written();
    for seq in 13..=24 {
        rig.write(&message(seq, &[b'z'; 1_000]));
    }
    let newest = rig.appended.last().unwrap().0.segment();
    assert!(newest >= SegmentId(4));
    let mut disk = rig.disk.clone();
    disk.files.remove(&SegmentId(1));
    let (scanned, _) = scan_all(&mut disk, &rig.limits);
    assert_eq!(scanned.damage_count, 0, "trimming takes the oldest ones");
    disk.files.remove(&SegmentId(3));
    let (scanned, told) = scan_all(&mut disk, &rig.limits);
    assert_eq!(damage(&told), ["missing 3 0..0"]);
    let first_of_four = told.iter().position(|told| matches!(told, Told::Record(at, _) if at.segment().0 == 4));
    let missing = told.iter().position(|told| matches!(told, Told::Damage(_)));
    assert!(missing < first_of_four, "it is told before what follows");
    assert!(scanned.damage[0].kind.loses_records());
}

#[test]
fn blocks_that_cannot_be_read_take_only_what_is_in_them() {
    let rig = written();
    let mut disk = rig.disk.clone();
    disk.unreadable.push((SegmentId(1), 8_192));
    let (_, told) = scan_all(&mut disk, &rig.limits);
    assert_eq!(records(&told), without(&rig, &[2, 3]));
    assert_eq!(damage(&told), ["lost 1 8192..12288", "unreadable 1 8192..12288"]);
}

#[test]
fn a_segment_without_a_header_is_read_all_the_same() {
    let rig = written();
    for segment in 1..=2 {
        let mut disk = rig.disk.clone();
        disk.file(segment)[..4_096].fill(0);
        let (_, told) = scan_all(&mut disk, &rig.limits);
        assert_eq!(records(&told), without(&rig, &[]));
        assert_eq!(damage(&told), [format!("header {segment} 0..4096")]);
    }
}

#[test]
fn a_log_without_any_header_is_refused_as_long_as_there_is_data() {
    let rig = written();
    let mut disk = rig.disk.clone();
    disk.file(1)[..4_096].fill(0);
    disk.file(2)[..4_096].fill(0);
    assert_eq!(try_scan(&mut disk, &rig.limits).unwrap_err(), ScanError::NoHeader { segment: SegmentId(1) });
}

#[test]
fn writing_goes_on_behind_damage_and_it_is_still_told() {
    let rig = written();
    let mut disk = rig.disk.clone();
    disk.file(1)[8_192 + 200] ^= 1;
    let before = disk.files.clone();
    let (mut again, _, _) = Rig::recover(disk, &rig.limits);
    again.write(&message(13, b"more"));
    for (segment, file) in &before {
        if segment.0 <= 2 {
            assert_eq!(&again.disk.files[segment], file, "what was there stays as it is");
        }
    }
    let (scanned, told) = scan_all(&mut again.disk, &rig.limits);
    assert_eq!(records(&told).len(), 12);
    assert_eq!(scanned.damage_count, 1);
}
