//! Redrive publishes the original bytes of dead letters again, oldest first, and releases the letters.

mod common;
use common::{Bench, limits, nack, seqs, subscription};
use conduit_protocol::command::{Nack, StreamAction};
use conduit_protocol::streams::{Done, StreamAnswer, StreamSettings};
use conduit_protocol::{Command, Encoding, Envelope, EnvelopeId, ErrorCode, Publish, Subscribe};

/// Publishes an envelope to `s` and gives it up.
fn bury(bench: &mut Bench, id: &str, encoding: Encoding, bytes: &[u8]) {
    let envelope = Envelope { encoding, bytes, id: EnvelopeId::Given(id.as_bytes().into()) };
    bench.command(900, Command::Publish(Publish { envelope, ..common::message("s", "", b"") }));
    let seq = bench.subscribe(70, "s", 1).seqs()[0];
    bench.command(70, Command::Nack(Nack { dead: true, ..nack(seqs(&[seq]), 0) }));
    bench.settle();
    bench.disconnect(70);
}

fn redrive(bench: &mut Bench, limit: u64) -> Option<u64> {
    match bench.act("s.dlq", StreamAction::Redrive { limit }).answer {
        Some(StreamAnswer::Done(Done { redriven, stream, .. })) => {
            assert_eq!(stream, "s.dlq");
            redriven
        }
        _ => None,
    }
}

#[test]
fn byte_for_byte_in_both_encodings_with_new_seqs() {
    let mut bench = Bench::new(limits());
    let json: &[u8] = br#"{ "b" : [1.50, "\u00e9"],"envelope":{"reason":"x","stream":"y"} }"#;
    let packed: &[u8] = b"\xde\x00\x01\xa1n\xca\x3f\xc0\x00\x00";
    bury(&mut bench, "j", Encoding::Json, json);
    bury(&mut bench, "p", Encoding::MessagePack, packed);
    bury(&mut bench, "e", Encoding::Json, b"{}");
    assert_eq!((bench.stats("s").depth, bench.stats("s.dlq").depth), (0, 3));
    assert_eq!(redrive(&mut bench, 10), Some(3));
    assert_eq!((bench.stats("s").depth, bench.stats("s.dlq").depth, bench.stats("s.dlq").bytes), (3, 0, 0));
    for (encoding, index, bytes) in [(Encoding::Json, 0, json), (Encoding::MessagePack, 1, packed)] {
        let subscribe = Subscribe { encoding, ..subscription("s", 10) };
        let deliveries = bench.command(1, Command::Subscribe(subscribe)).deliveries;
        bench.disconnect(1);
        assert_eq!(deliveries.iter().map(|message| message.seq).collect::<Vec<_>>(), [4, 5, 6]);
        assert_eq!(deliveries.iter().map(|message| &*message.id).collect::<Vec<_>>(), ["j", "p", "e"]);
        assert_eq!(deliveries[index].envelope, bytes);
    }
    assert_eq!(bench.shard.totals().redriven, 3);
}

#[test]
fn consumers_get_them_at_once_and_attempts_begin_anew() {
    let mut bench = Bench::new(limits());
    bury(&mut bench, "m", Encoding::Json, b"{}");
    bench.subscribe(1, "s", 10);
    let outcome = bench.act("s.dlq", StreamAction::Redrive { limit: 1 });
    assert_eq!(outcome.attempts(), [(2, 1)]);
    assert!(outcome.answer.is_some());
}

#[test]
fn the_oldest_first_and_no_more_than_asked_for() {
    let mut bench = Bench::new(limits());
    for n in 1..=5 {
        bury(&mut bench, &format!("m{n}"), Encoding::Json, b"{}");
    }
    assert_eq!(redrive(&mut bench, 0), Some(0));
    assert_eq!(redrive(&mut bench, 2), Some(2));
    assert_eq!(
        bench.subscribe(1, "s", 10).deliveries.iter().map(|message| &*message.id).collect::<Vec<_>>(),
        ["m1", "m2"]
    );
    assert_eq!(redrive(&mut bench, u64::MAX), Some(3));
    assert_eq!(redrive(&mut bench, 1), Some(0));
}

