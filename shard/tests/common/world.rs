//! A small, obvious model of a broker that runs beside the real one: messages in maps, time in plain numbers, every
//! rule written out the slow way. Random programs drive both; a property looks at each delivery and at each rest.

use super::{Bench, Delivered, MS, Outcome, id, nack, seqs, subscription};
use conduit_protocol::{Command, Encoding, Envelope, EnvelopeId, Publish, PublishOptions, Seq, Subscribe, codec};
use conduit_shard::Limits;
use proptest::prelude::*;
use std::collections::BTreeMap;

pub const STREAMS: usize = 3;
pub const SLOTS: u32 = 5;

/// One step of a program. `nth` picks among what is in flight.
#[derive(Debug, Clone)]
pub enum Step {
    Publish { stream: usize, id: u8 },
    Subscribe { slot: u32, stream: usize, credit: u64, refill: bool, wait_ms: u64, inflight: u32, packed: bool },
    Credit { slot: u32, credit: u64 },
    Ack { slot: u32, nth: usize },
    AckId { slot: u32, nth: usize },
    AckUpTo { slot: u32, nth: usize },
    AckAnything { slot: u32, seq: u64 },
    Nack { slot: u32, nth: usize, count: usize, delay_ms: u64 },
    Disconnect { slot: u32 },
    Drained { slot: u32 },
    Advance { ms: u64 },
}

