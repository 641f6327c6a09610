//! `GET /v1/live`: server-sent events (the HTML standard, section 9.2).
//!
//! The response has no length: it goes on until one side ends the connection, and what the client sends after its request
//! is thrown away. Each message is an event of the usual type, so that `onmessage` of a browser's `EventSource` gets it.

use super::HttpSession;
use super::response::{Extra, Outcome, Reply};
use super::session::Phase;
use crate::access_log::{self, AccessLog, Socket, Wire};
use crate::answer::{Answer, Delivery};
use crate::codec::Encoding;
use crate::command::Command;
use crate::context::Context;
use crate::error::{ErrorCode, Violation};
use crate::ids::{Seq, TenantId, Token};
use crate::inbox::Inbox;
use crate::limiter::{Charge, Gate};
use crate::limits::Limits;
use crate::policy::Principal;
use crate::session::Step;
use crate::streams::{Gap, Subscribed};
use crate::surface::http::{self as surface, Live};
use crate::telemetry::Telemetry;
use crate::time::{NS_PER_MS, Now};
use crate::trace_context::TraceContext;
use crate::ws::unwelcome;
use core::net::IpAddr;
use serde::Serialize;
use std::ops::Range;

/// A request for events whose subscription has not been answered yet.
#[derive(Debug)]
pub(super) struct Opening {
    /// Names the subscription.
    token: Token,
    /// What the client has seen: it goes on after it, or wants to know what it missed.
    after: Option<Seq>,
    /// It wants the greeting.
    hello: bool,
    /// Whose stream it is.
    tenant: TenantId,
    /// The client, the stream and the group, when the access log's lines are to name them.
    subject: Option<Subject>,
}

/// What lines of the access log say of a reader.
type Subject = Box<(IpAddr, String, Option<String>)>;

/// One connection that gets events. It has no buffers of its own.
#[derive(Debug)]
pub struct LiveSession {
    is_closing: bool,
    /// `connections_active` and `http_in_progress` include this connection.
    is_counted: bool,
    /// Whose stream it reads.
    tenant: TenantId,
    /// To be given back when the connection ends.
    slots: Vec<Charge>,
    /// When its token stops being believed, in `Now::mono_ns`.
    expires_ns: u64,
    /// Who reads.
    principal: Principal,
    /// What the access log's lines say of it; absent while that log is off.
    socket: Option<Box<Socket>>,
    /// The highest seq that was told as an `id`.
    last_id: u64,
    /// When the next heartbeat is due, in `Now::mono_ns`.
    beat_ns: u64,
}

