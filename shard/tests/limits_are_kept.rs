//! Every limit: the value itself passes, one more has the consequence that `Limits` says.

mod common;
use common::wishes::{alone, in_group};
use common::{Bench, connection, id, limits, message, nack, subscription};
use conduit_protocol::command::{From, StreamAction};
use conduit_protocol::streams::GroupSettings;
use conduit_protocol::{Command, ConnectionId, ErrorCode, Origin, ShardId, Subscribe, TenantId, Token};
use conduit_shard::{Input, Limits};

const BACKPRESSURE: [(ErrorCode, Option<u32>); 1] = [(ErrorCode::Backpressure, Some(1_000))];

#[test]
fn messages_of_a_stream() {
    let mut bench = Bench::new(Limits { stream_messages_max: 3, ..limits() });
    for n in 0..3 {
        assert_eq!(bench.publish("s", &format!("m{n}"), b"{}").refused, []);
    }
    assert_eq!(bench.publish("s", "m3", b"{}").refused, BACKPRESSURE);
    assert_eq!(bench.publish("other", "m3", b"{}").refused, []);
    bench.subscribe(1, "s", 1);
    assert_eq!(bench.publish("s", "m3", b"{}").refused, BACKPRESSURE, "in flight counts");
    bench.ack(1, 1);
    assert_eq!(bench.publish("s", "m3", b"{}").published[0].seq, 4);
    assert_eq!(bench.shard.totals().refused_backpressure, 2);
}

#[test]
fn bytes_of_a_stream() {
    // Two bytes of id and 126 of envelope fill a buffer of 128.
    let envelope = vec![b'x'; 126];
    let mut bench = Bench::new(Limits { stream_bytes_max: 256, ..limits() });
    assert_eq!(bench.publish("s", "m1", &envelope).refused, []);
    assert_eq!(bench.publish("s", "m2", &envelope).refused, []);
    assert_eq!(bench.stats("s").bytes, 256);
    assert_eq!(bench.publish("s", "m3", b"{}").refused, BACKPRESSURE);
    bench.subscribe(1, "s", 1);
    bench.ack(1, 1);
    assert_eq!(bench.publish("s", "m3", &envelope).refused, []);
}

#[test]
fn a_message_that_never_fits_its_stream() {
    let mut bench = Bench::new(Limits { stream_bytes_max: 1_024, ..limits() });
    assert_eq!(bench.publish("s", "m", &vec![b'x'; 1_023]).refused, []);
    assert_eq!(bench.publish("t", "m", &vec![b'x'; 1_024]).refused, [(ErrorCode::PayloadTooLarge, None)]);
    assert_eq!(bench.shard.totals().streams_now, 1, "a refused message makes no stream");
}

#[test]
fn messages_and_bytes_of_the_shard() {
    let tight = Limits { shard_messages_max: 4, stream_messages_max: 4, ..limits() };
    let mut bench = Bench::new(tight);
    for n in 0..4 {
        assert_eq!(bench.publish(&format!("s{n}"), "m", b"{}").refused, []);
    }
    assert_eq!(bench.publish("s9", "m", b"{}").refused, BACKPRESSURE);
    let mut bench = Bench::new(Limits { shard_bytes_max: 256, stream_bytes_max: 256, ..limits() });
    for n in 0..4 {
        assert_eq!(bench.publish(&format!("s{n}"), "m", b"{}").refused, []);
    }
    assert_eq!(bench.publish("s9", "m", b"{}").refused, BACKPRESSURE);
    assert_eq!(bench.shard.totals().bytes_now, 256);
}

#[test]
fn streams_of_the_shard() {
    let mut bench = Bench::new(Limits { streams_max: 2, ..limits() });
    bench.publish("a", "m", b"{}");
    assert_eq!(bench.subscribe(1, "b", 0).subscribed, 1);
    assert_eq!(bench.publish("c", "m", b"{}").refused, [(ErrorCode::TooManyStreams, None)]);
    assert_eq!(bench.subscribe(2, "c", 0).refused, [(ErrorCode::TooManyStreams, None)]);
    assert_eq!(bench.publish("b", "m", b"{}").refused, []);
}

