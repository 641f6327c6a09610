//! `config/rules.yaml` says what is built in: loading it changes nothing but that rules have names.

mod rules_support;

use conduit_config::rules::trial::{differences, run};
use conduit_config::rules::{Surroundings, compile, read_cases};
use conduit_protocol::rules::builtin::PATHS;
use conduit_protocol::rules::{HeadView, Outcome, OwnedFields, Rules};

const STANDARD: &str = include_str!("../rules.yaml");
const CASES: &str = include_str!("../rules.test.yaml");

fn standard() -> Rules {
    let compiled = compile(STANDARD, Surroundings::of("rules.yaml")).expect("the standard rules are valid");
    assert!(compiled.warnings.0.is_empty(), "{}", compiled.warnings);
    compiled.rules
}

fn ask(rules: &Rules, method: &str, path: &str, is_websocket: bool) -> Outcome {
    let headers: OwnedFields = Box::default();
    let head = HeadView { method, path, query: "stream=a", headers: &headers, tenant: "", now_unix_ms: 0 };
    let candidates = if is_websocket { rules.connect(&head) } else { rules.request(&head) };
    assert!(!candidates.needs_body(), "{method} {path} would wait for a body");
    candidates.run(&head, conduit_protocol::rules::Body::Absent)
}

#[test]
fn every_built_in_path_has_a_rule_and_answers_for_itself() {
    let rules = standard();
    for builtin in PATHS {
        for method in builtin.methods {
            if builtin.is_websocket && *method == "HEAD" {
                continue;
            }
            let outcome = ask(&rules, method, builtin.path, builtin.is_websocket);
            assert!(matches!(outcome, Outcome::Native { .. }), "{method} {}: {outcome:?}", builtin.path);
        }
    }
}

#[test]
fn no_message_of_a_websocket_is_looked_at() {
    let headers: OwnedFields = Box::default();
    for path in ["/v1/subscribe", "/v1/publish"] {
        let head = HeadView { method: "GET", path, query: "", headers: &headers, tenant: "", now_unix_ms: 0 };
        assert!(standard().messages(&head).is_none(), "{path}");
    }
}

#[test]
fn its_cases_come_out_as_they_say() {
    let rules = standard();
    let (cases, _) = read_cases(CASES, "rules.test.yaml").expect("the cases are valid");
    assert!(cases.len() >= 20);
    for case in cases {
        let found = differences(&case.expected, &run(&rules, &case));
        assert!(found.is_empty(), "{}: {found:#?}", case.name);
    }
}

#[test]
fn a_changed_rule_is_evaluated_and_says_what_it_says() {
    let changed = STANDARD
        .replace("dedupId: $body.dedupId\n", "dedupId: $body.dedupId\n        respond: {http: {status: 201}}\n");
    assert_ne!(changed, STANDARD);
    let came =
        rules_support::came(&changed, "request: {method: POST, path: /v1/enqueue, body: {to: a, envelope: {x: 1}}}");
    assert!(!came.builtin);
    assert_eq!(came.answer.expect("an answer")["status"], 201);
}

#[test]
fn other_defaults_make_the_rules_say_errors_in_those_words() {
    let changed = STANDARD.replace("status: $error.status\n", "status: 499\n");
    assert_ne!(changed, STANDARD);
    let case = "request: {path: /v1/snapshot?view=x}\nerror: {code: UnknownView, message: no}";
    let came = rules_support::came(&changed, case);
    assert_eq!(came.frame.expect("a frame")["fields"]["view"], "x");
    assert_eq!(came.answer.expect("an answer")["status"], 499);
}

/// Said by the engine instead of the built-in endpoints, the rules make the same frames of the same requests.
#[test]
fn evaluated_the_rules_make_the_frames_of_the_built_in_endpoints() {
    let evaluated = STANDARD.replace("status: $error.status\n", "status: 499\n");
    for (case, frame) in [
        (
            "request: {method: POST, path: /v1/enqueue, body: {to: a, envelope: {x: 1}, ttlMs: 5, other: 1}}",
            r#"{"type":"enqueue","fields":{"to":"a","envelope":{"x":1},"ttlMs":5}}"#,
        ),
        ("request: {path: /v1/stats?stream=a%2Fb}", r#"{"type":"stats","fields":{"stream":"a/b"}}"#),
        ("request: {path: /v1/metrics}", r#"{"type":"metrics","fields":{}}"#),
        (
            "ws: {path: '/v1/subscribe?stream=a%2Fb&credit=5&other=1'}",
            r#"{"type":"subscribe","fields":{"stream":"a/b","credit":"5"}}"#,
        ),
        ("ws: {path: /v1/subscribe, message: {credit: 5}}", r#"{"type":"grant","fields":{"credit":5}}"#),
        ("ws: {path: /v1/subscribe, message: {ack: [a, 7]}}", r#"{"type":"ack","fields":{"id":["a",7]}}"#),
        (
            "ws: {path: /v1/subscribe, message: {nack: a, delayMs: 9}}",
            r#"{"type":"nack","fields":{"id":"a","delayMs":9}}"#,
        ),
    ] {
        let came = rules_support::came(&evaluated, case);
        assert_eq!(came.frame.expect(case).to_string(), frame, "{case}");
    }
}
