//! Everything that is wrong with a configuration file is told at once: file, line and column, the line itself, and what was
//! probably meant.

use conduit_config::{ConfigFile, Flags, Problem, resolve_with};

fn problems(text: &str) -> Vec<Problem> {
    let file = ConfigFile::read("conduit.yaml", text);
    resolve_with(&Flags::default(), [], Some(&file), 2).expect_err("something is wrong").0
}

#[test]
fn every_flaw_has_its_place_and_a_remedy() {
    let text = "\
listen: {httpPrt: 1, wsPort: 70000}
http: 7
process:
  logLevel: loud
  shutdownTimeoutMs: [1]
rates:
  http: {enabled: yes}
credit-max: 5
listen:
  bind: ::1
consumers: {max: 0x10, workMax: 1.5}
";
    let problems = problems(text);
    let told: Vec<(&str, bool)> =
        problems.iter().map(|problem| (problem.key.as_str(), problem.snippet.is_some())).collect();
    assert_eq!(
        told,
        [
            ("conduit.yaml:1:10", true),
            ("conduit.yaml:2:7", true),
            ("conduit.yaml:5:22", true),
            ("conduit.yaml:8:1", true),
            ("conduit.yaml:9:1", true),
            ("conduit.yaml:1:30: listen.wsPort", true),
            ("conduit.yaml:4:13: process.logLevel", true),
            ("conduit.yaml:7:19: rates.http.enabled", true),
            ("conduit.yaml:11:33: consumers.workMax", true),
        ]
    );
    let all: String = problems.iter().map(|problem| format!("{problem}\n")).collect();
    for part in [
        "did you mean `httpPort`?",
        "did you mean `consumers.creditMax`?",
        "keys are maxRequestLine",
        "the first is on line 1",
        "\"70000\": it is above the maximum of 65535",
        "\"yes\": it is neither true nor false",
        "     4 |   logLevel: loud\n         |             ^\n    remedy: give one of: off, error",
    ] {
        assert!(all.contains(part), "{part:?} is missing from:\n{all}");
    }
}

#[test]
fn names_of_flags_and_variables_lead_to_their_keys() {
    for (text, meant) in [
        ("max-json-size: 1", "http.maxJsonSize"),
        ("CONDUIT_HTTP_PORT: 1", "listen.httpPort"),
        ("http: {port: 1}", "keys here are"),
        ("listen: {port: 1}", "listen.wsPort"),
        ("httpPort: 1", "listen.httpPort"),
        ("streams: {max_deliver: 1}", "consumers.maxDeliver"),
    ] {
        let problems = problems(text);
        assert!(problems[0].remedy.contains(meant), "{text}: {}", problems[0]);
    }
}

#[test]
fn a_file_that_is_no_yaml_is_told_with_the_other_sources() {
    let file = ConfigFile::read("conduit.yaml", "listen: {httpPort: 1\nws: 2\n");
    let environment = [
        ("CONDUIT_WS_PORT".to_owned(), "-1".to_owned()),
        ("CONDUIT_STREAM_BYTES_MAX".to_owned(), "1099511627776".to_owned()),
    ];
    let problems = resolve_with(&Flags::default(), environment, Some(&file), 2).expect_err("both").0;
    assert_eq!(problems.len(), 2, "what the file might say is not guessed: {problems:?}");
    assert!(problems[0].key.starts_with("conduit.yaml:2:") && problems[1].key == "CONDUIT_WS_PORT", "{problems:?}");
}

#[test]
fn what_contradicts_itself_is_told_where_it_was_said() {
    let problems = problems("listen:\n  wsPort: 9087\n");
    assert_eq!(problems[0].key, "conduit.yaml:2:11: listen.wsPort");
}
