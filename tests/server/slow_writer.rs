//! A client that takes too long to say what it wants is told so, and its place becomes free.

use crate::common::{Http, Start};

const FLAGS: &str = "--headers-timeout-ms 100 --request-timeout-ms 200 --keepalive-timeout-ms 150";

#[test]
fn half_a_head_and_half_a_body_are_answered_408() {
    let server = Start::new().flags(FLAGS).serve();
    for half in [
        "GET /hea",
        "GET /health HTTP/1.1\r\nhost: con",
        "POST /v1/enqueue HTTP/1.1\r\nhost: conduit\r\ncontent-length: 24\r\n\r\n{\"to\":",
        "POST /v1/enqueue HTTP/1.1\r\nhost: conduit\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"to\"",
    ] {
        let mut client = Http::connect(server.http);
        client.send(half.as_bytes());
        let answer = client.response();
        assert_eq!((answer.status, answer.code().as_str()), (408, "RequestTimeout"), "{half}");
        assert_eq!(client.rest(), "");
    }
}

#[test]
fn a_byte_now_and_then_does_not_prolong_a_request() {
    let server = Start::new().flags(FLAGS).serve();
    let mut client = Http::connect(server.http);
    let mut sent = 0;
    client.send(b"GET /health HTTP/1.1\r\n");
    // Each header field comes whole and in time; the head never ends. The server answers 408 while this goes on, and
    // then the bytes meet a closed socket.
    while client.try_send(b"x: y\r\n") {
        sent += 1;
        assert!(sent < 10_000_000, "the server listens for ever");
    }
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let server = Start::new().flags(FLAGS).serve();
    assert_eq!(Http::connect(server.http).rest(), "", "one that never says anything");
    let mut client = Http::connect(server.http);
    assert_eq!(client.get("/health").status, 200);
    assert_eq!(client.rest(), "", "one that was used");
}

#[test]
fn a_silent_websocket_is_pinged_and_given_up() {
    let server = Start::new().flags("--ws-ping-ms 50 --ws-pong-ms 50").serve();
    // Reading answers pings, so this one lives on while it reads.
    let mut alive = server.consume("s", "credit=10");
    // This one never reads, so it never answers.
    let dead = server.consume("s", "credit=10");
    crate::common::eventually("the silent one is given up", || {
        alive.socket.get_ref().set_read_timeout(Some(std::time::Duration::from_millis(20))).expect("a time-out");
        let _ = alive.socket.read();
        (server.stats("s")["consumers"] == 1).then_some(())
    });
    let mut dead = dead;
    assert_eq!(dead.end().1, 1001);
    server.publish("s", 0..1);
    alive.socket.get_ref().set_read_timeout(Some(crate::common::PATIENCE)).expect("a time-out");
    assert_eq!(alive.delivery().seq, 1);
}
