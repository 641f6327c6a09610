//! The compiled rules and how they are asked.

use super::decision::{Continuation, Finished, FrameRequest, Outcome, Reply, ReplyBody, Response};
use super::expression::Verdict;
use super::failure::RuleError;
use super::limits;
use super::path::MatchedPath;
use super::reply::{ErrorReplies, Phase, refuse};
use super::ruleset::{Compiled, RuleRate, RuleSet, RuleSpec, Send};
use super::scope::{Input, Scope, cost};
use super::selector::Uses;
use super::view::{Body, HeadView, KeptHead, Message, OwnedFields};
use crate::error::ErrorCode;
use serde_json::Value;
use smallvec::SmallVec;
use std::cell::Cell;
use std::sync::Arc;

/// Compiled rules. Cloning one is cheap; the default is none at all.
#[derive(Debug, Clone, Default)]
pub struct Rules(Option<Arc<RuleSet>>);

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
        &self.compiled().spec.id
    }

    /// Its place among all rules: counters can be kept in an array of [`Rules::len`].
    #[must_use]
    pub const fn index(&self) -> usize {
        self.index as usize
    }

    /// `authRequired`: whether a credential is needed. `None`: what holds for the path without rules.
    #[must_use]
    pub fn auth_required(&self) -> Option<bool> {
        self.compiled().spec.auth_required
    }

    /// `rateLimit`.
    #[must_use]
    pub fn rate(&self) -> Option<&RuleRate> {
        self.compiled().spec.rate.as_ref()
    }

    /// Puts an error in the rule's words (`onError`), or in the usual ones.
    #[must_use]
    pub fn refuse(&self, error: RuleError, head: &HeadView<'_>) -> Response {
        let (path, budget) = (MatchedPath::of(head.path), Cell::new(limits::VALUE_BYTES_MAX));
        let rule = self.compiled();
        let scope = Scope { patterns: &rule.patterns, ..blank(head, &path, &budget) };
        refuse(error, &rule.spec.on_error, &self.set.on_error, rule.spec.phase, &scope)
    }
}

/// A scope in which there is nothing but the head.
fn blank<'s>(head: &'s HeadView<'s>, path: &'s MatchedPath<'s>, budget: &'s Cell<usize>) -> Scope<'s> {
    Scope {
        head,
        path,
        patterns: &[],
        body: Input::Absent,
        message: None,
        is_text: false,
        variables: &[],
        result: None,
        error: None,
        budget,
    }
}

impl Rules {
    /// Makes rules of what the compiler has checked: tenants' rules and common ones, each in the order of the file.
    #[must_use]
    pub fn compile(specs: Vec<RuleSpec>, on_error: ErrorReplies) -> Self {
        if specs.is_empty() { Self(None) } else { Self(Some(Arc::new(RuleSet::new(specs, on_error)))) }
    }

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
        self.0.iter().flat_map(|set| &set.rules).map(|rule| &*rule.spec.id)
    }

    /// The `id` of a rule by its [`Rule::index`].
    #[must_use]
    pub fn id_at(&self, index: u32) -> Option<&str> {
        let rules = &self.0.as_ref()?.rules;
        rules.get(index as usize).map(|rule| &*rule.spec.id)
    }

    /// The rules that may answer an HTTP request with this head.
    #[inline]
    #[must_use]
    pub fn request(&self, head: &HeadView<'_>) -> Candidates {
        match &self.0 {
            None => Candidates::default(),
            Some(set) => select(set, Phase::Http, head),
        }
    }

    /// The rules that may answer a WebSocket handshake with this head.
    #[inline]
    #[must_use]
    pub fn connect(&self, head: &HeadView<'_>) -> Candidates {
        match &self.0 {
            None => Candidates::default(),
            Some(set) => select(set, Phase::Connect, head),
        }
    }

    /// The rules that look at the messages of a WebSocket with this head; `None` when there are none.
    #[inline]
    #[must_use]
    pub fn messages(&self, head: &HeadView<'_>) -> Option<Box<MessageRules>> {
        let set = self.0.as_ref().filter(|set| set.has(Phase::Message))?;
        let (path, budget) = (MatchedPath::of(head.path), Cell::new(0));
        let scope = blank(head, &path, &budget);
        let mut places: Vec<u32> = Vec::new();
        for matchers in set.matchers(head.tenant) {
            places.extend(matchers.message.find(&scope));
        }
        // What the head alone rules out need not be asked for every message: there, a message looks like an unread body.
        places.retain(|place| {
            let rule = &set.rules[*place as usize];
            let scope = Scope { patterns: &rule.patterns, ..scope };
            rule.spec.when.judge_head(&scope) != Verdict::No
        });
        // Where nothing else follows, a rule that leaves everything to the built-in operation is as good as none.
        while places.last().is_some_and(|place| set.rules[*place as usize].is_plain()) {
            places.pop();
        }
        if places.is_empty() {
            return None;
        }
        Some(Box::new(MessageRules { set: Arc::clone(set), places, head: KeptHead::of(head) }))
    }
}

