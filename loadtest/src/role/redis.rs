//! The Redis protocol (RESP2), for the references: `PUBLISH` and `SUBSCRIBE`, and `RPUSH` and `XADD` answered after their
//! sync.

use super::nats::{plain_delivery, plain_filler};
use crate::engine::role::{OUTBOX_BYTES, Role};
use crate::engine::tickets::{Ticket, Tickets};
use crate::engine::world::World;
use crate::layout::Layout;
use crate::message::{MessageId, MessageWriter, SentAt};
use crate::plan::{Plan, PublishWire};
use crate::verify::{OrderSeen, Published};
use crate::wire::WireFault;
use crate::wire::envelope::split_decimal;
use crate::wire::template::Template;
use std::collections::VecDeque;

/// One RESP command of plain words.
pub(crate) fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// The head of the first value in `bytes`: its kind, its number or text, and the length of the line.
fn split_line(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let end = memchr::memmem::find(bytes, b"\r\n")?;
    let (kind, text) = bytes[..end].split_first()?;
    Some((*kind, text, end + 2))
}

/// An answer to a command: its kind, its number or text, and its length; `None` until it is whole.
fn split_answer(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    if bytes.first() == Some(&b'$') {
        return split_bulk(bytes).map(|(text, length)| (b'$', text, length));
    }
    split_line(bytes)
}

/// A bulk string at the start of `bytes`, and its length with everything around it.
fn split_bulk(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (b'$', digits, head) = split_line(bytes)? else { return None };
    let length = split_decimal(digits)?.0 as usize;
    let text = bytes.get(head..head + length)?;
    (bytes.len() >= head + length + 2).then_some((text, head + length + 2))
}

