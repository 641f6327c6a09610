//! `pub`: one message from the command line, or one for each line of standard input.

use crate::address::Server;
use crate::command_line::{Codec, Pub};
use crate::failure::Failure;
use crate::http::{Client, Reply};
use crate::output::{Output, grouped, printable};
use conduit_protocol::codec::{self, Encoding};
use serde_json::Value;
use serde_json::value::RawValue;
use std::io::{self, BufRead, IsTerminal};
use std::time::{Duration, Instant};

/// Lines of one batch, at most.
const BATCH_LINES: usize = 500;

/// Bytes of one batch: the line that reaches it is its last.
const BATCH_BYTES: usize = 1024 * 1024;

/// Times that a full stream is tried again before giving up.
const TRIES_MAX: u32 = 10;

/// Longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Publishes what was asked for; fails when any message was refused.
pub(crate) fn run(server: &Server, asked: &Pub, out: &mut Output) -> Result<(), Failure> {
    let mut publisher = Publisher {
        client: Client::new(server),
        stream: serde_json::to_string(&asked.stream).map_err(|error| Failure::Usage(error.to_string()))?,
        options: asked.options()?,
        codec: asked.codec,
        batch: Vec::new(),
        accepted: 0,
        failed: 0,
        first: None,
        started: Instant::now(),
        shown: None,
    };
    match asked.envelope() {
        Some(envelope) => {
            if let Err(reason) = object(envelope) {
                return Err(Failure::Usage(format!("the envelope is not usable: {reason}")));
            }
            for _ in 0..asked.count {
                publisher.add(envelope, 0, out)?;
            }
        }
        None => {
            if asked.count != 1 {
                return Err(Failure::Usage("--count needs the envelope on the command line".to_owned()));
            }
            publisher.add_lines(out)?;
        }
    }
    publisher.send(out)?;
    publisher.finish(out)
}

struct Line {
    /// Where it stood on standard input, from 1; 0 for the command line's.
    number: u64,
    /// The whole request object.
    request: String,
}

struct Publisher {
    client: Client,
    /// The stream's name as a JSON text.
    stream: String,
    /// What each message asks for beside being stored, as members of its request.
    options: String,
    codec: Codec,
    batch: Vec<Line>,
    accepted: u64,
    failed: u64,
    /// The first accepted one, for the summary of a single message.
    first: Option<Value>,
    started: Instant,
    shown: Option<Instant>,
}

impl Publisher {
    fn add_lines(&mut self, out: &mut Output) -> Result<(), Failure> {
        if io::stdin().is_terminal() {
            out.remark("reading one JSON object a line from standard input; end with Ctrl-D");
        }
        for (at, line) in io::stdin().lock().lines().enumerate() {
            let number = at as u64 + 1;
            let line = line.map_err(|error| Failure::Usage(format!("line {number} of standard input: {error}")))?;
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            // A line that is no object would break the batch's form, so it never leaves.
            match object(line) {
                Ok(()) => self.add(line, number, out)?,
                Err(reason) => self.fail(number, &reason, out)?,
            }
        }
        Ok(())
    }

