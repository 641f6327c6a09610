//! `GET /v1/metrics`: the runbook's document, with the earlier implementation's `http` and `ws` beside it, so that
//! dashboards made for either read on.

use super::documents::{Server, tenant_name, timestamp};
use super::{HostStats, ShardReport};
use conduit_protocol::access_log::{LineFigures, LogFile};
use conduit_protocol::telemetry::{CodecStats, Endpoint, EndpointStats};
use conduit_protocol::tenant_stats::{TenantFigures, TenantStats};
use conduit_protocol::{ErrorCode, Policy, Telemetry, TenantId};
use conduit_shard::{Snapshot, StreamSnapshot};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// The document.
pub(crate) fn write(server: &Server<'_>) -> Value {
    let merged = Merged::of(server.reports);
    let wire = &merged.telemetry;
    json!({
        "streams": merged.core.streams.iter().map(|stream| stream_json(server.policy, stream)).collect::<Vec<_>>(),
        "timestamp": timestamp(server.now.unix_ms),
        "uptime": server.uptime_s(),
        "version": env!("CARGO_PKG_VERSION"),
        "gateway": {
            "http": {
                "rules": rule_hits(server.policy, wire),
                "endpoints": endpoints(wire),
                "uploads": {"count": 0, "bytes": 0, "avgMBps": 0, "latency": {"p50Ms": 0, "p95Ms": 0, "p99Ms": 0}},
            },
            "ws": gateway_ws(&merged),
            "live": {
                "connections": {"active": wire.live.connections_active, "total": wire.live.connections_total},
                "events": wire.live.events_total,
            },
            "errors": errors_by_status(wire),
        },
        "tenants": tenants(server).into_iter().map(|(_, name, stats)| (name, stats)).collect::<Map<_, _>>(),
        "http": http(server.policy, wire),
        "ws": ws(wire),
        "reload": reload(server),
        "accessLogs": access_logs(&merged),
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

fn access_logs(merged: &Merged) -> Value {
    let of = |file: LogFile| {
        let (LineFigures { lines, left_out, dropped }, is_failing) = merged.host.lines.of(file);
        (
            file.name().to_owned(),
            json!({"lines": lines, "dropped": dropped, "leftOut": left_out, "failing": is_failing}),
        )
    };
    Value::Object(LogFile::ALL.map(of).into_iter().collect())
}

/// Milliseconds of a quantile of a histogram of nanoseconds.
pub(crate) fn quantile_ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    if histogram.is_empty() { 0.0 } else { histogram.value_at_quantile(quantile) as f64 / 1e6 }
}

/// Two tenants may have streams of one name: each but the default tenant's says whose it is.
fn stream_json(policy: &Policy, stream: &StreamSnapshot) -> Value {
    let mut value = json!({"id": stream.name, "stats": stream.stats});
    if stream.tenant != TenantId::DEFAULT {
        value["tenant"] = json!(tenant_name(policy, stream.tenant));
    }
    value
}

/// The tenants that are configured or were counted, the default one last: what the others leave of the server's figures is
/// its own.
pub(crate) fn tenants(server: &Server<'_>) -> Vec<(TenantId, String, Value)> {
    let mut figures = TenantFigures::default();
    let mut rest = TenantStats::default();
    for report in server.reports {
        let wire = &report.telemetry;
        figures.merge(&wire.tenants);
        rest.merge(&TenantStats {
            requests: wire.endpoints.iter().map(|endpoint| endpoint.requests).sum(),
            bytes_in: wire.endpoints.iter().map(|endpoint| endpoint.bytes_in).sum(),
            uploads: 0,
            errors: wire.errors.iter().sum(),
            connections_total: wire.ws.connections_total,
            connections_active: wire.ws.connections_active,
            messages_in: wire.ws.messages_in,
            messages_delivered: wire.ws.deliveries_total + wire.live.events_total,
            bytes_delivered: wire.ws.delivery_bytes_total + wire.live.event_bytes_total,
        });
    }
    for id in server.policy.tenants.by_id.keys() {
        // Makes a place for one that has done nothing yet.
        figures.count(*id, |_| {});
    }
    let mut all: Vec<_> =
        figures.iter().map(|(id, stats)| (id, tenant_name(server.policy, id), tenant_json(stats))).collect();
    all.sort_by(|(_, one, _), (_, other, _)| one.cmp(other));
    for (_, stats) in figures.iter() {
        rest.subtract(stats);
    }
    all.push((TenantId::DEFAULT, tenant_name(server.policy, TenantId::DEFAULT), tenant_json(&rest)));
    all
}

/// One tenant's figures, under the names of the runbook and of the earlier implementation.
pub(crate) fn tenant_json(stats: &TenantStats) -> Value {
    json!({
        "activeConnections": stats.connections_active,
        "totalConnections": stats.connections_total,
        "messagesDelivered": stats.messages_delivered,
        "bytesDelivered": stats.bytes_delivered,
        "messagesIn": stats.messages_in,
        "requests": stats.requests,
        "bytes": stats.bytes_in,
        "uploads": stats.uploads,
        "connections": stats.connections_active,
        "errors": stats.errors,
    })
}

/// Requests that each rule has answered, by its name.
fn rule_hits(policy: &Policy, wire: &Telemetry) -> Value {
    let hits = wire.rule_hits.iter().enumerate().filter(|(_, hits)| **hits > 0);
    Value::Object(
        hits.map(|(position, hits)| {
            // A hit of a rule that a reload has taken away is told by its place.
            let name = policy.rules.id_at(position as u32).map_or_else(|| format!("#{position}"), str::to_owned);
            (name, json!(hits))
        })
        .collect(),
    )
}

fn reload(server: &Server<'_>) -> Value {
    let reloads = server.reloads;
    json!({
        "status": reloads.status.phase.name(),
        "success": reloads.status.phase != super::Phase::Error,
        "total": reloads.succeeded + reloads.failed,
        "failed": reloads.failed,
        "lastReloadTime": reloads.status.last_unix_ms.map(timestamp),
        "generation": server.policy.generation,
        "keySets": {"taken": reloads.keys_taken, "failed": reloads.keys_failed},
    })
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
    // What acks give back with refill=ack is granted anew. Readers of events are consumers too, without a WebSocket.
    let granted = (totals.credit_granted + totals.credit_refilled).saturating_sub(totals.reader_credit);
    // Each delivery spends one.
    let deliveries = merged.telemetry.ws.deliveries_total;
    // How much of the windows that consumers hold now is taken by deliveries: 1 means that they wait for credit.
    let inflight = totals.inflight_now.saturating_sub(totals.reader_inflight_now);
    let window = inflight + totals.credit_now.saturating_sub(totals.reader_credit_now);
    let window_util = if window == 0 { 0.0 } else { inflight as f64 / window as f64 };
    json!({
        "connections": {"active": merged.telemetry.ws.connections_active, "total": merged.telemetry.ws.connections_total},
        "credit": {"granted": granted, "used": deliveries, "windowUtil": window_util},
        "deliveries": {
            "count": deliveries,
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

fn http(policy: &Policy, wire: &Telemetry) -> Value {
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
        "errorsByType": by_type(wire.errors.iter().zip(&wire.ws_errors).map(|(all, ws)| all.saturating_sub(*ws))),
        "ruleHits": rule_hits(policy, wire),
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

/// Errors by their codes: those that were told.
fn by_type(counts: impl Iterator<Item = u64>) -> Value {
    let told = ErrorCode::ALL.iter().zip(counts).filter(|(_, count)| *count > 0);
    Value::Object(told.map(|(code, count)| (code.code().to_owned(), json!(count))).collect())
}

fn ws(wire: &Telemetry) -> Value {
    let ws = &wire.ws;
    json!({
        "connectionsTotal": ws.connections_total,
        "activeConnections": ws.connections_active,
        "messagesIn": ws.messages_in,
        "messagesOut": ws.messages_out,
        "bytesIn": ws.bytes_in,
        "bytesOut": ws.bytes_out,
        "creditsGranted": ws.credits_granted,
        "deliveriesTotal": ws.deliveries_total,
        "errorsTotal": wire.ws_errors.iter().sum::<u64>(),
        "errorsByType": by_type(wire.ws_errors.iter().copied()),
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

pub(crate) fn shard(report: &ShardReport) -> Value {
    let ShardReport { shard, snapshot, telemetry, host, .. } = report;
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
