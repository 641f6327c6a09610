//! The documents about the whole server: which one is written by whom.

use super::{ShardReport, histograms, metrics, prometheus};
use crate::mesh::Document;
use conduit_protocol::{Now, Report, Scope};

const JSON: &str = "application/json";
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
}

impl Server<'_> {
    /// Seconds since the start.
    pub(crate) fn uptime_s(&self) -> f64 {
        (self.now.mono_ns - self.started.mono_ns) as f64 / 1e9
    }
}

/// `GET /health`: written by whichever shard is asked, so that it answers even when the control shard does not.
pub(crate) fn health(uptime_ms: u64, shards: u16, draining: bool) -> Document {
    let (status, text) = if draining { (503, "draining") } else { (200, "ok") };
    let body = serde_json::json!({
        "status": text,
        "ok": !draining,
        "version": env!("CARGO_PKG_VERSION"),
        "features": ["http", "ws", "msgpack"],
        "uptime": uptime_ms as f64 / 1e3,
        "shards": shards,
        "reload": { "status": "idle", "lastReloadTime": null, "reloadSupported": false, "isDraining": draining },
    });
    Document { status, content_type: JSON, body: body.to_string().into_bytes() }
}

/// Writes one document.
pub(crate) fn write(report: Report, _scope: Scope, server: &Server<'_>) -> Document {
    let ok = |content_type, body| Document { status: 200, content_type, body };
    match report {
        // Data shards answer this themselves; it stands here so that every report has a writer.
        Report::Health => {
            let shards = server.reports.len() as u16;
            health((server.uptime_s() * 1e3) as u64, shards, server.draining)
        }
        Report::Metrics => ok(JSON, metrics::write(server).to_string().into_bytes()),
        Report::Prometheus => ok(PROMETHEUS, prometheus::write(server).into_bytes()),
        Report::Streams => ok(JSON, streams(server).to_string().into_bytes()),
        Report::HistogramsJson => ok(JSON, histograms::json(server).to_string().into_bytes()),
        Report::HistogramsHlog => ok(TEXT, histograms::hlog(server)),
        Report::HistogramsHgrm => ok(TEXT, histograms::hgrm(server).into_bytes()),
    }
}

/// `GET /v1/streams`: by name.
fn streams(server: &Server<'_>) -> serde_json::Value {
    let mut rows = Vec::new();
    for report in server.reports {
        for stream in &report.snapshot.streams {
            let mut row = serde_json::json!({
                "stream": stream.name,
                "shard": report.shard.0,
                "epoch": stream.epoch,
                "first": stream.first,
                "last": stream.last,
                "retention": stream.retention,
                "durability": stream.durability,
                "groups": stream.groups,
            });
            if let (Some(row), Ok(serde_json::Value::Object(stats))) =
                (row.as_object_mut(), serde_json::to_value(&stream.stats))
            {
                row.extend(stats);
            }
            rows.push(row);
        }
    }
    rows.sort_by(|a, b| a["stream"].as_str().cmp(&b["stream"].as_str()));
    let omitted: u64 = server.reports.iter().map(|report| report.snapshot.totals.streams_omitted).sum();
    serde_json::json!({ "streams": rows, "omitted": omitted })
}
