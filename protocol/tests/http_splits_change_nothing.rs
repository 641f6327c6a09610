//! However the bytes of a connection are cut into reads, the same commands run and the same responses leave.

mod http_wire;

use http_wire::{Answering, Peer, get, post, publish, request, upgrade};
use proptest::prelude::*;

type Seen = (Vec<String>, Vec<u8>, bool);

fn run(wire: &[u8], cuts: &[usize]) -> Seen {
    let limits = conduit_protocol::Limits { body_bytes_max: 300, head_bytes_max: 400, ..Default::default() };
    let mut peer = Peer::with(limits, Answering::AtOnce);
    let mut from = 0;
    for cut in cuts.iter().copied().chain([wire.len()]) {
        let cut = cut.clamp(from, wire.len());
        peer.feed(&wire[from..cut]);
        from = cut;
    }
    (peer.commands, peer.out, peer.is_closed)
}

fn chunked(body: &str) -> Vec<u8> {
    format!(
        "POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\n{}\r\n{:X}\r\n{}\r\n0\r\nT: v\r\n\r\n",
        &body[..1],
        body.len() - 1,
        &body[1..]
    )
    .into_bytes()
}

/// Requests of every kind, good and bad.
fn requests() -> Vec<Vec<u8>> {
    vec![
        publish("1"),
        chunked(r#"{"to":"chunky","envelope":{"id":"2"}}"#),
        post("/v1/enqueue", "Content-Type: application/msgpack\r\n", b"\x82\xa2to\xa1s\xa8envelope\x80"),
        post(
            "/v1/enqueue",
            "Content-Type: application/x-ndjson\r\n",
            "{\"to\":\"a\",\"envelope\":{}}\n\n{bad\n{\"to\":\"b\",\"envelope\":{}}",
        ),
        post("/v1/enqueue", "", "not json"),
        post("/v1/enqueue", "", ""),
        post("/nowhere", "", "ignored body"),
        get("/v1/stats?stream=a%2Fb", ""),
        get("/v1/stats", ""),
        get("/health", "Accept: application/msgpack\r\n"),
        b"HEAD /health HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"\r\nGET /metrics HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(),
        b"DELETE /v1/enqueue HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc".to_vec(),
        get("/v1/stats?stream=%zz", ""),
        get("/v1/subscribe?stream=a", ""),
        request("PUT", "/v1/streams/a%2Fb", "", r#"{"maxBytes":5}"#),
        request("PUT", "/v1/streams/a/groups/g", "Content-Type: application/msgpack\r\n", b"\x81\xa4from\xa3new"),
        request("POST", "/v1/streams/a/purge", "", "ignored"),
        get("/v1/streams/a/messages?from=2&limit=5", ""),
        post("/v1/enqueue", "Idempotency-Key: \"k\"\r\n", r#"{"to":"s","envelope":{"id":"3"},"delayMs":5}"#),
        request("PUT", "/v1/streams/a", "", r#"{"maxBytes":0}"#),
    ]
}

/// Requests that end the connection, each in its own way.
fn endings() -> Vec<Vec<u8>> {
    vec![
        get("/health", "Connection: close\r\n"),
        b"GET /health HTTP/1.0\r\n\r\n".to_vec(),
        get("/health", &format!("X: {}\r\n", "x".repeat(500))),
        get("/health", "A : b\r\n"),
        b"GET /health HTTP/1.1\r\nHost: x\n\r\n".to_vec(),
        b"GET / HTTP/3.0\r\nHost: x\r\n\r\n".to_vec(),
        post("/v1/enqueue", "", "x".repeat(301)),
        b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n4\nabcd".to_vec(),
        b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n12d\r\n".to_vec(),
        upgrade("/v1/subscribe?stream=a%20b&credit=3&codec=msgpack", ""),
        upgrade("/v1/subscribe", ""),
        upgrade("/v1/publish?codec=json", "Sec-WebSocket-Protocol: chat, json\r\n"),
        upgrade("/elsewhere", ""),
        b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc".to_vec(),
        b"GET /health HTTP/1.1\r\nHost".to_vec(),
    ]
}

#[test]
fn the_pipeline_of_these_tests_does_what_it_says() {
    let mut peer = Peer::new();
    for request in requests() {
        if !request.starts_with(b"HEAD") {
            peer.feed(request);
        }
    }
    assert_eq!(
        peer.statuses(),
        [200, 200, 200, 200, 400, 400, 404, 200, 400, 200, 200, 405, 400, 426, 200, 200, 200, 200, 200, 400]
    );
    assert_eq!(
        peer.commands,
        [
            r#"publish s {"id":"1"}"#,
            r#"publish chunky {"id":"2"}"#,
            "publish s \u{fffd}",
            "publish a {}",
            "publish b {}",
            "stats a/b",
            "report Health",
            "report Prometheus",
            "Stream(StreamCommand { stream: \"a/b\", action: Put(StreamSettings { retention: None, durability: None, \
             max_messages: None, max_bytes: Some(5), max_deliver: None, dead_letter_expired: None, dedup_window_ms: None }) })",
            "Stream(StreamCommand { stream: \"a\", action: PutGroup { group: \"g\", from: New, \
             settings: GroupSettings { ack_wait_ms: None, max_deliver: None } } })",
            "Stream(StreamCommand { stream: \"a\", action: Purge })",
            "Stream(StreamCommand { stream: \"a\", action: Peek { from: Seq(2), limit: 5 } })",
            r#"publish s {"id":"3"}"#,
        ]
    );
}

#[test]
fn one_cut_anywhere_changes_nothing() {
    for ending in endings() {
        let wire = [requests().concat(), ending].concat();
        let whole = run(&wire, &[]);
        for cut in 1..wire.len() {
            assert_eq!(run(&wire, &[cut]), whole, "cut at {cut}");
        }
    }
}

#[test]
fn byte_by_byte_changes_nothing() {
    for ending in endings() {
        let wire = [requests().concat(), ending, publish("after")].concat();
        let cuts: Vec<usize> = (1..wire.len()).collect();
        assert_eq!(run(&wire, &cuts), run(&wire, &[]));
    }
}

proptest! {
    #[test]
    fn any_cuts_of_any_pipeline_change_nothing(
        order in prop::collection::vec(0..21_usize, 0..12),
        ending in 0..15_usize,
        mut cuts in prop::collection::vec(0..4_000_usize, 0..12),
    ) {
        let mut wire: Vec<u8> = order.iter().flat_map(|index| requests()[*index].clone()).collect();
        wire.extend_from_slice(&endings()[ending]);
        cuts.sort_unstable();
        prop_assert_eq!(run(&wire, &cuts), run(&wire, &[]));
    }

    #[test]
    fn a_damaged_byte_is_judged_the_same_at_any_cuts(
        order in prop::collection::vec(0..21_usize, 1..4),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        mut cuts in prop::collection::vec(0..1_000_usize, 0..8),
    ) {
        let mut wire: Vec<u8> = order.iter().flat_map(|index| requests()[*index].clone()).collect();
        let at = at.index(wire.len());
        wire[at] = byte;
        cuts.sort_unstable();
        // `Expect: 100-continue` cannot come from one damaged byte, and only it depends on how the bytes come.
        prop_assert_eq!(run(&wire, &cuts), run(&wire, &[]));
    }
}
