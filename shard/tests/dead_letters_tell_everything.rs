//! A message that is given up becomes exactly one dead letter, with everything that is known about it.

mod common;
use common::{Bench, limits, nack, seqs, subscription};
use conduit_protocol::command::{Nack, StreamAction};
use conduit_protocol::streams::{GroupSettings, StreamSettings};
use conduit_protocol::{Command, Encoding, Envelope, EnvelopeId, Subscribe};
use conduit_shard::Limits;
use serde_json::{Value, json};

fn max_deliver(n: u32) -> StreamSettings {
    StreamSettings { max_deliver: Some(n), ..StreamSettings::default() }
}

/// The dead letters of `s`, as JSON, with their ids.
fn letters(bench: &mut Bench) -> Vec<(String, Value)> {
    let deliveries = bench.subscribe(77, "s.dlq", 1_000).deliveries;
    bench.disconnect(77);
    let read = |envelope: &[u8]| serde_json::from_slice(envelope).expect("JSON");
    deliveries.into_iter().map(|letter| (letter.id.clone(), read(&letter.envelope))).collect()
}

fn nack_because(bench: &mut Bench, slot: u32, seq: u64, error: &str) -> common::Outcome {
    let nack = Nack { error: Some(error.to_owned().into()), ..nack(seqs(&[seq]), 0) };
    bench.command(slot, Command::Nack(nack))
}

