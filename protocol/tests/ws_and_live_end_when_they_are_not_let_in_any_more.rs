//! After a reload a WebSocket, and a response of events, ends when what it came with would not be taken any more, and goes
//! on in every other case.

mod edge_policy;
mod http_wire;
mod ws_wire;

use conduit_protocol::Session;
use conduit_protocol::policy::{Access, AccessParts, JwtParts, Policy, Tenants};
use edge_policy::{bearer, tenant, with_tenants, with_token};
use http_wire::{Peer, Response, get, upgrade};
use jsonwebtoken::{EncodingKey, Header};
use serde_json::json;

const SECRETS: [&str; 2] = ["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"];

fn signed(secret: &str, tenant: Option<&str>) -> String {
    let claims = match tenant {
        Some(tenant) => json!({"exp": 4_000_000_000_u64, "tenant": tenant}),
        None => json!({"exp": 4_000_000_000_u64}),
    };
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())).expect("a token")
}

/// A server with these tokens, and tokens signed with this secret.
fn policy(tokens: &[&str], secret: Option<&str>, names: &[&str]) -> Policy {
    let jwt = secret.map(|secret| JwtParts { hs256_secret: Some(secret.to_owned()), ..JwtParts::default() });
    let parts =
        AccessParts { tokens: tokens.iter().map(|token| (*token).to_owned()).collect(), jwt, ..AccessParts::default() };
    let Policy { tenants, .. } = if names.is_empty() {
        Policy::default()
    } else {
        with_tenants(names.iter().map(|name| tenant(name)).collect())
    };
    let access = Access::new(&parts, &tenants).expect("tokens that can be used");
    Policy { access, tenants, ..Policy::default() }
}

fn open(policy: Policy, request: Vec<u8>) -> Peer {
    let mut peer = Peer::under(policy);
    peer.feed(request);
    peer.feed("");
    assert!(peer.session.is_websocket() || peer.session.is_live(), "{}", String::from_utf8_lossy(&peer.out));
    assert!(!peer.session.is_closing(), "{}", String::from_utf8_lossy(&peer.out));
    peer.out.clear();
    peer
}

/// Whether a connection that was opened under one policy ends under another one; and what it is told.
fn ends(mut peer: Peer, policy: Policy) -> bool {
    let is_websocket = peer.session.is_websocket();
    peer.policy = policy;
    peer.with_context(Session::recheck);
    if !peer.session.is_closing() {
        assert!(peer.out.is_empty());
        return false;
    }
    if is_websocket {
        let frames = ws_wire::server_frames(&peer.out);
        assert_eq!(frames.len(), 2, "{frames:?}");
        assert!(frames[0].text().contains("\"code\":\"Unauthorized\""), "{}", frames[0].text());
        assert_eq!(frames[1].close_code(), Some(1008));
    } else {
        let said = String::from_utf8_lossy(&peer.out);
        assert!(said.starts_with("event: end\n") && said.contains("\"Unauthorized\""), "{said}");
    }
    true
}

/// The same for each way to stay connected.
fn end(before: &Policy, fields: &str, after: &Policy) -> bool {
    let told = ["/v1/publish", "/v1/subscribe?stream=s"]
        .map(|target| ends(open(before.clone(), upgrade(target, fields)), after.clone()));
    let live = ends(open(before.clone(), get("/v1/live?stream=s", fields)), after.clone());
    assert_eq!(told, [live; 2]);
    live
}

#[test]
fn a_token_that_is_gone_ends_its_connections_and_no_others() {
    let before = policy(&["one", "two"], None, &[]);
    assert!(end(&before, &bearer("one"), &policy(&["two"], None, &[])));
    assert!(!end(&before, &bearer("two"), &policy(&["two"], None, &[])));
    assert!(!end(&before, &bearer("one"), &policy(&["two", "one", "three"], None, &[])));
    // Where nobody needs a token any more, this one does no harm.
    assert!(!end(&before, &bearer("one"), &Policy::default()));
}

#[test]
fn a_tenant_that_is_gone_takes_its_connections_along() {
    let before = with_tenants(vec![tenant("acme"), tenant("globex")]);
    let after = with_tenants(vec![tenant("globex")]);
    assert!(end(&before, &bearer("acme-token"), &after));
    assert!(!end(&before, &bearer("globex-token"), &after));
    assert!(!end(&before, &bearer("plain"), &after));
    // Whose streams it sees cannot change under a connection.
    assert!(end(&before, &bearer("acme-token"), &policy(&["acme-token"], None, &[])));
    assert!(end(&before, &bearer("acme-token"), &Policy::default()));
}

