//! curl, as people use it at a shell prompt.

use crate::common::foreign::{Ran, curl};
use crate::common::{Process, Server};
use serde_json::{Value, json};
use std::process::Command;

/// The body and, behind it, what `--write-out` appended.
fn with_code(server: &Server, arguments: &[&str], path: &str) -> (String, String) {
    let url = format!("http://{}{path}", server.http);
    let ran = curl(&[arguments, &["--write-out", "\n%{http_code} %{content_type}", &url]].concat());
    assert_eq!(ran.code, 0, "{ran:?}");
    let (body, written) = ran.stdout.rsplit_once('\n').expect("what --write-out appends");
    (body.to_owned(), written.to_owned())
}

fn shell(script: &str) -> Ran {
    Ran::of(Process::start(Command::new("sh").args(["-c", script])))
}

#[test]
fn the_three_lines_that_the_server_prints_work_as_they_stand() {
    let server = Server::with_shards(2);
    let printed = server.process.stdout.text();
    let lines: Vec<&str> = printed.lines().filter_map(|line| line.find("curl ").map(|at| &line[at..])).collect();
    let [enqueue, stats, health] = lines[..] else { panic!("not three lines: {printed}") };

    let stored = shell(enqueue).json();
    assert_eq!((&stored["stream"], &stored["seq"]), (&json!("agents/demo/inbox"), &json!(1)));
    assert_eq!(stored["id"].as_str().map(str::len), Some(36));
    let figures = shell(stats).json();
    assert_eq!((&figures["depth"], &figures["publishedTotal"]), (&json!(1), &json!(1)));
    assert_eq!(shell(health).json()["status"], "ok");
}

