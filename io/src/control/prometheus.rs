//! `GET /metrics`: the Prometheus text format. Base units, no label that a client can choose.

use super::documents::Server;
use super::metrics::Merged;
use conduit_protocol::ErrorCode;
use conduit_protocol::access_log::{LineFigures, LogFile};
use conduit_protocol::telemetry::Endpoint;
use conduit_shard::Snapshot;
use conduit_shard::log::{LogFigures, LogState};
use hdrhistogram::Histogram;
use std::fmt::{Display, Write as _};

/// Upper edges of the latency buckets, in seconds: 10 us to 10 s, three to a decade.
const EDGES_S: [f64; 19] = [
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
    2.5, 5.0, 10.0,
];

/// The text.
pub(crate) fn write(server: &Server<'_>) -> String {
    let merged = Merged::of(server.reports);
    let mut page = Page::default();
    page.one(
        "conduit_build_info",
        "gauge",
        "Version of the server.",
        &[(&[("version", env!("CARGO_PKG_VERSION"))], 1)],
    );
    page.one("conduit_uptime_seconds", "gauge", "Seconds since the start.", &[(&[], server.uptime_s())]);
    page.one("conduit_draining", "gauge", "1 while the server shuts down.", &[(&[], u8::from(server.draining))]);
    reloads(&mut page, server);
    http(&mut page, &merged);
    tenants(&mut page, server);
    websocket(&mut page, &merged);
    access_logs(&mut page, &merged);
    shards(&mut page, server);
    if server.reports.iter().any(|report| report.snapshot.log.is_some()) {
        logs(&mut page, server);
    }
    latencies(&mut page, server, "conduit_publish_to_deliver_seconds", "From publish to first delivery.", |core| {
        &core.publish_to_deliver_ns
    });
    latencies(&mut page, server, "conduit_deliver_to_ack_seconds", "From delivery to ack.", |core| {
        &core.deliver_to_ack_ns
    });
    page.text
}

fn reloads(page: &mut Page, server: &Server<'_>) {
    let reloads = server.reloads;
    let works = u8::from(reloads.status.phase != super::Phase::Error);
    page.one(
        "conduit_config_reload_success",
        "gauge",
        "1 unless the last reload found something wrong.",
        &[(&[], works)],
    );
    page.one(
        "conduit_config_reloads_total",
        "counter",
        "Reloads.",
        &[(&[("result", "success")], reloads.succeeded), (&[("result", "failure")], reloads.failed)],
    );
    if let Some(at_ms) = reloads.status.last_unix_ms {
        page.one(
            "conduit_config_last_reload_success_timestamp_seconds",
            "gauge",
            "When a reload last worked.",
            &[(&[], at_ms as f64 / 1e3)],
        );
    }
    page.one(
        "conduit_config_generation",
        "gauge",
        "Rises with every change of what is in force.",
        &[(&[], server.policy.generation)],
    );
    page.one(
        "conduit_config_key_sets_total",
        "counter",
        "Key sets of the token issuer.",
        &[(&[("result", "success")], reloads.keys_taken), (&[("result", "failure")], reloads.keys_failed)],
    );
}

/// Tenants are named by the operator: their number is bounded.
fn tenants(page: &mut Page, server: &Server<'_>) {
    let tenants = super::metrics::tenants(server);
    for (name, kind, help, member) in [
        ("conduit_tenant_requests_total", "counter", "HTTP requests answered, by tenant.", "requests"),
        ("conduit_tenant_errors_total", "counter", "Errors told, by tenant.", "errors"),
        ("conduit_tenant_websocket_connections", "gauge", "Open WebSockets, by tenant.", "activeConnections"),
        ("conduit_tenant_delivered_total", "counter", "Deliveries, by tenant.", "messagesDelivered"),
        ("conduit_tenant_delivered_bytes_total", "counter", "Bytes of deliveries, by tenant.", "bytesDelivered"),
    ] {
        page.head(name, kind, help);
        for (_, tenant, stats) in &tenants {
            page.value(name, &[("tenant", &escaped(tenant))], &stats[member]);
        }
    }
}

