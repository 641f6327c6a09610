//! Pages of other origins: who may ask, who may read, and that caches can tell them apart.

mod edge_policy;
mod http_wire;

use conduit_protocol::policy::{Cors, Policy};
use edge_policy::{bearer, by_ip, per_minute, with_token};
use http_wire::{Answering, Peer, Response, get, post, request};

fn cors(origins: &[&str]) -> Policy {
    let any = origins == ["*"];
    let origins = if any { Vec::new() } else { origins.iter().map(|origin| (*origin).to_owned()).collect() };
    Policy { cors: Cors { any, origins }, ..Policy::default() }
}

fn origin(text: &str) -> String {
    format!("Origin: {text}\r\n")
}

fn may_read(response: &Response) -> Option<&str> {
    let allowed = response.header("access-control-allow-origin");
    for name in ["methods", "headers"] {
        let is_there = response.header(&format!("access-control-allow-{name}")).is_some();
        assert_eq!(is_there, allowed.is_some(), "{response:?}");
    }
    assert_eq!(response.header("access-control-max-age"), allowed.map(|_| "86400"));
    assert_eq!(response.header("access-control-allow-credentials"), None);
    allowed
}

#[test]
fn an_allowed_origin_is_named_by_every_response_and_others_by_none() {
    for (policy, who, allowed) in [
        (cors(&["https://a", "https://b"]), "https://a", true),
        (cors(&["https://a", "https://b"]), "https://b", true),
        (cors(&["https://a"]), "https://a/", false),
        (cors(&["https://a"]), "https://A", false),
        (cors(&["https://a"]), "https://a.evil", false),
        (cors(&["https://a"]), "null", false),
        (cors(&["*"]), "https://anything", true),
        (cors(&["*"]), "null", true),
    ] {
        let response = Peer::under(policy).ask_one(get("/health", &origin(who)));
        assert_eq!(response.status, 200, "what may be read says nothing of what is done");
        assert_eq!(may_read(&response), allowed.then_some(who), "{who}");
        assert_eq!(response.header("vary"), Some("Origin"));
    }
    let without = Peer::under(cors(&["https://a"])).ask_one(get("/health", ""));
    assert_eq!((may_read(&without), without.header("vary")), (None, Some("Origin")));
}

#[test]
fn without_origins_responses_do_not_depend_on_them() {
    let response = Peer::new().ask_one(get("/health", &origin("https://a")));
    assert_eq!((may_read(&response), response.header("vary")), (None, None));
}

#[test]
fn a_preflight_is_answered_for_every_path() {
    for path in ["/v1/enqueue", "/health", "/nowhere", "*", "/v1/streams/x/groups/y"] {
        let asked = request("OPTIONS", path, &origin("https://a"), "");
        let response = Peer::under(cors(&["https://a"])).ask_one(&asked);
        assert_eq!((response.status, may_read(&response)), (204, Some("https://a")), "{path}");
        assert!(response.body.is_empty());
        assert_eq!((response.header("content-length"), response.header("content-type")), (None, None));
        let methods = response.header("access-control-allow-methods").unwrap();
        assert_eq!(methods, "GET, POST, PUT, DELETE, OPTIONS, PATCH");
        let headers = response.header("access-control-allow-headers").unwrap();
        assert!(headers.starts_with("content-type, content-encoding, authorization, x-token"), "{headers}");
    }
}

#[test]
fn a_preflight_of_anybody_else_is_refused() {
    for (policy, headers) in [
        (Policy::default(), origin("https://a")),
        (Policy::default(), String::new()),
        (cors(&["https://a"]), origin("https://b")),
        (cors(&["https://a"]), String::new()),
        (cors(&["*"]), String::new()),
        (cors(&["*"]), origin(&"o".repeat(257))),
    ] {
        let response = Peer::under(policy).ask_one(request("OPTIONS", "/v1/enqueue", &headers, ""));
        assert_eq!((response.status, may_read(&response)), (403, None));
        assert_eq!(response.json()["error"], "Origin not allowed");
        assert_eq!(response.code(), "OriginNotAllowed");
    }
}

#[test]
fn a_preflight_needs_no_token_and_costs_its_address_nothing() {
    let policy = Policy { rates: by_ip(per_minute(1)), cors: cors(&["*"]).cors, ..with_token() };
    let mut peer = Peer::under(policy);
    for _ in 0..5 {
        assert_eq!(peer.ask_one(request("OPTIONS", "/v1/enqueue", &origin("https://a"), "")).status, 204);
    }
    assert!(peer.accounts.taken.is_empty());
}

#[test]
fn errors_can_be_read_too() {
    let policy = || Policy { rates: by_ip(per_minute(1)), cors: cors(&["https://a"]).cors, ..with_token() };
    let a = origin("https://a");
    let unauthorized = Peer::under(policy()).ask_one(post("/v1/enqueue", &a, "{}"));
    assert_eq!((unauthorized.status, may_read(&unauthorized)), (401, Some("https://a")));
    let mut peer = Peer::under(policy());
    let authorized = a + &bearer("secret");
    for (asked, status) in [(post("/v1/enqueue", &authorized, "x"), 400), (get("/nowhere", &authorized), 404)] {
        let response = peer.ask_one(asked);
        assert_eq!((response.status, may_read(&response)), (status, Some("https://a")));
    }
    let limited = peer.ask_one(post("/v1/enqueue", &authorized, "{}"));
    assert_eq!((limited.status, may_read(&limited)), (429, Some("https://a")));
    assert_eq!(limited.header("access-control-expose-headers"), Some("retry-after"));
}

#[test]
fn every_response_names_the_origin_of_its_own_request() {
    let mut peer = Peer { policy: cors(&["*"]), ..Peer::with(Default::default(), Answering::OnDemand) };
    let mut wire = Vec::new();
    for number in 0..40 {
        wire.extend(get("/health", &origin(&format!("https://{}", number % 8))));
    }
    peer.feed(&wire);
    // Answers in any order: each goes to its own request.
    while !peer.unanswered.is_empty() {
        peer.answer_at(peer.unanswered.len() / 2);
    }
    for (number, response) in peer.responses().iter().enumerate() {
        assert_eq!(may_read(response), Some(&*format!("https://{}", number % 8)));
    }
}

#[test]
fn more_origins_than_are_kept_wait_for_their_turn() {
    let mut peer = Peer { policy: cors(&["*"]), ..Peer::with(Default::default(), Answering::OnDemand) };
    let mut wire = Vec::new();
    for number in 0..100 {
        wire.extend(get("/health", &origin(&format!("https://{number}"))));
    }
    peer.feed(&wire);
    while peer.responses().len() < 100 {
        assert!(!peer.unanswered.is_empty() && peer.unanswered.len() <= 8, "{}", peer.unanswered.len());
        while !peer.unanswered.is_empty() {
            peer.answer_at(0);
        }
        peer.feed("");
    }
    for (number, response) in peer.responses().iter().enumerate() {
        assert_eq!(may_read(response), Some(&*format!("https://{number}")));
    }
}

#[test]
fn repeated_heads_of_a_page_are_answered_like_the_first() {
    let mut peer = Peer::under(cors(&["https://a"]));
    let one = post("/v1/enqueue", &origin("https://a"), r#"{"to":"s","envelope":{}}"#);
    for _ in 0..5 {
        assert_eq!(may_read(&peer.ask_one(&one)), Some("https://a"));
    }
}
