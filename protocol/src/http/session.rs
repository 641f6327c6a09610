//! The state of one connection that speaks HTTP.

use super::answers::Answers;
use super::batch::{self, Batch};
use super::body::{Incoming, Kept, Purpose};
use super::edge::{CHARGE_TOKEN, Carried, Edge};
use super::handshake::Upgrade;
use super::head::HeadScan;
use super::live::{LiveSession, Opening};
use super::pace::Pace;
use super::recent::RecentHead;
use super::response::{Extra, Outcome, Reply, too_large};
use super::ruled::Ruled;
use super::turn::{Turn, check_publish, read_publish};
use crate::Encoding;
use crate::answer::{Answer, Refusal};
use crate::command::Command;
use crate::context::Context;
use crate::error::{ErrorCode, Violation};
use crate::ids::{TenantId, Token};
use crate::inbox::Inbox;
use crate::limiter::Gate;
use crate::limits::Limits;
use crate::session::Step;
use crate::surface::http as surface;
use crate::surface::streams;
use crate::telemetry::Telemetry;
use crate::ws::{Role, WsSession};

/// A body buffer with more room than this is not kept for the next body.
const BODY_KEPT_BYTES_MAX: usize = 64 * 1024;

/// One connection as long as it speaks HTTP. An idle one takes a few hundred bytes.
#[derive(Debug)]
pub struct HttpSession {
    pub(super) phase: Phase,
    pub(super) answers: Answers,
    pub(super) scan: HeadScan,
    /// A body that did not come in one read, as far as it has come; after its command was given out, until the next call.
    pub(super) body: Vec<u8>,
    /// What the head of the request whose body is coming said; until the next call, as `body`.
    pub(super) kept: Kept,
    /// The last `Idempotency-Key`: it counts while `kept` says so. Its memory is used again.
    pub(super) key: String,
    pub(super) batch: Option<Box<Batch>>,
    /// What rules are busy with; absent until one may answer.
    pub(super) ruled: Option<Box<Ruled>>,
    /// What the request in front has passed, and what the connection holds.
    pub(super) edge: Edge,
    /// Requests that `Telemetry::http_in_progress` counts.
    counted: u32,
    /// The head of the last publish, from the second one on: a connection for one message needs none.
    pub(super) recent: Option<Box<RecentHead>>,
    pub(super) has_published: bool,
    /// Where the tokens of the next batch's lines begin.
    first_line: u32,
    pub(super) pace: Pace,
    /// The one empty line that may stand before a request (RFC 9112, section 2.2) has been passed.
    pub(super) has_skipped_line: bool,
    /// The client waits for `100 Continue` (RFC 9110, section 10.1.1), which waits for the responses before it.
    pub(super) is_continue_due: bool,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// Before a request head.
    Head,
    /// In a request body.
    Body(Incoming),
    /// Another shard is asked whether a rule may answer.
    Settling,
    /// A subscription has been asked for; its answer decides the upgrade.
    Upgrading(Box<Upgrade>),
    /// The 101 is written.
    Upgraded(Box<Upgrade>),
    /// Events have been asked for; the answer to the subscription decides.
    Opening(Box<Opening>),
    /// The head of the response is written, and events follow.
    Live(Box<LiveSession>),
}

impl Default for HttpSession {
    fn default() -> Self {
        Self {
            phase: Phase::Head,
            answers: Answers::default(),
            scan: HeadScan::default(),
            body: Vec::new(),
            kept: Kept::Nothing,
            key: String::new(),
            batch: None,
            ruled: None,
            edge: Edge::default(),
            counted: 0,
            recent: None,
            has_published: false,
            first_line: 0,
            pace: Pace::new(),
            has_skipped_line: false,
            is_continue_due: false,
        }
    }
}

