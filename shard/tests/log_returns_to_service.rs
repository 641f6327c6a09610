//! When there is no room, publishes are refused and upkeep goes on in the reserve; when there is room again, service
//! returns by itself.

mod log_support;

use conduit_shard::log::{Class, Completed, GroupNumber, LogState, Record, Refused, SegmentId, SeqRange};
use log_support::{Rig, message, scan_all, small_limits};

const SEGMENT: u64 = 32 << 10;

/// Publishes until the log refuses, each message durable before the next. Says how many it took and why it stopped.
fn fill(rig: &mut Rig) -> (u64, Refused) {
    for count in 0.. {
        match rig.append(&message(count + 1, &[b'f'; 1_000]), Class::Publish) {
            Ok(at) => rig.log.hold(at),
            Err(refused) => return (count, refused),
        }
        rig.settle();
    }
    unreachable!("no room is endless")
}

fn acked(to: u64) -> [SeqRange; 1] {
    [SeqRange { from: 1, to }]
}

/// Appends acks until there is no room for them either.
fn fill_with_upkeep(rig: &mut Rig) -> u64 {
    let mut count = 0;
    while rig.append(&Record::Acked { group: GroupNumber(1), ranges: &acked(9) }, Class::Upkeep).is_ok() {
        rig.log.flush();
        rig.settle();
        count += 1;
    }
    count
}

#[test]
fn publishes_leave_a_whole_segment_for_upkeep() {
    let mut rig = Rig::new(&small_limits());
    rig.disk.room = Some(3 * SEGMENT);
    let (published, refused) = fill(&mut rig);
    assert_eq!(refused, Refused::Full);
    assert_eq!(rig.log.state(), LogState::Full);
    // Two segments of seven blocks, one message a block.
    assert_eq!(published, 14);
    assert_eq!(fill_with_upkeep(&mut rig), 5, "three quarters of a segment, one record a block");
    let again = rig.append(&message(99, b"x"), Class::Publish);
    assert_eq!(again, Err(Refused::Full));
    let upkeep = rig.append(&Record::CarriedOver, Class::Upkeep);
    assert_eq!(upkeep, Err(Refused::Full));
    // What lets an old segment go always finds room.
    for _ in 0..2 {
        rig.append(&Record::CarriedOver, Class::CarryOver).unwrap();
        rig.log.flush();
        rig.settle();
    }
    assert_eq!(rig.append(&Record::CarriedOver, Class::CarryOver), Err(Refused::Full));
    let (scanned, _) = scan_all(&mut rig.disk, &rig.limits);
    assert_eq!((scanned.records, scanned.damage_count), (21, 0));
}

#[test]
fn room_that_comes_by_trimming_is_used_at_once() {
    let mut rig = Rig::new(&small_limits());
    rig.disk.room = Some(3 * SEGMENT);
    fill(&mut rig);
    let firsts: Vec<_> = rig.appended.iter().map(|(at, _)| *at).filter(|at| at.segment() == SegmentId(1)).collect();
    for at in firsts {
        rig.log.release(at);
    }
    assert_eq!(rig.log.needs_carry_over(rig.now), Some(SegmentId(2)));
    rig.completed.clear();
    rig.append(&Record::CarriedOver, Class::Upkeep).unwrap();
    rig.log.flush();
    rig.settle();
    assert!(!rig.disk.files.contains_key(&SegmentId(1)), "the oldest segment is gone");
    assert_eq!(rig.completed.iter().filter(|completed| **completed == Completed::RoomAgain).count(), 1);
    assert_eq!(rig.log.state(), LogState::Open);
    rig.write(&message(99, b"again"));
}

#[test]
fn room_that_comes_from_elsewhere_is_found_after_a_while() {
    let mut rig = Rig::new(&small_limits());
    rig.disk.room = Some(2 * SEGMENT);
    fill(&mut rig);
    rig.disk.room = None;
    rig.settle();
    assert_eq!(rig.append(&message(99, b"x"), Class::Publish), Err(Refused::Full), "it is not tried all the time");
    let deadline = rig.log.next_deadline().expect("it will be tried again");
    let wait_ns = deadline - rig.now.mono_ns;
    assert_eq!(wait_ns, rig.limits.full_retry_ms * 1_000_000);
    rig.now = rig.now.plus_ns(wait_ns - 1);
    rig.settle();
    assert_eq!(rig.log.state(), LogState::Full);
    rig.now = rig.now.plus_ns(1);
    rig.completed.clear();
    rig.settle();
    assert_eq!(rig.completed, [Completed::RoomAgain]);
    rig.write(&message(99, b"again"));
}

