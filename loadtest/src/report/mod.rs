//! What a run found, for machines. The JSON (`report.json`, and standard output with `--json`) has these members; names
//! are camelCase, times are nanoseconds unless the name says otherwise, and members are only ever added:
//!
//! ```text
//! schema          "conduit-loadtest/1"
//! startedAt       RFC 3339, UTC
//! verdict         { passed, lost, duplicates, reordered, corrupted, misrouted, foreign, errors, disconnected,
//!                   drained, missing: [{ producer, stream, count, numbers }], faults: [text] }
//! rates           { publishedPerS, acceptedPerS, deliveredPerS, ackedPerS, bytesOutPerS, bytesInPerS } in the window
//! latency         { deliver, accept, sendLag }: each null or { count, min, mean, p50, p90, p99, p999, p9999, max };
//!                   from the intended send time; in the closed loop that is the time of the write
//! window          counters of the measured window, with windowNs beside them
//! total           the same counters over the whole run
//! server          null or { pid, cpuNs, cpuNsPerMessage, messagesPerCpuSecond, coreShare, waitedNs, memory:
//!                   { rssBytes, anonBytes, rssPeakBytes } }; a message is a delivery, or an accepted publish without consumers
//! generator       { cpuNs, cpuNsPerMessage }
//! timeline        [{ second, isMeasured, published, accepted, delivered, errors, backpressure, p50Ns, p99Ns }]
//! plan            the plan: every value that the run had, defaults included
//! ```

pub mod files;
pub mod plots;
pub mod text;

use crate::engine::tally::{Counts, Latencies};
use crate::plan::{ConsumeWire, Plan};
use crate::process::Memory;
use crate::verify::{Missing, Published};
use hdrhistogram::Histogram;
use serde::Serialize;

/// The value of `schema`.
pub const SCHEMA: &str = "conduit-loadtest/1";

/// Pairs with lost messages that are listed.
const MISSING_LISTED_MAX: usize = 50;

/// The whole report; see the module's description.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    schema: &'static str,
    started_at: String,
    /// Whether every message was where it should be.
    pub verdict: Verdict,
    /// Rates of the measured window.
    pub rates: Rates,
    /// Latencies of the measured window.
    pub latency: LatencySummaries,
    window: Window,
    total: Counts,
    /// The server's use of the machine, when its process is known.
    pub server: Option<ServerFigures>,
    generator: GeneratorFigures,
    timeline: Vec<TimePoint>,
    /// What was run.
    pub plan: Plan,
    #[serde(skip)]
    pub(crate) latencies: Latencies,
    /// Delivery latencies of each measured second, serialized.
    #[serde(skip)]
    pub(crate) deliver_per_second: Vec<(u64, Vec<u8>)>,
}

/// What a run hands over.
pub(crate) struct Findings {
    pub(crate) plan: Plan,
    pub(crate) window_ns: u64,
    pub(crate) window: Counts,
    pub(crate) total: Counts,
    pub(crate) latencies: Latencies,
    pub(crate) deliver_per_second: Vec<(u64, Vec<u8>)>,
    pub(crate) timeline: Vec<TimePoint>,
    pub(crate) server: Option<ServerUse>,
    pub(crate) generation: Generation,
    pub(crate) verdict: Verdict,
}

/// The server's process over the window.
pub(crate) struct ServerUse {
    pub(crate) pid: u32,
    pub(crate) cpu_ns: u64,
    pub(crate) waited_ns: u64,
    pub(crate) memory: Memory,
}

/// Our own process over the window.
pub(crate) struct Generation {
    pub(crate) cpu_ns: u64,
}

/// Counters with the length of their window.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Window {
    window_ns: u64,
    #[serde(flatten)]
    counts: Counts,
}

/// Per second.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rates {
    /// Messages sent.
    pub published_per_s: f64,
    /// Messages accepted.
    pub accepted_per_s: f64,
    /// Messages that consumers got.
    pub delivered_per_s: f64,
    /// Acks sent.
    pub acked_per_s: f64,
    bytes_out_per_s: f64,
    bytes_in_per_s: f64,
}

/// The server's use of the machine.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerFigures {
    pid: u32,
    cpu_ns: u64,
    /// CPU per message (a delivery, or an accepted publish without consumers).
    pub cpu_ns_per_message: f64,
    /// The same the other way round.
    pub messages_per_cpu_second: f64,
    /// CPU time over wall time: 1 is one full core.
    pub core_share: f64,
    /// Time it could have run and had no core.
    pub waited_ns: u64,
    /// Its memory at the end.
    pub memory: Memory,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct GeneratorFigures {
    cpu_ns: u64,
    cpu_ns_per_message: f64,
}

