//! Once its outbox has grown, a reader of events is given messages and heartbeats without allocating.

mod counting;
mod http_wire;
mod live_wire;
use conduit_protocol::{Answer, Delivery, Encoding, Now, Seq, TraceContext};
use counting::ALLOCATIONS;
use live_wire::Reader;
use std::cell::Cell;

#[test]
fn messages_and_heartbeats() {
    let mut reader = Reader::open("/v1/live?stream=s", "", &Answer::Subscribed(None));
    let trace = TraceContext::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    reader.peer.out.reserve(1 << 16);
    let mut last = 0;
    for round in 0..3 {
        let before = ALLOCATIONS.with(Cell::get);
        reader.peer.out.clear();
        reader.peer.pass_ms(15_000);
        for seq in 0..100 {
            let delivery = Delivery {
                id: b"m",
                seq: Seq(round * 100 + seq),
                attempt: 1,
                published: Now::default(),
                trace: trace.as_ref().filter(|_| seq % 2 == 0).map(TraceContext::bytes),
                encoding: Encoding::Json,
                envelope: b"{\n\"n\" : 1}",
            };
            reader.peer.with_context(|session, context| session.deliver(&delivery, context));
        }
        last = ALLOCATIONS.with(Cell::get) - before;
    }
    assert_eq!(last, 0);
    assert!(reader.peer.out.len() > 2_000);
}