/// Asks the rules of a phase by the head alone.
fn select(set: &Arc<RuleSet>, phase: Phase, head: &HeadView<'_>) -> Candidates {
    let (path, budget) = (MatchedPath::of(head.path), Cell::new(0));
    let scope = Scope { body: Input::Unread, ..blank(head, &path, &budget) };
    let mut found = Found { rules: SmallVec::new(), needs_body: false, is_certain: false };
    'all: for matchers in set.matchers(head.tenant) {
        let matcher = matchers.of(phase);
        if matcher.is_empty() {
            continue;
        }
        for place in matcher.find(&scope) {
            let rule = &set.rules[place as usize];
            match rule.spec.when.judge(&Scope { patterns: &rule.patterns, ..scope }) {
                Verdict::No => {}
                Verdict::Maybe => {
                    found.rules.push(place);
                    found.needs_body = true;
                }
                Verdict::Yes => {
                    found.rules.push(place);
                    found.needs_body |= rule.uses.has(Uses::BODY);
                    found.is_certain = true;
                    break 'all;
                }
            }
        }
    }
    if found.rules.is_empty() { Candidates::default() } else { Candidates { found: Some((Arc::clone(set), found)) } }
}

/// The rules that may answer one request, in order.
#[derive(Debug, Default)]
pub struct Candidates {
    found: Option<(Arc<RuleSet>, Found)>,
}

#[derive(Debug)]
struct Found {
    rules: SmallVec<[u32; 4]>,
    needs_body: bool,
    /// The last one applies whatever the body says.
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
        self.found.as_ref().is_some_and(|(_, found)| found.needs_body)
    }

    /// The rule that applies whatever the body says.
    #[must_use]
    pub fn certain(&self) -> Option<Rule> {
        let (set, found) = self.found.as_ref()?;
        match *found.rules {
            [index] if found.is_certain => Some(Rule { set: Arc::clone(set), index }),
            _ => None,
        }
    }

    /// The built-in endpoint answers whatever the body says, and no rule asks for a credential or a rate: a session that
    /// sees the same head again need not ask again. Without candidates, this is so too.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        match &self.found {
            None => true,
            Some((set, found)) => {
                found.is_certain && found.rules.len() == 1 && set.rules[found.rules[0] as usize].is_plain()
            }
        }
    }

    /// Evaluates. `head` is the one that they were selected by.
    #[must_use]
    pub fn run(&self, head: &HeadView<'_>, body: Body<'_>) -> Outcome {
        let Some((set, found)) = &self.found else { return Outcome::NoMatch };
        let (body, json, broken) = match body {
            Body::Absent => (None, None, None),
            Body::Decoded { value, json } => (Some(value), json, None),
            Body::Broken(error) => (None, None, Some(error)),
        };
        let given = Given { body, message: None, is_text: false, json, broken };
        let applies = |rule: &Compiled, scope: &Scope<'_>, is_last: bool| {
            (found.is_certain && is_last) || rule.spec.when.judge(scope) == Verdict::Yes
        };
        decide(set, &found.rules, head, given, applies)
    }
}

/// What came with a request beside its head.
struct Given<'g> {
    body: Option<Value>,
    message: Option<Value>,
    is_text: bool,
    json: Option<&'g str>,
    broken: Option<RuleError>,
}

