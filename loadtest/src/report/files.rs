//! The report as files: `report.json`, `report.html`, `deliver.hlog` and `.hgrm` (and `accept.*` where there are answers).
//!
//! `.hlog` is the interval log of HdrHistogram, one interval a second, values in nanoseconds; `.hgrm` is its percentile
//! text, values in microseconds, which HdrHistogram's plotter reads.

use super::{Report, plots};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer, V2Serializer};
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::Duration;

/// Writes every file of the report into `folder`, which is made if need be.
///
/// # Errors
/// When a file cannot be written.
pub fn write_all(report: &Report, folder: &Path) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("report.json"), serde_json::to_vec_pretty(report)?)?;
    std::fs::write(folder.join("report.html"), plots::page(report))?;
    let latencies = &report.latencies;
    for (name, histogram) in [("deliver", &latencies.deliver), ("accept", &latencies.accept)] {
        if !histogram.is_empty() {
            std::fs::write(folder.join(format!("{name}.hgrm")), percentile_text(histogram))?;
        }
    }
    if !latencies.deliver.is_empty() {
        std::fs::write(folder.join("deliver.hlog"), interval_log(&report.deliver_per_second)?)?;
    } else if !latencies.accept.is_empty() {
        std::fs::write(folder.join("accept.hlog"), one_interval_log(report, &latencies.accept)?)?;
    }
    Ok(())
}

/// One second's histogram, small enough to keep for every second of a long run.
pub(crate) fn pack(histogram: &Histogram<u64>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A vector takes every write, and counts of a second are within what the format holds.
    let _ = V2Serializer::new().serialize(histogram, &mut bytes);
    bytes
}

fn interval_log(seconds: &[(u64, Vec<u8>)]) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    for (second, bytes) in seconds {
        let histogram: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| io::Error::other(error.to_string()))?;
        unpacked.push((Duration::from_secs(second.saturating_sub(1)), Duration::from_secs(1), histogram));
    }
    write_log(&unpacked)
}

fn one_interval_log(report: &Report, histogram: &Histogram<u64>) -> io::Result<Vec<u8>> {
    let length = Duration::from_nanos(report.window.window_ns);
    write_log(&[(report.plan.warmup, length, histogram.clone())])
}

fn write_log(intervals: &[(Duration, Duration, Histogram<u64>)]) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut builder = IntervalLogWriterBuilder::new();
    builder.add_comment("conduit-loadtest: latency in nanoseconds, times in seconds since the run began");
    let mut log = builder.begin_log_with(&mut bytes, &mut serializer)?;
    for (start, length, histogram) in intervals {
        log.write_histogram(histogram, *start, *length, None)
            .map_err(|error| io::Error::other(format!("{error:?}")))?;
    }
    Ok(bytes)
}

/// The percentile distribution as HdrHistogram prints it: five steps for each halving of the distance to 100 %.
#[must_use]
pub fn percentile_text(histogram: &Histogram<u64>) -> String {
    let mut text = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let us = |ns: f64| ns / 1e3;
    // Writing to a string cannot fail.
    for step in histogram.iter_quantiles(5) {
        let quantile = step.quantile_iterated_to();
        let value = us(step.value_iterated_to() as f64);
        let count = histogram.count_between(0, step.value_iterated_to());
        let _ = if quantile < 1.0 {
            writeln!(text, "{value:12.3} {quantile:2.12} {count:10} {:14.2}", 1.0 / (1.0 - quantile))
        } else {
            writeln!(text, "{value:12.3} {quantile:2.12} {count:10}")
        };
    }
    let _ =
        writeln!(text, "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]", us(histogram.mean()), us(histogram.stdev()));
    let _ = writeln!(text, "#[Max     = {:12.3}, Total count    = {:12}]", us(histogram.max() as f64), histogram.len());
    let buckets = (histogram.buckets(), 2048);
    let _ = writeln!(text, "#[Buckets = {:12}, SubBuckets     = {:12}]", buckets.0, buckets.1);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tally::new_histogram;
    use base64::prelude::*;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    fn sample() -> Histogram<u64> {
        let mut histogram = new_histogram();
        for value in 1..=10_000u64 {
            histogram.saturating_record(value * 1_000);
        }
        histogram
    }

    #[test]
    fn the_interval_log_can_be_read_back() {
        let packed = pack(&sample());
        let log = interval_log(&[(2, packed.clone()), (3, packed)]).expect("a log is written");
        let mut counts = Vec::new();
        for entry in IntervalLogIterator::new(&log) {
            if let LogEntry::Interval(interval) = entry.expect("every line parses") {
                let bytes = BASE64_STANDARD.decode(interval.encoded_histogram()).expect("base64");
                let histogram: Histogram<u64> =
                    Deserializer::new().deserialize(&mut bytes.as_slice()).expect("it decodes");
                assert_eq!(histogram.value_at_quantile(0.5), sample().value_at_quantile(0.5));
                counts.push((interval.start_timestamp().as_secs(), histogram.len()));
            }
        }
        assert_eq!(counts, [(1, 10_000), (2, 10_000)]);
    }

    #[test]
    fn the_percentile_text_rises_and_ends_at_the_maximum() {
        let text = percentile_text(&sample());
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|word| word.parse().expect("a number")).collect())
            .collect();
        assert!(rows.len() > 20);
        assert!(
            rows.windows(2)
                .all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1] && pair[0][2] <= pair[1][2])
        );
        let last = rows.last().expect("rows");
        assert_eq!((last[1], last[2]), (1.0, 10_000.0));
        let median = rows.iter().find(|row| row[1] >= 0.5).expect("a median");
        assert!((median[0] - 5_000.0).abs() < 10.0, "the median of 1 to 10,000 us, not {}", median[0]);
    }
}
