//! A peer that pings and never reads cannot make the outbox grow without bound, and still gets its last pong.

mod ws_wire;

use ws_wire::{End, PING, PONG, Server, ServerFrame, client_frame};

/// 64 KiB, and the one pong that crosses it.
const PONG_BYTES_MAX: usize = 64 * 1024 + 2 + 125;

fn ping(n: u32) -> Vec<u8> {
    client_frame(true, PING, &[&n.to_be_bytes()[..], &[b'x'; 121]].concat())
}

fn number(frame: &ServerFrame) -> u32 {
    assert_eq!(frame.opcode, PONG);
    u32::from_be_bytes(*frame.payload.first_chunk().expect("the ping's payload"))
}

#[test]
fn the_outbox_stays_bounded_and_the_latest_ping_is_answered_when_it_is_read() {
    let mut server = Server::consumer();
    for n in 0..5_000 {
        assert_eq!(server.receive(&ping(n)), End::NeedBytes);
        assert!(server.out.len() <= PONG_BYTES_MAX);
    }
    // Those that fitted are answered in order; none of the later ones is.
    let answered: Vec<u32> = server.said().iter().map(number).collect();
    assert!(answered.len() < 600);
    assert!(answered.iter().copied().eq(0..answered.len() as u32));
    // The owner is asked to come back at once, and the outbox has room now.
    assert!(server.deadline_ns().is_some_and(|due_ns| due_ns <= server.now.mono_ns));
    server.handle_deadline();
    assert_eq!(server.said().iter().map(number).collect::<Vec<_>>(), [4_999]);
    assert!(server.deadline_ns().is_some_and(|due_ns| due_ns > server.now.mono_ns));
}

#[test]
fn a_pong_that_waited_goes_out_with_the_next_bytes() {
    let mut server = Server::consumer();
    server.out.resize(64 * 1024, 0);
    server.receive(&[ping(1), ping(2)].concat());
    assert_eq!(server.out.len(), 64 * 1024);
    server.out.clear();
    server.receive(&ping(3));
    assert_eq!(server.said().iter().map(number).collect::<Vec<_>>(), [2, 3]);
}
