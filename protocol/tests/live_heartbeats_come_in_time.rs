//! A reader of events hears a heartbeat every 15 seconds, unless it has not even taken what waits for it.

mod http_wire;
mod live_wire;
use conduit_protocol::{Answer, Limits};
use live_wire::Reader;

const BEAT: &[u8] = b": heartbeat\n\n";

fn reader(limits: Limits) -> Reader {
    let mut reader = Reader::with(limits, "/v1/live", "", &Answer::Subscribed(None));
    reader.take();
    reader
}

#[test]
fn every_interval_and_not_sooner() {
    let mut reader = reader(Limits::default());
    for _ in 0..3 {
        reader.peer.pass_ms(14_999);
        assert_eq!(reader.take(), b"");
        reader.peer.pass_ms(1);
        assert_eq!(reader.take(), BEAT);
    }
}

#[test]
fn between_messages_too() {
    let mut reader = reader(Limits::default());
    reader.peer.pass_ms(10_000);
    reader.deliver(1, b"{}");
    reader.take();
    reader.peer.pass_ms(5_000);
    assert_eq!(reader.take(), BEAT);
}

#[test]
fn none_is_put_behind_what_the_client_does_not_take() {
    let mut reader = reader(Limits::default());
    reader.deliver(1, b"{}");
    let waiting = reader.peer.out.len();
    for _ in 0..5 {
        reader.peer.pass_ms(15_000);
    }
    assert_eq!(reader.peer.out.len(), waiting);
    reader.take();
    reader.peer.pass_ms(15_000);
    assert_eq!(reader.take(), BEAT);
}

#[test]
fn the_interval_is_a_limit_and_0_is_never() {
    let mut quick = reader(Limits { heartbeat_ms: 1, ..Limits::default() });
    quick.peer.pass_ms(1);
    assert_eq!(quick.take(), BEAT);
    let mut never = reader(Limits { heartbeat_ms: 0, ..Limits::default() });
    assert_eq!(never.peer.session.deadline_ns(&never.peer.limits), None);
    never.peer.pass_ms(1_000_000);
    assert_eq!(never.take(), b"");
}
