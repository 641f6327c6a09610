//! Over WebSocket: a connection acts for its tenant, sends at its rate, and ends with its token.

mod ws_wire;

use conduit_protocol::limiter::Rate;
use conduit_protocol::policy::{Guards, Policy, Principal, Rates};
use conduit_protocol::{ErrorCode, TenantId};
use ws_wire::{End, Server, text};

fn limited(count: u32) -> Policy {
    let rate = Rate { per_window: count, window_ms: 60_000, burst: count };
    Policy { rates: Rates { ws_messages: Some(rate), ..Rates::default() }, ..Policy::default() }
}

#[test]
fn messages_come_at_their_rate_and_one_more_ends_the_connection() {
    let mut server = Server::consumer();
    server.policy = limited(5);
    for _ in 0..5 {
        server.receive(&text(r#"{"credit":1}"#));
    }
    assert_eq!(server.commands.len(), 5);
    assert!(server.said().is_empty());
    server.now = server.now.plus_ns(12_000_000_000);
    server.receive(&text(r#"{"credit":1}"#));
    assert_eq!(server.commands.len(), 6, "a fifth of a minute has brought one more");
    server.receive(&text(r#"{"ack":"x"}"#));
    assert_eq!(server.commands.len(), 6);
    let code = server.said_error_and_close("RateLimitExceeded");
    assert_eq!(code, 1008);
    assert_eq!(server.telemetry.errors[ErrorCode::RateLimitExceeded as usize], 1);
}

#[test]
fn many_messages_at_once_are_told_once() {
    let mut server = Server::publisher();
    server.policy = limited(3);
    let wire = text(r#"{"enqueue":{"to":"s","envelope":{}}}"#).repeat(10);
    server.receive(&wire);
    assert_eq!(server.commands.len(), 3);
    let said = server.said();
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].text().contains("3 messages in 60 s"), "{}", said[0].text());
    // A third of a minute brings one token.
    assert!(said[0].text().contains(r#""retryAfterMs":20000"#), "{}", said[0].text());
}

#[test]
fn a_rate_that_is_set_or_lifted_while_connected_holds_from_then_on() {
    let mut server = Server::consumer();
    for _ in 0..50 {
        server.receive(&text(r#"{"credit":1}"#));
    }
    server.policy = limited(2);
    server.receive(&text(r#"{"credit":1}"#).repeat(2));
    server.policy = Policy::default();
    server.receive(&text(r#"{"credit":1}"#).repeat(50));
    assert_eq!(server.commands.len(), 102);
    server.policy = limited(2);
    server.receive(&text(r#"{"credit":1}"#));
    assert_eq!(server.said_error_and_close("RateLimitExceeded"), 1008);
}

#[test]
fn every_command_is_on_behalf_of_the_tenant() {
    let mut server = Server::consumer();
    let acme = TenantId::of_name("acme");
    server.act_for(&Principal { tenant: acme, ..Principal::ANYBODY });
    for frame in [
        r#"{"credit":1}"#,
        r#"{"ack":"x"}"#,
        r#"{"ackUpTo":1}"#,
        r#"{"nack":"x"}"#,
        r#"{"enqueue":{"to":"s","envelope":{}}}"#,
    ] {
        server.receive(&text(frame));
    }
    assert_eq!(server.tenants, [acme; 5]);
}

#[test]
fn the_connection_ends_with_its_token() {
    let mut server = Server::consumer();
    let expires_unix_ms = server.now.unix_ms + 10_000;
    server.act_for(&Principal { expires_unix_ms, ..Principal::ANYBODY });
    server.now = server.now.plus_ns(9_999_000_000);
    server.handle_deadline();
    assert!(server.said().is_empty() && server.deadline_ns().is_some_and(|due| due > server.now.mono_ns));
    server.now = server.now.plus_ns(1_000_000);
    assert!(server.deadline_ns().is_some_and(|due| due <= server.now.mono_ns));
    server.handle_deadline();
    assert_eq!(server.said_error_and_close("Unauthorized"), 1008);
    assert_eq!(server.receive(b""), End::NeedBytes);
}

#[test]
fn a_message_that_grows_beyond_the_limit_ends_the_connection() {
    let mut server = Server::consumer();
    server.policy = Policy { guards: Guards { decoded_bytes_max: 64, ..Guards::default() }, ..Policy::default() };
    server.receive(&text(r#"{"credit":1,"x":[1,1,1,1,1,1]}"#));
    assert_eq!(server.commands.len(), 1, "8 times 7 and 7 bytes of names");
    server.receive(&text(r#"{"credit":1,"x":[1,1,1,1,1,1,1]}"#));
    let said = server.said();
    assert!(
        said[0].text().contains("Decoded payload decoded_size_exceeded: limit=64, actual=71"),
        "{}",
        said[0].text()
    );
    assert_eq!(said[1].close_code(), Some(1007));
    assert_eq!(server.telemetry.ws.size_cap_violations, 1);
}
