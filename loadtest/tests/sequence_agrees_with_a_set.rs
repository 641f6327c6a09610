//! Whatever the order of arrival, a sequence knows exactly what a plain set knows.

use conduit_loadtest::verify::Sequence;
use proptest::prelude::*;
use std::collections::BTreeSet;

proptest! {
    #[test]
    fn a_sequence_agrees_with_a_set(numbers in proptest::collection::vec(0u64..400, 0..600)) {
        let (mut sequence, mut set) = (Sequence::default(), BTreeSet::new());
        for number in numbers {
            prop_assert_eq!(sequence.take(number), set.insert(number));
            prop_assert_eq!(sequence.received(), set.len() as u64);
        }
        let missing: Vec<u64> = (0..420).filter(|number| !set.contains(number)).collect();
        let count = missing.len() as u64;
        prop_assert_eq!(sequence.missing(420, &[], 1_000), (missing, count));
    }
}
