//! An urgent message that waits for its commit when its group looks is delivered once it is visible, also when the group's
//! place has passed it by then.

mod common;
mod log_support;
mod logged;

use common::limits;
use conduit_protocol::command::PublishOptions;
use log_support::{Asked, small_limits};
use logged::Logged;

#[test]
fn to_whoever_has_credit_for_one_at_a_time() {
    let mut logged = Logged::new(limits(), &small_limits());
    logged.bench.publish("s", "m", b"{}");
    logged.work();
    logged.bench.subscribe(1, "s", 1);
    logged.run_ms(100);
    let urgent = || PublishOptions { priority: 2, ..PublishOptions::default() };
    for _ in 0..2 {
        logged.bench.publish_with("s", "m", b"{}", urgent());
    }
    let commit = logged.ask().expect("they are written");
    assert!(matches!(commit, Asked::Commit(..)));
    // The group looks, and sees nothing.
    assert_eq!(logged.bench.credit(1, 1).deliveries, []);
    let mut outcome = logged.carry_out(&commit);
    outcome.merge(logged.run_ms(100));
    assert_eq!(outcome.seqs(), [2]);
    let mut outcome = logged.bench.credit(1, 1);
    outcome.merge(logged.run_ms(100));
    assert_eq!(outcome.seqs(), [3]);
}
