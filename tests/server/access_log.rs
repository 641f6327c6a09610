//! The access logs: every filter of the runbook gives something sensible over the logs of a real server, files can be moved
//! away without losing a line, nothing secret is in them, and an orderly end loses nothing.

use crate::common::http::Http;
use crate::common::process::eventually;
use crate::common::server::{Server, Start};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A directory of its own for each test, gone with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("conduit-access-log-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a directory for temporary files");
        Self(folder)
    }

    fn http(&self) -> PathBuf {
        self.0.join("reports/gateway-http.log.jsonl")
    }

    fn ws(&self) -> PathBuf {
        self.0.join("reports/gateway-ws.log.jsonl")
    }

    /// A server whose logs are here, under the names of the runbook.
    fn start(&self) -> Start {
        Start::new().flags(&format!("--http-log {} --ws-log {}", self.http().display(), self.ws().display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Every line of a log: each has to be JSON.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// Lines of one event.
fn events(lines: &[Value], event: &str) -> Vec<Value> {
    lines.iter().filter(|line| line["event"] == event).cloned().collect()
}

/// Ends the server as service managers do, and waits until it is gone.
fn end(mut server: Server) {
    server.terminate();
    assert_eq!(server.process.exit_code(), 0, "{}", server.process.words());
}

/// What a day brings: requests that work and some that do not, a consumer with credit, acks and nacks.
fn traffic(server: &Server) {
    let mut http = Http::connect(server.http);
    for n in 0..3 {
        assert_eq!(http.enqueue("agents/a/inbox", &json!({"id": format!("m-{n}"), "n": n})).status, 200);
    }
    assert_eq!(http.get("/health").status, 200);
    assert_eq!(http.get("/nowhere").status, 404);
    assert_eq!(http.post("/v1/enqueue", "application/json", b"{\"to\":").status, 400);
    let mut consumer = server.consume("agents/a/inbox", "credit=2");
    let first = consumer.delivery();
    let second = consumer.delivery();
    consumer.send(json!({"ack": first.id}));
    consumer.send(json!({"nack": second.seq, "delayMs": 0}));
    consumer.credit(5);
    assert_eq!(consumer.deliveries(2).len(), 2);
    consumer.close();
}

#[test]
fn every_filter_of_the_runbook_says_something_sensible() {
    let folder = Folder::new("runbook");
    let server = folder.start().serve();
    traffic(&server);
    end(server);
    // The runbook's second server has tokens, and a backend that fails; its lines come after those of the first.
    let secured = folder.start().variable("CONDUIT_TOKENS", "s3cret").serve();
    assert_eq!(Http::connect(secured.http).enqueue("agents/a/inbox", &json!({})).status, 401);
    end(secured);
    // What a server without faults never writes, in the form that it would have.
    let mut unlucky = lines(&folder.http()).swap_remove(0);
    unlucky["status"] = json!(503);
    let mut text = fs::read_to_string(folder.http()).expect("the log");
    text.push_str(&format!("{unlucky}\n"));
    unlucky["durationMs"] = json!(2000.5);
    text.push_str(&format!("{unlucky}\n"));
    fs::write(folder.http(), text).expect("the log");

    let log = lines(&folder.http());
    let of_status = |status: u64| log.iter().filter(|line| line["status"] == status).count();
    let by_status = |output: &str| -> Vec<(u64, u64)> {
        let groups: Vec<Value> = serde_json::from_str(output).unwrap_or_else(|error| panic!("{error}: {output}"));
        groups.iter().map(|group| (group["status"].as_u64().unwrap(), group["count"].as_u64().unwrap())).collect()
    };
    /// What a filter's output has to be like.
    type Check<'a> = Box<dyn Fn(&str) + 'a>;
    let count = |expected: usize| -> Check<'_> {
        Box::new(move |output| assert_eq!(output.trim().parse::<usize>().ok(), Some(expected), "{output}"))
    };
    let mentions = |words: &'static [&'static str]| -> Check<'_> {
        Box::new(move |output| {
            for word in words {
                assert!(output.contains(word), "no {word} in {output}");
            }
        })
    };
    let numbers = |at_least: usize| -> Check<'_> {
        Box::new(move |output| {
            let numbers: Vec<f64> = output.lines().map(|line| line.parse().expect("a number")).collect();
            assert!(numbers.len() >= at_least && numbers.is_sorted(), "{output}");
        })
    };
    let filters: Vec<(&str, Check<'_>)> = vec![
        (
            "jq -s 'group_by(.status) | map({status: .[0].status, count: length})' reports/gateway-http.log.jsonl",
            Box::new(|output| {
                let expected = [200, 400, 401, 404, 503].map(|status| (status, of_status(status) as u64));
                assert_eq!(by_status(output), expected);
            }),
        ),
        ("jq 'select(.durationMs > 1000)' reports/gateway-http.log.jsonl", mentions(&["\"durationMs\": 2000.5"])),
        (
            "jq -r '.tenant' reports/gateway-http.log.jsonl | sort | uniq -c",
            Box::new(|output| {
                assert_eq!(output.split_whitespace().collect::<Vec<_>>(), [&*log.len().to_string(), "default"]);
            }),
        ),
        (
            "jq -r '.url' reports/gateway-http.log.jsonl | sort | uniq -c | sort -rn | head -10",
            Box::new(|output| {
                assert!(output.lines().next().is_some_and(|top| top.ends_with("/v1/enqueue")), "{output}");
            }),
        ),
        (
            "jq 'select(.status >= 500)' reports/gateway-http.log.jsonl | tail -20",
            mentions(&["\"status\": 503", "\"event\""]),
        ),
        (
            "jq -s 'group_by(.url) | map({url: .[0].url, errors: map(select(.status >= 500)) | length})' reports/gateway-http.log.jsonl",
            mentions(&["\"url\": \"/v1/enqueue\"", "\"errors\": 2", "\"errors\": 0"]),
        ),
        (
            "jq 'select(.status >= 400) | {status, url, tenant}' reports/gateway-http.log.jsonl | tail -50",
            mentions(&["\"status\": 404", "\"url\": \"/nowhere\"", "\"tenant\": \"default\"", "\"status\": 401"]),
        ),
        (
            "jq 'select(.status == 401)' reports/gateway-http.log.jsonl",
            mentions(&["http_auth_failed", "\"Unauthorized\""]),
        ),
        ("jq '.durationMs' reports/gateway-http.log.jsonl | sort -n | tail -100", numbers(8)),
        ("tail -n 100 reports/gateway-http.log.jsonl | jq 'select(.status >= 500)'", mentions(&["\"status\": 503"])),
        (
            "jq 'select(.status >= 400) | {ts, url, status, ip, tenant}' reports/gateway-http.log.jsonl | tail -20",
            mentions(&["\"ts\": \"20", "\"ip\": \"127.0.0.1\"", "\"url\"", "\"tenant\""]),
        ),
        (
            "jq 'select(.event == \"credit\")' reports/gateway-ws.log.jsonl | tail -20",
            mentions(&["\"credit\": 5", "\"totalCredit\": 7"]),
        ),
        (
            "jq 'select(.event == \"deliver\") | .latencyMs' reports/gateway-ws.log.jsonl | sort -n | tail -20",
            numbers(4),
        ),
        (
            "jq 'select(.error == \"decode_error\")' reports/gateway-http.log.jsonl",
            mentions(&["\"status\": 400", "\"codec\": \"json\""]),
        ),
        (
            "jq -s 'group_by(.status) | map({status: .[0].status, count: length})' reports/gateway-http.log.jsonl | jq 'sort_by(.count) | reverse'",
            Box::new(|output| assert_eq!(by_status(output)[0].0, 200)),
        ),
        (
            "jq 'select(.status == 401) | {ts, url, ip, tenant}' reports/gateway-http.log.jsonl | tail -20",
            mentions(&["\"ts\"", "\"url\": \"/v1/enqueue\"", "\"ip\": \"127.0.0.1\"", "\"tenant\": \"default\""]),
        ),
        // One JSON object of eighteen lines each, as jq prints them; the count is of lines of text.
        ("jq -c 'select(.event == \"deliver\")' reports/gateway-ws.log.jsonl | wc -l", count(4)),
        (
            "jq 'select(.event == \"deliver\")' reports/gateway-ws.log.jsonl | wc -l",
            Box::new(|output| assert!(output.trim().parse::<usize>().is_ok_and(|lines| lines >= 4), "{output}")),
        ),
    ];
    for (filter, check) in filters {
        let output = Command::new("sh").args(["-ec", filter]).current_dir(&folder.0).output();
        let output = output.unwrap_or_else(|error| panic!("{error}\n  remedy: tests/run.sh installs jq"));
        let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && complained.is_empty(), "{filter}: {complained}");
        assert!(!said.trim().is_empty(), "{filter} says nothing");
        check(&said);
    }
}

