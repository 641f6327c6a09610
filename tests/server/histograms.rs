//! `/v1/histograms` in each of its forms, merged and for each shard, with every message counted once.

use crate::common::{Server, eventually};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const STREAMS: u64 = 16;
const MESSAGES: u64 = 10;

/// A server on which so many messages were delivered, and all but one of each stream acked.
fn used() -> Server {
    let server = Server::with_shards(2);
    for stream in 0..STREAMS {
        let stream = format!("s{stream}");
        server.publish(&stream, 0..MESSAGES);
        let mut consumer = server.consume(&stream, "credit=100");
        assert_eq!(consumer.deliveries(MESSAGES as usize).len(), MESSAGES as usize);
        consumer.send(json!({"ackUpTo": MESSAGES - 1}));
        eventually("the acks", || (server.stats(&stream)["ackedTotal"] == MESSAGES - 1).then_some(()));
    }
    server
}

const DELIVERED: u64 = STREAMS * MESSAGES;
const ACKED: u64 = STREAMS * (MESSAGES - 1);

#[test]
fn json_counts_every_delivery_and_every_ack() {
    let server = used();
    let document = server.json("/v1/histograms?format=json");
    assert_eq!(document["unit"], "us");
    let mut sums = BTreeMap::new();
    for shard in document["shards"].as_array().expect("shards") {
        for (name, series) in shard["series"].as_object().expect("series") {
            *sums.entry(name.clone()).or_insert(0) += series["count"].as_u64().expect("a count");
        }
    }
    for (name, expected) in [("publish_to_deliver", DELIVERED), ("deliver_to_ack", ACKED)] {
        let merged = &document["merged"][name];
        assert_eq!((&merged["count"], sums[name]), (&json!(expected), expected), "{name}");
        let buckets = merged["buckets"].as_array().expect("buckets");
        assert_eq!(buckets.iter().map(|bucket| bucket[1].as_u64().expect("a count")).sum::<u64>(), expected);
        let figures = ["min", "p50", "p90", "p95", "p99", "p999", "p9999", "max"]
            .map(|name| merged[name].as_f64().expect("a figure"));
        assert!(figures[0] > 0.0 && figures.is_sorted(), "{figures:?}");
    }
    assert_eq!(document["shards"].as_array().map(Vec::len), Some(2));
    // JSON is what one gets without asking.
    assert_eq!(server.json("/v1/histograms")["unit"], "us");
}

#[test]
fn hlog_is_read_by_hdrhistogram() {
    let server = used();
    let response = server.get("/v1/histograms?format=hlog");
    assert_eq!(response.status, 200);
    let mut counts = BTreeMap::new();
    for entry in IntervalLogIterator::new(&response.body) {
        if let LogEntry::Interval(interval) = entry.expect("a log") {
            let tag = interval.tag().expect("a tag").as_str().to_owned();
            let bytes = base64(interval.encoded_histogram());
            let histogram: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).expect("a histogram");
            counts.insert(tag, histogram.len());
        }
    }
    assert_eq!(counts.len(), 6, "{counts:?}");
    for (name, expected) in [("publish_to_deliver", DELIVERED), ("deliver_to_ack", ACKED)] {
        assert_eq!(counts[&format!("{name}.merged")], expected);
        assert_eq!(counts[&format!("{name}.shard0")] + counts[&format!("{name}.shard1")], expected);
        assert!(counts[&format!("{name}.shard0")] > 0 && counts[&format!("{name}.shard1")] > 0, "{counts:?}");
    }
}

#[test]
fn hgrm_is_a_percentile_table_for_each_series() {
    let server = used();
    let text = server.get("/v1/histograms?format=hgrm").text();
    let tables: Vec<&str> = text.split("Value     Percentile TotalCount 1/(1-Percentile)").skip(1).collect();
    assert_eq!(tables.len(), 6);
    let totals: Vec<u64> = tables.iter().map(|table| total(table)).collect();
    assert_eq!(totals[..2], [DELIVERED, ACKED], "merged stands first");
    assert_eq!(totals.iter().sum::<u64>(), 2 * (DELIVERED + ACKED));
}

/// Checks the rows of a table: each is value, percentile, count so far, and 1/(1-percentile); returns the last count.
fn total(table: &str) -> u64 {
    let rows: Vec<Vec<f64>> = table
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
        .map(|line| line.split_whitespace().map(|cell| cell.parse().unwrap_or_else(|_| panic!("{line}"))).collect())
        .collect();
    assert!(rows.len() > 3 && rows.is_sorted_by(|a, b| a[0] <= b[0] && a[1] <= b[1] && a[2] <= b[2]), "{table}");
    assert!(table.contains("#[Mean") && table.contains("#[Max") && table.contains("#[Buckets"));
    rows.last().map_or(0, |row| row[2] as u64)
}

#[test]
fn an_unknown_format_names_those_that_exist() {
    let server = Server::with_shards(1);
    let refused = server.get("/v1/histograms?format=svg");
    assert_eq!((refused.status, refused.code().as_str()), (400, "InvalidField"));
    let message = refused.json()["message"].as_str().unwrap_or_default().to_owned();
    assert!(["json", "hlog", "hgrm"].iter().all(|format| message.contains(format)), "{message}");
    let empty: Value = server.json("/v1/histograms?format=json");
    assert_eq!(empty["merged"]["publish_to_deliver"]["count"], 0);
}

/// Base64 of RFC 4648, section 4.
fn base64(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => c - b'A',
        b'a'..=b'z' => c - b'a' + 26,
        b'0'..=b'9' => c - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        other => panic!("no base64: {other}"),
    };
    let digits: Vec<u8> = text.trim_end_matches('=').bytes().map(value).collect();
    let group = |digits: &[u8]| {
        let bits = digits.iter().enumerate().fold(0_u32, |bits, (at, digit)| bits | u32::from(*digit) << (18 - 6 * at));
        bits.to_be_bytes()[1..digits.len()].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}