#[test]
fn after_the_last_delivery_there_is_one_letter_with_all_fields() {
    for max in [1, 2, 10] {
        let mut bench = Bench::new(limits());
        bench.put("s", max_deliver(max));
        bench.subscribe(1, "s", 100);
        bench.publish("s", "m1", br#"{ "id":"m1", "n":1.50 }"#);
        bench.run_ms(500);
        for attempt in 1..=max {
            assert_eq!(bench.shard.totals().dead_lettered, 0);
            let redelivered = nack_because(&mut bench, 1, 1, &format!("error {attempt}"));
            let expected = if attempt < max { vec![(1, attempt + 1)] } else { vec![] };
            assert_eq!(redelivered.attempts(), expected);
        }
        assert_eq!(bench.settle(), common::Outcome::default());
        let expected = json!({
            "id": "m1", "reason": "max_deliver", "attempts": max, "lastError": format!("error {max}"), "stream": "s",
            "seq": 1, "firstTs": "2023-11-14T22:13:20.000Z", "envelope": {"id": "m1", "n": 1.5},
        });
        assert_eq!(letters(&mut bench), [("m1".to_owned(), expected)]);
        assert_eq!((bench.stats("s").depth, bench.stats("s").inflight, bench.stats("s").bytes), (0, 0, 0));
    }
}

#[test]
fn the_default_is_ten_and_0_is_for_ever() {
    let mut bench = Bench::new(limits());
    bench.put("ever", max_deliver(0));
    for stream in ["s", "ever"] {
        bench.publish(stream, "m", b"{}");
    }
    bench.subscribe(1, "s", 100);
    bench.subscribe(2, "ever", 100);
    for attempt in 2..=30 {
        let expected = if attempt <= 10 { vec![(1, attempt)] } else { vec![] };
        assert_eq!(bench.nack(1, &[1], 0).attempts(), expected);
        assert_eq!(bench.nack(2, &[1], 0).attempts(), [(1, attempt)]);
    }
    bench.settle();
    assert_eq!(bench.shard.totals().dead_lettered, 1);
}

#[test]
fn a_hopeless_one_is_given_up_at_once() {
    let mut bench = Bench::new(limits());
    bench.subscribe(1, "s", 100);
    bench.publish("s", "m1", b"{}");
    bench.publish("s", "m2", b"{}");
    let dead = Nack { dead: true, error: Some("not JSON \u{1f980}".into()), ..nack(seqs(&[2]), 5_000) };
    assert_eq!(bench.command(1, Command::Nack(dead)), common::Outcome::default());
    assert!(bench.shard.next_deadline().unwrap() <= bench.now.mono_ns, "due at once, whatever delay was asked for");
    bench.settle();
    let expected = json!({
        "id": "m2", "reason": "dead", "attempts": 1, "lastError": "not JSON \u{1f980}", "stream": "s", "seq": 2,
        "firstTs": "2023-11-14T22:13:20.000Z", "envelope": {},
    });
    assert_eq!(letters(&mut bench), [("m2".to_owned(), expected)]);
    assert_eq!((bench.stats("s").inflight, bench.shard.totals().nacked), (1, 1));
}

#[test]
fn a_lost_consumer_and_a_missed_deadline_are_attempts() {
    let mut bench = Bench::new(limits());
    bench.put("s", max_deliver(2));
    bench.publish("s", "m", b"{}");
    bench.subscribe(1, "s", 1);
    bench.disconnect(1);
    let subscribe = Subscribe { ack_wait_ms: Some(50), ..subscription("s", 1) };
    assert_eq!(bench.command(2, Command::Subscribe(subscribe)).attempts(), [(1, 2)]);
    bench.run_ms(50);
    let letters = letters(&mut bench);
    assert_eq!(letters.len(), 1);
    assert_eq!((&letters[0].1["attempts"], &letters[0].1["lastError"]), (&json!(2), &Value::Null));
    assert_eq!(bench.stats("s").depth, 0);
}

#[test]
fn a_consumer_with_much_in_flight_goes_and_all_of_it_is_kept() {
    let mut bench = Bench::new(Limits { work_max: 10, ..limits() });
    bench.put("s", max_deliver(1));
    for n in 0..100 {
        bench.publish("s", &format!("m{n}"), b"{}");
    }
    bench.subscribe(1, "s", 100);
    bench.settle();
    bench.disconnect(1);
    assert_eq!(bench.shard.totals().dead_lettered, 0, "no call writes more letters than it may");
    bench.input(conduit_shard::Input::Deadline);
    assert!((1..=10).contains(&bench.shard.totals().dead_lettered));
    bench.settle();
    assert_eq!((bench.stats("s").depth, bench.stats("s.dlq").depth), (0, 100));
    bench.subscribe(2, "s.dlq", 1_000);
    bench.settle();
    bench.disconnect(2);
    bench.settle();
    let ids: Vec<String> = letters(&mut bench).into_iter().map(|(id, _)| id).take(10).collect();
    assert_eq!(ids, (0..10).map(|n| format!("m{n}")).collect::<Vec<_>>(), "in the order of the seqs");
}

#[test]
fn a_group_gives_up_for_itself_alone() {
    let mut bench = Bench::new(limits());
    let strict = Subscribe { group: Some("strict".into()), max_deliver: Some(1), ..subscription("s", 10) };
    bench.command(1, Command::Subscribe(strict));
    bench.subscribe(2, "s", 0);
    bench.publish("s", "m", b"{}");
    nack_because(&mut bench, 1, 1, "of the strict one");
    bench.settle();
    assert_eq!(bench.stats("s").depth, 1, "the other group has not seen it");
    assert_eq!(bench.credit(2, 5).attempts(), [(1, 1)]);
    bench.command(2, Command::Nack(Nack { dead: true, ..nack(seqs(&[1]), 0) }));
    bench.settle();
    let letters = letters(&mut bench);
    let told: Vec<(&Value, &Value)> =
        letters.iter().map(|(_, letter)| (&letter["reason"], &letter["lastError"])).collect();
    assert_eq!(told, [(&json!("max_deliver"), &json!("of the strict one")), (&json!("dead"), &Value::Null)]);
    assert_eq!(bench.stats("s").depth, 0);
}

#[test]
fn a_reader_of_its_own_gives_nothing_up() {
    let mut bench = Bench::new(limits());
    bench.put("s", max_deliver(1));
    bench.subscribe(1, "s", 0);
    let reader = Subscribe { ephemeral: true, ..subscription("s", 10) };
    bench.command(2, Command::Subscribe(reader));
    bench.publish("s", "m1", b"{}");
    bench.publish("s", "m2", b"{}");
    bench.nack(2, &[1], 0);
    bench.command(2, Command::Nack(Nack { dead: true, ..nack(seqs(&[2]), 0) }));
    bench.settle();
    assert_eq!((bench.shard.totals().dead_lettered, bench.stats("s").depth), (0, 2));
    assert_eq!(bench.run_ms(5_000).deliveries, [], "it is not shown them again");
    assert_eq!(bench.credit(1, 10).seqs(), [1, 2], "and takes nothing from others");
}

#[test]
fn dead_letters_are_never_given_up() {
    let mut bench = Bench::new(limits());
    bench.put("s.dlq", max_deliver(1));
    bench.publish("s.dlq", "m", b"{}");
    bench.subscribe(1, "s.dlq", 100);
    for attempt in 2..50 {
        let dead = Nack { dead: attempt % 2 == 0, ..nack(seqs(&[1]), 0) };
        assert_eq!(bench.command(1, Command::Nack(dead)).attempts(), [(1, attempt)]);
    }
    bench.settle();
    assert_eq!((bench.shard.totals().streams_now, bench.shard.totals().dead_lettered), (1, 0));
}

#[test]
fn a_stream_whose_dead_letters_could_not_be_named_delivers_for_ever() {
    for (length, is_given_up) in [(251, true), (252, false)] {
        let mut bench = Bench::new(limits());
        let name = "s".repeat(length);
        bench.put(&name, max_deliver(1));
        bench.publish(&name, "m", b"{}");
        bench.subscribe(1, &name, 100);
        assert_eq!(bench.nack(1, &[1], 0).deliveries.is_empty(), is_given_up, "{length}");
        bench.settle();
        assert_eq!(bench.shard.totals().dead_lettered, u64::from(is_given_up));
    }
}

#[test]
fn a_lower_maximum_counts_from_the_next_delivery_on() {
    let mut bench = Bench::new(limits());
    bench.publish("s", "m", b"{}");
    bench.subscribe(1, "s", 3);
    bench.nack(1, &[1], 0);
    bench.nack(1, &[1], 0);
    bench.nack(1, &[1], 0);
    let settings = GroupSettings { max_deliver: Some(2), ..GroupSettings::default() };
    let group = StreamAction::PutGroup { group: "".into(), from: conduit_protocol::command::From::First, settings };
    assert_eq!(bench.act("s", group).refused, []);
    assert_eq!(bench.credit(1, 10).deliveries, [], "it has had three");
    bench.settle();
    assert_eq!(letters(&mut bench)[0].1["attempts"], 3);
}

#[test]
fn a_messagepack_message_becomes_a_messagepack_letter() {
    let mut bench = Bench::new(limits());
    let bytes = b"\x81\xa1n\xca\x3f\xc0\x00\x00";
    let envelope = Envelope { encoding: Encoding::MessagePack, bytes, id: EnvelopeId::Given(b"m".into()) };
    bench.command(900, Command::Publish(conduit_protocol::Publish { envelope, ..common::message("s", "", b"") }));
    bench.subscribe(1, "s", 1);
    bench.command(1, Command::Nack(Nack { dead: true, ..nack(seqs(&[1]), 0) }));
    bench.settle();
    let packed = Subscribe { encoding: Encoding::MessagePack, ..subscription("s.dlq", 1) };
    let letter = bench.command(2, Command::Subscribe(packed)).deliveries.remove(0);
    assert!(letter.envelope.ends_with(bytes), "the original bytes, untouched");
    bench.disconnect(2);
    assert_eq!(letters(&mut bench)[0].1["envelope"], json!({"n": 1.5}), "and as JSON for who wants that");
}
