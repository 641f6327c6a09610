//! `GET /v1/histograms`: what capacity is planned from. Each series is given for every shard and merged.

use super::documents::Server;
use super::metrics::Merged;
use conduit_shard::Snapshot;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

/// Percentile lines per halving of the distance to 100 %, as other HdrHistogram tools print them.
const TICKS_PER_HALF_DISTANCE: u32 = 5;
const NS_PER_US: f64 = 1e3;

/// The series of one shard (or of all): name and values in nanoseconds.
fn series(core: &Snapshot) -> [(&'static str, &Histogram<u64>); 2] {
    [("publish_to_deliver", &core.publish_to_deliver_ns), ("deliver_to_ack", &core.deliver_to_ack_ns)]
}

/// `format=json`: counts and percentiles in microseconds, and every non-empty bucket as `[upper edge, count]`.
pub(crate) fn json(server: &Server<'_>) -> Value {
    let merged = Merged::of(server.reports);
    let shards: Vec<Value> = server
        .reports
        .iter()
        .map(|report| json!({"shard": report.shard.0, "series": all_json(&report.snapshot)}))
        .collect();
    json!({"unit": "us", "merged": all_json(&merged.core), "shards": shards})
}

fn all_json(core: &Snapshot) -> Value {
    Value::Object(
        series(core).into_iter().map(|(name, values)| (name.to_owned(), one_json(values))).collect::<Map<_, _>>(),
    )
}

fn one_json(values: &Histogram<u64>) -> Value {
    let us = |quantile: f64| values.value_at_quantile(quantile) as f64 / NS_PER_US;
    let buckets: Vec<Value> = values
        .iter_recorded()
        .map(|bucket| json!([bucket.value_iterated_to() as f64 / NS_PER_US, bucket.count_at_value()]))
        .collect();
    json!({
        "count": values.len(),
        "min": if values.is_empty() { 0.0 } else { values.min() as f64 / NS_PER_US },
        "mean": values.mean() / NS_PER_US,
        "p50": us(0.5), "p90": us(0.9), "p95": us(0.95), "p99": us(0.99), "p999": us(0.999), "p9999": us(0.9999),
        "max": values.max() as f64 / NS_PER_US,
        "buckets": buckets,
    })
}

/// `format=hlog`: an HdrHistogram interval log, one line per series and shard, told apart by tag. The one interval is
/// the life of the process.
pub(crate) fn hlog(server: &Server<'_>) -> Vec<u8> {
    let merged = Merged::of(server.reports);
    let mut out = Vec::new();
    let started = UNIX_EPOCH + Duration::from_millis(server.started.unix_ms);
    let length = Duration::from_secs_f64(server.uptime_s());
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder
        .add_comment("Conduit latencies in nanoseconds; the interval is the life of the process")
        .with_base_time(started);
    // Writing to memory cannot fail.
    let Ok(mut writer) = builder.begin_log_with(&mut out, &mut serializer) else { return Vec::new() };
    let shards = server.reports.iter().map(|report| (format!("shard{}", report.shard.0), &report.snapshot));
    for (whose, core) in std::iter::once(("merged".to_owned(), &merged.core)).chain(shards) {
        for (name, values) in series(core) {
            let tag = format!("{name}.{whose}");
            let _ = writer.write_histogram(values, Duration::ZERO, length, Tag::new(&tag));
        }
    }
    out
}

/// `format=hgrm`: percentile distributions in milliseconds as HdrHistogram's plotters read them, one section per series
/// and shard, each headed by a comment. The first section is what most people want: publish to deliver, merged.
pub(crate) fn hgrm(server: &Server<'_>) -> String {
    let merged = Merged::of(server.reports);
    let mut out = String::new();
    let shards = server.reports.iter().map(|report| (format!("shard {}", report.shard.0), &report.snapshot));
    for (whose, core) in std::iter::once(("all shards".to_owned(), &merged.core)).chain(shards) {
        for (name, values) in series(core) {
            percentiles(&mut out, name, &whose, values);
        }
    }
    out
}

fn percentiles(out: &mut String, name: &str, whose: &str, values: &Histogram<u64>) {
    let ms = |ns: f64| ns / 1e6;
    let _ = writeln!(out, "# {name}, {whose}, milliseconds");
    let _ = writeln!(out, "       Value     Percentile TotalCount 1/(1-Percentile)\n");
    let mut below = 0;
    for step in values.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        below += step.count_since_last_iteration();
        let (value, quantile) = (ms(step.value_iterated_to() as f64), step.quantile_iterated_to());
        if quantile < 1.0 {
            let _ = writeln!(out, "{value:12.3} {quantile:2.12} {below:10} {:14.2}", 1.0 / (1.0 - quantile));
        } else {
            let _ = writeln!(out, "{value:12.3} {quantile:2.12} {below:10}");
        }
    }
    let _ = writeln!(out, "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]", ms(values.mean()), ms(values.stdev()));
    let _ = writeln!(out, "#[Max     = {:12.3}, Total count    = {:12}]", ms(values.max() as f64), values.len());
    let _ = writeln!(out, "#[Buckets = {:12}, SubBuckets     = {:12}]\n", values.buckets(), values.distinct_values());
}
