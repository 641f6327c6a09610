//! Requests that rules answer: by themselves, or by way of a frame to the broker. The contract is that of
//! [`crate::rules`]; its steps recur here by their numbers.

use super::body::{Kept, Purpose};
use super::credentials;
use super::edge::{Caller, Edge, Halt, Permit};
use super::handshake::Upgrade;
use super::judge::{body_of, decode, is_many, judge_lines};
use super::plan::{Action, rules_see_at_most};
use super::response::{Extra, Outcome, Reply, too_large};
use super::session::{HttpSession, Phase};
use super::turn::{Place, Turn, check_publish};
use crate::Encoding;
use crate::answer::{Answer, Receipt, Refusal};
use crate::codec::{self, decode_publish};
use crate::command::{Command, Report, StreamCommand, View};
use crate::context::Context;
use crate::error::{ErrorCode, Violation};
use crate::ids::{TenantId, Token};
use crate::policy::{Identity, Need, Policy, Scope};
use crate::rules::{self, Candidates, Continuation, Continuations, FrameRequest, KeptHead, RuleError};
use crate::session::Step;
use crate::surface::http::Route;
use serde_json::{Value, json};
use std::collections::VecDeque;

/// What of a connection rules are busy with. Exists from the first request that a rule may answer.
#[derive(Debug, Default)]
pub(super) struct Ruled {
    /// A rule that has decided, while another shard is asked whether it may answer that often.
    settling: Option<Box<Settling>>,
    /// What goes on when the broker has answered. At most as many as there are unanswered requests.
    pub(super) waiting: Continuations,
    /// What rules say after their answers: at most a few of each rule.
    follow_ups: VecDeque<(TenantId, FrameRequest)>,
    /// The text of the frame or of the query that has just been given out.
    pub(super) text: Vec<u8>,
}

/// What is known of a request whose body decides.
#[derive(Debug)]
pub(super) struct Pending {
    candidates: Candidates,
    head: KeptHead,
    /// What happens when no rule applies.
    native: Native,
    caller: Caller,
    scope: Scope,
    /// The request has an `Idempotency-Key`.
    has_key: bool,
}

