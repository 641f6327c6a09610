//! Cases beside the rules: a request in, the frame and the answer that must come out.

use super::Surroundings;
use super::checker::{Checker, Members};
use super::file::{VERSION, read_tree, whole_file};
use super::finding::Findings;
use crate::yaml::{Node, Value};
use conduit_protocol::ErrorCode;
use conduit_protocol::rfc3339;
use conduit_protocol::rules::{FrameKind, RuleError};
use std::collections::BTreeMap;

/// Most cases of one file.
const CASES_MAX: usize = 10_000;

/// The moment that `$now` is, unless a case says another: 2026-01-01T00:00:00.000Z.
const NOW_UNIX_MS: u64 = 1_767_225_600_000;

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// The line that it begins in.
    pub line: u64,
    /// The tenant that asks; empty for the default one.
    pub tenant: String,
    /// `$now`.
    pub now_unix_ms: u64,
    /// What comes in.
    pub input: Input,
    /// What the broker answers to the frame.
    pub result: Result<serde_json::Value, RuleError>,
    /// What must come out.
    pub expected: Expected,
}

/// What comes in.
#[derive(Debug, Clone)]
pub struct Input {
    /// The method; `None`: it is about a WebSocket.
    pub method: Option<String>,
    /// Path and query.
    pub target: String,
    /// Header fields.
    pub headers: Vec<(String, String)>,
    /// The body of a request or the message of a WebSocket.
    pub content: Content,
}

/// A body or message.
#[derive(Debug, Clone)]
pub enum Content {
    /// None: of a WebSocket, its handshake is meant.
    Nothing,
    /// A value, sent as JSON.
    Value(serde_json::Value),
    /// A text as it is, which need not be JSON.
    Text(String),
}

/// What must come out. What is not named is not compared.
#[derive(Debug, Clone, Default)]
pub struct Expected {
    /// The rule that applies; `Some(None)`: none does.
    pub rule: Option<Option<String>>,
    /// The built-in endpoint answers.
    pub builtin: bool,
    /// The frame: its type and, if named, its fields.
    pub frame: Option<ExpectedFrame>,
    /// The answer.
    pub answer: Option<ExpectedAnswer>,
    /// The frames of `onComplete`.
    pub then: Option<Vec<ExpectedFrame>>,
}

/// A frame that must come out.
#[derive(Debug, Clone, PartialEq)]
pub struct ExpectedFrame {
    /// Its type.
    pub kind: String,
    /// Its fields.
    pub fields: Option<serde_json::Value>,
}

/// An answer that must come out.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ExpectedAnswer {
    /// The HTTP status.
    pub status: Option<u16>,
    /// Header fields that must be among those of the answer.
    pub headers: BTreeMap<String, String>,
    /// The body or message; `Some(None)`: there must be none.
    pub body: Option<Option<serde_json::Value>>,
    /// The close code of a WebSocket; `Some(None)`: it must stay open.
    pub close: Option<Option<u16>>,
}

/// Reads the cases of a file: `tests` of a rules file, or a file of its own. Returns them and the environment that they
/// are to run in.
///
/// # Errors
/// Everything that is wrong with them.
pub fn read_cases(text: &str, file: &str) -> Result<(Vec<Case>, BTreeMap<String, String>), Findings> {
    let mut checker = Checker::new(text, Surroundings::of(file));
    let root = read_tree(&mut checker)?;
    let mut env = BTreeMap::new();
    let mut cases = Vec::new();
    // A rules file with cases in it has more keys, which are not looked at here.
    let is_rules_file = root.entries().unwrap_or_default().iter().any(|(key, _)| key.text == "rules");
    let members = if is_rules_file {
        checker.mapping(&root, "a rules file")
    } else {
        checker.members(&root, "a file of cases", &["version", "env", "tests"])
    };
    if let Some(members) = members {
        match members.get("tests") {
            Some(tests) => cases = read(&mut checker, tests),
            None if is_rules_file => {}
            None => checker.error(root.at, "the file has no `tests`", "add `tests:` and a list of cases"),
        }
        if let Some(node) = members.get("env").and_then(|node| checker.mapping(node, "`env`")) {
            for (key, value) in node.iter() {
                if let Some(text) = checker.plain_text(value, "the variable") {
                    env.insert(key.text.clone(), text);
                }
            }
        }
        if let Some(node) = members.get("version")
            && !matches!(&node.value, Value::Text(text) if text == VERSION)
        {
            checker.error(node.at, "this version of the language is not known", format!("write `version: {VERSION}`"));
        }
    }
    if checker.has_errors() { Err(checker.findings) } else { Ok((cases, env)) }
}

