//! The rules that the built-in endpoints are: `config/rules.yaml` says them in the language of rules.
//!
//! A rule that says word for word what one of these says is answered by the built-in endpoint itself, which does the same and
//! costs nothing. So loading that file changes nothing but that its rules have names, and may ask for credentials and rates.

use crate::yaml::{self, Node, Value};

/// The standard rules.
pub(super) const STANDARD: &str = include_str!("../../rules.yaml");

/// The keys of a rule that make it what it is; `id`, `authRequired` and `rateLimit` are beside it.
const CORE: &[&str] = &["when", "map", "assert", "send", "onError", "onComplete"];

/// The standard rules as nodes.
pub(super) struct Standard {
    rules: Vec<Node>,
    defaults: Option<Node>,
}

impl Standard {
    pub(super) fn read() -> Self {
        // A test reads the file; if it could not be read, no rule would be a standard one.
        let root = yaml::parse(STANDARD).map(|document| document.root.value).unwrap_or(Value::Null);
        let Value::Map(entries) = root else { return Self { rules: Vec::new(), defaults: None } };
        let mut standard = Self { rules: Vec::new(), defaults: None };
        for (key, node) in entries {
            match (key.text.as_str(), node.value) {
                ("rules", Value::List(rules)) => standard.rules = rules,
                ("defaults", value) => standard.defaults = Some(Node { at: node.at, value }),
                _ => {}
            }
        }
        standard
    }

    /// Whether `defaults` say nothing else than the standard ones.
    pub(super) fn has_defaults(&self, defaults: Option<&Node>) -> bool {
        match (defaults, &self.defaults) {
            (None, _) => true,
            (Some(defaults), Some(standard)) => same(defaults, standard),
            (Some(defaults), None) => defaults.entries().is_some_and(<[_]>::is_empty),
        }
    }

    /// Whether a rule is one of the standard ones.
    pub(super) fn has_rule(&self, rule: &Node) -> bool {
        self.rules.iter().any(|standard| {
            CORE.iter().all(|key| match (member(rule, key), member(standard, key)) {
                (None, None) => true,
                (Some(rule), Some(standard)) => same(rule, standard),
                _ => false,
            })
        })
    }
}

fn member<'n>(node: &'n Node, name: &str) -> Option<&'n Node> {
    let Value::Map(entries) = &node.value else { return None };
    entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| node)
}

/// Whether two nodes say the same, wherever they stand.
fn same(one: &Node, other: &Node) -> bool {
    match (&one.value, &other.value) {
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Map(one), Value::Map(other)) => {
            one.len() == other.len()
                && one.iter().all(|(key, node)| {
                    other.iter().find(|(other, _)| other.text == key.text).is_some_and(|(_, other)| same(node, other))
                })
        }
        (one, other) => one == other,
    }
}