/// A label's value: backslash, quotation mark and line feed are escaped.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn http(page: &mut Page, merged: &Merged) {
    let wire = &merged.telemetry;
    page.head("conduit_http_requests_total", "counter", "HTTP requests answered.");
    for (endpoint, stats) in Endpoint::ALL.iter().zip(&wire.endpoints) {
        page.value("conduit_http_requests_total", &[("endpoint", endpoint.path())], stats.requests);
    }
    page.head("conduit_http_responses_total", "counter", "HTTP answers by status.");
    for (status, count) in &wire.statuses {
        page.value("conduit_http_responses_total", &[("status", &status.to_string())], *count);
    }
    page.head("conduit_http_request_bytes_total", "counter", "Bytes of HTTP request bodies.");
    for (endpoint, stats) in Endpoint::ALL.iter().zip(&wire.endpoints) {
        page.value("conduit_http_request_bytes_total", &[("endpoint", endpoint.path())], stats.bytes_in);
    }
    for (endpoint, stats) in Endpoint::ALL.iter().zip(&wire.endpoints) {
        let label = [("endpoint", endpoint.path())];
        page.histogram("conduit_http_request_duration_seconds", "From request to answer.", &label, &stats.duration_ns);
    }
    page.head("conduit_errors_total", "counter", "Errors told to clients, by code.");
    for (code, count) in ErrorCode::ALL.iter().zip(&wire.errors) {
        page.value("conduit_errors_total", &[("code", code.code())], *count);
    }
}

fn access_logs(page: &mut Page, merged: &Merged) {
    let figures = LogFile::ALL.map(|file| (file.name(), merged.host.lines.of(file)));
    let mut counter = |name, help, of: fn(&LineFigures) -> u64| {
        page.head(name, "counter", help);
        for (log, (figures, _)) in &figures {
            page.value(name, &[("log", log)], of(figures));
        }
    };
    counter("conduit_log_lines_total", "Lines of the access logs.", |figures| figures.lines);
    counter(
        "conduit_log_lines_dropped_total",
        "Lines for which there was no room, or that the file did not take.",
        |figures| figures.dropped,
    );
    counter(
        "conduit_log_lines_left_out_total",
        "Messages without a line, beyond the budget and the sample.",
        |figures| figures.left_out,
    );
    page.head("conduit_log_lines_failing", "gauge", "1 while a file does not take lines.");
    for (log, (_, is_failing)) in &figures {
        page.value("conduit_log_lines_failing", &[("log", log)], u8::from(*is_failing));
    }
}

fn websocket(page: &mut Page, merged: &Merged) {
    let ws = &merged.telemetry.ws;
    page.one("conduit_websocket_connections", "gauge", "Open WebSockets.", &[(&[], ws.connections_active)]);
    page.one("conduit_websocket_connections_total", "counter", "WebSocket handshakes.", &[(&[], ws.connections_total)]);
    page.head("conduit_websocket_messages_total", "counter", "WebSocket messages.");
    page.value("conduit_websocket_messages_total", &[("direction", "in")], ws.messages_in);
    page.value("conduit_websocket_messages_total", &[("direction", "out")], ws.messages_out);
    page.head("conduit_websocket_bytes_total", "counter", "Payload bytes of WebSocket messages.");
    page.value("conduit_websocket_bytes_total", &[("direction", "in")], ws.bytes_in);
    page.value("conduit_websocket_bytes_total", &[("direction", "out")], ws.bytes_out);
    let live = &merged.telemetry.live;
    page.one("conduit_live_connections", "gauge", "Open event streams.", &[(&[], live.connections_active)]);
    page.one("conduit_live_connections_total", "counter", "Event streams begun.", &[(&[], live.connections_total)]);
    page.one("conduit_live_events_total", "counter", "Messages written as events.", &[(&[], live.events_total)]);
}

