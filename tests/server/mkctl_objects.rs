//! `mkctl` on streams, groups and dead letters, and what publishes and subscriptions can ask for.

use crate::common::foreign::mkctl;
use crate::common::{Server, eventually};
use serde_json::json;

#[test]
fn a_stream_is_created_shown_changed_emptied_and_deleted() {
    let server = Server::with_shards(2);
    let put = ["streams", "put", "a/b c", "--retention", "log", "--log-messages", "7", "--max-deliver", "3", "--json"];
    let created = mkctl(&server, &put).json();
    assert_eq!((&created["created"], &created["stream"]), (&json!(true), &json!("a/b c")));
    assert_eq!(created["retention"], json!({"policy": "log", "maxAgeMs": 0, "maxBytes": 0, "maxMessages": 7}));
    server.publish("a/b c", 0..9);
    let shown = mkctl(&server, &["streams", "show", "a/b c", "--json"]).json();
    assert_eq!((&shown["messages"], &shown["first"], &shown["last"]), (&json!(7), &json!(3), &json!(9)));
    assert_eq!(shown["maxDeliver"], 3, "what the second PUT does not name stays");
    assert_eq!(mkctl(&server, &["streams", "put", "a/b c", "--max-messages", "50", "--json"]).json()["maxDeliver"], 3);

    let people = mkctl(&server, &["streams", "show", "a/b c"]);
    assert!(people.code == 0 && people.stdout.contains("log: at most 7 messages"), "{people:?}");
    let all = mkctl(&server, &["streams", "ls", "--json"]).json();
    assert_eq!(all["streams"][0]["stream"], "a/b c");
    let people = mkctl(&server, &["streams"]);
    assert!(people.stdout.lines().any(|line| line.starts_with("a/b c ")), "{people:?}");

    assert_eq!(mkctl(&server, &["streams", "purge", "a/b c", "--json"]).json()["deleted"], 7);
    assert_eq!(mkctl(&server, &["streams", "show", "a/b c", "--json"]).json()["messages"], 0);
    assert_eq!(mkctl(&server, &["streams", "delete", "a/b c"]).code, 0);
    let gone = mkctl(&server, &["streams", "show", "a/b c"]);
    assert!(gone.code == 1 && gone.stderr.contains("UnknownStream"), "{gone:?}");
}

#[test]
fn groups_are_created_listed_and_deleted_and_each_gets_every_message() {
    let server = Server::with_shards(2);
    assert_eq!(mkctl(&server, &["groups", "put", "jobs", "all", "--from", "first"]).code, 0);
    server.publish("jobs", 0..3);
    let put = mkctl(&server, &["groups", "put", "jobs", "late", "--from", "new", "--ack-wait-ms", "5000", "--json"]);
    let put = put.json();
    assert_eq!((&put["created"], &put["next"], &put["ackWaitMs"]), (&json!(true), &json!(4), &json!(5_000)));
    let first = mkctl(&server, &["sub", "jobs", "--group", "all", "--count", "3", "--json"]);
    assert_eq!(first.json_lines().len(), 3);
    server.publish("jobs", 3..4);
    let hello = ["sub", "jobs", "--group", "late", "--count", "1", "--hello", "--json"];
    let lines = mkctl(&server, &hello).json_lines();
    assert_eq!(lines[0]["subscribed"]["next"], 4, "{lines:?}");
    assert_eq!(lines[1]["deliver"]["n"], 3);

    let listed = mkctl(&server, &["groups", "ls", "jobs", "--json"]).json();
    let names: Vec<_> = listed.as_array().expect("a list").iter().map(|group| group["group"].clone()).collect();
    assert!(names.contains(&json!("late")) && names.contains(&json!("all")), "{names:?}");
    let shown = mkctl(&server, &["groups", "show", "jobs", "all"]);
    assert!(shown.code == 0 && shown.stdout.contains("all"), "{shown:?}");
    assert_eq!(mkctl(&server, &["groups", "delete", "jobs", "all"]).code, 0);
    let gone = mkctl(&server, &["groups", "show", "jobs", "all"]);
    assert!(gone.code == 1 && gone.stderr.contains("UnknownGroup"), "{gone:?}");
}