impl HttpSession {
    /// Reads the query of a request for events and follows it; `after` is what `Last-Event-ID` says.
    pub(super) fn begin_live<'s>(
        &mut self,
        mut reply: Reply,
        after: Option<Seq>,
        (head_bytes, query, address): (usize, Range<usize>, IpAddr),
        inbox: &'s mut Inbox<'_>,
        context: &mut Context<'_>,
    ) -> Step<'s> {
        // The head was text when it was parsed.
        let query = std::str::from_utf8(&inbox.take(head_bytes)[query]).unwrap_or_default();
        match surface::live(query, after, context.limits) {
            Ok(Some(Live { subscribe, after, hello })) if !reply.is_head => {
                let token = self.answers.push(reply);
                let subject = context.log.is_ws_on().then(|| {
                    let group = (!subscribe.ephemeral).then(|| subscribe.group.as_deref().unwrap_or_default());
                    Box::new((address, subscribe.stream.clone().into_owned(), group.map(str::to_owned)))
                });
                self.phase = Phase::Opening(Box::new(Opening { token, after, hello, tenant: reply.tenant, subject }));
                return Step::Command { token, tenant: reply.tenant, command: Command::Subscribe(subscribe) };
            }
            Ok(_) => {
                let is_head = reply.is_head;
                reply.closes = true;
                let token = self.answers.push(reply);
                self.answers.answer(token, Outcome::EventStream, true, context);
                if !is_head {
                    context.out.extend_from_slice(b"data: {\"connected\":true}\n\n");
                    let mut live = LiveSession::new(reply.tenant, context);
                    live.open_log(address, None, None, context);
                    self.phase = Phase::Live(Box::new(live));
                }
            }
            Err(violation) => {
                let token = self.answers.push(reply);
                // As below: the connection goes on without what it was to hold.
                self.edge.release(context.gate);
                self.answers.refuse(token, violation, Extra::None, true, context);
                self.note_answered(context);
            }
        }
        Step::Again
    }

    /// The subscription has been answered. True when the answer was for it.
    pub(super) fn finish_opening(&mut self, token: Token, answer: &Answer<'_>, context: &mut Context<'_>) -> bool {
        let Phase::Opening(opening) = &mut self.phase else { return false };
        if opening.token != token {
            return false;
        }
        let Opening { after, hello, tenant, .. } = **opening;
        let subject = opening.subject.take();
        if let Answer::Subscribed(subscribed) = answer {
            self.answers.answer(token, Outcome::EventStream, true, context);
            let mut live = LiveSession::new(tenant, context);
            if let Some((address, stream, group)) = subject.map(|subject| *subject) {
                live.open_log(address, Some(&stream), group.as_deref(), context);
            }
            live.greet(subscribed.as_deref(), after, hello, context);
            self.phase = Phase::Live(Box::new(live));
        } else {
            self.phase = Phase::Head;
            // The connection does not last: whatever it was to hold goes back.
            self.edge.release(context.gate);
            self.answers.answer(token, Outcome::Answer(answer), true, context);
            self.note_answered(context);
        }
        true
    }

    /// What this connection has become, once it gets events.
    pub fn take_live(&mut self, context: &mut Context<'_>) -> Option<Box<LiveSession>> {
        match std::mem::replace(&mut self.phase, Phase::Head) {
            Phase::Live(mut live) => {
                self.uncount(context.telemetry);
                live.expires_ns = self.edge.expires_ns(context.now);
                live.principal = self.edge.principal();
                live.slots = self.edge.take_slots();
                // The policy may have changed since it asked.
                live.recheck(context);
                Some(live)
            }
            phase => {
                self.phase = phase;
                None
            }
        }
    }
}

impl LiveSession {
    /// A connection whose response head has just been written.
    fn new(tenant: TenantId, context: &mut Context<'_>) -> Self {
        context.telemetry.live.connections_total += 1;
        context.telemetry.live.connections_active += 1;
        // The request goes on as long as its response does.
        context.telemetry.http_in_progress = context.telemetry.http_in_progress.wrapping_add(1);
        Self {
            is_closing: false,
            is_counted: true,
            tenant,
            slots: Vec::new(),
            expires_ns: u64::MAX,
            principal: Principal::ANYBODY,
            socket: None,
            last_id: 0,
            beat_ns: next_beat(context),
        }
    }

    /// Writes its first line to the access log.
    fn open_log(&mut self, ip: IpAddr, stream: Option<&str>, group: Option<&str>, context: &mut Context<'_>) {
        let tenant = context.policy.tenants.name(self.tenant);
        let codec = Encoding::Json;
        let opening = access_log::Opening { wire: Wire::Events, ip, tenant, stream, group, codec, credit: 0 };
        self.socket = context.log.connect(context.now, &opening);
    }

    /// What a reader of a stream hears first: what it asked for, and whether something after the last message that it saw
    /// is not there any more.
    fn greet(&mut self, subscribed: Option<&Subscribed>, after: Option<Seq>, hello: bool, context: &mut Context<'_>) {
        // Whoever waits for the first message sees that it is connected.
        context.out.extend_from_slice(b": connected\n\n");
        let Some(subscribed) = subscribed else { return };
        if hello {
            self.tell("subscribed", subscribed, context);
        }
        let Some(after) = after.filter(|after| after.0 <= subscribed.last) else { return };
        self.last_id = after.0;
        // A group goes on where it is, whatever one of its readers has seen.
        if subscribed.group.is_empty() && subscribed.next > after.0 + 1 {
            self.gap(Seq(after.0 + 1), Seq(subscribed.next - 1), context);
        }
    }

