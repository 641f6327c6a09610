//! What a shard holds follows from what is stored, not from what passed through: bytes, index and streams come back to
//! nothing, and messages that stay behind cannot make the index grow without end.

mod common;
use common::wishes::{in_group, log};
use common::{Bench, limits, subscription};
use conduit_protocol::{Command, Encoding, ErrorCode, Seq, Subscribe};
use conduit_shard::Limits;

#[test]
fn traffic_leaves_nothing_behind() {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 0);
    let mut seq = 0;
    let mut index_bytes_seen = 0;
    for _ in 0..200 {
        for n in 0..100 {
            bench.publish("s", &format!("m{n}"), &vec![b'x'; n * 7]);
        }
        index_bytes_seen = index_bytes_seen.max(bench.shard.totals().index_bytes_now);
        bench.credit(1, 100);
        seq += 100;
        bench.command(1, Command::AckUpTo(Seq(seq)));
        bench.drained(1);
    }
    let totals = bench.shard.totals();
    assert_eq!(totals.acked, 20_000);
    assert_eq!((totals.messages_now, totals.bytes_now, totals.index_bytes_now), (0, 0, 0));
    assert!(index_bytes_seen > 0 && index_bytes_seen < 100 * 1_024, "{index_bytes_seen} for 100 messages at a time");
}

#[test]
fn a_copy_in_the_other_encoding_counts_and_goes_with_its_message() {
    let mut bench = Bench::new(limits());
    let envelope = br#"{"text":"a longer text, so that the copy has a buffer of its own size","n":[1,2,3]}"#;
    bench.publish("s", "m", envelope);
    let alone = bench.stats("s").bytes;
    bench.command(1, Command::Subscribe(Subscribe { encoding: Encoding::MessagePack, ..subscription("s", 1) }));
    let both = bench.stats("s").bytes;
    assert!(both > alone, "{both} > {alone}");
    bench.nack(1, &[1], 0);
    bench.credit(1, 1);
    assert_eq!(bench.stats("s").bytes, both, "the copy is made once");
    bench.ack(1, 1);
    assert_eq!(bench.stats("s").bytes, 0);
}

#[test]
fn a_copy_that_does_not_fit_is_made_again_each_time() {
    let mut bench = Bench::new(Limits { stream_bytes_max: 128, ..limits() });
    let envelope = br#"{"text":"a longer text, so that the copy has a buffer of its own size","n":[1,2,3]}"#;
    bench.publish("s", "m", envelope);
    let packed = Subscribe { encoding: Encoding::MessagePack, ..subscription("s", 5) };
    let first = bench.command(1, Command::Subscribe(packed));
    assert_eq!(bench.stats("s").bytes, 96);
    let again = bench.nack(1, &[1], 0);
    assert_eq!(first.deliveries[0].envelope, again.deliveries[0].envelope);
    assert!(first.deliveries[0].envelope.len() > 60 && first.deliveries[0].envelope != envelope);
    assert_eq!(bench.stats("s").bytes, 96);
}

#[test]
fn a_group_forgets_what_a_log_let_go() {
    let mut bench = Bench::new(limits());
    bench.put("s", log(0, 0, 10));
    bench.join(1, Subscribe { refill_on_ack: true, ..in_group("s", "g", 5) });
    let mut peak = 0;
    for n in 0..20_000_u64 {
        for delivered in bench.publish("s", "m", b"{}").seqs() {
            // Half of them are to come back at once, and half long after they are gone.
            bench.nack(1, &[delivered], if n % 2 == 0 { 0 } else { 1_000_000 });
        }
        bench.settle();
        bench.drained(1);
        let info = bench.describe_group("s", "g");
        assert!(info.inflight + info.delayed <= 10 && info.backlog <= 10, "{info:?}");
        peak = peak.max(bench.shard.totals().index_bytes_now);
    }
    assert!(bench.shard.totals().withdrawn > 10_000);
    assert!(peak < 16 * 1_024, "{peak} bytes of index for ten messages");
}

#[test]
fn several_groups_leave_nothing_behind() {
    let mut bench = Bench::new(limits());
    let groups = ["a", "b", "c"];
    for (slot, group) in (0..).zip(groups) {
        bench.join(slot, in_group("s", group, 0));
    }
    for round in 1..=50 {
        bench.fill("s", 100);
        for slot in 0..3 {
            bench.credit(slot, 100);
            bench.command(slot, Command::AckUpTo(Seq(round * 100)));
            bench.drained(slot);
        }
    }
    let totals = bench.shard.totals();
    assert_eq!((totals.acked, totals.trimmed), (15_000, 5_000));
    assert_eq!((totals.messages_now, totals.bytes_now, totals.index_bytes_now), (0, 0, 0));
}

fn roomy() -> Limits {
    Limits { shard_messages_max: 100_000, stream_messages_max: 100_000, ..limits() }
}

#[test]
fn messages_left_behind_fill_the_index_and_then_publishers_are_refused() {
    // One of 32 messages is never acked: each keeps a block of the index.
    let mut bench = Bench::new(Limits { streams_max: 1, ..roomy() });
    bench.subscribe(1, "s", 0);
    let mut refused = None;
    for seq in 1..=1_000_000_u64 {
        let outcome = bench.publish("s", "m", b"{}");
        if let Some((code, _)) = outcome.refused.first() {
            refused = Some((seq, *code));
            break;
        }
        bench.credit(1, 1);
        if seq % 32 != 0 {
            bench.ack(1, seq);
        }
        bench.drained(1);
    }
    let (seq, code) = refused.expect("the index has a bound");
    assert_eq!(code, ErrorCode::Backpressure);
    let totals = bench.shard.totals();
    assert!(totals.messages_now < 100_000, "fewer messages than the shard may hold");
    assert!(totals.index_bytes_now < totals.messages_now * 4_096, "a message left behind costs a block");
    assert!(seq > 100_000, "{seq} messages passed before");
    bench.command(1, Command::AckUpTo(Seq(u64::MAX)));
    assert_eq!(bench.shard.totals().index_bytes_now, 0);
    assert_eq!(bench.publish("s", "m", b"{}").refused, []);
}
