//! Trying rules on a case: what comes out, and how it differs from what was expected.

use super::cases::{Case, Content, Expected, ExpectedAnswer, ExpectedFrame};
use conduit_protocol::rules::{
    Body, FrameRequest, HeadView, Message, Outcome, OwnedFields, Reply, ReplyBody, Response, RuleError, Rules,
};
use conduit_protocol::{ErrorCode, Violation};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// What came out of a case.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Came {
    /// The rule that applied.
    pub rule: Option<String>,
    /// The built-in endpoint answers.
    pub builtin: bool,
    /// The frame: `{"type":..,"fields":{..}}`.
    pub frame: Option<Value>,
    /// The answer: `{"status":..,"headers":{..},"body":..}` or `{"body":..,"close":..}`.
    pub answer: Option<Value>,
    /// The frames of `onComplete`.
    pub then: Vec<Value>,
}

/// One way in which a case came out otherwise.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// What is different: `rule`, `frame.fields`, `respond.status`.
    pub what: String,
    /// What was expected.
    pub expected: Value,
    /// What came.
    pub got: Value,
}

/// Runs a case.
#[must_use]
pub fn run(rules: &Rules, case: &Case) -> Came {
    let (path, query) = case.input.target.split_once('?').unwrap_or((&case.input.target, ""));
    let headers: OwnedFields =
        case.input.headers.iter().map(|(name, value)| (name.as_str().into(), value.as_bytes().into())).collect();
    let head = HeadView {
        method: case.input.method.as_deref().unwrap_or("GET"),
        path,
        query,
        headers: &headers,
        tenant: &case.tenant,
        now_unix_ms: case.now_unix_ms,
    };
    let text = match &case.input.content {
        Content::Nothing => None,
        Content::Value(value) => Some(value.to_string()),
        Content::Text(text) => Some(text.clone()),
    };
    let outcome = match (&case.input.method, &text) {
        (Some(_), _) => {
            let candidates = rules.request(&head);
            let body = if candidates.needs_body() { body_of(text.as_deref()) } else { Body::Absent };
            candidates.run(&head, body)
        }
        (None, None) => rules.connect(&head).run(&head, Body::Absent),
        (None, Some(text)) => match rules.messages(&head) {
            None => Outcome::NoMatch,
            Some(rules) => {
                let value = serde_json::from_str(text).ok();
                rules.run(Message { is_text: true, value, json: Some(text) }, case.now_unix_ms)
            }
        },
    };
    came(outcome, case)
}

fn body_of(text: Option<&str>) -> Body<'_> {
    match text {
        None | Some("") => Body::Absent,
        Some(text) => match serde_json::from_str(text) {
            Ok(value) => Body::Decoded { value, json: Some(text) },
            Err(error) => {
                let violation = Violation::new(ErrorCode::InvalidJson, "the body is not valid JSON");
                Body::Broken(RuleError { detail: Some(error.to_string()), ..violation.into() })
            }
        },
    }
}

fn came(outcome: Outcome, case: &Case) -> Came {
    match outcome {
        Outcome::NoMatch => Came::default(),
        Outcome::Native { rule } => Came { rule: Some(rule.id().to_owned()), builtin: true, ..Came::default() },
        Outcome::Respond { rule, response, then } => Came {
            rule: Some(rule.id().to_owned()),
            answer: Some(answer_json(&response)),
            then: then.iter().map(frame_json).collect(),
            ..Came::default()
        },
        Outcome::Frame { rule, request, continuation } => {
            let frame = frame_json(&request);
            let finished = continuation.finish(case.result.clone());
            Came {
                rule: Some(rule.id().to_owned()),
                builtin: false,
                frame: Some(frame),
                answer: Some(answer_json(&finished.response)),
                then: finished.then.iter().map(frame_json).collect(),
            }
        }
    }
}