#[test]
fn the_bound_of_the_log_is_kept_and_is_not_an_error_of_the_disk() {
    let mut limits = small_limits();
    limits.log_bytes_max = 5 * SEGMENT;
    let mut rig = Rig::new(&limits);
    let (published, refused) = fill(&mut rig);
    assert_eq!((published, refused), (28, Refused::Full));
    assert_eq!(rig.disk.used(), 5 * SEGMENT);
    assert_eq!(rig.log.figures().bytes_now, 5 * SEGMENT);
    assert_eq!(fill_with_upkeep(&mut rig), 5);
    assert_eq!(rig.disk.used(), 5 * SEGMENT);
    assert_eq!(rig.log.next_deadline(), None, "nothing but trimming helps, so nothing is tried");
}

#[test]
fn a_new_segment_that_is_only_slow_is_no_lack_of_room() {
    let mut rig = Rig::on(
        log_support::MemoryDisk::default(),
        &small_limits(),
        conduit_shard::log::LogStart::empty(log_support::SHARD, log_support::IDENTITY),
    );
    assert_eq!(rig.append(&message(1, b"x"), Class::Publish), Err(Refused::Busy));
    assert_eq!(rig.log.state(), LogState::Open);
    let asked = rig.poll().expect("a segment is made ready");
    assert_eq!(rig.append(&message(1, b"x"), Class::Publish), Err(Refused::Busy));
    rig.carry_out(&asked);
    rig.settle();
    rig.write(&message(1, b"x"));
}

#[test]
fn a_restart_in_a_full_directory_still_takes_upkeep() {
    let mut rig = Rig::new(&small_limits());
    rig.disk.room = Some(3 * SEGMENT);
    fill(&mut rig);
    let (mut again, scanned, _) = Rig::recover(rig.disk, &rig.limits);
    assert_eq!(scanned.damage_count, 0);
    assert_eq!(again.append(&message(99, b"x"), Class::Publish), Err(Refused::Full));
    assert!(fill_with_upkeep(&mut again) > 0);
}

#[test]
fn a_log_at_its_bound_without_a_place_to_write_goes_beyond_it_for_upkeep_and_by_four_segments() {
    let limits = conduit_shard::log::LogLimits { log_bytes_max: 4 * SEGMENT, ..small_limits() };
    let mut rig = Rig::new(&limits);
    fill(&mut rig);
    fill_with_upkeep(&mut rig);
    for beyond in 1..=4 {
        assert_eq!(rig.disk.used(), (3 + beyond) * SEGMENT);
        // An end that is not orderly: what was written last is not written to any more.
        rig = Rig::recover(rig.disk, &limits).0;
        assert_eq!(rig.disk.used(), (4 + beyond) * SEGMENT);
        assert_eq!(rig.append(&message(99, b"x"), Class::Publish), Err(Refused::Full));
        assert!(fill_with_upkeep(&mut rig) > 0);
    }
    rig = Rig::recover(rig.disk, &limits).0;
    assert_eq!(fill_with_upkeep(&mut rig), 0);
    assert_eq!(rig.append(&Record::CarriedOver, Class::CarryOver), Err(Refused::Full));
    assert_eq!(rig.disk.used(), 8 * SEGMENT);
}

#[test]
fn what_lets_an_old_segment_go_finds_room_beyond_the_bound_when_the_last_segment_is_full_of_it() {
    let limits = conduit_shard::log::LogLimits { log_bytes_max: 4 * SEGMENT, ..small_limits() };
    let mut rig = Rig::new(&limits);
    fill(&mut rig);
    fill_with_upkeep(&mut rig);
    while rig.append(&Record::CarriedOver, Class::CarryOver).is_ok() {
        rig.log.flush();
        rig.settle();
    }
    rig.settle();
    rig.append(&Record::CarriedOver, Class::CarryOver).unwrap();
    assert_eq!(rig.append(&message(99, b"x"), Class::Publish), Err(Refused::Full));
    assert_eq!(rig.disk.used(), 5 * SEGMENT);
}
