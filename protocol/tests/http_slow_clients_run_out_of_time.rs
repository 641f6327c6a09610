//! Deadlines: 408 for a request that does not come to its end, a silent close for a connection that is not used.

mod http_wire;

use conduit_protocol::Limits;
use http_wire::{Answering, Peer, publish, upgrade};

fn limits() -> Limits {
    Limits { keep_alive_ms: 1_000, headers_ms: 100, request_ms: 500, ..Limits::default() }
}

fn peer() -> Peer {
    Peer::with(limits(), Answering::AtOnce)
}

#[test]
fn an_idle_connection_is_closed_silently() {
    let mut peer = peer();
    peer.feed(publish("1"));
    let written = peer.out.len();
    peer.pass_ms(999);
    assert!(!peer.session.is_closing());
    peer.pass_ms(1);
    assert!(peer.session.is_closing());
    assert_eq!(peer.out.len(), written);
}

#[test]
fn a_connection_that_never_says_a_word_is_closed_too() {
    let mut peer = peer();
    peer.pass_ms(5_000);
    assert!(!peer.session.is_closing(), "its time begins when it is first looked at");
    peer.pass_ms(999);
    assert!(!peer.session.is_closing());
    peer.pass_ms(1);
    assert!(peer.session.is_closing() && peer.out.is_empty());
}

#[test]
fn traffic_moves_the_idle_deadline() {
    let mut peer = peer();
    for _ in 0..5 {
        peer.feed(publish("1"));
        peer.pass_ms(900);
    }
    assert!(!peer.session.is_closing());
}

#[test]
fn a_head_that_does_not_end_gets_408() {
    let mut peer = peer();
    peer.feed("GET /health HT");
    peer.pass_ms(99);
    peer.feed("TP/1.1\r\n");
    assert!(!peer.session.is_closing());
    peer.pass_ms(1);
    assert_eq!(peer.statuses(), [408]);
    assert_eq!(peer.responses()[0].code(), "RequestTimeout");
    assert!(peer.responses()[0].closes() && peer.session.is_closing());
    peer.feed("Host: x\r\n\r\n");
    assert_eq!(peer.statuses(), [408]);
}

#[test]
fn a_body_that_does_not_end_gets_408() {
    let mut peer = peer();
    let request = publish("1");
    peer.feed(&request[..10]);
    peer.pass_ms(50);
    peer.feed(&request[10..request.len() - 5]);
    peer.pass_ms(449);
    peer.feed(&request[request.len() - 5..request.len() - 4]);
    assert!(!peer.session.is_closing());
    peer.pass_ms(1);
    assert_eq!(peer.statuses(), [408]);
    assert!(peer.session.is_closing() && peer.commands.is_empty());
}

#[test]
fn a_request_in_time_is_answered() {
    let mut peer = peer();
    let request = publish("1");
    peer.feed(&request[..10]);
    peer.pass_ms(99);
    peer.feed(&request[10..request.len() - 5]);
    peer.pass_ms(400);
    peer.feed(&request[request.len() - 5..]);
    assert_eq!(peer.statuses(), [200]);
}

#[test]
fn the_408_waits_for_the_responses_before_it() {
    let mut peer = Peer::with(limits(), Answering::OnDemand);
    peer.feed([&publish("1")[..], b"GET /"].concat());
    peer.pass_ms(100);
    assert!(peer.out.is_empty() && !peer.session.is_closing());
    peer.answer_at(0);
    assert_eq!(peer.statuses(), [200, 408]);
    assert!(peer.session.is_closing());
}

#[test]
fn a_client_that_waits_for_us_is_not_to_blame() {
    let mut peer = Peer::with(limits(), Answering::OnDemand);
    peer.feed(publish("1"));
    peer.pass_ms(100_000);
    assert!(!peer.session.is_closing() && peer.out.is_empty());
    peer.answer_at(0);
    peer.pass_ms(999);
    assert!(!peer.session.is_closing());
    peer.pass_ms(1);
    assert!(peer.session.is_closing());

    let mut peer = Peer::with(limits(), Answering::OnDemand);
    peer.feed(upgrade("/v1/subscribe?stream=a", ""));
    peer.pass_ms(100_000);
    assert!(!peer.session.is_closing() && peer.out.is_empty());
}

#[test]
fn the_rest_of_a_paused_pipeline_is_not_late() {
    let limits = Limits { unanswered_max: 1, ..limits() };
    let mut peer = Peer::with(limits, Answering::OnDemand);
    peer.feed([&publish("1")[..], b"GET /health"].concat());
    assert!(peer.is_waiting);
    peer.pass_ms(10_000);
    peer.answer_at(0);
    peer.feed(" HTTP/1.1\r\nHost: x\r\n\r\n");
    peer.answer_at(0);
    assert_eq!(peer.statuses(), [200, 200]);
}
