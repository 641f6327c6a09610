//! A message with a time to live is delivered before that is over or not at all, and becomes a dead letter only if asked.

mod common;
use common::{Bench, limits, subscription};
use conduit_protocol::command::{NotBefore, PublishOptions};
use conduit_protocol::streams::StreamSettings;
use conduit_protocol::{Command, Subscribe};
use std::num::NonZeroU64;

fn ttl(ms: u64) -> PublishOptions<'static> {
    PublishOptions { ttl_ms: NonZeroU64::new(ms), ..PublishOptions::default() }
}

#[test]
fn it_is_there_to_its_last_millisecond_and_then_gone() {
    for (wait_ms, seqs) in [(99, vec![1, 2]), (100, vec![2]), (101, vec![2])] {
        let mut bench = Bench::new(limits());
        bench.publish_with("s", "m1", b"{}", ttl(100));
        bench.publish("s", "m2", b"{}");
        bench.run_ms(wait_ms);
        assert_eq!(bench.stats("s").depth as usize, seqs.len(), "{wait_ms}");
        assert_eq!(bench.subscribe(1, "s", 10).seqs(), seqs, "{wait_ms}");
        assert_eq!(bench.shard.totals().expired, 2 - seqs.len() as u64);
    }
}

#[test]
fn it_is_not_delivered_even_when_the_deadline_comes_late() {
    let mut bench = Bench::new(limits());
    bench.publish_with("s", "m1", b"{}", ttl(100));
    bench.advance_ms(100);
    assert_eq!(bench.subscribe(1, "s", 10).seqs(), [0_u64; 0]);
    bench.settle();
    assert_eq!((bench.stats("s").depth, bench.stats("s").inflight), (0, 0));
}

#[test]
fn one_in_flight_has_until_its_delivery_ends() {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 10);
    bench.publish_with("s", "m1", b"{}", ttl(100));
    bench.run_ms(5_000);
    assert_eq!(bench.stats("s").inflight, 1);
    bench.ack(1, 1);
    assert_eq!((bench.shard.totals().acked, bench.shard.totals().expired), (1, 0), "in time enough");
    bench.publish_with("s", "m2", b"{}", ttl(100));
    bench.run_ms(5_000);
    assert_eq!(bench.nack(1, &[2], 0).seqs(), [0_u64; 0], "it came back too late");
    assert_eq!(bench.run_ms(1_000).seqs(), [0_u64; 0]);
    assert_eq!((bench.stats("s").depth, bench.shard.totals().expired), (0, 1));
}

#[test]
fn it_goes_for_all_groups_at_once_and_frees_its_room() {
    let mut bench = Bench::new(limits());
    for (slot, group) in [(1, None), (2, Some("slow".into()))] {
        let credit = if slot == 1 { 10 } else { 0 };
        let subscribe = Subscribe { group, ..subscription("s", credit) };
        bench.command(slot, Command::Subscribe(subscribe));
    }
    bench.publish_with("s", "m1", b"{}", ttl(100));
    bench.ack(1, 1);
    assert_eq!(bench.stats("s").depth, 1, "the slow group still wants it");
    bench.run_ms(100);
    assert_eq!((bench.stats("s").depth, bench.stats("s").bytes), (0, 0));
    assert_eq!(bench.credit(2, 5).seqs(), [0_u64; 0]);
}

#[test]
fn a_message_that_waits_longer_than_it_lives_is_never_seen() {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 10);
    bench.publish_with("s", "m1", b"{}", PublishOptions { not_before: NotBefore::AfterMs(100), ..ttl(50) });
    bench.publish_with("s", "m2", b"{}", PublishOptions { not_before: NotBefore::AfterMs(50), ..ttl(50) });
    bench.publish_with("s", "m3", b"{}", PublishOptions { not_before: NotBefore::AfterMs(49), ..ttl(50) });
    assert_eq!(bench.run_ms(49).seqs(), [3]);
    assert_eq!(bench.run_ms(1_000).seqs(), [0_u64; 0]);
    assert_eq!((bench.stats("s").depth, bench.shard.totals().expired), (0, 2));
}

#[test]
fn it_becomes_a_dead_letter_only_if_the_stream_says_so() {
    for asked in [None, Some(false), Some(true)] {
        let mut bench = Bench::new(limits());
        bench.put("s", StreamSettings { dead_letter_expired: asked, ..StreamSettings::default() });
        bench.publish_with("s", "m1", b"{\"n\":1}", ttl(100));
        bench.run_ms(100);
        let totals = bench.shard.totals();
        assert_eq!((totals.expired, totals.dead_lettered), (1, u64::from(asked == Some(true))), "{asked:?}");
        if asked == Some(true) {
            let letter = bench.subscribe(1, "s.dlq", 1).deliveries.remove(0);
            let letter: serde_json::Value = serde_json::from_slice(&letter.envelope).unwrap();
            let expected = serde_json::json!({
                "id": "m1", "reason": "expired", "attempts": 0, "lastError": null, "stream": "s", "seq": 1,
                "firstTs": "2023-11-14T22:13:20.000Z", "envelope": {"n": 1},
            });
            assert_eq!(letter, expected);
        }
    }
}

#[test]
fn dead_letters_that_expire_are_gone() {
    let mut bench = Bench::new(limits());
    bench.put("s.dlq", StreamSettings { dead_letter_expired: Some(true), ..StreamSettings::default() });
    bench.publish_with("s.dlq", "m1", b"{}", ttl(100));
    bench.run_ms(100);
    assert_eq!((bench.stats("s.dlq").depth, bench.shard.totals().dead_lettered), (0, 0));
    assert_eq!(bench.shard.totals().streams_now, 1);
}

#[test]
fn many_that_expire_at_once_go_bit_by_bit_and_in_bounded_memory() {
    let mut bench = Bench::new(limits());
    for _ in 0..1_000 {
        bench.publish_with("s", "m", b"{}", ttl(100));
    }
    bench.advance_ms(100);
    let outcome = bench.input(conduit_shard::Input::Deadline);
    assert_eq!(outcome, common::Outcome::default());
    let left = bench.stats("s").depth;
    assert!(left > 0 && left < 1_000, "{left} left after one call");
    bench.settle();
    assert_eq!(bench.stats("s").depth, 0);
}
