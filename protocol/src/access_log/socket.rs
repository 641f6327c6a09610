//! Lines of connections that last, WebSockets and readers of events, and of the messages that go through them.

use super::budget::Share;
use super::delivered::Delivered;
use super::request::{append_tenant, error_name};
use super::text::{append_escaped, append_ip, append_ms, append_number, append_text};
use super::{AccessLog, LogFile};
use crate::answer::Delivery;
use crate::codec::Encoding;
use crate::command::{MessageRef, Nack, Targets};
use crate::error::ErrorCode;
use crate::ids::Seq;
use crate::time::{NS_PER_MS, Now};
use crate::trace::TRACE_ID;
use crate::trace_context::TraceContext;
use core::net::IpAddr;

/// The close code of a connection that ended without a close frame (RFC 6455, section 7.1.5).
const ABNORMAL: u16 = 1006;
/// The close code of a close frame without one.
const NO_CODE: u16 = 1005;

/// What a connection speaks that lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// WebSocket.
    WebSocket,
    /// Server-sent events: nothing comes from the client, so there is no credit to tell of, and no close code.
    Events,
}

/// What is known of a connection when it begins to last.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// What it speaks.
    pub wire: Wire,
    /// The client.
    pub ip: IpAddr,
    /// The tenant's name; empty for the default tenant.
    pub tenant: &'a str,
    /// The stream that it consumes; `None` for one that only publishes.
    pub stream: Option<&'a str>,
    /// The group that it joins, empty for the default one; `None` for one that reads for itself alone.
    pub group: Option<&'a str>,
    /// The encoding of its messages.
    pub codec: Encoding,
    /// The first grant.
    pub credit: u64,
}

/// What the lines of one connection have in common, and what its last one tells. Made only while the log is on.
#[derive(Debug)]
pub struct Socket {
    /// The members that every line has.
    members: Box<[u8]>,
    wire: Wire,
    opened_ns: u64,
    delivers: u64,
    /// When messages were delivered whose acks are still to come.
    delivered: Delivered,
    credit_total: u64,
    close_code: Option<u16>,
    error: Option<ErrorCode>,
    is_closed: bool,
}

impl AccessLog {
    /// Writes that a connection has opened. `None`: the log is off.
    pub fn connect(&mut self, now: Now, opening: &Opening<'_>) -> Option<Box<Socket>> {
        if !self.is_ws_on() {
            return None;
        }
        self.sockets += 1;
        let mut members = Vec::with_capacity(160);
        members.extend_from_slice(match opening.wire {
            Wire::WebSocket => b",\"connId\":\"ws-",
            Wire::Events => b",\"connId\":\"live-",
        });
        append_digits(&mut members, now.unix_ms);
        members.push(b'-');
        append_digits(&mut members, self.shard.into());
        members.push(b'-');
        append_digits(&mut members, self.sockets);
        members.push(b'"');
        append_ip(&mut members, "ip", opening.ip);
        append_tenant(&mut members, opening.tenant);
        if let Some(stream) = opening.stream {
            append_text(&mut members, "stream", stream.as_bytes());
        }
        if let Some(group) = opening.group {
            append_text(&mut members, "group", group.as_bytes());
        }
        append_text(&mut members, "codec", opening.codec.name().as_bytes());
        self.line(LogFile::Ws, now, "connect", |out| {
            out.extend_from_slice(&members);
            if opening.stream.is_some() && opening.wire == Wire::WebSocket {
                append_number(out, "credit", opening.credit);
            }
        });
        Some(Box::new(Socket {
            members: members.into_boxed_slice(),
            wire: opening.wire,
            opened_ns: now.mono_ns,
            delivers: 0,
            delivered: Delivered::default(),
            credit_total: opening.credit,
            close_code: None,
            error: None,
            is_closed: false,
        }))
    }
}

impl Socket {
    /// A message has been put into the outbox.
    #[inline]
    pub fn deliver(&mut self, now: Now, delivery: &Delivery<'_>, log: &mut AccessLog) {
        self.delivers += 1;
        if let Some(share) = log.admit(now, delivery.seq) {
            self.write_deliver(now, delivery, share, log);
        }
    }