/// Finds the first rule that applies, and what it says.
fn decide(
    set: &Arc<RuleSet>,
    places: &[u32],
    head: &HeadView<'_>,
    given: Given<'_>,
    applies: impl Fn(&Compiled, &Scope<'_>, bool) -> bool,
) -> Outcome {
    let (path, budget) = (MatchedPath::of(head.path), Cell::new(limits::VALUE_BYTES_MAX));
    let scope = Scope {
        body: given.body.as_ref().map_or(Input::Absent, Input::Is),
        message: given.message.as_ref(),
        is_text: given.is_text,
        ..blank(head, &path, &budget)
    };
    let index = places.iter().enumerate().find_map(|(nth, place)| {
        let rule = &set.rules[*place as usize];
        let is_last = nth + 1 == places.len();
        applies(rule, &Scope { patterns: &rule.patterns, ..scope }, is_last).then_some(*place)
    });
    let Some(index) = index else { return Outcome::NoMatch };
    let rule = Rule { set: Arc::clone(set), index };
    let compiled = rule.compiled();
    let scope = Scope { patterns: &compiled.patterns, ..scope };
    let mut variables = Vec::with_capacity(compiled.spec.variables.len());
    let step = match given.broken {
        Some(error) if compiled.uses.has(Uses::BODY) => Err(error),
        _ => evaluate(compiled, &scope, given.json, &mut variables),
    };
    let scope = Scope { variables: &variables, ..scope };
    match step {
        Err(error) => {
            let (own, defaults) = (&compiled.spec.on_error, &rule.set.on_error);
            let response = refuse(error, own, defaults, compiled.spec.phase, &scope);
            Outcome::Respond { rule, response, then: Vec::new() }
        }
        Ok(Stage::Native) => Outcome::Native { rule },
        Ok(Stage::Answer(reply, then)) => Outcome::Respond { rule, response: Response { reply, error: None }, then },
        Ok(Stage::Frame(request)) => {
            let later = compiled.later;
            let mut waiting = Waiting {
                kept_bytes: 0,
                head: later.has(Uses::HEAD).then(|| KeptHead::of(head)),
                now_unix_ms: head.now_unix_ms,
                body: given.body.and_then(|body| compiled.keep.body.take(body)),
                message: given.message.and_then(|message| compiled.keep.message.take(message)),
                is_text: given.is_text,
                variables: if later.has(Uses::ALWAYS) { variables } else { Vec::new() },
                budget: budget.get(),
                rule: rule.clone(),
            };
            waiting.kept_bytes = waiting.values().map(cost).sum();
            Outcome::Frame { rule, request, continuation: Continuation(Box::new(waiting)) }
        }
    }
}

/// How far a rule comes without the broker.
enum Stage {
    Native,
    Answer(Reply, Vec<FrameRequest>),
    Frame(FrameRequest),
}

fn evaluate(
    rule: &Compiled,
    scope: &Scope<'_>,
    json: Option<&str>,
    variables: &mut Vec<Option<Value>>,
) -> Result<Stage, RuleError> {
    for template in &rule.spec.variables {
        let made = template.make(&Scope { variables, ..*scope })?;
        variables.push(made);
    }
    let scope = &Scope { variables, ..*scope };
    for assert in &rule.spec.asserts {
        if assert.that.judge(scope) == Verdict::Yes {
            continue;
        }
        let made = match &assert.message {
            None => None,
            Some(message) => message.make_plain_text(scope)?,
        };
        let message = made.unwrap_or_else(|| format!("the request must have: {}", assert.that.text()));
        return Err(RuleError {
            code: assert.code.clone().into(),
            status: assert.status,
            has_own_message: assert.message.is_some(),
            ..RuleError::new(ErrorCode::InvalidField, message)
        });
    }
    match &rule.spec.send {
        Send::Native => Ok(Stage::Native),
        Send::Answer(replies) => {
            let reply = match replies.make(rule.spec.phase, scope) {
                Some(reply) => reply?,
                None => nothing(rule.spec.phase),
            };
            Ok(Stage::Answer(reply, then(rule, scope, json)))
        }
        Send::Frame(frame, _) => frame.make(scope, json).map(Stage::Frame),
    }
}

/// The answer of a rule that says nothing.
fn nothing(phase: Phase) -> Reply {
    match phase {
        Phase::Http => Reply::Http { status: 200, headers: Vec::new(), body: ReplyBody::Empty },
        Phase::Connect | Phase::Message => Reply::Ws { body: None, close: None },
    }
}

/// The frames of `onComplete`. One that cannot be made is left out: the answer is already given.
fn then(rule: &Compiled, scope: &Scope<'_>, json: Option<&str>) -> Vec<FrameRequest> {
    rule.spec.then.iter().filter_map(|frame| frame.make(scope, json).ok()).collect()
}

/// The rules that look at the messages of one WebSocket.
#[derive(Debug)]
pub struct MessageRules {
    set: Arc<RuleSet>,
    places: Vec<u32>,
    head: KeptHead,
}

impl MessageRules {
    /// Some rule looks into messages, to apply or to say something.
    #[must_use]
    pub fn needs_value(&self) -> bool {
        let looks_inside = |rule: &Compiled| rule.uses.has(Uses::MESSAGE) || rule.spec.when.looks_inside();
        self.places.iter().any(|place| looks_inside(&self.set.rules[*place as usize]))
    }

    /// What the rules say about a message.
    #[must_use]
    pub fn run(&self, message: Message<'_>, now_unix_ms: u64) -> Outcome {
        let Message { is_text, value, json } = message;
        let given = Given { body: None, message: value, is_text, json, broken: None };
        let applies = |rule: &Compiled, scope: &Scope<'_>, _| rule.spec.when.judge(scope) == Verdict::Yes;
        decide(&self.set, &self.places, &self.head.at(now_unix_ms), given, applies)
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
    /// What its values take of memory.
    pub(super) kept_bytes: usize,
    head: Option<KeptHead>,
    now_unix_ms: u64,
    body: Option<Value>,
    message: Option<Value>,
    is_text: bool,
    variables: Vec<Option<Value>>,
    budget: usize,
}

impl Waiting {
    pub(super) const fn rule(&self) -> &Rule {
        &self.rule
    }

    fn values(&self) -> impl Iterator<Item = &Value> {
        self.body.iter().chain(&self.message).chain(self.variables.iter().flatten())
    }

    pub(super) fn finish(&self, result: Result<Value, RuleError>) -> Finished {
        let nowhere: OwnedFields = Box::default();
        let unseen =
            HeadView { method: "", path: "", query: "", headers: &nowhere, tenant: "", now_unix_ms: self.now_unix_ms };
        let head = self.head.as_ref().map_or(unseen, KeptHead::view);
        let (path, budget) = (MatchedPath::of(head.path), Cell::new(self.budget));
        let rule = self.rule.compiled();
        let scope = Scope {
            patterns: &rule.patterns,
            body: self.body.as_ref().map_or(Input::Absent, Input::Is),
            message: self.message.as_ref(),
            is_text: self.is_text,
            variables: &self.variables,
            ..blank(&head, &path, &budget)
        };
        let (own, defaults, phase) = (&rule.spec.on_error, &self.rule.set.on_error, rule.spec.phase);
        let result = match result {
            Ok(result) => result,
            Err(error) => return Finished { response: refuse(error, own, defaults, phase, &scope), then: Vec::new() },
        };
        let scope = Scope { result: Some(&result), ..scope };
        let replies = match &rule.spec.send {
            Send::Frame(_, replies) => replies.make(phase, &scope),
            _ => None,
        };
        let then = then(rule, &scope, None);
        let reply = match replies {
            Some(Ok(reply)) => reply,
            Some(Err(error)) => return Finished { response: refuse(error, own, defaults, phase, &scope), then },
            None => self.usual(result),
        };
        Finished { response: Response { reply, error: None }, then }
    }

    /// The answer of a rule that says a frame and nothing else: the result. Of what concerns the consumer itself a WebSocket
    /// hears nothing.
    fn usual(&self, result: Value) -> Reply {
        let rule = self.rule.compiled();
        match (&rule.spec.send, rule.spec.phase) {
            (_, Phase::Http) => Reply::Http { status: 200, headers: Vec::new(), body: ReplyBody::Value(result) },
            (Send::Frame(frame, _), _) if !frame.kind.is_of_a_consumer() => {
                Reply::Ws { body: Some(result), close: None }
            }
            _ => Reply::Ws { body: None, close: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_rules_are_asked_nothing() {
        let rules = Rules::compile(Vec::new(), ErrorReplies::default());
        assert!(rules.is_empty());
        let nowhere: OwnedFields = Box::default();
        let head = HeadView { method: "GET", path: "/", query: "", headers: &nowhere, tenant: "", now_unix_ms: 0 };
        assert!(rules.request(&head).is_empty());
        assert!(rules.connect(&head).is_empty());
        assert!(rules.messages(&head).is_none());
    }
}
