//! `streams` and `groups`: streams and groups as objects.

use crate::address::{Server, path_segment};
use crate::failure::Failure;
use crate::http::{Client, Reply};
use crate::object_commands::{Groups, Streams};
use crate::output::{Output, grouped, measure, printable};
use conduit_protocol::streams::{Done, Durability, GroupInfo, Policy, Retention, StreamInfo};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// `streams`.
pub(crate) fn streams(server: &Server, asked: &Streams, out: &mut Output) -> Result<(), Failure> {
    let client = Client::new(server);
    match asked {
        Streams::Ls { .. } => list(&client, out),
        Streams::Show { stream, .. } => show_stream(&client.get(&stream_path(stream))?, out),
        Streams::Put(put) => {
            let settings = put.settings()?;
            show_stream(&client.put(&stream_path(&put.stream), &settings)?, out)
        }
        Streams::Delete { stream, .. } => done(&client.delete(&stream_path(stream))?, "deleted", out),
        Streams::Purge { stream, .. } => purge(&client, stream, out),
    }
}

/// `groups`.
pub(crate) fn groups(server: &Server, asked: &Groups, out: &mut Output) -> Result<(), Failure> {
    let client = Client::new(server);
    match asked {
        Groups::Ls { stream, .. } => {
            let (info, value) = document::<StreamInfo>(&client.get(&stream_path(stream))?)?;
            if out.json {
                return out.value(value.get("groups").unwrap_or(&Value::Null));
            }
            out.table(&GROUP_COLUMNS, info.groups.iter().map(group_cells))
        }
        Groups::Show { stream, group, .. } => show_group(&client.get(&group_path(stream, group))?, out),
        Groups::Put(put) => show_group(&client.put(&group_path(&put.stream, &put.group), &put.settings())?, out),
        Groups::Delete { stream, group, .. } => done(&client.delete(&group_path(stream, group))?, "deleted", out),
    }
}

/// Deletes every message of a stream.
pub(crate) fn purge(client: &Client, stream: &str, out: &mut Output) -> Result<(), Failure> {
    done(&client.post(&format!("{}/purge", stream_path(stream)), "application/json", b"")?, "purged", out)
}

/// The path of a stream as an object.
pub(crate) fn stream_path(stream: &str) -> String {
    format!("/v1/streams/{}", path_segment(stream))
}

fn group_path(stream: &str, group: &str) -> String {
    format!("{}/groups/{}", stream_path(stream), path_segment(group))
}

/// The answer as what it should be, and as it came.
pub(crate) fn document<T: DeserializeOwned>(reply: &Reply) -> Result<(T, Value), Failure> {
    if !matches!(reply.status, 200 | 201) {
        return Err(reply.refusal());
    }
    let value = reply.json()?;
    let read = serde_json::from_slice(&reply.body);
    read.map(|read| (read, value))
        .map_err(|error| Failure::Unreachable(format!("the answer is not understood ({error}): is the server older?")))
}

/// A row of `GET /v1/streams`. Figures that an older or newer server does not tell count as 0.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listed {
    /// The stream's name.
    pub(crate) stream: String,
    /// Whose it is.
    #[serde(default)]
    pub(crate) tenant: String,
    #[serde(default)]
    shard: u16,
    /// Its backlog.
    #[serde(default)]
    pub(crate) depth: u64,
    /// Delivered and not acked.
    #[serde(default)]
    pub(crate) inflight: u64,
    #[serde(default)]
    consumers: u64,
    #[serde(default)]
    bytes: u64,
    #[serde(default)]
    rate_in: f64,
    #[serde(default)]
    rate_out: f64,
}

#[derive(Debug, Deserialize)]
struct Listing {
    streams: Vec<Listed>,
    #[serde(default)]
    omitted: u64,
}

/// All streams, how many the server left out, and the document itself.
pub(crate) fn listing(client: &Client) -> Result<(Vec<Listed>, u64, Value), Failure> {
    let (Listing { streams, omitted }, value) = document(&client.get("/v1/streams")?)?;
    Ok((streams, omitted, value))
}

fn list(client: &Client, out: &mut Output) -> Result<(), Failure> {
    let (streams, omitted, value) = listing(client)?;
    if out.json {
        return out.value(&value);
    }
    let columns = ["stream", "shard", "backlog", "in flight", "bytes", "consumers", "in/s", "out/s"];
    out.table_with_tenants(
        &columns,
        streams.iter().map(|row| {
            let counts = [row.depth, row.inflight, row.bytes, row.consumers].map(grouped);
            let [depth, inflight, bytes, consumers] = counts;
            let name = printable(&row.stream);
            let cells = [
                name,
                row.shard.to_string(),
                depth,
                inflight,
                bytes,
                consumers,
                measure(row.rate_in),
                measure(row.rate_out),
            ];
            (cells, Some(&*row.tenant))
        }),
    )?;
    if omitted > 0 {
        out.line(&format!("and {} more, which the server's report leaves out", grouped(omitted)))?;
    }
    Ok(())
}

