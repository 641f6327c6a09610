//! The trace context of a message goes wherever the message goes, and no other message gets it.

mod common;
mod log_support;
mod logged;
use common::wishes::{alone, log};
use common::{Bench, Outcome, limits, message, nack, seqs};
use conduit_protocol::command::{Nack, PublishOptions, StreamAction};
use conduit_protocol::streams::StreamAnswer;
use conduit_protocol::{Command, Encoding, Publish, Subscribe, TraceContext};
use conduit_shard::Limits;
use conduit_shard::log::LogLimits;
use logged::Logged;
use std::num::NonZeroU64;

fn trace(n: u8) -> Option<TraceContext> {
    Some(TraceContext::from_bytes([n; TraceContext::BYTES]))
}

fn traced(n: u8) -> PublishOptions<'static> {
    PublishOptions { trace: trace(n), ..PublishOptions::default() }
}

fn traces(outcome: &Outcome) -> Vec<Option<TraceContext>> {
    outcome.deliveries.iter().map(|delivery| delivery.trace).collect()
}

#[test]
fn each_delivery_has_that_of_its_message() {
    let mut bench = Bench::new(limits());
    let ttl_ms = NonZeroU64::new(1_000);
    for (n, options) in [
        (1, traced(1)),
        (2, PublishOptions::default()),
        (3, PublishOptions { ttl_ms, ..traced(3) }),
        (4, PublishOptions { ttl_ms, ..PublishOptions::default() }),
        (5, PublishOptions { priority: 3, ..traced(5) }),
    ] {
        bench.publish_with("s", &format!("m{n}"), b"{}", options);
    }
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        let outcome = bench.command(1, Command::Subscribe(Subscribe { encoding, ..alone("s", 10) }));
        assert_eq!(outcome.seqs(), [5, 1, 2, 3, 4]);
        assert_eq!(traces(&outcome), [trace(5), trace(1), None, trace(3), None]);
        bench.disconnect(1);
    }
}

#[test]
fn a_look_into_the_stream_shows_it() {
    let mut bench = Bench::new(limits());
    bench.publish_with("s", "m", b"{}", traced(1));
    bench.publish("s", "m", b"{}");
    let from = conduit_protocol::Seq(0);
    let Some(StreamAnswer::Messages(found)) = bench.act("s", StreamAction::Peek { from, limit: 9 }).answer else {
        panic!("messages")
    };
    let shown: Vec<Option<String>> = found.messages.into_iter().map(|message| message.traceparent).collect();
    assert_eq!(shown, [trace(1).map(|trace| trace.to_string()), None]);
}

#[test]
fn a_message_without_one_takes_no_byte_more() {
    let bytes = |options: PublishOptions<'static>| {
        let mut bench = Bench::new(limits());
        bench.publish_with("s", "ab", &[b' '; 62], options);
        bench.stats("s").bytes
    };
    assert_eq!(bytes(PublishOptions::default()), 64);
    assert!(bytes(traced(1)) > 64);
}

#[test]
fn a_dead_letter_has_it_and_what_is_brought_back_too() {
    let mut bench = Bench::new(limits());
    bench.publish_with("s", "m", b"{}", traced(7));
    bench.subscribe(1, "s", 1);
    bench.command(1, Command::Nack(Nack { dead: true, ..nack(seqs(&[1]), 0) }));
    bench.settle();
    let letters = bench.subscribe(2, "s.dlq", 1);
    assert_eq!(traces(&letters), [trace(7)]);
    bench.disconnect(2);
    bench.act("s.dlq", StreamAction::Redrive { limit: 1 });
    let again = bench.credit(1, 1);
    assert_eq!((again.seqs(), traces(&again)), (vec![2], vec![trace(7)]));
}

#[test]
fn the_log_gives_it_back_when_the_message_had_left_memory() {
    let limits = Limits { shard_bytes_max: 1 << 20, stream_bytes_max: 1 << 20, ..limits() };
    let mut logged = Logged::new(limits, &LogLimits::default());
    logged.bench.put("s", log(0, 0, 0));
    let envelope = [b"{\"x\":\"", &[b'x'; 4_000][..], b"\"}"].concat();
    for n in 1..=200_u8 {
        let options = if n % 2 == 0 { traced(n) } else { PublishOptions::default() };
        let publish = Publish { options, ..message("s", "m", &envelope) };
        logged.bench.command(900, Command::Publish(publish));
        logged.work();
    }
    assert!(logged.bench.shard.totals().spilled > 0);
    let mut outcome = logged.bench.subscribe(1, "s", 1_000);
    while outcome.deliveries.len() < 200 {
        let before = outcome.deliveries.len();
        outcome.merge(logged.work());
        outcome.merge(logged.bench.drained(1));
        assert!(outcome.deliveries.len() > before || logged.bench.shard.next_deadline().is_some());
    }
    for delivery in &outcome.deliveries {
        let expected = if delivery.seq % 2 == 0 { trace(delivery.seq as u8) } else { None };
        assert_eq!(delivery.trace, expected, "{}", delivery.seq);
    }
    assert!(logged.bench.shard.totals().read_back > 0);
}

#[test]
fn it_survives_a_restart() {
    let mut logged = Logged::new(limits(), &LogLimits::default());
    for options in [traced(1), PublishOptions::default(), PublishOptions { dedup_id: Some("d".into()), ..traced(3) }] {
        logged.bench.publish_with("s", "m", b"{}", options);
    }
    logged.work();
    let mut again = logged.restart();
    assert_eq!(again.bench.shard.totals().messages_now, 3);
    let mut outcome = again.bench.subscribe(1, "s", 10);
    outcome.merge(again.work());
    assert_eq!(traces(&outcome), [trace(1), None, trace(3)]);
}
