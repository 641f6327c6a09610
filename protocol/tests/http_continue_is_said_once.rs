//! `Expect: 100-continue` (RFC 9110, section 10.1.1).

mod http_wire;

use conduit_protocol::Limits;
use http_wire::{Answering, Peer, publish};

const BODY: &str = r#"{"to":"s","envelope":{"id":"1"}}"#;

fn head(version: &str) -> String {
    format!(
        "POST /v1/enqueue HTTP/{version}\r\nHost: x\r\nConnection: keep-alive\r\nExpect: 100-Continue\r\nContent-Length: {}\r\n\r\n",
        BODY.len()
    )
}

#[test]
fn a_client_that_waits_is_asked_for_its_body_once() {
    let mut peer = Peer::new();
    peer.feed(head("1.1"));
    assert_eq!(peer.statuses(), [100]);
    peer.feed(&BODY[..5]);
    assert_eq!(peer.statuses(), [100]);
    peer.feed(&BODY[5..]);
    assert_eq!(peer.statuses(), [100, 200]);
}

#[test]
fn a_body_that_is_here_is_not_asked_for() {
    let mut peer = Peer::new();
    peer.feed(head("1.1") + BODY);
    assert_eq!(peer.statuses(), [200]);
}

#[test]
fn an_http_1_0_client_is_not_asked() {
    let mut peer = Peer::new();
    peer.feed(head("1.0"));
    assert!(peer.out.is_empty());
    peer.feed(BODY);
    assert_eq!(peer.statuses(), [200]);
}

#[test]
fn the_question_waits_for_the_responses_before_it() {
    let mut peer = Peer::with(Limits::default(), Answering::OnDemand);
    peer.feed([&publish("0")[..], head("1.1").as_bytes()].concat());
    assert!(peer.out.is_empty());
    peer.answer_at(0);
    assert_eq!(peer.statuses(), [200, 100]);

    let mut peer = Peer::with(Limits::default(), Answering::OnDemand);
    peer.feed([&publish("0")[..], head("1.1").as_bytes()].concat());
    peer.feed(BODY);
    peer.answer_at(0);
    peer.answer_at(0);
    assert_eq!(peer.statuses(), [200, 200], "a question that came too late is not asked");
}

#[test]
fn a_refusal_in_place_of_the_question_ends_the_connection() {
    for (target, status) in [("/nowhere", 404), ("/health", 405)] {
        let mut peer = Peer::new();
        peer.feed(format!("POST {target} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"));
        assert_eq!(peer.statuses(), [status]);
        assert!(peer.responses()[0].closes() && peer.is_closed);
    }
    let mut peer = Peer::with(Limits { body_bytes_max: 4, ..Limits::default() }, Answering::AtOnce);
    peer.feed("POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(peer.statuses(), [413]);
    assert!(peer.is_closed);
}
