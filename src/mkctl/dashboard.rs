//! What `status` and `top` read out of the metrics document. A figure that is missing counts as 0: an older or newer
//! server is still worth looking at.

use crate::command_line::Order;
use crate::output::is_tenant;
use serde_json::{Value, json};
use std::cmp::Ordering;

/// One reading of the metrics.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Dashboard {
    /// Sums over everything.
    pub(crate) totals: Totals,
    /// One row for each stream.
    pub(crate) streams: Vec<Row>,
}

/// Sums over the whole server.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Totals {
    /// Seconds since the start.
    pub(crate) uptime_s: u64,
    /// WebSocket connections now.
    pub(crate) connections: u64,
    /// WebSocket connections ever.
    pub(crate) connections_total: u64,
    /// Messages stored and not delivered.
    pub(crate) depth: u64,
    /// Messages delivered and not acked.
    pub(crate) inflight: u64,
    /// Messages published a second.
    pub(crate) rate_in: f64,
    /// Messages acked a second.
    pub(crate) rate_out: f64,
    /// Consumers.
    pub(crate) consumers: u64,
    /// Median of publish to deliver, in milliseconds.
    pub(crate) delivery_p50_ms: f64,
    /// 99th percentile of publish to deliver, in milliseconds.
    pub(crate) delivery_p99_ms: f64,
    /// HTTP requests ever.
    pub(crate) http_requests: u64,
    /// Errors told to clients ever.
    pub(crate) errors: u64,
}

/// One stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) name: String,
    /// Whose it is; empty: nobody's.
    pub(crate) tenant: String,
    /// Messages stored and not delivered.
    pub(crate) depth: u64,
    /// Messages delivered and not acked.
    pub(crate) inflight: u64,
    /// Messages published a second.
    pub(crate) rate_in: f64,
    /// Messages acked a second.
    pub(crate) rate_out: f64,
    /// Median of publish to deliver, in milliseconds.
    pub(crate) p50_ms: f64,
    /// 99th percentile of publish to deliver, in milliseconds.
    pub(crate) p99_ms: f64,
    /// 99th percentile of deliver to ack, in milliseconds.
    pub(crate) ack_p99_ms: f64,
    /// Consumers.
    pub(crate) consumers: u64,
    /// Credit not spent.
    pub(crate) credit: u64,
}

impl Dashboard {
    /// Reads a metrics document.
    pub(crate) fn of(metrics: &Value) -> Self {
        let streams: Vec<Row> = metrics
            .get("streams")
            .and_then(Value::as_array)
            .map(|streams| streams.iter().map(Row::of).collect())
            .unwrap_or_default();
        let count = |path: &str| metrics.pointer(path).and_then(Value::as_u64).unwrap_or_default();
        let figure = |path: &str| metrics.pointer(path).and_then(Value::as_f64).unwrap_or_default();
        let totals = Totals {
            uptime_s: figure("/uptime") as u64,
            connections: count("/gateway/ws/connections/active"),
            connections_total: count("/gateway/ws/connections/total"),
            depth: streams.iter().map(|row| row.depth).sum(),
            inflight: streams.iter().map(|row| row.inflight).sum(),
            rate_in: streams.iter().map(|row| row.rate_in).sum(),
            rate_out: streams.iter().map(|row| row.rate_out).sum(),
            consumers: streams.iter().map(|row| row.consumers).sum(),
            delivery_p50_ms: figure("/gateway/ws/deliveries/latency/p50Ms"),
            delivery_p99_ms: figure("/gateway/ws/deliveries/latency/p99Ms"),
            http_requests: count("/http/requestsTotal"),
            // Each wire tells its own.
            errors: count("/ws/errorsTotal") + http_errors(metrics),
        };
        Self { totals, streams }
    }

    /// The totals for machines.
    pub(crate) fn totals_json(&self) -> Value {
        let totals = &self.totals;
        json!({
            "uptime": totals.uptime_s, "connections": totals.connections, "connectionsTotal": totals.connections_total,
            "streams": self.streams.len(), "consumers": totals.consumers, "depth": totals.depth,
            "inflight": totals.inflight, "rateIn": totals.rate_in, "rateOut": totals.rate_out,
            "deliveryP50Ms": totals.delivery_p50_ms, "deliveryP99Ms": totals.delivery_p99_ms,
            "httpRequests": totals.http_requests, "errors": totals.errors,
        })
    }

