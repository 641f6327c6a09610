//! YAML as a tree in which everything knows where it stands.
//!
//! The parser is `serde-saphyr`, strict: booleans are `true` and `false` and nothing else, numbers that begin with a zero
//! stay texts. A key that stands twice is a flaw of the document, told with the others instead of ending the reading.

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use std::fmt;

/// Deepest nesting that is read: what reads the tree calls itself.
const DEPTH_MAX: usize = 64;

/// Largest file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 16 << 20;

/// A place in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct At {
    /// The line, from 1.
    pub line: u64,
    /// The column, from 1, in characters.
    pub column: u64,
    /// The bytes of the text that stand there.
    pub bytes: (usize, usize),
}

impl From<serde_saphyr::Location> for At {
    fn from(location: serde_saphyr::Location) -> Self {
        let span = location.span();
        let from = span.byte_offset().unwrap_or(0) as usize;
        let len = span.byte_len().unwrap_or(0) as usize;
        Self { line: location.line(), column: location.column(), bytes: (from, from.saturating_add(len)) }
    }
}

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// Where it begins.
    pub at: At,
    /// What it is.
    pub value: Value,
}

/// A key of a mapping and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Where it begins.
    pub at: At,
    /// Its text.
    pub text: String,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing: `~`, `null`, or an empty place.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// A number with a fraction or an exponent.
    Float(f64),
    /// A text.
    Text(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in the order of the file. A key that stands twice is here twice.
    Map(Vec<(Key, Node)>),
}

impl Value {
    /// What it is, for people.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl Node {
    /// The entries of a mapping; of nothing, none.
    #[must_use]
    pub fn entries(&self) -> Option<&[(Key, Node)]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            Value::Null => Some(&[]),
            _ => None,
        }
    }
}

/// What is wrong with a text, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// Where.
    pub at: At,
    /// What.
    pub reason: String,
    /// What to do about it.
    pub remedy: String,
}

/// A document that could be read.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its tree. Of a key that stands twice it has both.
    pub root: Node,
    /// Keys that stand twice.
    pub flaws: Vec<Flaw>,
}

/// Reads one YAML document. An empty text is nothing.
///
/// # Errors
/// The first place that is no YAML, or a document beyond the bounds. The flaw quotes nothing of the text.
pub fn parse(text: &str) -> Result<Document, Flaw> {
    if text.len() > FILE_BYTES_MAX {
        return Err(Flaw {
            at: At { line: 1, column: 1, bytes: (0, 0) },
            reason: format!("the file has more than {FILE_BYTES_MAX} bytes"),
            remedy: "split it, or drop what is not needed".to_owned(),
        });
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEPTH_MAX },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 100_000 },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    };
    let root: Node = serde_saphyr::from_str_with_options(text, options).map_err(|error| flaw_of(&error))?;
    let mut flaws = Vec::new();
    find_duplicates(&root, &mut flaws);
    Ok(Document { root, flaws })
}

/// The parser's words, as far as they quote nothing: a text that it stumbles over may be a secret.
fn flaw_of(error: &serde_saphyr::Error) -> Flaw {
    use serde_saphyr::Error as E;
    let error = error.without_snippet();
    let (reason, remedy) = match error {
        E::UnknownAnchor { .. } => (
            "a `*` begins the name of an anchor that is not there".to_owned(),
            "put a text that begins with * or & into quotation marks",
        ),
        E::Budget { .. } => {
            (format!("the document is too large or nests deeper than {DEPTH_MAX} levels"), "make it smaller")
        }
        E::MultipleDocuments { .. } => {
            ("a second document begins here".to_owned(), "remove the line ---, or what is behind it")
        }
        E::AliasReplayLimitExceeded { .. }
        | E::AliasExpansionLimitExceeded { .. }
        | E::AliasReplayStackDepthExceeded { .. } => ("aliases make the document too large".to_owned(), "use fewer"),
        E::Message { msg, .. } | E::ExternalMessage { msg, .. } if !msg.contains(['`', '"', '\'']) => {
            (msg.clone(), SYNTAX_REMEDY)
        }
        E::Eof { .. } => ("the text ends too early".to_owned(), SYNTAX_REMEDY),
        _ => ("this is not valid YAML".to_owned(), SYNTAX_REMEDY),
    };
    Flaw {
        at: error.location().map_or(At { line: 1, column: 1, bytes: (0, 0) }, At::from),
        reason,
        remedy: remedy.to_owned(),
    }
}

const SYNTAX_REMEDY: &str = "check indentation, brackets and quotation marks here and on the line before";

