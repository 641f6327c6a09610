//! A small, obvious model of a broker that runs beside the real one: messages in maps, time in plain numbers, every
//! rule written out the slow way. Random programs drive both; a property looks at each delivery and at each rest.

#[allow(unused_imports, reason = "each test takes what it needs of the model")]
pub use super::steps::{GROUPS, Joined, Joins, SLOTS, STREAMS, Step, program};
use super::{Bench, Delivered, MS, Outcome, connection, id, nack, seqs, subscription};
use conduit_protocol::command::{StreamAction, StreamCommand};
use conduit_protocol::streams::{GroupSettings, Policy, Retention, StreamAnswer, StreamSettings};
use conduit_protocol::{Command, Encoding, ErrorCode, From, Seq, Subscribe, codec};
use conduit_shard::Limits;
use std::collections::BTreeMap;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Returned,
    Delayed { until_ns: u64 },
    InFlight { slot: u32, since_ns: u64, order: u64 },
}

/// A message as one group sees it, from its first delivery until the group is done with it.
#[derive(Debug, Clone, Copy)]
pub struct Outstanding {
    pub attempts: u32,
    pub place: Place,
}

#[derive(Debug, Clone)]
pub struct Message {
    pub id: String,
    pub envelope: Vec<u8>,
    pub published_ns: u64,
    pub published_unix_ms: u64,
}

/// A stream, and of its messages those that somebody may still need.
#[derive(Debug, Clone, Default)]
pub struct Stream {
    pub exists: bool,
    pub messages: BTreeMap<u64, Message>,
    pub last_seq: u64,
    pub retention: Retention,
    /// Below it a message goes with the floors even though there is one group only.
    pub leftovers_below: u64,
}

#[derive(Debug, Clone)]
pub struct Group {
    pub stream: usize,
    /// `None`: somebody reads for himself.
    pub name: Option<&'static str>,
    pub cursor: u64,
    pub outstanding: BTreeMap<u64, Outstanding>,
}

#[derive(Debug, Clone)]
pub struct Consumer {
    pub stream: usize,
    /// A key of `World::groups`.
    pub group: u32,
    pub encoding: Encoding,
    pub refill: bool,
    pub wait_ns: u64,
    pub inflight_max: u32,
    /// Credit it holds.
    pub credit: u64,
    /// Credit it granted.
    pub granted: u64,
    /// Credit it was ever given, refills included.
    pub given: u64,
    /// Deliveries it ever got.
    pub got: u64,
    pub outbox_bytes: u64,
}

/// The model, and the shard that it watches.
pub struct World {
    pub bench: Bench,
    pub limits: Limits,
    pub streams: Vec<Stream>,
    pub groups: BTreeMap<u32, Group>,
    pub consumers: BTreeMap<u32, Consumer>,
    order: u64,
    serial: u64,
    next_group: u32,
}

/// What a test says about a run.
pub trait Property {
    /// Before the model takes note of a delivery.
    fn delivered(&mut self, _world: &World, _delivered: &Delivered) {}
    /// After a step, when no deadline is due any more.
    fn rested(&mut self, _world: &mut World) {}
}

pub fn name(stream: usize) -> String {
    format!("stream/{stream}")
}

impl World {
    pub fn new(work_max: usize) -> Self {
        // The model returns all that is due at once. Where calls are cut short that makes no difference, except for a
        // refill that meets the credit maximum, so only whole calls are run with one that programs reach.
        let credit_max = if work_max < 256 { 1_000 } else { 12 };
        let limits = Limits {
            work_max,
            outbox_bytes_max: 400,
            credit_max,
            ack_wait_ms_min: 1,
            max_deliver_default: 0,
            ..Limits::default()
        };
        Self {
            bench: Bench::new(limits.clone()),
            limits,
            streams: vec![Stream::default(); STREAMS],
            groups: BTreeMap::new(),
            consumers: BTreeMap::new(),
            order: 0,
            serial: 0,
            next_group: 0,
        }
    }

    /// Runs a whole program.
    pub fn run(program: &[Step], work_max: usize, property: &mut impl Property) -> Self {
        let mut world = Self::new(work_max);
        for step in program {
            world.step(step, property);
        }
        world
    }

    pub fn now_ns(&self) -> u64 {
        self.bench.now.mono_ns
    }

    /// The group of a consumer, with its stream.
    pub fn group_of(&self, slot: u32) -> (&Group, &Stream) {
        let group = &self.groups[&self.consumers[&slot].group];
        (group, &self.streams[group.stream])
    }