#[test]
fn consumers_of_the_shard() {
    let mut bench = Bench::new(Limits { consumers_max: 2, connection_slots_max: 10, ..limits() });
    assert_eq!(bench.subscribe(10, "s", 0).refused, [(ErrorCode::TooManyConnections, None)], "the slot is too high");
    assert_eq!(bench.subscribe(u32::MAX, "s", 0).refused, [(ErrorCode::TooManyConnections, None)]);
    assert_eq!(bench.subscribe(9, "s", 0).subscribed, 1);
    assert_eq!(bench.subscribe(0, "s", 0).subscribed, 1);
    assert_eq!(bench.subscribe(1, "s", 0).refused, [(ErrorCode::TooManyConnections, None)]);
    bench.disconnect(9);
    assert_eq!(bench.subscribe(1, "s", 0).subscribed, 1);
}

#[test]
fn groups_of_a_stream() {
    const FULL: [(ErrorCode, Option<u32>); 1] = [(ErrorCode::TooManyGroups, None)];
    let mut bench = Bench::new(Limits { groups_per_stream_max: 2, ..limits() });
    bench.join(1, in_group("s", "a", 0));
    assert_eq!(bench.join(2, alone("s", 0)).subscribed, 1);
    assert_eq!(bench.join(3, alone("s", 0)).refused, FULL);
    assert_eq!(bench.join(3, in_group("s", "b", 0)).refused, FULL);
    assert_eq!(bench.put_group("s", "b", From::First, GroupSettings::default()).refused, FULL);
    assert_eq!(bench.join(3, in_group("s", "a", 0)).subscribed, 1, "one that is there takes any number");
    bench.disconnect(2);
    assert_eq!(bench.join(2, in_group("s", "b", 0)).subscribed, 1);
}

#[test]
fn groups_of_the_shard() {
    const FULL: [(ErrorCode, Option<u32>); 1] = [(ErrorCode::TooManyGroups, None)];
    let mut bench = Bench::new(Limits { groups_max: 2, groups_per_stream_max: 2, ..limits() });
    bench.subscribe(1, "s", 0);
    bench.subscribe(2, "t", 0);
    assert_eq!(bench.subscribe(3, "u", 0).refused, FULL);
    assert_eq!(bench.put_group("u", "g", From::First, GroupSettings::default()).refused, FULL);
    assert_eq!(bench.join(3, in_group("s", "a", 0)).refused, FULL);
    assert_eq!(bench.shard.totals().streams_now, 2, "a refused group makes no stream");
    bench.act("t", StreamAction::Delete);
    assert_eq!(bench.subscribe(3, "u", 0).subscribed, 1);
}

#[test]
fn what_groups_are_not_done_with() {
    // Two blocks of 32 seqs: 1 to 31 and 32 to 63 of one group, or a block each of two groups.
    let mut bench = Bench::new(Limits { outstanding_max: 64, ..limits() });
    bench.fill("s", 100);
    assert_eq!(bench.subscribe(1, "s", 100).seqs().len(), 63);
    assert_eq!(bench.join(2, in_group("s", "a", 100)).seqs(), [0_u64; 0]);
    bench.ack(1, 63);
    assert_eq!(bench.settle().seqs(), [0_u64; 0], "a block is in use as long as one of it is");
    bench.nack(1, &[5], 10);
    assert_eq!(bench.run_ms(10).attempts(), [(5, 2)], "what came back needs no more of it");
    bench.disconnect(1);
    bench.subscribe(3, "s", 100);
    assert_eq!(bench.stats("s").inflight, 62);
    for seq in 1..=31 {
        assert_eq!(bench.ack(3, seq).seqs().len(), 0);
    }
    let fed = bench.settle();
    assert!(
        fed.deliveries.iter().all(|delivered| delivered.connection == connection(3)),
        "who waits longest goes first"
    );
    assert_eq!(fed.seqs(), (64..=95).collect::<Vec<_>>(), "a block of 32");
    for seq in 32..=62 {
        assert_eq!(bench.ack(3, seq).seqs(), [0_u64; 0], "another waits now");
    }
    assert_eq!(bench.settle().deliveries.iter().filter(|delivered| delivered.connection == connection(2)).count(), 31);
    bench.disconnect(2);
    bench.act("s", StreamAction::DeleteGroup { group: "a".into() });
    assert_eq!(bench.settle().seqs(), [96, 97, 98, 99, 100], "and the next when that is gone");
}

#[test]
fn a_connection_is_one_consumer() {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 3);
    assert_eq!(bench.subscribe(1, "t", 3).refused, [(ErrorCode::InvalidField, None)]);
    assert_eq!(bench.stats("s").credit, 3, "the first subscription stays as it was");
}