    fn add(&mut self, envelope: &str, number: u64, out: &mut Output) -> Result<(), Failure> {
        // A JSON text may be spread over lines, a batch's line may not. In valid JSON line ends are only white space.
        let envelope = envelope.replace(['\n', '\r'], " ");
        self.batch.push(Line {
            number,
            request: format!(r#"{{"to":{},"envelope":{envelope}{}}}"#, self.stream, self.options),
        });
        let bytes: usize = self.batch.last().map_or(0, |line| line.request.len()) * self.batch.len();
        if self.batch.len() >= BATCH_LINES || bytes >= BATCH_BYTES || self.codec == Codec::Msgpack {
            self.send(out)?;
        }
        Ok(())
    }

    /// Sends the batch until every line of it was accepted or refused for good.
    fn send(&mut self, out: &mut Output) -> Result<(), Failure> {
        let mut tries = 0;
        while !self.batch.is_empty() {
            let (results, wait) = self.request()?;
            let before = self.batch.len();
            let lines = std::mem::take(&mut self.batch);
            for (line, result) in lines.into_iter().zip(results) {
                if is_backpressure(&result) {
                    self.batch.push(line);
                } else {
                    self.tell(&line, &result, out)?;
                }
            }
            self.show_progress(out);
            tries = if self.batch.len() < before { 0 } else { tries + 1 };
            if tries > TRIES_MAX {
                return Err(Failure::Refused(format!(
                    "Backpressure: the stream stays full after {} messages",
                    grouped(self.accepted)
                )));
            }
            if !self.batch.is_empty() {
                std::thread::sleep(wait);
            }
        }
        Ok(())
    }

    /// One request for the whole batch: a result for each line, and how long to wait should any be tried again.
    fn request(&self) -> Result<(Vec<Value>, Duration), Failure> {
        let reply = match (self.codec, self.batch.as_slice()) {
            (Codec::Msgpack, [line]) => {
                let mut packed = Vec::new();
                codec::transcode(Encoding::Json, Encoding::MessagePack, line.request.as_bytes(), &mut packed);
                self.client.post("/v1/enqueue", "application/msgpack", &packed)?
            }
            (_, [line]) => self.client.post("/v1/enqueue", "application/json", line.request.as_bytes())?,
            (_, lines) => {
                let body: String = lines.iter().flat_map(|line| [line.request.as_str(), "\n"]).collect();
                self.client.post("/v1/enqueue", "application/x-ndjson", body.as_bytes())?
            }
        };
        let wait = Duration::from_secs(reply.retry_after.unwrap_or(1)).min(WAIT_MAX);
        Ok((self.results(&reply)?, wait))
    }

    fn results(&self, reply: &Reply) -> Result<Vec<Value>, Failure> {
        let answer = reply.json()?;
        if self.batch.len() == 1 {
            return match reply.status {
                200 => Ok(vec![answer]),
                // Anything but a full stream may be wrong for every message: say it and stop.
                _ if is_backpressure(&answer) => Ok(vec![answer]),
                _ => Err(reply.refusal()),
            };
        }
        match answer.get("results").and_then(Value::as_array) {
            Some(results) if results.len() == self.batch.len() => Ok(results.clone()),
            _ if is_backpressure(&answer) => Ok(vec![answer; self.batch.len()]),
            _ if reply.status != 200 => Err(reply.refusal()),
            _ => Err(Failure::Unreachable("the answer does not fit the batch: is this a Conduit server?".to_owned())),
        }
    }

    fn tell(&mut self, line: &Line, result: &Value, out: &mut Output) -> Result<(), Failure> {
        let error = result.get("error");
        if let Some(error) = error {
            let part = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or("").to_owned();
            return self.fail(line.number, &format!("{}: {}", part("code"), part("message")), out);
        }
        self.accepted += 1;
        if out.json {
            out.line(&result.to_string())?;
        }
        if self.first.is_none() {
            self.first = Some(result.clone());
        }
        Ok(())
    }

    fn fail(&mut self, number: u64, reason: &str, out: &mut Output) -> Result<(), Failure> {
        self.failed += 1;
        let reason = printable(reason);
        if out.json {
            return out.line(&serde_json::json!({ "line": number, "error": reason }).to_string());
        }
        out.remark(&if number == 0 { reason } else { format!("line {number}: {reason}") });
        Ok(())
    }

    fn show_progress(&mut self, out: &mut Output) {
        let last = self.shown.unwrap_or(self.started);
        if out.remarks_are_read() && last.elapsed() >= Duration::from_secs(1) {
            self.shown = Some(Instant::now());
            out.progress(&format!(
                "{} published, {} refused ({}/s)",
                grouped(self.accepted),
                grouped(self.failed),
                self.rate()
            ));
        }
    }

    fn rate(&self) -> String {
        grouped((self.accepted as f64 / self.started.elapsed().as_secs_f64().max(1e-9)) as u64)
    }

    fn finish(&mut self, out: &mut Output) -> Result<(), Failure> {
        if self.shown.is_some() {
            out.progress("");
        }
        if !out.json {
            match (&self.first, self.accepted) {
                (Some(one), 1) => {
                    let text = |name: &str| {
                        one.get(name).map_or_else(String::new, |value| printable(value.as_str().unwrap_or_default()))
                    };
                    let seq = one.get("seq").and_then(Value::as_u64).unwrap_or_default();
                    let has = |name: &str| one.get(name).and_then(Value::as_bool) == Some(true);
                    let deed = if has("duplicate") { "was published before:" } else { "published" };
                    let promise = if has("durable") { ", on the disk" } else { "" };
                    out.line(&format!("{deed} {} as seq {seq} of {}{promise}", text("id"), text("stream")))?;
                }
                (_, accepted) => out.line(&format!("published {} messages ({}/s)", grouped(accepted), self.rate()))?,
            }
        }
        match self.failed {
            0 => Ok(()),
            failed => Err(Failure::Refused(format!(
                "{} of {} messages were refused",
                grouped(failed),
                grouped(failed + self.accepted)
            ))),
        }
    }
}

/// Checks that a text is one JSON object.
fn object(text: &str) -> Result<(), String> {
    serde_json::from_str::<&RawValue>(text).map_err(|error| format!("not JSON: {error}"))?;
    if text.trim_start().starts_with('{') { Ok(()) } else { Err("an envelope is a JSON object".to_owned()) }
}

/// The stream is full: the same message may pass later. A single answer has the code at its top, a batch's in `error`.
fn is_backpressure(result: &Value) -> bool {
    let code = result.get("code").or_else(|| result.get("error")?.get("code"));
    code.and_then(Value::as_str) == Some("Backpressure")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_objects_leave() {
        assert_eq!(object(" {\"a\":[1]} "), Ok(()));
        for text in ["", "[1]", "1", "{", "{} {}", "{}}", "{},{\"to\":1}"] {
            assert!(object(text).is_err(), "{text:?} would have been sent");
        }
    }

    #[test]
    fn backpressure_is_seen_in_both_answers() {
        assert!(is_backpressure(&json!({"error": "the stream is full", "code": "Backpressure"})));
        assert!(is_backpressure(&json!({"error": {"code": "Backpressure", "message": "full"}})));
        assert!(!is_backpressure(&json!({"error": {"code": "InvalidEnvelope"}})));
        assert!(!is_backpressure(&json!({"id": "Backpressure", "seq": 1})));
    }
}
