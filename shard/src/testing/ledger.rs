//! What the core's effects are held against: an account of every consumer's credit and deliveries in flight, kept the
//! slow and obvious way from the commands that it was given.
//!
//! It says nothing about which message goes to whom, only what no message may do: be delivered without credit, twice at
//! a time within a group, before its nack's delay is over, or after it was acked.

use super::network::WireId;
use super::tolls::Tolls;
use crate::Limits;
use conduit_protocol::time::NS_PER_MS;
use conduit_protocol::{Command, ConnectionId, MessageRef, Now, Origin, Subscribe};
use std::collections::{BTreeMap, BTreeSet};

/// Names a consumer: its shard and its connection there.
type ConsumerId = (usize, ConnectionId);
/// Names a group: its stream and its name. Ephemeral readers have one of their own, that no client can name.
type GroupId = (String, String);

#[derive(Debug)]
struct Consumer {
    group: GroupId,
    credit: u64,
    refill: bool,
    wait_ns: u64,
    inflight_max: u64,
    in_flight: BTreeMap<u64, Flight>,
}

impl Consumer {
    /// Adds credit up to the maximum.
    fn add_credit(&mut self, credit: u64, credit_max: u64) {
        self.credit = self.credit.max(self.credit.saturating_add(credit).min(credit_max));
    }
}

#[derive(Debug)]
struct Flight {
    id: String,
    since_ns: u64,
}

#[derive(Debug, Default)]
struct Group {
    /// Where each message in flight is.
    holders: BTreeMap<u64, ConsumerId>,
    /// Acked, while in flight, since the shard started.
    done: BTreeSet<u64>,
    /// The highest attempt of each message since the shard started.
    attempts: BTreeMap<u64, u32>,
    /// Nacked: not before.
    not_before_ns: BTreeMap<u64, u64>,
    /// The highest seq that was delivered for the first time since the shard started.
    fresh: u64,
}

/// The account of a whole server.
#[derive(Debug)]
pub struct Ledger {
    limits: Limits,
    /// Streams whose messages may overtake each other on their first delivery: some of them are urgent or delayed.
    unordered: BTreeSet<String>,
    consumers: BTreeMap<ConsumerId, Consumer>,
    groups: BTreeMap<GroupId, Group>,
    violations: Vec<String>,
    deliveries: u64,
    written: Vec<Written>,
    /// What the limiter grants.
    pub tolls: Tolls,
}

/// The network has taken a message on its way to a reader that sends no acks: its group is done with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The connection.
    pub wire: WireId,
    /// The stream.
    pub stream: String,
    /// The group.
    pub group: String,
    /// The message.
    pub seq: u64,
    /// Its id.
    pub id: String,
}

impl Ledger {
    /// An empty account of a server with these limits, where only the messages of `unordered` streams may overtake each
    /// other on their first delivery.
    #[must_use]
    pub fn new(limits: Limits, unordered: BTreeSet<String>) -> Self {
        Self {
            limits,
            unordered,
            consumers: BTreeMap::new(),
            groups: BTreeMap::new(),
            violations: Vec::new(),
            deliveries: 0,
            written: Vec::new(),
            tolls: Tolls::default(),
        }
    }

    /// The network has taken everything that was written to a reader: all that it has in flight is done.
    pub fn drained(&mut self, shard: usize, connection: ConnectionId, wire: WireId) {
        let id = (shard, connection);
        let Some(consumer) = self.consumers.get(&id) else { return };
        let (stream, group) = consumer.group.clone();
        let in_flight: Vec<_> = consumer.in_flight.iter().map(|(seq, flight)| (*seq, flight.id.clone())).collect();
        for (seq, message) in in_flight {
            self.settle(id, seq, |group| _ = group.done.insert(seq));
            self.written.push(Written { wire, stream: stream.clone(), group: group.clone(), seq, id: message });
        }
    }

    /// What the network has taken for readers since the last call.
    pub fn take_written(&mut self) -> Vec<Written> {
        std::mem::take(&mut self.written)
    }

    /// What was found wrong since the last call.
    pub fn take_violations(&mut self) -> Vec<String> {
        std::mem::take(&mut self.violations)
    }

    /// Something else that the core must not do.
    pub fn violation(&mut self, what: String) {
        self.violations.push(what);
    }

    /// Deliveries seen so far.
    #[must_use]
    pub const fn deliveries(&self) -> u64 {
        self.deliveries
    }

    /// A message of this stream was acked in this group, as far as this account knows.
    #[must_use]
    pub fn is_done(&self, stream: &str, group: &str, seq: u64) -> bool {
        self.groups.get(&(stream.to_owned(), group.to_owned())).is_some_and(|group| group.done.contains(&seq))
    }