#[test]
fn a_message_can_be_followed_from_line_to_line() {
    let folder = Folder::new("followed");
    let server = folder.start().serve();
    traffic(&server);
    end(server);
    let log = lines(&folder.ws());
    let connect = events(&log, "connect").pop().expect("a connect line");
    let connection = connect["connId"].as_str().expect("an id").to_owned();
    assert!(log.iter().all(|line| line["connId"] == connection.as_str() && line["stream"] == "agents/a/inbox"));
    let delivered = events(&log, "deliver");
    let told: Vec<(&str, u64, u64)> = delivered
        .iter()
        .map(|line| (line["msgId"].as_str().unwrap(), line["seq"].as_u64().unwrap(), line["attempt"].as_u64().unwrap()))
        .collect();
    assert_eq!(told[..2], [("m-0", 1, 1), ("m-1", 2, 1)]);
    assert!(told[2..].contains(&("m-1", 2, 2)) && told[2..].contains(&("m-2", 3, 1)), "{told:?}");
    assert!(delivered.iter().all(|line| line["latencyMs"].as_f64().is_some_and(|ms| ms >= 0.0)));
    assert_eq!(events(&log, "ack")[0]["msgId"], "m-0");
    assert_eq!(events(&log, "nack")[0]["seq"], 2);
    let settled = [&events(&log, "ack")[0], &events(&log, "nack")[0]].map(|line| line["latencyMs"].as_f64());
    assert!(settled.iter().all(|ms| ms.is_some_and(|ms| (0.0..60_000.0).contains(&ms))), "{settled:?}");
    let last = log.last().expect("a line");
    assert_eq!((&last["event"], &last["delivers"], &last["totalCredit"]), (&json!("disconnect"), &json!(4), &json!(7)));
}

