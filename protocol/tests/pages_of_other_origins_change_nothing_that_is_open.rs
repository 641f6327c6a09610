//! A browser sends handshakes and plain posts of any page without asking the server first. Where nobody needs a token, a
//! page of another origin neither consumes nor changes anything but by publishing, as the first version let it.

mod edge_policy;
mod http_wire;

use conduit_protocol::policy::{Access, AccessParts, Cors, Policy, Tenants};
use edge_policy::{bearer, with_token};
use http_wire::{Peer, get, post, request, upgrade};

const EVIL: &str = "Origin: https://evil.example\r\n";

/// The close code and the error's code, if the handshake was refused.
fn refused(policy: Policy, target: &str, headers: &str) -> Option<(u16, String)> {
    let response = Peer::under(policy).ask(upgrade(target, headers)).remove(0);
    assert_eq!(response.status, 101, "a browser hides a refused handshake");
    let text = String::from_utf8_lossy(&response.body).into_owned();
    let code = text.split_once("\"code\":\"")?.1.split_once('"')?.0.to_owned();
    let close = response.body.windows(2).position(|frame| frame[0] == 0x88)? + 2;
    Some((u16::from_be_bytes([response.body[close], response.body[close + 1]]), code))
}

fn allowing(origin: &str) -> Policy {
    Policy { cors: Cors { any: false, origins: vec![origin.to_owned()] }, ..Policy::default() }
}

#[test]
fn handshakes_of_other_origins_are_refused() {
    for target in ["/v1/subscribe?stream=s&credit=10", "/v1/publish"] {
        for origin in ["https://evil.example", "null", "http://x:81", "https://x.evil", "file://"] {
            let headers = format!("Origin: {origin}\r\n");
            let told = refused(Policy::default(), target, &headers);
            assert_eq!(told, Some((1008, "OriginNotAllowed".to_owned())), "{target} {origin}");
        }
        let two = format!("Origin: http://x\r\n{EVIL}");
        assert!(refused(Policy::default(), target, &two).is_some(), "every one of them has to be ours");
    }
    let mut peer = Peer::new();
    peer.ask(upgrade("/v1/subscribe?stream=s&credit=10", EVIL));
    assert!(peer.commands.is_empty(), "nothing was subscribed to: {:?}", peer.commands);
}

#[test]
fn handshakes_of_clients_of_the_server_itself_and_of_allowed_origins_are_taken() {
    for target in ["/v1/subscribe?stream=s", "/v1/publish"] {
        for headers in ["", "Origin: http://x\r\n", "Origin: https://x\r\n", "Origin: http://X:80\r\n"] {
            assert_eq!(refused(Policy::default(), target, headers), None, "{headers}");
        }
        assert_eq!(refused(allowing("https://evil.example"), target, EVIL), None);
        let any = Policy { cors: Cors { any: true, ..Cors::default() }, ..Policy::default() };
        assert_eq!(refused(any, target, EVIL), None);
    }
}

#[test]
fn where_tokens_are_needed_they_decide_and_not_the_origin() {
    let target = "/v1/subscribe?stream=s&access_token=secret";
    assert_eq!(refused(with_token(), target, EVIL), None);
    let told = refused(with_token(), "/v1/subscribe?stream=s", EVIL);
    assert_eq!(told, Some((1008, "Unauthorized".to_owned())));
    let headers = format!("{EVIL}{}", bearer("control"));
    assert_eq!(Peer::under(with_token()).ask_one(post("/v1/admin/drain", &headers, "")).status, 200);
}

#[test]
fn what_changes_the_server_or_a_stream_is_refused_and_what_the_first_version_had_is_not() {
    for (asked, changes) in [
        (post("/v1/admin/drain", EVIL, ""), true),
        (post("/v1/admin/reload", EVIL, ""), true),
        (get("/v1/admin/drain", EVIL), true),
        (post("/v1/%61dmin/drain", EVIL, ""), true),
        (post("/v1/streams/s/purge", EVIL, ""), true),
        (post("/v1/streams/s/redrive", EVIL, ""), true),
        (request("DELETE", "/v1/streams/s", EVIL, ""), true),
        (get("/v1/live?stream=s", EVIL), true),
        (post("/v1/enqueue", EVIL, r#"{"to":"s","envelope":{}}"#), false),
        (get("/v1/streams/s", EVIL), false),
        (get("/v1/metrics", EVIL), false),
        (get("/health", EVIL), false),
    ] {
        let mut peer = Peer::new();
        let response = peer.ask_one(&asked);
        let told = (response.status, peer.commands.is_empty());
        assert_eq!(told, if changes { (403, true) } else { (200, false) }, "{}", String::from_utf8_lossy(&asked));
        if changes {
            assert_eq!(response.code(), "OriginNotAllowed");
            assert!(response.json()["message"].as_str().unwrap().contains("--cors-origins"));
        }
        let mut peer = Peer::under(allowing("https://evil.example"));
        peer.feed(&asked);
        assert!(!String::from_utf8_lossy(&peer.out).contains("OriginNotAllowed"));
    }
    for own in ["", "Origin: http://x\r\n"] {
        assert_eq!(Peer::new().ask_one(post("/v1/admin/drain", own, "")).status, 200, "{own}");
    }
}

#[test]
fn a_control_token_alone_does_not_open_the_rest_to_pages() {
    let parts = AccessParts { control_token: Some("control".to_owned()), ..AccessParts::default() };
    let policy = || {
        let access = Access::new(&parts, &Tenants::default()).unwrap();
        Policy { access, ..Policy::default() }
    };
    let told = refused(policy(), "/v1/subscribe?stream=s", EVIL);
    assert_eq!(told, Some((1008, "OriginNotAllowed".to_owned())));
    assert_eq!(Peer::under(policy()).ask_one(post("/v1/admin/drain", EVIL, "")).status, 401);
    let shown = format!("{EVIL}{}", bearer("control"));
    assert_eq!(Peer::under(policy()).ask_one(post("/v1/admin/drain", &shown, "")).status, 200);
}
