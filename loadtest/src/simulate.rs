//! `conduit-loadtest simulate`: whole servers on virtual time, one for each seed, with everything that can go wrong going
//! wrong. Nothing here touches a socket or a disk; the simulator is `conduit_shard::testing`.

use crate::cli::{Ending, print};
use clap::Args;
use conduit_shard::testing::{Marks, Options, Outcome, run_seed};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Distance of lines that say how far it is.
const LINE: Duration = Duration::from_secs(2);
/// Seeds that are told with what was wrong; more are only counted.
const FAILED_TOLD_MAX: usize = 20;

/// Options of `conduit-loadtest simulate`.
#[derive(Debug, Args)]
pub struct SimulateOptions {
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many seeds.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// Threads [default: one for each core].
    #[arg(long)]
    jobs: Option<usize>,
    /// Print what happened in each seed, as far back as is kept. For one seed, or few.
    #[arg(long)]
    trace: bool,
    /// Print the report as JSON.
    #[arg(long)]
    json: bool,
    /// Show no progress.
    #[arg(long, short)]
    quiet: bool,
    /// Plant each known bug in turn, and run seeds until it is found.
    #[cfg(feature = "mutants")]
    #[arg(long)]
    mutants: bool,
}

/// What came of all seeds.
#[derive(Debug, Serialize)]
struct Report {
    passed: bool,
    from: u64,
    seeds: u64,
    seconds: f64,
    seeds_per_second: f64,
    steps: u64,
    virtual_seconds: f64,
    starts: u64,
    published: u64,
    delivered: u64,
    /// How often each rare state was met.
    marks: BTreeMap<&'static str, u64>,
    failed: Vec<Failed>,
}

/// A seed in which something was wrong.
#[derive(Debug, Serialize)]
struct Failed {
    seed: u64,
    /// What happened, as one number.
    hash: String,
    violations: Vec<String>,
}

/// The sum of what was run.
#[derive(Debug, Default)]
struct Sum {
    seeds: u64,
    steps: u64,
    virtual_ms: u64,
    starts: u64,
    published: u64,
    delivered: u64,
    marks: Marks,
    failed: Vec<Failed>,
}

impl Sum {
    fn add(&mut self, outcome: Outcome) {
        self.seeds += 1;
        self.steps += outcome.steps;
        self.virtual_ms += outcome.virtual_ms;
        self.starts += outcome.starts;
        self.published += outcome.published;
        self.delivered += outcome.delivered;
        self.marks.merge(&outcome.marks);
        if !outcome.violations.is_empty() {
            let hash = format!("{:016x}", outcome.hash);
            self.failed.push(Failed { seed: outcome.seed, hash, violations: outcome.violations });
        }
    }
}

/// Runs the command.
///
/// # Errors
/// When the options make no sense.
pub fn execute(options: &SimulateOptions) -> anyhow::Result<Ending> {
    anyhow::ensure!(options.seeds > 0, "--seeds 0: there is nothing to run");
    anyhow::ensure!(options.jobs != Some(0), "--jobs 0: nobody would run anything");
    #[cfg(feature = "mutants")]
    if options.mutants {
        return Ok(mutants::execute(options));
    }
    let begun = Instant::now();
    let sum = run_all(options, &Options { is_traced: options.trace, ..Options::default() });
    let report = report(options, sum, begun.elapsed());
    if options.json {
        print(&(serde_json::to_string_pretty(&report)? + "\n"));
    } else {
        print(&summary(&report));
    }
    Ok(if report.passed { Ending::Passed } else { Ending::Failed })
}

/// A run that panics is a run that found something.
fn run_one(seed: u64, options: &Options) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| run_seed(seed, options))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned())).unwrap_or_default();
        Outcome { seed, violations: vec![format!("the core panicked: {said}")], ..Outcome::default() }
    })
}

