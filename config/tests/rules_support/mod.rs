//! Rules and cases as texts.
#![allow(dead_code)]

use conduit_config::rules::trial::{Came, differences, run};
use conduit_config::rules::{CompiledRules, Findings, Surroundings, compile, read_cases};
use conduit_protocol::rules::selector::EnvLookup;

/// Compiles a file in which REGION is set, EMPTY is allowed and not set, and other variables are not allowed.
pub(crate) fn compiled(text: &str) -> Result<CompiledRules, Findings> {
    let env = |name: &str| match name {
        "REGION" => EnvLookup::Set("eu*west".to_owned()),
        "EMPTY" => EnvLookup::Unset,
        _ => EnvLookup::NotAllowed,
    };
    compile(text, Surroundings { file: "rules.yaml", env: &env })
}

/// The rules of a file that has only these.
pub(crate) fn file_of(rules: &str) -> String {
    format!("version: proto-dsl/v0\nrules:\n{rules}\n")
}

/// What came of one case under the rules of a file.
pub(crate) fn came(file: &str, case: &str) -> Came {
    let rules = compiled(file).unwrap_or_else(|findings| panic!("{file}\n{findings}")).rules;
    let indented: String = case.trim_end().lines().map(|line| format!("    {line}\n")).collect();
    let text = format!("tests:\n  -\n{indented}    expect: {{builtin: false}}\n");
    let (cases, _) = read_cases(&text, "case.yaml").unwrap_or_else(|findings| panic!("{text}\n{findings}"));
    run(&rules, &cases[0])
}

/// Every case of a file with its own `tests` comes out as it says.
pub(crate) fn all_as_they_say(file: &str) {
    let rules = compiled(file).unwrap_or_else(|findings| panic!("{file}\n{findings}")).rules;
    let (cases, _) = read_cases(file, "rules.yaml").unwrap_or_else(|findings| panic!("{file}\n{findings}"));
    assert!(!cases.is_empty(), "no cases");
    for case in cases {
        let came = run(&rules, &case);
        let found = differences(&case.expected, &came);
        assert!(found.is_empty(), "{} (line {}): {found:#?}\ncame: {came:#?}", case.name, case.line);
    }
}

/// Line, column and message of every error of a file.
pub(crate) fn errors(text: &str) -> Vec<(u64, u64, String)> {
    match compiled(text) {
        Ok(compiled) => panic!("no error was found in\n{text}\n{compiled:#?}"),
        Err(findings) => {
            findings.errors().map(|finding| (finding.line, finding.column, finding.message.clone())).collect()
        }
    }
}
