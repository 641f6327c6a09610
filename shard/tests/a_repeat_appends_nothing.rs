//! A publish under a dedup id that the stream took within its window stores nothing and gets the first one's answer.

mod common;
use common::{Bench, Published, limits};
use conduit_protocol::ErrorCode;
use conduit_protocol::command::{PublishOptions, StreamAction};
use conduit_protocol::streams::StreamSettings;
use conduit_shard::Limits;
use std::num::NonZeroU64;

const WINDOW_MS: u64 = 120_000;

fn under(dedup_id: &str) -> PublishOptions<'_> {
    PublishOptions { dedup_id: Some(dedup_id.into()), ..PublishOptions::default() }
}

fn first() -> Published {
    Published { seq: 1, id: "m1".to_owned(), stream: "s".to_owned() }
}

#[test]
fn the_first_answer_is_given_to_the_end_of_the_window_and_no_longer() {
    let mut bench = Bench::new(limits());
    assert_eq!(bench.publish_with("s", "m1", b"{}", under("k")).published, [first()]);
    for wait_ms in [0, 1, WINDOW_MS - 1] {
        bench.run_ms(wait_ms);
        let outcome = bench.publish_with("s", "other", b"{\"n\":2}", under("k"));
        assert_eq!((outcome.repeated, outcome.published), (vec![first()], vec![]), "{wait_ms}");
    }
    assert_eq!((bench.stats("s").depth, bench.shard.totals().duplicates), (1, 3));
    bench.run_ms(1);
    let outcome = bench.publish_with("s", "m2", b"{}", under("k"));
    assert_eq!((outcome.repeated.len(), outcome.published[0].seq), (0, 2));
    let again = Published { seq: 2, id: "m2".to_owned(), ..first() };
    assert_eq!(bench.publish_with("s", "m3", b"{}", under("k")).repeated, [again]);
}

#[test]
fn the_answer_stays_when_the_message_is_gone() {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 10);
    bench.publish_with("s", "m1", b"{}", under("k"));
    bench.ack(1, 1);
    let outcome = bench.publish_with("s", "m1", b"{}", under("k"));
    assert_eq!((outcome.repeated, outcome.deliveries), (vec![first()], vec![]));
    bench.publish("s", "m2", b"{}");
    bench.act("s", StreamAction::Purge);
    assert_eq!(bench.publish_with("s", "m1", b"{}", under("k")).repeated, [first()], "a purge opens no window");
    bench.run_ms(WINDOW_MS / 2);
    assert_eq!(bench.publish_with("s", "m1", b"{}", under("k")).repeated, [first()]);
}

#[test]
fn ids_are_told_apart_by_id_and_by_stream_and_plain_messages_have_none() {
    let mut bench = Bench::new(limits());
    for (stream, dedup_id) in [("s", "k"), ("s", "K"), ("s", "k "), ("t", "k")] {
        assert_eq!(bench.publish_with(stream, "m", b"{}", under(dedup_id)).published.len(), 1, "{stream} {dedup_id:?}");
    }
    for _ in 0..2 {
        assert_eq!(bench.publish("s", "k", b"{}").published.len(), 1, "an id of a message is no dedup id");
    }
}

#[test]
fn what_was_refused_is_not_remembered() {
    let mut bench = Bench::new(Limits { stream_messages_max: 1, ..limits() });
    bench.publish("s", "m", b"{}");
    assert_eq!(bench.publish_with("s", "m1", b"{}", under("k")).refused.len(), 1);
    bench.subscribe(1, "s", 10);
    bench.ack(1, 1);
    assert_eq!(bench.publish_with("s", "m2", b"{}", under("k")).published[0].seq, 2);
    assert_eq!(
        bench.publish_with("s", "m3", b"{}", under("k")).repeated[0].seq,
        2,
        "a full stream repeats its answers"
    );
}

