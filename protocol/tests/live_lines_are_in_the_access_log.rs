//! A reader of events has the lines of a WebSocket in the access log: a first one, one for each delivery, sampled the same
//! way, and a last one.

mod http_wire;
mod live_wire;

use conduit_protocol::access_log::{LogBudget, LogBudgets, LogFile, LogSettings};
use conduit_protocol::policy::proxies::Network;
use conduit_protocol::policy::{Policy, Proxies};
use conduit_protocol::{AccessLog, Answer, ErrorCode};
use http_wire::{Answering, Peer, get};
use live_wire::Reader;
use serde_json::{Value, json};
use std::net::Ipv4Addr;

fn settings(lines_per_s: u32, sample: u32) -> LogSettings {
    LogSettings {
        budgets: LogBudgets { messages: LogBudget { lines_per_s, sample }, ..LogBudgets::default() },
        ..LogSettings::default()
    }
}

/// A connection that has asked for events, and what its log says so far.
fn open(target: &str, headers: &str, log: LogSettings, policy: Policy) -> Reader {
    let mut peer = Peer { log: AccessLog::new(0, &log), ..Peer::under(policy) };
    peer.answering = Answering::OnDemand;
    Reader::over(peer, &get(target, headers), &Answer::Subscribed(None))
}

fn lines(reader: &mut Reader) -> Vec<Value> {
    let batch = reader.peer.log.take(LogFile::Ws, Vec::new).unwrap_or_default();
    let text = String::from_utf8(batch.bytes).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_reader_has_a_first_line_a_line_for_each_delivery_and_a_last_one() {
    let proxies = Proxies { trusted: vec![Network { address: Ipv4Addr::LOCALHOST.into(), prefix_bits: 32 }] };
    let policy = Policy { proxies, ..Policy::default() };
    let mut reader = open("/v1/live?stream=s&group=g", "X-Forwarded-For: 192.0.2.7\r\n", settings(100, 0), policy);
    for seq in [4, 5] {
        reader.deliver(seq, br#"{"secret":"payload"}"#);
    }
    reader.peer.close(ErrorCode::ServerDraining);
    reader.peer.hang_up();
    reader.peer.hang_up();
    let told = lines(&mut reader);
    let events: Vec<_> = told.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["connect", "deliver", "deliver", "disconnect"]);
    for line in &told {
        assert!(line["connId"].as_str().unwrap().starts_with("live-"), "{line}");
        assert_eq!((&line["ip"], &line["stream"], &line["group"]), (&json!("192.0.2.7"), &json!("s"), &json!("g")));
        assert_eq!((&line["tenant"], &line["codec"]), (&json!("default"), &json!("json")));
        assert!(!line.to_string().contains("payload"));
    }
    assert_eq!((&told[1]["seq"], &told[1]["msgId"], &told[2]["seq"]), (&json!(4), &json!("m"), &json!(5)));
    assert_eq!((&told[3]["delivers"], &told[3]["code"]), (&json!(2), &json!("ServerDraining")));
}

#[test]
fn who_reads_alone_has_no_group_and_who_reads_nothing_no_stream() {
    let mut reader = open("/v1/live?stream=s", "", settings(100, 0), Policy::default());
    let told = lines(&mut reader);
    assert_eq!((&told[0]["stream"], told[0].get("group")), (&json!("s"), None));
    let mut reader = open("/v1/live", "", settings(100, 0), Policy::default());
    reader.peer.hang_up();
    let told = lines(&mut reader);
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|line| line.get("stream").is_none() && line.get("group").is_none()), "{told:?}");
}

#[test]
fn a_refused_reader_has_no_line_here() {
    let peer = Peer { log: AccessLog::new(0, &settings(100, 0)), ..Peer::new() };
    let refusal = conduit_protocol::Violation::new(ErrorCode::TooManyGroups, "full");
    let peer = Peer { answering: Answering::OnDemand, ..peer };
    let mut reader = Reader::over(peer, &get("/v1/live?stream=s", ""), &Answer::Refused(refusal.into()));
    reader.peer.hang_up();
    assert!(lines(&mut reader).is_empty());
}

#[test]
fn deliveries_beyond_the_budget_are_sampled_by_their_seq() {
    let mut reader = open("/v1/live?stream=s", "", settings(0, 10), Policy::default());
    (1..=30).for_each(|seq| reader.deliver(seq, b"{}"));
    let seqs: Vec<_> = lines(&mut reader)
        .into_iter()
        .filter(|line| line["event"] == "deliver")
        .map(|line| (line["seq"].as_u64().unwrap(), line["sample"].as_u64().unwrap()))
        .collect();
    assert_eq!(seqs, [(10, 10), (20, 10), (30, 10)]);
}

#[test]
fn a_log_that_is_off_says_nothing() {
    let mut reader = open("/v1/live?stream=s", "", LogSettings::OFF, Policy::default());
    reader.deliver(1, b"{}");
    reader.peer.hang_up();
    assert!(lines(&mut reader).is_empty());
}