pub fn step() -> impl Strategy<Value = Step> {
    let slot = 0..SLOTS;
    let subscribe = (0..SLOTS, 0..STREAMS, 0u64..6, any::<bool>(), 1u64..60, 1u32..6, any::<bool>()).prop_map(
        |(slot, stream, credit, refill, wait_ms, inflight, packed)| Step::Subscribe {
            slot,
            stream,
            credit,
            refill,
            wait_ms,
            inflight,
            packed,
        },
    );
    prop_oneof![
        8 => (0..STREAMS, 0u8..12).prop_map(|(stream, id)| Step::Publish { stream, id }),
        3 => subscribe,
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

pub fn program() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(step(), 1..150)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Fresh,
    Returned,
    Delayed { until_ns: u64 },
    InFlight { slot: u32, since_ns: u64, order: u64 },
    Done,
}

#[derive(Debug, Clone)]
pub struct Message {
    pub id: String,
    pub envelope: Vec<u8>,
    pub attempts: u32,
    pub place: Place,
}

#[derive(Debug, Clone)]
pub struct Consumer {
    pub stream: usize,
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
    /// By stream, by seq.
    pub streams: Vec<BTreeMap<u64, Message>>,
    pub consumers: BTreeMap<u32, Consumer>,
    order: u64,
    serial: u64,
}

/// What a test says about a run.
pub trait Property {
    /// Before the model takes note of a delivery.
    fn delivered(&mut self, _world: &World, _stream: usize, _delivered: &Delivered) {}
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
            streams: vec![BTreeMap::new(); STREAMS],
            consumers: BTreeMap::new(),
            order: 0,
            serial: 0,
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

    /// Seqs in flight at a consumer, in delivery order.
    pub fn in_flight(&self, slot: u32) -> Vec<u64> {
        let Some(consumer) = self.consumers.get(&slot) else { return Vec::new() };
        let mut list: Vec<(u64, u64)> = self.streams[consumer.stream]
            .iter()
            .filter_map(|(seq, message)| match message.place {
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

    /// The seqs that could be delivered now: those that came back, and the first fresh one.
    pub fn deliverable(&self, stream: usize) -> (Vec<u64>, Option<u64>) {
        let of =
            |place| self.streams[stream].iter().filter(move |(_, message)| message.place == place).map(|(seq, _)| *seq);
        (of(Place::Returned).collect(), of(Place::Fresh).next())
    }

    /// The earliest moment at which time changes anything.
    pub fn next_due_ns(&self) -> Option<u64> {
        self.streams
            .iter()
            .flat_map(BTreeMap::values)
            .filter_map(|message| match message.place {
                Place::Delayed { until_ns } => Some(until_ns),
                Place::InFlight { slot, since_ns, .. } => Some(since_ns + self.consumers[&slot].wait_ns),
                _ => None,
            })
            .min()
    }

    fn give_back(&mut self, stream: usize, seq: u64, place: Place) {
        let message = self.streams[stream].get_mut(&seq).unwrap();
        let Place::InFlight { slot, .. } = std::mem::replace(&mut message.place, place) else {
            panic!("the model gives back what is not in flight")
        };
        if let Some(consumer) = self.consumers.get_mut(&slot)
            && consumer.refill
            && consumer.credit < self.limits.credit_max
        {
            consumer.credit += 1;
            consumer.given += 1;
        }
    }

    /// Everything that time has made due comes back.
    fn pass_time(&mut self) {
        let now_ns = self.now_ns();
        for stream in 0..STREAMS {
            let due: Vec<(u64, Place)> = self.streams[stream]
                .iter()
                .filter(|(_, message)| match message.place {
                    Place::Delayed { until_ns } => until_ns <= now_ns,
                    Place::InFlight { slot, since_ns, .. } => since_ns + self.consumers[&slot].wait_ns <= now_ns,
                    _ => false,
                })
                .map(|(seq, message)| (*seq, message.place))
                .collect();
            for (seq, place) in due {
                if matches!(place, Place::Delayed { .. }) {
                    self.streams[stream].get_mut(&seq).unwrap().place = Place::Returned;
                } else {
                    self.give_back(stream, seq, Place::Returned);
                }
            }
        }
    }

    fn take_note(&mut self, outcome: &Outcome, property: &mut impl Property) {
        for delivered in &outcome.deliveries {
            let slot = delivered.connection.slot();
            let stream = self.consumers.get(&slot).expect("a delivery goes to a consumer").stream;
            property.delivered(self, stream, delivered);
            self.order += 1;
            let place = Place::InFlight { slot, since_ns: self.now_ns(), order: self.order };
            let message = self.streams[stream].get_mut(&delivered.seq).expect("a delivery is of a published message");
            message.place = place;
            message.attempts += 1;
            let size = (message.envelope.len() + message.id.len() + 64) as u64;
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

    fn stream_of(&self, slot: u32) -> Option<usize> {
        self.consumers.get(&slot).map(|consumer| consumer.stream)
    }

    fn apply(&mut self, step: &Step) -> Outcome {
        match *step {
            Step::Publish { stream, id } => {
                self.serial += 1;
                let id = format!("id-{id}");
                let envelope = format!(r#"{{"id":"{id}","n":{}}}"#, self.serial).into_bytes();
                let seq = self.streams[stream].len() as u64 + 1;
                let message = Message { id: id.clone(), envelope: envelope.clone(), attempts: 0, place: Place::Fresh };
                self.streams[stream].insert(seq, message);
                let name = name(stream);
                let envelope =
                    Envelope { encoding: Encoding::Json, bytes: &envelope, id: EnvelopeId::Given(id.into()) };
                let publish =
                    Publish { stream: name.into(), envelope, pausable: false, options: PublishOptions::default() };
                let outcome = self.bench.command(900, Command::Publish(publish));
                assert_eq!(outcome.published.first().map(|published| published.seq), Some(seq));
                outcome
            }
            Step::Subscribe { slot, stream, credit, refill, wait_ms, inflight, packed } => {
                let is_new = !self.consumers.contains_key(&slot);
                let encoding = if packed { Encoding::MessagePack } else { Encoding::Json };
                if is_new {
                    let consumer = Consumer {
                        stream,
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
                    ..subscription(&name, credit)
                };
                let outcome = self.bench.command(slot, Command::Subscribe(subscribe));
                assert_eq!((outcome.subscribed == 1, outcome.refused.is_empty()), (is_new, is_new));
                outcome
            }
            Step::Credit { slot, credit } => {
                if let Some(consumer) = self.consumers.get_mut(&slot) {
                    let granted = credit.min(self.limits.credit_max - consumer.credit);
                    consumer.credit += granted;
                    consumer.granted += granted;
                    consumer.given += granted;
                }
                self.bench.credit(slot, credit)
            }
            Step::Ack { slot, nth } => {
                let Some(seq) = self.nth_in_flight(slot, nth) else { return self.bench.ack(slot, 1_000_000) };
                self.give_back(self.consumers[&slot].stream, seq, Place::Done);
                self.bench.ack(slot, seq)
            }
            Step::AckId { slot, nth } => {
                let Some(seq) = self.nth_in_flight(slot, nth) else {
                    return self.bench.command(slot, Command::Ack(id("nothing")));
                };
                let stream = self.consumers[&slot].stream;
                let text = self.streams[stream][&seq].id.clone();
                // An id names the lowest seq in flight here that has it.
                let mut same = self.in_flight(slot);
                same.retain(|seq| self.streams[stream][seq].id == text);
                self.give_back(stream, same.into_iter().min().unwrap(), Place::Done);
                self.bench.command(slot, Command::Ack(id(&text)))
            }
            Step::AckUpTo { slot, nth } => {
                let up_to = self.nth_in_flight(slot, nth).unwrap_or(7);
                for seq in self.in_flight(slot).into_iter().filter(|seq| *seq <= up_to) {
                    self.give_back(self.consumers[&slot].stream, seq, Place::Done);
                }
                self.bench.command(slot, Command::AckUpTo(Seq(up_to)))
            }
            Step::AckAnything { slot, seq } => {
                if self.in_flight(slot).contains(&seq) {
                    self.give_back(self.consumers[&slot].stream, seq, Place::Done);
                }
                self.bench.ack(slot, seq)
            }
            Step::Nack { slot, nth, count, delay_ms } => {
                let list: Vec<u64> = self.in_flight(slot).into_iter().skip(nth).take(count).collect();
                let until_ns = self.now_ns() + delay_ms * MS;
                let place = if delay_ms == 0 { Place::Returned } else { Place::Delayed { until_ns } };
                for seq in &list {
                    self.give_back(self.consumers[&slot].stream, *seq, place);
                }
                self.bench.command(slot, Command::Nack(nack(seqs(&list), delay_ms)))
            }
            Step::Disconnect { slot } => {
                if let Some(stream) = self.stream_of(slot) {
                    for seq in self.in_flight(slot) {
                        self.streams[stream].get_mut(&seq).unwrap().place = Place::Returned;
                    }
                    self.consumers.remove(&slot);
                }
                self.bench.disconnect(slot)
            }
            Step::Drained { slot } => {
                if let Some(consumer) = self.consumers.get_mut(&slot) {
                    consumer.outbox_bytes = 0;
                }
                self.bench.drained(slot)
            }
            Step::Advance { ms } => {
                self.bench.advance_ms(ms);
                Outcome::default()
            }
        }
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

    /// Sends everybody away and lets one eager consumer per stream take and ack all that is left.
    pub fn take_all_that_is_left(&mut self, property: &mut impl Property) -> Vec<Vec<u64>> {
        for slot in 0..SLOTS {
            self.step(&Step::Disconnect { slot }, property);
        }
        // Longer than any delay that a program asks for.
        self.step(&Step::Advance { ms: 100 }, property);
        let mut taken = vec![Vec::new(); STREAMS];
        for (stream, taken) in taken.iter_mut().enumerate() {
            let slot = stream as u32;
            let refill = true;
            let subscribe =
                Step::Subscribe { slot, stream, credit: 12, refill, wait_ms: 1_000, inflight: 5, packed: false };
            self.step(&subscribe, property);
            while let Some(seq) = self.nth_in_flight(slot, 0) {
                taken.push(seq);
                self.step(&Step::Ack { slot, nth: 0 }, property);
                self.step(&Step::Drained { slot }, property);
            }
        }
        taken
    }
}
