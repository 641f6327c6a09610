//! What to do with a request: decided from its head alone, before any of it is consumed.

use super::answers::Answers;
use super::body::{Kept, Purpose};
use super::credentials;
use super::edge::{Caller, Edge, Halt, Permit, why_draining};
use super::fields::{Coding, Expectation, Fields, Framing};
use super::handshake::{Upgrade, Wish};
use super::head::{self, Method, RequestHead, bad};
use super::idempotency;
use super::live::read_last_id;
use super::negotiate::Content;
use super::origins::{ORIGIN_BYTES_MAX, Origin, check_origin};
use super::response::{Extra, Reply};
use super::ruled::{self, Judged, Pending};
use super::target::{parameter, percent_decode};
use crate::Encoding;
use crate::access_log::Note;
use crate::answer::Refusal;
use crate::command::StreamCommand;
use crate::context::Context;
use crate::error::{ErrorCode, Violation};
use crate::ids::{Seq, TenantId, Token};
use crate::limiter::Charge;
use crate::policy::{Need, Policy, Scope};
use crate::rules::{self, Body, Candidates, Continuation, FrameRequest, HeadView, Headers as _, MessageRules};
use crate::surface::http::{Route, websocket_encoding};
use crate::surface::streams::StreamPath;
use crate::telemetry::Endpoint;
use crate::trace_context::TraceContext;
use crate::ws::{ByRules, Role};
use std::ops::Range;

/// What to do with a request.
pub(super) struct Plan {
    pub(super) action: Action,
    pub(super) reply: Reply,
    pub(super) head_bytes: usize,
    pub(super) framing: Framing,
    /// Where the value of `Content-Length` is in the head; empty when there is none.
    pub(super) length: Range<usize>,
    pub(super) expects_continue: bool,
    /// Who asks, and from where.
    pub(super) caller: Option<Caller>,
    /// What its documents may tell.
    pub(super) scope: Scope,
}

