//! The state of one connection that speaks HTTP.

use super::answers::Answers;
use super::batch::{self, Batch};
use super::body::{Incoming, Kept, Purpose};
use super::fields::Framing;
use super::handshake::Upgrade;
use super::head::{self, HeadScan, bad, bare_line_feed};
use super::pace::Pace;
use super::plan::{self, Action, Plan};
use super::recent::{RecentHead, Repeated};
use super::response::{Extra, Outcome, Reply};
use super::turn::{Place, Turn, check_publish};
use crate::Encoding;
use crate::answer::Answer;
use crate::codec::decode_publish;
use crate::command::Command;
use crate::context::Context;
use crate::error::{ErrorCode, Violation};
use crate::ids::{TenantId, Token};
use crate::inbox::Inbox;
use crate::limits::Limits;
use crate::policy::Scope;
use crate::session::Step;
use crate::surface::http as surface;
use crate::surface::streams;
use crate::ws::{Role, WsSession};

/// A body buffer with more room than this is not kept for the next body.
const BODY_KEPT_BYTES_MAX: usize = 64 * 1024;

/// One connection as long as it speaks HTTP. An idle one takes a few hundred bytes.
#[derive(Debug)]
pub struct HttpSession {
    phase: Phase,
    answers: Answers,
    scan: HeadScan,
    /// A body that did not come in one read, as far as it has come; after its command was given out, until the next call.
    body: Vec<u8>,
    /// What the head of the request whose body is coming said; until the next call, as `body`.
    kept: Kept,
    /// The last `Idempotency-Key`: it counts while `kept` says so. Its memory is used again.
    key: String,
    batch: Option<Box<Batch>>,
    /// The head of the last publish, from the second one on: a connection for one message needs none.
    recent: Option<Box<RecentHead>>,
    has_published: bool,
    /// Where the tokens of the next batch's lines begin.
    first_line: u32,
    pace: Pace,
    /// The one empty line that may stand before a request (RFC 9112, section 2.2) has been passed.
    has_skipped_line: bool,
    /// The client waits for `100 Continue` (RFC 9110, section 10.1.1), which waits for the responses before it.
    is_continue_due: bool,
}

