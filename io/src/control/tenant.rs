//! The documents as a tenant sees them: its own streams and figures, and nothing of anybody else.

use super::documents::{Server, streams_omitted, timestamp};
use super::metrics::tenants;
use super::prometheus::Page;
use conduit_protocol::{StreamStats, TenantId};
use serde_json::{Map, Value, json};

/// Sums over the tenant's streams.
#[derive(Default)]
struct Sums {
    streams: u64,
    depth: u64,
    inflight: u64,
    credit: u64,
    bytes: u64,
    consumers: u64,
    published: u64,
    delivered: u64,
    acked: u64,
    redelivered: u64,
}

fn own<'s>(server: &'s Server<'_>, tenant: TenantId) -> impl Iterator<Item = (&'s str, &'s StreamStats)> {
    let streams = server.reports.iter().flat_map(|report| &report.snapshot.streams);
    streams.filter(move |stream| stream.tenant == tenant).map(|stream| (&*stream.name, &stream.stats))
}

fn sums(server: &Server<'_>, tenant: TenantId) -> Sums {
    let mut sums = Sums::default();
    for (_, stats) in own(server, tenant) {
        sums.streams += 1;
        sums.depth += stats.depth;
        sums.inflight += stats.inflight;
        sums.credit += stats.credit;
        sums.bytes += stats.bytes;
        sums.consumers += stats.consumers;
        sums.published += stats.published_total;
        sums.delivered += stats.delivered_total;
        sums.acked += stats.acked_total;
        sums.redelivered += stats.redelivered_total;
    }
    sums
}

/// `GET /v1/metrics`: the same shape, with what the tenant has of it.
pub(super) fn metrics(server: &Server<'_>, tenant: TenantId) -> Value {
    let sums = sums(server, tenant);
    let streams: Vec<Value> = own(server, tenant).map(|(name, stats)| json!({"id": name, "stats": stats})).collect();
    let mine = tenants(server).into_iter().find(|(id, _, _)| *id == tenant);
    let (name, stats) = mine.map_or_else(|| (String::new(), json!({})), |(_, name, stats)| (name, stats));
    let window = sums.inflight + sums.credit;
    let window_util = if window == 0 { 0.0 } else { sums.inflight as f64 / window as f64 };
    let omitted = streams_omitted(server);
    let mut tenants = Map::new();
    tenants.insert(name, stats.clone());
    json!({
        "streams": streams,
        // What follows of streams does not include those that were left out.
        "truncated": omitted > 0,
        "timestamp": timestamp(server.now.unix_ms),
        "uptime": server.uptime_s(),
        "version": env!("CARGO_PKG_VERSION"),
        "gateway": {
            "http": {"rules": {}, "endpoints": {}, "uploads": {"count": stats["uploads"]}},
            "ws": {
                "connections": {"active": stats["activeConnections"], "total": stats["totalConnections"]},
                "credit": {"used": sums.delivered, "windowUtil": window_util},
                "deliveries": {"count": sums.delivered},
            },
            "errors": {},
        },
        "tenants": tenants,
        "http": {"requestsTotal": stats["requests"], "bytesIn": stats["bytes"]},
        "ws": {"connectionsTotal": stats["totalConnections"], "activeConnections": stats["activeConnections"], "deliveriesTotal": sums.delivered},
        "shards": [],
        "totals": {"core": {
            "streamsNow": sums.streams + omitted,
            "streamsOmitted": omitted,
            "published": sums.published,
            "delivered": sums.delivered,
            "acked": sums.acked,
            "redelivered": sums.redelivered,
            "inflightNow": sums.inflight,
            "bytesNow": sums.bytes,
            "creditNow": sums.credit,
            "consumersNow": sums.consumers,
        }},
    })
}

/// `GET /metrics`: the tenant's own, without a label.
pub(super) fn prometheus(server: &Server<'_>, tenant: TenantId) -> String {
    let mut wire = conduit_protocol::tenant_stats::TenantStats::default();
    for report in server.reports {
        wire.merge(&report.telemetry.tenants.of(tenant));
    }
    let sums = sums(server, tenant);
    let omitted = streams_omitted(server);
    let mut page = Page::default();
    for (name, kind, help, value) in [
        ("conduit_streams", "gauge", "Streams.", sums.streams + omitted),
        ("conduit_streams_omitted", "gauge", "Streams that the figures below leave out.", omitted),
        ("conduit_messages_waiting", "gauge", "Messages not delivered yet.", sums.depth),
        ("conduit_inflight", "gauge", "Deliveries in flight.", sums.inflight),
        ("conduit_credit", "gauge", "Credit granted and not spent.", sums.credit),
        ("conduit_message_bytes", "gauge", "Bytes of messages held.", sums.bytes),
        ("conduit_consumers", "gauge", "Consumers.", sums.consumers),
        ("conduit_published_total", "counter", "Messages accepted.", sums.published),
        ("conduit_delivered_total", "counter", "Deliveries.", sums.delivered),
        ("conduit_acked_total", "counter", "Messages acked.", sums.acked),
        ("conduit_redelivered_total", "counter", "Deliveries beyond the first.", sums.redelivered),
        ("conduit_http_requests_total", "counter", "HTTP requests answered.", wire.requests),
        ("conduit_websocket_connections", "gauge", "Open WebSockets.", wire.connections_active),
        ("conduit_websocket_connections_total", "counter", "WebSocket handshakes.", wire.connections_total),
        ("conduit_errors_total", "counter", "Errors told.", wire.errors),
    ] {
        page.one(name, kind, help, &[(&[], value)]);
    }
    page.text
}
