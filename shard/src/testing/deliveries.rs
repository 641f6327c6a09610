//! What consumers got, held against what was published: messages, dead letters, and gaps.

use super::ledger::Written;
use super::oracle::Oracle;
use conduit_protocol::streams::Durability;
use serde_json::Value;

impl Oracle {
    /// A consumer got a message: its seq, if it is one of ours.
    pub fn delivered(&mut self, stream: usize, group: usize, delivery: &Value) -> Option<u64> {
        self.streams[stream].groups[group].delivered += 1;
        let seq = delivery["seq"].as_u64();
        let Some(origin) = self.streams[stream].facts.letters_of else {
            let number = self.recognise(stream, &delivery["deliver"], delivery)?;
            let seq = seq.filter(|seq| *seq > 0)?;
            self.place(number, seq);
            // Whoever sees a message of a durable stream may rely on it as much as its publisher.
            if self.streams[stream].facts.durability == Durability::Commit {
                self.count(number);
            }
            return Some(seq);
        };
        let letter = &delivery["deliver"];
        let number = self.recognise(origin, &letter["envelope"], delivery)?;
        let (of, place) = (letter["stream"].as_str(), letter["seq"].as_u64().unwrap_or_default());
        if of != Some(self.stream_name(origin)) || place == 0 {
            self.violations.push(format!("a dead letter of another stream: {delivery}"));
            return seq;
        }
        self.place(number, place);
        // It does not say which group gave the message up.
        for at in 0..self.streams[origin].groups.len() {
            self.acked(origin, at, place);
        }
        seq
    }

    /// The network has taken a message for a reader that sends no acks: nobody else will get it, unless the ack is lost.
    pub fn written(&mut self, client: usize, written: Written) {
        let Written { stream, group, seq, id, .. } = written;
        let Some(stream) = self.streams.iter().position(|state| state.facts.name == stream) else { return };
        let groups = &self.streams[stream].facts.groups;
        let Some(group) = groups.iter().position(|name| *name == group) else { return };
        self.acked(stream, group, seq);
        let message = (client, stream, group, id);
        if !self.ahead.remove(&message) {
            self.on_its_way.insert(message, seq);
        }
    }

    /// A reader that sends no acks got a message. It is told the seq only where that is the highest so far.
    pub fn read(&mut self, client: usize, stream: usize, group: usize, seq: Option<u64>, envelope: &Value) {
        let id = envelope["id"].clone();
        let message = (client, stream, group, id.as_str().unwrap_or_default().to_owned());
        let written = self.on_its_way.remove(&message);
        if written.is_none() {
            self.ahead.insert(message);
        }
        let number = envelope["k"].as_u64().filter(|number| *number < self.messages.len() as u64);
        let known = number.and_then(|number| self.messages[number as usize].seq);
        let Some(seq) = seq.or(written).or(known) else {
            self.streams[stream].groups[group].delivered += 1;
            return;
        };
        self.delivered(stream, group, &serde_json::json!({ "seq": seq, "id": id, "deliver": envelope }));
    }

    /// The connection of a client is gone. True when something went with it that was on its way to a reader.
    pub fn reader_gone(&mut self, client: usize) -> bool {
        let before = self.on_its_way.len();
        self.on_its_way.retain(|(whose, ..), _| *whose != client);
        self.ahead.retain(|(whose, ..)| *whose != client);
        self.on_its_way.len() < before
    }

    /// The message that an envelope is, as it was published into a stream.
    fn recognise(&mut self, stream: usize, envelope: &Value, delivery: &Value) -> Option<usize> {
        let name = self.streams[stream].facts.name.clone();
        let number = envelope["k"].as_u64().filter(|number| *number < self.messages.len() as u64);
        let Some(number) = number.map(|number| number as usize).filter(|_| delivery["seq"].as_u64().is_some()) else {
            self.violations.push(format!("delivered from {name}, and never published: {delivery}"));
            return None;
        };
        let message = &self.messages[number];
        let mut envelope = envelope.clone();
        if message.envelope.get("id").is_none()
            && let Some(members) = envelope.as_object_mut()
            && members.remove("id").is_none_or(|id| id != delivery["id"])
        {
            self.violations.push(format!("delivered from {name} without the id that the server made: {delivery}"));
        }
        let message = &self.messages[number];
        if message.stream != stream || message.sends == 0 || envelope != message.envelope {
            self.violations.push(format!("delivered from {name}, and not what was published: {delivery}"));
        }
        if message.envelope.get("id").is_some_and(|id| delivery["id"] != *id) {
            self.violations.push(format!("delivered from {name} under another id: {delivery}"));
        }
        Some(number)
    }

    /// A consumer was told that messages are lost. Of those that somebody was promised, none may be.
    pub fn gap(&mut self, stream: usize, group: usize, gap: &Value) {
        let name = &self.streams[stream].facts.name;
        let (Some(from), Some(to)) = (gap["from"].as_u64(), gap["to"].as_u64()) else {
            self.violations.push(format!("a gap of {name} without ends: {gap}"));
            return;
        };
        if self.are_reads_failing {
            // What the disk does not give is told, and the group goes on without it, for good.
            for seq in from..=to.min(from + (1 << 16)) {
                self.acked(stream, group, seq);
            }
        } else if let Some((_, _, seq)) = self.owed.range((stream, group, from)..=(stream, group, to)).next() {
            self.violations.push(format!("seq {seq} of {name} was promised, and is lost: {gap}"));
        }
    }

    /// See [`Self::reads_may_fail`].
    #[must_use]
    pub const fn may_reads_fail(&self) -> bool {
        self.are_reads_failing
    }

    /// Reads of some disk may fail from now on: what they would have found is told as lost until a restart finds it.
    pub const fn reads_may_fail(&mut self) {
        self.are_reads_failing = true;
    }
}