#[test]
fn in_flight_of_a_consumer() {
    for (asked, given) in [(None, 4), (Some(0), 1), (Some(3), 3), (Some(4), 4), (Some(5), 4)] {
        let mut bench = Bench::new(Limits { consumer_inflight_max: 4, ..limits() });
        for n in 0..9 {
            bench.publish("s", &format!("m{n}"), b"{}");
        }
        let subscribe = Subscribe { max_inflight: asked, ..subscription("s", 100) };
        assert_eq!(bench.command(1, Command::Subscribe(subscribe)).deliveries.len(), given, "{asked:?}");
    }
}

#[test]
fn credit_of_a_consumer() {
    let mut bench = Bench::new(Limits { credit_max: 10, ..limits() });
    bench.subscribe(1, "s", 11);
    assert_eq!(bench.stats("s").credit, 10);
    bench.publish("s", "m", b"{}");
    bench.credit(1, u64::MAX);
    assert_eq!(bench.stats("s").credit, 10);
    assert_eq!(bench.shard.totals().credit_granted, 11);
}

#[test]
fn bytes_of_an_outbox() {
    // Each delivery takes 2 bytes of envelope, 2 of id and 64 around them.
    let mut bench = Bench::new(Limits { outbox_bytes_max: 68 * 2, ..limits() });
    for n in 0..6 {
        bench.publish("s", &format!("m{n}"), b"{}");
    }
    assert_eq!(bench.subscribe(1, "s", 100).seqs(), [1, 2], "the window is full to the byte");
    assert_eq!(bench.ack(1, 1).seqs(), [0_u64; 0], "acks do not open it");
    assert_eq!(bench.drained(1).seqs(), [3, 4]);
    let mut bench = Bench::new(Limits { outbox_bytes_max: 1, ..limits() });
    bench.publish("s", "large", &vec![b'x'; 100_000]);
    bench.publish("s", "next", b"{}");
    assert_eq!(bench.subscribe(1, "s", 100).seqs(), [1], "a message of any size passes");
    assert_eq!(bench.drained(1).seqs(), [2]);
}

#[test]
fn deliveries_of_one_call() {
    let mut bench = Bench::new(Limits { work_max: 5, ..limits() });
    for n in 0..11 {
        bench.publish("s", &format!("m{n}"), b"{}");
    }
    assert_eq!(bench.subscribe(1, "s", 100).deliveries.len(), 5);
    assert!(bench.shard.next_deadline().unwrap() <= bench.now.mono_ns, "the rest is due at once");
    assert_eq!(bench.input(Input::Deadline).deliveries.len(), 5);
    assert_eq!(bench.input(Input::Deadline).deliveries.len(), 1);
    assert!(bench.shard.next_deadline().unwrap() > bench.now.mono_ns);
}

#[test]
fn commands_of_connections_that_are_no_consumers_do_nothing() {
    let mut bench = Bench::new(limits());
    bench.publish("s", "m", b"{}");
    for command in [
        Command::Credit(5),
        Command::Ack(id("m")),
        Command::AckUpTo(conduit_protocol::Seq(9)),
        Command::Nack(nack(id("m"), 0)),
    ] {
        assert_eq!(bench.command(3, command), common::Outcome::default());
    }
    bench.drained(3);
    bench.disconnect(3);
    assert_eq!(bench.stats("s").depth, 1);
}

#[test]
fn answers_are_given_unless_nobody_wants_them() {
    let mut bench = Bench::new(Limits { stream_messages_max: 1, ..limits() });
    let origin = Origin { shard: ShardId(0), connection: ConnectionId::new(1, 1), token: Token::NONE };
    let mut publish = || {
        let command = Command::Publish(message("s", "m", b"{}"));
        bench.input(Input::Command { origin, tenant: TenantId::DEFAULT, command })
    };
    assert_eq!(publish().published, []);
    assert_eq!(publish().refused, BACKPRESSURE, "failures always");
    let _ = connection(1);
}

#[test]
fn figures_of_a_stream_that_is_not_there() {
    let mut bench = Bench::new(limits());
    let outcome = bench.command(1, Command::Stats { stream: "nothing".into() });
    assert_eq!(outcome.refused, [(ErrorCode::UnknownStream, None)]);
    assert_eq!(bench.shard.totals().streams_now, 0);
}

#[test]
fn tenants_do_not_see_each_other() {
    let mut bench = Bench::new(limits());
    bench.publish("s", "m", b"{}");
    let origin = bench.origin(1);
    let command = Command::Subscribe(subscription("s", 10));
    let outcome = bench.input(Input::Command { origin, tenant: TenantId(1), command });
    assert_eq!((outcome.subscribed, outcome.deliveries), (1, vec![]));
    assert_eq!(bench.shard.totals().streams_now, 2);
}
