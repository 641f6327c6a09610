//! Whatever is asked of a shard with a log is answered by what was asked before it, and never waits for what somebody may or
//! may not ask next.

mod common;
mod log_support;
mod logged;

use common::{Published, limits};
use conduit_protocol::ErrorCode;
use conduit_protocol::command::{PublishOptions, StreamAction};
use conduit_protocol::streams::{Done, StreamAnswer};
use conduit_shard::Limits;
use conduit_shard::log::DiskError;
use log_support::{Asked, small_limits};
use logged::Logged;

fn logged() -> Logged {
    Logged::new(limits(), &small_limits())
}

/// Publishes a message and makes it durable.
fn publish(logged: &mut Logged, stream: &str, bytes: &[u8]) {
    let mut outcome = logged.bench.publish(stream, "m", bytes);
    outcome.merge(logged.work());
    assert_eq!(outcome.published.len(), 1);
}

/// Does something with a stream, lets the disk work, and tells the number that was answered.
fn done(logged: &mut Logged, stream: &str, action: StreamAction<'_>) -> Option<u64> {
    let mut outcome = logged.bench.act(stream, action);
    outcome.merge(logged.work());
    match outcome.answer {
        Some(StreamAnswer::Done(Done { deleted, redriven, .. })) => deleted.or(redriven),
        _ => None,
    }
}

#[test]
fn a_purge_also_of_nothing() {
    let mut logged = logged();
    publish(&mut logged, "s", b"{}");
    assert_eq!(done(&mut logged, "s", StreamAction::Purge), Some(1));
    assert_eq!(done(&mut logged, "s", StreamAction::Purge), Some(0));
}

#[test]
fn a_redrive_also_of_nothing() {
    let mut logged = logged();
    publish(&mut logged, "s.dlq", br#"{"reason":"dead","stream":"s","envelope":{}}"#);
    assert_eq!(done(&mut logged, "s.dlq", StreamAction::Redrive { limit: 10 }), Some(1));
    assert_eq!(done(&mut logged, "s.dlq", StreamAction::Redrive { limit: 10 }), Some(0));
}

#[test]
fn a_repeat_as_soon_as_the_first_one_is() {
    let mut logged = logged();
    let options = || PublishOptions { dedup_id: Some("k".into()), ..PublishOptions::default() };
    let mut outcome = logged.bench.publish_with("s", "m", b"{}", options());
    // Up to the commit that the message is in: it is under way.
    let commit = loop {
        let asked = logged.ask().expect("the message is written");
        match asked {
            Asked::Commit(_, _, offset, _) if offset > 0 => break asked,
            _ => outcome.merge(logged.carry_out(&asked)),
        }
    };
    outcome.merge(logged.bench.publish_with("s", "m", b"{}", options()));
    assert_eq!((outcome.published.len(), outcome.repeated.len()), (0, 0), "neither is durable yet");
    let outcome = logged.carry_out(&commit);
    let first = Published { seq: 1, id: "m".to_owned(), stream: "s".to_owned() };
    assert_eq!((outcome.published, outcome.repeated), (vec![first.clone()], vec![first]));
}

#[test]
fn a_purge_that_a_failed_log_cannot_remember_is_refused() {
    let mut logged = logged();
    publish(&mut logged, "s", b"{}");
    publish(&mut logged, "t", b"{}");
    logged.bench.publish("s", "m", b"{}");
    let asked = logged.ask().expect("the message is written");
    logged.fail(&asked, DiskError::Broken);
    let refused = [(ErrorCode::StorageFailed, None)];
    assert_eq!(logged.bench.act("t", StreamAction::Purge).refused, refused);
    assert_eq!(logged.bench.act("t", StreamAction::Purge).refused, refused, "also when nothing is left to purge");
}

#[test]
fn a_redrive_of_what_has_to_be_read_first() {
    // Memory has no room for letters: all but what is being read is only on the disk.
    let letter = format!(r#"{{"reason":"dead","stream":"s","envelope":{{"text":"{}"}}}}"#, "x".repeat(900));
    let mut logged =
        Logged::new(Limits { shard_bytes_max: 8_192, stream_bytes_max: 8_192, ..limits() }, &small_limits());
    for _ in 0..20 {
        publish(&mut logged, "s.dlq", letter.as_bytes());
    }
    assert!(logged.bench.shard.totals().spilled > 0, "some letters left memory");
    let mut redriven = 0;
    while let Some(number) = done(&mut logged, "s.dlq", StreamAction::Redrive { limit: 100 })
        && number > 0
    {
        redriven += number;
    }
    assert_eq!(redriven, 20);
}
