//! The compiled rules themselves: what the compiler hands over, and how it is kept.

use super::condition::Condition;
use super::expression::Expression;
use super::frame::FrameTemplate;
use super::keep::Keep;
use super::matcher::Matcher;
use super::path::PathPattern;
use super::reply::{ErrorReplies, Phase, Replies};
use super::selector::Uses;
use super::template::Template;
use std::collections::HashMap;

/// A rule as the compiler hands it over.
#[derive(Debug, Clone)]
pub struct RuleSpec {
    /// Its name, unique in the file.
    pub id: String,
    /// The tenant that it belongs to; `None`: it is for everybody.
    pub tenant: Option<String>,
    /// What it is about.
    pub phase: Phase,
    /// When it applies.
    pub when: Condition,
    /// The variables of `map`, each of which may use those before it.
    pub variables: Vec<Template>,
    /// What must hold besides.
    pub asserts: Vec<Assert>,
    /// What it does.
    pub send: Send,
    /// What it says of errors.
    pub on_error: ErrorReplies,
    /// What it says to the broker afterwards.
    pub then: Vec<FrameTemplate>,
    /// Whether a credential is needed.
    pub auth_required: Option<bool>,
    /// How often it may answer.
    pub rate: Option<RuleRate>,
}

/// Something that must hold once a rule applies; otherwise the rule fails.
#[derive(Debug, Clone, PartialEq)]
pub struct Assert {
    /// What must hold.
    pub that: Expression,
    /// The code of the error: one of the table, or one of the rule's own.
    pub code: String,
    /// The status without an `onError`.
    pub status: u16,
    /// The sentence; without one, the expression is named.
    pub message: Option<Template>,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq)]
pub enum Send {
    /// Leaves the answer to the built-in endpoint.
    Native,
    /// Answers.
    Answer(Replies),
    /// Says a frame, and answers with what comes of it. Without an answer of its own, the result is the answer.
    Frame(FrameTemplate, Replies),
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

impl RateBy {
    /// Every one with its name in rules.
    pub const ALL: &'static [(&'static str, Self)] =
        &[("ip", Self::Ip), ("token", Self::Token), ("tenant", Self::Tenant), ("all", Self::All)];
}

/// What all handles of rules share.
#[derive(Debug)]
pub(super) struct RuleSet {
    pub(super) rules: Vec<Compiled>,
    /// The file's answers to errors.
    pub(super) on_error: ErrorReplies,
    common: Matchers,
    tenants: HashMap<Box<str>, Matchers>,
}

/// One rule, with what follows from it.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) spec: RuleSpec,
    /// Its paths that have parameters.
    pub(super) patterns: Vec<PathPattern>,
    /// What it looks at once it applies, up to its answer or frame.
    pub(super) uses: Uses,
    /// What it looks at after its frame was answered.
    pub(super) later: Uses,
    /// What of the body or message that is.
    pub(super) keep: Keep,
}

/// The indexes of the rules of one tenant, or of everybody.
#[derive(Debug, Default)]
pub(super) struct Matchers {
    pub(super) http: Matcher,
    pub(super) connect: Matcher,
    pub(super) message: Matcher,
}

impl Matchers {
    pub(super) const fn of(&self, phase: Phase) -> &Matcher {
        match phase {
            Phase::Http => &self.http,
            Phase::Connect => &self.connect,
            Phase::Message => &self.message,
        }
    }

    fn new(rules: &[Compiled], tenant: Option<&str>) -> Self {
        let matcher = |phase| {
            let mine = rules
                .iter()
                .zip(0..)
                .filter(|(rule, _)| rule.spec.phase == phase && rule.spec.tenant.as_deref() == tenant);
            Matcher::new(mine.map(|(rule, place)| (place, &rule.spec.when)))
        };
        Self { http: matcher(Phase::Http), connect: matcher(Phase::Connect), message: matcher(Phase::Message) }
    }
}

impl RuleSet {
    pub(super) fn new(specs: Vec<RuleSpec>, on_error: ErrorReplies) -> Self {
        let defaults = on_error.uses();
        let rules: Vec<Compiled> = specs.into_iter().map(|spec| Compiled::new(spec, defaults)).collect();
        let mut tenants = HashMap::new();
        for tenant in rules.iter().filter_map(|rule| rule.spec.tenant.as_deref()) {
            if !tenants.contains_key(tenant) {
                tenants.insert(Box::from(tenant), Matchers::new(&rules, Some(tenant)));
            }
        }
        let common = Matchers::new(&rules, None);
        Self { rules, on_error, common, tenants }
    }

    /// The indexes to ask for a tenant, in order.
    pub(super) fn matchers(&self, tenant: &str) -> impl Iterator<Item = &Matchers> {
        let own = if self.tenants.is_empty() { None } else { self.tenants.get(tenant) };
        own.into_iter().chain([&self.common])
    }

    /// Whether some rule is about this.
    pub(super) fn has(&self, phase: Phase) -> bool {
        let mut all = self.tenants.values().chain([&self.common]);
        all.any(|matchers| !matchers.of(phase).is_empty())
    }
}

impl Compiled {
    /// It leaves the answer to the built-in endpoint, and asks nothing before.
    pub(super) fn is_plain(&self) -> bool {
        let RuleSpec { send, asserts, auth_required, rate, .. } = &self.spec;
        *send == Send::Native && asserts.is_empty() && auth_required.is_none() && rate.is_none()
    }

    fn new(spec: RuleSpec, defaults: Uses) -> Self {
        let mut paths = Vec::new();
        spec.when.paths(&mut paths);
        let patterns = paths.into_iter().filter(|path| !path.params().is_empty()).cloned().collect();
        let all = |uses: &mut dyn Iterator<Item = Uses>| uses.fold(Uses::NONE, Uses::and);
        let errors = spec.on_error.uses().and(defaults);
        let then = all(&mut spec.then.iter().map(FrameTemplate::uses));
        let variables = all(&mut spec.variables.iter().map(Template::uses));
        let asserts = all(&mut spec
            .asserts
            .iter()
            .map(|assert| assert.that.uses().and(assert.message.as_ref().map_or(Uses::NONE, Template::uses))));
        let (send, answer) = match &spec.send {
            Send::Native => (Uses::NONE, Uses::NONE),
            Send::Answer(replies) => (replies.uses(), Uses::NONE),
            Send::Frame(frame, replies) => (frame.uses(), replies.uses()),
        };
        // An answer to an error that looks at the body does not make every request wait for one: it sees what is there.
        let uses = variables.and(asserts).and(send).and(answer).and(then);
        let later = answer.and(then).and(errors);
        let answers = if let Send::Frame(_, replies) = &spec.send { Some(replies) } else { None };
        // The answers of the file to errors see no body.
        let keep = Keep::of(answers, &spec.on_error, &spec.then);
        Self { spec, patterns, uses, later, keep }
    }
}
