//! `/metrics` is what Prometheus reads: its text format, base units, labels that no client can invent.

use crate::common::{Http, Server};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
struct Page {
    /// Type by family.
    types: BTreeMap<String, String>,
    /// Value by name and labels.
    samples: BTreeMap<(String, BTreeMap<String, String>), f64>,
}

impl Page {
    /// Reads the text format, strictly.
    fn read(text: &str) -> Self {
        let mut page = Self::default();
        let mut family = String::new();
        let mut helped = BTreeSet::new();
        assert!(text.ends_with('\n'));
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, words) = help.split_once(' ').expect("a name and words");
                assert!(helped.insert(name.to_owned()) && !words.is_empty(), "{line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a name and a type");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(helped.contains(name), "a type without a help text: {line}");
                assert!(
                    page.types.insert(name.to_owned(), kind.to_owned()).is_none(),
                    "a family in two pieces: {line}"
                );
                name.clone_into(&mut family);
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                let histogram = page.types[&family] == "histogram";
                assert_eq!(
                    if histogram { base } else { Some(name) },
                    Some(family.as_str()),
                    "out of its family: {line}"
                );
                let labels =
                    labels.strip_suffix('}').expect("closed labels").split(',').filter(|label| !label.is_empty());
                let labels = labels.map(|label| {
                    let (key, text) = label.split_once('=').expect("key and text");
                    let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).expect("quoted");
                    assert!(!text.contains(['"', '\\', '\n']), "{line}");
                    (key.to_owned(), text.to_owned())
                });
                let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
                let before = page.samples.insert((name.to_owned(), labels.collect()), value);
                assert!(before.is_none(), "a series twice: {line}");
            }
        }
        page
    }

    /// The sum over all labels that contain these.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |found: &BTreeMap<String, String>| {
            labels.iter().all(|(key, text)| found.get(*key).is_some_and(|found| found == text))
        };
        let mut values = self
            .samples
            .iter()
            .filter(|((found, with), _)| found == name && fits(with))
            .map(|(_, value)| *value)
            .peekable();
        assert!(values.peek().is_some(), "{name} with {labels:?} is missing");
        values.sum()
    }
}

#[test]
fn the_page_parses_and_its_figures_are_what_happened() {
    for shards in [1, 2] {
        let server = Server::with_shards(shards);
        let mut client = Http::connect(server.http);
        for stream in 0..10 {
            assert_eq!(client.enqueue(&format!("s{stream}"), &json!({})).status, 200);
        }
        assert_eq!(client.post("/v1/enqueue", "application/json", b"?").status, 400);
        let mut consumer = server.consume("s3", "credit=5");
        assert_eq!(consumer.delivery().seq, 1);

        let response = server.get("/metrics");
        assert_eq!(response.field("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        let page = Page::read(&response.text());
        for (name, labels, expected) in [
            ("conduit_http_requests_total", &[("endpoint", "/v1/enqueue")][..], 11.0),
            ("conduit_http_responses_total", &[("status", "400")], 1.0),
            ("conduit_http_request_duration_seconds_count", &[("endpoint", "/v1/enqueue")], 11.0),
            ("conduit_errors_total", &[("code", "InvalidJSON")], 1.0),
            ("conduit_errors_total", &[], 1.0),
            ("conduit_websocket_connections", &[], 1.0),
            ("conduit_streams", &[], 10.0),
            ("conduit_consumers", &[], 1.0),
            ("conduit_messages", &[], 10.0),
            ("conduit_inflight", &[], 1.0),
            ("conduit_credit", &[], 4.0),
            ("conduit_published_total", &[], 10.0),
            ("conduit_delivered_total", &[], 1.0),
            ("conduit_acked_total", &[], 0.0),
            ("conduit_panics_total", &[], 0.0),
            ("conduit_draining", &[], 0.0),
            ("conduit_publish_to_deliver_seconds_count", &[], 1.0),
        ] {
            assert_eq!(page.sum(name, labels), expected, "{name} {labels:?}");
        }
        assert!(page.sum("conduit_uptime_seconds", &[]) > 0.0);

        let shard_labels: BTreeSet<_> = page.samples.keys().filter_map(|(_, labels)| labels.get("shard")).collect();
        assert_eq!(shard_labels.len(), shards);
    }
}

#[test]
fn names_and_units_follow_the_conventions() {
    let server = Server::with_shards(2);
    let page = Page::read(&server.get("/metrics").text());
    for (name, kind) in &page.types {
        assert!(name.starts_with("conduit_") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        assert!(
            !["_ms", "_us", "_ns", "_kb", "_mb"].iter().any(|unit| name.contains(unit)),
            "{name} is in no base unit"
        );
        assert!(kind != "histogram" || name.ends_with("_seconds"), "{name}");
    }
}

#[test]
fn buckets_grow_to_the_count() {
    let server = Server::with_shards(2);
    server.publish("s", 0..50);
    let mut consumer = server.consume("s", "credit=50");
    assert_eq!(consumer.deliveries(50).len(), 50);
    let page = Page::read(&server.get("/metrics").text());
    let mut families = 0;
    for name in page.types.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
        let mut by_labels: BTreeMap<BTreeMap<String, String>, Vec<(f64, f64)>> = BTreeMap::new();
        for ((_, labels), value) in page.samples.iter().filter(|((found, _), _)| *found == format!("{name}_bucket")) {
            let mut labels = labels.clone();
            let edge = labels.remove("le").expect("an edge").replace("+Inf", "inf").parse().expect("a number");
            by_labels.entry(labels).or_default().push((edge, *value));
        }
        for (labels, mut buckets) in by_labels {
            families += 1;
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(buckets.is_sorted_by(|a, b| a.1 <= b.1), "{name} {labels:?}: {buckets:?}");
            let count = page.samples[&(format!("{name}_count"), labels.clone())];
            assert_eq!(buckets.last(), Some(&(f64::INFINITY, count)), "{name} {labels:?}");
            let sum = page.samples[&(format!("{name}_sum"), labels)];
            assert!(sum >= 0.0 && (sum == 0.0 || count > 0.0), "{name}: {count} in {sum} s");
        }
    }
    assert!(families > 4);
}

#[test]
fn no_client_can_add_a_label() {
    let server = Server::with_shards(1);
    let series = |server: &Server| Page::read(&server.get("/metrics").text()).samples.len();
    // Both are asked for twice, so that whatever a first look adds is there.
    assert_eq!(server.get("/v1/nothing").status, 404);
    series(&server);
    let before = series(&server);
    for n in 0..50 {
        server.publish(&format!("stream-{n}"), 0..1);
        assert_eq!(server.get(&format!("/path-{n}")).status, 404);
    }
    assert_eq!(series(&server), before);
}
