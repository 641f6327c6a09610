//! The compiled rules and how they are asked.

use super::decision::{Finished, Outcome, Reply, ReplyBody, Response};
use super::failure::RuleError;
use super::view::{Body, HeadView, KeptHead, Message};
use serde_json::Value;
use std::sync::Arc;

/// Compiled rules. Cloning one is cheap; the default is none at all.
#[derive(Debug, Clone, Default)]
pub struct Rules(Option<Arc<RuleSet>>);

/// What all handles share.
#[derive(Debug)]
pub(super) struct RuleSet {
    rules: Vec<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    id: Box<str>,
    auth_required: Option<bool>,
    rate: Option<RuleRate>,
}

/// How often a rule may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleRate {
    /// Requests a minute, on the average.
    pub per_minute: u32,
    /// Requests at once.
    pub burst: u32,
    /// Who shares them.
    pub by: RateBy,
}

/// Who shares a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RateBy {
    /// One address of a client.
    Ip,
    /// One token; without one, one address.
    Token,
    /// All of a tenant.
    Tenant,
    /// Everybody.
    All,
}

/// A handle of one rule.
#[derive(Debug, Clone)]
pub struct Rule {
    set: Arc<RuleSet>,
    index: u32,
}

impl Rule {
    fn compiled(&self) -> &Compiled {
        &self.set.rules[self.index as usize]
    }

    /// Its `id`, for the log and the figures.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.compiled().id
    }

    /// Its place among all rules: counters can be kept in an array of [`Rules::len`].
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index as usize
    }

    /// `authRequired`: whether a credential is needed. `None`: what holds for the path without rules.
    #[must_use]
    pub fn auth_required(&self) -> Option<bool> {
        self.compiled().auth_required
    }

    /// `rateLimit`.
    #[must_use]
    pub fn rate(&self) -> Option<&RuleRate> {
        self.compiled().rate.as_ref()
    }

    /// Puts an error in the rule's words (`onError`), or in the usual ones.
    #[must_use]
    pub fn refuse(&self, error: RuleError, _head: &HeadView<'_>) -> Response {
        let reply = Reply::Http { status: error.status, headers: Vec::new(), body: ReplyBody::Empty };
        Response { reply, error: Some(error) }
    }
}

impl Rules {
    /// Whether there is no rule.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// How many rules there are, those of all tenants included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |set| set.rules.len())
    }

    /// The `id` of every rule, by [`Rule::index`].
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flat_map(|set| &set.rules).map(|rule| &*rule.id)
    }

    /// The rules that may answer an HTTP request with this head.
    #[inline]
    #[must_use]
    pub fn request(&self, _head: &HeadView<'_>) -> Candidates {
        Candidates::default()
    }

    /// The rules that may answer a WebSocket handshake with this head.
    #[inline]
    #[must_use]
    pub fn connect(&self, _head: &HeadView<'_>) -> Candidates {
        Candidates::default()
    }

    /// The rules that look at the messages of a WebSocket with this head; `None` when there are none.
    #[inline]
    #[must_use]
    pub fn messages(&self, _head: &HeadView<'_>) -> Option<Box<MessageRules>> {
        None
    }
}

/// The rules that may answer one request, in order.
#[derive(Debug, Default)]
pub struct Candidates {
    found: Option<Found>,
}

#[derive(Debug)]
struct Found {
    rules: Vec<Rule>,
    needs_body: bool,
    is_certain: bool,
}

impl Candidates {
    /// No rule can apply.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.found.is_none()
    }

    /// Which rule applies, or what it says, depends on the body.
    #[must_use]
    pub fn needs_body(&self) -> bool {
        self.found.as_ref().is_some_and(|found| found.needs_body)
    }

    /// The rule that applies whatever the body says.
    #[must_use]
    pub fn certain(&self) -> Option<&Rule> {
        self.found.as_ref().filter(|found| found.is_certain)?.rules.first()
    }

    /// Evaluates. `head` is the one that they were selected by.
    #[must_use]
    pub fn run(self, _head: &HeadView<'_>, _body: Body<'_>) -> Outcome {
        Outcome::NoMatch
    }
}

/// The rules that look at the messages of one WebSocket.
#[derive(Debug)]
pub struct MessageRules {
    head: KeptHead,
}

impl MessageRules {
    /// What the rules say about a message.
    #[must_use]
    pub fn run(&self, _message: Message<'_>, _now_unix_ms: u64) -> Outcome {
        Outcome::NoMatch
    }

    /// What other rules say for the same connection.
    #[must_use]
    pub fn renewed(&self, rules: &Rules) -> Option<Box<Self>> {
        rules.messages(&self.head.view())
    }
}

/// What a rule needs to go on after its frame.
#[derive(Debug)]
pub(super) struct Waiting {
    rule: Rule,
}

impl Waiting {
    pub(super) fn finish(self, result: Result<Value, RuleError>) -> Finished {
        let (status, body, error) = match result {
            Ok(value) => (200, ReplyBody::Value(value), None),
            Err(error) => (error.status, ReplyBody::Empty, Some(error)),
        };
        let _ = self.rule;
        let reply = Reply::Http { status, headers: Vec::new(), body };
        Finished { response: Response { reply, error }, then: Vec::new() }
    }
}
