//! Every planted bug is found, within a few hundred seeds: the simulator would find it if it were a real one.

use conduit_shard::Mutant;
use conduit_shard::testing::{Options, run_seed};
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Seeds that each bug is given.
const SEEDS: u64 = 1_500;

fn is_found(mutant: Mutant) -> bool {
    (0..SEEDS).any(|seed| {
        let options = Options { mutant: Some(mutant), ..Options::default() };
        // A bug may also show in an assertion of the core.
        !catch_unwind(|| run_seed(seed, &options)).is_ok_and(|outcome| outcome.violations.is_empty())
    })
}

#[test]
fn every_planted_bug_is_found() {
    let next = AtomicUsize::new(0);
    let missed: Vec<Mutant> = std::thread::scope(|scope| {
        let work = || {
            let mut missed = Vec::new();
            while let Some(mutant) = Mutant::ALL.get(next.fetch_add(1, Ordering::Relaxed)) {
                if !is_found(*mutant) {
                    missed.push(*mutant);
                }
            }
            missed
        };
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        let running: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        running.into_iter().flat_map(|worker| worker.join().expect("a worker does not panic")).collect()
    });
    assert!(missed.is_empty(), "not found: {missed:?}");
}
