//! Commands that ask for one document and show it.

use crate::address::{Server, query_value};
use crate::command_line::HistogramFormat;
use crate::dashboard::Dashboard;
use crate::failure::Failure;
use crate::http::{Client, Reply};
use crate::output::{Output, age, grouped, measure, printable};
use conduit_protocol::StreamStats;
use serde_json::{Value, json};

/// `health`: the server's own word, and the exit code that goes with it.
pub(crate) fn health(server: &Server, out: &mut Output) -> Result<(), Failure> {
    let reply = Client::new(server).get("/health")?;
    let answer = reply.json()?;
    if out.json || !out.is_terminal() {
        out.value(&answer)?;
    } else {
        out.line(&health_line(&answer))?;
    }
    if reply.status == 200 { Ok(()) } else { Err(unhealthy(&reply, &answer)) }
}

fn health_line(answer: &Value) -> String {
    let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or("unknown");
    format!("{}, version {}", printable(text("status")), printable(text("version")))
}

fn unhealthy(reply: &Reply, answer: &Value) -> Failure {
    let status = answer.get("status").and_then(Value::as_str).unwrap_or("unknown");
    Failure::Refused(format!("not healthy: {} (HTTP {})", printable(status), reply.status))
}

/// `version`: ours and the server's.
pub(crate) fn version(server: &Server, out: &mut Output) -> Result<(), Failure> {
    let answer = Client::new(server).get("/health")?.json()?;
    let theirs = printable(answer.get("version").and_then(Value::as_str).unwrap_or("unknown"));
    let ours = env!("CARGO_PKG_VERSION");
    if out.json {
        return out.value(&json!({ "mkctl": ours, "server": theirs }));
    }
    out.rows(&[("mkctl", ours.to_owned()), ("server", theirs)])
}

/// `metrics`: the document as it is.
pub(crate) fn metrics(server: &Server, prometheus: bool, out: &mut Output) -> Result<(), Failure> {
    let client = Client::new(server);
    if prometheus {
        return document(&client.get("/metrics")?, out);
    }
    out.value(&client.json("/v1/metrics")?)
}

/// `histograms`: the document as it is.
pub(crate) fn histograms(server: &Server, format: HistogramFormat, out: &mut Output) -> Result<(), Failure> {
    let format = match format {
        HistogramFormat::Hgrm => "hgrm",
        HistogramFormat::Hlog => "hlog",
        HistogramFormat::Json => "json",
    };
    document(&Client::new(server).get(&format!("/v1/histograms?format={format}"))?, out)
}

fn document(reply: &Reply, out: &mut Output) -> Result<(), Failure> {
    if reply.status != 200 {
        return Err(reply.refusal());
    }
    out.bytes(&reply.body)?;
    if reply.body.ends_with(b"\n") { Ok(()) } else { out.bytes(b"\n") }
}

/// `stats`: one stream.
pub(crate) fn stats(server: &Server, stream: &str, out: &mut Output) -> Result<(), Failure> {
    let answer = Client::new(server).json(&format!("/v1/stats?stream={}", query_value(stream)))?;
    if out.json || !out.is_terminal() {
        return out.value(&answer);
    }
    let stats: StreamStats = serde_json::from_value(answer).map_err(|error| {
        Failure::Unreachable(format!("these are no stream figures ({error}): is the server older?"))
    })?;
    out.rows(&stream_rows(&stats))
}

fn stream_rows(stats: &StreamStats) -> Vec<(&'static str, String)> {
    let ms = |number: f64| format!("{} ms", measure(number));
    vec![
        ("backlog", grouped(stats.depth)),
        ("in flight", grouped(stats.inflight)),
        ("bytes", grouped(stats.bytes)),
        ("consumers", grouped(stats.consumers)),
        ("credit", grouped(stats.credit)),
        ("published", format!("{} ({}/s)", grouped(stats.published_total), measure(stats.rate_in))),
        ("acked", format!("{} ({}/s)", grouped(stats.acked_total), measure(stats.rate_out))),
        ("delivered", grouped(stats.delivered_total)),
        ("redelivered", grouped(stats.redelivered_total)),
        (
            "publish to deliver",
            format!("p50 {}, p95 {}, p99 {}", ms(stats.lat_p50), ms(stats.lat_p95), ms(stats.lat_p99)),
        ),
        ("deliver to ack", format!("p50 {}, p99 {}", ms(stats.ack_p50), ms(stats.ack_p99))),
        ("newest message", stats.last_ts.as_deref().map_or_else(|| "none".to_owned(), printable)),
    ]
}

/// `status`: health and the totals of the metrics.
pub(crate) fn status(server: &Server, out: &mut Output) -> Result<(), Failure> {
    let client = Client::new(server);
    let reply = client.get("/health")?;
    let health = reply.json()?;
    let metrics = client.json("/v1/metrics")?;
    let board = Dashboard::of(&metrics);
    if out.json {
        out.value(&json!({ "health": health, "totals": board.totals_json() }))?;
    } else {
        out.rows(&status_rows(&health, &board))?;
    }
    if reply.status == 200 { Ok(()) } else { Err(unhealthy(&reply, &health)) }
}

fn status_rows(health: &Value, board: &Dashboard) -> Vec<(&'static str, String)> {
    let totals = &board.totals;
    vec![
        ("health", health_line(health)),
        ("up", age(totals.uptime_s)),
        (
            "connections",
            format!("{} WebSocket now, {} ever", grouped(totals.connections), grouped(totals.connections_total)),
        ),
        ("streams", grouped(board.streams.len() as u64)),
        ("backlog", grouped(totals.depth)),
        ("in flight", grouped(totals.inflight)),
        ("in / out", format!("{} / {} messages/s", measure(totals.rate_in), measure(totals.rate_out))),
        ("delivery p50 / p99", format!("{} / {} ms", measure(totals.delivery_p50_ms), measure(totals.delivery_p99_ms))),
        ("HTTP requests", grouped(totals.http_requests)),
        ("errors told", grouped(totals.errors)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_words_cannot_move_the_cursor() {
        let line = health_line(&json!({"status": "ok\u{1b}[2J", "version": "1"}));
        assert_eq!(line, "ok\\u{1b}[2J, version 1");
    }

    #[test]
    fn every_figure_of_a_stream_is_shown() {
        let stats = StreamStats { depth: 1_234_567, lat_p99: 0.25, last_ts: None, ..StreamStats::default() };
        let rows = stream_rows(&stats);
        let row = |name: &str| rows.iter().find(|(row, _)| *row == name).map(|(_, figure)| figure.clone());
        assert_eq!(row("backlog").as_deref(), Some("1,234,567"));
        assert_eq!(row("publish to deliver").as_deref(), Some("p50 0 ms, p95 0 ms, p99 0.250 ms"));
        assert_eq!(row("newest message").as_deref(), Some("none"));
    }
}
