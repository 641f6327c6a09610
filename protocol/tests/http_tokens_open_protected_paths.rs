//! Where tokens are configured, protected paths are closed without one: 401 says how to send it, 403 that it is not enough.

mod edge_policy;
mod http_wire;

use conduit_protocol::ErrorCode;
use conduit_protocol::policy::{Access, AccessParts, Policy, Tenants};
use edge_policy::{bearer, with_tenants, with_token};
use http_wire::{Peer, get, post, request, upgrade};

const PUBLISH: &str = r#"{"to":"s","envelope":{"id":"m"}}"#;

/// Every request that needs a token, without one.
fn protected(token: &str) -> Vec<Vec<u8>> {
    vec![
        post("/v1/enqueue", token, PUBLISH),
        get("/v1/stats?stream=s", token),
        get("/v1/streams", token),
        get("/v1/streams/s", token),
        request("DELETE", "/v1/streams/s", token, ""),
        post("/v1/streams/s/purge", token, ""),
        get("/v1/streams/s/messages", token),
        get("/v1/snapshot?view=streams", token),
        get("/v1/live?stream=s", token),
        post("/v1/upload", token, ""),
        post("/v1/queue", token, ""),
        post("/v1/admin/reload", token, ""),
    ]
}

#[test]
fn protected_paths_are_closed_without_a_token_and_say_how_to_send_one() {
    for request in protected("") {
        let response = Peer::under(with_token()).ask_one(&request);
        let json = response.json();
        assert_eq!((response.status, json["code"].as_str()), (401, Some("Unauthorized")));
        assert_eq!(json["error"], "Unauthorized");
        assert!(json["message"].as_str().unwrap().contains("Authorization: Bearer TOKEN"));
        assert_eq!(response.header("www-authenticate"), Some("Bearer"));
    }
}