fn run_all(options: &SimulateOptions, how: &Options) -> Sum {
    let jobs = options.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let (next, sum) = (AtomicU64::new(0), Mutex::new(Sum::default()));
    let interrupted = crate::run::interruption();
    let is_over = AtomicBool::new(false);
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let work = || {
            while !interrupted.load(Ordering::Relaxed) {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= options.seeds {
                    return;
                }
                let mut outcome = run_one(options.from + at, how);
                let trace = std::mem::take(&mut outcome.trace);
                let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                if !trace.is_empty() {
                    print(&(trace.join("\n") + "\n"));
                }
                sum.add(outcome);
            }
        };
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
        if !options.quiet {
            scope.spawn(|| tell_progress(options.seeds, &sum, begun, &is_over));
        }
        for worker in workers {
            let _ = worker.join();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let mut sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    sum.failed.sort_by_key(|failed| failed.seed);
    sum
}

fn tell_progress(seeds: u64, sum: &Mutex<Sum>, begun: Instant, is_over: &AtomicBool) {
    let mut told = begun;
    while !is_over.load(Ordering::Relaxed) {
        std::thread::sleep(Duration::from_millis(50));
        if told.elapsed() < LINE {
            continue;
        }
        told = Instant::now();
        let (done, failed) = {
            let sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
            (sum.seeds, sum.failed.len())
        };
        let rate = done as f64 / begun.elapsed().as_secs_f64();
        // Nobody reads standard error any more when this fails.
        let _ = writeln!(std::io::stderr(), "{done} of {seeds} seeds, {rate:.0} a second, {failed} failed");
    }
}

fn report(options: &SimulateOptions, sum: Sum, took: Duration) -> Report {
    let is_enough_for_marks = sum.seeds >= 200;
    Report {
        // A rare state that is never met proves nothing about itself.
        passed: sum.failed.is_empty() && (!is_enough_for_marks || sum.marks.missing().is_empty()),
        from: options.from,
        seeds: sum.seeds,
        seconds: took.as_secs_f64(),
        seeds_per_second: sum.seeds as f64 / took.as_secs_f64().max(1e-9),
        steps: sum.steps,
        virtual_seconds: sum.virtual_ms as f64 / 1e3,
        starts: sum.starts,
        published: sum.published,
        delivered: sum.delivered,
        marks: sum.marks.counts().collect(),
        failed: sum.failed,
    }
}

fn summary(report: &Report) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{:>12}  rare state", "times");
    for (name, count) in &report.marks {
        let note = if *count == 0 { "   <- never met" } else { "" };
        let _ = writeln!(text, "{count:>12}  {name}{note}");
    }
    for Failed { seed, hash, violations } in report.failed.iter().take(FAILED_TOLD_MAX) {
        let _ = writeln!(text, "\nseed {seed}, trace hash {hash}:");
        violations.iter().take(10).for_each(|violation| _ = writeln!(text, "    {violation}"));
    }
    if report.failed.len() > FAILED_TOLD_MAX {
        let _ = writeln!(text, "\nand {} seeds more", report.failed.len() - FAILED_TOLD_MAX);
    }
    let _ = writeln!(
        text,
        "\n{} seeds in {:.1} s ({:.0} a second): {:.0} virtual seconds, {} starts, {} published, {} delivered; {}",
        report.seeds,
        report.seconds,
        report.seeds_per_second,
        report.virtual_seconds,
        report.starts,
        report.published,
        report.delivered,
        if report.failed.is_empty() {
            "nothing is wrong".to_owned()
        } else {
            format!("{} FAILED", report.failed.len())
        },
    );
    text
}

/// Bugs that are planted to see that they are found.
#[cfg(feature = "mutants")]
mod mutants {
    use super::{SimulateOptions, run_one};
    use crate::cli::{Ending, print};
    use conduit_shard::Mutant;
    use conduit_shard::testing::Options;
    use std::fmt::Write as _;

    /// Runs each until it is found, and prints a table.
    pub(super) fn execute(options: &SimulateOptions) -> Ending {
        let mut table = String::from("| Planted bug | Found at seed | Runs | As |\n|---|---|---|---|\n");
        let mut is_all_found = true;
        for mutant in Mutant::ALL {
            let how = Options { mutant: Some(*mutant), ..Options::default() };
            let seeds = options.from..options.from + options.seeds;
            let found = seeds.map(|seed| run_one(seed, &how)).find(|outcome| !outcome.violations.is_empty());
            let row = match found {
                Some(outcome) => {
                    let runs = outcome.seed - options.from + 1;
                    let violation = outcome.violations.iter().find(|said| !said.starts_with("no progress"));
                    let violation = violation.or(outcome.violations.first()).cloned().unwrap_or_default();
                    format!("| {} | {} | {runs} | {} |", mutant.name(), outcome.seed, violation.replace('|', "/"))
                }
                None => {
                    is_all_found = false;
                    format!("| {} | **not found** | {} | |", mutant.name(), options.seeds)
                }
            };
            let _ = writeln!(table, "{row}");
        }
        print(&table);
        if is_all_found { Ending::Passed } else { Ending::Failed }
    }
}
