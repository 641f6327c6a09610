//! Once its buffers have grown, a connection takes, answers and delivers messages without allocating.

mod counting;
mod ws_wire;

use conduit_protocol::http::HttpDate;
use conduit_protocol::limiter::Rate;
use conduit_protocol::policy::{Policy, Rates};
use conduit_protocol::ws::{Role, WsSession};
use conduit_protocol::{Answer, Context, Delivery, Encoding, Inbox, Limits, Now, Seq, Step, Telemetry, Token};
use counting::ALLOCATIONS;
use std::cell::Cell;
use ws_wire::text;

#[test]
fn publishing_answering_acking_and_delivering_allocate_nothing() {
    assert_eq!(allocations(&Policy::default()), 0);
}

#[test]
fn neither_does_a_rate_of_messages() {
    let rate = Rate { per_window: 1_000_000, window_ms: 1_000, burst: 1_000_000 };
    let rates = Rates { ws_messages: Some(rate), ..Rates::default() };
    assert_eq!(allocations(&Policy { rates, ..Policy::default() }), 0);
}

/// The allocations of a connection whose buffers have grown, on a server with this policy.
fn allocations(policy: &Policy) -> u64 {
    let (limits, mut telemetry, mut out, mut date) =
        (Limits::default(), Telemetry::default(), Vec::with_capacity(1 << 20), HttpDate::default());
    let mut context = Context {
        now: Now::default(),
        limits: &limits,
        policy,
        gate: &mut conduit_protocol::OpenGate,
        log: &mut conduit_protocol::AccessLog::default(),
        peer: std::net::Ipv4Addr::LOCALHOST.into(),
        telemetry: &mut telemetry,
        out: &mut out,
        date: &mut date,
        draining: false,
        resting: false,
    };
    let mut session = WsSession::new(Role::Consumer, Encoding::Json, &mut context);
    let mut tokens: Vec<Token> = Vec::with_capacity(64);
    let messages: Vec<u8> = (0..60)
        .flat_map(|n| {
            let publish = text(format!(r#"{{"enqueue":{{"to":"s","envelope":{{"id":"m","n":{n}}}}},"ref":{n}}}"#));
            [publish, text(r#"{"ack":"m"}"#), text(r#"{"credit":1}"#)].concat()
        })
        .collect();
    let mut bytes = messages.clone();
    let mut commands = 0;

    let mut before = 0;
    for round in 0..100 {
        if round == 50 {
            before = ALLOCATIONS.with(Cell::get);
        }
        bytes.copy_from_slice(&messages);
        let mut inbox = Inbox::new(&mut bytes);
        while let Step::Command { token, .. } = session.next(&mut inbox, &mut context) {
            commands += 1;
            if token != Token::NONE {
                tokens.push(token);
            }
        }
        assert!(inbox.is_empty());
        // Out of order, as answers from other shards come.
        for token in tokens.drain(..).rev() {
            session.answer(
                token,
                &Answer::Published { id: "m", stream: "s", seq: Seq(1), promise: Default::default(), duplicate: false },
                &mut context,
            );
        }
        for seq in 0..60 {
            let envelope = br#"{"id":"m","n":1}"#;
            let delivery = Delivery {
                id: b"m",
                seq: Seq(seq),
                attempt: 1,
                published: Now::default(),
                trace: None,
                encoding: Encoding::Json,
                envelope,
            };
            session.deliver(&delivery, &mut context);
        }
        context.out.clear();
    }
    let allocations = ALLOCATIONS.with(Cell::get) - before;
    assert_eq!(commands, 100 * 180);
    allocations
}
