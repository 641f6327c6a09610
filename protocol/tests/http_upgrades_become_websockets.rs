//! The opening handshake (RFC 6455, section 4.2), and refusals that a browser can see.

mod http_wire;

use conduit_protocol::{ErrorCode, Limits, Refusal};
use http_wire::{Answering, Peer, Response, get, publish, upgrade};

/// Payloads of the unmasked frames in `bytes`, with their opcodes.
fn frames(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut frames = Vec::new();
    while let [first, second, rest @ ..] = bytes {
        let (length, rest) = match second {
            126 => (usize::from(u16::from_be_bytes([rest[0], rest[1]])), &rest[2..]),
            short => (usize::from(*short), rest),
        };
        frames.push((first & 0x0f, rest[..length].to_vec()));
        bytes = &rest[length..];
    }
    frames
}

/// The error and close codes that follow a 101.
fn told(response: &Response) -> (String, u16) {
    assert_eq!(response.status, 101);
    let frames = frames(&response.body);
    let [(_, error), (8, close)] = &frames[..] else { panic!("{frames:?}") };
    let error: serde_json::Value = serde_json::from_slice(error).unwrap();
    (error["error"]["code"].as_str().unwrap().to_owned(), u16::from_be_bytes([close[0], close[1]]))
}

#[test]
fn a_subscription_completes_the_handshake_when_the_shard_agrees() {
    let mut peer = Peer::with(Limits::default(), Answering::OnDemand);
    let query = "stream=agents%2Fa&credit=5&refill=ack&ackWaitMs=100&maxInflight=9&codec=msgpack";
    peer.feed(upgrade(&format!("/v1/subscribe?{query}"), "Sec-WebSocket-Protocol: chat, msgpack\r\n"));
    assert_eq!(
        peer.commands,
        ["Subscribe(Subscribe { stream: \"agents/a\", encoding: MessagePack, credit: 5, refill_on_ack: true, \
          ack_wait_ms: Some(100), max_inflight: Some(9), group: None, \
          from: First, ephemeral: false, auto_ack: false, hello: false, max_deliver: None })"]
    );
    assert!(peer.out.is_empty() && peer.is_waiting && !peer.session.is_idle());
    peer.answer_at(0);
    assert!(peer.session.is_websocket());
    let response = peer.responses().remove(0);
    assert_eq!(response.status, 101);
    assert_eq!(response.header("upgrade"), Some("websocket"));
    assert_eq!(response.header("connection"), Some("Upgrade"));
    assert_eq!(response.header("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    assert_eq!(response.header("sec-websocket-protocol"), Some("msgpack"));
    assert!(response.body.is_empty());
}

#[test]
fn a_publisher_is_a_websocket_at_once() {
    let mut peer = Peer::new();
    peer.feed(upgrade("/v1/publish", ""));
    assert!(peer.session.is_websocket() && peer.commands.is_empty());
    assert_eq!(peer.statuses(), [101]);
}

#[test]
fn bytes_behind_the_handshake_are_frames() {
    // A masked, unsolicited pong: legal, and answered by nothing (RFC 6455, section 5.5.3).
    let mut peer = Peer::new();
    peer.feed([&upgrade("/v1/publish", "")[..], b"\x8a\x80\x00\x00\x00\x00"].concat());
    assert!(peer.rest.is_empty() && !peer.is_closed);
    // A frame without a mask is an error of the peer, told over the WebSocket.
    let mut peer = Peer::new();
    peer.feed([&upgrade("/v1/publish", "")[..], b"\x81\x00"].concat());
    assert_eq!(told(&peer.responses()[0]), ("BadFraming".to_owned(), 1002));
}

#[test]
fn refusals_are_told_over_the_websocket() {
    for (target, code, close) in [
        ("/v1/subscribe", "InvalidStream", 1008),
        ("/v1/subscribe?stream=", "InvalidStream", 1008),
        ("/v1/subscribe?stream=a&credit=x", "InvalidField", 1003),
        ("/v1/subscribe?stream=a&stream=b", "InvalidField", 1003),
        ("/v1/subscribe?stream=$audit", "Forbidden", 1008),
        ("/elsewhere", "NotFound", 1008),
        ("/", "NotFound", 1008),
    ] {
        let mut peer = Peer::new();
        peer.feed(upgrade(target, ""));
        assert_eq!(told(&peer.responses()[0]), (code.to_owned(), close), "{target}");
        assert!(peer.session.is_closing() && peer.commands.is_empty());
    }
    let mut peer = Peer::new();
    peer.refusal = Some(Refusal { code: ErrorCode::TooManyConnections, message: "full".into(), retry_after_ms: None });
    peer.feed(upgrade("/v1/subscribe?stream=a", ""));
    assert_eq!(told(&peer.responses()[0]), ("TooManyConnections".to_owned(), 1013));
    let mut peer = Peer::new();
    peer.draining = true;
    peer.feed(upgrade("/v1/subscribe?stream=a", ""));
    assert_eq!(told(&peer.responses()[0]), ("ServerDraining".to_owned(), 1001));
}

#[test]
fn an_upgrade_waits_until_nothing_is_open_and_stays_in_the_inbox() {
    let mut peer = Peer::with(Limits::default(), Answering::OnDemand);
    let handshake = upgrade("/v1/subscribe?stream=a", "");
    peer.feed([publish("1"), handshake.clone()].concat());
    assert_eq!((peer.commands.len(), peer.is_waiting), (1, true));
    assert_eq!(peer.rest, handshake, "another shard must be able to read it again");
    peer.answer_at(0);
    peer.feed("");
    assert_eq!(peer.commands.len(), 2);
    assert!(peer.rest.is_empty());
    peer.answer_at(0);
    assert_eq!(peer.statuses(), [200, 101]);
}

#[test]
fn while_the_shard_decides_nothing_more_is_read() {
    let mut peer = Peer::with(Limits::default(), Answering::OnDemand);
    peer.feed([&upgrade("/v1/subscribe?stream=a", "")[..], b"\x8a\x80\x00\x00\x00\x00"].concat());
    assert!(peer.is_waiting);
    assert_eq!(peer.rest.len(), 6);
}

#[test]
fn an_upgrade_on_a_path_that_answers_itself_is_ignored() {
    let mut peer = Peer::new();
    peer.feed(upgrade("/health", ""));
    assert_eq!(peer.statuses(), [200]);
    assert!(!peer.session.is_websocket());
}

#[test]
fn a_handshake_with_a_body_or_an_old_version_of_http_is_none() {
    let mut peer = Peer::new();
    peer.feed(upgrade("/v1/publish", "Content-Length: 1\r\n"));
    assert_eq!(peer.statuses(), [400]);
    assert!(peer.is_closed);
    let mut peer = Peer::new();
    let old = String::from_utf8(upgrade("/v1/publish", "")).unwrap().replace("HTTP/1.1", "HTTP/1.0");
    peer.feed(old);
    assert_eq!(peer.statuses(), [426]);
}

#[test]
fn the_subprotocol_chooses_the_encoding_and_only_a_known_one_is_confirmed() {
    for (target, offered, encoding, confirmed) in [
        ("/v1/subscribe?stream=a", "cbor, msgpack, json", "MessagePack", Some("msgpack")),
        ("/v1/subscribe?stream=a", "cbor", "Json", None),
        ("/v1/subscribe?stream=a&codec=json", "msgpack, json", "Json", Some("json")),
        ("/v1/subscribe?stream=a&codec=json", "msgpack", "Json", None),
    ] {
        let mut peer = Peer::new();
        peer.feed(upgrade(target, &format!("Sec-WebSocket-Protocol: {offered}\r\n")));
        assert!(peer.commands[0].contains(&format!("encoding: {encoding}")), "{target} {offered}");
        assert_eq!(peer.responses()[0].header("sec-websocket-protocol"), confirmed, "{target} {offered}");
    }
}

#[test]
fn plain_requests_after_a_refused_upgrade_go_on() {
    let mut peer = Peer::new();
    peer.feed([get("/v1/subscribe?stream=a", ""), publish("1")].concat());
    assert_eq!(peer.statuses(), [426, 200]);
}
