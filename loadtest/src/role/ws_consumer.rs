//! A subscription: takes deliveries, judges them, acks them, and keeps its window open.

use crate::engine::role::Role;
use crate::engine::world::World;
use crate::plan::{AckStyle, Plan, Refill};
use crate::verify::OrderSeen;
use crate::wire::answer::{ServerMessage, clip};
use crate::wire::delivery::{Delivered, DeliveryShape};
use crate::wire::envelope::{append_msgpack_number, msgpack_number};
use crate::wire::frame::{FrameReader, Incoming, MaskKeys, append, append_small};
use crate::wire::template::opcode_of;
use crate::wire::{Codec, WireFault};
use tungstenite::protocol::frame::coding::{Control, OpCode};

/// Sequence numbers in one ack array, well below the server's bound.
const ACK_ARRAY_MAX: usize = 1_000;

/// One consumer of one stream.
pub(crate) struct WsConsumer {
    ledger: usize,
    order: OrderSeen,
    codec: Codec,
    shape: DeliveryShape,
    reader: FrameReader,
    ack: AckStyle,
    refill: Refill,
    credit: u32,
    spent: u32,
    /// Delivered in this read and not yet acked (array and upto only).
    unacked: Vec<u64>,
}

impl WsConsumer {
    /// A consumer that judges with the thread's `ledger`.
    pub(crate) fn new(plan: &Plan, ledger: usize, order: OrderSeen) -> Self {
        Self {
            ledger,
            order,
            codec: plan.consume_codec,
            shape: DeliveryShape::new(plan.consume_codec, plan.payload_bytes),
            reader: FrameReader::default(),
            ack: plan.ack,
            refill: plan.refill,
            credit: plan.credit,
            spent: 0,
            unacked: Vec::new(),
        }
    }

    /// The request target of its handshake.
    pub(crate) fn target(plan: &Plan, stream: u32) -> String {
        let (name, codec, credit) = (plan.stream_name(stream), plan.consume_codec.name(), plan.credit);
        let refill = if plan.refill == Refill::Ack { "&refill=ack" } else { "" };
        let group = plan.group.as_ref().map_or_else(String::new, |group| format!("&group={}", percent_encoded(group)));
        format!("/v1/subscribe?stream={}&codec={codec}&credit={credit}{refill}{group}", percent_encoded(&name))
    }

    fn take(
        &mut self,
        incoming: Incoming<'_>,
        now_ns: u64,
        out: &mut Vec<u8>,
        world: &mut World,
    ) -> Result<(), WireFault> {
        match incoming {
            Incoming::Message(message) => match self.shape.read_expected(message) {
                Some(delivered) => self.take_delivery(&delivered, now_ns, out, world),
                None => self.take_unexpected(message, now_ns, out, world)?,
            },
            Incoming::Ping(payload) => append(out, OpCode::Control(Control::Pong), payload, world.keys.draw()),
            Incoming::Pong | Incoming::Fragment => {}
            Incoming::Close(code, reason) => {
                return Err(WireFault(format!("the server closed a subscription: {code} {reason}")));
            }
        }
        Ok(())
    }

    fn take_unexpected(
        &mut self,
        message: &[u8],
        now_ns: u64,
        out: &mut Vec<u8>,
        world: &mut World,
    ) -> Result<(), WireFault> {
        match self.shape.read(message)? {
            ServerMessage::Deliver(delivered) => self.take_delivery(&delivered, now_ns, out, world),
            ServerMessage::Refused(refused) => {
                world.note_error(format!("a consumer was told {}: {}", refused.code, clip(&refused.message)));
            }
            ServerMessage::Accepted(_) => world.note_error("a consumer was told that a publish was accepted".into()),
        }
        Ok(())
    }

    fn take_delivery(&mut self, delivered: &Delivered, now_ns: u64, out: &mut Vec<u8>, world: &mut World) {
        world.take_delivery(self.ledger, &mut self.order, delivered, now_ns);
        match self.ack {
            AckStyle::Each => self.append_number(out, &mut world.keys, Operation::Ack, delivered.seq),
            AckStyle::Array => {
                self.unacked.push(delivered.seq);
                if self.unacked.len() >= ACK_ARRAY_MAX {
                    self.append_array(out, &mut world.keys);
                }
            }
            AckStyle::Upto => {
                self.unacked.clear();
                self.unacked.push(delivered.seq);
            }
        }
        world.tally.counts.acked += 1;
        if self.refill == Refill::Grant {
            self.spent += 1;
            if self.spent * 2 >= self.credit {
                self.append_number(out, &mut world.keys, Operation::Credit, u64::from(self.spent));
                self.spent = 0;
            }
        }
    }

