//! Every refusal says what, why and when, in JSON, in MessagePack, or as problem details, as the client asks.

mod edge_policy;
mod http_wire;

use conduit_protocol::ErrorCode;
use conduit_protocol::policy::{Cors, Guards, Policy, Rates};
use edge_policy::{by_ip, per_minute, with_token};
use http_wire::{Peer, Response, get, post, request, upgrade};

/// One request for each way to be refused over HTTP, with the policy that it takes.
fn refused(headers: &str) -> Vec<(u16, Response)> {
    let default = Policy::default;
    let guards = |guards: Guards| Policy { guards, ..default() };
    let none = || Policy { rates: Rates { in_progress_per_shard_max: Some(0), ..Rates::default() }, ..default() };
    let ask = |policy: Policy, request: Vec<u8>| Peer::under(policy).ask_one(request);
    let twice = |policy: Policy, request: Vec<u8>| {
        let mut peer = Peer::under(policy);
        peer.ask_one(&request);
        peer.ask_one(&request)
    };
    vec![
        (400, ask(default(), post("/v1/enqueue", headers, "{"))),
        (400, ask(default(), post("/v1/enqueue", headers, r#"{"to":"s"}"#))),
        (400, ask(default(), get("/v1/stats", headers))),
        (400, ask(default(), get("/v1/stats?stream=%", headers))),
        (401, ask(with_token(), get("/v1/streams", headers))),
        (403, ask(with_token(), post("/v1/admin/reload", &format!("{headers}X-Token: secret\r\n"), ""))),
        (403, ask(default(), request("OPTIONS", "/", headers, ""))),
        (404, ask(default(), get("/", headers))),
        (404, ask(default(), get("/v1/snapshot?view=nothing", headers))),
        (405, ask(default(), request("DELETE", "/v1/enqueue", headers, ""))),
        (413, ask(guards(Guards { large_bytes: 1, ..Guards::default() }), post("/v1/enqueue", headers, "{}"))),
        (417, ask(default(), get("/health", &format!("{headers}Expect: x\r\n")))),
        (426, ask(default(), get("/v1/subscribe", headers))),
        (429, twice(Policy { rates: by_ip(per_minute(1)), ..default() }, get("/v1/streams", headers))),
        (431, ask(guards(Guards { header_bytes_max: 1, ..Guards::default() }), get("/health", headers))),
        (503, ask(none(), get("/health", headers))),
    ]
}

#[test]
fn every_refusal_has_a_json_body_with_a_code_and_a_sentence() {
    for (status, response) in refused("") {
        assert_eq!(response.status, status);
        assert_eq!(response.header("content-type"), Some("application/json"));
        let json = response.json();
        let code = json["code"].as_str().unwrap();
        assert!(ErrorCode::ALL.iter().any(|known| known.code() == code && known.http_status() == status), "{code}");
        assert!(json["error"].as_str().is_some_and(|error| !error.is_empty()), "{json}");
        assert!(json["message"].as_str().is_some_and(|message| message.len() > 10), "{json}");
        assert_eq!(
            json["retryAfter"].as_u64().map(|seconds| seconds.to_string()).as_deref(),
            response.header("retry-after")
        );
        assert_eq!(matches!(status, 429 | 503), response.header("retry-after").is_some(), "{json}");
        assert_eq!(status == 401, response.header("www-authenticate").is_some());
        assert_eq!(json.get("type"), None);
    }
}

#[test]
fn problem_details_are_there_for_those_who_ask() {
    let plain = refused("");
    let accepted = [
        "application/problem+json",
        "application/json, application/problem+json;q=0.9",
        "text/html, application/Problem+JSON",
    ];
    for accept in accepted {
        for ((status, response), (_, plain)) in refused(&format!("Accept: {accept}\r\n")).iter().zip(&plain) {
            assert_eq!(response.status, *status);
            assert_eq!(response.header("content-type"), Some("application/problem+json"));
            let json = response.json();
            assert_eq!(json["status"].as_u64(), Some(u64::from(*status)));
            assert_eq!(json["type"], "about:blank");
            assert!(json["title"].as_str().is_some_and(|title| !title.is_empty()));
            assert_eq!(json["detail"], json["message"]);
            // Ours are there as well.
            for (name, value) in plain.json().as_object().unwrap().iter().filter(|(name, _)| *name != "message") {
                let is_same = json[name] == *value || name == "size" || name == "error" || name == "details";
                assert!(is_same, "{name}: {json}");
            }
        }
    }
    let unasked = Peer::new().ask_one(get("/", "Accept: application/problem+json;q=0\r\n"));
    assert_eq!(unasked.header("content-type"), Some("application/json"));
    let fine = Peer::new().ask_one(get("/health", "Accept: application/problem+json\r\n"));
    assert_eq!((fine.status, fine.header("content-type")), (200, Some("application/json")));
}

#[test]
fn refusals_speak_messagepack_to_those_who_do() {
    for (status, response) in refused("Accept: application/msgpack\r\n") {
        assert_eq!(response.header("content-type"), Some("application/msgpack"), "{status}");
        let value: serde_json::Value = rmp_serde::from_slice(&response.body).unwrap();
        assert!(value["code"].is_string() && value["message"].is_string());
    }
}

#[test]
fn a_preflight_is_refused_in_words_even_where_others_are_allowed() {
    let policy = Policy { cors: Cors { any: false, origins: vec!["https://a".to_owned()] }, ..Policy::default() };
    let response = Peer::under(policy).ask_one(request("OPTIONS", "/v1/enqueue", "Origin: https://b\r\n", ""));
    assert_eq!((response.status, response.code().as_str()), (403, "OriginNotAllowed"));
}

#[test]
fn paths_that_share_an_account_are_told_so() {
    let mut peer = Peer::under(Policy { rates: by_ip(per_minute(1)), ..Policy::default() });
    peer.ask_one(get("/one", ""));
    let refused = peer.ask_one(get("/another", ""));
    assert_eq!(refused.status, 429);
    let json = refused.json();
    assert!(json["message"].as_str().unwrap().contains("may make 1 requests to all other paths in 60 s"), "{json}");
}

#[test]
fn a_page_is_told_how_it_can_show_its_token() {
    let mut peer = Peer::under(with_token());
    let response = peer.ask_one(upgrade("/v1/subscribe?stream=s", ""));
    let told = String::from_utf8_lossy(&response.body);
    for way in ["Authorization: Bearer TOKEN", "`access_token`", "`bearer.TOKEN`"] {
        assert!(told.contains(way), "{told}");
    }
    let plain = Peer::under(with_token()).ask_one(get("/v1/streams", ""));
    assert!(!plain.json()["message"].as_str().unwrap().contains("access_token"), "it would not be read there");
}

#[test]
fn only_what_decodes_to_too_much_counts_as_that() {
    let policy = || Policy {
        guards: Guards { decoded_bytes_max: 64, large_bytes: 1_000, refuses_binary: true, ..Guards::default() },
        ..Policy::default()
    };
    let counted = |request: Vec<u8>| {
        let mut peer = Peer::under(policy());
        let response = peer.ask_one(request);
        (response.code(), peer.telemetry.http_size_cap_violations)
    };
    let large = post("/v1/enqueue", "", "x".repeat(1_001));
    let binary = post("/v1/enqueue", "Content-Type: image/png\r\n", "x");
    let grows = post("/v1/enqueue", "", format!(r#"{{"to":"s","envelope":{{"a":[{}0]}}}}"#, "1,".repeat(20)));
    assert_eq!(counted(large), ("PayloadTooLarge".to_owned(), 0));
    assert_eq!(counted(binary), ("PayloadTooLarge".to_owned(), 0));
    assert_eq!(counted(grows), ("DecodedSizeExceeded".to_owned(), 1));
}
