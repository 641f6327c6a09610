//! A client that consumes: it grants, takes, acks, gives back, forgets, leaves, and comes again.

use super::client::Around;
use super::peer::{Heard, Peer};
use super::plan::ConsumerPlan;
use super::sometimes;
use conduit_protocol::Encoding;
use conduit_protocol::time::NS_PER_MS;
use serde_json::Value;
use std::collections::BTreeMap;

/// How long it waits before it connects again, at most.
const BACK_OFF_NS_MAX: u64 = 300 * NS_PER_MS;

/// A consumer at work.
#[derive(Debug)]
pub struct Consumer {
    plan: ConsumerPlan,
    peer: Peer,
    /// Deliveries that it will settle, and when.
    held: BTreeMap<u64, Held>,
    /// Credit granted and not yet spent, as far as it knows.
    credit: u64,
    is_ready: bool,
    /// Not before: the next connection.
    next_ns: u64,
    /// It reads nothing before.
    read_ns: u64,
    /// The server that the connection leads to.
    life: u64,
}

#[derive(Debug)]
struct Held {
    id: Value,
    due_ns: u64,
}

impl Consumer {
    /// A consumer that has not connected.
    #[must_use]
    pub fn new(plan: ConsumerPlan) -> Self {
        let peer = Peer::new(if plan.is_reader { Encoding::Json } else { plan.encoding });
        let next_ns = plan.begins_ns;
        Self { plan, peer, held: BTreeMap::new(), credit: 0, is_ready: false, next_ns, read_ns: 0, life: 0 }
    }

    /// From now on it acks everything soon, and neither forgets nor leaves.
    pub fn become_diligent(&mut self) {
        let plan = &mut self.plan;
        (plan.nack_per_mille, plan.ignore_per_mille, plan.leave_per_mille, plan.is_lazy) = (0, 0, 0, false);
        plan.work_ns_max = NS_PER_MS;
        // What it had put aside comes first.
        for held in self.held.values_mut() {
            held.due_ns = held.due_ns.min(self.next_ns);
        }
        self.read_ns = 0;
    }

