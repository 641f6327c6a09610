//! What each step of a random program does to the real broker and to its model.

use super::steps::{Joined, Joins, Step};
use super::world::*;
use super::{MS, Outcome, id, nack, seqs, subscription};
use conduit_protocol::command::StreamAction;
use conduit_protocol::streams::{GroupSettings, Policy, Retention, StreamAnswer, StreamSettings};
use conduit_protocol::{Command, Encoding, ErrorCode, Seq, Subscribe};

impl World {
    pub fn apply(&mut self, step: &Step) -> Outcome {
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

    pub fn publish(&mut self, number: usize, id: u8) -> Outcome {
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

    pub fn subscribe(&mut self, joins: &Joins) -> Outcome {
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

    pub fn retain(&mut self, number: usize, mut retention: Retention) -> Outcome {
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

    pub fn delete(&mut self, number: usize) -> Outcome {
        let outcome = self.stream_command(number, StreamAction::Delete);
        let stream = &self.streams[number];
        assert_eq!(deleted(&outcome), stream.exists.then_some(stream.messages.len() as u64));
        self.close(&self.consumers_of(number, None), &outcome);
        self.groups.retain(|_, group| group.stream != number);
        self.streams[number] = Stream::default();
        outcome
    }

    pub fn delete_group(&mut self, number: usize, group: &str) -> Outcome {
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