pub(super) enum Action {
    /// Take in the body; what the head says besides is needed then.
    Receive(Purpose, Kept),
    /// Ask the shard; the range is the query in the head.
    Query(Route, Range<usize>),
    /// Ask the shard something about one stream.
    Ask(Box<StreamCommand<'static>>),
    /// A rule has decided.
    Ruled(Box<Judged>),
    /// Refuse it and go on.
    Refuse(Refusal<'static>, Extra),
    /// Tell a page that it may ask.
    Allow,
    /// Ask the shard that keeps an account of the limiter. The request stays where it is.
    Charge(Charge),
    /// Refuse it and end the connection.
    Stop(Violation),
    /// Become a WebSocket: after asking the shard when there is a query.
    Upgrade { upgrade: Box<Upgrade>, query: Option<Range<usize>> },
    /// Send events, after asking the shard when the query names a stream. `after`: what `Last-Event-ID` says.
    Live { after: Option<Seq>, query: Range<usize> },
    /// Leave it where it is until earlier requests have been answered.
    Wait,
}

/// Decides what happens with a request, from its head alone: so the decision does not depend on how the bytes came.
///
/// `rest` is what the head was parsed from. `key` is where an `Idempotency-Key` is put.
pub(super) fn decide(
    head: &RequestHead<'_, '_>,
    rest: &[u8],
    edge: &mut Edge,
    answers: &mut Answers,
    key: &mut String,
    context: &mut Context<'_>,
) -> Plan {
    let fields = &head.fields;
    let route = Route::of(head.target.path);
    let is_alone = answers.is_empty();
    let policy = context.policy;
    let origin = origin_of(head, policy, answers);
    let (request_encoding, encoding) = if policy.codecs.http {
        (fields.content.encoding(), fields.encoding.unwrap_or(policy.codecs.default))
    } else {
        (Encoding::Json, Encoding::Json)
    };
    let reply = Reply {
        decoded_ns: context.now.mono_ns,
        body_bytes: 0,
        endpoint: route.map_or(Endpoint::Other, Route::endpoint),
        request_encoding,
        is_gzip: fields.coding == Coding::Gzip,
        encoding,
        is_document: false,
        is_head: head.method == Method::Head,
        is_http10: head.is_http10,
        closes: !fields.keep_alive || context.draining,
        tenant: TenantId::DEFAULT,
        origin: origin.unwrap_or(Origin::Unnamed),
        takes_problems: fields.takes_problems,
        rule: None,
        note: Note::NONE,
    };
    let mut plan = Plan {
        action: Action::Wait,
        reply,
        head_bytes: head.len,
        framing: fields.framing,
        length: range_of(fields.length_text, rest),
        expects_continue: fields.expectation == Expectation::Continue,
        caller: None,
        scope: Scope::Tenant(TenantId::DEFAULT),
    };
    if origin.is_none() {
        return plan;
    }
    let wish = if route.is_none_or(Route::is_websocket) { fields.handshake.wish(head.method) } else { Wish::Absent };
    let is_handshake = matches!(wish, Wish::Valid);
    let may_hide_token = is_handshake || route == Some(Route::Live);
    let caller = match credentials::caller(head, may_hide_token, context) {
        Ok(caller) => caller,
        Err(violation) if violation.code == ErrorCode::BadFraming => {
            return Plan { action: Action::Stop(violation), ..plan };
        }
        Err(violation) => return Plan { action: Action::Refuse(violation.into(), Extra::None), ..plan },
    };
    plan.caller = Some(caller);
    plan.reply.tenant = caller.tenant();
    let query = range_of(head.target.query.as_bytes(), rest);
    if is_handshake {
        plan.action = match check_escapes(head) {
            Ok(()) => decide_upgrade(head, route, query, is_alone, (edge, &caller), context),
            Err(violation) => Action::Refuse(violation.into(), Extra::None),
        };
        return plan;
    }
    let may_ask = matches!(plan.reply.origin, Origin::Kept(_));
    let view = view_of(head, policy.tenants.name(caller.tenant()), context.now.unix_ms);
    // Whether the server goes away is not for rules to hide: load balancers ask for it.
    let is_drained =
        context.draining && route.is_some_and(|route| route.endpoint() == Endpoint::Health && route.takes(head.method));
    let candidates = if is_drained { Candidates::default() } else { policy.rules.request(&view) };
    let need = ruled::need(&candidates, credentials::need(head, route, policy));
    plan.action = match edge.examine(head, route, &caller, may_ask, need, context) {
        Ok(permit) => {
            plan.scope = permit.scope;
            let arrival = Arrival { head, route, query, wish, is_alone };
            let (action, rule) = if candidates.is_empty() {
                (built_in(arrival, (edge, &permit), key, context), None)
            } else {
                by_rules(candidates, &view, arrival, &caller, (edge, &permit), key, context)
            };
            plan.reply.rule = rule;
            if let Action::Query(route, _) = action {
                plan.scope = credentials::scope_at(route, &permit, caller.identity, policy);
            }
            action
        }
        Err(halt) => halted(halt),
    };
    plan
}

/// What a request's head says, besides who sends it.
struct Arrival<'a, 'h, 'b> {
    head: &'a RequestHead<'h, 'b>,
    route: Option<Route>,
    query: Range<usize>,
    wish: Wish,
    is_alone: bool,
}

/// The head as rules see it.
fn view_of<'v>(head: &'v RequestHead<'_, '_>, tenant: &'v str, now_unix_ms: u64) -> HeadView<'v> {
    HeadView {
        method: head.method_text,
        path: head.target.path,
        query: head.target.query,
        headers: &head.headers,
        tenant,
        now_unix_ms,
    }
}

/// What the rules that may answer a request make of it, and which of them answers.
fn by_rules(
    candidates: Candidates,
    view: &HeadView<'_>,
    arrival: Arrival<'_, '_, '_>,
    caller: &Caller,
    (edge, permit): (&mut Edge, &Permit),
    key: &mut String,
    context: &mut Context<'_>,
) -> (Action, Option<u32>) {
    let has_key = match arrival.head.fields.idempotency_key {
        None => false,
        Some(value) => match idempotency::read_key(value, context.limits, key) {
            Ok(()) => true,
            Err(violation) => return (Action::Refuse(violation.into(), Extra::None), None),
        },
    };
    if candidates.needs_body() {
        if let Some(refused) = refuse_size(arrival.head.fields.framing, Purpose::Ruled, context) {
            return (refused, None);
        }
        let native = built_in(arrival, (edge, permit), key, context);
        return match Pending::new(candidates, view, native, permit, caller, has_key, context.policy) {
            Ok(pending) => (Action::Receive(Purpose::Ruled, Kept::Ruled(pending)), None),
            Err(native) => (native, None),
        };
    }
    let outcome = candidates.run(view, Body::Absent);
    let Some(rule) = ruled::rule_of(&outcome).cloned() else {
        return (built_in(arrival, (edge, permit), key, context), None);
    };
    let index = Some(rule.index() as u32);
    let judged = |outcome| Action::Ruled(Box::new(Judged { outcome, scope: permit.scope, has_key }));
    match (ruled::enforce(&rule, caller, edge, context), outcome) {
        (Ok(()), rules::Outcome::Native { .. }) => (built_in(arrival, (edge, permit), key, context), index),
        (Ok(()), outcome) => (judged(outcome), index),
        (Err(Halt::Refuse(refusal, _)), _) => (judged(ruled::refused_by(&rule, &refusal, view)), index),
        (Err(halt), _) => (halted(halt), None),
    }
}

/// What the server does without rules.
fn built_in(
    arrival: Arrival<'_, '_, '_>,
    (edge, permit): (&mut Edge, &Permit),
    key: &mut String,
    context: &mut Context<'_>,
) -> Action {
    let Arrival { head, route, query, wish, is_alone } = arrival;
    let fields = &head.fields;
    let refuse = |code, message: &'static str, extra| Action::Refuse(Violation::new(code, message).into(), extra);
    if let Err(violation) = check_escapes(head) {
        return Action::Refuse(violation.into(), Extra::None);
    }
    let Some(route) = route else { return refuse(ErrorCode::NotFound, "there is no such path", Extra::None) };
    if !route.takes(head.method) {
        return refuse(ErrorCode::MethodNotAllowed, "the path does not take this method", Extra::Allow(route.allow()));
    }
    match wish {
        Wish::Malformed(violation) => return Action::Stop(violation),
        Wish::OtherVersion => {
            return refuse(ErrorCode::UpgradeRequired, "the WebSocket version here is 13", Extra::WebSocketOnly);
        }
        _ if route.is_websocket() => {
            return refuse(
                ErrorCode::UpgradeRequired,
                "this path takes only a WebSocket upgrade",
                Extra::WebSocketOnly,
            );
        }
        _ => {}
    }
    if fields.expectation == Expectation::Unknown {
        return refuse(ErrorCode::ExpectationFailed, "the only expectation met here is 100-continue", Extra::None);
    }
    let purpose = if route.takes_settings(head.method) { Purpose::Settings } else { Purpose::Publish };
    if let Some(refused) = refuse_size(fields.framing, purpose, context) {
        return refused;
    }
    let action = match route {
        Route::Enqueue => receive_messages(fields, key, context),
        Route::Stream(_) => decide_stream(head, context),
        Route::Live => decide_live(head, query, is_alone, (edge, permit), context),
        _ => Ok(Action::Query(route, query)),
    };
    action.unwrap_or_else(|violation| Action::Refuse(violation.into(), Extra::None))
}

/// Refuses a body that says itself that it is too large.
fn refuse_size(framing: Framing, purpose: Purpose, context: &Context<'_>) -> Option<Action> {
    let bytes_max = purpose.bytes_max(context.limits, &context.policy.guards) as u64;
    let Framing::Length(size) = framing else { return None };
    if size <= bytes_max {
        return None;
    }
    let violation = if purpose == Purpose::Ruled { rules_see_at_most(bytes_max) } else { larger_than_the_limit() };
    Some(Action::Refuse(violation.into(), Extra::Size { size, limit: bytes_max }))
}

fn larger_than_the_limit() -> Violation {
    Violation::new(ErrorCode::PayloadTooLarge, "the body is larger than the limit")
}

/// Why a body is too large for rules though the endpoint itself would take it.
pub(super) fn rules_see_at_most(bytes_max: u64) -> Violation {
    let message = format!("rules look into this body, and it may have {bytes_max} bytes then: see --max-body");
    Violation::new(ErrorCode::PayloadTooLarge, message)
}

/// What becomes of a request that goes no further.
fn halted(halt: Halt) -> Action {
    match halt {
        Halt::Ask(charge) => Action::Charge(charge),
        Halt::Refuse(refusal, extra) => Action::Refuse(refusal, extra),
        Halt::Preflight => Action::Allow,
    }
}

/// Whose page asks, if that matters. `None`: it cannot be remembered until earlier requests have been answered.
fn origin_of(head: &RequestHead<'_, '_>, policy: &Policy, answers: &mut Answers) -> Option<Origin> {
    if !policy.cors.is_on() {
        return Some(Origin::Off);
    }
    let origin = head.headers.field("origin").and_then(|origin| std::str::from_utf8(origin).ok());
    match origin {
        Some(origin) if origin.len() <= ORIGIN_BYTES_MAX && policy.cors.allows(origin) => {
            let is_alone = answers.is_empty();
            answers.origins.keep(origin, is_alone)
        }
        _ => Some(Origin::Unnamed),
    }
}

fn receive_messages(fields: &Fields<'_>, key: &mut String, context: &Context<'_>) -> Result<Action, Violation> {
    let trace = fields.traceparent.and_then(TraceContext::parse);
    let kept = trace.map_or(Kept::Nothing, |_| Kept::Publish { has_key: false, trace });
    match (fields.content, fields.idempotency_key) {
        (Content::NdJson, None) => Ok(Action::Receive(Purpose::Batch, kept)),
        (Content::NdJson, Some(_)) => {
            let message = "one `Idempotency-Key` cannot name several messages: give each line its `dedupId`";
            Err(Violation::new(ErrorCode::InvalidField, message))
        }
        (_, None) => Ok(Action::Receive(Purpose::Publish, kept)),
        (_, Some(value)) => {
            idempotency::read_key(value, context.limits, key)?;
            Ok(Action::Receive(Purpose::Publish, Kept::Publish { has_key: true, trace }))
        }
    }
}

/// A request about one stream. Its settings are still to come, if it has any.
fn decide_stream(head: &RequestHead<'_, '_>, context: &Context<'_>) -> Result<Action, Violation> {
    let Some(path) = StreamPath::of(head.target.path) else {
        return Err(Violation::new(ErrorCode::NotFound, "there is no such path"));
    };
    let command = Box::new(path.command(head.method, head.target.query, context.limits)?);
    Ok(match head.method {
        Method::Put => Action::Receive(Purpose::Settings, Kept::Settings(command)),
        _ => Action::Ask(command),
    })
}

/// A request for events. They go on until the connection ends, so everything before them has to be answered.
fn decide_live(
    head: &RequestHead<'_, '_>,
    query: Range<usize>,
    is_alone: bool,
    (edge, permit): (&mut Edge, &Permit),
    context: &mut Context<'_>,
) -> Result<Action, Violation> {
    if head.fields.framing != Framing::None {
        return Ok(Action::Stop(bad("a request for events has no body")));
    }
    if !is_alone {
        return Ok(Action::Wait);
    }
    let after = match head.fields.last_event_id.map(std::str::from_utf8) {
        None => None,
        Some(id) => read_last_id(id.unwrap_or("?"))?,
    };
    edge.note_principal(&permit.principal);
    if head.method == Method::Get
        && let Err(halt) = edge.admit_connection(permit.principal.tenant, context)
    {
        return Ok(halted(halt));
    }
    Ok(Action::Live { after, query })
}

/// A handshake that is complete in itself: what is wrong with the path, the query or the client is told over the WebSocket.
fn decide_upgrade(
    head: &RequestHead<'_, '_>,
    route: Option<Route>,
    query: Range<usize>,
    is_alone: bool,
    (edge, caller): (&mut Edge, &Caller),
    context: &mut Context<'_>,
) -> Action {
    if head.fields.framing != Framing::None {
        return Action::Stop(bad("a handshake has no body"));
    }
    // The 101 comes after every earlier response, and a subscriber may move to another shard: nothing may be open.
    if !is_alone {
        return Action::Wait;
    }
    let handshake = &head.fields.handshake;
    let codecs = &context.policy.codecs;
    let (encoding, refusal) = match websocket_encoding(head.target.query, handshake.offered.first) {
        Ok(encoding) => (if codecs.ws { encoding } else { Encoding::Json }, None),
        Err(violation) => (Encoding::Json, Some(Refusal::from(violation))),
    };
    let ruled = rules_of_handshake(head, caller, context);
    let is_subscribe = match &ruled.outcome {
        rules::Outcome::NoMatch | rules::Outcome::Native { .. } => route == Some(Route::Subscribe),
        rules::Outcome::Frame { request, .. } => matches!(request, FrameRequest::Subscribe { .. }),
        rules::Outcome::Respond { .. } => false,
    };
    let (permit, refusal) = match (refusal, admit_upgrade(head, route, &ruled, edge, caller, context)) {
        (_, Err(Halt::Ask(charge))) => return Action::Charge(charge),
        (Some(refusal), _) => (Permit::ANYBODY, Some(refusal)),
        (None, Ok(permit)) => (permit, None),
        (None, Err(Halt::Refuse(refusal, _))) => (Permit::ANYBODY, Some(refusal)),
        (None, Err(Halt::Preflight)) => (Permit::ANYBODY, None),
    };
    let (opening, subscription) = match ruled {
        ruled if refusal.is_some() || ruled.is_absent() => (None, None),
        ruled => ruled.open(caller, context),
    };
    let upgrade = Box::new(Upgrade {
        token: Token::NONE,
        caller: *caller,
        accept_key: handshake.accept_key(),
        role: if is_subscribe { Role::Consumer } else { Role::Publisher },
        encoding,
        protocol: handshake.offered.confirm(encoding),
        principal: permit.principal,
        credit: 0,
        hello: None,
        subject: None,
        by_rules: opening,
        subscription,
        scope: permit.scope,
        refusal,
    });
    let asks_shard = is_subscribe && upgrade.refusal.is_none();
    Action::Upgrade { upgrade, query: asks_shard.then_some(query) }
}

/// The query of the subscription that a rule asks for, and what it does afterwards.
type Subscription = Option<Box<(String, Continuation)>>;

/// What rules make of a handshake.
struct RuledHandshake {
    outcome: rules::Outcome,
    messages: Option<Box<MessageRules>>,
}

fn rules_of_handshake(head: &RequestHead<'_, '_>, caller: &Caller, context: &Context<'_>) -> RuledHandshake {
    let policy = context.policy;
    if policy.rules.is_empty() {
        return RuledHandshake { outcome: rules::Outcome::NoMatch, messages: None };
    }
    let view = view_of(head, policy.tenants.name(caller.tenant()), context.now.unix_ms);
    let outcome = policy.rules.connect(&view).run(&view, Body::Absent);
    RuledHandshake { outcome, messages: policy.rules.messages(&view) }
}

impl RuledHandshake {
    /// No rule has anything to do with the connection.
    const fn is_absent(&self) -> bool {
        matches!(self.outcome, rules::Outcome::NoMatch) && self.messages.is_none()
    }

