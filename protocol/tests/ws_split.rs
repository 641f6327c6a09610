//! However the network cuts the bytes, the session does and says the same.

mod ws_wire;

use conduit_protocol::Encoding;
use conduit_protocol::Limits;
use conduit_protocol::ws::Role;
use proptest::prelude::*;
use ws_wire::{BINARY, CLOSE, CONTINUATION, End, PING, PONG, Server, masked_frame};

/// What a session did with some bytes: how it ended, its commands, its words.
type Outcome = (bool, Vec<String>, Vec<u8>);

/// Small enough that both sides of it come up.
const MESSAGE_BYTES_MAX: usize = 12_000;

fn outcome(bytes: &[u8], cuts: &[usize]) -> Outcome {
    let limits = Limits { message_bytes_max: MESSAGE_BYTES_MAX, ..Limits::default() };
    let mut server = Server::with_limits(Role::Consumer, Encoding::Json, limits);
    let mut start = 0;
    let mut end = End::NeedBytes;
    for &cut in cuts.iter().chain([&bytes.len()]) {
        end = server.receive(&bytes[start..cut.max(start)]);
        start = start.max(cut);
    }
    (end == End::Close, server.commands, server.out)
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => Just(br#"{"ack":7}"#.to_vec()),
        2 => Just(br#"{"credit":10}"#.to_vec()),
        4 => (0..9_000_usize, any::<u16>()).prop_map(|(length, n)| {
            let x = "x".repeat(length);
            format!(r#"{{"enqueue":{{"to":"s","envelope":{{"x":"{x}"}}}},"ref":{n}}}"#).into_bytes()
        }),
        1 => Just(br#"{"enqueue":{"to":"","envelope":{}},"ref":1}"#.to_vec()),
        1 => Just(b"no json".to_vec()),
        1 => Just(vec![b'x'; MESSAGE_BYTES_MAX + 1]),
    ]
}

/// One to five frames: a message (whole or in fragments), a control frame, or something that should not be.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let mask = any::<[u8; 4]>();
    prop_oneof![
        12 => (payload(), mask, 1..3_u8).prop_map(|(payload, mask, opcode)| masked_frame(true, opcode, mask, &payload)),
        4 => (payload(), mask, any::<prop::sample::Index>()).prop_map(|(payload, mask, cut)| {
            let (head, tail) = payload.split_at(cut.index(payload.len() + 1));
            let ping = masked_frame(true, PING, mask, b"between");
            let tail = masked_frame(true, CONTINUATION, mask, tail);
            [masked_frame(false, BINARY, mask, head), ping, tail].concat()
        }),
        3 => (prop::collection::vec(any::<u8>(), 0..126), mask).prop_map(|(payload, mask)| masked_frame(true, PING, mask, &payload)),
        1 => mask.prop_map(|mask| masked_frame(true, PONG, mask, b"pong")),
        1 => mask.prop_map(|mask| masked_frame(true, CLOSE, mask, b"\x03\xE8bye")),
        1 => mask.prop_map(|mask| masked_frame(true, CONTINUATION, mask, b"of nothing")),
        1 => prop::collection::vec(any::<u8>(), 1..20),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_the_bytes_gives_the_same_outcome(
        frames in prop::collection::vec(frames(), 1..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes = frames.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        cuts.sort_unstable();
        prop_assert_eq!(outcome(&bytes, &cuts), outcome(&bytes, &[]));
    }

    #[test]
    fn bytes_that_come_one_by_one_give_the_same_outcome(frames in prop::collection::vec(frames(), 1..3)) {
        let bytes = frames.concat();
        let cuts: Vec<usize> = (1..bytes.len()).collect();
        prop_assert_eq!(outcome(&bytes, &cuts), outcome(&bytes, &[]));
    }
}