/// A frame as cases write it.
#[must_use]
pub fn frame_json(frame: &FrameRequest) -> Value {
    let object = |text: &[u8]| serde_json::from_slice::<Value>(text).unwrap_or(Value::Null);
    let operation = |text: &[u8], name: &str| {
        let mut fields = object(text);
        if let Some(members) = fields.as_object_mut()
            && let Some(id) = members.shift_remove(name)
        {
            members.shift_insert(0, "id".to_owned(), id);
        }
        fields
    };
    let (kind, fields) = match frame {
        FrameRequest::Enqueue { publish } => ("enqueue", object(publish)),
        FrameRequest::Stats { stream } => ("stats", json!({"stream": stream})),
        FrameRequest::Snapshot { view } => ("snapshot", json!({"view": view})),
        FrameRequest::Metrics => ("metrics", json!({})),
        FrameRequest::Hello => ("hello", json!({})),
        FrameRequest::Grant { credit } => ("grant", json!({"credit": credit})),
        FrameRequest::Ack { frame } => ("ack", operation(frame, "ack")),
        FrameRequest::Nack { frame } => ("nack", operation(frame, "nack")),
        FrameRequest::Subscribe { query } => ("subscribe", query_json(query)),
    };
    json!({"type": kind, "fields": fields})
}

/// A query as an object of texts.
fn query_json(query: &str) -> Value {
    let decode = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((first, behind)) = rest.split_first() {
            let digits =
                if *first == b'%' { behind.get(..2).and_then(|two| std::str::from_utf8(two).ok()) } else { None };
            match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
                Some(byte) => {
                    bytes.push(byte);
                    rest = &behind[2..];
                }
                None => {
                    bytes.push(*first);
                    rest = behind;
                }
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), Value::String(decode(value)))).collect()
}

fn answer_json(response: &Response) -> Value {
    match &response.reply {
        Reply::Http { status, headers, body } => {
            let headers: BTreeMap<&str, &str> =
                headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let body = match body {
                ReplyBody::Empty => Value::Null,
                ReplyBody::Value(value) => value.clone(),
                ReplyBody::Text(text) => text.as_str().into(),
            };
            json!({"status": status, "headers": headers, "body": body})
        }
        Reply::Ws { body, close } => {
            let close = close.as_ref().map(|close| close.code);
            json!({"body": body, "close": close})
        }
    }
}

/// How what came differs from what was expected.
#[must_use]
pub fn differences(expected: &Expected, came: &Came) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut differ = |what: &str, expected: Value, got: Value| {
        if expected != got {
            found.push(Difference { what: what.to_owned(), expected, got });
        }
    };
    if let Some(rule) = &expected.rule {
        differ("rule", json!(rule), json!(came.rule));
    }
    if expected.builtin {
        differ("builtin", json!(true), json!(came.builtin));
    }
    if let Some(frame) = &expected.frame {
        compare_frame("frame", frame, came.frame.as_ref(), &mut differ);
    }
    if let Some(answer) = &expected.answer {
        compare_answer(answer, came.answer.as_ref(), &mut differ);
    }
    if let Some(then) = &expected.then {
        differ("then: number of frames", json!(then.len()), json!(came.then.len()));
        for (nth, frame) in then.iter().enumerate() {
            compare_frame(&format!("then[{nth}]"), frame, came.then.get(nth), &mut differ);
        }
    }
    found
}

fn compare_frame(
    what: &str,
    expected: &ExpectedFrame,
    came: Option<&Value>,
    differ: &mut impl FnMut(&str, Value, Value),
) {
    let got = |name: &str| came.and_then(|came| came.get(name)).cloned().unwrap_or(Value::Null);
    differ(&format!("{what}.type"), json!(expected.kind), got("type"));
    if let Some(fields) = &expected.fields {
        let mut fields = fields.clone();
        // A subscription travels as a query, which has only texts.
        if let ("subscribe", Some(members)) = (expected.kind.as_str(), fields.as_object_mut()) {
            for value in members.values_mut().filter(|value| value.is_number() || value.is_boolean()) {
                *value = value.to_string().into();
            }
        }
        differ(&format!("{what}.fields"), fields, got("fields"));
    }
}

fn compare_answer(expected: &ExpectedAnswer, came: Option<&Value>, differ: &mut impl FnMut(&str, Value, Value)) {
    let got = |name: &str| came.and_then(|came| came.get(name)).cloned().unwrap_or(Value::Null);
    if let Some(status) = expected.status {
        differ("respond.status", json!(status), got("status"));
    }
    for (name, value) in &expected.headers {
        let header = got("headers").get(name).cloned().unwrap_or(Value::Null);
        differ(&format!("respond.headers.{name}"), json!(value), header);
    }
    if let Some(body) = &expected.body {
        differ("respond.body", body.clone().unwrap_or(Value::Null), got("body"));
    }
    if let Some(close) = &expected.close {
        differ("respond.close", json!(close), got("close"));
    }
}
