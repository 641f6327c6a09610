//! One bit of a log is wrong, any bit: that is noticed, no record is told that is not as it was written, and every record
//! that the bit is not in is told.

mod log_support;

use conduit_shard::log::{Class, Location, Record, Scanned, SegmentId, encoded_bytes};
use log_support::{Rig, Told, in_words, message, records, scan_all, small_limits};

/// A log of two segments: the first ended by a crash, the second one as it should be.
fn written() -> (Rig, Vec<(Location, u64, String)>) {
    let mut limits = small_limits();
    limits.segment_bytes = 16 << 10;
    limits.batch_bytes_max = 4 << 10;
    let mut all = Vec::new();
    let note = |rig: &mut Rig, record: &Record<'_>, all: &mut Vec<_>| {
        let at = rig.append(record, Class::Publish).unwrap();
        all.push((at, encoded_bytes(record), in_words(record)));
    };
    let mut rig = Rig::new(&limits);
    for seq in 1..=3 {
        note(&mut rig, &message(seq, &[b'a'; 90]), &mut all);
    }
    rig.settle();
    note(&mut rig, &message(4, &[b'b'; 200]), &mut all);
    rig.settle();
    let (mut rig, scanned, _) = Rig::recover(rig.disk, &limits);
    assert!(!scanned.ended_clean);
    rig.log.hold(all[0].0);
    for seq in 5..=6 {
        note(&mut rig, &message(seq, &[b'c'; 90]), &mut all);
    }
    note(&mut rig, &Record::CarriedOver, &mut all);
    rig.settle();
    rig.log.finish();
    rig.settle();
    (rig, all)
}

/// What is told with one bit flipped.
fn flipped(rig: &mut Rig, segment: u32, bit: usize) -> (Scanned, Vec<Told>) {
    rig.disk.file(segment)[bit / 8] ^= 1 << (bit % 8);
    let found = scan_all(&mut rig.disk, &rig.limits);
    rig.disk.file(segment)[bit / 8] ^= 1 << (bit % 8);
    found
}

/// Every bit of the bytes that say something and of their neighbours, and some of those that only fill a block.
fn bits(file: &[u8], to: usize) -> Vec<usize> {
    let is_quiet = |byte: usize| file[byte.saturating_sub(1)..(byte + 2).min(to)].iter().all(|&byte| byte == 0);
    (0..to * 8).filter(|bit| !is_quiet(bit / 8) || bit % 61 == 0).collect()
}

#[test]
fn in_everything_that_is_written() {
    let (mut rig, all) = written();
    let (whole, told) = scan_all(&mut rig.disk.clone(), &rig.limits);
    assert_eq!(whole.damage_count, 0);
    assert!(whole.ended_clean);
    assert_eq!(records(&told).len(), all.len(), "{told:?} {whole:?}");
    for segment in whole.segments.iter().filter(|segment| segment.end > 0) {
        let id = segment.segment.0;
        let end = segment.end.next_multiple_of(4_096) as usize;
        for bit in bits(&rig.disk.file(id).clone(), end) {
            let (scanned, told) = flipped(&mut rig, id, bit);
            let byte = bit as u64 / 8;
            let expected: Vec<_> = all
                .iter()
                .filter(|(at, len, _)| at.segment() != SegmentId(id) || byte < at.offset() || byte >= at.offset() + len)
                .map(|(at, _, record)| (*at, record.clone()))
                .collect();
            assert_eq!(records(&told), expected, "bit {bit} of segment {id}");
            // What a crash may have left behind the end of the first segment is nobody's business.
            let is_behind_the_end = id == 1 && byte >= segment.end;
            let is_noticed = scanned.damage_count > 0 || scanned.torn_bytes > 0 || !scanned.ended_clean;
            assert!(is_noticed || is_behind_the_end, "bit {bit} of segment {id}");
            if byte < 4_096 || expected.len() < all.len() {
                assert!(scanned.damage_count > 0, "bit {bit} of segment {id}: {scanned:?}");
            }
        }
    }
}

