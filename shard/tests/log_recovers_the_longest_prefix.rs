//! What was being written when the process ended is torn in any way: recovery gives back what is whole before it, and
//! everything that was promised.

mod log_support;

use conduit_shard::log::{Class, encoded_bytes};
use log_support::{Rig, damage, message, records, scan_all, small_limits};

/// Three records, each durable by its own commit, behind others that share a batch; then three that share the last one.
fn written() -> Rig {
    let mut rig = Rig::new(&small_limits());
    for seq in 1..=4 {
        rig.append(&message(seq, &[b'a'; 100]), Class::Publish).unwrap();
    }
    rig.settle();
    for seq in 5..=6 {
        rig.write(&message(seq, &[b'b'; 300]));
    }
    for seq in 7..=9 {
        rig.append(&message(seq, &[b'c'; 500]), Class::Publish).unwrap();
    }
    rig.settle();
    rig
}

#[test]
fn a_file_that_ends_anywhere_in_its_last_three_records_gives_all_before() {
    let rig = written();
    let (third_last, _) = rig.appended[6];
    let last = rig.appended.last().unwrap().0;
    let end = last.offset() + encoded_bytes(&message(9, &[b'c'; 500]));
    for len in third_last.offset()..=end {
        let mut disk = rig.disk.clone();
        disk.file(1).truncate(len as usize);
        let (scanned, told) = scan_all(&mut disk, &rig.limits);
        let whole = rig.appended.iter().zip(rig.appended[1..].iter().map(|next| next.0.offset()).chain([end]));
        let expected: Vec<_> = whole.filter(|&(_, end)| end <= len).map(|(record, _)| record.clone()).collect();
        assert_eq!(records(&told), expected, "cut at {len}");
        assert_eq!(scanned.damage_count, 0, "cut at {len}: {:?}", damage(&told));
    }
}

#[test]
fn a_file_whose_end_is_zeros_gives_all_before() {
    let rig = written();
    let (third_last, _) = rig.appended[6];
    let end = rig.appended.last().unwrap().0.offset() + encoded_bytes(&message(9, &[b'c'; 500]));
    for len in third_last.offset()..=end {
        let mut disk = rig.disk.clone();
        disk.file(1)[len as usize..].fill(0);
        let (scanned, told) = scan_all(&mut disk, &rig.limits);
        let count = rig.appended[1..].iter().map(|next| next.0.offset()).chain([end]).filter(|end| *end <= len).count();
        // Records end in zeros of their own: a few bytes more may be missing without anybody noticing.
        let found = records(&told);
        assert!(found.len() >= count && rig.appended.starts_with(&found), "cut at {len}");
        assert_eq!(scanned.damage_count, 0, "cut at {len}: {:?}", damage(&told));
    }
}

#[test]
fn a_last_batch_torn_by_sectors_gives_its_longest_whole_part() {
    let before = {
        let mut rig = Rig::new(&small_limits());
        rig.write(&message(1, &[b'a'; 100]));
        rig
    };
    let mut rig =
        Rig::on(before.disk.clone(), &before.limits, scan_all(&mut before.disk.clone(), &before.limits).0.start);
    rig.settle();
    for seq in 2..=12 {
        rig.append(&message(seq, &[b'd'; 400]), Class::Publish).unwrap();
    }
    let segment = rig.appended[0].0.segment().0;
    let begin = rig.appended[0].0.offset() as usize / 4_096 * 4_096;
    rig.settle();
    let whole = rig.disk.clone().file(segment)[begin..].to_vec();
    let sectors = whole.iter().rposition(|&byte| byte != 0).unwrap() / 512 + 1;
    assert!((8..12).contains(&sectors), "{sectors} sectors");
    for kept in 0u32..1 << sectors {
        let mut disk = rig.disk.clone();
        for sector in (0..sectors).filter(|sector| kept & (1 << sector) == 0) {
            disk.file(segment)[begin + sector * 512..begin + (sector + 1) * 512].fill(0);
        }
        let (scanned, told) = scan_all(&mut disk, &rig.limits);
        let found = records(&told);
        let expected_bytes = u64::from(kept.trailing_ones()) * 512 + begin as u64;
        let whole_count = (0..rig.appended.len())
            .filter(|&index| {
                let end = rig.appended[index].0.offset() + encoded_bytes(&message(2, &[b'd'; 400]));
                end <= expected_bytes
            })
            .count();
        assert_eq!(found[1..], rig.appended[..whole_count], "kept {kept:b}");
        assert_eq!(scanned.damage_count, 0, "kept {kept:b}");
        assert_eq!(scanned.torn_bytes > 0, kept != 0 && whole_count < rig.appended.len(), "kept {kept:b}");
    }
}
