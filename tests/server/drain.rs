//! Drain: everybody is told, then closed one after the other; whoever has work in flight is waited for; load balancers
//! are told to leave.

use crate::common::foreign::mkctl;
use crate::common::{Http, Server, Start, Ws, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A consumer that holds so many messages.
fn holder(server: &Server, stream: &str, messages: u64) -> Ws {
    server.publish(stream, 0..messages);
    let mut holder = server.consume(stream, &format!("credit={messages}"));
    assert_eq!(holder.deliveries(messages as usize).len() as u64, messages);
    holder
}

/// The frame that comes first.
fn told(socket: &mut Ws) -> Value {
    socket.next()["drain"].take()
}

#[test]
fn everybody_is_told_and_the_idle_are_closed_with_1001() {
    for shards in [1, 2] {
        let mut server =
            Start::new().shards(shards).flags("--drain-alternates wss://b.example.com/v1/subscribe").serve();
        let mut sockets: Vec<Ws> = (0..12).map(|n| server.consume(&format!("s{n}"), "credit=1")).collect();
        sockets.extend((0..12).map(|_| server.publisher()));
        server.terminate();
        for socket in &mut sockets {
            let drain = told(socket);
            assert_eq!(drain["alternates"], json!(["wss://b.example.com/v1/subscribe"]));
            assert!(drain["retryAfterMs"].as_u64() > Some(0), "{drain}");
            let (errors, code, _) = socket.end();
            assert_eq!((errors, code), (vec!["ServerDraining".to_owned()], 1001));
        }
        // The time that it was given is longer than this test waits.
        assert_eq!(server.process.exit_code(), 0);
    }
}

#[test]
fn a_consumer_is_waited_for_until_what_it_has_is_acked() {
    let mut server = Server::with_shards(2);
    let mut consumer = holder(&server, "jobs", 3);
    server.terminate();
    assert!(told(&mut consumer).is_object());
    consumer.send(json!({"ackUpTo": 3}));
    let (errors, code, _) = consumer.end();
    assert_eq!((errors, code), (vec!["ServerDraining".to_owned()], 1001));
    assert_eq!(server.process.exit_code(), 0);
}

#[test]
fn who_does_not_finish_in_time_is_closed_with_1012() {
    let mut server = Start::new().shards(2).flags("--shutdown-timeout-ms 600").serve();
    let mut stubborn: Vec<Ws> = (0..4).map(|n| holder(&server, &format!("s{n}"), 2)).collect();
    let mut idle = server.publisher();
    server.terminate();
    assert_eq!(idle.end().1, 1001);
    for socket in &mut stubborn {
        let (errors, code, reason) = socket.end();
        assert_eq!((errors, code), (vec!["ServerRestarting".to_owned()], 1012));
        assert!(!reason.is_empty());
    }
    assert_eq!(server.process.exit_code(), 0);
}

#[test]
fn whoever_asks_for_health_while_it_drains_is_told_to_go_elsewhere() {
    let mut server = Server::with_shards(2);
    let mut consumer = holder(&server, "jobs", 1);
    server.terminate();
    assert!(told(&mut consumer).is_object());
    // On a connection of its own, as load balancers do.
    let health = server.get("/health");
    assert_eq!((health.status, &health.json()["status"]), (503, &json!("draining")));
    assert_eq!(health.json()["reload"]["isDraining"], true);
    assert_eq!(health.field("connection"), Some("close"));
    let refused = Http::connect(server.http).enqueue("jobs", &json!({}));
    assert_eq!((refused.status, refused.code().as_str()), (503, "ServerDraining"));
    assert_eq!(server.get("/v1/stats?stream=jobs").status, 200, "reading goes on to the end");
    let (errors, code, _) = server.consume("jobs", "credit=1").end();
    assert_eq!((errors, code), (vec!["ServerDraining".to_owned()], 1001));
    consumer.send(json!({"ackUpTo": 1}));
    assert_eq!(consumer.end().1, 1001);
    assert_eq!(server.process.exit_code(), 0);
}

#[test]
fn reading_is_refused_too_when_that_is_wanted() {
    let mut server = Start::new().shards(1).variable("CONDUIT_DRAIN_REJECT_NEW", "true").serve();
    let mut consumer = holder(&server, "jobs", 1);
    server.terminate();
    assert!(told(&mut consumer).is_object());
    let refused = server.get("/v1/stats?stream=jobs");
    assert_eq!((refused.status, refused.code().as_str()), (503, "ServerDraining"));
    let health = server.get("/health");
    assert_eq!(
        (health.status, &health.json()["status"]),
        (503, &json!("draining")),
        "health always answers for itself"
    );
    drop(consumer);
    assert_eq!(server.process.exit_code(), 0);
}

#[test]
fn the_administration_can_end_a_server_and_is_answered_first() {
    for shards in [1, 2] {
        let mut server = Server::with_shards(shards);
        let mut consumer = holder(&server, "jobs", 1);
        let answer = Http::connect(server.http).post("/v1/admin/drain?timeoutMs=19000", "application/json", b"");
        assert_eq!((answer.status, &answer.json()["status"]), (202, &json!("draining")));
        assert_eq!(answer.json()["timeoutMs"], 19_000);
        assert!(told(&mut consumer).is_object());
        // A signal now is the first one: it does not cut anybody.
        server.terminate();
        consumer.send(json!({"ackUpTo": 1}));
        assert_eq!(consumer.end().1, 1001);
        assert_eq!(server.process.exit_code(), 0);
    }
}

#[test]
fn told_again_with_less_time_it_hastens() {
    let mut server = Server::with_shards(2);
    let mut consumer = holder(&server, "jobs", 1);
    server.process.signal(Signal::TERM);
    assert!(told(&mut consumer).is_object());
    let answer = Http::connect(server.http).post("/v1/admin/drain?timeoutMs=100", "application/json", b"");
    assert_eq!(answer.status, 202);
    let (errors, code, _) = consumer.end();
    assert_eq!((errors, code), (vec!["ServerRestarting".to_owned()], 1012));
    assert_eq!(server.process.exit_code(), 0);
}

#[test]
fn a_drain_is_asked_for_by_post_and_in_numbers() {
    let server = Server::with_shards(1);
    let wrong = server.get("/v1/admin/drain");
    assert_eq!((wrong.status, wrong.field("allow")), (405, Some("POST")));
    for query in ["timeoutMs=soon", "timeoutMs=-1", "timeoutMs="] {
        let refused = Http::connect(server.http).post(&format!("/v1/admin/drain?{query}"), "application/json", b"");
        assert_eq!((refused.status, refused.code().as_str()), (400, "InvalidField"), "{query}");
    }
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn mkctl_drains_and_waits() {
    let mut server = Server::with_shards(2);
    let drained = mkctl(&server, &["drain", "--within-ms", "15000", "--wait"]);
    assert_eq!(drained.json()["status"], "draining");
    assert_eq!(server.process.exit_code(), 0);
    assert_eq!(mkctl(&server, &["drain"]).code, 3);
}

#[test]
fn a_consumer_that_mkctl_shows_is_told_where_to_go() {
    let mut server = Start::new().shards(1).flags("--drain-alternates wss://b.example.com").serve();
    let mut consumer = crate::common::Process::start(crate::common::foreign::mkctl_command(&server).args([
        "sub",
        "jobs",
        "--json",
        "--idle-ms",
        "19000",
    ]));
    eventually("a consumer", || {
        let rows = server.json("/v1/snapshot?view=consumers");
        (rows["rows"].as_array().is_some_and(|rows| rows.len() == 1)).then_some(())
    });
    server.terminate();
    assert!(consumer.stdout.line_with("wss://b.example.com").is_some(), "it was not told");
    assert_eq!(consumer.exit_code(), 1);
    assert_eq!(server.process.exit_code(), 0);
}