    #[inline(never)]
    fn write_deliver(&mut self, now: Now, delivery: &Delivery<'_>, share: Share, log: &mut AccessLog) {
        if self.wire == Wire::WebSocket {
            self.delivered.note(now, delivery);
        }
        log.message_line(now, "deliver", &self.members, share, |out| {
            append_text(out, "msgId", delivery.id);
            append_number(out, "seq", delivery.seq.0);
            append_number(out, "attempt", delivery.attempt.into());
            append_ms(out, "latencyMs", age_ns(now, delivery.published));
            if let Some(trace) = delivery.trace {
                let text = TraceContext::from_bytes(*trace).text();
                append_text(out, "traceparent", &text);
                append_text(out, "traceId", &text[TRACE_ID]);
            }
        });
    }

    /// The client granted credit.
    pub fn credit(&mut self, now: Now, credit: u64, log: &mut AccessLog) {
        self.credit_total = self.credit_total.saturating_add(credit);
        let Some(share) = log.admit_unnumbered(now) else { return };
        let (total, delivers) = (self.credit_total, self.delivers);
        log.message_line(now, "credit", &self.members, share, |out| {
            append_number(out, "credit", credit);
            append_number(out, "totalCredit", total);
            append_number(out, "delivers", delivers);
        });
    }

    /// The client is done with one message.
    #[inline]
    pub fn ack_seq(&mut self, now: Now, seq: Seq, log: &mut AccessLog) {
        self.settle(now, "ack", &MessageRef::Seq(seq), log, |_| {});
    }

    /// The client is done with these messages.
    pub fn ack(&mut self, now: Now, targets: &Targets<'_>, log: &mut AccessLog) {
        for target in targets {
            self.settle(now, "ack", target, log, |_| {});
        }
    }

    /// The client is done with all messages up to this one.
    pub fn ack_up_to(&mut self, now: Now, seq: Seq, log: &mut AccessLog) {
        let Some(share) = log.admit(now, seq) else { return };
        let delivered_ns = self.delivered.take_up_to(seq);
        log.message_line(now, "ack", &self.members, share, |out| {
            append_number(out, "seq", seq.0);
            out.extend_from_slice(b",\"upTo\":true");
            append_held(out, now, delivered_ns);
        });
    }

    /// The client gives these messages back.
    pub fn nack(&mut self, now: Now, nack: &Nack<'_>, log: &mut AccessLog) {
        for target in &nack.targets {
            self.settle(now, "nack", target, log, |out| {
                append_number(out, "delayMs", nack.delay_ms);
                if nack.dead {
                    out.extend_from_slice(b",\"dead\":true");
                }
            });
        }
    }

    #[inline]
    fn settle(
        &mut self,
        now: Now,
        event: &'static str,
        target: &MessageRef<'_>,
        log: &mut AccessLog,
        more: impl FnOnce(&mut Vec<u8>),
    ) {
        let admitted = match target {
            MessageRef::Seq(seq) => log.admit(now, *seq),
            MessageRef::Id(_) => log.admit_unnumbered(now),
        };
        if let Some(share) = admitted {
            self.write_settled(now, event, target, share, log, more);
        }
    }

    #[inline(never)]
    fn write_settled(
        &mut self,
        now: Now,
        event: &'static str,
        target: &MessageRef<'_>,
        share: Share,
        log: &mut AccessLog,
        more: impl FnOnce(&mut Vec<u8>),
    ) {
        let delivered_ns = self.delivered.take(target);
        log.message_line(now, event, &self.members, share, |out| {
            match target {
                MessageRef::Seq(seq) => append_number(out, "seq", seq.0),
                MessageRef::Id(id) => append_text(out, "msgId", id.as_bytes()),
            }
            append_held(out, now, delivered_ns);
            more(out);
        });
    }

    /// A request of the client was refused; the connection goes on.
    pub fn refused(&self, now: Now, code: ErrorCode, log: &mut AccessLog) {
        let Some(share) = log.admit_unnumbered(now) else { return };
        log.message_line(now, "error", &self.members, share, |out| append_code(out, code));
    }

