//! With the access log on, a connection takes, answers and delivers without allocating, and so does the log itself: its
//! buffers go and come back.

mod counting;
mod http_wire;
mod ws_wire;

use conduit_protocol::access_log::{LogBudget, LogBudgets, LogFile, LogSettings};
use conduit_protocol::http::HttpDate;
use conduit_protocol::{
    AccessLog, Answer, Command, Context, Delivery, Encoding, Inbox, Limits, Now, OpenGate, Policy, Seq, Session, Step,
    Telemetry, Token, TraceContext,
};
use counting::ALLOCATIONS;
use std::cell::Cell;
use std::net::Ipv4Addr;

/// Feeds `wire` to a session round after round, answering and delivering as a shard would. Returns the allocations of the last
/// rounds, and the lines that were written in all.
fn allocations(opening: &[u8], wire: &[u8]) -> (u64, u64) {
    let (limits, policy) = (Limits::default(), Policy::default());
    let (mut telemetry, mut date) = (Telemetry::default(), HttpDate::default());
    let mut out = Vec::with_capacity(1 << 20);
    let everything = LogBudget { lines_per_s: 1_000_000, sample: 1 };
    let budgets = LogBudgets { requests: everything, messages: everything };
    let mut log = AccessLog::new(0, &LogSettings { budgets, ..LogSettings::default() });
    let mut spares = vec![Vec::with_capacity(1 << 17), Vec::with_capacity(1 << 17)];
    let mut session = Session::new();
    let mut tokens: Vec<(Token, bool)> = Vec::with_capacity(64);
    let mut bytes = wire.to_vec();
    let mut before = 0;
    for round in 0..100_u64 {
        if round == 50 {
            before = ALLOCATIONS.with(Cell::get);
        }
        out.clear();
        let mut first = if round == 0 { opening.to_vec() } else { Vec::new() };
        bytes.copy_from_slice(wire);
        let mut context = Context {
            now: Now { mono_ns: 1_000 + round * 1_000_000, unix_ms: round * 100 },
            limits: &limits,
            policy: &policy,
            gate: &mut OpenGate,
            log: &mut log,
            peer: Ipv4Addr::LOCALHOST.into(),
            telemetry: &mut telemetry,
            out: &mut out,
            date: &mut date,
            draining: false,
            resting: false,
        };
        for part in [&mut first, &mut bytes] {
            let mut inbox = Inbox::new(part);
            loop {
                match session.next(&mut inbox, &mut context) {
                    Step::Command { token, command, .. } => {
                        tokens.push((token, matches!(command, Command::Subscribe(_))));
                    }
                    Step::Again => {}
                    Step::NeedBytes => break,
                    other => panic!("{other:?}"),
                }
                for (token, is_subscribe) in tokens.drain(..).filter(|(token, _)| *token != Token::NONE) {
                    let published = Answer::Published {
                        id: "m",
                        stream: "s",
                        seq: Seq(1),
                        promise: Default::default(),
                        duplicate: false,
                    };
                    session.answer(
                        token,
                        &if is_subscribe { Answer::Subscribed(None) } else { published },
                        &mut context,
                    );
                }
            }
        }
        if session.is_websocket() {
            for seq in 0..60 {
                let trace = TraceContext::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
                let (published, envelope) = (Now::default(), &br#"{"id":"m","n":1}"#[..]);
                let delivery = Delivery {
                    id: b"m",
                    seq: Seq(seq),
                    attempt: 1,
                    published,
                    trace: trace.as_ref().map(TraceContext::bytes),
                    encoding: Encoding::Json,
                    envelope,
                };
                session.deliver(&delivery, &mut context);
            }
        }
        for file in LogFile::ALL {
            if let Some(batch) = log.take(file, || spares.pop().expect("two are on the way at most")) {
                spares.push(batch.bytes);
            }
        }
    }
    let lines = LogFile::ALL.map(|file| log.figures(file)).iter().map(|figures| figures.lines).sum();
    (ALLOCATIONS.with(Cell::get) - before, lines)
}

#[test]
fn lines_of_requests_allocate_nothing() {
    let publishes = http_wire::post("/v1/enqueue", "Accept: */*\r\n", r#"{"to":"agents/a","envelope":{"id":"m"}}"#);
    assert_eq!(allocations(b"", &publishes.repeat(16)), (0, 1_600));
    // Heads that take turns, and refusals.
    let traced = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nIdempotency-Key: k\r\n";
    let other = http_wire::post("/v1/enqueue?access_token=x", traced, r#"{"to":"agents/b","envelope":{}}"#);
    assert_eq!(allocations(b"", &[publishes, other].concat().repeat(8)), (0, 1_600));
}

#[test]
fn lines_of_messages_allocate_nothing() {
    let frames: Vec<u8> = (1..=60)
        .flat_map(|n| {
            let ack = ws_wire::text(format!(r#"{{"ack":{n}}}"#));
            [ack, ws_wire::text(r#"{"ack":"m"}"#), ws_wire::text(r#"{"credit":1}"#), ws_wire::text(r#"{"nack":3}"#)]
                .concat()
        })
        .collect();
    let opening = http_wire::upgrade("/v1/subscribe?stream=s&group=g", "");
    assert_eq!(allocations(&opening, &frames), (0, 1 + 100 * 60 * 5));
}
