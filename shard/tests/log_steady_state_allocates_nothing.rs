//! Once its buffers have grown, a log appends, commits and reads within a segment without allocating. (A new segment costs its
//! header block.)

#[path = "../../protocol/tests/counting/mod.rs"]
mod counting;
mod log_support;

use conduit_shard::log::{Class, Completed, DiskOutcome, DiskRequest, Location, LogLimits};
use counting::ALLOCATIONS;
use log_support::{Rig, message};

/// One round: a batch is committed while the next one fills, and something is read.
fn round(rig: &mut Rig, seq: &mut u64) -> Location {
    let mut last = None;
    for _ in 0..2 {
        for _ in 0..100 {
            *seq += 1;
            last = rig.log.append(rig.now, &message(*seq, &[b'x'; 128]), Class::Publish).ok();
        }
        let at = last.expect("there is room");
        let ticket = match rig.log.poll_disk(rig.now) {
            Some(DiskRequest::Commit { ticket, .. }) => ticket,
            other => panic!("{other:?}"),
        };
        rig.log.read(at.segment(), 4_096, 4_096).expect("reads are not at their bound");
        let Some(DiskRequest::Read { ticket: read, .. }) = rig.log.poll_disk(rig.now) else {
            panic!("the read is asked for")
        };
        assert_eq!(rig.log.complete(rig.now, read, DiskOutcome::Read(&[])), Completed::Read);
        assert!(matches!(rig.log.complete(rig.now, ticket, DiskOutcome::Done), Completed::Committed { .. }));
    }
    last.expect("there is room")
}

#[test]
fn from_the_second_batch_on() {
    // So large that no second segment is asked for.
    let limits = LogLimits { segment_bytes: 64 << 20, ..LogLimits::default() };
    let mut rig = Rig::new(&limits);
    rig.write(&message(1, b"first"));
    let mut seq = 1;
    for _ in 0..10 {
        round(&mut rig, &mut seq);
    }
    let before = ALLOCATIONS.get();
    for _ in 0..100 {
        round(&mut rig, &mut seq);
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
}