    /// Seqs in flight at a consumer, in delivery order.
    pub fn in_flight(&self, slot: u32) -> Vec<u64> {
        let Some(consumer) = self.consumers.get(&slot) else { return Vec::new() };
        let outstanding = self.groups[&consumer.group].outstanding.iter();
        let mut list: Vec<(u64, u64)> = outstanding
            .filter_map(|(seq, outstanding)| match outstanding.place {
                Place::InFlight { slot: holder, order, .. } if holder == slot => Some((order, *seq)),
                _ => None,
            })
            .collect();
        list.sort_unstable();
        list.into_iter().map(|(_, seq)| seq).collect()
    }

    /// It could be given a message now.
    pub fn is_eligible(&self, slot: u32) -> bool {
        let consumer = &self.consumers[&slot];
        consumer.credit > 0
            && self.in_flight(slot).len() < consumer.inflight_max as usize
            && consumer.outbox_bytes < self.limits.outbox_bytes_max
    }

    /// The seqs that could be delivered to a group now: those that came back, and the first fresh one.
    pub fn deliverable(&self, group: &Group) -> (Vec<u64>, Option<u64>) {
        let returned = group.outstanding.iter().filter(|(_, outstanding)| outstanding.place == Place::Returned);
        let fresh = self.streams[group.stream].messages.range(group.cursor..).next().map(|(seq, _)| *seq);
        (returned.map(|(seq, _)| *seq).collect(), fresh)
    }

    /// What a group is not done with, lowest seq first.
    pub fn left_for(&self, group: &Group) -> Vec<u64> {
        let fresh = self.streams[group.stream].messages.range(group.cursor..).map(|(seq, _)| *seq);
        group.outstanding.keys().copied().chain(fresh).collect()
    }

    /// The earliest moment at which time changes anything.
    pub fn next_due_ns(&self) -> Option<u64> {
        let outstanding = self.groups.values().flat_map(|group| group.outstanding.values());
        let of_groups = outstanding.filter_map(|outstanding| match outstanding.place {
            Place::Delayed { until_ns } => Some(until_ns),
            Place::InFlight { slot, since_ns, .. } => Some(since_ns + self.consumers[&slot].wait_ns),
            Place::Returned => None,
        });
        let logs = self.streams.iter().filter(|stream| stream.retention.max_age_ms > 0);
        let of_logs = logs.filter_map(|stream| {
            let oldest = stream.messages.values().next()?;
            Some(oldest.published_ns + (stream.retention.max_age_ms + 1) * MS)
        });
        of_groups.chain(of_logs).min()
    }

    /// A delivery ends: what its consumer gets back.
    fn refill(&mut self, slot: u32) {
        if let Some(consumer) = self.consumers.get_mut(&slot)
            && consumer.refill
            && consumer.credit < self.limits.credit_max
        {
            consumer.credit += 1;
            consumer.given += 1;
        }
    }

    fn group_mut(&mut self, slot: u32) -> &mut Group {
        let group = self.consumers[&slot].group;
        self.groups.get_mut(&group).unwrap()
    }

    /// A consumer is done with a message.
    fn done(&mut self, slot: u32, seq: u64) {
        let stream = self.consumers[&slot].stream;
        self.group_mut(slot).outstanding.remove(&seq).expect("it is in flight");
        self.refill(slot);
        self.prune(stream);
    }

    /// A consumer is not done with a message: it waits at another place.
    fn give_back(&mut self, slot: u32, seq: u64, place: Place) {
        self.group_mut(slot).outstanding.get_mut(&seq).expect("it is in flight").place = place;
        self.refill(slot);
    }

    /// A message goes, whoever has it.
    fn release(&mut self, stream: usize, seq: u64) {
        self.streams[stream].messages.remove(&seq);
        let mut freed = Vec::new();
        for group in self.groups.values_mut().filter(|group| group.stream == stream) {
            if let Some(Outstanding { place: Place::InFlight { slot, .. }, .. }) = group.outstanding.remove(&seq) {
                freed.push(slot);
            }
        }
        for slot in freed {
            self.refill(slot);
        }
    }