    /// The same for an error that a rule has put into its own words. `known`: its place in the table of errors.
    pub fn refused_by_rule(&self, now: Now, known: Option<ErrorCode>, code: &str, log: &mut AccessLog) {
        let Some(share) = log.admit_unnumbered(now) else { return };
        log.message_line(now, "error", &self.members, share, |out| match known {
            Some(code) => append_code(out, code),
            None => {
                append_text(out, "error", code.as_bytes());
                append_text(out, "code", code.as_bytes());
            }
        });
    }

    /// A rule ends the connection, with a close code of its own.
    pub const fn closes_with(&mut self, code: u16) {
        if self.close_code.is_none() {
            self.close_code = Some(code);
        }
    }

    /// The server ends the connection.
    pub const fn closes(&mut self, code: ErrorCode) {
        if self.close_code.is_none() {
            self.close_code = Some(code.close_code());
            self.error = Some(code);
        }
    }

    /// The client has ended the connection; `None`: its close frame has no code.
    pub const fn closed_by_peer(&mut self, code: Option<u16>) {
        if self.close_code.is_none() {
            self.close_code = Some(match code {
                Some(code) => code,
                None => NO_CODE,
            });
        }
    }

    /// The connection is gone: the last line, once.
    pub fn disconnect(&mut self, now: Now, log: &mut AccessLog) {
        if std::mem::replace(&mut self.is_closed, true) || !log.is_ws_on() {
            return;
        }
        log.line(LogFile::Ws, now, "disconnect", |out| {
            out.extend_from_slice(&self.members);
            if self.wire == Wire::WebSocket {
                append_number(out, "closeCode", self.close_code.unwrap_or(ABNORMAL).into());
            }
            append_number(out, "delivers", self.delivers);
            if self.wire == Wire::WebSocket {
                append_number(out, "totalCredit", self.credit_total);
            }
            append_ms(out, "durMs", now.mono_ns.saturating_sub(self.opened_ns));
            if let Some(code) = self.error {
                append_code(out, code);
            }
        });
    }
}

impl AccessLog {
    #[inline]
    fn admit(&mut self, now: Now, seq: Seq) -> Option<Share> {
        if self.is_ws_on() { self.messages.admit(now, seq.0) } else { None }
    }

    fn admit_unnumbered(&mut self, now: Now) -> Option<Share> {
        if self.is_ws_on() { self.messages.admit_unnumbered(now) } else { None }
    }

    /// Appends a line of a message.
    fn message_line(
        &mut self,
        now: Now,
        event: &'static str,
        members: &[u8],
        share: Share,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        self.line(LogFile::Ws, now, event, |out| {
            out.extend_from_slice(members);
            write(out);
            share.append(out);
        });
    }
}

/// Nanoseconds since a message was published: by the clock that never jumps, when it was running then.
const fn age_ns(now: Now, published: Now) -> u64 {
    if published.mono_ns > 0 {
        now.mono_ns.saturating_sub(published.mono_ns)
    } else {
        now.unix_ms.saturating_sub(published.unix_ms).saturating_mul(NS_PER_MS)
    }
}

impl Share {
    /// Appends how many it stands for.
    pub(super) fn append(self, out: &mut Vec<u8>) {
        if let Self::OneIn(sample) = self {
            append_number(out, "sample", sample.into());
        }
    }
}

/// Appends how long the client has had a message, if its delivery is known.
fn append_held(out: &mut Vec<u8>, now: Now, delivered_ns: Option<u64>) {
    if let Some(delivered_ns) = delivered_ns {
        append_ms(out, "latencyMs", now.mono_ns.saturating_sub(delivered_ns));
    }
}

fn append_code(out: &mut Vec<u8>, code: ErrorCode) {
    append_text(out, "error", error_name(code).as_bytes());
    append_text(out, "code", code.code().as_bytes());
}

fn append_digits(out: &mut Vec<u8>, number: u64) {
    append_escaped(out, itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
