//! The table of settings as the tree that the configuration file is: as YAML, and as a JSON Schema.

use crate::config::Config;
use crate::document::value_text;
use crate::resolve::Resolved;
use crate::setting::{Bounds, Setting, Unit};
use crate::table::SETTINGS;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;

/// A key of the file.
enum Branch {
    /// A setting.
    Leaf(&'static Setting),
    /// A mapping of further keys, in the order of the table.
    Group(Vec<(&'static str, Self)>),
}

fn tree() -> Vec<(&'static str, Branch)> {
    let mut root = Vec::new();
    for setting in SETTINGS {
        insert(&mut root, setting.yaml, setting);
    }
    root
}

fn insert(group: &mut Vec<(&'static str, Branch)>, path: &'static str, setting: &'static Setting) {
    let Some((key, rest)) = path.split_once('.') else {
        group.push((path, Branch::Leaf(setting)));
        return;
    };
    let at = group.iter().position(|(name, _)| *name == key).unwrap_or_else(|| {
        group.push((key, Branch::Group(Vec::new())));
        group.len() - 1
    });
    if let Branch::Group(below) = &mut group[at].1 {
        insert(below, rest, setting);
    }
}

/// Every setting with its value as a configuration file; with the origin of each behind it, if asked for. Secrets, and what
/// cannot be said without something else, are comments.
#[must_use]
pub fn yaml(resolved: &Resolved, with_origins: bool) -> String {
    let mut text = String::new();
    write_group(&mut text, &tree(), 0, &mut |text, key, setting, indent| {
        let value = setting.show(&resolved.config);
        let is_unsaid = match setting.flag {
            "cpus" => resolved.config.cpus.is_none(),
            // To ask for one needs a place for it.
            "durability" => resolved.config.data_dir.is_none(),
            _ => false,
        };
        let is_comment = setting.is_secret() || is_unsaid;
        let mark = if is_comment { "# " } else { "" };
        let line = format!("{indent}{mark}{key}: {}", yaml_value(setting, &value));
        // Writing to a String cannot fail.
        let _ = if with_origins {
            writeln!(text, "{line:<56} # {}", resolved.origin(setting))
        } else {
            writeln!(text, "{line}")
        };
    });
    text
}

/// A configuration file with every setting explained, and commented out with its default.
#[must_use]
pub fn sample() -> String {
    let mut text = String::from(
        "# Every setting that there is, with its default: take away the # in front of those that you change.
# conduit --config FILE reads it; flags and environment variables come before it. Relative paths begin in the
# working directory. [reload]: SIGHUP, mkctl reload and POST /v1/admin/reload bring a new value into force;
# the others need a restart. Made by `conduit config sample`.\n",
    );
    write_group(&mut text, &tree(), 0, &mut |text, key, setting, indent| {
        let reload = if setting.is_live { " [reload]" } else { "" };
        for line in wrapped(&format!("{}{reload}", setting.doc), 110 - indent.len()) {
            let _ = writeln!(text, "{indent}# {line}");
        }
        let default = match setting.flag {
            "shards" => "4".to_owned(),
            "cpus" => "0-3".to_owned(),
            _ if setting.is_secret() => "...".to_owned(),
            _ => setting.show(&Config::new(1)),
        };
        let _ = writeln!(text, "{indent}# {key}: {}", yaml_value(setting, &default));
    });
    text
}

type WriteLeaf<'w> = &'w mut dyn FnMut(&mut String, &str, &'static Setting, &str);

fn write_group(text: &mut String, group: &[(&'static str, Branch)], depth: usize, leaf: WriteLeaf<'_>) {
    let indent = "  ".repeat(depth);
    for (key, branch) in group {
        match branch {
            Branch::Leaf(setting) => leaf(text, key, setting, &indent),
            Branch::Group(below) => {
                let blank = if depth == 0 && !text.is_empty() { "\n" } else { "" };
                let _ = writeln!(text, "{blank}{indent}{key}:");
                write_group(text, below, depth + 1, leaf);
            }
        }
    }
}

/// A value as it is written in YAML: texts in quotation marks where they could be taken for something else.
fn yaml_value(setting: &Setting, value: &str) -> String {
    let is_plain = matches!(setting.bounds, Bounds::Range(..) | Bounds::Choice(_))
        || (value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/')
            && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte)));
    if is_plain { value.to_owned() } else { json!(value).to_string() }
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last_mut().expect("there is always a line");
        if last.is_empty() {
            last.push_str(word);
        } else if last.len() + 1 + word.len() <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Every setting as one JSON array, for machines.
#[must_use]
pub fn json(resolved: &Resolved) -> Value {
    let row = |setting: &'static Setting| {
        let shown = setting.show(&resolved.config);
        let value = if setting.is_secret() { Value::Null } else { typed(setting, &shown) };
        json!({
            "setting": setting.flag,
            "variable": setting.env,
            "path": setting.yaml,
            "value": value,
            "text": value_text(setting, &shown),
            "unit": setting.unit.text(),
            "secret": setting.is_secret(),
            "reload": setting.is_live,
            "origin": resolved.origin(setting).to_string(),
        })
    };
    SETTINGS.iter().map(row).collect()
}

/// A shown value as JSON.
fn typed(setting: &Setting, shown: &str) -> Value {
    match setting.bounds {
        Bounds::Range(..) => shown.parse::<u64>().map_or_else(|_| json!(shown), |number| json!(number)),
        Bounds::Choice(_) if setting.is_switch() => json!(shown == "true"),
        _ => json!(shown),
    }
}

/// The JSON Schema (draft 2020-12) of the configuration file.
#[must_use]
pub fn schema() -> Value {
    let mut schema = Map::new();
    schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    schema.insert("title".to_owned(), json!("Configuration of Conduit"));
    if let Value::Object(root) = schema_of_group(&tree()) {
        schema.extend(root);
    }
    Value::Object(schema)
}

fn schema_of_group(group: &[(&'static str, Branch)]) -> Value {
    let properties: Map<String, Value> = group
        .iter()
        .map(|(key, branch)| {
            let schema = match branch {
                Branch::Leaf(setting) => schema_of(setting),
                Branch::Group(below) => schema_of_group(below),
            };
            ((*key).to_owned(), schema)
        })
        .collect();
    json!({ "type": ["object", "null"], "additionalProperties": false, "properties": properties })
}

fn schema_of(setting: &Setting) -> Value {
    let mut schema = match setting.bounds {
        Bounds::Range(min, max) => {
            let pattern = match setting.unit {
                Unit::Bytes => "^ *[0-9][0-9_]* *([kKmMgG]([iI][bB])?)? *$",
                _ => "^ *[0-9][0-9_]* *$",
            };
            json!({ "anyOf": [
                { "type": "integer", "minimum": min, "maximum": max },
                { "type": "string", "pattern": pattern },
                { "type": "null" },
            ] })
        }
        Bounds::Choice(_) if setting.is_switch() => json!({ "type": ["boolean", "null"] }),
        Bounds::Choice(words) => {
            let words: Vec<Value> = words.iter().map(|word| json!(word)).chain([Value::Null]).collect();
            json!({ "enum": words })
        }
        Bounds::Form(_) if setting.is_list() => json!({ "anyOf": [
            { "type": "array", "items": { "type": if setting.is_secret() { json!("string") } else { json!(["string", "integer"]) } } },
            { "type": if setting.is_secret() { json!(["string", "null"]) } else { json!(["string", "integer", "null"]) } },
        ] }),
        Bounds::Form(_) => json!({ "type": ["string", "null"] }),
    };
    if let Value::Object(members) = &mut schema {
        members.insert("description".to_owned(), json!(setting.doc));
        if let Bounds::Form(form) = setting.bounds {
            members.insert("$comment".to_owned(), json!(form));
        }
        if setting.is_secret() {
            members.insert("writeOnly".to_owned(), json!(true));
        } else if !matches!(setting.flag, "shards" | "cpus") {
            members.insert("default".to_owned(), typed(setting, &setting.show(&Config::new(1))));
        }
    }
    schema
}
