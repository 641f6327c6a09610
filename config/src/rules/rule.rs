//! One rule: YAML to what the compiler hands over.

use super::checker::{Checker, Members};
use super::values::RuleNames;
use super::when::Survey;
use crate::yaml::{At, Key, Node, Value};
use conduit_protocol::ErrorCode;
use conduit_protocol::rules::expression::Expression;
use conduit_protocol::rules::limits;
use conduit_protocol::rules::reply::{ErrorReplies, Phase};
use conduit_protocol::rules::ruleset::{Assert, RateBy, RuleRate, RuleSpec};
use conduit_protocol::rules::selector::{ROOTS, Uses};
use conduit_protocol::rules::template::Template;

/// The keys of a rule.
pub(super) const RULE_KEYS: &[&str] =
    &["id", "when", "map", "assert", "send", "onError", "onComplete", "authRequired", "rateLimit"];

/// A rule that could be read, and where it stands.
pub(super) struct ReadRule {
    pub(super) spec: RuleSpec,
    pub(super) id_at: At,
    pub(super) when_at: At,
    /// Something is wrong with it, so that it is not what its author means.
    pub(super) is_broken: bool,
}

impl Checker<'_> {
    /// Reads a rule. `shared` are the entries of `defaults.map`.
    pub(super) fn rule(&mut self, node: &Node, tenant: Option<&str>, shared: &[(Key, Node)]) -> Option<ReadRule> {
        let errors_before = self.errors();
        let members = self.members(node, "a rule", RULE_KEYS)?;
        for needed in ["id", "when", "send"] {
            if members.get(needed).is_none() {
                let example = match needed {
                    "id" => "id: status-page",
                    "when" => "when: {http: {method: GET, path: /status}}",
                    _ => "send: {http: {status: 200, body: {ok: true}}}",
                };
                self.error(node.at, format!("the rule has no `{needed}`"), format!("add `{example}`"));
            }
        }
        let id = members.get("id").and_then(|node| self.id(node));
        if let (Some(id), Some(node)) = (&id, members.get("id")) {
            self.ids.push((tenant.map(str::to_owned), id.clone(), node.at));
        }
        let survey = members.get("when").map(Survey::of).unwrap_or_default();
        if let Some(at) = survey.conflict() {
            self.conflict(at);
        }
        let phase = survey.phase();
        let mut names = RuleNames { params: survey.params, available: available(phase), ..RuleNames::default() };
        let when = members.get("when").map(|node| self.condition(node, &names));
        let variables = self.variables(&members, shared, &mut names);
        let asserts = members.get("assert").map(|node| self.asserts(node, &names)).unwrap_or_default();
        let send = members.get("send").and_then(|node| self.send(node, &names, phase));
        let own_codes: Vec<String> = asserts.iter().map(|assert: &Assert| assert.code.clone()).collect();
        let on_error = match members.get("onError") {
            Some(node) => self.on_error(node, &names, &own_codes),
            None => ErrorReplies::default(),
        };
        // Without a frame there is no result.
        let says_frame = matches!(&send, Some(conduit_protocol::rules::ruleset::Send::Frame(..)) | None);
        let after = if says_frame { names.with(Uses::RESULT) } else { names };
        let then = members.get("onComplete").map(|node| self.on_complete(node, &after, phase)).unwrap_or_default();
        let auth_required = members.get("authRequired").and_then(|node| self.boolean(node, "`authRequired`"));
        let rate = members.get("rateLimit").and_then(|node| self.rate(node));
        let spec = RuleSpec {
            id: id?,
            tenant: tenant.map(str::to_owned),
            phase,
            when: when?,
            variables,
            asserts,
            send: send?,
            on_error,
            then,
            auth_required,
            rate,
        };
        let is_broken = self.errors() > errors_before;
        let rule = ReadRule { spec, id_at: members.get("id")?.at, when_at: members.get("when")?.at, is_broken };
        self.warn_of_one_status(members.get("onError"), &rule);
        Some(rule)
    }

    fn id(&mut self, node: &Node) -> Option<String> {
        let id = self.plain_text(node, "`id`")?;
        if id.is_empty() || id.len() > limits::ID_BYTES_MAX || id.contains(char::is_control) {
            let message = format!("`id` must be a line of 1 to {} bytes", limits::ID_BYTES_MAX);
            self.error(node.at, message, "write a short name, such as status-page");
            return None;
        }
        Some(id)
    }

    /// The variables of `map`, with those of `defaults.map` that are used in front.
    fn variables(
        &mut self,
        members: &Members<'_>,
        shared: &[(Key, Node)],
        names: &mut RuleNames,
    ) -> Vec<conduit_protocol::rules::template::Template> {
        let own = match members.get("map") {
            Some(node) => self.mapping(node, "`map`"),
            None => None,
        };
        let own: Vec<&(Key, Node)> = own.iter().flat_map(Members::iter).collect();
        let mut used: Vec<&(Key, Node)> = Vec::new();
        // From the last to the first, since a variable uses those above it.
        for entry in shared.iter().rev() {
            let name = plain_name(&entry.0.text);
            let is_own = own.iter().any(|(key, _)| plain_name(&key.text) == name);
            let is_used = members.iter().any(|(_, node)| mentions(node, name))
                || used.iter().any(|(_, node)| mentions(node, name));
            if is_used && !is_own {
                used.push(entry);
            }
        }
        used.reverse();
        let all: Vec<&(Key, Node)> = used.iter().copied().chain(own.iter().copied()).collect();
        let mut templates = Vec::with_capacity(all.len());
        names.later = all.iter().map(|(key, _)| plain_name(&key.text).to_owned()).collect();
        for (nth, (key, node)) in all.iter().enumerate() {
            // What `defaults.map` has was checked there.
            if nth >= used.len() {
                self.check_variable(key, names);
            }
            templates.push(self.template(node, names));
            names.variables.push(names.later.remove(0));
        }
        templates
    }

    /// The name of a variable.
    fn check_variable(&mut self, key: &Key, names: &RuleNames) {
        let name = plain_name(&key.text);
        let is_name = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            let message = format!("`{}` is no name of a variable", key.text);
            self.error(key.at, message, "write letters, digits and `_`, with or without a `$` in front");
        } else if name == "env" || ROOTS.iter().any(|(root, _)| *root == name) {
            self.error(key.at, format!("`${name}` is there already"), "choose another name");
        } else if names.variables.iter().any(|known| known == name) {
            self.error(key.at, format!("`${name}` stands twice"), "keep one of them");
        }
    }

    /// `assert`: an expression, a mapping, or a list of these.
    fn asserts(&mut self, node: &Node, names: &RuleNames) -> Vec<Assert> {
        let mut found = Vec::new();
        for node in self.list_or_one(node, "`assert`") {
            let mut assert = None;
            if let Value::Map(_) = node.value {
                let Some(members) = self.members(node, "`assert`", &["that", "code", "status", "message"]) else {
                    continue;
                };
                let Some(that) = members.get("that") else {
                    let remedy = "write `assert: {that: \"exists $body.id\"}`";
                    self.error(node.at, "an assert needs what must hold, `that`", remedy);
                    continue;
                };
                if let Some(that) = self.expression(that, names) {
                    assert = Some(self.assert(that, &members, names));
                }
            } else if let Some(that) = self.expression(node, names) {
                assert = Some(Assert { that, code: "InvalidField".to_owned(), status: 400, message: None });
            }
            found.extend(assert);
        }
        found
    }

    fn assert(&mut self, that: Expression, members: &Members<'_>, names: &RuleNames) -> Assert {
        let mut code = "InvalidField".to_owned();
        if let Some(node) = members.get("code")
            && let Some(text) = self.text(node, "`code`")
        {
            if text.is_empty() || text.len() > limits::ID_BYTES_MAX || !text.bytes().all(|byte| byte.is_ascii_graphic())
            {
                self.error(node.at, "a code is a word", "write one such as InvalidField");
            }
            code = text.to_owned();
        }
        let usual = ErrorCode::ALL.iter().find(|known| known.code() == code).map_or(400, |code| code.http_status());
        let status = members.get("status").and_then(|node| self.number(node, "`status`", 400, 599));
        let status = status.and_then(|status| u16::try_from(status).ok()).unwrap_or(usual);
        let message = members.get("message").map(|node| self.template(node, names));
        Assert { that, code, status, message }
    }

    /// `rateLimit`: requests a minute, or a mapping.
    fn rate(&mut self, node: &Node) -> Option<RuleRate> {
        const MAX: u32 = 100_000_000;
        if matches!(node.value, Value::Integer(_)) {
            let per_minute = self.number(node, "`rateLimit`", 1, MAX)?;
            return Some(RuleRate { per_minute, burst: per_minute, by: RateBy::Ip });
        }
        if !matches!(node.value, Value::Map(_)) {
            self.wrong_kind(
                node,
                "`rateLimit`",
                "a whole number, the requests a minute, or a mapping such as {perMinute: 60, burst: 20, by: ip}",
            );
            return None;
        }
        let members = self.members(node, "`rateLimit`", &["perMinute", "burst", "by"])?;
        let Some(per_minute) = members.get("perMinute") else {
            self.error(node.at, "`rateLimit` needs `perMinute`", "write `rateLimit: {perMinute: 60}`");
            return None;
        };
        let per_minute = self.number(per_minute, "`perMinute`", 1, MAX);
        let burst = members.get("burst").map(|node| self.number(node, "`burst`", 1, MAX));
        let mut by = RateBy::Ip;
        if let Some(node) = members.get("by") {
            let text = self.text(node, "`by`")?;
            match RateBy::ALL.iter().find(|(name, _)| *name == text) {
                Some((_, known)) => by = *known,
                None => {
                    let names: Vec<&str> = RateBy::ALL.iter().map(|(name, _)| *name).collect();
                    self.error(
                        node.at,
                        format!("a rate is not shared by `{text}`"),
                        format!("write one of {}", names.join(", ")),
                    );
                }
            }
        }
        let per_minute = per_minute?;
        Some(RuleRate { per_minute, burst: burst.flatten().unwrap_or(per_minute), by })
    }

    /// `defaults.map`: every entry is checked, whether a rule uses it or not.
    pub(super) fn shared_variables(&mut self, members: Members<'_>) {
        let mut names = RuleNames {
            // Some rule can see each of these.
            available: available(Phase::Http).and(available(Phase::Message)),
            ..RuleNames::default()
        };
        names.later = members.iter().map(|(key, _)| plain_name(&key.text).to_owned()).collect();
        for (key, node) in members.iter() {
            self.check_variable(key, &names);
            // Parameters depend on the rule, so they are judged there.
            let looks_at_params = mentions(node, "params");
            if !looks_at_params {
                self.template(node, &names);
            }
            names.variables.push(names.later.remove(0));
        }
    }

    /// What `defaults.onError` may use.
    pub(super) fn default_on_error(&mut self, node: &Node, own_codes: &[String]) -> ErrorReplies {
        let available = Uses::HEAD.and(Uses::ALWAYS);
        let replies = self.on_error(node, &RuleNames { available, ..RuleNames::default() }, own_codes);
        if let Some(status) = one_status(&replies) {
            let message = format!(
                "`*` answers every error of every rule with the status {status}: the 429 of a `rateLimit` and the status of an \
                 `assert` too"
            );
            self.warn(star_at(node), message, "write `status: $error.status`");
        }
        replies
    }

    /// A rule whose `*` hides what a rate or an assert of its own says.
    fn warn_of_one_status(&mut self, on_error: Option<&Node>, rule: &ReadRule) {
        let Some(node) = on_error else { return };
        let what = match (&rule.spec.rate, &*rule.spec.asserts) {
            (Some(_), _) => "the 429 of its `rateLimit`",
            (None, [_, ..]) => "the status of its `assert`",
            (None, []) => return,
        };
        if let Some(status) = one_status(&rule.spec.on_error) {
            let message = format!("`*` answers every error with the status {status}: {what} too");
            self.warn(star_at(node), message, "write `status: $error.status`, or answer the codes one by one");
        }
    }
}