#[test]
fn in_what_is_not_yet_written() {
    let (mut rig, all) = written();
    for segment in 2..=3 {
        let from = if segment == 2 { 12_288 } else { 0 };
        for bit in (from * 8..16_384 * 8).step_by(61) {
            let (scanned, told) = flipped(&mut rig, segment, bit);
            assert_eq!(records(&told).len(), all.len());
            let is_noticed = scanned.damage_count > 0 || scanned.torn_bytes > 0 || !scanned.ended_clean;
            let void = scanned.segments.iter().any(|report| report.segment == SegmentId(3) && report.end == 0);
            assert!(is_noticed || (segment == 3 && bit / 8 < 4_096 && void), "bit {bit} of segment {segment}");
        }
    }
}

#[test]
fn in_a_log_that_did_not_end_as_it_should() {
    let mut rig = Rig::new(&small_limits());
    for seq in 1..=4 {
        rig.append(&message(seq, &[b'x'; 60]), Class::Publish).unwrap();
    }
    rig.settle();
    let end = rig.appended[3].0.offset() + encoded_bytes(&message(4, &[b'x'; 60]));
    for bit in 4_096 * 8..end as usize * 8 {
        let (scanned, told) = flipped(&mut rig, 1, bit);
        assert!(scanned.damage_count > 0 || scanned.torn_bytes > 0, "bit {bit}");
        // Nothing says that the last batch was whole once, so what follows the flaw counts as torn with it.
        let whole = records_before(&rig, bit as u64 / 8);
        assert_eq!(records(&told), rig.appended[..whole], "bit {bit}");
    }
}

/// Records before the one that a byte is in; all of them if it is in none.
fn records_before(rig: &Rig, byte: u64) -> usize {
    let len = encoded_bytes(&message(1, &[b'x'; 60]));
    rig.appended.iter().position(|(at, _)| (at.offset()..at.offset() + len).contains(&byte)).unwrap_or(4)
}

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Flips of `in_a_log_of_any_shape`. The tests have time for these; `LOG_FLIPS=1000000` asks for a million.
fn flip_count() -> u64 {
    std::env::var("LOG_FLIPS").map_or(4_000, |count| count.parse().expect("LOG_FLIPS is a number"))
}

#[test]
fn in_a_log_of_any_shape() {
    const FLIPS_OF_A_LOG: u64 = 200;
    let mut dice = Dice(7);
    let (mut flips, mut in_records) = (0, 0);
    while flips < flip_count() {
        let mut limits = small_limits();
        limits.segment_bytes = 4_096 * (4 + dice.below(3));
        limits.batch_bytes_max = 4_096;
        let mut rig = Rig::new(&limits);
        let mut lens = Vec::new();
        for seq in 1..=4 + dice.below(20) {
            let envelope: Vec<u8> = (0..dice.below(900)).map(|_| dice.below(256) as u8).collect();
            rig.append(&message(seq, &envelope), Class::Publish).unwrap();
            lens.push(encoded_bytes(&message(seq, &envelope)));
            if dice.below(3) == 0 {
                rig.settle();
            }
        }
        rig.log.finish();
        rig.settle();
        let (whole, _) = scan_all(&mut rig.disk, &limits);
        if !whole.ended_clean {
            // The last segment is full to the last block: there is no mark of the end.
            continue;
        }
        let segments: Vec<_> = whole.segments.iter().filter(|segment| segment.end > 0).collect();
        for _ in 0..FLIPS_OF_A_LOG {
            let segment = segments[dice.below(segments.len() as u64) as usize];
            let (id, end) = (segment.segment, segment.end.next_multiple_of(4_096));
            let bit = dice.below(end * 8);
            let byte = bit / 8;
            let (scanned, told) = flipped(&mut rig, id.0, bit as usize);
            let is_hit = |(at, _): &(Location, String), len: u64| {
                at.segment() == id && (at.offset()..at.offset() + len).contains(&byte)
            };
            let expected = rig.appended.iter().zip(&lens).filter(|&(record, &len)| !is_hit(record, len));
            let expected: Vec<_> = expected.map(|(record, _)| record.clone()).collect();
            assert_eq!(records(&told), expected, "flip {flips}: bit {bit} of {id:?}");
            let is_noticed = scanned.damage_count > 0 || scanned.torn_bytes > 0 || !scanned.ended_clean;
            assert!(is_noticed, "flip {flips}: bit {bit} of {id:?}");
            flips += 1;
            in_records += u64::from(expected.len() < lens.len());
        }
    }
    // Otherwise most of them hit nothing of worth.
    assert!(in_records * 10 > flips, "{in_records} of {flips}");
}
