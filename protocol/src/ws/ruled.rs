//! A WebSocket whose handshake or messages rules look at. The contract is that of [`crate::rules`]; its steps recur here by
//! their numbers.

use super::link::Link;
use super::party::Party;
use super::unanswered::Unanswered;
use crate::answer::Answer;
use crate::answer::Refusal;
use crate::codec::{self, Encoding};
use crate::command::{Command, Report, View};
use crate::context::Context;
use crate::error::{ErrorCode, Violation};
use crate::http::{Caller, count_failure, decode_body, hello, result_of};
use crate::ids::Token;
use crate::limiter::{Charge, Verdict};
use crate::limits::Limits;
use crate::policy::{Identity, Scope};
use crate::rules::{
    Continuation, Continuations, FrameRequest, Message, MessageRules, Outcome, Reply, ReplyBody, Response, Rule,
    RuleError,
};
use crate::session::Step;
use serde_json::Value;
use std::collections::VecDeque;

/// Bytes of what a rule says, roughly.
const RULED_BYTES_EXPECTED: usize = 200;

/// What rules have to do with one connection. Most have none of this.
#[derive(Debug)]
pub(super) struct Ruled {
    /// The rules that look at its messages.
    rules: Option<Box<MessageRules>>,
    /// Of the policy that those are of.
    generation: u64,
    /// Who is on the other side.
    caller: Option<Caller>,
    /// What its documents may tell.
    scope: Scope,
    /// What goes on when the broker has answered: as many as there are unanswered requests at most.
    waiting: Continuations,
    /// Those of `waiting` that wait for a document.
    documents: Vec<Token>,
    /// What is to be said to the broker before the next message is taken: a few for each rule that has answered.
    next: VecDeque<(FrameRequest, Option<Continuation>)>,
    /// A message whose rule has decided, while another shard is asked whether it may answer that often.
    settling: Option<Box<Settling>>,
    /// The text of the frame that has just been given out.
    text: Vec<u8>,
}

/// What rules have made of a handshake.
#[derive(Debug, Default)]
pub(crate) struct ByRules {
    /// The rules that look at the messages.
    pub(crate) messages: Option<Box<MessageRules>>,
    /// What to say first.
    pub(crate) response: Option<Response>,
    /// What to say to the broker first.
    pub(crate) frame: Option<(FrameRequest, Continuation)>,
    /// What to say to the broker then.
    pub(crate) then: Vec<FrameRequest>,
    /// Who is on the other side.
    pub(crate) caller: Option<Caller>,
}

impl Ruled {
    pub(super) fn new(opening: ByRules, scope: Scope, generation: u64) -> (Self, Option<Response>) {
        let first = opening.frame.map(|(frame, continuation)| (frame, Some(continuation)));
        let then = opening.then.into_iter().map(|frame| (frame, None));
        let ruled = Self {
            rules: opening.messages,
            generation,
            caller: opening.caller,
            scope,
            waiting: Continuations::default(),
            documents: Vec::new(),
            next: first.into_iter().chain(then).collect(),
            settling: None,
            text: Vec::new(),
        };
        (ruled, opening.response)
    }

    /// Something is to be done, whether or not bytes come.
    pub(super) fn has_next(&self) -> bool {
        !self.next.is_empty() || self.is_settled()
    }

    /// Another shard has answered about the message in front.
    pub(super) fn is_settled(&self) -> bool {
        self.settling.as_ref().is_some_and(|settling| settling.answer.is_some())
    }

    /// No more messages may be taken before the broker, or another shard, has answered, or before one of the documents has
    /// come that are owed.
    pub(super) fn is_waiting(&self, limits: &Limits) -> bool {
        self.waiting.is_full()
            || self.documents.len() >= limits.documents_max
            || self.settling.as_ref().is_some_and(|settling| settling.answer.is_none())
    }

