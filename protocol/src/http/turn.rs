//! What a call to `next` came to, before the command is built: ranges instead of borrowed bytes.

use super::handshake::Upgrade;
use super::idempotency;
use super::response::Reply;
use crate::Encoding;
use crate::codec::{check_decoded_size, check_deliver_at, decode_publish};
use crate::command::{Publish, StreamCommand};
use crate::context::Context;
use crate::error::Violation;
use crate::ids::{Seq, TenantId, Token};
use crate::inbox::Inbox;
use crate::limiter::Charge;
use crate::policy::Scope;
use crate::rules::{Continuation, FrameRequest};
use crate::surface::http::Route;
use crate::trace_context::TraceContext;
use core::net::IpAddr;
use std::ops::Range;

/// The outcome of one look at the inbox.
pub(super) enum Turn {
    NeedBytes,
    Wait,
    Again,
    Close,
    Publish {
        token: Token,
        tenant: TenantId,
        encoding: Encoding,
        place: Place,
    },
    Line {
        token: Token,
        line: Range<usize>,
    },
    Settings {
        token: Token,
        tenant: TenantId,
        encoding: Encoding,
        place: Place,
    },
    Query {
        token: Token,
        tenant: TenantId,
        scope: Scope,
        route: Route,
        head_bytes: usize,
        query: Range<usize>,
    },
    /// A query whose text the session has kept.
    KeptQuery {
        token: Token,
        tenant: TenantId,
        scope: Scope,
        route: Route,
        query: String,
    },
    /// What a rule says to the broker.
    Frame {
        token: Token,
        tenant: TenantId,
        scope: Scope,
        has_key: bool,
        request: FrameRequest,
        continuation: Option<Continuation>,
    },
    Charge(Charge),
    Ask {
        token: Token,
        tenant: TenantId,
        command: Box<StreamCommand<'static>>,
    },
    Live {
        reply: Reply,
        after: Option<Seq>,
        head_bytes: usize,
        query: Range<usize>,
        /// The client.
        address: IpAddr,
    },
    Subscribe {
        upgrade: Box<Upgrade>,
        head_bytes: usize,
        query: Range<usize>,
    },
}

/// Where a complete body is.
pub(super) enum Place {
    /// At the front of the inbox.
    Inbox { consumed: usize, produced: usize },
    /// In the session's buffer.
    Gathered,
}

impl Place {
    /// The body, taken from the inbox if it is there.
    pub(super) fn bytes<'s>(self, inbox: &'s mut Inbox<'_>, gathered: &'s [u8]) -> &'s [u8] {
        match self {
            Self::Inbox { consumed, produced } => &inbox.take(consumed)[..produced],
            Self::Gathered => gathered,
        }
    }
}

/// Decodes a publish, if it is not too large once it is decoded.
#[inline]
pub(super) fn read_publish<'s>(
    encoding: Encoding,
    bytes: &'s [u8],
    context: &Context<'_>,
) -> Result<Publish<'s>, Violation> {
    check_decoded_size(encoding, bytes, context.policy.guards.decoded_bytes_max)?;
    decode_publish(encoding, bytes, context.limits)
}

/// Names a publish that has just been `read` by the `key` of its request, if that had one, lets it belong to the request's
/// `trace` unless it says itself to which, and checks what its bytes alone do not tell. In place: a publish is large.
#[inline]
pub(super) fn check_publish<'s>(
    read: &mut Result<Publish<'s>, Violation>,
    key: Option<&'s str>,
    trace: Option<TraceContext>,
    context: &Context<'_>,
) {
    let Ok(Publish { options, .. }) = read else { return };
    if trace.is_some() && options.trace.is_none() {
        options.trace = trace;
    }
    let mut checked = check_deliver_at(options, context.now, context.limits);
    if let (Ok(()), Some(key)) = (&checked, key) {
        checked = idempotency::name(options, key);
    }
    if let Err(violation) = checked {
        *read = Err(violation);
    }
}