fn shards(page: &mut Page, server: &Server<'_>) {
    type Figure = (&'static str, &'static str, &'static str, fn(&super::ShardReport) -> u64);
    let figures: [Figure; 38] = [
        ("conduit_connections", "gauge", "Open connections.", |r| r.host.connections),
        ("conduit_connections_total", "counter", "Connections accepted or taken over.", |r| r.host.accepted_total),
        ("conduit_connections_refused_total", "counter", "Connections beyond the maximum.", |r| r.host.refused_total),
        ("conduit_accept_errors_total", "counter", "Failed accepts.", |r| r.host.accept_errors_total),
        ("conduit_read_bytes_total", "counter", "Bytes read from sockets.", |r| r.host.bytes_read_total),
        ("conduit_written_bytes_total", "counter", "Bytes written to sockets.", |r| r.host.bytes_written_total),
        ("conduit_forwarded_total", "counter", "Commands sent to the owning shard.", |r| r.host.forwarded_total),
        ("conduit_handed_over_total", "counter", "Connections given to the owning shard.", |r| {
            r.host.handed_over_total
        }),
        ("conduit_panics_total", "counter", "Decoder panics; each is a bug.", |r| r.host.panics_total),
        ("conduit_streams", "gauge", "Streams.", |r| r.snapshot.totals.streams_now),
        ("conduit_consumers", "gauge", "Consumers.", |r| r.snapshot.totals.consumers_now),
        ("conduit_messages", "gauge", "Messages held, in-flight ones included.", |r| r.snapshot.totals.messages_now),
        ("conduit_message_bytes", "gauge", "Bytes of messages held.", |r| r.snapshot.totals.bytes_now),
        ("conduit_inflight", "gauge", "Deliveries in flight.", |r| r.snapshot.totals.inflight_now),
        ("conduit_credit", "gauge", "Credit granted and not spent.", |r| r.snapshot.totals.credit_now),
        ("conduit_paused_publishers", "gauge", "Publishers not read for now.", |r| r.snapshot.totals.paused_now),
        ("conduit_published_total", "counter", "Messages accepted.", |r| r.snapshot.totals.published),
        ("conduit_delivered_total", "counter", "Deliveries.", |r| r.snapshot.totals.delivered),
        ("conduit_redelivered_total", "counter", "Deliveries beyond the first.", |r| r.snapshot.totals.redelivered),
        ("conduit_acked_total", "counter", "Messages acked.", |r| r.snapshot.totals.acked),
        ("conduit_nacked_total", "counter", "Deliveries given back.", |r| r.snapshot.totals.nacked),
        ("conduit_ack_timeouts_total", "counter", "Ack deadlines passed.", |r| r.snapshot.totals.ack_timeouts),
        ("conduit_returned_total", "counter", "Deliveries whose consumer went.", |r| r.snapshot.totals.returned),
        ("conduit_acks_ignored_total", "counter", "Acks of what was not in flight.", |r| {
            r.snapshot.totals.acks_ignored
        }),
        ("conduit_nacks_ignored_total", "counter", "Nacks of what was not in flight.", |r| {
            r.snapshot.totals.nacks_ignored
        }),
        ("conduit_backpressure_total", "counter", "Publishes refused as a stream or shard was full.", |r| {
            r.snapshot.totals.refused_backpressure
        }),
        ("conduit_duplicates_total", "counter", "Publishes that repeated a dedup id.", |r| {
            r.snapshot.totals.duplicates
        }),
        ("conduit_expired_total", "counter", "Messages that expired.", |r| r.snapshot.totals.expired),
        ("conduit_dead_letters_total", "counter", "Dead letters written.", |r| r.snapshot.totals.dead_lettered),
        ("conduit_redriven_total", "counter", "Dead letters that went back.", |r| r.snapshot.totals.redriven),
        ("conduit_trimmed_total", "counter", "Messages released without an ack of their own.", |r| {
            r.snapshot.totals.trimmed
        }),
        ("conduit_spilled_total", "counter", "Messages that left memory for the log.", |r| r.snapshot.totals.spilled),
        ("conduit_read_back_total", "counter", "Messages read back from the log.", |r| r.snapshot.totals.read_back),
        ("conduit_unreadable_total", "counter", "Messages that the log could not give back.", |r| {
            r.snapshot.totals.unreadable
        }),
        ("conduit_log_damaged", "gauge", "Places of the log that could not be read at the start.", |r| {
            r.snapshot.totals.log_damaged
        }),
        ("conduit_lost_seqs", "gauge", "Seqs told as gaps, as the start found them.", |r| r.snapshot.totals.lost_seqs),
        ("conduit_groups", "gauge", "Groups.", |r| r.snapshot.totals.groups_now),
        ("conduit_publisher_pauses_total", "counter", "Times a publisher was paused.", |r| r.snapshot.totals.pauses),
    ];
    for (name, kind, help, of) in figures {
        page.head(name, kind, help);
        for report in server.reports {
            page.value(name, &[("shard", &report.shard.0.to_string())], of(report));
        }
    }
}

/// The shards' logs, on a server that keeps them.
fn logs(page: &mut Page, server: &Server<'_>) {
    type Figure = (&'static str, &'static str, &'static str, fn(&LogFigures) -> u64);
    let figures: [Figure; 9] = [
        ("conduit_log_records_total", "counter", "Records appended to the log.", |log| log.records),
        ("conduit_log_commits_total", "counter", "Commits of the log that are done.", |log| log.commits),
        ("conduit_log_commit_bytes_total", "counter", "Bytes written by commits, padding included.", |log| {
            log.commit_bytes
        }),
        ("conduit_log_segments", "gauge", "Segments of the log.", |log| log.segments_now),
        ("conduit_log_bytes", "gauge", "Bytes of the log's files.", |log| log.bytes_now),
        ("conduit_log_unsynced_bytes", "gauge", "Bytes appended and not durable.", |log| log.unsynced_bytes_now),
        ("conduit_log_busy_total", "counter", "Appends refused as the disk was behind.", |log| log.refused_busy),
        ("conduit_log_full_total", "counter", "Appends refused as there was no room.", |log| log.refused_full),
        ("conduit_log_reads_total", "counter", "Reads of the log.", |log| log.reads),
    ];
    let logs = || server.reports.iter().filter_map(|report| Some((report.shard.0.to_string(), report.snapshot.log?)));
    for (name, kind, help, of) in figures {
        page.head(name, kind, help);
        for (shard, log) in logs() {
            page.value(name, &[("shard", &shard)], of(&log.figures));
        }
    }
    page.head("conduit_log_state", "gauge", "1 for the state that the log is in.");
    for (shard, log) in logs() {
        for (name, state) in [("open", LogState::Open), ("full", LogState::Full), ("failed", LogState::Failed)] {
            let labels = [("shard", shard.as_str()), ("state", name)];
            page.value("conduit_log_state", &labels, u8::from(log.state == state));
        }
    }
    latencies(page, server, "conduit_log_commit_seconds", "What the disk takes for a commit.", |core| &core.commit_ns);
}

/// One histogram of every shard. All lines of a family stand together: the format demands it.
fn latencies(
    page: &mut Page,
    server: &Server<'_>,
    name: &'static str,
    help: &str,
    of: fn(&Snapshot) -> &Histogram<u64>,
) {
    for report in server.reports {
        page.histogram(name, help, &[("shard", &report.shard.0.to_string())], of(&report.snapshot));
    }
}

/// The page as it grows. `headed` keeps the heading of a family from being written twice.
#[derive(Default)]
pub(super) struct Page {
    pub(super) text: String,
    headed: Option<&'static str>,
}

pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

impl Page {
    fn head(&mut self, name: &'static str, kind: &str, help: &str) {
        if self.headed != Some(name) {
            self.headed = Some(name);
            let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
    }

    fn value(&mut self, name: &str, labels: Labels<'_>, value: impl Display) {
        self.text.push_str(name);
        // Label values are ours, or escaped.
        for (index, (key, text)) in labels.iter().enumerate() {
            let _ = write!(self.text, "{}{key}=\"{text}\"", if index == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.text, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    pub(super) fn one<V: Display>(&mut self, name: &'static str, kind: &str, help: &str, values: &[(Labels<'_>, V)]) {
        self.head(name, kind, help);
        for (labels, value) in values {
            self.value(name, labels, value);
        }
    }

    /// A family of buckets in seconds from a histogram of nanoseconds.
    fn histogram(&mut self, name: &'static str, help: &str, labels: Labels<'_>, values: &Histogram<u64>) {
        self.head(name, "histogram", help);
        let mut sum_ns = 0.0;
        let mut at_most = [0_u64; EDGES_S.len()];
        for bucket in values.iter_recorded() {
            let (ns, count) = (bucket.value_iterated_to() as f64, bucket.count_at_value());
            sum_ns += ns * count as f64;
            for (total, _) in at_most.iter_mut().zip(EDGES_S).filter(|(_, edge_s)| ns <= edge_s * 1e9) {
                *total += count;
            }
        }
        let (bucket, sum, count) = (format!("{name}_bucket"), format!("{name}_sum"), format!("{name}_count"));
        let edges = EDGES_S.iter().map(ToString::to_string).chain(std::iter::once("+Inf".to_owned()));
        for (edge, total) in edges.zip(at_most.into_iter().chain(std::iter::once(values.len()))) {
            let labelled: Vec<_> = labels.iter().copied().chain(std::iter::once(("le", edge.as_str()))).collect();
            self.value(&bucket, &labelled, total);
        }
        self.value(&sum, labels, sum_ns / 1e9);
        self.value(&count, labels, values.len());
    }
}
