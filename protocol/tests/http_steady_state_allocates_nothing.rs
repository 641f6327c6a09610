//! Once its buffers have grown, a connection takes and answers publishes without allocating, and an idle one is small.

mod counting;
mod edge_policy;
mod http_wire;

use conduit_protocol::http::{HttpDate, HttpSession};
use conduit_protocol::policy::{Cors, Guards, Policy, Tenant};
use conduit_protocol::{Answer, Command, Context, Inbox, Limits, Now, Seq, Step, Telemetry, Token};
use counting::ALLOCATIONS;
use std::cell::Cell;

/// Feeds `wire` to `session` round after round, answering after every `pipelined` requests in reverse order. Returns the
/// allocations of the last rounds.
fn allocations(wire: &[u8], pipelined: usize) -> u64 {
    allocations_under(&Policy::default(), wire, pipelined)
}

/// The same on a server with this policy.
fn allocations_under(policy: &Policy, wire: &[u8], pipelined: usize) -> u64 {
    let (limits, mut telemetry, mut out, mut date) =
        (Limits::default(), Telemetry::default(), Vec::with_capacity(1 << 20), HttpDate::default());
    let mut session = HttpSession::default();
    let mut tokens: Vec<Token> = Vec::with_capacity(64);
    let mut bytes = wire.to_vec();
    let (mut before, mut commands) = (0, 0);
    for round in 0..100_u64 {
        if round == 50 {
            before = ALLOCATIONS.with(Cell::get);
        }
        out.clear();
        bytes.copy_from_slice(wire);
        let mut context = Context {
            now: Now { mono_ns: round * 1_000, unix_ms: round * 100 },
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
        let mut inbox = Inbox::new(&mut bytes);
        loop {
            let token = match session.next(&mut inbox, &mut context) {
                Step::Command { token, command: Command::Publish(_), .. } => token,
                Step::NeedBytes => break,
                other => panic!("{other:?}"),
            };
            commands += 1;
            tokens.push(token);
            if tokens.len() == pipelined {
                for token in tokens.drain(..).rev() {
                    session.answer(
                        token,
                        &Answer::Published {
                            id: "m",
                            stream: "s",
                            seq: Seq(round),
                            promise: Default::default(),
                            duplicate: false,
                        },
                        &mut context,
                    );
                }
            }
        }
        assert!(session.is_idle());
    }
    assert_eq!(commands, 1_600);
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn publishing_allocates_nothing() {
    let headers = "User-Agent: test/1.0\r\nAccept: */*\r\nContent-Type: application/json\r\n";
    let json = http_wire::post("/v1/enqueue", headers, r#"{"to":"agents/a","envelope":{"id":"m","payload":[1,2,3]}}"#);
    assert_eq!(allocations(&json.repeat(16), 1), 0);

    let headers = "Content-Type: application/msgpack\r\nAccept: application/msgpack\r\n";
    let message_pack = http_wire::post("/v1/enqueue", headers, b"\x82\xa2to\xa1s\xa8envelope\x81\xa2id\xa1a");
    assert_eq!(allocations(&message_pack.repeat(16), 1), 0);

    let headers = "Idempotency-Key: 8e03978e-40d5-43e8-bc93-6894a57f9324\r\n";
    let keyed = http_wire::post("/v1/enqueue", headers, r#"{"to":"s","envelope":{},"delayMs":5,"priority":1}"#);
    assert_eq!(allocations(&keyed.repeat(16), 1), 0);

    let chunked = b"POST /v1/enqueue HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n{\"to\":\"s\",\"envel\r\n8\r\nope\":{}}\r\n0\r\n\r\n";
    assert_eq!(allocations(&chunked.repeat(16), 1), 0);
}

#[test]
fn tokens_tenants_and_limits_allocate_nothing_either() {
    let policy = Policy {
        rates: edge_policy::by_ip(edge_policy::per_minute(1_000_000)),
        guards: Guards { header_bytes_max: 16_384, cookie_bytes_max: 4_096, refuses_binary: true, ..Guards::default() },
        cors: Cors { any: false, origins: vec!["https://a".to_owned()] },
        ..edge_policy::with_tenants(vec![Tenant {
            requests: Some(edge_policy::per_minute(1_000_000)),
            ..edge_policy::tenant("acme")
        }])
    };
    let token = edge_policy::bearer("acme-token");
    let body = r#"{"to":"agents/a","envelope":{"id":"m","payload":[1,2,3]}}"#;
    let repeated = http_wire::post("/v1/enqueue", &token, body);
    assert_eq!(allocations_under(&policy, &repeated.repeat(16), 1), 0);
    // A head that is looked at every time.
    let keyed = http_wire::post("/v1/enqueue", &format!("{token}Idempotency-Key: k\r\n"), body);
    assert_eq!(allocations_under(&policy, &keyed.repeat(16), 1), 0);
}

#[test]
fn answers_out_of_order_allocate_for_a_burst_and_not_for_a_message() {
    // An idle connection gives its buffer of early responses back: 50 bursts of 16 need it 50 times, in a few steps each.
    let per_burst = allocations(&http_wire::publish("m").repeat(16), 16) / 50;
    assert!(per_burst <= 8, "{per_burst}");
}

#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<HttpSession>() <= 352, "{}", size_of::<HttpSession>());
}
