//! `conduit rules` needs no server: it tells what is wrong with a file, and tries the cases beside it.

use crate::common::Process;
use crate::common::foreign::Ran;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

fn rules(arguments: &[&str]) -> Ran {
    Ran::of(Process::start(Command::new(env!("CARGO_BIN_EXE_conduit")).arg("rules").args(arguments)))
}

fn standard() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rules.yaml").display().to_string()
}

/// A file of its own for a test.
struct File(PathBuf);

impl File {
    fn with(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("conduit-{}-{name}.yaml", std::process::id()));
        std::fs::write(&path, text).expect("a file can be written");
        Self(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().expect("a name in UTF-8")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

const RULE: &str = "version: proto-dsl/v0
rules:
  - id: page
    when: {http: {path: /status}}
    send: {http: {status: 200, body: {region: $env.REGION}}}
tests:
  - {name: the page, request: {path: /status}, expect: {rule: page, respond: {http: {status: 200}}}}
";

#[test]
fn the_standard_rules_can_be_used_and_their_cases_come_out() {
    let checked = rules(&["check", &standard(), "--json"]);
    assert_eq!(checked.code, 0, "{checked:?}");
    let told: Value = serde_json::from_str(&checked.stdout).expect("JSON");
    assert_eq!(told["ok"], true);
    assert_eq!(told["findings"], Value::Array(Vec::new()));
    assert!(told["rules"].as_array().is_some_and(|rules| rules.len() >= 15), "{told}");
    let tested = rules(&["test", &standard()]);
    assert_eq!(tested.code, 0, "{tested:?}");
    assert!(tested.stdout.contains("cases came out as they say"), "{tested:?}");
}

#[test]
fn a_file_that_cannot_be_used_is_told_with_place_and_remedy_and_78() {
    let file = File::with("wrong", &RULE.replace("status: 200, body", "status: 20, body"));
    let checked = rules(&["check", file.name()]);
    assert_eq!(checked.code, 78, "{checked:?}");
    for word in [&*format!("{}:5:27: error: `status`", file.name()), "remedy:", "may not see", "cannot be used"] {
        assert!(checked.stdout.contains(word), "{word:?} is not said: {checked:?}");
    }
    assert_eq!(rules(&["test", file.name()]).code, 78);
    assert_eq!(rules(&["check", "no-such-file.yaml"]).code, 78);
}

#[test]
fn a_case_that_comes_out_otherwise_is_shown_and_1() {
    let file = File::with("cases", &RULE.replace("respond: {http: {status: 200}}", "respond: {http: {status: 201}}"));
    let tested = rules(&["test", file.name(), "--env", "REGION"]);
    assert_eq!(tested.code, 1, "{tested:?}");
    for word in
        ["FAIL  the page", "respond.status", "- expected 201", "+ got      200", "1 of 1 cases came out otherwise"]
    {
        assert!(tested.stdout.contains(word), "{word:?} is not said: {tested:?}");
    }
}

#[test]
fn cases_beside_the_rules_bring_their_own_environment() {
    let file = File::with("env", RULE);
    let cases = File::with(
        "env.test",
        "env: {REGION: eu}\ntests:\n  - {request: {path: /status}, expect: {respond: {http: {body: {region: eu}}}}}\n",
    );
    assert!(cases.0.ends_with(file.0.with_extension("test.yaml").file_name().expect("a name")));
    let tested = rules(&["test", file.name()]);
    assert_eq!(tested.code, 0, "{tested:?}");
    assert!(tested.stdout.contains("2 of 2 cases"), "{tested:?}");
}

#[test]
fn variables_that_the_server_would_allow_may_be_used_and_what_is_counted_is_said_in_words() {
    let file = File::with("allowed", RULE);
    let check = |variable: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_conduit"));
        Ran::of(Process::start(command.args(["rules", "check", file.name()]).env("CONDUIT_RULES_ENV", variable)))
    };
    let checked = check("OTHER, REGION");
    assert_eq!(checked.code, 0, "{checked:?}");
    assert!(checked.stdout.contains("1 rule, 0 errors, 0 warnings: the file can be used"), "{checked:?}");
    let checked = check("OTHER");
    assert_eq!(checked.code, 78, "{checked:?}");
    // How many rules a broken file would have is not known.
    assert!(checked.stdout.contains(": 1 error, 0 warnings: the file cannot be used"), "{checked:?}");
    assert!(checked.stdout.contains("--rules-env") && checked.stdout.contains("--env"), "{checked:?}");
}
