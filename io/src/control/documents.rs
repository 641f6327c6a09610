//! The documents about the whole server: which one is written by whom.

use super::reload::{ReloadStatus, Reloads};
use super::{ShardReport, histograms, metrics, prometheus, snapshot, tenant};
use crate::mesh::Document;
use conduit_protocol::{ErrorCode, Limits, Now, Policy, Report, Scope, TenantId};
use serde_json::{Value, json};

pub(crate) const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
/// What Prometheus asks for (its text exposition format, version 0.0.4).
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// One report of every shard, and what the documents say beside them.
pub(crate) struct Server<'a> {
    pub(crate) now: Now,
    /// When the process started, on both clocks.
    pub(crate) started: Now,
    pub(crate) draining: bool,
    /// In the order of the shards.
    pub(crate) reports: &'a [ShardReport],
    /// What is in force.
    pub(crate) policy: &'a Policy,
    pub(crate) reloads: &'a Reloads,
    pub(crate) limits: &'a Limits,
    pub(crate) connections_max: usize,
    pub(crate) core_limits: &'a conduit_shard::Limits,
}

impl Server<'_> {
    /// Seconds since the start.
    pub(crate) fn uptime_s(&self) -> f64 {
        (self.now.mono_ns - self.started.mono_ns) as f64 / 1e9
    }
}

/// A moment as documents tell it.
pub(crate) fn timestamp(unix_ms: u64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms as i64).map_or_else(|_| String::new(), |at| format!("{at:.3}"))
}

/// How documents name a tenant: those without streams' owners of old keep their number.
pub(crate) fn tenant_name(policy: &Policy, tenant: TenantId) -> String {
    match policy.tenants.name(tenant) {
        "" if tenant == TenantId::DEFAULT => "default".to_owned(),
        "" => format!("#{:08x}", tenant.0),
        name => name.to_owned(),
    }
}

/// `GET /health`: written by whichever shard is asked, so that it answers even when the control shard does not.
pub(crate) fn health(uptime_ms: u64, shards: u16, is_ending: bool, reload: &ReloadStatus) -> Document {
    let draining = is_ending || reload.is_resting;
    let (status, text) = if draining { (503, "draining") } else { (200, "ok") };
    let body = json!({
        "status": text,
        "ok": !draining,
        "version": env!("CARGO_PKG_VERSION"),
        "features": ["http", "ws", "sse", "msgpack"],
        "uptime": uptime_ms as f64 / 1e3,
        "shards": shards,
        "reload": {
            "status": reload.phase.name(),
            "lastReloadTime": reload.last_unix_ms.map(timestamp),
            "reloadSupported": reload.is_supported,
            "isDraining": draining,
        },
    });
    Document { status, content_type: JSON, body: body.to_string().into_bytes() }
}

/// Writes one document.
pub(crate) fn write(report: Report, scope: Scope, server: &Server<'_>) -> Document {
    let ok = |content_type, body| Document { status: 200, content_type, body };
    let json = |value: Value| ok(JSON, value.to_string().into_bytes());
    match (report, scope) {
        // Data shards answer this themselves; it stands here so that every report has a writer.
        (Report::Health, _) => {
            let shards = server.reports.len() as u16;
            health((server.uptime_s() * 1e3) as u64, shards, server.draining, &server.reloads.status)
        }
        (Report::Metrics, Scope::Server) => json(metrics::write(server)),
        (Report::Metrics, Scope::Tenant(own)) => json(tenant::metrics(server, own)),
        (Report::Prometheus, Scope::Server) => ok(PROMETHEUS, prometheus::write(server).into_bytes()),
        (Report::Prometheus, Scope::Tenant(own)) => ok(PROMETHEUS, tenant::prometheus(server, own).into_bytes()),
        (Report::Streams, _) => {
            let (rows, omitted) = stream_rows(server, scope);
            json(json!({"streams": rows, "omitted": omitted, "truncated": omitted > 0}))
        }
        (Report::Snapshot(view), Scope::Tenant(_)) if is_of_server(view) => not_a_tenants_business(),
        (Report::Snapshot(view), _) => json(snapshot::write(view, scope, server)),
        (Report::HistogramsJson | Report::HistogramsHlog | Report::HistogramsHgrm, Scope::Tenant(_)) => {
            not_a_tenants_business()
        }
        (Report::HistogramsJson, Scope::Server) => json(histograms::json(server)),
        (Report::HistogramsHlog, Scope::Server) => ok(TEXT, histograms::hlog(server)),
        (Report::HistogramsHgrm, Scope::Server) => ok(TEXT, histograms::hgrm(server).into_bytes()),
    }
}

/// The view shows what all tenants share.
const fn is_of_server(view: conduit_protocol::View) -> bool {
    matches!(view, conduit_protocol::View::Shards | conduit_protocol::View::Limits)
}

/// These figures are of all tenants together and cannot be taken apart.
fn not_a_tenants_business() -> Document {
    let code = ErrorCode::Forbidden;
    let body = json!({
        "error": "Forbidden",
        "code": code.code(),
        "message": "these figures are of the whole server: a token of its administration may read them",
    });
    Document { status: code.http_status(), content_type: JSON, body: body.to_string().into_bytes() }
}

/// The streams by name, and how many more there are.
pub(crate) fn stream_rows(server: &Server<'_>, scope: Scope) -> (Vec<Value>, u64) {
    let mut rows = Vec::new();
    let sees = |tenant| matches!(scope, Scope::Server) || scope == Scope::Tenant(tenant);
    for report in server.reports {
        for stream in report.snapshot.streams.iter().filter(|stream| sees(stream.tenant)) {
            let mut row = json!({
                "stream": stream.name,
                "tenant": tenant_name(server.policy, stream.tenant),
                "shard": report.shard.0,
                "epoch": stream.epoch,
                "first": stream.first,
                "last": stream.last,
                "retention": stream.retention,
                "durability": stream.durability,
                "groups": stream.groups,
            });
            if let (Some(row), Ok(Value::Object(stats))) = (row.as_object_mut(), serde_json::to_value(&stream.stats)) {
                row.extend(stats);
            }
            rows.push(row);
        }
    }
    rows.sort_by(|a, b| {
        (a["stream"].as_str(), a["tenant"].as_str()).cmp(&(b["stream"].as_str(), b["tenant"].as_str()))
    });
    (rows, streams_omitted(server))
}

/// Streams that the reports do not list, of those whom they are for.
pub(crate) fn streams_omitted(server: &Server<'_>) -> u64 {
    server.reports.iter().map(|report| report.snapshot.totals.streams_omitted).sum()
}
