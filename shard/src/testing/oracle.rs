//! What clients were told, and what follows from it: every acknowledged message is read by every group that is owed it,
//! nothing else is ever delivered, and no position is ever given to two messages.
//!
//! The oracle knows only what went over the wire. Messages carry a number of their own (`k`), by which they are recognised
//! wherever they turn up.

use super::random::Random;
use conduit_protocol::streams::Durability;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// A stream as the plan has it.
#[derive(Debug, Clone)]
pub struct StreamFacts {
    /// Its name.
    pub name: String,
    /// What an accepted message survives.
    pub durability: Durability,
    /// Its groups, by name; the default group has the empty one.
    pub groups: Vec<String>,
    /// It holds the dead letters of this stream.
    pub letters_of: Option<usize>,
    /// Some of its messages are urgent or delayed.
    pub is_unordered: bool,
}

/// What is known about one message.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) stream: usize,
    pub(super) envelope: Value,
    pub(super) text: String,
    pub(super) dedup_id: Option<String>,
    /// What else is asked for with it, as members of the request.
    pub(super) options: String,
    /// How often it was sent.
    pub(super) sends: u32,
    /// When it was sent first.
    pub(super) first_sent_ns: u64,
    /// How often the server had been stopped by then.
    pub(super) first_crashes: u64,
    /// When it was sent first and last, counted in sends and subscriptions: it was stored at one of its sends.
    pub(super) first_order: u64,
    pub(super) sent_order: u64,
    /// The connection that it was sent on last, and its place among what was sent there.
    pub(super) sent_on: (u32, u64),
    /// Some position that its stream had reached for its producer before it was sent first.
    pub(super) above_seq: u64,
    pub(super) seq: Option<u64>,
    pub(super) is_accepted: bool,
    /// Refused at its only try: it must never be seen.
    pub(super) is_refused: bool,
    /// It is in `owed` for its groups, or was.
    pub(super) is_counted: bool,
}

#[derive(Debug, Default)]
pub(super) struct GroupState {
    /// From when to when clients could rely on its being there, counted in sends and subscriptions.
    pub(super) known: Vec<(u64, u64)>,
    /// A message that came after it is durable, so the group is too.
    pub(super) is_durable: bool,
    pub(super) acked: BTreeSet<u64>,
    pub(super) delivered: u64,
}

/// The end of what has not ended.
const OPEN: u64 = u64::MAX;

impl GroupState {
    fn is_known_at(&self, order: u64) -> bool {
        self.known.iter().any(|(from, to)| (*from..*to).contains(&order))
    }

    fn begin(&mut self, order: u64) {
        if self.known.last().is_none_or(|(_, to)| *to != OPEN) {
            self.known.push((order, OPEN));
        }
    }

    fn end(&mut self, order: u64) {
        if let Some((_, to)) = self.known.last_mut() {
            *to = (*to).min(order);
        }
    }
}

/// A message at a client that reads a group: client, stream, group, and the message's id.
pub(super) type OnItsWay = (usize, usize, usize, String);

#[derive(Debug)]
pub(super) struct StreamState {
    pub(super) facts: StreamFacts,
    pub(super) groups: Vec<GroupState>,
    /// Which message has which position.
    pub(super) seqs: BTreeMap<u64, usize>,
    /// The highest accepted position of each producer.
    pub(super) highest: BTreeMap<usize, u64>,
}

/// What is known about a whole run.
#[derive(Debug)]
pub struct Oracle {
    pub(super) streams: Vec<StreamState>,
    pub(super) messages: Vec<Message>,
    /// Stream, group, seq: delivered and acked before the run may end.
    pub(super) owed: BTreeSet<(usize, usize, u64)>,
    /// By connection and stream: place and seq of what was accepted last.
    pub(super) last_on: BTreeMap<(u32, usize), (u64, u64)>,
    pub(super) order: u64,
    pub(super) accepted: u64,
    /// How often the server was stopped.
    pub(super) crashes: u64,
    /// Nanoseconds after its first try in which a publish may be repeated.
    pub(super) repeat_ns: u64,
    pub(super) are_reads_failing: bool,
    /// Written to a reader that sends no acks, and not seen by it yet. The group is done with it, and the reader is owed it as
    /// long as its connection lasts.
    pub(super) on_its_way: BTreeMap<OnItsWay, u64>,
    /// Seen by such a reader, and still in flight as the server sees it: something else behind it is not written yet.
    pub(super) ahead: BTreeSet<OnItsWay>,
    pub(super) violations: Vec<String>,
}

