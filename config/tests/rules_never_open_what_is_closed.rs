//! What a rule asks the broker is told to whoever sent the request, and only what that one may see: where tokens are set, nobody
//! sees the whole server for want of one.

mod rules_server;

use conduit_protocol::policy::{Access, AccessParts, Tenants};
use conduit_protocol::{Policy, Scope, TenantId};
use rules_server::edge_policy::{bearer, tenant, with_tenants, with_token};
use rules_server::http_wire::{get, upgrade};
use rules_server::{message, peer, peer_under};

const RULES: &str = r#"
  - id: status
    when: {http: {method: GET, path: "/status/{view}"}}
    send: {frame: {type: snapshot, fields: {view: $params.view}}}
  - id: figures
    when: {http: {method: GET, path: /figures}}
    send: {frame: {type: metrics}}
  - id: taken
    when: {http: {method: GET, path: /v1/metrics, headers: {x-rule: "1"}}}
    send: {frame: {type: snapshot, fields: {view: streams}}}
  - id: open
    when: {ws: {path: /feed}}
    authRequired: false
    send: {ws: {body: {hello: 1}}}
  - id: ask
    when: {ws: {path: /feed, message: {json.has: view}}}
    send: {frame: {type: snapshot, fields: {view: $message.view}}}
"#;

const NOBODY: Scope = Scope::Tenant(TenantId::DEFAULT);

/// What the documents may tell that these requests ask for, in order.
fn scopes(policy: Policy, requests: &[(&str, &str)]) -> Vec<Scope> {
    let mut peer = peer_under(policy, RULES);
    for (path, fields) in requests {
        let answer = peer.ask_one(get(path, fields));
        assert_eq!(answer.status, 200, "{path} {fields}");
    }
    peer.scopes
}

const EVERY_WAY: [(&str, &str); 3] = [("/status/streams", ""), ("/figures", ""), ("/v1/metrics", "X-Rule: 1\r\n")];

#[test]
fn an_open_server_tells_everybody_everything() {
    assert_eq!(scopes(Policy::default(), &EVERY_WAY), [Scope::Server; 3]);
}

#[test]
fn without_a_token_and_with_a_wrong_one_only_the_default_tenant_is_seen() {
    let policy = || with_tenants(vec![tenant("acme")]);
    assert_eq!(scopes(policy(), &EVERY_WAY), [NOBODY; 3]);
    let wrong = bearer("no-such-token");
    assert_eq!(scopes(policy(), &[("/status/streams", &wrong), ("/figures", &wrong)]), [NOBODY; 2]);
    let acme = bearer("acme-token");
    assert_eq!(scopes(policy(), &[("/figures", &acme)]), [Scope::Tenant(TenantId::of_name("acme"))]);
    let control = bearer("control");
    assert_eq!(scopes(with_token(), &[("/figures", &control), ("/figures", "")]), [Scope::Server, NOBODY]);
}

#[test]
fn the_metrics_themselves_stay_open_unless_they_are_protected() {
    assert_eq!(scopes(with_token(), &[("/v1/metrics", ""), ("/figures", "")]), [Scope::Server, NOBODY]);
    let parts =
        AccessParts { control_token: Some("control".to_owned()), protects_metrics: true, ..AccessParts::default() };
    let access = Access::new(&parts, &Tenants::default()).expect("a token that can be used");
    assert_eq!(scopes(Policy { access, ..Policy::default() }, &[("/figures", "")]), [NOBODY]);
}

#[test]
fn a_rule_that_looks_at_the_body_of_the_metrics_does_not_close_them() {
    let mut peer = peer_under(
        with_token(),
        "  - {id: x, when: {http: {path: /v1/metrics}, where: $body.no == 1}, send: {http: {status: 403}}}",
    );
    assert_eq!(peer.ask_one(get("/v1/metrics", "")).status, 200);
    assert_eq!(peer.scopes, [Scope::Server]);
}

#[test]
fn messages_of_nobody_see_as_little() {
    for (fields, scope) in [("", NOBODY), ("X-Token: acme-token\r\n", Scope::Tenant(TenantId::of_name("acme")))] {
        let mut peer = peer_under(with_tenants(vec![tenant("acme")]), RULES);
        peer.feed(upgrade("/feed", fields));
        peer.feed(message(r#"{"view":"streams"}"#));
        assert_eq!(peer.scopes, [scope], "{fields}");
    }
    let mut peer = peer(RULES);
    peer.feed(upgrade("/feed", ""));
    peer.feed(message(r#"{"view":"streams"}"#));
    assert_eq!(peer.scopes, [Scope::Server]);
}
