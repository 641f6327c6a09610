//! After its log has failed a shard does not know what the disk has: a repeat of what was published before is refused like
//! everything else, and is not answered as if the first one were stored.

mod common;
mod log_support;
mod logged;

use common::limits;
use conduit_protocol::ErrorCode;
use conduit_protocol::command::PublishOptions;
use conduit_protocol::streams::Durability;
use conduit_shard::log::DiskError;
use log_support::{Asked, small_limits};
use logged::Logged;

fn keyed(key: &str) -> PublishOptions<'_> {
    PublishOptions { dedup_id: Some(key.to_owned().into()), ..PublishOptions::default() }
}

#[test]
fn whether_the_first_one_was_answered_or_not() {
    for durability in [Durability::Commit, Durability::Interval(1_000)] {
        let mut logged = Logged::with(limits(), &small_limits(), durability);
        let mut first = logged.bench.publish_with("s", "m", b"{}", keyed("before"));
        first.merge(logged.work());
        assert_eq!(first.published.len(), 1);
        let second = logged.bench.publish_with("s", "m", b"{}", keyed("at the failure"));
        assert_eq!(second.published.len(), usize::from(durability != Durability::Commit), "{durability:?}");
        logged.bench.advance_ms(2_000);
        let commit = logged.ask().expect("it is written");
        assert!(matches!(commit, Asked::Commit(..)));
        logged.fail(&commit, DiskError::Broken);
        let outcome = logged.bench.publish_with("s", "m", b"{}", keyed("at the failure"));
        let codes: Vec<ErrorCode> = outcome.refused.iter().map(|(code, _)| *code).collect();
        assert_eq!((codes, outcome.repeated), (vec![ErrorCode::StorageFailed], vec![]), "{durability:?}");
    }
}
