//! A message keeps its trace context through a restart, a move to another shard, and a dead letter.

use crate::common::{Http, Start, Ws};
use serde_json::json;
use std::path::PathBuf;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A data directory that goes with the test.
struct Data(PathBuf);

impl Drop for Data {
    fn drop(&mut self) {
        // What stays behind in the temporary directory does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn it_is_delivered_after_a_restart_with_another_number_of_shards() {
    let data = Data(std::env::temp_dir().join(format!("conduit-traces-{}", std::process::id())));
    let flags = |shards: usize| format!("--shards {shards} --data-dir {}", data.0.display());
    let streams: Vec<String> = (0..8).map(|n| format!("t/{n}")).collect();
    let mut server = Start::new().flags(&flags(1)).serve();
    let mut client = Http::connect(server.http);
    for stream in &streams {
        let body = json!({"to": stream, "envelope": {"n": 1}}).to_string();
        let request = format!(
            "POST /v1/enqueue HTTP/1.1\r\nhost: x\r\ntraceparent: {TRACE}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        client.send(request.as_bytes());
        assert_eq!(client.response().status, 200);
        assert_eq!(client.enqueue(stream, &json!({"n": 2})).status, 200);
    }
    drop(client);
    server.terminate();
    assert_eq!(server.process.exit_code(), 0);
    let server = Start::new().flags(&flags(2)).serve();
    for stream in &streams {
        let mut consumer = server.consume(stream, "credit=10");
        let first = consumer.next();
        assert_eq!((&first["deliver"]["n"], &first["traceparent"]), (&json!(1), &json!(TRACE)));
        let second = consumer.next();
        assert_eq!((&second["deliver"]["n"], second.get("traceparent")), (&json!(2), None));
    }
}

#[test]
fn it_travels_between_shards_and_into_dead_letters() {
    let server = Start::new().shards(2).serve();
    let mut publisher: Ws = server.publisher();
    for n in 0..8 {
        publisher.send(json!({"enqueue": {"to": format!("t/{n}"), "envelope": {}, "traceparent": TRACE}, "ref": n}));
        assert_eq!(publisher.next()["ref"], n);
        let mut consumer = server.consume(&format!("t/{n}"), "credit=1");
        assert_eq!(consumer.next()["traceparent"], TRACE);
        consumer.send(json!({"nack": 1, "dead": true}));
        let mut letters = server.consume(&format!("t/{n}.dlq"), "credit=1");
        assert_eq!(letters.next()["traceparent"], TRACE);
    }
    assert!(server.per_shard("/forwarded").iter().sum::<u64>() > 0);
}
