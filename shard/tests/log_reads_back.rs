//! A record at a known place comes back from the disk, with those that follow it; never another one.

mod log_support;

use conduit_shard::log::{
    Class, Completed, DiskError, DiskOutcome, Location, Next, ReadRange, Records, Refused, SegmentId,
};
use log_support::{Asked, IDENTITY, Rig, in_words, message, small_limits};

/// Everything that can be had from bytes, and how many more the next one needs.
fn all(bytes: &[u8], offset: u64, from: Location) -> (Vec<(Location, String)>, Option<u32>) {
    let mut records = Records::new(IDENTITY, bytes, offset, from);
    let mut found = Vec::new();
    loop {
        match records.next() {
            Next::Record(at, record) => found.push((at, in_words(&record))),
            Next::More(_, bytes) => return (found, Some(bytes)),
            Next::Nothing => return (found, None),
        }
    }
}

fn read(rig: &mut Rig, range: ReadRange) -> Vec<u8> {
    let ticket = rig.log.read(range.segment, range.offset, range.len).expect("reads are not at their bound");
    let asked = rig.poll().expect("a read is a request");
    assert_eq!(asked, Asked::Read(ticket, range.segment, range.offset, range.len));
    let file = &rig.disk.files[&range.segment];
    let bytes = file[range.offset as usize..(range.offset + u64::from(range.len)) as usize].to_vec();
    assert_eq!(rig.complete(&asked, DiskOutcome::Read(&bytes)), Completed::Read);
    bytes
}

/// Two segments with batches of all sizes; the sum of the lengths meets block borders in many ways.
fn written() -> Rig {
    let mut rig = Rig::new(&small_limits());
    for seq in 1..=40 {
        rig.append(&message(seq, &vec![b'm'; (seq as usize * 397) % 3_000]), Class::Publish).unwrap();
        if seq % 3 == 0 {
            rig.settle();
        }
    }
    // Two batches that end exactly with their block.
    for seq in 41..=42 {
        rig.write(&message(seq, &[b'e'; 4_096 - 40 - 36 - 7 - 5]));
    }
    rig.settle();
    rig
}

#[test]
fn from_every_place_with_all_that_follow_in_its_segment() {
    let mut rig = written();
    let appended = rig.appended.clone();
    for (index, (at, _)) in appended.iter().enumerate() {
        let whole = ReadRange::of(*at, 1 << 20, rig.log.segment_bytes(at.segment()).unwrap());
        let bytes = read(&mut rig, whole);
        let (found, more) = all(&bytes, whole.offset, *at);
        let rest: Vec<_> =
            appended[index..].iter().filter(|(next, _)| next.segment() == at.segment()).cloned().collect();
        assert_eq!(found, rest);
        assert_eq!(more, None);
    }
}

#[test]
fn a_window_of_any_length_gives_what_is_whole_in_it() {
    let mut rig = written();
    let (at, _) = rig.appended[3];
    let whole = ReadRange::of(at, 1 << 20, rig.log.segment_bytes(at.segment()).unwrap());
    let bytes = read(&mut rig, whole);
    let (expected, _) = all(&bytes, whole.offset, at);
    for len in (0..bytes.len().min(13_000)).step_by(5) {
        let (found, more) = all(&bytes[..len], whole.offset, at);
        assert!(expected.starts_with(&found), "of {len} bytes");
        if let Some(more) = more {
            let from = found.len();
            let needed = expected[from].0.offset() - whole.offset + u64::from(more);
            assert!(needed > len as u64, "what is asked for is more than there was");
            let (again, _) = all(&bytes[..(needed as usize).min(bytes.len())], whole.offset, at);
            assert!(again.len() > from || more == 16, "with so many bytes it comes: {more}");
        }
    }
}

#[test]
fn a_flipped_bit_is_never_served() {
    let mut rig = written();
    let (at, record) = rig.appended[0].clone();
    let range = ReadRange::of(at, 1, rig.log.segment_bytes(at.segment()).unwrap());
    let bytes = read(&mut rig, range);
    let next = rig.appended[1].0.offset();
    for bit in (at.offset() - 4_096) * 8..(next - 4_096) * 8 {
        let mut flipped = bytes.clone();
        flipped[bit as usize / 8] ^= 1 << (bit % 8);
        let (found, _) = all(&flipped, range.offset, at);
        assert!(found.is_empty(), "bit {bit}");
    }
    assert_eq!(all(&bytes, range.offset, at).0[0], (at, record));
}

#[test]
fn a_place_where_no_record_begins_gives_nothing() {
    let mut rig = written();
    let range = ReadRange { segment: SegmentId(1), offset: 4_096, len: 16_384 };
    let bytes = read(&mut rig, range);
    for offset in (4_096..20_480).step_by(8) {
        let from = Location::new(SegmentId(1), offset).unwrap();
        let (found, _) = all(&bytes, range.offset, from);
        if let Some((at, _)) = found.first()
            && at.offset() == offset
        {
            assert!(rig.appended.contains(&found[0]));
        }
    }
    let beyond = Location::new(SegmentId(1), 40_000).unwrap();
    assert_eq!(all(&bytes, range.offset, beyond), (Vec::new(), None));
    let before = Location::new(SegmentId(1), 4_088).unwrap();
    assert_eq!(all(&bytes, range.offset, before), (Vec::new(), None));
}

#[test]
fn so_many_reads_are_under_way_and_no_more() {
    let mut limits = small_limits();
    limits.reads_max = 3;
    let mut rig = Rig::new(&limits);
    rig.write(&message(1, b"one"));
    let tickets: Vec<_> = (0..3).map(|_| rig.log.read(SegmentId(1), 4_096, 4_096).unwrap()).collect();
    assert_eq!(rig.log.read(SegmentId(1), 4_096, 4_096), None);
    let asked: Vec<_> = (0..3).map(|_| rig.poll().unwrap()).collect();
    assert_eq!(rig.poll(), None);
    assert_eq!(asked.iter().map(Asked::ticket).collect::<Vec<_>>(), tickets);
    assert_eq!(rig.log.read(SegmentId(1), 4_096, 4_096), None, "also while they are carried out");
    let failed = DiskOutcome::Failed(DiskError::Broken);
    assert_eq!(rig.complete(&asked[1], failed), Completed::ReadFailed(DiskError::Broken));
    assert!(rig.log.read(SegmentId(1), 4_096, 4_096).is_some());
    assert_eq!(rig.log.append(rig.now, &message(2, b"two"), Class::Publish).err(), None::<Refused>);
}
