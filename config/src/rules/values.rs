//! Values of a rule: YAML to templates.

use super::checker::Checker;
use crate::nearest::distance;
use crate::yaml::{Key, Node, Value};
use conduit_protocol::rules::limits;
use conduit_protocol::rules::pattern::Pattern;
use conduit_protocol::rules::selector::{EnvLookup, Names, Uses};
use conduit_protocol::rules::template::{Helper, Template};
use serde_json::{Map, Number};

/// The helpers by name.
const HELPERS: &[&str] = &["const", "coalesce", "default", "pick", "regex", "toInt", "toFloat", "toString"];

/// The names that pieces of one rule may use, besides what depends on the place.
#[derive(Debug, Clone, Default)]
pub(super) struct RuleNames {
    pub(super) variables: Vec<String>,
    pub(super) later: Vec<String>,
    pub(super) params: Vec<String>,
    pub(super) available: Uses,
}

impl RuleNames {
    /// The same names where more is there.
    pub(super) fn with(&self, more: Uses) -> Self {
        Self { available: self.available.and(more), ..self.clone() }
    }
}

/// Reads with the names of a rule.
pub(super) fn with_names<T>(checker: &Checker<'_>, names: &RuleNames, read: impl FnOnce(&Names<'_>) -> T) -> T {
    let env = |name: &str| -> EnvLookup { checker.env(name) };
    read(&Names {
        variables: &names.variables,
        later: &names.later,
        available: names.available,
        params: &names.params,
        env: &env,
    })
}

/// Whether a name is a helper's but for the case of letters, or a slip of the hand. Short names are near to many others: of
/// those only letters that have changed places count.
fn is_slip(name: &str, helper: &str) -> bool {
    let (name, helper) = (name.to_ascii_lowercase(), helper.to_ascii_lowercase());
    if name == helper {
        return true;
    }
    if helper.len() > 5 {
        return distance(name.as_bytes(), helper.as_bytes()) <= 2;
    }
    let sorted = |text: &str| {
        let mut letters = text.as_bytes().to_vec();
        letters.sort_unstable();
        letters
    };
    name.len() == helper.len() && sorted(&name) == sorted(&helper)
}

