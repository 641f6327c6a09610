//! A request body on its way in.

use super::chunked::{Chunked, Progress};
use super::fields::Framing;
use super::response::Reply;
use super::ruled::Pending;
use crate::command::StreamCommand;
use crate::error::Violation;
use crate::limits::Limits;
use crate::policy::Guards;
use crate::trace_context::TraceContext;

/// The body that is being received, and what happens when it is complete.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incoming {
    pub(super) reply: Reply,
    pub(super) purpose: Purpose,
    left: Left,
}

/// What a body is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// One message.
    Publish,
    /// One message a line.
    Batch,
    /// The settings of a stream or group.
    Settings,
    /// Rules look at it before anybody else does.
    Ruled,
    /// Nobody reads it: the request has been answered, or takes no body.
    Discard,
}

impl Purpose {
    /// Bytes that such a body may have.
    pub(super) fn bytes_max(self, limits: &Limits, guards: &Guards) -> usize {
        match self {
            Self::Settings => limits.settings_bytes_max,
            // It becomes a value in memory, which is many times larger.
            Self::Ruled => limits.body_bytes_max.min(guards.ruled_body_bytes_max),
            Self::Publish | Self::Batch | Self::Discard => limits.body_bytes_max,
        }
    }
}

/// What the head of a request says that is needed once its body is complete.
#[derive(Debug)]
pub(super) enum Kept {
    Nothing,
    /// Of a publish, or of all messages of a batch.
    Publish {
        /// It has an `Idempotency-Key`: that is in the session's buffer for keys.
        has_key: bool,
        /// What `traceparent` says.
        trace: Option<TraceContext>,
    },
    /// What the settings are for.
    Settings(Box<StreamCommand<'static>>),
    /// What rules are to decide.
    Ruled(Box<Pending>),
}

#[derive(Debug, Clone, Copy)]
enum Left {
    Bytes(u64),
    Chunks(Chunked),
}

impl Incoming {
    pub(super) const fn new(reply: Reply, purpose: Purpose, framing: Framing) -> Self {
        let left = match framing {
            Framing::None => Left::Bytes(0),
            Framing::Length(bytes) => Left::Bytes(bytes),
            Framing::Chunked => Left::Chunks(Chunked::new()),
        };
        Self { reply, purpose, left }
    }

    /// Takes what `bytes` has of the body; the parts of a chunked body are moved to the start of `bytes`.
    ///
    /// # Errors
    /// As [`Chunked::decode`].
    pub(super) fn decode(&mut self, bytes: &mut [u8], limits: &Limits, guards: &Guards) -> Result<Progress, Violation> {
        match &mut self.left {
            Left::Bytes(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= n as u64;
                Ok(Progress { consumed: n, produced: n, is_done: *left == 0 })
            }
            Left::Chunks(chunked) => chunked.decode(bytes, self.purpose.bytes_max(limits, guards), limits),
        }
    }
}
