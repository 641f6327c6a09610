//! Streams and groups are described, made, changed, emptied, deleted and looked into; what does not fit is refused and
//! changes nothing.

mod common;
use common::wishes::{in_group, log};
use common::{Bench, connection, limits};
use conduit_protocol::command::StreamAction;
use conduit_protocol::streams::{
    Done, Durability, GroupSettings, Policy, Retention, StreamAnswer, StreamInfo, StreamSettings,
};
use conduit_protocol::{
    Command, Encoding, Envelope, EnvelopeId, ErrorCode, From, Publish, PublishOptions, Seq, Subscribe,
};
use conduit_shard::Limits;

fn done(outcome: &common::Outcome) -> &Done {
    match &outcome.answer {
        Some(StreamAnswer::Done(done)) => done,
        other => panic!("{other:?}, {:?}", outcome.refused),
    }
}

fn status(outcome: &common::Outcome) -> u16 {
    outcome.answer.as_ref().map(StreamAnswer::status).expect("it was done")
}

#[test]
fn what_is_not_there_is_refused() {
    let mut bench = Bench::new(limits());
    let group = || "g".into();
    for action in [
        StreamAction::Describe,
        StreamAction::Delete,
        StreamAction::Purge,
        StreamAction::Peek { from: Seq(1), limit: 1 },
        StreamAction::DescribeGroup { group: group() },
        StreamAction::DeleteGroup { group: group() },
    ] {
        assert_eq!(bench.act("s", action.clone()).refused, [(ErrorCode::UnknownStream, None)], "{action:?}");
    }
    bench.fill("s", 1);
    for action in [StreamAction::DescribeGroup { group: group() }, StreamAction::DeleteGroup { group: group() }] {
        assert_eq!(bench.act("s", action).refused, [(ErrorCode::UnknownGroup, None)]);
    }
    assert_eq!(bench.shard.totals().streams_now, 1);
}

#[test]
fn a_put_says_what_holds_and_leaves_the_rest() {
    let mut bench = Bench::new(limits());
    let defaults = Limits::default();
    assert_eq!(status(&bench.act("s", StreamAction::Put(StreamSettings::default()))), 201);
    let info = bench.describe("s");
    let expected = StreamInfo {
        stream: "s".into(),
        created: false,
        shard: 0,
        epoch: 1_700_000_000_000,
        first: None,
        last: 0,
        messages: 0,
        bytes: 0,
        messages_on_disk: 0,
        retention: Retention::default(),
        durability: Durability::Memory,
        max_messages: defaults.stream_messages_max,
        max_bytes: defaults.stream_bytes_max,
        max_deliver: 10,
        dead_letter_expired: false,
        dedup_window_ms: 120_000,
        gaps: vec![],
        groups: vec![],
    };
    assert_eq!(info, expected);
    let some = StreamSettings { max_messages: Some(7), max_deliver: Some(0), ..log(5, 6, 7) };
    assert_eq!(status(&bench.act("s", StreamAction::Put(some))), 200);
    let others = StreamSettings {
        max_bytes: Some(u64::MAX),
        dead_letter_expired: Some(true),
        dedup_window_ms: Some(9),
        durability: Some(Durability::Memory),
        ..StreamSettings::default()
    };
    bench.put("s", others);
    let retention = Retention { policy: Policy::Log, max_age_ms: 5, max_bytes: 6, max_messages: 7 };
    let expected = StreamInfo {
        retention,
        max_messages: 7,
        max_deliver: 0,
        dead_letter_expired: true,
        dedup_window_ms: 9,
        ..expected
    };
    assert_eq!(bench.describe("s"), expected, "a bound above the server's is the server's");
}

