//! `GET /v1/metrics`: the runbook's document, with the earlier implementation's `http` and `ws` beside it, so that
//! dashboards made for either read on.

use super::documents::Server;
use super::{HostStats, ShardReport};
use conduit_protocol::telemetry::{CodecStats, Endpoint, EndpointStats};
use conduit_protocol::{ErrorCode, Telemetry};
use conduit_shard::Snapshot;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// The document.
pub(crate) fn write(server: &Server<'_>) -> Value {
    let merged = Merged::of(server.reports);
    let wire = &merged.telemetry;
    json!({
        "streams": merged.core.streams.iter().map(|stream| json!({"id": stream.name, "stats": stream.stats})).collect::<Vec<_>>(),
        "timestamp": timestamp(server.now.unix_ms),
        "uptime": server.uptime_s(),
        "version": env!("CARGO_PKG_VERSION"),
        "gateway": {
            "http": {
                "rules": {},
                "endpoints": endpoints(wire),
                "uploads": {"count": 0, "bytes": 0, "avgMBps": 0, "latency": {"p50Ms": 0, "p95Ms": 0, "p99Ms": 0}},
            },
            "ws": gateway_ws(&merged),
            "errors": errors_by_status(wire),
        },
        "tenants": {},
        "http": http(wire),
        "ws": ws(wire),
        "shards": server.reports.iter().map(shard).collect::<Vec<_>>(),
        "totals": totals(&merged),
    })
}

/// The shards' figures in one.
pub(crate) struct Merged {
    pub(crate) core: Snapshot,
    pub(crate) telemetry: Telemetry,
    pub(crate) host: HostStats,
}

impl Merged {
    /// Adds the reports up. There is at least one: a server has at least one shard.
    pub(crate) fn of(reports: &[ShardReport]) -> Self {
        let (first, others) = reports.split_first().expect("a server has at least one shard");
        let mut merged = Self { core: first.snapshot.clone(), telemetry: first.telemetry.clone(), host: first.host };
        for other in others {
            merged.core.merge(&other.snapshot);
            merged.telemetry.merge(&other.telemetry);
            merged.host.merge(&other.host);
        }
        merged
    }
}

/// Milliseconds of a quantile of a histogram of nanoseconds.
pub(crate) fn quantile_ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    if histogram.is_empty() { 0.0 } else { histogram.value_at_quantile(quantile) as f64 / 1e6 }
}

fn timestamp(unix_ms: u64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms as i64).map_or_else(|_| String::new(), |at| format!("{at:.3}"))
}

fn endpoints(wire: &Telemetry) -> Value {
    let mut all = Map::new();
    for (endpoint, stats) in Endpoint::ALL.iter().zip(&wire.endpoints) {
        let EndpointStats { requests, bytes_in, bytes_out, errors, duration_ns } = stats;
        let error_rate = if *requests == 0 { 0.0 } else { *errors as f64 * 100.0 / *requests as f64 };
        all.insert(
            endpoint.path().to_owned(),
            json!({
                "requests": requests, "bytes": bytes_in, "bytesOut": bytes_out, "errors": errors, "errorRate": error_rate,
                "latency": {
                    "p50Ms": quantile_ms(duration_ns, 0.5),
                    "p95Ms": quantile_ms(duration_ns, 0.95),
                    "p99Ms": quantile_ms(duration_ns, 0.99),
                },
            }),
        );
    }
    Value::Object(all)
}

fn gateway_ws(merged: &Merged) -> Value {
    let totals = &merged.core.totals;
    let latency = &merged.core.publish_to_deliver_ns;
    // What acks give back with refill=ack is granted anew.
    let granted = totals.credit_granted + totals.credit_refilled;
    let used = totals.credit_spent;
    // How much of the windows that consumers hold now is taken by deliveries: 1 means that they wait for credit.
    let window = totals.inflight_now + totals.credit_now;
    let window_util = if window == 0 { 0.0 } else { totals.inflight_now as f64 / window as f64 };
    json!({
        "connections": {"active": merged.telemetry.ws.connections_active, "total": merged.telemetry.ws.connections_total},
        "credit": {"granted": granted, "used": used, "windowUtil": window_util},
        "deliveries": {
            "count": totals.delivered,
            "latency": {
                "p50Ms": quantile_ms(latency, 0.5),
                "p95Ms": quantile_ms(latency, 0.95),
                "p99Ms": quantile_ms(latency, 0.99),
                "avgMs": if latency.is_empty() { 0.0 } else { latency.mean() / 1e6 },
            },
        },
    })
}