    /// The server was stopped and starts again. What was acked is still known to have been only in streams where every
    /// ack is certain to be durable.
    pub fn restart(&mut self, are_acks_kept: impl Fn(&str) -> bool) {
        self.consumers.clear();
        self.tolls.restart();
        for ((stream, _), group) in &mut self.groups {
            group.holders.clear();
            group.attempts.clear();
            group.not_before_ns.clear();
            group.fresh = 0;
            if !are_acks_kept(stream) {
                group.done.clear();
            }
        }
    }

    /// A command is about to be handed to the core.
    pub fn command(&mut self, now: Now, origin: &Origin, command: &Command<'_>) {
        // What may have been taken back by now may or may not be settled by this.
        self.lapse(now);
        let id = (usize::from(origin.shard.0), origin.connection);
        match command {
            Command::Subscribe(subscribe) => self.subscribe(id, subscribe),
            Command::Credit(credit) => {
                let credit_max = self.limits.credit_max;
                if let Some(consumer) = self.consumers.get_mut(&id) {
                    consumer.add_credit(*credit, credit_max);
                }
            }
            Command::Ack(targets) => targets.iter().for_each(|target| self.ack(id, target)),
            Command::AckSeq(seq) => self.ack(id, &MessageRef::Seq(*seq)),
            Command::AckUpTo(up_to) => {
                let Some(consumer) = self.consumers.get(&id) else { return };
                let seqs: Vec<u64> = consumer.in_flight.range(..=up_to.0).map(|(seq, _)| *seq).collect();
                for seq in seqs {
                    self.settle(id, seq, |group| _ = group.done.insert(seq));
                }
            }
            Command::Nack(nack) => {
                let delay_ms = nack.delay_ms.min(self.limits.nack_delay_ms_max);
                let until_ns = now.mono_ns + delay_ms * NS_PER_MS;
                for target in &nack.targets {
                    if let Some(seq) = self.find(id, target) {
                        self.settle(id, seq, |group| _ = group.not_before_ns.insert(seq, until_ns));
                    }
                }
            }
            Command::Publish(_)
            | Command::Stats { .. }
            | Command::Stream(_)
            | Command::Report { .. }
            | Command::Admin(_)
            | Command::Charge(_) => {}
        }
    }

    fn subscribe(&mut self, id: ConsumerId, subscribe: &Subscribe<'_>) {
        let group = if subscribe.ephemeral {
            format!("\u{1}{} {}", id.0, id.1.0)
        } else {
            subscribe.group.as_deref().unwrap_or_default().to_owned()
        };
        let limits = &self.limits;
        let wait_ms = subscribe.ack_wait_ms.unwrap_or(limits.ack_wait_ms_default);
        let wait_ms = wait_ms.clamp(limits.ack_wait_ms_min, limits.ack_wait_ms_max);
        let inflight_max = subscribe.max_inflight.unwrap_or(u32::MAX).min(limits.consumer_inflight_max);
        let consumer = Consumer {
            group: (subscribe.stream.to_string(), group),
            credit: subscribe.credit.min(limits.credit_max),
            refill: subscribe.refill_on_ack,
            // What a reader has in flight never comes back by time.
            wait_ns: if subscribe.auto_ack { u64::MAX / 2 } else { wait_ms * NS_PER_MS },
            inflight_max: u64::from(inflight_max),
            in_flight: BTreeMap::new(),
        };
        self.consumers.insert(id, consumer);
    }

    /// The seq of a message in flight at a consumer.
    fn find(&self, id: ConsumerId, target: &MessageRef<'_>) -> Option<u64> {
        let in_flight = &self.consumers.get(&id)?.in_flight;
        match target {
            MessageRef::Seq(seq) => in_flight.contains_key(&seq.0).then_some(seq.0),
            MessageRef::Id(text) => in_flight.iter().find(|(_, flight)| flight.id == **text).map(|(seq, _)| *seq),
        }
    }

    fn ack(&mut self, id: ConsumerId, target: &MessageRef<'_>) {
        if let Some(seq) = self.find(id, target) {
            self.settle(id, seq, |group| _ = group.done.insert(seq));
        }
    }

    /// A delivery is over.
    fn settle(&mut self, id: ConsumerId, seq: u64, note: impl FnOnce(&mut Group)) {
        let Some(consumer) = self.consumers.get_mut(&id) else { return };
        if consumer.in_flight.remove(&seq).is_none() {
            return;
        }
        if consumer.refill {
            consumer.add_credit(1, self.limits.credit_max);
        }
        let group = self.groups.entry(consumer.group.clone()).or_default();
        group.holders.remove(&seq);
        note(group);
    }

