//! Documents can be megabytes, and responses that come early are kept: neither piles up behind a connection that asks for
//! more than it reads, and nobody waits for ever for one that does not come.

mod http_wire;

use conduit_protocol::{Answer, Limits, StreamStats};
use http_wire::{Answering, Peer, get, publish};

fn peer(limits: Limits) -> Peer {
    Peer::with(limits, Answering::OnDemand)
}

fn put() -> Vec<u8> {
    http_wire::request("PUT", "/v1/streams/s", "", "{}")
}

#[test]
fn no_more_documents_are_asked_for_than_may_wait() {
    let documents = [
        get("/v1/metrics", ""),
        get("/v1/stats?stream=s", ""),
        get("/v1/streams/s/messages", ""),
        get("/v1/streams", ""),
        put(),
        http_wire::request("POST", "/v1/admin/reload", "", ""),
    ];
    for document in documents {
        for max in [1, 3] {
            let mut peer = peer(Limits { documents_max: max, ..Limits::default() });
            peer.feed(document.repeat(20));
            for answered in 0..20 {
                assert_eq!(peer.unanswered.len(), max.min(20 - answered));
                peer.answer_at(0);
                peer.feed("");
            }
            assert_eq!(peer.responses().len(), 20);
            assert!(peer.session.is_idle());
        }
    }
}

#[test]
fn what_follows_a_document_waits_for_it_and_publishes_do_not_wait_for_each_other() {
    let mut peer = peer(Limits::default());
    peer.feed([publish("0"), publish("1"), get("/v1/metrics", ""), publish("2"), publish("3")].concat());
    assert_eq!((peer.unanswered.len(), peer.is_waiting), (3, true));
    // The document has come: what follows may be looked at, though its response waits for those before it.
    peer.answer_at(2);
    peer.feed("");
    assert_eq!((peer.unanswered.len(), peer.is_waiting, peer.out.len()), (4, false, 0));
    while !peer.unanswered.is_empty() {
        peer.answer_at(0);
    }
    assert_eq!(peer.statuses(), [200; 5]);
}

#[test]
fn nothing_is_decoded_while_too_many_bytes_wait_for_an_earlier_response() {
    let mut one = peer(Limits::default());
    one.feed(publish("0"));
    one.answer_at(0);
    let response_bytes = one.out.len();

    let mut peer = peer(Limits { early_bytes_max: 2 * response_bytes, ..Limits::default() });
    peer.feed((0..4).flat_map(|n| publish(&n.to_string())).collect::<Vec<_>>());
    peer.answer_at(1);
    peer.answer_at(1);
    peer.feed(publish("4"));
    assert_eq!((peer.unanswered.len(), peer.is_waiting), (3, false), "the limit itself passes");
    peer.answer_at(1);
    peer.feed(publish("5"));
    assert_eq!((peer.unanswered.len(), peer.is_waiting), (2, true), "more does not");
    peer.answer_at(0);
    peer.feed("");
    assert_eq!((peer.unanswered.len(), peer.is_waiting), (2, false));
    peer.answer_at(1);
    peer.answer_at(0);
    assert_eq!(peer.statuses(), [200; 6]);
}

#[test]
fn a_document_that_does_not_come_is_given_up() {
    let mut peer = peer(Limits { document_ms: 1_000, keep_alive_ms: 5_000, ..Limits::default() });
    peer.feed([get("/v1/metrics", ""), publish("1")].concat());
    assert!(peer.is_waiting);
    let (token, _) = peer.unanswered[0].clone();
    peer.pass_ms(999);
    assert!(peer.out.is_empty());
    peer.pass_ms(1);
    let response = &peer.responses()[0];
    assert_eq!(
        (response.status, response.code(), response.header("retry-after")),
        (504, "Timeout".to_owned(), Some("1"))
    );
    assert_eq!(peer.telemetry.http_in_progress, 0);
    // The connection goes on; the document that comes late is nobody's.
    peer.unanswered.clear();
    peer.give(token, &Answer::Stats(StreamStats::default()));
    peer.feed("");
    peer.answer_at(0);
    assert_eq!(peer.statuses(), [504, 200]);
    peer.pass_ms(5_000);
    assert!(peer.session.is_closing(), "and its idle time has begun");
}

#[test]
fn what_the_server_owes_is_due_while_the_client_is_not_listened_to() {
    let mut peer = peer(Limits { document_ms: 1_000, ..Limits::default() });
    assert_eq!(peer.session.answer_due_ns(&peer.limits), None);
    peer.feed(publish("0"));
    assert_eq!(peer.session.answer_due_ns(&peer.limits), None, "an accepted message is not taken back");
    peer.feed(get("/v1/metrics", ""));
    assert_eq!(peer.session.answer_due_ns(&peer.limits), Some(peer.now.mono_ns + 1_000_000_000));
    // Behind a publish that is not answered, it comes early, and leaves in its turn.
    peer.pass_ms(1_000);
    assert!(peer.out.is_empty());
    assert_eq!(peer.session.answer_due_ns(&peer.limits), None);
    peer.answer_at(0);
    assert_eq!(peer.statuses(), [200, 504]);
}
