//! After a write, a sync or a step of the directory failed, nothing is tried again and nothing more is promised. What was
//! durable can be read.

mod log_support;

use conduit_shard::log::{Class, Completed, DiskError, DiskOutcome, LogState, Record, Refused, SegmentId};
use log_support::{Asked, Rig, message, records, scan_all, small_limits};

fn is_dead(rig: &mut Rig) {
    assert_eq!(rig.log.state(), LogState::Failed);
    for class in [Class::Publish, Class::PublishWithin(5), Class::Upkeep] {
        assert_eq!(rig.append(&Record::CarriedOver, class), Err(Refused::Failed));
        assert_eq!(rig.log.segment_for(rig.now, 100, class), Err(Refused::Failed));
    }
    rig.log.flush();
    rig.log.finish();
    rig.wait_ms(10_000);
    assert_eq!(rig.poll(), None);
    assert_eq!(rig.log.next_deadline(), None);
    assert!(rig.log.is_idle());
    assert_eq!(rig.log.needs_carry_over(rig.now), None);
}

#[test]
fn of_a_commit_whatever_the_reason() {
    for error in [DiskError::Full, DiskError::Broken] {
        let mut rig = Rig::new(&small_limits());
        rig.write(&message(1, b"durable"));
        let durable = rig.log.committed();
        rig.append(&message(2, b"in flight"), Class::Publish).unwrap();
        let asked = rig.poll().unwrap();
        assert!(matches!(asked, Asked::Commit(..)));
        rig.append(&message(3, b"waiting"), Class::Publish).unwrap();
        assert_eq!(rig.complete(&asked, DiskOutcome::Failed(error)), Completed::Failed);
        assert_eq!(rig.log.committed(), durable, "nothing became durable");
        is_dead(&mut rig);
        assert_eq!(rig.log.complete(rig.now, asked.ticket(), DiskOutcome::Done), Completed::Nothing);
        assert_eq!(rig.log.committed(), durable);
        let (scanned, told) = scan_all(&mut rig.disk, &rig.limits);
        assert_eq!(records(&told), rig.appended[..1]);
        assert_eq!(scanned.damage_count, 0);
        let ticket = rig.log.read(SegmentId(1), 4_096, 4_096).unwrap();
        assert_eq!(rig.poll().map(|asked| asked.ticket()), Some(ticket), "reads go on");
    }
}

#[test]
fn of_a_header_block() {
    let mut rig = Rig::new(&small_limits());
    rig.append(&message(1, b"x"), Class::Publish).unwrap();
    let asked = rig.poll().unwrap();
    assert!(matches!(asked, Asked::Commit(_, _, 0, _)));
    assert_eq!(rig.complete(&asked, DiskOutcome::Failed(DiskError::Broken)), Completed::Failed);
    is_dead(&mut rig);
}

#[test]
fn of_every_step_of_the_directory_unless_there_was_only_no_room() {
    let prepares: fn(&Asked) -> bool = |asked| matches!(asked, Asked::Prepare(..));
    let removes: fn(&Asked) -> bool = |asked| matches!(asked, Asked::Remove(..));
    // By three steps a segment is made ready, by two it goes; the last step of both is a sync.
    for (begins, steps) in [(prepares, 3), (removes, 2)] {
        for failing in 0..steps {
            for error in [DiskError::Full, DiskError::Broken] {
                let mut rig = Rig::new(&small_limits());
                let asked = write_until(&mut rig, begins);
                let completed = fail_the_step(&mut rig, asked, failing, error);
                check_outcome(&mut rig, completed, failing + 1 == steps, error);
            }
        }
    }
}

/// Publishes, and carries everything over, until such a request comes.
fn write_until(rig: &mut Rig, is_wanted: fn(&Asked) -> bool) -> Asked {
    for seq in 1.. {
        rig.append(&message(seq, &[b'x'; 4_000]), Class::Publish).unwrap();
        rig.append(&Record::CarriedOver, Class::Upkeep).unwrap();
        while let Some(asked) = rig.poll() {
            if is_wanted(&asked) {
                return asked;
            }
            rig.carry_out(&asked);
        }
    }
    unreachable!("every log needs another segment at last")
}

/// Carries out steps of the directory until the one that is to fail, and fails it.
fn fail_the_step(rig: &mut Rig, mut asked: Asked, failing: usize, error: DiskError) -> Completed {
    for _ in 0..failing {
        rig.carry_out(&asked);
        asked = rig.poll().expect("the steps follow each other");
    }
    rig.complete(&asked, DiskOutcome::Failed(error))
}

fn check_outcome(rig: &mut Rig, completed: Completed, is_sync: bool, error: DiskError) {
    if is_sync || error == DiskError::Broken {
        assert_eq!(completed, Completed::Failed);
        is_dead(rig);
    } else {
        assert_eq!(completed, Completed::Nothing);
        assert_ne!(rig.log.state(), LogState::Failed);
        rig.settle();
        assert!(rig.log.next_deadline().is_some(), "it is tried again");
        rig.wait_ms(rig.limits.full_retry_ms);
        rig.settle();
        assert_ne!(rig.log.state(), LogState::Failed);
    }
}

#[test]
fn a_failed_read_is_the_readers_business() {
    let mut rig = Rig::new(&small_limits());
    rig.write(&message(1, b"x"));
    rig.log.read(SegmentId(1), 4_096, 4_096).unwrap();
    let asked = rig.poll().unwrap();
    let failed = rig.complete(&asked, DiskOutcome::Failed(DiskError::Broken));
    assert_eq!(failed, Completed::ReadFailed(DiskError::Broken));
    rig.write(&message(2, b"y"));
}
