//! While dead letters cannot be stored, the messages stay, are not redelivered, and are tried again.

mod common;
use common::{Bench, limits, nack, seqs, subscription};
use conduit_protocol::command::{Nack, StreamAction};
use conduit_protocol::streams::StreamSettings;
use conduit_protocol::{Command, Subscribe};
use conduit_shard::Limits;

fn give_up(bench: &mut Bench, slot: u32, seq: u64) {
    let dead = Nack { dead: true, error: Some(format!("error {seq}").into()), ..nack(seqs(&[seq]), 0) };
    bench.command(slot, Command::Nack(dead));
}

#[test]
fn it_is_tried_again_every_second_until_there_is_room() {
    let mut bench = Bench::new(limits());
    bench.put("s.dlq", StreamSettings { max_messages: Some(2), ..StreamSettings::default() });
    bench.subscribe(1, "s", 100);
    for n in 1..=5 {
        bench.publish("s", &format!("m{n}"), b"{}");
        give_up(&mut bench, 1, n);
    }
    bench.settle();
    assert_eq!((bench.stats("s.dlq").depth, bench.stats("s").depth), (2, 3), "two fit");
    assert_eq!(bench.run_ms(10_000).deliveries, [], "nothing is redelivered meanwhile");
    assert_eq!(bench.stats("s").depth, 3);
    bench.subscribe(2, "s.dlq", 100);
    bench.ack(2, 1);
    bench.ack(2, 2);
    let letters = bench.run_ms(1_000).deliveries;
    assert_eq!(letters.iter().map(|letter| &*letter.id).collect::<Vec<_>>(), ["m3", "m4"]);
    let letter: serde_json::Value = serde_json::from_slice(&letters[0].envelope).unwrap();
    assert_eq!(letter["lastError"], "error 3", "what was said is not forgotten");
    bench.ack(2, 3);
    bench.ack(2, 4);
    assert_eq!(bench.run_ms(1_000).deliveries.len(), 1);
    assert_eq!((bench.stats("s").depth, bench.shard.totals().dead_lettered), (0, 5));
}

#[test]
fn a_letter_takes_the_place_of_its_message_in_a_shard_that_is_full() {
    let mut bench = Bench::new(Limits { shard_messages_max: 3, stream_messages_max: 3, ..limits() });
    bench.subscribe(1, "s", 1);
    for n in 1..=3 {
        bench.publish("s", &format!("m{n}"), b"{}");
    }
    give_up(&mut bench, 1, 1);
    bench.run_ms(1_000);
    assert_eq!((bench.stats("s").depth, bench.stats("s.dlq").depth, bench.shard.totals().messages_now), (2, 1, 3));
}

#[test]
fn a_shard_full_of_what_waits_behind_a_given_up_message_moves_on() {
    let limits = Limits { shard_messages_max: 3, stream_messages_max: 3, work_max: 1, ..limits() };
    let mut bench = Bench::new(limits);
    bench.subscribe(1, "s", 3);
    bench.command(2, Command::Subscribe(Subscribe { group: Some("other".into()), ..subscription("s", 3) }));
    for n in 1..=3 {
        bench.publish("s", &format!("m{n}"), b"{}");
    }
    bench.settle();
    for seq in 1..=3 {
        bench.ack(2, seq);
    }
    bench.ack(1, 2);
    bench.ack(1, 3);
    assert_eq!(bench.shard.totals().messages_now, 3, "the first one keeps all of them");
    give_up(&mut bench, 1, 1);
    bench.run_ms(1_000);
    assert_eq!((bench.shard.totals().dead_lettered, bench.shard.totals().messages_now), (1, 1));
}

#[test]
fn too_many_streams_are_a_reason_to_wait_too() {
    let mut bench = Bench::new(Limits { streams_max: 2, ..limits() });
    bench.subscribe(1, "s", 1);
    bench.publish("other", "m", b"{}");
    bench.publish("s", "m", b"{}");
    give_up(&mut bench, 1, 1);
    bench.run_ms(2_000);
    assert_eq!(bench.stats("s").depth, 1);
    bench.act("other", StreamAction::Delete);
    bench.run_ms(1_000);
    assert_eq!((bench.stats("s").depth, bench.stats("s.dlq").depth), (0, 1));
}

#[test]
fn an_expired_message_waits_for_room_as_well() {
    let mut bench = Bench::new(limits());
    bench.put("s", StreamSettings { dead_letter_expired: Some(true), ..StreamSettings::default() });
    bench.put("s.dlq", StreamSettings { max_messages: Some(1), ..StreamSettings::default() });
    let ttl_ms = std::num::NonZeroU64::new(10);
    for _ in 0..3 {
        let options = conduit_protocol::command::PublishOptions { ttl_ms, ..Default::default() };
        bench.publish_with("s", "m", b"{}", options);
    }
    bench.subscribe(2, "s.dlq", 100);
    for left in [2, 1, 0] {
        let seqs = bench.run_ms(2_000).seqs();
        assert_eq!((seqs.len(), bench.stats("s").depth), (1, left));
        bench.ack(2, seqs[0]);
    }
    assert_eq!(bench.subscribe(1, "s", 10).deliveries, [], "whatever happens, it is not delivered");
}

#[test]
fn what_is_purged_or_deleted_meanwhile_needs_no_letter() {
    for action in [StreamAction::Purge, StreamAction::Delete] {
        let mut bench = Bench::new(limits());
        bench.put("s.dlq", StreamSettings { max_messages: Some(1), ..StreamSettings::default() });
        bench.subscribe(1, "s", 100);
        for n in 1..=3 {
            bench.publish("s", "m", b"{}");
            give_up(&mut bench, 1, n);
        }
        bench.run_ms(500);
        assert_eq!(bench.stats("s").depth, 2);
        bench.act("s", action);
        // A new stream under the old key has messages of the same seqs: they are not given up by mistake.
        bench.publish("s", "new", b"{}");
        bench.act("s.dlq", StreamAction::Purge);
        bench.run_ms(5_000);
        let stats = bench.stats("s");
        assert_eq!((stats.depth + stats.inflight, bench.shard.totals().dead_lettered), (1, 1));
    }
}

#[test]
fn a_message_that_waits_for_its_letter_can_still_be_deleted_with_its_group() {
    let mut bench = Bench::new(limits());
    bench.put("s.dlq", StreamSettings { max_messages: Some(1), ..StreamSettings::default() });
    bench.publish("s.dlq", "old", b"{}");
    bench.subscribe(1, "s", 100);
    bench.publish("s", "m", b"{}");
    give_up(&mut bench, 1, 1);
    bench.run_ms(500);
    bench.act("s", StreamAction::DeleteGroup { group: "".into() });
    assert_eq!(bench.subscribe(2, "s", 100).attempts(), [(1, 1)], "a new group begins anew");
    bench.act("s.dlq", StreamAction::Purge);
    bench.run_ms(5_000);
    assert_eq!((bench.stats("s").inflight, bench.shard.totals().dead_lettered), (1, 0));
}