impl Checker<'_> {
    /// A value: selectors, texts with selectors in them, lists, objects, helpers, literals.
    pub(super) fn template(&mut self, node: &Node, names: &RuleNames) -> Template {
        self.nested_template(node, names, 0)
    }

    fn nested_template(&mut self, node: &Node, names: &RuleNames, depth: usize) -> Template {
        if depth > limits::NESTING_MAX {
            self.error(node.at, format!("values nest at most {} deep", limits::NESTING_MAX), "make it flatter");
            return Template::Undefined;
        }
        match &node.value {
            Value::Text(text) => {
                let parsed = with_names(self, names, |names| Template::parse_text(text, names));
                match parsed {
                    Ok(template) => template,
                    Err(error) => {
                        self.syntax(node, "the value", &error, "correct the selector, or write `$$` for a dollar sign");
                        Template::Undefined
                    }
                }
            }
            Value::List(nodes) => {
                let nodes = if nodes.len() > limits::MEMBERS_MAX { self.list_or_one(node, "the list") } else { nodes };
                Template::list(nodes.iter().map(|node| self.nested_template(node, names, depth + 1)).collect())
            }
            Value::Map(entries) => {
                if let [(key, argument)] = &**entries
                    && HELPERS.contains(&key.text.as_str())
                {
                    return self.helper(&key.text, argument, names, depth);
                }
                if let [(key, _)] = &**entries {
                    self.warn_of_slip(key);
                }
                let Some(members) = self.mapping(node, "the object") else { return Template::Undefined };
                let read = |(key, node): &(Key, Node)| {
                    (Box::from(key.text.as_str()), self.nested_template(node, names, depth + 1))
                };
                Template::object(members.iter().map(read).collect())
            }
            _ => Template::Literal(self.literal(node)),
        }
    }

    /// An object whose only member looks like a helper that is written wrongly.
    fn warn_of_slip(&mut self, key: &Key) {
        let Some(helper) = HELPERS.iter().find(|helper| is_slip(&key.text, helper)) else { return };
        self.warn(
            key.at,
            format!("an object with the one member `{}`, which is no helper: `{helper}` is one", key.text),
            format!("write `{helper}`; if the object is meant, nothing is wrong"),
        );
    }

    /// A value in which nothing is looked for.
    pub(super) fn literal(&mut self, node: &Node) -> serde_json::Value {
        match &node.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => (*value).into(),
            Value::Integer(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => value.into(),
                (_, Ok(value)) => value.into(),
                _ => {
                    self.error(node.at, "the number does not fit into 64 bits", "write it as a text");
                    serde_json::Value::Null
                }
            },
            Value::Float(value) => match Number::from_f64(*value) {
                Some(number) => number.into(),
                None => {
                    self.error(node.at, "the number is not finite", "write it as a text");
                    serde_json::Value::Null
                }
            },
            Value::Text(text) => text.as_str().into(),
            Value::List(nodes) => nodes.iter().map(|node| self.literal(node)).collect::<Vec<_>>().into(),
            Value::Map(entries) => {
                let members = entries.iter().map(|(key, node)| (key.text.clone(), self.literal(node)));
                serde_json::Value::Object(members.collect::<Map<_, _>>())
            }
        }
    }

    fn helper(&mut self, name: &str, argument: &Node, names: &RuleNames, depth: usize) -> Template {
        let helper = match name {
            "const" => return Template::Literal(self.literal(argument)),
            "coalesce" => match &argument.value {
                Value::List(nodes) if !nodes.is_empty() => {
                    let values = nodes.iter().map(|node| self.nested_template(node, names, depth + 1));
                    Some(Helper::Coalesce(values.collect()))
                }
                _ => self.bad_helper(argument, "coalesce", "[$body.a, $query.a]"),
            },
            "default" => match &argument.value {
                Value::List(nodes) if nodes.len() == 2 => {
                    let first = self.nested_template(&nodes[0], names, depth + 1);
                    Some(Helper::Default(first, self.nested_template(&nodes[1], names, depth + 1)))
                }
                _ => self.bad_helper(argument, "default", "[$query.stream, agents/Main/inbox]"),
            },
            "pick" => self.pick(argument, names, depth),
            "regex" => self.regex(argument, names, depth),
            "toInt" => Some(Helper::ToInt(self.nested_template(argument, names, depth + 1))),
            "toFloat" => Some(Helper::ToFloat(self.nested_template(argument, names, depth + 1))),
            _ => Some(Helper::ToString(self.nested_template(argument, names, depth + 1))),
        };
        helper.map_or(Template::Undefined, |helper| Template::Helper(Box::new(helper)))
    }

    fn bad_helper(&mut self, argument: &Node, name: &str, form: &str) -> Option<Helper> {
        self.error(
            argument.at,
            format!("`{name}` is written `{{{name}: {form}}}`"),
            format!("correct it, or write `{{const: {{{name}: ..}}}}` for an object with the member `{name}`"),
        );
        None
    }

    /// `{pick: [value, name, ..]}` or `{pick: {from: value, keys: [name, ..]}}`.
    fn pick(&mut self, argument: &Node, names: &RuleNames, depth: usize) -> Option<Helper> {
        const FORM: &str = "[$body, id, type]";
        let (from, keys) = match &argument.value {
            Value::List(nodes) if nodes.len() >= 2 => (&nodes[0], &nodes[1..]),
            Value::Map(_) => {
                let members = self.members(argument, "`pick`", &["from", "keys"])?;
                match (members.get("from"), members.get("keys").map(|keys| &keys.value)) {
                    (Some(from), Some(Value::List(keys))) => (from, &**keys),
                    _ => return self.bad_helper(argument, "pick", FORM),
                }
            }
            _ => return self.bad_helper(argument, "pick", FORM),
        };
        let value = self.nested_template(from, names, depth + 1);
        let keys = keys.iter().filter_map(|key| self.text(key, "the name of a member").map(Box::from)).collect();
        Some(Helper::Pick(value, keys))
    }

    /// `{regex: [value, pattern]}`, `[value, pattern, group]`, or `{value:, pattern:, group:}`. The group is a number or a
    /// name; without one, it is the first, or the whole match of a pattern without groups.
    fn regex(&mut self, argument: &Node, names: &RuleNames, depth: usize) -> Option<Helper> {
        const FORM: &str = "[$path, 'v([0-9]+)', 1]";
        let (value, pattern, group) = match &argument.value {
            Value::List(nodes) if (2..=3).contains(&nodes.len()) => (&nodes[0], &nodes[1], nodes.get(2)),
            Value::Map(_) => {
                let members = self.members(argument, "`regex`", &["value", "pattern", "group"])?;
                match (members.get("value"), members.get("pattern")) {
                    (Some(value), Some(pattern)) => (value, pattern, members.get("group")),
                    _ => return self.bad_helper(argument, "regex", FORM),
                }
            }
            _ => return self.bad_helper(argument, "regex", FORM),
        };
        let template = self.nested_template(value, names, depth + 1);
        let text = self.text(pattern, "the pattern")?;
        let inner = text.strip_prefix('/').and_then(|text| text.strip_suffix('/')).unwrap_or(text);
        let compiled = match Pattern::parse(inner) {
            Ok(compiled) => compiled,
            Err(error) => {
                self.syntax(pattern, "the pattern", &error, "correct the regular expression");
                return None;
            }
        };
        let index = match group.map(|group| &group.value) {
            None => Some(usize::from(compiled.groups() > 0)),
            Some(Value::Integer(index)) => usize::try_from(*index).ok().filter(|index| *index <= compiled.groups()),
            Some(Value::Text(name)) => compiled.group_named(name),
            Some(_) => None,
        };
        let Some(index) = index else {
            self.error(
                group.unwrap_or(argument).at,
                "the pattern has no such group",
                format!("give a number from 0 to {}, or the name of a group", compiled.groups()),
            );
            return None;
        };
        Some(Helper::Regex(template, compiled, index))
    }
}
