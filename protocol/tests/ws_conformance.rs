//! Each rule of RFC 6455 for a server that reads frames, case by case, with its exact outcome.

mod ws_wire;

use conduit_protocol::Limits;
use conduit_protocol::ws::Role;
use conduit_protocol::{Encoding, ErrorCode};
use ws_wire::{
    BINARY, CLOSE, CONTINUATION, End, PING, PONG, Server, ServerFrame, TEXT, client_frame, masked_frame, text,
};

const ACK: &[u8] = br#"{"ack":7}"#;
const ACKED: &str = "Token(4294967295) AckSeq(Seq(7))";

fn pong(payload: &[u8]) -> ServerFrame {
    ServerFrame { opcode: PONG, payload: payload.to_vec() }
}

fn close(payload: &[u8]) -> ServerFrame {
    ServerFrame { opcode: CLOSE, payload: payload.to_vec() }
}

/// The bytes break the framing: an error frame, a close with 1002, and nothing is read any more.
#[track_caller]
fn breaks_the_framing(bytes: &[u8]) {
    let mut server = Server::consumer();
    assert_eq!(server.receive(bytes), End::Close);
    assert_eq!(server.said_error_and_close("BadFraming"), 1002);
    assert!(server.session.is_finished());
    assert_eq!(server.commands, [""; 0]);
    assert_eq!(server.receive(&text(ACK)), End::Close);
    assert_eq!(server.commands, [""; 0]);
    assert_eq!(server.said(), []);
}

