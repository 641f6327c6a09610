//! `when`: YAML to conditions.

use super::checker::{Checker, Members};
use super::values::{RuleNames, with_names};
use crate::yaml::{Key, Node, Value};
use conduit_protocol::rules::condition::{Condition, METHODS, Methods};
use conduit_protocol::rules::expression::Expression;
use conduit_protocol::rules::glob::Glob;
use conduit_protocol::rules::limits;
use conduit_protocol::rules::path::PathPattern;
use conduit_protocol::rules::reply::Phase;
use conduit_protocol::rules::selector::steps;
use conduit_protocol::rules::template::Template;

const WHEN_KEYS: &[&str] = &["http", "ws", "all", "any", "not", "where"];

/// What a `when` is about, before its pieces are read.
#[derive(Debug, Default)]
pub(super) struct Survey {
    http: Option<crate::yaml::At>,
    ws: Option<crate::yaml::At>,
    message: bool,
    pub(super) params: Vec<String>,
}

impl Survey {
    pub(super) fn of(when: &Node) -> Self {
        let mut survey = Self::default();
        survey.look(when, 0);
        survey
    }

    fn look(&mut self, node: &Node, depth: usize) {
        let Value::Map(entries) = &node.value else { return };
        if depth > limits::NESTING_MAX {
            return;
        }
        for (key, value) in entries {
            match key.text.as_str() {
                "http" => self.http = self.http.or(Some(key.at)),
                "ws" => {
                    self.ws = self.ws.or(Some(key.at));
                    self.message |= value.entries().unwrap_or_default().iter().any(|(key, _)| key.text == "message");
                }
                "where" => {
                    let is_about = |node: &Node| matches!(&node.value, Value::Text(text) if text.contains("$message"));
                    self.message |= match &value.value {
                        Value::List(nodes) => nodes.iter().any(is_about),
                        _ => is_about(value),
                    };
                }
                "not" => self.look(value, depth + 1),
                "all" | "any" => {
                    if let Value::List(nodes) = &value.value {
                        nodes.iter().for_each(|node| self.look(node, depth + 1));
                    }
                }
                _ => {}
            }
            if matches!(key.text.as_str(), "http" | "ws") {
                self.find_params(value);
            }
        }
    }

    fn find_params(&mut self, node: &Node) {
        for (key, value) in node.entries().unwrap_or_default() {
            if let ("path", Value::Text(text)) = (key.text.as_str(), &value.value)
                && let Ok(path) = PathPattern::parse(text)
            {
                self.params.extend(path.params().into_iter().map(str::to_owned));
            }
        }
    }

    /// What the rule is about.
    pub(super) const fn phase(&self) -> Phase {
        match (self.http, self.ws, self.message) {
            (None, Some(_), true) | (None, None, true) => Phase::Message,
            (None, Some(_), false) => Phase::Connect,
            _ => Phase::Http,
        }
    }

    /// Where a rule begins to be about two things at once.
    pub(super) fn conflict(&self) -> Option<crate::yaml::At> {
        let (http, ws) = (self.http?, self.ws?);
        Some(if (http.line, http.column) > (ws.line, ws.column) { http } else { ws })
    }
}

