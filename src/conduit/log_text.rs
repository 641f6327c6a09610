//! What a look at a log found, as lines for people and as JSON.

use conduit_shard::log::{Damage, Location, Record, Scanned, SegmentRole, SeqRange};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// A shard's log as a table of its segments, with what is wrong below it.
pub(crate) fn as_text(shard: u16, folder: &Path, scanned: &Scanned) -> String {
    let mut text = format!("shard {shard}: {}\n", folder.display());
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "  {:<10}  {:<7}  {:>10}  {:>10}  {:>8}  {:>10}  begun",
        "segment", "role", "bytes", "valid", "batches", "records"
    );
    for segment in &scanned.segments {
        let _ = writeln!(
            text,
            "  {:010}  {:<7}  {:>10}  {:>10}  {:>8}  {:>10}  {}",
            segment.segment.0,
            role_name(segment.role),
            segment.bytes,
            segment.end,
            segment.batches,
            segment.records,
            time_text(segment.created_unix_ms),
        );
    }
    let end = match (scanned.is_empty(), scanned.ended_clean, scanned.torn_bytes) {
        (true, _, _) => "nothing was ever written".to_owned(),
        (_, true, _) => "ended as a server that was stopped leaves it".to_owned(),
        (_, _, 0) => "ended without a stop".to_owned(),
        (_, _, torn) => {
            format!("ended without a stop; {torn} bytes at the end were being written, and promised to nobody")
        }
    };
    let _ = write!(text, "  {} records in {} bytes; {end}", scanned.records, scanned.bytes);
    for line in damage_lines(shard, scanned) {
        let _ = write!(text, "\n  {}", line.trim_end());
    }
    text
}

/// What is wrong with a log, a line each.
pub(crate) fn damage_lines(shard: u16, scanned: &Scanned) -> Vec<String> {
    let mut lines: Vec<_> = scanned.damage.iter().map(|damage| damage_text(shard, damage)).collect();
    let unlisted = scanned.damage_count.saturating_sub(lines.len() as u64);
    if unlisted > 0 {
        lines.push(format!("shard {shard}: and {unlisted} more places\n"));
    }
    lines
}

fn damage_text(shard: u16, damage: &Damage) -> String {
    let Damage { segment, from, to, kind } = damage;
    let loss = if kind.loses_records() { "records may be gone" } else { "nothing is lost by it" };
    format!("shard {shard}: segment {:010}, bytes {from} to {to}: {}; {loss}\n", segment.0, kind.name())
}

/// A shard's log as one JSON value.
pub(crate) fn as_json(shard: u16, scanned: &Scanned) -> Value {
    let segments: Vec<_> = scanned
        .segments
        .iter()
        .map(|segment| {
            json!({
                "segment": segment.segment.0,
                "role": role_name(segment.role),
                "bytes": segment.bytes,
                "valid": segment.end,
                "batches": segment.batches,
                "records": segment.records,
                "firstBatch": segment.first_batch,
                "createdUnixMs": segment.created_unix_ms,
            })
        })
        .collect();
    let damage: Vec<_> = scanned
        .damage
        .iter()
        .map(|damage| {
            json!({
                "segment": damage.segment.0,
                "from": damage.from,
                "to": damage.to,
                "kind": damage.kind.name(),
                "losesRecords": damage.kind.loses_records(),
            })
        })
        .collect();
    json!({
        "shard": shard,
        "segments": segments,
        "records": scanned.records,
        "bytes": scanned.bytes,
        "tornBytes": scanned.torn_bytes,
        "endedClean": scanned.ended_clean,
        "damageCount": scanned.damage_count,
        "damage": damage,
    })
}

/// One record as a line: where it lies, then its members.
pub(crate) fn record_text(at: Location, record: &Record<'_>) -> String {
    let mut text = format!("{:010}:{:<9} {}", at.segment().0, at.offset(), kind_of(record));
    if let Value::Object(members) = members_of(record) {
        for (name, value) in members {
            let _ = write!(text, " {name}={value}");
        }
    }
    text
}

/// One record as a JSON value.
pub(crate) fn record_json(shard: u16, at: Location, record: &Record<'_>) -> String {
    let mut value = json!({
        "shard": shard,
        "segment": at.segment().0,
        "offset": at.offset(),
        "record": kind_of(record),
    });
    if let (Value::Object(all), Value::Object(members)) = (&mut value, members_of(record)) {
        all.extend(members);
    }
    value.to_string()
}

fn kind_of(record: &Record<'_>) -> &'static str {
    match record {
        Record::Stream(_) => "stream",
        Record::Group(_) => "group",
        Record::Message(_) => "message",
        Record::Acked { .. } => "acked",
        Record::Released { .. } => "released",
        Record::GroupDeleted { .. } => "groupDeleted",
        Record::StreamDeleted { .. } => "streamDeleted",
        Record::CarriedOver => "carriedOver",
    }
}

/// What a record says. Of a message's envelope only its size.
fn members_of(record: &Record<'_>) -> Value {
    match record {
        Record::Stream(stream) => json!({
            "stream": stream.stream.0,
            "name": stream.name,
            "epoch": stream.epoch,
            "nextSeq": stream.next_seq,
            "settings": settings(stream.settings),
            "gaps": ranges_of(stream.gaps),
        }),
        Record::Group(group) => json!({
            "group": group.group.0,
            "stream": group.stream.0,
            "name": group.name,
            "cursor": group.cursor,
            "settings": settings(group.settings),
            "outstanding": group.outstanding.len(),
            "done": ranges_of(group.done),
        }),
        Record::Message(message) => json!({
            "stream": message.stream.0,
            "seq": message.seq,
            "unixMs": message.unix_ms,
            "id": message.id,
            "dedupId": message.dedup_id,
            "priority": message.priority,
            "notBeforeUnixMs": message.not_before_unix_ms,
            "expiresUnixMs": message.expires_unix_ms,
            "traceparent": message.trace.map(|trace| trace.to_string()),
            "encoding": format!("{:?}", message.encoding),
            "bytes": message.envelope.len(),
        }),
        Record::Acked { group, ranges } => json!({ "group": group.0, "ranges": ranges_of(ranges) }),
        Record::Released { stream, ranges } => json!({ "stream": stream.0, "ranges": ranges_of(ranges) }),
        Record::GroupDeleted { group } => json!({ "group": group.0 }),
        Record::StreamDeleted { stream } => json!({ "stream": stream.0 }),
        Record::CarriedOver => json!({}),
    }
}

fn ranges_of(ranges: &[SeqRange]) -> Value {
    ranges.iter().map(|range| json!([range.from, range.to])).collect()
}

/// Settings are JSON already; empty for the defaults.
fn settings(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or(Value::Null)
}

const fn role_name(role: SegmentRole) -> &'static str {
    match role {
        SegmentRole::Written => "written",
        SegmentRole::Ready => "ready",
        SegmentRole::Void => "void",
    }
}

/// A time for people; a dash for none.
fn time_text(unix_ms: u64) -> String {
    let time =
        i64::try_from(unix_ms).ok().filter(|ms| *ms > 0).and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| "-".to_owned(), |time| format!("{time:.3}"))
}
