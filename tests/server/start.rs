//! A server that cannot start says why and what to do, and its exit code says of which kind the reason is.

use crate::common::foreign::Ran;
use crate::common::{Http, Server, Start};
use std::net::TcpListener;

fn fails(start: &Start, code: i32, words: &[&str]) {
    let ran = Ran::of(start.process());
    assert_eq!(ran.code, code, "{ran:?}");
    for word in words {
        assert!(ran.stderr.contains(word), "{word:?} is not said: {ran:?}");
    }
    assert_eq!(ran.stdout, "", "a server that does not run announces nothing");
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    for flags in
        [format!("--http-port {} --ws-port 0", address.port()), format!("--http-port 0 --ws-port {}", address.port())]
    {
        fails(
            &Start::new().own_ports().flags(&flags),
            69,
            &[&format!("cannot listen on {address}"), "remedy:", "another process has this port", "--http-port"],
        );
    }
}

#[test]
fn a_second_server_does_not_share_the_ports_of_the_first() {
    let server = Server::with_shards(2);
    let flags = format!("--http-port {} --ws-port {}", server.http.port(), server.ws.port());
    fails(&Start::new().own_ports().flags(&flags), 69, &["another process has this port"]);
    assert_eq!(Http::connect(server.http).get("/health").status, 200);
}

#[test]
fn ports_are_free_again_as_soon_as_a_server_has_ended() {
    let mut first = Server::with_shards(2);
    // A connection that the server closes leaves its end in TIME_WAIT.
    let mut client = Http::connect(first.http);
    assert_eq!(client.get("/health").status, 200);
    first.terminate();
    assert_eq!(first.process.exit_code(), 0);
    let flags = format!("--http-port {} --ws-port {}", first.http.port(), first.ws.port());
    let second = Start::new().own_ports().flags(&flags).serve();
    assert_eq!((second.http, second.ws), (first.http, first.ws));
}

#[test]
fn an_address_of_another_machine_is_refused() {
    fails(&Start::new().flags("--bind 192.0.2.1"), 69, &["cannot listen on 192.0.2.1", "remedy:", "--bind"]);
}

#[test]
fn flags_that_mean_nothing_are_refused() {
    fails(&Start::new().flags("--sards 2"), 2, &["--sards", "--shards"]);
    fails(&Start::new().flags("--shards 0"), 78, &["--shards", "remedy:"]);
    fails(&Start::new().own_ports().flags("--http-port 65536"), 78, &["--http-port", "65535", "remedy:"]);
    fails(
        &Start::new().flags("--stream-messages-max 10 --shard-messages-max 9"),
        78,
        &["--stream-messages-max", "remedy:"],
    );
}

#[test]
fn every_mistake_is_told_at_once() {
    let start = Start::new().flags("--shards none --credit-max -1").variable("CONDUIT_MAX_HEADERS", "many");
    fails(&start, 78, &["3 problems", "--shards", "--credit-max", "CONDUIT_MAX_HEADERS"]);
}

#[test]
fn variables_that_mean_nothing_are_refused() {
    fails(
        &Start::new().variable("CONDUIT_HTP_PORT", "1"),
        78,
        &["CONDUIT_HTP_PORT", "there is no such setting", "did you mean CONDUIT_HTTP_PORT?"],
    );
    // What would protect the server must not be ignored, and a secret must not be shown.
    let start = Start::new().variable("CONDUIT_BLOB_S3_SECRET_ACCESS_KEY", "hush-hush");
    fails(&start, 78, &["CONDUIT_BLOB_S3_SECRET_ACCESS_KEY", "which this version does not have", "remedy:"]);
    assert!(!Ran::of(start.process()).stderr.contains("hush-hush"));
}