fn show_stream(reply: &Reply, out: &mut Output) -> Result<(), Failure> {
    let (info, value) = document::<StreamInfo>(reply)?;
    if out.json {
        return out.value(&value);
    }
    out.rows(&stream_rows(&info))?;
    if info.groups.is_empty() {
        return Ok(());
    }
    out.line("")?;
    out.table(&GROUP_COLUMNS, info.groups.iter().map(group_cells))
}

fn stream_rows(info: &StreamInfo) -> Vec<(&'static str, String)> {
    let created = if info.created { ", created now" } else { "" };
    let mut rows = vec![
        ("stream", format!("{}{created}", printable(&info.stream))),
        ("shard", info.shard.to_string()),
        ("epoch", info.epoch.to_string()),
        (
            "seqs",
            match info.first {
                Some(first) => format!("{} to {}", grouped(first), grouped(info.last)),
                None => format!("none held, the last was {}", grouped(info.last)),
            },
        ),
        (
            "messages",
            format!("{}, {} of them only on the disk", grouped(info.messages), grouped(info.messages_on_disk)),
        ),
        ("bytes in memory", grouped(info.bytes)),
        ("retention", retention_text(&info.retention)),
        (
            "durability",
            match info.durability {
                Durability::Commit => "commit: answered once it is on the disk".to_owned(),
                Durability::Interval(ms) => format!("interval: on the disk within {} ms", grouped(ms)),
                Durability::Memory => "memory".to_owned(),
            },
        ),
        ("limits", format!("{} messages, {} bytes", grouped(info.max_messages), grouped(info.max_bytes))),
        ("deliveries", if info.max_deliver == 0 { "for ever".into() } else { format!("at most {}", info.max_deliver) }),
        ("expired", if info.dead_letter_expired { "to the dead letters".into() } else { "dropped".into() }),
        ("dedup window", format!("{} ms", grouped(info.dedup_window_ms))),
    ];
    let gaps = info.gaps.iter().map(|gap| ("LOST", format!("seqs {} to {}", grouped(gap.from), grouped(gap.to))));
    rows.extend(gaps);
    rows
}

fn retention_text(retention: &Retention) -> String {
    if retention.policy == Policy::Work {
        return "work: until every group has acked it".to_owned();
    }
    let limits = [(retention.max_age_ms, "ms"), (retention.max_bytes, "bytes"), (retention.max_messages, "messages")];
    let limits: Vec<_> = limits
        .iter()
        .filter(|(limit, _)| *limit > 0)
        .map(|(limit, unit)| format!("{} {unit}", grouped(*limit)))
        .collect();
    if limits.is_empty() { "log: for ever".to_owned() } else { format!("log: at most {}", limits.join(", ")) }
}

const GROUP_COLUMNS: [&str; 8] =
    ["group", "next", "backlog", "in flight", "delayed", "consumers", "ack wait ms", "deliveries"];

fn group_cells(info: &GroupInfo) -> [String; 8] {
    let name = if info.group.is_empty() { "(default)".to_owned() } else { printable(&info.group) };
    let deliveries = if info.max_deliver == 0 { "for ever".to_owned() } else { info.max_deliver.to_string() };
    let [next, backlog, inflight, delayed, consumers, ack_wait_ms] =
        [info.next, info.backlog, info.inflight, info.delayed, info.consumers, info.ack_wait_ms].map(grouped);
    [name, next, backlog, inflight, delayed, consumers, ack_wait_ms, deliveries]
}

fn show_group(reply: &Reply, out: &mut Output) -> Result<(), Failure> {
    let (info, value) = document::<GroupInfo>(reply)?;
    if out.json {
        return out.value(&value);
    }
    out.table(&GROUP_COLUMNS, std::iter::once(group_cells(&info)))
}

fn done(reply: &Reply, deed: &str, out: &mut Output) -> Result<(), Failure> {
    let (done, value) = document::<Done>(reply)?;
    if out.json {
        return out.value(&value);
    }
    let stream = printable(&done.stream);
    let object = match done.group.as_deref() {
        None => stream,
        Some("") => format!("the default group of {stream}"),
        Some(group) => format!("group {} of {stream}", printable(group)),
    };
    let messages = done.deleted.map_or_else(String::new, |deleted| format!(": {} messages", grouped(deleted)));
    out.line(&format!("{deed} {object}{messages}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_belongs_to_the_name() {
        assert_eq!(stream_path("agents/me"), "/v1/streams/agents%2Fme");
        assert_eq!(group_path("s", ""), "/v1/streams/s/groups/");
    }

    #[test]
    fn retention_is_told_for_people() {
        let log = Retention { policy: Policy::Log, max_age_ms: 5_000, max_bytes: 0, max_messages: 7 };
        assert_eq!(retention_text(&log), "log: at most 5,000 ms, 7 messages");
        assert_eq!(retention_text(&Retention { max_age_ms: 0, max_messages: 0, ..log }), "log: for ever");
        assert_eq!(retention_text(&Retention::default()), "work: until every group has acked it");
    }
}
