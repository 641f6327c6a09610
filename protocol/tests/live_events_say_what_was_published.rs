//! An event is the message, byte for byte but for the ends of its lines; where a client resumes never goes back; what is
//! no message is an event of another type.

mod http_wire;
mod live_wire;
use conduit_protocol::{Answer, ErrorCode, Seq, TraceContext};
use live_wire::{Event, Reader, subscribed};
use proptest::prelude::*;

fn event(kind: &str, data: &str, id: &str) -> Event {
    Event { kind: kind.into(), data: data.into(), id: id.into() }
}

#[test]
fn each_message_is_an_event_of_the_usual_type_with_its_seq_as_id() {
    let mut reader = Reader::open("/v1/live?stream=s", "", &Answer::Subscribed(None));
    reader.deliver(4, br#"{"id":"a"}"#);
    reader.deliver(6, br#"{"id":"b"}"#);
    let heard = reader.heard();
    assert_eq!(heard.events, [event("message", r#"{"id":"a"}"#, "4"), event("message", r#"{"id":"b"}"#, "6")]);
    assert_eq!(heard.comments, ["connected"]);
}

#[test]
fn a_message_below_one_that_was_told_has_no_id_of_its_own() {
    let mut reader = Reader::open("/v1/live?stream=s", "Last-Event-ID: 7\r\n", &subscribed("", 9, 8));
    for seq in [9, 8, 10, 10, 3, 11] {
        reader.deliver(seq, b"{}");
    }
    let ids: Vec<String> = reader.heard().events.into_iter().map(|event| event.id).collect();
    assert_eq!(ids, ["9", "9", "10", "10", "10", "11"]);
}

#[test]
fn a_trace_context_is_a_comment_before_its_message() {
    let mut reader = Reader::open("/v1/live?stream=s", "", &Answer::Subscribed(None));
    let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    reader.deliver_traced(1, b"{}", TraceContext::parse(text.as_bytes()));
    reader.deliver(2, b"{}");
    let heard = reader.heard();
    assert_eq!(heard.events.len(), 2);
    assert_eq!(heard.comments, ["connected".to_owned(), format!("traceparent {text}")]);
    let expected = format!(": traceparent {text}\nid: 1\ndata: {{}}\n\nid: 2\ndata: {{}}\n\n");
    assert!(String::from_utf8(reader.take()).unwrap().ends_with(&expected));
}

#[test]
fn who_asks_is_greeted() {
    let reader = Reader::open("/v1/live?stream=s&group=g&hello=1", "", &subscribed("g", 9, 5));
    let greeting = r#"{"stream":"s","group":"g","epoch":7,"first":1,"last":9,"next":5}"#;
    assert_eq!(reader.heard().events, [event("subscribed", greeting, "")]);
    let reader = Reader::open("/v1/live?stream=s", "", &subscribed("", 9, 5));
    assert_eq!(reader.heard().events, []);
}

#[test]
fn who_resumes_is_told_what_is_not_there_any_more() {
    let told = |headers: &str, target: &str, answer: Answer<'static>| Reader::open(target, headers, &answer).heard();
    // Seen up to 3, and the next one that is held is 8.
    let gap = told("Last-Event-ID: 3\r\n", "/v1/live?stream=s", subscribed("", 9, 8));
    assert_eq!(gap.events, [event("gap", r#"{"from":4,"to":7}"#, "")]);
    // Nothing is missing.
    assert_eq!(told("Last-Event-ID: 7\r\n", "/v1/live?stream=s", subscribed("", 9, 8)).events, []);
    // Everything has been seen.
    assert_eq!(told("Last-Event-ID: 9\r\n", "/v1/live?stream=s", subscribed("", 9, 10)).events, []);
    // The numbering began anew: nothing that the client has seen is of this one.
    assert_eq!(told("Last-Event-ID: 10\r\n", "/v1/live?stream=s", subscribed("", 9, 1)).events, []);
    // A group goes on where it is, and others may have had what is in between.
    assert_eq!(told("Last-Event-ID: 3\r\n", "/v1/live?stream=s&group=g", subscribed("g", 9, 8)).events, []);
}

#[test]
fn when_the_numbering_began_anew_ids_do_too() {
    let mut reader = Reader::open("/v1/live?stream=s", "Last-Event-ID: 100\r\n", &subscribed("", 2, 1));
    reader.deliver(1, b"{}");
    assert_eq!(reader.heard().last_id, "1");
}

#[test]
fn gaps_and_the_end_are_events_of_their_own_and_nothing_follows_the_end() {
    let mut reader = Reader::open("/v1/live?stream=s", "", &Answer::Subscribed(None));
    reader.peer.with_context(|session, context| session.gap(Seq(2), Seq(5), context));
    reader.peer.close(ErrorCode::StreamDeleted);
    assert!(reader.peer.session.is_closing() && reader.peer.session.is_finished());
    reader.deliver(6, b"{}");
    reader.peer.with_context(|session, context| session.gap(Seq(2), Seq(5), context));
    reader.peer.close(ErrorCode::Internal);
    reader.peer.pass_ms(100_000);
    let end = r#"{"code":"StreamDeleted","message":"the test says so"}"#;
    assert_eq!(reader.heard().events, [event("gap", r#"{"from":2,"to":5}"#, ""), event("end", end, "")]);
    reader.peer.feed("more");
    assert!(reader.peer.is_closed);
    assert_eq!(reader.peer.telemetry.errors.iter().sum::<u64>(), 1);
}

#[test]
fn a_drain_says_when_and_where_to_connect_again_before_the_end() {
    let mut reader = Reader::open("/v1/live", "", &Answer::Subscribed(None));
    reader.peer.policy.drain.retry_after_ms = 700;
    reader.peer.policy.drain.alternates = vec!["http://b:9087".into()];
    reader.peer.close(ErrorCode::ServerDraining);
    let heard = reader.heard();
    assert_eq!(heard.retry_ms, Some(700));
    let drain = r#"{"retryAfterMs":700,"alternates":["http://b:9087"]}"#;
    let end = r#"{"code":"ServerDraining","message":"the test says so"}"#;
    assert_eq!(heard.events[1..], [event("drain", drain, ""), event("end", end, "")]);
}

/// JSON objects with white space wherever it may stand.
fn envelopes() -> impl Strategy<Value = String> {
    let space = prop_oneof![4 => Just(String::new()), 1 => "[ \t\r\n]{1,3}"];
    let text = prop_oneof![
        Just("\"a\\nb\"".to_owned()),
        Just("\"id: 7\"".to_owned()),
        Just("1".to_owned()),
        Just("{}".to_owned())
    ];
    prop::collection::vec((space.clone(), space, text), 0..5).prop_map(|members| {
        let members: Vec<String> = members
            .into_iter()
            .enumerate()
            .map(|(n, (before, after, value))| format!("{before}\"k{n}\"{after}:{before}{value}{after}"))
            .collect();
        format!("{{{}}}", members.join(","))
    })
}

proptest! {
    #[test]
    fn every_envelope_is_read_as_what_it_was(envelopes in prop::collection::vec(envelopes(), 1..4)) {
        let mut reader = Reader::open("/v1/live?stream=s", "", &Answer::Subscribed(None));
        for (seq, envelope) in (1..).zip(&envelopes) {
            reader.deliver(seq, envelope.as_bytes());
        }
        let heard = reader.heard();
        prop_assert_eq!(heard.events.len(), envelopes.len());
        for ((seq, envelope), event) in (1..).zip(&envelopes).zip(heard.events) {
            // The client joins lines by a line feed, whatever ended them.
            prop_assert_eq!(&event.data, &envelope.replace("\r\n", "\n").replace('\r', "\n"));
            let (read, was): (serde_json::Value, serde_json::Value) =
                (serde_json::from_str(&event.data).unwrap(), serde_json::from_str(envelope).unwrap());
            prop_assert_eq!(read, was);
            prop_assert_eq!((event.kind.as_str(), event.id), ("message", format!("{seq}")));
        }
    }

    #[test]
    fn no_bytes_of_the_client_mean_anything(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut reader = Reader::open("/v1/live", "", &Answer::Subscribed(None));
        let before = reader.peer.out.len();
        reader.peer.feed(&bytes);
        prop_assert_eq!(reader.peer.out.len(), before);
        prop_assert!(reader.peer.rest.is_empty() && reader.peer.commands.is_empty() && !reader.peer.is_closed);
    }
}
