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
mod unanswered;

use crate::answer::{Answer, Delivery, Receipt, Refusal};
use crate::codec::{self, Encoding, FrameError, LastStream};
use crate::command::{Command, Publish};
use crate::ids::{Seq, TenantId, Token};
use crate::streams::Subscribed;
use crate::{Context, ErrorCode, Inbox, Limits, Step, Telemetry, Violation};
use frame::{HEADER_BYTES_MAX, Header, Whole};
use gather::{Gather, Kind};
use link::Link;
use std::borrow::Cow;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};
use unanswered::Unanswered;

/// Payload bytes up to which an incomplete data frame stays in the inbox: reading it again with the next bytes is cheaper
/// than gathering it.
const INBOX_PAYLOAD_BYTES_MAX: usize = 4 * 1024;

/// Bytes that [`Step::NeedBytes`] leaves in the inbox of a WebSocket at most.
pub const INBOX_REST_BYTES_MAX: usize = HEADER_BYTES_MAX + INBOX_PAYLOAD_BYTES_MAX;

/// Bytes of a delivery beyond its envelope and id, roughly: the guess for its frame header.
const DELIVERY_BYTES_EXPECTED: usize = 48;

const NOT_UTF_8: &str = "the text message is not UTF-8";

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

/// One WebSocket connection. About 200 bytes; its buffers exist only while they hold something or are small.
#[derive(Debug)]
pub struct WsSession {
    role: Role,
    link: Link,
    gather: Gather,
    unanswered: Unanswered,
    last_stream: LastStream,
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
            role,
            link: Link::new(encoding, context),
            gather: Gather::default(),
            unanswered: Unanswered::default(),
            last_stream: LastStream::default(),
            rest_bytes: 0,
        }
    }

    /// See `Session::next`. [`Step::NeedBytes`] leaves at most [`INBOX_REST_BYTES_MAX`] bytes in the inbox.
    ///
    /// A violation of the protocol of messages starts the closing, and frames are read on (and thrown away) until the
    /// peer's close frame: so the peer learns why even if it is in the middle of a long message. A violation of the
    /// framing ends the session at once, since what follows cannot be read (RFC 6455, section 7.1.7).
    #[inline]
    pub fn next<'s>(&'s mut self, inbox: &'s mut Inbox<'_>, context: &mut Context<'_>) -> Step<'s> {
        if self.link.is_clear()
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
        step(self.role, kind, payload, &mut self.link, &mut self.unanswered, &mut self.last_stream, context)
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
        if self.link.is_open() && self.unanswered.is_full(context.limits.unanswered_max) {
            return Step::Wait;
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
        step(self.role, kind, payload, &mut self.link, &mut self.unanswered, &mut self.last_stream, context)
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
        self.link.finish(context.telemetry);
        Found::Over
    }

    /// See `Session::answer`.
    pub fn answer(&mut self, token: Token, answer: &Answer<'_>, context: &mut Context<'_>) {
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

    /// See `Session::close`: an error frame, then a close frame with the code of the table (RFC 6455, section 7.4).
    pub fn close(&mut self, violation: &Violation, context: &mut Context<'_>) {
        self.link.close(violation, context);
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
        self.link.deadline_ns(limits)
    }

    /// See `Session::handle_deadline`. Its owner must not call it while it does not read from the peer, or an answer to
    /// the ping could not be heard.
    pub fn handle_deadline(&mut self, context: &mut Context<'_>) {
        if self.link.handle_deadline(context) {
            self.unanswered.shrink();
        }
        if self.link.is_finished() {
            self.release();
        }
    }

    /// See `Session::disconnected`.
    pub fn disconnected(&mut self, telemetry: &mut Telemetry) {
        self.link.uncount(telemetry);
    }

    /// Gives back the memory of a finished session.
    fn release(&mut self) {
        self.gather = Gather::default();
        self.unanswered = Unanswered::default();
    }
}

/// Turns a complete message into a command. One that cannot be accepted is answered in the outbox, and one that cannot
/// be understood starts the closing; either way there may be more in the inbox.
#[inline]
fn step<'s>(
    role: Role,
    kind: Kind,
    payload: &'s [u8],
    link: &mut Link,
    unanswered: &mut Unanswered,
    last_stream: &'s mut LastStream,
    context: &mut Context<'_>,
) -> Step<'s> {
    let encoding = link.encoding();
    let counters = &mut context.telemetry.ws;
    counters.messages_in += 1;
    counters.bytes_in += payload.len() as u64;
    counters.codecs[encoding as usize].requests += 1;
    counters.codecs[encoding as usize].bytes_in += payload.len() as u64;

    let not_utf_8 = || kind == Kind::Text && simdutf8::basic::from_utf8(payload).is_err();
    // A text message must be UTF-8 (RFC 6455, section 8.1). The JSON decoder checks that itself, so that the good case
    // need not be checked twice.
    if encoding == Encoding::MessagePack && not_utf_8() {
        return end(ErrorCode::DecodeError, NOT_UTF_8, link, context);
    }
    // The decoded frame is large: it is taken apart where it lies, and each operation is moved once.
    match codec::decode_frame_after(encoding, payload, context.limits, last_stream) {
        Ok(codec::Frame::Enqueue { publish, reference }) => {
            if context.draining {
                return refuse(
                    ErrorCode::ServerDraining,
                    "the server is shutting down".into(),
                    reference,
                    link,
                    context,
                );
            }
            if let Err(violation) = codec::check_deliver_at(&publish.options, context.now, context.limits) {
                return refuse(violation.code, violation.message, reference, link, context);
            }
            let token = reference.map_or(Token::NONE, |reference| unanswered.push(reference));
            let publish = Publish { pausable: role == Role::Publisher, ..publish };
            Step::Command { token, tenant: TenantId::DEFAULT, command: Command::Publish(publish) }
        }
        Ok(_) if role == Role::Publisher => end(
            ErrorCode::UnknownOp,
            "this connection only takes `enqueue`; subscribe to get deliveries",
            link,
            context,
        ),
        Ok(codec::Frame::Credit(n)) => {
            context.telemetry.ws.credits_granted = context.telemetry.ws.credits_granted.saturating_add(n);
            Step::Command { token: Token::NONE, tenant: TenantId::DEFAULT, command: Command::Credit(n) }
        }
        Ok(codec::Frame::Ack(targets)) => {
            Step::Command { token: Token::NONE, tenant: TenantId::DEFAULT, command: Command::Ack(targets) }
        }
        Ok(codec::Frame::AckUpTo(seq)) => {
            Step::Command { token: Token::NONE, tenant: TenantId::DEFAULT, command: Command::AckUpTo(seq) }
        }
        Ok(codec::Frame::Nack(nack)) => {
            Step::Command { token: Token::NONE, tenant: TenantId::DEFAULT, command: Command::Nack(nack) }
        }
        Err(FrameError::Refused { violation, reference }) => {
            refuse(violation.code, violation.message, reference, link, context)
        }
        Err(FrameError::Fatal(violation)) if violation.code == ErrorCode::InvalidJson && not_utf_8() => {
            end(ErrorCode::DecodeError, NOT_UTF_8, link, context)
        }
        Err(FrameError::Fatal(violation)) => end(violation.code, violation.message, link, context),
    }
}

/// Answers an `enqueue` that cannot be accepted; the connection goes on.
#[cold]
fn refuse<'s>(
    code: ErrorCode,
    message: Cow<'static, str>,
    reference: Option<&[u8]>,
    link: &mut Link,
    context: &mut Context<'_>,
) -> Step<'s> {
    link.refuse(&Refusal { code, message, retry_after_ms: None }, reference, context);
    Step::Again
}

/// Starts the closing: the message makes no sense here.
#[cold]
fn end<'s>(
    code: ErrorCode,
    message: impl Into<Cow<'static, str>>,
    link: &mut Link,
    context: &mut Context<'_>,
) -> Step<'s> {
    link.close(&Violation::new(code, message), context);
    Step::Again
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_session_is_small() {
        assert!(size_of::<WsSession>() <= 200, "{} bytes", size_of::<WsSession>());
    }
}
