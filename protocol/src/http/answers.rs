//! The requests that wait for their answers. Responses leave in the order of the requests (RFC 9112, section 9.3.2),
//! answers come in any order: one that comes early is encoded at once and kept until those before it have left.

use super::origins::Origins;
use super::response::{self, Extra, Outcome, Reply};
use crate::access_log::Notes;
use crate::answer::Refusal;
use crate::context::Context;
use crate::error::{ErrorCode, Violation};
use crate::ids::{TenantId, Token};
use crate::limits::Limits;
use crate::time::NS_PER_MS;
use std::collections::VecDeque;

/// Tokens of requests are below this; those above it name the lines of a batch, and the highest is `Token::NONE`.
pub(super) const TOKENS: u32 = 0x7fff_ffff;

/// Dead bytes among the early responses beyond this, and beyond the living ones, are squeezed out.
const DEAD_BYTES_MAX: usize = 16 * 1024;

/// A queue with more room than this is given back when the connection is idle.
const IDLE_QUEUE_MAX: usize = 32;

/// Unanswered requests in order.
#[derive(Debug, Default)]
pub(super) struct Answers {
    waiting: VecDeque<Waiting>,
    /// The token of `waiting[0]`.
    first: u32,
    /// Encoded responses that may not leave yet.
    early: Vec<u8>,
    /// Bytes of `early` that a waiting request still names.
    early_live_bytes: usize,
    /// Documents among what waits for its answer.
    documents: usize,
    is_stopped: bool,
    /// What the access log's lines will say of the requests; absent while that log is off.
    pub(super) notes: Option<Box<Notes>>,
    /// Whose pages ask.
    pub(super) origins: Origins,
}

#[derive(Debug)]
struct Waiting {
    reply: Reply,
    /// Where its response lies in `early`.
    early: Option<(usize, usize)>,
}

impl Waiting {
    const fn owes_document(&self) -> bool {
        self.reply.is_document && self.early.is_none()
    }
}

/// What is said in place of a document that does not come.
const LATE: &str =
    "the server did not answer in time: ask again, and look first whether what was to be changed has changed";
/// And when to ask again.
const LATE_WAIT_MS: u32 = 1_000;

impl Answers {
    /// No request waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Too much waits already: another request must not be looked at. A document is waited for before anything else is
    /// done, since nobody knows how large it will be, and what would follow it could not leave before it anyway.
    #[inline(always)]
    pub(super) fn is_full(&self, limits: &Limits) -> bool {
        // Not short-circuited: one branch instead of three.
        (self.waiting.len() >= limits.unanswered_max)
            | (self.documents >= limits.documents_max)
            | (self.early_live_bytes > limits.early_bytes_max)
    }

    /// When the oldest document that is owed is given up, in `Now::mono_ns`.
    pub(super) fn document_due_ns(&self, limits: &Limits) -> Option<u64> {
        if self.documents == 0 {
            return None;
        }
        let oldest = self.waiting.iter().find(|waiting| waiting.owes_document())?;
        Some(oldest.reply.decoded_ns.saturating_add(limits.document_ms.saturating_mul(NS_PER_MS)))
    }

    /// Says of a document that is overdue that it does not come, and which one that was. If it comes later all the same,
    /// nobody waits for it.
    pub(super) fn give_up_document(&mut self, may_stop: bool, context: &mut Context<'_>) -> Option<Token> {
        self.document_due_ns(context.limits).filter(|due_ns| *due_ns <= context.now.mono_ns)?;
        let index = self.waiting.iter().position(Waiting::owes_document)?;
        let token = Token(((u64::from(self.first) + index as u64) % u64::from(TOKENS)) as u32);
        let refusal = Refusal { code: ErrorCode::Timeout, message: LATE.into(), retry_after_ms: Some(LATE_WAIT_MS) };
        self.answer(token, Outcome::Refusal(&refusal, Extra::None), may_stop, context);
        Some(token)
    }

    /// Requests that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// As much is noted of the requests that wait as may be.
    pub(super) fn has_full_notes(&self) -> bool {
        !self.waiting.is_empty() && self.notes.as_ref().is_some_and(|notes| notes.is_full())
    }

    /// The last request of the connection has been decoded.
    pub(super) const fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// Queues a request.
    #[inline(always)]
    pub(super) fn push(&mut self, reply: Reply) -> Token {
        self.is_stopped |= reply.closes;
        self.documents += usize::from(reply.is_document);
        let token = (u64::from(self.first) + self.waiting.len() as u64) % u64::from(TOKENS);
        self.waiting.push_back(Waiting { reply, early: None });
        Token(token as u32)
    }

