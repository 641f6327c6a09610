//! Everything that is wrong with a rules file is told: at once, with line, column, the line itself and a remedy.

mod rules_support;

use conduit_config::rules::Severity;
use conduit_protocol::rules::limits;
use rules_support::{compiled, errors, file_of};

/// A rule with something in place of its parts.
fn rule(when: &str, rest: &str) -> String {
    file_of(&format!("  - {{id: r, when: {when}, {rest}}}"))
}

const OK: &str = "send: {http: {}}";
const X: &str = "{http: {path: /x}}";

#[test]
fn each_flaw_is_told_in_words_that_name_it() {
    let frame = |frame: &str| rule(X, &format!("send: {{frame: {frame}}}"));
    let table = [
        ("rules: []".to_owned(), "no `version`"),
        ("version: v1\nrules: []".to_owned(), "not known"),
        ("version: proto-dsl/v0".to_owned(), "no `rules`"),
        ("version: proto-dsl/v0\nrules: {}".to_owned(), "must be a list"),
        ("version: proto-dsl/v0\nrules: []\nrulez: []".to_owned(), "no `rulez`"),
        ("- a".to_owned(), "must be a mapping"),
        ("version: [".to_owned(), "not valid YAML"),
        (file_of("  - {when: {http: {path: /x}}, send: {http: {}}}"), "no `id`"),
        (file_of("  - {id: r, send: {http: {}}}"), "no `when`"),
        (file_of("  - {id: r, when: {http: {path: /x}}}"), "no `send`"),
        (file_of("  - {id: '', when: {http: {path: /x}}, send: {http: {}}}"), "`id` must be"),
        (rule("{htp: {path: /x}}", OK), "no `htp`"),
        (rule("{}", OK), "needs one of its keys"),
        (rule("{http: {path: x}}", OK), "begins with `/`"),
        (rule("{http: {path: '/u/{'}}", OK), "name of a parameter"),
        (rule("{http: {path: '/[/'}}", OK), "pattern cannot be read"),
        (rule("{http: {path: 7}}", OK), "must be a text"),
        (rule("{http: {method: FETCH}}", OK), "no method `FETCH`"),
        (rule("{http: {method: OPTIONS}}", OK), "CORS"),
        (rule("{http: {headers: {'a b': x}}}", OK), "no name of a header field"),
        (rule("{http: {headers: {a: $body.x}}}", OK), "literal text"),
        (rule("{all: []}", OK), "no conditions"),
        (rule("{all: {http: {}}}", OK), "must be a list"),
        (rule("{http: {path: /x}, ws: {path: /x}}", OK), "not both"),
        (rule("{ws: {message: {type: blob}}}", "send: {ws: {body: 1}}"), "`text` or `binary`"),
        (rule("{ws: {message: {json.has: 'a b'}}}", "send: {ws: {body: 1}}"), "a member is named"),
        (rule("{where: '$body.a = 1'}", OK), "`==`"),
        (rule("{where: '$body.a =='}", OK), "expected a value"),
        (rule("{where: '($body.a'}", OK), "expected `)`"),
        (rule("{where: '$body.a matches x'}", OK), "between slashes"),
        (rule("{where: '$bdy.a'}", OK), "no `$bdy`"),
        (rule("{serial: {}}", OK), "serial lines"),
        (rule(X, "send: {}"), "says nothing"),
        (rule(X, "send: {http: {}, frame: {type: metrics}}"), "two things"),
        (rule(X, "send: {ws: {body: 1}}"), "cannot answer on a WebSocket"),
        (rule("{ws: {path: /x}}", OK), "cannot answer over HTTP"),
        (rule(X, "send: {http: {status: 99}}"), "from 200 to 599"),
        (rule(X, "send: {http: {status: true}}"), "from 200 to 599"),
        (rule(X, "send: {http: {headers: {Content-Length: 1}}}"), "the server itself says"),
        (rule("{ws: {path: /x}}", "send: {ws: {close: 1005}}"), "no close code"),
        (frame("{}"), "no `type`"),
        (frame("{type: enqeue}"), "no frame type `enqeue`"),
        (frame("{type: enqueue, fields: {to: a}}"), "needs the field `envelope`"),
        (frame("{type: stats, fields: {strem: a}}"), "no `strem`"),
        (frame("{type: metrics, await: true}"), "not needed"),
        (frame("{type: metrics, respond: {ws: {body: 1}}}"), "never said"),
        (rule("{ws: {path: /x}}", "send: {frame: {type: grant, fields: {credit: 1}}}"), "about the handshake"),
        (rule(X, "send: {http: {body: $result.x}}"), "broker's answer"),
        (rule(X, "send: {http: {body: $error.code}}"), "for `onError`"),
        (rule(X, "send: {http: {body: $message.a}}"), "`when.ws.message`"),
        (rule(X, "send: {http: {body: $params.id}}"), "has the parameter `id`"),
        (rule(X, "send: {http: {body: $env.SECRET}}"), "may not see"),
        (rule(X, "send: {http: {body: $.x}}"), "`$$` for a dollar"),
        (rule(X, "send: {http: {body: '${body'}}"), "needs its `}`"),
        (rule(X, "send: {http: {body: {default: 1}}}"), "`default` is written"),
        (rule(X, "send: {http: {body: {regex: [$path, '(']}}}"), "pattern cannot be read"),
        (rule(X, "send: {http: {body: {regex: [$path, 'a', 2]}}}"), "no such group"),
        (rule(X, "map: {body: 1}, send: {http: {}}"), "is there already"),
        (rule(X, "map: {a: 1, $a: 2}, send: {http: {}}"), "stands twice"),
        (rule(X, "map: {a: $b, b: 1}, send: {http: {}}"), "further down"),
        (rule(X, "map: {1a: 1}, send: {http: {}}"), "no name of a variable"),
        (rule(X, "assert: {code: X}, send: {http: {}}"), "what must hold"),
        (rule(X, "onError: {X: {}}, send: {http: {}}"), "nothing is said"),
        (rule(X, "onComplete: {frame: {type: stats, fields: {stream: a}}}, send: {http: {}}"), "nobody would hear"),
        (rule(X, "authRequired: yes, send: {http: {}}"), "true or false"),
        (rule(X, "rateLimit: 0, send: {http: {}}"), "`rateLimit` must be"),
        (rule(X, "rateLimit: {burst: 1}, send: {http: {}}"), "needs `perMinute`"),
        (rule(X, "rateLimit: {perMinute: 1, by: moon}, send: {http: {}}"), "not shared by `moon`"),
        ("version: proto-dsl/v0\nrules: []\ndefaults: {onErr: {}}".to_owned(), "no `onErr`"),
        ("version: proto-dsl/v0\nrules: []\ntenantOverlays: {a: {}}".to_owned(), "no `rules`"),
        ("version: proto-dsl/v0\nrules: []\ntests: [{name: a}]".to_owned(), "either `request` or `ws`"),
        (file_of("  - {id: r, id: s, when: {http: {path: /x}}, send: {http: {}}}"), "stands twice"),
    ];
    for (file, words) in table {
        let told = errors(&file);
        assert!(told.iter().any(|(.., message)| message.contains(words)), "{words}\n{file}\n{told:#?}");
    }
}

