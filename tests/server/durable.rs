//! A server with a data directory is killed and started again: what it promised holds, with any number of shards.

use crate::common::foreign::{Ran, mkctl};
use crate::common::process::eventually;
use crate::common::{Http, Server, Start};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A data directory that goes with the test.
struct Data(PathBuf);

impl Data {
    /// Not there yet: the server makes it.
    fn new() -> Self {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("conduit-durable-{}-{number}", std::process::id())))
    }

    fn start(&self, shards: usize) -> Start {
        Start::new()
            .shards(shards)
            .flags("--data-dir")
            .flags(&self.0.to_string_lossy())
            .flags("--segment-bytes 1048576")
            .flags("--max-json-size 131072 --ws-max-message-size 131072 --log-batch-bytes-max 262144")
    }

    fn serve(&self, shards: usize) -> Server {
        self.start(shards).serve()
    }

    /// The one file of a shard's log that has these bytes, and where.
    fn find(&self, shard: usize, bytes: &[u8]) -> (PathBuf, usize) {
        let files = std::fs::read_dir(self.0.join(format!("shard-{shard}"))).expect("the shard's folder");
        let found = files.flatten().find_map(|file| {
            let whole = std::fs::read(file.path()).ok()?;
            let at = whole.windows(bytes.len()).position(|window| window == bytes)?;
            Some((file.path(), at))
        });
        found.expect("the bytes are in the log")
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        // What stays behind in the temporary directory does no harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn kill(mut server: Server) {
    server.process.signal(Signal::KILL);
    server.process.exit();
}

/// Publishes one message; the answer.
fn publish(server: &Server, body: &Value) -> Value {
    let response = Http::connect(server.http).post("/v1/enqueue", "application/json", body.to_string().as_bytes());
    assert_eq!(response.status, 200, "{}", response.text());
    response.json()
}

fn flip(file: &Path, at: usize) {
    let mut bytes = std::fs::read(file).expect("read");
    bytes[at] ^= 1;
    std::fs::write(file, bytes).expect("written");
}

#[test]
fn what_was_answered_is_there_after_a_kill_in_order_with_any_number_of_shards() {
    let data = Data::new();
    let mut server = data.serve(2);
    for stream in 0..8 {
        let answer = publish(&server, &json!({"to": format!("s{stream}"), "envelope": {"n": 0}, "dedupId": "first"}));
        assert_eq!((&answer["durable"], &answer["seq"]), (&json!(true), &json!(1)));
        server.publish(&format!("s{stream}"), 1..6);
    }
    for shards in [3, 1, 1, 2] {
        kill(server);
        server = data.serve(shards);
        for stream in 0..8 {
            let mut consumer = server.consume(&format!("s{stream}"), "ephemeral=1&from=first&credit=6");
            let seqs: Vec<_> = consumer.deliveries(6).iter().map(|delivery| delivery.seq).collect();
            assert_eq!(seqs, [1, 2, 3, 4, 5, 6], "stream {stream} of {shards} shards");
        }
        let repeat = publish(&server, &json!({"to": "s0", "envelope": {"n": 0}, "dedupId": "first"}));
        assert_eq!((&repeat["duplicate"], &repeat["seq"]), (&json!(true), &json!(1)));
    }
    assert_eq!(publish(&server, &json!({"to": "s0", "envelope": {}}))["seq"], 7);
    server.terminate();
    assert_eq!(server.process.exit_code(), 0);
}

#[test]
fn groups_go_on_where_they_were_and_a_dead_letter_is_redriven_once() {
    let data = Data::new();
    let server = data.serve(1);
    mkctl(&server, &["streams", "put", "jobs", "--retention", "log"]);
    server.publish("jobs", 0..5);
    let mut consumer = server.consume("jobs", "group=done&credit=5");
    consumer.deliveries(5);
    consumer.send(json!({"ackUpTo": 3}));
    consumer.send(json!({"nack": 4, "dead": true, "error": "broken"}));
    // A message is given up once its letter is in the log. The answer to a publish that came after says that all of this is in
    // the log too: acks join the next batch.
    eventually("the letter", || {
        let stats = server.get("/v1/stats?stream=jobs.dlq");
        (stats.status == 200 && stats.json()["depth"] == 1).then_some(())
    });
    consumer.send(json!({"enqueue": {"to": "after", "envelope": {}}, "ref": 1}));
    assert_eq!(consumer.next()["ok"]["durable"], true);
    kill(server);
    let server = data.serve(1);
    let mut consumer = server.consume("jobs", "group=done&credit=5&hello=1");
    assert_eq!(consumer.next()["subscribed"]["group"], "done");
    assert_eq!(consumer.delivery().seq, 5, "and nothing that was acked or given up");
    let redrive = || mkctl(&server, &["dlq", "redrive", "jobs"]);
    assert_eq!((redrive().code, redrive().code), (0, 0), "also when there is nothing left to bring back");
    assert_eq!(consumer.delivery().envelope["n"], 3);
}

#[test]
fn a_bad_record_is_told_to_consumers_operators_and_dashboards() {
    for shards in [1, 2] {
        let data = Data::new();
        let server = data.serve(1);
        server.publish("s", 0..8);
        // Behind the batch that goes bad there is another: otherwise it could have been torn by the kill.
        server.publish("s", 8..9);
        kill(server);
        let (file, at) = data.find(0, br#""n":4"#);
        flip(&file, at);
        let verify = Ran::of(crate::common::Process::start(
            std::process::Command::new(env!("CARGO_BIN_EXE_conduit")).args(["log", "verify"]).arg(&data.0),
        ));
        assert!(verify.code == 1 && verify.stdout.contains("damaged"), "{verify:?}");
        let server = data.serve(shards);
        let said = server.process.stderr.line_with("gaps");
        assert!(said.is_some(), "{}", server.process.words());
        let mut consumer = server.consume("s", "credit=9");
        let frames: Vec<Value> = (0..9).map(|_| consumer.next()).collect();
        assert_eq!(frames[4], json!({"gap": {"from": 5, "to": 5}}), "{shards} shards: {frames:?}");
        let figures = server.get("/metrics").text();
        let lost = figures.lines().filter(|line| line.starts_with("conduit_lost_seqs{") && line.ends_with(" 1"));
        assert_eq!(lost.count(), 1, "{figures}");
    }
}

#[test]
fn one_process_at_a_time_uses_the_directory() {
    let data = Data::new();
    let server = data.serve(1);
    let second = Ran::of(data.start(1).process());
    assert_eq!(second.code, 75, "{second:?}");
    assert!(second.stderr.contains("is in use by process") && second.stderr.contains("remedy:"), "{second:?}");
    assert_eq!(publish(&server, &json!({"to": "s", "envelope": {}}))["durable"], true);
}
