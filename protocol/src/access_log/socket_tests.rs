use super::*;
use crate::access_log::{LineFigures, LogBudget, LogBudgets, LogSettings};
use core::net::Ipv4Addr;
use serde_json::{Value, json};
use smallvec::smallvec;

const OPENING: Opening<'static> = Opening {
    wire: Wire::WebSocket,
    ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
    tenant: "acme",
    stream: Some("agents/\"x\""),
    group: Some(""),
    codec: Encoding::MessagePack,
    credit: 5,
};

const NOW: Now = Now { mono_ns: 10_000_000_000, unix_ms: 1_000 };

fn settings(lines_per_s: u32, sample: u32) -> LogSettings {
    let messages = LogBudget { lines_per_s, sample };
    LogSettings { http: true, ws: true, budgets: LogBudgets { messages, ..LogBudgets::default() } }
}

fn delivery(seq: u64, envelope: &[u8]) -> Delivery<'_> {
    let published = Now { mono_ns: NOW.mono_ns - 1_500_000, unix_ms: 0 };
    Delivery { id: b"m-1", seq: Seq(seq), attempt: 2, published, trace: None, encoding: Encoding::Json, envelope }
}

fn lines(log: &mut AccessLog) -> Vec<Value> {
    let batch = log.take(LogFile::Ws, Vec::new).unwrap_or_default();
    let lines: Vec<Value> = batch
        .bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| serde_json::from_slice(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), batch.lines as usize);
    lines
}

