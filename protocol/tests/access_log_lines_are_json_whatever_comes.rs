//! Whatever a client sends, every response has one line of the access log, every WebSocket a first and a last one, and every
//! line is one JSON object with the fields that the runbook's filters read.

mod http_wire;

use conduit_protocol::access_log::{LogFile, LogSettings};
use conduit_protocol::{AccessLog, Limits};
use http_wire::{Answering, Peer, get, post, publish, upgrade};
use proptest::prelude::*;
use serde_json::Value;

/// Bytes that may stand in a target, and some that may not.
fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        "/[ -~]{0,30}",
        "/v1/(stats|streams|enqueue|subscribe)[?&=a-z%\"\\\\<>{}]{0,20}",
        "/[a-z]{1,5}\\?access_token=[!-~]{0,20}(&[a-z]=[!-~]{0,5}){0,2}",
        "http://[a-z.]{1,9}/[!-~]{0,9}",
        "/p{1000,1100}\\?[!-~]{0,30}",
    ]
}

/// A whole frame of text, under a mask of zeros.
fn frame(text: &[u8]) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("short");
    [&[0x81, 0x80 | 126][..], &length.to_be_bytes(), &[0; 4], text].concat()
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        ("[A-Z\"\\\\]{1,40}", target(), "[ -~]{0,60}").prop_map(|(method, target, value)| format!(
            "{method} {target} HTTP/1.1\r\nHost: x\r\ntraceparent: {value}\r\n\r\n"
        )
        .into_bytes()),
        (target(), "[ -~\u{80}-\u{2029}]{0,40}").prop_map(|(target, body)| post(&target, "", body)),
        target().prop_map(|target| get(&target, "X-Forwarded-For: \"evil\"\r\n")),
        "[ -~\u{0}-\u{9f}\u{2028}]{0,10}".prop_map(|id| {
            post("/v1/enqueue", "", serde_json::json!({"to": "s", "envelope": {"id": id}}).to_string())
        }),
        Just(publish("same")),
        Just([publish("1"), publish("22"), publish("333")].concat()),
        Just(upgrade("/v1/publish", "")),
        Just(upgrade("/v1/subscribe?stream=a%22b&credit=3", "")),
        Just(upgrade("/v1/subscribe?credit=x", "")),
        "[ -~]{0,30}".prop_map(|text| frame(text.as_bytes())),
        "[ -~\u{0}-\u{9f}]{0,10}".prop_map(|id| frame(serde_json::json!({"ack": id}).to_string().as_bytes())),
        Just(frame(br#"{"credit":7}"#)),
        Just(frame(br#"{"ack":[1,2,3]}"#)),
        Just(frame(br#"{"nack":5,"delayMs":1}"#)),
    ]
}

fn lines(log: &mut AccessLog, file: LogFile) -> Vec<Value> {
    let batch = log.take(file, Vec::new).unwrap_or_default();
    let text = String::from_utf8(batch.bytes).expect("UTF-8");
    assert_eq!(text.lines().count(), batch.lines as usize);
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn every_response_has_a_line_and_every_line_is_json(
        pieces in prop::collection::vec((piece(), 0..3_000_u64, prop::option::of(any::<prop::sample::Index>())), 0..12),
        at_once in any::<bool>(),
    ) {
        let limits = Limits { body_bytes_max: 200, head_bytes_max: 3_000, unanswered_max: 4, ..Limits::default() };
        let answering = if at_once { Answering::AtOnce } else { Answering::OnDemand };
        let mut peer = Peer::with(limits, answering);
        peer.log = AccessLog::new(0, &LogSettings::default());
        for (bytes, ms, answer) in pieces {
            if !peer.is_closed {
                peer.feed(bytes);
            }
            if let Some(answer) = answer && !peer.unanswered.is_empty() {
                peer.answer_at(answer.index(peer.unanswered.len()));
            }
            peer.pass_ms(ms);
        }
        peer.hang_up();
        let mut log = std::mem::take(&mut peer.log);

        let http = lines(&mut log, LogFile::Http);
        let responses: u64 = peer.telemetry.statuses.iter().filter(|(status, _)| **status != 101).map(|(_, count)| count).sum();
        prop_assert_eq!(http.len() as u64, responses);
        for line in &http {
            for text in ["ts", "event", "ip", "tenant", "tenantId", "codec"] {
                prop_assert!(line[text].is_string(), "{}: {}", text, line);
            }
            for number in ["status", "durationMs", "durMs", "bytes", "bytesOut"] {
                prop_assert!(line[number].is_number(), "{}: {}", number, line);
            }
            prop_assert!(line["url"].is_string() == line["method"].is_string(), "{}", line);
            prop_assert_eq!(line["status"].as_u64() >= Some(400), line["error"].is_string(), "{}", line);
        }

        let ws = lines(&mut log, LogFile::Ws);
        let of = |event: &str| ws.iter().filter(|line| line["event"] == event).count() as u64;
        prop_assert_eq!([of("connect"), of("disconnect")], [peer.telemetry.ws.connections_total; 2]);
        for line in &ws {
            for text in ["ts", "event", "connId", "ip", "tenant", "codec"] {
                prop_assert!(line[text].is_string(), "{}: {}", text, line);
            }
        }
    }
}