/// Says that a file cannot be read.
#[must_use]
pub fn unreadable(file: &str, why: &str) -> Findings {
    whole_file(file, format!("the file cannot be read: {why}"), "check its name and that you may read it")
}

/// Looks at cases without keeping them.
pub(super) fn check(checker: &mut Checker<'_>, tests: &Node) {
    read(checker, tests);
}

fn read(checker: &mut Checker<'_>, tests: &Node) -> Vec<Case> {
    let Value::List(nodes) = &tests.value else {
        checker.wrong_kind(tests, "`tests`", "a list of cases");
        return Vec::new();
    };
    if nodes.len() > CASES_MAX {
        checker.error(tests.at, format!("there are more than {CASES_MAX} cases"), "put them into several files");
        return Vec::new();
    }
    nodes.iter().zip(1..).filter_map(|(node, nth)| case(checker, node, nth)).collect()
}

fn case(checker: &mut Checker<'_>, node: &Node, nth: usize) -> Option<Case> {
    let known = &["name", "tenant", "now", "request", "ws", "result", "error", "expect"];
    let members = checker.members(node, "a case", known)?;
    let name = match members.get("name") {
        Some(node) => checker.plain_text(node, "`name`")?,
        None => format!("case {nth}"),
    };
    let tenant = match members.get("tenant") {
        Some(node) => checker.plain_text(node, "`tenant`")?,
        None => String::new(),
    };
    let tenant = if tenant == "default" { String::new() } else { tenant };
    let mut now_unix_ms = NOW_UNIX_MS;
    if let Some(node) = members.get("now") {
        match rfc3339::unix_ms_of(checker.text(node, "`now`")?) {
            Some(unix_ms) => now_unix_ms = unix_ms,
            None => checker.error(node.at, "`now` is no moment", "write one such as 2026-01-01T00:00:00Z"),
        }
    }
    let input = match (members.get("request"), members.get("ws")) {
        (Some(node), None) => request(checker, node)?,
        (None, Some(node)) => websocket(checker, node)?,
        _ => {
            checker.error(node.at, "a case has either `request` or `ws`", "write one of them");
            return None;
        }
    };
    let result = match (members.get("result"), members.get("error")) {
        (Some(node), None) => Ok(checker.literal(node)),
        (None, Some(node)) => Err(error(checker, node)?),
        (None, None) => Ok(serde_json::json!({})),
        (Some(_), Some(node)) => {
            checker.error(node.at, "the broker answers either `result` or `error`", "remove one of them");
            return None;
        }
    };
    let Some(expect) = members.get("expect") else {
        checker.error(node.at, "a case says what it expects", "add `expect: {rule: .., frame: .., respond: ..}`");
        return None;
    };
    let expected = expected(checker, expect)?;
    Some(Case { name, line: node.at.line, tenant, now_unix_ms, input, result, expected })
}

fn request(checker: &mut Checker<'_>, node: &Node) -> Option<Input> {
    let members = checker.members(node, "`request`", &["method", "path", "headers", "body", "text"])?;
    let method = match members.get("method") {
        Some(node) => checker.text(node, "`method`")?.to_owned(),
        None => "GET".to_owned(),
    };
    let content = content(checker, members, "body")?;
    Some(Input {
        method: Some(method),
        target: target(checker, node, members)?,
        headers: headers(checker, members),
        content,
    })
}

fn websocket(checker: &mut Checker<'_>, node: &Node) -> Option<Input> {
    let members = checker.members(node, "`ws`", &["path", "headers", "message", "text"])?;
    let content = content(checker, members, "message")?;
    Some(Input { method: None, target: target(checker, node, members)?, headers: headers(checker, members), content })
}

fn content(checker: &mut Checker<'_>, members: Members<'_>, name: &str) -> Option<Content> {
    match (members.get(name), members.get("text")) {
        (None, None) => Some(Content::Nothing),
        (Some(node), None) => Some(Content::Value(checker.literal(node))),
        (None, Some(node)) => checker.text(node, "`text`").map(|text| Content::Text(text.to_owned())),
        (Some(_), Some(node)) => {
            checker.error(node.at, format!("there is either `{name}` or `text`"), "remove one of them");
            None
        }
    }
}

fn target(checker: &mut Checker<'_>, node: &Node, members: Members<'_>) -> Option<String> {
    let Some(path) = members.get("path") else {
        checker.error(node.at, "there is no `path`", "add it, with the query if there is one: `/v1/stats?stream=a`");
        return None;
    };
    checker.text(path, "`path`").map(str::to_owned)
}

fn headers(checker: &mut Checker<'_>, members: Members<'_>) -> Vec<(String, String)> {
    let Some(members) = members.get("headers").and_then(|node| checker.mapping(node, "`headers`")) else {
        return Vec::new();
    };
    let mut headers = Vec::new();
    for (key, node) in members.iter() {
        headers.extend(checker.plain_text(node, "the field").map(|value| (key.text.to_ascii_lowercase(), value)));
    }
    headers
}

