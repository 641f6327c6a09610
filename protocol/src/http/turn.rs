//! What a call to `next` came to, before the command is built: ranges instead of borrowed bytes.

use super::handshake::Upgrade;
use super::idempotency;
use crate::Encoding;
use crate::codec::check_deliver_at;
use crate::command::{Publish, StreamCommand};
use crate::context::Context;
use crate::error::Violation;
use crate::ids::Token;
use crate::inbox::Inbox;
use crate::surface::http::Route;
use std::ops::Range;

/// The outcome of one look at the inbox.
pub(super) enum Turn {
    NeedBytes,
    Wait,
    Again,
    Close,
    Publish { token: Token, encoding: Encoding, place: Place },
    Line { token: Token, line: Range<usize> },
    Settings { token: Token, encoding: Encoding, place: Place },
    Query { token: Token, route: Route, head_bytes: usize, query: Range<usize> },
    Ask { token: Token, command: Box<StreamCommand<'static>> },
    Subscribe { upgrade: Box<Upgrade>, head_bytes: usize, query: Range<usize> },
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

/// Names a publish that has just been `read` by the `key` of its request, if that had one, and checks what its bytes alone
/// do not tell. In place: a publish is large.
#[inline]
pub(super) fn check_publish<'s>(
    read: &mut Result<Publish<'s>, Violation>,
    key: Option<&'s str>,
    context: &Context<'_>,
) {
    let Ok(Publish { options, .. }) = read else { return };
    let mut checked = check_deliver_at(options, context.now, context.limits);
    if let (Ok(()), Some(key)) = (&checked, key) {
        checked = idempotency::name(options, key);
    }
    if let Err(violation) = checked {
        *read = Err(violation);
    }
}
