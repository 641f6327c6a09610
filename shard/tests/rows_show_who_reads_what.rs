//! The rows of consumers and groups say what there is, of one tenant or of all, as many as are asked for and how many
//! more there are.

mod common;
use common::{Bench, connection, limits, subscription};
use conduit_protocol::{Command, Subscribe, TenantId};
use conduit_shard::Input;

fn bench() -> Bench {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 5);
    let named = Subscribe {
        group: Some("audit".into()),
        refill_on_ack: true,
        ack_wait_ms: Some(9_000),
        ..subscription("s", 3)
    };
    bench.command(2, Command::Subscribe(named));
    let own = Subscribe { ephemeral: true, ..subscription("s", 1) };
    bench.command(3, Command::Subscribe(own));
    let origin = bench.origin(4);
    let command = Command::Subscribe(subscription("s", 2));
    bench.input(Input::Command { origin, tenant: TenantId(7), command });
    bench.publish("s", "m", b"{}");
    bench
}

#[test]
fn every_consumer_has_a_row() {
    let bench = bench();
    let rows = bench.shard.consumer_rows(None, 10);
    assert_eq!(rows.omitted, 0);
    let seen: Vec<_> = rows
        .rows
        .iter()
        .map(|row| (row.connection, row.tenant.0, &*row.group, row.credit, row.inflight, row.is_ephemeral))
        .collect();
    assert_eq!(
        seen,
        [
            (connection(1), 0, "", 4, 1, false),
            (connection(2), 0, "audit", 2, 1, false),
            (connection(3), 0, "", 0, 1, true),
            (connection(4), 7, "", 2, 0, false),
        ]
    );
    assert!(rows.rows[1].is_refilled && rows.rows[1].ack_wait_ms == 9_000);
}

#[test]
fn a_tenant_has_its_own_rows_and_no_others() {
    let bench = bench();
    let own = bench.shard.consumer_rows(Some(TenantId(7)), 10);
    assert_eq!((own.rows.len(), own.omitted, own.rows[0].connection), (1, 0, connection(4)));
    assert_eq!(bench.shard.consumer_rows(Some(TenantId(8)), 10).rows, []);
    let groups = bench.shard.group_rows(Some(TenantId(7)), 10);
    assert_eq!((groups.rows.len(), groups.rows[0].info.consumers), (1, 1));
}

#[test]
fn rows_beyond_those_asked_for_are_counted() {
    let bench = bench();
    for (max, listed, omitted) in [(0, 0, 4), (3, 3, 1), (4, 4, 0), (5, 4, 0)] {
        let consumers = bench.shard.consumer_rows(None, max);
        assert_eq!((consumers.rows.len(), consumers.omitted), (listed, omitted));
        let groups = bench.shard.group_rows(None, max);
        assert_eq!((groups.rows.len(), groups.omitted), (listed, omitted));
    }
}
