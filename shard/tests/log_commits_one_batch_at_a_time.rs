//! One commit is under way, one batch is filled meanwhile. What is promised is what was committed, and urgent records do
//! not wait for anything but the disk.

mod log_support;

use conduit_shard::log::{Class, Completed, DiskOutcome, GroupNumber, Record, Refused, encoded_bytes};
use log_support::{Asked, Rig, message, records, scan_all, small_limits};

fn ack() -> Record<'static> {
    Record::Acked { group: GroupNumber(1), ranges: &[] }
}

fn started() -> Rig {
    let mut rig = Rig::new(&small_limits());
    rig.write(&message(1, b"first"));
    rig
}

#[test]
fn what_comes_while_the_disk_works_shares_the_next_commit() {
    let mut rig = started();
    let before = rig.log.committed();
    rig.append(&message(2, b"alone"), Class::Publish).unwrap();
    let two = rig.log.appended();
    let first = rig.poll().unwrap();
    for seq in 3..=9 {
        rig.append(&message(seq, b"together"), Class::Publish).unwrap();
        assert_eq!(rig.poll(), None, "one commit at a time");
    }
    let nine = rig.log.appended();
    assert!(before < two && two < nine);
    rig.now = rig.now.plus_ns(1_234);
    assert_eq!(rig.complete(&first, DiskOutcome::Done), Completed::Committed { upto: two, took_ns: 1_234 });
    assert_eq!(rig.log.committed(), two);
    let second = rig.poll().unwrap();
    assert_eq!(rig.poll(), None);
    assert_eq!(rig.complete(&second, DiskOutcome::Done), Completed::Committed { upto: nine, took_ns: 0 });
    assert_eq!((rig.log.committed(), rig.poll()), (nine, None));
    let figures = rig.log.figures();
    assert_eq!((figures.records, figures.records_committed, figures.unsynced_bytes_now), (9, 9, 0));
}

#[test]
fn a_dead_letter_waits_for_nothing_but_the_disk() {
    let mut rig = started();
    rig.append(&message(2, b"a letter"), Class::Letter).unwrap();
    assert!(matches!(rig.poll(), Some(Asked::Commit(..))), "until it is visible, its message is nowhere to be seen");
}

#[test]
fn upkeep_waits_for_company_and_not_longer() {
    let mut rig = started();
    rig.append(&ack(), Class::Upkeep).unwrap();
    assert_eq!((rig.poll(), rig.log.is_about_to_seal(rig.now)), (None, false));
    assert_eq!(rig.log.next_deadline(), Some(rig.now.mono_ns + 50_000_000));
    rig.wait_ms(49);
    assert_eq!(rig.poll(), None);
    rig.wait_ms(1);
    assert!(rig.log.is_about_to_seal(rig.now));
    assert!(matches!(rig.poll(), Some(Asked::Commit(..))));
    assert!(!rig.log.is_about_to_seal(rig.now));
}

#[test]
fn upkeep_leaves_with_the_first_publish() {
    let mut rig = started();
    rig.append(&ack(), Class::Upkeep).unwrap();
    rig.append(&message(2, b"x"), Class::Publish).unwrap();
    assert!(rig.log.is_about_to_seal(rig.now));
    let asked = rig.poll().unwrap();
    rig.carry_out(&asked);
    assert_eq!(records(&scan_all(&mut rig.disk, &rig.limits).1), rig.appended);
}

#[test]
fn a_promise_within_a_time_is_kept_at_that_time() {
    let mut rig = started();
    rig.append(&message(2, b"x"), Class::PublishWithin(20)).unwrap();
    rig.append(&message(3, b"x"), Class::PublishWithin(1_000)).unwrap();
    rig.wait_ms(19);
    assert_eq!(rig.poll(), None);
    rig.wait_ms(1);
    assert!(rig.poll().is_some());
}

#[test]
fn a_flush_waits_for_nothing() {
    let mut rig = started();
    rig.log.flush();
    assert_eq!(rig.poll(), None, "there is nothing to flush");
    rig.append(&ack(), Class::Upkeep).unwrap();
    rig.log.flush();
    assert!(rig.poll().is_some());
}

#[test]
fn more_than_may_be_unsynced_is_refused_until_some_is_durable() {
    let mut limits = small_limits();
    limits.segment_bytes = 1 << 20;
    let mut rig = Rig::new(&limits);
    rig.write(&message(1, b"first"));
    let large = message(2, &[b'l'; 900]);
    let len = encoded_bytes(&large);
    let fitting = limits.unsynced_bytes_max / len;
    for _ in 0..fitting {
        rig.append(&large, Class::Publish).unwrap();
    }
    assert_eq!(rig.append(&large, Class::Publish), Err(Refused::Busy));
    assert_eq!(rig.log.segment_for(rig.now, len, Class::Publish), Err(Refused::Busy));
    let small_enough = limits.unsynced_bytes_max - fitting * len;
    let fits: Vec<u8> = vec![b's'; small_enough as usize - encoded_bytes(&message(3, b"")) as usize];
    assert_eq!(rig.append(&message(3, &[&fits[..], b"12345678"].concat()), Class::Publish), Err(Refused::Busy));
    rig.append(&message(3, &fits), Class::Publish).expect("the bound itself passes");
    for _ in 0..fitting {
        rig.append(&large, Class::Upkeep).expect("upkeep may have twice as much");
    }
    assert_eq!(rig.append(&large, Class::Upkeep), Err(Refused::Busy));
    rig.settle();
    rig.append(&large, Class::Publish).unwrap();
}

#[test]
fn one_record_passes_whatever_its_size_as_long_as_it_fits_into_a_segment() {
    let mut limits = small_limits();
    limits.unsynced_bytes_max = limits.batch_bytes_max;
    let mut rig = Rig::new(&limits);
    let overhead = encoded_bytes(&message(1, b""));
    let largest = vec![b'x'; (limits.record_bytes_max() - overhead) as usize];
    let too_large = [&largest[..], b"12345678"].concat();
    assert_eq!(rig.append(&message(1, &too_large), Class::Publish), Err(Refused::TooLarge));
    rig.write(&message(1, &largest));
    rig.write(&message(2, b"next"));
    assert_eq!(records(&scan_all(&mut rig.disk, &limits).1), rig.appended);
}

#[test]
fn the_mark_of_a_good_end_is_made_once_and_lost_by_appending() {
    let mut rig = started();
    rig.append(&ack(), Class::Upkeep).unwrap();
    rig.log.finish();
    assert!(!rig.log.is_idle());
    rig.settle();
    assert!(rig.log.is_idle());
    assert!(scan_all(&mut rig.disk, &rig.limits).0.ended_clean);
    let commits = rig.log.figures().commits;
    rig.log.finish();
    rig.settle();
    assert_eq!(rig.log.figures().commits, commits, "once is enough");
    rig.write(&message(2, b"more"));
    assert!(!scan_all(&mut rig.disk, &rig.limits).0.ended_clean);
    rig.log.finish();
    rig.settle();
    let (scanned, told) = scan_all(&mut rig.disk, &rig.limits);
    assert!(scanned.ended_clean);
    assert_eq!(records(&told), rig.appended);
    let files = rig.disk.files.len();
    let (mut again, scanned, _) = Rig::recover(rig.disk, &rig.limits);
    assert!(scanned.ended_clean);
    again.write(&message(3, b"after a restart"));
    assert_eq!(again.appended[0].0.segment(), rig.appended[0].0.segment(), "the same segment goes on");
    assert_eq!(again.disk.files.len(), files);
    assert_eq!(scan_all(&mut again.disk, &rig.limits).0.records, 4);
}
