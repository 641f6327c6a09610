//! Segments go from the oldest on, when nothing in them is needed and all that is needed of older ones is carried over;
//! one at a time, each durably before the next.

mod log_support;

use conduit_shard::log::{Class, Location, Record, SegmentId};
use log_support::{Asked, Rig, message, scan_all, small_limits};

/// Four segments of one message a block, every message held.
fn written() -> (Rig, Vec<Location>) {
    let mut rig = Rig::new(&small_limits());
    for seq in 1..=25 {
        let at = rig.write(&message(seq, &[b'x'; 4_000]));
        rig.log.hold(at);
    }
    let held = rig.appended.iter().map(|(at, _)| *at).collect();
    (rig, held)
}

fn carry_over(rig: &mut Rig) {
    rig.append(&Record::CarriedOver, Class::Publish).unwrap();
    rig.settle();
}

fn segments(rig: &Rig) -> Vec<u32> {
    rig.disk.files.keys().map(|segment| segment.0).collect()
}

fn release(rig: &mut Rig, held: &[Location], segment: u32) {
    for &at in held.iter().filter(|at| at.segment() == SegmentId(segment)) {
        rig.log.release(at);
    }
}

#[test]
fn a_newer_segment_waits_for_the_older_ones() {
    let (mut rig, held) = written();
    carry_over(&mut rig);
    let all = segments(&rig);
    release(&mut rig, &held, 2);
    release(&mut rig, &held, 3);
    rig.settle();
    assert_eq!(segments(&rig), all);
    release(&mut rig, &held, 1);
    rig.settle();
    assert_eq!(segments(&rig)[0], 4, "then all three go");
    assert_eq!(rig.log.figures().segments_removed, 3);
    let (scanned, _) = scan_all(&mut rig.disk, &rig.limits);
    assert_eq!((scanned.damage_count, scanned.records), (0, 5));
}

#[test]
fn one_held_record_keeps_its_segment() {
    let (mut rig, held) = written();
    carry_over(&mut rig);
    for &at in &held[1..] {
        rig.log.release(at);
    }
    rig.settle();
    assert_eq!(segments(&rig)[0], 1);
    rig.log.hold(held[0]);
    rig.log.release(held[0]);
    rig.settle();
    assert_eq!(segments(&rig)[0], 1, "it was held twice");
    rig.log.release(held[0]);
    rig.settle();
    assert_eq!(segments(&rig)[0], 4);
}

#[test]
fn nothing_goes_before_everything_is_carried_over_durably() {
    let (mut rig, held) = written();
    assert_eq!(rig.log.needs_carry_over(rig.now), None, "there is nothing to gain");
    release(&mut rig, &held, 1);
    rig.settle();
    assert_eq!(segments(&rig)[0], 1);
    let newest = rig.appended.last().unwrap().0.segment();
    assert_eq!(rig.log.needs_carry_over(rig.now), Some(newest));
    rig.append(&Record::CarriedOver, Class::Publish).unwrap();
    assert_eq!(rig.log.needs_carry_over(rig.now), None, "it is on its way");
    let commit = rig.poll().unwrap();
    assert!(matches!(commit, Asked::Commit(..)));
    let next = rig.poll();
    assert!(!matches!(next, Some(Asked::Remove(..))), "the mark is not durable yet");
    if let Some(next) = next {
        rig.carry_out(&next);
    }
    rig.carry_out(&commit);
    rig.settle();
    assert_eq!(segments(&rig)[0], 2);
}

#[test]
fn a_time_until_which_a_segment_is_needed_passes_by_itself() {
    let (mut rig, held) = written();
    carry_over(&mut rig);
    rig.log.hold_until(held[2], rig.now.unix_ms + 5_000);
    rig.log.hold_until(held[3], rig.now.unix_ms + 4_000);
    release(&mut rig, &held, 1);
    rig.settle();
    assert_eq!(segments(&rig)[0], 1);
    assert_eq!(rig.log.next_deadline(), Some(rig.now.mono_ns + 5_000_000_000));
    rig.wait_ms(4_999);
    rig.settle();
    assert_eq!(segments(&rig)[0], 1);
    rig.wait_ms(1);
    rig.settle();
    assert_eq!(segments(&rig)[0], 2);
}

#[test]
fn a_segment_that_is_read_stays_until_it_was_read() {
    let (mut rig, held) = written();
    carry_over(&mut rig);
    rig.log.read(SegmentId(1), 4_096, 4_096).unwrap();
    release(&mut rig, &held, 1);
    let read = rig.poll().unwrap();
    assert!(matches!(read, Asked::Read(..)));
    assert_eq!(rig.poll(), None);
    rig.carry_out(&read);
    rig.settle();
    assert_eq!(segments(&rig)[0], 2);
}

#[test]
fn a_trim_cut_off_anywhere_leaves_a_whole_log() {
    let (mut rig, held) = written();
    for segment in 1..=3 {
        release(&mut rig, &held, segment);
    }
    carry_over_without_trimming(&mut rig);
    loop {
        let (scanned, _) = scan_all(&mut rig.disk.clone(), &rig.limits);
        assert_eq!(scanned.damage_count, 0, "{:?}", scanned.damage);
        let (mut again, _, told) = Rig::recover(rig.disk.clone(), &rig.limits);
        assert!(!told.is_empty());
        assert_eq!(segments(&again)[0], 4, "what was carried over stays so, and trimming goes on");
        again.write(&message(99, b"x"));
        let Some(asked) = rig.poll() else { break };
        rig.carry_out(&asked);
    }
    assert_eq!(segments(&rig)[0], 4);
}

fn carry_over_without_trimming(rig: &mut Rig) {
    rig.append(&Record::CarriedOver, Class::Publish).unwrap();
    let batch = rig.log.appended();
    while rig.log.committed() < batch {
        let asked = rig.poll().unwrap();
        rig.carry_out(&asked);
    }
}