#[test]
fn reading_for_oneself_takes_nothing_from_anybody() {
    let server = Server::with_shards(1);
    server.publish("jobs", 0..5);
    for _ in 0..2 {
        let seen = mkctl(&server, &["sub", "jobs", "--ephemeral", "--from", "last:2", "--count", "2", "--json"]);
        let seqs: Vec<_> = seen.json_lines().iter().map(|delivery| delivery["seq"].clone()).collect();
        assert_eq!(seqs, [4, 5]);
    }
    assert_eq!(mkctl(&server, &["streams", "show", "jobs", "--json"]).json()["messages"], 5);
}

#[test]
fn what_a_publish_asks_for_is_done() {
    let server = Server::with_shards(1);
    let publish = |more: &[&str]| mkctl(&server, &[&["pub", "jobs", r#"{"n":1}"#, "--json"], more].concat());
    let first = publish(&["--dedup-id", "a"]).json();
    let again = publish(&["--dedup-id", "a"]).json();
    assert_eq!((&again["seq"], &again["id"], &again["duplicate"]), (&first["seq"], &first["id"], &json!(true)));
    publish(&["--delay-ms", "3600000"]).json();
    publish(&["--priority", "3"]).json();
    let came = mkctl(&server, &["sub", "jobs", "--count", "2", "--json"]).json_lines();
    let seqs: Vec<_> = came.iter().map(|delivery| delivery["seq"].clone()).collect();
    assert_eq!(seqs, [3, 1], "the urgent one first, and the delayed one not at all");
    let people = mkctl(&server, &["pub", "jobs", r#"{"n":1}"#, "--dedup-id", "a"]);
    assert!(people.stdout.starts_with("was published before: "), "{people:?}");
    assert_eq!(publish(&["--priority", "4"]).code, 2);
}

#[test]
fn dead_letters_are_listed_shown_redriven_and_purged() {
    let server = Server::with_shards(2);
    assert_eq!(mkctl(&server, &["dlq", "--json"]).json(), json!({"streams": []}));
    server.publish("jobs", 0..3);
    let mut consumer = server.consume("jobs", "credit=3");
    let seqs: Vec<u64> = consumer.deliveries(3).iter().map(|delivery| delivery.seq).collect();
    consumer.send(json!({"nack": seqs, "dead": true, "error": "no such customer"}));
    eventually("three dead letters", || {
        let listed = mkctl(&server, &["dlq", "ls", "--json"]).json();
        (listed["streams"] == json!([{"stream": "jobs", "letters": 3}])).then_some(())
    });
    let letters = mkctl(&server, &["dlq", "show", "jobs", "--limit", "2", "--json"]).json_lines();
    assert_eq!(letters.len(), 2);
    let letter = &letters[0]["envelope"];
    assert_eq!((&letter["reason"], &letter["lastError"]), (&json!("dead"), &json!("no such customer")));
    assert_eq!((&letter["stream"], &letter["seq"], &letter["attempts"]), (&json!("jobs"), &json!(1), &json!(1)));
    let people = mkctl(&server, &["dlq", "show", "jobs"]);
    assert!(people.stdout.lines().count() == 3 && people.stdout.contains("no such customer"), "{people:?}");

    let redriven = mkctl(&server, &["dlq", "redrive", "jobs", "--limit", "1", "--json"]).json();
    assert_eq!(redriven, json!({"stream": "jobs.dlq", "redriven": 1}));
    consumer.credit(1);
    assert_eq!(consumer.delivery().envelope["n"], 0, "it is what was published, and the oldest");
    assert_eq!(mkctl(&server, &["dlq", "purge", "jobs", "--json"]).json()["deleted"], 2);
    assert_eq!(mkctl(&server, &["dlq", "--json"]).json(), json!({"streams": []}));
    assert_eq!(mkctl(&server, &["dlq", "redrive", "jobs", "--json"]).json()["redriven"], 0);
    let unknown = mkctl(&server, &["dlq", "show", "unheard-of"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("UnknownStream"), "{unknown:?}");
}

#[test]
fn nonsense_about_objects_is_exit_code_2() {
    let server = Server::with_shards(1);
    for arguments in [
        &["streams", "show"][..],
        &["streams", "put", "s", "--durability", "always"],
        &["streams", "put", "s", "--log-bytes", "5"],
        &["groups"],
        &["groups", "show", "s"],
        &["dlq", "show", "s", "--limit", "0"],
        &["sub", "s", "--ephemeral", "--group", "g"],
        &["pub", "s", "{}", "--count", "2", "--dedup-id", "a"],
    ] {
        let ran = mkctl(&server, arguments);
        assert!(ran.code == 2 && !ran.stderr.is_empty() && ran.stdout.is_empty(), "{arguments:?}: {ran:?}");
    }
}