#[test]
fn a_full_table_refuses_new_ids_and_knows_the_old_ones() {
    let mut bench = Bench::new(Limits { dedup_entries_max: 3, ..limits() });
    for n in 0..3 {
        let stream = ["a", "b"][n % 2];
        assert_eq!(bench.publish_with(stream, "m", b"{}", under(&n.to_string())).refused, []);
        bench.run_ms(10);
    }
    let refused = bench.publish_with("c", "m", b"{}", under("3")).refused;
    assert_eq!(refused, [(ErrorCode::Backpressure, Some(1_000))]);
    assert_eq!(bench.shard.totals().streams_now, 2, "a refused message makes no stream");
    assert_eq!(bench.publish("c", "m", b"{}").refused, [], "messages without an id need no room there");
    assert_eq!(bench.publish_with("a", "m", b"{}", under("0")).repeated.len(), 1);
    // The first one leaves its window, and its place is another's.
    bench.run_ms(WINDOW_MS - 30 + 1);
    assert_eq!(bench.publish_with("a", "m", b"{}", under("3")).refused, []);
    assert_eq!(bench.publish_with("a", "m", b"{}", under("4")).refused.len(), 1);
    // Nobody publishes for a while: all of them leave by themselves.
    bench.run_ms(WINDOW_MS + 1_000);
    for n in 10..13 {
        assert_eq!(bench.publish_with("b", "m", b"{}", under(&n.to_string())).refused, []);
    }
    assert_eq!(bench.publish_with("b", "m", b"{}", under("13")).refused.len(), 1);
}

#[test]
fn a_stream_has_the_window_that_it_was_told() {
    let mut bench = Bench::new(limits());
    bench.put("s", StreamSettings { dedup_window_ms: Some(50), ..StreamSettings::default() });
    bench.publish_with("s", "m1", b"{}", under("k"));
    bench.run_ms(50);
    assert_eq!(bench.publish_with("s", "m2", b"{}", under("k")).repeated, [first()]);
    bench.run_ms(1);
    assert_eq!(bench.publish_with("s", "m2", b"{}", under("k")).published.len(), 1);
    bench.put("s", StreamSettings { dedup_window_ms: Some(0), ..StreamSettings::default() });
    assert_eq!(bench.publish_with("s", "m3", b"{}", under("k")).published.len(), 1, "no window: nothing is recognised");
    assert_eq!(bench.publish_with("s", "m4", b"{}", under("k")).published.len(), 1);
}

#[test]
fn a_deleted_stream_takes_its_ids_with_it() {
    let mut bench = Bench::new(Limits { dedup_entries_max: 2, ..limits() });
    for id in ["a", "b"] {
        bench.publish_with("s", "m", b"{}", under(id));
    }
    bench.act("s", StreamAction::Delete);
    bench.settle();
    for id in ["a", "b"] {
        assert_eq!(bench.publish_with("s", "m", b"{}", under(id)).published.len(), 1);
    }
    assert_eq!(bench.publish_with("s", "m", b"{}", under("c")).refused.len(), 1);
}

#[test]
fn a_stream_that_remembers_is_not_forgotten() {
    let mut bench = Bench::new(Limits { stream_idle_ms: 1_000, ..limits() });
    bench.subscribe(1, "s", 1);
    bench.publish_with("s", "m1", b"{}", under("k"));
    bench.ack(1, 1);
    bench.disconnect(1);
    bench.run_ms(WINDOW_MS);
    assert_eq!(bench.publish_with("s", "m2", b"{}", under("k")).repeated, [first()]);
    bench.run_ms(10_000);
    assert_eq!(bench.shard.totals().streams_now, 0, "and then it is");
}

#[test]
fn a_repeat_is_recognised_whatever_else_it_asks_for() {
    let mut bench = Bench::new(limits());
    let options = PublishOptions { ttl_ms: NonZeroU64::new(5), priority: 3, ..under("k") };
    bench.publish_with("s", "m1", b"{}", options);
    bench.run_ms(10);
    assert_eq!(bench.stats("s").depth, 0, "it has expired");
    assert_eq!(bench.publish_with("s", "m1", b"{}", under("k")).repeated, [first()]);
}