    /// Acks what this read brought, when acks are not sent one by one.
    fn end_read(&mut self, out: &mut Vec<u8>, keys: &mut MaskKeys) {
        match (self.ack, self.unacked.last()) {
            (_, None) | (AckStyle::Each, _) => {}
            (AckStyle::Array, Some(_)) => self.append_array(out, keys),
            (AckStyle::Upto, Some(last)) => {
                self.append_number(out, keys, Operation::AckUpTo, *last);
                self.unacked.clear();
            }
        }
    }

    #[inline]
    fn append_number(&self, out: &mut Vec<u8>, keys: &mut MaskKeys, operation: Operation, number: u64) {
        let (opcode, key) = (opcode_of(self.codec), keys.draw());
        match self.codec {
            Codec::Json => {
                let mut digits = itoa::Buffer::new();
                append_small(out, opcode, key, operation.json_head(), digits.format(number).as_bytes(), b"}");
            }
            Codec::Msgpack => {
                let (bytes, start) = msgpack_number(number);
                append_small(out, opcode, key, operation.msgpack_head(), &bytes[start..], b"");
            }
        }
    }

    fn append_array(&mut self, out: &mut Vec<u8>, keys: &mut MaskKeys) {
        let mut payload = Vec::with_capacity(16 + self.unacked.len() * 12);
        match self.codec {
            Codec::Json => {
                payload.extend_from_slice(b"{\"ack\":[");
                let mut digits = itoa::Buffer::new();
                for seq in &self.unacked {
                    payload.extend_from_slice(digits.format(*seq).as_bytes());
                    payload.push(b',');
                }
                payload.pop();
                payload.extend_from_slice(b"]}");
            }
            Codec::Msgpack => {
                payload.extend_from_slice(Operation::Ack.msgpack_head());
                // A vector takes every write.
                let _ = rmp::encode::write_array_len(&mut payload, self.unacked.len() as u32);
                for seq in &self.unacked {
                    append_msgpack_number(&mut payload, *seq);
                }
            }
        }
        append(out, opcode_of(self.codec), &payload, keys.draw());
        self.unacked.clear();
    }
}

/// The operations with one number.
#[derive(Debug, Clone, Copy)]
enum Operation {
    Ack,
    AckUpTo,
    Credit,
}

impl Operation {
    const fn json_head(self) -> &'static [u8] {
        match self {
            Self::Ack => b"{\"ack\":",
            Self::AckUpTo => b"{\"ackUpTo\":",
            Self::Credit => b"{\"credit\":",
        }
    }

    const fn msgpack_head(self) -> &'static [u8] {
        match self {
            Self::Ack => b"\x81\xa3ack",
            Self::AckUpTo => b"\x81\xa7ackUpTo",
            Self::Credit => b"\x81\xa6credit",
        }
    }
}

impl Role for WsConsumer {
    fn receive(&mut self, bytes: &[u8], now_ns: u64, out: &mut Vec<u8>, world: &mut World) -> Result<usize, WireFault> {
        // The reader lends what it has assembled, so it steps out of `self` for the length of the loop.
        let mut reader = std::mem::take(&mut self.reader);
        let mut used = 0;
        while let Some((incoming, length)) = reader.next(&bytes[used..])? {
            used += length;
            self.take(incoming, now_ns, out, world)?;
        }
        self.reader = reader;
        self.end_read(out, &mut world.keys);
        Ok(used)
    }

    fn farewell(&mut self, out: &mut Vec<u8>, world: &mut World) {
        append(out, OpCode::Control(Control::Close), &1000u16.to_be_bytes(), world.keys.draw());
    }
}

/// A query value with everything but unreserved characters and `/` escaped (RFC 3986, section 2.1).
pub(crate) fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_name_survives_the_query() {
        assert_eq!(percent_encoded("a/b c&ü"), "a/b%20c%26%C3%BC");
    }
}