    /// Nobody needs some of a stream's messages any more: those go.
    fn prune(&mut self, number: usize) {
        let stream = &self.streams[number];
        let Retention { policy, max_age_ms, max_messages, .. } = stream.retention;
        let gone: Vec<u64> = if policy == Policy::Log {
            let too_many = (stream.messages.len() as u64).saturating_sub(max_messages) as usize;
            let too_many = if max_messages == 0 { 0 } else { too_many };
            let is_old = |message: &Message| {
                max_age_ms > 0 && self.now_ns().saturating_sub(message.published_ns) > max_age_ms * MS
            };
            let messages = stream.messages.iter().enumerate();
            messages.filter(|(n, (_, message))| *n < too_many || is_old(message)).map(|(_, (seq, _))| *seq).collect()
        } else {
            let keepers: Vec<&Group> =
                self.groups.values().filter(|group| group.stream == number && group.name.is_some()).collect();
            let floor = |group: &&Group| group.outstanding.keys().next().copied().unwrap_or(u64::MAX).min(group.cursor);
            let floor = keepers.iter().map(floor).min().unwrap_or(0);
            let is_done = |group: &Group, seq: &u64| *seq < group.cursor && !group.outstanding.contains_key(seq);
            let is_acked_alone = |seq: &u64| match keepers.as_slice() {
                [group] => *seq >= stream.leftovers_below && is_done(group, seq),
                _ => false,
            };
            stream.messages.keys().filter(|seq| **seq < floor || is_acked_alone(seq)).copied().collect()
        };
        for seq in gone {
            self.release(number, seq);
        }
    }

    /// Everything that time has made due comes back, or goes.
    fn pass_time(&mut self) {
        let now_ns = self.now_ns();
        let mut late = Vec::new();
        for group in self.groups.values_mut() {
            for (seq, outstanding) in &mut group.outstanding {
                match outstanding.place {
                    Place::Delayed { until_ns } if until_ns <= now_ns => outstanding.place = Place::Returned,
                    Place::InFlight { slot, since_ns, .. } if since_ns + self.consumers[&slot].wait_ns <= now_ns => {
                        late.push((slot, *seq));
                    }
                    _ => {}
                }
            }
        }
        for (slot, seq) in late {
            self.give_back(slot, seq, Place::Returned);
        }
        for stream in 0..STREAMS {
            self.prune(stream);
        }
    }

    fn take_note(&mut self, outcome: &Outcome, property: &mut impl Property) {
        for delivered in &outcome.deliveries {
            let slot = delivered.connection.slot();
            assert!(self.consumers.contains_key(&slot), "a delivery goes to a consumer");
            property.delivered(self, delivered);
            self.order += 1;
            let place = Place::InFlight { slot, since_ns: self.now_ns(), order: self.order };
            let stream = self.consumers[&slot].stream;
            let message = &self.streams[stream].messages.get(&delivered.seq).expect("a delivery is of a message held");
            let size = (message.envelope.len() + message.id.len() + 64) as u64;
            let group = self.group_mut(slot);
            group.cursor = group.cursor.max(delivered.seq + 1);
            let outstanding = group.outstanding.entry(delivered.seq).or_insert(Outstanding { attempts: 0, place });
            outstanding.place = place;
            outstanding.attempts += 1;
            let consumer = self.consumers.get_mut(&slot).unwrap();
            consumer.credit = consumer.credit.saturating_sub(1);
            consumer.got += 1;
            consumer.outbox_bytes += size;
        }
    }

    pub fn rest(&mut self, property: &mut impl Property) {
        while self.bench.shard.next_deadline().is_some_and(|deadline| deadline <= self.now_ns()) {
            self.pass_time();
            let outcome = self.bench.input(conduit_shard::Input::Deadline);
            self.take_note(&outcome, property);
        }
        property.rested(self);
    }

    pub fn step(&mut self, step: &Step, property: &mut impl Property) {
        let outcome = self.apply(step);
        self.take_note(&outcome, property);
        self.rest(property);
    }

    fn nth_in_flight(&self, slot: u32, nth: usize) -> Option<u64> {
        let list = self.in_flight(slot);
        (!list.is_empty()).then(|| list[nth % list.len()])
    }

    fn find_group(&self, stream: usize, name: &str) -> Option<u32> {
        let is_it = |group: &Group| group.stream == stream && group.name == Some(name);
        self.groups.iter().find(|(_, group)| is_it(group)).map(|(key, _)| *key)
    }

