//! The whole server on virtual time, from seeds: nothing that was promised is broken, whatever goes wrong.
//!
//! `conduit-loadtest simulate --from N --seeds 1` runs one seed and tells what happened in it.

use conduit_shard::testing::{Marks, Options, Outcome, run_seed};

/// Runs seeds on all cores, and gives their outcomes in the order of the seeds.
fn run_seeds(from: u64, count: u64) -> Vec<Outcome> {
    let workers = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let mut outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let worker = |first: u64| {
            scope.spawn(move || {
                let seeds = (from + first..from + count).step_by(workers as usize);
                seeds.map(|seed| run_seed(seed, &Options::default())).collect::<Vec<_>>()
            })
        };
        let running: Vec<_> = (0..workers).map(worker).collect();
        running.into_iter().flat_map(|worker| worker.join().expect("a run does not panic")).collect()
    });
    outcomes.sort_by_key(|outcome| outcome.seed);
    outcomes
}

#[test]
fn no_promise_is_broken_and_every_rare_state_is_met() {
    let outcomes = run_seeds(0, 200);
    let mut marks = Marks::default();
    let mut broken = Vec::new();
    for outcome in &outcomes {
        marks.merge(&outcome.marks);
        if !outcome.violations.is_empty() {
            broken.push(format!("seed {}: {}", outcome.seed, outcome.violations.join("\n    ")));
        }
    }
    assert!(broken.is_empty(), "{} of {} seeds:\n{}", broken.len(), outcomes.len(), broken.join("\n"));
    assert!(marks.missing().is_empty(), "never met: {:?}", marks.missing());
    let published: u64 = outcomes.iter().map(|outcome| outcome.published).sum();
    let delivered: u64 = outcomes.iter().map(|outcome| outcome.delivered).sum();
    assert!(published > 5_000 && delivered > published / 2, "{published} published, {delivered} delivered");
}

#[test]
fn equal_seeds_give_equal_runs() {
    for seed in [1, 17, 4_711] {
        let (first, second) =
            (run_seed(seed, &Options::default()), run_seed(seed, &Options { is_traced: true, ..Options::default() }));
        assert_eq!((first.hash, first.steps), (second.hash, second.steps), "seed {seed}");
        assert_ne!(first.hash, run_seed(seed + 1, &Options::default()).hash);
    }
}
