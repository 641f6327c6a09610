//! A small, obvious model of a broker that runs beside the real one: messages in maps, time in plain numbers, every
//! rule written out the slow way. Random programs drive both; a property looks at each delivery and at each rest.

#[allow(unused_imports, reason = "each test takes what it needs of the model")]
pub use super::steps::{GROUPS, Joined, Joins, SLOTS, STREAMS, Step, program};
use super::{Bench, Delivered, MS, Outcome, connection};
use conduit_protocol::command::{StreamAction, StreamCommand};
use conduit_protocol::streams::{Policy, Retention};
use conduit_protocol::{Command, Encoding, ErrorCode, From, codec};
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
    pub serial: u64,
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
    pub fn refill(&mut self, slot: u32) {
        if let Some(consumer) = self.consumers.get_mut(&slot)
            && consumer.refill
            && consumer.credit < self.limits.credit_max
        {
            consumer.credit += 1;
            consumer.given += 1;
        }
    }

    pub fn group_mut(&mut self, slot: u32) -> &mut Group {
        let group = self.consumers[&slot].group;
        self.groups.get_mut(&group).unwrap()
    }

    /// A consumer is done with a message.
    pub fn done(&mut self, slot: u32, seq: u64) {
        let stream = self.consumers[&slot].stream;
        self.group_mut(slot).outstanding.remove(&seq).expect("it is in flight");
        self.refill(slot);
        self.prune(stream);
    }

    /// A consumer is not done with a message: it waits at another place.
    pub fn give_back(&mut self, slot: u32, seq: u64, place: Place) {
        self.group_mut(slot).outstanding.get_mut(&seq).expect("it is in flight").place = place;
        self.refill(slot);
    }

    /// A message goes, whoever has it.
    pub fn release(&mut self, stream: usize, seq: u64) {
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
    pub fn prune(&mut self, number: usize) {
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

    pub fn take_note(&mut self, outcome: &Outcome, property: &mut impl Property) {
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

    pub fn nth_in_flight(&self, slot: u32, nth: usize) -> Option<u64> {
        let list = self.in_flight(slot);
        (!list.is_empty()).then(|| list[nth % list.len()])
    }

    pub fn find_group(&self, stream: usize, name: &str) -> Option<u32> {
        let is_it = |group: &Group| group.stream == stream && group.name == Some(name);
        self.groups.iter().find(|(_, group)| is_it(group)).map(|(key, _)| *key)
    }

    /// Where a group begins, written out.
    pub fn place_of(&self, stream: usize, from: From) -> u64 {
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
            From::After(seen) if seen.0 > stream.last_seq => first_where(&|_, _| true),
            From::After(seen) => first_where(&|seq, _| seq > seen.0),
            From::TimeUnixMs(unix_ms) => first_where(&|_, message| message.published_unix_ms >= unix_ms),
            From::Last(n) => {
                let skipped = stream.messages.len().saturating_sub(n as usize);
                stream.messages.keys().nth(skipped).copied().unwrap_or(next)
            }
        }
    }

    pub fn add_group(&mut self, stream: usize, name: Option<&'static str>, from: From) -> u32 {
        self.streams[stream].exists = true;
        let cursor = self.place_of(stream, from);
        self.next_group += 1;
        self.groups.insert(self.next_group, Group { stream, name, cursor, outstanding: BTreeMap::new() });
        self.prune(stream);
        self.next_group
    }

    /// A consumer is gone: what it had in flight comes back, and a group of its own goes with it.
    pub fn remove_consumer(&mut self, slot: u32) {
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

    pub fn stream_command(&mut self, stream: usize, action: StreamAction<'_>) -> Outcome {
        let command = StreamCommand { stream: name(stream).into(), action };
        self.bench.command(902, Command::Stream(Box::new(command)))
    }

    /// The shard says that it ended just these consumers.
    pub fn close(&mut self, closed: &[u32], outcome: &Outcome) {
        let mut told: Vec<_> = outcome.closed.iter().map(|(connection, _)| *connection).collect();
        told.sort_unstable();
        assert_eq!(told, closed.iter().map(|slot| connection(*slot)).collect::<Vec<_>>());
        assert!(outcome.closed.iter().all(|(_, code)| *code == ErrorCode::StreamDeleted));
        for slot in closed {
            self.remove_consumer(*slot);
        }
    }

    pub fn consumers_of(&self, stream: usize, group: Option<u32>) -> Vec<u32> {
        let is_of = |consumer: &Consumer| consumer.stream == stream && group.is_none_or(|key| consumer.group == key);
        self.consumers.iter().filter(|(_, consumer)| is_of(consumer)).map(|(slot, _)| *slot).collect()
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