    /// A consumer is gone, with everything that it had in flight.
    pub fn disconnected(&mut self, shard: usize, connection: ConnectionId) {
        let Some(consumer) = self.consumers.remove(&(shard, connection)) else { return };
        if let Some(group) = self.groups.get_mut(&consumer.group) {
            group.holders.retain(|_, holder| *holder != (shard, connection));
        }
    }

    /// The core delivers a message.
    pub fn deliver(
        &mut self,
        now: Now,
        shard: usize,
        connection: ConnectionId,
        (stream, id): (&str, &str),
        seq: u64,
        attempt: u32,
    ) {
        self.deliveries += 1;
        self.lapse(now);
        let consumer_id = (shard, connection);
        let whose = format!("seq {seq} of {stream} to connection {} of shard {shard}", connection.0);
        let Some(consumer) = self.consumers.get_mut(&consumer_id) else {
            self.violations.push(format!("delivered without a subscription: {whose}"));
            return;
        };
        if consumer.group.0 != stream {
            self.violations.push(format!("delivered from a stream not subscribed to: {whose}"));
        }
        if consumer.credit == 0 {
            self.violations.push(format!("credit overspent: {whose}"));
        }
        consumer.credit = consumer.credit.saturating_sub(1);
        if consumer.in_flight.len() as u64 >= consumer.inflight_max {
            self.violations.push(format!("more in flight than the consumer allows: {whose}"));
        }
        consumer.in_flight.insert(seq, Flight { id: id.to_owned(), since_ns: now.mono_ns });
        let group_name = consumer.group.clone();
        let group = self.groups.entry(group_name).or_default();
        if group.holders.insert(seq, consumer_id).is_some() {
            self.violations.push(format!("in flight twice within its group: {whose}"));
        }
        if group.done.contains(&seq) {
            self.violations.push(format!("delivered after it was acked: {whose}"));
        }
        if group.not_before_ns.remove(&seq).is_some_and(|until_ns| now.mono_ns < until_ns) {
            self.violations.push(format!("delivered before its delay was over: {whose}"));
        }
        match group.attempts.insert(seq, attempt) {
            Some(before) if before >= attempt => {
                self.violations.push(format!("attempt {attempt} is not above the one before: {whose}"));
            }
            None if attempt == 1 => {
                if seq < group.fresh && !self.unordered.contains(stream) {
                    self.violations.push(format!("delivered for the first time after seq {}: {whose}", group.fresh));
                }
                group.fresh = group.fresh.max(seq);
            }
            _ => {}
        }
    }

