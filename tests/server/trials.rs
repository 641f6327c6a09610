//! Short trials: the server is killed, loses its power and its disk, and must have kept what it acknowledged. The long form
//! is `conduit-loadtest crash`, `powercut` and `diskfault`.

use conduit_loadtest::cli::{Ending, execute_words};
use conduit_loadtest::survival::volume::obstacle;

/// Runs a trial of the built binary.
fn trial(words: &str) -> Ending {
    let mut words: Vec<&str> = words.split_whitespace().collect();
    words.extend(["--quiet", "--server-bin", env!("CARGO_BIN_EXE_conduit")]);
    execute_words(&words).unwrap_or_else(|error| panic!("the trial did not begin: {error:#}"))
}

/// Trials that end file systems need root and a few tools; without them there is nothing to try.
fn can_end_file_systems() -> bool {
    match obstacle() {
        None => true,
        Some(obstacle) => {
            eprintln!("SKIPPED: {obstacle}");
            false
        }
    }
}

#[test]
fn twenty_kills_lose_nothing_that_was_acknowledged() {
    assert_eq!(trial("crash --kills 20 --kills-per-round 7 --live-ms-max 150 --seconds 30 --seed 3"), Ending::Passed);
}

#[test]
fn a_server_that_forgets_fails_the_trial() {
    assert_eq!(trial("crash --kills 2 --kills-per-round 2 --live-ms-max 300 --seed 3 --forget"), Ending::Failed);
}

#[test]
fn twenty_power_cuts_lose_nothing_that_was_acknowledged() {
    if can_end_file_systems() {
        assert_eq!(
            trial("powercut --cuts 20 --cuts-per-round 10 --live-ms-max 150 --seconds 30 --seed 3"),
            Ending::Passed
        );
    }
}

#[test]
fn a_full_disk_is_told_and_service_returns_by_itself() {
    if can_end_file_systems() {
        assert_eq!(trial("diskfault --cases full --bytes 25165824"), Ending::Passed);
    }
}

#[test]
fn a_failed_disk_is_told_and_deliveries_go_on() {
    if can_end_file_systems() {
        assert_eq!(trial("diskfault --cases gone,thin --bytes 25165824"), Ending::Passed);
    }
}
