//! Publishes over HTTP/1.1: one message or one batch per request, one or more requests in flight.

use crate::engine::role::{OUTBOX_BYTES, Role};
use crate::engine::tickets::{Ticket, Tickets};
use crate::engine::world::World;
use crate::layout::Layout;
use crate::message::{MessageId, MessageWriter, SentAt};
use crate::plan::{ConsumeWire, Plan, PublishWire};
use crate::verify::Published;
use crate::wire::Codec;
use crate::wire::WireFault;
use crate::wire::answer::{clip, is_backpressure, promises_durability};
use crate::wire::http::{Response, content_type, enqueue_head, split_response};
use crate::wire::template::Template;
use serde_json::Value;
use std::collections::VecDeque;

/// One producer.
pub(crate) struct HttpProducer {
    producer: u32,
    run: u16,
    layout: Layout,
    host: String,
    /// One per stream it publishes to: whole requests, or lines of a batch.
    templates: Vec<Template>,
    /// The header that shows the token, or nothing.
    authorization: String,
    writer: MessageWriter,
    tickets: Tickets,
    pipeline: usize,
    /// Messages per request; 1 without batching.
    batch: u64,
    is_batch: bool,
    /// Messages that may be published and not delivered, when there are consumers.
    undelivered_max: Option<u64>,
    unanswered: VecDeque<Vec<Ticket>>,
    /// Emptied ticket lists, to be filled again.
    spare: Vec<Vec<Ticket>>,
    lines: Vec<u8>,
    refused: Vec<u64>,
    /// The first answer is read in full, as a check that the peer is what it should be.
    has_checked: bool,
    /// Every answer must promise that its message is on the disk.
    durable: bool,
}

impl HttpProducer {
    pub(crate) fn new(plan: &Plan, producer: u32, tickets: Tickets) -> Self {
        let layout = plan.layout();
        let is_batch = plan.publish == PublishWire::HttpBatch;
        let (host, authorization) = (plan.http.host.clone(), plan.http.authorization());
        let template = |turn| {
            let stream = plan.stream_name(layout.stream_at(producer, turn));
            let body = Template::enqueue_body(plan.codec, &stream, plan.payload_bytes, is_batch);
            if is_batch {
                return body;
            }
            body.behind(&enqueue_head(&host, &authorization, content_type(plan.codec, false), body.bytes()))
        };
        let templates = (0..layout.streams_of(producer)).map(template).collect();
        let has_window = plan.consume != ConsumeWire::None && plan.rate.is_none();
        Self {
            producer,
            run: plan.run,
            layout,
            templates,
            host,
            authorization,
            writer: MessageWriter::default(),
            tickets,
            pipeline: plan.pipeline as usize,
            batch: if is_batch { u64::from(plan.batch) } else { 1 },
            is_batch,
            undelivered_max: has_window.then(|| u64::from(plan.inflight)),
            unanswered: VecDeque::new(),
            spare: Vec::new(),
            lines: Vec::new(),
            refused: Vec::new(),
            has_checked: false,
            durable: plan.durable,
        }
    }

    fn room(&self, world: &World) -> u64 {
        let Some(max) = self.undelivered_max else { return u64::MAX };
        let excused = self.refused.len() as u64;
        max.saturating_sub(self.tickets.drawn().saturating_sub(world.shared.delivered(self.producer) + excused))
    }

    /// The tickets of the next request: refused ones first, else up to a batch of fresh ones. Empty when none is ready.
    fn draw(&mut self, now_ns: u64, world: &mut World) -> Vec<Ticket> {
        let mut tickets = self.spare.pop().unwrap_or_default();
        while tickets.len() < self.batch as usize
            && let Some(ticket) = self.tickets.draw_retry(now_ns)
        {
            world.tally.counts.retried += 1;
            tickets.push(ticket);
        }
        if tickets.is_empty() {
            let ready = self.tickets.ready(now_ns, self.room(world)).min(self.batch);
            tickets.extend((0..ready).map(|_| self.tickets.draw(now_ns)));
            world.tally.counts.published += ready;
            if let Some(first) = tickets.first() {
                world.note_send_lag(first.intended_ns, now_ns);
            }
        }
        tickets
    }

    fn append_request(&mut self, tickets: &[Ticket], out: &mut Vec<u8>) {
        if self.is_batch {
            let mut lines = std::mem::take(&mut self.lines);
            lines.clear();
            for ticket in tickets {
                self.append_message(*ticket, &mut lines);
            }
            out.extend_from_slice(&enqueue_head(&self.host, &self.authorization, "application/x-ndjson", lines.len()));
            out.extend_from_slice(&lines);
            self.lines = lines;
        } else if let [ticket] = tickets {
            self.append_message(*ticket, out);
        }
    }

    fn append_message(&mut self, ticket: Ticket, out: &mut Vec<u8>) {
        let (turn, number) = self.layout.place_of_ticket(self.producer, ticket.number);
        let stream = self.layout.stream_at(self.producer, turn);
        let id = MessageId { run: self.run, producer: self.producer, stream, number };
        let sent = SentAt { intended_ns: ticket.intended_ns, retried: ticket.retried };
        let (id, sent) = self.writer.write(id, sent);
        self.templates[turn as usize].append(out, id, sent, ticket.number, [0; 4]);
    }

