//! Walking a rules file: the shapes that nodes must have, and the flaws where they do not.

use super::Surroundings;
use super::finding::{Findings, Severity};
use crate::nearest::nearest;
use crate::yaml::{At, Key, Node, Value};
use conduit_protocol::rules::limits;
use conduit_protocol::rules::selector::EnvLookup;
use conduit_protocol::rules::syntax::SyntaxError;

/// Keys that mean something in other versions or other systems, and what is said of them.
const ELSEWHERE: &[(&str, &str)] = &[
    ("blob", "comes with uploads, not in this version"),
    ("queue", "comes with queues, not in this version"),
    ("queueStatus", "comes with queues, not in this version"),
    ("serial", "is for serial lines, which this server has none of"),
    ("fs", "is for file systems, which this server does not watch"),
    ("stdio", "is for standard input, which this server does not read"),
    ("await", "is not needed: a frame is always waited for, and `respond` has its `$result`"),
    ("bind", "is not part of this version: listeners are set with --http-port and --ws-port"),
    ("codec", "is not part of this version: encodings are negotiated, see --codecs-http"),
    ("flow", "is not part of this version: credit is granted by consumers"),
];

/// What walks a file.
pub(super) struct Checker<'t> {
    pub(super) text: &'t str,
    pub(super) surroundings: Surroundings<'t>,
    pub(super) findings: Findings,
    /// The ids of all rules that have one, those included that have errors: (tenant, id, place).
    pub(super) ids: Vec<(Option<String>, String, At)>,
}

/// The entries of a mapping whose keys are all known.
#[derive(Clone, Copy)]
pub(super) struct Members<'n> {
    entries: &'n [(Key, Node)],
}

impl<'n> Members<'n> {
    /// The value of a key.
    pub(super) fn get(&self, name: &str) -> Option<&'n Node> {
        self.entry(name).map(|(_, node)| node)
    }

    /// A key and its value.
    pub(super) fn entry(&self, name: &str) -> Option<&'n (Key, Node)> {
        self.entries.iter().find(|(key, _)| key.text == name)
    }

    /// All of them, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &'n (Key, Node)> {
        self.entries.iter()
    }
}

impl<'t> Checker<'t> {
    pub(super) fn new(text: &'t str, surroundings: Surroundings<'t>) -> Self {
        Self { text, surroundings, findings: Findings::default(), ids: Vec::new() }
    }

    pub(super) fn error(&mut self, at: At, message: impl Into<String>, remedy: impl Into<String>) {
        self.findings.add(Severity::Error, self.surroundings.file, self.text, at, message.into(), remedy.into());
    }

    pub(super) fn warn(&mut self, at: At, message: impl Into<String>, remedy: impl Into<String>) {
        self.findings.add(Severity::Warning, self.surroundings.file, self.text, at, message.into(), remedy.into());
    }

    pub(super) fn has_errors(&self) -> bool {
        self.findings.errors().next().is_some()
    }

    /// Errors so far.
    pub(super) fn errors(&self) -> usize {
        self.findings.errors().count()
    }

    pub(super) fn env(&self, name: &str) -> EnvLookup {
        (self.surroundings.env)(name)
    }