impl Oracle {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(streams: Vec<StreamFacts>, repeat_ns: u64) -> Self {
        let state = |facts: StreamFacts| StreamState {
            groups: facts.groups.iter().map(|_| GroupState::default()).collect(),
            seqs: BTreeMap::new(),
            highest: BTreeMap::new(),
            facts,
        };
        Self {
            streams: streams.into_iter().map(state).collect(),
            messages: Vec::new(),
            owed: BTreeSet::new(),
            last_on: BTreeMap::new(),
            order: 0,
            accepted: 0,
            crashes: 0,
            repeat_ns,
            are_reads_failing: false,
            on_its_way: BTreeMap::new(),
            ahead: BTreeSet::new(),
            violations: Vec::new(),
        }
    }

    /// What was found wrong since the last call.
    pub fn take_violations(&mut self) -> Vec<String> {
        std::mem::take(&mut self.violations)
    }

    /// Something that no client should see.
    pub fn violation(&mut self, what: String) {
        self.violations.push(what);
    }

    /// Publishes that were acknowledged.
    #[must_use]
    pub const fn accepted_total(&self) -> u64 {
        self.accepted
    }

    /// The name of a stream.
    #[must_use]
    pub fn stream_name(&self, stream: usize) -> &str {
        &self.streams[stream].facts.name
    }

    /// The name of a group.
    #[must_use]
    pub fn group_name(&self, stream: usize, group: usize) -> &str {
        &self.streams[stream].facts.groups[group]
    }