    /// Where a group begins, written out.
    fn place_of(&self, stream: usize, from: From) -> u64 {
        let stream = &self.streams[stream];
        let next = stream.last_seq + 1;
        let first_where = |is_wanted: &dyn Fn(u64, &Message) -> bool| {
            let mut messages = stream.messages.iter();
            messages.find(|(seq, message)| is_wanted(**seq, message)).map_or(next, |(seq, _)| *seq)
        };
        match from {
            From::First => first_where(&|_, _| true),
            From::New => next,
            From::Seq(from) => first_where(&|seq, _| seq >= from.0),
            From::TimeUnixMs(unix_ms) => first_where(&|_, message| message.published_unix_ms >= unix_ms),
            From::Last(n) => {
                let skipped = stream.messages.len().saturating_sub(n as usize);
                stream.messages.keys().nth(skipped).copied().unwrap_or(next)
            }
        }
    }

    fn add_group(&mut self, stream: usize, name: Option<&'static str>, from: From) -> u32 {
        self.streams[stream].exists = true;
        let cursor = self.place_of(stream, from);
        self.next_group += 1;
        self.groups.insert(self.next_group, Group { stream, name, cursor, outstanding: BTreeMap::new() });
        self.prune(stream);
        self.next_group
    }

    /// A consumer is gone: what it had in flight comes back, and a group of its own goes with it.
    fn remove_consumer(&mut self, slot: u32) {
        let in_flight = self.in_flight(slot);
        let Some(consumer) = self.consumers.remove(&slot) else { return };
        let group = self.groups.get_mut(&consumer.group).unwrap();
        for seq in in_flight {
            group.outstanding.get_mut(&seq).unwrap().place = Place::Returned;
        }
        if group.name.is_none() {
            self.groups.remove(&consumer.group);
        }
    }

    fn stream_command(&mut self, stream: usize, action: StreamAction<'_>) -> Outcome {
        let command = StreamCommand { stream: name(stream).into(), action };
        self.bench.command(902, Command::Stream(Box::new(command)))
    }

    /// The shard says that it ended just these consumers.
    fn close(&mut self, closed: &[u32], outcome: &Outcome) {
        let mut told: Vec<_> = outcome.closed.iter().map(|(connection, _)| *connection).collect();
        told.sort_unstable();
        assert_eq!(told, closed.iter().map(|slot| connection(*slot)).collect::<Vec<_>>());
        assert!(outcome.closed.iter().all(|(_, code)| *code == ErrorCode::StreamDeleted));
        for slot in closed {
            self.remove_consumer(*slot);
        }
    }

    fn consumers_of(&self, stream: usize, group: Option<u32>) -> Vec<u32> {
        let is_of = |consumer: &Consumer| consumer.stream == stream && group.is_none_or(|key| consumer.group == key);
        self.consumers.iter().filter(|(_, consumer)| is_of(consumer)).map(|(slot, _)| *slot).collect()
    }

