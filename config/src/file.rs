//! The configuration file: a tree of mappings whose leaves are the rows of the table of settings.
//!
//! A leaf becomes the text that its flag would take, so that bounds and words are checked in one place. Values of secret
//! settings, and of keys that mean nothing here, are never quoted.

use crate::nearest::nearest;
use crate::problem::Problem;
use crate::resolve::{Place, has_password};
use crate::setting::Setting;
use crate::snippet::{snippet, unknown_words};
use crate::table::SETTINGS;
use crate::yaml::{self, At, Flaw, Node, Value};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What one file sets.
#[derive(Clone)]
pub struct ConfigFile {
    name: Arc<str>,
    /// Text and place of each setting, by its flag.
    values: BTreeMap<&'static str, (String, At)>,
    /// Of settings with problems, what of the text is shown.
    snippets: BTreeMap<&'static str, String>,
    /// What is wrong with its form.
    problems: Vec<Problem>,
}

impl ConfigFile {
    /// Reads a file. `name` is how messages name it. What is wrong with its form is kept for [`crate::resolve_with`], which
    /// looks at the values and tells everything together.
    #[must_use]
    pub fn read(name: &str, text: &str) -> Self {
        let document = match yaml::parse(text) {
            Ok(document) => document,
            Err(flaw) => {
                // Nothing is known about where secrets are, so only what cannot be one is shown.
                let words = SETTINGS.iter().flat_map(|setting| setting.yaml.split('.'));
                let problems = vec![problem(name, text, &unknown_words(text, words), &flaw)];
                return Self { name: name.into(), values: BTreeMap::new(), snippets: BTreeMap::new(), problems };
            }
        };
        let mut reader = Reader { values: BTreeMap::new(), hidden: Vec::new(), flaws: document.flaws };
        reader.group("", &document.root);
        reader.flaws.sort_by_key(|flaw| (flaw.at.line, flaw.at.column));
        let problems = reader.flaws.iter().map(|flaw| problem(name, text, &reader.hidden, flaw)).collect();
        let shown = |(flag, (_, at)): (&&'static str, &(String, At))| (*flag, snippet(text, *at, &reader.hidden));
        let snippets = reader.values.iter().map(shown).collect();
        Self { name: name.into(), values: reader.values, snippets, problems }
    }

    /// What it says about a setting.
    pub(crate) fn get(&self, setting: &Setting) -> Option<(&str, Place)> {
        let (text, at) = self.values.get(setting.flag)?;
        Some((text, Place { file: Arc::clone(&self.name), line: at.line, column: at.column }))
    }

    /// What is wrong with its form.
    pub(crate) fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// The line that it says so in.
    pub(crate) fn snippet(&self, setting: &Setting) -> Option<&str> {
        self.snippets.get(setting.flag).map(String::as_str)
    }
}

/// The values may be secrets.
impl fmt::Debug for ConfigFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, values) = (&self.name, self.values.keys());
        f.debug_struct("ConfigFile").field("name", name).field("values", &values).finish_non_exhaustive()
    }
}

/// A flaw of a file as a problem.
pub(crate) fn problem(name: &str, text: &str, hidden: &[(usize, usize)], flaw: &Flaw) -> Problem {
    let key = format!("{name}:{}:{}", flaw.at.line, flaw.at.column);
    Problem::new(key, flaw.reason.as_str(), flaw.remedy.as_str()).with_snippet(snippet(text, flaw.at, hidden))
}

/// Every scalar below a node, by its bytes: what has to be hidden when it may be secret.
pub(crate) fn hide(node: &Node, hidden: &mut Vec<(usize, usize)>) {
    match &node.value {
        Value::List(nodes) => nodes.iter().for_each(|node| hide(node, hidden)),
        Value::Map(entries) => {
            for (key, value) in entries {
                hidden.push(key.at.bytes);
                hide(value, hidden);
            }
        }
        _ => hidden.push(node.at.bytes),
    }
}

struct Reader {
    values: BTreeMap<&'static str, (String, At)>,
    hidden: Vec<(usize, usize)>,
    flaws: Vec<Flaw>,
}

impl Reader {
    /// Reads the mapping at a path; the root's is empty.
    fn group(&mut self, path: &str, node: &Node) {
        let Some(entries) = node.entries() else {
            hide(node, &mut self.hidden);
            let what = if path.is_empty() { "the file".to_owned() } else { format!("`{path}`") };
            self.flaw(
                node.at,
                format!("{what} takes a mapping, and this is {}", node.value.kind()),
                format!("write `key: value` lines; keys are {}", self::keys(path).join(", ")),
            );
            return;
        };
        for (key, value) in entries {
            let path = if path.is_empty() { key.text.clone() } else { format!("{path}.{}", key.text) };
            if let Some(setting) = SETTINGS.iter().find(|setting| setting.yaml == path) {
                self.leaf(setting, value);
            } else if SETTINGS.iter().any(|setting| is_below(setting.yaml, &path)) {
                self.group(&path, value);
            } else {
                hide(value, &mut self.hidden);
                self.flaw(key.at, format!("there is no setting `{path}`"), unknown_remedy(&path));
            }
        }
    }