    /// What the rules say about a message (4).
    pub(super) fn decide(
        &mut self,
        is_text: bool,
        payload: &[u8],
        link: &mut Link,
        unanswered: &mut Unanswered,
        context: &mut Context<'_>,
    ) -> Decided {
        self.renew(context);
        let Some(rules) = &self.rules else { return Decided::Native };
        let encoding = link.encoding();
        let value = match decode_body(encoding, payload, context) {
            Ok(value) => value,
            // The built-in operation would take it: what rules cannot look into must not pass them for that.
            Err(violation) if violation.code == ErrorCode::DecodedSizeExceeded && rules.needs_value() => {
                link.close(&violation, context);
                return Decided::Done;
            }
            // It refuses what cannot be decoded. A rule may be about the kind of the message alone.
            Err(_) => None,
        };
        let json = if encoding == Encoding::Json { std::str::from_utf8(payload).ok() } else { None };
        let outcome = rules.run(Message { is_text, value, json }, context.now.unix_ms);
        let rule = match &outcome {
            Outcome::NoMatch => return Decided::Native,
            Outcome::Native { rule } | Outcome::Respond { rule, .. } | Outcome::Frame { rule, .. } => rule.clone(),
        };
        context.telemetry.count_rule(rule.index());
        match self.enforce(&rule, context) {
            Verdict::Granted => self.follow(outcome, link, context),
            Verdict::Refused(refusal) => {
                link.close_for(&refusal, context);
                Decided::Done
            }
            Verdict::Away => {
                let Some(charge) = self.charge(&rule, context) else { return Decided::Native };
                let token = unanswered.push(&[]);
                let is_native = matches!(outcome, Outcome::Native { .. });
                let payload = if is_native { payload.to_vec() } else { Vec::new() };
                self.settling = Some(Box::new(Settling { token, answer: None, outcome, is_text, payload }));
                Decided::Ask(token, charge)
            }
        }
    }

    /// Does what a rule has decided, as far as that needs nobody else.
    fn follow(&mut self, outcome: Outcome, link: &mut Link, context: &mut Context<'_>) -> Decided {
        match outcome {
            Outcome::NoMatch | Outcome::Native { .. } => Decided::Native,
            Outcome::Respond { response, then, .. } => {
                self.next.extend(then.into_iter().map(|frame| (frame, None)));
                say(&response, link, context);
                Decided::Done
            }
            Outcome::Frame { request, continuation, .. } => {
                self.next.push_front((request, Some(continuation)));
                Decided::Done
            }
        }
    }

    /// Another shard has answered whether a rule may answer a message. The message, if the built-in operation is to have it
    /// now: whether it is text, and its bytes.
    pub(super) fn settle(&mut self, link: &mut Link, context: &mut Context<'_>) -> Option<(bool, &[u8])> {
        let settling = *self.settling.take_if(|settling| settling.answer.is_some())?;
        let Settling { answer, outcome, is_text, payload, .. } = settling;
        if let Some(Err(refusal)) = answer {
            link.close_for(&refusal, context);
            return None;
        }
        match self.follow(outcome, link, context) {
            Decided::Native => {
                self.text = payload;
                Some((is_text, &self.text))
            }
            Decided::Done | Decided::Ask(..) => None,
        }
    }

    /// After a reload, what the new rules say.
    fn renew(&mut self, context: &Context<'_>) {
        if self.generation != context.policy.generation {
            self.generation = context.policy.generation;
            self.rules = self.rules.take().and_then(|rules| rules.renewed(&context.policy.rules));
        }
    }

    /// What one message costs whoever shares the rule's rate, if it has one.
    fn charge(&self, rule: &Rule, context: &Context<'_>) -> Option<Charge> {
        let unknown = Caller { address: context.peer, identity: Identity::Anonymous };
        let rate = rule.rate()?;
        Some(self.caller.as_ref().unwrap_or(&unknown).charge_of_rule(rule.index() as u32, rate))
    }

