//! `rateLimit` of a rule about messages is one account for whoever shares it, as over HTTP: a new connection, a reload or another
//! shard begins no new one.

mod rules_server;

use conduit_protocol::limiter::Category;
use conduit_protocol::{Policy, Session};
use rules_server::edge_policy::{tenant, with_tenants};
use rules_server::http_wire::{Answering, Peer, upgrade};
use rules_server::{message, peer_under, rules, said, tell};

fn ping(by: &str) -> String {
    format!(
        "  - {{id: ping, when: {{ws: {{path: /v1/publish, message: {{json.has: ping}}}}}}, \
         rateLimit: {{perMinute: 3, by: {by}}}, send: {{ws: {{body: {{pong: 1}}}}}}}}\n  \
         - {{id: slow, when: {{ws: {{path: /v1/publish, message: {{json.has: enqueue}}}}}}, \
         rateLimit: {{perMinute: 1, by: {by}}}, send: builtin}}"
    )
}

/// Begins another connection to the same server.
fn connect(peer: &mut Peer, token: &str) {
    peer.session = Session::new();
    peer.rest.clear();
    peer.out.clear();
    peer.feed(upgrade("/v1/publish", &format!("X-Token: {token}\r\n")));
    assert_eq!(said(peer), [""; 0]);
}

/// How many of so many messages on so many connections are answered.
fn pongs(peer: &mut Peer, token: &str, connections: usize) -> usize {
    let mut answered = 0;
    for _ in 0..connections {
        connect(peer, token);
        for _ in 0..2 {
            answered += tell(peer, r#"{"ping":1}"#).iter().filter(|said| said.contains("pong")).count();
        }
    }
    answered
}

fn server(by: &str) -> Peer {
    peer_under(with_tenants(vec![tenant("acme"), tenant("globex")]), &ping(by))
}

#[test]
fn a_new_connection_shares_the_rate() {
    for are_away in [false, true] {
        for by in ["ip", "token", "tenant", "all"] {
            let mut peer = server(by);
            peer.accounts.are_away = are_away;
            assert_eq!(pongs(&mut peer, "acme-token", 4), 3, "{by}");
            assert_eq!(peer.accounts.taken, [Category::Rule(0); 3], "{by}");
            // Somebody else has another account, or the same.
            let others = if matches!(by, "token" | "tenant") { 3 } else { 0 };
            assert_eq!(pongs(&mut peer, "globex-token", 4), others, "{by}");
            peer.pass_ms(20_000);
            assert!(pongs(&mut peer, "acme-token", 4) >= 1, "{by}");
        }
    }
}

#[test]
fn the_refusal_says_when_and_ends_the_connection() {
    let mut peer = server("ip");
    assert_eq!(pongs(&mut peer, "plain", 1), 2);
    assert_eq!(tell(&mut peer, r#"{"ping":1}"#), [r#"{"pong":1}"#]);
    let said = tell(&mut peer, r#"{"ping":1}"#);
    assert!(said[0].contains("RateLimitExceeded") && said[0].contains("retryAfterMs"), "{said:?}");
    assert_eq!(said[1], "close 1008");
}

#[test]
fn a_reload_begins_no_new_account() {
    let mut peer = server("ip");
    assert_eq!(pongs(&mut peer, "plain", 1), 2);
    for generation in 1..4 {
        peer.policy = Policy { generation, rules: rules(&ping("ip")), ..peer.policy.clone() };
        tell(&mut peer, r#"{"ping":1}"#);
    }
    assert_eq!(peer.accounts.taken.len(), 3);
}

#[test]
fn a_message_that_the_broker_gets_waits_for_the_other_shard() {
    let mut peer = server("ip");
    peer.accounts.are_away = true;
    connect(&mut peer, "plain");
    peer.answering = Answering::OnDemand;
    let publish = r#"{"enqueue":{"to":"s","envelope":{"id":"a"}},"ref":1}"#;
    peer.feed(message(publish));
    peer.feed(message(r#"{"ping":1}"#));
    // One question, and nothing else before it is answered.
    assert_eq!((peer.unanswered.len(), peer.is_waiting), (1, true));
    assert!(peer.session.owes_answer());
    peer.answer_at(0);
    assert!(peer.session.has_more());
    peer.feed("");
    assert!(peer.commands.iter().any(|line| line.starts_with("publish s")), "{:?}", peer.commands);
    while !peer.unanswered.is_empty() {
        peer.answer_at(0);
        peer.feed("");
    }
    let said = said(&mut peer);
    assert!(said[0].contains(r#""ref":1"#) && said[1].contains("pong"), "{said:?}");
    // The next one is one too many.
    peer.feed(message(publish));
    peer.answer_at(0);
    peer.feed("");
    let said = rules_server::said(&mut peer);
    assert!(said[0].contains("RateLimitExceeded"), "{said:?}");
    assert_eq!(said[1], "close 1008");
}
