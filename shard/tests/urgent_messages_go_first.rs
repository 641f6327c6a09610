//! Messages of higher priority go first, and a guard lets the others through.

mod common;
use common::{Bench, limits, subscription};
use conduit_protocol::command::{NotBefore, PublishOptions, StreamAction};
use conduit_protocol::{Command, ErrorCode, Subscribe};
use conduit_shard::Limits;

fn priority(priority: u8) -> PublishOptions<'static> {
    PublishOptions { priority, ..PublishOptions::default() }
}

/// Publishes a message of each of these priorities to `s`.
fn publish(bench: &mut Bench, priorities: impl IntoIterator<Item = u8>) {
    for of in priorities {
        assert_eq!(bench.publish_with("s", "m", b"{}", priority(of)).refused, []);
    }
}

#[test]
fn the_most_urgent_first_and_equals_by_seq() {
    let mut bench = Bench::new(limits());
    publish(&mut bench, [0, 1, 3, 0, 2, 3, 1]);
    assert_eq!(bench.subscribe(1, "s", 10).seqs(), [3, 6, 5, 2, 7, 1, 4]);
    publish(&mut bench, [0, 3]);
    assert_eq!(bench.stats("s").inflight, 9);
}

#[test]
fn every_seventeenth_delivery_goes_to_those_who_wait() {
    let mut bench = Bench::new(limits());
    publish(&mut bench, [0; 5]);
    publish(&mut bench, [2; 100]);
    let seqs = bench.subscribe(1, "s", 85).seqs();
    let usual: Vec<usize> = (0..85).filter(|nth| seqs[*nth] <= 5).collect();
    assert_eq!(usual, [16, 33, 50, 67, 84]);
    let urgent: Vec<u64> = seqs.iter().copied().filter(|seq| *seq > 5).collect();
    assert_eq!(urgent, (6..86).collect::<Vec<u64>>(), "in their order");
}

#[test]
fn all_four_priorities_get_their_share() {
    let mut bench = Bench::new(Limits { work_max: 20_000, ..limits() });
    for of in 0..4 {
        publish(&mut bench, vec![of; 5_000]);
    }
    let seqs = bench.subscribe(1, "s", 17 * 17 * 17).seqs();
    let mut got = [0; 4];
    for seq in seqs {
        got[(seq as usize - 1) / 5_000] += 1;
    }
    assert_eq!(got, [1, 16, 16 * 17, 16 * 17 * 17]);
}

#[test]
fn what_came_back_goes_before_and_lets_urgent_ones_through() {
    let mut bench = Bench::new(limits());
    publish(&mut bench, [0; 40]);
    bench.subscribe(1, "s", 40);
    bench.disconnect(1);
    publish(&mut bench, [3]);
    let seqs = bench.subscribe(2, "s", 60).seqs();
    assert_eq!(seqs[..16], (1..17).collect::<Vec<u64>>());
    assert_eq!(seqs[16], 41);
    assert_eq!(seqs[17..], (17..41).collect::<Vec<u64>>());
}

#[test]
fn without_urgent_messages_what_came_back_keeps_its_order() {
    let mut bench = Bench::new(limits());
    publish(&mut bench, [0; 40]);
    bench.subscribe(1, "s", 40);
    publish(&mut bench, [0; 5]);
    bench.disconnect(1);
    assert_eq!(bench.subscribe(2, "s", 60).seqs(), (1..46).collect::<Vec<u64>>());
}

#[test]
fn every_group_has_its_own_turns() {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 0);
    let other = Subscribe { group: Some("other".into()), ..subscription("s", 0) };
    bench.command(2, Command::Subscribe(other));
    publish(&mut bench, [0, 1, 2, 0]);
    assert_eq!(bench.credit(1, 10).seqs(), [3, 2, 1, 4]);
    for seq in [3, 2, 1] {
        bench.ack(1, seq);
    }
    assert_eq!(bench.credit(2, 2).seqs(), [3, 2]);
    bench.ack(2, 3);
    bench.ack(2, 2);
    assert_eq!(bench.stats("s").depth, 3, "nothing below an older message that a group still needs goes");
    assert_eq!(bench.credit(2, 10).seqs(), [1, 4]);
    for (slot, seq) in [(2, 1), (2, 4), (1, 4)] {
        bench.ack(slot, seq);
    }
    assert_eq!(bench.stats("s").depth, 0, "each was released once all were done");
}

#[test]
fn an_urgent_message_that_the_cursor_passed_is_held_for_the_group() {
    let mut bench = Bench::new(limits());
    let other = Subscribe { group: Some("other".into()), ..subscription("s", 0) };
    bench.subscribe(1, "s", 0);
    bench.command(2, Command::Subscribe(other));
    // Seq 18 is the usual one; the guard gives it before the last of the urgent ones.
    publish(&mut bench, [1; 17]);
    publish(&mut bench, [0]);
    assert_eq!(bench.credit(1, 17).seqs().last(), Some(&18));
    for seq in (1..17).chain([18]) {
        bench.ack(1, seq);
    }
    bench.credit(2, 18);
    for seq in 1..19 {
        bench.ack(2, seq);
    }
    assert_eq!(bench.stats("s").depth, 2, "17 was not delivered to the first group");
    assert_eq!(bench.credit(1, 5).seqs(), [17]);
    bench.ack(1, 17);
    assert_eq!(bench.stats("s").depth, 0);
}

#[test]
fn urgent_messages_wait_come_back_and_go_like_others() {
    let mut bench = Bench::new(limits());
    let later = PublishOptions { not_before: NotBefore::AfterMs(10), ..priority(3) };
    bench.publish_with("s", "m", b"{}", later);
    publish(&mut bench, [0, 0]);
    assert_eq!(bench.subscribe(1, "s", 10).seqs(), [2, 3]);
    assert_eq!(bench.run_ms(10).attempts(), [(1, 1)]);
    assert_eq!(bench.nack(1, &[1], 0).attempts(), [(1, 2)]);
    bench.act("s", StreamAction::Purge);
    publish(&mut bench, [0, 2]);
    assert_eq!(bench.stats("s").inflight, 2);
}

#[test]
fn urgency_has_a_maximum() {
    let mut bench = Bench::new(limits());
    assert_eq!(bench.publish_with("s", "m", b"{}", priority(3)).refused, []);
    assert_eq!(bench.publish_with("s", "m", b"{}", priority(4)).refused, [(ErrorCode::InvalidField, None)]);
}
