//! Silent peers are pinged, dead ones dropped, and a closing that is not completed ends by itself.

mod ws_wire;

use conduit_protocol::ws::Role;
use conduit_protocol::{Encoding, ErrorCode, Limits, Violation};
use ws_wire::{CLOSE, End, PING, PONG, Server, client_frame, text};

const NS_PER_MS: u64 = 1_000_000;

fn server() -> Server {
    let limits = Limits { ping_ms: 1_000, pong_ms: 500, close_ms: 200, ..Limits::default() };
    Server::with_limits(Role::Consumer, Encoding::Json, limits)
}

/// Moves the time to `wait_ms` after the moment and calls the deadline.
fn wait(server: &mut Server, wait_ms: u64) {
    server.now = server.now.plus_ns(wait_ms * NS_PER_MS);
    server.handle_deadline();
}

#[test]
fn a_silent_peer_is_pinged_once_and_then_dropped() {
    let mut server = server();
    let start_ns = server.now.mono_ns;
    assert_eq!(server.deadline_ns(), Some(start_ns + 1_000 * NS_PER_MS));
    wait(&mut server, 999);
    assert_eq!(server.said(), []);
    wait(&mut server, 1);
    let said = server.said();
    assert_eq!((said.len(), said[0].opcode), (1, PING));
    assert_eq!(server.deadline_ns(), Some(server.now.mono_ns + 500 * NS_PER_MS));
    wait(&mut server, 499);
    assert_eq!(server.said(), []);
    assert!(!server.session.is_closing());
    wait(&mut server, 1);
    assert_eq!(server.said_error_and_close("PingTimeout"), 1001);
    assert!(server.session.is_finished());
    assert_eq!(server.deadline_ns(), None);
    assert_eq!(server.telemetry.ws.connections_active, 0);
    assert_eq!(server.receive(&text(r#"{"credit":1}"#)), End::Close);
}

#[test]
fn any_byte_counts_as_life() {
    for bytes in [client_frame(true, PONG, b""), text(r#"{"credit":1}"#), vec![0x81]] {
        let mut server = server();
        wait(&mut server, 1_000);
        assert_eq!(server.said().len(), 1);
        server.now = server.now.plus_ns(400 * NS_PER_MS);
        server.receive(&bytes);
        assert_eq!(server.deadline_ns(), Some(server.now.mono_ns + 1_000 * NS_PER_MS));
        wait(&mut server, 999);
        assert_eq!(server.said(), []);
        assert!(!server.session.is_closing());
    }
}

#[test]
fn looking_again_at_old_bytes_is_no_life() {
    let mut server = server();
    server.receive(&[0x81]);
    let due_ns = server.deadline_ns();
    server.now = server.now.plus_ns(300 * NS_PER_MS);
    server.receive(b"");
    assert_eq!(server.deadline_ns(), due_ns);
    server.receive(&[0x80 | 9]);
    assert_eq!(server.deadline_ns(), Some(server.now.mono_ns + 1_000 * NS_PER_MS));
}

#[test]
fn a_ping_time_of_zero_means_never() {
    let limits = Limits { ping_ms: 0, ..Limits::default() };
    let mut server = Server::with_limits(Role::Consumer, Encoding::Json, limits);
    assert_eq!(server.deadline_ns(), None);
    wait(&mut server, 1_000_000_000);
    assert_eq!(server.said(), []);
    assert!(!server.session.is_closing());
}

#[test]
fn a_closing_that_the_peer_does_not_complete_ends_by_itself() {
    let mut server = server();
    server.close(&Violation::new(ErrorCode::ServerDraining, "bye"));
    assert!(server.session.is_closing() && !server.session.is_finished());
    assert_eq!(server.deadline_ns(), Some(server.now.mono_ns + 200 * NS_PER_MS));
    // Bytes that are no close do not put it off.
    server.now = server.now.plus_ns(100 * NS_PER_MS);
    server.receive(&text(r#"{"credit":1}"#));
    wait(&mut server, 99);
    assert!(!server.session.is_finished());
    wait(&mut server, 1);
    assert!(server.session.is_finished());
    assert_eq!(server.receive(b""), End::Close);
    assert_eq!(server.telemetry.ws.connections_active, 0);
}

#[test]
fn a_closing_that_the_peer_completes_is_finished_at_once() {
    let mut server = server();
    server.close(&Violation::new(ErrorCode::ServerDraining, "bye"));
    assert_eq!(server.said_error_and_close("ServerDraining"), 1001);
    assert_eq!(server.receive(&client_frame(true, CLOSE, &1001_u16.to_be_bytes())), End::Close);
    assert!(server.session.is_finished());
    assert_eq!(server.said(), []);
}