#[test]
fn bounds_of_a_stream_are_kept() {
    const FULL: [(ErrorCode, Option<u32>); 1] = [(ErrorCode::Backpressure, Some(1_000))];
    let mut bench = Bench::new(limits());
    bench.put("s", StreamSettings { max_messages: Some(2), ..StreamSettings::default() });
    bench.put("t", StreamSettings { max_bytes: Some(128), ..StreamSettings::default() });
    for stream in ["s", "t"] {
        bench.fill(stream, 2);
        assert_eq!(bench.publish(stream, "m", b"{}").refused, FULL);
    }
    assert_eq!(bench.publish("t", "m", &[b'x'; 128]).refused, [(ErrorCode::PayloadTooLarge, None)]);
    bench.put("s", StreamSettings { max_messages: Some(1), ..StreamSettings::default() });
    bench.subscribe(1, "s", 10);
    bench.ack(1, 1);
    assert_eq!(bench.publish("s", "m", b"{}").refused, FULL, "one is there and one may be");
    bench.ack(1, 2);
    assert_eq!(bench.publish("s", "m", b"{}").refused, []);
}

#[test]
fn a_stream_with_few_places_pauses_its_publishers_early() {
    let mut bench = Bench::new(Limits { pause_at_per_mille: 800, resume_at_per_mille: 500, ..limits() });
    bench.put("s", StreamSettings { max_messages: Some(10), ..StreamSettings::default() });
    bench.fill("s", 6);
    assert_eq!(bench.publish_pausable(5, "s", "a", b"{}").paused.len(), 0, "7 of 10");
    assert_eq!(bench.publish_pausable(5, "s", "b", b"{}").paused.len(), 1, "8 of 10");
    let purged = bench.act("s", StreamAction::Purge);
    assert_eq!(purged.resumed.iter().map(|origin| origin.connection).collect::<Vec<_>>(), [connection(5)]);
}

#[test]
fn a_durability_that_cannot_be_had_is_a_conflict() {
    let mut bench = Bench::new(limits());
    for durability in [Durability::Commit, Durability::Interval(5)] {
        let settings = StreamSettings { durability: Some(durability), ..StreamSettings::default() };
        assert_eq!(bench.act("s", StreamAction::Put(settings)).refused, [(ErrorCode::Conflict, None)]);
    }
    assert_eq!(bench.shard.totals().streams_now, 0, "a refusal makes nothing");
}

#[test]
fn a_purge_takes_everything_and_seqs_go_on() {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 2);
    bench.join(2, in_group("s", "a", 0));
    bench.fill("s", 5);
    bench.nack(1, &[2], 50);
    let purged = bench.act("s", StreamAction::Purge);
    assert_eq!((&*done(&purged).stream, done(&purged).deleted), ("s", Some(5)));
    assert_eq!(bench.held("s"), [0_u64; 0]);
    let totals = bench.shard.totals();
    assert_eq!((totals.messages_now, totals.bytes_now, totals.inflight_now), (0, 0, 0));
    assert_eq!((totals.trimmed, totals.withdrawn), (5, 1));
    assert_eq!(bench.run_ms(100).attempts(), []);
    assert_eq!(bench.publish("s", "m", b"{}").published[0].seq, 6);
    assert_eq!((bench.credit(1, 1).seqs(), bench.credit(2, 9).seqs()), (vec![6], vec![6]));
    assert_eq!(done(&bench.act("s", StreamAction::Purge)).deleted, Some(1));
    assert_eq!(done(&bench.act("s", StreamAction::Purge)).deleted, Some(0));
}

#[test]
fn a_large_purge_is_many_small_calls() {
    let mut bench = Bench::new(Limits { work_max: 10, ..limits() });
    bench.subscribe(1, "s", 0);
    bench.fill("s", 500);
    bench.credit(1, 100);
    bench.settle();
    assert_eq!(done(&bench.act("s", StreamAction::Purge)).deleted, Some(500));
    assert_eq!(bench.held("s"), [0_u64; 0], "all is gone at once,");
    assert_eq!(bench.shard.totals().messages_now, 490, "and goes bit by bit");
    assert_eq!(bench.credit(1, 100).seqs(), [0_u64; 0]);
    bench.ack(1, 77);
    assert_eq!(bench.publish("s", "m", b"{}").seqs(), [501]);
    bench.settle();
    let totals = bench.shard.totals();
    assert_eq!((totals.messages_now, totals.acked, totals.withdrawn), (1, 1, 99));
}