    /// A token for a request that gets its answer outside of the queue, which is empty now.
    pub(super) fn skip_token(&mut self) -> Token {
        debug_assert!(self.is_empty(), "a token is skipped while others wait");
        let token = Token(self.first);
        self.pass_first();
        token
    }

    fn pass_first(&mut self) {
        self.first = (self.first + 1) % TOKENS;
    }

    /// Writes the response to the request that `token` names, or keeps it until its turn. With `may_stop`, a draining
    /// server makes the response to the newest request the last one.
    pub(super) fn answer(&mut self, token: Token, outcome: Outcome<'_>, may_stop: bool, context: &mut Context<'_>) {
        if token.0 >= TOKENS {
            return;
        }
        let index = (token.0 + if token.0 < self.first { TOKENS } else { 0 } - self.first) as usize;
        let is_newest = index + 1 == self.waiting.len();
        let Some(waiting) = self.waiting.get_mut(index) else { return };
        if waiting.early.is_some() {
            return;
        }
        self.documents -= usize::from(waiting.reply.is_document);
        if context.draining && may_stop && is_newest {
            waiting.reply.closes = true;
            self.is_stopped = true;
        }
        let reply = &waiting.reply;
        if index == 0 {
            response::write(reply, self.origins.text(reply.origin), self.notes.as_deref(), outcome, context);
            self.waiting.pop_front();
            self.pass_first();
            self.release_early(context.out);
        } else {
            self.squeeze();
            let start = self.early.len();
            std::mem::swap(context.out, &mut self.early);
            let reply = &self.waiting[index].reply;
            response::write(reply, self.origins.text(reply.origin), self.notes.as_deref(), outcome, context);
            std::mem::swap(context.out, &mut self.early);
            let end = self.early.len();
            self.early_live_bytes += end - start;
            self.waiting[index].early = Some((start, end));
        }
    }

    /// On whose behalf a request that waits was asked.
    pub(super) fn tenant_of(&self, token: Token) -> TenantId {
        let index = (token.0 + if token.0 < self.first { TOKENS } else { 0 } - self.first) as usize;
        self.waiting.get(index).map_or(TenantId::DEFAULT, |waiting| waiting.reply.tenant)
    }

    /// Refuses a request.
    pub(super) fn refuse(
        &mut self,
        token: Token,
        violation: Violation,
        extra: Extra,
        may_stop: bool,
        context: &mut Context<'_>,
    ) {
        self.answer(token, Outcome::Refusal(&violation.into(), extra), may_stop, context);
    }

    /// Sends the early responses whose turn has come.
    fn release_early(&mut self, out: &mut Vec<u8>) {
        while let Some(Waiting { early: Some((start, end)), .. }) = self.waiting.front() {
            out.extend_from_slice(&self.early[*start..*end]);
            self.early_live_bytes -= end - start;
            self.waiting.pop_front();
            self.pass_first();
        }
        if self.early_live_bytes == 0 {
            self.early.clear();
        }
    }

    /// Keeps the early responses from growing when there is always one of them: moves the living ones together.
    fn squeeze(&mut self) {
        let dead_bytes = self.early.len() - self.early_live_bytes;
        if dead_bytes <= DEAD_BYTES_MAX || dead_bytes <= self.early_live_bytes {
            return;
        }
        let mut living = Vec::with_capacity(2 * self.early_live_bytes);
        for (start, end) in self.waiting.iter_mut().filter_map(|waiting| waiting.early.as_mut()) {
            let moved = living.len();
            living.extend_from_slice(&self.early[*start..*end]);
            (*start, *end) = (moved, living.len());
        }
        self.early = living;
    }

    /// The connection is over at once: says `violation` to the first request that waits, forgets all of them.
    pub(super) fn abandon(&mut self, violation: &Violation, context: &mut Context<'_>) {
        if let Some(first) = self.waiting.front() {
            let reply = Reply { closes: true, ..first.reply };
            let refusal = Refusal { code: violation.code, message: violation.message.clone(), retry_after_ms: None };
            response::write(
                &reply,
                self.origins.text(reply.origin),
                self.notes.as_deref(),
                Outcome::Refusal(&refusal, Extra::None),
                context,
            );
        }
        *self = Self { is_stopped: true, first: self.first, ..Self::default() };
    }

    /// The connection is idle: gives memory back.
    pub(super) fn shrink(&mut self) {
        if self.early.capacity() > 0 {
            self.early = Vec::new();
        }
        if let Some(notes) = &mut self.notes {
            notes.shrink();
        }
        if self.waiting.capacity() > IDLE_QUEUE_MAX {
            self.waiting = VecDeque::new();
        }
    }
}
