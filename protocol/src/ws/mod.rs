//! WebSocket (RFC 6455), sans-io, after the handshake.
//!
//! Each piece of state has its file: `link` our side (what was said, liveness, closing), `gather` a message in
//! parts, `unanswered` the requests that wait; `frame` and `close` are the bytes of frames. This file takes frames
//! from the inbox and turns messages into commands.
//!
//! A message that lies in the inbox as one whole frame is unmasked and decoded where it is. A short frame that is not all
//! there stays in the inbox; a long one, and a message in fragments, is gathered in the session.

mod close;
mod frame;
mod gather;
mod link;
mod message;
mod party;
mod ruled;
mod unanswered;

use crate::access_log::{AccessLog, Socket};
use crate::answer::{Answer, Delivery, Receipt};
use crate::codec::{self, Encoding, LastStream};
use crate::ids::{Seq, Token};
use crate::limiter::{Charge, Gate};
use crate::policy::{Principal, Scope};
use crate::streams::Subscribed;
use crate::{Context, ErrorCode, Inbox, Limits, Now, Refusal, Step, Telemetry, Violation};
use frame::{HEADER_BYTES_MAX, Header, Whole};
use gather::{Gather, Kind};
use link::Link;
use message::{admit, operate, step};
use party::Party;
pub(crate) use party::unwelcome;
pub(crate) use ruled::ByRules;
use ruled::{Decided, Ruled};
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use unanswered::Unanswered;

/// Payload bytes up to which an incomplete data frame stays in the inbox: reading it again with the next bytes is cheaper
/// than gathering it.
const INBOX_PAYLOAD_BYTES_MAX: usize = 4 * 1024;

/// Bytes that [`Step::NeedBytes`] leaves in the inbox of a WebSocket at most.
pub const INBOX_REST_BYTES_MAX: usize = HEADER_BYTES_MAX + INBOX_PAYLOAD_BYTES_MAX;

/// Bytes of a delivery beyond its envelope and id, roughly: the guess for its frame header.
const DELIVERY_BYTES_EXPECTED: usize = 48;

/// Bytes of an answer beyond its id, stream and `ref`, roughly.
const PUBLISHED_BYTES_EXPECTED: usize = 48;

/// Bytes of a message that comes once or hardly ever, roughly.
const RARE_BYTES_EXPECTED: usize = 120;

/// What a WebSocket connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `/v1/subscribe`: credit, ack, nack, and enqueue.
    Consumer,
    /// `/v1/publish`: enqueue only.
    Publisher,
}

/// One WebSocket connection. About 220 bytes; its buffers exist only while they hold something or are small.
#[derive(Debug)]
pub struct WsSession {
    party: Party,
    link: Link,
    gather: Gather,
    unanswered: Unanswered,
    last_stream: LastStream,
    /// What rules have to do with it.
    ruled: Option<Box<Ruled>>,
    /// Bytes that the last call to [`Self::next`] left in the inbox: more than that is news from the peer.
    rest_bytes: usize,
}

/// What the front of the inbox came to.
enum Found {
    /// No complete message.
    Nothing,
    /// A message that is one frame, whole and unmasked at the front of the inbox.
    InPlace { kind: Kind, header_bytes: usize, payload_bytes: usize },
    /// A message that is complete in the gather buffer.
    Gathered(Kind),
    /// The session is finished.
    Over,
}

impl WsSession {
    /// A connection whose handshake has just been written.
    #[must_use]
    pub fn new(role: Role, encoding: Encoding, context: &mut Context<'_>) -> Self {
        Self {
            party: Party::new(role),
            link: Link::new(encoding, context),
            gather: Gather::default(),
            unanswered: Unanswered::default(),
            last_stream: LastStream::default(),
            ruled: None,
            rest_bytes: 0,
        }
    }

    /// Follows what rules have made of its handshake.
    pub(crate) fn follow_rules(&mut self, opening: ByRules, scope: Scope, context: &mut Context<'_>) {
        let (ruled, response) = Ruled::new(opening, scope, context.policy.generation);
        self.ruled = Some(Box::new(ruled));
        if let Some(response) = response {
            ruled::say(&response, &mut self.link, context);
        }
    }

