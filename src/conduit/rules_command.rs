//! `conduit rules`: looks at a rules file, and tries it on cases. No server is needed, and none is asked.

use super::announcement::{self, counted};
use clap::{Args, Subcommand};
use conduit_config::rules::cases::unreadable;
use conduit_config::rules::trial::{Came, Difference, differences, run as try_case};
use conduit_config::rules::{Case, CompiledRules, Finding, Findings, RuleRow, Surroundings, compile, read_cases};
use conduit_protocol::rules::selector::EnvLookup;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A case came out otherwise.
const EXIT_FAILED: u8 = 1;

/// What can be done with a rules file.
#[derive(Subcommand)]
pub(crate) enum RulesAction {
    /// Tell everything that is wrong with a rules file, and what its rules are: exit code 0, or 78 when it cannot be used.
    Check(Check),
    /// Try the rules on the cases beside them: exit code 0, or 1 when a case comes out otherwise than it says.
    Test(Test),
}

#[derive(Args)]
pub(crate) struct Check {
    /// The rules file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// One JSON value: the findings and the rules.
    #[arg(long)]
    json: bool,
    /// An environment variable that rules may use as `$env.NAME`; once for each. Those of CONDUIT_RULES_ENV may be used too.
    #[arg(long, value_name = "NAME")]
    env: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Test {
    /// The rules file. Its cases are its `tests`, and those of FILE.test.yaml (rules.test.yaml for rules.yaml).
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A file of cases, in place of the one beside the rules.
    #[arg(long, value_name = "FILE")]
    cases: Option<PathBuf>,
    /// An environment variable that rules may use as `$env.NAME`; once for each. Those of CONDUIT_RULES_ENV may be used too. The
    /// `env` of a file of cases comes first.
    #[arg(long, value_name = "NAME")]
    env: Vec<String>,
}

/// Does what was asked for.
pub(crate) fn run(action: &RulesAction) -> ExitCode {
    match action {
        RulesAction::Check(asked) => check(asked),
        RulesAction::Test(asked) => test(asked),
    }
}

/// The variables that rules may use: those that were named here, and those that the server would allow.
fn allowed(named: &[String]) -> Vec<String> {
    let servers = std::env::var("CONDUIT_RULES_ENV").unwrap_or_default();
    let servers = servers.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
    named.iter().cloned().chain(servers).collect()
}

/// What rules see of the environment: the variables that are allowed, and those that cases set.
fn lookup<'e>(allowed: &'e [String], set: &'e BTreeMap<String, String>) -> impl Fn(&str) -> EnvLookup + 'e {
    move |name| match set.get(name) {
        Some(value) => EnvLookup::Set(value.clone()),
        None if allowed.iter().any(|allowed| allowed == name) => {
            std::env::var(name).map_or(EnvLookup::Unset, EnvLookup::Set)
        }
        None => EnvLookup::NotAllowed,
    }
}

fn read(path: &Path) -> Result<String, Findings> {
    std::fs::read_to_string(path).map_err(|error| unreadable(&path.display().to_string(), &error.to_string()))
}

fn compile_file(path: &Path, env: &dyn Fn(&str) -> EnvLookup) -> Result<CompiledRules, Findings> {
    let text = read(path)?;
    compile(&text, Surroundings { file: &path.display().to_string(), env })
}

fn check(asked: &Check) -> ExitCode {
    let nothing = BTreeMap::new();
    let compiled = compile_file(&asked.file, &lookup(&allowed(&asked.env), &nothing));
    let (findings, table) = match &compiled {
        Ok(compiled) => (&compiled.warnings, &*compiled.table),
        Err(findings) => (findings, &[][..]),
    };
    if asked.json {
        let value = json!({
            "ok": compiled.is_ok(),
            "findings": findings.0.iter().map(finding_json).collect::<Vec<_>>(),
            "rules": table.iter().map(row_json).collect::<Vec<_>>(),
        });
        say(&format!("{value}\n"));
    } else {
        let mut text = String::new();
        if compiled.is_ok() {
            text.push_str(&table_text(table));
        }
        for finding in &findings.0 {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{finding}");
        }
        let (errors, warnings) = (findings.errors().count(), findings.warnings().count());
        let verdict = if compiled.is_ok() { "can be used" } else { "cannot be used" };
        let mut counts = vec![counted(errors, "error"), counted(warnings, "warning")];
        // Of a file with errors nobody knows how many rules it would have.
        if compiled.is_ok() {
            counts.insert(0, counted(table.len(), "rule"));
        }
        let _ = writeln!(text, "{}: {}: the file {verdict}", asked.file.display(), counts.join(", "));
        say(&text);
    }
    if compiled.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(conduit_config::EXIT_CODE) }
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "severity": finding.severity.word(),
        "file": finding.file,
        "line": finding.line,
        "column": finding.column,
        "message": finding.message,
        "remedy": finding.remedy,
    })
}

