//! A segment whose header block cannot be read may be the newest part of the log as well as one that was never written.
//! Recovery takes it for neither: writing over it would lose what was promised.

mod log_support;

use conduit_shard::log::SegmentId;
use log_support::{Rig, message, small_limits, try_scan};

const BLOCK: u64 = 4_096;

/// A log whose second segment holds its header and nothing else yet: a crash came before its first batch.
fn with_a_segment_begun() -> Rig {
    let mut rig = Rig::new(&small_limits());
    for seq in 1..=8 {
        rig.write(&message(seq, &[b'x'; 4_000]));
    }
    rig.disk.files.get_mut(&SegmentId(2)).expect("it was begun")[BLOCK as usize..].fill(0);
    rig
}

#[test]
fn it_is_refused_where_the_header_cannot_be_read() {
    let rig = with_a_segment_begun();
    let mut disk = rig.disk.clone();
    disk.unreadable.push((SegmentId(2), 0));
    assert!(try_scan(&mut disk, &small_limits()).is_err());
    assert_eq!(disk.files, rig.disk.files, "and nothing was written over");
}

#[test]
fn the_same_log_opens_when_it_can_be() {
    let mut disk = with_a_segment_begun().disk;
    let (scanned, _) = try_scan(&mut disk, &small_limits()).expect("it can be read");
    assert_eq!(scanned.damage_count, 0);
}
