//! Messages become commands; what cannot be accepted is answered, and what cannot be understood ends the connection.

mod ws_wire;

use conduit_protocol::ws::Role;
use conduit_protocol::{Answer, Encoding, ErrorCode, Limits, Refusal, Seq, Token, Violation};
use ws_wire::{CLOSE, End, Server, client_frame, text};

const ENQUEUE: &str = r#"{"enqueue":{"to":"s","envelope":{"id":"m"}}}"#;

fn published() -> Answer<'static> {
    Answer::Published { id: "m", stream: "s", seq: Seq(9), promise: Default::default(), duplicate: false }
}

fn full() -> Answer<'static> {
    Answer::Refused(Refusal {
        code: ErrorCode::Backpressure,
        message: "the stream is full".into(),
        retry_after_ms: Some(250),
    })
}

fn said_texts(server: &mut Server) -> Vec<String> {
    server.said().iter().map(|frame| frame.text().to_owned()).collect()
}

#[test]
fn a_consumer_has_every_operation() {
    let mut server = Server::consumer();
    for message in [
        r#"{"credit":5}"#,
        r#"{"ack":"id"}"#,
        r#"{"ackUpTo":4}"#,
        r#"{"nack":[1,"x"],"delayMs":20}"#,
        r#"{"enqueue":{"to":"s","envelope":{"id":"m"}}}"#,
    ] {
        assert_eq!(server.receive(&text(message)), End::NeedBytes);
    }
    let none = "Token(4294967295)";
    assert_eq!(
        server.commands[..4],
        [
            format!("{none} Credit(5)"),
            format!("{none} Ack([Id(\"id\")])"),
            format!("{none} AckUpTo(Seq(4))"),
            format!(
                "{none} Nack(Nack {{ targets: [Seq(Seq(1)), Id(\"x\")], delay_ms: 20, dead: false, error: None }})"
            ),
        ]
    );
    assert!(server.commands[4].contains("pausable: false"));
    assert_eq!(server.said(), []);
}

#[test]
fn a_publisher_may_only_enqueue_and_may_be_paused() {
    for message in [r#"{"credit":5}"#, r#"{"ack":"id"}"#, r#"{"ackUpTo":4}"#, r#"{"nack":1}"#] {
        let mut server = Server::publisher();
        assert_eq!(server.receive(&text(message)), End::NeedBytes);
        assert_eq!(server.said_error_and_close("UnknownOp"), 1003);
        assert_eq!(server.commands, [""; 0]);
    }
    let mut server = Server::publisher();
    assert_eq!(server.receive(&text(ENQUEUE)), End::NeedBytes);
    assert!(server.commands[0].contains("pausable: true"));
}

