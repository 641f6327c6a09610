//! A file that can be used and means something else than it seems to is warned of; what is wrong with one rule is not laid at
//! another's door.

mod rules_support;

use rules_support::{compiled, errors, file_of};

/// The warnings of a file that can be used.
fn warnings(file: &str) -> Vec<String> {
    let compiled = compiled(file).unwrap_or_else(|findings| panic!("{file}\n{findings}"));
    compiled.warnings.warnings().map(|finding| finding.message.clone()).collect()
}

fn warnings_of(rule: &str) -> Vec<String> {
    warnings(&file_of(&format!("  - {{id: r, {rule}}}")))
}

/// What the table says about who may use each rule.
fn who(rules: &str) -> Vec<&'static str> {
    compiled(&file_of(rules)).expect("a file that can be used").table.iter().map(|row| row.auth).collect()
}

const PUBLISH: &str = "send: {frame: {type: enqueue, fields: {to: a, envelope: {}}}}";

#[test]
fn publishing_for_everybody_is_to_be_said() {
    let hook = "when: {http: {method: POST, path: /hook}}";
    let told = warnings_of(&format!("{hook}, {PUBLISH}"));
    assert!(told.len() == 1 && told[0].contains("publishes for everybody"), "{told:?}");
    let then = "send: {http: {status: 200}}, onComplete: {frame: {type: enqueue, fields: {to: a, envelope: {}}}}";
    assert_eq!(warnings_of(&format!("{hook}, {then}")).len(), 1);
    for said in ["authRequired: true", "authRequired: false"] {
        assert_eq!(warnings_of(&format!("{hook}, {said}, {PUBLISH}")), [""; 0]);
    }
    // A path that wants a token anyhow, a WebSocket, a tenant's own rules.
    assert_eq!(warnings_of(&format!("when: {{ws: {{path: /w, message: {{json.has: a}}}}}}, {PUBLISH}")), [""; 0]);
    let told = warnings_of(&format!("when: {{http: {{method: POST, path: /v1/enqueue}}}}, {PUBLISH}"));
    assert!(told.iter().all(|told| !told.contains("everybody")), "{told:?}");
    let overlay = format!(
        "version: proto-dsl/v0\nrules: []\ntenantOverlays:\n  acme:\n    rules:\n    - {{id: r, {hook}, {PUBLISH}}}"
    );
    assert_eq!(warnings(&overlay), [""; 0]);
}

#[test]
fn figures_for_everybody_are_warned_of() {
    for frame in ["{type: snapshot, fields: {view: streams}}", "{type: metrics}"] {
        let rule = |auth: &str| format!("when: {{http: {{path: /figures}}}}, {auth}send: {{frame: {frame}}}");
        for auth in ["", "authRequired: false, "] {
            let told = warnings_of(&rule(auth));
            assert!(told.len() == 1 && told[0].contains("tells figures"), "{told:?}");
        }
        assert_eq!(warnings_of(&rule("authRequired: true, ")), [""; 0]);
    }
    // Messages of a connection that anybody may have.
    let message = "  - {id: m, when: {ws: {path: /w, message: {json.has: a}}}, send: {frame: {type: metrics}}}";
    assert_eq!(warnings(&file_of(message)), [""; 0]);
    let open = "  - {id: c, when: {ws: {path: /w}}, authRequired: false, send: {ws: {body: hello}}}";
    assert_eq!(warnings(&file_of(&format!("{open}\n{message}"))).len(), 1);
}

