//! Publishes over a WebSocket. Without answers its window closes over deliveries, with `confirm` over answers.

use crate::engine::role::{OUTBOX_BYTES, Role};
use crate::engine::tickets::{Ticket, Tickets};
use crate::engine::world::World;
use crate::layout::Layout;
use crate::message::{MessageId, MessageWriter, SentAt};
use crate::plan::{ConsumeWire, Plan};
use crate::verify::Published;
use crate::wire::answer::{RefusedPublish, ServerMessage, accepted_ticket, clip, interpret, promises_durability};
use crate::wire::frame::{FrameReader, Incoming, append};
use crate::wire::template::Template;
use crate::wire::{Codec, WireFault};
use std::collections::HashMap;
use tungstenite::protocol::frame::coding::{Control, OpCode};

/// What the last ping carries: when its pong is back, the server has read everything before it.
const LAST_PING: &[u8] = b"done";

/// One producer.
pub(crate) struct WsProducer {
    producer: u32,
    run: u16,
    layout: Layout,
    codec: Codec,
    payload_bytes: usize,
    /// One per stream it publishes to.
    templates: Vec<Template>,
    writer: MessageWriter,
    tickets: Tickets,
    window: Window,
    inflight: u64,
    /// With `confirm`: what waits for its answer.
    unanswered: HashMap<u64, Ticket>,
    reader: FrameReader,
    refused_unnamed: u64,
    /// Refused for good.
    refused: Vec<u64>,
    awaits_pong: bool,
    /// Every answer must promise that its message is on the disk.
    durable: bool,
}

/// What the closed loop closes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Window {
    /// Answers to publishes.
    Answers,
    /// Deliveries to consumers.
    Deliveries,
    /// Nothing: as fast as the socket takes it.
    Socket,
}

impl WsProducer {
    pub(crate) fn new(plan: &Plan, producer: u32, tickets: Tickets) -> Self {
        let layout = plan.layout();
        let template = |turn| {
            let stream = plan.stream_name(layout.stream_at(producer, turn));
            Template::enqueue_frame(plan.codec, &stream, plan.payload_bytes, plan.confirm)
        };
        let window = match (plan.confirm, plan.consume, plan.rate) {
            (true, ..) => Window::Answers,
            (false, _, Some(_)) | (false, ConsumeWire::None, None) => Window::Socket,
            (false, _, None) => Window::Deliveries,
        };
        Self {
            producer,
            run: plan.run,
            layout,
            codec: plan.codec,
            payload_bytes: plan.payload_bytes,
            templates: (0..layout.streams_of(producer)).map(template).collect(),
            writer: MessageWriter::default(),
            tickets,
            window,
            // In the open loop nothing may hold a message back: the window only bounds the memory for answers.
            inflight: if plan.rate.is_some() { u64::from(u32::MAX) } else { u64::from(plan.inflight) },
            unanswered: HashMap::new(),
            reader: FrameReader::default(),
            refused_unnamed: 0,
            refused: Vec::new(),
            awaits_pong: false,
            durable: plan.durable,
        }
    }

    fn room(&self, world: &World) -> u64 {
        let used = match self.window {
            Window::Answers => self.unanswered.len() as u64,
            Window::Deliveries => {
                self.tickets.drawn().saturating_sub(world.shared.delivered(self.producer) + self.refused_unnamed)
            }
            Window::Socket => 0,
        };
        self.inflight.saturating_sub(used)
    }

    fn append(&mut self, ticket: Ticket, out: &mut Vec<u8>, world: &mut World) {
        let (turn, number) = self.layout.place_of_ticket(self.producer, ticket.number);
        let stream = self.layout.stream_at(self.producer, turn);
        let id = MessageId { run: self.run, producer: self.producer, stream, number };
        let sent = SentAt { intended_ns: ticket.intended_ns, retried: ticket.retried };
        let (id, sent_at) = self.writer.write(id, sent);
        self.templates[turn as usize].append(out, id, sent_at, ticket.number, world.keys.draw());
        if self.window == Window::Answers {
            self.unanswered.insert(ticket.number, ticket);
        }
    }

    fn take(
        &mut self,
        incoming: Incoming<'_>,
        now_ns: u64,
        out: &mut Vec<u8>,
        world: &mut World,
    ) -> Result<(), WireFault> {
        match incoming {
            Incoming::Message(message) => self.take_message(message, now_ns, world),
            Incoming::Ping(payload) => {
                append(out, OpCode::Control(Control::Pong), payload, world.keys.draw());
                Ok(())
            }
            Incoming::Pong => {
                self.awaits_pong = false;
                Ok(())
            }
            Incoming::Fragment => Ok(()),
            Incoming::Close(code, reason) => {
                Err(WireFault(format!("the server closed a producer's connection: {code} {reason}")))
            }
        }
    }

