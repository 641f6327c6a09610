//! No request gets past the access log behind others: however many and long they are, each has its line, with its method, its
//! path and its tenant.

mod edge_policy;
mod http_wire;

use conduit_protocol::access_log::{LogFile, LogSettings};
use conduit_protocol::{AccessLog, Limits};
use edge_policy::{bearer, tenant, with_tenants};
use http_wire::{Answering, Peer, get, request};
use serde_json::Value;

fn lines(peer: &mut Peer) -> Vec<Value> {
    let batch = peer.log.take(LogFile::Http, Vec::new).unwrap_or_default();
    let text = String::from_utf8(batch.bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn peer(answering: Answering) -> Peer {
    // Figures are documents, which wait for each other: here it is the notes that are to be the first bound.
    let limits = Limits { documents_max: 1_000, ..Limits::default() };
    let mut peer = Peer { policy: with_tenants(vec![tenant("acme")]), ..Peer::with(limits, answering) };
    peer.log = AccessLog::new(0, &LogSettings::default());
    peer
}

/// Long requests, then one that matters.
fn wire() -> Vec<u8> {
    let token = bearer("acme-token");
    let long = |number: usize| get(&format!("/v1/stats?stream=s&pad={}&number={number}", "p".repeat(1_000)), &token);
    let mut wire: Vec<u8> = (0..200).flat_map(long).collect();
    wire.extend(request("DELETE", "/v1/streams/victim", &token, ""));
    wire
}

#[test]
fn requests_behind_many_long_ones_have_their_lines() {
    for answering in [Answering::AtOnce, Answering::OnDemand] {
        let mut peer = peer(answering);
        peer.feed(wire());
        let mut turns = 0;
        while !peer.unanswered.is_empty() {
            peer.answer_at(0);
            peer.feed(b"");
            turns += 1;
            assert!(turns <= 201, "everything is answered once");
        }
        let lines = lines(&mut peer);
        assert_eq!(lines.len(), 201);
        for line in &lines {
            assert!(line["method"].is_string() && line["path"].is_string() && line["tenant"] == "acme", "{line}");
        }
        let last = &lines[200];
        assert_eq!((&last["method"], &last["url"]), (&"DELETE".into(), &"/v1/streams/victim".into()));
    }
}

#[test]
fn what_waits_for_its_note_is_bounded_and_goes_on() {
    let mut peer = peer(Answering::OnDemand);
    peer.feed(wire());
    let waiting = peer.unanswered.len();
    assert!(peer.is_waiting && (20..100).contains(&waiting), "{waiting}");
    while peer.unanswered.len() > 1 {
        peer.answer_at(0);
        peer.feed(b"");
    }
    assert!(peer.is_waiting, "one note is needed still, so none is forgotten");
    peer.answer_at(0);
    peer.feed(b"");
    assert_eq!(peer.unanswered.len(), waiting, "all have been answered: there is room again");
}

#[test]
fn without_a_log_nothing_waits_for_it() {
    let mut peer = peer(Answering::OnDemand);
    peer.log = AccessLog::default();
    peer.feed(wire());
    assert_eq!(peer.unanswered.len(), 201);
}