impl HttpSession {
    /// See `Session::next`.
    pub fn next<'s>(&'s mut self, inbox: &'s mut Inbox<'_>, context: &mut Context<'_>) -> Step<'s> {
        let turn = self.advance(inbox, context);
        self.count(context.telemetry);
        match turn {
            Turn::NeedBytes => Step::NeedBytes,
            Turn::Wait => Step::Wait,
            Turn::Again => Step::Again,
            Turn::Close => Step::Close,
            Turn::Publish { token, tenant, encoding, place } => {
                let mut read = read_publish(encoding, place.bytes(inbox, &self.body), context);
                let (key, trace) = match self.kept {
                    Kept::Publish { has_key, trace } => (has_key.then_some(&*self.key), trace),
                    Kept::Nothing | Kept::Settings(_) | Kept::Ruled(_) => (None, None),
                };
                check_publish(&mut read, key, trace, context);
                match read {
                    Ok(publish) => Step::Command { token, tenant, command: Command::Publish(publish) },
                    Err(violation) => {
                        self.answers.refuse(token, violation, Extra::None, true, context);
                        Step::Again
                    }
                }
            }
            Turn::Line { token, line } => {
                let Some(batch) = &mut self.batch else { return Step::Again };
                let (trace, tenant) = (batch.trace, batch.tenant);
                let (bytes, results) = batch.line_mut(line);
                let mut read = read_publish(Encoding::Json, bytes, context);
                check_publish(&mut read, None, trace, context);
                match read {
                    Ok(publish) => Step::Command { token, tenant, command: Command::Publish(publish) },
                    Err(violation) => {
                        context.telemetry.count_error(violation.code);
                        results.refuse(token, violation);
                        Step::Again
                    }
                }
            }
            Turn::Settings { token, tenant, encoding, place } => {
                let kept = std::mem::replace(&mut self.kept, Kept::Nothing);
                let Kept::Settings(mut command) = kept else { return Step::Again };
                let bytes = place.bytes(inbox, &self.body);
                match streams::read_settings(&mut command, encoding, bytes, context.limits) {
                    Ok(()) => Step::Command { token, tenant, command: Command::Stream(command) },
                    Err(violation) => {
                        self.answers.refuse(token, violation, Extra::None, true, context);
                        Step::Again
                    }
                }
            }
            Turn::KeptQuery { token, tenant, scope, route, query } => {
                self.query_step(token, tenant, scope, route, query, context)
            }
            Turn::Frame { token, tenant, scope, has_key, request, continuation } => {
                self.frame_step(token, tenant, scope, has_key, request, continuation, context)
            }
            Turn::Ask { token, tenant, command } => Step::Command { token, tenant, command: Command::Stream(command) },
            Turn::Charge(charge) => {
                Step::Command { token: CHARGE_TOKEN, tenant: TenantId::DEFAULT, command: Command::Charge(charge) }
            }
            Turn::Query { token, tenant, scope, route, head_bytes, query } => {
                // The head was text when it was parsed.
                let query = std::str::from_utf8(&inbox.take(head_bytes)[query]).unwrap_or_default();
                match surface::query_command(route, query, scope, context.limits) {
                    Ok(command) => Step::Command { token, tenant, command },
                    Err(violation) => {
                        let may_stop = matches!(self.phase, Phase::Head);
                        self.answers.refuse(token, violation, Extra::None, may_stop, context);
                        Step::Again
                    }
                }
            }
            Turn::Live { reply, after, head_bytes, query, address } => {
                self.begin_live(reply, after, (head_bytes, query, address), inbox, context)
            }
            Turn::Subscribe { mut upgrade, head_bytes, query } => {
                let head = inbox.take(head_bytes);
                let query = match &mut upgrade.subscription {
                    Some(subscription) => {
                        let ruled = self.ruled.get_or_insert_default();
                        ruled.text = std::mem::take(&mut subscription.0).into_bytes();
                        &*ruled.text
                    }
                    None => &head[query],
                };
                let query = std::str::from_utf8(query).unwrap_or_default();
                match surface::subscribe(query, upgrade.encoding, context.limits) {
                    Ok(subscribe) => {
                        let (token, tenant) = (upgrade.token, upgrade.principal.tenant);
                        upgrade.credit = subscribe.credit;
                        if let Some(subscription) = &mut upgrade.subscription {
                            subscription.0 = subscribe.stream.clone().into_owned();
                        }
                        if context.log.is_ws_on() {
                            let group = subscribe.group.as_deref().unwrap_or_default();
                            let group = (!subscribe.ephemeral).then(|| group.to_owned());
                            upgrade.subject = Some(Box::new((subscribe.stream.clone().into_owned(), group)));
                        }
                        self.phase = Phase::Upgrading(upgrade);
                        Step::Command { token, tenant, command: Command::Subscribe(subscribe) }
                    }
                    Err(violation) => {
                        upgrade.refusal = Some(violation.into());
                        upgrade.write_response(context.out, context.telemetry);
                        self.phase = Phase::Upgraded(upgrade);
                        Step::Again
                    }
                }
            }
        }
    }