#[derive(Debug)]
enum Phase {
    /// Before a request head.
    Head,
    /// In a request body.
    Body(Incoming),
    /// A subscription has been asked for; its answer decides the upgrade.
    Upgrading(Box<Upgrade>),
    /// The 101 is written.
    Upgraded(Box<Upgrade>),
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
        match self.advance(inbox, context) {
            Turn::NeedBytes => Step::NeedBytes,
            Turn::Wait => Step::Wait,
            Turn::Again => Step::Again,
            Turn::Close => Step::Close,
            Turn::Publish { token, encoding, place } => {
                let mut read = decode_publish(encoding, place.bytes(inbox, &self.body), context.limits);
                let key = matches!(self.kept, Kept::Key).then_some(&*self.key);
                check_publish(&mut read, key, context);
                match read {
                    Ok(publish) => {
                        Step::Command { token, tenant: TenantId::DEFAULT, command: Command::Publish(publish) }
                    }
                    Err(violation) => {
                        self.answers.refuse(token, violation, Extra::None, true, context);
                        Step::Again
                    }
                }
            }
            Turn::Line { token, line } => {
                let Some(batch) = &mut self.batch else { return Step::Again };
                let (bytes, results) = batch.line_mut(line);
                let mut read = decode_publish(Encoding::Json, bytes, context.limits);
                check_publish(&mut read, None, context);
                match read {
                    Ok(publish) => {
                        Step::Command { token, tenant: TenantId::DEFAULT, command: Command::Publish(publish) }
                    }
                    Err(violation) => {
                        context.telemetry.count_error(violation.code);
                        results.refuse(token, violation);
                        Step::Again
                    }
                }
            }
            Turn::Settings { token, encoding, place } => {
                let kept = std::mem::replace(&mut self.kept, Kept::Nothing);
                let Kept::Settings(mut command) = kept else { return Step::Again };
                let bytes = place.bytes(inbox, &self.body);
                match streams::read_settings(&mut command, encoding, bytes, context.limits) {
                    Ok(()) => Step::Command { token, tenant: TenantId::DEFAULT, command: Command::Stream(command) },
                    Err(violation) => {
                        self.answers.refuse(token, violation, Extra::None, true, context);
                        Step::Again
                    }
                }
            }
            Turn::Ask { token, command } => {
                Step::Command { token, tenant: TenantId::DEFAULT, command: Command::Stream(command) }
            }
            Turn::Query { token, route, head_bytes, query } => {
                // The head was text when it was parsed.
                let query = std::str::from_utf8(&inbox.take(head_bytes)[query]).unwrap_or_default();
                match surface::query_command(route, query, Scope::Server, context.limits) {
                    Ok(command) => Step::Command { token, tenant: TenantId::DEFAULT, command },
                    Err(violation) => {
                        let may_stop = matches!(self.phase, Phase::Head);
                        self.answers.refuse(token, violation, Extra::None, may_stop, context);
                        Step::Again
                    }
                }
            }
            Turn::Subscribe { mut upgrade, head_bytes, query } => {
                let query = std::str::from_utf8(&inbox.take(head_bytes)[query]).unwrap_or_default();
                match surface::subscribe(query, upgrade.encoding, context.limits) {
                    Ok(subscribe) => {
                        let token = upgrade.token;
                        upgrade.credit = subscribe.credit;
                        self.phase = Phase::Upgrading(upgrade);
                        Step::Command { token, tenant: TenantId::DEFAULT, command: Command::Subscribe(subscribe) }
                    }
                    Err(violation) => {
                        upgrade.violation = Some(violation);
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
        if let Phase::Upgrading(upgrade) = &self.phase
            && upgrade.token == token
        {
            self.finish_upgrade(answer, context);
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

    /// The 101 response is in the outbox: the connection is a WebSocket from here on.
    #[must_use]
    pub const fn is_upgraded(&self) -> bool {
        matches!(self.phase, Phase::Upgraded(_))
    }

    /// Turns into the WebSocket session that the handshake agreed on. Only after [`Self::is_upgraded`].
    pub fn upgrade(&mut self, context: &mut Context<'_>) -> WsSession {
        let (role, encoding, hello, violation) = match std::mem::replace(&mut self.phase, Phase::Head) {
            Phase::Upgraded(upgrade) => (upgrade.role, upgrade.encoding, upgrade.hello, upgrade.violation),
            _ => {
                debug_assert!(false, "an upgrade without a handshake");
                let violation = Violation::new(ErrorCode::Internal, "the connection was never upgraded");
                (Role::Publisher, Encoding::Json, None, Some(violation))
            }
        };
        let mut websocket = WsSession::new(role, encoding, context);
        if let Some(subscribed) = hello {
            websocket.greet(&subscribed, context);
        }
        if let Some(violation) = violation {
            websocket.close(&violation, context);
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
        self.answers.is_empty() && !self.pace.is_receiving() && matches!(self.phase, Phase::Head)
    }

    /// See `Session::owes_answer`.
    #[must_use]
    pub fn owes_answer(&self) -> bool {
        !self.answers.is_empty() || matches!(self.phase, Phase::Upgrading(_))
    }

    /// See `Session::deadline_ns`.
    #[must_use]
    pub fn deadline_ns(&self, limits: &Limits) -> Option<u64> {
        let wait_ms = match &self.phase {
            Phase::Head if self.pace.is_receiving() => limits.headers_ms,
            Phase::Head if self.is_idle() && !self.is_closing() => limits.keep_alive_ms,
            Phase::Body(_) => limits.request_ms,
            // The shard owes an answer: that it comes in time is not the client's business.
            Phase::Head | Phase::Upgrading(_) | Phase::Upgraded(_) => return None,
        };
        Some(self.pace.due_ns(wait_ms))
    }

    /// See `Session::handle_deadline`: 408 when a request has begun, a silent close when none has.
    pub fn handle_deadline(&mut self, context: &mut Context<'_>) {
        self.pace.begin(context.now);
        if self.deadline_ns(context.limits).is_none_or(|deadline_ns| context.now.mono_ns < deadline_ns) {
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

    fn advance(&mut self, inbox: &mut Inbox<'_>, context: &mut Context<'_>) -> Turn {
        self.pace.begin(context.now);
        if let Some(turn) = self.dispatch_batch(context) {
            return turn;
        }
        match &self.phase {
            Phase::Head => self.read_head(inbox, context),
            Phase::Body(_) => self.read_body(inbox, context),
            Phase::Upgrading(_) => Turn::Wait,
            Phase::Upgraded(_) => Turn::Again,
        }
    }

    fn read_head(&mut self, inbox: &mut Inbox<'_>, context: &mut Context<'_>) -> Turn {
        if self.answers.is_stopped() {
            return if self.answers.is_empty() { Turn::Close } else { Turn::Wait };
        }
        self.drop_body();
        self.kept = Kept::Nothing;
        if !self.has_skipped_line {
            match inbox.rest() {
                [b'\r', b'\n', ..] => {
                    self.has_skipped_line = true;
                    inbox.take(2);
                }
                // The LF may be in the next read.
                [b'\r'] => return Turn::NeedBytes,
                _ => {}
            }
        }
        match inbox.rest() {
            [] => {
                if self.answers.is_empty() {
                    self.answers.shrink();
                    self.body = Vec::new();
                }
                return Turn::NeedBytes;
            }
            [b'\n', ..] => return self.stop_at(bare_line_feed(), inbox, context),
            [b'\r', ..] => return self.stop_at(bad("a request does not begin with an empty line"), inbox, context),
            _ => {}
        }
        if self.answers.len() >= context.limits.unanswered_max {
            return self.wait();
        }
        if let Some(repeated) = self.recognise(inbox, context) {
            self.has_skipped_line = false;
            inbox.take(repeated.head_bytes);
            let framing = Framing::Length(repeated.body_bytes);
            self.phase = Phase::Body(Incoming::new(repeated.reply, Purpose::Publish, framing));
            return self.read_body(inbox, context);
        }
        match head::parse(inbox.rest(), &mut self.scan, context.limits) {
            Ok(Some(head)) => {
                let plan = plan::decide(&head, inbox.rest(), self.answers.is_empty(), &mut self.key, context);
                self.follow(plan, inbox, context)
            }
            Ok(None) => {
                self.pace.receive(context.now);
                Turn::NeedBytes
            }
            Err(violation) => self.stop_at(violation, inbox, context),
        }
    }

    /// The head of the last publish stands here again. While draining it would mean something else.
    fn recognise(&self, inbox: &Inbox<'_>, context: &Context<'_>) -> Option<Repeated> {
        let recent = self.recent.as_ref().filter(|_| !context.draining && self.scan.is_fresh())?;
        recent.recognise(inbox.rest(), context.limits)
    }

    /// Remembers the head of a publish that leaves the connection open.
    fn remember(&mut self, plan: &Plan, inbox: &Inbox<'_>) {
        let is_plain = matches!(plan.action, Action::Receive(Purpose::Publish, Kept::Nothing))
            && matches!(plan.framing, Framing::Length(_))
            && !plan.reply.closes
            && !plan.expects_continue;
        if !is_plain {
            return;
        }
        if self.has_published {
            let head = &inbox.rest()[..plan.head_bytes];
            self.recent = RecentHead::remember(self.recent.take(), head, plan.length.clone(), plan.reply);
        }
        self.has_published = true;
    }

    /// Does what was planned.
    fn follow(&mut self, plan: Plan, inbox: &mut Inbox<'_>, context: &mut Context<'_>) -> Turn {
        self.remember(&plan, inbox);
        let Plan { action, mut reply, head_bytes, framing, expects_continue, .. } = plan;
        match action {
            Action::Wait => return self.wait(),
            Action::Receive(Purpose::Batch, _) if self.batch.is_some() => return self.wait(),
            _ => {}
        }
        self.has_skipped_line = false;
        match action {
            Action::Receive(purpose, kept) => {
                inbox.take(head_bytes);
                self.kept = kept;
                self.phase = Phase::Body(Incoming::new(reply, purpose, framing));
                self.is_continue_due = expects_continue && framing != Framing::None;
                self.read_body(inbox, context)
            }
            Action::Query(route, query) => {
                self.discard_body(&mut reply, framing, expects_continue, context);
                let token = self.answers.push(reply);
                Turn::Query { token, route, head_bytes, query }
            }
            Action::Ask(command) => {
                self.discard_body(&mut reply, framing, expects_continue, context);
                inbox.take(head_bytes);
                Turn::Ask { token: self.answers.push(reply), command }
            }
            Action::Refuse(violation, extra) => {
                self.discard_body(&mut reply, framing, expects_continue, context);
                inbox.take(head_bytes);
                let token = self.answers.push(reply);
                let may_stop = self.may_stop();
                self.answers.refuse(token, violation, extra, may_stop, context);
                Turn::Again
            }
            Action::Stop(violation) => self.stop_at(violation, inbox, context),
            Action::Upgrade { mut upgrade, query } => {
                upgrade.token = self.answers.skip_token();
                self.pace.wait();
                if let Some(query) = query {
                    return Turn::Subscribe { upgrade, head_bytes, query };
                }
                inbox.take(head_bytes);
                upgrade.write_response(context.out, context.telemetry);
                self.phase = Phase::Upgraded(upgrade);
                Turn::Again
            }
            Action::Wait => Turn::Wait,
        }
    }

    /// The request is answered from its head. A body that follows is passed over; if that makes no sense because it is
    /// too large, or may never come (the client waits for `100 Continue` and gets a final response), the connection ends.
    fn discard_body(&mut self, reply: &mut Reply, framing: Framing, expects_continue: bool, context: &Context<'_>) {
        reply.closes |= match framing {
            Framing::None => false,
            Framing::Length(bytes) => expects_continue || bytes > context.limits.body_bytes_max as u64,
            Framing::Chunked => expects_continue,
        };
        self.pace.complete(context.now);
        if framing != Framing::None && !reply.closes {
            self.phase = Phase::Body(Incoming::new(*reply, Purpose::Discard, framing));
            self.pace.receive(context.now);
        }
    }

    fn read_body(&mut self, inbox: &mut Inbox<'_>, context: &mut Context<'_>) -> Turn {
        let Phase::Body(incoming) = &mut self.phase else { return Turn::Again };
        let progress = match incoming.decode(inbox.rest_mut(), context.limits) {
            Ok(progress) => progress,
            Err(violation) => return self.stop_at(violation, inbox, context),
        };
        let Incoming { mut reply, purpose, .. } = *incoming;
        let is_one = matches!(purpose, Purpose::Publish | Purpose::Settings);
        let is_in_place = progress.is_done && is_one && self.body.is_empty();
        if purpose != Purpose::Discard && !is_in_place {
            self.body.extend_from_slice(&inbox.rest()[..progress.produced]);
        }
        if !progress.is_done {
            inbox.take(progress.consumed);
            self.pace.receive(context.now);
            self.say_continue(context);
            return Turn::NeedBytes;
        }
        self.phase = Phase::Head;
        self.is_continue_due = false;
        self.pace.complete(context.now);
        reply.decoded_ns = context.now.mono_ns;
        reply.body_bytes =
            u32::try_from(if is_in_place { progress.produced } else { self.body.len() }).unwrap_or(u32::MAX);
        let place = if is_in_place {
            Place::Inbox { consumed: progress.consumed, produced: progress.produced }
        } else {
            inbox.take(progress.consumed);
            Place::Gathered
        };
        match purpose {
            Purpose::Publish => {
                Turn::Publish { token: self.answers.push(reply), encoding: reply.request_encoding, place }
            }
            Purpose::Settings => {
                Turn::Settings { token: self.answers.push(reply), encoding: reply.request_encoding, place }
            }
            Purpose::Batch => self.begin_batch(reply, context),
            Purpose::Discard => Turn::Again,
        }
    }

    fn begin_batch(&mut self, reply: Reply, context: &mut Context<'_>) -> Turn {
        let token = self.answers.push(reply);
        let body = std::mem::take(&mut self.body);
        match Batch::new(body, token, reply.encoding, self.first_line, context.limits) {
            Ok(batch) => self.batch = Some(Box::new(batch)),
            Err(violation) => self.answers.refuse(token, violation, Extra::None, true, context),
        }
        Turn::Again
    }

    /// Gives out the next line of the batch. `None`: there is no batch, or all of its lines are out.
    fn dispatch_batch(&mut self, context: &mut Context<'_>) -> Option<Turn> {
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
        upgrade.violation = match answer {
            Answer::Subscribed(hello) => {
                upgrade.hello.clone_from(hello);
                let granted = &mut context.telemetry.ws.credits_granted;
                *granted = granted.saturating_add(upgrade.credit);
                None
            }
            Answer::Refused(refusal) => Some(Violation::new(refusal.code, refusal.message.clone().into_owned())),
            _ => Some(Violation::new(ErrorCode::Internal, "the subscription got an answer of another kind")),
        };
        upgrade.write_response(context.out, context.telemetry);
        self.phase = Phase::Upgraded(upgrade);
    }

    /// The request cannot be read to its end: its refusal is the last response, and what follows is not looked at.
    fn stop_at(&mut self, violation: Violation, inbox: &mut Inbox<'_>, context: &mut Context<'_>) -> Turn {
        inbox.take(inbox.len());
        self.refuse_unread(violation, context);
        Turn::Again
    }

    fn refuse_unread(&mut self, violation: Violation, context: &mut Context<'_>) {
        let reply = match &self.phase {
            Phase::Body(Incoming { purpose, reply, .. }) if *purpose != Purpose::Discard => {
                Reply { closes: true, ..*reply }
            }
            _ => Reply::to_unread(context.now),
        };
        self.phase = Phase::Head;
        let token = self.answers.push(reply);
        self.answers.refuse(token, violation, Extra::None, true, context);
        self.forget_request(context);
    }

    fn forget_request(&mut self, context: &Context<'_>) {
        self.scan.restart();
        self.body = Vec::new();
        self.kept = Kept::Nothing;
        self.is_continue_due = false;
        self.pace.complete(context.now);
    }

    /// No more of the request is taken now. That it lies around is our doing: its time stops.
    fn wait(&mut self) -> Turn {
        self.pace.wait();
        Turn::Wait
    }

    /// An answer has been given.
    fn note_answered(&mut self, context: &mut Context<'_>) {
        if self.answers.is_empty() {
            self.pace.rest(context.now);
            self.say_continue(context);
        }
    }

    /// Asks for the body, once every response before it has left.
    fn say_continue(&mut self, context: &mut Context<'_>) {
        if self.is_continue_due && self.answers.is_empty() {
            self.is_continue_due = false;
            context.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
    }

    /// The response to the newest request may become the last one: nothing comes after it yet.
    fn may_stop(&self) -> bool {
        matches!(self.phase, Phase::Head)
    }

    /// Empties the body buffer; a large one is given back.
    fn drop_body(&mut self) {
        if self.body.capacity() > BODY_KEPT_BYTES_MAX {
            self.body = Vec::new();
        } else {
            self.body.clear();
        }
    }
}
