//! A short form of `conduit-loadtest crash --failpoints`: lives that end themselves at named places. Needs a server with the
//! feature `failpoints`; `tests/run.sh` builds one for it.

use conduit_loadtest::cli::{Ending, execute_words};

#[test]
fn kills_at_failpoints_lose_nothing_that_was_acknowledged() {
    let words = "crash --failpoints --kills 28 --kills-per-round 7 --live-ms-max 150 --seed 3 --quiet --server-bin";
    let mut words: Vec<&str> = words.split_whitespace().collect();
    words.push(env!("CARGO_BIN_EXE_conduit"));
    let ending = execute_words(&words).unwrap_or_else(|error| panic!("the trial did not begin: {error:#}"));
    assert_eq!(ending, Ending::Passed);
}
