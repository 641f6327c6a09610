//! Every group gets every message, in order, with attempts and acks of its own; a work stream's message goes when all of
//! them are done with it, and not before. Who reads for itself alone holds nothing back.

mod common;
use common::wishes::{alone, in_group};
use common::{Bench, connection, limits};
use conduit_protocol::streams::GroupSettings;
use conduit_protocol::{Command, ErrorCode, From, Seq, Subscribe};

#[test]
fn every_group_gets_every_message() {
    let mut bench = Bench::new(limits());
    bench.fill("s", 3);
    let default = bench.subscribe(1, "s", 10);
    let first = bench.join(2, in_group("s", "a", 10));
    bench.join(3, in_group("s", "b", 2));
    assert_eq!((default.seqs(), first.seqs()), (vec![1, 2, 3], vec![1, 2, 3]));
    let published = bench.publish("s", "m", b"{}");
    let to: Vec<_> = published.deliveries.iter().map(|delivered| (delivered.connection, delivered.seq)).collect();
    assert_eq!(to, [(connection(1), 4), (connection(2), 4)], "the third group has no credit left");
    bench.nack(2, &[2], 0);
    assert_eq!(bench.credit(3, 10).attempts(), [(3, 1), (4, 1)], "an attempt of one group is none of another");
}

#[test]
fn consumers_of_one_group_share() {
    let mut bench = Bench::new(limits());
    bench.join(1, in_group("s", "a", 10));
    bench.join(2, in_group("s", "a", 10));
    bench.join(3, in_group("s", "b", 10));
    bench.fill("s", 10);
    let groups = bench.describe("s").groups;
    let told: Vec<_> = groups.iter().map(|group| (&*group.group, group.inflight, group.consumers)).collect();
    assert_eq!(told, [("a", 10, 2), ("b", 10, 1)]);
    assert_eq!(bench.disconnect(1).seqs().len(), 5, "what the one had goes to the other");
}

#[test]
fn a_message_goes_when_the_last_group_is_done_with_it() {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 10);
    bench.join(2, in_group("s", "a", 10));
    bench.join(3, in_group("s", "b", 10));
    bench.fill("s", 3);
    for slot in [1, 2] {
        bench.command(slot, Command::AckUpTo(Seq(3)));
        assert_eq!(bench.held("s"), [1, 2, 3]);
    }
    bench.ack(3, 1);
    assert_eq!(bench.held("s"), [2, 3]);
    bench.ack(3, 3);
    assert_eq!(bench.held("s"), [2, 3], "the lowest floor decides: the third waits for the second");
    bench.ack(3, 2);
    assert_eq!(bench.held("s"), [0_u64; 0]);
    let totals = bench.shard.totals();
    assert_eq!((totals.acked, totals.bytes_now, totals.index_bytes_now), (9, 0, 0));
}

#[test]
fn one_group_alone_lets_a_message_go_at_its_ack() {
    let mut bench = Bench::new(limits());
    bench.join(1, in_group("s", "a", 10));
    bench.fill("s", 3);
    bench.ack(1, 2);
    assert_eq!(bench.held("s"), [1, 3]);
}

#[test]
fn without_a_group_all_is_kept() {
    let mut bench = Bench::new(limits());
    assert_eq!(bench.join(1, alone("s", 10)).subscribed, 1);
    bench.fill("s", 3);
    bench.command(1, Command::AckUpTo(Seq(3)));
    assert_eq!(bench.held("s"), [1, 2, 3]);
    assert_eq!(bench.subscribe(2, "s", 10).seqs(), [1, 2, 3]);
}

#[test]
fn who_reads_for_itself_alone_holds_nothing_back_and_leaves_nothing_behind() {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 10);
    bench.join(2, alone("s", 10));
    bench.join(3, alone("s", 1));
    bench.fill("s", 3);
    assert_eq!(bench.describe("s").groups.len(), 1);
    assert_eq!(bench.shard.totals().groups_now, 3);
    bench.ack(1, 1);
    bench.ack(1, 3);
    assert_eq!(bench.held("s"), [2], "others may have them in flight");
    assert_eq!((bench.stats("s").inflight, bench.shard.totals().withdrawn), (2, 3));
    bench.ack(2, 1);
    bench.ack(2, 2);
    assert_eq!(bench.shard.totals().acks_ignored, 1, "it was taken back");
    assert_eq!(bench.credit(3, 5).seqs(), [2], "what is gone is passed over");
    bench.disconnect(2);
    bench.disconnect(3);
    assert_eq!((bench.shard.totals().groups_now, bench.stats("s").inflight), (1, 1));
    assert_eq!(bench.join(2, alone("s", 10)).attempts(), [(2, 1)], "it begins anew");
}

#[test]
fn what_is_taken_back_gives_its_credit_back() {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 10);
    bench.join(2, Subscribe { refill_on_ack: true, ..alone("s", 2) });
    bench.fill("s", 4);
    bench.ack(1, 1);
    bench.ack(1, 2);
    assert_eq!(bench.settle().seqs(), [3, 4]);
}

#[test]
fn a_group_that_is_gone_holds_nothing_back() {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 10);
    bench.join(2, in_group("s", "a", 10));
    bench.join(3, in_group("s", "a", 0));
    bench.fill("s", 5);
    bench.ack(1, 1);
    bench.ack(1, 4);
    let outcome = bench.delete_group("s", "a");
    let closed = [2, 3].map(|slot| (connection(slot), ErrorCode::StreamDeleted));
    assert_eq!(outcome.closed, closed);
    assert_eq!(bench.held("s"), [2, 3, 4, 5], "what both kept goes when the floor passes it");
    bench.ack(1, 2);
    bench.ack(1, 3);
    assert_eq!(bench.held("s"), [5]);
    bench.fill("s", 2);
    bench.ack(1, 7);
    assert_eq!(bench.held("s"), [5, 6], "and from then on each at its ack");
    assert_eq!(bench.delete_group("s", "a").refused, [(ErrorCode::UnknownGroup, None)]);
    assert_eq!(bench.disconnect(2), common::Outcome::default(), "its connection is none any more");
}

#[test]
fn a_place_in_the_list_of_groups_is_used_again_and_nothing_is_mixed_up() {
    let mut bench = Bench::new(limits());
    bench.put_group("s", "kept", From::First, GroupSettings::default());
    bench.join(1, in_group("s", "a", 3));
    bench.fill("s", 3);
    bench.nack(1, &[1, 2], 50);
    bench.delete_group("s", "a");
    assert_eq!(bench.join(2, in_group("s", "b", 10)).attempts(), [(1, 1), (2, 1), (3, 1)]);
    assert_eq!(bench.run_ms(1_000).attempts(), [], "the timer of the one that is gone wakes nobody");
    bench.ack(2, 2);
    assert_eq!(bench.describe_group("s", "b").inflight, 2);
    assert_eq!(bench.describe_group("s", "kept").backlog, 3);
}

#[test]
fn the_order_within_a_group_is_kept_when_its_consumer_goes() {
    let mut bench = Bench::new(limits());
    bench.join(1, in_group("s", "a", 4));
    bench.join(2, in_group("s", "b", 4));
    bench.fill("s", 4);
    bench.ack(1, 2);
    bench.disconnect(1);
    assert_eq!(bench.join(3, in_group("s", "a", 10)).attempts(), [(1, 2), (3, 2), (4, 2)]);
}