    fn take_message(&mut self, message: &[u8], now_ns: u64, world: &mut World) -> Result<(), WireFault> {
        let said = match accepted_ticket(self.codec, message) {
            Some(ticket) => ServerMessage::Accepted(ticket),
            None => interpret(self.codec, message, self.payload_bytes)?,
        };
        match said {
            ServerMessage::Accepted(number) => {
                if self.durable && !promises_durability(self.codec, message) {
                    world.note_error(format!(
                        "an answer without its promise: {}",
                        clip(&String::from_utf8_lossy(message))
                    ));
                }
                self.take_acceptance(number, now_ns, world);
            }
            ServerMessage::Refused(refused) => self.take_refusal(&refused, now_ns, world),
            ServerMessage::Deliver(_) => world.note_error("a delivery to a connection that only publishes".into()),
        }
        Ok(())
    }

    fn take_acceptance(&mut self, number: u64, now_ns: u64, world: &mut World) {
        match self.unanswered.remove(&number) {
            Some(ticket) => world.note_accepted(ticket.intended_ns, now_ns),
            None => world.note_error(format!("ref {number} was answered, and nothing with it waits for an answer")),
        }
    }

    fn take_refusal(&mut self, refused: &RefusedPublish, now_ns: u64, world: &mut World) {
        let ticket = refused.ticket.and_then(|number| self.unanswered.remove(&number));
        match ticket {
            Some(ticket) if refused.is_backpressure() => {
                let due_ns = world.note_backpressure(now_ns);
                self.tickets.put_back(ticket, due_ns);
            }
            Some(ticket) => {
                self.refused.push(ticket.number);
                world.tally.counts.excused += 1;
                world.note_error(format!("a publish was refused: {}: {}", refused.code, clip(&refused.message)));
            }
            None => {
                // Which message it was is not said, so it cannot go again.
                self.refused_unnamed += 1;
                world.tally.counts.excused += 1;
                if refused.is_backpressure() {
                    world.tally.counts.backpressure += 1;
                } else {
                    world.note_error(format!("a publish was refused: {}: {}", refused.code, clip(&refused.message)));
                }
            }
        }
    }
}

impl Role for WsProducer {
    fn receive(&mut self, bytes: &[u8], now_ns: u64, out: &mut Vec<u8>, world: &mut World) -> Result<usize, WireFault> {
        let mut reader = std::mem::take(&mut self.reader);
        let mut used = 0;
        while let Some((incoming, length)) = reader.next(&bytes[used..])? {
            used += length;
            self.take(incoming, now_ns, out, world)?;
        }
        self.reader = reader;
        Ok(used)
    }

    fn fill(&mut self, now_ns: u64, out: &mut Vec<u8>, world: &mut World) {
        while let Some(ticket) = self.tickets.draw_retry(now_ns) {
            world.tally.counts.retried += 1;
            self.append(ticket, out, world);
        }
        let ready = self.tickets.ready(now_ns, self.room(world));
        let mut sent = 0;
        while sent < ready && out.len() < OUTBOX_BYTES {
            let ticket = self.tickets.draw(now_ns);
            if sent == 0 {
                world.note_send_lag(ticket.intended_ns, now_ns);
            }
            self.append(ticket, out, world);
            sent += 1;
        }
        world.tally.counts.published += sent;
        if self.window != Window::Answers {
            world.tally.counts.accepted += sent;
        }
    }

    fn stop(&mut self, out: &mut Vec<u8>, world: &mut World) {
        append(out, OpCode::Control(Control::Ping), LAST_PING, world.keys.draw());
        self.awaits_pong = true;
        world.tally.counts.excused += self.tickets.unsent_retries().count() as u64;
    }

    fn unanswered(&self) -> u64 {
        self.unanswered.len() as u64
    }

    fn is_settled(&self) -> bool {
        self.unanswered.is_empty() && !self.awaits_pong
    }

    fn farewell(&mut self, out: &mut Vec<u8>, world: &mut World) {
        append(out, OpCode::Control(Control::Close), &1000u16.to_be_bytes(), world.keys.draw());
    }

    fn published(&self) -> Option<(u32, Published)> {
        let refused = self.refused.iter().copied();
        let mut uncertain: Vec<u64> =
            refused.chain(self.unanswered.keys().copied()).chain(self.tickets.unsent_retries()).collect();
        uncertain.sort_unstable();
        let published = Published { tickets: self.tickets.drawn(), uncertain, refused_unnamed: self.refused_unnamed };
        Some((self.producer, published))
    }
}
