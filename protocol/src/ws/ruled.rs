//! A WebSocket whose handshake or messages rules look at. The contract is that of [`crate::rules`]; its steps recur here by
//! their numbers.

use super::link::Link;
use super::party::Party;
use super::unanswered::Unanswered;
use crate::answer::Answer;
use crate::codec::{self, Encoding};
use crate::command::{Command, Report, View};
use crate::context::Context;
use crate::error::{ErrorCode, Violation};
use crate::http::{count_failure, decode_body, hello, result_of};
use crate::ids::Token;
use crate::limiter::{Bucket, Rate};
use crate::limits::Limits;
use crate::policy::Scope;
use crate::rules::{
    Continuation, FrameRequest, Message, MessageRules, Outcome, Reply, ReplyBody, Response, Rule, RuleError,
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
    /// Whoever is on the other side has shown a token.
    is_known: bool,
    /// What its documents may tell.
    scope: Scope,
    /// What goes on when the broker has answered: as many as there are unanswered requests at most.
    waiting: Vec<(Token, Continuation)>,
    /// Those of `waiting` that wait for a document.
    documents: Vec<Token>,
    /// What is to be said to the broker before the next message is taken: a few for each rule that has answered.
    next: VecDeque<(FrameRequest, Option<Continuation>)>,
    /// What is left of the rates of rules, for this connection.
    rates: Vec<(u32, Bucket)>,
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
    /// The other side has shown a token.
    pub(crate) is_known: bool,
}

impl Ruled {
    pub(super) fn new(opening: ByRules, scope: Scope, generation: u64) -> (Self, Option<Response>) {
        let first = opening.frame.map(|(frame, continuation)| (frame, Some(continuation)));
        let then = opening.then.into_iter().map(|frame| (frame, None));
        let ruled = Self {
            rules: opening.messages,
            generation,
            is_known: opening.is_known,
            scope,
            waiting: Vec::new(),
            documents: Vec::new(),
            next: first.into_iter().chain(then).collect(),
            rates: Vec::new(),
            text: Vec::new(),
        };
        (ruled, opening.response)
    }

    /// Something is to be said to the broker, whether or not bytes come.
    pub(super) fn has_next(&self) -> bool {
        !self.next.is_empty()
    }

    /// As many documents are owed as may be: nothing more is to be taken before one comes.
    pub(super) fn is_full(&self, limits: &Limits) -> bool {
        self.documents.len() >= limits.documents_max
    }

    /// What the rules say about a message (4). `None`: the built-in operation decides.
    pub(super) fn decide(
        &mut self,
        is_text: bool,
        payload: &[u8],
        link: &mut Link,
        context: &mut Context<'_>,
    ) -> Option<Decided> {
        self.renew(context);
        let rules = self.rules.as_ref()?;
        let encoding = link.encoding();
        let value = decode_body(encoding, payload, context).ok().flatten();
        let json = if encoding == Encoding::Json { std::str::from_utf8(payload).ok() } else { None };
        let outcome = rules.run(Message { is_text, value, json }, context.now.unix_ms);
        let rule = match &outcome {
            Outcome::NoMatch => return None,
            Outcome::Native { rule } | Outcome::Respond { rule, .. } | Outcome::Frame { rule, .. } => rule.clone(),
        };
        context.telemetry.count_rule(rule.index());
        if let Err(violation) = self.enforce(&rule, context) {
            link.close(&violation, context);
            return Some(Decided);
        }
        match outcome {
            Outcome::NoMatch | Outcome::Native { .. } => None,
            Outcome::Respond { response, then, .. } => {
                self.next.extend(then.into_iter().map(|frame| (frame, None)));
                say(&response, link, context);
                Some(Decided)
            }
            Outcome::Frame { request, continuation, .. } => {
                self.next.push_front((request, Some(continuation)));
                Some(Decided)
            }
        }
    }

    /// After a reload, what the new rules say.
    fn renew(&mut self, context: &Context<'_>) {
        if self.generation != context.policy.generation {
            self.generation = context.policy.generation;
            self.rules = self.rules.take().and_then(|rules| rules.renewed(&context.policy.rules));
            self.rates.clear();
        }
    }

    /// What a rule asks of credentials, and how often it may answer this connection.
    fn enforce(&mut self, rule: &Rule, context: &Context<'_>) -> Result<(), Violation> {
        if rule.auth_required() == Some(true) && !self.is_known && !context.policy.access.is_open() {
            let message = "what the message asks for needs a token: connect with one";
            return Err(Violation::new(ErrorCode::Unauthorized, message));
        }
        let Some(rate) = rule.rate() else { return Ok(()) };
        let (index, now) = (rule.index() as u32, context.now);
        let rate = Rate { per_window: rate.per_minute, window_ms: 60_000, burst: rate.burst };
        let at = self.rates.iter().position(|(known, _)| *known == index).unwrap_or_else(|| {
            self.rates.push((index, Bucket::full(now, rate)));
            self.rates.len() - 1
        });
        self.rates[at].1.take(now, rate).map_err(|wait_ms| {
            let message = format!(
                "the rule {} answers one connection {} messages a minute, {} of them at once: wait {wait_ms} ms",
                rule.id(),
                rate.per_window,
                rate.burst
            );
            Violation::new(ErrorCode::RateLimitExceeded, message)
        })
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
        let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == token) else { return false };
        let (_, continuation) = self.waiting.swap_remove(at);
        self.documents.retain(|owed| *owed != token);
        unanswered.take(token, |_| ());
        self.finish(Some(continuation), result_of(answer), link, context);
        true
    }
}

/// A rule has decided about a message. What it has to say to the broker comes with the next call.
pub(super) struct Decided;

/// Keeps what goes on with the broker's answer, under the token that the answer will name.
fn wait(
    continuation: Option<Continuation>,
    waiting: &mut Vec<(Token, Continuation)>,
    unanswered: &mut Unanswered,
) -> Token {
    let Some(continuation) = continuation else { return Token::NONE };
    let token = unanswered.push(&[]);
    waiting.push((token, continuation));
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
        count_failure(&Err(error.clone()), context);
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