    /// A rule answers in place of the path.
    const fn answers(&self) -> bool {
        matches!(self.outcome, rules::Outcome::Respond { .. } | rules::Outcome::Frame { .. })
    }

    /// What the connection begins with, and the subscription that decides whether it does.
    fn open(self, caller: &Caller, context: &mut Context<'_>) -> (Option<Box<ByRules>>, Subscription) {
        if let Some(rule) = ruled::rule_of(&self.outcome) {
            context.telemetry.count_rule(rule.index());
        }
        let mut opening = Box::new(ByRules { messages: self.messages, caller: Some(*caller), ..ByRules::default() });
        let mut subscription = None;
        match self.outcome {
            rules::Outcome::NoMatch | rules::Outcome::Native { .. } => {}
            rules::Outcome::Respond { response, then, .. } => {
                opening.response = Some(response);
                opening.then = then;
            }
            rules::Outcome::Frame { request: FrameRequest::Subscribe { query }, continuation, .. } => {
                subscription = Some(Box::new((query, continuation)));
            }
            rules::Outcome::Frame { request, continuation, .. } => opening.frame = Some((request, continuation)),
        }
        (Some(opening), subscription)
    }
}

/// The checks of a handshake, in their order: draining, connections of the address, path, stream, token, the page's origin,
/// connections of the tenant.
fn admit_upgrade(
    head: &RequestHead<'_, '_>,
    route: Option<Route>,
    ruled: &RuledHandshake,
    edge: &mut Edge,
    caller: &Caller,
    context: &mut Context<'_>,
) -> Result<Permit, Halt> {
    let refuse = |code, message: &'static str| Err(Halt::Refuse(Violation::new(code, message).into(), Extra::None));
    if context.draining {
        return refuse(ErrorCode::ServerDraining, why_draining(context));
    }
    edge.admit_connect(caller.address, context)?;
    if route.is_none() && !ruled.answers() {
        return refuse(ErrorCode::NotFound, "there is no such path");
    }
    // What else is wrong with it is for the subscription to say.
    if route == Some(Route::Subscribe)
        && !ruled.answers()
        && parameter(head.target.query, "stream").is_ok_and(|stream| stream.is_none())
    {
        return refuse(ErrorCode::InvalidStream, "missing stream");
    }
    let rule = ruled::rule_of(&ruled.outcome);
    let need = match rule.and_then(rules::Rule::auth_required) {
        Some(false) => Need::Nothing,
        Some(true) | None => Need::Token,
    };
    let permit = credentials::permit(caller.identity, need, context.policy).map_err(credentials::for_handshake)?;
    check_origin(head, caller.identity, context.policy)?;
    if let Some(rate) = rule.and_then(|rule| rule.rate().map(|rate| (rule.index() as u32, *rate))) {
        edge.admit_to_rule(caller, rate.0, &rate.1, context)?;
    }
    edge.admit_connection(permit.principal.tenant, context)?;
    Ok(permit)
}

/// Where `part`, a slice of `rest` unless it is empty, is in it.
fn range_of(part: &[u8], rest: &[u8]) -> Range<usize> {
    if part.is_empty() {
        return 0..0;
    }
    let start = head::offset(rest, part);
    start..start + part.len()
}

/// Every percent escape of the target is well formed.
fn check_escapes(head: &RequestHead<'_, '_>) -> Result<(), Violation> {
    if head.target.has_escapes {
        percent_decode(head.target.path, false)?;
        percent_decode(head.target.query, false)?;
    }
    Ok(())
}