/// The last word of a three-word push message and the message's length; `None` until it is whole.
fn split_push(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, WireFault> {
    let Some((kind, count, mut at)) = split_line(bytes) else { return Ok(None) };
    if kind != b'*' || count != b"3" {
        return Err(WireFault(format!("not a push message: {}{}", char::from(kind), String::from_utf8_lossy(count))));
    }
    for _ in 0..2 {
        let Some((_, length)) = split_bulk(&bytes[at..]) else { return Ok(None) };
        at += length;
    }
    Ok(split_bulk(&bytes[at..]).map(|(text, length)| (text, at + length)))
}

/// A subscription.
pub(crate) struct RedisConsumer {
    ledger: usize,
    order: OrderSeen,
    filler: Vec<u8>,
}

impl RedisConsumer {
    pub(crate) fn new(plan: &Plan, ledger: usize, order: OrderSeen) -> Self {
        Self { ledger, order, filler: plain_filler(plan) }
    }
}

impl Role for RedisConsumer {
    fn receive(
        &mut self,
        bytes: &[u8],
        now_ns: u64,
        _out: &mut Vec<u8>,
        world: &mut World,
    ) -> Result<usize, WireFault> {
        let mut used = 0;
        while let Some((payload, length)) = split_push(&bytes[used..])? {
            used += length;
            world.take_delivery(self.ledger, &mut self.order, &plain_delivery(payload, &self.filler), now_ns);
        }
        Ok(used)
    }
}

/// A producer: each command is answered with a number, or with the name of the new entry.
pub(crate) struct RedisProducer {
    producer: u32,
    run: u16,
    layout: Layout,
    templates: Vec<Template>,
    writer: MessageWriter,
    tickets: Tickets,
    inflight: u64,
    /// The window closes over deliveries, otherwise over answers.
    has_consumers: bool,
    unanswered: VecDeque<Ticket>,
}

impl RedisProducer {
    pub(crate) fn new(plan: &Plan, producer: u32, tickets: Tickets) -> Self {
        let layout = plan.layout();
        let template = |turn| {
            let name = plan.stream_name(layout.stream_at(producer, turn));
            let (name, payload) = (name.as_bytes(), vec![b'0'; plan.payload_bytes]);
            let whole = match plan.publish {
                PublishWire::RedisPublish => command(&[b"PUBLISH", name, &payload]),
                // One field, as an entry has at least one; the server names the entry.
                PublishWire::RedisStream => command(&[b"XADD", name, b"*", b"m", &payload]),
                _ => command(&[b"RPUSH", name, &payload]),
            };
            let head = &whole[..whole.len() - plan.payload_bytes - 2];
            Template::plain(head, plan.payload_bytes, b"\r\n")
        };
        Self {
            producer,
            run: plan.run,
            layout,
            templates: (0..layout.streams_of(producer)).map(template).collect(),
            writer: MessageWriter::default(),
            tickets,
            inflight: u64::from(plan.inflight),
            has_consumers: plan.publish == PublishWire::RedisPublish,
            unanswered: VecDeque::new(),
        }
    }
}

impl Role for RedisProducer {
    fn receive(
        &mut self,
        bytes: &[u8],
        now_ns: u64,
        _out: &mut Vec<u8>,
        world: &mut World,
    ) -> Result<usize, WireFault> {
        let mut used = 0;
        while let Some((kind, text, length)) = split_answer(&bytes[used..]) {
            used += length;
            let Some(ticket) = self.unanswered.pop_front() else {
                return Err(WireFault("an answer that nothing asked for".into()));
            };
            if kind == b':' || kind == b'$' {
                world.note_accepted(ticket.intended_ns, now_ns);
            } else {
                world.note_error(format!("Redis: {}", String::from_utf8_lossy(text)));
            }
        }
        Ok(used)
    }

    fn fill(&mut self, now_ns: u64, out: &mut Vec<u8>, world: &mut World) {
        let used = match self.has_consumers {
            true => self.tickets.drawn() - world.shared.delivered(self.producer),
            false => self.unanswered.len() as u64,
        };
        let ready = self.tickets.ready(now_ns, self.inflight.saturating_sub(used));
        let mut sent = 0;
        while sent < ready && out.len() < OUTBOX_BYTES {
            let ticket = self.tickets.draw(now_ns);
            let (turn, number) = self.layout.place_of_ticket(self.producer, ticket.number);
            let stream = self.layout.stream_at(self.producer, turn);
            let id = MessageId { run: self.run, producer: self.producer, stream, number };
            let sent_at = SentAt { intended_ns: ticket.intended_ns, retried: false };
            let (id, sent_at) = self.writer.write(id, sent_at);
            self.templates[turn as usize].append(out, id, sent_at, ticket.number, [0; 4]);
            self.unanswered.push_back(ticket);
            sent += 1;
        }
        world.tally.counts.published += sent;
    }

    fn unanswered(&self) -> u64 {
        self.unanswered.len() as u64
    }

    fn published(&self) -> Option<(u32, Published)> {
        let uncertain = self.unanswered.iter().map(|ticket| ticket.number).collect();
        Some((self.producer, Published { tickets: self.tickets.drawn(), uncertain, refused_unnamed: 0 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_of_every_kind_are_cut_apart_and_never_before_they_are_whole() {
        for (bytes, expected) in [
            (&b":5\r\n"[..], (b':', b"5".as_slice())),
            (b"$3\r\n1-0\r\n", (b'$', b"1-0")),
            (b"-ERR no\r\n", (b'-', b"ERR no")),
        ] {
            let (kind, text) = expected;
            assert_eq!(split_answer(bytes), Some((kind, text, bytes.len())));
            for end in 0..bytes.len() {
                assert_eq!(split_answer(&bytes[..end]), None, "cut at {end}");
            }
        }
    }

    #[test]
    fn push_messages_are_cut_apart_and_never_before_they_are_whole() {
        let bytes = command(&[b"message", b"chan", b"payload"]);
        assert_eq!(split_push(&bytes), Ok(Some((b"payload".as_slice(), bytes.len()))));
        for end in 0..bytes.len() {
            assert_eq!(split_push(&bytes[..end]), Ok(None), "cut at {end}");
        }
        assert!(split_push(b":1\r\n").is_err());
    }
}
