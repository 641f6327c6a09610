//! The report for people.

use super::{LatencySummary, Report};
use std::fmt::Write;

/// A rate with three digits and a unit: `1.23 M/s`.
#[must_use]
pub fn rate_text(per_s: f64) -> String {
    format!("{}/s", count_text(per_s))
}

/// A count with three digits and a unit: `1.23 M`.
#[must_use]
pub fn count_text(count: f64) -> String {
    let (value, unit) = match count {
        count if count >= 1e9 => (count / 1e9, " G"),
        count if count >= 1e6 => (count / 1e6, " M"),
        count if count >= 1e3 => (count / 1e3, " k"),
        count => (count, ""),
    };
    let digits = if value >= 100.0 || unit.is_empty() {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$}{unit}")
}

/// A duration with three digits and a unit: `1.23 ms`.
#[must_use]
pub fn duration_text(ns: u64) -> String {
    let ns = ns as f64;
    let (value, unit) = match ns {
        ns if ns >= 1e9 => (ns / 1e9, "s"),
        ns if ns >= 1e6 => (ns / 1e6, "ms"),
        ns if ns >= 1e3 => (ns / 1e3, "us"),
        ns => (ns, "ns"),
    };
    let digits = if value >= 100.0 || unit == "ns" {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.digits$} {unit}")
}

/// Bytes with a binary unit: `1.5 MiB`.
#[must_use]
pub fn bytes_text(bytes: f64) -> String {
    let (value, unit) = match bytes {
        bytes if bytes >= 1024.0 * 1024.0 * 1024.0 => (bytes / (1024.0 * 1024.0 * 1024.0), "GiB"),
        bytes if bytes >= 1024.0 * 1024.0 => (bytes / (1024.0 * 1024.0), "MiB"),
        bytes if bytes >= 1024.0 => (bytes / 1024.0, "KiB"),
        bytes => return format!("{bytes:.0} B"),
    };
    format!("{value:.1} {unit}")
}

/// The summary of a run, several lines.
#[must_use]
pub fn summary(report: &Report) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write_summary(&mut text, report);
    text
}

fn write_summary(text: &mut String, report: &Report) -> std::fmt::Result {
    let (rates, total) = (&report.rates, &report.total);
    writeln!(text, "window     {:.1} s of {}", report.window.window_ns as f64 / 1e9, shape(report))?;
    writeln!(
        text,
        "rates      published {}  accepted {}  delivered {}  acked {}",
        rate_text(rates.published_per_s),
        rate_text(rates.accepted_per_s),
        rate_text(rates.delivered_per_s),
        rate_text(rates.acked_per_s)
    )?;
    let from = if report.plan.rate.is_some() { "the intended send time" } else { "the write" };
    for (name, latency) in [("deliver", &report.latency.deliver), ("accept", &report.latency.accept)] {
        if let Some(latency) = latency {
            writeln!(text, "{name:<10} {}  (from {from})", latency_text(latency))?;
        }
    }
    if let Some(lag) = &report.latency.send_lag {
        writeln!(text, "send lag   {}  (the generator's own lateness)", latency_text(lag))?;
    }
    if let Some(server) = &report.server {
        writeln!(
            text,
            "server     {:.0} ns CPU per message = {} messages per CPU-second, {:.0} % of a core, RSS {}",
            server.cpu_ns_per_message,
            count_text(server.messages_per_cpu_second),
            server.core_share * 100.0,
            bytes_text(server.memory.rss_bytes as f64)
        )?;
    }
    writeln!(text, "generator  {:.0} ns CPU per message", report.generator.cpu_ns_per_message)?;
    writeln!(
        text,
        "total      published {}  accepted {}  delivered {}  redelivered {}  backpressure {}  retried {}",
        total.published, total.accepted, total.delivered, total.redelivered, total.backpressure, total.retried
    )?;
    write_verdict(text, report)
}

fn shape(report: &Report) -> String {
    let plan = &report.plan;
    let loop_text =
        plan.rate.map_or_else(|| "closed loop".to_owned(), |rate| format!("open loop at {}", rate_text(rate)));
    format!(
        "{loop_text}: {} producers, {} consumers, {} streams, {} B payloads",
        plan.producers, plan.consumers, plan.streams, plan.payload_bytes
    )
}

fn latency_text(latency: &LatencySummary) -> String {
    format!(
        "p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
        duration_text(latency.p50),
        duration_text(latency.p90),
        duration_text(latency.p99),
        duration_text(latency.p999),
        duration_text(latency.max)
    )
}

fn write_verdict(text: &mut String, report: &Report) -> std::fmt::Result {
    let verdict = &report.verdict;
    if verdict.passed {
        let note =
            if verdict.foreign > 0 { format!(" ({} of other runs ignored)", verdict.foreign) } else { String::new() };
        let what = if report.plan.consumers == 0 {
            "every publish was answered"
        } else {
            "every message came once and in order"
        };
        return writeln!(text, "verdict    passed: {what}{note}");
    }
    writeln!(
        text,
        "verdict    FAILED: {} lost, {} duplicates, {} reordered, {} corrupted, {} misrouted, {} errors, {} disconnected",
        verdict.lost,
        verdict.duplicates,
        verdict.reordered,
        verdict.corrupted,
        verdict.misrouted,
        verdict.errors,
        verdict.disconnected
    )?;
    for entry in &verdict.missing {
        writeln!(
            text,
            "           lost: {} of producer {} on stream {}: numbers {:?}{}",
            entry.count,
            entry.producer,
            report.plan.stream_name(entry.stream),
            entry.numbers,
            if entry.numbers.len() as u64 == entry.count { "" } else { " and more" }
        )?;
    }
    for fault in &verdict.faults {
        writeln!(text, "           {fault}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_three_digits() {
        assert_eq!(rate_text(1_234_567.0), "1.23 M/s");
        assert_eq!(count_text(999.0), "999");
        assert_eq!(count_text(12_345.0), "12.3 k");
        assert_eq!(duration_text(999), "999 ns");
        assert_eq!(duration_text(123_456), "123 us");
        assert_eq!(duration_text(2_500_000_000), "2.50 s");
        assert_eq!(bytes_text(1536.0), "1.5 KiB");
    }
}
