//! The commands of the operations runbook about health and metrics, as they are written there but for the port.

use crate::common::foreign::Ran;
use crate::common::{Process, Server};
use serde_json::Value;
use std::process::Command;

/// Runs a line of the shell and reads what it prints as JSON.
fn line(server: &Server, text: &str) -> Value {
    let text =
        text.replace("localhost:9087", &server.http.to_string()).replace("localhost:3000", &server.http.to_string());
    let ran = Ran::of(Process::start(Command::new("sh").args(["-c", &text])));
    assert_eq!(ran.code, 0, "{text}: {ran:?}");
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{text}: {error}: {ran:?}"))
}

#[test]
fn every_line_about_metrics_gives_sensible_output() {
    let server = Server::with_shards(2);
    server.publish("jobs", 0..5);
    let mut consumer = server.consume("jobs", "credit=3");
    assert_eq!(consumer.deliveries(3).len(), 3);
    assert_eq!(server.get("/v1/nowhere").status, 404);

    let of = |text: &str| line(&server, text);
    assert_eq!(of("curl -s http://localhost:9087/health")["status"], "ok");
    assert!(of("curl -s http://localhost:9087/v1/metrics | jq .")["streams"][0]["stats"]["depth"].is_u64());
    let connections = of("curl -s http://localhost:3000/v1/metrics | jq '.gateway.ws.connections'");
    assert_eq!((&connections["active"], &connections["total"]), (&Value::from(1), &Value::from(1)));
    let credit = of("curl -s http://localhost:3000/v1/metrics | jq '.gateway.ws.credit'");
    assert_eq!(
        (&credit["granted"], &credit["used"], credit["windowUtil"].as_f64()),
        (&Value::from(3), &Value::from(3), Some(1.0))
    );
    let endpoints = of("curl -s http://localhost:9087/v1/metrics | jq '.gateway.http.endpoints'");
    let enqueue = &endpoints["/v1/enqueue"];
    for figure in ["requests", "bytes", "errors", "errorRate"] {
        assert!(enqueue[figure].is_number(), "{figure}: {enqueue}");
    }
    let latency = of("curl -s http://localhost:9087/v1/metrics | jq '.gateway.http.uploads.latency'");
    assert!(latency["p50Ms"].is_number() && latency["p99Ms"].is_number(), "{latency}");
    assert_eq!(of("curl -s http://localhost:9087/v1/metrics | jq '.gateway.ws.connections.active'"), 1);
    let uploads = of("curl -s http://localhost:9087/v1/metrics | jq '.gateway.http.uploads'");
    assert!(uploads["count"].is_number() && uploads["avgMBps"].is_number(), "{uploads}");
    let slowest = of(
        "curl -s http://localhost:9087/v1/metrics | jq '.gateway.http.endpoints | to_entries | sort_by(.value.latency.p95Ms) | reverse | .[0:5]'",
    );
    assert_eq!(slowest.as_array().map(Vec::len), Some(5), "{slowest}");
    assert!(slowest[0]["value"]["latency"]["p95Ms"].as_f64() > Some(0.0), "{slowest}");
    let tenants = of("curl -s http://localhost:9087/v1/metrics | jq '.tenants'");
    for figure in ["activeConnections", "totalConnections", "messagesDelivered", "bytesDelivered"] {
        assert!(tenants["default"][figure].as_u64() > Some(0), "{figure}: {tenants}");
    }
    let activity = of(
        "curl -s http://localhost:9087/v1/metrics | jq '{http: .gateway.http.endpoints, ws: .gateway.ws.connections}'",
    );
    assert!(activity["http"].is_object() && activity["ws"]["active"] == 1, "{activity}");
    let errors = of("curl -s http://localhost:9087/v1/metrics | jq '.gateway.errors'");
    assert_eq!((&errors["404"], &errors["4xx"], &errors["5xx"]), (&Value::from(1), &Value::from(1), &Value::from(0)));
}
