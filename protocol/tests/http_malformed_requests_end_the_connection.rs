//! What cannot be read in exactly one way is refused with the status of the error table, and nothing after it is read:
//! a request smuggled behind it must never run.

mod http_wire;

use http_wire::{Answering, Peer, Response};

/// A well-formed request that must not run.
const SMUGGLED: &[u8] = b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nContent-Length: 41\r\n\r\n{\"to\":\"smuggled\",\"envelope\":{\"id\":\"bad\"}}";

/// Status, code and the malformed bytes.
const CASES: &[(u16, &str, &[u8])] = &[
    // Two lengths, or a length and chunks (RFC 9112, section 6.3).
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nhello"),
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello"),
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\nhello"),
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\nhello"),
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nContent-Length: 5 5\r\n\r\nhello"),
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\nhello"),
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nhello"),
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n0\r\n\r\n"),
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n"),
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"),
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"),
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    (501, "UnsupportedTransferCoding", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    (501, "UnsupportedTransferCoding", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
    (501, "UnsupportedTransferCoding", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    // Line ends and white space (RFC 9112, sections 2.2 and 5).
    (400, "BadFraming", b"GET /health HTTP/1.1\nHost: x\r\n\r\n"),
    (400, "BadFraming", b"GET /health HTTP/1.1\r\nHost: x\n\r\n"),
    (400, "BadFraming", b"GET /health HTTP/1.1\r\nHost: x\r\n\n"),
    (400, "BadFraming", b"GET /health HTTP/1.1\nHost: x\n\n"),
    (400, "BadFraming", b"GET /health HTTP/1.1\r\nHost: x\r\nA:\nB: c\r\n\r\n"),
    (400, "BadFraming", b"GET /health HTTP/1.1\r\nHost: x\rA: b\r\n\r\n"),
    (400, "BadFraming", b"GET /health HTTP/1.1\r\r\nHost: x\r\n\r\n"),
    (400, "BadFraming", b"\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "BadFraming", b"\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "BadFraming", b"\rGET /health HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "BadFraming", b"GET /health HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n"),
    (400, "BadFraming", b"GET /health HTTP/1.1\r\nHost: x\r\nA: b\r\n\tfolded\r\n\r\n"),
    (400, "BadFraming", b"GET /health HTTP/1.1\r\n Host: x\r\n\r\n"),
    (400, "BadFraming", b"GET /health HTTP/1.1\r\nHost : x\r\n\r\n"),
    (400, "BadFraming", b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length : 0\r\n\r\n"),
    (400, "BadFraming", b"GET /health HTTP/1.1\r\nHost: x\r\nNoColon\r\n\r\n"),
    (400, "BadFraming", b"GET /health HTTP/1.1\r\nHost: x\r\n: empty\r\n\r\n"),
    (400, "BadFraming", b"GET /health HTTP/1.1\r\nHost: x\r\nA(: b\r\n\r\n"),
    (400, "BadFraming", b"GET /health HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n"),
    (400, "BadFraming", b"GET /health HTTP/1.1\r\nHost: x\r\nA: b\x7fc\r\n\r\n"),
    // Host (RFC 9112, section 3.2).
    (400, "BadFraming", b"GET /health HTTP/1.1\r\n\r\n"),
    (400, "BadFraming", b"GET /health HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"),
    (400, "BadFraming", b"GET /health HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n"),
    (400, "BadFraming", b"GET /health HTTP/1.1\r\nHost: x, y\r\n\r\n"),
    (400, "BadFraming", b"GET /health HTTP/1.1\r\nHost: x/y\r\n\r\n"),
    (400, "BadFraming", b"GET /health HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    // The request line (RFC 9112, section 3).
    (400, "BadFraming", b"GET  /health HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "BadFraming", b"GET /health  HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "BadFraming", b"GET /health HTTP/1.1 \r\nHost: x\r\n\r\n"),
    (400, "BadFraming", b" GET /health HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "BadFraming", b"GET\t/health HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "BadFraming", b"GET /health\r\nHost: x\r\n\r\n"),
    (400, "BadFraming", b"GET HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "BadFraming", b"GE(T /health HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "BadFraming", b"GET /health http/1.1\r\nHost: x\r\n\r\n"),
    (400, "BadFraming", b"GET health HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "BadFraming", b"GET /hea\x80lth HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "BadFraming", b"GET /h\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "BadFraming", b"GET /health#x HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "BadFraming", b"GET /he\x01lth HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "BadFraming", b"CONNECT host:80 HTTP/1.1\r\nHost: x\r\n\r\n"),
    (400, "BadFraming", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n"),
    (505, "UnsupportedVersion", b"GET /health HTTP/1.2\r\nHost: x\r\n\r\n"),
    (505, "UnsupportedVersion", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    // Chunks (RFC 9112, section 7.1).
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"),
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n"),
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n"),
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"),
    (400, "BadFraming", b"GET /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
    // Fields that cannot mean two things at once.
    (400, "BadFraming", b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nContent-Type: a/b\r\nContent-Type: c/d\r\nContent-Length: 0\r\n\r\n"),
    (400, "BadFraming", b"GET /v1/subscribe?stream=a HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n\r\n"),
];

fn last_response(peer: &Peer) -> Response {
    peer.responses().pop().expect("a refusal is told")
}

#[test]
fn malformed_requests_end_the_connection_and_nothing_after_them_runs() {
    for (status, code, bytes) in CASES {
        let shown = String::from_utf8_lossy(bytes);
        for step in [usize::MAX, 1] {
            let mut peer = Peer::with(conduit_protocol::Limits::default(), Answering::AtOnce);
            for piece in [*bytes, SMUGGLED].concat().chunks(step.min(10_000)) {
                peer.feed(piece);
            }
            let response = last_response(&peer);
            assert_eq!((response.status, response.code().as_str()), (*status, *code), "{shown}");
            assert!(response.closes() && peer.is_closed && peer.session.is_closing(), "{shown}");
            assert!(peer.commands.iter().all(|command| !command.starts_with("publish")), "{shown}");
            peer.feed(SMUGGLED);
            assert_eq!(last_response(&peer), response, "{shown}");
        }
    }
}

#[test]
fn a_violation_behind_good_requests_is_told_after_their_answers() {
    let mut peer = Peer::with(conduit_protocol::Limits::default(), Answering::OnDemand);
    peer.feed([&http_wire::publish("1")[..], &http_wire::publish("2"), b"BAD\r\n", SMUGGLED].concat());
    assert_eq!(peer.commands.len(), 2);
    assert!(peer.out.is_empty() && peer.is_waiting && !peer.session.is_closing());
    peer.answer_at(1);
    assert!(peer.out.is_empty());
    peer.answer_at(0);
    assert_eq!(peer.statuses(), [200, 200, 400]);
    assert!(peer.session.is_closing());
    peer.feed("");
    assert!(peer.is_closed);
}
