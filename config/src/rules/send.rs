//! `send`, `respond`, `onError` and `onComplete`: YAML to frames and answers.

use super::checker::{Checker, Members};
use super::values::RuleNames;
use crate::nearest::nearest;
use crate::yaml::{At, Key, Node, Value};
use conduit_protocol::ErrorCode;
use conduit_protocol::rules::FrameKind;
use conduit_protocol::rules::frame::FrameTemplate;
use conduit_protocol::rules::limits;
use conduit_protocol::rules::reply::{ErrorReplies, HttpReply, Phase, Replies, WsReply};
use conduit_protocol::rules::ruleset::Send;
use conduit_protocol::rules::selector::Uses;
use conduit_protocol::rules::template::Template;

const SEND_KEYS: &[&str] = &["frame", "http", "ws", "builtin"];

/// Codes of errors that are not in the table of errors: the broker's views have them.
pub(super) const OTHER_CODES: &[&str] = &["UnknownView"];

/// Header fields that follow from the answer itself, or from the connection.
const OWN_FIELDS: &[&str] = &[
    "connection",
    "content-length",
    "date",
    "keep-alive",
    "sec-websocket-accept",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Fields without which a frame means nothing: one of each group.
const fn needed(kind: FrameKind) -> &'static [&'static [&'static str]] {
    match kind {
        FrameKind::Enqueue => &[&["to"], &["envelope"]],
        FrameKind::Stats | FrameKind::Subscribe => &[&["stream"]],
        FrameKind::Snapshot => &[&["view", "stream"]],
        FrameKind::Grant => &[&["credit"]],
        FrameKind::Ack | FrameKind::Nack => &[&["id"]],
        FrameKind::Metrics | FrameKind::Hello => &[],
    }
}

impl Checker<'_> {
    /// What a rule does.
    pub(super) fn send(&mut self, node: &Node, names: &RuleNames, phase: Phase) -> Option<Send> {
        if matches!(&node.value, Value::Text(text) if text == "builtin") {
            return Some(Send::Native);
        }
        let members = self.members(node, "`send`", SEND_KEYS)?;
        let known: Vec<&(Key, Node)> =
            members.iter().filter(|(key, _)| SEND_KEYS.contains(&key.text.as_str())).collect();
        match *known {
            [] => {
                // A key that is not known has been told already.
                if members.iter().next().is_none() {
                    self.error(node.at, "`send` says nothing", format!("write one of {}", SEND_KEYS.join(", ")));
                }
                None
            }
            [(key, value)] => self.send_one(key, value, names, phase),
            [_, (second, _), ..] => {
                self.error(
                    second.at,
                    "`send` says two things",
                    "keep one of them; `onComplete` says frames afterwards",
                );
                None
            }
        }
    }

    fn send_one(&mut self, key: &Key, value: &Node, names: &RuleNames, phase: Phase) -> Option<Send> {
        match (key.text.as_str(), phase) {
            ("builtin", _) => {
                if !matches!(value.value, Value::Bool(true) | Value::Null)
                    && value.entries().is_none_or(|entries| !entries.is_empty())
                {
                    self.error(value.at, "`builtin` takes nothing", "write `send: builtin`");
                }
                Some(Send::Native)
            }
            ("frame", _) => self.send_frame(key, value, names, phase),
            ("http", Phase::Http) => {
                let http = self.http_reply(value, names)?;
                Some(Send::Answer(Replies { http: Some(http), ws: None }))
            }
            ("ws", Phase::Connect | Phase::Message) => {
                let ws = self.ws_reply(value, names)?;
                Some(Send::Answer(Replies { http: None, ws: Some(ws) }))
            }
            ("ws", _) => {
                self.error(
                    key.at,
                    "the rule is about HTTP requests, so it cannot answer on a WebSocket",
                    "write `send.http`",
                );
                None
            }
            _ => {
                self.error(key.at, "the rule is about a WebSocket, so it cannot answer over HTTP", "write `send.ws`");
                None
            }
        }
    }

    fn send_frame(&mut self, key: &Key, node: &Node, names: &RuleNames, phase: Phase) -> Option<Send> {
        let members = self.members(node, "`frame`", &["type", "fields", "respond"])?;
        let frame = self.frame(node, members, names);
        let replies = match members.get("respond") {
            Some(respond) => self.respond(respond, &names.with(Uses::RESULT), phase),
            None => Replies::default(),
        };
        let frame = frame?;
        match (frame.kind, phase) {
            (FrameKind::Subscribe, Phase::Message) => self.error(
                key.at,
                "a connection subscribes when it is made, not by a message",
                "remove `message` from `when.ws`",
            ),
            (FrameKind::Grant | FrameKind::Ack | FrameKind::Nack, Phase::Connect) => self.error(
                key.at,
                format!("`{}` answers a message, and this rule is about the handshake", frame.kind.name()),
                "add `message` to `when.ws`; credit at the beginning is a field of `subscribe`",
            ),
            (kind, Phase::Http) if kind.is_of_a_consumer() => self.warn(
                key.at,
                format!(
                    "`{}` concerns a consumer, and an HTTP request is none: it only answers what it was told",
                    kind.name()
                ),
                "use `when.ws`",
            ),
            _ => {}
        }
        Some(Send::Frame(frame, replies))
    }

    /// Type and fields of a frame.
    fn frame(&mut self, node: &Node, members: Members<'_>, names: &RuleNames) -> Option<FrameTemplate> {
        let Some(kind_node) = members.get("type") else {
            self.error(node.at, "the frame has no `type`", format!("write one of {}", kind_names().join(", ")));
            return None;
        };
        let text = self.text(kind_node, "`type`")?;
        let Some(kind) = FrameKind::named(text) else {
            let remedy = match nearest(text, kind_names()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("write one of {}", kind_names().join(", ")),
            };
            self.error(kind_node.at, format!("there is no frame type `{text}`"), remedy);
            return None;
        };
        let mut fields = Vec::new();
        if let Some(node) = members.get("fields")
            && let Some(members) = self.members(node, &format!("`fields` of `{text}`"), kind.fields())
        {
            for (key, value) in members.iter() {
                fields.push((Box::from(key.text.as_str()), self.template(value, names)));
            }
        }
        for group in needed(kind) {
            if !fields.iter().any(|(name, _): &(Box<str>, Template)| group.contains(&&**name)) {
                let message = format!("`{text}` needs the field `{}`", group[0]);
                self.error(kind_node.at, message, format!("add `fields: {{{}: ..}}`", group[0]));
            }
        }
        Some(FrameTemplate { kind, fields })
    }

    /// `{http: ..}` or `{ws: ..}`, as the rule is about.
    fn respond(&mut self, node: &Node, names: &RuleNames, phase: Phase) -> Replies {
        let Some(members) = self.members(node, "`respond`", &["http", "ws"]) else { return Replies::default() };
        let (wanted, other) = if phase == Phase::Http { ("http", "ws") } else { ("ws", "http") };
        if let Some((key, _)) = members.entry(other) {
            let message = format!("the rule is about {}, so `{other}` is never said", about(phase));
            self.error(key.at, message, format!("write `{wanted}`"));
        }
        self.replies(members, names)
    }

    fn replies(&mut self, members: Members<'_>, names: &RuleNames) -> Replies {
        let http = members.get("http").and_then(|node| self.http_reply(node, names));
        let ws = members.get("ws").and_then(|node| self.ws_reply(node, names));
        Replies { http, ws }
    }

    fn http_reply(&mut self, node: &Node, names: &RuleNames) -> Option<HttpReply> {
        let members = self.members(node, "`http`", &["status", "headers", "body"])?;
        let status = match members.get("status") {
            None => Template::Literal(200.into()),
            Some(node) => match node.value {
                Value::Text(_) | Value::Map(_) => self.template(node, names),
                // A wrong one has been told, and the rest may have flaws of its own.
                _ => Template::Literal(self.number(node, "`status`", 200, 599).unwrap_or(200).into()),
            },
        };
        let mut headers = Vec::new();
        for (key, value) in
            members.get("headers").and_then(|node| self.mapping(node, "`headers`")).iter().flat_map(Members::iter)
        {
            self.check_field_name(key);
            let name = key.text.to_ascii_lowercase();
            if OWN_FIELDS.contains(&name.as_str()) {
                self.error(key.at, format!("the server itself says `{name}`"), "remove it");
            }
            headers.push((name.into(), self.template(value, names)));
        }
        let body = members.get("body").map(|node| self.template(node, names));
        Some(HttpReply { status, headers, body })
    }

    fn ws_reply(&mut self, node: &Node, names: &RuleNames) -> Option<WsReply> {
        let members = self.members(node, "`ws`", &["body", "close"])?;
        let body = members.get("body").map(|node| self.template(node, names));
        let close = members.get("close").and_then(|node| match &node.value {
            Value::Map(_) => {
                let members = self.members(node, "`close`", &["code", "reason"])?;
                let Some(code) = members.get("code") else {
                    self.error(node.at, "`close` needs its `code`", "write `close: {code: 1000}`");
                    return None;
                };
                let reason = members.get("reason").map(|node| self.template(node, names));
                Some((self.close_code(code)?, reason))
            }
            _ => Some((self.close_code(node)?, None)),
        });
        if body.is_none() && close.is_none() && members.iter().next().is_none() {
            self.error(node.at, "`ws` says nothing", "write `body`, `close` or both");
        }
        Some(WsReply { body, close })
    }

    /// A code that a server may send (RFC 6455, section 7.4).
    fn close_code(&mut self, node: &Node) -> Option<u16> {
        let code = match node.value {
            Value::Integer(code) => u16::try_from(code).ok(),
            _ => None,
        };
        let code = code.filter(|code| matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999));
        if code.is_none() {
            self.error(node.at, "this is no close code", "write 1000 to 1003, 1007 to 1014, or 3000 to 4999");
        }
        code
    }

    /// `onError`. `own_codes` are those of the asserts that it is for.
    pub(super) fn on_error(&mut self, node: &Node, names: &RuleNames, own_codes: &[String]) -> ErrorReplies {
        let names = names.with(Uses::ERROR);
        let mut found = ErrorReplies::default();
        let Some(members) = self.mapping(node, "`onError`") else { return found };
        for (key, value) in members.iter() {
            let code = key.text.as_str();
            let Some(members) = self.members(value, &format!("the answer to `{code}`"), &["http", "ws"]) else {
                continue;
            };
            if members.iter().next().is_none() {
                self.error(value.at, format!("nothing is said of `{code}`"), "write `http`, `ws` or both");
            }
            let replies = self.replies(members, &names);
            if code == "*" {
                found.others = Some(replies);
                continue;
            }
            let known = ErrorCode::ALL.iter().map(|code| code.code()).chain(OTHER_CODES.iter().copied());
            if !known.clone().chain(own_codes.iter().map(String::as_str)).any(|known| known == code) {
                let remedy = match nearest(code, known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "see the table of errors in docs/protocol.md; `*` means every error".to_owned(),
                };
                self.warn(key.at, format!("no error has the code `{code}`"), remedy);
            }
            found.codes.push((code.into(), replies));
        }
        found
    }

    /// `onComplete`: a frame, or a few.
    pub(super) fn on_complete(&mut self, node: &Node, names: &RuleNames, phase: Phase) -> Vec<FrameTemplate> {
        let mut frames = Vec::new();
        for node in self.list_or_one(node, "`onComplete`") {
            let Some(members) = self.members(node, "`onComplete`", &["frame"]) else { continue };
            let Some((key, frame)) = members.entry("frame") else {
                self.error(node.at, "`onComplete` says a frame", "write `onComplete: {frame: {type: enqueue, ..}}`");
                continue;
            };
            let Some(members) = self.members(frame, "a frame of `onComplete`", &["type", "fields"]) else { continue };
            let Some(template) = self.frame(frame, members, names) else { continue };
            let is_of_use = match template.kind {
                FrameKind::Enqueue => true,
                FrameKind::Grant | FrameKind::Ack | FrameKind::Nack => phase == Phase::Message,
                _ => false,
            };
            if !is_of_use {
                self.error(
                    key.at,
                    format!("nobody would hear what comes of `{}` here", template.kind.name()),
                    "say `enqueue`, or in a rule for messages of a WebSocket also `grant`, `ack` or `nack`",
                );
            }
            frames.push(template);
        }
        if frames.len() > limits::THEN_MAX {
            let message =
                format!("`onComplete` says {} frames: at most {} are allowed", frames.len(), limits::THEN_MAX);
            self.error(node.at, message, "say fewer");
        }
        frames
    }

    /// Where a rule is about two things at once.
    pub(super) fn conflict(&mut self, at: At) {
        self.error(
            at,
            "one rule is about HTTP requests or about a WebSocket, not both",
            "write two rules, one with `http` and one with `ws`",
        );
    }
}

fn kind_names() -> Vec<&'static str> {
    FrameKind::ALL.iter().map(|(name, ..)| *name).collect()
}

/// What a rule is about, for people.
pub(super) const fn about(phase: Phase) -> &'static str {
    match phase {
        Phase::Http => "HTTP requests",
        Phase::Connect => "the handshake of a WebSocket",
        Phase::Message => "messages of a WebSocket",
    }
}