    /// What a rule asks of credentials, and how often it may answer.
    fn enforce(&self, rule: &Rule, context: &mut Context<'_>) -> Verdict {
        let is_known = self.caller.is_some_and(|caller| matches!(caller.identity, Identity::Known(_)));
        if rule.auth_required() == Some(true) && !is_known && !context.policy.access.is_open() {
            let message = "what the message asks for needs a token: connect with one";
            return Verdict::Refused(Violation::new(ErrorCode::Unauthorized, message).into());
        }
        match self.charge(rule, context) {
            Some(charge) => context.gate.charge(context.now, &charge),
            None => Verdict::Granted,
        }
    }

    /// Says the next of what rules have to say to the broker (5).
    pub(super) fn step<'s>(
        &'s mut self,
        party: &Party,
        link: &mut Link,
        unanswered: &mut Unanswered,
        context: &mut Context<'_>,
    ) -> Step<'s> {
        let Some((request, continuation)) = self.next.pop_front() else { return Step::Again };
        let tenant = party.tenant;
        let echo = request.echo();
        let done = |command| Step::Command { token: Token::NONE, tenant, command };
        let known = match request {
            FrameRequest::Enqueue { publish } if !context.draining => {
                self.text = publish;
                let read = codec::decode_publish(Encoding::Json, &self.text, context.limits).and_then(|publish| {
                    codec::check_deliver_at(&publish.options, context.now, context.limits).map(|()| publish)
                });
                match read {
                    Ok(publish) => {
                        let token = wait(continuation, &mut self.waiting, unanswered);
                        return Step::Command { token, tenant, command: Command::Publish(publish) };
                    }
                    Err(violation) => {
                        let Violation { code, message } = violation;
                        Err(RuleError::new(code, message))
                    }
                }
            }
            FrameRequest::Enqueue { .. } => {
                Err(RuleError::new(ErrorCode::ServerDraining, "the server is shutting down"))
            }
            FrameRequest::Stats { stream } => match codec::check_stream_name(&stream, context.limits) {
                Ok(()) => {
                    let token = self.wait_for_document(continuation, unanswered);
                    return Step::Command { token, tenant, command: Command::Stats { stream: stream.into() } };
                }
                Err(violation) => Err(RuleError::new(violation.code, violation.message)),
            },
            FrameRequest::Snapshot { view } => match View::of_name(&view) {
                Some(view) => {
                    let token = self.wait_for_document(continuation, unanswered);
                    let command = Command::Report { report: Report::Snapshot(view), scope: self.scope };
                    return Step::Command { token, tenant, command };
                }
                None => {
                    let error = RuleError::new(ErrorCode::NotFound, format!("View not found: {view}"));
                    Err(RuleError { code: "UnknownView".into(), ..error })
                }
            },
            FrameRequest::Metrics => {
                let token = self.wait_for_document(continuation, unanswered);
                let command = Command::Report { report: Report::Metrics, scope: self.scope };
                return Step::Command { token, tenant, command };
            }
            FrameRequest::Hello => Ok(hello()),
            FrameRequest::Grant { credit } => {
                context.telemetry.ws.credits_granted = context.telemetry.ws.credits_granted.saturating_add(credit);
                self.finish(continuation, Ok(echo), link, context);
                return done(Command::Credit(credit.min(context.limits.credit_max)));
            }
            FrameRequest::Ack { frame } | FrameRequest::Nack { frame } => {
                self.text = frame;
                match codec::decode_frame(Encoding::Json, &self.text, context.limits) {
                    Ok(codec::Frame::Ack(targets)) => {
                        finish(&mut self.next, continuation, Ok(echo), link, context);
                        return done(Command::Ack(targets));
                    }
                    Ok(codec::Frame::Nack(nack)) => {
                        finish(&mut self.next, continuation, Ok(echo), link, context);
                        return done(Command::Nack(nack));
                    }
                    _ => Err(RuleError::new(ErrorCode::InvalidField, "the rule's ack or nack names no message")),
                }
            }
            FrameRequest::Subscribe { .. } => {
                let message =
                    "a connection subscribes with its handshake: let the rule's `when.ws` be about connecting";
                Err(RuleError::new(ErrorCode::UnknownOp, message))
            }
        };
        finish(&mut self.next, continuation, known, link, context);
        Step::Again
    }

    /// As [`wait`], for something that can be large.
    fn wait_for_document(&mut self, continuation: Option<Continuation>, unanswered: &mut Unanswered) -> Token {
        let token = wait(continuation, &mut self.waiting, unanswered);
        if token != Token::NONE {
            self.documents.push(token);
        }
        token
    }

    fn finish(
        &mut self,
        continuation: Option<Continuation>,
        result: Result<Value, RuleError>,
        link: &mut Link,
        context: &mut Context<'_>,
    ) {
        finish(&mut self.next, continuation, result, link, context);
    }

    /// The broker has answered a frame (6). False: it was no rule's.
    pub(super) fn take_answer(
        &mut self,
        token: Token,
        answer: &Answer<'_>,
        link: &mut Link,
        unanswered: &mut Unanswered,
        context: &mut Context<'_>,
    ) -> bool {
        if let Some(settling) = self.settling.as_mut().filter(|settling| settling.token == token) {
            settling.answer = Some(match answer {
                Answer::Refused(Refusal { code, message, retry_after_ms }) => {
                    let message = message.clone().into_owned().into();
                    Err(Refusal { code: *code, message, retry_after_ms: *retry_after_ms })
                }
                _ => Ok(()),
            });
            unanswered.take(token, |_| ());
            return true;
        }
        let Some(continuation) = self.waiting.take(token) else { return false };
        self.documents.retain(|owed| *owed != token);
        unanswered.take(token, |_| ());
        self.finish(Some(continuation), result_of(answer), link, context);
        true
    }
}