    fn take_response(&mut self, response: &Response<'_>, now_ns: u64, world: &mut World) -> Result<(), WireFault> {
        let Some(mut tickets) = self.unanswered.pop_front() else {
            return Err(WireFault("a response that nothing asked for".into()));
        };
        if response.status == 200 {
            self.check_first(&tickets, response.body, world);
            if self.durable && !self.all_promised(tickets.len(), response.body) {
                world.note_error(format!(
                    "an answer without its promise: {}",
                    clip(&String::from_utf8_lossy(response.body))
                ));
            }
            if self.is_batch {
                self.take_batch_answer(&tickets, response.body, now_ns, world);
            } else {
                for ticket in &tickets {
                    world.note_accepted(ticket.intended_ns, now_ns);
                }
            }
        } else {
            let body = String::from_utf8_lossy(response.body);
            let what = format!("{} {}", response.status, clip(&body));
            for ticket in &tickets {
                self.take_refusal(*ticket, response.status == 429, &what, now_ns, world);
            }
        }
        tickets.clear();
        self.spare.push(tickets);
        if response.is_last { Err(WireFault("the server said Connection: close".into())) } else { Ok(()) }
    }

    /// A peer that answers 200 to everything (such as nginx) has an empty body; a Conduit names the message.
    fn check_first(&mut self, tickets: &[Ticket], body: &[u8], world: &mut World) {
        if self.has_checked || self.is_batch || body.first() != Some(&b'{') {
            return;
        }
        self.has_checked = true;
        let Some(ticket) = tickets.first() else { return };
        let (turn, number) = self.layout.place_of_ticket(self.producer, ticket.number);
        let stream = self.layout.stream_at(self.producer, turn);
        let id = MessageId { run: self.run, producer: self.producer, stream, number }.encode();
        let answer: Option<Value> = serde_json::from_slice(body).ok();
        let named = answer.as_ref().and_then(|answer| answer.get("id")).and_then(Value::as_str);
        if named.map(str::as_bytes) != Some(&id) {
            world.note_error(format!(
                "an answer that does not name its message: {}",
                clip(&String::from_utf8_lossy(body))
            ));
        }
    }

    /// Every result of an answer says that its message is on the disk. Answers come in JSON.
    fn all_promised(&self, messages: usize, body: &[u8]) -> bool {
        if !self.is_batch {
            return promises_durability(Codec::Json, body);
        }
        let refused = memchr::memmem::find_iter(body, b"\"error\":").count();
        memchr::memmem::find_iter(body, b"\"durable\":true").count() + refused >= messages
    }

    fn take_batch_answer(&mut self, tickets: &[Ticket], body: &[u8], now_ns: u64, world: &mut World) {
        let all = format!("{{\"accepted\":{},\"failed\":0", tickets.len());
        if body.starts_with(all.as_bytes()) {
            for ticket in tickets {
                world.note_accepted(ticket.intended_ns, now_ns);
            }
            return;
        }
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        let results = answer.get("results").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        for (at, ticket) in tickets.iter().enumerate() {
            match results.get(at).map(|result| result.get("error")) {
                Some(None) => world.note_accepted(ticket.intended_ns, now_ns),
                Some(Some(error)) => {
                    let code = error.get("code").or(Some(error)).and_then(Value::as_str).unwrap_or_default();
                    self.take_refusal(*ticket, is_backpressure(code), &error.to_string(), now_ns, world);
                }
                None => {
                    let what = format!("a batch answer without a result for line {at}: {}", clip(&answer.to_string()));
                    self.take_refusal(*ticket, false, &what, now_ns, world);
                }
            }
        }
    }

    fn take_refusal(&mut self, ticket: Ticket, is_backpressure: bool, what: &str, now_ns: u64, world: &mut World) {
        if is_backpressure {
            let due_ns = world.note_backpressure(now_ns);
            self.tickets.put_back(ticket, due_ns);
        } else {
            self.refused.push(ticket.number);
            world.tally.counts.excused += 1;
            world.note_error(format!("a publish was refused: {what}"));
        }
    }
}

impl Role for HttpProducer {
    fn receive(
        &mut self,
        bytes: &[u8],
        now_ns: u64,
        _out: &mut Vec<u8>,
        world: &mut World,
    ) -> Result<usize, WireFault> {
        let mut used = 0;
        while let Some(response) = split_response(&bytes[used..])? {
            used += response.bytes;
            if response.status >= 200 {
                self.take_response(&response, now_ns, world)?;
            }
        }
        Ok(used)
    }

    fn fill(&mut self, now_ns: u64, out: &mut Vec<u8>, world: &mut World) {
        while self.unanswered.len() < self.pipeline && out.len() < OUTBOX_BYTES {
            let tickets = self.draw(now_ns, world);
            if tickets.is_empty() {
                self.spare.push(tickets);
                return;
            }
            self.append_request(&tickets, out);
            self.unanswered.push_back(tickets);
        }
    }

    fn stop(&mut self, _out: &mut Vec<u8>, world: &mut World) {
        world.tally.counts.excused += self.tickets.unsent_retries().count() as u64;
    }

    fn unanswered(&self) -> u64 {
        self.unanswered.iter().map(|tickets| tickets.len() as u64).sum()
    }

    fn published(&self) -> Option<(u32, Published)> {
        let unanswered = self.unanswered.iter().flatten().map(|ticket| ticket.number);
        let mut uncertain: Vec<u64> =
            self.refused.iter().copied().chain(unanswered).chain(self.tickets.unsent_retries()).collect();
        uncertain.sort_unstable();
        Some((self.producer, Published { tickets: self.tickets.drawn(), uncertain, refused_unnamed: 0 }))
    }
}