    /// A new message of a producer: its number.
    pub fn compose(
        &mut self,
        stream: usize,
        dedup: bool,
        options: String,
        payload_bytes: u64,
        random: &mut Random,
    ) -> usize {
        let number = self.messages.len();
        let padding = "x".repeat(payload_bytes as usize);
        // One in four has no id, so that the server makes one.
        let id = if random.chance(250) { String::new() } else { format!(r#""id":"m-{number}","#) };
        let text = format!(r#"{{{id}"k":{number},"pad":"{padding}"}}"#);
        let envelope = serde_json::from_str(&text).unwrap_or_default();
        self.messages.push(Message {
            stream,
            envelope,
            text,
            dedup_id: dedup.then(|| format!("once-{number}")),
            options,
            sends: 0,
            first_sent_ns: 0,
            first_crashes: 0,
            first_order: 0,
            sent_order: 0,
            sent_on: (0, 0),
            above_seq: 0,
            seq: None,
            is_accepted: false,
            is_refused: false,
            is_counted: false,
        });
        number
    }

    /// The request that publishes a message.
    #[must_use]
    pub fn publish(&self, number: usize) -> String {
        let Message { stream, text, dedup_id, options, .. } = &self.messages[number];
        let name = &self.streams[*stream].facts.name;
        let dedup_id = dedup_id.as_ref().map_or_else(String::new, |id| format!(r#","dedupId":"{id}""#));
        format!(r#"{{"to":"{name}","envelope":{text}{dedup_id}{options}}}"#)
    }

    /// It may be sent now without harm: for the first time, or surely not stored yet, or recognised when it was.
    #[must_use]
    pub fn is_repeatable(&self, number: usize, now_ns: u64) -> bool {
        let message = &self.messages[number];
        let is_recognised = now_ns - message.first_sent_ns.min(now_ns) <= self.repeat_ns;
        message.sends == 0 || message.is_refused || (message.dedup_id.is_some() && is_recognised)
    }

    /// It lives in memory.
    #[must_use]
    pub fn is_volatile(&self, number: usize) -> bool {
        self.is_forgotten(self.messages[number].stream)
    }

    /// A producer is about to send a message on a connection.
    pub fn sent(&mut self, now_ns: u64, number: usize, producer: usize, wire: u32, place: u64) {
        self.order += 1;
        let message = &mut self.messages[number];
        if message.is_refused {
            // That was as good as never.
            message.sends = 0;
        }
        message.sends += 1;
        if message.sends == 1 {
            (message.first_sent_ns, message.first_crashes) = (now_ns, self.crashes);
            message.first_order = self.order;
        }
        message.sent_order = self.order;
        message.sent_on = (wire, place);
        if message.sends == 1 {
            message.above_seq = self.streams[message.stream].highest.get(&producer).copied().unwrap_or(0);
        }
        message.is_refused = false;
    }

    /// A message was refused in a way that promises that nothing was stored.
    pub fn refused(&mut self, number: usize) {
        let message = &mut self.messages[number];
        // An earlier try may still be on its way, or may have been stored without an answer.
        message.is_refused = message.sends == 1;
    }

    /// A message was acknowledged. True when it was recognised as one that a server before this one had stored.
    pub fn accepted(&mut self, number: usize, producer: usize, answer: &Value) -> bool {
        let message = &self.messages[number];
        let is_older = message.first_crashes < self.crashes;
        let stream = message.stream;
        let name = self.streams[stream].facts.name.clone();
        let Some(seq) = answer["seq"].as_u64().filter(|seq| *seq > 0) else {
            self.violations.push(format!("message {number} of {name} was accepted without a seq: {answer}"));
            return false;
        };
        self.accepted += 1;
        if answer["stream"] != *name {
            self.violations.push(format!("message {number} of {name} was accepted into another stream: {answer}"));
        }
        if message.envelope.get("id").is_some_and(|id| answer["id"] != *id) {
            self.violations.push(format!("message {number} of {name} was accepted under another id: {answer}"));
        }
        let is_durable = answer.get("durable").and_then(Value::as_bool);
        let is_commit = self.streams[stream].facts.durability == Durability::Commit;
        if is_commit != (is_durable == Some(true)) {
            self.violations.push(format!("message {number} of {name} was promised something else: {answer}"));
        }
        let is_duplicate = answer["duplicate"] == true;
        if is_duplicate && message.sends == 1 {
            self.violations.push(format!("message {number} of {name} is no duplicate: {answer}"));
        }
        if seq <= message.above_seq {
            let above = message.above_seq;
            self.violations
                .push(format!("message {number} of {name} has seq {seq}, and one published before it has {above}"));
        }
        let (wire, place) = message.sent_on;
        if !is_duplicate && message.sends == 1 {
            let last = self.last_on.insert((wire, stream), (place, seq));
            if last.is_some_and(|(last_place, last_seq)| (last_place < place) != (last_seq < seq)) {
                self.violations
                    .push(format!("message {number} of {name} changed places: {last:?} and {:?}", (place, seq)));
            }
        }
        let highest = self.streams[stream].highest.entry(producer).or_insert(0);
        *highest = (*highest).max(seq);
        self.messages[number].is_accepted = true;
        self.place(number, seq);
        self.count(number);
        is_duplicate && is_older
    }

    /// A message was seen at a position.
    pub(super) fn place(&mut self, number: usize, seq: u64) {
        let message = &mut self.messages[number];
        let stream = &mut self.streams[message.stream];
        let name = &stream.facts.name;
        if message.is_refused {
            self.violations.push(format!("message {number} of {name} was refused, and is there as seq {seq}"));
        }
        if let Some(before) = message.seq.replace(seq)
            && before != seq
        {
            self.violations.push(format!("message {number} of {name} is stored twice: as seq {before} and seq {seq}"));
        }
        if let Some(other) = stream.seqs.insert(seq, number)
            && other != number
        {
            self.violations.push(format!("seq {seq} of {name} names two messages: {other} and {number}"));
        }
    }

    /// From now on every group that was known when the message was sent is owed it.
    pub(super) fn count(&mut self, number: usize) {
        let message = &mut self.messages[number];
        let Some(seq) = message.seq else { return };
        if std::mem::replace(&mut message.is_counted, true) {
            return;
        }
        for (at, group) in self.streams[message.stream].groups.iter_mut().enumerate() {
            if group.is_known_at(message.first_order) && group.is_known_at(message.sent_order) {
                group.is_durable = true;
                if !group.acked.contains(&seq) {
                    self.owed.insert((message.stream, at, seq));
                }
            }
        }
    }

    /// A client was told that it consumes from a group: the group exists.
    pub fn subscribed(&mut self, stream: usize, group: usize) {
        self.order += 1;
        let order = self.order;
        self.streams[stream].groups[group].begin(order);
    }

    /// A consumer that holds a message acked it.
    pub fn acked(&mut self, stream: usize, group: usize, seq: u64) {
        self.streams[stream].groups[group].acked.insert(seq);
        self.owed.remove(&(stream, group, seq));
    }

    /// A consumer acked everything that was in flight to it up to a seq, whether it had come or not.
    pub fn acked_up_to(&mut self, stream: usize, group: usize, highest: u64) {
        let owed: Vec<u64> =
            self.owed.range((stream, group, 0)..=(stream, group, highest)).map(|(_, _, seq)| *seq).collect();
        for seq in owed {
            self.acked(stream, group, seq);
        }
        let StreamState { seqs, groups, .. } = &mut self.streams[stream];
        groups[group].acked.extend(seqs.range(..=highest).map(|(seq, _)| *seq));
    }

    /// The server was stopped. What lived in memory is forgotten, and may be numbered anew; of what is durable, only a
    /// group that nothing durable came after may be forgotten.
    pub fn crashed(&mut self) {
        self.order += 1;
        self.crashes += 1;
        self.last_on.clear();
        for (at, stream) in self.streams.iter_mut().enumerate() {
            let is_kept = stream.facts.durability == Durability::Commit;
            for group in &mut stream.groups {
                if !is_kept || !group.is_durable {
                    group.end(self.order);
                }
            }
            if is_kept {
                continue;
            }
            self.owed.retain(|(owing, ..)| *owing != at);
            for message in self.messages.iter_mut().filter(|message| message.stream == at) {
                (message.seq, message.is_accepted, message.is_counted) = (None, false, false);
            }
            // What was written within an interval may be lost; its seqs are not given out again all the same.
            if stream.facts.durability == Durability::Memory {
                stream.seqs.clear();
                stream.highest.clear();
                stream.groups.iter_mut().for_each(|group| group.acked.clear());
                self.messages
                    .iter_mut()
                    .filter(|message| message.stream == at)
                    .for_each(|message| message.above_seq = 0);
            }
        }
    }

    /// What a client read after the crash from a connection to the server before it: it says nothing about a stream that
    /// lived in memory.
    #[must_use]
    pub fn is_forgotten(&self, stream: usize) -> bool {
        self.streams[stream].facts.durability != Durability::Commit
    }

    /// Nothing is owed any more.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.owed.is_empty() && self.on_its_way.is_empty()
    }

    /// What is still owed, in words: at most `count` of it.
    #[must_use]
    pub fn owed(&self, count: usize) -> Vec<String> {
        let told = self.owed.iter().take(count).map(|(stream, group, seq)| {
            let facts = &self.streams[*stream].facts;
            let number = self.streams[*stream].seqs.get(seq);
            format!("seq {seq} of {} (message {number:?}) is owed to group '{}'", facts.name, facts.groups[*group])
        });
        let on_its_way = self.on_its_way.iter().take(count).map(|((client, stream, _, id), seq)| {
            let name = self.stream_name(*stream);
            format!("seq {seq} ({id}) of {name} was written to client {client}, which has not got it")
        });
        told.chain(on_its_way).collect()
    }

    /// Deliveries that all groups of all streams have had.
    #[must_use]
    pub fn delivered_total(&self) -> u64 {
        self.streams.iter().flat_map(|stream| &stream.groups).map(|group| group.delivered).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn facts(name: &str, durability: Durability, groups: &[&str]) -> StreamFacts {
        let groups = groups.iter().map(|name| (*name).to_owned()).collect();
        StreamFacts { name: name.to_owned(), durability, groups, letters_of: None, is_unordered: false }
    }

    fn oracle(durability: Durability) -> Oracle {
        let mut oracle = Oracle::new(vec![facts("s", durability, &[""])], u64::MAX);
        oracle.subscribed(0, 0);
        oracle
    }

    fn publish(oracle: &mut Oracle) -> usize {
        let number = oracle.compose(0, true, String::new(), 1, &mut Random::new(1));
        oracle.sent(0, number, 0, 1, number as u64);
        number
    }

    fn accept(oracle: &mut Oracle, number: usize, seq: u64) {
        oracle.accepted(number, 0, &json!({"id":format!("m-{number}"),"stream":"s","seq":seq,"durable":true}));
    }

    fn delivery(number: usize, seq: u64) -> Value {
        json!({"deliver":{"id":format!("m-{number}"),"k":number,"pad":"x"},"id":format!("m-{number}"),"seq":seq})
    }

    #[track_caller]
    fn assert_found(oracle: &mut Oracle, what: &str) {
        let found = oracle.take_violations();
        assert!(found.iter().any(|found| found.contains(what)), "{found:?} has no {what}");
    }

    #[test]
    fn an_accepted_message_is_owed_until_it_is_acked() {
        let mut oracle = oracle(Durability::Commit);
        let number = publish(&mut oracle);
        assert!(oracle.is_settled());
        accept(&mut oracle, number, 1);
        assert_eq!((oracle.is_settled(), oracle.owed(9).len()), (false, 1));
        oracle.crashed();
        assert_eq!(oracle.delivered(0, 0, &delivery(number, 1)), Some(1));
        assert!(!oracle.is_settled());
        oracle.acked(0, 0, 1);
        assert!(oracle.is_settled() && oracle.take_violations().is_empty());
        assert_eq!((oracle.accepted_total(), oracle.delivered_total()), (1, 1));
    }

    #[test]
    fn a_group_that_came_later_is_owed_nothing() {
        let mut oracle = Oracle::new(vec![facts("s", Durability::Commit, &["", "late"])], u64::MAX);
        oracle.subscribed(0, 0);
        let number = publish(&mut oracle);
        oracle.subscribed(0, 1);
        accept(&mut oracle, number, 1);
        assert_eq!(oracle.owed(9).len(), 1);
    }

    #[test]
    fn memory_is_forgotten_at_a_crash() {
        let mut oracle = oracle(Durability::Memory);
        for _ in 0..2 {
            let number = oracle.compose(0, true, String::new(), 1, &mut Random::new(1));
            oracle.subscribed(0, 0);
            oracle.sent(0, number, 0, 1, 0);
            oracle.accepted(number, 0, &json!({"id":format!("m-{number}"),"stream":"s","seq":1}));
            assert_eq!(oracle.owed(9).len(), 1);
            oracle.crashed();
            assert!(oracle.is_settled() && oracle.is_forgotten(0));
        }
        assert_eq!(oracle.take_violations(), Vec::<String>::new());
    }

    #[test]
    fn each_misdeed_is_found() {
        let mut reused = oracle(Durability::Commit);
        let (first, second) = (publish(&mut reused), publish(&mut reused));
        accept(&mut reused, first, 1);
        reused.crashed();
        reused.delivered(0, 0, &delivery(second, 1));
        assert_found(&mut reused, "names two messages");

        let mut doubled = oracle(Durability::Commit);
        let number = publish(&mut doubled);
        accept(&mut doubled, number, 1);
        doubled.delivered(0, 0, &delivery(number, 2));
        assert_found(&mut doubled, "stored twice");

        let mut invented = oracle(Durability::Commit);
        invented.delivered(0, 0, &delivery(0, 1));
        assert_found(&mut invented, "never published");
        let number = invented.compose(0, true, String::new(), 1, &mut Random::new(1));
        invented.delivered(0, 0, &delivery(number, 1));
        assert_found(&mut invented, "not what was published");

        let mut changed = oracle(Durability::Commit);
        let number = publish(&mut changed);
        let mut other = delivery(number, 1);
        other["deliver"]["pad"] = "y".into();
        changed.delivered(0, 0, &other);
        assert_found(&mut changed, "not what was published");

        let mut refused = oracle(Durability::Commit);
        let number = publish(&mut refused);
        refused.refused(number);
        refused.delivered(0, 0, &delivery(number, 1));
        assert_found(&mut refused, "was refused");

        let mut promised = oracle(Durability::Commit);
        let number = publish(&mut promised);
        promised.accepted(number, 0, &json!({"id":format!("m-{number}"),"stream":"s","seq":1}));
        assert_found(&mut promised, "promised something else");

        let mut order = oracle(Durability::Commit);
        let first = publish(&mut order);
        accept(&mut order, first, 5);
        let second = publish(&mut order);
        accept(&mut order, second, 4);
        assert_found(&mut order, "one published before it");

        let mut places = oracle(Durability::Commit);
        let (first, second) = (publish(&mut places), publish(&mut places));
        accept(&mut places, first, 2);
        accept(&mut places, second, 1);
        assert_found(&mut places, "changed places");
    }
}
