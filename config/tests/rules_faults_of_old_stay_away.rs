//! What the earlier server did wrong with rules (facts, sections 8, 24 and 25), each as the property that it does not happen.

mod rules_support;

use conduit_config::rules::trial::Came;
use rules_support::{came, errors, file_of};
use serde_json::json;

fn status(came: &Came) -> Option<u64> {
    came.answer.as_ref()?["status"].as_u64()
}

#[test]
fn a_request_that_no_rule_matches_is_never_answered_202() {
    // Method, path and type fit; the header does not: once the fast path's 202.
    let file = file_of(
        "  - {id: r, when: {http: {method: POST, path: /x, contentType: text/plain, headers: {a: b}}}, send: {http: {}}}",
    );
    let came = came(&file, "request: {method: POST, path: /x, headers: {content-type: text/plain; charset=utf-8}}");
    assert_eq!(came, Came::default());
}

#[test]
fn a_content_type_with_a_charset_equals_the_one_without() {
    let file = file_of(
        "  - {id: r, when: {http: {path: /x, contentType: application/json; charset=ascii}}, send: {http: {}}}",
    );
    for sent in ["application/json", "application/json; charset=utf-8", "application/json;charset=ascii"] {
        let came = came(&file, &format!("request: {{path: /x, headers: {{content-type: {sent}}}}}"));
        assert_eq!(came.rule.as_deref(), Some("r"), "{sent}");
    }
}

#[test]
fn a_variable_works_with_and_without_its_dollar() {
    for name in ["priority", "$priority"] {
        let rules = format!(
            "  - {{id: r, when: {{http: {{path: /x}}}}, map: {{{name}: $query.p}}, send: {{http: {{body: $priority}}}}}}"
        );
        let came = came(&file_of(&rules), "request: {path: '/x?p=7'}");
        assert_eq!(came.answer.expect("an answer")["body"], json!("7"));
    }
}

#[test]
fn helpers_work_wherever_a_value_stands() {
    let file = file_of(
        "  - {id: r, when: {http: {path: /x}}, send: {frame: {type: enqueue, fields: {to: {default: [$query.to, a]}, \
         envelope: {n: {toInt: $query.n}}}}}}",
    );
    let came = came(&file, "request: {path: '/x?n=3'}");
    assert_eq!(came.frame, Some(json!({"type": "enqueue", "fields": {"to": "a", "envelope": {"n": 3}}})));
}

#[test]
fn a_star_in_on_error_means_every_error() {
    let file = file_of(
        "  - {id: r, when: {http: {path: /x}}, send: {frame: {type: metrics}}, onError: {'*': {http: {status: 599}}}}",
    );
    assert_eq!(status(&came(&file, "request: {path: /x}\nerror: {code: Backpressure}")), Some(599));
}

#[test]
fn response_headers_are_not_ignored() {
    let file =
        file_of("  - {id: r, when: {http: {path: /x}}, send: {http: {status: 301, headers: {Location: /y$query.q}}}}");
    let came = came(&file, "request: {path: '/x?q=1'}");
    assert_eq!(came.answer.expect("an answer")["headers"]["location"], json!("/y1"));
}

#[test]
fn a_rule_cannot_be_made_to_inject_header_lines() {
    let file = file_of("  - {id: r, when: {http: {path: /x}}, send: {http: {headers: {x-q: $query.q}}}}");
    let came = came(&file, "request: {path: '/x?q=a%0D%0ASet-Cookie:%20b'}");
    assert_eq!(came.answer.expect("an answer")["headers"]["x-q"], json!("a  Set-Cookie: b"));
}

#[test]
fn a_missing_body_is_no_body_and_not_the_whole_answer() {
    let file = file_of("  - {id: r, when: {http: {path: /x}}, send: {http: {status: 204}}}");
    let answer = came(&file, "request: {path: /x}").answer.expect("an answer");
    assert_eq!((&answer["status"], &answer["body"]), (&json!(204), &json!(null)));
}

#[test]
fn other_characters_of_a_path_are_not_live() {
    let file = file_of("  - {id: r, when: {http: {path: /a.b(c)/*}}, send: {http: {}}}");
    assert!(came(&file, "request: {path: /a.b(c)/x}").rule.is_some());
    assert!(came(&file, "request: {path: /axbc/x}").rule.is_none());
}

#[test]
fn a_text_with_a_hole_never_becomes_a_shorter_text() {
    let file = file_of(
        "  - {id: r, when: {http: {method: POST, path: /x}}, send: {frame: {type: enqueue, \
         fields: {to: 'agents/$body.to', envelope: {a: 1}}}}}",
    );
    let came = came(&file, "request: {method: POST, path: /x, body: {}}");
    assert_eq!(came.frame, Some(json!({"type": "enqueue", "fields": {"envelope": {"a": 1}}})));
}

#[test]
fn an_envelope_that_is_passed_on_keeps_its_bytes() {
    use conduit_protocol::rules::{Body, FrameRequest, HeadView, Outcome, OwnedFields};
    let file = file_of(
        "  - {id: r, when: {http: {path: /x}}, send: {frame: {type: enqueue, fields: {to: a, envelope: '$body.list[1].e'}}}}",
    );
    let rules = rules_support::compiled(&file).expect("valid").rules;
    let headers: OwnedFields = Box::default();
    let head = HeadView { method: "POST", path: "/x", query: "", headers: &headers, tenant: "", now_unix_ms: 0 };
    let json = r#"{"list":[0,{"e":{},"e":{ "n":1.10, "big":1e400, "s":"\u0041" }}]}"#
        .replace("1e400", "123456789012345678901234567890");
    let body = Body::Decoded { value: serde_json::from_str(&json).expect("json"), json: Some(&json) };
    let outcome = rules.request(&head).run(&head, body);
    let Outcome::Frame { request: FrameRequest::Enqueue { publish }, .. } = outcome else { panic!("{outcome:?}") };
    let expected = r#"{"to":"a","envelope":{ "n":1.10, "big":123456789012345678901234567890, "s":"\u0041" }}"#;
    assert_eq!(String::from_utf8(publish).expect("text"), expected);
}

#[test]
fn unknown_keys_are_errors_and_not_ignored() {
    let told = errors(&file_of("  - {id: r, when: {http: {path: /x, verb: GET}}, send: {http: {}}, bind: 1}"));
    assert!(told.iter().any(|(.., message)| message.contains("`verb`")), "{told:?}");
    assert!(told.iter().any(|(.., message)| message.contains("`bind`")), "{told:?}");
}

#[test]
fn uploads_and_queues_are_said_to_come_later() {
    for (key, word) in [("blob", "uploads"), ("queue", "queues")] {
        let told = errors(&file_of(&format!("  - {{id: r, when: {{http: {{path: /x}}}}, send: {{{key}: {{}}}}}}")));
        assert!(told[0].2.contains(word) && told[0].2.contains("not in this version"), "{told:?}");
    }
}
