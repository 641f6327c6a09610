//! A client that publishes, and does not rest until each of its messages has been answered.

use super::client::Around;
use super::peer::{Heard, Peer};
use super::plan::{ProducerPlan, Speech};
use super::sometimes;
use conduit_protocol::time::NS_PER_MS;
use serde_json::Value;
use std::collections::VecDeque;

/// How long an answer may take before the connection is given up.
const PATIENCE_NS: u64 = 4_000 * NS_PER_MS;
/// How long it waits before it connects or publishes again, at most.
const BACK_OFF_NS_MAX: u64 = 200 * NS_PER_MS;

/// A producer at work.
#[derive(Debug)]
pub struct Producer {
    number: usize,
    plan: ProducerPlan,
    peer: Peer,
    /// Messages begun.
    begun: u64,
    /// Messages that wait for another try.
    again: VecDeque<usize>,
    /// Messages that wait for their answer, oldest first, and since when.
    unanswered: VecDeque<(usize, u64)>,
    /// What may be published now.
    is_ready: bool,
    /// Not before.
    next_ns: u64,
    /// Messages sent on any connection.
    places: u64,
    /// The server that the connection leads to.
    life: u64,
}

impl Producer {
    /// A producer that has not begun.
    #[must_use]
    pub const fn new(number: usize, plan: ProducerPlan) -> Self {
        let peer = Peer::new(plan.encoding);
        Self {
            number,
            plan,
            peer,
            begun: 0,
            again: VecDeque::new(),
            unanswered: VecDeque::new(),
            is_ready: false,
            next_ns: 0,
            places: 0,
            life: 0,
        }
    }

