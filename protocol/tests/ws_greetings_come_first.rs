//! A consumer that asks for it is told where it stands before anything else, and every consumer is told what was lost.

mod http_wire;
mod ws_wire;

use conduit_protocol::http::HttpDate;
use conduit_protocol::streams::Subscribed;
use conduit_protocol::ws::Role;
use conduit_protocol::{Answer, Context, Delivery, Encoding, ErrorCode, Limits, Refusal, Seq, Token};
use http_wire::{Answering, Peer, upgrade};
use serde_json::{Value, json};
use ws_wire::{BINARY, Server, ServerFrame, TEXT, server_frames, text};

fn subscribed() -> Subscribed {
    Subscribed { stream: "s".into(), group: "g".into(), epoch: 1_700_000_000_000, first: 3, last: 9, next: 5 }
}

fn value(encoding: Encoding, frame: &ServerFrame) -> Value {
    match encoding {
        Encoding::Json => {
            assert_eq!(frame.opcode, TEXT);
            serde_json::from_slice(&frame.payload).unwrap()
        }
        Encoding::MessagePack => {
            assert_eq!(frame.opcode, BINARY);
            rmp_serde::from_slice(&frame.payload).unwrap()
        }
    }
}

/// What a subscriber hears when the shard answers like this: the response, then frames, one of a delivery among them.
fn heard(query: &str, answer: &Answer<'_>, encoding: Encoding) -> Vec<Value> {
    let mut peer = Peer::with(Limits::default(), Answering::OnDemand);
    peer.feed(upgrade(&format!("/v1/subscribe?stream=s&{query}"), ""));
    let (token, _) = peer.unanswered.remove(0);
    peer.give(token, answer);
    let envelope: &[u8] = if encoding == Encoding::Json { b"{}" } else { b"\x80" };
    let delivery = Delivery {
        id: b"m",
        seq: Seq(5),
        attempt: 1,
        published: conduit_protocol::Now::default(),
        trace: None,
        encoding,
        envelope,
    };
    let mut context = Context {
        now: peer.now,
        limits: &peer.limits,
        policy: &conduit_protocol::Policy::default(),
        gate: &mut conduit_protocol::OpenGate,
        log: &mut conduit_protocol::AccessLog::default(),
        peer: std::net::Ipv4Addr::LOCALHOST.into(),
        telemetry: &mut peer.telemetry,
        out: &mut peer.out,
        date: &mut HttpDate::default(),
        draining: false,
        resting: false,
    };
    peer.session.deliver(&delivery, &mut context);
    let response = peer.responses().remove(0);
    assert_eq!(response.status, 101);
    server_frames(&response.body).iter().map(|frame| value(encoding, frame)).collect()
}

#[test]
fn the_greeting_is_the_first_frame_after_the_handshake() {
    let greeting = json!({"subscribed": subscribed()});
    let delivery = json!({"deliver": {}, "id": "m", "seq": 5, "attempt": 1});
    assert_eq!(
        greeting["subscribed"],
        json!({"stream":"s","group":"g","epoch":1_700_000_000_000_u64,"first":3,"last":9,"next":5})
    );
    for (query, encoding) in
        [("hello=1&group=g", Encoding::Json), ("hello=1&group=g&codec=msgpack", Encoding::MessagePack)]
    {
        let answer = Answer::Subscribed(Some(Box::new(subscribed())));
        assert_eq!(heard(query, &answer, encoding), [greeting.clone(), delivery.clone()]);
        assert_eq!(heard(query, &Answer::Subscribed(None), encoding), std::slice::from_ref(&delivery));
    }
}

#[test]
fn the_shard_learns_what_the_query_says() {
    let mut peer = Peer::with(Limits::default(), Answering::OnDemand);
    peer.feed(upgrade("/v1/subscribe?stream=s&hello=1&group=workers&from=last:5&maxDeliver=3", ""));
    let wanted =
        "group: Some(\"workers\"), from: Last(5), ephemeral: false, auto_ack: false, hello: true, max_deliver: Some(3)";
    assert!(peer.commands[0].contains(wanted), "{}", peer.commands[0]);
}

