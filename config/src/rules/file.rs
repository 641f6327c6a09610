//! A whole rules file.

use super::Surroundings;
use super::access::Who;
use super::checker::Checker;
use super::finding::{Findings, Severity};
use super::native::Standard;
use super::rule::ReadRule;
use crate::yaml::{self, At, Node, Value};
use conduit_protocol::rules::Rules;
use conduit_protocol::rules::condition::{Condition, METHODS};
use conduit_protocol::rules::limits;
use conduit_protocol::rules::matcher::found_by;
use conduit_protocol::rules::path::PathPattern;
use conduit_protocol::rules::reply::{ErrorReplies, Phase};
use conduit_protocol::rules::ruleset::{RuleSpec, Send};

/// The only version there is.
pub(super) const VERSION: &str = "proto-dsl/v0";

const FILE_KEYS: &[&str] = &["version", "defaults", "rules", "tenantOverlays", "tests"];

/// Rules that can be used.
#[derive(Debug)]
pub struct CompiledRules {
    /// The rules.
    pub rules: Rules,
    /// What there is to say about them; no errors.
    pub warnings: Findings,
    /// One row for each, in the order of [`Rules::ids`].
    pub table: Vec<RuleRow>,
}

/// A rule, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleRow {
    /// Its id.
    pub id: String,
    /// The line that it begins in.
    pub line: u64,
    /// Its tenant; empty for everybody.
    pub tenant: String,
    /// What it is about: `http`, `ws connect`, `ws message`.
    pub about: &'static str,
    /// Its methods and paths.
    pub matches: String,
    /// How it is found: `path`, `part of the path`, `any path`.
    pub found_by: &'static str,
    /// What it does: `frame enqueue`, `http 200`, `builtin`.
    pub sends: String,
    /// `authRequired`.
    pub auth_required: Option<bool>,
    /// Who may use it where tokens are set: `open`, `token`, or `as connected` for messages.
    pub auth: &'static str,
}

/// Compiles a rules file.
///
/// # Errors
/// Everything that is wrong with it, and the warnings.
pub fn compile(text: &str, surroundings: Surroundings<'_>) -> Result<CompiledRules, Findings> {
    let mut checker = Checker::new(text, surroundings);
    let root = read_tree(&mut checker)?;
    let members = checker.members(&root, "a rules file", FILE_KEYS);
    let Some(members) = members else { return Err(checker.findings) };
    check_version(&mut checker, &root, members.get("version"));

    let standard = Standard::read();
    let defaults = members.get("defaults");
    let is_standard = standard.has_defaults(defaults);
    let default_members = defaults.and_then(|node| checker.members(node, "`defaults`", &["onError", "map"]));
    let shared_node = default_members.and_then(|members| members.get("map"));
    let shared = shared_node.and_then(|node| checker.mapping(node, "`defaults.map`"));
    if let Some(shared) = shared {
        checker.shared_variables(shared);
    }
    let shared = shared_node.and_then(Node::entries).unwrap_or_default();

    let mut rules = Vec::new();
    match members.get("rules") {
        Some(node) => read_rules(&mut checker, node, None, shared, &mut rules),
        None => checker.error(root.at, "the file has no `rules`", "add `rules:` and a list of rules, or `rules: []`"),
    }
    if let Some(node) = members.get("tenantOverlays") {
        read_overlays(&mut checker, node, shared, &mut rules);
    }
    if is_standard {
        for rule in rules.iter_mut().filter(|rule| standard.has_rule(rule.1)) {
            rule.0.spec.send = Send::Native;
        }
    }
    let own_codes: Vec<String> =
        rules.iter().flat_map(|(rule, _)| &rule.spec.asserts).map(|assert| assert.code.clone()).collect();
    let on_error = default_members.and_then(|members| members.get("onError"));
    let on_error = match on_error {
        Some(node) => checker.default_on_error(node, &own_codes),
        None => ErrorReplies::default(),
    };
    if let Some(tests) = members.get("tests") {
        super::cases::check(&mut checker, tests);
    }
    let rules: Vec<ReadRule> = rules.into_iter().map(|(rule, _)| rule).collect();
    checker.relate(&rules);
    let mut findings = checker.findings;
    findings.0.sort_by_key(|finding| (finding.line, finding.column));
    if findings.errors().next().is_some() {
        return Err(findings);
    }
    let table = rules.iter().map(row).collect();
    let specs = rules.into_iter().map(|rule| rule.spec).collect();
    Ok(CompiledRules { rules: Rules::compile(specs, on_error), warnings: findings, table })
}

