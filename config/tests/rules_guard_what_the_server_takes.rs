//! A rule that turns bodies away is not passed by a body that only the built-in endpoint can read: both read alike, and what
//! rules cannot look into is refused.

mod rules_server;

use conduit_protocol::policy::Guards;
use conduit_protocol::{Limits, Policy};
use rules_server::http_wire::{Peer, post, request, upgrade};
use rules_server::{nested, peer, peer_under, rules, tell};

const GUARD: &str = r#"
  - id: guard
    when: {http: {method: POST, path: /v1/enqueue}, where: '$body.to == "forbidden"'}
    send: {http: {status: 403, body: {no: true}}}
  - id: keep-streams
    when: {http: {method: DELETE, path: "/v1/streams/*"}, where: $body.force == true}
    send: {http: {status: 409, body: {no: force}}}
  - id: ws-guard
    when: {ws: {path: /v1/publish}, where: '$message.enqueue.to == "forbidden"'}
    send: {ws: {body: {denied: true}}}
"#;

const NDJSON: &str = "Content-Type: application/x-ndjson\r\n";

#[test]
fn numbers_beyond_floats_do_not_pass_a_guard() {
    let mut peer = peer(GUARD);
    for number in ["1", "1e999", "-1e999", "123456789012345678901234567890e400"] {
        let publish = |to: &str| format!(r#"{{"to":"{to}","envelope":{{"a":{number}}}}}"#);
        assert_eq!(peer.ask_one(post("/v1/enqueue", "", publish("forbidden"))).status, 403, "{number}");
        assert_eq!(peer.ask_one(post("/v1/enqueue", "", publish("s"))).status, 200, "{number}");
    }
}

#[test]
fn nesting_up_to_the_limit_does_not_pass_a_guard() {
    let mut peer = peer(GUARD);
    peer.limits = Limits { depth_max: 128, ..Limits::default() };
    let publish = |levels: usize| {
        format!(r#"{{"to":"forbidden","envelope":{{"a":{}{}}}}}"#, "[".repeat(levels), "]".repeat(levels))
    };
    for levels in [1, 125, 126] {
        assert_eq!(peer.ask_one(post("/v1/enqueue", "", publish(levels))).status, 403, "{levels}");
    }
    // Deeper than the limit the endpoint refuses it, as without rules.
    let refused = peer.ask_one(post("/v1/enqueue", "", publish(127)));
    assert_eq!((refused.status, refused.code().as_str()), (400, "DepthExceeded"));
}

#[test]
fn every_line_of_a_batch_is_judged_and_none_is_stored_if_one_is_turned_away() {
    let mut peer = peer(GUARD);
    let line = |to: &str| format!("{{\"to\":\"{to}\",\"envelope\":{{}}}}\n");
    let good = line("s");
    for batch in [line("forbidden") + &line("forbidden"), good.clone() + &line("forbidden") + &good] {
        assert_eq!(peer.ask_one(post("/v1/enqueue", NDJSON, batch)).status, 403);
    }
    assert!(peer.commands.is_empty(), "{:?}", peer.commands);
    // A line that nobody can read is told as such, and the others are stored.
    let answer = peer.ask_one(post("/v1/enqueue", NDJSON, good.clone() + "{\n\n" + &good)).json();
    assert_eq!((answer["accepted"].as_u64(), answer["failed"].as_u64()), (Some(2), Some(1)));
}

#[test]
fn a_batch_is_refused_where_a_rule_makes_a_frame_of_each_message() {
    let mut peer = peer(
        "  - {id: mine, when: {http: {method: POST, path: /v1/enqueue}}, \
         send: {frame: {type: enqueue, fields: {to: $body.to, envelope: $body.envelope}}}}",
    );
    let line = "{\"to\":\"s\",\"envelope\":{}}\n";
    let refused = peer.ask_one(post("/v1/enqueue", NDJSON, line.repeat(2)));
    assert_eq!((refused.status, refused.code().as_str()), (400, "InvalidField"));
    let message = refused.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("mine") && message.contains("send.frame"), "{message}");
    assert_eq!(peer.ask_one(post("/v1/enqueue", NDJSON, line)).status, 200);
}

#[test]
fn what_a_batch_may_is_asked_once_for_all_of_its_lines() {
    let mut peer = peer(
        "  - {id: slow, when: {http: {method: POST, path: /v1/enqueue}, where: $body.priority > 5}, rateLimit: 2, send: builtin}",
    );
    let urgent = "{\"to\":\"s\",\"envelope\":{},\"priority\":9}\n";
    let statuses: Vec<u16> =
        (0..3).map(|_| peer.ask_one(post("/v1/enqueue", NDJSON, urgent.repeat(3))).status).collect();
    assert_eq!(statuses, [200, 200, 429]);
    let usual = "{\"to\":\"s\",\"envelope\":{}}\n";
    assert_eq!(peer.ask_one(post("/v1/enqueue", NDJSON, usual.repeat(3))).status, 200);
}

#[test]
fn what_rules_cannot_look_into_is_refused_where_the_endpoint_would_not_mind() {
    let mut peer = peer(GUARD);
    let delete = |body: &str| request("DELETE", "/v1/streams/s", "", body);
    assert_eq!(peer.ask_one(delete(r#"{"force":true}"#)).status, 409);
    let refused = peer.ask_one(delete("{"));
    assert_eq!((refused.status, refused.code().as_str()), (400, "InvalidJSON"));
    assert_eq!(peer.ask_one(delete(r#"{"force":false}"#)).status, 200);

    // Larger in memory than rules may have it.
    let publish = format!(r#"{{"to":"forbidden","envelope":{{"a":{}}}}}"#, nested(240_000));
    let refused = peer.ask_one(post("/v1/enqueue", "", publish));
    assert_eq!((refused.status, refused.code().as_str()), (400, "DecodedSizeExceeded"));
    let line = format!("{{\"to\":\"s\",\"envelope\":{{\"a\":{}}}}}\n", nested(240_000));
    assert_eq!(peer.ask_one(post("/v1/enqueue", NDJSON, line.repeat(2))).status, 400);
}

#[test]
fn messages_of_a_websocket_do_not_pass_either() {
    let mut peer = peer(GUARD);
    peer.feed(upgrade("/v1/publish", ""));
    for number in ["1", "1e999"] {
        let publish = format!(r#"{{"enqueue":{{"to":"forbidden","envelope":{{"a":{number}}}}}}}"#);
        assert_eq!(tell(&mut peer, &publish), [r#"{"denied":true}"#], "{number}");
    }
    let publish = format!(r#"{{"enqueue":{{"to":"forbidden","envelope":{{"a":{}}}}}}}"#, nested(240_000));
    let said = tell(&mut peer, &publish);
    assert!(said[0].contains("DecodedSizeExceeded") && said[1] == "close 1007", "{said:?}");
    assert!(peer.commands.is_empty(), "{:?}", peer.commands);
}

#[test]
fn settings_keep_their_own_bound_under_rules() {
    let mut peer = peer_under(
        Policy { guards: Guards { ruled_body_bytes_max: 1_000_000, ..Guards::default() }, ..Policy::default() },
        "  - {id: s, when: {http: {method: PUT, path: '/v1/streams/*'}, where: $body.no == 1}, send: {http: {status: 403}}}",
    );
    let max = peer.limits.settings_bytes_max;
    let chunked = |body: &str| {
        format!(
            "PUT /v1/streams/s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        )
    };
    let settings = |bytes: usize| format!("{{}}{}", " ".repeat(bytes - 2));
    assert_eq!(peer.ask_one(chunked(&settings(max))).status, 200);
    assert_eq!(peer.ask_one(chunked(&settings(max + 1))).status, 413);
}

#[test]
fn no_rules_change_nothing() {
    let mut peer = Peer::under(Policy { rules: rules("  []"), ..Policy::default() });
    assert_eq!(peer.ask_one(post("/v1/enqueue", "", r#"{"to":"forbidden","envelope":{"a":1e999}}"#)).status, 200);
}