/// What the server does with a request without rules.
#[derive(Debug)]
enum Native {
    Publish(Kept),
    Batch(Kept),
    Settings(Box<StreamCommand<'static>>),
    /// The query, and what the document may tell.
    Query(Route, String, Scope),
    Ask(Box<StreamCommand<'static>>),
    Refuse(Refusal<'static>, Extra),
}

impl Native {
    /// It would refuse a body for the same reason that the decoder of rules has, or the request whatever the body is. What is
    /// too large is only so for rules.
    const fn refuses(&self, code: ErrorCode) -> bool {
        let is_for_rules = matches!(code, ErrorCode::DecodedSizeExceeded | ErrorCode::PayloadTooLarge);
        !is_for_rules && !matches!(self, Self::Query(..) | Self::Ask(_))
    }

    /// It is not to happen.
    fn forbid(&mut self, violation: Violation, bytes_max: usize) {
        let extra = too_large(&violation, bytes_max);
        *self = Self::Refuse(violation.into(), extra);
    }
}

#[derive(Debug)]
struct Settling {
    reply: Reply,
    judged: Judged,
    /// The rest of the request, if its body has been read.
    pending: Pending,
}

/// What a rule has decided.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) outcome: rules::Outcome,
    pub(super) scope: Scope,
    /// The request has an `Idempotency-Key`: it is in the session's buffer for keys.
    pub(super) has_key: bool,
}

/// The rule of an outcome, if there is one.
pub(super) const fn rule_of(outcome: &rules::Outcome) -> Option<&rules::Rule> {
    match outcome {
        rules::Outcome::NoMatch => None,
        rules::Outcome::Native { rule } | rules::Outcome::Respond { rule, .. } | rules::Outcome::Frame { rule, .. } => {
            Some(rule)
        }
    }
}

/// What the path asks of those who come, where the rule that answers is known from the head.
pub(super) fn need(candidates: &Candidates, usual: Need) -> Need {
    match candidates.certain().and_then(|rule| rule.auth_required()) {
        Some(true) if usual == Need::Nothing => Need::Token,
        Some(false) if usual == Need::Token => Need::Nothing,
        _ => usual,
    }
}

/// Whether a rule may answer: what it asks of credentials and how often it may (4).
///
/// # Errors
/// It goes no further.
pub(super) fn enforce(
    rule: &rules::Rule,
    caller: &Caller,
    edge: &mut Edge,
    context: &mut Context<'_>,
) -> Result<(), Halt> {
    if rule.auth_required() == Some(true) && !matches!(caller.identity, Identity::Known(_)) {
        credentials::permit(caller.identity, Need::Token, context.policy)?;
    }
    match rule.rate() {
        Some(rate) => edge.admit_to_rule(caller, rule.index() as u32, rate, context),
        None => Ok(()),
    }
}

/// A refusal of the edge in a rule's words.
pub(super) fn refused_by(rule: &rules::Rule, refusal: &Refusal<'_>, head: &rules::HeadView<'_>) -> rules::Outcome {
    let response = rule.refuse(RuleError::from(refusal), head);
    rules::Outcome::Respond { rule: rule.clone(), response, then: Vec::new() }
}

impl Pending {
    /// Keeps a request until its body has come. `Err`: the built-in way ends it before that, or takes no body.
    pub(super) fn new(
        candidates: Candidates,
        head: &rules::HeadView<'_>,
        native: Action,
        permit: &Permit,
        caller: &Caller,
        has_key: bool,
        policy: &Policy,
    ) -> Result<Box<Self>, Action> {
        let native = match native {
            Action::Receive(Purpose::Publish, kept) => Native::Publish(kept),
            Action::Receive(Purpose::Batch, kept) => Native::Batch(kept),
            Action::Receive(_, Kept::Settings(command)) => Native::Settings(command),
            Action::Query(route, _) => {
                let scope = credentials::scope_at(route, permit, caller.identity, policy);
                Native::Query(route, head.query.to_owned(), scope)
            }
            Action::Ask(command) => Native::Ask(command),
            Action::Refuse(refusal, extra) => Native::Refuse(refusal, extra),
            other => return Err(other),
        };
        Ok(Box::new(Self {
            candidates,
            head: KeptHead::of(head),
            native,
            caller: *caller,
            scope: permit.scope,
            has_key,
        }))
    }
}

impl HttpSession {
    /// A request whose rule has decided from the head alone; the head has been taken, the body is passed over.
    pub(super) fn conclude(&mut self, mut reply: Reply, judged: Judged, context: &mut Context<'_>) -> Turn {
        let Judged { outcome, scope, has_key } = judged;
        reply.is_document = matches!(&outcome, rules::Outcome::Frame { request, .. } if !matches!(request, FrameRequest::Enqueue { .. }));
        let token = self.answers.push(reply);
        match outcome {
            rules::Outcome::Respond { response, then, .. } => {
                self.answer_ruled(token, reply.tenant, &response, then, context);
                Turn::Again
            }
            rules::Outcome::Frame { request, continuation, .. } => {
                Turn::Frame { token, tenant: reply.tenant, scope, has_key, request, continuation: Some(continuation) }
            }
            // Those are for the built-in endpoints, which have been asked already.
            rules::Outcome::NoMatch | rules::Outcome::Native { .. } => {
                let violation = Violation::new(ErrorCode::Internal, "a rule that decided nothing was to be followed");
                self.answers.refuse(token, violation, Extra::None, true, context);
                Turn::Again
            }
        }
    }

    /// A request whose body has come into the session's buffer: the rules that wanted to see it decide (3, 4).
    ///
    /// `flaw`: it came compressed and could not be unpacked.
    pub(super) fn judge(
        &mut self,
        mut reply: Reply,
        pending: Pending,
        flaw: Option<Violation>,
        context: &mut Context<'_>,
    ) -> Turn {
        let Pending { candidates, head, mut native, caller, scope, has_key } = pending;
        let is_flawed = flaw.is_some();
        let head_view = head.view();
        let encoding = reply.request_encoding;
        let bytes_max = Purpose::Ruled.bytes_max(context.limits, &context.policy.guards);
        let is_batch = flaw.is_none() && matches!(native, Native::Batch(_)) && is_many(&self.body);
        let outcome = if is_batch {
            judge_lines(&candidates, &head_view, &self.body, context).unwrap_or_else(|violation| {
                native.forbid(violation, bytes_max);
                rules::Outcome::NoMatch
            })
        } else {
            let decoded = match flaw {
                Some(flaw) if flaw.code == ErrorCode::PayloadTooLarge => Err(rules_see_at_most(bytes_max as u64)),
                Some(flaw) => Err(flaw),
                None => decode(encoding, &self.body, context),
            };
            let broken = decoded.as_ref().err().cloned();
            let outcome = candidates.run(&head_view, body_of(decoded, encoding, &self.body));
            // What a condition could not look into must not pass for what it would have let through.
            if let (Some(violation), rules::Outcome::NoMatch | rules::Outcome::Native { .. }) = (broken, &outcome)
                && (!native.refuses(violation.code) || (is_flawed && !matches!(native, Native::Refuse(..))))
            {
                native.forbid(violation, bytes_max);
            }
            outcome
        };
        if matches!(native, Native::Settings(_)) && self.body.len() > context.limits.settings_bytes_max {
            let violation = Violation::new(ErrorCode::PayloadTooLarge, "the body is larger than the limit");
            native.forbid(violation, context.limits.settings_bytes_max);
        }
        let Some(rule) = rule_of(&outcome).cloned() else { return self.go_native(reply, native, context) };
        let halt = enforce(&rule, &caller, &mut self.edge, context).err();
        let judged = Judged { outcome, scope, has_key };
        let pending = Pending { candidates: Candidates::default(), head, native, caller, scope, has_key };
        match halt {
            None => {
                reply.rule = Some(rule.index() as u32);
                self.follow_judged(reply, judged, pending, context)
            }
            Some(Halt::Ask(charge)) => {
                let settling = Box::new(Settling { reply, judged, pending });
                self.ruled.get_or_insert_default().settling = Some(settling);
                self.phase = Phase::Settling;
                Turn::Charge(charge)
            }
            Some(halt) => self.follow_halt(reply, &rule, halt, &pending, context),
        }
    }

    /// Another shard has answered whether a rule may answer.
    pub(super) fn settle(&mut self, context: &mut Context<'_>) -> Turn {
        self.phase = Phase::Head;
        let settling = self.ruled.as_mut().and_then(|ruled| ruled.settling.take());
        let Some(settling) = settling else { return Turn::Again };
        let Settling { mut reply, judged, pending } = *settling;
        let Some(rule) = rule_of(&judged.outcome).cloned() else { return Turn::Again };
        match enforce(&rule, &pending.caller, &mut self.edge, context) {
            Ok(()) => {
                reply.rule = Some(rule.index() as u32);
                self.follow_judged(reply, judged, pending, context)
            }
            Err(Halt::Ask(charge)) => {
                let settling = Box::new(Settling { reply, judged, pending });
                self.ruled.get_or_insert_default().settling = Some(settling);
                self.phase = Phase::Settling;
                Turn::Charge(charge)
            }
            Err(halt) => self.follow_halt(reply, &rule, halt, &pending, context),
        }
    }

    fn follow_judged(&mut self, reply: Reply, judged: Judged, pending: Pending, context: &mut Context<'_>) -> Turn {
        self.edge.begin_next();
        match judged.outcome {
            rules::Outcome::NoMatch | rules::Outcome::Native { .. } => self.go_native(reply, pending.native, context),
            _ => self.conclude(reply, judged, context),
        }
    }

    fn follow_halt(
        &mut self,
        reply: Reply,
        rule: &rules::Rule,
        halt: Halt,
        pending: &Pending,
        context: &mut Context<'_>,
    ) -> Turn {
        self.edge.begin_next();
        let Halt::Refuse(refusal, _) = halt else { return Turn::Again };
        let reply = Reply { rule: Some(rule.index() as u32), ..reply };
        let outcome = refused_by(rule, &refusal, &pending.head.view());
        self.conclude(reply, Judged { outcome, scope: pending.scope, has_key: false }, context)
    }

    /// The built-in endpoint gets a request that no rule answers, with the same bytes.
    fn go_native(&mut self, mut reply: Reply, native: Native, context: &mut Context<'_>) -> Turn {
        let tenant = reply.tenant;
        reply.is_document = matches!(native, Native::Settings(_) | Native::Query(..) | Native::Ask(_));
        match native {
            Native::Publish(kept) => {
                self.kept = kept;
                let token = self.answers.push(reply);
                Turn::Publish { token, tenant, encoding: reply.request_encoding, place: Place::Gathered }
            }
            Native::Batch(kept) => {
                self.kept = kept;
                self.begin_batch(reply, context)
            }
            Native::Settings(command) => {
                self.kept = Kept::Settings(command);
                let token = self.answers.push(reply);
                Turn::Settings { token, tenant, encoding: reply.request_encoding, place: Place::Gathered }
            }
            Native::Query(route, query, scope) => {
                Turn::KeptQuery { token: self.answers.push(reply), tenant, scope, route, query }
            }
            Native::Ask(command) => Turn::Ask { token: self.answers.push(reply), tenant, command },
            Native::Refuse(refusal, extra) => {
                let token = self.answers.push(reply);
                let may_stop = self.may_stop();
                self.answers.answer(token, Outcome::Refusal(&refusal, extra), may_stop, context);
                Turn::Again
            }
        }
    }

    /// The step of a query whose text the session keeps.
    pub(super) fn query_step<'s>(
        &'s mut self,
        token: Token,
        tenant: TenantId,
        scope: Scope,
        route: Route,
        query: String,
        context: &mut Context<'_>,
    ) -> Step<'s> {
        let ruled = self.ruled.get_or_insert_default();
        ruled.text = query.into_bytes();
        let query = std::str::from_utf8(&ruled.text).unwrap_or_default();
        match crate::surface::http::query_command(route, query, scope, context.limits) {
            Ok(command) => Step::Command { token, tenant, command },
            Err(violation) => {
                self.answers.refuse(token, violation, Extra::None, true, context);
                Step::Again
            }
        }
    }