    /// Every message has been answered, or cannot be any more.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.begun == self.plan.messages && self.again.is_empty() && self.unanswered.is_empty()
    }

    /// It begins no more messages.
    pub const fn stop(&mut self) {
        self.plan.messages = self.begun;
    }

    /// Its connection.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        &self.peer
    }

    /// Its connection, to be broken.
    pub const fn peer_mut(&mut self) -> &mut Peer {
        &mut self.peer
    }

    /// When it wants to act, besides what its connection brings.
    #[must_use]
    pub fn next_ns(&self) -> Option<u64> {
        let patience_ns = self.unanswered.front().map(|(_, since_ns)| since_ns + PATIENCE_NS);
        let wants_more = self.begun < self.plan.messages || !self.again.is_empty();
        let may_write = self.is_ready && self.peer.unwritten() == 0;
        let has_room = self.unanswered.len() < self.plan.window && (may_write || self.peer.wire().is_none());
        let next_ns = (wants_more && has_room).then_some(self.next_ns);
        match (patience_ns, next_ns) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Reads, decides, writes.
    pub fn act(&mut self, around: &mut Around<'_>) {
        let now_ns = around.now_ns;
        for heard in self.peer.read(now_ns, usize::MAX, around.network, around.random) {
            self.hear(heard, around);
        }
        if self.unanswered.front().is_some_and(|(_, since_ns)| since_ns + PATIENCE_NS <= now_ns) {
            self.peer.cut(now_ns, around.network);
            self.lose_connection(around);
        }
        if now_ns >= self.next_ns && !self.is_done() {
            if self.peer.wire().is_none() {
                self.connect(around);
            } else if self.is_ready && self.peer.unwritten() == 0 {
                self.publish_some(around);
            }
        }
        self.peer.write(now_ns, around.network);
    }

    fn connect(&mut self, around: &mut Around<'_>) {
        self.next_ns = around.now_ns + around.random.magnitude(1, BACK_OFF_NS_MAX);
        let Some(shard) = around.choose_shard() else { return };
        self.life = around.life;
        self.peer.connect(around.client, shard, around.network);
        self.is_ready = self.plan.speech == Speech::Http;
        if !self.is_ready {
            self.peer.upgrade("/v1/publish");
        }
    }

    fn publish_some(&mut self, around: &mut Around<'_>) {
        // A burst now and then, so that batches have more than one message.
        for _ in 0..around.random.magnitude(1, 16) {
            if self.unanswered.len() >= self.plan.window {
                break;
            }
            let Some(number) = self.next_message(around) else { break };
            self.publish(number, around);
        }
        self.next_ns = around.now_ns + around.random.magnitude(1, self.plan.pace_ns_max);
    }

    fn next_message(&mut self, around: &mut Around<'_>) -> Option<usize> {
        while let Some(number) = self.again.pop_front() {
            if around.oracle.is_repeatable(number, around.now_ns) {
                return Some(number);
            }
        }
        if self.begun == self.plan.messages {
            return None;
        }
        let stream = self.plan.streams[self.begun as usize % self.plan.streams.len()];
        self.begun += 1;
        let payload_bytes = around.random.magnitude(1, self.plan.payload_bytes_max);
        let is_repeatable = around.random.chance(self.plan.dedup_per_mille);
        let mut options = String::new();
        if around.random.chance(self.plan.urgent_per_mille) {
            options += &format!(r#","priority":{}"#, around.random.between(1, 3));
        }
        if around.random.chance(self.plan.delayed_per_mille) {
            options += &format!(r#","delayMs":{}"#, around.random.magnitude(1, 2_000));
        }
        Some(around.oracle.compose(stream, is_repeatable, options, payload_bytes, around.random))
    }

    fn publish(&mut self, number: usize, around: &mut Around<'_>) {
        let Some(wire) = self.peer.wire() else { return };
        self.places += 1;
        around.oracle.sent(around.now_ns, number, self.number, wire.0, self.places);
        let publish = around.oracle.publish(number);
        match self.plan.speech {
            Speech::Http => self.peer.request("POST", "/v1/enqueue", "", Some(&publish)),
            Speech::WebSocket => {
                let frame = format!(r#"{{"enqueue":{publish},"ref":{number}}}"#);
                self.peer.message(&frame, around.random);
            }
        }
        self.unanswered.push_back((number, around.now_ns));
    }

    fn hear(&mut self, heard: Heard, around: &mut Around<'_>) {
        match heard {
            Heard::Upgraded => self.is_ready = true,
            Heard::Response(status, body) => {
                let Some((number, _)) = self.unanswered.pop_front() else {
                    // An idle connection is closed with a word to nobody.
                    return;
                };
                if status == 200 {
                    self.accepted(number, &body, around);
                } else {
                    let code = body["code"].as_str().unwrap_or_default().to_owned();
                    self.refused(number, &code, around);
                }
            }
            Heard::Message(message) => {
                let number = message["ref"].as_u64().map(|number| number as usize);
                let at = self.unanswered.iter().position(|(waiting, _)| Some(*waiting) == number);
                let Some(at) = at else {
                    // Last words before a close have no `ref`.
                    return;
                };
                let Some((number, _)) = self.unanswered.remove(at) else { return };
                if let Some(answer) = message.get("ok") {
                    self.accepted(number, answer, around);
                } else {
                    let code = message["error"]["code"].as_str().unwrap_or_default().to_owned();
                    self.refused(number, &code, around);
                }
            }
            Heard::Close(_) => self.peer.leave(around.now_ns, around.network, around.random),
            Heard::Event(..) => around.oracle.violation("a producer was told of an event".to_owned()),
            Heard::Nonsense(what) => around.oracle.violation(format!("a producer was told {what}")),
            Heard::End => {}
        }
        if self.peer.wire().is_none() {
            self.lose_connection(around);
        }
    }

    fn accepted(&mut self, number: usize, answer: &Value, around: &mut Around<'_>) {
        // What a server that is gone said about what it had in memory is of no use any more.
        if self.life == around.life || !around.oracle.is_volatile(number) {
            let is_older = around.oracle.accepted(number, self.number, answer);
            sometimes!(around.marks, "a repeat is recognised after a restart", is_older);
        }
    }

    fn refused(&mut self, number: usize, code: &str, around: &mut Around<'_>) {
        match code {
            "Backpressure"
            | "storage_full"
            | "TenantRateLimitExceeded"
            | "RateLimitExceeded"
            | "TooManyConnections"
            | "TooManyStreams"
            | "ServerDraining" => {
                sometimes!(around.marks, "a publish is refused for want of room", code == "Backpressure");
                sometimes!(around.marks, "a publish is refused, for the disk is full", code == "storage_full");
                around.oracle.refused(number);
                self.again.push_back(number);
                self.next_ns = around.now_ns + around.random.between(NS_PER_MS, BACK_OFF_NS_MAX);
            }
            // The log failed: the message may be found after a restart all the same.
            "storage_failed" => {
                sometimes!(around.marks, "a publish is refused, for the log has failed", true);
                self.give_up(number, around);
                self.next_ns = around.now_ns + around.random.between(NS_PER_MS, BACK_OFF_NS_MAX);
            }
            _ => around.oracle.violation(format!("message {number} was refused: {code}")),
        }
    }

    /// Nobody knows whether it was stored.
    fn give_up(&mut self, number: usize, around: &mut Around<'_>) {
        if around.oracle.is_repeatable(number, around.now_ns) {
            sometimes!(around.marks, "a publisher repeats what it got no answer for", true);
            self.again.push_back(number);
        }
    }

    fn lose_connection(&mut self, around: &mut Around<'_>) {
        self.is_ready = false;
        for (number, _) in std::mem::take(&mut self.unanswered) {
            self.give_up(number, around);
        }
        self.next_ns = self.next_ns.max(around.now_ns + around.random.magnitude(1, BACK_OFF_NS_MAX));
    }
}
