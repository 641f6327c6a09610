//! What to do with a request: decided from its head alone, before any of it is consumed.

use super::body::{Kept, Purpose};
use super::fields::{Expectation, Fields, Framing};
use super::handshake::{Upgrade, Wish};
use super::head::{self, Method, RequestHead, bad};
use super::idempotency;
use super::negotiate::Content;
use super::response::{Extra, Reply};
use super::target::percent_decode;
use crate::Encoding;
use crate::command::StreamCommand;
use crate::context::Context;
use crate::error::{ErrorCode, Violation};
use crate::ids::Token;
use crate::surface::http::{Route, websocket_encoding};
use crate::surface::streams::StreamPath;
use crate::telemetry::Endpoint;
use crate::ws::Role;
use std::ops::Range;

/// What to do with a request.
pub(super) struct Plan {
    pub(super) action: Action,
    pub(super) reply: Reply,
    pub(super) head_bytes: usize,
    pub(super) framing: Framing,
    /// Where the value of `Content-Length` is in the head; empty when there is none.
    pub(super) length: Range<usize>,
    pub(super) expects_continue: bool,
}

pub(super) enum Action {
    /// Take in the body; what the head says besides is needed then.
    Receive(Purpose, Kept),
    /// Ask the shard; the range is the query in the head.
    Query(Route, Range<usize>),
    /// Ask the shard something about one stream.
    Ask(Box<StreamCommand<'static>>),
    /// Refuse it and go on.
    Refuse(Violation, Extra),
    /// Refuse it and end the connection.
    Stop(Violation),
    /// Become a WebSocket: after asking the shard when there is a query.
    Upgrade { upgrade: Box<Upgrade>, query: Option<Range<usize>> },
    /// Leave it where it is until earlier requests have been answered.
    Wait,
}

/// Decides what happens with a request, from its head alone: so the decision does not depend on how the bytes came.
///
/// `rest` is what the head was parsed from. `is_alone`: no earlier request waits for its answer. `key` is where an
/// `Idempotency-Key` is put.
pub(super) fn decide(
    head: &RequestHead<'_>,
    rest: &[u8],
    is_alone: bool,
    key: &mut String,
    context: &Context<'_>,
) -> Plan {
    let fields = &head.fields;
    let route = Route::of(head.target.path);
    let reply = Reply {
        decoded_ns: context.now.mono_ns,
        body_bytes: 0,
        endpoint: route.map_or(Endpoint::Other, Route::endpoint),
        request_encoding: fields.content.encoding(),
        encoding: fields.encoding,
        is_head: head.method == Method::Head,
        is_http10: head.is_http10,
        closes: !fields.keep_alive || context.draining,
    };
    let query = range_of(head.target.query.as_bytes(), rest);
    let plan = |action| Plan {
        action,
        reply,
        head_bytes: head.len,
        framing: fields.framing,
        length: range_of(fields.length_text, rest),
        expects_continue: fields.expectation == Expectation::Continue,
    };
    let refuse = |code, message: &'static str, extra| plan(Action::Refuse(Violation::new(code, message), extra));

    if let Err(violation) = check_escapes(head) {
        return plan(Action::Refuse(violation, Extra::None));
    }
    let wish = if route.is_none_or(Route::is_websocket) { fields.handshake.wish(head.method) } else { Wish::Absent };
    if matches!(wish, Wish::Valid) {
        return plan(decide_upgrade(head, route, query, is_alone, context));
    }
    let Some(route) = route else { return refuse(ErrorCode::NotFound, "there is no such path", Extra::None) };
    if !route.takes(head.method) {
        return refuse(ErrorCode::MethodNotAllowed, "the path does not take this method", Extra::Allow(route.allow()));
    }
    match wish {
        Wish::Malformed(violation) => return plan(Action::Stop(violation)),
        Wish::OtherVersion => {
            return refuse(ErrorCode::UpgradeRequired, "the WebSocket version here is 13", Extra::WebSocketOnly);
        }
        _ if route.is_websocket() => {
            return refuse(
                ErrorCode::UpgradeRequired,
                "this path takes only a WebSocket upgrade",
                Extra::WebSocketOnly,
            );
        }
        _ => {}
    }
    if fields.expectation == Expectation::Unknown {
        return refuse(ErrorCode::ExpectationFailed, "the only expectation met here is 100-continue", Extra::None);
    }
    let bytes_max =
        if route.takes_settings(head.method) { Purpose::Settings } else { Purpose::Publish }.bytes_max(context.limits);
    if matches!(fields.framing, Framing::Length(bytes) if bytes > bytes_max as u64) {
        return refuse(ErrorCode::PayloadTooLarge, "the body is larger than the limit", Extra::None);
    }
    if context.draining && route.is_refused_when_draining(head.method) {
        return refuse(ErrorCode::ServerDraining, "the server is shutting down: use another one", Extra::None);
    }
    let action = match route {
        Route::Enqueue => receive_messages(fields, key, context),
        Route::Stream(_) => decide_stream(head, context),
        _ => Ok(Action::Query(route, query)),
    };
    plan(action.unwrap_or_else(|violation| Action::Refuse(violation, Extra::None)))
}

fn receive_messages(fields: &Fields<'_>, key: &mut String, context: &Context<'_>) -> Result<Action, Violation> {
    match (fields.content, fields.idempotency_key) {
        (Content::NdJson, None) => Ok(Action::Receive(Purpose::Batch, Kept::Nothing)),
        (Content::NdJson, Some(_)) => {
            let message = "one `Idempotency-Key` cannot name several messages: give each line its `dedupId`";
            Err(Violation::new(ErrorCode::InvalidField, message))
        }
        (_, None) => Ok(Action::Receive(Purpose::Publish, Kept::Nothing)),
        (_, Some(value)) => {
            idempotency::read_key(value, context.limits, key)?;
            Ok(Action::Receive(Purpose::Publish, Kept::Key))
        }
    }
}

/// A request about one stream. Its settings are still to come, if it has any.
fn decide_stream(head: &RequestHead<'_>, context: &Context<'_>) -> Result<Action, Violation> {
    let Some(path) = StreamPath::of(head.target.path) else {
        return Err(Violation::new(ErrorCode::NotFound, "there is no such path"));
    };
    let command = Box::new(path.command(head.method, head.target.query, context.limits)?);
    Ok(match head.method {
        Method::Put => Action::Receive(Purpose::Settings, Kept::Settings(command)),
        _ => Action::Ask(command),
    })
}

/// A handshake that is complete in itself: what is wrong with the path or the query is told over the WebSocket.
fn decide_upgrade(
    head: &RequestHead<'_>,
    route: Option<Route>,
    query: Range<usize>,
    is_alone: bool,
    context: &Context<'_>,
) -> Action {
    if head.fields.framing != Framing::None {
        return Action::Stop(bad("a handshake has no body"));
    }
    // The 101 comes after every earlier response, and a subscriber may move to another shard: nothing may be open.
    if !is_alone {
        return Action::Wait;
    }
    let handshake = &head.fields.handshake;
    let (encoding, mut violation) = match websocket_encoding(head.target.query, handshake.offered.first) {
        Ok(encoding) => (encoding, None),
        Err(violation) => (Encoding::Json, Some(violation)),
    };
    if context.draining {
        violation = Some(Violation::new(ErrorCode::ServerDraining, "the server is shutting down: use another one"));
    } else if route.is_none() {
        violation = Some(Violation::new(ErrorCode::NotFound, "there is no such path"));
    }
    let is_subscribe = route == Some(Route::Subscribe);
    let upgrade = Box::new(Upgrade {
        token: Token::NONE,
        accept_key: handshake.accept_key(),
        role: if is_subscribe { Role::Consumer } else { Role::Publisher },
        encoding,
        protocol: handshake.offered.confirm(encoding),
        credit: 0,
        hello: None,
        violation,
    });
    let asks_shard = is_subscribe && upgrade.violation.is_none();
    Action::Upgrade { upgrade, query: asks_shard.then_some(query) }
}

/// Where `part`, a slice of `rest` unless it is empty, is in it.
fn range_of(part: &[u8], rest: &[u8]) -> Range<usize> {
    if part.is_empty() {
        return 0..0;
    }
    let start = head::offset(rest, part);
    start..start + part.len()
}

/// Every percent escape of the target is well formed.
fn check_escapes(head: &RequestHead<'_>) -> Result<(), Violation> {
    if head.target.has_escapes {
        percent_decode(head.target.path, false)?;
        percent_decode(head.target.query, false)?;
    }
    Ok(())
}