    /// See `Session::next`. Nothing that comes now means anything.
    pub fn next<'s>(&self, inbox: &mut Inbox<'_>) -> Step<'s> {
        inbox.take(inbox.len());
        if self.is_closing { Step::Close } else { Step::NeedBytes }
    }

    /// See `Session::deliver`.
    ///
    /// A message whose seq is below one that was told already (it was delayed, less urgent, or comes back) has no `id`: where
    /// the client resumes never goes back.
    #[inline]
    pub fn deliver(&mut self, delivery: &Delivery<'_>, context: &mut Context<'_>) {
        if self.is_closing {
            return;
        }
        context.telemetry.live.events_total += 1;
        context.telemetry.live.event_bytes_total += delivery.envelope.len() as u64;
        context.telemetry.tenants.count(self.tenant, |tenant| {
            tenant.messages_delivered += 1;
            tenant.bytes_delivered += delivery.envelope.len() as u64;
        });
        if let Some(socket) = &mut self.socket {
            socket.deliver(context.now, delivery, context.log);
        }
        let out = &mut *context.out;
        if let Some(trace) = delivery.trace {
            out.extend_from_slice(b": traceparent ");
            out.extend_from_slice(&TraceContext::from_bytes(*trace).text());
            out.push(b'\n');
        }
        if delivery.seq.0 > self.last_id {
            self.last_id = delivery.seq.0;
            out.extend_from_slice(b"id: ");
            out.extend_from_slice(itoa::Buffer::new().format(delivery.seq.0).as_bytes());
            out.push(b'\n');
        }
        put_data(delivery.envelope, out);
        out.push(b'\n');
    }

    /// See `Session::gap`.
    #[cold]
    pub fn gap(&self, from: Seq, to: Seq, context: &mut Context<'_>) {
        self.tell("gap", &Gap { from: from.0, to: to.0 }, context);
    }

    /// Says when and where to connect again: `retry` makes an `EventSource` wait so long.
    fn announce_drain(&self, context: &mut Context<'_>) {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Drain<'a> {
            retry_after_ms: u32,
            alternates: &'a [String],
        }
        let drain = &context.policy.drain;
        context.out.extend_from_slice(b"retry: ");
        context.out.extend_from_slice(itoa::Buffer::new().format(drain.retry_after_ms).as_bytes());
        context.out.push(b'\n');
        self.tell("drain", &Drain { retry_after_ms: drain.retry_after_ms, alternates: &drain.alternates }, context);
    }

    /// See `Session::close`: an `end` event, then the end of the connection.
    #[cold]
    pub fn close(&mut self, violation: &Violation, context: &mut Context<'_>) {
        #[derive(Serialize)]
        struct End<'a> {
            code: &'static str,
            message: &'a str,
        }
        if self.is_closing {
            return;
        }
        context.telemetry.count_error(violation.code);
        if let Some(socket) = &mut self.socket {
            socket.closes(violation.code);
        }
        if matches!(violation.code, ErrorCode::ServerDraining | ErrorCode::ServerRestarting) {
            self.announce_drain(context);
        }
        self.tell("end", &End { code: violation.code.code(), message: &violation.message }, context);
        self.is_closing = true;
        self.uncount(context.telemetry);
    }

    /// See `Session::recheck`.
    #[cold]
    pub fn recheck(&mut self, context: &mut Context<'_>) {
        if !context.policy.access.keeps(&self.principal, &context.policy.tenants) {
            self.close(&unwelcome(), context);
        }
    }

    /// Appends an event of another type than the messages'. Its data is one line of JSON.
    fn tell(&self, event: &str, data: &impl Serialize, context: &mut Context<'_>) {
        if self.is_closing {
            return;
        }
        let out = &mut *context.out;
        let start = out.len();
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(event.as_bytes());
        out.extend_from_slice(b"\ndata: ");
        // Writing text and numbers to memory does not fail; if it did, half an event must not go out.
        if serde_json::to_writer(&mut *out, data).is_ok() {
            out.extend_from_slice(b"\n\n");
        } else {
            out.truncate(start);
        }
    }

    /// See `Session::is_closing`.
    #[must_use]
    pub const fn is_closing(&self) -> bool {
        self.is_closing
    }

    /// See `Session::deadline_ns`.
    #[must_use]
    pub fn deadline_ns(&self, limits: &Limits) -> Option<u64> {
        let beat_ns = if limits.heartbeat_ms == 0 { u64::MAX } else { self.beat_ns };
        let due_ns = beat_ns.min(self.expires_ns);
        (!self.is_closing && due_ns != u64::MAX).then_some(due_ns)
    }

    /// See `Session::handle_deadline`. A client that has not taken what waits for it needs no heartbeat.
    pub fn handle_deadline(&mut self, context: &mut Context<'_>) {
        if self.deadline_ns(context.limits).is_none_or(|due_ns| context.now.mono_ns < due_ns) {
            return;
        }
        if context.now.mono_ns >= self.expires_ns {
            let sentence = "the token has expired: get a new one and connect again";
            self.close(&Violation::new(ErrorCode::Unauthorized, sentence), context);
            return;
        }
        if context.out.is_empty() {
            context.out.extend_from_slice(b": heartbeat\n\n");
        }
        self.beat_ns = next_beat(context);
    }

    /// See `Session::disconnected`.
    pub fn disconnected(&mut self, now: Now, telemetry: &mut Telemetry, log: &mut AccessLog, gate: &mut dyn Gate) {
        for charge in self.slots.drain(..) {
            gate.release(&charge);
        }
        self.uncount(telemetry);
        if let Some(mut socket) = self.socket.take() {
            socket.disconnect(now, log);
        }
    }

    fn uncount(&mut self, telemetry: &mut Telemetry) {
        if std::mem::take(&mut self.is_counted) {
            telemetry.live.connections_active = telemetry.live.connections_active.saturating_sub(1);
            telemetry.http_in_progress = telemetry.http_in_progress.wrapping_sub(1);
        }
    }
}

