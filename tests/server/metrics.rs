//! `/v1/metrics` has the runbook's fields and the earlier implementation's, and its figures are what happened.

use crate::common::{Http, Server, eventually};
use serde_json::{Value, json};

#[test]
fn errors_are_counted_on_the_wire_that_tells_them() {
    let server = Server::with_shards(1);
    assert_eq!(server.get("/v1/stats?stream=unheard-of").status, 404);
    let mut publisher = server.publisher();
    publisher.send(json!({"nonsense": 1}));
    assert_eq!(publisher.end().1, 1003);
    let metrics = server.metrics();
    assert_eq!(at(&metrics, "/http/errorsByType"), &json!({"UnknownStream": 1}));
    assert_eq!(at(&metrics, "/ws/errorsByType"), &json!({"UnknownOp": 1}));
    assert_eq!(at(&metrics, "/ws/errorsTotal"), &json!(1));
}

/// 10 accepted (one of them in a batch beside a refused line), 2 refused requests; 6 delivered, one of them twice; 5 acked.
fn traffic(server: &Server) {
    let mut client = Http::connect(server.http);
    for n in 0..9 {
        assert_eq!(client.enqueue("orders", &json!({"n": n})).status, 200);
    }
    let batch = "{\"to\":\"orders\",\"envelope\":{\"n\":9}}\n{\"to\":\"orders\",\"envelope\":5}\n";
    assert_eq!(client.post("/v1/enqueue", "application/x-ndjson", batch.as_bytes()).status, 200);
    assert_eq!(client.post("/v1/enqueue", "application/json", b"no json").status, 400);
    assert_eq!(client.get("/v1/stats?stream=unheard-of").status, 404);

    let mut consumer = server.consume("orders", "credit=6");
    assert_eq!(consumer.deliveries(6).len(), 6);
    consumer.send(json!({"nack": 1}));
    consumer.send(json!({"credit": 1}));
    assert_eq!(consumer.delivery().attempt, 2);
    consumer.send(json!({"ackUpTo": 5}));
    eventually("five acks", || (server.stats("orders")["ackedTotal"] == 5).then_some(()));
    consumer.close();
    eventually("the consumer is gone", || (server.stats("orders")["consumers"] == 0).then_some(()));
}

/// The value at a path, which has to be there.
fn at<'v>(metrics: &'v Value, pointer: &str) -> &'v Value {
    metrics.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is missing in {metrics}"))
}

#[test]
fn the_figures_are_what_happened() {
    for shards in [1, 2] {
        let server = Server::with_shards(shards);
        traffic(&server);
        let metrics = server.metrics();
        for (pointer, expected) in [
            ("/streams/0/id", json!("orders")),
            ("/streams/0/stats/depth", json!(5)),
            ("/streams/0/stats/inflight", json!(0)),
            ("/streams/0/stats/publishedTotal", json!(10)),
            ("/streams/0/stats/deliveredTotal", json!(7)),
            ("/streams/0/stats/redeliveredTotal", json!(1)),
            ("/streams/0/stats/ackedTotal", json!(5)),
            ("/gateway/http/endpoints/~1v1~1enqueue/requests", json!(11)),
            ("/gateway/http/endpoints/~1v1~1enqueue/errors", json!(1)),
            ("/gateway/ws/connections/active", json!(0)),
            ("/gateway/ws/connections/total", json!(1)),
            ("/gateway/ws/credit/granted", json!(7)),
            ("/gateway/ws/credit/used", json!(7)),
            ("/gateway/ws/credit/windowUtil", json!(0.0)),
            ("/gateway/ws/deliveries/count", json!(7)),
            ("/gateway/errors/400", json!(1)),
            ("/gateway/errors/404", json!(1)),
            ("/gateway/errors/4xx", json!(2)),
            ("/gateway/errors/5xx", json!(0)),
            ("/http/requestsByPath/~1v1~1enqueue", json!(11)),
            ("/http/requestsByStatus/400", json!(1)),
            ("/http/codecs/decodeErrorsByCodec/json", json!(1)),
            ("/ws/connectionsTotal", json!(1)),
            ("/ws/activeConnections", json!(0)),
            ("/ws/messagesIn", json!(3)),
            ("/ws/creditsGranted", json!(7)),
            ("/ws/deliveriesTotal", json!(7)),
            ("/http/errorsByType/UnknownStream", json!(1)),
            ("/http/errorsByType/InvalidJSON", json!(1)),
            ("/ws/errorsTotal", json!(0)),
        ] {
            assert_eq!(at(&metrics, pointer), &expected, "{pointer}");
        }
        assert_eq!(metrics["streams"].as_array().map(Vec::len), Some(1));
        let rate = at(&metrics, "/gateway/http/endpoints/~1v1~1enqueue/errorRate").as_f64().expect("a rate");
        assert!((rate - 100.0 / 11.0).abs() < 1e-9, "{rate}");
    }
}

