//! Keep-alive, `Connection: close`, draining, and the ends of a connection (RFC 9112, section 9).

mod http_wire;

use conduit_protocol::{ErrorCode, Limits};
use http_wire::{Answering, Peer, get, post, publish, upgrade};

fn on_demand() -> Peer {
    Peer::with(Limits::default(), Answering::OnDemand)
}

#[test]
fn http_1_1_stays_and_http_1_0_stays_only_when_asked() {
    for (version, headers, stays, says) in [
        ("1.1", "", true, None),
        ("1.1", "Connection: keep-alive\r\n", true, None),
        ("1.1", "Connection: foo, CLOSE\r\n", false, Some("close")),
        ("1.1", "Connection: keep-alive\r\nConnection: close\r\n", false, Some("close")),
        ("1.0", "", false, Some("close")),
        ("1.0", "Connection: Keep-Alive\r\n", true, Some("keep-alive")),
        ("1.0", "Connection: keep-alive, close\r\n", false, Some("close")),
    ] {
        let mut peer = Peer::new();
        peer.feed(format!("GET /health HTTP/{version}\r\nHost: x\r\n{headers}\r\n"));
        peer.feed(get("/health", ""));
        let responses = peer.responses();
        assert_eq!(responses.len(), if stays { 2 } else { 1 }, "{version} {headers}");
        assert_eq!(responses[0].header("connection"), says, "{version} {headers}");
        assert_eq!((peer.is_closed, peer.session.is_closing()), (!stays, !stays));
    }
}

#[test]
fn http_1_0_needs_no_host() {
    let mut peer = Peer::new();
    peer.feed("GET /health HTTP/1.0\r\n\r\n");
    assert_eq!(peer.statuses(), [200]);
}

#[test]
fn one_empty_line_before_a_request_is_passed_over() {
    let mut peer = Peer::new();
    peer.feed([&b"\r\n"[..], &publish("1"), b"\r\n", &publish("2")].concat());
    peer.feed("\r");
    peer.feed("\n");
    assert!(peer.session.is_idle());
    peer.feed(publish("3"));
    assert_eq!(peer.statuses(), [200, 200, 200]);
    assert!(!peer.is_closed);
}

#[test]
fn a_draining_server_answers_what_it_has_and_ends_the_connection() {
    let mut peer = on_demand();
    peer.feed(publish("1"));
    peer.draining = true;
    peer.answer_at(0);
    let response = &peer.responses()[0];
    assert_eq!((response.status, response.closes()), (200, true));
    assert!(peer.session.is_closing());
}

#[test]
fn only_the_last_response_of_a_draining_server_says_close() {
    let mut peer = on_demand();
    peer.feed([publish("1"), publish("2")].concat());
    peer.draining = true;
    peer.answer_at(0);
    assert!(!peer.responses()[0].closes() && !peer.session.is_closing());
    peer.answer_at(0);
    assert!(peer.responses()[1].closes() && peer.session.is_closing());
}

#[test]
fn a_draining_server_takes_no_new_messages_but_shows_its_figures() {
    let mut peer = Peer::new();
    peer.draining = true;
    peer.feed([publish("1"), publish("2")].concat());
    assert!(peer.commands.is_empty());
    let refused = &peer.responses()[0];
    assert_eq!((peer.responses().len(), refused.status, refused.code().as_str()), (1, 503, "ServerDraining"));
    assert!(refused.closes() && peer.is_closed);

    let mut peer = Peer::new();
    peer.draining = true;
    peer.feed(get("/health", ""));
    assert_eq!(peer.commands, ["report Health"]);
    assert!(peer.responses()[0].closes());
}

#[test]
fn whoever_is_refused_by_a_draining_server_is_told_why_and_when_to_come_back() {
    for (resting, words) in [(false, "shutting down"), (true, "read its configuration again")] {
        for request in [publish("1"), http_wire::request("PUT", "/v1/streams/s", "", "{}")] {
            let mut peer = Peer { draining: true, resting, ..Peer::new() };
            peer.policy.drain.retry_after_ms = 2_500;
            let refused = peer.ask_one(request);
            assert_eq!((refused.status, refused.code().as_str()), (503, "ServerDraining"));
            assert_eq!(refused.header("retry-after"), Some("3"));
            let json = refused.json();
            assert_eq!(json["retryAfter"], 3);
            assert!(json["message"].as_str().is_some_and(|message| message.contains(words)), "{json}");
        }
    }
    // So is whoever waits when the server has no more time.
    let mut waiting = on_demand();
    waiting.feed(publish("1"));
    waiting.close(ErrorCode::ServerDraining);
    assert_eq!(waiting.responses()[0].header("retry-after"), Some("1"));
}

