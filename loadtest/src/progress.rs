//! What is shown while a run is going on: a live line on a terminal, a plain line every few seconds elsewhere.

use crate::engine::shared::Phase;
use crate::engine::tally::{Counts, Interval, Latencies};
use crate::report::text::{duration_text, rate_text};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, Write};

/// Distance of plain lines.
const LINE_NS: u64 = 5_000_000_000;

/// Shows progress on standard error.
pub struct Display {
    bar: Option<ProgressBar>,
    is_quiet: bool,
    /// Latencies since the last line.
    latencies: Latencies,
    p50_ns: u64,
    p99_ns: u64,
    last: (u64, Counts),
}

impl Display {
    /// A display that shows nothing.
    #[must_use]
    pub fn quiet() -> Self {
        Self::of(None, true)
    }

    /// A live line if standard error is a terminal, else plain lines.
    #[must_use]
    pub fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::of(None, false);
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        Self::of(Some(bar), false)
    }

    fn of(bar: Option<ProgressBar>, is_quiet: bool) -> Self {
        Self { bar, is_quiet, latencies: Latencies::new(), p50_ns: 0, p99_ns: 0, last: (0, Counts::default()) }
    }

    /// Takes the latencies of an interval into the next line.
    pub(crate) fn note_interval(&mut self, interval: &Interval) {
        if !self.is_quiet {
            self.latencies.add(&interval.latencies);
        }
    }

    /// Shows the figures, if it is time.
    pub(crate) fn refresh(&mut self, counts: &Counts, now_ns: u64, phase: Phase) {
        let distance_ns = if self.bar.is_some() { 500_000_000 } else { LINE_NS };
        if self.is_quiet || now_ns < self.last.0 + distance_ns {
            return;
        }
        let seconds = (now_ns - self.last.0) as f64 / 1e9;
        let added = counts.since(&self.last.1);
        self.last = (now_ns, *counts);
        let latest = if self.latencies.deliver.is_empty() { &self.latencies.accept } else { &self.latencies.deliver };
        if !latest.is_empty() {
            (self.p50_ns, self.p99_ns) = (latest.value_at_quantile(0.5), latest.value_at_quantile(0.99));
            self.latencies = Latencies::new();
        }
        let line = format!(
            "{:>4.0}s {:<8} published {}  delivered {}  p50 {}  p99 {}  backpressure {}  errors {}",
            now_ns as f64 / 1e9,
            format!("{phase:?}").to_lowercase(),
            rate_text(added.published as f64 / seconds),
            rate_text(added.delivered as f64 / seconds),
            duration_text(self.p50_ns),
            duration_text(self.p99_ns),
            counts.backpressure,
            counts.errors + counts.duplicates + counts.reordered + counts.corrupted + counts.misrouted,
        );
        match &self.bar {
            Some(bar) => {
                bar.set_message(line);
                bar.tick();
            }
            // Nobody reads standard error any more when this fails.
            None => drop(writeln!(std::io::stderr(), "{line}")),
        }
    }

    /// Takes the live line away.
    pub fn finish(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Default for Display {
    fn default() -> Self {
        Self::new()
    }
}
