//! `GET /v1/snapshot?view=`: one table of the server, a row for each thing, for an operator's eyes and scripts.

use super::documents::{Server, stream_rows, streams_omitted, tenant_name};
use super::metrics::{shard, tenants};
use crate::host::Host;
use conduit_protocol::limiter::Rate;
use conduit_protocol::telemetry::Endpoint;
use conduit_protocol::{ConnectionId, Report, Scope, TenantId, View};
use conduit_shard::{ConsumerRow, GroupRow, Rows};
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// What a round is to bring: whose streams, and whose consumers and groups beside them, if anybody's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    consumers: bool,
    groups: bool,
    /// For whom it is; absent until somebody is taken into the round.
    scope: Option<Scope>,
}

impl Wants {
    /// Takes one more document into the round. False when it is about another tenant: lists are bounded, and those of one
    /// must not be cut because of the other. Then it is for another round.
    pub(super) fn add(&mut self, report: Report, scope: Scope) -> bool {
        if *self.scope.get_or_insert(scope) != scope {
            return false;
        }
        self.consumers |= report == Report::Snapshot(View::Consumers);
        self.groups |= report == Report::Snapshot(View::Groups);
        true
    }

    /// Whose streams, consumers and groups; `None`: everybody's.
    pub(super) const fn tenant(self) -> Option<TenantId> {
        match self.scope {
            Some(Scope::Tenant(tenant)) => Some(tenant),
            Some(Scope::Server) | None => None,
        }
    }
}

/// The rows of one shard that a round has brought.
#[derive(Debug, Clone, Default)]
pub(crate) struct Details {
    consumers: Option<Rows<Consumer>>,
    groups: Option<Rows<GroupRow>>,
}

/// One consumer and its connection.
#[derive(Debug, Clone)]
struct Consumer {
    row: ConsumerRow,
    peer: Option<IpAddr>,
    age_ms: u64,
}

impl Host {
    /// The rows that are wanted of this shard, as many as a snapshot lists streams.
    pub(super) fn details(&mut self, wants: Wants) -> Details {
        let max = self.rows_max;
        let consumers = wants.consumers.then(|| self.shard.consumer_rows(wants.tenant(), max));
        let groups = wants.groups.then(|| self.shard.group_rows(wants.tenant(), max));
        let consumers = consumers.map(|Rows { rows, omitted }| {
            let rows = rows.into_iter().map(|row| self.consumer(row)).collect();
            Rows { rows, omitted }
        });
        Details { consumers, groups }
    }

    fn consumer(&mut self, row: ConsumerRow) -> Consumer {
        let connection = self.connections.find(row.connection);
        let (peer, opened_ns) = connection.map_or((None, self.now.mono_ns), |it| (Some(it.peer), it.opened_ns));
        Consumer { row, peer, age_ms: self.now.mono_ns.saturating_sub(opened_ns) / 1_000_000 }
    }
}

/// The document of a view.
pub(super) fn write(view: View, scope: Scope, server: &Server<'_>) -> Value {
    match view {
        View::Streams => {
            let (rows, omitted) = stream_rows(server, scope);
            json!({"view": view.name(), "rows": rows, "omitted": omitted, "truncated": omitted > 0})
        }
        View::Consumers => listed(view, server, |shard, details| {
            let rows = details.consumers.as_ref()?;
            Some((rows.rows.iter().map(|row| consumer(server, shard, row)).collect(), rows.omitted))
        }),
        View::Groups => listed(view, server, |shard, details| {
            let rows = details.groups.as_ref()?;
            Some((rows.rows.iter().map(|row| group(server, shard, row)).collect(), rows.omitted))
        }),
        // What is told of streams does not include those that were left out.
        View::Tenants => json!({
            "view": view.name(), "rows": tenant_rows(server, scope), "truncated": streams_omitted(server) > 0,
        }),
        View::Shards => json!({"view": view.name(), "rows": server.reports.iter().map(shard).collect::<Vec<_>>()}),
        View::Limits => json!({"view": view.name(), "rows": limits(server)}),
    }
}

type Listed = Option<(Vec<Value>, u64)>;

/// The rows of all shards, by stream, then by whatever comes first in them.
fn listed(view: View, server: &Server<'_>, of: impl Fn(u16, &Details) -> Listed) -> Value {
    let (mut rows, mut omitted) = (Vec::new(), 0);
    for report in server.reports {
        if let Some((more, left_out)) = of(report.shard.0, &report.details) {
            rows.extend(more);
            omitted += left_out;
        }
    }
    let key = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_owned();
        (text("tenant"), text("stream"), text("group"), text("connection"))
    };
    rows.sort_by_cached_key(key);
    json!({"view": view.name(), "rows": rows, "omitted": omitted, "truncated": omitted > 0})
}

fn consumer(server: &Server<'_>, shard: u16, consumer: &Consumer) -> Value {
    let Consumer { row, peer, age_ms } = consumer;
    json!({
        "connection": connection_name(shard, row.connection),
        "shard": shard,
        "tenant": tenant_name(server.policy, row.tenant),
        "stream": row.stream,
        "group": row.group,
        "ephemeral": row.is_ephemeral,
        "credit": row.credit,
        "inflight": row.inflight,
        "maxInflight": row.inflight_max,
        "refill": if row.is_refilled { json!("ack") } else { Value::Null },
        "ackWaitMs": row.ack_wait_ms,
        "codec": row.encoding.name(),
        "outboxBytes": row.outbox_bytes,
        "ip": peer.map(|peer| peer.to_string()),
        "ageMs": age_ms,
    })
}