    /// It consumes.
    #[must_use]
    pub const fn is_ready(&self) -> bool {
        self.is_ready
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

    /// It reads nothing before this.
    #[must_use]
    pub const fn read_ns(&self) -> u64 {
        self.read_ns
    }

    /// When it wants to act, besides what its connection brings.
    #[must_use]
    pub fn next_ns(&self) -> Option<u64> {
        if self.peer.wire().is_none() {
            return Some(self.next_ns);
        }
        if !self.is_ready || self.peer.unwritten() > 0 {
            return None;
        }
        self.held.values().map(|held| held.due_ns).min()
    }

    /// Reads, decides, writes.
    pub fn act(&mut self, around: &mut Around<'_>) {
        let now_ns = around.now_ns;
        if now_ns >= self.read_ns {
            for heard in self.peer.read(now_ns, usize::MAX, around.network, around.random) {
                self.hear(heard, around);
            }
        }
        if self.peer.wire().is_none() {
            if now_ns >= self.next_ns {
                self.connect(around);
            }
        } else if self.is_ready && self.peer.unwritten() == 0 {
            self.settle_due(around);
            self.grant(around);
        }
        self.peer.write(now_ns, around.network);
    }

    fn connect(&mut self, around: &mut Around<'_>) {
        self.next_ns = around.now_ns + around.random.magnitude(NS_PER_MS, BACK_OFF_NS_MAX);
        let Some(shard) = around.choose_shard() else { return };
        let plan = &self.plan;
        self.life = around.life;
        self.peer.connect(around.client, shard, around.network);
        self.credit = around.random.between(0, plan.credit_max);
        let name = around.oracle.stream_name(plan.stream).replace('/', "%2F");
        if plan.is_reader {
            let group = around.oracle.group_name(plan.stream, plan.group);
            let inflight = plan.inflight_max.map_or_else(String::new, |max| format!("&maxInflight={max}"));
            self.peer.request("GET", &format!("/v1/live?stream={name}&group={group}{inflight}"), "", None);
            return;
        }
        let refill = if plan.refill { "&refill=ack" } else { "" };
        let inflight = plan.inflight_max.map_or_else(String::new, |max| format!("&maxInflight={max}"));
        let group = match around.oracle.group_name(plan.stream, plan.group) {
            "" => String::new(),
            name => format!("&group={name}"),
        };
        self.peer.upgrade(&format!(
            "/v1/subscribe?stream={name}&credit={}&ackWaitMs={}&hello=1{refill}{inflight}{group}",
            self.credit, plan.ack_wait_ms
        ));
    }

    fn hear(&mut self, heard: Heard, around: &mut Around<'_>) {
        match heard {
            // A WebSocket is told that it consumes, or why not; a reader would have been told before.
            Heard::Upgraded => self.is_ready = self.plan.is_reader,
            Heard::Message(message) if message.get("subscribed").is_some() => self.is_ready = true,
            Heard::Event(seq, envelope) => self.read(seq, &envelope, around),
            Heard::Message(message) if message.get("deliver").is_some() => self.take(&message, around),
            Heard::Message(message) if message.get("error").is_some() => {}
            Heard::Message(message) if message.get("gap").is_some() => {
                sometimes!(around.marks, "a consumer is told of a gap", true);
                if self.life == around.life || !around.oracle.is_forgotten(self.plan.stream) {
                    around.oracle.gap(self.plan.stream, self.plan.group, &message["gap"]);
                }
            }
            Heard::Message(message) => around.oracle.violation(format!("a consumer was told {message}")),
            Heard::Response(_, body) if self.plan.is_reader && is_refusal_of_reader(&body) => {
                self.peer.leave(around.now_ns, around.network, around.random);
            }
            Heard::Response(status, body) => {
                around.oracle.violation(format!("a handshake was answered {status} {body}"));
            }
            Heard::Close(_) => self.peer.leave(around.now_ns, around.network, around.random),
            Heard::Nonsense(what) => around.oracle.violation(format!("a consumer was told {what}")),
            Heard::End => {}
        }
        if self.is_ready && self.life == around.life {
            around.oracle.subscribed(self.plan.stream, self.plan.group);
        }
        if self.peer.wire().is_none() {
            self.lose_connection(around);
        }
    }

    /// A reader got a message, and was done with it before.
    fn read(&mut self, seq: Option<u64>, envelope: &Value, around: &mut Around<'_>) {
        let (stream, group) = (self.plan.stream, self.plan.group);
        if self.life != around.life && around.oracle.is_forgotten(stream) {
            return;
        }
        sometimes!(around.marks, "a reader of events gets a message", true);
        around.oracle.read(around.client, stream, group, seq, envelope);
        self.go_astray(around);
    }

    fn take(&mut self, delivery: &Value, around: &mut Around<'_>) {
        let (stream, group) = (self.plan.stream, self.plan.group);
        if self.life != around.life && around.oracle.is_forgotten(stream) {
            return;
        }
        self.credit = self.credit.saturating_sub(1);
        sometimes!(around.marks, "a message is delivered again", delivery["attempt"].as_u64() > Some(1));
        let Some(seq) = around.oracle.delivered(stream, group, delivery) else { return };
        if !around.random.chance(self.plan.ignore_per_mille) {
            let due_ns = around.now_ns + around.random.magnitude(1, self.plan.work_ns_max);
            self.held.insert(seq, Held { id: delivery["id"].clone(), due_ns });
        }
        self.go_astray(around);
    }

    /// It leaves in between, or reads nothing for a while.
    fn go_astray(&mut self, around: &mut Around<'_>) {
        if around.random.chance(self.plan.leave_per_mille) {
            if around.random.chance(500) {
                self.peer.cut(around.now_ns, around.network);
            } else {
                self.peer.leave(around.now_ns, around.network, around.random);
            }
        }
        if self.plan.is_lazy && around.random.chance(100) {
            self.read_ns = around.now_ns + around.random.magnitude(NS_PER_MS, 2_000 * NS_PER_MS);
        }
    }

    /// Acks, or gives back, what it is done with.
    fn settle_due(&mut self, around: &mut Around<'_>) {
        let due: Vec<u64> =
            self.held.iter().filter(|(_, held)| held.due_ns <= around.now_ns).map(|(seq, _)| *seq).collect();
        if due.is_empty() {
            return;
        }
        if around.random.chance(self.plan.nack_per_mille) {
            self.held.retain(|seq, _| !due.contains(seq));
            let delay_ms = if around.random.chance(500) { 0 } else { around.random.magnitude(1, 500) };
            let frame = format!(r#"{{"nack":{due:?},"delayMs":{delay_ms}}}"#);
            self.peer.message(&frame, around.random);
            return;
        }
        let highest = due.last().copied().unwrap_or_default();
        let is_prefix = self.held.range(..=highest).count() == due.len();
        if is_prefix && self.plan.acks_up_to {
            self.peer.message(&format!(r#"{{"ackUpTo":{highest}}}"#), around.random);
            around.oracle.acked_up_to(self.plan.stream, self.plan.group, highest);
        } else if around.random.chance(300) {
            let ids: Vec<Value> = due.iter().filter_map(|seq| self.held.get(seq)).map(|held| held.id.clone()).collect();
            self.peer.message(&format!(r#"{{"ack":{}}}"#, Value::from(ids)), around.random);
        } else {
            self.peer.message(&format!(r#"{{"ack":{due:?}}}"#), around.random);
        }
        for seq in due {
            self.held.remove(&seq);
            around.oracle.acked(self.plan.stream, self.plan.group, seq);
        }
    }

    fn grant(&mut self, around: &mut Around<'_>) {
        if self.plan.is_reader {
            return;
        }
        // With refill the server tops up by itself, as long as there is something to refill from.
        let is_low = self.credit <= self.plan.credit_max / 2;
        if is_low && (!self.plan.refill || (self.held.is_empty() && self.credit == 0)) {
            let more = around.random.between(1, self.plan.credit_max - self.credit);
            self.credit += more;
            self.peer.message(&format!(r#"{{"credit":{more}}}"#), around.random);
        }
    }

    fn lose_connection(&mut self, around: &mut Around<'_>) {
        self.is_ready = false;
        self.held.clear();
        let is_lost = around.oracle.reader_gone(around.client);
        sometimes!(around.marks, "a message is lost with the reader that it was written to", is_lost);
        self.next_ns = around.now_ns + around.random.magnitude(NS_PER_MS, BACK_OFF_NS_MAX);
    }
}

/// What a reader may be told in place of events.
fn is_refusal_of_reader(body: &Value) -> bool {
    let code = body["code"].as_str().unwrap_or_default();
    let limits = ["TenantConnectionLimitExceeded", "TenantRateLimitExceeded", "RateLimitExceeded"];
    let others = ["ServerDraining", "TooManyConnections", "TooManyStreams", "TooManyGroups"];
    limits.contains(&code) || others.contains(&code)
}
