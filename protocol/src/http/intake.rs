//! Reading requests: from the bytes of a head to what is planned for it, and from there to its body.

use super::body::{Incoming, Kept, Purpose};
use super::fields::Framing;
use super::head::{self, RequestHead, Room, bad, bare_line_feed};
use super::inflate::inflate;
use super::origins::Origin;
use super::plan::{self, Action, Plan};
use super::recent::{self, RecentHead, Repeated};
use super::response::{Outcome, Reply, too_large};
use super::session::{HttpSession, Phase};
use super::turn::{Place, Turn};
use crate::access_log::{Note, Request};
use crate::context::Context;
use crate::error::Violation;
use crate::inbox::Inbox;

impl HttpSession {
    pub(super) fn advance(&mut self, inbox: &mut Inbox<'_>, context: &mut Context<'_>) -> Turn {
        self.pace.begin(context.now);
        if let Some(turn) = self.follow_up() {
            return turn;
        }
        if let Some(turn) = self.dispatch_batch(context) {
            return turn;
        }
        match &self.phase {
            Phase::Head => self.read_head(inbox, context),
            Phase::Body(_) => self.read_body(inbox, context),
            Phase::Settling if self.edge.is_asking() => Turn::Wait,
            Phase::Settling => self.settle(context),
            Phase::Upgrading(_) | Phase::Opening(_) => Turn::Wait,
            Phase::Upgraded(_) | Phase::Live(_) => Turn::Again,
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
        if self.answers.is_full(context.limits) || self.ruled.as_ref().is_some_and(|ruled| ruled.waiting.is_full()) {
            return self.wait();
        }
        if self.edge.is_asking() {
            return self.wait();
        }
        // Nobody gets a request past the access log by sending many before it.
        if context.log.is_http_on() && self.answers.has_full_notes() {
            return self.wait();
        }
        if let Some(mut repeated) = self.recognise(inbox, context) {
            self.edge.begin_next();
            if context.log.is_http_on() {
                repeated.reply.note = self.note_again(repeated.reply.note);
            }
            self.has_skipped_line = false;
            inbox.take(repeated.head_bytes);
            if let Some(turn) = self.take_whole(&repeated, inbox, context) {
                return turn;
            }
            let framing = Framing::Length(repeated.body_bytes);
            self.phase = Phase::Body(Incoming::new(repeated.reply, Purpose::Publish, framing));
            return self.read_body(inbox, context);
        }
        let mut room = Room::new();
        match head::parse(inbox.rest(), &mut room, &mut self.scan, context.limits) {
            Ok(Some(head)) => {
                let (edge, answers) = (&mut self.edge, &mut self.answers);
                let mut plan = plan::decide(&head, inbox.rest(), edge, answers, &mut self.key, context);
                if context.log.is_http_on() && !self.is_to_wait(&plan.action) {
                    plan.reply.note = self.note(&head, inbox.rest(), &plan, context);
                }
                self.follow(plan, inbox, context)
            }
            Ok(None) => {
                self.pace.receive(context.now);
                Turn::NeedBytes
            }
            Err(violation) => self.stop_at(violation, inbox, context),
        }
    }

    /// The request is left where it is for now, and its head read again later.
    const fn is_to_wait(&self, action: &Action) -> bool {
        match action {
            Action::Wait | Action::Charge(_) => true,
            Action::Receive(Purpose::Batch, _) => self.batch.is_some(),
            _ => false,
        }
    }

    /// Keeps what the access log's line will say of a request whose head stands at the front of `rest`.
    fn note(&mut self, head: &RequestHead<'_, '_>, rest: &[u8], plan: &Plan, context: &Context<'_>) -> Note {
        let method_bytes = memchr::memchr(b' ', rest).unwrap_or(0);
        let request = Request {
            ip: plan.caller.map_or(context.peer, |caller| caller.address),
            method: &rest[..method_bytes],
            path: head.target.path,
            query: head.target.query,
            tenant: context.policy.tenants.name(plan.reply.tenant),
            traceparent: head.fields.traceparent,
        };
        let is_alone = self.answers.is_empty();
        self.answers.notes.get_or_insert_default().add(&request, is_alone)
    }

    /// The same for a repeated head: its note, if it is still there.
    fn note_again(&mut self, note: Note) -> Note {
        let is_alone = self.answers.is_empty();
        let notes = self.answers.notes.get_or_insert_default();
        match &mut self.recent {
            Some(recent) if notes.text(note).is_none() => recent.note_again(notes, is_alone),
            _ => note,
        }
    }

    /// The head of the last publish stands here again. While draining it would mean something else.
    fn recognise(&mut self, inbox: &Inbox<'_>, context: &mut Context<'_>) -> Option<Repeated> {
        let is_plain = !context.draining && self.scan.is_fresh() && !self.edge.is_refused();
        let recent = self.recent.as_ref().filter(|_| is_plain)?;
        let repeated = recent.recognise(inbox.rest(), context)?;
        // Whoever may not go on is told why by the long way.
        if self.edge.admit_again(recent.known(), repeated.reply.endpoint, context).is_err() {
            self.edge.forget_question();
            return None;
        }
        Some(repeated)
    }

    /// Remembers the head of a publish that leaves the connection open.
    fn remember(&mut self, plan: &Plan, inbox: &Inbox<'_>, context: &Context<'_>) {
        let is_plain = matches!(plan.action, Action::Receive(Purpose::Publish, Kept::Nothing))
            && matches!(plan.framing, Framing::Length(_))
            && !plan.reply.closes
            && !plan.expects_continue
            && !matches!(plan.reply.origin, Origin::Kept(_));
        let Some(caller) = plan.caller.filter(|_| is_plain) else { return };
        // With more digits in its length it must be within the bounds as well.
        let guards = &context.policy.guards;
        let head_bytes_max = guards.header_bytes_max.min(guards.cookie_bytes_max);
        if plan.head_bytes.saturating_add(recent::LENGTH_DIGITS_MAX) > head_bytes_max {
            return;
        }
        if self.has_published {
            let head = &inbox.rest()[..plan.head_bytes];
            let noted = self.answers.notes.as_ref().and_then(|notes| notes.text(plan.reply.note));
            let noted = noted.unwrap_or_default();
            let known = caller.known(context.policy.generation);
            let length = plan.length.clone();
            self.recent = RecentHead::remember(self.recent.take(), head, length, plan.reply, known, noted);
        }
        self.has_published = true;
    }

    /// Does what was planned.
    fn follow(&mut self, plan: Plan, inbox: &mut Inbox<'_>, context: &mut Context<'_>) -> Turn {
        if let Action::Charge(charge) = plan.action {
            self.pace.wait();
            return Turn::Charge(charge);
        }
        if self.is_to_wait(&plan.action) {
            return self.wait();
        }
        self.remember(&plan, inbox, context);
        let Plan { action, mut reply, head_bytes, framing, expects_continue, caller, scope, .. } = plan;
        self.has_skipped_line = false;
        // A connection that becomes something else may move to another shard first, with what it has passed.
        if !matches!(action, Action::Upgrade { .. } | Action::Live { .. }) {
            self.edge.begin_next();
        }
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
                reply.is_document = true;
                let token = self.answers.push(reply);
                Turn::Query { token, tenant: reply.tenant, scope, route, head_bytes, query }
            }
            Action::Ask(command) => {
                self.discard_body(&mut reply, framing, expects_continue, context);
                inbox.take(head_bytes);
                reply.is_document = true;
                Turn::Ask { token: self.answers.push(reply), tenant: reply.tenant, command }
            }
            Action::Ruled(judged) => {
                self.discard_body(&mut reply, framing, expects_continue, context);
                inbox.take(head_bytes);
                self.conclude(reply, *judged, context)
            }
            Action::Allow => {
                self.discard_body(&mut reply, framing, expects_continue, context);
                inbox.take(head_bytes);
                let token = self.answers.push(reply);
                let may_stop = self.may_stop();
                self.answers.answer(token, Outcome::Preflight, may_stop, context);
                Turn::Again
            }
            Action::Refuse(refusal, extra) => {
                self.discard_body(&mut reply, framing, expects_continue, context);
                inbox.take(head_bytes);
                let token = self.answers.push(reply);
                let may_stop = self.may_stop();
                self.answers.answer(token, Outcome::Refusal(&refusal, extra), may_stop, context);
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
            Action::Live { after, query } => {
                self.pace.wait();
                let address = caller.map_or(context.peer, |caller| caller.address);
                Turn::Live { reply, after, head_bytes, query, address }
            }
            Action::Wait | Action::Charge(_) => Turn::Wait,
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

    /// Takes the body of a publish with a repeated head if all of it is here, as it nearly always is.
    #[inline(always)]
    fn take_whole(&mut self, repeated: &Repeated, inbox: &Inbox<'_>, context: &Context<'_>) -> Option<Turn> {
        if (inbox.len() as u64) < repeated.body_bytes || !self.body.is_empty() || repeated.reply.is_gzip {
            return None;
        }
        // It is within the bound on bodies.
        let n = repeated.body_bytes as usize;
        self.is_continue_due = false;
        self.pace.complete(context.now);
        let reply = Reply { decoded_ns: context.now.mono_ns, body_bytes: n as u32, ..repeated.reply };
        let (encoding, tenant) = (reply.request_encoding, reply.tenant);
        let place = Place::Inbox { consumed: n, produced: n };
        Some(Turn::Publish { token: self.answers.push(reply), tenant, encoding, place })
    }

    fn read_body(&mut self, inbox: &mut Inbox<'_>, context: &mut Context<'_>) -> Turn {
        let Phase::Body(incoming) = &mut self.phase else { return Turn::Again };
        let progress = match incoming.decode(inbox.rest_mut(), context.limits, &context.policy.guards) {
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
        if reply.is_gzip && reply.body_bytes > 0 {
            return self.take_unpacked(reply, purpose, place, inbox, context);
        }
        self.take_body(reply, purpose, place, None, context)
    }

    /// A complete body that is compressed.
    #[cold]
    fn take_unpacked(
        &mut self,
        reply: Reply,
        purpose: Purpose,
        place: Place,
        inbox: &mut Inbox<'_>,
        context: &mut Context<'_>,
    ) -> Turn {
        let mut unpacked = Vec::new();
        let packed = place.bytes(inbox, &self.body);
        let bytes_max = purpose.bytes_max(context.limits, &context.policy.guards);
        let result = if purpose == Purpose::Discard {
            Ok(())
        } else {
            inflate(packed, bytes_max, context.limits, &mut unpacked)
        };
        self.body = if result.is_ok() { unpacked } else { Vec::new() };
        match result {
            // A rule may have something to say to that.
            Err(violation) if purpose != Purpose::Ruled => {
                let extra = too_large(&violation, bytes_max);
                let token = self.answers.push(reply);
                self.answers.refuse(token, violation, extra, self.may_stop(), context);
                Turn::Again
            }
            result => self.take_body(reply, purpose, Place::Gathered, result.err(), context),
        }
    }

    /// Does with a complete body what it was meant for. `flaw`: why it could not be unpacked for rules.
    #[inline]
    fn take_body(
        &mut self,
        reply: Reply,
        purpose: Purpose,
        place: Place,
        flaw: Option<Violation>,
        context: &mut Context<'_>,
    ) -> Turn {
        match purpose {
            Purpose::Publish => {
                let (token, tenant) = (self.answers.push(reply), reply.tenant);
                Turn::Publish { token, tenant, encoding: reply.request_encoding, place }
            }
            Purpose::Settings => {
                let reply = Reply { is_document: true, ..reply };
                let (token, tenant) = (self.answers.push(reply), reply.tenant);
                Turn::Settings { token, tenant, encoding: reply.request_encoding, place }
            }
            Purpose::Batch => self.begin_batch(reply, context),
            Purpose::Ruled => match std::mem::replace(&mut self.kept, Kept::Nothing) {
                Kept::Ruled(pending) => self.judge(reply, *pending, flaw, context),
                _ => Turn::Again,
            },
            Purpose::Discard => Turn::Again,
        }
    }
}