fn row_json(row: &RuleRow) -> Value {
    json!({
        "id": row.id,
        "line": row.line,
        "tenant": if row.tenant.is_empty() { Value::Null } else { row.tenant.as_str().into() },
        "about": row.about,
        "matches": row.matches,
        "foundBy": row.found_by,
        "sends": row.sends,
        "authRequired": row.auth_required,
        "auth": row.auth,
    })
}

/// The rules as columns.
fn table_text(table: &[RuleRow]) -> String {
    let mut rows =
        vec![["line", "id", "tenant", "about", "matches", "found by", "sends", "auth"].map(str::to_owned).to_vec()];
    for row in table {
        let line = row.line.to_string();
        let cells = [&line, &row.id, &row.tenant, row.about, &row.matches, row.found_by, &row.sends, row.auth];
        rows.push(cells.map(str::to_owned).to_vec());
    }
    let widths: Vec<usize> = (0..rows[0].len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}", width = *width)).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text.push('\n');
    text
}

fn test(asked: &Test) -> ExitCode {
    match trial(asked) {
        Ok((text, failed)) => {
            say(&text);
            if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) }
        }
        Err(findings) => announcement::failure(&findings, conduit_config::EXIT_CODE),
    }
}

/// Runs all cases; what to say of them, and how many came out otherwise.
fn trial(asked: &Test) -> Result<(String, usize), Findings> {
    let name = asked.file.display().to_string();
    let (mut cases, _) = read_cases(&read(&asked.file)?, &name)?;
    let mut set = BTreeMap::new();
    let beside = asked.cases.clone().unwrap_or_else(|| asked.file.with_extension("test.yaml"));
    if asked.cases.is_some() || beside.exists() {
        let (more, env) = read_cases(&read(&beside)?, &beside.display().to_string())?;
        cases.extend(more);
        set = env;
    }
    let compiled = compile_file(&asked.file, &lookup(&allowed(&asked.env), &set))?;
    let mut text = String::new();
    let mut failed = 0;
    for case in &cases {
        let came = try_case(&compiled.rules, case);
        let differences = differences(&case.expected, &came);
        // Writing to a String cannot fail.
        if differences.is_empty() {
            let _ = writeln!(text, "ok    {}", case.name);
        } else {
            failed += 1;
            let _ = writeln!(text, "FAIL  {}", case.name);
            text.push_str(&differences_text(case, &came, &differences));
        }
    }
    let _ = match (cases.len(), failed) {
        (0, _) => writeln!(text, "{name}: no cases: add `tests` to it, or write {}", beside.display()),
        (all, 0) => writeln!(text, "{name}: {all} of {all} cases came out as they say"),
        (all, failed) => writeln!(text, "{name}: {failed} of {all} cases came out otherwise"),
    };
    Ok((text, failed))
}

fn differences_text(case: &Case, came: &Came, differences: &[Difference]) -> String {
    let mut text = String::new();
    for Difference { what, expected, got } in differences {
        let _ = writeln!(text, "      {what}\n        - expected {expected}\n        + got      {got}");
    }
    let rule = came.rule.as_deref().unwrap_or("none");
    let _ = writeln!(text, "      the rule that applied: {rule} (case on line {})", case.line);
    text
}

/// Tells standard output.
fn say(text: &str) {
    // Whoever reads the output may have seen enough.
    let _ = io::stdout().lock().write_all(text.as_bytes());
}