    fn apply(&mut self, step: &Step) -> Outcome {
        match step {
            Step::Publish { stream, id } => self.publish(*stream, *id),
            Step::Subscribe(joins) => self.subscribe(joins),
            Step::Credit { slot, credit } => {
                if let Some(consumer) = self.consumers.get_mut(slot) {
                    let granted = (*credit).min(self.limits.credit_max - consumer.credit);
                    consumer.credit += granted;
                    consumer.granted += granted;
                    consumer.given += granted;
                }
                self.bench.credit(*slot, *credit)
            }
            Step::Ack { slot, nth } => {
                let seq = self.nth_in_flight(*slot, *nth);
                if let Some(seq) = seq {
                    self.done(*slot, seq);
                }
                self.bench.ack(*slot, seq.unwrap_or(1_000_000))
            }
            Step::AckId { slot, nth } => {
                let Some(seq) = self.nth_in_flight(*slot, *nth) else {
                    return self.bench.command(*slot, Command::Ack(id("nothing")));
                };
                let (_, stream) = self.group_of(*slot);
                let text = stream.messages[&seq].id.clone();
                // An id names the lowest seq in flight here that has it.
                let same = self.in_flight(*slot).into_iter().filter(|seq| stream.messages[seq].id == text).min();
                self.done(*slot, same.unwrap());
                self.bench.command(*slot, Command::Ack(id(&text)))
            }
            Step::AckUpTo { slot, nth } => {
                let up_to = self.nth_in_flight(*slot, *nth).unwrap_or(7);
                for seq in self.in_flight(*slot).into_iter().filter(|seq| *seq <= up_to) {
                    self.done(*slot, seq);
                }
                self.bench.command(*slot, Command::AckUpTo(Seq(up_to)))
            }
            Step::AckAnything { slot, seq } => {
                if self.in_flight(*slot).contains(seq) {
                    self.done(*slot, *seq);
                }
                self.bench.ack(*slot, *seq)
            }
            Step::Nack { slot, nth, count, delay_ms } => {
                let list: Vec<u64> = self.in_flight(*slot).into_iter().skip(*nth).take(*count).collect();
                let until_ns = self.now_ns() + delay_ms * MS;
                let place = if *delay_ms == 0 { Place::Returned } else { Place::Delayed { until_ns } };
                for seq in &list {
                    self.give_back(*slot, *seq, place);
                }
                self.bench.command(*slot, Command::Nack(nack(seqs(&list), *delay_ms)))
            }
            Step::Disconnect { slot } => {
                self.remove_consumer(*slot);
                self.bench.disconnect(*slot)
            }
            Step::Drained { slot } => {
                if let Some(consumer) = self.consumers.get_mut(slot) {
                    consumer.outbox_bytes = 0;
                }
                self.bench.drained(*slot)
            }
            Step::Advance { ms } => {
                self.bench.advance_ms(*ms);
                Outcome::default()
            }
            Step::Retain { stream, retention } => self.retain(*stream, *retention),
            Step::Purge { stream } => {
                let all: Vec<u64> = self.streams[*stream].messages.keys().copied().collect();
                for seq in &all {
                    self.release(*stream, *seq);
                }
                let outcome = self.stream_command(*stream, StreamAction::Purge);
                assert_eq!(deleted(&outcome), self.streams[*stream].exists.then_some(all.len() as u64));
                outcome
            }
            Step::Delete { stream } => self.delete(*stream),
            Step::PutGroup { stream, group, from } => {
                let known = self.find_group(*stream, GROUPS[*group]);
                if known.is_none() {
                    self.add_group(*stream, Some(GROUPS[*group]), *from);
                }
                let settings = GroupSettings::default();
                let action = StreamAction::PutGroup { group: GROUPS[*group].into(), from: *from, settings };
                let outcome = self.stream_command(*stream, action);
                let status = outcome.answer.as_ref().map(StreamAnswer::status);
                assert_eq!(status, Some(if known.is_none() { 201 } else { 200 }));
                outcome
            }
            Step::DeleteGroup { stream, group } => self.delete_group(*stream, GROUPS[*group]),
        }
    }