#[test]
fn a_wrong_query_is_told_over_the_websocket() {
    for query in ["group=", "group=g&ephemeral=1", "from=yesterday", "hello=perhaps", "maxDeliver=-1"] {
        let mut peer = Peer::new();
        peer.feed(upgrade(&format!("/v1/subscribe?stream=s&{query}"), ""));
        assert_eq!(peer.commands, [""; 0], "{query}");
        let frames = server_frames(&peer.responses()[0].body);
        assert!(frames[0].text().starts_with(r#"{"error":{"code":"InvalidField","#), "{query}");
        assert_eq!(frames[1].close_code(), Some(1003), "{query}");
    }
}

#[test]
fn a_gap_is_told_in_the_encoding_of_the_connection() {
    for encoding in [Encoding::Json, Encoding::MessagePack] {
        let mut server = Server::new(Role::Consumer, encoding);
        server.gap(Seq(3), Seq(70_000));
        let said = server.said();
        assert_eq!(
            said.iter().map(|frame| value(encoding, frame)).collect::<Vec<_>>(),
            [json!({"gap":{"from":3,"to":70_000}})]
        );
        server.close(&conduit_protocol::Violation::new(ErrorCode::StreamDeleted, "the stream was deleted"));
        let _ = server.said();
        server.gap(Seq(1), Seq(2));
        assert_eq!(server.said(), [], "nothing is said after the close frame");
    }
}

#[test]
fn a_deleted_stream_closes_its_consumers_with_its_code() {
    let mut server = Server::consumer();
    server.close(&conduit_protocol::Violation::new(ErrorCode::StreamDeleted, "the stream was deleted"));
    assert_eq!(server.said_error_and_close("StreamDeleted"), 1008);
}

#[test]
fn a_disk_that_failed_refuses_each_publish_and_keeps_the_connection() {
    let mut server = Server::publisher();
    let refusal = |code| Answer::Refused(Refusal { code, message: "the disk".into(), retry_after_ms: None });
    server.receive(&text(r#"{"enqueue":{"to":"s","envelope":{}},"ref":1}"#));
    server.receive(&text(r#"{"enqueue":{"to":"s","envelope":{}}}"#));
    let tokens = server.tokens.clone();
    assert_eq!(tokens[1], Token::NONE);
    server.answer(tokens[0], &refusal(ErrorCode::StorageFailed));
    server.answer(tokens[1], &refusal(ErrorCode::StorageFailed));
    server.answer(tokens[1], &refusal(ErrorCode::StorageFull));
    let said: Vec<String> = server.said().iter().map(|frame| frame.text().to_owned()).collect();
    assert_eq!(
        said,
        [
            r#"{"error":{"code":"storage_failed","message":"the disk"},"ref":1}"#,
            r#"{"error":{"code":"storage_failed","message":"the disk"}}"#,
            r#"{"error":{"code":"storage_full","message":"the disk","retryAfterMs":1000}}"#,
        ]
    );
    assert!(!server.session.is_closing());
    server.receive(&text(r#"{"enqueue":{"to":"s","envelope":{}},"ref":2}"#));
    assert_eq!(server.commands.len(), 3);
}

#[test]
fn ok_frames_say_what_was_promised_and_what_came_before() {
    use conduit_protocol::Promise;
    let mut server = Server::publisher();
    for (promise, duplicate, wanted) in [
        (Promise::Unsaid, false, r#"{"ok":{"id":"m","stream":"s","seq":9},"ref":0}"#),
        (Promise::Durable, false, r#"{"ok":{"id":"m","stream":"s","seq":9,"durable":true},"ref":0}"#),
        (Promise::Volatile, true, r#"{"ok":{"id":"m","stream":"s","seq":9,"durable":false,"duplicate":true},"ref":0}"#),
    ] {
        server.receive(&text(r#"{"enqueue":{"to":"s","envelope":{"id":"m"}},"ref":0}"#));
        let token = *server.tokens.last().unwrap();
        server.answer(token, &Answer::Published { id: "m", stream: "s", seq: Seq(9), promise, duplicate });
        assert_eq!(server.said()[0].text(), wanted);
    }
}
