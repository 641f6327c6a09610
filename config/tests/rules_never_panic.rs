//! No file and no request makes the rules panic, and what they make stays within its bound.

mod rules_support;

use conduit_protocol::rules::{Body, HeadView, Message, Outcome, OwnedFields};
use proptest::prelude::*;
use rules_support::compiled;

/// Pieces that a rules file may have, right and wrong.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("$body".to_owned()),
        Just("$body.a.b[0]".to_owned()),
        Just("'x $query.q ${headers.h} $$'".to_owned()),
        Just("$params.p".to_owned()),
        Just("$result".to_owned()),
        Just("$error.code".to_owned()),
        Just("$message.m".to_owned()),
        Just("$v".to_owned()),
        Just("$env.REGION".to_owned()),
        Just("$".to_owned()),
        Just("1e400".to_owned()),
        Just("-170141183460469231731687303715884105728".to_owned()),
        "[ -~]{0,12}".prop_map(|text| format!("'{}'", text.replace('\'', "''"))),
        any::<i64>().prop_map(|number| number.to_string()),
    ];
    leaf.prop_recursive(3, 16, 3, |inner| {
        let key = prop_oneof![
            Just("toInt"),
            Just("toFloat"),
            Just("toString"),
            Just("const"),
            Just("coalesce"),
            Just("default"),
            Just("pick"),
            Just("regex"),
            Just("k"),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|values| format!("[{}]", values.join(", "))),
            (key, inner).prop_map(|(key, value)| format!("{{{key}: {value}}}")),
        ]
    })
}

fn condition() -> impl Strategy<Value = String> {
    let path = prop_oneof![
        Just("/x"),
        Just("/x/*"),
        Just("'/x/{p}'"),
        Just("'/^x(?P<p>.)/'"),
        Just("'/('"),
        Just("'*'"),
        Just("'/{p}/{p}'"),
    ];
    let test = prop_oneof![
        "[ $.a-z0-9<>=!()\\[\\]'/]{0,24}",
        Just("$body.a == 1 and not exists $query.q".to_owned()),
        Just("$params.p matches /^a/ or $message.m in [1, 'a']".to_owned()),
    ];
    let leaf = prop_oneof![
        path.clone().prop_map(|path| format!("{{http: {{path: {path}}}}}")),
        path.prop_map(|path| format!("{{ws: {{path: {path}, message: {{json.has: m}}}}}}")),
        test.prop_map(|text| format!("{{where: '{}'}}", text.replace('\'', "''"))),
        value().prop_map(|value| format!("{{http: {{headers: {{h: {value}}}, query: {{q: {value}}}}}}}")),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|all| format!("{{all: [{}]}}", all.join(", "))),
            prop::collection::vec(inner.clone(), 0..3).prop_map(|any| format!("{{any: [{}]}}", any.join(", "))),
            inner.prop_map(|inner| format!("{{not: {inner}}}")),
        ]
    })
}

fn file() -> impl Strategy<Value = String> {
    let send = prop_oneof![
        value().prop_map(|value| format!("{{http: {{status: {value}, headers: {{h: {value}}}, body: {value}}}}}")),
        value().prop_map(|value| format!("{{ws: {{body: {value}, close: {value}}}}}")),
        (
            prop_oneof![Just("enqueue"), Just("stats"), Just("grant"), Just("ack"), Just("nack"), Just("subscribe")],
            value(),
        )
            .prop_map(|(kind, value)| {
                let fields = match kind {
                    "enqueue" => format!("{{to: {value}, envelope: {value}}}"),
                    "grant" => format!("{{credit: {value}}}"),
                    "ack" | "nack" => format!("{{id: {value}}}"),
                    _ => format!("{{stream: {value}}}"),
                };
                format!("{{frame: {{type: {kind}, fields: {fields}, respond: {{http: {{body: {value}}}}}}}}}")
            }),
        Just("builtin".to_owned()),
        value(),
    ];
    let rule = (condition(), send, value(), value()).prop_map(|(when, send, map, error)| {
        format!(
            "{{when: {when}, send: {send}, map: {{v: {map}}}, onError: {{'*': {{http: {{status: $error.status, body: {error}}}}}}}}}"
        )
    });
    prop::collection::vec(rule, 0..4).prop_map(|rules| {
        let mut text = String::from("version: proto-dsl/v0\nrules:\n");
        for (nth, rule) in rules.iter().enumerate() {
            text.push_str(&format!("  - {{id: r{nth}, {}\n", &rule[1..]));
        }
        text
    })
}

/// Asks the rules everything that a session may ask.
fn ask(file: &str, path: &str, query: &str, header: &[u8], json: &str) {
    let Ok(compiled) = compiled(file) else { return };
    let headers: OwnedFields = Box::new([("H".into(), header.into())]);
    let head = HeadView { method: "POST", path, query, headers: &headers, tenant: "t", now_unix_ms: u64::MAX };
    let value: Option<serde_json::Value> = serde_json::from_str(json).ok();
    let candidates = compiled.rules.request(&head);
    let (needs_body, certain) = (candidates.needs_body(), candidates.certain().map(|rule| rule.id().to_owned()));
    let body = match value.clone() {
        Some(value) if needs_body => Body::Decoded { value, json: Some(json) },
        _ => Body::Absent,
    };
    let outcome = candidates.run(&head, body);
    if let Some(certain) = certain {
        let rule = match &outcome {
            Outcome::NoMatch => panic!("a certain rule did not apply"),
            Outcome::Native { rule } | Outcome::Respond { rule, .. } | Outcome::Frame { rule, .. } => rule.id(),
        };
        assert_eq!(rule, certain);
    }
    finish(outcome);
    finish(compiled.rules.connect(&head).run(&head, Body::Absent));
    if let Some(rules) = compiled.rules.messages(&head) {
        finish(rules.run(Message { is_text: true, value, json: Some(json) }, 0));
    }
}

fn finish(outcome: Outcome) {
    if let Outcome::Frame { request, continuation, .. } = outcome {
        let result = request.echo();
        let _ = continuation.finish(Ok(result)).then;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nothing_like_a_rules_file_panics(
        file in file(),
        path in prop_oneof![Just("/x".to_owned()), Just("/x/a%2Fb".to_owned()), "/[ -~]{0,12}"],
        query in "[a-z=&%0-9+]{0,16}",
        header in prop::collection::vec(any::<u8>(), 0..8),
        json in prop_oneof![Just(r#"{"a":{"b":[1]},"m":"a"}"#.to_owned()), "[ -~]{0,16}"],
    ) {
        ask(&file, &path, &query, &header, &json);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = compiled(&text).is_ok();
        let _ = compiled(&format!("version: proto-dsl/v0\nrules:\n{text}")).is_ok();
        let _ = conduit_config::rules::read_cases(&text, "x").is_ok();
    }
}

#[test]
fn what_a_rule_repeats_is_bounded() {
    let many = vec!["$body"; 1_000].join(", ");
    let file = rules_support::file_of(&format!(
        "  - {{id: r, when: {{http: {{path: /x}}}}, send: {{http: {{body: [{many}]}}}}}}"
    ));
    let small = rules_support::came(&file, "request: {method: POST, path: /x, body: {a: 1}}");
    assert_eq!(small.answer.expect("an answer")["status"], 200);
    let large = format!("request: {{method: POST, path: /x, body: {{a: {}}}}}", "x".repeat(100_000));
    let came = rules_support::came(&file, &large);
    let answer = came.answer.expect("an answer");
    assert_eq!((&answer["status"], &answer["body"]["code"]), (&413.into(), &"PayloadTooLarge".into()));
}
