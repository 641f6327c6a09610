//! A `traceparent` belongs to the message: as a header of the request, as a member beside `to` and `envelope`, in both
//! encodings. What is none counts as if it were not there, and a delivery tells what was kept.

mod http_wire;

use conduit_protocol::codec::{Frame, decode_frame, decode_publish, encode_delivery};
use conduit_protocol::{Command, Delivery, Encoding, ErrorCode, Inbox, Limits, Now, Seq, Step, TraceContext};
use http_wire::{Peer, post};

const ONE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER: &str = "00-11111111111111111111111111111111-2222222222222222-00";

fn trace(text: &str) -> Option<TraceContext> {
    Some(TraceContext::parse(text.as_bytes()).expect("a traceparent"))
}

/// Traces of the publishes that the bytes come to, in order.
fn published(bytes: &[u8]) -> Vec<Option<TraceContext>> {
    let mut peer = Peer::new();
    let mut bytes = bytes.to_vec();
    let mut traces = Vec::new();
    let (mut session, mut inbox) = (std::mem::take(&mut peer.session), Inbox::new(&mut bytes));
    loop {
        let mut tokens = None;
        peer.with_context(|_, context| match session.next(&mut inbox, context) {
            Step::Command { token, command: Command::Publish(publish), .. } => {
                traces.push(publish.options.trace);
                tokens = Some(Some(token));
            }
            Step::Again => tokens = Some(None),
            _ => {}
        });
        match tokens {
            None => return traces,
            Some(None) => {}
            Some(Some(token)) => peer.with_context(|_, context| {
                let promise = Default::default();
                let answer = conduit_protocol::Answer::Published {
                    id: "m",
                    stream: "s",
                    seq: Seq(1),
                    promise,
                    duplicate: false,
                };
                session.answer(token, &answer, context);
            }),
        }
    }
}

fn body(member: &str) -> String {
    format!(r#"{{"to":"s","envelope":{{}}{member}}}"#)
}

fn member(value: &str) -> String {
    body(&format!(r#","traceparent":{value}"#))
}

#[test]
fn the_header_of_a_request_is_that_of_its_message() {
    let header = format!("traceparent: {ONE}\r\n");
    assert_eq!(published(&post("/v1/enqueue", &header, body(""))), [trace(ONE)]);
    assert_eq!(published(&post("/v1/enqueue", "", body(""))), [None]);
    // The key of the request is read beside it.
    let both = format!("Idempotency-Key: k\r\nTraceParent: {ONE}\r\n");
    assert_eq!(published(&post("/v1/enqueue", &both, body(""))), [trace(ONE)]);
}

#[test]
fn what_the_message_says_itself_comes_before_the_header() {
    let header = format!("traceparent: {ONE}\r\n");
    assert_eq!(published(&post("/v1/enqueue", &header, member(&format!("{OTHER:?}")))), [trace(OTHER)]);
    assert_eq!(published(&post("/v1/enqueue", &header, member("\"none\""))), [trace(ONE)]);
}

#[test]
fn lines_of_a_batch_have_their_own_or_that_of_the_request() {
    let lines = format!("{}\n{}\n", body(""), member(&format!("{OTHER:?}")));
    let headers = format!("content-type: application/x-ndjson\r\ntraceparent: {ONE}\r\n");
    assert_eq!(published(&post("/v1/enqueue", &headers, &lines)), [trace(ONE), trace(OTHER)]);
    let plain = "content-type: application/x-ndjson\r\n";
    assert_eq!(published(&post("/v1/enqueue", plain, &lines)), [None, trace(OTHER)]);
}

#[test]
fn what_is_none_counts_as_if_it_were_not_there() {
    for header in ["", "00", "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01", &ONE.to_uppercase()] {
        assert_eq!(published(&post("/v1/enqueue", &format!("traceparent: {header}\r\n"), body(""))), [None]);
    }
    let two = format!("traceparent: {ONE}\r\ntraceparent: {ONE}\r\n");
    assert_eq!(published(&post("/v1/enqueue", &two, body(""))), [None]);
    for value in ["7", "null", "{}", "[\"x\"]", "\"\"", "\"00-xyz\""] {
        assert_eq!(published(&post("/v1/enqueue", "", member(value))), [None], "{value}");
    }
}

#[test]
fn a_head_that_comes_again_says_it_again() {
    let traced = post("/v1/enqueue", &format!("traceparent: {ONE}\r\n"), body(""));
    let plain = post("/v1/enqueue", "", body(""));
    let all = [plain.repeat(3), traced.repeat(3), plain].concat();
    assert_eq!(published(&all), [None, None, None, trace(ONE), trace(ONE), trace(ONE), None]);
}

#[test]
fn a_member_of_an_enqueue_frame_in_both_encodings() {
    let limits = Limits::default();
    let json = format!(r#"{{"enqueue":{},"ref":1}}"#, member(&format!("{ONE:?}")));
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    let packed = rmp_serde::to_vec_named(&value).unwrap();
    for (encoding, bytes) in [(Encoding::Json, json.as_bytes()), (Encoding::MessagePack, &packed)] {
        let Frame::Enqueue { publish, .. } = decode_frame(encoding, bytes, &limits).unwrap() else {
            panic!("an enqueue")
        };
        assert_eq!(publish.options.trace, trace(ONE), "{encoding:?}");
    }
    let twice = body(&format!(r#","traceparent":"{ONE}","traceparent":"{ONE}""#));
    let violation = decode_publish(Encoding::Json, twice.as_bytes(), &limits).unwrap_err();
    assert_eq!((violation.code, &*violation.message), (ErrorCode::InvalidField, "`traceparent` appears twice"));
}

#[test]
fn a_delivery_tells_it_and_says_nothing_of_it_when_there_is_none() {
    let published = Now::default();
    let delivery = |encoding, envelope, trace: Option<TraceContext>| {
        let trace = trace.as_ref().map(TraceContext::bytes);
        let delivery = Delivery { id: b"m", seq: Seq(7), attempt: 2, published, trace, encoding, envelope };
        let mut out = Vec::new();
        encode_delivery(&delivery, &mut out);
        assert_eq!(out.len(), conduit_protocol::codec::delivery_len(&delivery));
        out
    };
    let json = delivery(Encoding::Json, b"{}", trace(ONE));
    let expected = format!(r#"{{"deliver":{{}},"id":"m","seq":7,"attempt":2,"traceparent":"{ONE}"}}"#);
    assert_eq!(String::from_utf8(json).unwrap(), expected);
    assert_eq!(delivery(Encoding::Json, b"{}", None), br#"{"deliver":{},"id":"m","seq":7,"attempt":2}"#);
    let packed = delivery(Encoding::MessagePack, b"\x80", trace(ONE));
    let value: serde_json::Value = rmp_serde::from_slice(&packed).unwrap();
    assert_eq!(value, serde_json::from_str::<serde_json::Value>(&expected).unwrap());
    assert_eq!(delivery(Encoding::MessagePack, b"\x80", None)[0], 0x84);
}