    fn publish(&mut self, number: usize, id: u8) -> Outcome {
        self.serial += 1;
        let id = format!("id-{id}");
        let envelope = format!(r#"{{"id":"{id}","n":{}}}"#, self.serial).into_bytes();
        let now = self.bench.now;
        let stream = &mut self.streams[number];
        stream.exists = true;
        stream.last_seq += 1;
        let seq = stream.last_seq;
        let (published_ns, published_unix_ms) = (now.mono_ns, now.unix_ms);
        let message = Message { id: id.clone(), envelope: envelope.clone(), published_ns, published_unix_ms };
        stream.messages.insert(seq, message);
        self.prune(number);
        let outcome = self.bench.publish(&name(number), &id, &envelope);
        assert_eq!(outcome.published.first().map(|published| published.seq), Some(seq));
        outcome
    }

    fn subscribe(&mut self, joins: &Joins) -> Outcome {
        let Joins { slot, stream, joined, from, credit, refill, wait_ms, inflight, packed } = *joins;
        let is_new = !self.consumers.contains_key(&slot);
        let encoding = if packed { Encoding::MessagePack } else { Encoding::Json };
        let group = match joined {
            Joined::Group(group) => Some(GROUPS[group]),
            Joined::Alone => None,
        };
        if is_new {
            let known = group.and_then(|group| self.find_group(stream, group));
            let group = known.unwrap_or_else(|| self.add_group(stream, group, from));
            let consumer = Consumer {
                stream,
                group,
                encoding,
                refill,
                wait_ns: wait_ms * MS,
                inflight_max: inflight,
                credit,
                granted: credit,
                given: credit,
                got: 0,
                outbox_bytes: 0,
            };
            self.consumers.insert(slot, consumer);
        }
        let name = name(stream);
        let subscribe = Subscribe {
            encoding,
            refill_on_ack: refill,
            ack_wait_ms: Some(wait_ms),
            max_inflight: Some(inflight),
            group: group.filter(|name| !name.is_empty()).map(std::convert::Into::into),
            ephemeral: group.is_none(),
            from,
            ..subscription(&name, credit)
        };
        let outcome = self.bench.command(slot, Command::Subscribe(subscribe));
        assert_eq!((outcome.subscribed == 1, outcome.refused.is_empty()), (is_new, is_new));
        outcome
    }

    fn retain(&mut self, number: usize, mut retention: Retention) -> Outcome {
        if self.limits.work_max < 256 {
            // Where calls are cut short, a message that has just become too old may be delivered before it goes.
            retention.max_age_ms = 0;
        }
        let is_new = !self.streams[number].exists;
        let stream = &mut self.streams[number];
        stream.exists = true;
        if stream.retention.policy == Policy::Log && retention.policy == Policy::Work {
            stream.leftovers_below = stream.last_seq + 1;
        }
        stream.retention = retention;
        self.prune(number);
        let settings = StreamSettings { retention: Some(retention), ..StreamSettings::default() };
        let outcome = self.stream_command(number, StreamAction::Put(settings));
        let status = outcome.answer.as_ref().map(StreamAnswer::status);
        assert_eq!(status, Some(if is_new { 201 } else { 200 }));
        outcome
    }

    fn delete(&mut self, number: usize) -> Outcome {
        let outcome = self.stream_command(number, StreamAction::Delete);
        let stream = &self.streams[number];
        assert_eq!(deleted(&outcome), stream.exists.then_some(stream.messages.len() as u64));
        self.close(&self.consumers_of(number, None), &outcome);
        self.groups.retain(|_, group| group.stream != number);
        self.streams[number] = Stream::default();
        outcome
    }

    fn delete_group(&mut self, number: usize, group: &str) -> Outcome {
        let action = StreamAction::DeleteGroup { group: group.to_owned().into() };
        let outcome = self.stream_command(number, action);
        let key = self.find_group(number, group);
        assert_eq!(outcome.answer.is_some(), key.is_some());
        if let Some(key) = key {
            self.close(&self.consumers_of(number, Some(key)), &outcome);
            self.groups.remove(&key);
            let keepers = self.groups.values().filter(|group| group.stream == number && group.name.is_some());
            if keepers.count() == 1 {
                self.streams[number].leftovers_below = self.streams[number].last_seq + 1;
            }
            self.prune(number);
        }
        outcome
    }

    /// What a consumer should have been written for a message.
    pub fn expected_bytes(&self, slot: u32, message: &Message) -> Vec<u8> {
        match self.consumers[&slot].encoding {
            Encoding::Json => message.envelope.clone(),
            Encoding::MessagePack => {
                let mut bytes = Vec::new();
                codec::transcode(Encoding::Json, Encoding::MessagePack, &message.envelope, &mut bytes);
                bytes
            }
        }
    }

    /// Sends everybody away and lets one eager consumer per group take and ack all that is left: what each took.
    pub fn take_all_that_is_left(&mut self, property: &mut impl Property) -> BTreeMap<u32, Vec<u64>> {
        for slot in 0..SLOTS {
            self.step(&Step::Disconnect { slot }, property);
        }
        // Longer than any delay that a program asks for.
        self.step(&Step::Advance { ms: 100 }, property);
        let mut taken = BTreeMap::new();
        for (key, stream, group) in
            self.groups.iter().map(|(key, group)| (*key, group.stream, group.name.unwrap())).collect::<Vec<_>>()
        {
            let group = GROUPS.iter().position(|name| *name == group).unwrap();
            let joined = Joined::Group(group);
            let (slot, from) = (0, From::First);
            let joins = Joins {
                slot,
                stream,
                joined,
                from,
                credit: 12,
                refill: true,
                wait_ms: 1_000,
                inflight: 5,
                packed: false,
            };
            self.step(&Step::Subscribe(joins), property);
            let taken: &mut Vec<u64> = taken.entry(key).or_default();
            while let Some(seq) = self.nth_in_flight(slot, 0) {
                taken.push(seq);
                self.step(&Step::Ack { slot, nth: 0 }, property);
                self.step(&Step::Drained { slot }, property);
            }
            self.step(&Step::Disconnect { slot }, property);
        }
        taken
    }
}

/// How many messages an operation deleted; `None` when there was no such stream.
fn deleted(outcome: &Outcome) -> Option<u64> {
    match &outcome.answer {
        Some(StreamAnswer::Done(done)) => Some(done.deleted.expect("it says how many")),
        None => {
            assert_eq!(outcome.refused, [(ErrorCode::UnknownStream, None)]);
            None
        }
        other => panic!("{other:?}"),
    }
}