/// What is to happen to a message.
pub(super) enum Decided {
    /// The built-in operation decides.
    Native,
    /// A rule has answered it. What it has to say to the broker comes with the next call.
    Done,
    /// Another shard is to be asked first.
    Ask(Token, Charge),
}

#[derive(Debug)]
struct Settling {
    token: Token,
    /// What the other shard says.
    answer: Option<Result<(), Refusal<'static>>>,
    outcome: Outcome,
    /// The message, if the built-in operation is to have it.
    is_text: bool,
    payload: Vec<u8>,
}

/// Keeps what goes on with the broker's answer, under the token that the answer will name.
fn wait(continuation: Option<Continuation>, waiting: &mut Continuations, unanswered: &mut Unanswered) -> Token {
    if continuation.is_none() {
        return Token::NONE;
    }
    let token = unanswered.push(&[]);
    waiting.keep(token, continuation);
    token
}

fn finish(
    next: &mut VecDeque<(FrameRequest, Option<Continuation>)>,
    continuation: Option<Continuation>,
    result: Result<Value, RuleError>,
    link: &mut Link,
    context: &mut Context<'_>,
) {
    let Some(continuation) = continuation else { return count_failure(&result, context) };
    let finished = continuation.finish(result);
    next.extend(finished.then.into_iter().map(|frame| (frame, None)));
    say(&finished.response, link, context);
}

/// Says what a rule answers.
pub(super) fn say(response: &Response, link: &mut Link, context: &mut Context<'_>) {
    let encoding = link.encoding();
    if let Some(error) = &response.error {
        context.telemetry.count_error(error.known().unwrap_or(ErrorCode::InvalidField));
        if let Some(socket) = &link.socket {
            socket.refused_by_rule(context.now, error.known(), &error.code, context.log);
        }
    }
    let (body, close) = match &response.reply {
        Reply::Ws { body, close } => (body.as_ref(), close.as_ref()),
        Reply::Http { body: ReplyBody::Value(value), .. } => (Some(value), None),
        Reply::Http { .. } => (None, None),
    };
    if let Some(body) = body {
        link.say(RULED_BYTES_EXPECTED, context, |out| {
            // Writing values to memory does not fail.
            let _ = match encoding {
                Encoding::Json => serde_json::to_writer(out, body).is_ok(),
                Encoding::MessagePack => rmp_serde::encode::write_named(out, body).is_ok(),
            };
        });
    }
    if let Some(close) = close {
        link.close_with(close.code, &close.reason, context);
    }
}