impl Checker<'_> {
    /// The condition of a rule.
    pub(super) fn condition(&mut self, node: &Node, names: &RuleNames) -> Condition {
        let condition = self.nested_condition(node, names, 0);
        flat(condition)
    }

    fn nested_condition(&mut self, node: &Node, names: &RuleNames, depth: usize) -> Condition {
        let nothing = || Condition::All(Box::new([]));
        if depth > limits::NESTING_MAX {
            self.error(node.at, format!("conditions nest at most {} deep", limits::NESTING_MAX), "make it flatter");
            return nothing();
        }
        let Some(members) = self.members(node, "a condition", WHEN_KEYS) else { return nothing() };
        let mut parts = Vec::new();
        for (key, value) in members.iter() {
            match key.text.as_str() {
                "http" => self.http(value, names, &mut parts),
                "ws" => self.ws(value, names, &mut parts),
                "all" => parts.extend(self.conditions(value, "all", names, depth)),
                "any" => {
                    let any = self.conditions(value, "any", names, depth);
                    parts.push(Condition::Any(any.into()));
                }
                "not" => parts.push(Condition::Not(Box::new(flat(self.nested_condition(value, names, depth + 1))))),
                "where" => {
                    for value in self.list_or_one(value, "`where`") {
                        parts.extend(self.expression(value, names).map(Condition::Where));
                    }
                }
                _ => {}
            }
        }
        if members.iter().next().is_none() {
            self.error(node.at, "a condition needs one of its keys", format!("write one of {}", WHEN_KEYS.join(", ")));
        }
        Condition::All(parts.into())
    }

    fn conditions(&mut self, node: &Node, name: &str, names: &RuleNames, depth: usize) -> Vec<Condition> {
        let Value::List(nodes) = &node.value else {
            self.wrong_kind(node, &format!("`{name}`"), "a list of conditions");
            return Vec::new();
        };
        if nodes.is_empty() {
            self.error(node.at, format!("`{name}` has no conditions"), "write at least one, or remove it");
        }
        let nodes = if nodes.len() > limits::MEMBERS_MAX { self.list_or_one(node, "the list") } else { nodes };
        nodes.iter().map(|node| flat(self.nested_condition(node, names, depth + 1))).collect()
    }

    /// A `where`.
    pub(super) fn expression(&mut self, node: &Node, names: &RuleNames) -> Option<Expression> {
        let text = match &node.value {
            // `where: true` is YAML's own word.
            Value::Bool(value) => value.to_string(),
            _ => self.text(node, "the expression")?.to_owned(),
        };
        match with_names(self, names, |names| Expression::parse(&text, names)) {
            Ok(expression) => Some(expression),
            Err(error) => {
                self.syntax(node, "the expression", &error, "see \"Expressions\" in docs/rules.md");
                None
            }
        }
    }

    fn http(&mut self, node: &Node, names: &RuleNames, parts: &mut Vec<Condition>) {
        let known = &["method", "path", "headers", "query", "contentType"];
        let Some(members) = self.members(node, "`http`", known) else { return };
        if let Some(methods) = members.get("method") {
            let mut set = Methods::default();
            for method in self.list_or_one(methods, "`method`") {
                let Some(text) = self.text(method, "a method") else { continue };
                match set.with(text) {
                    Some(more) => set = more,
                    None if text == "OPTIONS" => {
                        self.error(method.at, "OPTIONS is answered by CORS before rules are asked", "remove it");
                    }
                    None => {
                        let remedy = format!("write one of {}", METHODS.join(", "));
                        self.error(method.at, format!("there is no method `{text}` for rules"), remedy);
                    }
                }
            }
            parts.push(Condition::Method(set));
        }
        self.head(members.get("path"), members.get("headers"), members.get("query"), names, parts);
        if let Some(types) = members.get("contentType") {
            let mut globs = Vec::new();
            for each in self.list_or_one(types, "`contentType`") {
                if let Some(text) = self.text(each, "a content type") {
                    // Parameters do not count, so those that are written do not either.
                    let plain = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
                    globs.push(Glob::new(&plain));
                }
            }
            parts.push(Condition::ContentType(globs.into()));
        }
    }

    fn head(
        &mut self,
        path: Option<&Node>,
        headers: Option<&Node>,
        query: Option<&Node>,
        names: &RuleNames,
        parts: &mut Vec<Condition>,
    ) {
        if let Some(node) = path
            && let Some(text) = self.text(node, "`path`")
        {
            match PathPattern::parse(text) {
                Ok(path) => parts.push(Condition::Path(path)),
                Err(error) => self.syntax(node, "the path", &error, "see \"Paths\" in docs/rules.md"),
            }
        }
        for (key, node) in headers.and_then(|node| self.mapping(node, "`headers`")).iter().flat_map(Members::iter) {
            self.check_field_name(key);
            let name = key.text.to_ascii_lowercase();
            self.value_condition(node, names, parts, |glob| Condition::Header(name.as_str().into(), glob));
        }
        for (key, node) in query.and_then(|node| self.mapping(node, "`query`")).iter().flat_map(Members::iter) {
            self.value_condition(node, names, parts, |glob| Condition::Query(key.text.as_str().into(), glob));
        }
    }

    /// The name of a header field.
    pub(super) fn check_field_name(&mut self, key: &Key) {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if key.text.is_empty() || !key.text.bytes().all(is_token) {
            let message = format!("`{}` is no name of a header field", key.text);
            self.error(key.at, message, "write letters, digits and hyphens");
        }
    }

    /// A glob, or several of which one is enough.
    fn value_condition(
        &mut self,
        node: &Node,
        names: &RuleNames,
        parts: &mut Vec<Condition>,
        condition: impl Fn(Glob) -> Condition,
    ) {
        let mut any = Vec::new();
        for node in self.list_or_one(node, "the value") {
            let Some(text) = self.plain_text(node, "the value") else { continue };
            if !text.contains('$') {
                any.push(condition(Glob::new(&text)));
                continue;
            }
            match with_names(self, names, |names| Template::parse_text(&text, names)) {
                // An environment variable, or a dollar sign: meant letter by letter.
                Ok(Template::Literal(serde_json::Value::String(text))) => any.push(condition(Glob::exact(&text))),
                Ok(Template::Undefined) => {
                    self.warn(node.at, "the environment variable is not set, so this never applies", "set it");
                }
                Ok(_) => self.error(
                    node.at,
                    "here stands a literal text, with `*` for any run of characters, or `$env.NAME`",
                    "compare with other values in `where`: `where: $query.a == $headers.b`",
                ),
                Err(error) => self.syntax(node, "the value", &error, "write `$$` for a dollar sign"),
            }
        }
        parts.push(if any.len() == 1 { any.remove(0) } else { Condition::Any(any.into()) });
    }

    fn ws(&mut self, node: &Node, names: &RuleNames, parts: &mut Vec<Condition>) {
        let Some(members) = self.members(node, "`ws`", &["path", "headers", "query", "message"]) else { return };
        self.head(members.get("path"), members.get("headers"), members.get("query"), names, parts);
        let Some(message) = members.get("message") else { return };
        let known = &["type", "json", "json.has", "json.match"];
        let Some(members) = self.members(message, "`message`", known) else { return };
        if let Some(node) = members.get("type") {
            match self.text(node, "`type`") {
                Some("text") => parts.push(Condition::MessageText(true)),
                Some("binary") => parts.push(Condition::MessageText(false)),
                Some(_) => self.error(node.at, "a message is `text` or `binary`", "write one of these"),
                None => {}
            }
        }
        let nested = members.get("json").and_then(|node| self.members(node, "`json`", &["has", "match"]));
        let within = |name| nested.and_then(|nested| nested.get(name));
        for has in [members.get("json.has"), within("has")].into_iter().flatten() {
            for node in self.list_or_one(has, "`has`") {
                let Some(text) = self.text(node, "the name of a member") else { continue };
                match steps(text) {
                    Ok(steps) => parts.push(Condition::MessageHas(steps)),
                    Err(error) => self.syntax(node, "the member", &error, "name it like `a.b[0]`"),
                }
            }
        }
        for matching in [members.get("json.match"), within("match")].into_iter().flatten() {
            for (key, node) in self.mapping(matching, "`match`").iter().flat_map(Members::iter) {
                match steps(&key.text) {
                    Ok(steps) => {
                        let value = self.literal(node);
                        parts.push(Condition::MessageIs(steps, value));
                    }
                    Err(error) => self.error(key.at, format!("the member: {}", error.message), "name it like `a.b[0]`"),
                }
            }
        }
    }
}

/// Conditions that must all hold, without lists of one or within each other.
fn flat(condition: Condition) -> Condition {
    let Condition::All(parts) = condition else { return condition };
    let mut all = Vec::with_capacity(parts.len());
    for part in parts {
        match flat(part) {
            Condition::All(inner) => all.extend(inner),
            other => all.push(other),
        }
    }
    if all.len() == 1 { all.remove(0) } else { Condition::All(all.into()) }
}
