//! What a trial came to: progress while it runs, then a table for people or JSON for machines.

use super::tally::{Figures, Wrongs};
use crate::cli::Ending;
use crate::report::text::{count_text, duration_text};
use serde::Serialize;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Everything worth telling.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct TrialReport {
    /// What was tried.
    pub(crate) trial: &'static str,
    /// The seed of its decisions.
    pub(crate) seed: u64,
    /// How long it took.
    pub(crate) seconds: f64,
    /// What was done to the server: name and how often.
    pub(crate) deeds: Vec<(String, u64)>,
    /// What happened on the wire.
    pub(crate) figures: Figures,
    /// Starts until ready: median and longest, in milliseconds.
    pub(crate) ready_ms: Option<(f64, f64)>,
    /// What is wrong.
    pub(crate) wrongs: Wrongs,
    /// Why nothing follows from the trial, though nothing is wrong.
    pub(crate) void: Vec<String>,
}

impl TrialReport {
    /// Failed, void or passed.
    pub(crate) fn ending(&self) -> Ending {
        match (self.wrongs.is_empty(), self.void.is_empty()) {
            (false, _) => Ending::Failed,
            (true, false) => Ending::Void,
            (true, true) => Ending::Passed,
        }
    }

    /// The table.
    pub(crate) fn text(&self) -> String {
        let mut rows: Vec<(&str, String)> =
            self.deeds.iter().map(|(name, count)| (name.as_str(), count_text(*count as f64))).collect();
        let figures = &self.figures;
        for (name, count) in [
            ("publishes answered", figures.answered),
            ("  of them repeats, recognised", figures.duplicates),
            ("publishes refused and repeated", figures.refused),
            ("deliveries under load", figures.delivered),
            ("  of them redeliveries", figures.redelivered),
            ("acks under load", figures.acked),
            ("messages given up under load", figures.given_up),
            ("dead letters found", figures.dead_letters),
            ("messages read back", figures.read_back),
        ] {
            rows.push((name, count_text(count as f64)));
        }
        if let Some((median, longest)) = self.ready_ms {
            let text = |ms: f64| duration_text((ms * 1e6) as u64);
            rows.push(("start until ready, median", text(median)));
            rows.push(("start until ready, longest", text(longest)));
        }
        for (what, count) in &self.wrongs.counts {
            rows.push((what.text(), format!("{count}  WRONG")));
        }
        let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut text: String = rows.iter().map(|(name, figure)| format!("{name:<width$}  {figure}\n")).collect();
        for example in &self.wrongs.examples {
            text += &format!("  {example}\n");
        }
        for reason in &self.void {
            text += &format!("void: {reason}\n");
        }
        let verdict = match self.ending() {
            Ending::Passed => "passed: nothing that was acknowledged is lost, doubled, reordered or renumbered",
            Ending::Void => "void: the trial proves nothing",
            _ => "FAILED",
        };
        text + &format!("{}, seed {}, {:.0} s: {verdict}\n", self.trial, self.seed, self.seconds)
    }
}

/// Median and longest, in milliseconds.
pub(crate) fn median_and_longest_ms(times: &[Duration]) -> Option<(f64, f64)> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let ms = |time: &Duration| time.as_secs_f64() * 1e3;
    Some((ms(sorted.get(sorted.len() / 2)?), ms(sorted.last()?)))
}

/// A line of progress now and then, on standard error.
#[derive(Debug)]
pub(crate) struct Ticker {
    since: Instant,
    last: Option<Instant>,
    is_quiet: bool,
}

impl Ticker {
    pub(crate) fn new(is_quiet: bool) -> Self {
        Self { since: Instant::now(), last: None, is_quiet }
    }

    /// Time since the trial began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    /// Shows a line, when one is due.
    pub(crate) fn tick(&mut self, line: impl FnOnce() -> String) {
        let is_terminal = std::io::stderr().is_terminal();
        let distance = if is_terminal { Duration::from_millis(500) } else { Duration::from_secs(5) };
        if self.is_quiet || self.last.is_some_and(|last| last.elapsed() < distance) {
            return;
        }
        self.last = Some(Instant::now());
        let line = format!("{:>5.0}s  {}", self.elapsed().as_secs_f64(), line());
        let (before, after) = if is_terminal { ("\r\x1b[K", "") } else { ("", "\n") };
        // Nobody reads standard error when this fails.
        let _ = write!(std::io::stderr(), "{before}{line}{after}");
    }

    /// Takes a live line away.
    pub(crate) fn finish(&self) {
        if !self.is_quiet && std::io::stderr().is_terminal() {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::Wrong;
    use super::*;

    fn report(wrong: bool, void: bool) -> TrialReport {
        let mut wrongs = Wrongs::default();
        if wrong {
            wrongs.add(Wrong::Lost, || "1-2".into());
        }
        TrialReport {
            trial: "crash",
            seed: 7,
            seconds: 1.0,
            deeds: vec![("kills".into(), 3)],
            figures: Figures { answered: 12, ..Figures::default() },
            ready_ms: median_and_longest_ms(&[
                Duration::from_millis(5),
                Duration::from_millis(9),
                Duration::from_millis(7),
            ]),
            wrongs,
            void: if void { vec!["the control lost nothing".into()] } else { Vec::new() },
        }
    }

    #[test]
    fn a_wrong_outweighs_a_void_and_a_void_is_no_pass() {
        let endings = [(false, false), (false, true), (true, false), (true, true)].map(|(w, v)| report(w, v).ending());
        assert_eq!(endings, [Ending::Passed, Ending::Void, Ending::Failed, Ending::Failed]);
    }

    #[test]
    fn the_table_says_what_was_done_and_what_is_wrong() {
        let text = report(true, false).text();
        for part in ["kills", "publishes answered", "WRONG", "1-2", "FAILED", "seed 7"] {
            assert!(text.contains(part), "{part:?} is missing from\n{text}");
        }
        assert_eq!(report(false, false).ready_ms, Some((7.0, 9.0)));
    }
}