    /// A mapping with any keys.
    pub(super) fn mapping<'n>(&mut self, node: &'n Node, what: &str) -> Option<Members<'n>> {
        let Value::Map(entries) = &node.value else {
            self.wrong_kind(node, what, "a mapping");
            return None;
        };
        if entries.len() > limits::MEMBERS_MAX {
            self.error(
                node.at,
                format!("{what} has {} entries: at most {} are allowed", entries.len(), limits::MEMBERS_MAX),
                "make it smaller",
            );
            return None;
        }
        Some(Members { entries })
    }

    /// A mapping with none but known keys.
    pub(super) fn members<'n>(&mut self, node: &'n Node, what: &str, known: &[&str]) -> Option<Members<'n>> {
        let members = self.mapping(node, what)?;
        for (key, _) in members.iter().filter(|(key, _)| !known.contains(&key.text.as_str())) {
            self.unknown_key(key, what, known);
        }
        Some(members)
    }

    pub(super) fn unknown_key(&mut self, key: &Key, what: &str, known: &[&str]) {
        let text = &key.text;
        if let Some((_, why)) = ELSEWHERE.iter().find(|(known, _)| known == text) {
            self.error(key.at, format!("`{text}` {why}"), "remove it");
            return;
        }
        let remedy = match nearest(text, known.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("{what} has: {}", known.join(", ")),
        };
        self.error(key.at, format!("there is no `{text}` in {what}"), remedy);
    }

    pub(super) fn wrong_kind(&mut self, node: &Node, what: &str, wanted: &str) {
        self.error(node.at, format!("{what} is {}: it must be {wanted}", node.value.kind()), format!("write {wanted}"));
    }

    /// A text.
    pub(super) fn text<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n str> {
        match &node.value {
            Value::Text(text) if text.len() > limits::TEXT_BYTES_MAX => {
                let message = format!("{what} has more than {} bytes", limits::TEXT_BYTES_MAX);
                self.error(node.at, message, "make it shorter");
                None
            }
            Value::Text(text) => Some(text),
            _ => {
                self.wrong_kind(node, what, "a text");
                None
            }
        }
    }

    /// A text, or a number or boolean as one: queries and headers have only texts.
    pub(super) fn plain_text(&mut self, node: &Node, what: &str) -> Option<String> {
        match &node.value {
            Value::Bool(value) => Some(value.to_string()),
            Value::Integer(value) => Some(value.to_string()),
            Value::Float(value) => Some(value.to_string()),
            _ => self.text(node, what).map(str::to_owned),
        }
    }

    pub(super) fn boolean(&mut self, node: &Node, what: &str) -> Option<bool> {
        match node.value {
            Value::Bool(value) => Some(value),
            _ => {
                self.wrong_kind(node, what, "true or false");
                None
            }
        }
    }

    /// A whole number within bounds.
    pub(super) fn number(&mut self, node: &Node, what: &str, min: u32, max: u32) -> Option<u32> {
        let number = match node.value {
            Value::Integer(value) => u32::try_from(value).ok().filter(|value| (min..=max).contains(value)),
            _ => None,
        };
        if number.is_none() {
            let wanted = format!("a whole number from {min} to {max}");
            self.error(node.at, format!("{what} must be {wanted}"), format!("write {wanted}"));
        }
        number
    }

    /// A list, or one element that stands for a list of it.
    pub(super) fn list_or_one<'n>(&mut self, node: &'n Node, what: &str) -> &'n [Node] {
        match &node.value {
            Value::List(nodes) if nodes.len() > limits::MEMBERS_MAX => {
                let message = format!("{what} has more than {} elements", limits::MEMBERS_MAX);
                self.error(node.at, message, "make it shorter");
                &[]
            }
            Value::List(nodes) => nodes,
            _ => std::slice::from_ref(node),
        }
    }

    /// A flaw in the text of a node, at its place in the line where that can be told.
    pub(super) fn syntax(&mut self, node: &Node, what: &str, error: &SyntaxError, remedy: &str) {
        let at = self.within(node, error.at);
        self.error(at, format!("{what}: {}", error.message), remedy);
    }

    /// The place of a byte in the text of a node, if that stands in the file as it is; else the place of the node.
    fn within(&self, node: &Node, byte: usize) -> At {
        let Value::Text(text) = &node.value else { return node.at };
        let (from, to) = node.at.bytes;
        let Some(source) = self.text.get(from..to.max(from)) else { return node.at };
        let quote = usize::from(source.starts_with(['"', '\'']));
        let stands_as_it_is = source.get(quote..).is_some_and(|source| source.starts_with(text.as_str()));
        match text.get(..byte) {
            Some(before) if stands_as_it_is && !before.contains('\n') => {
                let column = node.at.column + (quote + before.chars().count()) as u64;
                At { column, ..node.at }
            }
            _ => node.at,
        }
    }
}