#[test]
fn all_flaws_are_told_at_once_each_at_its_place() {
    let file = "version: proto-dsl/v0
rules:
  - id: a
    when: {http: {path: /x, verb: GET}}
    send: {http: {status: 200, body: \"to $bdy.x\"}}
  - id: b
    when:
      where: \"$body.n => 1\"
    sendd: {http: {}}
  - id: a
    when: {http: {path: /y}}
    send: builtin
";
    let told = errors(file);
    let places: Vec<(u64, u64)> = told.iter().map(|(line, column, _)| (*line, *column)).collect();
    assert_eq!(places, [(4, 29), (5, 42), (6, 5), (8, 23), (9, 5), (10, 9)].map(|(l, c)| (l, c)), "{told:#?}");
    let findings = compiled(file).expect_err("flaws");
    let text = findings.to_string();
    assert!(text.contains("rules.yaml:9:5: error: there is no `sendd` in a rule\n     9 |     sendd: {http: {}}\n       |     ^\n    remedy: did you mean `send`?"), "{text}");
    assert!(findings.0.iter().all(|finding| !finding.remedy.is_empty() && !finding.snippet.is_empty()));
}

#[test]
fn a_rule_that_an_earlier_one_always_hides_is_an_error() {
    for (earlier, later, hidden) in [
        ("{http: {path: /a}}", "{http: {method: GET, path: /a}}", true),
        ("{http: {path: /a/*}}", "{http: {path: /a/b/*, headers: {x: y}}}", true),
        ("{http: {path: '/a/{x}'}}", "{http: {path: /a/b}}", true),
        ("{http: {path: /a, headers: {x: 'b*'}}}", "{http: {path: /a, headers: {X: bc}}}", true),
        ("{http: {path: /a}, where: $query.x}", "{http: {path: /a, method: PUT}, where: $query.x}", true),
        ("{any: [{http: {path: /a}}, {http: {path: /b}}]}", "{http: {path: /b}}", true),
        ("{http: {path: '*'}}", "{any: [{http: {path: /a}}, {http: {path: /b}}]}", true),
        ("{http: {method: GET, path: /a}}", "{http: {path: /a}}", false),
        ("{http: {method: GET, path: /a}}", "{http: {method: HEAD, path: /a}}", true),
        ("{http: {path: /a/b}}", "{http: {path: /a/*}}", false),
        ("{http: {path: /a, query: {x: 1}}}", "{http: {path: /a}}", false),
        ("{http: {path: /a}, where: $query.x}", "{http: {path: /a}, where: $query.y}", false),
        ("{not: {http: {path: /a}}}", "{http: {path: /b}}", false),
        ("{not: {http: {path: /a}}}", "{not: {http: {path: /*}}}", true),
        ("{http: {contentType: 'text/*'}}", "{http: {contentType: [text/csv, text/plain]}}", true),
    ] {
        let file = file_of(&format!("  - {{id: a, when: {earlier}, {OK}}}\n  - {{id: b, when: {later}, {OK}}}"));
        let is_hidden = compiled(&file).is_err_and(|findings| findings.to_string().contains("never applies"));
        assert_eq!(is_hidden, hidden, "{earlier} {later}");
    }
}

#[test]
fn an_id_may_stand_again_for_a_tenant_but_not_twice_in_one_list() {
    let list = |id: &str| format!("[{{id: {id}, when: {{http: {{path: /{id}}}}}, {OK}}}]");
    let file = format!("version: proto-dsl/v0\nrules: {}\ntenantOverlays: {{t: {{rules: {}}}}}", list("a"), list("a"));
    assert!(compiled(&file).is_ok());
    let twice = file_of(&format!("  - {{id: a, when: {X}, {OK}}}\n  - {{id: a, when: {{http: {{path: /y}}}}, {OK}}}"));
    assert!(errors(&twice)[0].2.contains("is taken"));
}

#[test]
fn a_rule_that_takes_a_built_in_paths_place_is_warned_of() {
    let warned = |when: &str, send: &str| {
        let compiled = compiled(&rule(when, send)).expect("valid");
        compiled.warnings.0.iter().any(|finding| {
            finding.severity == Severity::Warning && finding.message.contains("takes the place of what is built in")
        })
    };
    assert!(warned("{http: {path: /health}}", OK));
    assert!(warned("{http: {method: GET, path: /v1/*}}", OK));
    assert!(warned("{ws: {path: /v1/subscribe}}", "send: {ws: {close: 1000}}"));
    assert!(warned("{where: $query.x}", OK));
    assert!(!warned("{http: {method: DELETE, path: /health}}", OK));
    assert!(!warned("{http: {path: /health}}", "send: builtin"));
    assert!(!warned(X, OK));
}

#[test]
fn the_bounds_of_a_file_pass_and_one_more_does_not() {
    let rules = |count: usize| {
        let lines: Vec<String> =
            (0..count).map(|n| format!("  - {{id: r{n}, when: {{http: {{path: /r{n}}}}}, {OK}}}")).collect();
        file_of(&lines.join("\n"))
    };
    assert!(compiled(&rules(limits::RULES_MAX)).is_ok());
    assert!(errors(&rules(limits::RULES_MAX + 1))[0].2.contains("are allowed"));

    let long = |bytes: usize| rule(X, &format!("send: {{http: {{body: {}}}}}", "a".repeat(bytes)));
    assert!(compiled(&long(limits::TEXT_BYTES_MAX)).is_ok());
    assert!(compiled(&long(limits::TEXT_BYTES_MAX + 1)).is_err());

    let deep =
        |depth: usize| rule(X, &format!("send: {{http: {{body: {}x{}}}}}", "[".repeat(depth), "]".repeat(depth)));
    assert!(compiled(&deep(limits::NESTING_MAX)).is_ok());
    assert!(compiled(&deep(limits::NESTING_MAX + 1)).is_err());

    let large = format!("{}#{}", rules(1), "x".repeat(limits::FILE_BYTES_MAX));
    assert!(errors(&large)[0].2.contains("bytes"));
}
