//! From a complete message to the command that it asks for.

use super::Role;
use super::gather::Kind;
use super::link::Link;
use super::party::Party;
use super::unanswered::Unanswered;
use crate::answer::Refusal;
use crate::codec::{self, Encoding, FrameError, LastStream, Unusual, Usual};
use crate::command::{Command, Publish};
use crate::ids::Token;
use crate::limiter::Rate;
use crate::{Context, ErrorCode, Step, Violation};
use std::borrow::Cow;

const NOT_UTF_8: &str = "the text message is not UTF-8";
const ONLY_ENQUEUE: &str = "this connection only takes `enqueue`; subscribe to get deliveries";

/// Turns a complete message into a command. One that cannot be accepted is answered in the outbox, and one that cannot
/// be understood starts the closing; either way there may be more in the inbox.
#[inline(always)]
pub(super) fn step<'s>(
    party: &mut Party,
    kind: Kind,
    payload: &'s [u8],
    link: &mut Link,
    unanswered: &mut Unanswered,
    last_stream: &'s mut LastStream,
    context: &mut Context<'_>,
) -> Step<'s> {
    if let Some(step) = admit(party, payload, link, context) {
        return step;
    }
    operate(party, kind, payload, link, unanswered, last_stream, context)
}

/// Counts a message, and ends the connection when it is one too many or too large.
#[inline(always)]
pub(super) fn admit<'s>(
    party: &mut Party,
    payload: &[u8],
    link: &mut Link,
    context: &mut Context<'_>,
) -> Option<Step<'s>> {
    let encoding = link.encoding();
    let counters = &mut context.telemetry.ws;
    counters.messages_in += 1;
    counters.bytes_in += payload.len() as u64;
    counters.codecs[encoding as usize].requests += 1;
    counters.codecs[encoding as usize].bytes_in += payload.len() as u64;
    context.telemetry.tenants.count(party.tenant, |tenant| tenant.messages_in += 1);

    if let Some(rate) = context.policy.rates.ws_messages
        && let Err(wait_ms) = party.take_message(context.now, rate)
    {
        return Some(end_for_rate(rate, wait_ms, link, context));
    }
    if let Err(violation) = codec::check_decoded_size(encoding, payload, context.policy.guards.decoded_bytes_max) {
        return Some(end(violation.code, violation.message, link, context));
    }
    None
}

/// Does what a message that has been counted asks for.
#[inline(always)]
pub(super) fn operate<'s>(
    party: &Party,
    kind: Kind,
    payload: &'s [u8],
    link: &mut Link,
    unanswered: &mut Unanswered,
    last_stream: &'s mut LastStream,
    context: &mut Context<'_>,
) -> Step<'s> {
    let (role, tenant, encoding) = (party.role, party.tenant, link.encoding());
    // The JSON decoder checks that itself, so that the good case need not be checked twice.
    if encoding == Encoding::MessagePack && is_not_utf_8(kind, payload) {
        return end(ErrorCode::DecodeError, NOT_UTF_8, link, context);
    }
    // Each command is made where it stays: moved once more, it would cost as much as some of them do.
    match codec::decode_usual(encoding, payload, context.limits, Some(last_stream)) {
        Ok(Usual::Enqueue(plain)) => {
            if context.draining {
                return refuse_while_draining(plain.reference, link, context);
            }
            let token = plain.reference.map_or(Token::NONE, |reference| unanswered.push(reference));
            let publish = plain.into_publish(role == Role::Publisher);
            Step::Command { token, tenant, command: Command::Publish(publish) }
        }
        Err(unusual) => operate_in_any_form(party, kind, unusual, payload, link, unanswered, context),
        Ok(_) if role == Role::Publisher => end(ErrorCode::UnknownOp, ONLY_ENQUEUE, link, context),
        Ok(Usual::Ack(seq)) => {
            if let Some(socket) = &mut link.socket {
                socket.ack_seq(context.now, seq, context.log);
            }
            Step::Command { token: Token::NONE, tenant, command: Command::AckSeq(seq) }
        }
        Ok(Usual::Credit(n)) => {
            grant(n, link, context);
            Step::Command { token: Token::NONE, tenant, command: Command::Credit(n) }
        }
    }
}

