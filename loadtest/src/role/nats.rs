//! The NATS text protocol in binary WebSocket frames: one of the references. Core NATS, so nothing is acked.

use crate::engine::role::{OUTBOX_BYTES, Role};
use crate::engine::tickets::{Ticket, Tickets};
use crate::engine::world::World;
use crate::message::{ID_BYTES, MessageId, MessageWriter, SENT_AT_BYTES, SentAt};
use crate::plan::{ConsumeWire, Plan};
use crate::verify::{OrderSeen, Published};
use crate::wire::WireFault;
use crate::wire::delivery::{Content, Delivered};
use crate::wire::envelope::{filler, split_decimal};
use crate::wire::frame::{FrameReader, Incoming, append};
use crate::wire::template::Template;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

const BINARY: OpCode = OpCode::Data(Data::Binary);

/// What a client says first.
pub(crate) const CONNECT: &[u8] = b"CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":true}\r\nPING\r\n";

/// A stream's name as a subject.
pub(crate) fn subject(plan: &Plan, stream: u32) -> String {
    plan.stream_name(stream).replace('/', ".")
}

/// One operation of the server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Operation<'a> {
    /// `MSG`, with its payload.
    Message(&'a [u8]),
    Ping,
    Pong,
    Error(&'a [u8]),
    /// `INFO`, `+OK`.
    Other,
}

/// The first whole operation of `bytes` and its length.
pub(crate) fn split_operation(bytes: &[u8]) -> Result<Option<(Operation<'_>, usize)>, WireFault> {
    let Some(line_end) = memchr::memmem::find(bytes, b"\r\n") else { return Ok(None) };
    let line = &bytes[..line_end];
    let after = line_end + 2;
    if line.starts_with(b"MSG ") {
        let length = line.rsplit(|byte| *byte == b' ').next().and_then(split_decimal);
        let Some((length, [])) = length else {
            return Err(WireFault(format!("a bad MSG: {}", String::from_utf8_lossy(line))));
        };
        let end = after + length as usize;
        let payload = bytes.get(after..end).filter(|_| bytes.len() >= end + 2);
        return Ok(payload.map(|payload| (Operation::Message(payload), end + 2)));
    }
    let operation = match line {
        b"PING" => Operation::Ping,
        b"PONG" => Operation::Pong,
        [b'-', b'E', b'R', b'R', text @ ..] => Operation::Error(text),
        _ => Operation::Other,
    };
    Ok(Some((operation, after)))
}

/// The bytes inside the frames, until an operation is whole.
#[derive(Debug, Default)]
struct Inner {
    reader: FrameReader,
    stream: Vec<u8>,
}

impl Inner {
    /// Takes frames; `act` is given each operation. Returns the bytes used.
    fn take(
        &mut self,
        bytes: &[u8],
        mut act: impl FnMut(Operation<'_>) -> Result<(), WireFault>,
    ) -> Result<usize, WireFault> {
        let mut used = 0;
        while let Some((incoming, length)) = self.reader.next(&bytes[used..])? {
            used += length;
            match incoming {
                Incoming::Message(payload) => self.stream.extend_from_slice(payload),
                Incoming::Close(code, reason) => return Err(WireFault(format!("closed: {code} {reason}"))),
                Incoming::Ping(_) | Incoming::Pong | Incoming::Fragment => {}
            }
        }
        let mut done = 0;
        while let Some((operation, length)) = split_operation(&self.stream[done..])? {
            done += length;
            act(operation)?;
        }
        self.stream.drain(..done);
        Ok(used)
    }
}

/// A subscription.
pub(crate) struct NatsConsumer {
    ledger: usize,
    order: OrderSeen,
    filler: Vec<u8>,
    inner: Inner,
}

impl NatsConsumer {
    pub(crate) fn new(plan: &Plan, ledger: usize, order: OrderSeen) -> Self {
        Self { ledger, order, filler: plain_filler(plan), inner: Inner::default() }
    }
}

/// What follows identifier and time in a plain payload.
pub(crate) fn plain_filler(plan: &Plan) -> Vec<u8> {
    filler(plan.payload_bytes - ID_BYTES)
}

/// Reads a plain payload of [`Template::plain`].
pub(crate) fn plain_delivery(payload: &[u8], filler: &[u8]) -> Delivered {
    let content = payload.split_at_checked(ID_BYTES).and_then(|(id, rest)| {
        let (id, sent) = (MessageId::decode(id)?, SentAt::decode(rest)?);
        Some(Content { id, sent, is_intact: rest[SENT_AT_BYTES..] == *filler })
    });
    Delivered { content, seq: 0, attempt: 1 }
}

impl Role for NatsConsumer {
    fn receive(&mut self, bytes: &[u8], now_ns: u64, out: &mut Vec<u8>, world: &mut World) -> Result<usize, WireFault> {
        let Self { ledger, order, filler, inner } = self;
        inner.take(bytes, |operation| {
            match operation {
                Operation::Message(payload) => {
                    world.take_delivery(*ledger, order, &plain_delivery(payload, filler), now_ns);
                }
                Operation::Ping => append(out, BINARY, b"PONG\r\n", world.keys.draw()),
                Operation::Error(text) => world.note_error(format!("NATS: {}", String::from_utf8_lossy(text))),
                Operation::Pong | Operation::Other => {}
            }
            Ok(())
        })
    }

    fn farewell(&mut self, out: &mut Vec<u8>, world: &mut World) {
        append(out, OpCode::Control(Control::Close), &1000u16.to_be_bytes(), world.keys.draw());
    }
}

/// A publisher.
pub(crate) struct NatsProducer {
    producer: u32,
    run: u16,
    layout: crate::layout::Layout,
    templates: Vec<Template>,
    writer: MessageWriter,
    tickets: Tickets,
    inflight: u64,
    /// Messages per frame; 1 puts each into its own.
    batch: u64,
    body: Vec<u8>,
    inner: Inner,
    awaits_pong: bool,
}

impl NatsProducer {
    pub(crate) fn new(plan: &Plan, producer: u32, tickets: Tickets) -> Self {
        let layout = plan.layout();
        let template = |turn| {
            let subject = subject(plan, layout.stream_at(producer, turn));
            let head = format!("PUB {subject} {}\r\n", plan.payload_bytes);
            let plain = Template::plain(head.as_bytes(), plan.payload_bytes, b"\r\n");
            if plan.batch == 1 { plain.framed() } else { plain }
        };
        let has_window = plan.rate.is_none() && plan.consume != ConsumeWire::None;
        Self {
            producer,
            run: plan.run,
            layout,
            templates: (0..layout.streams_of(producer)).map(template).collect(),
            writer: MessageWriter::default(),
            tickets,
            inflight: if has_window { u64::from(plan.inflight) } else { u64::MAX },
            batch: u64::from(plan.batch),
            body: Vec::new(),
            inner: Inner::default(),
            awaits_pong: false,
        }
    }

    fn append(&mut self, ticket: Ticket, out: &mut Vec<u8>, world: &mut World) {
        let (turn, number) = self.layout.place_of_ticket(self.producer, ticket.number);
        let stream = self.layout.stream_at(self.producer, turn);
        let id = MessageId { run: self.run, producer: self.producer, stream, number };
        let sent = SentAt { intended_ns: ticket.intended_ns, retried: false };
        let (id, sent_at) = self.writer.write(id, sent);
        self.templates[turn as usize].append(out, id, sent_at, ticket.number, world.keys.draw());
    }
}

impl Role for NatsProducer {
    fn receive(
        &mut self,
        bytes: &[u8],
        _now_ns: u64,
        out: &mut Vec<u8>,
        world: &mut World,
    ) -> Result<usize, WireFault> {
        let Self { inner, awaits_pong, .. } = self;
        inner.take(bytes, |operation| {
            match operation {
                Operation::Ping => append(out, BINARY, b"PONG\r\n", world.keys.draw()),
                Operation::Pong => *awaits_pong = false,
                Operation::Error(text) => world.note_error(format!("NATS: {}", String::from_utf8_lossy(text))),
                Operation::Message(_) | Operation::Other => {}
            }
            Ok(())
        })
    }

    fn fill(&mut self, now_ns: u64, out: &mut Vec<u8>, world: &mut World) {
        let room = self.inflight.saturating_sub(self.tickets.drawn() - world.shared.delivered(self.producer));
        let mut ready = self.tickets.ready(now_ns, room);
        while ready > 0 && out.len() < OUTBOX_BYTES {
            let count = ready.min(self.batch);
            let mut body = std::mem::take(&mut self.body);
            body.clear();
            let into = if self.batch == 1 { &mut *out } else { &mut body };
            for _ in 0..count {
                let ticket = self.tickets.draw(now_ns);
                self.append(ticket, into, world);
            }
            if self.batch > 1 {
                append(out, BINARY, &body, world.keys.draw());
            }
            self.body = body;
            ready -= count;
            world.tally.counts.published += count;
            world.tally.counts.accepted += count;
        }
    }

    fn stop(&mut self, out: &mut Vec<u8>, world: &mut World) {
        append(out, BINARY, b"PING\r\n", world.keys.draw());
        self.awaits_pong = true;
    }

    fn is_settled(&self) -> bool {
        !self.awaits_pong
    }

    fn farewell(&mut self, out: &mut Vec<u8>, world: &mut World) {
        append(out, OpCode::Control(Control::Close), &1000u16.to_be_bytes(), world.keys.draw());
    }

    fn published(&self) -> Option<(u32, Published)> {
        Some((self.producer, Published { tickets: self.tickets.drawn(), ..Published::default() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_cut_apart_and_never_before_they_are_whole() {
        let bytes = b"MSG a.b 1 5\r\nhello\r\nPING\r\n";
        assert_eq!(split_operation(bytes), Ok(Some((Operation::Message(b"hello"), 20))));
        assert_eq!(split_operation(&bytes[20..]), Ok(Some((Operation::Ping, 6))));
        for end in 0..20 {
            assert_eq!(split_operation(&bytes[..end]), Ok(None), "cut at {end}");
        }
        assert!(split_operation(b"MSG a x\r\n").is_err());
    }
}
