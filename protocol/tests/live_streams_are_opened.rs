//! `GET /v1/live` answers with a head that has no end, after everything that was asked before, and reads nothing after it.

mod http_wire;
mod live_wire;
use conduit_protocol::{Answer, ErrorCode, Refusal};
use http_wire::{Answering, Peer, Response, get, publish, request};
use live_wire::{Event, Reader, hear, subscribed};

const PLAIN: Answer<'static> = Answer::Subscribed(None);

fn connected() -> Event {
    Event { kind: "message".into(), data: r#"{"connected":true}"#.into(), id: String::new() }
}

fn assert_is_event_stream(head: &Response) {
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(head.header("cache-control"), Some("no-cache"));
    assert_eq!(head.header("x-accel-buffering"), Some("no"));
    assert_eq!((head.header("content-length"), head.header("transfer-encoding")), (None, None));
    assert!(head.closes(), "the body ends with the connection");
}

#[test]
fn without_a_stream_it_says_that_it_is_connected_and_asks_no_shard() {
    let reader = Reader::open("/v1/live", "", &PLAIN);
    assert_is_event_stream(&reader.head);
    assert!(reader.peer.commands.is_empty());
    assert_eq!(reader.heard().events, [connected()]);
    assert!(reader.peer.session.is_idle() && !reader.peer.session.owes_answer() && !reader.peer.session.is_closing());
}

#[test]
fn with_a_stream_the_head_waits_for_the_subscription() {
    let mut peer = Peer::with(Default::default(), Answering::OnDemand);
    peer.feed(get("/v1/live?stream=s", ""));
    assert!(peer.out.is_empty() && peer.session.owes_answer());
    let (token, _) = peer.unanswered.remove(0);
    peer.give(token, &PLAIN);
    let (bytes, head) = Response::parse_head(&peer.out);
    assert_is_event_stream(&head);
    assert!(hear(&peer.out[bytes..]).events.is_empty(), "a message is the first event");
}

#[test]
fn the_subscription_is_what_the_query_says() {
    let asked = |target: &str, headers: &str| {
        let mut peer = Peer::with(Default::default(), Answering::OnDemand);
        peer.feed(get(target, headers));
        peer.commands.concat()
    };
    let all = |text: &str, parts: &[&str]| {
        for part in parts {
            assert!(text.contains(part), "{part} in {text}");
        }
    };
    let alone = asked("/v1/live?stream=a%2Fb", "");
    all(&alone, &[r#"stream: "a/b""#, "ephemeral: true", "auto_ack: true", "from: New", "group: None", "credit: 1024"]);
    all(&alone, &["refill_on_ack: true", "max_inflight: Some(1024)", "encoding: Json", "hello: false"]);
    all(&asked("/v1/live?stream=s&from=first", ""), &["from: First", "ephemeral: true"]);
    all(&asked("/v1/live?stream=s&group=g", ""), &[r#"group: Some("g")"#, "ephemeral: false", "from: First"]);
    all(&asked("/v1/live?stream=s&maxInflight=7", ""), &["credit: 7", "max_inflight: Some(7)"]);
    all(&asked("/v1/live?stream=s&maxInflight=1025", ""), &["credit: 1024", "max_inflight: Some(1024)"]);
    all(&asked("/v1/live?stream=s&lastEventId=5&from=first", ""), &["from: After(Seq(5))", "hello: true"]);
    all(&asked("/v1/live?stream=s", "Last-Event-ID: 6\r\n"), &["from: After(Seq(6))"]);
    // What a browser sends when it connects again is newer than what the page once wrote.
    all(&asked("/v1/live?stream=s&lastEventId=5", "Last-Event-ID: 6\r\n"), &["from: After(Seq(6))"]);
    all(&asked("/v1/live?stream=s&lastEventId=", "Last-Event-ID:\r\n"), &["from: New"]);
}

#[test]
fn what_is_wrong_is_an_ordinary_refusal_and_the_connection_goes_on() {
    for (target, headers, status, code) in [
        ("/v1/live?stream=", "", 400, "InvalidStream"),
        ("/v1/live?stream=%0A", "", 400, "InvalidStream"),
        ("/v1/live?stream=$audit", "", 403, "Forbidden"),
        ("/v1/live?stream=s&group=", "", 400, "InvalidField"),
        ("/v1/live?group=g", "", 400, "InvalidField"),
        ("/v1/live?stream=s&group=g&ephemeral=1", "", 400, "InvalidField"),
        ("/v1/live?stream=s&from=nowhere", "", 400, "InvalidField"),
        ("/v1/live?stream=s&lastEventId=x", "", 400, "InvalidField"),
        ("/v1/live?stream=s", "Last-Event-ID: seven\r\n", 400, "InvalidField"),
    ] {
        let mut bytes = get(target, headers);
        bytes.extend(get("/health", ""));
        let responses = Peer::exchange(bytes);
        assert_eq!((responses[0].status, responses[0].code().as_str()), (status, code), "{target}");
        assert_eq!(responses[1].status, 200, "{target}");
    }
}

#[test]
fn a_shard_that_refuses_is_an_ordinary_refusal_too() {
    let mut peer = Peer::new();
    let (code, message) = (ErrorCode::TooManyGroups, "no room".into());
    peer.refusal = Some(Refusal { code, message, retry_after_ms: None });
    let mut bytes = get("/v1/live?stream=s", "");
    bytes.extend(get("/health", ""));
    peer.feed(bytes);
    peer.feed("");
    assert_eq!(peer.statuses(), [503, 200]);
}

#[test]
fn head_gets_the_head_and_makes_no_consumer() {
    for target in ["/v1/live", "/v1/live?stream=s"] {
        let mut peer = Peer::new();
        peer.feed(request("HEAD", target, "", ""));
        let (bytes, head) = Response::parse_head(&peer.out);
        assert_is_event_stream(&head);
        assert_eq!(bytes, peer.out.len(), "no body");
        assert!(peer.commands.is_empty());
        peer.feed("");
        assert!(peer.is_closed);
    }
    assert_eq!(Peer::exchange(request("POST", "/v1/live", "", ""))[0].header("allow"), Some("GET, HEAD"));
}

#[test]
fn what_it_accepts_is_a_wish_and_http_1_0_gets_the_same() {
    for headers in ["Accept: text/event-stream\r\n", "Accept: application/json\r\n", "Accept: application/msgpack\r\n"]
    {
        assert_is_event_stream(&Reader::open("/v1/live", headers, &PLAIN).head);
    }
    let mut peer = Peer::new();
    peer.feed("GET /v1/live HTTP/1.0\r\n\r\n");
    peer.feed("");
    let (bytes, head) = Response::parse_head(&peer.out);
    assert_is_event_stream(&head);
    assert_eq!(hear(&peer.out[bytes..]).events, [connected()]);
}

#[test]
fn everything_before_it_is_answered_first_and_nothing_after_it_is_read() {
    let mut peer = Peer::with(Default::default(), Answering::OnDemand);
    let mut bytes = publish("m-1");
    bytes.extend(get("/v1/live?stream=s", ""));
    bytes.extend(publish("m-2"));
    bytes.extend(b"\x00 no request at all");
    peer.feed(bytes);
    assert_eq!(peer.commands.len(), 1, "the publish is not answered");
    peer.answer_at(0);
    peer.feed("");
    assert_eq!(peer.commands.len(), 2);
    peer.answer_at(0);
    peer.feed("");
    peer.feed(publish("m-3"));
    assert_eq!(peer.commands.len(), 2, "what follows is thrown away");
    assert!(peer.rest.is_empty());
    let first = Response::parse_head(&peer.out).0 + r#"{"id":"m-1","stream":"s","seq":1}"#.len();
    assert_is_event_stream(&Response::parse_head(&peer.out[first..]).1);
}

#[test]
fn a_request_with_a_body_is_refused_and_ends_the_connection() {
    let mut peer = Peer::new();
    peer.feed(request("GET", "/v1/live", "", "x"));
    assert_eq!((peer.statuses(), peer.responses()[0].closes()), (vec![400], true));
}

#[test]
fn a_draining_server_opens_none() {
    let mut peer = Peer::new();
    peer.draining = true;
    peer.feed(get("/v1/live", ""));
    assert_eq!((peer.statuses(), peer.responses()[0].code()), (vec![503], "ServerDraining".into()));
}

#[test]
fn it_is_counted_from_its_head_to_its_end() {
    let mut reader = Reader::open("/v1/live?stream=s", "", &subscribed("", 0, 1));
    reader.deliver(1, b"{}");
    let figures = reader.peer.telemetry.live;
    assert_eq!((figures.connections_total, figures.connections_active, figures.events_total), (1, 1, 1));
    assert_eq!(reader.peer.telemetry.statuses[&200], 1);
    reader.peer.close(ErrorCode::ServerDraining);
    assert_eq!(reader.peer.telemetry.live.connections_active, 0);
}