/// The status that every error without an answer of its own gets, whatever its own is.
fn one_status(replies: &ErrorReplies) -> Option<u64> {
    match &replies.others.as_ref()?.http.as_ref()?.status {
        Template::Literal(status) => status.as_u64(),
        _ => None,
    }
}

/// Where `*` stands in an `onError`.
fn star_at(node: &Node) -> At {
    let mut entries = node.entries().unwrap_or_default().iter();
    entries.find(|(key, _)| key.text == "*").map_or(node.at, |(key, _)| key.at)
}

/// What a rule can look at from its beginning.
const fn available(phase: Phase) -> Uses {
    let head = Uses::HEAD.and(Uses::ALWAYS);
    match phase {
        Phase::Http => head.and(Uses::BODY),
        Phase::Connect => head,
        Phase::Message => head.and(Uses::MESSAGE),
    }
}

/// The name of a variable, which may be written with its `$`.
fn plain_name(text: &str) -> &str {
    text.strip_prefix('$').unwrap_or(text)
}

/// Whether a text below the node may use a variable.
fn mentions(node: &Node, name: &str) -> bool {
    match &node.value {
        Value::Text(text) => text.match_indices('$').any(|(at, _)| {
            let behind = text[at + 1..].strip_prefix('{').unwrap_or(&text[at + 1..]);
            behind
                .strip_prefix(name)
                .is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
        }),
        Value::List(nodes) => nodes.iter().any(|node| mentions(node, name)),
        Value::Map(entries) => entries.iter().any(|(_, node)| mentions(node, name)),
        _ => false,
    }
}
