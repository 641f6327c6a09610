//! `application/x-ndjson`: one answer with one result for each line, in the order of the lines.

mod http_wire;

use conduit_protocol::{Answer, ErrorCode, Limits, Promise, Refusal, Seq};
use http_wire::{Answering, Peer, post, publish};
use serde_json::json;

fn batch(headers: &str, lines: &[&str]) -> Vec<u8> {
    post("/v1/enqueue", &format!("Content-Type: application/x-ndjson; charset=utf-8\r\n{headers}"), lines.join("\n"))
}

fn good(id: &str) -> String {
    format!(r#"{{"to":"s","envelope":{{"id":"{id}"}}}}"#)
}

#[test]
fn every_line_has_its_result_and_bad_ones_stop_nobody() {
    let mut peer = Peer::new();
    peer.feed(batch("", &[&good("a"), "", " \t\r", "{bad", r#"{"to":"s","envelope":7}"#, &(good("b") + "\r"), ""]));
    let response = peer.responses().remove(0);
    assert_eq!(response.status, 200);
    let body = response.json();
    assert_eq!((&body["accepted"], &body["failed"]), (&json!(2), &json!(2)));
    let results = body["results"].as_array().unwrap();
    assert_eq!(results.len(), 4);
    assert_eq!(results[0], json!({"id":"a","stream":"s","seq":1}));
    assert_eq!(results[1]["error"]["code"], "InvalidJSON");
    assert_eq!(results[2]["error"]["code"], "InvalidEnvelope");
    assert_eq!(results[3], json!({"id":"b","stream":"s","seq":2}));
    assert!(peer.session.is_idle());
    assert_eq!(peer.telemetry.errors[ErrorCode::InvalidJson as usize], 1);
}

#[test]
fn results_are_in_line_order_when_answers_are_not() {
    let mut peer = Peer::with(Limits::default(), Answering::OnDemand);
    let request = [batch("", &[&good("a"), &good("b"), &good("c")]), publish("d")].concat();
    peer.feed(request);
    assert_eq!(peer.unanswered.len(), 4);
    for index in [3, 2, 0, 0] {
        assert!(peer.out.is_empty());
        peer.answer_at(index);
    }
    let responses = peer.responses();
    let ids: Vec<_> =
        responses[0].json()["results"].as_array().unwrap().iter().map(|result| result["id"].clone()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    assert_eq!(responses[1].json()["id"], "d");
}

#[test]
fn a_batch_of_nothing_is_an_answer_too() {
    for lines in [&[][..], &["", "  "]] {
        let mut peer = Peer::new();
        peer.feed(batch("", lines));
        assert_eq!(peer.responses()[0].json(), json!({"accepted":0,"failed":0,"results":[]}));
    }
}

#[test]
fn the_answer_can_be_message_pack() {
    let mut peer = Peer::new();
    peer.feed(batch("Accept: application/msgpack\r\n", &[&good("a"), "x"]));
    let body: serde_json::Value = rmp_serde::from_slice(&peer.responses()[0].body).unwrap();
    assert_eq!(body["results"][0], json!({"id":"a","stream":"s","seq":1}));
    assert_eq!(body["results"][1]["error"]["code"], "InvalidJSON");
}

#[test]
fn a_full_server_is_a_429_only_when_no_line_got_in() {
    let full = Refusal { code: ErrorCode::Backpressure, message: "full".into(), retry_after_ms: Some(1_500) };
    let mut peer = Peer::new();
    peer.refusal = Some(full.clone());
    peer.feed(batch("", &[&good("a"), &good("b")]));
    let response = peer.responses().remove(0);
    assert_eq!((response.status, response.header("retry-after")), (429, Some("2")));
    assert_eq!(response.json()["failed"], 2);
    assert_eq!(peer.telemetry.errors[ErrorCode::Backpressure as usize], 2);

    for other in [good("b"), "bad".to_owned()] {
        let mut peer = Peer::with(Limits::default(), Answering::OnDemand);
        peer.feed(batch("", &[&good("a"), &other]));
        peer.refusal = Some(full.clone());
        peer.answer_at(0);
        peer.refusal = None;
        if !peer.unanswered.is_empty() {
            peer.answer_at(0);
        }
        assert_eq!(peer.statuses(), [200]);
    }
}

#[test]
fn a_disk_that_lacks_for_every_line_is_told_by_the_status() {
    let refusal = |code| Refusal { code, message: "no".into(), retry_after_ms: None };
    for (code, status, wait) in [
        (ErrorCode::StorageFull, 507, Some("1")),
        (ErrorCode::StorageFailed, 503, None),
        (ErrorCode::TooManyStreams, 200, None),
    ] {
        let mut peer = Peer::new();
        peer.refusal = Some(refusal(code));
        peer.feed(batch("", &[&good("a"), &good("b")]));
        let response = peer.responses().remove(0);
        assert_eq!((response.status, response.header("retry-after")), (status, wait), "{}", code.code());
        assert_eq!(response.json()["results"][1]["error"]["code"], code.code());
    }
    // Two different wants: the results say which line had which.
    let mut peer = Peer::with(Limits::default(), Answering::OnDemand);
    peer.feed(batch("", &[&good("a"), &good("b")]));
    for code in [ErrorCode::StorageFull, ErrorCode::Backpressure] {
        peer.refusal = Some(refusal(code));
        peer.answer_at(0);
    }
    assert_eq!(peer.statuses(), [200]);
    assert_eq!(peer.responses()[0].header("retry-after"), None);
}

#[test]
fn lines_say_what_was_promised_and_what_came_before() {
    let mut peer = Peer::with(Limits::default(), Answering::OnDemand);
    peer.feed(batch("", &[&good("a"), &good("b")]));
    for (id, promise, duplicate) in [("a", Promise::Durable, false), ("b", Promise::Volatile, true)] {
        let (token, _) = peer.unanswered.remove(0);
        peer.give(token, &Answer::Published { id, stream: "s", seq: Seq(1), promise, duplicate });
    }
    let results = &peer.responses()[0].json()["results"];
    assert_eq!(results[0], json!({"id":"a","stream":"s","seq":1,"durable":true}));
    assert_eq!(results[1], json!({"id":"b","stream":"s","seq":1,"durable":false,"duplicate":true}));
}

#[test]
fn too_many_lines_store_nothing() {
    let limits = Limits { batch_lines_max: 3, ..Limits::default() };
    let line = good("a");
    for (lines, status) in [(vec![&line[..], "", &line, &line], 200), (vec![&line[..]; 4], 413)] {
        let mut peer = Peer::with(limits.clone(), Answering::AtOnce);
        peer.feed(batch("", &lines));
        peer.feed(publish("next"));
        assert_eq!(peer.statuses(), [status, 200]);
        assert_eq!(peer.commands.len(), if status == 200 { 4 } else { 1 });
    }
}

#[test]
fn only_so_many_lines_wait_for_answers() {
    let limits = Limits { unanswered_max: 2, ..Limits::default() };
    let mut peer = Peer::with(limits, Answering::OnDemand);
    let lines: Vec<String> = (0..7).map(|n| good(&n.to_string())).collect();
    peer.feed(batch("Connection: close\r\n", &lines.iter().map(String::as_str).collect::<Vec<_>>()));
    while !peer.unanswered.is_empty() {
        assert!(peer.unanswered.len() <= 2);
        peer.answer_at(peer.unanswered.len() - 1);
        peer.feed("");
    }
    assert_eq!(peer.responses()[0].json()["accepted"], 7);
    assert!(peer.responses()[0].closes() && peer.is_closed);
}

#[test]
fn a_batch_waits_for_the_batch_before_it() {
    let mut peer = Peer::with(Limits::default(), Answering::OnDemand);
    peer.feed([batch("", &[&good("a"), &good("b")]), batch("", &[&good("c")])].concat());
    assert_eq!((peer.commands.len(), peer.is_waiting), (2, true));
    peer.answer_at(1);
    peer.answer_at(0);
    peer.feed("");
    peer.answer_at(0);
    let accepted: Vec<_> = peer.responses().iter().map(|response| response.json()["accepted"].clone()).collect();
    assert_eq!(accepted, [2, 1]);
}

#[test]
fn an_answer_to_a_line_of_an_earlier_batch_is_ignored() {
    let mut peer = Peer::with(Limits::default(), Answering::OnDemand);
    peer.feed(batch("", &[&good("a")]));
    let (old, _) = peer.unanswered[0];
    peer.answer_at(0);
    peer.feed(batch("", &[&good("b")]));
    peer.give(
        old,
        &Answer::Published { id: "a", stream: "s", seq: Seq(1), promise: Promise::Unsaid, duplicate: false },
    );
    assert_eq!(peer.responses().len(), 1);
    peer.answer_at(0);
    assert_eq!(peer.responses()[1].json()["results"][0]["id"], "b");
}