    /// See `Session::has_more`.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.ruled.as_ref().is_some_and(|ruled| ruled.has_next())
    }

    /// Goes on with what rules have decided, and says to the broker what they have to say.
    #[cold]
    fn step_of_rules<'s>(&'s mut self, context: &mut Context<'_>) -> Step<'s> {
        let Self { ruled, party, link, unanswered, last_stream, .. } = self;
        let Some(ruled) = ruled else { return Step::Again };
        if !ruled.is_settled() {
            return ruled.step(party, link, unanswered, context);
        }
        match ruled.settle(link, context) {
            Some((is_text, payload)) => {
                let kind = if is_text { Kind::Text } else { Kind::Binary };
                operate(party, kind, payload, link, unanswered, last_stream, context)
            }
            None => Step::Again,
        }
    }

    /// Acts for somebody from here on, with the slots that they have taken.
    pub fn act_for(&mut self, principal: &Principal, slots: Vec<Charge>, context: &mut Context<'_>) {
        self.party.act_for(principal, slots, context.now);
        self.link.belong_to(principal.tenant, context.telemetry);
    }

    /// See `Session::next`. [`Step::NeedBytes`] leaves at most [`INBOX_REST_BYTES_MAX`] bytes in the inbox.
    ///
    /// A violation of the protocol of messages starts the closing, and frames are read on (and thrown away) until the
    /// peer's close frame: so the peer learns why even if it is in the middle of a long message. A violation of the
    /// framing ends the session at once, since what follows cannot be read (RFC 6455, section 7.1.7).
    #[inline]
    pub fn next<'s>(&'s mut self, inbox: &'s mut Inbox<'_>, context: &mut Context<'_>) -> Step<'s> {
        if self.link.is_clear()
            && self.ruled.is_none()
            && self.gather.is_idle()
            && !self.unanswered.is_full(context.limits.unanswered_max)
            && let Some(whole) = frame::whole(inbox.rest())
            && whole.frame_bytes - whole.header_bytes <= context.limits.message_bytes_max
        {
            return self.take_whole(whole, inbox, context);
        }
        self.next_of_any_form(inbox, context)
    }

    /// Takes a message that is one frame: what nearly all are, by the shortest way.
    #[inline(always)]
    fn take_whole<'s>(&'s mut self, whole: Whole, inbox: &'s mut Inbox<'_>, context: &mut Context<'_>) -> Step<'s> {
        if inbox.len() > self.rest_bytes {
            self.link.hear(context.now);
        }
        self.rest_bytes = inbox.len() - whole.frame_bytes;
        let kind = if whole.is_text { Kind::Text } else { Kind::Binary };
        let (header, payload) = inbox.take(whole.frame_bytes).split_at_mut(whole.header_bytes);
        if let Some(&mask) = header.last_chunk() {
            frame::unmask(payload, mask);
        }
        step(&mut self.party, kind, payload, &mut self.link, &mut self.unanswered, &mut self.last_stream, context)
    }

    /// The same whatever comes: messages in parts, control frames, violations, waiting.
    #[inline(never)]
    fn next_of_any_form<'s>(&'s mut self, inbox: &'s mut Inbox<'_>, context: &mut Context<'_>) -> Step<'s> {
        if self.link.is_finished() {
            return Step::Close;
        }
        if inbox.len() > self.rest_bytes {
            self.link.hear(context.now);
        }
        self.link.release_pong(context);
        self.rest_bytes = inbox.len();
        let is_waiting = self.ruled.as_ref().is_some_and(|ruled| ruled.is_waiting(context.limits));
        if self.link.is_open() && (is_waiting || self.unanswered.is_full(context.limits.unanswered_max)) {
            return Step::Wait;
        }
        if self.link.is_open() && self.has_more() {
            return self.step_of_rules(context);
        }
        // A message that the last command borrowed is done with; a closing session needs no message at all.
        if !self.gather.is_begun() || !self.link.is_open() {
            self.gather.forget();
        }
        let found = self.advance(inbox, context);
        self.rest_bytes = inbox.len();
        let (kind, payload) = match found {
            Found::Nothing => return Step::NeedBytes,
            Found::Over => {
                self.release();
                return Step::Close;
            }
            Found::InPlace { kind, header_bytes, payload_bytes } => {
                self.rest_bytes -= header_bytes + payload_bytes;
                (kind, &inbox.take(header_bytes + payload_bytes)[header_bytes..])
            }
            Found::Gathered(kind) => (kind, self.gather.bytes()),
        };
        if let Some(ruled) = &mut self.ruled {
            let Self { party, link, unanswered, last_stream, .. } = self;
            if let Some(step) = admit(party, payload, link, context) {
                return step;
            }
            return match ruled.decide(kind == Kind::Text, payload, link, unanswered, context) {
                Decided::Native => operate(party, kind, payload, link, unanswered, last_stream, context),
                Decided::Done => Step::Again,
                Decided::Ask(token, charge) => {
                    Step::Command { token, tenant: party.tenant, command: crate::Command::Charge(charge) }
                }
            };
        }
        step(&mut self.party, kind, payload, &mut self.link, &mut self.unanswered, &mut self.last_stream, context)
    }

    /// Takes frames from the inbox until a message is complete.
    #[inline]
    fn advance(&mut self, inbox: &mut Inbox<'_>, context: &mut Context<'_>) -> Found {
        loop {
            if self.gather.is_partial() {
                if let Some(kind) = self.take_payload(inbox) {
                    return Found::Gathered(kind);
                }
                if self.gather.is_partial() {
                    return Found::Nothing;
                }
            }
            let header = match frame::parse(inbox.rest()) {
                Ok(Some(header)) => header,
                Ok(None) => return Found::Nothing,
                Err(sentence) => return self.fail(&Violation::new(ErrorCode::BadFraming, sentence), context),
            };
            let found = match header.opcode {
                OpCode::Data(data) => self.take_data_frame(&header, data, inbox, context),
                OpCode::Control(control) => self.take_control_frame(&header, control, inbox, context),
            };
            if let Some(found) = found {
                return found;
            }
        }
    }

    /// Takes a data frame, or only its header when its payload has to be gathered. `None`: look again.
    #[inline]
    fn take_data_frame(
        &mut self,
        header: &Header,
        data: Data,
        inbox: &mut Inbox<'_>,
        context: &mut Context<'_>,
    ) -> Option<Found> {
        if !self.link.is_open() {
            inbox.take(header.header_bytes);
            self.gather.expect(header);
            return None;
        }
        let begins = match (data, self.gather.is_begun()) {
            (Data::Text, false) => Some(Kind::Text),
            (Data::Binary, false) => Some(Kind::Binary),
            (Data::Continue, true) => None,
            (Data::Continue, false) => {
                let sentence = "a continuation frame came where no message had begun";
                return Some(self.fail(&Violation::new(ErrorCode::BadFraming, sentence), context));
            }
            _ => {
                let sentence = "a new message began before the last fragment of the one before it";
                return Some(self.fail(&Violation::new(ErrorCode::BadFraming, sentence), context));
            }
        };
        let message_bytes = header.payload_bytes.saturating_add(self.gather.len() as u64);
        if message_bytes > context.limits.message_bytes_max as u64 {
            self.refuse_size(header, message_bytes, inbox, context);
            return None;
        }
        // The limit on messages makes this fit a `usize`.
        let payload_bytes = header.payload_bytes as usize;
        let is_whole = inbox.len() - header.header_bytes >= payload_bytes;
        match begins {
            Some(kind) if is_whole && header.is_final => {
                let frame_bytes = header.header_bytes + payload_bytes;
                frame::unmask(&mut inbox.rest_mut()[header.header_bytes..frame_bytes], header.mask);
                return Some(Found::InPlace { kind, header_bytes: header.header_bytes, payload_bytes });
            }
            _ if !is_whole && payload_bytes <= INBOX_PAYLOAD_BYTES_MAX => return Some(Found::Nothing),
            Some(kind) => self.gather.begin(kind),
            None => {}
        }
        inbox.take(header.header_bytes);
        self.gather.expect(header);
        None
    }

    /// Starts the closing because of a message beyond the limit. What comes of it is thrown away.
    #[cold]
    fn refuse_size(&mut self, header: &Header, message_bytes: u64, inbox: &mut Inbox<'_>, context: &mut Context<'_>) {
        let bytes_max = context.limits.message_bytes_max;
        let sentence = format!("Message size {message_bytes} exceeds limit {bytes_max}");
        self.link.close(&Violation::new(ErrorCode::MessageTooLarge, sentence), context);
        self.gather.forget();
        inbox.take(header.header_bytes);
        self.gather.expect(header);
    }

    /// Takes what is here of the payload of a frame whose header has been taken. Returns the kind of the message that
    /// this completes.
    fn take_payload(&mut self, inbox: &mut Inbox<'_>) -> Option<Kind> {
        let (taken, completed) = if self.link.is_open() {
            self.gather.take(inbox.rest_mut())
        } else {
            (self.gather.skip(inbox.rest_mut()), None)
        };
        inbox.take(taken);
        completed
    }

    /// Takes a control frame, once all of it is there. `None`: look again.
    fn take_control_frame(
        &mut self,
        header: &Header,
        control: Control,
        inbox: &mut Inbox<'_>,
        context: &mut Context<'_>,
    ) -> Option<Found> {
        // The header was checked: at most 125 bytes.
        let frame_bytes = header.header_bytes + header.payload_bytes as usize;
        if inbox.len() < frame_bytes {
            return Some(Found::Nothing);
        }
        let payload = &mut inbox.take(frame_bytes)[header.header_bytes..];
        frame::unmask(payload, header.mask);
        match control {
            Control::Ping => self.link.pong(payload, context),
            Control::Close => {
                return Some(match close::parse(payload) {
                    Ok(code) => {
                        self.link.handle_close(code, context);
                        Found::Over
                    }
                    Err(violation) => self.fail(&violation, context),
                });
            }
            // A pong needs no action: that bytes came at all has been noted. Reserved opcodes were refused before.
            Control::Pong | Control::Reserved(_) => {}
        }
        None
    }

    /// Ends the session at once: the framing is lost.
    #[cold]
    fn fail(&mut self, violation: &Violation, context: &mut Context<'_>) -> Found {
        self.link.close(violation, context);
        self.link.finish(context);
        Found::Over
    }

    /// See `Session::answer`.
    pub fn answer(&mut self, token: Token, answer: &Answer<'_>, context: &mut Context<'_>) {
        if let Some(ruled) = &mut self.ruled
            && ruled.take_answer(token, answer, &mut self.link, &mut self.unanswered, context)
        {
            return;
        }
        match answer {
            &Answer::Published { id, stream, seq, promise, duplicate } => self.unanswered.take(token, |reference| {
                let encoding = self.link.encoding();
                let receipt = Receipt { id, stream, seq, promise, duplicate };
                let expected_bytes = PUBLISHED_BYTES_EXPECTED + id.len() + stream.len() + reference.len();
                self.link.say(expected_bytes, context, |out| codec::encode_ok(encoding, &receipt, reference, out));
            }),
            Answer::Refused(refusal) if token == Token::NONE => self.link.refuse(refusal, None, context),
            Answer::Refused(refusal) => {
                self.unanswered.take(token, |reference| self.link.refuse(refusal, Some(reference), context));
            }
            // No request of a WebSocket is answered like this.
            Answer::Subscribed(_)
            | Answer::Stream(_)
            | Answer::Stats(_)
            | Answer::Granted
            | Answer::Document { .. } => {}
        }
    }

    /// See `Session::deliver`.
    #[inline]
    pub fn deliver(&mut self, delivery: &Delivery<'_>, context: &mut Context<'_>) {
        if !self.link.is_open() {
            return;
        }
        context.telemetry.ws.deliveries_total += 1;
        context.telemetry.ws.delivery_bytes_total += delivery.envelope.len() as u64;
        context.telemetry.tenants.count(self.party.tenant, |tenant| {
            tenant.messages_delivered += 1;
            tenant.bytes_delivered += delivery.envelope.len() as u64;
        });
        if let Some(socket) = &mut self.link.socket {
            socket.deliver(context.now, delivery, context.log);
        }
        let expected_bytes = DELIVERY_BYTES_EXPECTED + delivery.envelope.len() + delivery.id.len();
        self.link.say(expected_bytes, context, |out| codec::encode_delivery(delivery, out));
    }

    /// See `Session::gap`: `{"gap":{"from","to"}}`.
    #[cold]
    pub fn gap(&mut self, from: Seq, to: Seq, context: &mut Context<'_>) {
        if !self.link.is_open() {
            return;
        }
        let encoding = self.link.encoding();
        self.link.say(RARE_BYTES_EXPECTED, context, |out| codec::encode_gap(encoding, from, to, out));
    }

    /// What a consumer hears first when it asked for it: `{"subscribed":{...}}`.
    #[cold]
    pub fn greet(&mut self, subscribed: &Subscribed, context: &mut Context<'_>) {
        let encoding = self.link.encoding();
        self.link.say(RARE_BYTES_EXPECTED, context, |out| codec::encode_subscribed(encoding, subscribed, out));
    }

    /// See `Session::announce_drain`: `{"drain":{"retryAfterMs","alternates"}}`.
    #[cold]
    pub fn announce_drain(&mut self, context: &mut Context<'_>) {
        let (encoding, policy) = (self.link.encoding(), context.policy);
        self.link.say(RARE_BYTES_EXPECTED, context, |out| codec::encode_drain(encoding, &policy.drain, out));
    }

    /// Its access-log lines say this of it from here on.
    pub(crate) fn be_known_as(&mut self, socket: Option<Box<Socket>>) {
        self.link.socket = socket;
    }

    /// See `Session::close`: an error frame, then a close frame with the code of the table (RFC 6455, section 7.4).
    pub fn close(&mut self, violation: &Violation, context: &mut Context<'_>) {
        self.link.close(violation, context);
    }

    /// The same for a refusal, which may say when to come again.
    #[cold]
    pub(crate) fn refuse(&mut self, refusal: &Refusal<'_>, context: &mut Context<'_>) {
        self.link.close_for(refusal, context);
    }

    /// See `Session::recheck`.
    #[cold]
    pub fn recheck(&mut self, context: &mut Context<'_>) {
        if !self.party.is_welcome(context.policy) {
            self.link.close(&unwelcome(), context);
        }
    }

    /// See `Session::is_closing`: our close frame is in the outbox or was written.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        !self.link.is_open()
    }

    /// See `Session::is_finished`: both close frames have been seen, or the peer's is not worth waiting for.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.link.is_finished()
    }

    /// See `Session::is_idle`.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.unanswered.is_empty() && !self.gather.is_begun() && !self.gather.is_partial() && self.rest_bytes == 0
    }

    /// See `Session::owes_answer`.
    #[must_use]
    pub fn owes_answer(&self) -> bool {
        !self.unanswered.is_empty()
    }

    /// See `Session::deadline_ns`.
    #[must_use]
    pub fn deadline_ns(&self, limits: &Limits) -> Option<u64> {
        let expires_ns = self.party.expires_ns().filter(|_| self.link.is_open());
        match (self.link.deadline_ns(limits), expires_ns) {
            (Some(due_ns), Some(expires_ns)) => Some(due_ns.min(expires_ns)),
            (due_ns, expires_ns) => due_ns.or(expires_ns),
        }
    }

    /// See `Session::handle_deadline`. Its owner must not call it while it does not read from the peer, or an answer to
    /// the ping could not be heard.
    pub fn handle_deadline(&mut self, context: &mut Context<'_>) {
        if self.party.expires_ns().is_some_and(|expires_ns| expires_ns <= context.now.mono_ns) {
            self.party.note_expired();
            let sentence = "the token has expired: get a new one and connect again";
            self.link.close(&Violation::new(ErrorCode::Unauthorized, sentence), context);
        }
        if self.link.handle_deadline(context) {
            self.unanswered.shrink();
        }
        if self.link.is_finished() {
            self.release();
        }
    }

    /// See `Session::disconnected`.
    pub fn disconnected(&mut self, now: Now, telemetry: &mut Telemetry, log: &mut AccessLog, gate: &mut dyn Gate) {
        self.party.release(gate);
        self.link.uncount(now, telemetry, log);
    }

    /// Gives back the memory of a finished session.
    fn release(&mut self) {
        self.gather = Gather::default();
        self.unanswered = Unanswered::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_session_is_small() {
        assert!(size_of::<WsSession>() <= 224, "{} bytes", size_of::<WsSession>());
    }
}