/// One second of the run, counted from its beginning.
#[derive(Debug, Clone, Copy, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TimePoint {
    pub(crate) second: u64,
    pub(crate) is_measured: bool,
    pub(crate) published: u64,
    pub(crate) accepted: u64,
    pub(crate) delivered: u64,
    pub(crate) errors: u64,
    pub(crate) backpressure: u64,
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
}

/// The latencies of the window.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LatencySummaries {
    /// Publish to delivery.
    pub deliver: Option<LatencySummary>,
    /// Publish to answer.
    pub accept: Option<LatencySummary>,
    /// Intended send time to write: how late the generator was.
    pub send_lag: Option<LatencySummary>,
}

/// One latency, in nanoseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct LatencySummary {
    count: u64,
    min: u64,
    mean: f64,
    /// Median.
    pub p50: u64,
    p90: u64,
    /// 99th percentile.
    pub p99: u64,
    p999: u64,
    p9999: u64,
    max: u64,
}

impl LatencySummary {
    fn of(histogram: &Histogram<u64>) -> Option<Self> {
        (!histogram.is_empty()).then(|| Self {
            count: histogram.len(),
            min: histogram.min(),
            mean: histogram.mean(),
            p50: histogram.value_at_quantile(0.5),
            p90: histogram.value_at_quantile(0.9),
            p99: histogram.value_at_quantile(0.99),
            p999: histogram.value_at_quantile(0.999),
            p9999: histogram.value_at_quantile(0.9999),
            max: histogram.max(),
        })
    }
}

/// Whether the run is good, and if not, why not.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Nothing is wrong.
    pub passed: bool,
    /// Messages that were accepted and never came.
    pub lost: u64,
    /// First deliveries of something that had come.
    pub duplicates: u64,
    /// First deliveries behind a later number.
    pub reordered: u64,
    /// Changed payloads.
    pub corrupted: u64,
    /// Deliveries on a wrong stream.
    pub misrouted: u64,
    /// Other runs' messages; not an error.
    pub foreign: u64,
    /// Failed requests.
    pub errors: u64,
    disconnected: u64,
    /// Everything came before the drain's patience ended.
    drained: bool,
    missing: Vec<MissingEntry>,
    /// The first texts of whatever went wrong.
    pub faults: Vec<String>,
}

/// Lost messages of one producer on one stream.
#[derive(Debug, Clone, Serialize)]
struct MissingEntry {
    producer: u32,
    stream: u32,
    count: u64,
    numbers: Vec<u64>,
}

impl Verdict {
    pub(crate) fn new(
        total: &Counts,
        missing: Vec<Missing>,
        published: &[Published],
        drained: bool,
        faults: Vec<String>,
    ) -> Self {
        // A WebSocket server that refuses without a `ref` does not say what: that many of the producer's are excused.
        let mut excused: Vec<u64> = published.iter().map(|published| published.refused_unnamed).collect();
        let mut lost = 0;
        let mut listed = Vec::new();
        for Missing { producer, stream, numbers, count } in missing {
            let excused = &mut excused[producer as usize];
            let forgiven = count.min(*excused);
            *excused -= forgiven;
            if count > forgiven {
                lost += count - forgiven;
                if listed.len() < MISSING_LISTED_MAX {
                    listed.push(MissingEntry { producer, stream, count: count - forgiven, numbers });
                }
            }
        }
        let wrong = lost + total.duplicates + total.reordered + total.corrupted + total.misrouted + total.errors;
        Self {
            passed: wrong == 0 && total.disconnected == 0 && faults.is_empty(),
            lost,
            duplicates: total.duplicates,
            reordered: total.reordered,
            corrupted: total.corrupted,
            misrouted: total.misrouted,
            foreign: total.foreign,
            errors: total.errors,
            disconnected: total.disconnected,
            drained,
            missing: listed,
            faults,
        }
    }
}