fn error(checker: &mut Checker<'_>, node: &Node) -> Option<RuleError> {
    let members = checker.members(node, "`error`", &["code", "message", "detail", "status", "retryAfterMs"])?;
    let Some(code_node) = members.get("code") else {
        checker.error(node.at, "an error has a `code`", "add it");
        return None;
    };
    let code = checker.text(code_node, "`code`")?.to_owned();
    let known = ErrorCode::ALL.iter().find(|known| known.code() == code).copied();
    let message = match members.get("message") {
        Some(node) => checker.plain_text(node, "`message`")?,
        None => String::new(),
    };
    let mut error = RuleError::new(known.unwrap_or(ErrorCode::Internal), message);
    if code == "UnknownView" {
        error.status = 404;
    }
    error.code = code.into();
    if let Some(node) = members.get("status") {
        error.status = u16::try_from(checker.number(node, "`status`", 400, 599)?).unwrap_or(500);
    }
    if let Some(node) = members.get("detail") {
        error.detail = Some(checker.plain_text(node, "`detail`")?);
    }
    if let Some(node) = members.get("retryAfterMs") {
        error.retry_after_ms = Some(checker.number(node, "`retryAfterMs`", 0, u32::MAX)?);
    }
    Some(error)
}

fn expected(checker: &mut Checker<'_>, node: &Node) -> Option<Expected> {
    let members = checker.members(node, "`expect`", &["rule", "builtin", "frame", "respond", "then"])?;
    let mut expected = Expected::default();
    if let Some(node) = members.get("rule") {
        expected.rule = Some(match node.value {
            Value::Null => None,
            _ => Some(checker.plain_text(node, "`rule`")?),
        });
    }
    if let Some(node) = members.get("builtin") {
        expected.builtin = checker.boolean(node, "`builtin`")?;
    }
    if let Some(node) = members.get("frame") {
        expected.frame = Some(frame(checker, node)?);
    }
    if let Some(node) = members.get("respond") {
        expected.answer = Some(answer(checker, node)?);
    }
    if let Some(node) = members.get("then") {
        let mut frames = Vec::new();
        for node in checker.list_or_one(node, "`then`") {
            frames.push(frame(checker, node)?);
        }
        expected.then = Some(frames);
    }
    if members.iter().next().is_none() {
        checker.error(node.at, "the case expects nothing", "name at least the `rule`");
    }
    Some(expected)
}

fn frame(checker: &mut Checker<'_>, node: &Node) -> Option<ExpectedFrame> {
    let members = checker.members(node, "a frame", &["type", "fields"])?;
    let Some(kind) = members.get("type") else {
        checker.error(node.at, "a frame has a `type`", "add it");
        return None;
    };
    let text = checker.text(kind, "`type`")?;
    if FrameKind::named(text).is_none() {
        checker.error(kind.at, format!("there is no frame type `{text}`"), "see \"Frames\" in docs/rules.md");
    }
    let fields = members.get("fields").map(|node| checker.literal(node));
    Some(ExpectedFrame { kind: text.to_owned(), fields })
}

/// `{http: {status, headers, body}}` or `{ws: {body, close}}`; an absent body is not compared, a null one must not be there.
fn answer(checker: &mut Checker<'_>, node: &Node) -> Option<ExpectedAnswer> {
    let members = checker.members(node, "`respond`", &["http", "ws"])?;
    let mut expected = ExpectedAnswer::default();
    let body = |checker: &mut Checker<'_>, node: Option<&Node>| {
        node.map(|node| match node.value {
            Value::Null => None,
            _ => Some(checker.literal(node)),
        })
    };
    if let Some(node) = members.get("http") {
        let members = checker.members(node, "`http`", &["status", "headers", "body"])?;
        if let Some(node) = members.get("status") {
            expected.status = u16::try_from(checker.number(node, "`status`", 200, 599)?).ok();
        }
        expected.headers = headers(checker, members).into_iter().collect();
        expected.body = body(checker, members.get("body"));
    } else if let Some(node) = members.get("ws") {
        let members = checker.members(node, "`ws`", &["body", "close"])?;
        expected.body = body(checker, members.get("body"));
        if let Some(node) = members.get("close") {
            expected.close = Some(match node.value {
                Value::Null => None,
                _ => u16::try_from(checker.number(node, "`close`", 1000, 4999)?).ok(),
            });
        }
    } else {
        checker.error(node.at, "an answer is `http` or `ws`", "write one of them");
        return None;
    }
    Some(expected)
}
