//! The JSON Schema of the configuration file has every setting, and takes what the code takes: the bounds of every number,
//! each word, no key that there is not. The samples of the repository are valid by both.

use conduit_config::setting::{Bounds, Unit};
use conduit_config::table::SETTINGS;
use conduit_config::{ConfigFile, Flags, Setting, resolve_with, tree, yaml};
use serde_json::{Value, json};

/// The part of JSON Schema that the schema uses. An unknown keyword fails the test.
fn is_valid(schema: &Value, value: &Value) -> bool {
    schema.as_object().expect("a schema is an object").iter().all(|(keyword, argument)| match keyword.as_str() {
        "$schema" | "title" | "description" | "$comment" | "default" | "writeOnly" => true,
        "type" => match argument {
            Value::Array(types) => types.iter().any(|name| has_type(name, value)),
            name => has_type(name, value),
        },
        "anyOf" => argument.as_array().expect("a list").iter().any(|schema| is_valid(schema, value)),
        "enum" => argument.as_array().expect("a list").contains(value),
        "minimum" => value.as_f64().is_none_or(|number| Some(number) >= argument.as_f64()),
        "maximum" => value.as_u64().is_none_or(|number| Some(number) <= argument.as_u64()),
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| is_valid(argument, item))),
        "pattern" => value.as_str().is_none_or(|text| matches(argument.as_str().expect("a text"), text)),
        "properties" => value.as_object().is_none_or(|members| {
            members.iter().all(|(key, value)| argument.get(key).is_none_or(|schema| is_valid(schema, value)))
        }),
        "additionalProperties" => {
            assert_eq!(argument, &json!(false));
            value.as_object().is_none_or(|members| members.keys().all(|key| schema["properties"].get(key).is_some()))
        }
        other => panic!("the schema uses {other}, which this test does not know"),
    })
}

fn has_type(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("a type is a text") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("{other} is no type"),
    }
}

/// The two patterns of the schema.
fn matches(pattern: &str, text: &str) -> bool {
    let text = text.trim_matches(' ');
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit() && c != '_');
    let suffix = text[digits.len()..].trim().to_ascii_lowercase();
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit())
        && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_');
    let has_units = pattern.contains("kKmMgG");
    assert!(has_units || pattern == "^ *[0-9][0-9_]* *$", "{pattern} is not known here");
    is_number && (suffix.is_empty() || has_units && ["k", "m", "g", "kib", "mib", "gib"].contains(&suffix.as_str()))
}

fn leaf<'s>(schema: &'s Value, path: &str) -> &'s Value {
    path.split('.').fold(schema, |schema, key| &schema["properties"][key])
}

/// The file that sets one value.
fn file_with(path: &str, value: &Value) -> Value {
    path.rsplit('.').fold(value.clone(), |value, key| json!({ key: value }))
}

/// What the code says to a file; JSON is YAML.
fn is_taken(setting: &Setting, value: &Value) -> bool {
    let file = ConfigFile::read("c.yaml", &file_with(setting.yaml, value).to_string());
    match resolve_with(&Flags::default(), [], Some(&file), 2) {
        Ok(_) => true,
        // Only what is said about the value itself counts, not what it means beside others.
        Err(problems) => !problems.0.iter().any(|problem| {
            let reason = &problem.reason;
            [
                "not a whole number",
                "below the minimum",
                "above the maximum",
                "neither true nor false",
                "no such",
                "takes ",
            ]
            .iter()
            .any(|words| reason.contains(words))
        }),
    }
}

#[test]
fn every_setting_has_its_place_its_words_and_its_bounds() {
    let schema = tree::schema();
    for setting in SETTINGS {
        let leaf = leaf(&schema, setting.yaml);
        assert_eq!(leaf["description"], setting.doc, "{}", setting.yaml);
        let (good, bad): (Vec<Value>, Vec<Value>) = match setting.bounds {
            Bounds::Range(min, max) => {
                let unit = if setting.unit == Unit::Bytes { json!("64KiB") } else { json!(min.to_string()) };
                let below = min.checked_sub(1).map_or(json!(-1), |below| json!(below));
                (
                    vec![json!(min), json!(max), unit],
                    vec![below, json!(max + 1), json!("many"), json!(true), json!([1])],
                )
            }
            Bounds::Choice(_) if setting.is_switch() => (vec![json!(true), json!(false)], vec![json!("yes"), json!(7)]),
            Bounds::Choice(words) => (words.iter().map(|word| json!(word)).collect(), vec![json!("other"), json!(7)]),
            Bounds::Form(_) => (vec![], vec![json!({"a": 1})]),
        };
        for value in &good {
            assert!(is_valid(leaf, value), "the schema refuses {value} for {}", setting.yaml);
            assert!(
                is_taken(setting, value) || *value == json!("64KiB"),
                "the code refuses {value} for {}",
                setting.yaml
            );
        }
        for value in &bad {
            assert!(!is_valid(leaf, value), "the schema takes {value} for {}", setting.yaml);
            assert!(!is_taken(setting, value), "the code takes {value} for {}", setting.yaml);
        }
        assert!(is_valid(leaf, &Value::Null), "{} may be left empty", setting.yaml);
        if let Some(default) = leaf.get("default") {
            assert!(is_valid(leaf, default), "{} refuses its default", setting.yaml);
        }
        assert_eq!(setting.is_secret(), leaf.get("writeOnly").is_some());
    }
}

#[test]
fn keys_that_there_are_not_are_invalid_everywhere() {
    let schema = tree::schema();
    assert!(!is_valid(&schema, &json!({ "port": 1 })));
    for setting in SETTINGS {
        let (parent, _) = setting.yaml.rsplit_once('.').expect("no setting stands at the top");
        assert!(!is_valid(&schema, &file_with(&format!("{parent}.notThere"), &json!(1))), "{parent}");
    }
}

#[test]
fn the_samples_and_what_is_shown_are_valid() {
    let schema = tree::schema();
    let resolved = resolve_with(&Flags::default(), [], None, 2).expect("valid");
    for text in [include_str!("../conduit.yaml"), &tree::yaml(&resolved, true), &tree::sample(), ""] {
        let value = json_of(&yaml::parse(text).expect("valid YAML").root);
        assert!(is_valid(&schema, &value), "{value:#}");
    }
}

fn json_of(node: &yaml::Node) -> Value {
    match &node.value {
        yaml::Value::Null => Value::Null,
        yaml::Value::Bool(value) => json!(value),
        yaml::Value::Integer(value) => json!(i64::try_from(*value).expect("settings are small")),
        yaml::Value::Float(value) => json!(value),
        yaml::Value::Text(text) => json!(text),
        yaml::Value::List(nodes) => nodes.iter().map(json_of).collect(),
        yaml::Value::Map(entries) => entries
            .iter()
            .map(|(key, node)| (key.text.clone(), json_of(node)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}