/// The tree of a file; flaws of its form are told.
pub(super) fn read_tree(checker: &mut Checker<'_>) -> Result<Node, Findings> {
    let first = At { line: 1, column: 1, bytes: (0, 0) };
    if checker.text.len() > limits::FILE_BYTES_MAX {
        let message = format!("the file has more than {} bytes", limits::FILE_BYTES_MAX);
        checker.error(first, message, "drop what is not needed");
        return Err(std::mem::take(&mut checker.findings));
    }
    match yaml::parse(checker.text) {
        Ok(document) => {
            for flaw in document.flaws {
                checker.error(flaw.at, flaw.reason, flaw.remedy);
            }
            Ok(document.root)
        }
        Err(flaw) => {
            checker.error(flaw.at, flaw.reason, flaw.remedy);
            Err(std::mem::take(&mut checker.findings))
        }
    }
}

fn check_version(checker: &mut Checker<'_>, root: &Node, version: Option<&Node>) {
    let remedy = format!("write `version: {VERSION}`");
    match version {
        None => checker.error(root.at, "the file has no `version`", remedy),
        Some(node) => {
            if !matches!(&node.value, Value::Text(text) if text == VERSION) {
                checker.error(node.at, "this version of the language is not known", remedy);
            }
        }
    }
}

fn read_rules<'n>(
    checker: &mut Checker<'_>,
    node: &'n Node,
    tenant: Option<&str>,
    shared: &[(yaml::Key, Node)],
    rules: &mut Vec<(ReadRule, &'n Node)>,
) {
    let Value::List(nodes) = &node.value else {
        checker.wrong_kind(node, "`rules`", "a list");
        return;
    };
    for node in nodes.iter().take(limits::RULES_MAX + 1) {
        rules.extend(checker.rule(node, tenant, shared).map(|rule| (rule, node)));
    }
}

fn read_overlays<'n>(
    checker: &mut Checker<'_>,
    node: &'n Node,
    shared: &[(yaml::Key, Node)],
    rules: &mut Vec<(ReadRule, &'n Node)>,
) {
    let Some(tenants) = checker.mapping(node, "`tenantOverlays`") else { return };
    for (key, node) in tenants.iter() {
        if key.text.is_empty() {
            checker.error(key.at, "a tenant has a name", "write it");
        }
        let Some(members) = checker.members(node, "the rules of a tenant", &["rules"]) else { continue };
        match members.get("rules") {
            Some(list) => {
                // The default tenant has no name of its own in the server.
                let tenant = if key.text == "default" { "" } else { key.text.as_str() };
                read_rules(checker, list, Some(tenant), shared, rules);
            }
            None => checker.error(node.at, format!("`{}` has no `rules`", key.text), "add them, or remove the tenant"),
        }
    }
}

fn row(rule: &ReadRule) -> RuleRow {
    let RuleSpec { id, tenant, phase, when, send, auth_required, .. } = &rule.spec;
    let mut paths: Vec<&PathPattern> = Vec::new();
    when.paths(&mut paths);
    let mut texts: Vec<&str> = paths.iter().map(|path| path.text()).collect();
    texts.dedup();
    let mut matches = methods_of(when);
    if !matches.is_empty() && !texts.is_empty() {
        matches.push(' ');
    }
    matches.push_str(&texts.join(" | "));
    let tenant = match tenant.as_deref() {
        None => String::new(),
        Some("") => "default".to_owned(),
        Some(name) => name.to_owned(),
    };
    RuleRow {
        id: id.clone(),
        line: rule.id_at.line,
        tenant,
        about: match phase {
            Phase::Http => "http",
            Phase::Connect => "ws connect",
            Phase::Message => "ws message",
        },
        matches: if matches.is_empty() { "*".to_owned() } else { matches },
        found_by: found_by(when),
        sends: match send {
            Send::Native => "builtin".to_owned(),
            Send::Answer(replies) if replies.http.is_some() => "http".to_owned(),
            Send::Answer(_) => "ws".to_owned(),
            Send::Frame(frame, _) => format!("frame {}", frame.kind.name()),
        },
        auth_required: *auth_required,
        auth: Who::may_use(&rule.spec).word(),
    }
}

/// The methods that a condition asks for, as far as it says so at its top.
fn methods_of(condition: &Condition) -> String {
    match condition {
        Condition::Method(set) => {
            let named = METHODS.iter().filter(|method| set.has(method));
            // GET brings HEAD along.
            let named = named.filter(|method| **method != "HEAD" || !set.has("GET"));
            named.copied().collect::<Vec<_>>().join(",")
        }
        Condition::All(parts) => parts.iter().map(methods_of).find(|text| !text.is_empty()).unwrap_or_default(),
        _ => String::new(),
    }
}

/// A finding of the file as a whole.
pub(super) fn whole_file(file: &str, message: String, remedy: &str) -> Findings {
    let mut findings = Findings::default();
    let first = At { line: 1, column: 1, bytes: (0, 0) };
    findings.add(Severity::Error, file, "", first, message, remedy.to_owned());
    findings
}
