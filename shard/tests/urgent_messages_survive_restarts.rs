//! Where some messages are more urgent than others, a group's place is not one seq: what went first is not delivered again
//! after a restart, and what was overtaken is not passed over.

mod common;
mod log_support;
mod logged;

use common::{limits, subscription};
use conduit_protocol::command::PublishOptions;
use conduit_protocol::{Command, Subscribe};
use log_support::small_limits;
use logged::Logged;

fn publish(logged: &mut Logged, priority: u8) {
    let options = PublishOptions { priority, ..PublishOptions::default() };
    let mut outcome = logged.bench.publish_with("s", "m", b"{}", options);
    outcome.merge(logged.work());
    assert_eq!(outcome.published.len(), 1);
}

fn join(logged: &mut Logged, slot: u32, group: &'static str, credit: u64) -> Vec<u64> {
    let subscribe = Subscribe { group: Some(group.into()), ..subscription("s", credit) };
    let mut outcome = logged.bench.command(slot, Command::Subscribe(subscribe));
    outcome.merge(logged.run_ms(100));
    outcome.seqs()
}

/// Writes so much that the log goes on in another segment, which says anew how far each group is.
fn begin_a_segment(logged: &mut Logged) {
    fn segments_begun(logged: &mut Logged) -> u64 {
        logged.bench.shard.snapshot(logged.bench.now).log.expect("it has a log").figures.segments_begun
    }
    let begun = segments_begun(logged);
    while segments_begun(logged) == begun {
        let mut outcome = logged.bench.publish("other", "m", &[&b"\""[..], &[b'x'; 3_000], b"\""].concat());
        outcome.merge(logged.work());
        assert_eq!(outcome.published.len(), 1);
    }
    // The first record of the stream in there comes after its names.
    publish(logged, 0);
}

#[test]
fn what_went_first_and_was_acked_does_not_come_again() {
    let mut logged = Logged::new(limits(), &small_limits());
    join(&mut logged, 9, "holds everything", 0);
    for priority in [0, 0, 2, 2] {
        publish(&mut logged, priority);
    }
    assert_eq!(join(&mut logged, 1, "g", 2), [3, 4]);
    logged.bench.ack(1, 3);
    logged.bench.ack(1, 4);
    logged.run_ms(100);
    begin_a_segment(&mut logged);
    logged.run_ms(100);
    let mut logged = logged.restart();
    assert_eq!(join(&mut logged, 1, "g", 10), [1, 2, 5]);
}

#[test]
fn what_was_overtaken_below_the_cursor_is_not_passed_over() {
    let mut logged = Logged::new(limits(), &small_limits());
    for _ in 0..40 {
        publish(&mut logged, 2);
    }
    publish(&mut logged, 0);
    // Every seventeenth delivery is for those who wait: the cursor is behind urgent messages that nobody was given.
    let first = join(&mut logged, 1, "g", 17);
    assert_eq!((first[..16].to_vec(), first[16]), ((1..=16).collect(), 41));
    for seq in first {
        logged.bench.ack(1, seq);
    }
    logged.run_ms(100);
    begin_a_segment(&mut logged);
    let mut logged = logged.restart();
    let mut after = join(&mut logged, 1, "g", 100);
    after.sort_unstable();
    assert_eq!(after, (17..=40).chain([42]).collect::<Vec<_>>());
}
