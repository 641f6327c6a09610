//! `from` decides where a group begins that is not there yet, and nothing else: each form at its borders.

mod common;
use common::wishes::{alone, in_group, log};
use common::{Bench, limits};
use conduit_protocol::command::StreamAction;
use conduit_protocol::streams::GroupSettings;
use conduit_protocol::{From, Seq, Subscribe};

/// A log that holds 4 to 9, one published each ten milliseconds from `times[0]` on.
fn bench() -> (Bench, u64) {
    let mut bench = Bench::new(limits());
    bench.put("s", log(0, 0, 6));
    for n in 1..=9 {
        bench.publish("s", &format!("m{n}"), b"{}");
        bench.run_ms(10);
    }
    assert_eq!(bench.held("s"), [4, 5, 6, 7, 8, 9]);
    let fourth_unix_ms = bench.now.unix_ms - 60;
    (bench, fourth_unix_ms)
}

#[test]
fn each_form_at_its_borders() {
    let (_, fourth) = bench();
    let cases: [(From, &[u64]); 29] = [
        (From::First, &[4, 5, 6, 7, 8, 9]),
        (From::New, &[]),
        (From::Seq(Seq(0)), &[4, 5, 6, 7, 8, 9]),
        (From::Seq(Seq(3)), &[4, 5, 6, 7, 8, 9]),
        (From::Seq(Seq(4)), &[4, 5, 6, 7, 8, 9]),
        (From::Seq(Seq(5)), &[5, 6, 7, 8, 9]),
        (From::Seq(Seq(9)), &[9]),
        (From::Seq(Seq(10)), &[]),
        (From::Seq(Seq(11)), &[]),
        (From::Seq(Seq(u64::MAX)), &[]),
        (From::After(Seq(0)), &[4, 5, 6, 7, 8, 9]),
        (From::After(Seq(3)), &[4, 5, 6, 7, 8, 9]),
        (From::After(Seq(4)), &[5, 6, 7, 8, 9]),
        (From::After(Seq(8)), &[9]),
        (From::After(Seq(9)), &[]),
        // Seqs that were never given are those of an earlier numbering.
        (From::After(Seq(10)), &[4, 5, 6, 7, 8, 9]),
        (From::After(Seq(u64::MAX)), &[4, 5, 6, 7, 8, 9]),
        (From::TimeUnixMs(0), &[4, 5, 6, 7, 8, 9]),
        (From::TimeUnixMs(fourth - 1), &[4, 5, 6, 7, 8, 9]),
        (From::TimeUnixMs(fourth), &[4, 5, 6, 7, 8, 9]),
        (From::TimeUnixMs(fourth + 1), &[5, 6, 7, 8, 9]),
        (From::TimeUnixMs(fourth + 50), &[9]),
        (From::TimeUnixMs(fourth + 51), &[]),
        (From::TimeUnixMs(u64::MAX), &[]),
        (From::Last(0), &[]),
        (From::Last(1), &[9]),
        (From::Last(5), &[5, 6, 7, 8, 9]),
        (From::Last(6), &[4, 5, 6, 7, 8, 9]),
        (From::Last(u64::MAX), &[4, 5, 6, 7, 8, 9]),
    ];
    for (from, expected) in cases {
        for is_alone in [false, true] {
            let (mut bench, _) = bench();
            let subscribe = if is_alone { alone("s", 100) } else { in_group("s", "g", 100) };
            let got = bench.join(1, Subscribe { from, ..subscribe });
            assert_eq!(got.seqs(), expected, "{from:?}");
            assert_eq!(bench.publish("s", "next", b"{}").seqs(), [10], "{from:?}: what comes later always");
        }
        let (mut bench, _) = bench();
        bench.put_group("s", "g", from, GroupSettings::default());
        assert_eq!(bench.join(1, in_group("s", "g", 100)).seqs(), expected, "{from:?} by PUT");
    }
}

#[test]
fn a_seq_of_an_earlier_numbering_misses_nothing() {
    let mut bench = Bench::new(limits());
    bench.join(1, Subscribe { from: From::Seq(Seq(501)), ..in_group("s", "g", 100) });
    assert_eq!(bench.publish("s", "m", b"{}").seqs(), [1]);
}

#[test]
fn a_group_that_is_there_goes_on_where_it_is() {
    let (mut bench, _) = bench();
    bench.join(1, in_group("s", "g", 2));
    bench.disconnect(1);
    let next = bench.join(1, Subscribe { from: From::New, ..in_group("s", "g", 100) });
    assert_eq!(next.attempts(), [(4, 2), (5, 2), (6, 1), (7, 1), (8, 1), (9, 1)]);
    bench.disconnect(1);
    bench.put_group("s", "g", From::New, GroupSettings::default());
    assert_eq!(bench.describe_group("s", "g").backlog, 6);
}

#[test]
fn who_reads_for_itself_alone_begins_anew_each_time() {
    let (mut bench, _) = bench();
    for _ in 0..2 {
        assert_eq!(bench.join(1, Subscribe { from: From::Last(2), ..alone("s", 100) }).seqs(), [8, 9]);
        bench.disconnect(1);
    }
}

#[test]
fn holes_are_passed_over() {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 1_000);
    bench.fill("s", 200);
    for seq in (1..=200).filter(|seq| ![1, 2, 90, 91, 199].contains(seq)) {
        bench.ack(1, seq);
    }
    bench.drained(1);
    let (last, seq) = (From::Last(3), From::Seq(Seq(3)));
    assert_eq!(bench.join(2, Subscribe { from: last, ..alone("s", 100) }).seqs(), [90, 91, 199]);
    assert_eq!(bench.join(3, Subscribe { from: seq, ..alone("s", 100) }).seqs(), [90, 91, 199]);
}

#[test]
fn the_first_group_of_a_work_stream_that_wants_only_new_messages_lets_the_others_go() {
    let mut bench = Bench::new(limits());
    bench.fill("s", 1_000);
    bench.join(1, Subscribe { from: From::Last(2), ..in_group("s", "g", 1) });
    bench.settle();
    assert_eq!(bench.held("s"), [999, 1_000], "a work stream keeps what its groups have to do");
    bench.act("s", StreamAction::DeleteGroup { group: "g".into() });
    assert_eq!(bench.held("s"), [999, 1_000], "what no group is done with stays");
}

#[test]
fn the_hello_tells_what_there_is() {
    let (mut bench, _) = bench();
    let created = bench.describe("s").epoch;
    assert_eq!(created, 1_700_000_000_000);
    bench.join(1, in_group("s", "g", 2));
    let hello = bench.join(2, Subscribe { hello: true, ..in_group("s", "g", 1) });
    let told = hello.hello.clone().unwrap();
    assert_eq!((&*told.stream, &*told.group, told.epoch), ("s", "g", created));
    assert_eq!((told.first, told.last, told.next), (4, 9, 6), "as it was before its first delivery");
    assert_eq!(hello.seqs(), [6]);
    let alone = Subscribe { hello: true, from: From::New, ..alone("s", 0) };
    let told = bench.join(3, alone).hello.unwrap();
    assert_eq!((&*told.group, told.first, told.last, told.next), ("", 4, 9, 10));
    let empty = bench.join(4, Subscribe { hello: true, ..in_group("t", "g", 0) }).hello.unwrap();
    assert_eq!((empty.first, empty.last, empty.next), (1, 0, 1));
    assert_eq!(bench.join(5, in_group("t", "g", 0)).hello, None, "only when asked");
}