#[test]
fn enqueue_keeps_the_envelope_and_its_id() {
    let server = Server::with_shards(2);
    let body = r#"{"to":"agents/user123/inbox","envelope":{"text":"a  b","id":"m-1","n":1e2}}"#;
    let (answer, code) = with_code(&server, &["--data", body], "/v1/enqueue");
    assert_eq!(answer, r#"{"id":"m-1","stream":"agents/user123/inbox","seq":1}"#);
    assert_eq!(code, "200 application/json");
    let mut consumer = server.consume("agents/user123/inbox", "credit=1");
    let tungstenite::Message::Text(frame) = consumer.socket.read().expect("a frame") else { panic!("no text") };
    // Byte for byte, spaces and odd numbers included.
    assert_eq!(frame.as_str(), r#"{"deliver":{"text":"a  b","id":"m-1","n":1e2},"id":"m-1","seq":1,"attempt":1}"#);
}

#[test]
fn every_refusal_says_what_is_wrong() {
    let server = Server::with_shards(2);
    let refused = |arguments: &[&str], path: &str| -> (u16, Value) {
        let (body, code) = with_code(&server, arguments, path);
        let body: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body:?}"));
        assert!(body["error"].is_string() && body["message"].is_string(), "{body}");
        (code[..3].parse().expect("a status"), body)
    };
    let enqueue = |body: &str| refused(&["--data", body], "/v1/enqueue");

    let (status, body) = enqueue("{\"to\":");
    assert_eq!((status, &body["code"], &body["codec"]), (400, &json!("InvalidJSON"), &json!("json")));
    assert_eq!(body["error"], "Request body decode failed");
    assert!(body["details"].is_string());
    let (status, body) = enqueue(r#"{"to":"x"}"#);
    assert_eq!((status, &body["error"]), (400, &json!("Envelope must be an object")));
    let deep = format!(r#"{{"to":"x","envelope":{{"a":{}{}}}}}"#, "[".repeat(31), "]".repeat(31));
    let long = format!(r#"{{"to":"{}","envelope":{{}}}}"#, "s".repeat(256));
    for (body, status, code) in [
        (r#"{"to":"x","envelope":[]}"#, 400, "InvalidEnvelope"),
        (r#"{"envelope":{}}"#, 400, "InvalidField"),
        (r#"{"to":5,"envelope":{}}"#, 400, "InvalidField"),
        (r#"{"to":"x","to":"x","envelope":{}}"#, 400, "InvalidField"),
        (r#"{"to":"","envelope":{}}"#, 400, "InvalidStream"),
        (&long, 400, "InvalidStream"),
        (r#"{"to":"$audit","envelope":{}}"#, 403, "Forbidden"),
        (&deep, 400, "DepthExceeded"),
    ] {
        let (given, told) = enqueue(body);
        assert_eq!((given, &told["code"]), (status, &json!(code)), "{body}");
    }
    for (path, status, code) in [
        ("/v1/stats", 400, "InvalidField"),
        ("/v1/stats?stream=unheard-of", 404, "UnknownStream"),
        ("/v1/nothing", 404, "NotFound"),
        ("/v1/subscribe?stream=x", 426, "UpgradeRequired"),
        ("/v1/histograms?format=gif", 400, "InvalidField"),
        ("/health?x=%zz", 400, "InvalidField"),
    ] {
        let (given, told) = refused(&[], path);
        assert_eq!((given, &told["code"]), (status, &json!(code)), "{path}");
    }
    assert_eq!(server.per_shard("/core/published"), [0, 0]);
}

#[test]
fn another_method_is_answered_with_those_that_are_allowed() {
    let server = Server::with_shards(1);
    for (method, path, allowed) in [
        ("GET", "/v1/enqueue", "POST"),
        ("DELETE", "/v1/stats?stream=x", "GET, HEAD"),
        ("POST", "/health", "GET, HEAD"),
        ("PUT", "/v1/metrics", "GET, HEAD"),
    ] {
        let url = format!("http://{}{path}", server.http);
        let ran = curl(&["--request", method, "--write-out", "\n%{http_code} %header{allow}", &url]);
        assert!(ran.stdout.ends_with(&format!("\n405 {allowed}")), "{method} {path}: {ran:?}");
        assert!(ran.stdout.contains("MethodNotAllowed"));
    }
}

#[test]
fn head_is_answered_like_get_without_the_body() {
    let server = Server::with_shards(2);
    server.publish("s", 0..1);
    for path in ["/health", "/v1/metrics", "/v1/stats?stream=s", "/metrics", "/v1/histograms?format=json"] {
        let (head, code) = with_code(&server, &["--head"], path);
        assert!(code.starts_with("200 "), "{path}: {code}");
        let length =
            head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        assert!(length.is_some_and(|length: usize| length > 100), "{path}: {head}");
    }
    let (_, code) = with_code(&server, &["--head"], "/v1/stats?stream=unheard-of");
    assert!(code.starts_with("404 "));
}

#[test]
fn a_large_body_waits_for_100_continue() {
    let server = Server::with_shards(2);
    for bytes in [1_000_000, 5_000_000] {
        let url = format!("http://{}/v1/enqueue", server.http);
        let script = format!(
            r#"{{ printf '{{"to":"large","envelope":{{"text":"'; head -c {bytes} /dev/zero | tr '\0' x; printf '"}}}}'; }} |
               curl -q -sv --noproxy '*' --max-time 20 -H 'expect: 100-continue' --data-binary @- {url}"#
        );
        let ran = shell(&script);
        assert_eq!(ran.json()["stream"], "large");
        assert!(ran.stderr.contains("< HTTP/1.1 100 Continue"), "{}", ran.stderr);
    }
    let figures = server.stats("large");
    assert!(figures["depth"] == 2 && figures["bytes"].as_u64() > Some(6_000_000), "{figures}");
}

#[test]
fn a_body_beyond_the_limit_is_refused_before_it_is_sent() {
    let server = Server::with_shards(1);
    let url = format!("http://{}/v1/enqueue", server.http);
    for (encoding, seen_before_the_body) in [("", true), ("-H 'transfer-encoding: chunked'", false)] {
        let script = format!(
            "head -c 10485761 /dev/zero | curl -q -sv --noproxy '*' --max-time 20 -H 'expect: 100-continue' {encoding} \
             --write-out '%{{http_code}}' --data-binary @- {url}"
        );
        let ran = shell(&script);
        assert!(ran.stdout.contains("PayloadTooLarge") && ran.stdout.ends_with("413"), "{ran:?}");
        assert_eq!(!ran.stderr.contains("100 Continue"), seen_before_the_body, "{}", ran.stderr);
    }
    assert_eq!(server.json("/health")["ok"], true);
}

#[test]
fn an_expectation_that_is_unknown_fails() {
    let server = Server::with_shards(1);
    let (body, code) = with_code(&server, &["--header", "expect: a-miracle", "--data", "{}"], "/v1/enqueue");
    assert!(body.contains("ExpectationFailed") && code.starts_with("417 "), "{body} {code}");
}

#[test]
fn a_chunked_upload_is_one_message() {
    let server = Server::with_shards(2);
    let body = json!({"to": "chunked", "envelope": {"text": "x".repeat(300_000)}}).to_string();
    let (answer, code) = with_code(
        &server,
        &[
            "--header",
            "transfer-encoding: chunked",
            "--header",
            "content-type: application/json",
            "--data",
            &body[..100_000],
        ],
        "/v1/enqueue",
    );
    assert!(code.starts_with("400 ") && answer.contains("InvalidJSON"), "half a message: {answer}");
    let url = format!("http://{}/v1/enqueue", server.http);
    // From a pipe curl does not know the length, so it sends chunks as they come.
    let script = format!(
        r#"{{ printf '{{"to":"chunked","envelope":{{"text":"'; head -c 300000 /dev/zero | tr '\0' x; printf '"}}}}'; }} |
           curl -q -s --noproxy '*' --max-time 20 -T - -X POST {url}"#
    );
    assert_eq!(shell(&script).json()["seq"], 1);
    let delivery = server.consume("chunked", "credit=1").delivery();
    assert_eq!(delivery.envelope["text"].as_str().map(str::len), Some(300_000));
}

#[test]
fn a_body_that_gzip_has_packed_is_taken_and_others_are_refused_by_name() {
    let server = Server::with_shards(1);
    let url = format!("http://{}/v1/enqueue", server.http);
    let send = |pack: &str, coding: &str| -> (String, Value) {
        let script = format!(
            r#"printf '{{"to":"x","envelope":{{"id":"m-1"}}}}' | {pack} |
               curl -q -s --noproxy '*' --max-time 20 -H 'content-encoding: {coding}' \
               --write-out '\n%{{http_code}} %header{{accept-encoding}}' --data-binary @- {url}"#
        );
        let ran = shell(&script);
        let (body, code) = ran.stdout.rsplit_once('\n').expect("what --write-out appends");
        (code.trim_end().to_owned(), serde_json::from_str(body).expect("JSON"))
    };
    assert_eq!(send("gzip", "gzip"), ("200".to_owned(), json!({"id": "m-1", "stream": "x", "seq": 1})));
    let (code, body) = send("cat", "gzip");
    assert_eq!((&*code, &body["error"]), ("400", &json!("Invalid gzip encoding")), "{body}");
    let (code, body) = send("gzip", "br");
    assert_eq!((&*code, &body["code"]), ("415 gzip, identity", &json!("UnsupportedContentEncoding")), "{body}");
    assert_eq!(server.per_shard("/core/published"), [1]);
}

#[test]
fn a_batch_is_answered_line_by_line() {
    let server = Server::with_shards(2);
    let lines = "{\"to\":\"a\",\"envelope\":{\"id\":\"m-1\"}}\n{\"to\":\"b\",\"envelope\":[]}\n\n{\"to\":\"a\",\"envelope\":{\"id\":\"m-2\"}}";
    let arguments = ["--header", "content-type: application/x-ndjson", "--data-binary", lines];
    let (body, code) = with_code(&server, &arguments, "/v1/enqueue");
    assert!(code.starts_with("200 "), "{code}");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!((&body["accepted"], &body["failed"]), (&json!(2), &json!(1)));
    assert_eq!(body["results"][0], json!({"id": "m-1", "stream": "a", "seq": 1}));
    assert_eq!(body["results"][1]["error"]["code"], "InvalidEnvelope");
    assert_eq!(body["results"][2], json!({"id": "m-2", "stream": "a", "seq": 2}));
}

#[test]
fn connections_are_kept_and_reused() {
    let server = Server::with_shards(2);
    let (health, enqueue) = (format!("http://{}/health", server.http), format!("http://{}/v1/enqueue", server.http));
    let each = ["--output", "/dev/null", "--write-out", "%{http_code} %{num_connects}\n"];
    let bad = ["--data", "not json", &enqueue];
    let good = ["--data", r#"{"to":"x","envelope":{}}"#, &enqueue];
    let ran = curl(
        &[&each[..], &good, &["--next"], &each, &bad, &["--next"], &each, &good, &["--next"], &each, &[&health]]
            .concat(),
    );
    assert_eq!(ran.stdout, "200 1\n400 0\n200 0\n200 0\n", "{ran:?}");
}

#[test]
fn http_1_0_is_spoken_and_ends_with_the_answer() {
    let server = Server::with_shards(2);
    let url = format!("http://{}/v1/enqueue", server.http);
    let ran = curl(&["--http1.0", "--include", "--data", r#"{"to":"old","envelope":{}}"#, &url]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.contains(" 200 OK") && ran.stdout.to_lowercase().contains("connection: close"), "{ran:?}");
    assert_eq!(server.stats("old")["depth"], 1);
}