#[test]
fn what_cannot_be_understood_is_told_and_closes_with_the_tables_code() {
    let deep = format!("{}{}", "[".repeat(40), "]".repeat(40));
    for (message, code, close) in [
        ("", "InvalidJSON", 1007),
        ("nonsense", "InvalidJSON", 1007),
        (r#"{"credit":5"#, "InvalidJSON", 1007),
        ("null", "UnknownOp", 1003),
        ("[1]", "UnknownOp", 1003),
        ("{}", "UnknownOp", 1003),
        (r#"{"credit":0}"#, "InvalidField", 1003),
        (r#"{"ack":{}}"#, "InvalidField", 1003),
        (&deep, "DepthExceeded", 1007),
    ] {
        let mut server = Server::consumer();
        assert_eq!(server.receive(&text(message)), End::NeedBytes, "{message}");
        assert_eq!(server.said_error_and_close(code), close, "{message}");
        assert!(server.session.is_closing() && !server.session.is_finished());
        // Messages that were on their way are thrown away, and pings are not answered; the peer's close ends it.
        let late = [text(ENQUEUE), client_frame(true, ws_wire::PING, b""), text("more nonsense")].concat();
        assert_eq!(server.receive(&late), End::NeedBytes);
        assert_eq!(server.receive(&client_frame(true, CLOSE, &close.to_be_bytes())), End::Close);
        assert_eq!(server.said(), []);
        assert_eq!(server.commands, [""; 0]);
        let sum: u64 = server.telemetry.errors.iter().sum();
        assert_eq!(sum, 1);
    }
}

#[test]
fn decode_errors_are_counted_by_their_kind() {
    let mut server = Server::consumer();
    server.receive(&text("nonsense"));
    assert_eq!(server.telemetry.ws.codecs[0].decode_errors, 1);
    let mut server = Server::consumer();
    server.receive(&text(format!("{}{}", "[".repeat(40), "]".repeat(40))));
    assert_eq!(server.telemetry.ws.depth_cap_violations, 1);
    let mut server = Server::new(Role::Consumer, Encoding::MessagePack);
    server.receive(&client_frame(true, ws_wire::BINARY, b"\xC1"));
    assert_eq!(server.telemetry.ws.codecs[1].decode_errors, 1);
    assert_eq!(server.said().last().and_then(ws_wire::ServerFrame::close_code), Some(1007));
}

#[test]
fn an_enqueue_that_cannot_be_accepted_leaves_the_connection_open() {
    let mut server = Server::publisher();
    let messages = [
        text(r#"{"enqueue":{"to":"","envelope":{}},"ref":{"n":1}}"#),
        text(r#"{"enqueue":{"to":"s","envelope":[]}}"#),
        text(r#"{"enqueue":{"to":"s","envelope":{"id":"m"}},"ref":2}"#),
    ];
    assert_eq!(server.receive(&messages.concat()), End::NeedBytes);
    let said = said_texts(&mut server);
    assert!(said[0].starts_with(r#"{"error":{"code":"InvalidStream","#) && said[0].ends_with(r#"},"ref":{"n":1}}"#));
    assert_eq!(said[1], r#"{"error":{"code":"InvalidEnvelope","message":"Envelope must be an object"}}"#);
    assert_eq!(said.len(), 2);
    assert_eq!(server.commands.len(), 1);
    assert!(!server.session.is_closing());
}

#[test]
fn answers_carry_the_ref_in_whatever_order_they_come() {
    let mut server = Server::publisher();
    let refs = ["1", r#""two""#, "[3]", "null", r#"{"five":5}"#];
    for reference in refs {
        let message = format!(r#"{{"enqueue":{{"to":"s","envelope":{{"id":"m"}}}},"ref":{reference}}}"#);
        assert_eq!(server.receive(&text(message)), End::NeedBytes);
    }
    assert!(!server.session.is_idle());
    let tokens = server.tokens.clone();
    for at in [2, 0, 4, 1, 3] {
        server.answer(tokens[at], &if at == 4 { full() } else { published() });
        // A second answer to the same request is ignored.
        server.answer(tokens[at], &published());
        let said = said_texts(&mut server);
        let reference = refs[at];
        let expected = if at == 4 {
            format!(
                r#"{{"error":{{"code":"Backpressure","message":"the stream is full","retryAfterMs":250}},"ref":{reference}}}"#
            )
        } else {
            format!(r#"{{"ok":{{"id":"m","stream":"s","seq":9}},"ref":{reference}}}"#)
        };
        assert_eq!(said, [expected]);
    }
    assert!(server.session.is_idle());
}

#[test]
fn without_a_ref_only_errors_are_answered() {
    let mut server = Server::publisher();
    server.receive(&text(ENQUEUE));
    assert_eq!(server.tokens, [Token::NONE]);
    server.answer(Token::NONE, &published());
    assert_eq!(server.said(), []);
    server.answer(Token::NONE, &full());
    let expected = r#"{"error":{"code":"Backpressure","message":"the stream is full","retryAfterMs":250}}"#;
    assert_eq!(said_texts(&mut server), [expected]);
    assert!(!server.session.is_closing());
}

#[test]
fn a_ref_at_the_limit_passes_and_one_byte_more_does_not() {
    let limits = Limits { ref_bytes_max: 10, ..Limits::default() };
    for (reference, passes) in [("1234567890", true), (r#""12345678""#, true), ("12345678901", false)] {
        let mut server = Server::with_limits(Role::Publisher, Encoding::Json, limits.clone());
        server.receive(&text(format!(r#"{{"enqueue":{{"to":"s","envelope":{{}}}},"ref":{reference}}}"#)));
        assert_eq!(server.commands.len(), usize::from(passes));
        if !passes {
            assert_eq!(server.said_error_and_close("InvalidField"), 1003);
        }
    }
}

#[test]
fn decoding_waits_while_too_many_requests_are_unanswered() {
    let limits = Limits { unanswered_max: 3, ..Limits::default() };
    let mut server = Server::with_limits(Role::Publisher, Encoding::Json, limits);
    let request = |n: u32| text(format!(r#"{{"enqueue":{{"to":"s","envelope":{{"id":"m"}}}},"ref":{n}}}"#));
    let requests: Vec<u8> = (0..5).flat_map(request).collect();
    assert_eq!(server.receive(&requests), End::Wait);
    assert_eq!(server.commands.len(), 3);
    assert_eq!(server.receive(b""), End::Wait);
    // The second answer leaves a hole behind the first request, which still counts.
    server.answer(server.tokens[1], &published());
    assert_eq!(server.receive(b""), End::Wait);
    server.answer(server.tokens[0], &published());
    // Both places are taken again by the last two requests.
    assert_eq!(server.receive(b""), End::Wait);
    assert_eq!(server.commands.len(), 5);
    for token in server.tokens.clone() {
        server.answer(token, &published());
    }
    assert_eq!(server.said().len(), 5);
    assert!(server.session.is_idle());
}

#[test]
fn while_draining_new_requests_are_refused() {
    let mut server = Server::publisher();
    server.draining = true;
    server.receive(&text(r#"{"enqueue":{"to":"s","envelope":{}},"ref":1}"#));
    assert_eq!(server.commands, [""; 0]);
    let said = said_texts(&mut server);
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with(r#"{"error":{"code":"ServerDraining","#) && said[0].ends_with(r#","ref":1}"#));
    let mut server = Server::consumer();
    server.draining = true;
    server.receive(&text(r#"{"ack":1}"#));
    assert_eq!(server.commands.len(), 1);
}

#[test]
fn our_close_says_error_code_and_reason_once() {
    let mut server = Server::consumer();
    let long = "x".repeat(200);
    server.close(&Violation::new(ErrorCode::SlowConsumer, long.clone()));
    server.close(&Violation::new(ErrorCode::Internal, "again"));
    let said = server.said();
    assert_eq!(said[0].text(), format!(r#"{{"error":{{"code":"SlowConsumer","message":"{long}"}}}}"#));
    assert_eq!(said[1].close_code(), Some(1013));
    assert_eq!(said[1].payload[2..], *"x".repeat(123).as_bytes());
    assert_eq!(said.len(), 2);
}

#[test]
fn every_close_of_the_table_may_be_sent() {
    for code in ErrorCode::ALL {
        assert!(matches!(code.close_code(), 1001..=1003 | 1007..=1009 | 1011..=1013), "{code:?}");
    }
}

#[test]
fn everything_is_counted() {
    let mut server = Server::publisher();
    assert_eq!((server.telemetry.ws.connections_total, server.telemetry.ws.connections_active), (1, 1));
    server.receive(&text(r#"{"enqueue":{"to":"s","envelope":{"id":"m"}},"ref":1}"#));
    server.answer(server.tokens[0], &published());
    let mut server = Server::consumer();
    server.receive(&[text(r#"{"credit":5}"#), text(r#"{"ack":3}"#)].concat());
    server.deliver(&conduit_protocol::Delivery {
        id: b"m",
        seq: Seq(1),
        attempt: 1,
        published: conduit_protocol::Now::default(),
        trace: None,
        encoding: Encoding::Json,
        envelope: br#"{"id":"m"}"#,
    });
    let said_bytes: u64 = server.said().iter().map(|frame| frame.payload.len() as u64).sum();
    let ws = &server.telemetry.ws;
    assert_eq!((ws.messages_in, ws.bytes_in, ws.credits_granted), (2, 12 + 9, 5));
    assert_eq!((ws.messages_out, ws.bytes_out, ws.deliveries_total), (1, said_bytes, 1));
    assert_eq!((ws.codecs[0].requests, ws.codecs[0].bytes_in, ws.codecs[0].bytes_out), (2, 12 + 9, said_bytes));
    server.hang_up();
    server.hang_up();
    assert_eq!(server.telemetry.ws.connections_active, 0);
}
