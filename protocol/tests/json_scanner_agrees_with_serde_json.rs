//! The hand-written JSON cursor accepts what serde_json accepts and reads the same values out of it.
//!
//! Known differences, both by choice: numbers beyond the range of f64 are valid here (RFC 8259 sets no range) and not
//! for `serde_json::Value`; nesting is bounded by `Limits::depth_max`.

use conduit_protocol::codec::decode_publish;
use conduit_protocol::{Encoding, EnvelopeId, ErrorCode, Limits};
use proptest::prelude::*;
use serde_json::{Map, Value};

/// Deep enough that only the ceiling of both sides could interfere, and no generated input comes near it.
fn limits() -> Limits {
    Limits { depth_max: 100, ..Limits::default() }
}

/// The members of the outer object and of the envelope must not repeat the names that count.
fn expected(text: &[u8]) -> Option<Value> {
    serde_json::from_slice(text).ok()
}

/// Puts a value where the decoder walks it without a meaning, so that only its syntax is judged.
fn wrap(value: &[u8]) -> Vec<u8> {
    [br#"{"to":"s","envelope":{"payload":"#.as_slice(), value, b"}}"].concat()
}

fn accepts(bytes: &[u8]) -> bool {
    match decode_publish(Encoding::Json, bytes, &limits()) {
        Ok(_) => true,
        Err(violation) => violation.code != ErrorCode::InvalidJson && violation.code != ErrorCode::DepthExceeded,
    }
}

/// Whether both judge alike. A number out of serde_json's range hides what comes after it, so nothing can be said then.
fn judged_alike(bytes: &[u8]) -> bool {
    match serde_json::from_slice::<Value>(bytes) {
        Ok(_) => accepts(bytes),
        Err(error) => !accepts(bytes) || error.to_string().contains("number out of range"),
    }
}

/// Characters that matter to a JSON parser, and some that do not.
fn text() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            4 => proptest::char::range(' ', '~'),
            2 => prop::sample::select(vec!['"', '\\', '/', '\u{8}', '\n', '\u{0}', '\u{1f}', '\u{7f}', 'é', '\u{2028}', '😀']),
            1 => any::<char>(),
        ],
        0..24,
    )
    .prop_map(String::from_iter)
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            proptest::collection::vec((text(), inner), 0..6).prop_map(|members| Value::from(Map::from_iter(members))),
        ]
    })
}

