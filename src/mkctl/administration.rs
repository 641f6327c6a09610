//! Commands that look at the whole server or change it: `reload`, `drain`, `snapshot`.

use crate::address::Server;
use crate::failure::Failure;
use crate::http::Client;
use crate::output::{Output, printable};
use serde_json::Value;
use std::time::{Duration, Instant};

/// How often a server that drains is looked at.
const LOOK: Duration = Duration::from_millis(50);

/// What a server is given to end beyond the time that it was told.
const GRACE: Duration = Duration::from_secs(10);

/// Cells longer than this are cut in tables for people.
const CELL_CHARACTERS_MAX: usize = 48;

/// `reload`: 200 is all well; 207 means that nothing was changed.
pub(crate) fn reload(server: &Server, out: &mut Output) -> Result<(), Failure> {
    let reply = Client::new(server).post("/v1/admin/reload", "application/json", b"")?;
    if !matches!(reply.status, 200 | 207) {
        return Err(reply.refusal());
    }
    let answer = reply.json()?;
    if out.json || !out.is_terminal() {
        out.value(&answer)?;
    } else if reply.status == 200 {
        out.line("the configuration was reloaded")?;
        for (name, words) in [("changed", "in force"), ("needsRestart", "needs a restart"), ("warnings", "warning")] {
            for text in texts(&answer, name) {
                out.line(&format!("  {words}: {}", printable(text)))?;
            }
        }
    }
    if reply.status == 200 {
        return Ok(());
    }
    let problems: String = texts(&answer, "errors").map(|problem| format!("\n  {}", printable(problem))).collect();
    Err(Failure::Refused(format!("nothing was changed: the configuration cannot be used{problems}")))
}

fn texts<'a>(answer: &'a Value, name: &str) -> impl Iterator<Item = &'a str> {
    answer.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

/// `drain`: tells the server to end, and waits for that if asked to.
pub(crate) fn drain(server: &Server, within_ms: Option<u64>, wait: bool, out: &mut Output) -> Result<(), Failure> {
    let client = Client::new(server);
    let path = within_ms.map_or_else(|| "/v1/admin/drain".to_owned(), |ms| format!("/v1/admin/drain?timeoutMs={ms}"));
    let reply = client.post(&path, "application/json", b"")?;
    if reply.status != 202 {
        return Err(reply.refusal());
    }
    let answer = reply.json()?;
    out.value(&answer)?;
    if !wait {
        return Ok(());
    }
    out.flush()?;
    let told = Duration::from_millis(answer.get("timeoutMs").and_then(Value::as_u64).unwrap_or_default());
    let until = Instant::now() + told + GRACE;
    while client.get("/health").is_ok() {
        if Instant::now() >= until {
            return Err(Failure::Refused("the server has not ended in the time that it was given".to_owned()));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// `snapshot`: a table for people, the document for programs, which ask for it.
pub(crate) fn snapshot(server: &Server, view: &str, out: &mut Output) -> Result<(), Failure> {
    let answer = Client::new(server).json(&format!("/v1/snapshot?view={view}"))?;
    if out.json {
        return out.value(&answer);
    }
    let rows: Vec<&Value> = answer.get("rows").and_then(Value::as_array).into_iter().flatten().collect();
    let Some(Value::Object(first)) = rows.first() else { return out.line("there are none") };
    // What has members of its own is for programs.
    let columns: Vec<&String> = first.iter().filter(|(_, cell)| !cell.is_object()).map(|(name, _)| name).collect();
    let mut lines = vec![columns.iter().map(|name| (*name).clone()).collect::<Vec<_>>()];
    lines.extend(rows.iter().map(|row| columns.iter().map(|name| cell(&row[name.as_str()])).collect()));
    let widths: Vec<usize> =
        (0..columns.len()).map(|at| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0)).collect();
    for line in &lines {
        let padded: Vec<String> = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        out.line(padded.join("  ").trim_end())?;
    }
    match answer.get("omitted").and_then(Value::as_u64) {
        Some(omitted @ 1..) => out.line(&format!("and {omitted} more")),
        _ => Ok(()),
    }
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => printable(text),
        other => other.to_string(),
    };
    if text.chars().count() <= CELL_CHARACTERS_MAX {
        return text;
    }
    text.chars().take(CELL_CHARACTERS_MAX - 3).chain("...".chars()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn cells_fit_a_table() {
        assert_eq!(
            (cell(&json!(null)), cell(&json!("a\u{1b}")), cell(&json!(7))),
            ("-".into(), "a\\u{1b}".into(), "7".into())
        );
        assert_eq!(cell(&json!("x".repeat(48))).len(), 48);
        let cut = cell(&json!("x".repeat(49)));
        assert!(cut.len() == 48 && cut.ends_with("x..."), "{cut}");
    }
}