    /// Some stream is a tenant's.
    pub(crate) fn has_tenants(&self) -> bool {
        self.streams.iter().any(|row| is_tenant(&row.tenant))
    }

    /// Sorts the streams, largest first, equal ones by name, then by tenant.
    pub(crate) fn sort(&mut self, order: Order) {
        let by = |a: &Row, b: &Row| match order {
            Order::Rate => b.rate_in.total_cmp(&a.rate_in),
            Order::Depth => b.depth.cmp(&a.depth),
            Order::Latency => b.p99_ms.total_cmp(&a.p99_ms),
            Order::Name => Ordering::Equal,
        };
        self.streams.sort_by(|a, b| by(a, b).then_with(|| (&a.name, &a.tenant).cmp(&(&b.name, &b.tenant))));
    }
}

impl Row {
    fn of(stream: &Value) -> Self {
        let figure = |name: &str| stream.pointer(&format!("/stats/{name}")).and_then(Value::as_f64).unwrap_or_default();
        let count = |name: &str| stream.pointer(&format!("/stats/{name}")).and_then(Value::as_u64).unwrap_or_default();
        Self {
            name: stream.get("id").and_then(Value::as_str).unwrap_or("?").to_owned(),
            tenant: stream.get("tenant").and_then(Value::as_str).unwrap_or_default().to_owned(),
            depth: count("depth"),
            inflight: count("inflight"),
            rate_in: figure("rateIn"),
            rate_out: figure("rateOut"),
            p50_ms: figure("latP50"),
            p99_ms: figure("latP99"),
            ack_p99_ms: figure("ackP99"),
            consumers: count("consumers"),
            credit: count("credit"),
        }
    }
}

/// Answers with a status of 400 or more.
fn http_errors(metrics: &Value) -> u64 {
    let statuses = metrics.pointer("/http/requestsByStatus").and_then(Value::as_object);
    let is_error = |status: &str| status.parse::<u16>().is_ok_and(|status| status >= 400);
    statuses
        .map(|statuses| {
            statuses.iter().filter(|(status, _)| is_error(status)).filter_map(|(_, count)| count.as_u64()).sum()
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics() -> Value {
        json!({
            "uptime": 61.5,
            "streams": [
                {"id": "b", "stats": {"depth": 5, "inflight": 1, "rateIn": 10.0, "rateOut": 9.0, "latP99": 2.0, "consumers": 2}},
                {"id": "a", "stats": {"depth": 7, "inflight": 2, "rateIn": 10.0, "rateOut": 1.0, "latP99": 1.0}}
            ],
            "gateway": {"ws": {"connections": {"active": 3, "total": 4}, "deliveries": {"latency": {"p50Ms": 0.1, "p99Ms": 0.9}}}},
            "http": {"requestsTotal": 12, "requestsByStatus": {"200": 10, "404": 1, "503": 1}},
            "ws": {"errorsTotal": 2}
        })
    }

    #[test]
    fn totals_are_sums_over_streams() {
        let board = Dashboard::of(&metrics());
        let totals = &board.totals;
        assert_eq!((totals.depth, totals.inflight, totals.consumers, totals.uptime_s), (12, 3, 2, 61));
        assert_eq!((totals.rate_in, totals.rate_out), (20.0, 10.0));
        assert_eq!((totals.connections, totals.connections_total, totals.http_requests, totals.errors), (3, 4, 12, 4));
    }

    #[test]
    fn anything_is_read_without_complaint() {
        for strange in
            [json!(null), json!([]), json!({"streams": 3}), json!({"streams": [null, {"id": 1, "stats": []}]})]
        {
            let _ = Dashboard::of(&strange).totals_json();
        }
    }

    #[test]
    fn equal_streams_are_sorted_by_name() {
        let mut board = Dashboard::of(&metrics());
        let names = |board: &Dashboard| board.streams.iter().map(|row| row.name.clone()).collect::<Vec<_>>();
        board.sort(Order::Rate);
        assert_eq!(names(&board), ["a", "b"]);
        board.sort(Order::Latency);
        assert_eq!(names(&board), ["b", "a"]);
        board.sort(Order::Depth);
        assert_eq!(names(&board), ["a", "b"]);
    }
}
