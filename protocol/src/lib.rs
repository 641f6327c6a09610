//! Bytes in, commands out; answers and deliveries in, bytes out.
//!
//! Nothing here does I/O or reads a clock. One [`Session`] is the decoder and encoder state of one connection:
//! HTTP/1.1 until an upgrade, WebSocket after it. Its owner (the `io` crate, or the simulator) runs this loop:
//!
//! ```text
//! 1 put the bytes that came into an `Inbox`
//! 2 loop { match session.next(&mut inbox, &mut context) {
//!       Command  => hand it to the shard, then drain the shard's effects (answers and deliveries go to `session`s)
//!       NeedBytes, Wait => leave the loop, keep `inbox.rest()` for the next read
//!       Close    => write what is in `context.out`, then close
//!   } }
//! 3 write `context.out`, once
//! ```
//!
//! Contract: `next` never blocks, never panics on any input, and consumes at least one byte or changes state each time
//! it returns a command, so the loop ends. Every buffer it keeps is bounded by [`Limits`].
#![forbid(unsafe_code)]

pub mod access_log;
pub mod answer;
pub mod codec;
pub mod command;
pub mod context;
pub mod error;
pub mod http;
pub mod ids;
pub mod inbox;
pub mod limiter;
pub mod limits;
pub mod policy;
pub mod rfc3339;
pub mod rules;
pub mod session;
pub mod streams;
pub mod surface;
pub mod telemetry;
pub mod tenant_stats;
pub mod time;
pub mod trace;
pub mod trace_context;
pub mod ws;

pub use access_log::AccessLog;
pub use answer::{Answer, Delivery, Promise, Receipt, Refusal, StreamStats};
pub use codec::Encoding;
pub use command::{
    AdminAction, Command, Envelope, EnvelopeId, From, MessageRef, Nack, NotBefore, Publish, PublishOptions, Report,
    StreamAction, StreamCommand, Subscribe, View,
};
pub use context::Context;
pub use error::{ErrorCode, Fault, Violation};
pub use ids::{ConnectionId, Origin, Seq, ShardId, TenantId, Token};
pub use inbox::Inbox;
pub use limiter::{Charge, Gate, OpenGate, Verdict};
pub use limits::Limits;
pub use policy::{Policy, Principal, Scope};
pub use session::{Session, Step};
pub use telemetry::Telemetry;
pub use time::Now;
pub use trace_context::TraceContext;
