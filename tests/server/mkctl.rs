//! `mkctl`: every subcommand against a real server, its JSON, its exit codes, and a reader that leaves early.

use crate::common::foreign::{Ran, mkctl, mkctl_command};
use crate::common::{Http, Process, Server, eventually};
use serde_json::json;
use std::io::{Read, Write};
use std::process::{Command, Stdio};

/// Runs `mkctl` with text on its standard input.
fn fed(server: &Server, arguments: &[&str], input: &str) -> (i32, String, String) {
    let mut command = mkctl_command(server);
    let child = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.expect("mkctl runs");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("mkctl reads");
    let output = child.wait_with_output().expect("mkctl ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

#[test]
fn health_status_and_version_speak_of_the_server() {
    let server = Server::with_shards(2);
    server.publish("s", 0..3);
    let health = mkctl(&server, &["health"]).json();
    assert_eq!((&health["status"], &health["shards"]), (&json!("ok"), &json!(2)));
    let version = mkctl(&server, &["version", "--json"]).json();
    assert_eq!(version, json!({"mkctl": env!("CARGO_PKG_VERSION"), "server": env!("CARGO_PKG_VERSION")}));
    let status = mkctl(&server, &["--json", "status"]).json();
    assert_eq!((&status["health"]["ok"], &status["totals"]["depth"]), (&json!(true), &json!(3)));
    let people = mkctl(&server, &["status"]);
    assert!(people.code == 0 && people.stdout.contains("backlog") && people.stdout.contains(" 3\n"), "{people:?}");
}

#[test]
fn an_address_may_stand_last_or_in_addr() {
    let server = Server::with_shards(1);
    let (http, ws) = (server.http.to_string(), server.ws.to_string());
    for arguments in
        [&["health", &http][..], &["health", &ws], &["health", "--addr", &ws], &["--addr", &http, "health"]]
    {
        let ran =
            Ran::of(Process::start(Command::new(env!("CARGO_BIN_EXE_mkctl")).env_remove("MKCTL_ADDR").args(arguments)));
        assert_eq!(ran.json()["ok"], true);
    }
}

#[test]
fn documents_are_handed_on_as_they_are() {
    let server = Server::with_shards(2);
    server.publish("s", 0..3);
    assert_eq!(mkctl(&server, &["metrics"]).json()["totals"]["core"]["published"], 3);
    assert!(mkctl(&server, &["metrics", "--prometheus"]).stdout.contains("\nconduit_published_total{shard="));
    let stats = mkctl(&server, &["stats", "s", "--json"]).json();
    assert_eq!((&stats["depth"], &stats["publishedTotal"]), (&json!(3), &json!(3)));
    assert!(mkctl(&server, &["histograms"]).stdout.contains("1/(1-Percentile)"));
    assert!(mkctl(&server, &["histograms", "--format", "hlog"]).stdout.contains("Tag=publish_to_deliver.merged"));
    assert_eq!(mkctl(&server, &["histograms", "--format", "json"]).json()["unit"], "us");
}

#[test]
fn what_pub_publishes_sub_takes_and_acks() {
    for codec in ["json", "msgpack"] {
        let server = Server::with_shards(2);
        let one = mkctl(&server, &["pub", "jobs", r#"{"id":"m-1","text":"hello"}"#, "--json", "--codec", codec]).json();
        assert_eq!(one, json!({"id": "m-1", "stream": "jobs", "seq": 1}));
        assert_eq!(mkctl(&server, &["pub", "jobs", "{}", "--count", "4", "--codec", codec]).code, 0);
        let lines: String = (0..1_200).map(|n| format!("{{\"n\":{n}}}\n")).collect();
        let (code, _, stderr) =
            fed(&server, &["pub", "jobs", "--codec", codec], if codec == "json" { &lines } else { "{}\n" });
        assert_eq!(code, 0, "{stderr}");
        let published = server.stats("jobs")["publishedTotal"].as_u64().expect("a total");
        assert_eq!(published, if codec == "json" { 1_205 } else { 6 });

        let taken = mkctl(&server, &["sub", "jobs", "--count", "3", "--json", "--codec", codec]).json_lines();
        assert_eq!(taken.len(), 3);
        assert_eq!(taken[0], json!({"deliver": {"id": "m-1", "text": "hello"}, "id": "m-1", "seq": 1, "attempt": 1}));
        eventually("three acks", || (server.stats("jobs")["ackedTotal"] == 3).then_some(()));
        let rest = mkctl(&server, &["sub", "jobs", "--idle-ms", "300", "--codec", codec]);
        assert_eq!((rest.code, rest.stdout.lines().count() as u64), (0, published - 3), "{}", rest.stderr);
        eventually("all acks", || (server.stats("jobs")["ackedTotal"] == published).then_some(()));
    }
}

#[test]
fn tail_and_sub_without_acks_give_messages_back() {
    let server = Server::with_shards(2);
    server.publish("jobs", 0..5);
    let seen = mkctl(&server, &["tail", "jobs", "--count", "3", "--json"]).json_lines();
    assert!(seen.iter().map(|delivery| &delivery["seq"]).eq([1, 2, 3].iter()), "{seen:?}");
    eventually("they are back", || (server.stats("jobs")["depth"] == 5).then_some(()));
    let seen = mkctl(&server, &["tail", "jobs", "--idle-ms", "100"]);
    assert_eq!((seen.code, seen.stdout.lines().count()), (0, 5));
    eventually("they are back", || (server.stats("jobs")["depth"] == 5).then_some(()));
    assert_eq!(mkctl(&server, &["sub", "jobs", "--no-ack", "--count", "5"]).stdout.lines().count(), 5);
    eventually("they are back", || (server.stats("jobs")["depth"] == 5).then_some(()));
    assert_eq!(server.stats("jobs")["ackedTotal"], 0);
}

#[test]
fn top_prints_one_table_where_there_is_no_terminal() {
    let server = Server::with_shards(2);
    server.publish("short", 0..1);
    server.publish("long", 0..9);
    let top = mkctl(&server, &["top", "--sort", "depth"]);
    assert_eq!(top.code, 0, "{top:?}");
    let order: Vec<&str> = top
        .stdout
        .lines()
        .filter_map(|line| ["long", "short"].into_iter().find(|name| line.starts_with(name)))
        .collect();
    assert_eq!(order, ["long", "short"], "{}", top.stdout);
    let top = mkctl(&server, &["top", "--once", "--json", "--sort", "name"]).json();
    assert_eq!((&top["streams"][0]["id"], &top["streams"][1]["depth"]), (&json!("long"), &json!(1)));
}

#[test]
fn a_no_of_the_server_is_exit_code_1() {
    let mut server = Server::with_shards(1);
    let unknown = mkctl(&server, &["stats", "unheard-of"]);
    assert!(unknown.code == 1 && unknown.stderr.contains("UnknownStream"), "{unknown:?}");
    assert_eq!(mkctl(&server, &["pub", "$audit", "{}"]).code, 1);
    assert_eq!(mkctl(&server, &["sub", "$audit", "--count", "1"]).code, 1);
    let (code, stdout, stderr) = fed(&server, &["pub", "jobs"], "{\"n\":1}\nnot json\n{\"n\":2}\n[]\n");
    assert_eq!(code, 1, "{stdout}{stderr}");
    assert!(stderr.contains("line 2") && stderr.contains("line 4"), "{stderr}");
    assert_eq!(server.stats("jobs")["depth"], 2, "the other lines were published");

    // While it drains.
    let mut busy = Http::connect(server.http);
    busy.send(b"POST /v1/enqueue HTTP/1.1\r\nhost: conduit\r\nexpect: 100-continue\r\ncontent-length: 24\r\n\r\n");
    assert_eq!(busy.response().status, 100);
    server.terminate();
    server.is_stopping();
    assert!([1, 3].contains(&mkctl(&server, &["health"]).code), "it is healthy no more");
}

#[test]
fn nonsense_on_the_command_line_is_exit_code_2() {
    let server = Server::with_shards(1);
    for arguments in [
        &[][..],
        &["helth"],
        &["health", "--nonsense"],
        &["health", "not an address"],
        &["stats"],
        &["pub", "jobs", "not json"],
        &["pub", "jobs", "[]"],
        &["sub", "jobs", "--count", "0"],
    ] {
        let ran = mkctl(&server, arguments);
        assert!(ran.code == 2 && !ran.stderr.is_empty() && ran.stdout.is_empty(), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn no_server_is_exit_code_3() {
    // Bound and never listened on: nobody else can get this port meanwhile.
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).expect("a socket");
    rustix::net::bind(&socket, &std::net::SocketAddr::from(([127, 0, 0, 1], 0))).expect("a port");
    let address: std::net::SocketAddr =
        rustix::net::getsockname(&socket).expect("a name").try_into().expect("an address");
    let address = address.to_string();
    for arguments in [
        &["health"][..],
        &["status"],
        &["metrics"],
        &["stats", "s"],
        &["pub", "s", "{}"],
        &["sub", "s"],
        &["tail", "s"],
        &["top"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mkctl"));
        let ran = Ran::of(Process::start(command.env("MKCTL_ADDR", &address).args(arguments)));
        assert!(ran.code == 3 && ran.stderr.contains(&address), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let server = Server::with_shards(2);
    server.publish("jobs", 0..5_000);
    for arguments in [&["sub", "jobs"][..], &["tail", "jobs", "--count", "5000"], &["histograms"]] {
        let mut command = mkctl_command(&server);
        let mut child =
            command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("mkctl runs");
        let mut some = [0; 10];
        child.stdout.take().expect("a pipe").read_exact(&mut some).expect("some output");
        // The pipe is closed now.
        let output = child.wait_with_output().expect("mkctl ends");
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), words.as_str()), (Some(0), ""), "{arguments:?}");
    }
    // Nothing is acked that nobody could read.
    let stats = eventually("what was not acked is back", || {
        let stats = server.stats("jobs");
        (stats["inflight"] == 0).then_some(stats)
    });
    let total = |name: &str| stats[name].as_u64().expect(name);
    assert_eq!(total("depth") + total("ackedTotal"), 5_000, "{stats}");
}

#[test]
fn help_names_every_subcommand() {
    let help = Ran::of(Process::start(Command::new(env!("CARGO_BIN_EXE_mkctl")).arg("--help")));
    assert_eq!(help.code, 0);
    for subcommand in [
        "health",
        "status",
        "version",
        "metrics",
        "stats",
        "histograms",
        "pub",
        "sub",
        "tail",
        "top",
        "streams",
        "groups",
        "dlq",
    ] {
        assert!(help.stdout.contains(&format!("\n  {subcommand} ")), "{subcommand} is not in {}", help.stdout);
        let own = Ran::of(Process::start(Command::new(env!("CARGO_BIN_EXE_mkctl")).args([subcommand, "--help"])));
        assert!(own.code == 0 && own.stdout.contains("--json"), "{own:?}");
    }
}
