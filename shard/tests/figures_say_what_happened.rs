//! The figures of streams and of the shard follow from what happened, and snapshots of shards add up.

mod common;
use common::{Bench, MS, limits, message, seqs};
use conduit_protocol::{Command, TenantId};
use conduit_shard::{Input, Limits};

#[test]
fn figures_of_a_stream() {
    let mut bench = Bench::new(limits());
    let start_ns = bench.now.mono_ns;
    bench.run_ms(1_000 - start_ns / MS % 1_000);
    let published_ms = bench.now.unix_ms;
    for n in 0..10 {
        bench.publish("s", &format!("m{n}"), b"{}");
    }
    bench.run_ms(20);
    bench.subscribe(1, "s", 8);
    bench.run_ms(300);
    bench.command(1, Command::Ack(seqs(&[1, 2, 3, 4])));
    bench.nack(1, &[5], 0);
    bench.credit(1, 1);
    bench.run_ms(680);
    let stats = bench.stats("s");
    assert_eq!((stats.depth, stats.inflight, stats.consumers, stats.credit), (2, 4, 1, 0));
    assert_eq!(
        (stats.published_total, stats.delivered_total, stats.acked_total, stats.redelivered_total),
        (10, 9, 4, 1)
    );
    assert_eq!((stats.rate_in, stats.rate_out), (10.0, 4.0));
    for (figure, ms) in [(stats.lat_p50, 20.0), (stats.lat_p99, 20.0), (stats.ack_p50, 300.0), (stats.ack_p99, 300.0)] {
        assert!((figure - ms).abs() <= ms * 0.033, "{figure} for {ms}");
    }
    assert_eq!(published_ms, 1_700_000_000_923);
    assert_eq!(stats.last_ts.as_deref(), Some("2023-11-14T22:13:20.923Z"));
    bench.run_ms(1_000);
    assert_eq!((bench.stats("s").rate_in, bench.stats("s").rate_out), (0.0, 0.0));
}

#[test]
fn a_stream_without_messages_has_no_last_time() {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 0);
    assert_eq!(bench.stats("s").last_ts, None);
}

#[test]
fn snapshots_add_up() {
    let mut one = Bench::new(limits());
    let mut two = Bench::new(limits());
    for (bench, messages) in [(&mut one, 3), (&mut two, 4)] {
        bench.subscribe(1, "s", 10);
        for n in 0..messages {
            bench.publish("s", &format!("m{n}"), b"{}");
            bench.run_ms(5);
            bench.ack(1, n + 1);
        }
    }
    let mut merged = one.shard.snapshot(one.now);
    merged.merge(&two.shard.snapshot(two.now));
    assert_eq!((merged.totals.published, merged.totals.acked, merged.totals.streams_now), (7, 7, 2));
    assert_eq!(merged.streams.len(), 2);
    assert_eq!((merged.publish_to_deliver_ns.len(), merged.deliver_to_ack_ns.len()), (7, 7));
    let median = merged.deliver_to_ack_ns.value_at_quantile(0.5);
    assert!(median.abs_diff(5 * MS) <= 5 * MS / 1_000, "{median}");
    let json = serde_json::to_value(merged.totals).unwrap();
    assert_eq!(json["creditSpent"], 7);
}

#[test]
fn a_snapshot_lists_no_more_streams_than_it_may() {
    let mut bench = Bench::new(Limits { snapshot_streams_max: 2, ..limits() });
    for stream in ["a", "b"] {
        bench.publish(stream, "m", b"{}");
    }
    assert_eq!(bench.shard.snapshot(bench.now).totals.streams_omitted, 0);
    bench.publish("c", "m", b"{}");
    let snapshot = bench.shard.snapshot(bench.now);
    assert_eq!((snapshot.streams.len(), snapshot.totals.streams_omitted, snapshot.totals.streams_now), (2, 1, 3));
}

#[test]
fn a_tenants_list_is_not_cut_because_of_others() {
    let mut bench = Bench::new(Limits { snapshot_streams_max: 2, ..limits() });
    let acme = TenantId::of_name("acme");
    let mut publish = |tenant: TenantId, stream: &str| {
        let origin = bench.origin(900);
        bench.input(Input::Command { origin, tenant, command: Command::Publish(message(stream, "m", b"{}")) });
        let mut listed = |tenant: Option<TenantId>| {
            let snapshot = bench.shard.snapshot_for(bench.now, tenant);
            assert!(snapshot.streams.iter().all(|stream| tenant.is_none_or(|tenant| stream.tenant == tenant)));
            (snapshot.streams.len(), snapshot.totals.streams_omitted)
        };
        (listed(Some(acme)), listed(Some(TenantId::DEFAULT)), listed(None))
    };
    for stream in ["a", "b", "c"] {
        publish(TenantId::DEFAULT, stream);
    }
    assert_eq!(publish(acme, "a"), ((1, 0), (2, 1), (2, 2)));
    assert_eq!(publish(acme, "b"), ((2, 0), (2, 1), (2, 3)));
    assert_eq!(publish(acme, "c"), ((2, 1), (2, 1), (2, 4)));
}

#[test]
fn ignored_acks_are_counted() {
    let mut bench = Bench::new(limits());
    bench.publish("s", "m", b"{}");
    bench.subscribe(1, "s", 1);
    bench.command(1, Command::Ack(seqs(&[1, 1, 2])));
    let totals = bench.shard.totals();
    assert_eq!((totals.acked, totals.acks_ignored), (1, 2));
}
