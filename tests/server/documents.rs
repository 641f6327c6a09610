//! One client that asks for documents without end, and reads none of them, costs the server little and nobody else anything.

use crate::common::{Http, Server, Start};
use rustix::process::Signal;
use serde_json::json;
use std::fmt::Write as _;

const STREAMS: usize = 2_000;
const REQUESTS: usize = 3_000;

/// A server with so many streams that a list of them is large.
fn server() -> Server {
    with_streams(Start::new())
}

fn with_streams(start: Start) -> Server {
    let server = start.shards(2).flags("--shutdown-timeout-ms 1000").serve();
    let mut lines = String::new();
    for n in 0..STREAMS {
        let _ = writeln!(lines, "{}", json!({"to": format!("{n:04}{}", "x".repeat(200)), "envelope": {"n": n}}));
    }
    let mut client = Http::connect(server.http);
    let head = format!(
        "POST /v1/enqueue HTTP/1.1\r\nhost: c\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
        lines.len()
    );
    client.send(head.as_bytes());
    client.send(lines.as_bytes());
    assert_eq!(client.response().status, 200);
    server
}

/// Clients that ask, and ask, and do not read.
fn greedy(server: &Server) -> Vec<Http> {
    let ask = |path: &str| {
        let mut client = Http::connect(server.http);
        client.send(format!("GET {path} HTTP/1.1\r\nhost: c\r\n\r\n").repeat(REQUESTS).as_bytes());
        client
    };
    ["/v1/streams", "/v1/metrics", "/metrics", "/v1/snapshot?view=streams"].map(ask).into()
}

#[test]
fn documents_that_nobody_reads_do_not_pile_up() {
    let server = server();
    let document_bytes = server.get("/v1/streams").text().len();
    let before = server.process.peak_bytes();
    let clients = greedy(&server);
    // Others are answered all the while: whoever waits for a round behind those clients gets it.
    for _ in 0..20 {
        for path in ["/v1/histograms", "/v1/metrics", "/v1/streams", "/health"] {
            assert_eq!(server.get(path).status, 200);
        }
    }
    assert_eq!(Http::connect(server.http).post("/v1/admin/reload", "application/json", b"").status, 200);
    let grown = server.process.peak_bytes() - before;
    assert!(document_bytes * REQUESTS > 1 << 30, "{document_bytes} bytes are not worth a test");
    assert!(grown < 200 << 20, "{grown} bytes more");
    drop(clients);
}

#[test]
fn a_server_that_writes_documents_ends_when_it_is_told_to() {
    let mut server = server();
    let clients = greedy(&server);
    assert_eq!(server.get("/v1/histograms").status, 200);
    server.process.signal(Signal::TERM);
    assert_eq!(server.process.exit_code(), 0);
    drop(clients);
}

#[test]
fn documents_that_rules_send_over_websockets_do_not_pile_up_either() {
    const RULES: &str = "version: proto-dsl/v0\nrules:\n  - id: figures\n    when: {ws: {path: /v1/publish, message: {json.match: {op: figures}}}}\n    send: {frame: {type: metrics, respond: {ws: {body: $result}}}}\n";
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("figures-{}.yaml", std::process::id()));
    std::fs::write(&file, RULES).expect("a file");
    let server = with_streams(Start::new().flags(&format!("--rules {}", file.display())));
    let document_bytes = server.get("/v1/metrics").text().len();
    let before = server.process.peak_bytes();
    let mut client = server.publisher();
    for _ in 0..REQUESTS {
        client.send(json!({"op": "figures"}));
    }
    for _ in 0..20 {
        assert_eq!(server.get("/v1/metrics").status, 200);
    }
    let grown = server.process.peak_bytes() - before;
    assert!(document_bytes * REQUESTS > 1 << 30, "{document_bytes} bytes are not worth a test");
    assert!(grown < 200 << 20, "{grown} bytes more");
    let _ = std::fs::remove_file(&file);
}
