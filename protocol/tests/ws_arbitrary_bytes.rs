//! Whatever comes, the session does not panic, always comes to an end, and keeps and says no more than its bounds.

mod ws_wire;

use conduit_protocol::ws::Role;
use conduit_protocol::{Answer, Encoding, ErrorCode, Limits, Refusal, Token};
use proptest::prelude::*;
use ws_wire::{CLOSE, End, Server, masked_frame};

/// What closing may add to the outbox: an error frame and a close frame.
const LAST_WORDS_BYTES_MAX: usize = 1_000;

/// Mostly plausible frames, so that the bytes get past the header.
fn chunk() -> impl Strategy<Value = Vec<u8>> {
    let payload = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        prop::collection::vec(any::<u8>(), 4_000..6_000),
        "\\{\"(ack|nack|credit|enqueue|ackUpTo)\":[0-9a-z\"\\[\\]{},]{0,40}\\}?".prop_map(String::into_bytes),
        Just(br#"{"enqueue":{"to":"s","envelope":{}},"ref":1}"#.to_vec()),
    ];
    prop_oneof![
        2 => prop::collection::vec(any::<u8>(), 0..100),
        8 => (any::<bool>(), prop_oneof![6 => 0..3_u8, 2 => 8..11_u8, 1 => 0..16_u8], any::<[u8; 4]>(), payload)
            .prop_map(|(is_final, opcode, mask, payload)| masked_frame(is_final, opcode, mask, &payload)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_survived_within_bounds(
        chunks in prop::collection::vec(chunk(), 1..20),
        role in prop_oneof![Just(Role::Consumer), Just(Role::Publisher)],
        encoding in prop_oneof![Just(Encoding::Json), Just(Encoding::MessagePack)],
    ) {
        let limits = Limits { message_bytes_max: 5_000, unanswered_max: 3, ..Limits::default() };
        let mut server = Server::with_limits(role, encoding, limits);
        let mut received = 0;
        for chunk in &chunks {
            received += chunk.len();
            // `receive` itself checks that the session ends each read, and what it leaves.
            let end = server.receive(chunk);
            prop_assert_eq!(end == End::Close, server.session.is_finished());
            // An error frame answers a message and a pong answers a ping: nothing is much longer than its cause.
            prop_assert!(server.out.len() <= received * 40 + LAST_WORDS_BYTES_MAX);
            prop_assert!(server.tokens.iter().filter(|token| **token != Token::NONE).count() <= 3);
        }
        ws_wire::server_frames(&server.out);
        let active = u64::from(!server.session.is_finished());
        prop_assert_eq!(server.telemetry.ws.connections_active, active);
    }
}

#[test]
fn answers_that_nobody_waits_for_are_ignored() {
    let mut server = Server::publisher();
    let refusal = Refusal { code: ErrorCode::Backpressure, message: "full".into(), retry_after_ms: None };
    for token in [0, 1, 77, u32::MAX - 1] {
        server.answer(Token(token), &Answer::Refused(refusal.clone()));
    }
    server.answer(Token(0), &Answer::Subscribed(None));
    assert_eq!(server.said(), []);
}

#[test]
fn nothing_is_said_after_the_end() {
    let mut server = Server::publisher();
    server.receive(&masked_frame(true, CLOSE, [1, 2, 3, 4], b""));
    assert_eq!(server.said().len(), 1);
    let refusal = Refusal { code: ErrorCode::Backpressure, message: "full".into(), retry_after_ms: None };
    server.answer(Token::NONE, &Answer::Refused(refusal));
    server.close(&conduit_protocol::Violation::new(ErrorCode::ServerDraining, "bye"));
    server.handle_deadline();
    assert_eq!(server.said(), []);
    assert_eq!(server.deadline_ns(), None);
}