fn next_beat(context: &Context<'_>) -> u64 {
    context.now.mono_ns.saturating_add(context.limits.heartbeat_ms.saturating_mul(NS_PER_MS))
}

/// Appends the `data` of an event. Every line of it stands behind a `data` of its own: white space between the tokens of
/// JSON may have line ends in it, and the client puts the lines together again.
fn put_data(data: &[u8], out: &mut Vec<u8>) {
    let mut rest = data;
    loop {
        out.extend_from_slice(b"data: ");
        let Some(end) = memchr::memchr2(b'\n', b'\r', rest) else { break };
        out.extend_from_slice(&rest[..end]);
        out.push(b'\n');
        let line_end = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[end + line_end..];
    }
    out.extend_from_slice(rest);
    out.push(b'\n');
}

/// What `Last-Event-ID` or `lastEventId` says. Empty: nothing has been seen.
///
/// # Errors
/// `InvalidField`.
pub(crate) fn read_last_id(text: &str) -> Result<Option<Seq>, Violation> {
    if text.is_empty() {
        return Ok(None);
    }
    let seq = crate::command::decimal(text).map(|seq| Some(Seq(seq)));
    seq.ok_or_else(|| Violation::new(ErrorCode::InvalidField, LAST_ID_WRONG))
}

const LAST_ID_WRONG: &str = "`Last-Event-ID` and `lastEventId` are the `id` of an event of this stream: a whole number";

#[cfg(test)]
mod tests {
    use super::*;

    fn data(text: &str) -> String {
        let mut out = Vec::new();
        put_data(text.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_line_has_its_own_data() {
        assert_eq!(data("{}"), "data: {}\n");
        assert_eq!(data("{\n \"a\":1}"), "data: {\ndata:  \"a\":1}\n");
        assert_eq!(data("{\r\n}\r\r\n\n"), "data: {\ndata: }\ndata: \ndata: \ndata: \n");
        assert_eq!(data(""), "data: \n");
    }

    #[test]
    fn the_last_id_is_a_seq() {
        assert_eq!(read_last_id("").unwrap(), None);
        assert_eq!(read_last_id("0").unwrap(), Some(Seq(0)));
        assert_eq!(read_last_id("18446744073709551615").unwrap(), Some(Seq(u64::MAX)));
        for wrong in ["-1", "+1", " 1", "1.0", "x", "18446744073709551616"] {
            assert_eq!(read_last_id(wrong).unwrap_err().code, ErrorCode::InvalidField, "{wrong}");
        }
    }
}
