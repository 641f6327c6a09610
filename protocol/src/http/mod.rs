//! HTTP/1.1 (RFC 9112), sans-io.
//!
//! A request goes through these steps: `head` (and in it `target`, `fields`, `negotiate`) says what it is, `plan` and
//! `surface::http` where it goes, `body` (and `chunked`) brings the body together, `answers` keeps the order of the
//! responses, `response` writes them. `recent` skips the first two for a head that repeats the one before. `handshake`
//! is the way out to WebSocket, `batch` is many publishes in one request, `idempotency` is a name for one of them, and
//! `pace` is how long the client has taken.

mod answers;
mod batch;
mod body;
mod chunked;
mod date;
mod fields;
mod handshake;
mod head;
mod idempotency;
mod negotiate;
mod pace;
mod plan;
mod recent;
mod response;
mod session;
mod target;
mod turn;

pub use date::HttpDate;
pub use session::HttpSession;

pub(crate) use head::Method;
pub(crate) use response::reason;
pub(crate) use target::{parameter, percent_decode};