#[test]
fn the_fields_that_dashboards_read_are_there() {
    let server = Server::with_shards(2);
    traffic(&server);
    let metrics = server.metrics();
    assert!(at(&metrics, "/uptime").as_f64() > Some(0.0));
    let timestamp = at(&metrics, "/timestamp").as_str().expect("a text");
    assert!(timestamp.len() == 24 && timestamp.ends_with('Z') && timestamp.as_bytes()[10] == b'T', "{timestamp}");
    for latency in ["/gateway/http/endpoints/~1v1~1enqueue/latency", "/gateway/ws/deliveries/latency"] {
        let figure = |name: &str| at(&metrics, &format!("{latency}/{name}")).as_f64().expect("milliseconds");
        let (p50, p95, p99) = (figure("p50Ms"), figure("p95Ms"), figure("p99Ms"));
        assert!(0.0 <= p50 && p50 <= p95 && p95 <= p99 && p99 < 60_000.0, "{latency}: {p50} {p95} {p99}");
    }
    for pointer in [
        "/streams/0/stats/rateIn",
        "/streams/0/stats/rateOut",
        "/streams/0/stats/latP50",
        "/streams/0/stats/latP95",
        "/gateway/http/rules",
        "/gateway/http/uploads/count",
        "/gateway/http/uploads/latency/p95Ms",
        "/gateway/ws/deliveries/latency/avgMs",
        "/http/durations/p99",
        "/http/codecs/sizeCapViolations",
        "/http/codecs/depthCapViolations",
        "/ws/sizeCapViolations",
        "/ws/depthCapViolations",
        "/ws/bytesIn",
        "/ws/bytesOut",
    ] {
        assert!(!at(&metrics, pointer).is_null(), "{pointer}");
    }
}

#[test]
fn the_windows_fill_with_deliveries_and_empty_with_acks() {
    let server = Server::with_shards(2);
    server.publish("orders", 0..3);
    let mut consumer = server.consume("orders", "credit=4&refill=ack");
    assert_eq!(consumer.deliveries(3).len(), 3);
    assert_eq!(at(&server.metrics(), "/gateway/ws/credit/windowUtil"), &json!(0.75));
    consumer.send(json!({"ackUpTo": 3}));
    eventually("an empty window", || {
        (at(&server.metrics(), "/gateway/ws/credit/windowUtil") == &json!(0.0)).then_some(())
    });
}

#[test]
fn totals_are_the_sum_of_the_shards() {
    let server = Server::with_shards(2);
    for stream in 0..16 {
        server.publish(&format!("s{stream}"), 0..5);
    }
    let metrics = server.metrics();
    for figure in ["published", "messagesNow", "streamsNow", "bytesNow"] {
        let shards = metrics["shards"].as_array().expect("shards").iter();
        let sum: u64 = shards.map(|shard| shard["core"][figure].as_u64().expect(figure)).sum();
        assert_eq!(at(&metrics, &format!("/totals/core/{figure}")), sum, "{figure}");
    }
    assert_eq!(at(&metrics, "/totals/core/published"), 80);
    assert_eq!(metrics["streams"].as_array().map(Vec::len), Some(16));
}

#[test]
fn many_askers_at_once_all_get_the_document() {
    let server = Server::with_shards(2);
    let mut clients: Vec<Http> = (0..50).map(|_| Http::connect(server.http)).collect();
    for client in &mut clients {
        client.send(&b"GET /v1/metrics HTTP/1.1\r\nhost: conduit\r\n\r\n".repeat(4));
    }
    for client in &mut clients {
        for _ in 0..4 {
            assert!(client.response().json()["totals"].is_object());
        }
    }
}