/// An `enqueue` of exactly this many bytes.
fn enqueue_of(bytes: usize) -> Vec<u8> {
    let (head, tail) = (r#"{"enqueue":{"to":"s","envelope":{"id":"m","x":""#, r#""}}}"#);
    format!("{head}{}{tail}", "x".repeat(bytes - head.len() - tail.len())).into_bytes()
}

/// A message whose envelope holds the given bytes as a string.
fn enqueue_with(string: &[u8]) -> Vec<u8> {
    [br#"{"enqueue":{"to":"s","envelope":{"id":"m","x":""#, string, br#""}}}"#].concat()
}

#[test]
fn messages_of_every_length_class_are_taken_as_text_and_as_binary() {
    for bytes in [64, 125, 126, 127, 128, 4_096, 4_097, 65_535, 65_536, 200_000] {
        for opcode in [TEXT, BINARY] {
            let mut server = Server::consumer();
            assert_eq!(server.receive(&client_frame(true, opcode, &enqueue_of(bytes))), End::NeedBytes);
            assert_eq!(server.commands.len(), 1, "{bytes} bytes");
            assert_eq!(server.said(), []);
            assert_eq!(server.telemetry.ws.bytes_in, bytes as u64);
        }
    }
}

#[test]
fn every_mask_is_taken_off() {
    for mask in [[0, 0, 0, 0], [255, 255, 255, 255], [1, 0, 0, 0], [0, 0, 0, 128], [0x12, 0x34, 0x56, 0x78]] {
        let mut server = Server::consumer();
        assert_eq!(server.receive(&masked_frame(true, TEXT, mask, ACK)), End::NeedBytes);
        assert_eq!(server.commands, [ACKED]);
    }
}

#[test]
fn pings_are_answered_with_their_payload_in_order() {
    let mut server = Server::consumer();
    let payloads: Vec<Vec<u8>> = vec![vec![], b"hello".to_vec(), vec![0, 255, 254, 128], vec![b'x'; 125]];
    for payload in &payloads {
        assert_eq!(server.receive(&client_frame(true, PING, payload)), End::NeedBytes);
    }
    assert_eq!(server.said(), payloads.iter().map(|payload| pong(payload)).collect::<Vec<_>>());
    let together: Vec<u8> = (0..10_u8).flat_map(|n| client_frame(true, PING, &[n])).collect();
    assert_eq!(server.receive(&together), End::NeedBytes);
    assert_eq!(server.said(), (0..10_u8).map(|n| pong(&[n])).collect::<Vec<_>>());
}

#[test]
fn unasked_pongs_are_ignored() {
    let mut server = Server::consumer();
    assert_eq!(server.receive(&client_frame(true, PONG, b"unasked")), End::NeedBytes);
    assert_eq!(server.receive(&client_frame(true, PONG, b"")), End::NeedBytes);
    assert_eq!(server.said(), []);
}

#[test]
fn control_frames_beyond_125_bytes_break_the_framing() {
    for opcode in [PING, PONG, CLOSE] {
        breaks_the_framing(&client_frame(true, opcode, &[b'x'; 126]));
        breaks_the_framing(&client_frame(true, opcode, &[b'x'; 65_536]));
    }
}

#[test]
fn fragmented_control_frames_break_the_framing() {
    for opcode in [PING, PONG, CLOSE] {
        breaks_the_framing(&client_frame(false, opcode, b""));
    }
}

#[test]
fn reserved_bits_break_the_framing() {
    for opcode in [TEXT, BINARY, PING, CLOSE] {
        for bits in 1..8_u8 {
            let mut frame = client_frame(true, opcode, ACK);
            frame[0] |= bits << 4;
            breaks_the_framing(&frame);
        }
    }
}

#[test]
fn reserved_opcodes_break_the_framing() {
    for opcode in (3..8).chain(11..16) {
        breaks_the_framing(&client_frame(true, opcode, b""));
        breaks_the_framing(&client_frame(true, opcode, b"payload"));
    }
}

#[test]
fn unmasked_frames_break_the_framing() {
    breaks_the_framing(&[0x81, 0]);
    breaks_the_framing(b"\x81\x09{\"ack\":7}");
    breaks_the_framing(&[0x89, 0]);
    breaks_the_framing(&[0x88, 0]);
}

#[test]
fn lengths_not_in_their_shortest_form_break_the_framing() {
    breaks_the_framing(&[0x82, 0xFE, 0, 125]);
    breaks_the_framing(&[0x82, 0xFE, 0, 0]);
    breaks_the_framing(&[0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF]);
    breaks_the_framing(&[0x82, 0xFF, 0x80, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn continuations_of_nothing_break_the_framing() {
    breaks_the_framing(&client_frame(true, CONTINUATION, ACK));
    breaks_the_framing(&client_frame(false, CONTINUATION, ACK));
    breaks_the_framing(&client_frame(true, CONTINUATION, b""));
    let mut server = Server::consumer();
    assert_eq!(server.receive(&text(ACK)), End::NeedBytes);
    assert_eq!(server.receive(&client_frame(true, CONTINUATION, b"x")), End::Close);
    assert_eq!(server.commands, [ACKED]);
    assert_eq!(server.said_error_and_close("BadFraming"), 1002);
}

#[test]
fn a_message_inside_a_message_breaks_the_framing() {
    for (outer, inner) in [(TEXT, TEXT), (TEXT, BINARY), (BINARY, TEXT), (BINARY, BINARY)] {
        let frames = [client_frame(false, outer, b"{\"ack\""), client_frame(true, inner, b":7}")].concat();
        breaks_the_framing(&frames);
    }
}

#[test]
fn fragments_make_one_message_with_control_frames_between_them() {
    let mut server = Server::consumer();
    let frames = [
        client_frame(false, TEXT, b"{\"a"),
        client_frame(true, PING, b"one"),
        client_frame(false, CONTINUATION, b""),
        client_frame(false, CONTINUATION, b"ck\":"),
        client_frame(true, PONG, b"two"),
        client_frame(true, PING, b"three"),
        client_frame(true, CONTINUATION, b"7}"),
        text(ACK),
    ];
    assert_eq!(server.receive(&frames.concat()), End::NeedBytes);
    assert_eq!(server.commands, [ACKED, ACKED]);
    assert_eq!(server.said(), [pong(b"one"), pong(b"three")]);
}

#[test]
fn empty_fragments_may_begin_and_end_a_message() {
    let mut server = Server::consumer();
    let frames = [
        client_frame(false, BINARY, b""),
        client_frame(false, CONTINUATION, ACK),
        client_frame(true, CONTINUATION, b""),
    ];
    assert_eq!(server.receive(&frames.concat()), End::NeedBytes);
    assert_eq!(server.commands, [ACKED]);
}

#[test]
fn valid_utf_8_is_taken_even_when_cut_inside_a_character() {
    for string in
        ["\u{7f}", "\u{80}", "\u{7ff}", "\u{800}", "\u{d7ff}", "\u{e000}", "\u{ffff}", "\u{10000}", "\u{10ffff}"]
    {
        let message = enqueue_with(string.as_bytes());
        let mut server = Server::consumer();
        assert_eq!(server.receive(&text(&message)), End::NeedBytes);
        for cut in 1..message.len() {
            let frames =
                [client_frame(false, TEXT, &message[..cut]), client_frame(true, CONTINUATION, &message[cut..])];
            assert_eq!(server.receive(&frames.concat()), End::NeedBytes, "{string:?} cut at {cut}");
        }
        assert_eq!(server.commands.len(), message.len());
        assert!(server.commands.windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(server.said(), []);
    }
}

#[test]
fn text_that_is_not_utf_8_closes_with_1007() {
    let invalid: [&[u8]; 10] = [
        b"\x80",
        b"\xC0\xAF",
        b"\xE0\x80\xAF",
        b"\xED\xA0\x80",
        b"\xED\xBF\xBF",
        b"\xF0\x80\x80\xAF",
        b"\xF4\x90\x80\x80",
        b"\xFE",
        b"\xCE\xBA\xE1\xBD\xB9\xCF\x83\xCE\xBC\xCE",
        b"\xF8\x88\x80\x80\x80",
    ];
    for string in invalid {
        let message = enqueue_with(string);
        let mut server = Server::consumer();
        assert_eq!(server.receive(&text(&message)), End::NeedBytes);
        assert_eq!(server.said_error_and_close("DecodeError"), 1007);
        let mut server = Server::consumer();
        let (head, tail) = message.split_at(message.len() / 2);
        let frames = [client_frame(false, TEXT, head), client_frame(true, CONTINUATION, tail)];
        assert_eq!(server.receive(&frames.concat()), End::NeedBytes);
        assert_eq!(server.said_error_and_close("DecodeError"), 1007);
        // The same in text of a connection that speaks MessagePack; in a binary frame of JSON it is no JSON.
        let mut server = Server::new(Role::Consumer, Encoding::MessagePack);
        assert_eq!(server.receive(&text(&message)), End::NeedBytes);
        assert_eq!(server.said().last().and_then(ServerFrame::close_code), Some(1007));
        let mut server = Server::consumer();
        assert_eq!(server.receive(&client_frame(true, BINARY, &message)), End::NeedBytes);
        assert_eq!(server.said_error_and_close("InvalidJSON"), 1007);
    }
}

#[test]
fn a_close_is_echoed_with_its_code_and_ends_the_session() {
    let longest = [&1000_u16.to_be_bytes()[..], &[b'x'; 123]].concat();
    let payloads: [(&[u8], &[u8]); 6] = [
        (b"", b""),
        (b"\x03\xE8", b"\x03\xE8"),
        (b"\x03\xE8bye", b"\x03\xE8"),
        (b"\x0B\xB8", b"\x0B\xB8"),
        (b"\x13\x87", b"\x13\x87"),
        (&longest, b"\x03\xE8"),
    ];
    for (payload, echoed) in payloads {
        let mut server = Server::consumer();
        assert!(!server.session.is_closing());
        assert_eq!(server.receive(&client_frame(true, CLOSE, payload)), End::Close);
        assert_eq!(server.said(), [close(echoed)]);
        assert!(server.session.is_closing() && server.session.is_finished());
        assert_eq!(server.telemetry.ws.connections_active, 0);
    }
}

#[test]
fn only_codes_that_may_be_sent_are_echoed() {
    for code in 0..=5_100_u16 {
        let mut server = Server::consumer();
        assert_eq!(server.receive(&client_frame(true, CLOSE, &code.to_be_bytes())), End::Close);
        if matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
            assert_eq!(server.said(), [close(&code.to_be_bytes())]);
        } else {
            assert_eq!(server.said_error_and_close("BadFraming"), 1002, "{code}");
        }
    }
}

#[test]
fn a_malformed_close_fails_the_connection() {
    breaks_the_framing(&client_frame(true, CLOSE, &[3]));
    let mut server = Server::consumer();
    assert_eq!(server.receive(&client_frame(true, CLOSE, b"\x03\xE8\xED\xA0\x80")), End::Close);
    assert_eq!(server.said_error_and_close("DecodeError"), 1007);
}

#[test]
fn nothing_after_a_close_is_looked_at() {
    let mut server = Server::consumer();
    let frames = [
        text(ACK),
        client_frame(true, CLOSE, b"\x03\xE8"),
        text(ACK),
        client_frame(true, PING, b"late"),
        vec![0xFF; 100],
    ];
    assert_eq!(server.receive(&frames.concat()), End::Close);
    assert_eq!(server.commands, [ACKED]);
    assert_eq!(server.said(), [close(b"\x03\xE8")]);
}

#[test]
fn a_close_may_come_between_fragments() {
    let mut server = Server::consumer();
    let frames = [client_frame(false, TEXT, b"{\"ack\""), client_frame(true, CLOSE, b"")];
    assert_eq!(server.receive(&frames.concat()), End::Close);
    assert_eq!(server.said(), [close(b"")]);
    assert_eq!(server.commands, [""; 0]);
}

#[test]
fn the_limit_on_messages_is_inclusive_and_holds_over_all_fragments() {
    let limits = Limits { message_bytes_max: 20_000, ..Limits::default() };
    let server = || Server::with_limits(Role::Consumer, Encoding::Json, limits.clone());
    let (most, beyond) = (enqueue_of(20_000), enqueue_of(20_001));
    let halves = |message: &[u8]| {
        let (head, tail) = message.split_at(9_000);
        [client_frame(false, TEXT, head), client_frame(true, CONTINUATION, tail)].concat()
    };
    for bytes in [text(&most), halves(&most)] {
        let mut server = server();
        assert_eq!(server.receive(&bytes), End::NeedBytes);
        assert_eq!(server.commands.len(), 1);
    }
    for bytes in [text(&beyond), halves(&beyond)] {
        let mut server = server();
        assert_eq!(server.receive(&bytes), End::NeedBytes);
        assert_eq!(server.commands, [""; 0]);
        let said = server.said();
        assert_eq!(
            said[0].text(),
            r#"{"error":{"code":"MessageTooLarge","message":"Message size 20001 exceeds limit 20000"}}"#
        );
        assert_eq!(said[1].payload, b"\x03\xF1Message size 20001 exceeds limit 20000");
        assert_eq!(server.telemetry.ws.size_cap_violations, 1);
        assert_eq!(server.telemetry.errors[ErrorCode::MessageTooLarge as usize], 1);
        // The rest of the message has been skipped, so the peer's close is found.
        assert_eq!(server.receive(&client_frame(true, CLOSE, b"\x03\xF1")), End::Close);
        assert_eq!(server.said(), []);
    }
}

#[test]
fn a_message_beyond_the_limit_is_refused_at_its_header() {
    let mut server = Server::consumer();
    assert_eq!(server.receive(&[0x82, 0xFF, 0x7F, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4]), End::NeedBytes);
    assert_eq!(server.said_error_and_close("MessageTooLarge"), 1009);
    assert!(!server.session.is_finished());
}