#[test]
fn a_reader_of_events_is_told_of_as_a_websocket_is() {
    let folder = Folder::new("events");
    let server = folder.start().shards(2).serve();
    let mut reader = Http::connect(server.http);
    reader.send(b"GET /v1/live?stream=agents/b&from=first HTTP/1.1\r\nhost: conduit\r\n\r\n");
    assert_eq!(reader.head().status, 200);
    server.publish("agents/b", 0..3);
    for _ in 0..3 {
        while !reader.line().expect("events").starts_with("data: ") {}
    }
    end(server);
    let log = lines(&folder.ws());
    let told: Vec<_> = log.iter().map(|line| (line["event"].as_str().unwrap(), line["seq"].as_u64())).collect();
    let delivered = |seq| ("deliver", Some(seq));
    assert_eq!(told, [("connect", None), delivered(1), delivered(2), delivered(3), ("disconnect", None)]);
    for line in &log {
        assert!(line["connId"].as_str().is_some_and(|id| id.starts_with("live-")), "{line}");
        assert_eq!((&line["stream"], &line["ip"]), (&json!("agents/b"), &json!("127.0.0.1")));
    }
    assert_eq!(log[4]["delivers"], 3);
}

#[test]
fn moved_files_lose_no_line() {
    let folder = Folder::new("moved");
    let mut server = folder.start().shards(2).serve();
    let mut clients: Vec<Http> = (0..4).map(|_| Http::connect(server.http)).collect();
    let mut asked = 0;
    let mut ask = |clients: &mut Vec<Http>, rounds: usize| {
        for _ in 0..rounds {
            for client in clients.iter_mut() {
                assert_eq!(client.get(&format!("/v1/stats?stream=s-{asked}")).status, 404);
                asked += 1;
            }
        }
    };
    let written = |path: &Path| lines(path).len();
    for (turn, signal) in [Signal::USR1, Signal::HUP, Signal::USR1].into_iter().enumerate() {
        ask(&mut clients, 100);
        eventually("a file with lines", || (written(&folder.http()) > 0).then_some(()));
        fs::rename(folder.http(), folder.0.join(format!("old-{turn}"))).expect("moved");
        ask(&mut clients, 100);
        server.process.signal(signal);
        eventually("a new file", || folder.http().exists().then_some(()));
    }
    ask(&mut clients, 1);
    drop(clients);
    end(server);
    let files = (0..3).map(|turn| folder.0.join(format!("old-{turn}"))).chain([folder.http()]);
    let mut urls: Vec<String> =
        files.flat_map(|file| lines(&file)).map(|line| line["url"].as_str().expect("a url").to_owned()).collect();
    urls.retain(|url| url.starts_with("/v1/stats"));
    urls.sort_unstable();
    let mut expected: Vec<String> = (0..2_404).map(|n| format!("/v1/stats?stream=s-{n}")).collect();
    expected.sort_unstable();
    assert_eq!(urls.len(), expected.len());
    assert!(urls == expected, "every request has its line, once");
}