#[test]
fn a_deleted_stream_is_gone_with_all_that_was_of_it() {
    let mut bench = Bench::new(Limits { work_max: 2, ..limits() });
    bench.subscribe(1, "s", 3);
    bench.join(2, in_group("s", "a", 1));
    bench.fill("s", 300);
    bench.nack(1, &[2], 50);
    let deleted = bench.act("s", StreamAction::Delete);
    assert_eq!(done(&deleted).deleted, Some(300));
    assert_eq!(deleted.closed, [1, 2].map(|slot| (connection(slot), ErrorCode::StreamDeleted)));
    assert_eq!(bench.act("s", StreamAction::Describe).refused, [(ErrorCode::UnknownStream, None)]);
    assert!(bench.shard.totals().messages_now > 0, "its memory comes back bit by bit");
    bench.now.unix_ms += 5;
    assert_eq!(bench.publish("s", "m", b"{}").published[0].seq, 1, "a stream of its name is another one");
    assert_eq!(bench.describe("s").epoch, 1_700_000_000_005);
    bench.settle();
    let totals = bench.shard.totals();
    assert_eq!((totals.messages_now, totals.inflight_now, totals.credit_now), (1, 0, 0));
    assert_eq!((totals.streams_now, totals.groups_now, totals.consumers_now), (1, 0, 0));
    assert_eq!(bench.run_ms(10_000).attempts(), [], "nobody wakes for what was delayed there");
    assert_eq!(bench.subscribe(1, "s", 9).seqs(), [1], "its consumers may come again");
}

#[test]
fn publishers_that_a_deleted_stream_paused_go_on() {
    let tight = Limits { stream_messages_max: 10, pause_at_per_mille: 800, resume_at_per_mille: 500, ..limits() };
    let mut bench = Bench::new(tight);
    bench.fill("s", 8);
    bench.publish_pausable(5, "s", "m", b"{}");
    assert_eq!(bench.act("s", StreamAction::Delete).resumed.len(), 1);
}

#[test]
fn a_look_into_a_stream_changes_nothing() {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 100);
    bench.fill("s", 5);
    bench.ack(1, 2);
    let look =
        |bench: &mut Bench, from, limit| match bench.act("s", StreamAction::Peek { from: Seq(from), limit }).answer {
            Some(StreamAnswer::Messages(messages)) => {
                (messages.messages.iter().map(|message| message.seq).collect::<Vec<_>>(), messages.next)
            }
            other => panic!("{other:?}"),
        };
    assert_eq!(look(&mut bench, 0, 100), (vec![1, 3, 4, 5], None));
    assert_eq!(look(&mut bench, 0, 4), (vec![1, 3, 4, 5], None));
    assert_eq!(look(&mut bench, 0, 3), (vec![1, 3, 4], Some(5)));
    assert_eq!(look(&mut bench, 2, 1), (vec![3], Some(4)));
    assert_eq!(look(&mut bench, 2, 0), (vec![], Some(3)));
    assert_eq!(look(&mut bench, 6, 9), (vec![], None));
    assert_eq!(look(&mut bench, u64::MAX, 9), (vec![], None));
    assert_eq!(bench.stats("s").inflight, 4);
}

