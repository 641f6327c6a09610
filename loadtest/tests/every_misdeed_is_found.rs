//! A server that loses, doubles, delays or changes messages, or hangs up, fails the run, by the right name.

mod common;

use common::{RunningRelay, run_quietly};
use conduit_loadtest::plan::{ConsumeWire, Plan, PublishWire};
use conduit_loadtest::reference::relay::Misdeed;
use conduit_loadtest::report::{Report, text};
use std::time::Duration;

fn report_of(misdeed: Misdeed, change: impl Fn(&mut Plan)) -> Report {
    let relay = RunningRelay::start(misdeed);
    let mut plan = relay.plan();
    change(&mut plan);
    run_quietly(&plan)
}

/// What a test waits for messages that never come.
const PATIENCE: Duration = Duration::from_secs(2);

#[test]
fn losses_are_counted_and_named() {
    // In the open loop: a closed window would wait for the lost messages.
    let report = report_of(Misdeed::Lose(500), |plan| {
        (plan.rate, plan.spin, plan.drain) = (Some(50_000.0), true, PATIENCE);
    });
    assert_eq!((report.verdict.passed, report.verdict.lost), (false, 4));
    let text = text::summary(&report);
    assert!(text.contains("numbers [499, 999, 1499, 1999]"), "{text}");
}

#[test]
fn losses_are_found_when_the_closed_loop_stops_short() {
    let report = report_of(Misdeed::Lose(10), |plan| (plan.inflight, plan.drain) = (50, PATIENCE));
    assert_eq!((report.verdict.passed, report.verdict.lost), (false, 50));
}

#[test]
fn duplicates_are_counted() {
    let report = report_of(Misdeed::Duplicate(100), |_| {});
    assert_eq!((report.verdict.passed, report.verdict.duplicates, report.verdict.lost), (false, 20, 0));
}

#[test]
fn reorderings_are_counted() {
    let report = report_of(Misdeed::Delay(200), |plan| plan.messages = Some(2_001));
    assert_eq!((report.verdict.passed, report.verdict.reordered, report.verdict.lost), (false, 10, 0));
}

#[test]
fn changed_payloads_are_counted() {
    let report = report_of(Misdeed::Corrupt(1_000), |_| {});
    assert_eq!((report.verdict.passed, report.verdict.corrupted), (false, 2));
}

#[test]
fn refusals_are_retried_and_are_no_failure() {
    type Change = fn(&mut Plan);
    let wires: [Change; 4] = [
        |plan| (plan.publish, plan.producers) = (PublishWire::Http, 2),
        |plan| (plan.publish, plan.pipeline) = (PublishWire::Http, 8),
        |plan| (plan.publish, plan.batch) = (PublishWire::HttpBatch, 10),
        |plan| plan.confirm = true,
    ];
    for change in wires {
        let report = report_of(Misdeed::Refuse(7), change);
        assert!(report.verdict.passed, "{:#?}", report.verdict);
        assert_eq!(report.total().delivered, 2_000);
        assert!(report.total().backpressure >= 2_000 / 7 && report.total().retried >= 2_000 / 7);
    }
}

#[test]
fn a_lost_connection_fails_the_run() {
    let report = report_of(Misdeed::HangUp(1_000), |plan| {
        (plan.rate, plan.spin, plan.drain) = (Some(50_000.0), true, PATIENCE);
    });
    assert!(!report.verdict.passed);
    assert!(report.verdict.faults.iter().any(|fault| fault.contains("lost")), "{:?}", report.verdict.faults);
}

#[test]
fn nobody_there_is_said_and_is_no_report() {
    let relay = RunningRelay::start(Misdeed::None);
    let plan = Plan { consume: ConsumeWire::None, consumers: 0, ..relay.plan() };
    drop(relay);
    let fault = conduit_loadtest::run::run(&plan, &mut conduit_loadtest::progress::Display::quiet());
    assert!(matches!(fault, Err(conduit_loadtest::run::RunFault::Connect(_))));
}