    /// The step of a frame that a rule says (5). Without a continuation nobody hears what comes of it.
    #[expect(clippy::too_many_arguments, reason = "the parts of one turn")]
    pub(super) fn frame_step<'s>(
        &'s mut self,
        token: Token,
        tenant: TenantId,
        scope: Scope,
        has_key: bool,
        request: FrameRequest,
        continuation: Option<Continuation>,
        context: &mut Context<'_>,
    ) -> Step<'s> {
        let may_stop = self.may_stop();
        let Self { answers, ruled, key, .. } = self;
        let key = has_key.then_some(&**key);
        let ruled = &mut **ruled.get_or_insert_default();
        let now_known = match request {
            FrameRequest::Enqueue { publish } => {
                ruled.text = publish;
                let mut read = decode_publish(Encoding::Json, &ruled.text, context.limits);
                check_publish(&mut read, key, None, context);
                match read {
                    Ok(publish) => {
                        ruled.waiting.keep(token, continuation);
                        return Step::Command { token, tenant, command: Command::Publish(publish) };
                    }
                    Err(violation) => Err(RuleError::from(violation)),
                }
            }
            FrameRequest::Stats { stream } => match codec::check_stream_name(&stream, context.limits) {
                Ok(()) => {
                    ruled.waiting.keep(token, continuation);
                    return Step::Command { token, tenant, command: Command::Stats { stream: stream.into() } };
                }
                Err(violation) => Err(RuleError::from(violation)),
            },
            FrameRequest::Snapshot { view } => match View::of_name(&view) {
                Some(view) => {
                    ruled.waiting.keep(token, continuation);
                    return Step::Command {
                        token,
                        tenant,
                        command: Command::Report { report: Report::Snapshot(view), scope },
                    };
                }
                None => {
                    let error = RuleError::new(ErrorCode::NotFound, format!("View not found: {view}"));
                    Err(RuleError { code: "UnknownView".into(), ..error })
                }
            },
            FrameRequest::Metrics => {
                ruled.waiting.keep(token, continuation);
                return Step::Command { token, tenant, command: Command::Report { report: Report::Metrics, scope } };
            }
            FrameRequest::Hello => Ok(hello()),
            FrameRequest::Grant { .. }
            | FrameRequest::Ack { .. }
            | FrameRequest::Nack { .. }
            | FrameRequest::Subscribe { .. } => Ok(request.echo()),
        };
        match continuation {
            Some(continuation) => {
                let finished = continuation.finish(now_known);
                ruled.follow_ups.extend(finished.then.into_iter().map(|frame| (tenant, frame)));
                answers.answer(token, Outcome::Ruled(&finished.response), may_stop, context);
            }
            None => count_failure(&now_known, context),
        }
        Step::Again
    }

    /// The broker has answered a frame (6). False: it was no rule's.
    pub(super) fn take_ruled_answer(&mut self, token: Token, answer: &Answer<'_>, context: &mut Context<'_>) -> bool {
        let Some(ruled) = &mut self.ruled else { return false };
        if token == Token::NONE {
            if let Answer::Refused(refusal) = answer {
                context.telemetry.count_error(refusal.code);
            }
            return true;
        }
        let Some(continuation) = ruled.waiting.take(token) else { return false };
        let tenant = self.answers.tenant_of(token);
        let finished = continuation.finish(result_of(answer));
        self.answer_ruled(token, tenant, &finished.response, finished.then, context);
        true
    }

    /// A request has been answered without the broker.
    pub(super) fn forget_ruled(&mut self, token: Token) {
        if let Some(ruled) = &mut self.ruled {
            ruled.waiting.take(token);
        }
    }

    fn answer_ruled(
        &mut self,
        token: Token,
        tenant: TenantId,
        response: &rules::Response,
        then: Vec<FrameRequest>,
        context: &mut Context<'_>,
    ) {
        if !then.is_empty() {
            self.ruled.get_or_insert_default().follow_ups.extend(then.into_iter().map(|frame| (tenant, frame)));
        }
        let may_stop = self.may_stop();
        self.answers.answer(token, Outcome::Ruled(response), may_stop, context);
    }

    /// The next of what rules say after their answers.
    pub(super) fn follow_up(&mut self) -> Option<Turn> {
        let (tenant, request) = self.ruled.as_mut()?.follow_ups.pop_front()?;
        let (token, scope) = (Token::NONE, Scope::Tenant(tenant));
        Some(Turn::Frame { token, tenant, scope, has_key: false, request, continuation: None })
    }

    /// There is more to say to the broker, whether or not bytes come.
    #[must_use]
    pub fn has_follow_ups(&self) -> bool {
        self.ruled.as_ref().is_some_and(|ruled| !ruled.follow_ups.is_empty())
    }
}

