//! A body becomes a value in memory for rules, many times as large as its bytes: how large is bounded, by the bytes and by what
//! they become, whatever the body is made of.

mod rules_server;

use conduit_protocol::policy::Guards;
use conduit_protocol::{ErrorCode, Limits, Policy};
use rules_server::http_wire::{Answering, Peer, post, upgrade};
use rules_server::{message, nested, peer, peer_under, rules, said};
use serde_json::json;

const HOOK: &str = r"
  - id: hook
    when: {http: {method: POST, path: /hook}, where: $body.a == 1}
    send: {http: {status: 200, body: {ok: true}}}
  - id: head-only
    when: {http: {method: POST, path: /v1/enqueue, headers: {x-no: '*'}}}
    send: {http: {status: 403}}
  - id: all
    when: {http: {method: POST, path: /keep}}
    send: {frame: {type: enqueue, fields: {to: s, envelope: {id: $body.id}}, respond: {http: {body: {all: $body}}}}}
";

fn bounded(bytes_max: usize) -> Policy {
    Policy { guards: Guards { ruled_body_bytes_max: bytes_max, ..Guards::default() }, ..Policy::default() }
}

/// An object of so many bytes.
fn object(bytes: usize) -> String {
    let text = |filler: usize| format!(r#"{{"a":1,"x":"{}"}}"#, "x".repeat(filler));
    text(bytes - text(0).len())
}

#[test]
fn the_bound_on_bytes_is_inclusive_and_holds_for_unpacked_and_chunked_bodies() {
    let mut peer = peer_under(bounded(1_000), HOOK);
    assert_eq!(peer.ask_one(post("/hook", "", object(1_000))).status, 200);
    let refused = peer.ask_one(post("/hook", "", object(1_001)));
    assert_eq!((refused.status, refused.code().as_str()), (413, "PayloadTooLarge"));
    assert!(refused.json()["message"].as_str().unwrap().contains("--max-body"), "{:?}", refused.json());

    let chunked = |body: &str| {
        format!(
            "POST /hook HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        )
    };
    let mut peer = peer_under(bounded(1_000), HOOK);
    assert_eq!(peer.ask_one(chunked(&object(1_000))).status, 200);
    assert_eq!(peer.ask_one(chunked(&object(1_001))).status, 413);
}

#[test]
fn bodies_that_rules_do_not_look_into_keep_the_bound_of_their_endpoint() {
    let mut peer = peer_under(bounded(1_000), HOOK);
    let publish = format!(r#"{{"to":"s","envelope":{{"x":"{}"}}}}"#, "x".repeat(5_000));
    assert_eq!(peer.ask_one(post("/v1/enqueue", "", &publish)).status, 200);
    assert_eq!(peer.ask_one(post("/v1/enqueue", "X-No: 1\r\n", &publish)).status, 403);
}

#[test]
fn empty_lists_cost_what_they_take_and_not_nothing() {
    let mut peer = peer(HOOK);
    // 72 bytes each: 16 MiB are 233,016 of them.
    let refused = peer.ask_one(post("/hook", "", nested(240_000)));
    assert_eq!((refused.status, refused.code().as_str()), (400, "DecodedSizeExceeded"));
    assert_eq!(peer.telemetry.errors[ErrorCode::DecodedSizeExceeded as usize], 1);
    // The rule did not apply, and there is no such path.
    assert_eq!(peer.ask_one(post("/hook", "", nested(230_000))).status, 404);
}

#[test]
fn what_waits_for_the_broker_holds_the_next_requests_back() {
    let mut peer = Peer::with(Limits::default(), Answering::OnDemand);
    peer.policy = Policy { rules: rules(HOOK), ..Policy::default() };
    let body = json!({"id": "m", "x": "x".repeat(600_000)}).to_string();
    for _ in 0..4 {
        peer.feed(post("/keep", "", &body));
    }
    // The second one goes beyond the bound, so the third waits.
    assert_eq!((peer.unanswered.len(), peer.is_waiting), (2, true));
    peer.answer_at(0);
    peer.feed("");
    assert_eq!(peer.unanswered.len(), 2);
    while !peer.unanswered.is_empty() {
        peer.answer_at(0);
        peer.feed("");
    }
    assert_eq!(peer.statuses(), [200; 4]);
}

#[test]
fn only_the_members_that_answers_are_made_of_wait_for_the_broker() {
    let rule = "  - {id: r, when: {http: {path: /keep}}, send: {frame: {type: enqueue, fields: {to: s, envelope: {x: $body.x}}, \
                respond: {http: {body: {id: $body.id, none: $body.none}}}}}}";
    let mut peer = Peer::with(Limits::default(), Answering::OnDemand);
    peer.policy = Policy { rules: rules(rule), ..Policy::default() };
    let body = json!({"id": {"of": [1, 2]}, "x": "x".repeat(600_000)}).to_string();
    for _ in 0..8 {
        peer.feed(post("/keep", "", &body));
    }
    assert_eq!((peer.unanswered.len(), peer.is_waiting), (8, false));
    while !peer.unanswered.is_empty() {
        peer.answer_at(0);
    }
    assert!(peer.responses().iter().all(|response| response.json() == json!({"id": {"of": [1, 2]}})));
}

#[test]
fn messages_are_bounded_likewise() {
    let mut peer =
        peer("  - {id: m, when: {ws: {path: /v1/publish, message: {json.has: a}}}, send: {ws: {body: {ok: true}}}}");
    peer.feed(upgrade("/v1/publish", ""));
    peer.feed(message(r#"{"a":1}"#));
    assert_eq!(said(&mut peer), [r#"{"ok":true}"#]);
    peer.feed(message(&nested(240_000)));
    let said = said(&mut peer);
    assert!(said[0].contains("DecodedSizeExceeded") && said[1] == "close 1007", "{said:?}");
}
