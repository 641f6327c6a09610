//! `dlq`: messages that were given up. They are named by the stream that they came from.

use crate::address::Server;
use crate::failure::Failure;
use crate::http::Client;
use crate::object_commands::DeadLetters;
use crate::objects::{document, listing, purge, stream_path};
use crate::output::{Output, grouped, is_tenant, printable};
use conduit_protocol::streams::{Done, Messages};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

/// What the name of a stream of dead letters ends with.
const SUFFIX: &str = ".dlq";

/// `dlq`.
pub(crate) fn run(server: &Server, asked: &DeadLetters, out: &mut Output) -> Result<(), Failure> {
    let client = Client::new(server);
    match asked {
        DeadLetters::Ls { .. } => list(&client, out),
        DeadLetters::Show { stream, limit, from, .. } => show(&client, &letters_of(stream), *from, *limit, out),
        DeadLetters::Redrive { stream, limit, .. } => redrive(&client, &letters_of(stream), *limit, out),
        DeadLetters::Purge { stream, .. } => purge(&client, &letters_of(stream), out),
    }
}

/// The stream of the dead letters of a stream; either of the two may be named.
fn letters_of(stream: &str) -> String {
    if stream.ends_with(SUFFIX) { stream.to_owned() } else { format!("{stream}{SUFFIX}") }
}

fn list(client: &Client, out: &mut Output) -> Result<(), Failure> {
    let (streams, _, _) = listing(client)?;
    let letters: Vec<_> = streams
        .iter()
        .filter_map(|row| Some((row.stream.strip_suffix(SUFFIX)?, row.depth + row.inflight, &*row.tenant)))
        .filter(|(_, count, _)| *count > 0)
        .collect();
    if out.json {
        let rows: Vec<_> = letters.iter().map(|(stream, count, tenant)| letters_json(stream, *count, tenant)).collect();
        return out.value(&json!({ "streams": rows }));
    }
    let cells = |(stream, count, tenant): &(&str, u64, _)| ([printable(stream), grouped(*count)], Some(*tenant));
    out.table_with_tenants(&["stream", "dead letters"], letters.iter().map(cells))
}

fn letters_json(stream: &str, count: u64, tenant: &str) -> Value {
    let mut row = json!({ "stream": stream, "letters": count });
    if is_tenant(tenant) {
        row["tenant"] = tenant.into();
    }
    row
}

/// What a dead letter says about the message in it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Letter {
    reason: String,
    attempts: u64,
    last_error: Option<String>,
    seq: u64,
    first_ts: String,
    envelope: Box<RawValue>,
}

fn show(client: &Client, letters: &str, from: u64, limit: u64, out: &mut Output) -> Result<(), Failure> {
    let (mut next, mut left) = (Some(from), limit);
    while let Some(from) = next.filter(|_| left > 0) {
        let path = format!("{}/messages?from={from}&limit={left}", stream_path(letters));
        let (page, _) = document::<Messages>(&client.get(&path)?)?;
        left = left.saturating_sub(page.messages.len() as u64);
        for message in &page.messages {
            if out.json {
                out.line(&serde_json::to_string(message).map_err(|error| Failure::Unreachable(error.to_string()))?)?;
                continue;
            }
            let raw = message.envelope.0.get();
            match serde_json::from_str::<Letter>(raw) {
                Ok(letter) => out.line(&letter_line(message.seq, &message.id, &letter))?,
                // Anybody may publish to such a stream; what is no dead letter is shown as it is.
                Err(_) => out.line(&format!("{}  {}  {}", message.seq, printable(&message.id), printable(raw)))?,
            }
        }
        // A page that holds nothing and promises more would go on for ever.
        next = page.next.filter(|next| *next > from);
    }
    Ok(())
}

fn letter_line(seq: u64, id: &str, letter: &Letter) -> String {
    let Letter { reason, attempts, last_error, seq: was, first_ts, envelope } = letter;
    let error = last_error.as_ref().map_or_else(String::new, |error| format!("  error {:?}", printable(error)));
    format!(
        "{seq}  {}  {} after {attempts} deliveries{error}  was seq {was}, published {}  {}",
        printable(id),
        printable(reason),
        printable(first_ts),
        printable(envelope.get())
    )
}

/// One request takes back only so many; all of them take several.
fn redrive(client: &Client, letters: &str, limit: Option<u64>, out: &mut Output) -> Result<(), Failure> {
    let mut all = 0;
    loop {
        let left = limit.map(|limit| limit.saturating_sub(all));
        if left == Some(0) {
            break;
        }
        let limit = left.map_or_else(String::new, |left| format!("?limit={left}"));
        let path = format!("{}/redrive{limit}", stream_path(letters));
        let (done, _) = document::<Done>(&client.post(&path, "application/json", b"")?)?;
        match done.redriven.unwrap_or(0) {
            0 => break,
            redriven => all += redriven,
        }
    }
    if out.json {
        return out.value(&json!({ "stream": letters, "redriven": all }));
    }
    out.line(&format!("{} dead letters are back in {}", grouped(all), printable(letters.trim_end_matches(SUFFIX))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_stream_may_be_named() {
        assert_eq!(letters_of("jobs"), "jobs.dlq");
        assert_eq!(letters_of("jobs.dlq"), "jobs.dlq");
    }

    #[test]
    fn a_letter_says_why_and_moves_no_cursor() {
        let text = r#"{"id":"a","reason":"max_deliver","attempts":3,"lastError":"no\u001b[2J","stream":"s","seq":7,
            "firstTs":"2026-01-01T00:00:00.000Z","envelope":{"n":1}}"#;
        let letter = serde_json::from_str(text).expect("a letter");
        let line = letter_line(2, "a", &letter);
        assert!(line.starts_with("2  a  max_deliver after 3 deliveries  error "), "{line}");
        assert!(line.ends_with(r#"was seq 7, published 2026-01-01T00:00:00.000Z  {"n":1}"#), "{line}");
        assert!(!line.contains('\u{1b}'));
    }
}