#[test]
fn nothing_secret_is_ever_written() {
    const SECRETS: [&str; 5] = ["tok-in-a-header", "tok-in-a-url", "payload-of-http", "payload-of-ws", "tasty-cookie"];
    let folder = Folder::new("secrets");
    let server = folder.start().variable("CONDUIT_TOKENS", "tok-in-a-header,tok-in-a-url").serve();
    let body = json!({"to": "s", "envelope": {"id": "m", "payload": "payload-of-http"}}).to_string();
    let request = |target: &str, headers: &str, body: &str| {
        format!("POST {target} HTTP/1.1\r\nhost: c\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
    };
    let mut http = Http::connect(server.http);
    let mut send = |request: String| {
        http.send(request.as_bytes());
        http.response().status
    };
    let header = "authorization: Bearer tok-in-a-header\r\ncookie: a=tasty-cookie\r\nx-token: tok-in-a-url\r\n";
    assert_eq!(send(request("/v1/enqueue", header, &body)), 200);
    let _ = send(request("/v1/enqueue?access_token=tok-in-a-url&a=1", "", &body));
    let _ = send(request("/v1/enqueue?access%5Ftoken=tok-in-a-url", header, "{\"payload-of-http\":"));
    assert_eq!(send(request("/nowhere?token=tok-in-a-url", header, &body)), 404);
    let mut consumer = server.consume("s", "credit=9&access_token=tok-in-a-url");
    consumer.send(json!({"enqueue": {"to": "s", "envelope": {"payload": "payload-of-ws"}}}));
    assert_eq!(consumer.deliveries(2).len(), 2);
    consumer.send(json!({"ack": 1}));
    consumer.send(json!({"what": "payload-of-ws"}));
    let (_, code, _) = consumer.end();
    assert_eq!(code, 1003);
    drop(http);
    end(server);
    for path in [folder.http(), folder.ws()] {
        let text = fs::read_to_string(&path).expect("the log");
        assert!(lines(&path).len() > 2, "{text}");
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
    }
    assert!(fs::read_to_string(folder.http()).expect("the log").contains("access_token=[REDACTED]&a=1"));
}

#[test]
fn an_orderly_end_loses_no_line_and_cuts_are_told() {
    let folder = Folder::new("end");
    let mut server = folder.start().flags("--shutdown-timeout-ms 0").serve();
    let consumer = server.consume("s", "credit=3");
    assert_eq!(server.get("/health").status, 200);
    server.terminate();
    assert_eq!(server.process.exit_code(), 0);
    drop(consumer);
    assert_eq!(lines(&folder.http()).len(), 1);
    let ws = lines(&folder.ws());
    assert_eq!((ws.len(), &ws[0]["event"], &ws[1]["event"]), (2, &json!("connect"), &json!("disconnect")));
}

#[test]
fn a_log_that_cannot_be_opened_fails_the_start_and_names_the_setting() {
    for (flag, value) in [("--http-log", "/dev/null/http"), ("--ws-log", "/proc")] {
        let mut process = Start::new().flags(&format!("{flag} {value}")).process();
        assert_eq!(process.exit_code(), 78);
        let words = process.stderr.whole();
        assert!([flag, value, "remedy:"].iter().all(|word| words.contains(word)), "{words}");
    }
}

#[test]
fn a_full_disk_costs_lines_and_nothing_else() {
    let folder = Folder::new("full");
    let server = Start::new().flags(&format!("--http-log /dev/full --ws-log {}", folder.ws().display())).serve();
    for _ in 0..3 {
        assert_eq!(server.get("/health").status, 200);
    }
    let dropped = eventually("dropped lines", || {
        let logs = server.metrics()["accessLogs"].clone();
        (logs["http"]["dropped"].as_u64() > Some(2)).then_some(logs)
    });
    assert_eq!((&dropped["http"]["failing"], &dropped["ws"]["failing"]), (&json!(true), &json!(false)));
    let text = server.get("/metrics").text();
    assert!(text.contains("conduit_log_lines_failing{log=\"http\"} 1"), "{text}");
    let told = server.process.stderr.text();
    assert_eq!(told.matches("cannot be written").count(), 1, "{told}");
}

#[test]
fn a_server_without_logs_leaves_no_file() {
    let folder = Folder::new("none");
    let server = Start::new().flags("--http-log none --ws-log none").working_directory(&folder.0).serve();
    traffic(&server);
    let mut server = server;
    // Without logs there is nothing to open anew, and no reason to end either.
    server.process.signal(Signal::USR1);
    assert_eq!(server.get("/health").status, 200);
    end(server);
    assert_eq!(fs::read_dir(&folder.0).expect("the folder").count(), 0);
}