    fn leaf(&mut self, setting: &'static Setting, node: &Node) {
        if setting.is_secret() || matches!(&node.value, Value::Text(text) if has_password(text)) {
            hide(node, &mut self.hidden);
        }
        match text_of(setting, node) {
            Ok(Some(text)) => {
                // Of a key that stands twice the first is read; the second is a flaw already.
                self.values.entry(setting.flag).or_insert((text, node.at));
            }
            Ok(None) => {}
            Err((at, reason, remedy)) => self.flaw(at, reason, remedy),
        }
    }

    fn flaw(&mut self, at: At, reason: String, remedy: String) {
        self.flaws.push(Flaw { at, reason, remedy });
    }
}

type Unreadable = (At, String, String);

/// The text that a setting's flag would take; `None` for nothing.
fn text_of(setting: &Setting, node: &Node) -> Result<Option<String>, Unreadable> {
    match &node.value {
        Value::Null => Ok(None),
        Value::List(nodes) if setting.is_list() => {
            let entries: Vec<String> = nodes.iter().map(|node| entry_of(setting, node)).collect::<Result<_, _>>()?;
            Ok(Some(if entries.is_empty() { setting.empty_list().to_owned() } else { entries.join(",") }))
        }
        Value::List(_) | Value::Map(_) => {
            let form = if setting.is_list() { "a list or a text" } else { "a single value" };
            Err((
                node.at,
                format!("`{}` takes {form}, and this is {}", setting.yaml, node.value.kind()),
                format!("write `{}: VALUE`", last(setting.yaml)),
            ))
        }
        _ => scalar_of(setting, node).map(Some),
    }
}

fn entry_of(setting: &Setting, node: &Node) -> Result<String, Unreadable> {
    match &node.value {
        Value::List(_) | Value::Map(_) | Value::Null => Err((
            node.at,
            format!("an entry of `{}` is {}", setting.yaml, node.value.kind()),
            "write a text for each entry".to_owned(),
        )),
        _ => {
            let text = scalar_of(setting, node)?;
            if text.contains(',') || text.trim().is_empty() {
                return Err((
                    node.at,
                    format!("an entry of `{}` is empty or has a comma in it", setting.yaml),
                    "write each entry by itself".to_owned(),
                ));
            }
            Ok(text)
        }
    }
}

fn scalar_of(setting: &Setting, node: &Node) -> Result<String, Unreadable> {
    match &node.value {
        Value::Text(text) => Ok(text.clone()),
        // What a number was written like is not known any more: 1e5 and 100000.0 are one.
        _ if setting.is_secret() => Err((
            node.at,
            format!("`{}` takes texts, and this is {}", setting.yaml, node.value.kind()),
            "put it into quotation marks".to_owned(),
        )),
        Value::Bool(value) => Ok(value.to_string()),
        Value::Integer(value) => Ok(value.to_string()),
        Value::Float(value) => Ok(value.to_string()),
        Value::Null | Value::List(_) | Value::Map(_) => Ok(String::new()),
    }
}

/// `path` is a part of `leaf`, and ends where a key of it ends.
fn is_below(leaf: &str, path: &str) -> bool {
    leaf.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
}

fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// The keys that may stand at a path.
fn keys(path: &str) -> Vec<&'static str> {
    let mut keys: Vec<&str> = Vec::new();
    for setting in SETTINGS {
        let below = if path.is_empty() {
            Some(setting.yaml)
        } else {
            setting.yaml.strip_prefix(path).and_then(|rest| rest.strip_prefix('.'))
        };
        if let Some(key) = below.and_then(|below| below.split('.').next())
            && !keys.contains(&key)
        {
            keys.push(key);
        }
    }
    keys
}

/// What was probably meant: a key beside it, a setting by its name elsewhere, or the flag's name.
fn unknown_remedy(path: &str) -> String {
    let (parent, key) = path.rsplit_once('.').unwrap_or(("", path));
    let beside = keys(parent);
    if let Some(meant) = nearest(key, beside.iter().copied()) {
        return format!("did you mean `{meant}`? Otherwise remove it");
    }
    let by_name = SETTINGS.iter().find(|setting| {
        last(setting.yaml) == key || setting.flag == key || setting.env == key || setting.flag == key.replace('_', "-")
    });
    if let Some(setting) = by_name {
        return format!("did you mean `{}`? Otherwise remove it", setting.yaml);
    }
    match nearest(path, SETTINGS.iter().map(|setting| setting.yaml)) {
        Some(meant) => format!("did you mean `{meant}`? Otherwise remove it"),
        None => format!("remove it; keys here are {}", beside.join(", ")),
    }
}
