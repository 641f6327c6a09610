//! The log says where a record will lie before it is written, and in which segment several of them will lie together.

mod log_support;

use conduit_shard::log::{Class, Location, LogLimits, Refused, SegmentRole, encoded_bytes};
use log_support::{Rig, message, records, scan_all};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn every_record_is_found_where_it_was_said_to_be(
        blocks in 8u64..40,
        batch_blocks in 1u64..8,
        groups in prop::collection::vec((prop::collection::vec(0usize..6_000, 1..6), any::<bool>()), 1..60),
    ) {
        let limits = LogLimits {
            segment_bytes: blocks * 4_096,
            batch_bytes_max: batch_blocks * 4_096,
            unsynced_bytes_max: 40_000,
            ..LogLimits::default()
        };
        let mut rig = Rig::new(&limits);
        let mut seq = 0;
        for (lens, settles) in groups {
            let envelopes: Vec<Vec<u8>> = lens.iter().map(|&len| vec![b'e'; len]).collect();
            let records_of_group: Vec<_> = envelopes.iter().map(|envelope| { seq += 1; message(seq, envelope) }).collect();
            let bytes = records_of_group.iter().map(encoded_bytes).sum();
            match rig.log.segment_for(rig.now, bytes, Class::Publish) {
                Ok(segment) => {
                    for record in &records_of_group {
                        let at = rig.append(record, Class::Publish);
                        prop_assert_eq!(at.map(Location::segment), Ok(segment));
                    }
                }
                Err(Refused::TooLarge) => {
                    prop_assert!(bytes + (2 * bytes / limits.batch_bytes_max + 2) * 4_136 > limits.record_bytes_max());
                }
                Err(refused) => {
                    prop_assert_eq!(refused, Refused::Busy);
                    rig.settle();
                }
            }
            if settles {
                rig.settle();
            }
        }
        rig.log.finish();
        rig.settle();
        let (scanned, told) = scan_all(&mut rig.disk, &limits);
        prop_assert_eq!(scanned.damage_count, 0);
        // The mark of the end takes a block: there is none before the first segment, and none left in a full one.
        let has_block_left = scanned.segments.iter().rfind(|segment| segment.role == SegmentRole::Written)
            .is_some_and(|segment| segment.end + 4_096 <= segment.bytes);
        prop_assert!(scanned.ended_clean || !has_block_left);
        prop_assert_eq!(records(&told), rig.appended);
    }
}