#[test]
fn the_table_says_who_may_use_a_rule() {
    let told = who(r"
  - {id: a, when: {http: {path: /x}}, send: {http: {}}}
  - {id: b, when: {http: {path: /y}}, authRequired: true, send: {http: {}}}
  - {id: c, when: {http: {method: POST, path: /v1/enqueue}}, send: builtin}
  - {id: d, when: {http: {path: /v1/metrics}}, send: builtin}
  - {id: e, when: {ws: {path: /z}}, send: {ws: {body: 1}}}
  - {id: f, when: {ws: {path: /w}}, authRequired: false, send: {ws: {body: 1}}}
  - {id: g, when: {ws: {path: /z, message: {json.has: a}}}, send: {ws: {body: 1}}}");
    assert_eq!(told, ["open", "token", "token", "open", "token", "open", "as connected"]);
}

#[test]
fn one_status_for_every_error_is_warned_of() {
    let file = |status: &str| {
        format!(
            "version: proto-dsl/v0\nrules: []\ndefaults:\n  onError:\n    '*': {{http: {{{status}body: {{e: $error.code}}}}}}"
        )
    };
    for (status, words) in [("status: 500, ", "the status 500"), ("", "the status 200")] {
        let told = warnings(&file(status));
        assert!(told.len() == 1 && told[0].contains(words), "{told:?}");
    }
    assert_eq!(warnings(&file("status: $error.status, ")), [""; 0]);
    let rule = |more: &str| {
        format!("when: {{http: {{path: /x}}}}, {more}send: {{http: {{}}}}, onError: {{'*': {{http: {{status: 500}}}}}}")
    };
    assert_eq!(warnings_of(&rule("")), [""; 0]);
    for (more, words) in [("rateLimit: 5, ", "the 429"), ("assert: exists $query.a, ", "`assert`")] {
        let told = warnings_of(&rule(more));
        assert!(told.len() == 1 && told[0].contains(words), "{told:?}");
    }
}

#[test]
fn a_slip_in_a_helpers_name_is_warned_of_and_an_object_is_not() {
    let value =
        |object: &str| warnings_of(&format!("when: {{http: {{path: /x}}}}, send: {{http: {{body: {object}}}}}"));
    for (slip, helper) in [
        ("{toint: $query.n}", "toInt"),
        ("{ToString: $query.n}", "toString"),
        ("{tostrng: $query.n}", "toString"),
        ("{defualt: [$query.n, 1]}", "default"),
        ("{coalese: [$query.n, 1]}", "coalesce"),
        ("{cosnt: 1}", "const"),
        ("{n: {toflaot: $query.n}}", "toFloat"),
    ] {
        let told = value(slip);
        assert!(told.len() == 1 && told[0].contains(&format!("`{helper}`")), "{slip} {told:?}");
    }
    for object in [
        "{cost: 1}",
        "{point: 1}",
        "{count: 1}",
        "{picked: 1}",
        "{toint: 1, n: 2}",
        "{const: {toint: 1}}",
        "{toInt: 1}",
    ] {
        assert_eq!(value(object), [""; 0], "{object}");
    }
}

#[test]
fn a_rule_with_an_error_hides_no_other_one() {
    let told = errors(&file_of(
        "  - {id: a, when: {http: {path: 'no slash'}}, send: {http: {}}}\n  - {id: b, when: {http: {path: /b}}, send: {http: {}}}",
    ));
    assert_eq!(told.len(), 1, "{told:?}");
}

#[test]
fn an_id_that_stands_twice_is_told_though_its_rule_has_another_error() {
    let told = errors(&file_of(
        "  - {id: a, when: {http: {path: /a}}, send: {http: {}}}\n  - {id: a, when: {http: {path: /b}}, send: {}}",
    ));
    assert!(told.iter().any(|(line, _, message)| *line == 4 && message.contains("is taken")), "{told:?}");
    assert_eq!(told.len(), 2, "{told:?}");
}

#[test]
fn a_rate_that_is_neither_is_told_both_forms() {
    let told = errors(&file_of("  - {id: a, when: {http: {path: /a}}, rateLimit: fast, send: {http: {}}}"));
    assert!(told[0].2.contains("whole number") && told[0].2.contains("mapping"), "{told:?}");
}

#[test]
fn a_variable_that_may_not_be_seen_says_how_to_allow_it() {
    let told = errors(&file_of("  - {id: a, when: {http: {path: /a}}, send: {http: {body: $env.SECRET}}}"));
    for name in ["--rules-env", "CONDUIT_RULES_ENV", "--env"] {
        assert!(told[0].2.contains(name), "{told:?}");
    }
}
