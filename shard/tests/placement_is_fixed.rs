//! Placement never changes: these vectors are part of the format of data directories.

use conduit_protocol::{ShardId, TenantId};
use conduit_shard::shard_of;

#[test]
fn golden_vectors() {
    let vectors = [
        (0, "", [0, 0, 0, 242]),
        (0, "orders", [0, 2, 3, 718]),
        (0, "agents/user123/inbox", [1, 2, 5, 412]),
        (0, "\u{fc}ml\u{e4}ut \u{2603}", [1, 2, 2, 916]),
        (1, "orders", [1, 2, 5, 353]),
        (u32::MAX, "orders", [0, 2, 3, 785]),
    ];
    for (tenant, name, owners) in vectors {
        let got = [2, 3, 8, 1_000].map(|shards| shard_of(TenantId(tenant), name, shards).0);
        assert_eq!(got, owners, "{tenant} {name:?}");
    }
}

#[test]
fn one_more_shard_moves_streams_only_to_it() {
    for shards in 1..20 {
        let mut moved = 0;
        for n in 0..2_000 {
            let name = format!("stream/{n}");
            let before = shard_of(TenantId::DEFAULT, &name, shards);
            let after = shard_of(TenantId::DEFAULT, &name, shards + 1);
            assert!(before.0 < shards);
            if before != after {
                assert_eq!(after, ShardId(shards), "{name} moved between old shards");
                moved += 1;
            }
        }
        let fair = 2_000 / (i32::from(shards) + 1);
        assert!((moved - fair).abs() <= fair / 4 + 20, "{moved} of 2000 moved to shard {shards}, {fair} would be fair");
    }
}

#[test]
fn no_shards_counts_as_one() {
    assert_eq!(shard_of(TenantId(7), "x", 0), ShardId(0));
    assert_eq!(shard_of(TenantId(7), "x", 1), ShardId(0));
}

#[test]
fn dead_letters_live_beside_their_stream() {
    let vectors = [
        (0, "orders.dlq", [0, 2, 3, 718]),
        (0, "orders.dlq.dlq", [0, 2, 3, 718]),
        (0, ".dlq", [0, 0, 0, 242]),
        (1, "orders.dlq", [1, 2, 5, 353]),
    ];
    for (tenant, name, owners) in vectors {
        let got = [2, 3, 8, 1_000].map(|shards| shard_of(TenantId(tenant), name, shards).0);
        assert_eq!(got, owners, "{tenant} {name:?}");
    }
}

#[test]
fn only_the_end_of_a_name_is_left_out() {
    let vectors = [
        ("orders.dl", [0, 2, 2, 369]),
        ("orders.DLQ", [1, 1, 1, 642]),
        ("orders.dlqs", [1, 2, 2, 815]),
        ("orders.dlq/eu", [1, 1, 1, 915]),
        ("ordersdlq", [0, 0, 0, 240]),
    ];
    for (name, owners) in vectors {
        let got = [2, 3, 8, 1_000].map(|shards| shard_of(TenantId::DEFAULT, name, shards).0);
        assert_eq!(got, owners, "{name:?}");
    }
}