#[test]
fn one_request_brings_back_a_thousand_at_most() {
    let mut bench = Bench::new(limits());
    for _ in 0..1_001 {
        bench.publish("s.dlq", "m", br#"{"reason":"dead","stream":"s","envelope":{}}"#);
    }
    assert_eq!([redrive(&mut bench, u64::MAX), redrive(&mut bench, u64::MAX)], [Some(1_000), Some(1)]);
}

#[test]
fn what_is_in_flight_stays() {
    let mut bench = Bench::new(limits());
    for n in 1..=3 {
        bury(&mut bench, &format!("m{n}"), Encoding::Json, b"{}");
    }
    bench.subscribe(1, "s.dlq", 3);
    bench.nack(1, &[2], 10_000);
    assert_eq!(redrive(&mut bench, 10), Some(1), "2 came back and waits");
    assert_eq!((bench.stats("s.dlq").depth, bench.stats("s.dlq").inflight), (0, 2));
    bench.credit(1, 10);
    bench.ack(1, 1);
    bench.ack(1, 3);
    assert_eq!(bench.stats("s.dlq").depth, 0);
    assert_eq!(bench.run_ms(20_000).deliveries, [], "2 is not delivered any more");
}

#[test]
fn when_there_is_no_room_the_rest_stays() {
    let mut bench = Bench::new(limits());
    for n in 1..=3 {
        bury(&mut bench, &format!("m{n}"), Encoding::Json, b"{}");
    }
    bench.put("s", StreamSettings { max_messages: Some(2), ..StreamSettings::default() });
    assert_eq!(redrive(&mut bench, 10), Some(2));
    assert_eq!(bench.stats("s.dlq").depth, 1);
    let refused = bench.act("s.dlq", StreamAction::Redrive { limit: 10 }).refused;
    assert_eq!(refused, [(ErrorCode::Backpressure, Some(1_000))], "not even one");
    assert_eq!((bench.stats("s").depth, bench.stats("s.dlq").depth), (2, 1));
}

#[test]
fn what_is_no_dead_letter_goes_back_as_it_is() {
    let mut bench = Bench::new(limits());
    for text in [r#"{"n":1}"#, r#"{"envelope":7,"reason":"x","stream":"s"}"#] {
        bench.publish("s.dlq", "by hand", text.as_bytes());
        assert_eq!(redrive(&mut bench, 10), Some(1));
        assert_eq!(bench.subscribe(1, "s", 1).deliveries[0].envelope, text.as_bytes());
        bench.act("s", StreamAction::Purge);
        bench.disconnect(1);
    }
}

#[test]
fn only_dead_letters_can_be_redriven() {
    let mut bench = Bench::new(limits());
    for stream in ["s", ".dlq"] {
        bench.publish(stream, "m", b"{}");
        let refused = bench.act(stream, StreamAction::Redrive { limit: 1 }).refused;
        assert_eq!(refused, [(ErrorCode::InvalidStream, None)]);
    }
    assert_eq!(bench.act("t.dlq", StreamAction::Redrive { limit: 1 }).refused, [(ErrorCode::UnknownStream, None)]);
}

#[test]
fn dead_letters_of_dead_letters_go_one_step() {
    let mut bench = Bench::new(limits());
    bench.publish("s.dlq.dlq", "m", br#"{"reason":"dead","stream":"s.dlq","envelope":{"n":1}}"#);
    let outcome = bench.act("s.dlq.dlq", StreamAction::Redrive { limit: 1 });
    assert!(outcome.answer.is_some());
    assert_eq!(bench.subscribe(1, "s.dlq", 1).deliveries[0].envelope, br#"{"n":1}"#);
}