/// Tells connections of all shards apart.
fn connection_name(shard: u16, connection: ConnectionId) -> String {
    format!("{shard}-{:x}", connection.0)
}

fn group(server: &Server<'_>, shard: u16, row: &GroupRow) -> Value {
    let mut value = serde_json::to_value(&row.info).unwrap_or_default();
    value["shard"] = json!(shard);
    value["tenant"] = json!(tenant_name(server.policy, row.tenant));
    value["ephemeral"] = json!(row.is_ephemeral);
    value
}

/// Tenants with what they have and what they may have.
fn tenant_rows(server: &Server<'_>, scope: Scope) -> Vec<Value> {
    let figures = tenants(server);
    let rate = |rate: Rate| json!({"perWindow": rate.per_window, "windowMs": rate.window_ms, "burst": rate.burst});
    let mut rows = Vec::new();
    for (id, name, stats) in figures {
        if matches!(scope, Scope::Tenant(own) if own != id) {
            continue;
        }
        let streams = server.reports.iter().flat_map(|report| &report.snapshot.streams);
        let own: Vec<_> = streams.filter(|stream| stream.tenant == id).map(|stream| &stream.stats).collect();
        let sum = |of: fn(&conduit_protocol::StreamStats) -> u64| own.iter().map(|stats| of(stats)).sum::<u64>();
        let mut row = Map::new();
        row.insert("tenant".to_owned(), json!(name));
        if let Value::Object(stats) = stats {
            row.extend(stats);
        }
        let of_streams = json!({
            "streams": own.len(),
            "depth": sum(|stats| stats.depth),
            "inflight": sum(|stats| stats.inflight),
            "consumers": sum(|stats| stats.consumers),
            "streamBytes": sum(|stats| stats.bytes),
        });
        if let Value::Object(of_streams) = of_streams {
            row.extend(of_streams);
        }
        let limits = server.policy.tenants.by_id.get(&id).map_or(Value::Null, |tenant| {
            json!({
                "requests": tenant.requests.map(rate),
                "maxConnections": tenant.connections_max,
                "maxConcurrentUploads": tenant.uploads_max,
                "maxUploadSize": tenant.upload_bytes_max,
            })
        });
        row.insert("limits".to_owned(), limits);
        rows.push(Value::Object(row));
    }
    rows
}

/// What is bounded, by how much, and how near the bound the fullest shard (or the server) is. `now` is absent where
/// nothing is counted.
fn limits(server: &Server<'_>) -> Vec<Value> {
    let (core, wire, policy) = (server.core_limits, server.limits, server.policy);
    let fullest = |of: fn(&conduit_shard::Totals) -> u64| {
        server.reports.iter().map(|report| of(&report.snapshot.totals)).max().unwrap_or_default()
    };
    let connections: u64 = server.reports.iter().map(|report| report.host.connections).sum();
    let used = |limit: &str, per: &str, max: u64, now: u64| json!({"limit": limit, "per": per, "max": max, "now": now});
    let bound = |limit: &str, per: &str, max: u64| json!({"limit": limit, "per": per, "max": max});
    let mut rows = vec![
        used("connections", "server", server.connections_max as u64, connections),
        used("streams", "shard", core.streams_max as u64, fullest(|totals| totals.streams_now)),
        used("groups", "shard", core.groups_max as u64, fullest(|totals| totals.groups_now)),
        used("consumers", "shard", core.consumers_max as u64, fullest(|totals| totals.consumers_now)),
        used("messages", "shard", core.shard_messages_max, fullest(|totals| totals.messages_now)),
        used("messageBytes", "shard", core.shard_bytes_max, fullest(|totals| totals.bytes_now)),
        used("pausedPublishers", "shard", core.paused_max as u64, fullest(|totals| totals.paused_now)),
        bound("messages", "stream", core.stream_messages_max),
        bound("messageBytes", "stream", core.stream_bytes_max),
        bound("groups", "stream", core.groups_per_stream_max as u64),
        bound("inflight", "consumer", u64::from(core.consumer_inflight_max)),
        bound("credit", "consumer", core.credit_max),
        bound("bodyBytes", "request", wire.body_bytes_max as u64),
        bound("headBytes", "request", wire.head_bytes_max as u64),
        bound("messageBytes", "websocket", wire.message_bytes_max as u64),
        bound("depth", "message", wire.depth_max as u64),
    ];
    let mut rate = |limit: String, per: &str, rate: Rate| {
        rows.push(json!({
            "limit": limit, "per": per, "max": rate.per_window, "windowMs": rate.window_ms, "burst": rate.burst,
        }));
    };
    // Health is told as often as anybody asks.
    for endpoint in Endpoint::ALL.into_iter().filter(|endpoint| *endpoint != Endpoint::Health) {
        if let Some(by_ip) = policy.rates.by_ip(endpoint) {
            rate(format!("requests {}", endpoint.path()), "ip", by_ip);
        }
    }
    if let Some(messages) = policy.rates.ws_messages {
        rate("messages".to_owned(), "websocket", messages);
    }
    if let Some(connects) = policy.rates.ws_connects_by_ip {
        rate("connects".to_owned(), "ip", connects);
    }
    if let Some(max) = policy.rates.in_progress_per_shard_max {
        rows.push(bound("requestsInProgress", "shard", u64::from(max)));
    }
    rows
}