impl Upgrade {
    /// A rule has asked for the subscription that the handshake waited for: its answer is said first.
    pub(super) fn finish_rule(&mut self, stream: &str, continuation: Continuation, answer: &Answer<'_>) {
        let result = match answer {
            Answer::Subscribed(_) => Ok(json!({"subscribed": stream})),
            other => result_of(other),
        };
        let finished = continuation.finish(result);
        let opening = self.by_rules.get_or_insert_default();
        opening.response = Some(finished.response);
        opening.then.extend(finished.then);
    }
}

/// Who the server is, for the frame `hello`.
pub(crate) fn hello() -> Value {
    json!({"version": "v1", "features": ["credit", "views", "groups", "msgpack"]})
}

/// What the broker's answer is to a rule: `$result`, or an error.
pub(crate) fn result_of(answer: &Answer<'_>) -> Result<Value, RuleError> {
    let mut text = Vec::new();
    match answer {
        &Answer::Published { id, stream, seq, promise, duplicate } => {
            codec::encode_published(Encoding::Json, &Receipt { id, stream, seq, promise, duplicate }, &mut text);
        }
        Answer::Stats(stats) => codec::encode_stats(Encoding::Json, stats, &mut text),
        Answer::Document { status, body, .. } if *status < 400 => text.extend_from_slice(body),
        Answer::Refused(refusal) => return Err(RuleError::from(refusal)),
        _ => return Err(RuleError::new(ErrorCode::Internal, "the broker's answer is of another kind")),
    }
    serde_json::from_slice(&text).map_err(|_| RuleError::new(ErrorCode::Internal, "the broker's answer is not JSON"))
}

/// Counts what went wrong with a frame that nobody waits for.
pub(crate) fn count_failure(result: &Result<Value, RuleError>, context: &mut Context<'_>) {
    if let Err(error) = result {
        context.telemetry.count_error(error.known().unwrap_or(ErrorCode::InvalidField));
    }
}