#[test]
fn the_life_of_a_connection_is_told_line_by_line() {
    let mut log = AccessLog::new(3, &settings(100, 0));
    let mut socket = log.connect(NOW, &OPENING).unwrap();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let trace = crate::TraceContext::parse(parent.as_bytes());
    socket.deliver(
        NOW,
        &Delivery { trace: trace.as_ref().map(TraceContext::bytes), ..delivery(7, br#"{"secret":"payload"}"#) },
        &mut log,
    );
    socket.credit(NOW, 10, &mut log);
    socket.ack(NOW, &smallvec![MessageRef::Seq(Seq(7))], &mut log);
    socket.ack(NOW, &smallvec![MessageRef::Id("m-1".into())], &mut log);
    socket.ack_up_to(NOW, Seq(9), &mut log);
    let targets = smallvec![MessageRef::Seq(Seq(8)), MessageRef::Id("b".into())];
    let nack = Nack { targets, delay_ms: 250, dead: true, error: Some("a consumer's own words".into()) };
    socket.nack(NOW, &nack, &mut log);
    socket.refused(NOW, ErrorCode::Backpressure, &mut log);
    socket.closed_by_peer(Some(1000));
    socket.disconnect(NOW.plus_ns(2_000_000), &mut log);
    socket.disconnect(NOW, &mut log);
    let common = json!({
        "ts": "1970-01-01T00:00:01.000Z", "connId": "ws-1000-3-1", "ip": "127.0.0.1", "tenant": "acme", "tenantId": "acme",
        "stream": "agents/\"x\"", "group": "", "codec": "msgpack",
    });
    let expected = [
        json!({"event": "connect", "credit": 5}),
        json!({
            "event": "deliver", "msgId": "m-1", "seq": 7, "attempt": 2, "latencyMs": 1.5, "traceparent": parent,
            "traceId": "4bf92f3577b34da6a3ce929d0e0e4736",
        }),
        json!({"event": "credit", "credit": 10, "totalCredit": 15, "delivers": 1}),
        json!({"event": "ack", "seq": 7, "latencyMs": 0.0}),
        json!({"event": "ack", "msgId": "m-1"}),
        json!({"event": "ack", "seq": 9, "upTo": true}),
        json!({"event": "nack", "seq": 8, "delayMs": 250, "dead": true}),
        json!({"event": "nack", "msgId": "b", "delayMs": 250, "dead": true}),
        json!({"event": "error", "error": "Backpressure", "code": "Backpressure"}),
        json!({
            "event": "disconnect", "closeCode": 1000, "delivers": 1, "totalCredit": 15, "durMs": 2.0,
            "ts": "1970-01-01T00:00:01.002Z",
        }),
    ];
    let expected: Vec<Value> = expected
        .iter()
        .map(|own| {
            let mut line = common.clone();
            line.as_object_mut().unwrap().extend(own.as_object().unwrap().clone());
            line
        })
        .collect();
    assert_eq!(lines(&mut log), expected);
}

#[test]
fn the_first_end_is_the_one_that_counts() {
    let ended = |end: fn(&mut Socket)| {
        let mut log = AccessLog::new(0, &settings(0, 0));
        let mut socket = log.connect(NOW, &Opening { stream: None, ..OPENING }).unwrap();
        end(&mut socket);
        socket.disconnect(NOW, &mut log);
        let line = lines(&mut log).pop().unwrap();
        (line["closeCode"].as_u64().unwrap(), line.get("error").cloned())
    };
    assert_eq!(ended(|_| {}), (1006, None));
    assert_eq!(ended(|socket| socket.closed_by_peer(None)), (1005, None));
    let ours = |socket: &mut Socket| {
        socket.closes(ErrorCode::ServerDraining);
        socket.closed_by_peer(Some(1000));
        socket.closes(ErrorCode::Internal);
    };
    assert_eq!(ended(ours), (1001, Some(json!("ServerDraining"))));
}

#[test]
fn a_connection_that_only_publishes_names_no_stream() {
    let mut log = AccessLog::new(0, &settings(0, 0));
    log.connect(NOW, &Opening { stream: None, group: None, tenant: "", ..OPENING }).unwrap();
    let line = lines(&mut log).pop().unwrap();
    assert_eq!((line.get("stream"), line.get("group"), line.get("credit")), (None, None, None));
    assert_eq!(line["tenant"], "default");
}

#[test]
fn beyond_the_budget_a_message_is_told_whole_or_not_at_all() {
    let mut log = AccessLog::new(0, &settings(4, 10));
    let mut socket = log.connect(NOW, &OPENING).unwrap();
    for seq in 1..=100 {
        socket.deliver(NOW, &delivery(seq, b"{}"), &mut log);
        socket.ack(NOW, &smallvec![MessageRef::Seq(Seq(seq))], &mut log);
    }
    let told = lines(&mut log);
    let of = |event: &str, is_sampled: bool| -> Vec<u64> {
        let those = told.iter().filter(|line| line["event"] == event && line.get("sample").is_some() == is_sampled);
        those.map(|line| line["seq"].as_u64().unwrap()).collect()
    };
    assert_eq!((of("deliver", false), of("ack", false)), (vec![1, 2], vec![1, 2]));
    let tens: Vec<u64> = (1..=10).map(|ten| ten * 10).collect();
    assert_eq!((of("deliver", true), of("ack", true)), (tens.clone(), tens));
    assert!(told.iter().all(|line| line.get("sample").is_none_or(|sample| *sample == json!(10))));
    assert_eq!(log.figures(LogFile::Ws), LineFigures { lines: 1 + 4 + 20, left_out: 176, dropped: 0 });
    socket.disconnect(NOW, &mut log);
    assert_eq!(lines(&mut log).pop().unwrap()["delivers"], 100);
}

#[test]
fn an_ack_tells_how_long_the_client_had_the_message_if_its_delivery_has_a_line() {
    let mut log = AccessLog::new(0, &settings(4, 10));
    let mut socket = log.connect(NOW, &OPENING).unwrap();
    let later = NOW.plus_ns(2_500_000);
    (1..=2).for_each(|seq| socket.deliver(NOW, &delivery(seq, b"{}"), &mut log));
    socket.ack(later, &smallvec![MessageRef::Seq(Seq(1))], &mut log);
    let nack = Nack { targets: smallvec![MessageRef::Id("m-1".into())], delay_ms: 0, dead: false, error: None };
    socket.nack(later, &nack, &mut log);
    // The budget is used up: of these, the tens have lines.
    (11..=40).for_each(|seq| socket.deliver(NOW, &delivery(seq, b"{}"), &mut log));
    socket.ack(later, &smallvec![MessageRef::Seq(Seq(11)), MessageRef::Seq(Seq(20))], &mut log);
    // Nobody has told of that one's delivery.
    socket.ack(later, &smallvec![MessageRef::Seq(Seq(50))], &mut log);
    socket.ack_up_to(later, Seq(30), &mut log);
    socket.ack(later, &smallvec![MessageRef::Seq(Seq(30)), MessageRef::Seq(Seq(40))], &mut log);
    let told: Vec<(Value, Value)> = lines(&mut log)
        .into_iter()
        .filter(|line| line["event"] == "ack" || line["event"] == "nack")
        .map(|line| (line.get("seq").or(line.get("msgId")).unwrap().clone(), line["latencyMs"].clone()))
        .collect();
    let known = |name: Value| (name, json!(2.5));
    let expected = [
        known(json!(1)),
        known(json!("m-1")),
        known(json!(20)),
        (json!(50), Value::Null),
        known(json!(30)),
        (json!(30), Value::Null),
        known(json!(40)),
    ];
    assert_eq!(told, expected);
}

#[test]
fn a_reader_of_events_has_neither_credit_nor_a_close_code() {
    let mut log = AccessLog::new(0, &settings(100, 1));
    let mut socket = log.connect(NOW, &Opening { wire: Wire::Events, ..OPENING }).unwrap();
    socket.deliver(NOW, &delivery(7, b"{}"), &mut log);
    socket.closes(ErrorCode::ServerDraining);
    socket.disconnect(NOW, &mut log);
    let told = lines(&mut log);
    assert_eq!(
        told.iter().map(|line| line["event"].as_str().unwrap()).collect::<Vec<_>>(),
        ["connect", "deliver", "disconnect"]
    );
    for line in &told {
        assert_eq!(line["connId"], "live-1000-0-1");
        assert!(["credit", "totalCredit", "closeCode"].iter().all(|name| line.get(name).is_none()), "{line}");
    }
    assert_eq!((&told[2]["delivers"], &told[2]["code"]), (&json!(1), &json!("ServerDraining")));
}

#[test]
fn a_log_that_was_turned_off_says_no_more() {
    let mut log = AccessLog::new(0, &settings(100, 1));
    let mut socket = log.connect(NOW, &OPENING).unwrap();
    assert_eq!(lines(&mut log).len(), 1);
    log.apply(&LogSettings::OFF);
    socket.deliver(NOW, &delivery(1, b"{}"), &mut log);
    socket.credit(NOW, 1, &mut log);
    socket.ack_up_to(NOW, Seq(1), &mut log);
    socket.disconnect(NOW, &mut log);
    assert!(log.connect(NOW, &OPENING).is_none());
    assert_eq!(lines(&mut log), [] as [Value; 0]);
}

#[test]
fn a_message_from_before_the_start_is_timed_by_the_calendar() {
    assert_eq!(age_ns(NOW, Now { mono_ns: NOW.mono_ns - 5, unix_ms: 0 }), 5);
    assert_eq!(age_ns(NOW, Now { mono_ns: 0, unix_ms: 400 }), 600 * NS_PER_MS);
    assert_eq!(age_ns(NOW, Now { mono_ns: 0, unix_ms: 4_000 }), 0);
}