/// One small damage: a byte replaced, inserted or removed, or the end cut off.
#[derive(Debug, Clone)]
enum Damage {
    Replace(prop::sample::Index, u8),
    Insert(prop::sample::Index, u8),
    Remove(prop::sample::Index),
    Cut(prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let byte = || {
        prop_oneof![prop::sample::select(b"{}[]:,\"\\ \n\t0123456789-+.eEutrnfalsx/\x00\x1f\x7f".to_vec()), any::<u8>()]
    };
    prop_oneof![
        (any::<prop::sample::Index>(), byte()).prop_map(|(at, byte)| Damage::Replace(at, byte)),
        (any::<prop::sample::Index>(), byte()).prop_map(|(at, byte)| Damage::Insert(at, byte)),
        any::<prop::sample::Index>().prop_map(Damage::Remove),
        any::<prop::sample::Index>().prop_map(Damage::Cut),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    match damage {
        Damage::Replace(at, byte) => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        Damage::Insert(at, byte) => bytes.insert(at.index(bytes.len()), *byte),
        Damage::Remove(at) => {
            bytes.remove(at.index(bytes.len()));
        }
        Damage::Cut(at) => bytes.truncate(at.index(bytes.len())),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn generated_values_are_accepted_and_read_alike(
        to in "[a-z]{1,8}", id in proptest::option::of(text()), payload in json(), pretty in any::<bool>(),
    ) {
        let mut envelope = Map::new();
        envelope.insert("payload".into(), payload);
        if let Some(id) = &id {
            envelope.insert("id".into(), id.as_str().into());
        }
        let body = serde_json::json!({ "to": to, "envelope": envelope, "more": [1, {"to": 2}] });
        let text = if pretty { serde_json::to_string_pretty(&body) } else { serde_json::to_string(&body) }.unwrap();
        let publish = decode_publish(Encoding::Json, text.as_bytes(), &limits()).unwrap();
        prop_assert_eq!(publish.stream, to);
        // Both from text: serde_json does not read every float back exactly.
        let written = serde_json::to_vec(&envelope).unwrap();
        prop_assert_eq!(expected(publish.envelope.bytes), expected(&written));
        let id = match id {
            None => EnvelopeId::Absent,
            Some(id) if id.is_empty() || id.len() > 256 => EnvelopeId::Unusable,
            Some(id) => EnvelopeId::Given(id.into_bytes().into()),
        };
        prop_assert_eq!(publish.envelope.id, id);
    }

    #[test]
    fn damaged_values_are_judged_alike(
        payload in json(), pretty in any::<bool>(), damages in proptest::collection::vec(damage(), 1..4),
    ) {
        let text = if pretty { serde_json::to_string_pretty(&payload) } else { serde_json::to_string(&payload) };
        let mut bytes = wrap(text.unwrap().as_bytes());
        for damage in &damages {
            apply(&mut bytes, damage);
        }
        prop_assert!(judged_alike(&bytes), "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn token_soup_is_judged_alike(tokens in proptest::collection::vec(prop::sample::select(vec![
        "{", "}", "[", "]", ",", ":", "\"", "\"a\"", "\"id\"", "1", "0", "-", "01", "1.5", "1.", ".5", "1e5", "1e", "E+3", "-0", "1e999",
        "true", "false", "null", "nul", " ", "\n", "\\", "\"\\u0041\"", "\"\\ud800\"", "\"\\ud83d\\ude00\"", "\"\\udc00\"", "\"\\x\"", "\"é\"",
    ]), 0..10)) {
        let bytes = wrap(tokens.concat().as_bytes());
        prop_assert!(judged_alike(&bytes), "{}", String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn invalid_utf8_is_refused(before in text(), bad in prop::sample::select(vec![
        &b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80",
    ]), after in text()) {
        let mut payload = serde_json::to_vec(&before).unwrap();
        payload.pop();
        payload.extend_from_slice(bad);
        payload.extend_from_slice(&serde_json::to_vec(&after).unwrap()[1..]);
        prop_assert!(!accepts(&wrap(&payload)));
    }
}

#[test]
fn the_edges_of_the_grammar_are_judged_alike() {
    let cases: &[&str] = &[
        "",
        " ",
        "{",
        "}",
        "{}",
        "[]",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\":1,}",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "{1:1}",
        "-",
        "-0",
        "00",
        "-01",
        "0.",
        "0.0",
        ".0",
        "1e1",
        "1E+1",
        "1e+",
        "1e-1",
        "1ee1",
        "+1",
        "1e400",
        "0x1",
        "NaN",
        "Infinity",
        "-Infinity",
        "tru",
        "true1",
        "truee",
        "nulll",
        "\"",
        "\"\\\"",
        "\"\\u12\"",
        "\"\\u123g\"",
        "\"\\uD800\"",
        "\"\\uD800\\u0041\"",
        "\"\\uD83D\\uDE00\"",
        "\"\\uDE00\\uD83D\"",
        "\"\t\"",
        "\"\\t\"",
        "\"\u{7f}\"",
        "\u{feff}1",
        "1 1",
        "1,",
        "[[]]",
        "[{}]",
        "{\"a\":[]}",
        "[}",
        "{]",
        "[{]}",
        "\"12345678",
        "\"1234567\"",
        "\"12345678\"",
        "\"123456789\"",
        "\"1234567\\n\"",
        "\"12345678\\n\"",
        "/**/1",
        "'a'",
        "\u{c}1",
        "\u{a0}1",
        "1\u{0}",
        "\u{0}",
    ];
    for case in cases {
        let bytes = wrap(case.as_bytes());
        assert!(judged_alike(&bytes), "{case:?}");
        assert!(judged_alike(case.as_bytes()), "{case:?} alone");
    }
}

#[test]
fn a_number_of_any_size_is_valid() {
    for number in ["1e400", "-1e400", "123456789012345678901234567890", "1e-400"] {
        assert!(accepts(&wrap(number.as_bytes())), "{number}");
    }
}