#[test]
fn a_message_that_was_coming_when_the_drain_began_is_taken() {
    let mut peer = Peer::new();
    let request = publish("1");
    peer.feed(&request[..request.len() - 1]);
    assert!(!peer.session.is_idle());
    peer.draining = true;
    peer.feed(&request[request.len() - 1..]);
    assert_eq!(peer.statuses(), [200]);
    assert!(peer.responses()[0].closes() && peer.session.is_closing());
}

#[test]
fn closing_tells_the_client_that_waits_and_nobody_else() {
    let mut idle = Peer::new();
    idle.feed(publish("1"));
    let written = idle.out.len();
    idle.close(ErrorCode::ServerDraining);
    assert_eq!(idle.out.len(), written);
    assert!(idle.session.is_closing());

    let mut waiting = on_demand();
    waiting.feed([publish("1"), publish("2"), publish("3")].concat());
    waiting.answer_at(2);
    waiting.close(ErrorCode::ServerDraining);
    assert_eq!(waiting.statuses(), [503]);
    assert!(waiting.responses()[0].closes() && waiting.session.is_closing());
    waiting.answer_at(0);
    assert_eq!(waiting.statuses(), [503], "late answers go nowhere");

    let request = publish("1");
    for begun in [&request[..10], &request[..request.len() - 1]] {
        let mut peer = Peer::new();
        peer.feed(begun);
        peer.close(ErrorCode::Internal);
        assert_eq!(peer.statuses(), [500]);
        assert!(peer.session.is_closing());
    }

    let mut upgrading = on_demand();
    upgrading.feed(upgrade("/v1/subscribe?stream=s", ""));
    upgrading.close(ErrorCode::ServerDraining);
    assert_eq!(upgrading.statuses(), [503]);
    assert!(upgrading.session.is_closing());
}

#[test]
fn a_body_that_nobody_reads_is_passed_over() {
    let mut peer = Peer::new();
    peer.feed(post("/nowhere", "", "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"));
    peer.feed("GET /v1/stats?stream=s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    peer.feed(publish("1"));
    assert_eq!(peer.statuses(), [404, 200, 200]);
    assert_eq!(peer.commands.len(), 2);
}

#[test]
fn a_body_that_is_too_large_to_pass_over_ends_the_connection() {
    let limits = Limits { body_bytes_max: 10, ..Limits::default() };
    for (length, status, closes) in [(10, 404, false), (11, 404, true)] {
        let mut peer = Peer::with(limits.clone(), Answering::AtOnce);
        peer.feed(format!("POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"));
        assert_eq!((peer.responses()[0].status, peer.responses()[0].closes()), (status, closes));
        assert_eq!(peer.is_closed, closes);
    }
}

#[test]
fn the_body_limit_is_inclusive() {
    let body = r#"{"to":"s","envelope":{"id":"1"}}"#;
    let chunked = format!(
        "POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    );
    for request in [post("/v1/enqueue", "", body), chunked.into_bytes()] {
        for (body_bytes_max, status) in [(body.len(), 200), (body.len() - 1, 413)] {
            let limits = Limits { body_bytes_max, ..Limits::default() };
            let mut peer = Peer::with(limits, Answering::AtOnce);
            peer.feed(&request);
            assert_eq!(peer.statuses(), [status]);
            assert_eq!(peer.is_closed, status == 413);
            assert_eq!(peer.telemetry.http_size_cap_violations, 0, "that is of what bodies decode to");
        }
    }
}

#[test]
fn at_most_so_many_requests_wait_for_answers() {
    let limits = Limits { unanswered_max: 3, ..Limits::default() };
    let mut peer = Peer::with(limits, Answering::OnDemand);
    peer.feed((0..5).flat_map(|n| publish(&n.to_string())).collect::<Vec<_>>());
    assert_eq!((peer.commands.len(), peer.is_waiting), (3, true));
    peer.answer_at(0);
    peer.feed("");
    assert_eq!((peer.commands.len(), peer.is_waiting), (4, true));
    while !peer.unanswered.is_empty() {
        peer.answer_at(0);
        peer.feed("");
    }
    assert_eq!(peer.statuses(), [200; 5]);
    assert!(peer.session.is_idle() && !peer.is_waiting);
}