    /// See `Session::answer`.
    pub fn answer(&mut self, token: Token, answer: &Answer<'_>, context: &mut Context<'_>) {
        if token == CHARGE_TOKEN {
            self.edge.answer(answer);
            return;
        }
        self.take_answer(token, answer, context);
        self.count(context.telemetry);
    }

    fn take_answer(&mut self, token: Token, answer: &Answer<'_>, context: &mut Context<'_>) {
        if let Phase::Upgrading(upgrade) = &self.phase
            && upgrade.token == token
        {
            self.finish_upgrade(answer, context);
            return;
        }
        if self.finish_opening(token, answer, context) {
            return;
        }
        if self.take_ruled_answer(token, answer, context) {
            self.note_answered(context);
            return;
        }
        if batch::is_line(token) {
            if let Some(batch) = &mut self.batch {
                if let Answer::Refused(refusal) = answer {
                    context.telemetry.count_error(refusal.code);
                }
                batch.results.answer(token, answer);
                self.finish_batch(context);
            }
        } else {
            self.answers.answer(token, Outcome::Answer(answer), self.may_stop(), context);
        }
        self.note_answered(context);
    }

    /// The connection speaks HTTP no longer: it is a WebSocket, or only events follow.
    #[must_use]
    #[inline]
    pub const fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Upgraded(_) | Phase::Live(_))
    }

    /// The 101 response is in the outbox: the connection is a WebSocket from here on.
    #[must_use]
    pub const fn is_upgraded(&self) -> bool {
        matches!(self.phase, Phase::Upgraded(_))
    }

    /// Turns into the WebSocket session that the handshake agreed on. Only after [`Self::is_upgraded`].
    pub fn upgrade(&mut self, context: &mut Context<'_>) -> WsSession {
        let Phase::Upgraded(upgrade) = std::mem::replace(&mut self.phase, Phase::Head) else {
            debug_assert!(false, "an upgrade without a handshake");
            let mut websocket = WsSession::new(Role::Publisher, Encoding::Json, context);
            websocket.close(&Violation::new(ErrorCode::Internal, "the connection was never upgraded"), context);
            return websocket;
        };
        self.uncount(context.telemetry);
        let mut websocket = WsSession::new(upgrade.role, upgrade.encoding, context);
        websocket.act_for(&upgrade.principal, self.edge.take_slots(), context);
        if context.log.is_ws_on() {
            websocket.be_known_as(upgrade.open_log(context));
        }
        if let Some(opening) = upgrade.by_rules {
            websocket.follow_rules(*opening, upgrade.scope, context);
        }
        if let Some(subscribed) = upgrade.hello {
            websocket.greet(&subscribed, context);
        }
        match upgrade.refusal {
            Some(refusal) => websocket.refuse(&refusal, context),
            // The policy may have changed since it asked.
            None => websocket.recheck(context),
        }
        websocket
    }

    /// See `Session::close`. A client that waits for an answer is told why it gets none; an idle one is told nothing.
    pub fn close(&mut self, violation: &Violation, context: &mut Context<'_>) {
        if self.answers.is_empty() && !self.is_idle() {
            self.answers.push(Reply::to_unread(context.now));
        }
        self.answers.abandon(violation, context);
        self.phase = Phase::Head;
        self.batch = None;
        self.forget_request(context);
    }

    /// See `Session::is_closing`.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.answers.is_stopped() && self.answers.is_empty() && matches!(self.phase, Phase::Head)
    }

    /// See `Session::is_idle`.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.answers.is_empty()
            && !self.pace.is_receiving()
            && matches!(self.phase, Phase::Head)
            && !self.edge.is_asking()
    }

    /// See `Session::owes_answer`.
    #[must_use]
    pub fn owes_answer(&self) -> bool {
        !self.answers.is_empty() || matches!(self.phase, Phase::Upgrading(_)) || self.edge.is_asking()
    }

    /// The session of a connection that comes from another shard, with the request that moved it.
    #[must_use]
    pub fn carried(carried: Carried) -> Self {
        Self { edge: Edge::carried(carried), ..Self::default() }
    }

    /// What goes with the connection to another shard. This session is not used any more.
    pub fn carry(&mut self, telemetry: &mut Telemetry) -> Carried {
        self.uncount(telemetry);
        self.edge.carry()
    }

    /// See `Session::disconnected`.
    pub fn disconnected(&mut self, telemetry: &mut Telemetry, gate: &mut dyn Gate) {
        self.uncount(telemetry);
        self.edge.release(gate);
    }

    /// Keeps the gauge of requests in progress right.
    #[inline]
    fn count(&mut self, telemetry: &mut Telemetry) {
        // The body of a request that has been refused already is nobody's work: whoever lets it lie takes no place away.
        let is_coming = match &self.phase {
            Phase::Body(incoming) => incoming.purpose != Purpose::Discard,
            phase => matches!(phase, Phase::Upgrading(_)),
        };
        let now = self.answers.len() as u32 + u32::from(is_coming);
        if now != self.counted {
            telemetry.http_in_progress = telemetry.http_in_progress.wrapping_add(now.wrapping_sub(self.counted));
            self.counted = now;
        }
    }

    pub(super) fn uncount(&mut self, telemetry: &mut Telemetry) {
        telemetry.http_in_progress = telemetry.http_in_progress.wrapping_sub(std::mem::take(&mut self.counted));
    }

    /// See `Session::deadline_ns`.
    #[must_use]
    pub fn deadline_ns(&self, limits: &Limits) -> Option<u64> {
        let (client_ns, answer_ns) = (self.client_due_ns(limits), self.answer_due_ns(limits));
        client_ns.into_iter().chain(answer_ns).min()
    }

    /// See `Session::answer_due_ns`.
    #[must_use]
    pub fn answer_due_ns(&self, limits: &Limits) -> Option<u64> {
        self.answers.document_due_ns(limits)
    }

    /// How long the client may take.
    fn client_due_ns(&self, limits: &Limits) -> Option<u64> {
        let wait_ms = match &self.phase {
            Phase::Head if self.pace.is_receiving() => limits.headers_ms,
            Phase::Head if self.is_idle() && !self.is_closing() => limits.keep_alive_ms,
            Phase::Body(_) => limits.request_ms,
            // An answer is owed: that it comes in time is not the client's business.
            Phase::Head
            | Phase::Settling
            | Phase::Upgrading(_)
            | Phase::Upgraded(_)
            | Phase::Opening(_)
            | Phase::Live(_) => return None,
        };
        Some(self.pace.due_ns(wait_ms))
    }

    /// See `Session::handle_deadline`: 504 for a document that does not come, 408 when a request has begun, a silent close
    /// when none has.
    pub fn handle_deadline(&mut self, context: &mut Context<'_>) {
        self.pace.begin(context.now);
        while let Some(token) = self.answers.give_up_document(self.may_stop(), context) {
            self.forget_ruled(token);
            self.note_answered(context);
            self.count(context.telemetry);
        }
        if self.client_due_ns(context.limits).is_none_or(|deadline_ns| context.now.mono_ns < deadline_ns) {
            return;
        }
        if self.is_idle() {
            self.close(&Violation::new(ErrorCode::RequestTimeout, "no request came"), context);
        } else {
            self.refuse_unread(
                Violation::new(ErrorCode::RequestTimeout, "the request took too long to arrive"),
                context,
            );
        }
    }

    pub(super) fn begin_batch(&mut self, reply: Reply, context: &mut Context<'_>) -> Turn {
        let token = self.answers.push(reply);
        let body = std::mem::take(&mut self.body);
        match Batch::new(body, token, reply.encoding, self.first_line, context.limits) {
            Ok(mut batch) => {
                batch.tenant = reply.tenant;
                if let Kept::Publish { trace, .. } = self.kept {
                    batch.trace = trace;
                }
                self.batch = Some(Box::new(batch));
            }
            Err(violation) => {
                let extra = too_large(&violation, context.limits.batch_lines_max);
                self.answers.refuse(token, violation, extra, true, context);
            }
        }
        Turn::Again
    }

    /// Gives out the next line of the batch. `None`: there is no batch, or all of its lines are out.
    pub(super) fn dispatch_batch(&mut self, context: &mut Context<'_>) -> Option<Turn> {
        let batch = self.batch.as_mut()?;
        if !batch.is_dispatched() && batch.results.unanswered() >= context.limits.unanswered_max {
            return Some(Turn::Wait);
        }
        if let Some((token, line)) = batch.next_line() {
            return Some(Turn::Line { token, line });
        }
        // No answer may be due any more: there may have been no line at all, or the last one did not decode.
        self.finish_batch(context);
        self.note_answered(context);
        None
    }

    fn finish_batch(&mut self, context: &mut Context<'_>) {
        let Some(batch) = self.batch.take_if(|batch| batch.is_finished()) else { return };
        self.first_line = batch.next_first();
        let may_stop = self.may_stop();
        self.answers.answer(batch.token(), Outcome::Batch(&batch.results), may_stop, context);
    }

    fn finish_upgrade(&mut self, answer: &Answer<'_>, context: &mut Context<'_>) {
        let Phase::Upgrading(mut upgrade) = std::mem::replace(&mut self.phase, Phase::Head) else { return };
        upgrade.refusal = match answer {
            Answer::Subscribed(hello) => {
                upgrade.hello.clone_from(hello);
                let granted = &mut context.telemetry.ws.credits_granted;
                *granted = granted.saturating_add(upgrade.credit);
                None
            }
            Answer::Refused(Refusal { code, message, retry_after_ms }) => {
                let message = message.clone().into_owned().into();
                Some(Refusal { code: *code, message, retry_after_ms: *retry_after_ms })
            }
            _ => Some(Violation::new(ErrorCode::Internal, "the subscription got an answer of another kind").into()),
        };
        if let Some((stream, continuation)) = upgrade.subscription.take().map(|subscription| *subscription) {
            upgrade.finish_rule(&stream, continuation, answer);
        }
        upgrade.write_response(context.out, context.telemetry);
        self.phase = Phase::Upgraded(upgrade);
    }

    /// The request cannot be read to its end: its refusal is the last response, and what follows is not looked at.
    pub(super) fn stop_at(&mut self, violation: Violation, inbox: &mut Inbox<'_>, context: &mut Context<'_>) -> Turn {
        inbox.take(inbox.len());
        self.refuse_unread(violation, context);
        Turn::Again
    }

    pub(super) fn refuse_unread(&mut self, violation: Violation, context: &mut Context<'_>) {
        let (reply, extra) = match &self.phase {
            Phase::Body(Incoming { purpose, reply, .. }) if *purpose != Purpose::Discard => (
                Reply { closes: true, ..*reply },
                too_large(&violation, purpose.bytes_max(context.limits, &context.policy.guards)),
            ),
            _ => (Reply::to_unread(context.now), Extra::None),
        };
        self.phase = Phase::Head;
        let token = self.answers.push(reply);
        self.answers.refuse(token, violation, extra, true, context);
        self.forget_request(context);
    }

    pub(super) fn forget_request(&mut self, context: &Context<'_>) {
        self.scan.restart();
        self.body = Vec::new();
        self.kept = Kept::Nothing;
        self.is_continue_due = false;
        self.pace.complete(context.now);
    }

    /// No more of the request is taken now. That it lies around is our doing: its time stops.
    pub(super) fn wait(&mut self) -> Turn {
        self.pace.wait();
        Turn::Wait
    }

    /// An answer has been given.
    pub(super) fn note_answered(&mut self, context: &mut Context<'_>) {
        if self.answers.is_empty() {
            self.pace.rest(context.now);
            self.say_continue(context);
        }
    }

    /// Asks for the body, once every response before it has left.
    pub(super) fn say_continue(&mut self, context: &mut Context<'_>) {
        if self.is_continue_due && self.answers.is_empty() {
            self.is_continue_due = false;
            context.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    /// The response to the newest request may become the last one: nothing comes after it yet.
    pub(super) fn may_stop(&self) -> bool {
        matches!(self.phase, Phase::Head)
    }

    /// Empties the body buffer; a large one is given back.
    pub(super) fn drop_body(&mut self) {
        if self.body.capacity() > BODY_KEPT_BYTES_MAX {
            self.body = Vec::new();
        } else {
            self.body.clear();
        }
    }
}