impl Report {
    pub(crate) fn new(findings: Findings) -> Self {
        let Findings { plan, window_ns, window, total, latencies, server, .. } = findings;
        let per_s = |count: u64| count as f64 * 1e9 / window_ns as f64;
        let messages = if plan.consume == ConsumeWire::None { window.accepted } else { window.delivered };
        let per_message = |cpu_ns: u64| cpu_ns as f64 / messages.max(1) as f64;
        let server = server.map(|used| ServerFigures {
            pid: used.pid,
            cpu_ns: used.cpu_ns,
            cpu_ns_per_message: per_message(used.cpu_ns),
            messages_per_cpu_second: messages as f64 * 1e9 / used.cpu_ns.max(1) as f64,
            core_share: used.cpu_ns as f64 / window_ns as f64,
            waited_ns: used.waited_ns,
            memory: used.memory,
        });
        let own_ns = findings.generation.cpu_ns;
        Self {
            schema: SCHEMA,
            started_at: jiff::Timestamp::now().to_string(),
            verdict: findings.verdict,
            rates: Rates {
                published_per_s: per_s(window.published),
                accepted_per_s: per_s(window.accepted),
                delivered_per_s: per_s(window.delivered),
                acked_per_s: per_s(window.acked),
                bytes_out_per_s: per_s(window.bytes_out),
                bytes_in_per_s: per_s(window.bytes_in),
            },
            latency: LatencySummaries {
                deliver: LatencySummary::of(&latencies.deliver),
                accept: LatencySummary::of(&latencies.accept),
                send_lag: plan.rate.and_then(|_| LatencySummary::of(&latencies.send_lag)),
            },
            window: Window { window_ns, counts: window },
            total,
            server,
            generator: GeneratorFigures { cpu_ns: own_ns, cpu_ns_per_message: per_message(own_ns) },
            timeline: findings.timeline,
            plan,
            latencies,
            deliver_per_second: findings.deliver_per_second,
        }
    }

    /// Counters of the measured window.
    #[must_use]
    pub const fn window(&self) -> &Counts {
        &self.window.counts
    }

    /// Counters of the whole run.
    #[must_use]
    pub const fn total(&self) -> &Counts {
        &self.total
    }

    /// The generator's own CPU per message, in nanoseconds.
    #[must_use]
    pub const fn generator_ns_per_message(&self) -> f64 {
        self.generator.cpu_ns_per_message
    }

    /// Messages per second of the window: deliveries, or accepted publishes without consumers.
    #[must_use]
    pub fn messages_per_s(&self) -> f64 {
        if self.plan.consume == ConsumeWire::None { self.rates.accepted_per_s } else { self.rates.delivered_per_s }
    }

    /// The share of the window in which the server could have run and had no core: neighbours were busy.
    #[must_use]
    pub fn server_wait_share(&self) -> f64 {
        self.server.map_or(0.0, |server| server.waited_ns as f64 / self.window.window_ns as f64)
    }

    /// Messages per second of the server's CPU, when its process is known.
    #[must_use]
    pub fn messages_per_cpu_second(&self) -> Option<f64> {
        self.server.map(|server| server.messages_per_cpu_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(producer: u32, count: u64) -> Missing {
        Missing { producer, stream: 0, numbers: vec![1], count }
    }

    #[test]
    fn each_kind_of_wrong_fails_the_run() {
        type Change = fn(&mut Counts);
        let good = Verdict::new(&Counts::default(), Vec::new(), &[], true, Vec::new());
        assert!(good.passed);
        let changes: [Change; 6] = [
            |counts| counts.duplicates = 1,
            |counts| counts.reordered = 1,
            |counts| counts.corrupted = 1,
            |counts| counts.misrouted = 1,
            |counts| counts.errors = 1,
            |counts| counts.disconnected = 1,
        ];
        for change in changes {
            let mut counts = Counts::default();
            change(&mut counts);
            assert!(!Verdict::new(&counts, Vec::new(), &[], true, Vec::new()).passed);
        }
        let harmless = Counts { backpressure: 9, redelivered: 9, foreign: 9, retried: 9, ..Counts::default() };
        assert!(Verdict::new(&harmless, Vec::new(), &[], true, Vec::new()).passed);
    }

    #[test]
    fn unnamed_refusals_excuse_as_many_losses_and_not_one_more() {
        let published = [Published { tickets: 10, uncertain: Vec::new(), refused_unnamed: 3 }];
        let verdict = Verdict::new(&Counts::default(), vec![missing(0, 3)], &published, true, Vec::new());
        assert!(verdict.passed);
        let verdict = Verdict::new(&Counts::default(), vec![missing(0, 4)], &published, true, Vec::new());
        assert_eq!((verdict.passed, verdict.lost), (false, 1));
    }
}