/// The same for a message in any form, or with something wrong.
#[inline(never)]
fn operate_in_any_form<'s>(
    party: &Party,
    kind: Kind,
    unusual: Unusual<'s>,
    payload: &'s [u8],
    link: &mut Link,
    unanswered: &mut Unanswered,
    context: &mut Context<'_>,
) -> Step<'s> {
    let (role, tenant) = (party.role, party.tenant);
    let command = match codec::decode_unusual(unusual, context.limits) {
        Ok(codec::Frame::Enqueue { publish, reference }) => {
            if context.draining {
                return refuse_while_draining(reference, link, context);
            }
            if let Err(violation) = codec::check_deliver_at(&publish.options, context.now, context.limits) {
                return refuse(violation.code, violation.message, reference, link, context);
            }
            let token = reference.map_or(Token::NONE, |reference| unanswered.push(reference));
            let publish = Publish { pausable: role == Role::Publisher, ..publish };
            return Step::Command { token, tenant, command: Command::Publish(publish) };
        }
        Ok(_) if role == Role::Publisher => return end(ErrorCode::UnknownOp, ONLY_ENQUEUE, link, context),
        Ok(codec::Frame::Credit(n)) => {
            grant(n, link, context);
            Command::Credit(n)
        }
        Ok(codec::Frame::Ack(targets)) => {
            if let Some(socket) = &mut link.socket {
                socket.ack(context.now, &targets, context.log);
            }
            Command::Ack(targets)
        }
        Ok(codec::Frame::AckUpTo(seq)) => {
            if let Some(socket) = &mut link.socket {
                socket.ack_up_to(context.now, seq, context.log);
            }
            Command::AckUpTo(seq)
        }
        Ok(codec::Frame::Nack(nack)) => {
            if let Some(socket) = &mut link.socket {
                socket.nack(context.now, &nack, context.log);
            }
            Command::Nack(nack)
        }
        Err(FrameError::Refused { violation, reference }) => {
            return refuse(violation.code, violation.message, reference, link, context);
        }
        Err(FrameError::Fatal(violation))
            if violation.code == ErrorCode::InvalidJson && is_not_utf_8(kind, payload) =>
        {
            return end(ErrorCode::DecodeError, NOT_UTF_8, link, context);
        }
        Err(FrameError::Fatal(violation)) => return end(violation.code, violation.message, link, context),
    };
    Step::Command { token: Token::NONE, tenant, command }
}

/// A text message must be UTF-8 (RFC 6455, section 8.1).
fn is_not_utf_8(kind: Kind, payload: &[u8]) -> bool {
    kind == Kind::Text && simdutf8::basic::from_utf8(payload).is_err()
}

fn grant(n: u64, link: &mut Link, context: &mut Context<'_>) {
    context.telemetry.ws.credits_granted = context.telemetry.ws.credits_granted.saturating_add(n);
    if let Some(socket) = &mut link.socket {
        socket.credit(context.now, n, context.log);
    }
}

#[cold]
fn refuse_while_draining<'s>(reference: Option<&[u8]>, link: &mut Link, context: &mut Context<'_>) -> Step<'s> {
    refuse(ErrorCode::ServerDraining, "the server is shutting down".into(), reference, link, context)
}

/// Starts the closing: messages come too fast.
#[cold]
fn end_for_rate<'s>(rate: Rate, wait_ms: u32, link: &mut Link, context: &mut Context<'_>) -> Step<'s> {
    let seconds = f64::from(rate.window_ms) / 1_000.0;
    let message = format!(
        "one connection may send {} messages in {seconds} s, {} of them at once: wait {wait_ms} ms before the next",
        rate.per_window, rate.burst
    );
    let refusal =
        Refusal { code: ErrorCode::RateLimitExceeded, message: message.into(), retry_after_ms: Some(wait_ms) };
    link.close_for(&refusal, context);
    Step::Again
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
