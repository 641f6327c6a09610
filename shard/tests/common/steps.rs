//! Random programs for the model in `world`: what clients and operators do, and how time passes.

use conduit_protocol::From;
use conduit_protocol::streams::{Policy, Retention};
use proptest::prelude::*;

pub const STREAMS: usize = 3;
pub const SLOTS: u32 = 5;
/// Groups that programs name; the first is the default group.
pub const GROUPS: [&str; 3] = ["", "a", "b"];

/// Whom a subscription joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// One of [`GROUPS`].
    Group(usize),
    /// Nobody: it reads for itself.
    Alone,
}

/// One subscription.
#[derive(Debug, Clone)]
pub struct Joins {
    pub slot: u32,
    pub stream: usize,
    pub joined: Joined,
    pub from: From,
    pub credit: u64,
    pub refill: bool,
    pub wait_ms: u64,
    pub inflight: u32,
    pub packed: bool,
}

/// One step of a program. `nth` picks among what is in flight.
#[derive(Debug, Clone)]
pub enum Step {
    Publish { stream: usize, id: u8 },
    Subscribe(Joins),
    Credit { slot: u32, credit: u64 },
    Ack { slot: u32, nth: usize },
    AckId { slot: u32, nth: usize },
    AckUpTo { slot: u32, nth: usize },
    AckAnything { slot: u32, seq: u64 },
    Nack { slot: u32, nth: usize, count: usize, delay_ms: u64 },
    Disconnect { slot: u32 },
    Drained { slot: u32 },
    Advance { ms: u64 },
    Retain { stream: usize, retention: Retention },
    Purge { stream: usize },
    Delete { stream: usize },
    PutGroup { stream: usize, group: usize, from: From },
    DeleteGroup { stream: usize, group: usize },
}

fn from() -> impl Strategy<Value = From> {
    prop_oneof![
        4 => Just(From::First),
        1 => Just(From::New),
        1 => (0u64..40).prop_map(|seq| From::Seq(conduit_protocol::Seq(seq))),
        1 => (0u64..400).prop_map(|ms| From::TimeUnixMs(1_700_000_000_000 + ms)),
        1 => (0u64..10).prop_map(From::Last),
    ]
}

fn retention() -> impl Strategy<Value = Retention> {
    let log = |max_age_ms, max_messages| Retention { policy: Policy::Log, max_age_ms, max_bytes: 0, max_messages };
    prop_oneof![
        2 => Just(Retention::default()),
        1 => Just(log(0, 0)),
        1 => (1u64..60).prop_map(move |age_ms| log(age_ms, 0)),
        2 => (1u64..12).prop_map(move |messages| log(0, messages)),
        1 => (1u64..60, 1u64..12).prop_map(move |(age_ms, messages)| log(age_ms, messages)),
    ]
}

fn joins(joined: impl Strategy<Value = Joined>, from: impl Strategy<Value = From>) -> impl Strategy<Value = Step> {
    let of = (0..SLOTS, 0..STREAMS, joined, from);
    let how = (0u64..6, any::<bool>(), 1u64..60, 1u32..6, any::<bool>());
    (of, how).prop_map(|((slot, stream, joined, from), (credit, refill, wait_ms, inflight, packed))| {
        Step::Subscribe(Joins { slot, stream, joined, from, credit, refill, wait_ms, inflight, packed })
    })
}

fn traffic() -> impl Strategy<Value = Step> {
    let slot = 0..SLOTS;
    prop_oneof![
        8 => (0..STREAMS, 0u8..12).prop_map(|(stream, id)| Step::Publish { stream, id }),
        4 => (slot.clone(), 1u64..8).prop_map(|(slot, credit)| Step::Credit { slot, credit }),
        4 => (slot.clone(), 0usize..6).prop_map(|(slot, nth)| Step::Ack { slot, nth }),
        2 => (slot.clone(), 0usize..6).prop_map(|(slot, nth)| Step::AckId { slot, nth }),
        2 => (slot.clone(), 0usize..6).prop_map(|(slot, nth)| Step::AckUpTo { slot, nth }),
        1 => (slot.clone(), 0u64..40).prop_map(|(slot, seq)| Step::AckAnything { slot, seq }),
        3 => (slot.clone(), 0usize..6, 1usize..4, prop_oneof![Just(0u64), 1u64..40])
            .prop_map(|(slot, nth, count, delay_ms)| Step::Nack { slot, nth, count, delay_ms }),
        1 => slot.clone().prop_map(|slot| Step::Disconnect { slot }),
        3 => slot.prop_map(|slot| Step::Drained { slot }),
        3 => (0u64..40).prop_map(|ms| Step::Advance { ms }),
    ]
}

/// Traffic through the default groups of work streams.
fn narrow() -> impl Strategy<Value = Step> {
    prop_oneof![31 => traffic(), 3 => joins(Just(Joined::Group(0)), Just(From::First))]
}

/// Several groups, readers of their own, logs, and operators at work.
fn wide() -> impl Strategy<Value = Step> {
    let joined = prop_oneof![4 => (0..GROUPS.len()).prop_map(Joined::Group), 1 => Just(Joined::Alone)];
    let group = 0..STREAMS * (GROUPS.len() - 1);
    let split = |n: usize| (n / (GROUPS.len() - 1), 1 + n % (GROUPS.len() - 1));
    prop_oneof![
        60 => traffic(),
        9 => joins(joined, from()),
        2 => (0..STREAMS, retention()).prop_map(|(stream, retention)| Step::Retain { stream, retention }),
        1 => (0..STREAMS).prop_map(|stream| Step::Purge { stream }),
        1 => (0..STREAMS).prop_map(|stream| Step::Delete { stream }),
        2 => (group.clone(), from()).prop_map(move |(n, from)| {
            let (stream, group) = split(n);
            Step::PutGroup { stream, group, from }
        }),
        2 => group.prop_map(move |n| {
            let (stream, group) = split(n);
            Step::DeleteGroup { stream, group }
        }),
    ]
}

pub fn program() -> impl Strategy<Value = Vec<Step>> {
    prop_oneof![proptest::collection::vec(narrow(), 1..150), proptest::collection::vec(wide(), 1..200)]
}