/// By status, and by class as dashboards sum them (`"5xx"`).
fn errors_by_status(wire: &Telemetry) -> Value {
    let mut errors = Map::new();
    let mut classes = [0_u64; 2];
    for (status, count) in wire.statuses.iter().filter(|(status, _)| **status >= 400) {
        errors.insert(status.to_string(), json!(count));
        classes[usize::from(*status >= 500)] += count;
    }
    errors.insert("4xx".to_owned(), json!(classes[0]));
    errors.insert("5xx".to_owned(), json!(classes[1]));
    Value::Object(errors)
}

fn http(wire: &Telemetry) -> Value {
    let mut durations = conduit_protocol::telemetry::latency_histogram();
    let (mut requests, mut bytes_in, mut bytes_out) = (0, 0, 0);
    let mut by_path = Map::new();
    for (endpoint, stats) in Endpoint::ALL.iter().zip(&wire.endpoints) {
        requests += stats.requests;
        bytes_in += stats.bytes_in;
        bytes_out += stats.bytes_out;
        by_path.insert(endpoint.path().to_owned(), json!(stats.requests));
        durations.add(&stats.duration_ns).expect("auto-resizing histograms merge");
    }
    let by_status: Map<_, _> = wire.statuses.iter().map(|(status, count)| (status.to_string(), json!(count))).collect();
    let mut by_codec = codecs(&wire.http_codecs);
    by_codec["sizeCapViolations"] = json!(wire.http_size_cap_violations);
    by_codec["depthCapViolations"] = json!(wire.http_depth_cap_violations);
    json!({
        "requestsTotal": requests,
        "bytesIn": bytes_in,
        "bytesOut": bytes_out,
        "requestsByPath": by_path,
        "requestsByStatus": by_status,
        "ruleHits": {},
        "durations": {
            "p50": quantile_ms(&durations, 0.5),
            "p95": quantile_ms(&durations, 0.95),
            "p99": quantile_ms(&durations, 0.99),
            "count": durations.len(),
        },
        "uploads": {"count": 0, "bytesTotal": 0},
        "codecs": by_codec,
    })
}

fn ws(wire: &Telemetry) -> Value {
    let ws = &wire.ws;
    let by_type: Map<_, _> = ErrorCode::ALL
        .iter()
        .zip(&wire.errors)
        .filter(|(_, count)| **count > 0)
        .map(|(code, count)| (code.code().to_owned(), json!(count)))
        .collect();
    json!({
        "connectionsTotal": ws.connections_total,
        "activeConnections": ws.connections_active,
        "messagesIn": ws.messages_in,
        "messagesOut": ws.messages_out,
        "bytesIn": ws.bytes_in,
        "bytesOut": ws.bytes_out,
        "creditsGranted": ws.credits_granted,
        "deliveriesTotal": ws.deliveries_total,
        "errorsTotal": wire.errors.iter().sum::<u64>(),
        "errorsByType": by_type,
        "sizeCapViolations": ws.size_cap_violations,
        "depthCapViolations": ws.depth_cap_violations,
        "codecs": codecs(&ws.codecs),
    })
}

fn codecs(stats: &[CodecStats; 2]) -> Value {
    let [json_stats, msgpack] = stats;
    let both = |of: fn(&CodecStats) -> u64| json!({"json": of(json_stats), "msgpack": of(msgpack)});
    json!({
        "requestsByCodec": both(|codec| codec.requests),
        "bytesInByCodec": both(|codec| codec.bytes_in),
        "bytesOutByCodec": both(|codec| codec.bytes_out),
        "decodeErrorsByCodec": both(|codec| codec.decode_errors),
    })
}

fn shard(report: &ShardReport) -> Value {
    let ShardReport { shard, snapshot, telemetry, host } = report;
    json!({
        "shard": shard.0,
        "connections": host.connections,
        "connectionsTotal": host.accepted_total,
        "connectionsRefused": host.refused_total,
        "acceptErrors": host.accept_errors_total,
        "forwarded": host.forwarded_total,
        "handedOver": host.handed_over_total,
        "panics": host.panics_total,
        "bytesRead": host.bytes_read_total,
        "bytesWritten": host.bytes_written_total,
        "webSockets": telemetry.ws.connections_active,
        "core": snapshot.totals,
        "latency": {
            "publishToDeliver": {
                "p50Ms": quantile_ms(&snapshot.publish_to_deliver_ns, 0.5),
                "p99Ms": quantile_ms(&snapshot.publish_to_deliver_ns, 0.99),
            },
            "deliverToAck": {
                "p50Ms": quantile_ms(&snapshot.deliver_to_ack_ns, 0.5),
                "p99Ms": quantile_ms(&snapshot.deliver_to_ack_ns, 0.99),
            },
        },
    })
}

fn totals(merged: &Merged) -> Value {
    json!({"core": merged.core.totals, "connections": merged.host.connections, "forwarded": merged.host.forwarded_total})
}