#[test]
fn a_signed_token_ends_with_its_key_and_its_tenant() {
    let before = policy(&["x"], Some(SECRETS[0]), &["acme"]);
    let token = bearer(&signed(SECRETS[0], Some("acme")));
    assert!(!end(&before, &token, &policy(&[], Some(SECRETS[0]), &["acme", "globex"])));
    assert!(end(&before, &token, &policy(&["x"], Some(SECRETS[1]), &["acme"])));
    assert!(end(&before, &token, &policy(&["x"], Some(SECRETS[0]), &["globex"])));
    assert!(end(&before, &token, &policy(&["x"], None, &["acme"])));

    let of_nobody = bearer(&signed(SECRETS[0], None));
    let before = policy(&[], Some(SECRETS[0]), &[]);
    assert!(!end(&before, &of_nobody, &before.clone()));
    assert!(end(&before, &of_nobody, &policy(&[], Some(SECRETS[0]), &["acme"])), "now it has to name a tenant");
}

#[test]
fn a_key_of_a_set_is_the_same_in_another_set() {
    let key = |name: &str, x: &str| json!({"kty": "OKP", "crv": "Ed25519", "kid": name, "x": x, "use": "sig"});
    const RFC_8037: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    const OTHER: &str = "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw";
    let with = |keys: serde_json::Value| {
        let jwt = JwtParts { jwks: Some(json!({"keys": keys}).to_string()), ..JwtParts::default() };
        let parts = AccessParts { jwt: Some(jwt), ..AccessParts::default() };
        let access = Access::new(&parts, &Tenants::default()).expect("keys that can be used");
        Policy { access, ..Policy::default() }
    };
    // The key pair of RFC 8037, appendix A.
    let seed = [
        0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c, 0xc4, 0x44, 0x49,
        0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae, 0x7f, 0x60,
    ];
    let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    der.extend_from_slice(&seed);
    let header = Header { kid: Some("a".to_owned()), ..Header::new(jsonwebtoken::Algorithm::EdDSA) };
    let claims = json!({"exp": 4_000_000_000_u64});
    let token = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_ed_der(&der)).expect("a token");
    let before = with(json!([key("a", RFC_8037)]));
    assert!(!end(&before, &bearer(&token), &with(json!([key("b", OTHER), key("renamed", RFC_8037)]))));
    assert!(end(&before, &bearer(&token), &with(json!([key("a", OTHER)]))));
}

#[test]
fn whoever_came_without_a_token_goes_when_one_is_needed() {
    let open_to_all = Policy::default();
    assert!(end(&open_to_all, "", &with_token()));
    assert!(!end(&open_to_all, "", &Policy { generation: 7, ..Policy::default() }));
    // Heartbeats are for everybody.
    assert!(!ends(open(open_to_all, get("/v1/live", "")), with_token()));
    assert!(!ends(open(with_token(), get("/v1/live", "")), policy(&["other"], None, &[])));
}

#[test]
fn a_policy_that_changes_during_the_handshake_counts() {
    for request in [upgrade("/v1/subscribe?stream=s", &bearer("secret")), get("/v1/live?stream=s", &bearer("secret"))] {
        let mut peer = Peer { answering: http_wire::Answering::OnDemand, ..Peer::under(with_token()) };
        peer.feed(&request);
        assert_eq!(peer.unanswered.len(), 1);
        peer.policy = policy(&["other"], None, &[]);
        peer.answer_at(0);
        peer.feed("");
        assert!(peer.session.is_closing());
        let (_, head) = Response::parse_head(&peer.out);
        assert!(matches!(head.status, 101 | 200));
        assert!(String::from_utf8_lossy(&peer.out).contains("Unauthorized"));
    }
}

#[test]
fn a_requests_own_connection_is_left_alone() {
    let mut peer = Peer::under(with_token());
    assert_eq!(peer.ask_one(get("/v1/streams", &bearer("secret"))).status, 200);
    peer.policy = policy(&["other"], None, &[]);
    peer.with_context(Session::recheck);
    assert!(!peer.session.is_closing());
    assert_eq!(peer.ask_one(get("/v1/streams", &bearer("secret"))).status, 401);
}