#[test]
fn a_flag_beats_its_variable() {
    let server = Start::new().variable("CONDUIT_SHARDS", "2").shards(1).serve();
    assert_eq!(server.json("/health")["shards"], 1);
    let server = Start::new().variable("CONDUIT_SHARDS", "1").serve();
    assert_eq!(server.json("/health")["shards"], 1);
}

#[test]
fn more_shards_than_cores_run_with_a_warning() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let server = Server::with_shards(cores + 1);
    server.publish("s", 0..1);
    assert_eq!(server.json("/health")["shards"], cores + 1);
    let said = server.process.stderr.text();
    let warnings: Vec<&str> = said.lines().filter(|line| line.contains("unpinned")).collect();
    assert!(matches!(warnings[..], [line] if line.contains("WARN")), "{said}");
}

#[test]
fn every_start_succeeds_also_on_a_machine_that_is_busy() {
    // More servers at once than there are cores: their threads lose the core in the middle of everything.
    let waves = 8;
    for _ in 0..waves {
        let starting: Vec<_> = (0..8).map(|_| std::thread::spawn(|| Server::with_shards(2))).collect();
        for server in starting {
            let server = server.join().expect("it starts");
            assert_eq!(server.metrics()["totals"]["connections"], 1);
        }
    }
}

#[test]
fn cpus_that_are_not_there_are_refused() {
    fails(&Start::new().flags("--cpus 4000"), 78, &["--cpus", "4000", "remedy:"]);
}

#[test]
fn too_little_locked_memory_is_told_before_a_ring_fails() {
    fails(
        &Start::new().resource_limit("--memlock=65536:65536"),
        71,
        &["locked-memory limit is 65536 bytes", "remedy:", "LimitMEMLOCK=8M", "ulimit -l"],
    );
    // A soft limit that may be raised is raised.
    let server = Start::new().resource_limit("--memlock=65536:8388608").serve();
    assert_eq!(server.json("/health")["ok"], true);
}

#[test]
fn too_few_open_files_are_told_whatever_they_are() {
    for limit in [6, 10, 14, 18, 30, 55] {
        let limited = Start::new().shards(2).resource_limit(&format!("--nofile={limit}:{limit}"));
        fails(
            &limited,
            71,
            &[
                &format!("the limit on open files is {limit}, 2 shard(s) need 56"),
                "remedy:",
                "LimitNOFILE",
                "ulimit -n",
            ],
        );
    }
    let server = Start::new().shards(2).resource_limit("--nofile=56:56").serve();
    assert_eq!(server.json("/health")["ok"], true);
}

#[test]
fn diagnostics_are_json_lines_when_asked_for() {
    let mut server = Start::new().flags("--log-format json").variable("CONDUIT_LOG_LEVEL", "debug").serve();
    server.terminate();
    assert_eq!(server.process.exit_code(), 0);
    let said = server.process.stderr.whole();
    let lines: Vec<serde_json::Value> =
        said.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    assert!(lines.iter().all(|line| ["timestamp", "level", "message"].iter().all(|name| line[name].is_string())));
    assert!(lines.iter().any(|line| line["message"].as_str().is_some_and(|text| text.starts_with("stopping"))));
}

#[test]
fn checking_the_configuration_starts_nothing() {
    let start = Start::new().flags("--check-config --shards 3").variable("CONDUIT_BIND", "0.0.0.0");
    let ran = Ran::of(start.process());
    assert_eq!(ran.code, 0, "{ran:?}");
    let line = |name: &str| {
        ran.stdout.lines().find(|line| line.starts_with(name)).map(|line| line.split_whitespace().collect::<Vec<_>>())
    };
    assert_eq!(line("shards "), Some(vec!["shards", "3", "flag"]));
    assert_eq!(line("bind "), Some(vec!["bind", "0.0.0.0", "environment"]));
    assert!(ran.stdout.contains("warning:") && ran.stdout.ends_with("the configuration is valid\n"), "{ran:?}");
    fails(&Start::new().flags("--check-config --shards 0"), 78, &["--shards"]);
}