fn find_duplicates(node: &Node, flaws: &mut Vec<Flaw>) {
    match &node.value {
        Value::List(nodes) => nodes.iter().for_each(|node| find_duplicates(node, flaws)),
        Value::Map(entries) => {
            let mut seen = std::collections::HashMap::new();
            for (key, value) in entries {
                if let Some(first) = seen.insert(key.text.as_str(), key.at.line) {
                    flaws.push(Flaw {
                        at: key.at,
                        reason: format!("`{}` stands twice: the first is on line {first}", key.text),
                        remedy: "keep one of them".to_owned(),
                    });
                }
                find_duplicates(value, flaws);
            }
        }
        _ => {}
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self { at: spanned.referenced.into(), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Value::deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Integer(value.into()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = sequence.next_element()? {
            nodes.push(node);
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let key = Key { at: key.referenced.into(), text: key.value };
            entries.push((key, map.next_value()?));
        }
        Ok(Value::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get<'n>(node: &'n Node, key: &str) -> &'n Node {
        let entries = node.entries().expect("a mapping");
        &entries.iter().find(|(name, _)| name.text == key).expect("the key").1
    }

    #[test]
    fn every_node_and_key_knows_its_place() {
        let text = "a: 1\nb:\n  - x\n  - {ü: [true, ~]}\n'c d': 0x10\n7: \"q\"\n";
        let root = parse(text).expect("valid").root;
        let Value::List(items) = &get(&root, "b").value else { panic!("a list") };
        assert_eq!((items[0].at.line, items[0].at.column), (3, 5));
        assert_eq!(&text[items[0].at.bytes.0..items[0].at.bytes.1], "x");
        let inner = get(&items[1], "ü");
        assert_eq!((inner.at.line, inner.at.column), (4, 9));
        let Value::List(inner) = &inner.value else { panic!("a list") };
        assert_eq!([&inner[0].value, &inner[1].value], [&Value::Bool(true), &Value::Null]);
        assert_eq!(get(&root, "c d").value, Value::Integer(16));
        assert_eq!(get(&root, "7").value, Value::Text("q".to_owned()));
        assert_eq!(root.entries().expect("a mapping")[2].0.at.line, 5);
    }

    #[test]
    fn only_true_and_false_are_booleans_and_odd_numbers_stay_texts() {
        let root = parse("[yes, no, on, off, True, 007, 1_000, .inf, 1.5, -2]").expect("valid").root;
        let Value::List(nodes) = root.value else { panic!("a list") };
        let texts = nodes[..4].iter().chain(&nodes[5..8]);
        assert!(texts.clone().all(|node| matches!(node.value, Value::Text(_))), "{nodes:?}");
        assert_eq!(nodes[4].value, Value::Bool(true));
        assert_eq!([&nodes[8].value, &nodes[9].value], [&Value::Float(1.5), &Value::Integer(-2)]);
    }

    #[test]
    fn every_key_that_stands_twice_is_told() {
        let document = parse("a: 1\nb: {c: 1, c: 2}\na: 3\n").expect("readable");
        let told: Vec<_> = document.flaws.iter().map(|flaw| (flaw.at.line, flaw.at.column)).collect();
        assert_eq!(told, [(2, 11), (3, 1)]);
        assert!(document.flaws[1].reason.contains("line 1"));
    }

    #[test]
    fn an_empty_text_is_nothing() {
        for text in ["", "# only a comment\n", "---\n", "~"] {
            assert_eq!(parse(text).expect("valid").root.value, Value::Null, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_yaml_is_told_with_its_place_and_without_its_text() {
        for text in [
            "a: [hush",
            "a: *hush",
            "a: 1\n b: hush\n",
            "a: 'hush",
            "a: hush\n---\nb: hush\n",
            "a:\n\t- hush",
            "a: @hush",
            "a: !!int hush",
            "hush: hush: hush",
            "- a\nhush",
            "? [hush]\n: 1",
            "!!binary hush: @",
            "&hush",
            "%hush",
            "a: \"\\hush\"",
            "{hush, *hush}",
        ] {
            match parse(text) {
                Err(flaw) => {
                    assert!(flaw.at.line >= 1 && !flaw.reason.is_empty(), "{text:?}: {flaw:?}");
                    assert!(!format!("{flaw:?}").contains("hush"), "{text:?}: {flaw:?}");
                }
                Ok(document) => assert!(text == "&hush" || text.contains('?'), "{text:?} was read as {document:?}"),
            }
        }
    }

    #[test]
    fn the_deepest_nesting_passes_and_one_level_more_does_not() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert!(parse(&nested(DEPTH_MAX)).is_ok());
        assert!(parse(&nested(DEPTH_MAX + 1)).is_err());
        assert!(parse(&nested(100_000)).is_err());
    }

    #[test]
    fn aliases_cannot_make_a_small_text_large() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for at in 1..12 {
            let before = format!("*a{}, ", at - 1).repeat(10);
            text += &format!("a{at}: &a{at} [{before}]\n");
        }
        assert!(parse(&text).is_err());
    }
}