#[test]
fn a_look_shows_the_message_as_json_whatever_it_came_as() {
    let mut bench = Bench::new(limits());
    let mut publish = |encoding, bytes: &[u8]| {
        let envelope = Envelope { encoding, bytes, id: EnvelopeId::Given(b"an id".into()) };
        let publish = Publish { stream: "s".into(), envelope, pausable: false, options: PublishOptions::default() };
        bench.command(9, Command::Publish(publish));
    };
    publish(Encoding::Json, br#"{"n": 1.50}"#);
    publish(Encoding::MessagePack, &[0x81, 0xa1, b'n', 0x02]);
    let look = StreamAction::Peek { from: Seq(1), limit: 9 };
    let Some(StreamAnswer::Messages(messages)) = bench.act("s", look).answer else { panic!("two messages") };
    let shown: Vec<_> =
        messages.messages.iter().map(|message| (&*message.id, &*message.ts, message.envelope.0.get())).collect();
    let ts = "2023-11-14T22:13:20.000Z";
    assert_eq!(shown, [("an id", ts, r#"{"n": 1.50}"#), ("an id", ts, r#"{"n":2}"#)]);
}

#[test]
fn a_look_is_bounded_in_bytes() {
    let mut bench = Bench::new(Limits { outbox_bytes_max: 1_000, ..limits() });
    for n in 0..5 {
        bench.publish("s", &format!("m{n}"), format!("\"{}\"", "x".repeat(400)).as_bytes());
    }
    bench.publish("s", "large", format!("\"{}\"", "x".repeat(4_000)).as_bytes());
    assert_eq!(bench.held("s"), [1, 2]);
    let look = StreamAction::Peek { from: Seq(6), limit: 9 };
    let Some(StreamAnswer::Messages(messages)) = bench.act("s", look).answer else { panic!("a large message") };
    assert_eq!(messages.messages.len(), 1, "one of any size is shown");
}

#[test]
fn a_group_is_made_and_changed() {
    let mut bench = Bench::new(limits());
    bench.fill("s", 3);
    let settings = |ack_wait_ms, max_deliver| GroupSettings { ack_wait_ms, max_deliver };
    assert_eq!(status(&bench.put_group("s", "g", From::Last(1), settings(Some(70), None))), 201);
    assert_eq!(status(&bench.put_group("s", "g", From::First, settings(None, Some(2)))), 200);
    let info = bench.describe_group("s", "g");
    assert_eq!((info.ack_wait_ms, info.max_deliver, info.next, info.backlog), (70, 2, 3, 1));
    bench.join(1, in_group("s", "g", 1));
    assert_eq!(bench.run_ms(70).attempts(), [], "it came back, and the credit was spent");
    assert_eq!(bench.credit(1, 1).attempts(), [(3, 2)], "the group's wait holds for who says nothing");
    bench.join(2, Subscribe { ack_wait_ms: Some(20), ..in_group("s", "h", 1) });
    bench.run_ms(20);
    assert_eq!(bench.credit(2, 1).attempts(), [(3, 2)], "who says something else has it");
    assert_eq!(status(&bench.put_group("new", "g", From::First, GroupSettings::default())), 201);
    assert_eq!(bench.describe("new").groups.len(), 1, "a group of no stream makes its stream");
}

#[test]
fn what_a_group_says_of_redelivery_wins_over_its_stream() {
    let mut bench = Bench::new(limits());
    bench.put("s", StreamSettings { max_deliver: Some(4), ..StreamSettings::default() });
    bench.join(1, Subscribe { max_deliver: Some(3), ..in_group("s", "a", 0) });
    bench.join(2, in_group("s", "b", 0));
    bench.join(3, Subscribe { max_deliver: Some(9), ..in_group("s", "a", 0) });
    let told: Vec<_> = bench.describe("s").groups.iter().map(|group| group.max_deliver).collect();
    assert_eq!(told, [3, 4], "a subscription only says what a group that is not there yet is to be like");
    bench.put("s", StreamSettings { max_deliver: Some(6), ..StreamSettings::default() });
    let told: Vec<_> = bench.describe("s").groups.iter().map(|group| group.max_deliver).collect();
    assert_eq!(told, [3, 6]);
}