    /// Deliveries whose deadline has passed may have been taken back: they no longer count for anything.
    fn lapse(&mut self, now: Now) {
        for consumer in self.consumers.values_mut() {
            let wait_ns = consumer.wait_ns;
            let group = self.groups.entry(consumer.group.clone()).or_default();
            let before = consumer.in_flight.len();
            consumer.in_flight.retain(|seq, flight| {
                let is_kept = now.mono_ns < flight.since_ns + wait_ns;
                if !is_kept {
                    group.holders.remove(seq);
                }
                is_kept
            });
            if consumer.refill {
                // Not cut to the maximum: the core may take some back, deliver, and take back the others.
                consumer.credit += (before - consumer.in_flight.len()) as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conduit_protocol::{Nack, Seq, ShardId, Token};

    const CONNECTION: ConnectionId = ConnectionId(7);
    const OTHER: ConnectionId = ConnectionId(8);

    fn at(ms: u64) -> Now {
        Now { mono_ns: ms * NS_PER_MS, unix_ms: ms }
    }

    fn origin(connection: ConnectionId) -> Origin {
        Origin { shard: ShardId(0), connection, token: Token(1) }
    }

    /// Two consumers of one group, with two credits each and a second to ack.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::new(Limits::default(), BTreeSet::new());
        for connection in [CONNECTION, OTHER] {
            let subscribe = Subscribe {
                stream: "s".into(),
                credit: 2,
                ack_wait_ms: Some(1_000),
                max_inflight: Some(2),
                ..Subscribe::default()
            };
            ledger.command(at(0), &origin(connection), &Command::Subscribe(subscribe));
        }
        ledger
    }

    fn deliver(ledger: &mut Ledger, ms: u64, connection: ConnectionId, seq: u64, attempt: u32) {
        ledger.deliver(at(ms), 0, connection, ("s", "id"), seq, attempt);
    }

    fn ack(seq: u64) -> Command<'static> {
        Command::Ack([MessageRef::Seq(Seq(seq))].into_iter().collect())
    }

    #[track_caller]
    fn assert_found(ledger: &mut Ledger, what: &str) {
        let found = ledger.take_violations();
        assert!(found.len() == 1 && found[0].starts_with(what), "{found:?} is not {what}");
    }

    #[test]
    fn what_is_allowed_is_not_found() {
        let mut ledger = ledger();
        deliver(&mut ledger, 0, CONNECTION, 1, 1);
        deliver(&mut ledger, 0, CONNECTION, 2, 1);
        ledger.command(at(1), &origin(CONNECTION), &ack(1));
        ledger.command(at(1), &origin(CONNECTION), &Command::Credit(1));
        deliver(&mut ledger, 1, CONNECTION, 3, 1);
        deliver(&mut ledger, 1_000, OTHER, 2, 2);
        ledger.disconnected(0, OTHER);
        ledger.command(at(1_000), &origin(CONNECTION), &Command::Credit(1));
        deliver(&mut ledger, 1_001, CONNECTION, 2, 3);
        assert_eq!((ledger.take_violations(), ledger.deliveries()), (Vec::new(), 5));
        assert!(ledger.is_done("s", "", 1) && !ledger.is_done("s", "", 2));
    }

    #[test]
    fn credit_is_counted_to_the_last() {
        let mut ledger = ledger();
        for seq in 1..=2 {
            deliver(&mut ledger, 0, CONNECTION, seq, 1);
            ledger.command(at(0), &origin(CONNECTION), &ack(seq));
        }
        assert!(ledger.take_violations().is_empty());
        deliver(&mut ledger, 0, CONNECTION, 3, 1);
        assert_found(&mut ledger, "credit overspent");
    }

    #[test]
    fn each_other_misdeed_is_found() {
        let mut twice = ledger();
        deliver(&mut twice, 0, CONNECTION, 1, 1);
        deliver(&mut twice, 999, OTHER, 1, 2);
        assert_found(&mut twice, "in flight twice");

        let mut acked = ledger();
        deliver(&mut acked, 0, CONNECTION, 1, 1);
        acked.command(at(0), &origin(CONNECTION), &ack(1));
        deliver(&mut acked, 5_000, OTHER, 1, 2);
        assert_found(&mut acked, "delivered after it was acked");

        let mut early = ledger();
        deliver(&mut early, 0, CONNECTION, 1, 1);
        let targets = [MessageRef::Id("id".into())].into_iter().collect();
        let nack = Nack { targets, delay_ms: 50, dead: false, error: None };
        early.command(at(0), &origin(CONNECTION), &Command::Nack(nack));
        deliver(&mut early, 49, CONNECTION, 1, 2);
        assert_found(&mut early, "delivered before its delay");

        let mut attempt = ledger();
        deliver(&mut attempt, 0, CONNECTION, 1, 1);
        deliver(&mut attempt, 1_000, CONNECTION, 1, 1);
        assert_found(&mut attempt, "attempt 1 is not above");

        let mut order = ledger();
        deliver(&mut order, 0, CONNECTION, 2, 1);
        deliver(&mut order, 0, OTHER, 1, 1);
        assert_found(&mut order, "delivered for the first time after seq 2");

        let mut window = ledger();
        window.command(at(0), &origin(CONNECTION), &Command::Credit(5));
        for seq in 1..=3 {
            deliver(&mut window, 0, CONNECTION, seq, 1);
        }
        assert_found(&mut window, "more in flight");

        let mut stranger = ledger();
        deliver(&mut stranger, 0, ConnectionId(99), 1, 1);
        assert_found(&mut stranger, "delivered without a subscription");
        stranger.deliver(at(0), 0, CONNECTION, ("other", "id"), 1, 1);
        assert_found(&mut stranger, "delivered from a stream not subscribed to");
    }

    #[test]
    fn a_restart_forgets_flights_and_keeps_acks_only_when_told() {
        for are_acks_kept in [false, true] {
            let mut ledger = ledger();
            deliver(&mut ledger, 0, CONNECTION, 1, 1);
            ledger.command(at(0), &origin(CONNECTION), &ack(1));
            ledger.restart(|_| are_acks_kept);
            let subscribe = Subscribe { stream: "s".into(), credit: 2, ..Subscribe::default() };
            ledger.command(at(1), &origin(CONNECTION), &Command::Subscribe(subscribe));
            deliver(&mut ledger, 1, CONNECTION, 1, 1);
            assert_eq!(ledger.take_violations().len(), usize::from(are_acks_kept));
        }
    }
}