#[test]
fn a_wrong_token_opens_nothing_and_says_so() {
    for wrong in ["secre", "secret ", "Secret", "secretx", ""] {
        for request in protected(&format!("X-Token: x\r\nAuthorization: Bearer {wrong}x\r\n")) {
            let response = Peer::under(with_token()).ask_one(&request);
            assert_eq!(response.status, 401);
            assert_eq!(response.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
            assert!(!String::from_utf8(response.body).unwrap().contains("secre"));
        }
    }
}

#[test]
fn the_token_may_stand_in_either_field_and_authorization_counts() {
    let is_in = |headers: &str| {
        let response = Peer::under(with_token()).ask_one(get("/v1/stats?stream=s", headers));
        response.status == 200
    };
    assert!(is_in("Authorization: Bearer secret\r\n"));
    assert!(is_in("authorization: bearer   secret\r\n"));
    assert!(is_in("X-Token: secret\r\n"));
    assert!(is_in("X-Token: wrong\r\nAuthorization: Bearer secret\r\n"));
    assert!(!is_in("X-Token: secret\r\nAuthorization: Bearer wrong\r\n"));
    assert!(!is_in("X-Token: secret\r\nAuthorization: Basic c2VjcmV0\r\n"));
    assert!(!is_in("Authorization: secret\r\n"));
    assert!(!is_in("Authorization: Bearersecret\r\n"));
    assert!(!is_in("Cookie: token=secret\r\n"));
    let in_query = Peer::under(with_token()).ask_one(get("/v1/stats?stream=s&access_token=secret", ""));
    assert_eq!(in_query.status, 401, "a URL is logged and remembered: only browsers without another way may use it");
}

#[test]
fn another_scheme_means_nothing_where_everybody_is_let_in() {
    let parts = AccessParts { control_token: Some("control".to_owned()), ..AccessParts::default() };
    let open = || {
        let access = Access::new(&parts, &Tenants::default()).unwrap();
        Policy { access, ..Policy::default() }
    };
    for shown in ["", "Authorization: Basic c2VjcmV0\r\n", "Authorization: Bearer unknown\r\n"] {
        assert_eq!(Peer::under(open()).ask_one(get("/v1/stats?stream=s", shown)).status, 200, "{shown}");
        assert_eq!(Peer::under(open()).ask_one(post("/v1/admin/reload", shown, "")).status, 401, "{shown}");
    }
}

#[test]
fn two_tokens_in_one_request_end_the_connection() {
    for headers in
        ["X-Token: secret\r\nX-Token: wrong\r\n", "Authorization: Bearer secret\r\nAuthorization: Bearer x\r\n"]
    {
        let response = Peer::under(with_token()).ask_one(get("/v1/stats?stream=s", headers));
        assert_eq!((response.status, response.closes()), (400, true));
    }
}

#[test]
fn open_paths_stay_open_whatever_is_sent() {
    for token in ["", "X-Token: wrong\r\n"] {
        for path in ["/health", "/v1/metrics", "/metrics", "/v1/histograms"] {
            assert_eq!(Peer::under(with_token()).ask_one(get(path, token)).status, 200, "{path}");
        }
        let heartbeats = {
            let mut peer = Peer::under(with_token());
            peer.feed(get("/v1/live", token));
            String::from_utf8(peer.out).unwrap()
        };
        assert!(heartbeats.starts_with("HTTP/1.1 200 OK"), "{heartbeats}");
        assert_eq!(Peer::under(with_token()).ask_one(get("/nowhere", token)).status, 404);
    }
}

#[test]
fn metrics_are_closed_when_they_are_to_be() {
    let protecting = || {
        let mut policy = with_token();
        policy.access.protects_metrics = true;
        policy
    };
    for path in ["/v1/metrics", "/metrics", "/v1/histograms"] {
        assert_eq!(Peer::under(protecting()).ask_one(get(path, "")).status, 401, "{path}");
        for token in ["secret", "control"] {
            assert_eq!(Peer::under(protecting()).ask_one(get(path, &bearer(token))).status, 200, "{path}");
        }
    }
    assert_eq!(Peer::under(protecting()).ask_one(get("/health", "")).status, 200);
    // Where there is no other, the control token opens them, and nobody else.
    let alone = || {
        let parts =
            AccessParts { control_token: Some("control".to_owned()), protects_metrics: true, ..AccessParts::default() };
        Policy { access: Access::new(&parts, &Tenants::default()).unwrap(), ..Policy::default() }
    };
    assert_eq!(Peer::under(alone()).ask_one(get("/metrics", "")).status, 401);
    assert_eq!(Peer::under(alone()).ask_one(get("/metrics", &bearer("control"))).status, 200);
    assert_eq!(Peer::under(alone()).ask_one(get("/v1/stats?stream=s", "")).status, 200);
    // Without any token there is nothing to protect them with.
    let mut open = Policy::default();
    open.access.protects_metrics = true;
    assert_eq!(Peer::under(open).ask_one(get("/metrics", "")).status, 200);
}

#[test]
fn a_token_that_may_not_change_the_server_gets_403() {
    let reload =
        |policy: Policy, token: &str| Peer::under(policy).ask_one(post("/v1/admin/reload", &bearer(token), ""));
    let refused = reload(with_token(), "secret");
    assert_eq!((refused.status, refused.code().as_str()), (403, "Forbidden"));
    assert_eq!(reload(with_token(), "control").status, 200);
    let tenants = || with_tenants(vec![edge_policy::tenant("acme")]);
    assert_eq!(reload(tenants(), "acme-token").status, 403);
    assert_eq!(reload(tenants(), "plain").status, 200);
}

#[test]
fn what_a_document_tells_depends_on_who_asks() {
    let scope = |policy: Policy, path: &str, headers: &str| {
        let mut peer = Peer::under(policy);
        peer.feed(get(path, headers));
        peer.scopes.pop().expect("a document")
    };
    use conduit_protocol::{Scope, TenantId};
    let tenants = || with_tenants(vec![edge_policy::tenant("acme")]);
    let acme = Scope::Tenant(TenantId::of_name("acme"));
    for path in ["/v1/streams", "/v1/metrics", "/metrics", "/v1/histograms", "/v1/snapshot?view=streams"] {
        assert_eq!(scope(tenants(), path, &bearer("acme-token")), acme, "{path}");
        assert_eq!(scope(tenants(), path, &bearer("plain")), Scope::Server, "{path}");
        assert_eq!(scope(with_token(), path, &bearer("control")), Scope::Server, "{path}");
        assert_eq!(scope(Policy::default(), path, ""), Scope::Server, "{path}");
    }
    assert_eq!(scope(tenants(), "/metrics", ""), Scope::Server);
    for path in ["/v1/streams", "/v1/snapshot?view=streams"] {
        assert_eq!(scope(with_token(), path, &bearer("secret")), Scope::Tenant(TenantId::DEFAULT), "{path}");
    }
}

#[test]
fn a_token_of_no_tenant_reads_the_metrics_of_the_whole_server() {
    use conduit_protocol::{Scope, TenantId};
    let scope = |protects_metrics: bool, path: &str, token: &str| {
        let parts = AccessParts {
            tokens: vec!["plain".to_owned(), "acme-1".to_owned()],
            control_token: Some("control".to_owned()),
            protects_metrics,
            ..AccessParts::default()
        };
        let tenants = with_tenants(vec![edge_policy::tenant("acme")]).tenants;
        let access = Access::new(&parts, &tenants).unwrap();
        let mut peer = Peer::under(Policy { access, tenants, ..Policy::default() });
        peer.feed(get(path, &bearer(token)));
        peer.scopes.pop().expect("a document")
    };
    for is_protected in [false, true] {
        for path in ["/v1/metrics", "/metrics", "/v1/histograms"] {
            assert_eq!(scope(is_protected, path, "plain"), Scope::Server, "no less than nobody: {path}");
            assert_eq!(scope(is_protected, path, "control"), Scope::Server, "{path}");
            assert_eq!(scope(is_protected, path, "acme-1"), Scope::Tenant(TenantId::of_name("acme")), "{path}");
        }
    }
}

#[test]
fn a_websocket_learns_after_the_handshake_that_it_may_not() {
    let said = |target: &str, headers: &str| {
        let mut peer = Peer::under(with_token());
        let mut responses = peer.ask(upgrade(target, headers));
        assert_eq!((responses.len(), responses[0].status), (1, 101));
        let response = responses.remove(0);
        (peer, response)
    };
    for (target, headers) in [
        ("/v1/subscribe?stream=s", String::new()),
        ("/v1/subscribe?stream=s", bearer("wrong")),
        ("/v1/subscribe?stream=s&access_token=wrong", String::new()),
        ("/v1/subscribe?stream=s", "Sec-WebSocket-Protocol: bearer.wrong, json\r\n".to_owned()),
        ("/v1/publish", String::new()),
    ] {
        let (peer, response) = said(target, &headers);
        let frames = String::from_utf8_lossy(&response.body).into_owned();
        assert!(frames.contains(r#"{"error":{"code":"Unauthorized","message":""#), "{frames}");
        assert!(response.body.windows(2).any(|code| code == 1008_u16.to_be_bytes()), "{frames}");
        assert!(peer.session.is_closing());
        assert!(peer.commands.is_empty());
        assert_eq!(peer.telemetry.errors[ErrorCode::Unauthorized as usize], 1);
    }
    for (target, headers) in [
        ("/v1/subscribe?stream=s", bearer("secret")),
        ("/v1/subscribe?stream=s", "X-Token: secret\r\n".to_owned()),
        ("/v1/subscribe?stream=s&access_token=secret", String::new()),
        ("/v1/subscribe?stream=s&access_token=%73ecret", String::new()),
        ("/v1/publish?access_token=secret", String::new()),
    ] {
        let (peer, response) = said(target, &headers);
        assert!(response.body.is_empty() && !peer.session.is_closing(), "{target}");
    }
}

#[test]
fn a_browser_may_send_its_token_as_a_subprotocol() {
    let confirmed = |protocols: &str| {
        let headers = format!("Sec-WebSocket-Protocol: {protocols}\r\n");
        let mut peer = Peer::under(with_token());
        let response = peer.ask_one(upgrade("/v1/subscribe?stream=s", &headers));
        assert!(!peer.session.is_closing(), "{protocols}");
        response.header("sec-websocket-protocol").map(str::to_owned)
    };
    assert_eq!(confirmed("bearer.secret").as_deref(), Some("bearer.secret"));
    assert_eq!(confirmed("bearer.secret, msgpack").as_deref(), Some("msgpack"));
    assert_eq!(confirmed("json, bearer.secret").as_deref(), Some("json"));
    assert_eq!(confirmed("cbor, bearer.secret").as_deref(), Some("bearer.secret"));
}

#[test]
fn an_event_source_may_send_its_token_in_the_query() {
    let mut peer = Peer::under(with_token());
    peer.feed(get("/v1/live?stream=s&access_token=secret", ""));
    assert_eq!(peer.commands.len(), 1);
    assert_eq!(Peer::under(with_token()).ask_one(get("/v1/live?stream=s&access_token=wrong", "")).status, 401);
}
